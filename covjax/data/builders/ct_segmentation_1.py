"""CT segmentation set 1 of medicalsegmentation.com: 100 slices with three lesions.

One NIfTI file holds a slice of more than 40 patients each, another their masks: 1 is
ground glass, 2 consolidation, 3 effusion. A slice may have several or none, so the
labels are multi-hot. Which slices share a patient is not told.
"""

from pathlib import Path

import numpy as np

from covjax.data.builders._base import NOT_SEEN, DataSet, Example
from covjax.data.builders._volumes import (
    check_same_shape,
    mask_opener,
    open_volume,
    slice_opener,
    volumes,
)

LESIONS = ("ground glass", "consolidation", "effusion")  # values 1, 2, 3


def read(folder: Path) -> list[Example]:
    """Every slice of the training file, by its place."""
    found = volumes(folder)
    pictures, lesions = found["tr_im"], found["tr_mask"]
    lungs = found.get("tr_lungmasks_updated")
    check_same_shape(pictures, lesions, *([lungs] if lungs else []))
    examples = []
    for index in range(len(open_volume(pictures))):
        values = np.unique(open_volume(lesions).values(index))
        examples.append(
            Example(
                file=f"tr_im#{index:03d}",
                label=tuple(int(value in values) for value in (1, 2, 3)),
                open=slice_opener(pictures, index),
                source="SIRM",
                mask=mask_opener(index, lesion=lesions, lung=lungs),
                stored=False,
            )
        )
    return examples


DATA_SET = DataSet(
    name="ct_segmentation_1",
    title="CT segmentation set 1 (MedSeg)",
    modality="CT",
    size="100 slices of more than 40 patients",
    classes=LESIONS,
    file_format="NIfTI with masks",
    licence="CC0 at figshare; the pictures are SIRM's",
    citation="MedSeg, Jenssen and Sakinis 2021, doi 10.6084/m9.figshare.13521488",
    home="http://medicalsegmentation.com/covid19",
    get="download tr_im.nii.gz, tr_mask.nii.gz and tr_lungmasks_updated.nii.gz at the "
    "home into the folder",
    patient_rule="unknown: not told",
    source_rule="one collection",
    checked=NOT_SEEN,
    needs=("tr_im.nii.gz|tr_im.nii", "tr_mask.nii.gz|tr_mask.nii"),
    read=read,
    multi_label=True,
)
