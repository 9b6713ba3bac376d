"""UCSD COVID-CT: CT slices cut out of preprints, with the authors' own split.

The repository's layout is read as it is: two ZIP files (or the folders they unpack
to), lists of file names for the split (the last line has no line end), and two tables
of patient ids. The pictures are PNG and JPEG of many sizes; some JPEG files are
called .png.
"""

from collections.abc import Callable
from pathlib import Path

from covjax.data.builders._base import (
    DataSet,
    Download,
    Example,
    file_opener,
    member_opener,
    members,
    pictures,
    read_lines,
)
from covjax.data.builders._tables import read_csv, read_xlsx

CLASSES = {"NonCOVID": "non-COVID", "COVID": "COVID-19"}  # folder: class name
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(folder: Path) -> list[Example]:
    """Every picture, by class and name; a picture of no list has no split."""
    patients = _patients(folder)
    examples = []
    for label, key in enumerate(CLASSES):
        split = {
            name: split
            for part, split in SPLITS.items()
            for name in read_lines(folder / f"Data-split/{key}/{part}CT_{key}.txt")
        }
        for name, opener in _openers(folder / "Images-processed", f"CT_{key}").items():
            stem = name.rsplit(".", 1)[0]  # the table lacks some extensions
            patient = patients.get(name) or patients.get(stem, "")
            examples.append(
                Example(
                    file=f"CT_{key}/{name}",
                    label=label,
                    open=opener,
                    patient=patient,
                    source=_source(patient),
                    split=split.get(name, ""),
                )
            )
    return examples


def _source(patient: str) -> str:
    """Where a picture came from, as its id tells: preprints, MedPix or the web."""
    if patient.startswith("medpix"):
        return "MedPix"
    return "web" if patient.startswith("crawled") else "preprints"


def _patients(folder: Path) -> dict[str, str]:
    """File name to patient id, from whichever of the two tables is there."""
    found = {}
    tables = (
        ("COVID-CT-MetaInfo.xlsx", read_xlsx, "File name", "Patient ID"),
        ("NonCOVID-CT-MetaInfo.csv", read_csv, "image name", "patient id"),
    )
    for file, reader, name, patient in tables:
        if (folder / file).exists():
            for row in reader(folder / file, columns=(name, patient)):
                found[row[name].strip()] = row[patient].strip()
    return found


def _openers(folder: Path, name: str) -> dict[str, Callable[[], bytes]]:
    """File name to opener, from the unpacked folder or else from the ZIP file."""
    if (folder / name).is_dir():
        return {path.name: file_opener(path) for path in pictures(folder / name)}
    archive = folder / f"{name}.zip"
    return {
        Path(member).name: member_opener(archive, member)
        for member in members(archive)
        if not member.startswith("__MACOSX")
    }


_REPOSITORY = "https://github.com/UCSD-AI4H/COVID-CT"
_FILES = (
    "Images-processed/CT_COVID.zip",
    "Images-processed/CT_NonCOVID.zip",
    *(f"Data-split/{c}/{s}CT_{c}.txt" for c in CLASSES for s in SPLITS),
    "COVID-CT-MetaInfo.xlsx",
    "NonCOVID-CT-MetaInfo.csv",
)

DATA_SET = DataSet(
    name="covid_ct",
    title="UCSD COVID-CT",
    modality="CT",
    size="746 slices, 349 of 216 patients with COVID-19",
    classes=tuple(CLASSES.values()),
    file_format="PNG and JPEG in ZIP files",
    licence="none stated; the pictures belong to the source articles",
    citation="Yang et al. 2020, COVID-CT-Dataset, arXiv 2003.13865; "
    "He et al. 2020, doi 10.1101/2020.04.13.20063941 (split)",
    home=_REPOSITORY,
    get=f"clone {_REPOSITORY} and name its folder",
    patient_rule="the two MetaInfo tables",
    source_rule="COVID-19 from preprints, others from MedPix and the web",
    checked="a copy of the original files",
    needs=(
        "Images-processed/CT_COVID|Images-processed/CT_COVID.zip",
        "Images-processed/CT_NonCOVID|Images-processed/CT_NonCOVID.zip",
        *(f"Data-split/{c}/{s}CT_{c}.txt" for c in CLASSES for s in SPLITS),
    ),
    read=read,
    downloads=tuple(
        Download(url=f"{_REPOSITORY}/raw/master/{file}", file=file) for file in _FILES
    ),
)
