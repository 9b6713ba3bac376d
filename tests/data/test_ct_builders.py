"""CT sets of the catalog, each on small volumes in its published layout.

None of the originals could be fetched where this was written: the trees follow what
the sets' homes, papers and published code say of names, values and orientation.
"""

import gzip

import nibabel
import numpy as np
import pytest

from covjax.data.catalog import find
from covjax.data.imageset import LESION, LUNG
from covjax.data.readers import read_image
from covjax.errors import InputError

SIZE = 32


def chest(slices: int, widest: int) -> np.ndarray:
    """HU ``[slice, row, column]``: two lungs that are widest in one slice."""
    volume = np.full((slices, SIZE, SIZE), -1000, np.int16)
    volume[:, 3:29, 2:30] = 40
    for index in range(slices):
        reach = 9 - 2 * abs(index - widest)
        if reach > 0:
            volume[index, 16 - reach : 16 + reach, 6:14] = -850 + index
            volume[index, 16 - reach : 16 + reach, 18:26] = -850 + index
    return volume


def write(path, volume: np.ndarray) -> None:
    """Stores ``[slice, row, column]`` as NIfTI whose axes run left, back and up."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    content = nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = path.suffix == ".gz"
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


def shown(hounsfield: float) -> int:
    return round((np.clip(hounsfield, -1350, 150) + 1350) / 1500 * 255)


def mosmed(root):
    for number, name in enumerate(("CT-0", "CT-1", "CT-2", "CT-3", "CT-4"), start=1):
        write(root / f"studies/{name}/study_000{number}.nii.gz", chest(11, 5))
    write(root / "masks/study_0002_mask.nii.gz", np.zeros((11, SIZE, SIZE), np.uint8))


def test_mosmed(tmp_path):
    mosmed(tmp_path)
    examples = find("mosmed").examples(tmp_path, slices=3)
    assert len(examples) == 15
    assert [e.label for e in examples] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [
        4
    ] * 3
    assert [e.file for e in examples[:4]] == [
        *(f"CT-0/study_0001.nii.gz#{rank}" for rank in range(3)),
        "CT-1/study_0002.nii.gz#0",
    ]
    assert [e.patient for e in examples[2:4]] == ["study_0001", "study_0002"]
    # lungs at least half their widest: slices 3 to 7, of which the 1st, 3rd and 5th
    lungs = [read_image(e.open(), name=e.file).array[16, 8] for e in examples[:3]]
    assert lungs == [shown(-850 + index) for index in (3, 5, 7)]
    assert not any(e.stored for e in examples)
    assert len(find("mosmed").examples(tmp_path)) == 5 * 8
    with pytest.raises(InputError, match="slices=0: must be at least 1"):
        find("mosmed").examples(tmp_path, slices=0)
    (tmp_path / "studies/CT-3/study_0004.nii.gz").unlink()
    with pytest.raises(InputError, match="CT-3: has no NIfTI files"):
        find("mosmed").examples(tmp_path)


def test_a_damaged_volume_is_named(tmp_path):
    mosmed(tmp_path)
    path = tmp_path / "studies/CT-2/study_0003.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    example = find("mosmed").examples(tmp_path, slices=1)[2]
    with pytest.raises(InputError, match=r"study_0003\.nii\.gz: damaged NIfTI"):
        example.open()


def test_ct_segmentation_1(tmp_path):
    pictures, masks = chest(4, 2), np.zeros((4, SIZE, SIZE), np.float64)
    masks[0, 10, 8] = 1
    masks[1, 10, 8:10] = [2, 3]
    masks[2, 12, 9] = 1
    masks[2, 13, 9] = 2
    write(tmp_path / "tr_im.nii.gz", pictures)
    write(tmp_path / "tr_mask.nii.gz", masks)
    examples = find("ct_segmentation_1").examples(tmp_path)
    assert [e.label for e in examples] == [(1, 0, 0), (0, 1, 1), (1, 1, 0), (0, 0, 0)]
    assert [e.patient for e in examples] == [""] * 4
    assert examples[1].file == "tr_im#001"
    mask = read_image(examples[1].mask()).array
    assert np.argwhere(mask == LESION).tolist() == [[10, 8], [10, 9]]
    picture = read_image(examples[2].open()).array
    assert (picture[16, 8], picture[4, 16]) == (shown(-848), shown(40))
    lungs = (pictures == -850 + np.arange(4)[:, None, None]).astype(np.uint8)
    write(tmp_path / "tr_lungmasks_updated.nii.gz", lungs)
    mask = read_image(find("ct_segmentation_1").examples(tmp_path)[2].mask()).array
    assert mask[12, 9] == LUNG | LESION
    assert mask[16, 20] == LUNG
    write(tmp_path / "tr_mask.nii.gz", masks[:3])
    with pytest.raises(InputError, match=r"tr_mask\.nii\.gz: has the shape \[3, 3"):
        find("ct_segmentation_1").examples(tmp_path)


def write_case(root, folders, name, slices=6):
    """A volume with its lesion and lung masks; lesions in slices 2 and 3."""
    volume, lesions = chest(slices, 2), np.zeros((slices, SIZE, SIZE), np.uint8)
    lungs = (volume < -500) & (volume > -900)
    lesions[2:4, 15:17, 7:9] = 1
    for folder, content in zip(
        folders, (volume, lesions, lungs.astype(np.uint8)), strict=True
    ):
        write(root / folder / name, content)
    return volume


def test_ct_segmentation_2(tmp_path):
    folders = ("rp_im", "rp_msk", "rp_lung_msk")
    for name in ("1.nii.gz", "2.nii"):
        write_case(tmp_path, folders, name)
    examples = find("ct_segmentation_2").examples(tmp_path)
    # the lungs show in all six slices of a case
    assert [e.label for e in examples] == [0, 0, 1, 1, 0, 0] * 2
    assert [e.patient for e in examples] == ["1"] * 6 + ["2"] * 6
    assert {e.source for e in examples} == {"Radiopaedia"}
    assert examples[7].file == "2.nii#001"
    mask = read_image(examples[2].mask()).array
    assert mask[15, 7] == LUNG | LESION
    assert (mask[20, 10], mask[4, 16]) == (LUNG, 0)
    (tmp_path / "rp_msk/2.nii").unlink()
    with pytest.raises(InputError, match=r"rp_msk: has no mask of 2\.nii"):
        find("ct_segmentation_2").examples(tmp_path)


def test_ct_segmentation_3_and_coronacases(tmp_path):
    folders = ("COVID-19-CT-Seg_20cases", "Infection_Mask", "Lung_Mask")
    volume = write_case(tmp_path, folders, "coronacases_001.nii.gz")
    write_case(tmp_path, folders, "radiopaedia_4_85506_1.nii.gz")
    eight_bits = np.clip((volume + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
    write(tmp_path / folders[0] / "radiopaedia_4_85506_1.nii.gz", eight_bits)
    examples = find("ct_segmentation_3").examples(tmp_path)
    assert [e.label for e in examples] == [0, 0, 1, 1, 0, 0] * 2
    assert [e.source for e in examples] == ["Coronacases"] * 6 + ["Radiopaedia"] * 6
    assert examples[6].patient == "radiopaedia_4_85506_1"
    windowed, stretched = (read_image(examples[i].open()).array for i in (2, 8))
    assert windowed[16, 8] == shown(-848)
    assert stretched[4, 16] == 255  # in its own range
    only = find("coronacases").examples(tmp_path)
    assert [e.file for e in only] == [e.file for e in examples[:6]]
    with pytest.raises(InputError, match="'prefix' is not an option of coronacases"):
        find("coronacases").examples(tmp_path, prefix="radio")
