"""CT segmentation set 2 of medicalsegmentation.com: nine volumes from Radiopaedia.

Folders of volumes, lesion masks and lung masks with the same names, 1 to 9. A slice is
taken where the lung mask is not empty; its label is whether the lesion mask is.
"""

from pathlib import Path

from covjax.data.builders._base import NOT_SEEN, DataSet, Example
from covjax.data.builders._volumes import labelled_slices


def read(folder: Path) -> list[Example]:
    """Every slice that shows lung, by volume and place."""
    return labelled_slices(
        folder / "rp_im",
        lesions=folder / "rp_msk",
        lungs=folder / "rp_lung_msk",
        source=lambda name: "Radiopaedia",
    )


DATA_SET = DataSet(
    name="ct_segmentation_2",
    title="CT segmentation set 2 (MedSeg)",
    modality="CT",
    size="829 slices of 9 patients, 373 with lesions",
    classes=("no lesion", "lesion"),
    file_format="NIfTI with masks",
    licence="as Radiopaedia, CC BY-NC-SA 3.0",
    citation="MedSeg, Jenssen and Sakinis 2021, doi 10.6084/m9.figshare.13521509",
    home="http://medicalsegmentation.com/covid19",
    get="unpack rp_im.zip, rp_msk.zip and rp_lung_msk.zip of the home into the folder",
    patient_rule="the volume",
    source_rule="one collection",
    checked=NOT_SEEN,
    needs=("rp_im", "rp_msk", "rp_lung_msk"),
    read=read,
)
