"""The survey's table: rows run once, resume, and are never estimated."""

import json

import pytest

from benchmarks import harness, survey
from benchmarks.survey_rows import ROWS
from benchmarks.survey_table import figure, markdown, protocol, spread
from covjax import config
from covjax.errors import InputError

HALF = {"estimate": 0.5, "low": 0.25, "high": 0.75}
METRICS = {
    "card": {"name": "drawn"},
    "headline": "a headline",
    "verdict": {"sentence": "a verdict"},
    "test": {"overall": {"accuracy": HALF, "auc": HALF}},
    "repeats": {
        "of": "fold",
        "numbers": [0, 1],
        "measures": {
            "accuracy": {"mean": 0.5, "sd": 0.1},
            "auc": {"mean": 0.5, "sd": 0.1},
        },
    },
}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The commands that would have been run; each writes what a finished run has."""
    commands = []

    def train(words):
        commands.append(words)
        place = tmp_path / words[words.index("--workdir") + 1]
        for fold, device in (("fold-0", "H100"), ("fold-1", "cpu")):
            (place / fold).mkdir(parents=True)
            rows = json.dumps({"seconds": 30}) + "\n" + json.dumps({"seconds": 60})
            (place / fold / "log.jsonl").write_text(rows)
            where = json.dumps({"device": device})
            (place / fold / "environment.json").write_text(where)
        (place / "metrics.json").write_text(json.dumps(METRICS))
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVJAX_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(survey, "train", train)
    return commands


@pytest.fixture
def pictures(tmp_path):
    """A folder in which the set of row 8 is taken to be there."""
    for name in ("Covid-19", "No_findings", "Pneumonia"):
        (tmp_path / "secret" / name).mkdir(parents=True)
    return f"darkcovidnet={tmp_path / 'secret'}"


def test_every_row_of_the_survey_is_there():
    assert {row.number for row in ROWS} == set(range(1, 23))
    assert len({row.key for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_recipes_know_the_variants(row):
    assert survey.load(row, False, []).data.name != "phantom"
    assert survey.load(row, True, []).data.name == "phantom"


def test_one_epoch_is_no_plural():
    run = config.Run()
    for epochs, words in ((1, " 1 epoch,"), (2, " 2 epochs,")):
        run.train.epochs = epochs
        assert words in protocol(run)


def test_networks_of_a_system_have_a_start_too():
    by_key = {row.key: protocol(survey.load(row, False, [])) for row in ROWS}
    assert "pretrained, 50 epochs, sgd" in by_key["13"]
    assert by_key["20"].endswith("; pretrained, not fine-tuned")
    assert "from scratch" in by_key["8:three"]


def test_rows_are_chosen_by_number_and_variant():
    assert [row.key for row in survey.chosen(["8"])] == ["8:three", "8:two"]
    assert [row.key for row in survey.chosen(["8:two", "5"])] == ["5", "8:two"]
    with pytest.raises(InputError, match="'8:four': must be one of 8:three, 8:two"):
        survey.chosen(["8:four"])


def test_without_data_a_row_says_where_they_are(trained, capsys):
    assert survey.main(["5", "1:resnet50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "not run" in lines[2]
    assert "ieee8023/covid-chestxray-dataset" in lines[2]
    assert "--data-dir row01=" in lines[2]
    assert "not run" in lines[3]
    assert "data.mendeley.com/datasets/jctsfj2sfn" in lines[3]
    assert not trained


def test_a_row_runs_once_and_is_read_back(
    trained, pictures, capsys, tmp_path, monkeypatch
):
    words = ["8:three", "--data-dir", pictures]
    monkeypatch.setattr("sys.argv", ["survey.py", *words])
    assert survey.main([*words, "--list"]) == 0
    assert "not run yet" in capsys.readouterr().out
    for _ in range(2):
        assert survey.main(words) == 0
        row = capsys.readouterr().out.splitlines()[2]
        assert "87.02 %, mean of 5 folds" in row
        assert "accuracy 50.0 % [25.0, 75.0]; AUC 50.0 %" in row
        assert "2 folds: accuracy 50.0 ± 10.0 %" in row
        assert "256 px, 5 folds, by picture; from scratch, 100 epochs" in row
        assert "3 min, H100, cpu" in row  # both folds, both epochs
    assert len(trained) == 1
    (results,) = (tmp_path / "results").glob("*.jsonl")
    assert "secret" not in results.read_text()  # nobody's folders are committed

    assert survey.main([*words, "--config.data.fold=0"]) == 0
    assert len(trained) == 2
    row = capsys.readouterr().out.splitlines()[2]
    assert "only fold 0, by picture" in row
    assert "changed: data.fold=0" in row


def test_the_list_shows_changed_recipes_where_there_is_no_other(
    trained, pictures, capsys, monkeypatch
):
    words = ["8:three", "--data-dir", pictures]
    monkeypatch.setattr("sys.argv", ["survey.py", *words])

    def listed():
        assert survey.main([*words, "--list"]) == 0
        return capsys.readouterr().out.splitlines()[2:]

    assert "| DarkCovidNet | darkcovidnet |" in listed()[0]
    for word in ("--config.data.fold=1", "--config.data.fold=0"):
        assert survey.main([*words, word]) == 0
    capsys.readouterr()
    first, second = listed()
    assert "changed: data.fold=0" in first
    assert "changed: data.fold=1" in second
    assert "accuracy 50.0 % [25.0, 75.0]" in first
    assert survey.main(words) == 0  # is not taken for the recipe's own: it is run
    assert len(trained) == 3
    capsys.readouterr()
    assert "changed" not in "".join(listed())


def test_settings_of_a_system_can_be_changed(trained, tmp_path, monkeypatch):
    word = "--config.system.kwargs.networks={'resnet18': ''}"
    words = ["13", "--data-dir", f"row13={tmp_path}", word]
    monkeypatch.setattr("sys.argv", ["survey.py", *words])
    assert survey.main(words) == 0
    assert word in trained[0]


def test_after_an_interruption_no_row_is_begun(trained, pictures, capsys, monkeypatch):
    monkeypatch.setattr(survey, "train", lambda words: trained.append(words) or 130)
    assert survey.main(["8", "--data-dir", pictures]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert "interrupted: the same command goes on" in lines[2]
    assert "not run: interrupted before" in lines[3]
    assert len(trained) == 1


def test_a_failed_row_does_not_stop_the_others(trained, pictures, capsys, monkeypatch):
    monkeypatch.setattr(survey, "train", lambda words: trained.append(words) or 2)
    assert survey.main(["8", "--data-dir", pictures]) == 1
    assert capsys.readouterr().out.count("failed with status 2") == 2
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data-dir", "darkcovidnt=."], "NAME rowNN or one of"),
        (["--data-dir", "islam=absent"], "absent does not exist"),
        (["--config.data.fould=0"], "fould"),
        (["--smok"], "--smok"),
    ],
)
def test_bad_words_are_one_line(trained, words, message):
    with pytest.raises(InputError, match=message):
        survey.main(["8", *words])
    assert not trained


def test_a_result_belongs_to_its_recipe_wherever_the_files_lie():
    run = config.Run()
    run.train.epochs = 7
    there, place = survey.recipe(run), survey.digest(run)
    del there["train"]["remat"]
    assert survey.same(there, run)
    run.train.remat = True
    assert not survey.same(there, run)
    assert survey.digest(run) != place
    run.train.remat = False
    run.data.dir = "elsewhere"
    assert survey.digest(run) == place
    there["train"]["gone"] = 1
    assert not survey.same(there, run)


def test_figures():
    assert figure(HALF) == "50.0 % [25.0, 75.0]"
    assert figure({"estimate": None, "reason": "one class"}) == "undefined: one class"
    assert figure({"estimate": 0.5, "low": None, "high": None}) == "50.0 % [?, ?]"
    assert figure(None) == "undefined"
    assert spread(None) == "1"
    assert markdown([("a|b",)])[-1] == "| a\\|b |"
