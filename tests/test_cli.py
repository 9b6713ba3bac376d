"""Recipes and overrides: what is accepted, and one line for what is not."""

import gc
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covjax import cli, config
from covjax.errors import InputError

RECIPE = str(Path(__file__).resolve().parents[1] / "configs" / "densenet.py")
RECIPES = sorted(Path(RECIPE).parent.rglob("*.py"))


def test_recipe_and_overrides():
    run = cli.load_config(
        f"{RECIPE}:covid_ct",
        [
            "--config.train.epochs=3",
            "--config.optimizer.learning_rate",
            "1e-4",
            "--config.train.remat",
            "--config.train.sizes=32,64",
            "--config.train.freeze=('stem', 'stage1')",
            "--config.model.kwargs.growth_rate=12",
        ],
    )
    assert run.data.name == "covid_ct"
    assert run.data.size == 224
    assert run.train.epochs == 3
    assert run.optimizer.learning_rate == 1e-4
    assert run.train.remat is True
    assert run.train.sizes == (32, 64)
    assert run.train.freeze == ("stem", "stage1")
    assert run.model.kwargs == {"growth_rate": 12}


@pytest.mark.parametrize(
    ("source", "words", "parts"),
    [
        (RECIPE, ["--config.train.epoch=3"], ["train.epoch", "did you mean epochs"]),
        (RECIPE, ["--config.trian.epochs=3"], ["'trian'", "did you mean train"]),
        (RECIPE, ["--config.train.epochs=3.5"], ["train.epochs=3.5", "int"]),
        (RECIPE, ["--config.train.remat=maybe"], ["remat=maybe", "bool"]),
        (RECIPE, ["--config.train=3"], ["config.train", "section"]),
        (RECIPE, ["--config.train.epochs.x=3"], ["epochs has no fields"]),
        (RECIPE, ["--config.train.epochs"], ["Missing value", "epochs"]),
        (RECIPE, ["--config.model.kwargs=3"], ["--config.model.kwargs.KEY=VALUE"]),
        (RECIPE, ["--config.system.kwargs.foo=1"], ["config.system.name is empty"]),
        (RECIPE, ["--config.train.loss=l2"], ["'l2'", "cross_entropy, focal"]),
        (RECIPE, ["--config.optimizer.learning_rate=-1"], ["-1.0", "at least 0"]),
        (RECIPE, ["--config.optimizer.learning_rate=nan"], ["nan", "at least 0"]),
        (RECIPE, ["--config.data.fractions=(.5,.5)"], ["fractions", "add up to 1"]),
        (RECIPE, ["--config.data.folds=5", "--config.data.fold=5"], ["fold=5"]),
        (RECIPE, ["--config.data.fold=2"], ["fold=2", "needs config.data.folds"]),
        (
            RECIPE,
            ["--config.data.manifest=a.csv"],
            ["manifest='a.csv'", "needs config.data.name=folder"],
        ),
        (RECIPE, ["--config.data.folds=5", "--config.data.test_source=a"], ["source"]),
        (RECIPE, ["--config.train.seed=-1"], ["seed=-1", "at least 0"]),
        (RECIPE, ["--config.data.std=0.0"], ["std", "above 0"]),
        (RECIPE, ["extra"], ["'extra'", "--config.FIELD=VALUE"]),
        (RECIPE, ["--verbose"], ["--verbose", "unknown flag"]),
        (f"{RECIPE}:bogus", [], ["'bogus'", "covid_ct"]),
        ("absent.py", [], ["absent.py", "no such file"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(source, words, parts):
    with pytest.raises(InputError) as caught:
        cli.load_config(source, words)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_file_that_is_no_recipe(tmp_path):
    (tmp_path / "notes.py").write_text("not python")
    with pytest.raises(InputError, match="not a recipe"):
        cli.load_config(str(tmp_path / "notes.py"), [])
    (tmp_path / "typo.py").write_text(
        "from covjax import config\n\n"
        "def get_config(_=''):\n    return config.Run(data=config.Data(sise=3))\n"
    )
    with pytest.raises(InputError, match=r"not a recipe: .*'sise'"):
        cli.load_config(str(tmp_path / "typo.py"), [])
    (tmp_path / "other.py").write_text("def get_config(_=''):\n    return {}\n")
    with pytest.raises(InputError, match=r"must return covjax\.config\.Run"):
        cli.load_config(str(tmp_path / "other.py"), [])


def test_run_survives_json():
    import json

    run = cli.load_config(RECIPE, ["--config.train.sizes=32,64"])
    assert config.from_dict(json.loads(json.dumps(config.to_dict(run)))) == run
    with pytest.raises(InputError, match="unknown field"):
        config.from_dict({"train": {"epoch": 1}})
    with pytest.raises(InputError, match="unknown section"):
        config.from_dict({"trian": {}})


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_loads_and_shrinks(path):
    full = cli.load_config(str(path), [])
    small = cli.load_config(f"{path}:smoke", [])
    assert small.train.epochs <= 1 < full.train.epochs
    assert small.data.limit


def fastest(arguments: list[str], status: int, seconds: float) -> str:
    """Best of three runs of a command, as a noisy machine allows; its output."""
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "covjax.train", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        best = min(best, time.perf_counter() - start)
        assert done.returncode == status, done.stderr
        if best < seconds:
            break
    assert best < seconds
    return done.stdout + done.stderr


def test_help_teaches_within_a_second():
    text = fastest(["--help"], status=0, seconds=1.0)
    assert "--config.train.epochs=3" in text
    assert "covid_ct,smoke" in text


def test_misspelt_field_within_two_seconds():
    words = ["--config", RECIPE, "--config.train.epoch=3"]
    text = fastest(words, status=2, seconds=2.0)
    assert text.count("\n") == 1
    assert text.startswith("error: --config.train.epoch: unknown field")


def test_commands_look_for_garbage_less_often():
    before, seen = gc.get_threshold(), []

    def main(_words):
        seen.append(gc.get_threshold()[0])
        return 0

    try:
        gc.set_threshold(700)
        with pytest.raises(SystemExit):
            cli.run_command(main)
    finally:
        gc.set_threshold(*before)
    assert seen == [cli.GARBAGE]
