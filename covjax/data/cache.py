"""Decoded pictures on disk: one uint8 array, memory-mapped, with its columns.

An entry is a folder named by its key, the digest of what its pictures were made from:

    images.npy   uint8 [n, height, width, channels]
    masks.npy    uint8 [n, height, width], where the set has masks
    columns.npz  labels, patients, sources, splits, files and metadata; no pickle
    entry.json   name, class names, and the SHA-256 of each file above

It is written under a temporary name and moved into place whole. A lock a key keeps two
processes from decoding the same set: the second waits and then reads. What a killed
process left behind is removed by the next; a damaged entry is built again.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from covjax.data.imageset import ImageSet
from covjax.files import read_arrays

FORMAT = 1  # of an entry; part of every key
COLUMNS = ("labels", "patients", "sources", "splits", "files")

Allocate = Callable[[str, tuple[int, ...]], np.ndarray]


class _Damaged(Exception):
    """An entry that is not what it was when written."""


def root(cache_dir: str = "") -> Path:
    """The folder of all entries: the argument, $COVJAX_CACHE_DIR, ~/.cache/covjax."""
    chosen = cache_dir or os.environ.get("COVJAX_CACHE_DIR") or "~/.cache/covjax"
    return Path(chosen).expanduser() / "imagesets"


def cached(
    key: str,
    build: Callable[[Allocate], ImageSet],
    folder: Path,
    *,
    tell: Callable[[str], object] | None = None,
) -> ImageSet:
    """The set of this key, from the disk or else built and put there.

    Args:
      key: digest of everything that decides the set's content.
      build: makes the set; ``allocate(name, shape)`` gives it a uint8 array on disk,
        zeroed, for ``"images"`` or ``"masks"``, so that no second copy is in memory.
        Arrays that it makes otherwise are written when it returns.
      folder: of the entries, from `root`.
      tell: takes messages of one line; by default to standard error.

    Returns:
      The set, its pictures memory-mapped and read-only.

    Raises:
      OSError: the folder cannot be written or the disk is full; nothing is left.
    """
    tell = tell or _print
    entry = folder / hashlib.sha256(f"{FORMAT} {key}".encode()).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(entry, tell):
        if entry.exists():
            try:
                return _open(entry)
            except _Damaged as error:
                tell(f"cache entry {entry} is damaged ({error}); building it again")
        for left in folder.glob(f".{entry.name}-*"):  # ours alone while locked
            shutil.rmtree(left, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=folder))
        try:
            _write(build, made)
            if entry.exists():
                shutil.rmtree(entry)
            os.replace(made, entry)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return _open(entry)


@contextlib.contextmanager
def _lock(entry: Path, tell: Callable[[str], object]) -> Iterator[None]:
    """One process at a time; the system frees the lock of a killed one."""
    with open(entry.with_name(f"{entry.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process prepares the same pictures; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(build: Callable[[Allocate], ImageSet], folder: Path) -> None:
    """Fills a temporary folder; it is whole once ``entry.json`` stands in it."""
    arrays: dict[str, np.ndarray] = {}

    def allocate(name: str, shape: tuple[int, ...]) -> np.ndarray:
        arrays[name] = _new_array(folder / f"{name}.npy", shape)
        return arrays[name]

    made = build(allocate)
    for name in ("images", "masks"):
        array = getattr(made, name)
        if array is not None and name not in arrays:
            allocate(name, array.shape)[:] = array
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]
    columns = {name: getattr(made, name) for name in COLUMNS}
    columns |= {f"metadata_{name}": made.metadata[name] for name in made.metadata}
    np.savez(folder / "columns.npz", allow_pickle=False, **columns)
    digests = {file.name: _digest(file) for file in sorted(folder.iterdir())}
    entry = {"name": made.name, "class_names": made.class_names, "sha256": digests}
    (folder / "entry.json").write_text(json.dumps(entry, indent=1))


def _new_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A zeroed array on disk, all its space reserved.

    Writing to a mapped page for which a full disk has no space would kill the process.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            error.filename = str(path)
            raise
    return array


def _open(folder: Path) -> ImageSet:
    """Reads an entry and verifies every byte of it."""
    try:
        entry: dict[str, Any] = json.loads((folder / "entry.json").read_text())
        for name, digest in entry["sha256"].items():
            if _digest(folder / name) != digest:
                raise _Damaged(f"{name} does not have its digest")
        columns = read_arrays(folder / "columns.npz")
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("images", "masks")
            if f"{name}.npy" in entry["sha256"]
        }
        return ImageSet(
            images=arrays["images"],
            masks=arrays.get("masks"),
            class_names=tuple(entry["class_names"]),
            name=entry["name"],
            metadata={
                name.removeprefix("metadata_"): column
                for name, column in columns.items()
                if name not in COLUMNS
            },
            **{name: columns[name] for name in COLUMNS},
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise _Damaged(" ".join(str(error).split())) from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _print(message: str) -> None:
    print(message, file=sys.stderr)
