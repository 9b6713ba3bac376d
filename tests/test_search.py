"""Search: by validation alone, resumed, and its best recipe trains."""

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from covjax import cli, config, search
from covjax.data import loading
from covjax.errors import InputError
from covjax.training.trainer import Trainer

RECIPES = Path(__file__).resolve().parents[1] / "configs"
RECIPE = f"{RECIPES / 'survey' / 'covidiagnosis_net.py'}:smoke"
SMALL = ["--config.data.limit=8", "--config.data.size=32", "--config.train.devices=1"]


def words(place, trials=3, *more) -> list[str]:
    return [
        "--config", RECIPE, "--workdir", str(place), "--trials", str(trials), *SMALL,
        *more,
    ]  # fmt: skip


@pytest.fixture
def blind(monkeypatch):
    """Whatever is asked of the test split fails."""

    class Sealed:
        def __getattr__(self, name):
            raise AssertionError(f"the test split was asked for its {name}")

        def __len__(self):
            return 8

        def counts(self):
            return dict.fromkeys(("normal", "pneumonia", "covid19"), 0)

    load = loading.load

    def sealed(*arguments, **kwargs):
        splits = load(*arguments, **kwargs)
        object.__setattr__(splits, "test", Sealed())
        return splits

    monkeypatch.setattr("covjax.data.load", sealed)


def test_interrupted_it_goes_on_and_writes_the_best(
    tmp_path, monkeypatch, blind, capsys
):
    validate, calls = Trainer.validate, []

    def interrupted(self, state):
        calls.append(self.run.optimizer)
        if len(calls) == 2:  # in the second trial
            os.kill(os.getpid(), signal.SIGINT)
        return validate(self, state)

    monkeypatch.setattr(Trainer, "validate", interrupted)
    more = ["--config.train.epochs=2"]
    assert search.main(words(tmp_path, 1, "--config.train.epochs=1")) == 0
    with pytest.raises(InputError, match="another run"):
        search.main(words(tmp_path, 3, *more))

    place = tmp_path / "search"
    calls.clear()
    assert search.main(words(place, 3, *more)) == 128 + signal.SIGINT
    assert search.main(words(place, 3, *more)) == 0
    out = capsys.readouterr().out
    # the interrupted trial has gone on where it was, with the same values
    folders = sorted(path.name for path in place.glob("trial-*"))
    assert len(folders) == 3
    assert len(calls) == 3 * 2
    assert calls[0] == calls[1]
    scores = {}
    for folder in place.glob("trial-*"):
        rows = (folder / "log.jsonl").read_text().splitlines()
        assert len(rows) == 2
        values = json.loads((folder / "config.json").read_text())["optimizer"]
        scores[folder.name] = max(json.loads(row)["score"] for row in rows), values
        assert not (folder / "openings.jsonl").exists()
    rates = [values["learning_rate"] for _, values in scores.values()]
    assert len(set(rates)) == 3
    for name, (low, high, _) in search.RANGES.items():
        assert all(low <= values[name] <= high for _, values in scores.values())

    best = max(score for score, _ in scores.values())
    recipe = cli.load_config(str(place / "best.py"), [])
    found = config.to_dict(recipe)["optimizer"]
    tied = [values for score, values in scores.values() if score == best]
    assert json.loads(json.dumps(found)) in tied
    assert f"validation accuracy {best:.4f}" in out
    assert (place / "best.py").read_text().count("import ") == 1  # what it needs
    assert recipe.data == cli.load_config(RECIPE, SMALL).data
    assert recipe.train.epochs == 2
    smoke = runpy.run_path(str(place / "best.py"))["get_config"]("smoke")
    assert smoke.train.epochs == 1

    # all there: nothing is trained; one more goes on
    assert search.main(words(place, 3, *more)) == 0
    assert len(calls) == 6
    assert search.main(words(place, 4, *more)) == 0
    assert len(calls) == 8


def test_momentum_is_searched_where_there_is_one(tmp_path, monkeypatch):
    tried = []

    def fit(run, shown, place, **_):
        from types import SimpleNamespace

        tried.append(run.optimizer)
        if len(tried) == 1:
            raise InputError("loss is not finite in epoch 1")
        return SimpleNamespace(history=[{"score": None}, {"score": 0.5}])

    monkeypatch.setattr("covjax.training.loop.fit", fit)
    assert search.main(words(tmp_path, 2, "--config.optimizer.name=adam")) == 0
    assert {settings.momentum for settings in tried} == {0.9}
    # what came apart is not the best
    recipe = cli.load_config(str(tmp_path / "best.py"), [])
    assert recipe.optimizer == tried[1]


def test_without_any_measure_there_is_no_best(tmp_path, monkeypatch):
    from types import SimpleNamespace

    empty = SimpleNamespace(history=[{"score": None}, {}])
    monkeypatch.setattr("covjax.training.loop.fit", lambda *_, **__: empty)
    with pytest.raises(InputError, match="no trial of 1 has a validation measure"):
        search.main(words(tmp_path, 1))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trials", "0"], "--trials=0: must be at least 1"),
        (["--config.system.name=cascade"], "cascade"),
        (["--config.data.folds=3"], "one fold, such as --config.data.fold=0"),
        (["--config.train.epochs=0"], "epochs=0: must be at least 1"),
    ],
)
def test_bad_input_is_one_line(tmp_path, more, message):
    if "folds" in more[0]:
        more = [*more, "--config.data.fold=-1"]
    with pytest.raises(InputError, match=message):
        search.main([*words(tmp_path / "search"), *more])
    assert not (tmp_path / "search").exists()


def test_without_optuna_one_line_says_how_to_install(tmp_path):
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from covjax import cli, search\n"
        "sys.argv = ['search', *sys.argv[1:]]\n"
        "cli.run_command(search.main)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words(tmp_path / "search")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install covjax[search]" in done.stderr
