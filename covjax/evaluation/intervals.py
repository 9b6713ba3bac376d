"""Every reported number with its interval.

Proportions have Wilson's interval, AUC has DeLong's on the logit scale, the rest has
the bootstrap of `covjax.evaluation.bootstrap` with the bias-corrected percentile.
Pictures of one patient are not independent trials: Wilson's n is divided by the
design effect, DeLong's components are summed by patient, the bootstrap draws patients.
A picture without a patient id counts as a patient of its own.

References:
  Wilson, JASA 22 (1927) 209; DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988)
  837; Obuchowski, Biometrics 53 (1997) 567 (clustered AUC); Sun and Xu, IEEE Signal
  Processing Letters 21 (2014) 1389 (DeLong by midranks); Korn and Graubard, Survey
  Methodology 24 (1998) 193 (proportions with a design effect); Efron, JASA 82 (1987)
  171 (bias correction).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import rankdata

from covjax.evaluation import bootstrap, calibration, measures


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its confidence interval.

    Attributes:
      estimate: the value; None where it is undefined.
      low: lower end of the interval, None where there is none.
      high: upper end.
      n: pictures it rests on: for a proportion its denominator.
      method: how the interval was made.
      reason: why the estimate is None, otherwise empty.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    method: str
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``metrics.json``; the reason only where there is one."""
        entries: dict[str, Any] = {
            "estimate": self.estimate,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "method": self.method,
        }
        return entries | ({"reason": self.reason} if self.reason else {})


def wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion of n trials; n may be a fraction."""
    z = float(ndtri(0.5 + level / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = 0.0 if share == 0 else float(centre - half)  # exactly, not to rounding
    return low, 1.0 if share == 1 else float(centre + half)


def proportion(
    name: str, hits: np.ndarray, cluster: np.ndarray, level: float
) -> Measure:
    """Share of hits among pictures.

    Args:
      name: of the measure, for the reason where there is no picture.
      hits: Boolean ``[n]`` over the pictures of the denominator.
      cluster: ``[n]`` numbers of their patients.
      level: of the interval.
    """
    n = len(hits)
    if not n:
        return Measure(None, None, None, 0, "Wilson", measures.REASONS[name])
    share = float(hits.mean())
    effective, method = float(n), "Wilson"
    patients = len(np.unique(cluster))
    if patients < n:
        effective, method = effective_n(hits, cluster), "Wilson, clustered by patient"
    return Measure(share, *wilson(share, effective, level), n, method)


def effective_n(hits: np.ndarray, cluster: np.ndarray) -> float:
    """Independent pictures that would tell as much as these; at most all of them.

    The variance of a share of clustered pictures is that of a ratio of sums over
    patients. Where all pictures agree it says nothing, and patients are counted.
    """
    n, share = len(hits), hits.mean()
    cluster = np.unique(cluster, return_inverse=True)[1]
    patients = int(cluster.max()) + 1
    residual = np.bincount(cluster, weights=hits - share)
    if share in (0, 1) or patients < 2:
        return float(patients)
    variance = patients / (patients - 1) * (residual**2).sum() / n**2
    return float(min(n, share * (1 - share) / max(variance, 1e-12)))


def auc_influence(
    truth: np.ndarray, scores: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each column, and how much each patient moves it.

    Args:
      truth: Boolean ``[n, k]``; each column needs both values.
      scores: ``[n, k]``.
      cluster: ``[n]`` numbers of patients.

    Returns:
      The AUCs ``[k]`` and the components ``[patients, k]``. The sum of their products
      is DeLong's covariance, with Obuchowski's sums over patients; NaN where a column
      has fewer than two patients on one side.
    """
    areas, moves = np.empty(truth.shape[1]), np.empty(truth.shape)
    for k, (positive, score) in enumerate(zip(truth.T, scores.T, strict=True)):
        ranks, move = rankdata(score), moves[:, k]
        sides = (positive, ~positive)
        for side, other in (sides, sides[::-1]):
            # midrank among all less midrank among its own: how many of the others
            # the picture beats
            beaten = (ranks[side] - rankdata(score[side])) / other.sum()
            if side is sides[0]:
                areas[k] = beaten.mean()
            m = len(np.unique(cluster[side]))
            scale = np.sqrt(m / (m - 1)) if m > 1 else np.nan
            sign = 1 if side is sides[0] else -1  # a negative should be beaten
            move[side] = sign * scale * (beaten - beaten.mean()) / side.sum()
    return areas, bootstrap.sum_by_cluster(moves, cluster)


def area(
    truth: np.ndarray, scores: np.ndarray, cluster: np.ndarray, level: float
) -> Measure:
    """Mean AUC of the columns ``[n, k]`` with DeLong's interval on the logit scale."""
    n = len(truth)
    if not (truth.any(axis=0) & ~truth.all(axis=0)).all():
        return Measure(None, None, None, n, "DeLong", measures.REASONS["auc"])
    areas, moves = auc_influence(truth, scores, cluster)
    value, variance = float(areas.mean()), float((moves.mean(axis=1) ** 2).sum())
    if 0 < value < 1 and variance > 0:
        half = float(ndtri(0.5 + level / 2)) * np.sqrt(variance) / (value * (1 - value))
        low, high = (float(expit(logit(value) + s * half)) for s in (-1, 1))
        clustered = len(moves) < n
        method = "DeLong, logit scale" + (", clustered by patient" if clustered else "")
        return Measure(value, low, high, n, method)
    # Perfect, or one patient on a side: DeLong's variance is 0 or unknown. Disjoint
    # pairs of patients are independent trials that succeed with probability AUC.
    sides = [len(np.unique(cluster[t])) for c in truth.T for t in (c, ~c)]
    low, high = wilson(value, min(sides), level)
    return Measure(value, low, high, n, "Wilson over disjoint pairs")


def resampled(
    name: str, estimate: float | None, values: np.ndarray, n: int, level: float
) -> Measure:
    """A measure with the bias-corrected percentile interval of its replicates."""
    method = f"bootstrap, {len(values)} resamples of patients"
    values = values[np.isfinite(values)]
    if estimate is None:
        return Measure(None, None, None, n, method, measures.REASONS[name])
    if len(values):
        low, high = bias_corrected(estimate, values, level)
        if low < high:
            return Measure(estimate, low, high, n, method)
    return Measure(estimate, None, None, n, "none: resamples hardly differ")


def bias_corrected(
    estimate: float, values: np.ndarray, level: float
) -> tuple[float, float]:
    """Efron's BC interval of replicates ``[resamples]``."""
    below = np.mean(values < estimate) + np.mean(values == estimate) / 2
    edge = 1 / (len(values) + 1)
    shift = 2 * ndtri(np.clip(below, edge, 1 - edge))
    z = ndtri(0.5 + level / 2)
    low, high = np.quantile(values, [ndtr(shift - z), ndtr(shift + z)])
    return float(low), float(high)


def mean(
    name: str, values: np.ndarray, patients: np.ndarray, level: float, resamples: int
) -> Measure:
    """The mean of a number of each picture, ``[n]``, by resampling patients."""
    cluster = bootstrap.clusters(np.asarray(patients, str))
    times = bootstrap.draw(np.zeros(len(cluster), int), cluster, resamples)
    times = times.astype(float)
    sums = times @ bootstrap.sum_by_cluster(values, cluster)
    means = sums / (times @ np.bincount(cluster))
    return resampled(name, float(values.mean()), means, len(values), level)


def calibration_error(
    labels: np.ndarray,
    probabilities: np.ndarray,
    cluster: np.ndarray,
    drawn: np.ndarray,
    level: float,
) -> Measure:
    """Expected calibration error; its interval is conservative at the lower end.

    Noise lifts the estimate, and lifts resamples of it once more, so that an interval
    of percentiles would miss the truth below. The error cannot be further from its
    estimate than the gaps of its bins are from theirs: that bounds it below.
    """
    estimate = calibration.expected_calibration_error(labels, probabilities)
    errors, moved = bootstrap.calibration_errors(labels, probabilities, cluster, drawn)
    low = max(0.0, estimate - float(np.quantile(moved, level)))
    high = max(estimate, float(np.quantile(errors, 0.5 + level / 2)))
    method = f"bootstrap, {len(drawn)} resamples of patients, bounded below"
    return Measure(estimate, low, high, len(labels), method)


def proportions(
    truth: np.ndarray, called: np.ndarray, cluster: np.ndarray, level: float
) -> dict[str, Measure]:
    """The measures of one class that are proportions of pictures."""
    cases = {
        "precision": (called, truth),
        "sensitivity": (truth, called),
        "specificity": (~truth, ~called),
        "npv": (~called, ~truth),
        "fpr": (~truth, called),
    }
    return {
        name: proportion(name, hits[among], cluster[among], level)
        for name, (among, hits) in cases.items()
    }
