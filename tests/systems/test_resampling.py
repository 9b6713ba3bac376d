"""Balancing by class: how many, and where new vectors lie."""

import numpy as np
import pytest

from covjax.systems.resampling import NEIGHBOURS, between, resample, tomek_links

RNG = np.random.default_rng


def data():
    rng = RNG(0)
    labels = np.repeat([0, 1, 2], [20, 8, 3])
    return rng.normal(size=(31, 4)) + 10 * labels[:, None], labels


@pytest.mark.parametrize(
    ("kind", "size"), [("oversample", 20), ("undersample", 3), ("smote", 20)]
)
def test_classes_become_equal(kind, size):
    features, labels = data()
    found, targets = resample(features, labels, kind, RNG(1))
    assert np.bincount(targets).tolist() == [size] * 3
    nearest = np.abs(found[:, None] - features[None]).sum(-1).min(1)
    if kind != "smote":
        assert nearest.max() == 0  # only what was there
    np.testing.assert_array_equal(np.round(found.mean(1) / 10), targets)


def test_none_changes_nothing():
    features, labels = data()
    found, targets = resample(features, labels, "none", RNG(1))
    assert found is features
    assert targets is labels


def test_smote_keeps_the_originals_and_adds_on_segments():
    """Each new vector divides the line to one of the nearest of its own class."""
    features, labels = data()
    found, targets = resample(features, labels, "smote", RNG(1))
    for label in (1, 2):
        own = features[labels == label]
        rows = found[targets == label]
        np.testing.assert_array_equal(rows[: len(own)], own)
        distance = np.linalg.norm(own[:, None] - own[None], axis=-1)
        for new in rows[len(own) :]:
            hits = []
            for i, start in enumerate(own):
                near = np.argsort(distance[i])[1 : NEIGHBOURS + 1]
                for end in own[near]:
                    share = (new - start) @ (end - start) / ((end - start) ** 2).sum()
                    miss = np.linalg.norm(start + share * (end - start) - new)
                    hits.append(miss < 1e-9 and 0 <= share <= 1)
            assert any(hits)


def test_smote_of_one_vector_repeats_it():
    found = between(np.array([[1.0, 2.0]]), 3, RNG(0))
    np.testing.assert_array_equal(found, [[1.0, 2.0]] * 3)


def test_tomek_links_are_mutual_neighbours_of_two_classes():
    features = np.array([[0.0], [1.0], [1.2], [3.0], [3.1], [9.0]])
    labels = np.array([0, 0, 1, 1, 1, 0])
    # 1.0 and 1.2 are each other's nearest; 3.0 and 3.1 too, but of one class
    assert tomek_links(features, labels).tolist() == [False, True, True] + [False] * 3


def test_smote_tomek_takes_away_what_is_linked():
    features, labels = data()
    features = features - 9.5 * labels[:, None]  # the classes touch
    plain, _ = resample(features, labels, "smote", RNG(1))
    found, targets = resample(features, labels, "smote_tomek", RNG(1))
    linked = tomek_links(*resample(features, labels, "smote", RNG(1)))
    assert len(found) == len(plain) - linked.sum() < len(plain)
    assert len(found) == len(targets)
