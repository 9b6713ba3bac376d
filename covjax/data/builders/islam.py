"""The pictures of Islam, Islam and Asraf 2020 (Mendeley jctsfj2sfn).

Three folders of 1,525 pictures, collected from other sets and renumbered, so that
neither patients nor sources are known.
"""

from pathlib import Path

from covjax.data.builders._base import (
    NOT_SEEN,
    DataSet,
    Example,
    class_folders,
    file_opener,
)

ROOT = "COVID19_Pneumonia_Normal_Chest_Xray_PA_Dataset"  # as the archive unpacks


def read(folder: Path) -> list[Example]:
    """Every picture, by class and name."""
    root = folder / ROOT if (folder / ROOT).is_dir() else folder
    return [
        Example(
            file=f"{path.parent.name}/{path.name}", label=label, open=file_opener(path)
        )
        for label, path in class_folders(root, ("normal", "pneumonia", "covid"))
    ]


DATA_SET = DataSet(
    name="islam",
    title="COVID-19, pneumonia and normal chest X-ray PA data set (Islam et al.)",
    modality="X-ray",
    size="4,575 pictures: 1,525 of each class",
    classes=("normal", "pneumonia", "COVID-19"),
    file_format="JPEG and PNG in class folders",
    licence="as its home states; the pictures come from other sets",
    citation="Asraf and Islam 2021, doi 10.17632/jctsfj2sfn.1; "
    "Islam et al. 2020, Informatics in Medicine Unlocked 20:100412",
    home="https://data.mendeley.com/datasets/jctsfj2sfn/1",
    get="download the archive at the home and unpack it into the folder",
    patient_rule="unknown: names were renumbered",
    source_rule="unknown: names were renumbered",
    checked=NOT_SEEN,
    needs=("covid|" + ROOT,),
    read=read,
)
