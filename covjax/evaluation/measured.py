"""Every measure of one split, each with its interval."""

from typing import Any

import numpy as np

from covjax.evaluation import bootstrap, calibration, intervals, measures
from covjax.evaluation.counts import decisions, one_vs_rest
from covjax.evaluation.intervals import Measure
from covjax.evaluation.predictions import Predictions

Tree = dict[str, Any]


def measured(
    predictions: Predictions,
    class_names: tuple[str, ...],
    *,
    level: float,
    resamples: int,
) -> Tree:
    """The tree of `measures.summary` with `Measure.to_dict` at each leaf.

    Counts stay integers. ``patients`` (None if a picture has no id) and
    ``prevalence`` say what the split is made of. Intervals hold for splits of this
    prevalence.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    tree, n = measures.summary(labels, probabilities, class_names), len(labels)
    truth = one_vs_rest(labels, len(class_names))
    called = decisions(probabilities, multi_label=labels.ndim == 2)
    cluster = bootstrap.clusters(predictions.patients)
    drawn = bootstrap.draw(labels, cluster, resamples)
    samples = bootstrap.replicates(labels, probabilities, class_names, cluster, drawn)

    def leaves(values: dict[str, Any], replicates: dict[str, np.ndarray]) -> None:
        for key, column in replicates.items():
            values[key] = intervals.resampled(key, values[key], column, n, level)

    for group in ("overall", "macro", "weighted"):
        leaves(tree[group], samples[group])
    overall = tree["overall"]
    overall["auc"] = intervals.area(truth, probabilities, cluster, level)
    overall["ece"] = intervals.calibration_error(
        labels, probabilities, cluster, drawn, level
    )
    if labels.ndim == 1:
        right = (truth & called).any(axis=1)
        overall["accuracy"] = intervals.proportion("accuracy", right, cluster, level)
    for k, name in enumerate(class_names):
        row, column = tree["per_class"][name], slice(k, k + 1)
        leaves(row, samples["per_class"][name])
        row |= intervals.proportions(truth[:, k], called[:, k], cluster, level)
        row["auc"] = intervals.area(
            truth[:, column], probabilities[:, column], cluster, level
        )
    known = bool(np.all(predictions.patients != ""))
    return _plain(tree) | {
        "patients": int(cluster.max()) + 1 if known else None,
        "prevalence": dict(zip(class_names, truth.mean(axis=0).tolist(), strict=True)),
    }


def proper_scores(predictions: Predictions, *, level: float, resamples: int) -> Tree:
    """Brier score, log loss and calibration error: what calibration changes."""
    labels, probabilities = predictions.labels, predictions.probabilities
    cluster = bootstrap.clusters(predictions.patients)
    drawn = bootstrap.draw(labels, cluster, resamples)
    columns = bootstrap.proper_scores(labels, probabilities, cluster, drawn)
    n = len(labels)
    terms = {
        "brier": calibration.brier_terms(labels, probabilities),
        "log_loss": calibration.log_loss_terms(labels, probabilities),
    }
    return {
        key: intervals.resampled(key, float(t.mean()), columns[key], n, level).to_dict()
        for key, t in terms.items()
    } | {
        "ece": intervals.calibration_error(
            labels, probabilities, cluster, drawn, level
        ).to_dict()
    }


def by_source(
    predictions: Predictions, class_names: tuple[str, ...], *, level: float
) -> list[Tree]:
    """Accuracy and AUC within each source; empty where fewer than two are known.

    Pictures of no known source have a row of their own, "unknown".
    """
    sources = np.unique(predictions.sources)
    several = (sources != "").sum() > 1
    labels, probabilities = predictions.labels, predictions.probabilities
    truth = one_vs_rest(labels, len(class_names))
    right = (truth & decisions(probabilities, multi_label=labels.ndim == 2)).any(axis=1)
    rows = []
    for source in sources if several else ():
        here = predictions.sources == source
        cluster = bootstrap.clusters(predictions.patients[here])
        auc = predictions.subset(here).auc(level)
        shares = truth[here].mean(axis=0).tolist()
        row = {
            "source": str(source) or "unknown",
            "n": int(here.sum()),
            "prevalence": dict(zip(class_names, shares, strict=True)),
            "auc": auc.to_dict(),
        }
        if labels.ndim == 1:
            accuracy = intervals.proportion("accuracy", right[here], cluster, level)
            row["accuracy"] = accuracy.to_dict()
        rows.append(row)
    return rows


def gaps(validation: Tree, test: Tree) -> dict[str, Tree]:
    """Validation less test for each overall measure, and whether it is real.

    The splits are independent, so that the interval of the difference follows from
    both intervals (MOVER: Zou and Donner, Statistics in Medicine 27 (2008) 1693). A
    gap is flagged where 0 lies outside it: validation does not stand for test.
    """
    rows = {}
    for key, a in validation["overall"].items():
        b = test["overall"][key]
        if None in (a["low"], b["low"], a["estimate"], b["estimate"]):
            continue
        difference = a["estimate"] - b["estimate"]
        down = np.hypot(a["estimate"] - a["low"], b["high"] - b["estimate"])
        up = np.hypot(a["high"] - a["estimate"], b["estimate"] - b["low"])
        low, high = float(difference - down), float(difference + up)
        method = "from both intervals (MOVER)"
        row = Measure(difference, low, high, a["n"] + b["n"], method).to_dict()
        rows[key] = row | {"flagged": not low <= 0 <= high}
    return rows


def _plain(tree: Any) -> Any:
    """The tree with dictionaries for measures."""
    if isinstance(tree, Measure):
        return tree.to_dict()
    return {k: _plain(v) for k, v in tree.items()} if isinstance(tree, dict) else tree
