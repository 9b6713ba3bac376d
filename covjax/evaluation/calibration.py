"""Probabilities: how good they are, and how to make them better."""

from typing import NamedTuple

import numpy as np

from covjax.evaluation.counts import one_vs_rest, ratio

BINS = 15  # of the calibration error (Guo et al. 2017, section 3)


def brier_terms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared error ``[n]``: summed over classes (Brier 1950), halved for two.

    For several labels the mean over classes, each a binary score.
    """
    truth = one_vs_rest(labels, probabilities.shape[1])
    squares = ((probabilities.astype(float) - truth) ** 2).sum(axis=1)
    if labels.ndim == 2:
        return squares / probabilities.shape[1]
    return squares / 2 if probabilities.shape[1] == 2 else squares


def log_loss_terms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Minus the log probability of the truth ``[n]``, in nats.

    Probabilities are scaled to sum to 1 (one label) and kept at least float32's
    epsilon away from 0, so that one certain error costs 16 nats, not infinity.
    """
    tiny = float(np.finfo(np.float32).eps)
    p = np.clip(probabilities.astype(float), tiny, 1 - tiny)
    truth = one_vs_rest(labels, p.shape[1])
    if labels.ndim == 2:
        return -np.where(truth, np.log(p), np.log1p(-p)).mean(axis=1)
    return -np.log((p / p.sum(axis=1, keepdims=True))[truth])


class Reliability(NamedTuple):
    """Confidence and hits in equal bins of confidence, ``[bins]`` each."""

    counts: np.ndarray
    confidence: np.ndarray  # mean in the bin, NaN where empty
    hits: np.ndarray  # number right in the bin


def confidence_and_hits(
    labels: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the decision and whether it is right; ``[n]``.

    With several labels each (picture, class) is a decision: ``[n * classes]``.
    """
    if labels.ndim == 2:
        called = probabilities >= 0.5
        confidence = np.where(called, probabilities, 1 - probabilities)
        return confidence.ravel(), (called == labels.astype(bool)).ravel()
    predicted = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(labels)), predicted], predicted == labels


def reliability(
    confidence: np.ndarray, hits: np.ndarray, bins: int = BINS
) -> Reliability:
    """Bins ``(low, high]`` of equal width."""
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    total = np.bincount(index, weights=confidence, minlength=bins)
    right = np.bincount(index, weights=hits, minlength=bins)
    return Reliability(counts, ratio(total, counts), right)


def expected_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray
) -> float | None:
    """Mean distance of confidence and accuracy over `BINS` bins (Guo et al. 2017)."""
    if not len(labels):
        return None
    confidence, hits = confidence_and_hits(labels, probabilities)
    table = reliability(confidence, hits)
    gaps = np.abs(table.confidence * table.counts - table.hits)
    return float(np.nansum(gaps) / len(confidence))
