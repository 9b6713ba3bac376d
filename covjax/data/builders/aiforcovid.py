"""AIforCOVID: chest X-rays of six Italian hospitals with the course of the disease.

Up to three releases lie side by side, each a folder of DICOM files and an Excel sheet
with one row a patient. Everybody has COVID-19; the label is the outcome.
"""

from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    find_picture,
)
from covjax.data.builders._tables import read_xlsx
from covjax.errors import InputError

RELEASES = (
    ("AIforCOVID.xlsx", "imgs"),
    ("AIforCOVID_r2.xlsx", "imgs_r2"),
    ("AIforCOVID_r3.xlsx", "imgs_r3"),
)
OUTCOMES = ("MILD", "SEVERE")  # column Prognosis


def read(folder: Path) -> list[Example]:
    """Every picture with a known outcome, by release and row."""
    examples = []
    for sheet, pictures in RELEASES:
        if not (folder / sheet).exists():
            continue
        columns = ("ImageFile", "Hospital", "Age", "Sex", "Prognosis")
        for row in read_xlsx(folder / sheet, columns=columns):
            outcome = row["Prognosis"].strip().upper()
            if outcome not in OUTCOMES:
                continue  # a test row, or not known yet
            name = row["ImageFile"].strip()
            path = find_picture(folder / pictures, name)
            if path is None:
                raise InputError(f"{folder / sheet}: {name} is not in {pictures}")
            examples.append(
                Example(
                    file=f"{pictures}/{path.name}",
                    label=OUTCOMES.index(outcome),
                    open=file_opener(path),
                    patient=path.stem,
                    source=row["Hospital"].strip(),
                    metadata={"age": row["Age"], "sex": row["Sex"]},
                )
            )
    return examples


DATA_SET = DataSet(
    name="aiforcovid",
    title="AIforCOVID imaging archive",
    modality="X-ray",
    size="983 patients (820 in the first release, later 1,103), one picture each",
    classes=("mild", "severe"),
    file_format="DICOM and XLSX",
    licence="research licence of the archive, after registration",
    citation="Soda et al. 2021, AIforCOVID, Medical Image Analysis 74:102216",
    home="https://aiforcovid.radiomica.it",
    get="register at the home; put AIforCOVID.xlsx and imgs (and the files ending in "
    "_r2 and _r3) into the folder",
    patient_rule="the file name: one picture a patient",
    source_rule="column Hospital",
    checked=NOT_SEEN,
    needs=("AIforCOVID.xlsx", "imgs"),
    read=read,
)
