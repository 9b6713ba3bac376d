"""From a recipe's data section to three splits, ready to train on."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax import config
from covjax.data import splits
from covjax.data.assign import assign
from covjax.data.imageset import ImageSet
from covjax.data.preprocess import Preprocess
from covjax.data.source import open_source
from covjax.errors import InputError

CHUNK = 256  # pictures that are decoded at a time for their digests


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """What a run trains on, chooses by and is judged on; equal to itself alone.

    Attributes:
      train: for the parameters.
      validation: for every choice.
      test: for the final evaluation, opened once.
      preprocess: the preparation of every picture, to be saved with the model.
      verdict: on patient separation, from `covjax.data.assign.assign`.
      card: ``name``, ``licence``, ``citation`` and ``home`` of the data set.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    preprocess: Preprocess
    verdict: dict[str, Any]
    card: dict[str, str]

    @property
    def streamed(self) -> bool:
        """Whether pictures are decoded when asked for instead of lying in memory."""
        return not isinstance(self.train.images, np.ndarray)

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures of each class in each split."""
        return {name: getattr(self, name).counts() for name in splits.NAMES}

    def digests(self) -> dict[str, np.ndarray]:
        """`picture_digests` of each split."""
        return {name: picture_digests(getattr(self, name)) for name in splits.NAMES}

    def table(self) -> str:
        """The counts as a table for the terminal, with the verdict below."""
        counts = self.counts()
        names = ["class", *counts]
        rows = [
            [name, *(str(counts[part][name]) for part in counts)]
            for name in self.train.class_names
        ]
        pictures = ["pictures", *(str(len(getattr(self, part))) for part in counts)]
        widths = [max(len(r[i]) for r in [names, pictures, *rows]) for i in range(4)]

        def line(cells: list[str]) -> str:
            first = cells[0].ljust(widths[0])
            rest = (c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
            return "  ".join([first, *rest])

        lines = [line(row) for row in [names, *rows, pictures]]
        return "\n".join([*lines, self.verdict["sentence"]])


def load(data: config.Data, *, progress: bool = False) -> Splits:
    """Loads, prepares and splits a data set.

    Args:
      data: the recipe's section. A set is decoded into the cache, unless ``feed`` is
        ``"stream"``, or ``"auto"`` and its training split is larger than
        ``resident_gib``: then pictures are decoded whenever they are asked for.
      progress: shows a bar with rate and time left while files are read.

    Raises:
      InputError: whatever cannot be used: a name, an option, a folder, a picture, a
        class, a split.
    """
    prepare = Preprocess.from_config(data)
    source = open_source(data, prepare, progress=progress)
    parts, verdict, chosen = _choose(source.images, data)
    rows = {name: np.flatnonzero(parts == name) for name in splits.NAMES}
    for name in splits.NAMES:
        if not len(rows[name]):
            raise InputError(
                f"data {source.images.name}: the {name} split has no pictures"
            )
    train = source.images.subset(chosen[rows["train"]])
    _check_learnable(train, data)
    streamed = _streams(train, data)
    images = source.images.subset(chosen) if streamed else source.decoded(chosen)
    if data.classes:
        images = images.select_classes(tuple(data.classes))
    return Splits(
        train=images.subset(rows["train"]),
        validation=images.subset(rows["validation"]),
        test=images.subset(rows["test"]),
        preprocess=prepare,
        verdict=verdict,
        card=source.card,
    )


def load_whole(
    data: config.Data, prepare: Preprocess, *, progress: bool = False
) -> ImageSet:
    """A data set without a split, prepared as a trained model wants it.

    Args:
      data: names the set, its classes and the limit; size and preparation are those
        of `prepare`.
      prepare: saved with the model.
      progress: shows a bar while files are read.

    Raises:
      InputError: as `load`.
    """
    source = open_source(data, prepare, progress=progress)
    images, rows = source.images, np.arange(len(source.images))
    if data.classes:
        rows = images.rows_of(tuple(data.classes))
    files, labels = images.files[rows], images.labels[rows]
    rows = rows[splits.take(files, labels, data.limit, data.split_seed)]
    chosen = images.subset(rows) if data.feed == "stream" else source.decoded(rows)
    return chosen.select_classes(tuple(data.classes)) if data.classes else chosen


def picture_digests(images: ImageSet) -> np.ndarray:
    """A number for the pixels of each picture, uint64 ``[n]``.

    Equal pictures have equal numbers, whatever their files are called. Streamed
    pictures are decoded for it, a chunk at a time: as much as an epoch reads.
    """
    found = [
        hashlib.blake2b(picture.tobytes(), digest_size=8).digest()
        for start in range(0, len(images), CHUNK)
        for picture in images.images[start : start + CHUNK]
    ]
    return np.frombuffer(b"".join(found), "<u8")


def _choose(
    images: ImageSet, data: config.Data
) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Split of each chosen picture, the verdict, and which pictures are chosen."""
    rows = np.arange(len(images))
    if data.classes:
        rows = images.rows_of(tuple(data.classes))
        images = images.select_classes(tuple(data.classes))
    parts, verdict = assign(images, data)
    kept = []
    for name in splits.NAMES:
        inside = np.flatnonzero(parts == name)
        files, labels = images.files[inside], images.labels[inside]
        kept.append(inside[splits.take(files, labels, data.limit, data.split_seed)])
    chosen = np.sort(np.concatenate(kept))
    return parts[chosen], verdict, rows[chosen]


def _check_learnable(train: ImageSet, data: config.Data) -> None:
    """Raises `InputError` for fewer than two classes, and for one without pictures."""
    names = tuple(data.classes) or train.class_names
    if len(names) < 2 and not train.multi_label:  # each of several labels is a question
        raise InputError(
            f"config.data.classes={names}: one class cannot be told from others; must "
            f"be two or more of {', '.join(train.class_names)}"
        )
    if train.multi_label and data.limit:  # which keeps pictures, not every label
        return
    counts = train.counts()
    for name in names:
        if not counts[name]:
            raise InputError(
                f"data {train.name}: the train split has no picture of class {name}, "
                "which cannot be learnt; change config.data.split or config.data.limit "
                f"({data.limit}), or leave it out of config.data.classes"
            )


def _streams(train: ImageSet, data: config.Data) -> bool:
    """Whether the training split is fed from the host; its size decides."""
    if data.feed == "auto":
        return train.images.nbytes > data.resident_gib * 2**30
    return data.feed == "stream"
