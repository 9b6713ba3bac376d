"""Lung masks beside pictures: which file belongs to which picture, and what is read."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from covjax import config
from covjax.data import load
from covjax.data.folder import read_folder, read_manifest
from covjax.data.imageset import LUNG
from covjax.data.mask_files import find_mask, read_mask
from covjax.data.readers import read_image
from covjax.errors import InputError

LEFT = np.zeros((12, 10), np.uint8)
LEFT[2:9, 1:4] = 255


def draw(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def volume(path: Path, slices: np.ndarray) -> None:
    """Writes axial slices ``[slice, row, column]`` in the radiological convention."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = slices.transpose(2, 1, 0)[::-1].astype(np.int16)  # columns to the right
    affine = np.diag([1.0, -1.0, 1.0, 1.0])  # rows to the back, slices to the head
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


@pytest.fixture
def tree(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("covid", "normal"):
        for i in range(6):
            pixels = rng.integers(0, 256, LEFT.shape, np.uint8)
            draw(tmp_path / "set" / name / f"{name}{i}.jpg", pixels)
    draw(tmp_path / "masks/covid/covid0.png", LEFT)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))  # old enough that what was read is remembered
    return tmp_path


def lung(content: bytes) -> np.ndarray:
    array = read_image(content).array
    assert set(np.unique(array)) <= {0, LUNG}
    return array == LUNG


@pytest.mark.parametrize("ending", [".png", ".nii", ".nii.gz"])
def test_the_mask_has_its_pictures_path(tmp_path, ending):
    mask = tmp_path / f"masks/a/b.c{ending}"
    mask.parent.mkdir(parents=True)
    mask.write_bytes(b"")
    for file in ("a/b.c.png", "a/b.c.jpg", "a/b.c.nii", "a/b.c.nii.gz"):
        assert find_mask(tmp_path / "masks", file) == mask
    assert find_mask(tmp_path / "masks", "a/b.png") is None


@pytest.mark.parametrize("high", [1, 2, 255])
def test_whatever_is_above_zero_is_lung(tmp_path, high):
    draw(tmp_path / "m.png", LEFT // 255 * high)
    found = lung(read_mask(Path("x"), tmp_path / "m.png"))
    np.testing.assert_array_equal(found, LEFT > 0)


def test_masks_come_with_their_pictures(tree):
    data = config.Data(
        name="folder", dir=str(tree / "set"), size=16,
        kwargs={"masks": str(tree / "masks")},
    )  # fmt: skip
    splits = load(data)
    found = {}
    for part in (splits.train, splits.validation, splits.test):
        found |= dict(zip(part.files, part.masks, strict=True))
    assert len(found) == 12
    expected = splits.preprocess.mask(LEFT // 255) * LUNG
    np.testing.assert_array_equal(found.pop("covid/covid0.jpg"), expected)
    assert not any(mask.any() for mask in found.values())  # none is none


def test_a_changed_mask_is_read_again(tree):
    data = config.Data(
        name="folder", dir=str(tree / "set"), size=16,
        kwargs={"masks": str(tree / "masks")},
    )  # fmt: skip

    def area() -> int:
        splits = load(data)
        parts = (splits.train, splits.validation, splits.test)
        return sum(int(part.masks.sum()) for part in parts)

    before = area()
    draw(tree / "masks/covid/covid0.png", np.full_like(LEFT, 255))
    assert area() == 16 * 16 > before


def test_a_folder_of_masks_inside_the_set(tree):
    (tree / "masks").rename(tree / "set/_masks")
    names, examples = read_folder(str(tree / "set"), str(tree / "set/_masks"))
    assert names == ("covid", "normal")
    assert [e.file for e in examples if e.mask] == ["covid/covid0.jpg"]


def test_a_manifest_names_masks(tree):
    (tree / "set/m.csv").write_text(
        "path,label,mask\ncovid/covid0.jpg,a,../masks/covid/covid0.png\n"
        "normal/normal0.jpg,b,\n"
    )
    _, (first, second) = read_manifest(str(tree / "set/m.csv"))
    np.testing.assert_array_equal(lung(first.mask()), LEFT > 0)
    assert second.mask is None


def test_the_slice_of_a_volume_that_is_shown(tmp_path):
    slices = np.zeros((3, 20, 20))  # air around a body with an air hole: lung
    slices[:] = -1000
    slices[:, 3:17, 3:17] = 40
    slices[1, 6:14, 5:12] = -900
    volume(tmp_path / "ct.nii.gz", slices)
    marks = np.zeros((3, 20, 20))
    marks[0], marks[1, 6:14, 5:12] = 1, 2
    volume(tmp_path / "mask.nii.gz", marks)
    found = lung(read_mask(tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(found, marks[1] > 0)
    volume(tmp_path / "mask.nii.gz", marks[:2])
    with pytest.raises(InputError, match=r"has 2 slices; .* or as many as its volume"):
        read_mask(tmp_path / "ct.nii.gz", tmp_path / "mask.nii.gz")


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])])
def test_the_nifti_mask_of_a_flat_picture_is_not_turned(tree, axes, affine):
    marks = np.zeros((5, 7), np.uint8)  # rows, columns
    marks[1, 5] = marks[0, 6] = 1
    stored = marks.T if axes == 2 else marks.T[:, :, None]
    nibabel.save(nibabel.Nifti1Image(stored, affine), tree / "m.nii.gz")
    found = lung(read_mask(tree / "set/covid/covid0.jpg", tree / "m.nii.gz"))
    np.testing.assert_array_equal(found, marks > 0)


def test_broken_input_is_one_line(tree):
    (tree / "masks/covid/covid0.png").write_bytes(b"\x89PNG\r\n\x1a\n???")
    with pytest.raises(InputError, match=r"covid0\.png: damaged PNG") as error:
        read_mask(Path("x"), tree / "masks/covid/covid0.png")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"absent: has no mask of any picture"):
        read_folder(str(tree / "set"), str(tree / "absent"))
    volume(tree / "m.nii", np.ones((2, 12, 10)))
    with pytest.raises(InputError, match=r"m\.nii: has 2 slices; the mask of covid0"):
        read_mask(tree / "set/covid/covid0.jpg", tree / "m.nii")
    (tree / "set/m.csv").write_text(
        "path,label,mask\ncovid/covid0.jpg,a,x.png\nnormal/normal0.jpg,b,\n"
    )
    with pytest.raises(InputError, match=r"row 1: x\.png: no such file \(mask\)"):
        read_manifest(str(tree / "set/m.csv"))
