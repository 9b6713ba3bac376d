"""Probabilities: how good they are, and how to make them better."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from covjax.evaluation.counts import one_vs_rest, ratio

BINS = 15  # of the calibration error (Guo et al. 2017, section 3)
TEMPERATURES = (0.05, 20.0)  # fits stay within; beyond, validation was separable
TINY = 2.0**-126  # the smallest normal float32: softmax and sigmoid may round to 0
ALMOST = 1 - 2.0**-25  # a float32 sigmoid of 1 was rounded up from about this


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


def bin_of(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Number of each confidence's bin ``(low, high]``; bins are equally wide."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def reliability(
    confidence: np.ndarray, hits: np.ndarray, bins: int = BINS
) -> Reliability:
    """Counts, mean confidence and hits of each bin."""
    index = bin_of(confidence, bins)
    counts = np.bincount(index, minlength=bins)
    total = np.bincount(index, weights=confidence, minlength=bins)
    right = np.bincount(index, weights=hits, minlength=bins)
    return Reliability(counts, ratio(total, counts), right)


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over `BINS` bins (Guo et al. 2017)."""
    confidence, hits = confidence_and_hits(labels, probabilities)
    table = reliability(confidence, hits)
    gaps = np.abs(table.confidence * table.counts - table.hits)
    return float(np.nansum(gaps) / len(confidence))


@dataclass(frozen=True, slots=True)
class Temperature:
    """Temperature scaling (Guo et al. 2017, section 4.2).

    One number, fitted on validation, flattens (above 1) or sharpens probabilities:
    logits are divided by it. They are recovered from the probabilities, up to a
    constant that softmax forgets, so that the same object serves every model.

    Attributes:
      value: the temperature; 1 changes nothing.
      independent: whether each class has its own sigmoid (the binary loss) rather
        than a share of one.
    """

    value: float
    independent: bool

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities ``[n, classes]``, row by row; float32 as given."""
        if self.value == 1:  # to the last bit, which logarithms would not keep
            return probabilities
        z = _logits(probabilities, self.independent) / self.value
        scaled = _sigmoid(z) if self.independent else _softmax(z)
        return scaled.astype(probabilities.dtype)


def fit_temperature(
    labels: np.ndarray, probabilities: np.ndarray, *, independent: bool
) -> Temperature:
    """The temperature of least log loss on these (validation) pictures.

    The loss is convex in the inverse temperature, so golden-section search finds its
    minimum. The result stays within `TEMPERATURES`; pictures that are all decided
    rightly ask for temperature 0, which would make every later error a certain one, so
    that they, and others that ask for less than the lower bound, get 1.
    """
    z = _logits(probabilities, independent)
    truth = one_vs_rest(labels, probabilities.shape[1])
    # not left to the search: sure pictures have a loss of 0, as far as floats tell,
    # before the bound, and it would stop there
    if independent:
        faultless = ((z > 0) == truth).all()
    else:
        faultless = (z[truth] > np.where(truth, -np.inf, z).max(axis=1)).all()
    if faultless:
        return Temperature(1.0, independent)

    def loss(inverse: float) -> float:
        scaled = inverse * z
        if independent:  # log(1 + exp(z)) - truth z
            return float((np.logaddexp(0, scaled) - truth * scaled).mean())
        return float((_log_sum_exp(scaled) - scaled[truth]).mean())

    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    golden = (np.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-6:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - golden * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + golden * (high - low)
            loss_right = loss(right)
    if low > 0.99 / TEMPERATURES[0]:
        return Temperature(1.0, independent)
    return Temperature(float(2 / (low + high)), independent)


def _logits(probabilities: np.ndarray, independent: bool) -> np.ndarray:
    p = np.clip(probabilities.astype(float), TINY, ALMOST if independent else 1)
    return np.log(p) - np.log1p(-p) if independent else np.log(p)


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -z))


def _softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z - _log_sum_exp(z)[:, None])


def _log_sum_exp(z: np.ndarray) -> np.ndarray:
    return np.logaddexp.reduce(z, axis=1)
