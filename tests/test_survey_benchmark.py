"""The survey's table: rows run once, resume, and are never estimated."""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import harness, survey
from benchmarks.survey_rows import ROWS
from benchmarks.survey_table import figure, markdown, protocol, spread
from covjax import cli, config, data
from covjax.errors import InputError
from covjax.evaluation import folds, repeats
from covjax.evaluation.final import record_data

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
        told = {"counts": {"test": {"a": 1}}, "fingerprints": {"test": "0"}}
        (place / "data.json").write_text(json.dumps(told))
        overrides = [word for word in words if word.startswith("--config.")]
        run = cli.load_config(words[words.index("--config") + 1], overrides)
        if run.data.name == "folder":
            record_data(data.load(run.data), place)
        return 0, ""

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


@pytest.fixture
def listed(tmp_path):
    """A manifest for row 13, and its pictures."""
    draw, lines = np.random.default_rng(0), ["path,label"]
    for label, i in itertools.product(("normal", "pneumonia", "COVID-19"), range(10)):
        name = f"{label}{i}.png"
        pixels = draw.integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        lines.append(f"{name},{label}")
    place = tmp_path / "LIST.csv"
    place.write_text("\n".join(lines) + "\n")
    return place


RANDOM = "--config.system.kwargs.networks={'mobilenet_v2': '', 'squeezenet1_1': ''}"


def result(capsys):
    return capsys.readouterr().out.splitlines()[2]


def test_every_row_of_the_survey_is_there():
    assert {row.number for row in ROWS} == set(range(1, 23))
    assert len({row.key for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("number", range(1, 23))
def test_every_variant_of_a_recipe_has_a_row(number):
    """But for the steps before a system's training."""
    (path,) = survey.RECIPES.glob(f"row{number:02d}_*.py")
    with pytest.raises(InputError) as error:
        cli.load_config(f"{path}:unheard-of", [])
    groups = re.search(r"must be one of (.*)", str(error.value))[1].split(
        "; or one of "
    )
    variants = {
        ",".join(words)
        for words in itertools.product(*(group.split(", ") for group in groups[:-1]))
    }
    steps = {"pretraining", "segmentation"}
    assert {row.variant for row in ROWS if row.number == number} == variants - steps


def test_rows_without_a_figure_are_named_in_full(trained, capsys):
    keys = {"22:densenet201,three", "22:densenet201,two", "22:chexnet,two"}
    assert {row.key for row in survey.chosen(["22"])} == keys
    assert all(row.reported for row in survey.chosen([]))
    assert [row.key for row in survey.chosen(["22:resnet18,two"])] == [
        "22:resnet18,two"
    ]
    assert survey.main(["22:resnet18,two", "4:confidence", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "AUC 83.61 %, sensitivity 71.70 %, other data (Zhang 2020" in lines[2]
    assert "no figure known (Chowdhury 2020" in lines[3]


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
    assert by_key["20:flat,early"].endswith("; pretrained, not fine-tuned")
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


def test_settings_of_a_system_can_be_changed(trained, listed):
    assert survey.main(["13", "--data-dir", f"row13={listed}", RANDOM]) == 0
    assert RANDOM in trained[0]


def test_a_result_of_a_folder_is_of_its_pictures(trained, listed, capsys):
    words = ["13", "--data-dir", f"row13={listed}", RANDOM]
    for _ in range(2):
        assert survey.main(words) == 0
        cells = result(capsys).split(" | ")
        assert cells[2] == "drawn: 10 normal, 10 pneumonia, 10 COVID-19"
        assert "accuracy 50.0 %" in cells[5]
    assert len(trained) == 1

    picture = listed.parent / "normal3.png"
    before = picture.read_bytes()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(picture)
    assert survey.main([*words, "--list"]) == 0
    assert "not run yet" in result(capsys)
    assert survey.main(words) == 0
    assert len(trained) == 2
    first, second = (words[words.index("--workdir") + 1] for words in trained)
    assert first != second  # else covjax.train would read the first one's result
    picture.write_bytes(before)
    capsys.readouterr()
    assert survey.main([*words, "--list"]) == 0
    assert "accuracy 50.0 %" in result(capsys)
    assert len(trained) == 2


def test_an_old_result_is_listed_but_nobodys_own(trained, listed, capsys):
    """Of before the pictures were written down."""
    repository = Path(survey.__file__).parent / "results" / "survey-cpu2.jsonl"
    harness.RESULTS.mkdir()
    shutil.copy(repository, harness.RESULTS)
    assert survey.main(["13", "--list"]) == 0
    row = result(capsys)
    assert "| folder: 85 test pictures, not told which |" in row
    assert "accuracy 67.1 %" in row
    assert survey.main(["13", "--list", "--data-dir", f"row13={listed}"]) == 0
    assert "not run yet" in result(capsys)
    assert survey.main(["13", "--data-dir", f"row13={listed}", RANDOM]) == 0
    assert "accuracy 50.0 %" in result(capsys)
    assert len(trained) == 1


def test_a_list_of_absent_pictures_has_failed(trained, tmp_path, capsys):
    place = tmp_path / "LIST.csv"
    place.write_text("path,label\nabsent.png,normal\n")
    shutil.copytree(Path(survey.__file__).parent / "results", harness.RESULTS)
    assert survey.main(["13", "--data-dir", f"row13={place}", RANDOM]) == 1
    row = result(capsys)
    assert "failed: " in row
    assert "%]" not in row
    assert not trained


def test_fingerprints_are_those_of_the_folds(listed, tmp_path):
    run = config.Run()
    run.data = config.Data(
        name="folder", manifest=str(listed), size=32, split="image", folds=3
    )
    places = {}
    for repeat in repeats.plan(run, tmp_path):
        repeat.place.mkdir()
        record_data(data.load(repeat.run.data), repeat.place)
        places[repeat.number] = repeat.place
    joined = folds.joined_data(places, run.data)
    assert survey.fingerprints(run) == joined["fingerprints"]
    counts = {"COVID-19": 10, "normal": 10, "pneumonia": 10}
    assert survey.pictures(joined)["counts"] == counts


def test_a_rehearsal_says_so_in_its_command(trained, monkeypatch, tmp_path):
    assert survey.main(["8:two", "--smoke", "--config.train.seed=1"]) == 0
    (results,) = (tmp_path / "results").glob("*.jsonl")
    command = json.loads(results.read_text())["command"]
    assert command == "python -m benchmarks.survey 8:two --smoke --config.train.seed=1"


def test_words_that_fit_some_rows_leave_the_others_out(trained, pictures, capsys):
    words = ["8:two", "9:two", "--data-dir", pictures, "--config.data.fold=4"]
    assert survey.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "accuracy 50.0 %" in lines[2]
    assert "not run: config.data.fold" in lines[3]
    assert len(trained) == 1


def test_after_an_interruption_no_row_is_begun(trained, pictures, capsys, monkeypatch):
    monkeypatch.setattr(
        survey, "train", lambda words: trained.append(words) or (130, "")
    )
    assert survey.main(["8", "--data-dir", pictures]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert "interrupted: the same command goes on" in lines[2]
    assert "not run: interrupted before" in lines[3]
    assert len(trained) == 1


def test_a_failed_row_does_not_stop_the_others(trained, pictures, capsys, monkeypatch):
    told = [(2, "a.png: no picture"), (1, "")]
    monkeypatch.setattr(
        survey, "train", lambda words: trained.append(words) or told[len(trained) - 1]
    )
    assert survey.main(["8", "--data-dir", pictures]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "| failed with status 2: a.png: no picture |" in lines[2]
    assert "| failed with status 1 |" in lines[3]
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data-dir", "darkcovidnt=."], "NAME rowNN or one of"),
        (["--data-dir", "islam=absent"], "absent does not exist"),
        (["--config.data.fould=0"], "fould"),
        (["--smok"], "--smok"),
        (["--config.train.epochs=x"], "epochs=x: must be of type int"),
        (["--config.data.fold=9"], "config.data.fold"),
        (["--config.data.manifest=a.csv"], "must be given as --data-dir"),
        (["--config.data.dir", "a"], "must be given as --data-dir"),
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
