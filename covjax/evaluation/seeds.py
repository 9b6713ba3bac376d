"""Several seeds of one recipe: all are reported, none is picked."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax.errors import InputError
from covjax.evaluation.predictions import Predictions

AT_POINT = ("sensitivity", "specificity", "precision", "accuracy")


def table(places: Mapping[int, Path]) -> dict[str, Any]:
    """Every seed's measures on the test split, with mean and spread.

    Args:
      places: the work directory of each seed.

    Returns:
      ``seeds``, and by measure ``values`` in their order with ``mean``, ``sd`` (over
      seeds, n - 1), ``min`` and ``max``; these are None where a seed has no value.
      Measures at the frozen threshold are named ``sensitivity at threshold``, ....

    Raises:
      InputError: where a seed has no ``metrics.json``: part of the seeds is not a
        result.
    """
    missing = [seed for seed, place in places.items() if not _file(place).is_file()]
    if missing:
        raise InputError(
            f"seeds {', '.join(map(str, missing))} of {len(places)} have not finished: "
            "all are reported, or none"
        )
    columns: dict[str, list[float | None]] = {}
    for place in places.values():
        metrics = json.loads(_file(place).read_text())
        for name, leaf in metrics["test"]["overall"].items():
            columns.setdefault(name, []).append(leaf["estimate"])
        point = metrics["operating_point"]
        for name in AT_POINT:
            value = None if point is None else point["test"][name]["estimate"]
            columns.setdefault(f"{name} at threshold", []).append(value)
    return {"seeds": list(places), "measures": {k: _row(v) for k, v in columns.items()}}


def _file(place: Path) -> Path:
    return place / "metrics.json"


def _row(values: list[float | None]) -> dict[str, Any]:
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values):
        return {"values": values, "mean": None, "sd": None, "min": None, "max": None}
    return {
        "values": values,
        "mean": float(known.mean()),
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "min": float(known.min()),
        "max": float(known.max()),
    }


def ensemble(places: Mapping[int, Path], split: str) -> Predictions:
    """Mean of the seeds' calibrated probabilities on "validation" or "test"."""
    members = [
        Predictions.load(place / f"predictions_{split}.npz")
        for place in places.values()
    ]
    first = members[0]
    for place, member in zip(places.values(), members, strict=True):
        if not np.array_equal(first.files, member.files):
            raise InputError(f"{place}: other {split} pictures than the first seed's")
    mean = np.mean([m.probabilities.astype(float) for m in members], axis=0)
    return replace(first, probabilities=mean.clip(0, 1).astype(np.float32))
