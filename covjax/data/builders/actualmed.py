"""Actualmed-COVID-chestxray-dataset: X-rays of one Spanish provider.

Rows without a finding are inconclusive and left out.
"""

from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Download,
    Example,
    file_opener,
    inside,
)
from covjax.data.builders._tables import read_csv

FINDINGS = {"No finding": 0, "COVID-19": 1}


def read(folder: Path) -> list[Example]:
    """Every picture with a finding, by row."""
    examples = []
    columns = ("patientid", "imagename", "finding", "view")
    for row in read_csv(folder / "metadata.csv", columns=columns):
        label = FINDINGS.get(row["finding"].strip())
        if label is None:
            continue
        path = inside(folder / "images", row["imagename"].strip())
        patient = row["patientid"].strip()
        examples.append(
            Example(
                file=f"images/{path.name}",
                label=label,
                open=file_opener(path),
                patient=f"Actualmed {patient}" if patient else "",
                source="Actualmed",
                metadata={"view": row["view"]},
            )
        )
    return examples


_HOME = "https://github.com/agchung/Actualmed-COVID-chestxray-dataset"

DATA_SET = DataSet(
    name="actualmed",
    title="Actualmed COVID-19 chest X-rays",
    modality="X-ray",
    size="238 pictures",
    classes=("normal", "COVID-19"),
    file_format="PNG, CSV",
    licence="none seen; see the home",
    citation="Chung 2020, Actualmed-COVID-chestxray-dataset, GitHub",
    home=_HOME,
    get=f"clone {_HOME} and name its folder",
    patient_rule="column patientid",
    source_rule="one provider",
    checked=NOT_SEEN,
    needs=("metadata.csv", "images"),
    read=read,
    downloads=(
        Download(
            url=f"{_HOME}/archive/refs/heads/master.zip",
            file="master.zip",
            unpack="Actualmed-COVID-chestxray-dataset-master",
        ),
    ),
)
