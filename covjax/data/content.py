"""Digest of a data set's encoded pictures, remembered while its files stay as they are.

Reading every byte is the only proof that a set is the one in the cache, and takes
minutes for a large one. As git does, the digest is kept under the names, sizes and
times of the files, and taken from there as long as none of these changes.
"""

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from covjax.data.builders._base import Example
from covjax.files import files_below

# (items, total, description): wraps an iterable in a progress bar
Progress = Callable[[Iterable[Any], int, str], Iterable[Any]]

SETTLED_SECONDS = 2.0  # the coarsest file times in use (FAT)


def content_digest(
    examples: Sequence[Example],
    root: Path | None,
    options: str,
    memory: Path,
    progress: Progress,
) -> str:
    """SHA-256 of what the examples' `open` and `mask` give, in their order.

    Args:
      examples: of a set.
      root: the folder that holds the files of a set whose examples do not name their
        `paths`, and few others; None: every byte of such a set is read each time.
      options: what else decides the examples, beside files and code.
      memory: folder in which digests are kept.
      progress: shows how far the reading is.
    """
    found = _stamp(examples, root)
    if found is None:
        return _read(examples, progress)
    stamp, newest = found
    # a set may have had no masks when its content was read before
    names = "\0".join(f"{e.file}\0{e.mask is not None}" for e in examples)
    asked = f"{stamp} {options} {code_digest()} {names}"
    key = hashlib.sha256(asked.encode(errors="surrogateescape"))
    known = memory / f"{key.hexdigest()[:32]}.content"
    if known.is_file():
        return known.read_text()
    content = _read(examples, progress)
    # a file may change again at the time it has now: then nothing is remembered
    if newest < time.time() - SETTLED_SECONDS and _stamp(examples, root) == found:
        memory.mkdir(parents=True, exist_ok=True)
        made = memory / f".{known.name}-{os.getpid()}"
        made.write_text(content)
        os.replace(made, known)
    return content


def _read(examples: Sequence[Example], progress: Progress) -> str:
    result = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(_digest, examples)
        for part in progress(found, len(examples), "reading"):
            result.update(part)
    return result.hexdigest()


def _digest(example: Example) -> bytes:
    whole = hashlib.sha256(example.open())
    if example.mask is not None:
        whole.update(example.mask())
    return whole.digest()


def _stamp(examples: Sequence[Example], root: Path | None) -> tuple[str, float] | None:
    """Stamp of all files that the examples are read from; None if these are unknown."""
    if all(example.paths for example in examples):
        return _stamp_of(os.fspath(path) for e in examples for path in e.paths)
    return None if root is None else _stamp_of(files_below(root))


def _stamp_of(files: Iterable[str]) -> tuple[str, float]:
    """Digest of names, places, sizes and times of files, and the newest time.

    Args:
      files: paths; a link that leads nowhere counts with its name alone.
    """
    result, newest = hashlib.sha256(), 0.0
    real = functools.cache(os.path.realpath)  # many files share few folders
    for file in files:
        # a link may come to lead to another file of the same size and time
        linked = os.path.islink(file)
        place = real(file if linked else os.path.dirname(file))
        names = f"{file}\0{place}\0"
        result.update(names.encode(errors="surrogateescape"))
        try:
            facts = os.stat(file)
        except OSError:
            continue
        # whoever unpacks or copies may set the first time back, but not the second
        times = f"{facts.st_mtime_ns} {facts.st_ctime_ns}"
        result.update(f"{facts.st_size} {times}\0".encode())
        newest = max(newest, facts.st_mtime)
    return result.hexdigest(), newest


@functools.cache
def code_digest() -> str:
    """SHA-256 of this room's code: a version that draws or decodes otherwise is new."""
    result = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        result.update(file.read_bytes())
    return result.hexdigest()
