"""The stream gives the batches of the resident feed, and each process its share."""

import dataclasses
import threading

import numpy as np
import pytest

from covjax.data import order
from covjax.data.imageset import ImageSet, LazyImages
from covjax.data.stream import stream
from covjax.errors import InputError

LABELS = (np.arange(24) % 3 // 2).astype(np.int32)


def image_set() -> ImageSet:
    n = len(LABELS)
    unknown = np.full(n, "")
    return ImageSet(
        images=np.random.default_rng(0).integers(0, 256, (n, 4, 5, 1), np.uint8),
        labels=LABELS,
        class_names=("a", "b"),
        patients=unknown,
        sources=unknown,
        splits=unknown,
        files=np.array([f"{i}.png" for i in range(n)]),
    )


def lazy_set(read=None) -> ImageSet:
    made = image_set()
    read = read or made.images.__getitem__
    lazy = LazyImages(read, np.arange(len(made)), (4, 5, 1), "key")
    return dataclasses.replace(made, images=lazy)


def batches(seed=7, epoch=0, batch_size=5, sampling="shuffle") -> np.ndarray:
    shown = order.epoch_order(seed, epoch, len(LABELS), LABELS, sampling)
    return order.training_batches(shown, batch_size)


@pytest.mark.parametrize("threads", [0, 1, 2, 4])
@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_stream_equals_the_resident_feed_batch_by_batch(sampling, threads):
    resident, lazy = image_set(), lazy_set()
    for epoch in range(2):
        rows = batches(epoch=epoch, sampling=sampling)
        streamed = list(stream(lazy, rows, threads=threads))
        assert len(streamed) == 4  # 24 pictures are 4 whole batches
        for batch, chosen in zip(streamed, rows, strict=True):
            np.testing.assert_array_equal(batch["image"], resident.images[chosen])
            np.testing.assert_array_equal(batch["label"], resident.labels[chosen])


def test_each_process_reads_its_share_and_nothing_else():
    images, rows = image_set(), batches(batch_size=8)
    read: list[set[int]] = [set(), set()]
    lock = threading.Lock()
    parts = []
    for process in range(2):

        def decode(row, process=process):
            with lock:
                read[process].add(row)
            return images.images[row]

        mine = stream(lazy_set(decode), rows, process_index=process, process_count=2)
        parts.append(list(mine))
    for whole, first, second in zip(stream(images, rows), *parts, strict=True):
        for name in ("image", "label"):
            both = np.concatenate([first[name], second[name]])
            np.testing.assert_array_equal(whole[name], both)
    assert not read[0] & read[1]
    assert len(read[0]) == len(read[1]) == 12


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(InputError, match="multiple of the 3 processes"):
        next(stream(image_set(), batches(), process_count=3))


def test_evaluation_streams_every_picture_once():
    images = lazy_set()
    rows, mask = order.evaluation_batches(24, 7)
    seen = np.concatenate([b["image"] for b in stream(images, rows)])
    np.testing.assert_array_equal(seen[mask.reshape(-1)], image_set().images)


def test_the_error_of_a_picture_comes_through_as_one_line():
    def damaged(row):
        raise InputError(f"{row}.png: damaged")

    with pytest.raises(InputError, match=r"^\d+\.png: damaged$"):
        list(stream(lazy_set(damaged), batches()))


class TestLazyImages:
    def test_indexes_like_an_array(self):
        array, lazy = image_set().images, lazy_set().images
        assert (lazy.shape, lazy.ndim, lazy.dtype) == (array.shape, 4, np.uint8)
        assert (len(lazy), lazy.nbytes) == (24, array.nbytes)
        for index in (3, -1, slice(2, 9, 3), np.array([5, 5, 0]), np.arange(24) > 20):
            np.testing.assert_array_equal(lazy[index], array[index])
        np.testing.assert_array_equal(np.asarray(lazy), array)

    def test_a_subset_decodes_nothing(self):
        def refuse(row):
            raise AssertionError("decoded")

        subset = lazy_set(refuse).subset(np.array([4, 2]))
        assert subset.images.shape == (2, 4, 5, 1)
        assert subset.fingerprint() != lazy_set(refuse).subset([2, 4]).fingerprint()
