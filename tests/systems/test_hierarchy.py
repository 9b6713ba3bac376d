"""The tree over a hierarchy: its vectors, weights and probabilities."""

import numpy as np
import pytest

from covjax.errors import InputError
from covjax.systems.hierarchy import HierarchicalTree, indicators

PATHS = ("normal", "ill/viral/covid", "ill/viral/sars", "ill/bacterial")


def test_a_class_stands_for_everything_above_it():
    vectors, depths = indicators(PATHS)
    # ill, normal; ill/bacterial, ill/viral; ill/viral/covid, ill/viral/sars
    assert depths.tolist() == [0, 0, 1, 1, 2, 2]
    assert vectors.tolist() == [
        [0, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 0, 0, 1, 0, 1],
        [1, 0, 1, 0, 0, 0],
    ]


def test_a_class_must_be_an_end():
    with pytest.raises(InputError, match=r"'ill/viral' leads through 'ill'"):
        indicators(("ill", "ill/viral"))


def test_the_tree_learns_and_gives_shares():
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    features = np.stack([labels, rng.normal(size=80)], axis=1)
    tree = HierarchicalTree(PATHS, min_samples_leaf=3, random_state=0)
    p = tree.fit(features, labels).predict_proba(features)
    assert p.argmax(axis=1).tolist() == labels.tolist()
    np.testing.assert_allclose(p.sum(axis=1), 1)

    stump = HierarchicalTree(PATHS, max_depth=1, random_state=0).fit(features, labels)
    rows = {tuple(np.round(row, 6)) for row in stump.predict_proba(features)}
    # one question: normal or ill, for the highest level weighs most
    assert rows == {(1, 0, 0, 0), (0, *[round(1 / 3, 6)] * 3)}


def test_weights_fall_with_the_depth():
    """The column that splits the top level wins over one that splits the bottom."""
    labels = np.array([0] * 6 + [1] * 3 + [2] * 3)
    top, bottom = labels > 0, labels == 2
    features = np.stack([bottom, top], axis=1).astype(float)
    paths = ("normal", "ill/covid", "ill/sars")
    tree = HierarchicalTree(paths, max_depth=1, random_state=0).fit(features, labels)
    assert tree.tree.tree_.feature[0] == 1
