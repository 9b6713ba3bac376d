"""Chest X-Ray Images (Pneumonia) of Kaggle: children of one hospital in Guangzhou.

The official split is by folder. A pneumonia's name tells its person and its cause
(``person1_bacteria_1.jpeg``), a normal picture's name its series; the same number
under two causes is held to be one person, which can join two but not part one.
"""

import functools
import re
from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    pictures,
)
from covjax.errors import InputError

SPLITS = {"train": "train", "val": "validation", "test": "test"}
_PERSON = re.compile(r"(person\d+)_(bacteria|virus)_\d+")
_SERIES = re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+")


def read(folder: Path, causes: bool = False) -> list[Example]:
    """Every picture, by split, class and name; with `causes`, pneumonia is two."""
    root = folder / "chest_xray" if (folder / "chest_xray").is_dir() else folder
    examples = []
    for part, split in SPLITS.items():
        for name in ("NORMAL", "PNEUMONIA"):
            for path in pictures(root / part / name):
                person, series = _PERSON.match(path.stem), _SERIES.match(path.stem)
                label = int(name == "PNEUMONIA")
                if causes and label:
                    if not person:
                        raise InputError(f"{path}: its name does not tell the cause")
                    label = 1 if person[2] == "bacteria" else 2
                found = person or series
                examples.append(
                    Example(
                        file=f"{part}/{name}/{path.name}",
                        label=label,
                        open=file_opener(path),
                        patient=f"Guangzhou {found[1]}" if found else "",
                        source="Guangzhou Women and Children's Medical Center",
                        split=split,
                    )
                )
    return examples


def _card(name: str, title: str, classes: tuple[str, ...], causes: bool) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        modality="X-ray",
        size="5,856 pictures: 1,583 normal, 2,780 bacterial, 1,493 viral",
        classes=classes,
        file_format="JPEG in class folders",
        licence="CC BY 4.0",
        citation="Kermany et al. 2018, Cell 172:1122; doi 10.17632/rscbjbr9sj.2",
        home="https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia",
        get="download the archive at the home and unpack it, so that the folder holds "
        "chest_xray/train, chest_xray/val and chest_xray/test",
        patient_rule="the file name: person or series",
        source_rule="one hospital",
        checked=NOT_SEEN,
        needs=("chest_xray/train|train", "chest_xray/test|test"),
        read=functools.partial(read, causes=causes) if causes else read,
    )


DATA_SET = _card(
    "chest_xray_pneumonia",
    "Chest X-Ray Images (Pneumonia)",
    ("normal", "pneumonia"),
    causes=False,
)
CAUSES = _card(
    "chest_xray_pneumonia_causes",
    "Chest X-Ray Images (Pneumonia), by cause",
    ("normal", "bacterial pneumonia", "viral pneumonia"),
    causes=True,
)
