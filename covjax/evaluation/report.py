"""The report of a finished run: ``metrics.json`` and its plots."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.evaluation import calibration, compare, plots, ranking
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.controls import Control
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.folds import save_controls
from covjax.evaluation.measured import (
    by_source,
    decisions,
    gaps,
    measured,
    proper_scores,
)
from covjax.evaluation.measures import check_predictions
from covjax.evaluation.operating_point import OperatingPoint, apply, choose
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.table import headline
from covjax.files import write_json

FAILURES = 24  # wrong pictures that are listed and drawn, most confident first


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

    Raises:
      InputError: for probabilities that are none, such as NaN.
    """
    check_predictions(validation.labels, validation.probabilities)
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
    controls: Sequence[Control],
    class_names: Sequence[str],
    history: Sequence[dict[str, Any]],
    card: dict[str, Any],
    verdict: dict[str, Any],
    images: np.ndarray | None,
    raw: Mapping[str, np.ndarray] | None = None,
    repeats: dict[str, Any] | None = None,
    called: Mapping[str, np.ndarray] | None = None,
    explanation: dict[str, Any] | None = None,
    parts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Measures both splits, writes ``metrics.json`` and the plots.

    Args:
      workdir: the run's folder; it must exist.
      run: the configuration; `config.Evaluation` says what is measured.
      validation: calibrated predictions of the best checkpoint on validation.
      test: the same of the test split.
      temperature: with which both were calibrated, out of `freeze`.
      point: the threshold, out of `freeze`.
      controls: of the same test pictures, from `covjax.evaluation.controls.run`.
      class_names: in the order of the columns of the probabilities.
      history: one row an epoch: ``epoch`` and numbers (see `plots.curves`).
      card: name, licence, citation and home of the data set.
      verdict: of the split: whether patients are apart.
      images: pictures of the test split, uint8 ``[n, height, width, channels]``, or
        None to draw none.
      raw: probabilities by split as they were before the temperature; None where there
        are none, of repeats.
      repeats: out of `covjax.evaluation.repeats.table`, where the predictions come
        from several seeds or folds.
      called: what is called positive at the point, bool ``[n]`` by split, where each
        fold has a threshold of its own.
      explanation: out of `covjax.evaluation.explanation.explain`; None without maps.
      parts: out of `covjax.evaluation.explanation.without_parts`.

    Returns:
      What stands in ``metrics.json``.
    """
    names = tuple(class_names)
    metrics: dict[str, Any] = {
        "model": run.system.name or run.model.name,
        "data": run.data.name,
        "size": run.data.size,
        "seed": run.train.seed,
        "repeats": repeats,
        "card": card,
        "verdict": verdict,
        "classes": list(names),
        "calibrate": run.evaluation.calibrate,
        "fixed_at": ranking.TARGET,  # sensitivity at this specificity, and the reverse
        "temperature": temperature.value,
        **both_splits(
            validation,
            test,
            raw if temperature.value != 1 else None,
            point,
            names,
            run.evaluation,
            called or {},
        ),
        "explanation": explanation,
        "without_parts": list(parts),
        "controls": [beside(c, test, run.evaluation.level) for c in controls],
    }
    if repeats is not None and repeats["of"] == "fold":
        # one fold's validation pictures are test pictures of another
        metrics["gaps"] = {}
    metrics["headline"] = headline(metrics)
    draw(workdir, test, names, history, metrics, images)
    save_controls(controls, workdir)
    write_json(workdir / "metrics.json", metrics)
    return metrics


def both_splits(
    validation: Predictions,
    test: Predictions,
    raw: Mapping[str, np.ndarray] | None,
    point: OperatingPoint | None,
    names: tuple[str, ...],
    asked: config.Evaluation,
    called: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Everything that is measured on validation and test."""
    how: dict[str, Any] = {"level": asked.level, "resamples": asked.resamples}
    splits = {"validation": validation, "test": test}
    found = {part: measured(split, names, **how) for part, split in splits.items()}
    before = None
    if raw is not None:
        before = {
            part: proper_scores(replace(split, probabilities=raw[part]), **how)
            for part, split in splits.items()
        }
    at_point = None
    if point is not None:
        at_point = point.to_dict() | {
            part: apply(point, split, names, asked.level, called.get(part))
            for part, split in splits.items()
        }
    return {
        **how,
        **found,
        "gaps": gaps(found["validation"], found["test"]),
        "sources": by_source(test, names, level=asked.level),
        "uncalibrated": before,
        "operating_point": at_point,
        "failures": failures(test, names),
    }


def beside(control: Control, test: Predictions, level: float) -> dict[str, Any]:
    """A control's AUC, and the network's lead over it; see `compare.beside`."""
    row = {
        "name": control.name,
        "sees_lungs": control.sees_lungs,
        "sentence": control.sentence,
        "auc": control.auc.to_dict(),
        "lead": None,
        "matches": False,
    }
    if control.probabilities is None or control.auc.estimate is None:
        return row
    other = replace(test, probabilities=control.probabilities)
    return row | compare.beside(test, other, control.auc, level)


def failures(
    predictions: Predictions, class_names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The pictures whose decision is wrong, the most confident ones first.

    With several labels a picture every class is a decision, and the surest of the
    wrong ones counts.
    """
    p, labels = predictions.probabilities, predictions.labels
    truth, said = (
        one_vs_rest(labels, len(class_names)),
        decisions(p, multi_label=labels.ndim == 2),
    )
    sure, right = calibration.confidence_and_hits(labels, p)
    confidence = np.where(right, -1, sure).reshape(len(p), -1).max(axis=1)
    wrong = np.flatnonzero(confidence >= 0)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:FAILURES]

    def named(row: np.ndarray) -> list[str]:
        return [n for n, chosen in zip(class_names, row, strict=True) if chosen]

    return [
        {
            "row": int(i),
            "file": str(predictions.files[i]),
            "source": str(predictions.sources[i]),
            "truth": named(truth[i]),
            "decision": ", ".join(named(said[i])) or "none",
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
    plots.reliability(
        labels, probabilities, workdir / "reliability.png", metrics["level"]
    )
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
