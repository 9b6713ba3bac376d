"""Which picture goes to which split, as the recipe asks, and what that is worth."""

from typing import Any

import numpy as np

from covjax import config
from covjax.data import splits
from covjax.data.imageset import ImageSet
from covjax.errors import InputError


def assign(images: ImageSet, data: config.Data) -> tuple[np.ndarray, dict[str, Any]]:
    """The split of each picture and the verdict on patient separation.

    ``data.split="auto"`` takes the set's official split if it has one and else splits
    by patient; both refuse a patient on two sides. ``"official"`` and ``"image"`` are
    asked for by name, so an overlap is reported instead. ``data.folds`` makes fold
    ``data.fold`` the test split, ``data.test_source`` a whole source.

    Returns:
      str ``[n]`` of ``"train"``, ``"validation"``, ``"test"`` (``""`` is left out),
      and the dictionary of `splits.verdict` with ``method``, ``sentence`` and file
      names for ``examples``.

    Raises:
      InputError: the split cannot be made, or patients overlap.
    """
    if data.folds and data.fold < 0:
        raise InputError(
            f"config.data.fold={data.fold}: one fold is loaded at a time, from 0 to "
            f"{data.folds - 1}; covjax.train takes each in turn"
        )
    groups, matched = splits.group_ids(images.patients, images.files, data.group_key)
    if data.group_key and not matched.any():
        raise InputError(
            f"config.data.group_key={data.group_key!r}: matches no file name, such as "
            f"{str(images.files[0])!r}"
        )
    official = data.split == "official" or (
        data.split == "auto" and bool((images.splits != "").any())
    )
    if data.folds:
        method = f"fold {data.fold} (of 0 to {data.folds - 1})"  # as folders are named
    elif data.test_source:
        method = f"test source {data.test_source}"
    else:
        method = "official" if official else "hold-out"
    if data.split == "image":
        method += " by image"
    units = images.files if data.split == "image" else groups
    if data.folds:
        parts = _folds(units, images.labels, data)
    elif data.test_source:
        parts = _one_source_out(images, units, data)
    elif official:
        parts = _official(images, units, data)
    else:
        parts = splits.hold_out(units, images.labels, data.fractions, data.split_seed)
    found = splits.verdict(groups, images.patients != "", matched, parts)
    found["method"] = method
    found["sentence"] = _sentence(found)
    found["examples"] = [f"{images.files[i]} ({parts[i]})" for i in found["examples"]]
    if found["verdict"] == "violated" and data.split in ("auto", "grouped"):
        raise InputError(
            f"data {images.name}: {found['shared_patients']} {_who(found)} are in more "
            f"than one split, such as {' and '.join(found['examples'])}; "
            "config.data.split=grouped splits by patient, official keeps this"
        )
    return parts, found


def _official(images: ImageSet, units: np.ndarray, data: config.Data) -> np.ndarray:
    """The set's own split; a validation part is taken from train where it has none."""
    parts = images.splits.astype("U10")
    unsplit = np.flatnonzero(parts == "")
    if len(unsplit) == len(parts):
        raise InputError(
            f"config.data.split=official: data {images.name} has no split of its own"
        )
    if len(unsplit):
        raise InputError(
            f"data {images.name}: {images.files[unsplit[0]]} has no split, others have"
        )
    for name in ("train", "test"):
        if not (parts == name).any():
            raise InputError(f"data {images.name}: its own split has no {name} part")
    if not (parts == "validation").any():
        parts[parts == "train"] = _train_and_validation(
            units, images.labels, parts == "train", data
        )
    return parts


def _folds(units: np.ndarray, labels: np.ndarray, data: config.Data) -> np.ndarray:
    folds = splits.k_fold(units, labels, data.folds, data.split_seed)
    parts = np.full(len(units), "test", "U10")
    rest = folds != data.fold
    parts[rest] = _train_and_validation(units, labels, rest, data)
    return parts


def _one_source_out(
    images: ImageSet, units: np.ndarray, data: config.Data
) -> np.ndarray:
    """One source is the test split; its patients' pictures elsewhere are left out."""
    test = images.sources == data.test_source
    if not test.any():
        known = sorted({str(s) for s in images.sources if s})
        raise InputError(
            f"config.data.test_source={data.test_source!r}: no picture has it; "
            f"known: {', '.join(known) or 'none'}"
        )
    parts = np.full(len(units), "", "U10")
    parts[test] = "test"
    rest = ~test & ~np.isin(units, units[test])
    parts[rest] = _train_and_validation(units, images.labels, rest, data)
    return parts


def _train_and_validation(
    units: np.ndarray, labels: np.ndarray, rows: np.ndarray, data: config.Data
) -> np.ndarray:
    """Splits the given rows in two, in the proportion of the recipe's fractions."""
    train, validation, _ = data.fractions
    shares = [train / (train + validation), validation / (train + validation)]
    parts = splits.distribute(units[rows], labels[rows], shares, data.split_seed)
    return np.array(splits.NAMES)[parts]


def _who(found: dict[str, Any]) -> str:
    return "patients or groups" if found["groups"] else "patients"


def _sentence(found: dict[str, Any]) -> str:
    """The verdict as a reader wants it."""
    counts = (
        f"{found['method']}: {found['pictures']} pictures, {found['patients']} known "
        f"patients, {found['unknown_pictures']} pictures without an id"
    )
    known = ""
    if found["groups"]:
        counts += f", {found['groups']} groups by config.data.group_key"
        known = "groups by config.data.group_key are apart, but "
    match found["verdict"]:
        case "verified":
            return f"{counts}; verified: no patient is in two splits"
        case "violated":
            return (
                f"{counts}; violated: {found['shared_patients']} {_who(found)} with "
                f"{found['shared_pictures']} pictures are in more than one split"
            )
    return f"{counts}; unverifiable: {known}pictures without an id may share patients"
