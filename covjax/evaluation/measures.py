"""Measures of a classifier, exact, in NumPy: everything the report tells.

The survey's Table 1 prints ``TP / (TP + FP)`` under the name specificity. That is
the formula of precision (positive predictive value); specificity is
``TN / (TN + FP)``. Both are implemented (`covjax.evaluation.counts`), each under its
own name.

A picture's labels are an index, ``[n]``, or several Booleans, ``[n, classes]``
(multi-label: each class is decided at 0.5). One class is always measured against the
rest. A measure without a value is None, and `REASONS` says why; those that always
have a value are not in it.
"""

from typing import Any

import numpy as np

from covjax.errors import InputError
from covjax.evaluation import calibration, ranking
from covjax.evaluation.counts import (
    agreement,
    confusion_matrix,
    counts_of_confusion,
    counts_of_decisions,
    decisions,
    macro,
    one_vs_rest,
    per_class,
    weighted,
)
from covjax.evaluation.ranking import roc_auc

REASONS = {
    "precision": "no picture was called this class",
    "sensitivity": "no picture of this class",
    "specificity": "no picture of another class",
    "npv": "every picture was called this class",
    "f1": "no picture of this class, and none was called it",
    "fpr": "no picture of another class",
    "balanced_accuracy": "a class has no picture",
    "mcc": "all labels or all decisions are one class",
    "kappa": "all labels and all decisions are one class",
    "auc": "needs pictures of the class and of another",
    "average_precision": "no picture of this class",
    "sensitivity_at_specificity": "needs pictures of the class and of another",
    "specificity_at_sensitivity": "needs pictures of the class and of another",
}


def check_predictions(labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Raises `InputError` where labels and probabilities cannot be measured."""
    if probabilities.ndim != 2:
        raise InputError(
            f"probabilities: shape {probabilities.shape}, must be [pictures, classes]"
        )
    n, classes = probabilities.shape
    if not n:
        raise InputError("probabilities: no picture, must be at least one")
    if labels.shape not in ((n,), (n, classes)):
        raise InputError(
            f"labels: shape {labels.shape}, must be [{n}] or [{n}, {classes}]"
        )
    inside = (probabilities >= 0) & (probabilities <= 1)  # False for NaN
    if not inside.all():
        row = int(np.argmin(inside.all(axis=1)))
        raise InputError(
            f"probabilities: row {row} is {probabilities[row].tolist()}, "
            "must be in [0, 1]"
        )
    highest = classes - 1 if labels.ndim == 1 else 1
    if not 0 <= labels.min() <= labels.max() <= highest:
        raise InputError(
            f"labels: values from {labels.min()} to {labels.max()}, must be from 0 to "
            f"{highest}"
        )


def macro_auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Mean one-vs-rest AUC; None if a class, or its complement, has no picture."""
    truth = one_vs_rest(labels, probabilities.shape[1])
    values = [roc_auc(t, p) for t, p in zip(truth.T, probabilities.T, strict=True)]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def selection(labels: np.ndarray, probabilities: np.ndarray, name: str) -> float:
    """The measure by which training keeps its best epoch; larger is better.

    Args:
      labels: ``[n]`` or ``[n, classes]``.
      probabilities: ``[n, classes]``.
      name: "auc", "accuracy", "balanced_accuracy", "f1" (each macro), or "loss", whose
        log loss comes back negated.

    Returns:
      The value, or minus infinity where it is undefined or not finite.
    """
    value: float | None
    if name == "loss":
        value = -float(calibration.log_loss_terms(labels, probabilities).mean())
    elif name == "auc":
        value = macro_auc(labels, probabilities)
    elif name == "f1":
        counts, _ = _counts(labels, probabilities)
        value = _plain(macro(per_class(counts)["f1"]))
    else:
        _, matrix = _counts(labels, probabilities)
        if matrix is None:
            raise InputError(
                f"config.train.select_by={name!r}: with several labels a picture it "
                "must be one of auc, f1, loss"
            )
        value = _plain(agreement(matrix)[name])
    return value if value is not None and np.isfinite(value) else float("-inf")


def summary(
    labels: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """Every measure of the report, as point estimates.

    Args:
      labels: int ``[n]``, or Boolean ``[n, classes]``.
      probabilities: ``[n, classes]`` in [0, 1]; the decision is the largest.
      class_names: in the order of the columns.

    Returns:
      ``n``, ``confusion_matrix`` (None with several labels), and the groups
      ``overall``, ``macro``, ``weighted``, ``per_class`` (by class name), whose leaves
      are floats or None.
    """
    check_predictions(labels, probabilities)
    if len(class_names) != probabilities.shape[1]:
        raise InputError(
            f"class_names: {len(class_names)} names, must be {probabilities.shape[1]}, "
            "one a column of probabilities"
        )
    counts, matrix = _counts(labels, probabilities)
    truth = one_vs_rest(labels, len(class_names))
    quotients, support = per_class(counts), truth.sum(axis=0)
    classes: dict[str, dict[str, Any]] = {}
    for k, name in enumerate(class_names):
        row: dict[str, Any] = {key: int(c[k]) for key, c in counts._asdict().items()}
        row |= {key: _plain(values[k]) for key, values in quotients.items()}
        row |= rankings(truth[:, k], probabilities[:, k])
        classes[name] = row
    precisions = [row["average_precision"] for row in classes.values()]
    overall = {} if matrix is None else agreement(matrix)
    return {
        "n": len(labels),
        "confusion_matrix": None if matrix is None else matrix.tolist(),
        "overall": {key: _plain(value) for key, value in overall.items()}
        | {
            "auc": macro_auc(labels, probabilities),
            "average_precision": _mean(precisions),
            "brier": _mean(calibration.brier_terms(labels, probabilities)),
            "ece": calibration.expected_calibration_error(labels, probabilities),
            "log_loss": _mean(calibration.log_loss_terms(labels, probabilities)),
        },
        "macro": {key: _plain(macro(values)) for key, values in quotients.items()},
        "weighted": {
            key: _plain(weighted(values, support)) for key, values in quotients.items()
        },
        "per_class": classes,
    }


def rankings(positive: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """The measures of one class that look at scores, not at decisions."""
    return {
        "auc": roc_auc(positive, scores),
        "average_precision": ranking.average_precision(positive, scores),
        "sensitivity_at_specificity": ranking.sensitivity_at_specificity(
            positive, scores
        ),
        "specificity_at_sensitivity": ranking.specificity_at_sensitivity(
            positive, scores
        ),
    }


def _counts(labels, probabilities):
    """One-vs-rest counts and, with one label a picture, the confusion matrix."""
    classes = probabilities.shape[1]
    if labels.ndim == 2:
        called = decisions(probabilities, multi_label=True)
        return counts_of_decisions(labels.astype(bool), called), None
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), classes)
    return counts_of_confusion(matrix), matrix


def _plain(value: Any) -> float | None:
    """A float, or None where the array says NaN."""
    return None if np.isnan(value) else float(value)


def _mean(values: Any) -> float | None:
    """The mean; None if one value is None."""
    return None if any(v is None for v in values) else float(np.mean(values))
