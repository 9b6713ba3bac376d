"""COVID-19 Radiography Database of Qatar and Dhaka universities, two of its versions.

Version 1 (219 / 1,341 / 1,345 pictures) is what the papers of 2020 used: class folders
of PNG. The later one has a folder of pictures and one of lung masks in each class.
Each class has an Excel sheet whose last column is where a picture came from.
"""

import functools
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    class_folders,
    file_opener,
    pictures,
)
from covjax.data.builders._tables import read_xlsx
from covjax.data.imageset import LUNG
from covjax.data.readers import encode_png, read_image
from covjax.errors import InputError

FIRST = ("NORMAL", "Viral Pneumonia", "COVID-19")
LATER = ("Normal", "Viral Pneumonia", "Lung_Opacity", "COVID")
ROOT_FIRST = "COVID-19 Radiography Database"
ROOT_LATER = "COVID-19_Radiography_Dataset"


def read_first(folder: Path) -> list[Example]:
    """Every picture of version 1, by class and name."""
    root = folder / ROOT_FIRST if (folder / ROOT_FIRST).is_dir() else folder
    sources = {name: _sources(root / f"{name}.metadata.xlsx") for name in FIRST}
    return [
        Example(
            file=f"{path.parent.name}/{path.name}",
            label=label,
            open=file_opener(path),
            source=sources[FIRST[label]].get(_key(path.stem), ""),
        )
        for label, path in class_folders(root, FIRST)
    ]


def read_later(folder: Path) -> list[Example]:
    """Every picture of the later version with its lung mask, by class and name."""
    root = folder / ROOT_LATER if (folder / ROOT_LATER).is_dir() else folder
    examples = []
    for label, name in enumerate(LATER):
        sources = _sources(root / f"{name}.metadata.xlsx")
        found = pictures(root / name / "images")
        if not found:
            raise InputError(f"{root / name / 'images'}: has no pictures")
        for path in found:
            mask = root / name / "masks" / path.name
            examples.append(
                Example(
                    file=f"{name}/{path.name}",
                    label=label,
                    open=file_opener(path),
                    source=sources.get(_key(path.stem), ""),
                    mask=functools.partial(_mask, mask) if mask.exists() else None,
                )
            )
    return examples


def _mask(path: Path) -> bytes:
    array = read_image(path).array
    grey = array if array.ndim == 2 else array.max(axis=-1)
    return encode_png(np.where(grey > 127, LUNG, 0).astype(np.uint8))


def _sources(path: Path) -> dict[str, str]:
    """Name of a picture to the site it came from; empty without the sheet."""
    if not path.exists():
        return {}
    rows = read_xlsx(path, columns=("FILE NAME", "URL"))
    return {
        _key(row["FILE NAME"]): urlsplit(row["URL"].strip()).netloc
        or row["URL"].strip()
        for row in rows
    }


def _key(name: str) -> str:
    """The sheets write ``NORMAL-1`` and ``COVID-19(1)`` for ``NORMAL (1)``."""
    return "".join(c for c in name.lower().split(".png")[0] if c.isalnum())


_CITATION = (
    "Chowdhury et al. 2020, IEEE Access 8:132665; "
    "Rahman et al. 2021, Computers in Biology and Medicine 132:104319"
)
_HOME = "https://www.kaggle.com/tawsifurrahman/covid19-radiography-database"

DATA_SET = DataSet(
    name="covid19_radiography",
    title="COVID-19 Radiography Database",
    modality="X-ray",
    size="21,165 pictures: 10,192 / 1,345 / 6,012 / 3,616",
    classes=("normal", "viral pneumonia", "lung opacity", "COVID-19"),
    file_format="PNG with lung masks, XLSX",
    licence="as its home states; the pictures come from other sets",
    citation=_CITATION,
    home=_HOME,
    get=f"unpack the home's archive into the folder ({ROOT_LATER})",
    patient_rule="unknown: names were renumbered",
    source_rule="the site in column URL of the class's sheet",
    checked=NOT_SEEN,
    needs=(f"{ROOT_LATER}|Lung_Opacity",),
    read=read_later,
)
FIRST_VERSION = DataSet(
    name="covid19_radiography_v1",
    title="COVID-19 Radiography Database, version 1",
    modality="X-ray",
    size="2,905 pictures: 1,341 / 1,345 / 219",
    classes=("normal", "viral pneumonia", "COVID-19"),
    file_format="PNG in class folders, XLSX",
    licence="as its home states; the pictures come from other sets",
    citation=_CITATION,
    home=_HOME,
    get=f"unpack version 1 of the archive into the folder ({ROOT_FIRST})",
    patient_rule="unknown: names were renumbered",
    source_rule="the site in column URL of the class's sheet",
    checked=NOT_SEEN,
    needs=(f"{ROOT_FIRST}|COVID-19",),
    read=read_first,
)
