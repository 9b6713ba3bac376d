"""The table of data sets: what each is, where it lives, and how to read it.

    data_set = find("covid_ct")                     # InputError with near matches
    for example in data_set.examples(folder):       # decodes nothing, opens no picture
        picture = read_image(example.open(), name=example.file)
        example.label, example.patient, example.source, example.split

`DataSet` and `Example` are described in `covjax.data.builders._base`. Labels are
indices into ``data_set.classes`` (or one 0/1 a class where ``multi_label``); the last
class is the target. Order and names depend only on what is in the folder, so that
row i of a cache is row i of the examples.
"""

import difflib
import os
from pathlib import Path

from covjax.data.builders import covid_ct, darkcovidnet, pneumonia_mnist
from covjax.data.builders._base import DataSet, Download, Example
from covjax.errors import InputError

__all__ = ["CATALOG", "DataSet", "Download", "Example", "default_dir", "find"]

CATALOG: dict[str, DataSet] = {
    module.DATA_SET.name: module.DATA_SET
    for module in (covid_ct, darkcovidnet, pneumonia_mnist)
}


def find(name: str) -> DataSet:
    """The data set of this name; an unknown one raises `InputError`."""
    if name in CATALOG:
        return CATALOG[name]
    near = difflib.get_close_matches(name, CATALOG, n=3)
    raise InputError(
        f"data set {name!r}: unknown; "
        + (f"did you mean {', '.join(near)}?" if near else "see python -m covjax.data")
    )


def default_dir(name: str) -> Path:
    """Where a set lies unless told: $COVJAX_DATA_DIR/NAME or ~/.cache/covjax/data."""
    root = os.environ.get("COVJAX_DATA_DIR") or "~/.cache/covjax/data"
    return Path(root).expanduser() / name
