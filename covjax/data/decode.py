"""Examples to an `ImageSet`: at once into the cache, or lazily for a stream."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from covjax.data import cache, readers
from covjax.data.builders._base import Example
from covjax.data.content import Progress, code_digest
from covjax.data.imageset import ImageSet, LazyImages
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError

HEADER = ("width", "height", "mode", "format", "bytes")


def lazy_set(
    examples: Sequence[Example],
    class_names: tuple[str, ...],
    prepare: Preprocess,
    name: str,
) -> ImageSet:
    """The set with its pictures still undecoded, and all its other columns.

    The key of its pictures names files and preparation, not their content.
    """

    def read(row: int) -> np.ndarray:
        return decode(examples[row], prepare)[0]

    columns = {
        column: np.array([getattr(example, column) for example in examples], str)
        for column in ("file", "patient", "source", "split")
    }
    names = sorted({key for example in examples for key in example.metadata})
    rows = np.arange(len(examples))
    shape = (prepare.size, prepare.size, prepare.channels)
    key = hashlib.sha256(f"{name} {prepare.digest()} {list(columns['file'])}".encode())
    return ImageSet(
        images=cast(np.ndarray, LazyImages(read, rows, shape, key.hexdigest())),
        labels=_labels([example.label for example in examples]),
        class_names=class_names,
        patients=columns["patient"],
        sources=columns["source"],
        splits=columns["split"],
        files=columns["file"],
        metadata={
            key: np.array([example.metadata.get(key, "") for example in examples], str)
            for key in names
        },
        name=name,
    )


def decoded_set(
    lazy: ImageSet,
    examples: Sequence[Example],
    prepare: Preprocess,
    content: str,
    folder: Path,
    progress: Progress,
) -> ImageSet:
    """The set with all its pictures decoded, from the cache or into it.

    Args:
      lazy: the set to decode, from `lazy_set`, perhaps a subset.
      examples: of its rows, in its order.
      prepare: the preparation of each picture.
      content: from `content_digest`; with columns, preparation and code the key.
      folder: of the cache.
      progress: shows how far the decoding is.
    """

    def build(allocate: cache.Allocate) -> ImageSet:
        images = allocate("images", lazy.images.shape)
        masked = any(example.mask for example in examples)
        masks = allocate("masks", images.shape[:3]) if masked else None

        def work(row: int) -> dict[str, Any]:
            images[row], header = decode(examples[row], prepare)
            if masks is not None:
                masks[row] = decode_mask(examples[row], prepare)
            return header

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            try:
                headers = list(
                    progress(pool.map(work, range(len(lazy))), len(lazy), "decoding")
                )
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        metadata = dict(lazy.metadata)
        for name in HEADER:
            column = np.array([header[name] for header in headers])
            metadata[f"file_{name}"] = column
        return dataclasses.replace(lazy, images=images, masks=masks, metadata=metadata)

    key = f"{content} {_columns_digest(lazy)} {prepare.digest()} {code_digest()}"
    return cache.cached(key, build, folder)


def decode(example: Example, prepare: Preprocess) -> tuple[np.ndarray, dict[str, Any]]:
    """The prepared picture and its file's header; errors name the file."""
    content = example.open()
    picture = readers.read_image(content, name=example.file)
    try:
        pixels = prepare(picture.array)
    except InputError as error:
        raise InputError(f"{example.file}: {error}") from error
    size = len(content) if example.stored else 0  # unknown: not the set's own file
    return pixels, {**picture.header, "bytes": size}


def decode_mask(example: Example, prepare: Preprocess) -> np.ndarray:
    """The mask cut and resized as its picture; empty where there is none."""
    if example.mask is None:
        return np.zeros((prepare.size, prepare.size), np.uint8)
    name = f"mask of {example.file}"
    return prepare.mask(readers.read_image(example.mask(), name=name).array)


def _columns_digest(images: ImageSet) -> str:
    """SHA-256 of everything but the pictures."""
    result = hashlib.sha256(repr((images.name, images.class_names)).encode())
    columns = [images.patients, images.sources, images.splits, images.files]
    for name in sorted(images.metadata):
        result.update(name.encode())
        columns.append(images.metadata[name])
    for column in columns:
        result.update(
            "\0".join(map(str, column)).encode(errors="surrogateescape") + b"\1"
        )
    result.update(np.ascontiguousarray(images.labels).tobytes())
    return result.hexdigest()


def _labels(labels: Sequence[int | tuple[int, ...]]) -> np.ndarray:
    multi_label = bool(labels) and not isinstance(labels[0], int)
    return np.array(labels, np.uint8 if multi_label else np.int32)
