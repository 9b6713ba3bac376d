"""Where pictures come from: the phantom, a folder, or a set of the catalog."""

import dataclasses
import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import cache, catalog, decode, folder, prepared
from covjax.data.builders._base import Example
from covjax.data.content import code_digest, content_digest
from covjax.data.imageset import ImageSet
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError

PHANTOM_CARD = {
    "name": "phantom",
    "licence": "Apache-2.0, part of covjax",
    "citation": "covjax, covjax/data/phantom.py",
    "home": "drawn by covjax.data.phantom",
}
FOLDER_CARD = {
    "name": "folder",
    "licence": "not stated: your own pictures",
    "citation": "not stated: your own pictures",
    "home": "",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A data set before it is split.

    Attributes:
      images: all of it; pictures from files are still undecoded.
      card: ``name``, ``licence``, ``citation`` and ``home``.
      decoded: gives the rows asked for as a set in the cache.
    """

    images: ImageSet
    card: dict[str, str]
    decoded: Callable[[np.ndarray], ImageSet]


def open_source(
    data: config.Data, prepare: Preprocess, *, progress: bool = False
) -> Source:
    """Lists the pictures of a data set.

    Args:
      data: the recipe's section: name, folder, manifest, options and cache.
      prepare: the preparation of each picture, which gives its size.
      progress: shows a bar while files are read.

    Raises:
      InputError: the name, an option, the folder or a file in it cannot be used.
    """
    if data.name == "phantom":
        drawn = _phantom(data, prepare)
        return Source(drawn, PHANTOM_CARD, drawn.subset)
    listed = _list(data)
    images = decode.lazy_set(
        listed.examples, listed.class_names, prepare, listed.card["name"]
    )
    memory = cache.root(data.cache_dir)
    bar = functools.partial(_bar, shown=progress)

    def decoded(rows: np.ndarray) -> ImageSet:
        wanted = [listed.examples[row] for row in rows]
        options = repr(sorted(data.kwargs.items()))
        content = content_digest(wanted, listed.root, options, memory, bar)
        return decode.decoded_set(
            images.subset(rows), wanted, prepare, content, memory, bar
        )

    return Source(images, listed.card, decoded)


def _phantom(data: config.Data, prepare: Preprocess) -> ImageSet:
    """The embedded set, drawn at the size that is wanted and prepared; cached."""
    from covjax.data import phantom  # here, so that it can also be run as a command

    known = list(inspect.signature(phantom.phantom).parameters)[1:]
    for option in data.kwargs:
        if option not in known:
            raise InputError(
                f"config.data.kwargs: {option!r} is not an option of phantom; known: "
                f"{', '.join(known)}"
            )

    def build(allocate: cache.Allocate) -> ImageSet:
        drawn = phantom.phantom(prepare.size, **data.kwargs)
        assert drawn.masks is not None
        images = allocate("images", (len(drawn), *[prepare.size] * 2, prepare.channels))
        masks = allocate("masks", images.shape[:3])
        for row in range(len(drawn)):
            images[row] = prepare(drawn.images[row])
            masks[row] = prepare.mask(drawn.masks[row])
        return dataclasses.replace(drawn, images=images, masks=masks)

    asked = repr((sorted(data.kwargs.items()), prepare.digest()))
    key = hashlib.sha256((asked + code_digest()).encode()).hexdigest()
    return cache.cached(key, build, cache.root(data.cache_dir))


@dataclass(frozen=True, slots=True)
class _Listed:
    """Files before they are read; `root` holds those of examples without `paths`."""

    class_names: tuple[str, ...]
    examples: list[Example]
    card: dict[str, str]
    root: Path | None = None


def _list(data: config.Data) -> _Listed:
    """The pictures of a folder or of a set of the catalog.

    A set that `prepare` has written is taken from its records, unless the recipe gives
    options, which only the original files can answer.
    """
    place = os.path.expanduser(data.dir)
    if data.name == "folder":
        known = () if data.manifest else ("masks",)
        for option in data.kwargs:
            if option not in known:
                raise InputError(
                    f"config.data.kwargs: {option!r} is not an option of folder; "
                    f"known: {', '.join(known) or 'none with a manifest'}"
                )
        masks = os.path.expanduser(str(data.kwargs["masks"])) if data.kwargs else ""
        if data.manifest:
            manifest = os.path.expanduser(data.manifest)
            names, examples = folder.read_manifest(manifest, place)
        else:
            names, examples = folder.read_folder(place, masks)
        return _Listed(names, examples, FOLDER_CARD)
    entry = catalog.find(data.name)
    root = Path(place or catalog.default_dir(data.name))
    card = {name: getattr(entry, name) for name in PHANTOM_CARD}
    records = prepared.find_prepared(data.name, root)
    if records and not data.kwargs:
        return _Listed(entry.classes, prepared.read_prepared(records), card, records)
    examples = entry.examples(root, **data.kwargs)
    return _Listed(entry.classes, examples, card, entry.folder(root))


def _bar(items: Iterable[Any], total: int, what: str, *, shown: bool) -> Iterable[Any]:
    """A progress bar on standard error, silent unless asked for."""
    from tqdm import tqdm

    return tqdm(items, total=total, desc=what, unit="picture", disable=not shown)
