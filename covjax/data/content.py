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
      root: the folder that holds all the set's files and few others; None: every byte
        is read each time.
      options: what else decides the examples, beside files and code.
      memory: folder in which digests are kept.
      progress: shows how far the reading is.
    """
    if root is None:
        return _read(examples, progress)
    stamp, newest = tree_stamp(root)
    names = "\0".join(example.file for example in examples)
    key = hashlib.sha256(f"{stamp} {options} {code_digest()} {names}".encode())
    known = memory / f"{key.hexdigest()[:32]}.content"
    if known.is_file():
        return known.read_text()
    content = _read(examples, progress)
    # a file may change again at the time it has now: then nothing is remembered
    if newest < time.time() - SETTLED_SECONDS and tree_stamp(root)[0] == stamp:
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


def tree_stamp(root: Path) -> tuple[str, float]:
    """Digest of names, sizes and times of files under `root`, and the newest."""
    result, newest = hashlib.sha256(os.fspath(root.resolve()).encode()), 0.0
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            facts = os.stat(os.path.join(folder, name))
            result.update(f"{folder}\0{name}\0".encode())
            result.update(f"{facts.st_size} {facts.st_mtime_ns}\0".encode())
            newest = max(newest, facts.st_mtime)
    return result.hexdigest(), newest


@functools.cache
def code_digest() -> str:
    """SHA-256 of this room's code: a version that draws or decodes otherwise is new."""
    result = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        result.update(file.read_bytes())
    return result.hexdigest()
