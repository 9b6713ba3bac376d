"""The order of an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covjax.data.order import (
    epoch_order,
    evaluation_batches,
    steps_per_epoch,
    training_batches,
)
from covjax.errors import InputError


@given(st.integers(1, 200), st.integers(0, 2**31), st.integers(0, 1000))
def test_shuffle_shows_every_picture_once(n, seed, epoch):
    order = epoch_order(seed, epoch, n)
    assert order.dtype == np.int32
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(seed, epoch, n))


def test_epochs_and_seeds_differ():
    first = epoch_order(0, 0, 50)
    assert not np.array_equal(first, epoch_order(0, 1, 50))
    assert not np.array_equal(first, epoch_order(1, 0, 50))


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=100).map(np.array),
    st.integers(0, 100),
)
def test_balanced_shows_every_class_equally_often(labels, seed):
    order = epoch_order(seed, 0, len(labels), labels, "balanced")
    assert len(order) == len(labels)
    shown = np.bincount(labels[order], minlength=4)[np.unique(labels)]
    assert shown.max() - shown.min() <= 1
    for label in np.unique(labels):  # no picture is worn out while another waits
        times = np.bincount(order, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1


def test_balanced_multi_hot_counts_rows_without_label_as_a_class():
    labels = np.array([[1, 0]] * 10 + [[0, 1]] * 2 + [[0, 0]] * 18, np.uint8)
    order = epoch_order(0, 0, 30, labels, "balanced")
    shown = labels[order]
    assert (shown[:, 0].sum(), shown[:, 1].sum()) == (10, 10)
    assert (~shown.any(axis=1)).sum() == 10


def test_bad_sampling_is_one_line():
    with pytest.raises(InputError, match="must be shuffle or balanced"):
        epoch_order(0, 0, 3, None, "all")
    with pytest.raises(InputError, match="one label a picture"):
        epoch_order(0, 0, 3, None, "balanced")


def test_the_last_incomplete_batch_is_dropped():
    np.testing.assert_array_equal(
        training_batches(np.array([4, 2, 0, 1, 3]), 2), [[4, 2], [0, 1]]
    )
    assert steps_per_epoch(5, 2) == 2


def test_fewer_pictures_than_a_batch_wrap_around():
    np.testing.assert_array_equal(
        training_batches(np.array([2, 0, 1]), 7), [[2, 0, 1, 2, 0, 1, 2]]
    )
    with pytest.raises(InputError, match="no pictures"):
        steps_per_epoch(0, 4)


@given(st.integers(1, 50), st.integers(1, 20))
def test_evaluation_counts_every_picture_exactly_once(n, batch_size):
    rows, mask = evaluation_batches(n, batch_size)
    assert rows.shape == mask.shape == (-(-n // batch_size), batch_size)
    assert list(rows[mask]) == list(range(n))
    assert (rows[~mask] == 0).all()
