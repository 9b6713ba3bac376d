"""RSNA Pneumonia Detection Challenge (2018): 26,684 X-rays of ChestX-ray14, as DICOM.

The class table repeats a picture for each of its boxes. The challenge's "patientId" is
a number of the picture; the NIH patient stands in the mapping that RSNA published
later, and is unknown without that file.
"""

import json
from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    file_opener,
    inside,
)
from covjax.data.builders._tables import read_csv
from covjax.data.readers import read_bytes
from covjax.errors import InputError

CLASSES = {
    "Normal": "normal",
    "No Lung Opacity / Not Normal": "other abnormality",
    "Lung Opacity": "pneumonia",
}
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"


def read(folder: Path) -> list[Example]:
    """Every picture of the class table, by its first row."""
    table = folder / "stage_2_detailed_class_info.csv"
    nih = nih_patients(folder / MAPPING)
    rows = read_csv(table, columns=("patientId", "class"))
    names = list(CLASSES)
    examples = []
    for number, name in {row["patientId"]: row["class"] for row in rows}.items():
        if name not in names:
            raise InputError(f"{table}: {number} has the class {name!r}")
        path = inside(folder / "stage_2_train_images", f"{number}.dcm")
        examples.append(
            Example(
                file=path.name,
                label=names.index(name),
                open=file_opener(path),
                patient=nih.get(number, ""),
                source="NIH Clinical Center",
            )
        )
    return examples


def nih_patients(path: Path) -> dict[str, str]:
    """Number of a picture to NIH patient, from RSNA's mapping; empty without it."""
    if not path.exists():
        return {}
    try:
        rows = json.loads(read_bytes(path))
        return {r["subset_img_id"]: f"NIH {r['img_id'].split('_')[0]}" for r in rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not RSNA's mapping ({error})") from error


DATA_SET = DataSet(
    name="rsna_pneumonia",
    title="RSNA Pneumonia Detection Challenge",
    modality="X-ray",
    size="26,684 pictures: 8,851 / 11,821 / 6,012",
    classes=tuple(CLASSES.values()),
    file_format="DICOM, CSV",
    licence="rules of the Kaggle competition; pictures as NIH ChestX-ray14",
    citation="Shih et al. 2019, Radiology: Artificial Intelligence 1(1):e180041",
    home="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
    get="download stage_2_train_images and stage_2_detailed_class_info.csv at the home "
    f"and unpack them into the folder; {MAPPING} from rsna.org tells the patients",
    patient_rule="RSNA's mapping to NIH patients, else unknown",
    source_rule="one hospital",
    checked=NOT_SEEN,
    needs=("stage_2_train_images", "stage_2_detailed_class_info.csv"),
    read=read,
)
