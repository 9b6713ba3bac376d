"""Files are written whole or not at all."""

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax.errors import InputError

if TYPE_CHECKING:
    import numpy as np

CARDS = ("classifier.json", "system.json")  # one of them is in a finished run
# folders of a run's seeds or folds, as `covjax.evaluation.repeats.plan` names them
REPEATS = "*-[0-9]*"
# what `read_arrays` raises of a file that is missing or damaged, and a dictionary of
# arrays or JSON values that lacks some
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def runs_within(workdir: Path) -> list[Path]:
    """The finished seeds or folds in a recipe's work directory."""
    return [path.parent for card in CARDS for path in workdir.glob(f"{REPEATS}/{card}")]


def files_below(root: Path) -> Iterator[str]:
    """The files under `root`, those behind links to folders as well, each once.

    Names that begin with a dot are left out, of folders too. A link is followed after
    all that lies there without one, and not where it leads to `root` or above it.

    Args:
      root: a folder; what is none, or is not there, has no files.

    Raises:
      InputError: for a folder that cannot be read.
    """

    def told(error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            why = f"cannot be read ({error.strerror})"
            raise InputError(f"{error.filename}: {why}") from error

    home = os.path.join(os.path.realpath(root), "")
    tops, seen = [os.fspath(root)], set()
    for top in tops:  # which grows
        for folder, folders, files in os.walk(top, onerror=told):
            place = os.path.realpath(folder)
            above = home.startswith(os.path.join(place, "")) and folder != tops[0]
            if place in seen or above:
                folders.clear()
                continue
            seen.add(place)
            folders[:] = sorted(name for name in folders if name[0] != ".")
            below = [os.path.join(folder, name) for name in folders]
            tops += [path for path in below if os.path.islink(path)]
            yield from (os.path.join(folder, n) for n in sorted(files) if n[0] != ".")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` if nothing goes wrong."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, values: Any) -> None:
    """Writes the values as JSON; a number that is not finite is an error."""
    with whole(path) as unfinished:
        unfinished.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes named arrays as ``.npz``."""
    import numpy as np  # here: the commands that only answer a question need no NumPy

    with whole(path) as unfinished, unfinished.open("wb") as file:
        columns: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items()}
        np.savez(file, **columns)


def read_arrays(path: Path) -> "dict[str, np.ndarray]":
    """The inverse of `write_arrays`; raises one of `DAMAGED`."""
    import numpy as np

    # opened here: of a damaged archive NumPy would leave the file open
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
