"""One page of a finished run, with everything inside, and the JSON behind it."""

import base64
import json
from pathlib import Path
from typing import Any

from covjax.data.splits import totals
from covjax.errors import InputError
from covjax.evaluation.checklists import CLAIM, TRIPOD_AI, fill
from covjax.evaluation.facts import (
    UNSCALED,
    changed,
    facts,
    limitations,
    measured_on,
)
from covjax.evaluation.ranking import TARGET
from covjax.evaluation.table import OVERALL, blinded, heat_outside, of_hidden
from covjax.files import REPEATS

PICTURES = (
    "curves",
    "roc",
    "precision_recall",
    "confusion",
    "reliability",
    "pictures",
    "failures",
)
CLASS_COLUMNS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "npv": "NPV",
    "f1": "F1",
    "fpr": "FPR",
    "auc": "AUC",
}
CURVE_COLUMNS = {
    "sensitivity_at_specificity": f"sensitivity at specificity {TARGET}",
    "specificity_at_sensitivity": f"specificity at sensitivity {TARGET}",
}
POINT_ROWS = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision (PPV)",
    "npv": "NPV",
    "accuracy": "accuracy",
}


def read(workdir: Path, audit: Path | None) -> dict[str, Any]:
    """The files of a run by name; those that are absent are left out.

    Raises:
      InputError: where there is no ``metrics.json``, or a file is not JSON.
    """
    if not (workdir / "metrics.json").is_file():
        raise InputError(
            f"{workdir}: must be a finished run, with a metrics.json; train it first"
        )
    names = ("metrics", "config", "data", "environment", "classifier", "audit")
    paths = {f"{name}.json": workdir / f"{name}.json" for name in names}
    if audit is not None:
        paths["audit.json"] = audit
        if not audit.is_file():
            raise InputError(f"{audit}: no such file; covjax.audit writes audit.json")
    files = {  # an audit, which may be of anywhere, has a check of its own
        name: (_json if name == "audit.json" else _object)(path, path.read_text())
        for name, path in paths.items()
        if path.is_file()
    }
    if "audit.json" in files:
        _check_audit(paths["audit.json"], files)
    for name in ("log.jsonl", "openings.jsonl"):
        path = workdir / name
        if path.is_file():
            lines = path.read_text().splitlines()
            files[name] = [_object(path, line) for line in lines if line.strip()]
    if "openings.jsonl" not in files:  # of several seeds or folds: each has its own
        opened = sorted(workdir.glob(f"{REPEATS}/openings.jsonl"))
        rows = [(p, line) for p in opened for line in p.read_text().splitlines()]
        if rows:
            files["openings.jsonl"] = [
                (row := _object(path, line))
                | {"checkpoint": f"{path.parent.name}, {row['checkpoint']}"}
                for path, line in rows
            ]
    evaluations = {
        path.parent.name: _object(path, path.read_text())
        for path in sorted(workdir.glob("evaluation-*/metrics.json"))
    }
    if evaluations:
        files["evaluation-*/metrics.json"] = evaluations
    heatmaps = sorted(path.stem for path in (workdir / "heatmaps").glob("*.png"))
    return files | ({"heatmaps": heatmaps} if heatmaps else {})


def _check_audit(path: Path, files: dict[str, Any]) -> None:
    """Raises `InputError` unless it is an audit of the run's data set."""
    audit, metrics = files["audit.json"], files["metrics.json"]
    if not isinstance(audit, dict) or not {"findings", "data"} <= audit.keys():
        raise InputError(f"{path}: not an audit; covjax.audit writes audit.json")
    name = metrics["card"]["name"]
    if audit["data"] != name:
        raise InputError(f"{path}: is of {audit['data']}, and the run is of {name}")
    if name == "folder" and "data.json" in files:  # as many folders are named
        sizes = [totals(told["counts"]) for told in (audit, files["data.json"])]
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{path}: is of other pictures ({_counted(sizes[0])}) than the run's "
                f"({_counted(sizes[1])})"
            )


def _counted(sizes: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in sorted(sizes.items()))


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _object(path: Path, text: str) -> dict[str, Any]:
    found = _json(path, text)
    if not isinstance(found, dict):
        raise InputError(f"{path}: must be as covjax writes it, not {text[:20]!r}")
    return found


def content(files: dict[str, Any]) -> dict[str, Any]:
    """What the page says: ``report.json``."""
    metrics, known = files["metrics.json"], facts(files)
    data = files.get("data.json")
    card = metrics["card"] | {"patients": metrics["verdict"]["sentence"]}
    fingerprints = {} if data is None else data["fingerprints"]
    card |= {f"{part}, SHA-256": digest for part, digest in fingerprints.items()}
    averages = {
        "macro": metrics["test"]["macro"] | {"auc": metrics["test"]["overall"]["auc"]},
        "weighted": metrics["test"]["weighted"],
    }
    return {
        "m": metrics,
        "alarm": bool(blinded(metrics))
        or any(row["matches"] for row in metrics["controls"])
        or bool(of_hidden(metrics)),
        "heat_outside": heat_outside(metrics["explanation"]),
        "limitations": limitations(metrics),
        "trained": _rows(
            known, ("model", "source", "training", "selection", "initial")
        ),
        "counts": None if data is None else data["counts"],
        "overall": OVERALL,
        "class_columns": CLASS_COLUMNS,
        "curve_columns": CURVE_COLUMNS,
        "point_rows": POINT_ROWS,
        "averages": averages,
        "methods": _text(known, "uncertainty"),
        "unscaled": UNSCALED,
        "card": list(card.items()),
        "audit": files.get("audit.json"),
        "made": _made(files),
        "openings": files.get("openings.jsonl"),
        "heatmaps": files.get("heatmaps"),
        "evaluations": [
            evaluation | {"measured_on": measured_on(evaluation)}
            for evaluation in files.get("evaluation-*/metrics.json", {}).values()
        ],
        "facts": {key: fact.text for key, fact in known.items()},
        "claim": fill(CLAIM, known),
        "tripod": fill(TRIPOD_AI, known),
    }


def _rows(known: Any, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(name, known[name].text) for name in names if name in known]


def _text(known: Any, name: str) -> str:
    return known[name].text if name in known else ""


def _made(files: dict[str, Any]) -> list[tuple[str, str]]:
    """Command, settings, machine and versions, as far as they are recorded."""
    rows = []
    environment = files.get("environment.json")
    if environment is not None:
        rows.append(("command", "python -m covjax.train " + " ".join(
            environment["command"][1:]
        )))  # fmt: skip
    run = files.get("config.json")
    if run is not None:
        rows += [
            (f"{section} settings", text)
            for section in run
            if (text := changed(run, section))
        ]
    if environment is not None:
        versions = environment["versions"].items()
        rows += [
            ("device", f"{environment['devices']} x {environment['device']}"),
            ("platform", f"{environment['platform']}, Python {environment['python']}"),
            ("versions", ", ".join(f"{name} {version}" for name, version in versions)),
        ]
    return rows


def pictures(workdir: Path, heatmaps: list[str] | None) -> dict[str, str]:
    """The run's PNG files as data URIs, so that the page needs no other file."""
    names = [*PICTURES, *(f"heatmaps/{name}" for name in heatmaps or ())]
    return {
        name: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        for name in names
        if (path := workdir / f"{name}.png").is_file()
    }


def render(told: dict[str, Any], images: dict[str, str]) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("covjax", "evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    return environment.get_template("report.html.jinja").render(
        told | {"pictures": images}
    )
