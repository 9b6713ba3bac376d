"""The main job as a user runs it: a recipe to a report, and one line for bad input."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covjax import train
from covjax.errors import InputError

RECIPE = str(Path(__file__).resolve().parents[1] / "configs" / "resnet.py")
SMALL = ["--config.model.name=squeezenet1_1", "--config.data.limit=8"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of six grey pictures each, every one of another patient."""
    rng = np.random.default_rng(0)
    for name in ("covid", "normal"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 256, (40, 50), np.uint8)
            path = tmp_path / "pictures" / name / f"{name}{i}.png"
            Image.fromarray(pixels).save(path)
    return tmp_path / "pictures"


def run_in_process(*words: str) -> None:
    train.main(["--config", f"{RECIPE}:smoke", *words])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--config.data.name=phantm"], ["phantm", "phantom"]),
        (["--config.model.name=resnet19"], ["resnet19", "resnet18"]),
        (["--config.model.kwargs.depth=3"], ["depth"]),
        (["--config.data.size=16", "--config.model.name=densenet121"], ["16x16", "29"]),
        (["--config.data.name=folder", "--config.data.dir=absent"], ["absent"]),
        (["--config.data.kwargs.patience=3"], ["patience", "patients"]),
        (["--config.data.classes=normal,flu"], ["flu", "covid19"]),
        (["--config.train.devices=9"], ["devices=9", "8"]),
        (["--config.train.freeze=nowhere"], ["nowhere", "stem"]),
        (["--config.optimizer.stage_rates.nowhere=0.1"], ["nowhere"]),
        (["--config.model.pretrained=absent.pth"], ["absent.pth"]),
    ],
    ids=lambda value: value[-1] if value[-1].startswith("--") else "",
)
def test_bad_input_is_one_line(tmp_path, words, parts):
    with pytest.raises(InputError) as caught:
        run_in_process("--workdir", str(tmp_path / "run"), *words)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_report_of_an_earlier_version_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.json: has no 'headline'"):
        train.show({}, tmp_path)


def test_an_empty_class(tmp_path, folder):
    (folder / "flu").mkdir()
    with pytest.raises(InputError, match="flu"):
        run_in_process(
            "--workdir", str(tmp_path / "run"),
            "--config.data.name=folder", f"--config.data.dir={folder}",
        )  # fmt: skip


def test_an_unreadable_picture_is_named(tmp_path, folder):
    (folder / "covid" / "covid3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(InputError, match=r"covid3\.png"):
        run_in_process(
            "--workdir", str(tmp_path / "run"),
            "--config.data.name=folder", f"--config.data.dir={folder}",
        )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ["--config.data.name=folder", "--config.data.dir=absent"],
        ["--config.model.pretrained=absent.pth"],
        ["--config.model.name=absent"],
    ],
)
def test_a_failed_start_leaves_the_work_directory_free(tmp_path, words):
    """The corrected command must not be refused as another run."""
    place = tmp_path / "run"
    with pytest.raises(InputError, match="absent"):
        run_in_process("--workdir", str(place), *words)
    assert not place.exists()


def command(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "covjax.train", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_your_own_pictures_to_a_report(tmp_path, folder):
    """Trains on a folder, ends in a report, and does not open the test split again."""
    words = [
        "--config", f"{RECIPE}:smoke", *SMALL, "--workdir", str(tmp_path / "run"),
        "--config.data.name=folder", f"--config.data.dir={folder}",
        "--config.data.fractions=(0.5, 0.25, 0.25)",
    ]  # fmt: skip
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout
    run = tmp_path / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["classes"] == ["covid", "normal"]
    for name in ("roc.png", "confusion.png", "curves.png", "classifier.json"):
        assert (run / name).stat().st_size > 0
    assert len((run / "openings.jsonl").read_text().splitlines()) == 1

    again = command(*words)
    assert again.returncode == 0, again.stderr
    assert "finished before" in again.stderr
    assert len((run / "openings.jsonl").read_text().splitlines()) == 1

    other = command(*words, "--config.train.seed=7")
    assert other.returncode == 2
    assert other.stderr.startswith("error: ")
    assert "another run" in other.stderr


def test_every_fold_in_turn(tmp_path, monkeypatch):
    """Interrupted within the second fold, it goes on there, and joins both."""
    from covjax.training.trainer import Trainer

    place, validate, calls = tmp_path / "run", Trainer.validate, []

    def interrupted(self, state):
        calls.append(state)
        if len(calls) == 3:  # the first epoch of the second fold
            os.kill(os.getpid(), signal.SIGINT)
        return validate(self, state)

    monkeypatch.setattr(Trainer, "validate", interrupted)
    words = [
        "--config", f"{RECIPE}:smoke", *SMALL, "--workdir", str(place),
        "--config.data.folds=2", "--config.data.fold=-1", "--config.train.epochs=2",
    ]  # fmt: skip
    assert train.main(words) == 128 + signal.SIGINT
    first = (place / "fold-0" / "metrics.json").read_text()
    before = (place / "fold-1" / "log.jsonl").read_text()
    assert len(before.splitlines()) == 1
    assert not (place / "metrics.json").exists()
    with pytest.raises(InputError, match="run: holds another run"):
        train.main([*words, "--config.optimizer.learning_rate=0.5"])

    assert train.main(words) == 0
    assert len(calls) == 4
    assert (place / "fold-0" / "metrics.json").read_text() == first
    assert (place / "fold-1" / "log.jsonl").read_text().startswith(before)
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["test"]["n"] == 16
    assert metrics["repeats"]["numbers"] == [0, 1]
    assert "2 folds grouped by patient" in metrics["headline"]
    assert metrics["verdict"]["verdict"] == "verified"
    auc = [
        json.loads((place / f"fold-{k}" / "metrics.json").read_text())["test"]
        for k in (0, 1)
    ]
    values = [part["overall"]["auc"]["estimate"] for part in auc]
    assert metrics["repeats"]["measures"]["auc"]["values"] == values
    for k in (0, 1):
        openings = (place / f"fold-{k}" / "openings.jsonl").read_text()
        assert len(openings.splitlines()) == 1

    from covjax import report

    assert report.main(["--workdir", str(place)]) == 0
    assert "All folds, grouped by patient" in (place / "report.html").read_text()

    # what has finished in another way is no part of this
    with pytest.raises(InputError, match=r"fold-0: was evaluated with .*positive=''"):
        train.main([*words, "--config.evaluation.positive=normal"])
    (place / "config.json").unlink()
    with pytest.raises(InputError, match="fold-0: holds another run"):
        train.main([*words, "--config.optimizer.learning_rate=0.5"])
