"""Two models on the same test pictures: is one better?

Both are measured on the same pictures and in the same resamples, so that what is hard
for both cancels. A control (a classifier that never sees the lungs) is compared in
the same way.
"""

from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from covjax.errors import InputError
from covjax.evaluation import bootstrap, intervals, measures
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.intervals import Measure
from covjax.evaluation.predictions import Predictions


def compare(
    first: Predictions,
    second: Predictions,
    class_names: tuple[str, ...],
    *,
    level: float,
    resamples: int,
) -> dict[str, Any]:
    """First less second: every overall measure with the interval of the difference.

    Returns:
      By measure, `Measure.to_dict` of the difference; ``auc`` by DeLong with ``p``,
      the others by the paired bootstrap; with one label a picture ``mcnemar``.

    Raises:
      InputError: where the two are not about the same pictures.
    """
    same = np.array_equal(first.files, second.files) and np.array_equal(
        first.labels, second.labels
    )
    if not same:
        raise InputError(
            f"predictions of {len(first)} and {len(second)} pictures: must be of the "
            "same pictures in the same order"
        )
    cluster = bootstrap.clusters(first.patients)
    result: dict[str, Any] = {"auc": delong(first, second, cluster, level)}
    result |= paired_bootstrap(first, second, class_names, cluster, level, resamples)
    if first.labels.ndim == 1:
        right = (p.labels == p.probabilities.argmax(axis=1) for p in (first, second))
        result["mcnemar"] = mcnemar(*right)
    return result


def delong(
    first: Predictions, second: Predictions, cluster: np.ndarray, level: float
) -> dict[str, Any]:
    """Difference of the macro AUCs with DeLong's paired test.

    Components are summed by patient (Obuchowski 1997); see `intervals.auc_influence`.
    """
    truth = one_vs_rest(first.labels, first.probabilities.shape[1])
    n = len(truth)
    if not (truth.any(axis=0) & ~truth.all(axis=0)).all():
        reason = measures.REASONS["auc"]
        return Measure(None, None, None, n, "DeLong, paired", reason).to_dict()
    areas_1, moves_1 = intervals.auc_influence(truth, first.probabilities, cluster)
    areas_2, moves_2 = intervals.auc_influence(truth, second.probabilities, cluster)
    difference = float((areas_1 - areas_2).mean())
    variance = float(((moves_1 - moves_2).mean(axis=1) ** 2).sum())
    if not variance > 0:  # equal rankings, or one patient on a side
        return Measure(
            difference, None, None, n, "none: the rankings do not vary"
        ).to_dict()
    error = np.sqrt(variance)
    half = float(ndtri(0.5 + level / 2) * error)
    ends = difference - half, difference + half
    p = float(2 * ndtr(-abs(difference) / error))
    return Measure(difference, *ends, n, "DeLong, paired").to_dict() | {"p": p}


def beside(
    network: Predictions, other: Predictions, reached: Measure, level: float
) -> dict[str, Any]:
    """The network's lead over a classifier that should not know the answer.

    Args:
      network: what it said.
      other: what the classifier said of the same pictures.
      reached: the classifier's AUC.
      level: of the intervals.

    Returns:
      ``lead``, `delong`'s row, and ``matches``: whether the other's AUC comes within
      the network's interval, or the lead may be none.
    """
    lead = delong(network, other, bootstrap.clusters(network.patients), level)
    if lead["estimate"] is None:
        return {"lead": lead, "matches": False}
    ours = network.auc(level)
    assert ours.low is not None  # both are defined for the same pictures
    assert reached.estimate is not None
    within = reached.estimate >= ours.low
    no_lead = lead["estimate"] <= 0 if lead["low"] is None else lead["low"] <= 0
    return {"lead": lead, "matches": bool(within or no_lead)}


def paired_bootstrap(
    first: Predictions,
    second: Predictions,
    class_names: tuple[str, ...],
    cluster: np.ndarray,
    level: float,
    resamples: int,
) -> dict[str, Any]:
    """Differences of the overall measures and of macro F1 in the same resamples."""
    drawn = bootstrap.draw(first.labels, cluster, resamples)
    trees, samples = [], []
    for p in (first, second):
        tree = measures.summary(p.labels, p.probabilities, class_names)
        sample = bootstrap.replicates(
            p.labels, p.probabilities, class_names, cluster, drawn
        )
        trees.append(tree["overall"] | {"f1": tree["macro"]["f1"]})
        samples.append(sample["overall"] | {"f1": sample["macro"]["f1"]})
    rows = {}
    for key in samples[0]:
        a, b = trees[0][key], trees[1][key]
        difference = None if a is None or b is None else a - b
        values = samples[0][key] - samples[1][key]
        row = intervals.resampled(key, difference, values, len(first), level)
        rows[key] = row.to_dict()
    return rows


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> dict[str, Any]:
    """Exact McNemar test: of the pictures only one gets right, is it half each?

    It takes pictures as independent; with several pictures a patient, read the
    interval of the accuracy's difference instead.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    discordant = only_first + only_second
    p = binomtest(only_first, discordant).pvalue if discordant else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": float(p)}
