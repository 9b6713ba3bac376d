"""CT segmentation set 3 (Ma et al.): ten volumes of Coronacases, ten of Radiopaedia.

Folders of volumes, infection masks and lung masks (1 left, 2 right) with the same
names. Coronacases volumes are in Hounsfield units, those of Radiopaedia were windowed
to 8 bits before they were published. A slice is taken where the lung mask is not
empty; its label is whether the infection mask is. Coronacases.org itself has only a
viewer, so its data set is the half of this one.
"""

import functools
from pathlib import Path

from covjax.data.builders._base import NOT_SEEN, DataSet, Download, Example
from covjax.data.builders._volumes import labelled_slices

VOLUMES = "COVID-19-CT-Seg_20cases"


def read(folder: Path, prefix: str = "") -> list[Example]:
    """Every slice that shows lung, by volume and place; of names with `prefix`."""
    return labelled_slices(
        folder / VOLUMES,
        lesions=folder / "Infection_Mask",
        lungs=folder / "Lung_Mask",
        source=lambda name: name.split("_")[0].capitalize(),
        prefix=prefix,
    )


_CITATION = "Ma et al. 2021, Medical Physics 48:1197; doi 10.5281/zenodo.3757476"
_HOME = "https://zenodo.org/record/3757476"
_DOWNLOADS = tuple(
    Download(
        url=f"https://zenodo.org/records/3757476/files/{name}.zip",
        file=f"{name}.zip",
        unpack=name,
        to=name,
    )
    for name in (VOLUMES, "Lung_Mask", "Infection_Mask")
)

DATA_SET = DataSet(
    name="ct_segmentation_3",
    title="COVID-19 CT lung and infection segmentation (CT segmentation set 3)",
    modality="CT",
    size="20 volumes of 20 patients",
    classes=("no lesion", "lesion"),
    file_format="NIfTI with masks",
    licence="sources disagree: CC BY 4.0 or CC BY-NC-SA 4.0; the stricter is assumed",
    citation=_CITATION,
    home=_HOME,
    get=f"download {VOLUMES}.zip, Lung_Mask.zip and Infection_Mask.zip at the home and "
    "unpack each into a folder of its name",
    patient_rule="the volume",
    source_rule="Coronacases or Radiopaedia, by the file name",
    checked=NOT_SEEN,
    needs=(VOLUMES, "Lung_Mask", "Infection_Mask"),
    read=read,
    downloads=_DOWNLOADS,
)
CORONACASES = DataSet(
    name="coronacases",
    title="Coronacases.org",
    modality="CT",
    size="10 volumes of 10 patients",
    classes=("no lesion", "lesion"),
    file_format="NIfTI with masks (as in set 3)",
    licence="stated free for research at its home; masks as set 3",
    citation=_CITATION,
    home="https://coronacases.org",
    get=f"the home has a viewer only; as ct_segmentation_3, from {_HOME}",
    patient_rule="the volume",
    source_rule="one site",
    checked=NOT_SEEN,
    needs=(VOLUMES, "Lung_Mask", "Infection_Mask"),
    read=functools.partial(read, prefix="coronacases"),
    downloads=_DOWNLOADS,
)
