"""Figure1-COVID-chestxray-dataset: X-rays that readers of Figure 1 sent in.

The table is in Latin-1, most of its rows have no finding, and a letter after a
patient's number tells several pictures of one patient apart.
"""

import re
from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Download,
    Example,
    file_opener,
    find_picture,
)
from covjax.data.builders._tables import read_csv
from covjax.errors import InputError

FINDINGS = {"No finding": 0, "Pneumonia": 1, "COVID-19": 2}


def read(folder: Path) -> list[Example]:
    """Every picture with a finding, by row."""
    examples = []
    columns = ("patientid", "finding", "view", "sex", "age")
    for row in read_csv(folder / "metadata.csv", columns=columns):
        label = FINDINGS.get(row["finding"].strip())
        if label is None:
            continue
        path = find_picture(folder / "images", row["patientid"].strip())
        if path is None:
            raise InputError(f"{folder / 'images'}: has no picture {row['patientid']}")
        examples.append(
            Example(
                file=f"images/{path.name}",
                label=label,
                open=file_opener(path),
                patient="Figure1 " + re.sub(r"(?<=\d)[a-z]$", "", path.stem),
                source="Figure1",
                metadata={name: row[name] for name in ("view", "sex", "age")},
            )
        )
    return examples


_HOME = "https://github.com/agchung/Figure1-COVID-chestxray-dataset"

DATA_SET = DataSet(
    name="figure1",
    title="Figure1 COVID-19 chest X-rays",
    modality="X-ray",
    size="55 rows, about 48 pictures",
    classes=("normal", "pneumonia", "COVID-19"),
    file_format="JPEG and PNG, CSV",
    licence="none seen; see the home",
    citation="Chung 2020, Figure1-COVID-chestxray-dataset, GitHub",
    home=_HOME,
    get=f"clone {_HOME} and name its folder",
    patient_rule="column patientid without its last letter",
    source_rule="one collection",
    checked=NOT_SEEN,
    needs=("metadata.csv", "images"),
    read=read,
    downloads=(
        Download(
            url=f"{_HOME}/archive/refs/heads/master.zip",
            file="master.zip",
            unpack="Figure1-COVID-chestxray-dataset-master",
        ),
    ),
)
