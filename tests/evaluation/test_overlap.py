"""Dice and Jaccard by hand, and their intervals."""

import numpy as np
import pytest

from covjax.evaluation.overlap import dice, jaccard, overlap


def mask(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


CASES = [  # predicted, truth, |both|, |predicted|, |truth|
    (mask("##.", "..."), mask(".##", "..."), 1, 2, 2),
    (mask("###", "###"), mask("#..", "..."), 1, 6, 1),
    (mask("#..", "..."), mask("..#", "..."), 0, 1, 1),
    (mask("##.", "#.."), mask("##.", "#.."), 3, 3, 3),
]


def test_by_hand():
    predicted = np.stack([case[0] for case in CASES])
    truth = np.stack([case[1] for case in CASES])
    np.testing.assert_allclose(dice(predicted, truth), [2 / 4, 2 / 7, 0, 1])
    np.testing.assert_allclose(jaccard(predicted, truth), [1 / 3, 1 / 6, 0, 1])
    assert [c[2] for c in CASES] == list((predicted & truth).sum(axis=(1, 2)))


def test_two_empty_masks_agree():
    empty = np.zeros((1, 2, 2), bool)
    assert dice(empty, empty) == jaccard(empty, empty) == [1.0]
    assert dice(empty, ~empty) == jaccard(empty, ~empty) == [0.0]


def test_jaccard_follows_from_dice():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 5, 7)) < 0.4
    d = dice(a, b)
    np.testing.assert_allclose(jaccard(a, b), d / (2 - d))


def test_interval_holds_the_mean_and_counts_patients():
    rng = np.random.default_rng(1)
    truth = rng.random((40, 8, 8)) < 0.5
    predicted = truth ^ (rng.random((40, 8, 8)) < rng.uniform(0, 0.6, (40, 1, 1)))
    alone = np.array([f"p{i}" for i in range(40)])
    how = {"level": 0.95, "resamples": 400}
    found = overlap(predicted, truth, alone, **how)
    for name, values in (("dice", dice), ("jaccard", jaccard)):
        row = found[name]
        assert row.estimate == pytest.approx(values(predicted, truth).mean())
        assert row.low < row.estimate < row.high
        assert row.n == 40
    # every picture eight times over is no more to go by
    eightfold = overlap(
        np.repeat(predicted, 8, 0), np.repeat(truth, 8, 0), np.repeat(alone, 8), **how
    )["dice"]
    width = found["dice"].high - found["dice"].low
    assert eightfold.high - eightfold.low == pytest.approx(width, rel=1e-6)
