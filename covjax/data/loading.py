"""From a recipe's data section to three splits, ready to train on."""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax import config
from covjax.data import cache, decode, folder, phantom, splits
from covjax.data.assign import assign
from covjax.data.builders._base import Example
from covjax.data.imageset import ImageSet
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """What a run trains on, chooses by and is judged on.

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
    if data.name == "phantom":
        images, card = _phantom(data, prepare), PHANTOM_CARD
        parts, verdict, chosen = _choose(images, data)
        images = images.subset(chosen)
    else:
        names, examples, card = _examples(data)
        bar = functools.partial(_bar, shown=progress)
        everything = decode.lazy_set(examples, names, prepare, card["name"])
        parts, verdict, chosen = _choose(everything, data)
        images = everything.subset(chosen)
        if not _streams(images.subset(parts == "train"), data):
            wanted = [examples[row] for row in chosen]
            images = decode.decoded_set(
                images, wanted, prepare, cache.root(data.cache_dir), bar
            )
    if data.classes:
        images = images.select_classes(tuple(data.classes))
    rows = {name: np.flatnonzero(parts == name) for name in splits.NAMES}
    for name in splits.NAMES:
        if not len(rows[name]):
            raise InputError(f"data {images.name}: the {name} split has no pictures")
    return Splits(
        train=images.subset(rows["train"]),
        validation=images.subset(rows["validation"]),
        test=images.subset(rows["test"]),
        preprocess=prepare,
        verdict=verdict,
        card=card,
    )


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


def _streams(train: ImageSet, data: config.Data) -> bool:
    """Whether the training split is fed from the host; its size decides."""
    if data.feed == "auto":
        return train.images.nbytes > data.resident_gib * 2**30
    return data.feed == "stream"


PHANTOM_CARD = {
    "name": "phantom",
    "licence": "Apache-2.0, part of covjax",
    "citation": "covjax, covjax/data/phantom.py",
    "home": "drawn by covjax.data.phantom",
}


def _phantom(data: config.Data, prepare: Preprocess) -> ImageSet:
    """The embedded set, drawn at the recipe's size and prepared; cached."""
    known = list(inspect.signature(phantom.phantom).parameters)[1:]
    for option in data.kwargs:
        if option not in known:
            raise InputError(
                f"config.data.kwargs: {option!r} is not an option of phantom; known: "
                f"{', '.join(known)}"
            )

    def build(allocate: cache.Allocate) -> ImageSet:
        drawn = phantom.phantom(data.size, **data.kwargs)
        assert drawn.masks is not None
        images = allocate("images", (len(drawn), *[prepare.size] * 2, prepare.channels))
        masks = allocate("masks", images.shape[:3])
        for row in range(len(drawn)):
            images[row] = prepare(drawn.images[row])
            masks[row] = prepare.mask(drawn.masks[row])
        return dataclasses.replace(drawn, images=images, masks=masks)

    asked = repr((data.size, sorted(data.kwargs.items()), prepare.digest()))
    key = hashlib.sha256((asked + decode.code_digest()).encode()).hexdigest()
    return cache.cached(key, build, cache.root(data.cache_dir))


def _examples(
    data: config.Data,
) -> tuple[tuple[str, ...], list[Example], dict[str, str]]:
    """Class names, examples and card of a folder or of a set of the catalog."""
    if data.name == "folder":
        if data.kwargs:
            raise InputError(f"config.data.kwargs={data.kwargs!r}: folder takes none")
        if data.manifest:
            names, examples = folder.read_manifest(data.manifest, data.dir)
        else:
            names, examples = folder.read_folder(data.dir)
        unstated = "not stated: your own pictures"
        card = {"licence": unstated, "citation": unstated, "home": ""}
        return names, examples, {"name": "folder", **card}
    from covjax.data import catalog

    entry = catalog.find(data.name)
    place = data.dir or catalog.default_dir(data.name)
    card = {
        name: getattr(entry, name) for name in ("name", "licence", "citation", "home")
    }
    return entry.classes, entry.examples(place, **data.kwargs), card


def _bar(items: Iterable[Any], total: int, what: str, *, shown: bool) -> Iterable[Any]:
    """A progress bar on standard error, silent unless asked for."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=what, unit="picture", disable=not shown)
