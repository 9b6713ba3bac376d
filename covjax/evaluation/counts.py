"""Counts of decisions, and the measures that are quotients of counts.

The survey's Table 1 prints ``TP / (TP + FP)`` under the name specificity. That is
the formula of precision (positive predictive value); specificity is
``TN / (TN + FP)``. Both are implemented here, each under its own name.

All functions take leading axes, so that the bootstrap measures every resample in one
call. Inside arrays NaN marks what has nothing to divide by; it is never 0.
"""

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """Each class against the rest; arrays ``[..., classes]``."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def one_vs_rest(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Labels ``[n]`` or ``[n, classes]`` as Booleans ``[n, classes]``."""
    if labels.ndim == 2:
        return labels.astype(bool)
    return labels[:, None] == np.arange(num_classes)


def decisions(probabilities: np.ndarray, *, multi_label: bool) -> np.ndarray:
    """Which classes pictures are called, Boolean ``[n, classes]``.

    The likeliest one; of several labels all with a probability of at least 0.5.
    """
    if multi_label:
        return probabilities >= 0.5
    return one_vs_rest(probabilities.argmax(axis=1), probabilities.shape[1])


def confusion_matrix(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
    """Number of pictures, int64 ``[true class, predicted class]``."""
    cells = np.bincount(
        labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2
    )
    return cells.reshape(num_classes, num_classes)


def counts_of_confusion(matrix: np.ndarray) -> Counts:
    """One-vs-rest counts of confusion matrices ``[..., classes, classes]``."""
    tp = np.diagonal(matrix, axis1=-2, axis2=-1)
    fp = matrix.sum(axis=-2) - tp
    fn = matrix.sum(axis=-1) - tp
    return Counts(tp, fp, fn, matrix.sum(axis=(-2, -1))[..., None] - tp - fp - fn)


def counts_of_decisions(truth: np.ndarray, called: np.ndarray) -> Counts:
    """Counts of Booleans ``[n, classes]``, one decision a class (multi-label)."""
    pairs = ((truth, called), (~truth, called), (truth, ~called), (~truth, ~called))
    return Counts(*((a & b).sum(axis=0) for a, b in pairs))


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where there is nothing to divide by."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def per_class(counts: Counts) -> dict[str, np.ndarray]:
    """Precision, sensitivity, specificity, NPV, F1, FPR: each ``[..., classes]``."""
    tp, fp, fn, tn = counts
    return {
        "precision": ratio(tp, tp + fp),  # printed as specificity in Table 1
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "npv": ratio(tn, tn + fn),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "fpr": ratio(fp, fp + tn),
    }


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over classes ``[..., classes]``; undefined if one of them is."""
    return values.mean(axis=-1)


def weighted(values: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Mean over classes by number of pictures; a class without any has no say."""
    parts = np.where(support > 0, values, 0.0) * support
    return ratio(parts.sum(axis=-1), support.sum(axis=-1))


def agreement(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, balanced accuracy, MCC, kappa of ``[..., classes, classes]``.

    MCC for several classes after Gorodkin (2004), Cohen's kappa unweighted.
    """
    matrix = matrix.astype(float)
    true, called = matrix.sum(axis=-1), matrix.sum(axis=-2)
    n, right = true.sum(axis=-1), np.trace(matrix, axis1=-2, axis2=-1)
    chance = (true * called).sum(axis=-1)  # n squared times the expected agreement
    spread = (n**2 - (true**2).sum(axis=-1)) * (n**2 - (called**2).sum(axis=-1))
    return {
        "accuracy": ratio(right, n),
        "balanced_accuracy": macro(
            per_class(counts_of_confusion(matrix))["sensitivity"]
        ),
        "mcc": ratio(right * n - chance, np.sqrt(spread)),
        "kappa": ratio(right * n - chance, n**2 - chance),
    }
