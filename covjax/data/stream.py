"""The grain pipeline for sets larger than memory: decoded while the device computes.

    order = epoch_order(seed, epoch, len(images), images.labels, sampling)
    for batch in stream(images, training_batches(order, batch_size)[steps_done:]):
        batch["image"], batch["label"]

The rows of each batch come from `covjax.data.order`, so a streamed run sees the batches
of a resident one. Threads, not processes: Pillow decodes outside the interpreter's
lock, and the position is a number of steps, whatever the number of threads.
"""

from collections.abc import Iterator

import grain
import numpy as np

from covjax.data.imageset import ImageSet
from covjax.errors import InputError

# each thread prepares a batch; grain's default of 16 is slower on two cores
THREADS = 2


def stream(
    images: ImageSet,
    batches: np.ndarray,
    *,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = THREADS,
) -> Iterator[dict[str, np.ndarray]]:
    """Reads batches ahead of their use, in order.

    Args:
      images: the split, its pictures in memory, memory-mapped or lazy.
      batches: rows of each batch over all processes, int ``[steps, batch]``, from
        `order.training_batches` or `order.evaluation_batches`.
      process_index: number of this process; it reads its share of each batch and
        nothing else.
      process_count: of the run; must divide the batch.
      threads: batches that are prepared at once; as many more are kept ready.

    Yields:
      ``image``, uint8 ``[batch / process_count, height, width, channels]``, and
      ``label``.

    Raises:
      InputError: a picture cannot be read, or the batch cannot be shared.
    """
    batch = batches.shape[1]
    if batch % process_count:
        raise InputError(
            f"config.train.batch_size={batch}: must be a multiple of the "
            f"{process_count} processes"
        )
    share = np.split(batches, process_count, axis=1)[process_index]

    def read(rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": images.images[rows], "label": images.labels[rows]}

    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=2 * max(threads, 1)
    )
    pipeline = grain.MapDataset.source(share).map(read).to_iter_dataset(options)
    try:
        yield from pipeline
    except InputError as error:
        raise InputError(str(error).split("\n")[0]) from None  # grain adds lines
