"""How well masks agree: Dice and Jaccard of each picture, and their means.

Dice, Ecology 26 (1945) 297; Jaccard, Bulletin de la Société vaudoise des sciences
naturelles 37 (1901) 547.
"""

import numpy as np

from covjax.evaluation.intervals import Measure, mean


def dice(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """``2 |A and B| / (|A| + |B|)`` of each picture, ``[n]``; 1 where both are empty.

    Args:
      predicted: Boolean ``[n, height, width]``.
      truth: likewise.
    """
    both, sizes = _counts(predicted, truth)
    return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)


def jaccard(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """``|A and B| / |A or B|`` of each picture, ``[n]``; 1 where both are empty."""
    both, sizes = _counts(predicted, truth)
    either = sizes - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _counts(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in both, and the sum of the pixels in each."""
    over = (1, 2)
    return (a & b).sum(axis=over), a.sum(axis=over) + b.sum(axis=over)


def overlap(
    predicted: np.ndarray,
    truth: np.ndarray,
    patients: np.ndarray,
    *,
    level: float,
    resamples: int,
) -> dict[str, Measure]:
    """Mean Dice and Jaccard over pictures, with intervals by resampling patients.

    Args:
      predicted: Boolean ``[n, height, width]``, n at least 1.
      truth: likewise.
      patients: str ``[n]``; ``""`` is unknown.
      level: of the intervals.
      resamples: of the bootstrap.
    """
    return {
        name: mean(name, measure(predicted, truth), patients, level, resamples)
        for name, measure in (("dice", dice), ("jaccard", jaccard))
    }
