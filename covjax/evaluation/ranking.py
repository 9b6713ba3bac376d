"""Measures of a ranking: how scores order one class against the rest.

Each takes Booleans ``positive`` and float ``scores``, both ``[n]``. Tied scores are
one step of every curve, so that the order of the rows never matters.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from covjax.evaluation.counts import ratio

TARGET = 0.9  # the specificity (sensitivity) at which the other one is read off


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Share of (positive, negative) pairs in the right order; a tie counts half."""
    positives = np.count_nonzero(positive)
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    rank_sum = rankdata(scores)[positive].sum()
    return float((rank_sum - positives * (positives + 1) / 2) / (positives * negatives))


class Curve(NamedTuple):
    """Counts of called pictures as the threshold falls through distinct scores."""

    thresholds: np.ndarray  # [m], falling; called if score >= threshold
    tp: np.ndarray  # [m]
    fp: np.ndarray  # [m]
    positives: int
    negatives: int


def curve(positive: np.ndarray, scores: np.ndarray) -> Curve:
    """The threshold curve of ``[n]`` Booleans and scores; ties stay together."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, hits = scores[order], positive[order].astype(bool)
    last = np.append(sorted_scores[1:] != sorted_scores[:-1], len(scores) > 0)
    ends = np.flatnonzero(last[: len(scores)])
    tp = np.cumsum(hits)[ends]
    return Curve(
        sorted_scores[ends],
        tp,
        ends + 1 - tp,
        int(hits.sum()),
        int(len(hits) - hits.sum()),
    )


def roc_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
    """False and true positive rate, both from 0 to 1; NaN if undefined."""
    c = curve(positive, scores)
    fp, tp = np.append(0, c.fp), np.append(0, c.tp)
    return ratio(fp, np.array(c.negatives)), ratio(tp, np.array(c.positives))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float | None:
    """Precision summed over steps of sensitivity, without interpolation."""
    c = curve(positive, scores)
    if not c.positives:
        return None
    steps = np.diff(c.tp, prepend=0) / c.positives
    return float((steps * c.tp / (c.tp + c.fp)).sum())


def sensitivity_at_specificity(
    positive: np.ndarray, scores: np.ndarray, target: float = TARGET
) -> float | None:
    """Highest sensitivity among thresholds of at least the target specificity."""
    c = curve(positive, scores)
    if not c.positives or not c.negatives:
        return None
    allowed = c.negatives - c.fp >= target * c.negatives * (1 - 1e-12)
    return float(np.append(0, c.tp[allowed]).max() / c.positives)


def specificity_at_sensitivity(
    positive: np.ndarray, scores: np.ndarray, target: float = TARGET
) -> float | None:
    """Highest specificity among thresholds of at least the target sensitivity."""
    c = curve(positive, scores)
    if not c.positives or not c.negatives:
        return None
    allowed = c.tp >= target * c.positives * (1 - 1e-12)
    return float(1 - c.fp[allowed].min() / c.negatives)
