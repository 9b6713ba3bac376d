"""The one type of pictures: subsets, counts, classes and fingerprints."""

import dataclasses

import numpy as np
import pytest

from covjax.data.imageset import ImageSet
from covjax.errors import InputError


def image_set(labels) -> ImageSet:
    labels = np.array(labels)
    n = len(labels)
    return ImageSet(
        images=np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2, 1),
        labels=labels.astype(np.int32 if labels.ndim == 1 else np.uint8),
        class_names=("a", "b", "c"),
        patients=np.array([f"P{i}" for i in range(n)]),
        sources=np.full(n, "north"),
        splits=np.full(n, ""),
        files=np.array([f"{i}.png" for i in range(n)]),
        masks=np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2),
        metadata={"age": np.arange(n)},
        name="made",
    )


SINGLE = image_set([0, 2, 2, 0, 1])
MULTI = image_set([[1, 0, 1], [0, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize("rows", [np.array([3, 1]), np.arange(5) % 2 == 1])
def test_a_subset_keeps_rows_together(rows):
    chosen = SINGLE.subset(rows)
    places = [3, 1] if rows.dtype != bool else [1, 3]
    assert list(chosen.files) == [f"{i}.png" for i in places]
    assert list(chosen.patients) == [f"P{i}" for i in places]
    assert list(chosen.metadata["age"]) == places
    assert list(chosen.labels) == [SINGLE.labels[i] for i in places]
    np.testing.assert_array_equal(chosen.images, SINGLE.images[places])
    np.testing.assert_array_equal(chosen.masks, SINGLE.masks[places])
    assert chosen.name == "made"


def test_counts():
    assert SINGLE.counts() == {"a": 2, "b": 1, "c": 2}
    assert MULTI.counts() == {"a": 1, "b": 1, "c": 2}
    assert (SINGLE.multi_label, MULTI.multi_label) == (False, True)
    assert (len(SINGLE), SINGLE.num_classes) == (5, 3)


def test_classes_are_chosen_and_ordered():
    chosen = SINGLE.select_classes(("c", "a"))
    assert chosen.class_names == ("c", "a")
    assert list(chosen.files) == ["0.png", "1.png", "2.png", "3.png"]
    assert list(chosen.labels) == [1, 0, 0, 1]
    assert chosen.labels.dtype == np.int32
    columns = MULTI.select_classes(("c", "b"))
    np.testing.assert_array_equal(columns.labels, [[1, 0], [0, 0], [1, 1]])
    assert len(columns) == 3  # a picture without a label is still a picture


@pytest.mark.parametrize("names", [("a", "x"), ("a", "a")])
def test_wrong_classes_are_one_line(names):
    with pytest.raises(InputError, match="must be, once, one of a, b, c"):
        SINGLE.select_classes(names)


@pytest.mark.parametrize(
    "column", ["images", "labels", "patients", "sources", "splits", "files"]
)
def test_the_fingerprint_sees_every_column(column):
    changed = getattr(SINGLE, column).astype(getattr(SINGLE, column).dtype, copy=True)
    changed[2] = changed[2] + 1 if changed.dtype.kind in "iu" else "x"
    other = dataclasses.replace(SINGLE, **{column: changed})
    assert other.fingerprint() != SINGLE.fingerprint()
    copy = dataclasses.replace(SINGLE, images=SINGLE.images.copy())
    assert copy.fingerprint() == SINGLE.fingerprint()
