"""NIH ChestX-ray14: 112,120 frontal X-rays with fourteen findings read from reports.

A picture may have several findings, or none ("No Finding"). Pictures lie in
``images``, or in ``images_001/images`` to ``images_012/images`` as they unpack.
"""

from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    read_lines,
)
from covjax.data.builders._tables import read_csv
from covjax.errors import InputError

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)  # in the order of Wang et al. 2017, Rajpurkar et al. 2017
TABLES = "Data_Entry_2017_v2020.csv|Data_Entry_2017.csv"
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")


def read(folder: Path) -> list[Example]:
    """Every picture of the table that is there, by row, with the official test list."""
    table = next(folder / n for n in TABLES.split("|") if (folder / n).exists())
    test = set(_list(folder / "test_list.txt"))
    train = set(_list(folder / "train_val_list.txt"))
    paths = {
        path.name: path
        for images in (folder / "images", *sorted(folder.glob("images_*/images")))
        for path in images.glob("*.png")
    }
    examples = []
    for row in read_csv(table, columns=COLUMNS):
        name = row["Image Index"].strip()
        found = row["Finding Labels"].split("|")
        unknown = set(found) - {*FINDINGS, "No Finding"}
        if unknown:
            raise InputError(f"{table}: {name} has the finding {sorted(unknown)[0]!r}")
        if name not in paths:
            continue  # the set comes in twelve archives; one of them is enough
        examples.append(
            Example(
                file=name,
                label=tuple(int(finding in found) for finding in FINDINGS),
                open=file_opener(paths[name]),
                patient=f"NIH {row['Patient ID'].strip():0>8}",
                source="NIH Clinical Center",
                split="test" if name in test else "train" if name in train else "",
                metadata={
                    "view": row["View Position"],
                    "age": row.get("Patient Age", ""),
                    "sex": row.get("Patient Gender", row.get("Patient Sex", "")),
                },
            )
        )
    return examples


def _list(path: Path) -> list[str]:
    return read_lines(path) if path.exists() else []


DATA_SET = DataSet(
    name="nih_chestxray14",
    title="NIH ChestX-ray14",
    modality="X-ray",
    size="112,120 pictures of 30,805 patients",
    classes=FINDINGS,
    file_format="PNG, CSV",
    licence="no restriction on use; the home and the paper are to be named",
    citation="Wang et al. 2017, ChestX-ray8, CVPR, arXiv 1705.02315",
    home="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    get="download the table, the two lists and the image archives at the home and "
    "unpack them into the folder",
    patient_rule="column Patient ID",
    source_rule="one hospital",
    checked=NOT_SEEN,
    needs=(TABLES,),
    read=read,
    multi_label=True,
)
