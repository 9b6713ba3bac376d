"""Several runs on the same pictures, in one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covjax.evaluation.compare import compare
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.table import of_copies

COMPARED = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
RESAMPLES = 2000  # of the difference of two runs


def compare_runs(
    workdirs: Sequence[Path],
    results: Sequence[tuple[Predictions, dict[str, Any]]],
) -> dict[str, Any]:
    """Each run's measures, and its differences from the first with paired tests.

    Args:
      workdirs: of the runs.
      results: what each said of the same pictures, and its ``metrics.json``.

    Returns:
      What stands in ``comparison.json``; a difference is of its ``run`` less its
      ``less``, which are the first and the second of McNemar's test.
    """
    names = [workdir.resolve().name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    first, metrics = results[0]
    how = {"level": metrics["level"], "resamples": RESAMPLES}
    differences = [
        {"run": name, "less": names[0]}
        | compare(other, first, tuple(metrics["classes"]), **how)
        for name, (other, _) in zip(names[1:], results[1:], strict=True)
    ]
    return {
        "data": metrics["data"],
        "own_test": metrics["own_test"],
        "asked": metrics["asked"],
        "n": len(first),
        **how,
        "runs": [
            {"run": name, "model": found["model"], "copies": found["copies"]}
            | found["test"]["overall"]
            for name, (_, found) in zip(names, results, strict=True)
        ],
        "differences": differences,
    }


def comparison_lines(compared: dict[str, Any]) -> list[str]:
    """One table: a row a run, then a row a pair, then what its words mean."""
    rows = [(row["run"], row, "") for row in compared["runs"]]
    rows += [
        (f"{row['run']} less {row['less']}", row, "+")
        for row in compared["differences"]
    ]
    keys = [key for key in COMPARED if all(key in row for _, row, _ in rows)]
    width = max(len(name) for name, _, _ in rows) + 2
    head = " " * width + "".join(f"{COMPARED[key]:<36}" for key in keys)
    lines = [
        f"{compared['n']} pictures of {compared['data']}; "
        f"{100 * compared['level']:g}% intervals",
        "",
        head.rstrip(),
    ]
    notes = []
    for name, row, sign in rows:
        cells = "".join(f"{_cell(key, row, sign):<36}" for key in keys)
        lines.append((name.ljust(width) + cells).rstrip())
        notes += [note for key in keys if (note := _note(name, key, row, sign))]
    lines += ["", "p: of AUC by DeLong's paired test"]
    if "accuracy" in keys:
        lines[-1] += (
            ", of accuracy by McNemar's exact test; intervals of the other differences "
            "by the paired bootstrap"
        )
    notes += [
        f"{row['run']}: {of_copies(row['copies'])}"
        for row in compared["runs"]
        if row["copies"]
    ]
    return [*lines, *notes]


def _cell(key: str, row: dict[str, Any], sign: str) -> str:
    """A measure with its interval and, of a difference that is tested, its p."""
    measure = row[key]
    if measure["estimate"] is None:
        return "-"
    ends = "no interval"
    if measure["low"] is not None:
        ends = f"[{measure['low']:{sign}.3f}, {measure['high']:{sign}.3f}]"
    tested = row.get("mcnemar", {}) if key == "accuracy" else measure
    p = f" p {tested['p']:.3g}" if "p" in tested else ""
    return f"{measure['estimate']:{sign}.3f} {ends}{p}"


def _note(name: str, key: str, row: dict[str, Any], sign: str) -> str:
    """Why a cell has no number or no interval; nothing where it has both."""
    measure = row[key]
    if measure["estimate"] is None:
        return f"{name}: no {COMPARED[key]}, {measure['reason']}"
    if measure["low"] is not None:
        return ""
    why = "as where it always says one class"
    if sign:
        why = "as where both decide alike, or each always says one class"
    why = f"it is the same however the patients of each class are drawn again, {why}"
    if sign and key == "auc":
        why = "both rank the pictures alike, or a class has one patient only"
    return f"{name}: no interval of {COMPARED[key]}, {why}"
