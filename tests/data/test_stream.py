"""The stream gives the batches of the resident feed, and each process its share."""

import threading

import numpy as np
import pytest

from covjax.data import order
from covjax.data.imageset import ImageSet, LazyImages
from covjax.data.stream import TrainingBatches, stream
from covjax.errors import InputError


def image_set(labels, lazy=False) -> ImageSet:
    n = len(labels)
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 5, 1), np.uint8)
    unknown = np.full(n, "")
    return ImageSet(
        images=LazyImages(images.__getitem__, np.arange(n), (4, 5, 1), "key")
        if lazy
        else images,
        labels=np.asarray(labels, np.int32),
        class_names=("a", "b"),
        patients=unknown,
        sources=unknown,
        splits=unknown,
        files=np.array([f"{i}.png" for i in range(n)]),
    )


LABELS = np.arange(23) % 3 // 2


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_stream_equals_the_resident_epochs_batch_by_batch(sampling):
    resident, lazy = image_set(LABELS), image_set(LABELS, lazy=True)
    batches = TrainingBatches(LABELS, batch_size=4, epochs=3, seed=7, sampling=sampling)
    streamed = list(stream(lazy, batches))
    assert len(streamed) == 3 * 5  # 23 pictures are 5 whole batches
    expected = []
    for epoch in range(3):
        shown = order.epoch_order(7, epoch, 23, LABELS, sampling)
        for rows in order.training_batches(shown, 4):
            expected.append((resident.images[rows], resident.labels[rows]))
    for batch, (images, labels) in zip(streamed, expected, strict=True):
        np.testing.assert_array_equal(batch["image"], images)
        np.testing.assert_array_equal(batch["label"], labels)


def test_a_stream_continues_where_it_stopped():
    images = image_set(LABELS, lazy=True)
    batches = TrainingBatches(LABELS, batch_size=4, epochs=2, seed=1)
    whole = list(stream(images, batches))
    rest = list(stream(images, batches, first_step=7))
    assert len(rest) == len(whole) - 7
    for a, b in zip(whole[7:], rest, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_the_number_of_threads_does_not_matter(threads):
    images = image_set(LABELS, lazy=True)
    batches = TrainingBatches(LABELS, batch_size=4, epochs=2, seed=1)
    for a, b in zip(
        stream(images, batches), stream(images, batches, threads=threads), strict=True
    ):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_each_process_reads_its_share_and_nothing_else():
    images = image_set(np.arange(24) % 2)
    read: list[set[int]] = [set(), set()]
    parts = []
    lock = threading.Lock()
    for process in range(2):

        def decode(row, process=process):
            with lock:
                read[process].add(row)
            return images.images[row]

        lazy = image_set(np.arange(24) % 2)
        lazy = ImageSet(
            **{
                **{name: getattr(lazy, name) for name in lazy.__slots__},
                "images": LazyImages(decode, np.arange(24), (4, 5, 1), "key"),
            }
        )
        batches = TrainingBatches(
            lazy.labels,
            batch_size=8,
            epochs=1,
            seed=3,
            process_index=process,
            process_count=2,
        )
        parts.append(list(stream(lazy, batches)))
    whole = stream(
        images, TrainingBatches(images.labels, batch_size=8, epochs=1, seed=3)
    )
    for batch, first, second in zip(whole, *parts, strict=True):
        both = np.concatenate([first["image"], second["image"]])
        np.testing.assert_array_equal(batch["image"], both)
    assert not read[0] & read[1]
    assert len(read[0]) == len(read[1]) == 12


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(InputError, match="multiple of the 3 processes"):
        TrainingBatches(LABELS, batch_size=4, epochs=1, seed=0, process_count=3)


def test_evaluation_streams_every_picture_once():
    images = image_set(LABELS, lazy=True)
    rows, mask = order.evaluation_batches(23, 8)
    seen = np.concatenate([b["image"] for b in stream(images, rows)])
    np.testing.assert_array_equal(seen[mask.reshape(-1)], images.images[:])


def test_errors_of_a_picture_come_through():
    def damaged(row):
        raise InputError(f"{row}.png: damaged")

    images = image_set(LABELS)
    lazy = ImageSet(
        **{
            **{name: getattr(images, name) for name in images.__slots__},
            "images": LazyImages(damaged, np.arange(23), (4, 5, 1), "key"),
        }
    )
    batches = TrainingBatches(LABELS, batch_size=4, epochs=1, seed=0)
    with pytest.raises(InputError, match=r"^\d+\.png: damaged$"):
        list(stream(lazy, batches))
