"""NIfTI volumes: orientation, window, choice of slices, damage, nibabel's samples."""

import gzip
import struct
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from nibabel.testing import data_path

from covjax.data import nifti, picture
from covjax.data.readers import read_image
from covjax.errors import InputError

WIDTH, DEPTH, SLICES = 24, 20, 12  # right to left, front to back, feet to head


def chest() -> np.ndarray:
    """HU ``[slice, row, column]`` in the order that covjax shows: a body with lungs.

    The heart makes left differ from right, the spine back from front, and the lungs
    are widest in slice 4.
    """
    volume = np.full((SLICES, DEPTH, WIDTH), -1000, np.int16)
    volume[:, 2:18, 2:22] = 40  # the body, in air
    for index, reach in enumerate([0, 2, 4, 5, 6, 5, 4, 3, 2, 1, 0, 0]):
        if reach:
            volume[index, 10 - reach : 10 + reach, 4:11] = -850
            volume[index, 10 - reach : 10 + reach, 13:20] = -850
    volume[:, 5:8, 13:16] = 55  # the heart: front, patient's left
    volume[:, 15:18, 11:13] = 700  # the spine: back
    return volume


def nifti_file(volume, codes="RAS", kind=nibabel.Nifti1Image, **header) -> bytes:
    """The same chest, stored along other axes, with the affine that says so."""
    stored = volume.transpose(2, 1, 0)  # x, y, z in the order L, P, S
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ inv_ornt_aff(turn, stored.shape)
    data = nibabel.orientations.apply_orientation(stored, turn)
    image = kind(data, affine)
    for name, value in header.items():
        image.header[name] = value
    return image.to_bytes()


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PSR", "SAL", "IPL"])
def test_every_orientation_gives_the_same_axial_pictures(codes):
    volume = nifti.read_volume(nifti_file(chest(), codes), name="x")
    for index in range(SLICES):
        np.testing.assert_array_equal(volume.values(index), chest()[index])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: gzip.compress(c),
        lambda c: nifti_file(chest().astype(np.float32)),
        lambda c: nifti_file(chest().astype(">i2")),
        lambda c: nifti_file(chest(), kind=nibabel.Nifti2Image),
        lambda c: gzip.compress(nifti_file(chest(), kind=nibabel.Nifti2Image)),
    ],
    ids=["gz", "float", "big-endian", "NIfTI-2", "NIfTI-2 gz"],
)
def test_every_form_gives_the_same_picture(change):
    plain = nifti_file(chest())
    np.testing.assert_array_equal(
        read_image(change(plain)).array, read_image(plain).array
    )


def test_lung_window():
    """-1350 HU is black, 150 HU is white, -600 HU is in the middle."""
    volume = chest()
    volume[4, 0, :5] = [-1350, -600, 150, 2000, -2000]
    picture = nifti.read_volume(nifti_file(volume), name="x").picture(4)
    assert picture.dtype == np.uint8
    assert picture[0, :5].tolist() == [0, 128, 255, 255, 0]
    assert picture[16, 11] == 255  # the spine
    assert picture[10, 5] == round((-850 + 1350) / 1500 * 255)  # the lung


def test_scale_factor_and_intercept():
    volume = chest()
    content = bytearray(nifti_file((volume + 1024) // 2))
    content[112:120] = struct.pack("<ff", 2.0, -1024.0)  # scl_slope, scl_inter
    values = nifti.read_volume(bytes(content), name="x").values(4)
    np.testing.assert_array_equal(values, (volume[4] + 1024) // 2 * 2.0 - 1024)


def test_the_picture_of_a_volume_is_the_slice_with_most_lung():
    picture = read_image(nifti_file(chest()), name="x")
    volume = nifti.read_volume(nifti_file(chest()), name="x")
    np.testing.assert_array_equal(picture.array, volume.picture(4))
    assert picture.part == f"slice 5 of {len(volume)}"
    assert picture.header["format"] == "NIfTI"
    assert (picture.header["width"], picture.header["height"]) == (WIDTH, DEPTH)


def test_air_around_the_body_is_no_lung():
    volume = nifti.read_volume(nifti_file(chest()), name="x")
    assert volume.lung_area(0) == 0.0  # no lung, much air outside
    assert volume.lung_area(4) > volume.lung_area(7) > 0.0


def test_slices_are_spread_over_the_wide_part_of_the_lungs():
    volume = nifti.read_volume(nifti_file(chest()), name="x")
    areas = np.array([volume.lung_area(index) for index in range(SLICES)])
    for count in (2, 3, 5, 9):
        chosen = volume.choose(count)
        assert len(chosen) == count
        assert chosen == sorted(chosen)
        assert all(areas[chosen] >= areas.max() / 2)
    assert volume.choose(1) == [4]


def test_a_volume_in_other_units_is_shown_in_its_own_range():
    ramp = np.arange(SLICES * DEPTH * WIDTH, dtype=np.int16)
    volume = nifti.read_volume(nifti_file(ramp.reshape(SLICES, DEPTH, WIDTH)), name="x")
    assert not volume.hounsfield
    assert (volume.picture(0).min(), volume.picture(SLICES - 1).max()) == (0, 255)
    assert volume.choose(3) == [4, 6, 8]  # of the middle half, 3 to 8


def test_negative_values_alone_do_not_make_hounsfield_units():
    """An MR picture may go below zero; most of a chest in HU is not above 200."""
    content = nifti_file(chest() + np.int16(3000) * (chest() > -900))
    assert not nifti.read_volume(content, name="x").hounsfield
    assert nifti.read_volume(nifti_file(chest()), name="x").hounsfield


def test_what_is_no_number_is_dark():
    volume = chest().astype(np.float32)
    volume[4, :3] = np.nan
    volume[4, 3] = -np.inf
    picture = nifti.read_volume(nifti_file(volume), name="x").picture(4)
    assert picture[:4].max() == 0


def broken(change) -> bytes:
    content = bytearray(nifti_file(chest()))
    change(content)
    return bytes(content)


def put(at, kind, *values):
    def change(content):
        struct.pack_into(kind, content, at, *values)

    return change


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (broken(lambda c: c.__delitem__(slice(3000, None))), "3000 of 11872 bytes"),
        (gzip.compress(nifti_file(chest()))[:150], r"damaged NIfTI file \(\d+ of"),
        (broken(put(40, "<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1)), "270000000000"),
        (broken(put(40, "<8h", 3, 24, -20, 12, 1, 1, 1, 1)), "voxels|damaged"),
        (broken(put(40, "<8h", 2, 24, 20, 12, 1, 1, 1, 1)), "shape .24, 20.; 3 axes"),
        (broken(put(40, "<8h", 4, 24, 20, 6, 2, 1, 1, 1)), "3 axes are read"),
        (broken(put(40, "<8h", 9, 24, 20, 6, 2, 1, 1, 1)), "3 axes are read"),
        (broken(put(70, "<h", 128)), "not of plain numbers"),  # RGB
        (broken(put(70, "<h", 32)), "not of plain numbers"),  # complex
        (broken(put(70, "<h", 9999)), "damaged NIfTI"),
        (broken(put(108, "<f", -400.0)), "voxels"),
        (broken(put(108, "<f", 1e30)), "damaged NIfTI|voxels"),
        (broken(put(344, "4s", b"ni1\0")), "without its pixels"),
        (broken(put(254, "<h12f", 1, *[np.nan] * 12)), "damaged NIfTI"),
    ],
    ids=range(14),
)
def test_damage_ends_in_one_line(content, words):
    with pytest.raises(InputError, match=words) as caught:
        read_image(content, name="scan.nii.gz")
    assert str(caught.value).startswith("scan.nii.gz: ")
    assert "\n" not in str(caught.value)


def test_a_packed_bomb_is_unpacked_only_as_far_as_its_header_says(monkeypatch):
    bomb = gzip.compress(nifti_file(chest()) + bytes(2**26))
    assert len(nifti._unpack(bomb, 11872)) == 11872
    assert read_image(bomb).array.shape == (DEPTH, WIDTH)
    monkeypatch.setattr(nifti, "MAX_BYTES", 10000)
    with pytest.raises(InputError, match="5760 voxels; at most 10000 bytes"):
        read_image(bomb)


def test_a_slice_with_too_many_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(picture, "MAX_PIXELS", 500)
    with pytest.raises(InputError, match="576 pixels; at most 500"):
        read_image(nifti_file(chest()))


def test_missing_nibabel_is_named_with_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(InputError, match=r"nibabel: pip install 'covjax\[medical\]'"):
        read_image(nifti_file(chest()))


SAMPLES = sorted(p for p in Path(data_path).iterdir() if ".nii" in p.name)
REFUSED = {  # of nibabel's samples: four-dimensional ones
    "example4d.nii.gz": "shape .128, 96, 24, 2.; 3 axes",
    "example_nifti2.nii.gz": "shape .32, 20, 12, 2.; 3 axes",
    "functional.nii": "shape .17, 21, 3, 20.; 3 axes",
    "row_major.dconn.nii": "3 axes",
}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_every_sample_of_nibabel(path):
    content = path.read_bytes()
    if path.name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[path.name]):
            read_image(path)
        return
    volume = nifti.read_volume(content, name=path.name)
    # nibabel's own way to the same orientation
    image = nibabel.as_closest_canonical(nibabel.load(path))
    expected = image.get_fdata()[::-1, ::-1, :].transpose(2, 1, 0)
    assert len(volume) == len(expected)
    for index in (0, len(volume) // 2, len(volume) - 1):
        known = np.nan_to_num(expected[index], nan=volume.low)
        np.testing.assert_allclose(volume.values(index), known, rtol=1e-5)
