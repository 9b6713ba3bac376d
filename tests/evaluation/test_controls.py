import dataclasses

import numpy as np
import pytest

from covjax import config
from covjax.data import load
from covjax.data.imageset import ImageSet
from covjax.data.loading import Splits
from covjax.data.preprocess import Preprocess
from covjax.evaluation import controls
from covjax.evaluation.ranking import roc_auc

BLIND = {"source", "header", "person", "border", "corners", "exposure"}


def splits_of(train: ImageSet, test: ImageSet) -> Splits:
    return Splits(
        train=train,
        validation=test,
        test=test,
        preprocess=Preprocess(size=train.images.shape[1]),
        verdict={},
        card={},
    )


def phantom_splits(shortcut: str) -> Splits:
    options = {"shortcut": shortcut, "patients": 150}
    return load(config.Data(name="phantom", size=48, kwargs=options))


def noise(n: int, seed: int, **columns) -> ImageSet:
    """Pictures without content; two classes, one patient a picture."""
    rng = np.random.default_rng(seed)
    empty = np.full(n, "")
    whole = {
        "images": rng.integers(0, 256, (n, 32, 32, 1), np.uint8),
        "labels": (np.arange(n) % 2).astype(np.int32),
        "class_names": ("normal", "covid19"),
        "patients": np.arange(n).astype(str),
        "sources": empty,
        "splits": empty,
        "files": np.char.add(np.arange(n).astype(str), ".png"),
    }
    return ImageSet(**{**whole, **columns})


def results(splits: Splits) -> dict[str, controls.Control]:
    return {control.name: control for control in controls.run(splits)}


@pytest.mark.parametrize(
    ("shortcut", "expected", "innocent"),
    [
        ("marker", {"corners"}, {"source", "header", "person", "exposure"}),
        ("exposure", {"source", "exposure"}, {"person"}),
        ("format", {"header"}, {"source", "person", "border", "corners", "exposure"}),
    ],
)
def test_each_planted_shortcut_is_found_by_its_control(shortcut, expected, innocent):
    found = results(phantom_splits(shortcut))
    assert {name for name, c in found.items() if not c.sees_lungs} == BLIND
    for name in expected:
        assert found[name].alarm, name
    for name in innocent:
        assert not found[name].alarm, name


def test_controls_that_see_the_lungs_never_alarm():
    train, test = noise(80, 0), noise(40, 1)
    for images in (train, test):
        images.images[images.labels == 1, 8:24, 8:24] //= 4
    found = results(splits_of(train, test))
    assert found["logistic"].auc.low > 0.8
    assert not found["logistic"].alarm
    assert not found["border"].alarm


def test_source_control_predicts_each_sources_class_shares():
    train, test = noise(80, 0), noise(4, 1)
    sources = np.where(np.arange(80) < 40, "a", "b")
    labels = np.concatenate([np.arange(40) < 30, np.arange(40) < 4]).astype(np.int32)
    train = dataclasses.replace(train, sources=sources, labels=labels)
    test = dataclasses.replace(test, sources=np.array(["a", "b", "b", "a"]))
    probabilities = results(splits_of(train, test))["source"].probabilities
    np.testing.assert_allclose(probabilities[:, 1], [0.75, 0.1, 0.1, 0.75])


def test_person_control_reads_age_sex_and_view():
    def aged(images):
        age = np.where(images.labels == 1, "70", "30")
        return dataclasses.replace(images, metadata={"age": age})

    found = results(splits_of(aged(noise(80, 0)), aged(noise(40, 1))))
    assert found["person"].alarm
    assert "age and sex" in found["person"].sentence


def test_what_is_unknown_is_said_and_not_scored():
    found = results(splits_of(noise(40, 0), noise(20, 1)))
    for name in ("source", "header", "person"):
        assert found[name].probabilities is None
        assert found[name].auc.estimate is None
        assert "cannot be tried" in found[name].sentence
        assert not found[name].alarm


def test_auc_is_that_of_the_probabilities_and_stands_in_the_sentence():
    train, test = noise(60, 0), noise(30, 1)
    control = results(splits_of(train, test))["border"]
    value = roc_auc(test.labels == 1, control.probabilities[:, 1])
    assert control.auc.estimate == pytest.approx(value)
    assert control.auc.n == 30
    assert f"AUC {value:.2f} [{control.auc.low:.2f}, " in control.sentence
    np.testing.assert_allclose(control.probabilities.sum(axis=1), 1)


def test_several_labels_a_picture():
    rng = np.random.default_rng(0)
    train, test = noise(80, 0), noise(40, 1)
    multi = []
    for images in (train, test):
        labels = rng.integers(0, 2, (len(images), 2)).astype(np.uint8)
        sources = np.where(labels[:, 1] == 1, "a", "b")
        multi.append(dataclasses.replace(images, labels=labels, sources=sources))
    control = results(splits_of(*multi))["source"]
    assert control.probabilities.shape == (40, 2)
    np.testing.assert_allclose(control.probabilities[:, 1], multi[1].labels[:, 1])
    assert 0.5 < control.auc.estimate < 1  # the first label is chance


def test_a_test_split_of_one_class_has_no_auc():
    test = noise(20, 1)
    test = dataclasses.replace(test, labels=np.zeros(20, np.int32))
    control = results(splits_of(noise(40, 0), test))["border"]
    assert control.auc.estimate is None
    assert "cannot be measured" in control.sentence


def test_a_training_split_of_one_class_is_predicted_whole():
    train = dataclasses.replace(noise(20, 0), labels=np.ones(20, np.int32))
    control = results(splits_of(train, noise(10, 1)))["border"]
    np.testing.assert_array_equal(control.probabilities[:, 1], 1)


def test_small_pictures_and_large_sets(monkeypatch):
    monkeypatch.setattr(controls, "MOST", 30)
    train, test = noise(64, 0), noise(20, 1)
    train = dataclasses.replace(train, images=train.images[:, :9, :9])
    test = dataclasses.replace(test, images=test.images[:, :9, :9])
    first, again = results(splits_of(train, test)), results(splits_of(train, test))
    for name, control in first.items():
        if control.probabilities is not None:
            np.testing.assert_array_equal(
                control.probabilities, again[name].probabilities
            )


def test_the_seeds_of_a_run_fit_them_once():
    splits = splits_of(noise(24, 0), noise(12, 1))
    found = controls.run(splits, level=0.9)
    assert controls.run(splits, level=0.9) is found
    others = splits_of(splits.train, noise(12, 2))
    assert controls.run(others, level=0.9) is not found
