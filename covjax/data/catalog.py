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

from covjax.data.builders import (
    actualmed,
    aiforcovid,
    case_collections,
    chest_xray_pneumonia,
    covid19_radiography,
    covid_chestxray,
    covid_ct,
    covidx,
    ct_segmentation_1,
    ct_segmentation_2,
    ct_segmentation_3,
    darkcovidnet,
    figure1,
    islam,
    mosmed,
    nih_chestxray14,
    pneumonia_mnist,
    rsna_pneumonia,
)
from covjax.data.builders._base import DataSet, Download, Example
from covjax.errors import InputError

__all__ = [
    "CATALOG",
    "DataSet",
    "Download",
    "Example",
    "default_dir",
    "find",
    "original_dir",
    "prepared_dir",
]

CATALOG: dict[str, DataSet] = {
    data_set.name: data_set
    for data_set in (
        # the survey's Table 3, in its order
        aiforcovid.DATA_SET,
        mosmed.DATA_SET,
        case_collections.SIRM,
        case_collections.RADIOPAEDIA,
        case_collections.BSTI,
        covid_ct.DATA_SET,
        ct_segmentation_3.CORONACASES,
        case_collections.EURORAD,
        covid_chestxray.DATA_SET,
        ct_segmentation_1.DATA_SET,
        ct_segmentation_2.DATA_SET,
        ct_segmentation_3.DATA_SET,
        # what the systems of its Table 2 need besides
        darkcovidnet.DATA_SET,
        figure1.DATA_SET,
        actualmed.DATA_SET,
        covidx.DATA_SET,
        covidx.BINARY,
        chest_xray_pneumonia.DATA_SET,
        chest_xray_pneumonia.CAUSES,
        covid19_radiography.FIRST_VERSION,
        covid19_radiography.DATA_SET,
        islam.DATA_SET,
        nih_chestxray14.DATA_SET,
        rsna_pneumonia.DATA_SET,
        pneumonia_mnist.DATA_SET,
    )
}


def find(name: str) -> DataSet:
    """The data set of this name; an unknown one raises `InputError`."""
    if name in CATALOG:
        return CATALOG[name]
    embedded = ("phantom", "folder")  # they need no entry
    near = difflib.get_close_matches(name, [*CATALOG, *embedded], n=3)
    raise InputError(
        f"data set {name!r}: unknown; "
        + (f"did you mean {', '.join(near)}?" if near else "see python -m covjax.data")
    )


def original_dir(name: str) -> Path:
    """Where a set's original files lie unless told; where to put them if nowhere.

    That is $COVJAX_DATA_DIR/NAME, or without one ~/.cache/covjax/data/NAME.
    """
    root = Path(os.environ.get("COVJAX_DATA_DIR") or "~/.cache/covjax/data")
    short = name.replace("_", "")  # as MedMNIST writes pneumoniamnist
    places = [root.expanduser() / folder for folder in (name, short)]
    return next((place for place in places if place.is_dir()), places[0])


def default_dir(name: str) -> Path:
    """`original_dir`, or where the set lies prepared if only that is there."""
    original, prepared = original_dir(name), prepared_dir() / name
    return prepared if prepared.is_dir() and not original.is_dir() else original


def prepared_dir(cache_dir: str = "") -> Path:
    """Where ``python -m covjax.data prepare`` puts its sets: a TFDS folder.

    Under the argument, $COVJAX_CACHE_DIR or ~/.cache/covjax.
    """
    chosen = cache_dir or os.environ.get("COVJAX_CACHE_DIR") or "~/.cache/covjax"
    return Path(chosen).expanduser() / "prepared"
