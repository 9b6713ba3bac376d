"""What joins the folds of a cross-validation: each picture is judged once.

The folds' folders are all that is read: no picture, no network.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.errors import InputError
from covjax.evaluation.controls import RECIPES, Control, scored
from covjax.evaluation.operating_point import OperatingPoint
from covjax.evaluation.predictions import Predictions
from covjax.files import DAMAGED, read_arrays, write_arrays

CONTROLS = "controls.npz"
VERDICTS = ("verified", "unverifiable", "violated")  # the worst last
Places = Mapping[int, Path]  # the work directory of each fold


def pooled(places: Places, split: str) -> Predictions:
    """The folds' predictions on "validation" or "test", one after the other.

    A picture is in one fold's test split; it may be in the validation split of
    several.

    Raises:
      InputError: where a picture is in the test splits of two folds.
    """
    parts = {
        place: Predictions.load(place / f"predictions_{split}.npz")
        for place in places.values()
    }
    seen: set[str] = set()
    for place, part in parts.items() if split == "test" else ():
        twice = seen.intersection(part.files.tolist())
        if twice:
            raise InputError(
                f"{place}: {min(twice)} is in the test split of another fold as well"
            )
        seen.update(part.files.tolist())
    columns = ("labels", "probabilities", "patients", "sources", "files")
    return Predictions(
        **{
            name: np.concatenate([getattr(part, name) for part in parts.values()])
            for name in columns
        }
    )


def own_points(
    places: Places, class_names: tuple[str, ...]
) -> tuple[OperatingPoint | None, dict[str, np.ndarray]]:
    """What each fold's own frozen threshold calls on its own pictures.

    Returns:
      The point without a threshold, and what is called positive, bool ``[n]`` in the
      order of `pooled`, by split. None and nothing where a fold has no point.
    """
    points = []
    for place in places.values():
        found = _json(place / "metrics.json")["operating_point"]
        if found is None:
            return None, {}
        points.append(
            OperatingPoint(found["positive"], found["threshold"], found["rule"])
        )
    k = class_names.index(points[0].positive)
    called = {}
    for split in ("validation", "test"):
        parts = [
            Predictions.load(place / f"predictions_{split}.npz")
            for place in places.values()
        ]
        called[split] = np.concatenate(
            [
                point.called(part.probabilities[:, k])
                for point, part in zip(points, parts, strict=True)
            ]
        )
    return OperatingPoint(points[0].positive, None, points[0].rule), called


def save_controls(controls: Sequence[Control], workdir: Path) -> None:
    """Writes ``controls.npz``: the fitted controls' probabilities, by name."""
    arrays: dict[str, Any] = {
        c.name: c.probabilities for c in controls if c.probabilities is not None
    }
    write_arrays(workdir / CONTROLS, arrays)


def pooled_controls(
    places: Places, test: Predictions, class_names: tuple[str, ...], level: float
) -> list[Control]:
    """The controls on all test pictures, each fitted without the picture's fold.

    Args:
      places: of the folds.
      test: out of `pooled`.
      class_names: in the order of the probabilities.
      level: of the intervals.
    """
    found: list[dict[str, np.ndarray]] = []
    for place in places.values():
        try:
            found.append(read_arrays(place / CONTROLS))
        except DAMAGED as error:
            raise InputError(
                f"{place / CONTROLS}: missing or damaged: {error}"
            ) from error
    controls = []
    for recipe in RECIPES:
        fitted = [arrays[recipe.name] for arrays in found if recipe.name in arrays]
        whole = len(fitted) == len(found)
        probabilities = np.concatenate(fitted) if whole else None
        controls.append(
            scored(
                recipe, probabilities, test.labels, test.patients, class_names, level
            )
        )
    return controls


def joined_data(places: Places, asked: config.Data) -> dict[str, Any]:
    """``data.json`` of all folds: every picture is a test picture of one of them."""
    found = [_json(place / "data.json") for place in places.values()]
    names = found[0]["counts"]["test"]
    return {
        "card": found[0]["card"],
        "verdict": worst([data["verdict"] for data in found], asked),
        "counts": {
            "test": {n: sum(data["counts"]["test"][n] for data in found) for n in names}
        },
        "fingerprints": {
            f"test of fold {number}": data["fingerprints"]["test"]
            for number, data in zip(places, found, strict=True)
        },
    }


def worst(verdicts: Sequence[dict[str, Any]], asked: config.Data) -> dict[str, Any]:
    """The verdict on patient separation of the fold where it is worst."""
    chosen = max(
        verdicts, key=lambda v: (VERDICTS.index(v["verdict"]), v["shared_patients"])
    )
    rest = chosen["sentence"].removeprefix(f"{chosen['method']}: ")
    method = f"{len(verdicts)} folds {units(chosen, asked)}"
    if chosen["verdict"] == "violated":
        rest += f" (in {chosen['method']}, the worst)"
    return chosen | {"method": method, "sentence": f"{method}: {rest}"}


def units(verdict: dict[str, Any], asked: config.Data) -> str:
    """What the folds are made of, in words that follow "5 folds"."""
    if asked.split == "image":
        return "of pictures, not of patients"
    if not verdict["patients"]:
        return "of pictures, whose patients are unknown"
    if verdict["unknown_pictures"]:
        return "grouped by patient where one is known"
    return "grouped by patient"


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
