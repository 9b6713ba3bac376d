"""Folds joined: every picture judged once, by its own fold's network and threshold."""

import dataclasses
import json

import numpy as np
import pytest

from covjax import config
from covjax.errors import InputError
from covjax.evaluation import folds, repeats
from covjax.evaluation.controls import RECIPES, Control
from covjax.evaluation.intervals import Measure
from covjax.evaluation.predictions import Predictions

NAMES = ("normal", "covid19")
THRESHOLDS = (0.3, 0.7)
# the probability of covid19 of each fold's test pictures, and their labels
SCORES = ((0.2, 0.4, 0.6), (0.6, 0.8))
LABELS = ((0, 0, 1), (1, 0))


def predictions(fold: int, split: str) -> Predictions:
    scores, labels = np.array(SCORES[fold]), np.array(LABELS[fold], np.int32)
    empty = np.full(len(labels), "")
    first = 0 if split == "validation" else 10 * fold  # validation may overlap
    return Predictions(
        labels=labels,
        probabilities=np.stack([1 - scores, scores], 1).astype(np.float32),
        patients=empty,
        sources=empty,
        files=np.array([f"{first + i}.png" for i in range(len(labels))]),
    )


def verdict(**changes) -> dict:
    return {
        "verdict": "verified",
        "pictures": 5,
        "patients": 5,
        "unknown_pictures": 0,
        "shared_patients": 0,
        "method": "fold 1 of 2",
        "sentence": "fold 1 of 2: 5 pictures",
    } | changes


@pytest.fixture
def places(tmp_path):
    found = {}
    for fold, threshold in enumerate(THRESHOLDS):
        place = found[fold] = tmp_path / f"fold-{fold}"
        place.mkdir()
        for split in ("validation", "test"):
            predictions(fold, split).save(place / f"predictions_{split}.npz")
        point = {"positive": "covid19", "threshold": threshold, "rule": "by hand"}
        (place / "metrics.json").write_text(json.dumps({"operating_point": point}))
        data = {
            "card": {"name": "drawn"},
            "verdict": verdict(),
            "counts": {"test": {"normal": 2 - fold, "covid19": 1}},
            "fingerprints": {"test": f"digest {fold}"},
        }
        (place / "data.json").write_text(json.dumps(data))
        controls = [control("border", predictions(fold, "test").probabilities)]
        controls.append(control("source", None))
        if fold:
            controls.append(control("corners", np.full((2, 2), 0.5)))
        folds.save_controls(controls, place)
    return found


def control(name: str, probabilities) -> Control:
    nothing = Measure(None, None, None, 0, "", "")
    return Control(name, False, probabilities, nothing, {}, "")


def test_every_picture_is_judged_once(places):
    joined = folds.pooled(places, "test")
    assert joined.files.tolist() == ["0.png", "1.png", "2.png", "10.png", "11.png"]
    np.testing.assert_allclose(joined.probabilities[:, 1], np.concatenate(SCORES))
    assert joined.labels.tolist() == [0, 0, 1, 1, 0]
    assert len(folds.pooled(places, "validation")) == 5


def test_a_picture_in_two_test_splits_is_refused(places):
    predictions(0, "test").save(places[1] / "predictions_test.npz")
    with pytest.raises(InputError, match=r"fold-1: 0\.png is in the test split of ano"):
        folds.pooled(places, "test")


def test_each_fold_calls_by_its_own_threshold(places):
    point, called = folds.own_points(places, NAMES)
    assert (point.positive, point.threshold, point.rule) == ("covid19", None, "by hand")
    # from 0.3 on in fold 0, from 0.7 on in fold 1
    assert called["test"].tolist() == [False, True, True, False, True]
    (places[1] / "metrics.json").write_text('{"operating_point": null}')
    assert folds.own_points(places, NAMES) == (None, {})


def test_controls_are_pooled_where_every_fold_has_them(places):
    joined = folds.pooled(places, "test")
    found = {c.name: c for c in folds.pooled_controls(places, joined, NAMES, 0.95)}
    assert list(found) == [recipe.name for recipe in RECIPES]
    # covid19 has 0.6 and 0.6, normal 0.2, 0.4 and 0.8: four of six pairs are in order
    assert found["border"].auc.estimate == pytest.approx(4 / 6)
    assert found["border"].auc.n == 5
    for name in ("source", "corners"):
        assert found[name].probabilities is None
        assert "cannot be tried" in found[name].sentence


def test_joined_data_counts_every_picture(places):
    data = folds.joined_data(places, config.Data(folds=2))
    assert data["counts"] == {"test": {"normal": 3, "covid19": 2}}
    assert data["fingerprints"] == {
        "test of fold 0": "digest 0",
        "test of fold 1": "digest 1",
    }
    assert data["verdict"]["sentence"] == "2 folds grouped by patient: 5 pictures"


def test_the_worst_fold_gives_the_verdict():
    bad = verdict(
        verdict="violated",
        shared_patients=3,
        method="fold 2 of 2 by image",
        sentence="fold 2 of 2 by image: 5 pictures; violated",
    )
    found = folds.worst([verdict(), bad], config.Data(folds=2, split="image"))
    assert found["verdict"] == "violated"
    assert found["sentence"] == (
        "2 folds of pictures, not of patients: 5 pictures; violated "
        "(in fold 2 of 2 by image, the worst)"
    )


@pytest.mark.parametrize(
    ("split", "changes", "words"),
    [
        ("image", {}, "of pictures, not of patients"),
        ("auto", {"patients": 0, "unknown_pictures": 5}, "whose patients are unknown"),
        ("auto", {"unknown_pictures": 2}, "by patient where one is known"),
        ("grouped", {}, "grouped by patient"),
    ],
)
def test_what_folds_are_made_of(split, changes, words):
    assert folds.units(verdict(**changes), config.Data(split=split)).endswith(words)


def test_a_recipe_asks_for_folds_or_seeds(tmp_path):
    run = config.Run()
    assert [(r.run, r.place) for r in repeats.plan(run, tmp_path)] == [(run, tmp_path)]
    crossed = dataclasses.replace(run, data=config.Data(folds=3))
    plan = repeats.plan(crossed, tmp_path)
    assert [(r.run.data.fold, r.place.name) for r in plan] == [
        (k, f"fold-{k}") for k in range(3)
    ]
    one = dataclasses.replace(run, data=config.Data(folds=3, fold=1))
    assert [r.place for r in repeats.plan(one, tmp_path)] == [tmp_path]
    run.train.seed, run.train.seeds = 5, 2
    plan = repeats.plan(run, tmp_path)
    assert [(r.number, r.run.train.seed, r.run.train.seeds) for r in plan] == [
        (5, 5, 1), (6, 6, 1),
    ]  # fmt: skip


def test_seeds_and_folds_are_not_repeated_at_once():
    run = config.Run()
    run.train.seeds, run.data.folds = 2, 5
    with pytest.raises(InputError, match=r"seeds=2, config\.data\.folds=5.*fold=0"):
        config.check(run)
    run.data.fold = 0
    config.check(run)
