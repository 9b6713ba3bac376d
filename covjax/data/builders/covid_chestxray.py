"""ieee8023/covid-chestxray-dataset, Cohen's collection from publications and the web.

``metadata.csv`` has one row a file: patient, a finding that is a path in a hierarchy
(``Pneumonia/Viral/COVID-19``), view, modality, place, address and a licence of its
own. Pictures lie in ``images``. Only the chosen views are taken, frontal X-rays by
default; findings that are neither normal nor pneumonia are left out.
"""

from pathlib import Path
from urllib.parse import urlsplit

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Download,
    Example,
    file_opener,
    inside,
)
from covjax.data.builders._tables import read_csv

FRONTAL = ("PA", "AP", "AP Supine", "AP semi erect", "AP erect")
COLUMNS = ("patientid", "finding", "view", "folder", "filename", "url", "license")
METADATA = {"sex": "sex", "age": "age", "view": "view", "license": "licence"}


def read(folder: Path, views: tuple[str, ...] = FRONTAL) -> list[Example]:
    """Every picture with a finding and a view that are asked for, by row."""
    examples = []
    for row in read_csv(folder / "metadata.csv", columns=COLUMNS):
        label = label_of(row["finding"])
        if label is None or row["view"] not in views or row["folder"] != "images":
            continue
        path = inside(folder / "images", row["filename"].strip())
        columns = {new: row.get(old, "") for old, new in METADATA.items()}
        examples.append(
            Example(
                file=f"images/{path.name}",
                label=label,
                open=file_opener(path),
                patient=f"Cohen {row['patientid']}" if row["patientid"] else "",
                source=urlsplit(row["url"].strip()).netloc.removeprefix("www."),
                metadata={**columns, "finding": row["finding"]},
            )
        )
    return examples


def label_of(finding: str) -> int | None:
    """0 without a finding, 2 with COVID-19, 1 with another pneumonia, else None."""
    levels = finding.strip().split("/")
    if "COVID-19" in levels:
        return 2
    return {"No Finding": 0, "Pneumonia": 1}.get(levels[0])


_HOME = "https://github.com/ieee8023/covid-chestxray-dataset"

DATA_SET = DataSet(
    name="covid_chestxray",
    title="COVID-19 image data collection (CT machine learning data set)",
    modality="X-ray and CT",
    size="930 pictures of 461 patients, and 20 volumes",
    classes=("normal", "pneumonia", "COVID-19"),
    file_format="JPEG and PNG, CSV",
    licence="each picture its own (column licence); table CC BY-NC-SA 4.0",
    citation="Cohen et al. 2020, MELBA 2020:002, arXiv 2006.11988",
    home=_HOME,
    get=f"clone {_HOME} and name its folder",
    patient_rule="column patientid",
    source_rule="the site in column url",
    checked=NOT_SEEN,
    needs=("metadata.csv", "images"),
    read=read,
    downloads=(
        Download(
            url=f"{_HOME}/archive/refs/heads/master.zip",
            file="master.zip",
            unpack="covid-chestxray-dataset-master",
        ),
    ),
)
