"""The report of a finished run: ``metrics.json``, its plots, and a table to read."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.evaluation import measures, plots
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.intervals import Measure
from covjax.evaluation.predictions import Predictions

FAILURES = 24  # wrong pictures that are listed and drawn, most confident first

OVERALL = {  # printed name of each measure of a whole split
    "auc": "AUC (macro)",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "kappa": "kappa",
    "average_precision": "average precision",
    "brier": "Brier score",
    "ece": "calibration error",
    "log_loss": "log loss",
}
PER_CLASS = ("sensitivity", "specificity", "precision", "npv", "f1", "auc")


def write_report(
    workdir: Path,
    *,
    run: config.Run,
    validation: Predictions,
    test: Predictions,
    class_names: Sequence[str],
    history: Sequence[dict[str, Any]],
    card: dict[str, Any],
    verdict: dict[str, Any],
    images: np.ndarray | None,
) -> dict[str, Any]:
    """Measures both splits, writes ``metrics.json`` and the plots.

    Args:
      workdir: the run's folder; it must exist.
      run: the configuration; `config.Evaluation` says what is measured.
      validation: what the best checkpoint says of the validation split.
      test: the same of the test split.
      class_names: in the order of the columns of the probabilities.
      history: one row an epoch: ``epoch`` and numbers (see `plots.curves`).
      card: name, licence, citation and home of the data set.
      verdict: of the split: whether patients are apart.
      images: pictures of the test split, uint8 ``[n, height, width, channels]``, or
        None to draw none.

    Returns:
      What stands in ``metrics.json``.
    """
    names = tuple(class_names)
    metrics: dict[str, Any] = {
        "model": run.model.name,
        "data": run.data.name,
        "size": run.data.size,
        "seed": run.train.seed,
        "level": run.evaluation.level,
        "card": card,
        "verdict": verdict,
        "classes": list(names),
        "validation": measured(validation, names),
        "test": measured(test, names),
        "failures": failures(test, names),
    }
    draw(workdir, test, names, history, metrics, images)
    write_json(workdir / "metrics.json", metrics)
    return metrics


def measured(predictions: Predictions, class_names: tuple[str, ...]) -> dict[str, Any]:
    """The tree of `measures.summary` with a `Measure` (as a dictionary) at each leaf.

    Counts stay integers. ``prevalence`` and ``patients`` (None if a picture has no
    id) say what the split is made of.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    tree = measures.summary(labels, probabilities, class_names)
    truth = one_vs_rest(labels, len(class_names))
    known = bool(len(labels)) and bool(np.all(predictions.patients != ""))
    tree["patients"] = len(np.unique(predictions.patients)) if known else None
    tree["prevalence"] = {
        name: float(share) if len(labels) else None
        for name, share in zip(class_names, truth.mean(axis=0), strict=True)
    }
    n = len(labels)
    for group in ("overall", "macro", "weighted"):
        tree[group] = {key: _leaf(key, v, n) for key, v in tree[group].items()}
    for name, row in tree["per_class"].items():
        tree["per_class"][name] = {
            key: v if isinstance(v, int) else _leaf(key, v, n) for key, v in row.items()
        }
    return tree


def _leaf(name: str, value: float | None, n: int) -> dict[str, Any]:
    reason = measures.REASONS[name] if value is None else ""
    return Measure(value, None, None, n, "point estimate", reason).to_dict()


def failures(
    predictions: Predictions, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The pictures whose decision is wrong, the most confident ones first."""
    truth = one_vs_rest(predictions.labels, len(class_names))
    rows = np.arange(len(truth))
    said = predictions.probabilities.argmax(axis=1)
    confidence = predictions.probabilities[rows, said]
    wrong = rows[~truth[rows, said]]
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:FAILURES]
    return [
        {
            "row": int(i),
            "file": str(predictions.files[i]),
            "source": str(predictions.sources[i]),
            "truth": [n for n, t in zip(class_names, truth[i], strict=True) if t],
            "decision": class_names[said[i]],
            "probability": float(confidence[i]),
        }
        for i in order
    ]


def draw(
    workdir: Path,
    test: Predictions,
    class_names: tuple[str, ...],
    history: Sequence[dict[str, Any]],
    metrics: dict[str, Any],
    images: np.ndarray | None,
) -> None:
    """Writes the plots beside ``metrics.json``."""
    labels, probabilities = test.labels, test.probabilities
    if history:
        plots.curves(history, workdir / "curves.png")
    plots.roc(labels, probabilities, class_names, workdir / "roc.png")
    plots.precision_recall(
        labels, probabilities, class_names, workdir / "precision_recall.png"
    )
    plots.reliability(labels, probabilities, workdir / "reliability.png")
    if metrics["test"]["confusion_matrix"] is not None:
        matrix = np.array(metrics["test"]["confusion_matrix"])
        plots.confusion(matrix, class_names, workdir / "confusion.png")
    if images is None:
        return
    pictures = plots.grid_rows(labels, len(class_names))
    wrong = np.array([row["row"] for row in metrics["failures"]], dtype=int)
    for name, title, rows in (
        ("pictures", "Test pictures", pictures),
        ("failures", "Failures, most confident first", wrong),
    ):
        if len(rows):
            plots.grid(
                np.stack([images[i] for i in rows]),
                labels[rows],
                probabilities[rows],
                class_names,
                workdir / f"{name}.png",
                title,
            )


def write_json(path: Path, values: Any) -> None:
    """Writes the values as JSON, whole or not at all; NaN is an error."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
    os.replace(temporary, path)


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """The test split's measures as a short table for the terminal."""
    test, level = metrics["test"], metrics["level"]
    patients = test["patients"]
    people = "patients unknown" if patients is None else f"{patients} patients"
    make_up = ", ".join(
        f"{name} {share:.0%}" if share is not None else f"{name} -"
        for name, share in test["prevalence"].items()
    )
    lines = [
        f"{metrics['model']} on {metrics['data']}: test split, {test['n']} pictures, "
        f"{people} ({make_up})",
        "",
        f"{'':<20}{'estimate':>9}   {f'{level:.0%} interval':<16}",
    ]
    for key, name in OVERALL.items():
        if key in test["overall"]:
            lines.append(f"{name:<20}" + _cells(test["overall"][key]))
    width = max(12, *(len(name) + 2 for name in metrics["classes"]))
    lines += ["", "class".ljust(width) + "".join(f"{m:>12}" for m in PER_CLASS)]
    rows = test["per_class"] | {"macro": test["macro"]}
    rows["macro"] = rows["macro"] | {"auc": test["overall"]["auc"]}
    for name, row in rows.items():
        lines.append(
            name.ljust(width) + "".join(f"{_number(row[m]):>12}" for m in PER_CLASS)
        )
    notes = {
        f"- {name} {key}: {row[key]['reason']}"
        for name, row in test["per_class"].items()
        for key in PER_CLASS
        if row[key]["estimate"] is None
    }
    return lines + sorted(notes)


def _number(measure: dict[str, Any]) -> str:
    return "-" if measure["estimate"] is None else f"{measure['estimate']:.3f}"


def _cells(measure: dict[str, Any]) -> str:
    """Estimate and interval in fixed columns."""
    if measure["estimate"] is None:
        return f"{'-':>9}   {measure['reason']}"
    if measure["low"] is None:
        return f"{measure['estimate']:>9.3f}"
    interval = f"{measure['low']:.3f} to {measure['high']:.3f}"
    return f"{measure['estimate']:>9.3f}   {interval}"
