"""The order in which pictures are shown: one function for every way of feeding.

The scan over device memory and the grain stream both take their indices from here,
so that the same seed gives the same batches.
"""

import numpy as np

from covjax.errors import InputError


def epoch_order(
    seed: int,
    epoch: int,
    num_images: int,
    labels: np.ndarray | None = None,
    sampling: str = "shuffle",
) -> np.ndarray:
    """Indices of the pictures of one training epoch, in the order they are shown.

    A pure function of its arguments: epoch 7 needs no epoch 6, so a resumed run
    continues exactly.

    Args:
      seed: of the run.
      epoch: number of the epoch, from 0.
      num_images: pictures in the training split.
      labels: int ``[num_images]`` or multi-hot ``[num_images, classes]``; needed for
        balanced sampling only.
      sampling: ``"shuffle"`` shows every picture once; ``"balanced"`` shows every
        class equally often, repeating pictures of rare classes and leaving out
        some of frequent ones. A multi-hot row without a label counts as one more
        class, a row with several is drawn for each.

    Returns:
      int32 ``[num_images]``.
    """
    rng = np.random.default_rng([seed, epoch])
    if sampling == "shuffle":
        return rng.permutation(num_images).astype(np.int32)
    if sampling != "balanced":
        raise InputError(f"sampling={sampling!r}: must be shuffle or balanced")
    if labels is None or len(labels) != num_images:
        raise InputError("sampling=balanced: needs one label a picture")
    rows = _rows_by_class(labels)
    shares = np.full(len(rows), num_images // len(rows))
    shares[rng.permutation(len(rows))[: num_images % len(rows)]] += 1
    drawn = [_cycle(rng, r, count) for r, count in zip(rows, shares, strict=True)]
    return rng.permutation(np.concatenate(drawn)).astype(np.int32)


def _rows_by_class(labels: np.ndarray) -> list[np.ndarray]:
    if labels.ndim == 1:
        columns = labels[:, None] == np.unique(labels)
    else:
        columns = np.concatenate([labels > 0, ~labels.any(axis=1, keepdims=True)], 1)
    return [np.flatnonzero(c) for c in columns.T if c.any()]


def _cycle(rng: np.random.Generator, rows: np.ndarray, count: int) -> np.ndarray:
    """`count` draws in which no row comes twice more often than another."""
    rounds = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate([*rounds, rows[:0]])[:count]


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Whole batches of an epoch; one where there are fewer pictures than a batch."""
    if num_images < 1:
        raise InputError("the training split has no pictures")
    return max(1, num_images // batch_size)


def training_batches(order: np.ndarray, batch_size: int) -> np.ndarray:
    """Cuts an epoch's order into whole batches, int32 ``[steps, batch_size]``.

    The last incomplete batch is dropped, since BatchNorm and the schedule count on
    equal batches; the next epoch's order differs, so no picture is always left out.
    Fewer pictures than one batch are repeated to fill it.
    """
    steps = steps_per_epoch(len(order), batch_size)
    return np.resize(order, steps * batch_size).reshape(steps, batch_size)


def evaluation_batches(num_images: int, batch_size: int) -> tuple[np.ndarray, ...]:
    """Every picture exactly once, in order, the last batch padded with picture 0.

    Returns:
      Indices int32 ``[steps, batch_size]`` and the mask, False where padded.
    """
    steps = -(-num_images // batch_size)
    places = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    mask = places < num_images
    return np.where(mask, places, 0), mask
