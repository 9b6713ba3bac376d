"""Train, validation and test: by patient, stratified, a pure function of ids and seed.

Nothing here looks at a picture or at the order of the rows: the same patients, files,
labels and seed give the same split wherever they stand. An unknown patient is a value,
never a guess: such a picture is a group of its own, and the verdict says so.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from covjax.errors import InputError

NAMES = ("train", "validation", "test")


def group_ids(
    patients: np.ndarray, files: np.ndarray, group_key: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures must stay together.

    Pictures of one patient do, and those whose file names have the same match of
    `group_key`, and whatever is so connected.

    Args:
      patients: str ``[n]``, ``""`` is unknown.
      files: str ``[n]``.
      group_key: regular expression searched in each file name; the group is the text
        of its parentheses, or of the whole match without any; an empty one is none.

    Returns:
      Group names str ``[n]``, and whether `group_key` matches (bool ``[n]``); a picture
      without patient and match is alone in a group of its file's name.
    """
    keys = _matches(files, group_key)
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for patient, key in zip(patients, keys, strict=True):
        if patient and key:
            first, second = sorted((root(f"patient {patient}"), root(f"key {key}")))
            parent[second] = first  # the smaller name, whatever the order of the rows
    names = [
        root(f"patient {p}") if p else root(f"key {k}") if k else f"file {f}"
        for p, k, f in zip(patients, keys, files, strict=True)
    ]
    return np.array(names, str), np.array([key != "" for key in keys], bool)


def _matches(files: np.ndarray, group_key: str) -> list[str]:
    if not group_key:
        return [""] * len(files)
    try:
        pattern = re.compile(group_key)
    except re.error as error:
        raise InputError(
            f"config.data.group_key={group_key!r}: not a regular expression ({error})"
        ) from error
    found = [pattern.search(str(file)) for file in files]
    # parentheses that took no part in the match say nothing
    texts = [(m.groups() or (m[0],)) if m else () for m in found]
    return ["|".join(part for part in text if part) for text in texts]


def hold_out(
    groups: np.ndarray, labels: np.ndarray, fractions: Sequence[float], seed: int
) -> np.ndarray:
    """A stratified split in which no group is on two sides.

    Args:
      groups: str ``[n]``, from `group_ids`.
      labels: int ``[n]`` or multi-hot ``[n, classes]``.
      fractions: shares of train, validation and test.
      seed: another seed, another split.

    Returns:
      str ``[n]`` of `NAMES`. Every class is in every part if it has at least three
      groups of its own; with two it is in the two parts with the largest fractions,
      which are train and test by default, with one in the largest.

    Raises:
      InputError: there are fewer than three groups.
    """
    parts = distribute(groups, labels, fractions, seed)
    return np.array(NAMES)[parts]


def k_fold(groups: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each picture, int ``[n]``: stratified, no group in two folds."""
    return distribute(groups, labels, [1 / folds] * folds, seed)


def distribute(
    groups: np.ndarray, labels: np.ndarray, shares: Sequence[float], seed: int
) -> np.ndarray:
    """Deals groups out to parts so that each class has its share in each part.

    The class with fewest groups left goes first, its largest group first (equal sizes
    in an order drawn by the seed), to the part that lacks most of its share of this
    class and has room for the group. As soon as the groups left are only as many as
    the parts without this class, they go to those parts.

    Returns:
      int ``[n]``, the part of each picture.

    References:
      Sechidis, Tsoumakas, Vlahavas, On the stratification of multi-label data, ECML
      PKDD 2011; here over groups instead of pictures, and relative to each share.
    """
    names, members = np.unique(groups, return_inverse=True)
    if len(names) < len(shares):
        raise InputError(
            f"data: {len(names)} patients or groups cannot be split into {len(shares)} "
            "parts; add data or ask for config.data.split=image"
        )
    columns = _indicators(labels)
    counts = np.zeros((len(names), columns.shape[1]))  # pictures a group and class
    np.add.at(counts, members, columns)
    ties = [_drawn(seed, name) for name in names]
    order = sorted(range(len(names)), key=lambda g: (-counts[g].sum(), ties[g]))
    return _deal(counts, order, np.asarray(shares, float))[members]


def _drawn(seed: int, name: str) -> bytes:
    """Decides an order by chance; a file's name may be no UTF-8."""
    return hashlib.sha256(f"{seed} {name}".encode(errors="surrogateescape")).digest()


def _indicators(labels: np.ndarray) -> np.ndarray:
    """One column a class; rows without any label share one more."""
    if labels.ndim == 1:
        return (labels[:, None] == np.unique(labels)).astype(float)
    return np.concatenate([labels > 0, ~labels.any(axis=1, keepdims=True)], 1) * 1.0


def _deal(counts: np.ndarray, order: list[int], shares: np.ndarray) -> np.ndarray:
    """The part of each group; `counts` is ``[groups, classes]``."""
    wanted = shares[:, None] * counts.sum(axis=0)  # pictures a part and class
    missing = wanted.copy()
    has = np.zeros(wanted.shape, bool)
    queues = [iter([g for g in order if counts[g, c]]) for c in range(counts.shape[1])]
    left = (counts > 0).sum(axis=0)  # groups a class that are not dealt yet
    parts = np.full(len(counts), -1)
    while left.any():
        label = int(np.argmin(np.where(left > 0, left, len(counts) + 1)))
        group = next(g for g in queues[label] if parts[g] < 0)
        allowed = np.ones(len(shares), bool)
        if left[label] <= (~has[:, label]).sum():
            allowed = ~has[:, label]
        else:
            room = missing[:, label] >= counts[group, label]
            allowed = room if room.any() else allowed
        need = missing[:, label] / np.maximum(wanted[:, label], 1e-9)
        total = missing.sum(axis=1) / np.maximum(wanted.sum(axis=1), 1e-9)
        part = max(
            np.flatnonzero(allowed),
            key=lambda p: (round(need[p], 9), shares[p], round(total[p], 9)),
        )
        parts[group] = part
        missing[part] -= counts[group]
        has[part] |= counts[group] > 0
        left -= counts[group] > 0
    return parts


def take(files: np.ndarray, labels: np.ndarray, limit: int, seed: int) -> np.ndarray:
    """At most `limit` rows, stratified, each class kept; sorted indices.

    Args:
      files: str ``[n]``, what the draw depends on beside the seed.
      labels: int ``[n]`` or multi-hot ``[n, classes]``; each combination is a stratum.
      limit: number of rows wanted; 0: all.
      seed: of the draw.
    """
    if not limit or limit >= len(files):
        return np.arange(len(files))
    _, strata = np.unique(labels, axis=0, return_inverse=True)
    strata = strata.reshape(-1)
    drawn = [_drawn(seed, file) for file in files]
    order = sorted(range(len(files)), key=lambda row: drawn[row])
    # a row's place among its stratum, as a share: equal shares are equal strata
    place, sizes = np.zeros(len(files)), np.bincount(strata)
    seen = np.zeros_like(sizes)
    for row in order:
        place[row] = seen[strata[row]] / sizes[strata[row]]
        seen[strata[row]] += 1
    first = sorted(order, key=lambda row: place[row])
    return np.sort(np.array(first[:limit]))


def verdict(
    groups: np.ndarray, named: np.ndarray, matched: np.ndarray, splits: np.ndarray
) -> dict[str, Any]:
    """What can be said of patient separation, with the counts.

    Args:
      groups: str ``[n]``, from `group_ids`.
      named: bool ``[n]``, whether the patient is known.
      matched: bool ``[n]``, from `group_ids`.
      splits: str ``[n]`` of `NAMES`; ``""`` is left out.

    Returns:
      ``verdict``: ``"violated"`` where a known patient (or group) is in two splits,
      else ``"unverifiable"`` where a picture has no patient id, for that of its group
      is only what `group_key` holds for one, else ``"verified"``; with ``pictures``,
      ``patients``, ``groups`` (those without a patient id), ``unknown_pictures``
      (without a patient id), ``shared_patients`` (or groups), ``shared_pictures``,
      ``shared_between`` (pairs of splits) and ``examples`` (rows of two pictures that
      share a patient, never the id itself).
    """
    used = splits != ""
    rows = np.flatnonzero((named | matched) & used)
    names, member = np.unique(groups[rows], return_inverse=True)
    parts = np.array([NAMES.index(s) for s in splits[rows]], int)
    inside = np.zeros((len(names), 3), bool)
    inside[member, parts] = True
    shared = inside.sum(axis=1) > 1
    between = {
        f"{NAMES[a]}-{NAMES[b]}": int((inside[:, a] & inside[:, b]).sum())
        for a, b in ((0, 1), (0, 2), (1, 2))
    }
    patients = len(np.unique(member[named[rows]]))
    unknown = int((~named & used).sum())
    examples: list[int] = []
    if shared.any():
        of_one = rows[member == np.flatnonzero(shared)[0]]
        other = of_one[splits[of_one] != splits[of_one[0]]]
        examples = [int(of_one[0]), int(other[0])]
    return {
        "verdict": "violated" if shared.any() else
                   "unverifiable" if unknown else "verified",
        "pictures": int(used.sum()),
        "patients": patients,
        "groups": len(names) - patients,
        "unknown_pictures": unknown,
        "shared_patients": int(shared.sum()),
        "shared_pictures": int(shared[member].sum()) if len(names) else 0,
        "shared_between": between,
        "examples": examples,
    }  # fmt: skip


def totals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Pictures of each class over all splits, from those in each split."""
    found: dict[str, int] = {}
    for split in counts.values():
        for name, number in split.items():
            found[name] = found.get(name, 0) + number
    return found
