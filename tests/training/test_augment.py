"""Augmentation: the warp against SciPy, the ranges, and what stays as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from covjax.config import Augment
from covjax.training.augment import augment, random_affine, warp

FILL = jnp.array([0.5])


def images(n=4, size=9, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.random((n, size, size + 2, 1)), jnp.float32)


def run(settings, n=4, seed=0):
    keys = jax.random.split(jax.random.key(seed), n)
    return augment(images(n), keys, settings, FILL)


def test_warp_is_scipys_bilinear_affine():
    image = images()[0]
    matrix = np.array([[0.8, 0.3], [-0.2, 1.1]], np.float32)
    offset = np.array([1.3, -0.7], np.float32)
    centre = (np.array(image.shape[:2]) - 1) / 2
    wanted = ndimage.affine_transform(
        np.asarray(image[..., 0]),
        matrix,
        offset=centre + offset - matrix @ centre,
        order=1,
        mode="grid-constant",
        cval=0,
    )
    found = warp(image, jnp.asarray(matrix), jnp.asarray(offset))[..., 0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_all_off_changes_nothing():
    np.testing.assert_array_equal(run(Augment()), images())


def test_flips_are_exact_and_happen_to_about_half():
    keys = jax.random.split(jax.random.key(1), 64)
    pictures = jnp.tile(images(1), (64, 1, 1, 1))
    changed = augment(pictures, keys, Augment(flip=True), FILL)
    same = (changed == pictures).all((1, 2, 3))
    mirrored = (changed == pictures[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 16 <= mirrored.sum() <= 48
    upside = augment(pictures, keys, Augment(flip_vertical=True), FILL)
    assert ((upside == pictures[:, ::-1]).all((1, 2, 3)) | same.astype(bool)).any()


def matrices(settings, n=400):
    keys = jax.random.split(jax.random.key(2), n)
    shape = (10, 20, 1)
    matrix, offset = jax.vmap(lambda k: random_affine(k, settings, shape))(keys)
    return np.asarray(matrix), np.asarray(offset)


def test_rotation_keeps_lengths_and_its_range():
    matrix, offset = matrices(Augment(rotation_degrees=20))
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-6)
    angles = np.degrees(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0]))
    assert angles.min() < -18
    assert angles.max() > 18
    assert abs(angles).max() <= 20
    assert not offset.any()


def test_shift_is_a_share_of_each_side():
    matrix, offset = matrices(Augment(shift=0.1))
    np.testing.assert_array_equal(matrix, np.broadcast_to(np.eye(2), matrix.shape))
    assert (abs(offset) <= [1.0, 2.0]).all()
    assert (abs(offset).max(0) > [0.9, 1.8]).all()


@pytest.mark.parametrize(
    ("settings", "low", "high"),
    [
        (Augment(zoom=0.2), 1 / 1.2**2, 1 / 0.8**2),
        (Augment(aspect=0.1), 1 / 1.1, 1 / 0.9),
        (Augment(shear_degrees=30), 1.0, 1.0),
        (Augment(crop_area=0.25), 0.25, 1.0),
    ],
)
def test_area_of_the_source_stays_in_range(settings, low, high):
    areas = np.linalg.det(matrices(settings)[0])
    assert areas.min() >= low - 1e-5
    assert areas.max() <= high + 1e-5
    assert areas.max() - areas.min() >= 0.9 * (high - low)


def test_a_crop_stays_inside_the_picture():
    matrix, offset = matrices(Augment(crop_area=0.1))
    half = np.array([10, 20]) / 2
    reach = matrix[:, [0, 1], [0, 1]] * half + abs(offset)
    assert (reach <= half + 1e-4).all()
    assert reach.max() > 0.95 * half.max()


def test_brightness_and_contrast():
    pictures = images() * 0.2 + 0.4  # far from the ends, where nothing is cut
    keys = jax.random.split(jax.random.key(0), 4)
    lighter = augment(pictures, keys, Augment(brightness=0.1), FILL) - pictures
    assert np.ptp(lighter, axis=(1, 2, 3)).max() < 1e-6
    assert 0.01 < abs(lighter).max() <= 0.1 + 1e-6
    stretched = augment(pictures, keys, Augment(contrast=0.5), FILL)
    np.testing.assert_allclose(
        stretched.mean((1, 2, 3)), pictures.mean((1, 2, 3)), atol=1e-6
    )
    ratio = stretched.std((1, 2, 3)) / pictures.std((1, 2, 3))
    assert (abs(ratio - 1) <= 0.5).all()
    assert abs(ratio - 1).max() > 0.05


def test_cutout_blanks_a_square():
    blank = (run(Augment(cutout=0.4), n=32) == 0.5)[..., 0]
    assert blank.any((1, 2)).mean() > 0.9
    assert blank.any(2).sum(1).max() in (3, 4)  # of 9 rows
    assert blank.any(1).sum(1).max() in (4, 5)  # of 11 columns
    assert not np.asarray(run(Augment(cutout=0.4)) != images())[~blank[:4]].any()


def test_a_picture_depends_on_its_own_key_alone():
    settings = Augment(rotation_degrees=15, shift=0.1, brightness=0.2, cutout=0.2)
    keys = jax.random.split(jax.random.key(3), 4)
    whole = augment(images(), keys, settings, FILL)
    alone = augment(images()[2:3], keys[2:3], settings, FILL)
    np.testing.assert_allclose(whole[2:3], alone, atol=1e-6)
    assert not np.array_equal(whole[1], whole[2])
