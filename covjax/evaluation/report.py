"""The report of a finished run: ``metrics.json``, its plots, and a table to read."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.evaluation import calibration, plots
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.measured import by_source, gaps, measured, proper_scores
from covjax.evaluation.operating_point import OperatingPoint, apply, choose
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


def freeze(
    validation: Predictions, class_names: Sequence[str], run: config.Run
) -> tuple[Temperature, OperatingPoint | None]:
    """What is decided on validation before the test split is opened.

    Args:
      validation: uncalibrated predictions of the best checkpoint.
      class_names: in the order of the columns of the probabilities.
      run: whether to calibrate, and how to choose the threshold.

    Returns:
      The temperature, and the operating point on calibrated probabilities (None where
      validation lacks the class or any other).
    """
    independent = run.train.loss == "binary"
    temperature = Temperature(1.0, independent)
    if run.evaluation.calibrate:
        temperature = calibration.fit_temperature(
            validation.labels, validation.probabilities, independent=independent
        )
    calibrated = replace(
        validation, probabilities=temperature(validation.probabilities)
    )
    return temperature, choose(calibrated, tuple(class_names), run.evaluation)


def write_report(
    workdir: Path,
    *,
    run: config.Run,
    validation: Predictions,
    test: Predictions,
    temperature: Temperature,
    point: OperatingPoint | None,
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
      validation: calibrated predictions of the best checkpoint on validation.
      test: the same of the test split.
      temperature: with which both were calibrated, out of `freeze`.
      point: the threshold, out of `freeze`.
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
    how: dict[str, Any] = {
        "level": run.evaluation.level,
        "resamples": run.evaluation.resamples,
    }
    metrics: dict[str, Any] = {
        "model": run.model.name,
        "data": run.data.name,
        "size": run.data.size,
        "seed": run.train.seed,
        **how,
        "card": card,
        "verdict": verdict,
        "classes": list(names),
        "validation": measured(validation, names, **how),
        "test": measured(test, names, **how),
        "sources": by_source(test, names, level=run.evaluation.level),
        "temperature": temperature.value,
        "uncalibrated": {
            name: proper_scores(uncalibrated(split, temperature), **how)
            for name, split in (("validation", validation), ("test", test))
        },
        "operating_point": None,
        "failures": failures(test, names),
    }
    metrics["gaps"] = gaps(metrics["validation"], metrics["test"])
    if point is not None:
        metrics["operating_point"] = point.to_dict() | {
            name: apply(point, split, names, run.evaluation.level)
            for name, split in (("validation", validation), ("test", test))
        }
    draw(workdir, test, names, history, metrics, images)
    write_json(workdir / "metrics.json", metrics)
    return metrics


def uncalibrated(predictions: Predictions, temperature: Temperature) -> Predictions:
    """The predictions as they were before temperature scaling."""
    inverse = Temperature(1 / temperature.value, temperature.independent)
    return replace(predictions, probabilities=inverse(predictions.probabilities))


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
                images[rows],
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
    make_up = ", ".join(f"{name} {p:.0%}" for name, p in test["prevalence"].items())
    lines = [
        f"{metrics['model']} on {metrics['data']}, test split: {test['n']} pictures, "
        f"{people} ({make_up})",
        "",
        f"{'':<20}{'estimate':>9}   {f'{level:.0%} interval'}",
    ]
    for key, name in OVERALL.items():
        if key in test["overall"]:
            lines.append(f"{name:<20}{_cells(test['overall'][key])}")
    width = max(12, *(len(name) + 2 for name in metrics["classes"]))
    lines += ["", "class".ljust(width) + "".join(f"{m:>12}" for m in PER_CLASS)]
    for name, row in test["per_class"].items():
        cells = "".join(f"{_number(row[m]):>12}" for m in PER_CLASS)
        lines.append(name.ljust(width) + cells)
    macro = test["macro"] | {"auc": test["overall"]["auc"]}
    cells = "".join(f"{_number(macro[m]):>12}" for m in PER_CLASS)
    lines.append("macro".ljust(width) + cells)
    return [*lines, "", *_point_lines(metrics), *_notes(metrics)]


def _point_lines(metrics: dict[str, Any]) -> list[str]:
    """The operating point on the test split."""
    point = metrics["operating_point"]
    if point is None:
        return ["no operating point: validation lacks the class or any other"]
    shown = ("sensitivity", "specificity", "precision", "npv", "accuracy")
    head = (
        f"{point['positive']} at probability >= {point['threshold']:.3f} "
        f"({point['rule']} on validation)"
    )
    return [head, *(f"{m:<20}{_cells(point['test'][m])}" for m in shown)]


def _notes(metrics: dict[str, Any]) -> list[str]:
    """What a reader must know of these numbers."""
    notes = []
    for name, row in metrics["test"]["per_class"].items():
        undefined = {m: row[m]["reason"] for m in PER_CLASS if "reason" in row[m]}
        notes += [f"note: {name}, {m}: {why}" for m, why in undefined.items()]
    flagged = [key for key, gap in metrics["gaps"].items() if gap["flagged"]]
    if flagged:
        gaps = ", ".join(
            f"{OVERALL[key]} {metrics['gaps'][key]['estimate']:+.3f}" for key in flagged
        )
        notes.append(f"note: validation does not stand for test (difference: {gaps})")
    return ["", *notes] if notes else []


def _number(measure: dict[str, Any]) -> str:
    return "-" if measure["estimate"] is None else f"{measure['estimate']:.3f}"


def _cells(measure: dict[str, Any]) -> str:
    """Estimate and interval in fixed columns."""
    if measure["estimate"] is None:
        return f"{'-':>9}   {measure['reason']}"
    if measure["low"] is None:
        return f"{measure['estimate']:>9.3f}   {measure['method']}"
    interval = f"{measure['low']:.3f} to {measure['high']:.3f}"
    return f"{measure['estimate']:>9.3f}   {interval}"
