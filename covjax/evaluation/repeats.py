"""Several seeds or folds of one recipe: all are reported, none is picked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.errors import InputError
from covjax.evaluation import folds
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.operating_point import choose
from covjax.evaluation.predictions import Predictions, mean_probabilities
from covjax.evaluation.report import write_report
from covjax.evaluation.table import blinded
from covjax.files import write_json

AT_POINT = ("sensitivity", "specificity", "precision", "accuracy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """One of the runs that a recipe asks for.

    Attributes:
      number: of its seed or fold.
      run: the recipe with this seed or fold alone.
      place: its work directory.
    """

    number: int
    run: config.Run
    place: Path


def plan(run: config.Run, workdir: Path) -> list[Repeat]:
    """The runs of a recipe: one a fold, one a seed, or the recipe alone.

    A single one lives in `workdir` itself, several in ``fold-K`` or ``seed-K``.
    """
    if kind(run) == "fold":
        return [
            Repeat(
                number=k,
                run=replace(run, data=replace(run.data, fold=k)),
                place=workdir / f"fold-{k}",
            )
            for k in range(run.data.folds)
        ]
    first, count = run.train.seed, run.train.seeds
    return [
        Repeat(
            number=k,
            run=replace(run, train=replace(run.train, seed=k, seeds=1)),
            place=workdir / f"seed-{k}" if count > 1 else workdir,
        )
        for k in range(first, first + count)
    ]


def kind(run: config.Run) -> str:
    """What the recipe repeats: "fold" or "seed"."""
    return "fold" if run.data.folds and run.data.fold < 0 else "seed"


def report(
    run: config.Run,
    repeats: list[Repeat],
    workdir: Path,
    *,
    images: np.ndarray | None = None,
) -> dict[str, Any]:
    """Reports all repeats together: each, their mean and spread, and what joins them.

    Seeds are joined by their ensemble, folds by pooling: every picture has the
    prediction of the one network that had not seen it. Writes the files of a run.

    Args:
      run: the recipe that asked for them.
      repeats: out of `plan`; all have finished.
      workdir: of the recipe; it exists.
      images: the seeds' test pictures, to be drawn; None to draw none.

    Returns:
      What stands in ``metrics.json``.

    Raises:
      InputError: where one was evaluated in another way, or a seed saw other pictures.
    """
    places = {repeat.number: repeat.place for repeat in repeats}
    require_alike(run, places)
    found = table(places, kind(run))
    first, level = repeats[0].place, run.evaluation.level
    names = tuple(json.loads((first / "metrics.json").read_text())["classes"])
    called: dict[str, np.ndarray] = {}
    if kind(run) == "fold":
        both = {split: folds.pooled(places, split) for split in ("validation", "test")}
        point, called = folds.own_points(places, names)
        data = folds.joined_data(places, run.data)
        found["units"] = folds.units(data["verdict"], run.data)
    else:
        both = {split: ensemble(places, split) for split in ("validation", "test")}
        point = choose(both["validation"], names, run.evaluation)
        data = json.loads((first / "data.json").read_text())
        places = {repeats[0].number: first}  # the controls know no seed
    write_json(workdir / "data.json", data)
    for split, predictions in both.items():
        predictions.save(workdir / f"predictions_{split}.npz")
    return write_report(
        workdir,
        run=run,
        validation=both["validation"],
        test=both["test"],
        temperature=Temperature(1.0, independent=run.train.loss == "binary"),
        point=point,
        called=called,
        controls=folds.pooled_controls(places, both["test"], names, level),
        class_names=names,
        history=[],
        card=data["card"],
        verdict=data["verdict"],
        images=images,
        repeats=found,
    )


def require_alike(run: config.Run, places: Mapping[int, Path]) -> None:
    """Raises `InputError` unless the repeats can be reported together."""
    wanted = config.plain(run)["evaluation"]
    fingerprints: dict[str, Any] = {}
    for place in places.values():
        path = place / "config.json"
        there = config.plain(config.read(path))["evaluation"] if path.is_file() else {}
        for name, value in there.items():
            if value != wanted[name] and name != "batch_size":
                raise InputError(
                    f"{place}: was evaluated with config.evaluation.{name}={value!r}, "
                    f"not {wanted[name]!r}; delete it to have it done again, or set "
                    "it back"
                )
        if kind(run) == "seed" and (place / "data.json").is_file():
            data = json.loads((place / "data.json").read_text())
            fingerprints = fingerprints or data["fingerprints"]
            if data["fingerprints"] != fingerprints:
                raise InputError(
                    f"{place}: saw other pictures than the seed before; delete it to "
                    "train it again"
                )


def table(places: Mapping[int, Path], of: str) -> dict[str, Any]:
    """Every repeat's measures on its test split, with mean and spread.

    Args:
      places: the work directory of each seed or fold.
      of: "seed" or "fold".

    Returns:
      ``of``, ``numbers``, those of them whose network is as good with the lungs
      hidden, ``blinded``, and ``measures``: by name ``values`` in the order of the
      numbers with ``mean``, ``sd`` (n - 1), ``min`` and ``max``; these are None where
      a repeat has no value. Measures at the frozen threshold are named ``sensitivity
      at threshold``, ....

    Raises:
      InputError: where one has no ``metrics.json``: part of them is not a result.
    """
    missing = [number for number, place in places.items() if not _file(place).is_file()]
    if missing:
        raise InputError(
            f"{of}s {', '.join(map(str, missing))} of {len(places)} have not finished: "
            "all are reported, or none"
        )
    columns: dict[str, list[float | None]] = {}
    hidden = []
    for number, place in places.items():
        metrics = json.loads(_file(place).read_text())
        if blinded(metrics):
            hidden.append(number)
        for name, leaf in metrics["test"]["overall"].items():
            columns.setdefault(name, []).append(leaf["estimate"])
        point = metrics["operating_point"]
        for name in AT_POINT:
            value = None if point is None else point["test"][name]["estimate"]
            columns.setdefault(f"{name} at threshold", []).append(value)
    rows = {name: _row(values) for name, values in columns.items()}
    return {"of": of, "numbers": list(places), "measures": rows, "blinded": hidden}


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
    mean = mean_probabilities([member.probabilities for member in members])
    return replace(first, probabilities=mean)
