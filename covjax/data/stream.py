"""The grain pipeline for sets larger than memory: decoded while the device computes.

    batches = TrainingBatches(images.labels, batch_size=32, epochs=10, seed=0)
    for batch in stream(images, batches, first_step=0):
        batch["image"], batch["label"]

The order is that of `covjax.data.order`, so a streamed run sees the batches of a
resident one. Threads, not processes: Pillow decodes outside the interpreter's lock, and
the position is one number, whatever the number of threads.
"""

import functools
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from covjax.data import order
from covjax.data.imageset import ImageSet
from covjax.errors import InputError

THREADS = 2  # a batch each; grain's default of 16 is slower on two cores

Batch = dict[str, np.ndarray]


class TrainingBatches:
    """The rows of each batch of a whole training run, by number of the step.

    Args:
      labels: of the training split, for its length and for balanced sampling.
      batch_size: over all processes.
      epochs: of the run.
      seed: of the run.
      sampling: as in `order.epoch_order`.
      process_index: this process's number; it gets the rows of its share alone.
      process_count: of the run; must divide the batch.
    """

    def __init__(
        self,
        labels: np.ndarray,
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        sampling: str = "shuffle",
        process_index: int = 0,
        process_count: int = 1,
    ):
        if batch_size % process_count:
            raise InputError(
                f"config.train.batch_size={batch_size}: must be a multiple of the "
                f"{process_count} processes"
            )
        share = batch_size // process_count
        columns = slice(process_index * share, (process_index + 1) * share)
        self.steps_per_epoch = order.steps_per_epoch(len(labels), batch_size)
        self._epochs = epochs

        @functools.lru_cache(maxsize=2)  # threads stand in two epochs at most
        def of_epoch(epoch: int) -> np.ndarray:
            shown = order.epoch_order(seed, epoch, len(labels), labels, sampling)
            return order.training_batches(shown, batch_size)[:, columns]

        self._of_epoch = of_epoch

    def __len__(self) -> int:
        return self._epochs * self.steps_per_epoch

    def __getitem__(self, step: int) -> np.ndarray:
        """Rows of this process's share of a step, int32 ``[share]``."""
        epoch, step = divmod(step, self.steps_per_epoch)
        return self._of_epoch(epoch)[step]


def stream(
    images: ImageSet,
    batches: Sequence[np.ndarray] | TrainingBatches | np.ndarray,
    *,
    first_step: int = 0,
    threads: int = THREADS,
) -> Iterator[Batch]:
    """Reads batches ahead of their use, in order.

    Args:
      images: the split, its pictures in memory, memory-mapped or lazy.
      batches: rows of each batch: `TrainingBatches`, or the indices of
        `order.evaluation_batches`.
      first_step: batches already used by an earlier, interrupted run.
      threads: each reads a batch at a time; as many more are kept ready.

    Yields:
      ``image`` uint8 ``[batch, height, width, channels]`` and ``label``.

    Raises:
      InputError: a picture cannot be read.
    """

    def read(rows: np.ndarray) -> Batch:
        return {"image": images.images[rows], "label": images.labels[rows]}

    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=2 * max(threads, 1)
    )
    pipeline = grain.MapDataset.source(batches)[first_step:].map(read)
    try:
        yield from pipeline.to_iter_dataset(options)
    except InputError as error:
        raise InputError(str(error).split("\n")[0]) from None  # grain adds lines
