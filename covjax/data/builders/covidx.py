"""COVIDx of COVID-Net: assembled from other sets by published lists.

A line of a list is ``patient file class``, later ``patient file class source``. The
pictures lie in ``train`` and ``test`` as COVID-Net's script or the Kaggle copy leaves
them, or still in the sources, whose folders keep their own names.
"""

import re
from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    read_lines,
)
from covjax.data.builders.rsna_pneumonia import MAPPING, nih_patients
from covjax.errors import InputError

PARTS = {"train": "train", "val": "validation", "test": "test"}
THREE = {"normal": 0, "pneumonia": 1, "COVID-19": 2}
TWO = {"negative": 0, "positive": 1}
SOURCES = {  # as the lists call them: where the pictures lie
    "cohen": "covid-chestxray-dataset/images",
    "fig1": "Figure1-COVID-chestxray-dataset/images",
    "actmed": "Actualmed-COVID-chestxray-dataset/images",
    "sirm": "COVID-19 Radiography Database/COVID-19",
    "rsna": "rsna-pneumonia-detection-challenge/stage_2_train_images",
}
_RSNA = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def read_three(folder: Path, version: str = "") -> list[Example]:
    """The three-class lists, COVIDx 1 to 6."""
    return _read(folder, version, THREE)


def read_two(folder: Path, version: str = "") -> list[Example]:
    """The two-class lists, COVIDx 7B and later."""
    return _read(folder, version, TWO)


def _read(folder: Path, version: str, classes: dict[str, int]) -> list[Example]:
    nih = nih_patients(folder / MAPPING)
    suffix = f"_COVIDx{version}" if version else _only_suffix(folder)
    examples = []
    for part, split in PARTS.items():
        path = folder / f"{part}{suffix}.txt"
        if not path.exists() and part == "val":
            continue  # the first lists have no validation part
        for number, line in enumerate(read_lines(path), start=1):
            words = line.split()
            source = words.pop() if words[-1] not in classes else ""
            if len(words) < 3 or words[-1] not in classes:
                raise InputError(
                    f"{path}: line {number}: must be a patient, a file and one of "
                    f"{', '.join(classes)}"
                )
            name = " ".join(words[1:-1])
            picture, place = _find(folder, part, name, source)
            rsna = _RSNA.match(picture.stem)
            examples.append(
                Example(
                    file=f"{part}/{name}",
                    label=classes[words[-1]],
                    open=file_opener(picture),
                    # RSNA's number is of the picture, not of its patient
                    patient=nih.get(picture.stem, "") if rsna else f"COVIDx {words[0]}",
                    source=source or place or ("rsna" if rsna else ""),
                    split=split,
                )
            )
    return examples


def _only_suffix(folder: Path) -> str:
    """What follows ``train`` in the name of the one list that is there."""
    lists = sorted(folder.glob("train*.txt"))
    if len(lists) != 1:
        found = ", ".join(path.name for path in lists) or "none"
        raise InputError(
            f"{folder}: must have one list train*.txt, or config.data.kwargs must name "
            f"a version; found {found}"
        )
    return lists[0].stem.removeprefix("train")


def _find(folder: Path, part: str, name: str, source: str) -> tuple[Path, str]:
    """A listed picture and, where it lies in a source, the source's name."""
    if "/" in name or "\\" in name:
        raise InputError(f"{folder}: the list names {name!r}, which is not a file name")
    places = [(folder / part / name, "")]
    for key, place in SOURCES.items():
        names = {name, name.replace("(", " (")}  # COVID-19(1).png in the lists
        if key == "rsna":
            names = {f"{Path(name).stem}.dcm"}
        if source in ("", key):
            places += [(folder / place / n, key) for n in sorted(names)]
    for path, key in places:
        if path.is_file():
            return path, key
    raise InputError(f"{folder}: {name} is in the list of {part}, but in no folder")


_CITATION = "Wang, Lin and Wong 2020, COVID-Net, Scientific Reports 10:19549"
_HOME = "https://github.com/lindawangg/COVID-Net"
_GET = (
    "put the lists of COVID-Net's labels folder (train_COVIDx5.txt, test_COVIDx5.txt) "
    "into the folder, and either the pictures in train and test, or the sources: "
    + ", ".join(SOURCES.values())
)
_PATIENTS = (
    "first word of a line; for RSNA's pictures the NIH patient of RSNA's mapping, else "
    "unknown"
)
_PLACES = "last word of a line, or the folder where the picture lies"

DATA_SET = DataSet(
    name="covidx",
    title="COVIDx, three classes",
    modality="X-ray",
    size="13,975 pictures of 13,870 patients (paper); COVIDx5: 14,234",
    classes=tuple(THREE),
    file_format="JPEG, PNG and DICOM by lists",
    licence="of each source",
    citation=_CITATION,
    home=_HOME,
    get=_GET,
    patient_rule=_PATIENTS,
    source_rule=_PLACES,
    checked=NOT_SEEN,
    needs=("train*.txt", "test*.txt"),
    read=read_three,
)
BINARY = DataSet(
    name="covidx_binary",
    title="COVIDx, two classes",
    modality="X-ray",
    size="16,352 pictures (COVIDx8B): 13,994 / 2,358",
    classes=("non-COVID", "COVID-19"),
    file_format="JPEG, PNG and DICOM by lists",
    licence="of each source",
    citation=_CITATION,
    home=_HOME,
    get=_GET,
    patient_rule=_PATIENTS,
    source_rule=_PLACES,
    checked=NOT_SEEN,
    needs=("train*.txt", "test*.txt"),
    read=read_two,
)
