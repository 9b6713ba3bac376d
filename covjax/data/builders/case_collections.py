"""Teaching collections without a bulk download: SIRM, Radiopaedia, BSTI, Eurorad.

Their pictures are saved by hand, one folder a case, named by the collection's own
number of the case, and in it a folder for each modality:

    DIR/4871/xray/admission.jpg
    DIR/4871/ct/day3-lung-window.jpg

Everybody has COVID-19, so the one class serves to test a trained network's sensitivity
elsewhere, or joins other sets through a manifest (``config.data.manifest``).
"""

import functools
from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    pictures,
)
from covjax.errors import InputError

MODALITIES = ("xray", "ct")


def read(folder: Path, source: str, modality: str = "xray") -> list[Example]:
    """Every picture of one modality, by case and name."""
    if modality not in MODALITIES:
        raise InputError(
            f"config.data.kwargs: modality={modality!r}: must be one of "
            f"{', '.join(MODALITIES)}"
        )
    cases = sorted(path for path in folder.iterdir() if path.is_dir())
    return [
        Example(
            file=f"{case.name}/{modality}/{path.name}",
            label=0,
            open=file_opener(path),
            patient=f"{source} {case.name}",
            source=source,
        )
        for case in cases
        if (case / modality).is_dir()
        for path in pictures(case / modality)
    ]


def _collection(
    name: str, title: str, size: str, licence: str, home: str, citation: str
) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        modality="X-ray and CT",
        size=size,
        classes=("COVID-19",),
        file_format="JPEG, saved by hand",
        licence=licence,
        citation=citation,
        home=home,
        get="there is no bulk download: save each picture as CASE/xray/NAME.jpg or "
        "CASE/ct/NAME.jpg, CASE being the number of the case at the home",
        patient_rule="the case's folder",
        source_rule="the collection",
        checked=NOT_SEEN,
        needs=("*/xray|*/ct",),
        read=functools.partial(read, source=title),
    )


SIRM = _collection(
    "sirm",
    "SIRM",
    "68 patients",
    "none stated; ask the society",
    "https://sirm.org/en/category/articles/covid-19-database",
    "Italian Society of Medical and Interventional Radiology 2020, COVID-19 database",
)
RADIOPAEDIA = _collection(
    "radiopaedia",
    "Radiopaedia",
    "101 patients",
    "CC BY-NC-SA 3.0; machine learning needs permission",
    "https://radiopaedia.org/articles/covid-19-3",
    "Radiopaedia.org, article COVID-19 and its cases",
)
BSTI = _collection(
    "bsti",
    "BSTI",
    "59 patients",
    "none for reuse; for viewing only",
    "https://bit.ly/BSTICovid19_Teaching_Library",
    "British Society of Thoracic Imaging 2020, COVID-19 teaching library",
)
EURORAD = _collection(
    "eurorad",
    "Eurorad",
    "50 patients",
    "CC BY-NC-SA 4.0",
    "https://eurorad.org/advanced-search?search=COVID",
    "European Society of Radiology, Eurorad cases on COVID-19",
)
