"""What a system leaves for `covjax.predict`, and what it says where that is missing."""

import json

import numpy as np
import pytest

from covjax import config, systems
from covjax.data.loading import load
from covjax.errors import InputError
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.familiarity import Familiarity
from covjax.systems import outcome
from covjax.systems.finished import System, read_card, without_embeddings


class Bright:
    """A system that looks at the mean of each picture."""

    def judge(self, images):
        share = images[:].mean(axis=(1, 2, 3)) / 255
        return without_embeddings(
            np.stack([1 - share, share], axis=1).astype(np.float32)
        )


class OpenedError(Exception):
    """The test split was asked for."""


@pytest.fixture(scope="module")
def splits():
    kwargs = {"patients": 30, "pictures_per_patient": (1, 1)}
    classes = ("normal", "covid19")
    return load(config.Data(size=16, classes=classes, gamma=0.9, kwargs=kwargs))


def test_all_is_saved_before_the_test_split_is_opened(splits, tmp_path, monkeypatch):
    def open_test(*_):
        raise OpenedError

    monkeypatch.setattr(outcome, "open_test", open_test)
    run = config.Run(system=config.System(name="cascade"))
    run.evaluation.threshold, run.evaluation.target = "sensitivity", 1.0
    with pytest.raises(OpenedError):
        outcome.report(run, splits, tmp_path, Bright())
    system = System(parts=Bright(), **read_card(tmp_path))
    assert (system.name, system.class_names) == ("cascade", ("normal", "covid19"))
    assert system.preprocess == splits.preprocess
    assert system.batch_size == run.train.batch_size
    pictures = splits.validation.images
    temperature = system.temperature
    assert temperature.value != 1
    assert not temperature.independent
    said, embeddings = system.judge(pictures)
    raw = Bright().judge(pictures).probabilities
    np.testing.assert_array_equal(said, temperature(raw))
    np.testing.assert_array_equal(said, system.scores(pictures))
    ill = said[splits.validation.labels == 1, 1]
    assert list(system.thresholds) == ["covid19"]
    assert ill.min() >= system.thresholds["covid19"] > ill.min() - 0.1
    # without embeddings, size and exposure alone are familiar or not
    familiar = Familiarity.load(tmp_path)
    embedding = embeddings[0]
    median = np.argsort(said[:, 1])[len(said) // 2]
    sides = (int(familiar.sides[0]), int(familiar.sides[1]))
    assert familiar.warnings(pictures[median], sides, embedding) == []
    white = np.full_like(pictures[0], 255)
    found = " ".join(familiar.warnings(white, sides, embedding))
    assert "brightness 255" in found
    assert "features" not in found


def test_pictures_of_another_size_are_refused(splits):
    system = System(
        parts=Bright(), name="cascade", class_names=("normal", "covid19"),
        preprocess=splits.preprocess, batch_size=4,
        temperature=Temperature(1.0, False), thresholds={},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"must be uint8 \[n, 16, 16, 1\]"):
        system.judge(np.zeros((2, 8, 8, 1), np.uint8))


def test_what_is_missing_or_damaged_is_one_line(tmp_path):
    def message():
        with pytest.raises(InputError) as error:
            systems.load(tmp_path)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "classifier.json: no such file" in message()
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1/classifier.json").write_text("{}")
    assert "holds several runs; name one of them, such as" in message()
    (tmp_path / "seed-1/classifier.json").unlink()
    run = config.Run(system=config.System(name="gan_augmentation"))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(run)))
    assert "classifier.json: no such file" in message()
    run.system.name = "anomaly"
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(run)))
    assert "system.json: no such file; a system that has finished" in message()
    (tmp_path / "system.json").write_text('{"name": "anomaly"}')
    assert "system.json: damaged: 'class_names'" in message()
    (tmp_path / "config.json").write_text("[]")
    assert "config.json: damaged" in message()
    (tmp_path / "segmenter.json").write_text("{}")
    assert "finds lungs and knows no classes" in message()
