"""The pictures of DarkCovidNet (Ozturk et al. 2020): three folders of chest X-rays.

COVID-19 pictures come from Cohen's collection, all others from NIH ChestX-ray14, so
that the class tells the source. NIH names are patient_image; for Cohen's names the
ids stand in that collection's ``metadata.csv``, which is used where it lies in the
folder, and are unknown otherwise.
"""

import re
from pathlib import Path

from covjax.data.builders._base import (
    DataSet,
    Download,
    Example,
    class_folders,
    file_opener,
)
from covjax.data.builders._tables import read_csv

FOLDERS = {
    "No_findings": "normal",
    "Pneumonia": "pneumonia",
    "Covid-19": "COVID-19",
}
_NIH = re.compile(r"(\d{8})_\d{3}$")


def read(folder: Path) -> list[Example]:
    """Every picture, by class and name."""
    cohen = _cohen_ids(folder / "metadata.csv")
    examples = []
    for label, path in class_folders(folder, tuple(FOLDERS)):
        nih = _NIH.match(path.stem)
        patient = f"NIH {nih[1]}" if nih else cohen.get(path.stem, "")
        examples.append(
            Example(
                file=f"{path.parent.name}/{path.name}",
                label=label,
                open=file_opener(path),
                patient=patient,
                source="NIH ChestX-ray14" if nih else "covid-chestxray-dataset",
            )
        )
    return examples


def _cohen_ids(path: Path) -> dict[str, str]:
    """Stem of a file name to patient id; the extension differs between the two."""
    if not path.exists():
        return {}
    rows = read_csv(path, columns=("patientid", "filename"))
    return {Path(r["filename"]).stem: f"Cohen {r['patientid']}" for r in rows}


_REPOSITORY = "https://github.com/muhammedtalo/COVID-19"

DATA_SET = DataSet(
    name="darkcovidnet",
    title="DarkCovidNet's pictures",
    modality="X-ray",
    size="1,125 pictures: 125 / 500 / 500",
    classes=tuple(FOLDERS.values()),
    file_format="PNG and JPEG in class folders",
    licence="none stated; sources are ieee8023/covid-chestxray-dataset and NIH",
    citation="Ozturk et al. 2020, Computers in Biology and Medicine 121:103792",
    home=_REPOSITORY,
    get=f"clone {_REPOSITORY} and name its folder X-Ray Image DataSet",
    patient_rule="NIH: first part of the file name; Cohen: metadata.csv where it lies "
    "in the folder, else unknown",
    source_rule="by file name: NIH ChestX-ray14 or covid-chestxray-dataset",
    checked="a reduced copy of the original files",
    needs=tuple(FOLDERS),
    read=read,
    downloads=(
        Download(
            url=f"{_REPOSITORY}/archive/refs/heads/master.zip",
            file="master.zip",
            unpack="COVID-19-master/X-Ray Image DataSet",
        ),
    ),
)
