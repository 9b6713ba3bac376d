"""Preparation of pictures, against Pillow and values by hand."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from covjax import config
from covjax.data import contrast
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError


def picture(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_resize_is_pillows_antialiased_bilinear():
    grey = picture(37, 53)
    expected = Image.fromarray(grey).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        Preprocess(size=16)(grey)[..., 0], np.asarray(expected)
    )


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::4] = 255  # a skipping resize by 4 gives all white or all black
    shrunk = Preprocess(size=16)(stripes)
    np.testing.assert_allclose(shrunk[4:-4, 4:-4], 255 / 4, atol=2)


def test_sixteen_bits_and_floats_are_scaled_to_eight():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    same = Preprocess(size=16)
    np.testing.assert_array_equal(same(levels)[..., 0], levels)
    np.testing.assert_array_equal(same(levels.astype(np.uint16) * 257)[..., 0], levels)
    np.testing.assert_array_equal(same(levels / 255)[..., 0], levels)
    np.testing.assert_array_equal(
        same((levels / 255).astype(np.float32))[..., 0], levels
    )
    rows = same(np.full((16, 16), 32768 + 128, np.uint16))
    assert (rows == 128).all()


def test_sixteen_bits_resize_like_eight():
    grey = picture(40, 60)
    eight, sixteen = (
        Preprocess(size=16)(p) for p in (grey, grey.astype(np.uint16) * 257)
    )
    assert np.abs(eight.astype(int) - sixteen).max() <= 1  # Pillow rounds twice


def test_sixteen_bits_are_equalised_before_they_are_rounded():
    """257 levels within one 8-bit level become a full range."""
    fine = (np.arange(256, dtype=np.uint16) + 20_000).reshape(16, 16)
    out = Preprocess(size=16, equalize="histogram")(fine)[..., 0]
    np.testing.assert_array_equal(out, np.arange(256).reshape(16, 16))


def test_grey_and_colour():
    colour = picture(16, 16, 3)
    luma = np.asarray(Image.fromarray(colour).convert("L"))
    np.testing.assert_array_equal(Preprocess(size=16)(colour)[..., 0], luma)
    np.testing.assert_array_equal(Preprocess(size=16, channels=3)(colour), colour)
    wide = Preprocess(size=16)(colour.astype(np.uint16) * 257)[..., 0]
    assert np.abs(wide.astype(int) - luma).max() <= 1
    grey = picture(16, 16)
    for channels in (1, 3, 5):
        out = Preprocess(size=16, channels=channels)(grey)
        np.testing.assert_array_equal(out, np.stack([grey] * channels, -1))
    np.testing.assert_array_equal(Preprocess(size=16)(grey[..., None])[..., 0], grey)


def test_crop_top_then_centre():
    tall = picture(100, 40)
    out = Preprocess(size=40, crop_top=0.08, crop="square")(tall)[..., 0]
    np.testing.assert_array_equal(out, tall[8 + 26 : 8 + 66])
    wide = picture(40, 101)
    out = Preprocess(size=40, crop="square")(wide)[..., 0]
    np.testing.assert_array_equal(out, wide[:, 30:70])


def test_masks_are_cut_as_their_pictures_and_get_no_new_values():
    mask = np.zeros((100, 40), np.uint8)
    mask[34:74] = 3
    prepare = Preprocess(size=20, crop_top=0.08, crop="square")
    assert (prepare.mask(mask) == 3).all()
    assert set(np.unique(Preprocess(size=16).mask(mask))) == {0, 3}


def test_equalisation_is_pillows_up_to_its_rounding():
    grey = (picture(256, 256) // 4 + 90).astype(np.uint8)
    ours = Preprocess(size=256, equalize="histogram")(grey)[..., 0]
    pillow = np.asarray(ImageOps.equalize(Image.fromarray(grey)))
    assert np.abs(ours.astype(int) - pillow).max() <= 2  # it divides by whole numbers
    assert (ours.min(), ours.max()) == (0, 255)


def test_equalisation_by_hand():
    # levels 10, 10, 20, 40: cdf 2, 3, 4; (cdf - 2) / (4 - 2)
    grey = np.array([[10, 10], [20, 40]], np.float32)[..., None]
    np.testing.assert_allclose(
        contrast.equalize(grey)[..., 0], [[0, 0], [127.5, 255]], rtol=1e-6
    )
    flat = np.full((4, 4, 1), 77, np.float32)
    np.testing.assert_array_equal(contrast.equalize(flat), flat)


def plain_clahe(grey: np.ndarray, tiles: int, clip: float) -> np.ndarray:
    """The definition, a pixel at a time; sides divisible by `tiles`."""
    height, width = grey.shape
    tall, wide = height // tiles, width // tiles
    area = tall * wide
    tables = {}
    for i in range(tiles):
        for j in range(tiles):
            block = grey[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            counts = [float((block == level).sum()) for level in range(256)]
            limit = max(1.0, clip * area / 256)
            excess = sum(max(0.0, c - limit) for c in counts)
            counts = [min(c, limit) + excess / 256 for c in counts]
            total, table = 0.0, []
            for c in counts:
                total += c
                table.append(255 * total / area)
            tables[i, j] = table
    out = np.zeros(grey.shape)
    for y in range(height):
        for x in range(width):
            fy, fx = (y + 0.5) / tall - 0.5, (x + 0.5) / wide - 0.5
            i, j = int(np.floor(fy)), int(np.floor(fx))
            for di, wy in ((0, 1 - (fy - i)), (1, fy - i)):
                for dj, wx in ((0, 1 - (fx - j)), (1, fx - j)):
                    tile = (
                        min(max(i + di, 0), tiles - 1),
                        min(max(j + dj, 0), tiles - 1),
                    )
                    out[y, x] += wy * wx * tables[tile][grey[y, x]]
    return out


def test_clahe_is_its_definition():
    grey = (picture(32, 48) // 3 + 60).astype(np.uint8)
    ours = contrast.clahe(grey[..., None].astype(np.float32), tiles=4)
    np.testing.assert_allclose(ours[..., 0], plain_clahe(grey, 4, 2.0), atol=1e-3)


def test_clahe_limits_the_contrast_and_takes_any_size():
    grey = picture(45, 51)
    out = Preprocess(size=30, equalize="clahe")(grey)
    assert out.shape == (30, 30, 1)
    # 256 pixels a tile: 2 stay on level 100, the other 254 spread over all levels
    flat = contrast.clahe(np.full((128, 128, 1), 100, np.float32))
    np.testing.assert_allclose(flat, 255 * (2 + 101 * 254 / 256) / 256, rtol=1e-6)


def test_gamma():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    out = Preprocess(size=16, gamma=0.5)(levels)[..., 0]
    assert (out[0, 0], out[4, 0], out[15, 15]) == (0, 128, 255)  # 255 sqrt(64/255)
    assert (np.diff(out.ravel().astype(int)) >= 0).all()


def plain_fuzzy(grey: np.ndarray) -> np.ndarray:
    """The authors' notebook's formulas, a pixel at a time, without its saturated mean.

    The windows' memberships there are C(2,i) t^i (1-t)^(2-i) for i in 0 and 1.
    """
    height, width = grey.shape
    value = grey / 127.5 - 1
    phi = 0.5 * np.log((1 + value + 1e-5) / (1 - value + 1e-5))
    weight = np.zeros((2, 2, height, width))
    for y in range(height):
        for x in range(width):
            t, u = x / (width - 1), y / (height - 1)
            across, down = (
                ((1 - t) ** 2, 2 * t * (1 - t)),
                ((1 - u) ** 2, 2 * u * (1 - u)),
            )
            for i in range(2):
                for j in range(2):
                    weight[i, j, y, x] = across[i] * down[j]
    weight /= weight.sum(axis=(0, 1)) + 1e-5
    out = np.zeros(grey.shape)
    for i in range(2):
        for j in range(2):
            variance = (weight[i, j] * phi**2).sum() / weight[i, j].sum()
            out += weight[i, j] * (np.sqrt(0.35) / np.sqrt(variance)) * phi
    return 127.5 * (np.tanh(out) + 1)


def test_fuzzy_colour_is_the_authors_away_from_the_last_row_and_column():
    ramp = np.linspace(20, 230, 200)[None] + np.linspace(-15, 15, 160)[:, None]
    grey = np.rint(ramp + picture(160, 200) / 32)
    ours = contrast.fuzzy_color(grey[..., None].astype(np.float32))[..., 0]
    # half a level is rounding; the rest is the weight of one row in 160, which the
    # notebook leaves out of the variance
    np.testing.assert_allclose(ours[:-1, :-1], plain_fuzzy(grey)[:-1, :-1], atol=2.5)


def test_stacking_by_hand(monkeypatch):
    monkeypatch.setattr(contrast, "fuzzy_color", lambda pixels: pixels * 0 + 100)
    grey = np.array([0, 20, 100, 255], np.float32).reshape(2, 2, 1)
    # means 50, 60, 100, 177.5 (rounds to 178); |1.5 v - 80|, at most 255
    expected = [abs(75 - 80), 10, 70, 187]
    np.testing.assert_array_equal(contrast.fuzzy_stack(grey).ravel(), expected)


def test_fuzzy_stack_of_black_and_white_is_finite():
    grey = np.zeros((16, 16), np.uint8)
    grey[:8] = 255
    out = Preprocess(size=16, fuzzy_stack=True)(grey)[..., 0]
    # all |atanh| are equal, so the variance 0.35 makes them sqrt(0.35) = 0.5916;
    # tanh of it is 0.5310: black becomes 60, white 195, and stacked 30 and 225
    assert (out[:8] == 255).all()
    assert (out[8:] == 35).all()  # |1.5 * 30 - 80|


def test_saved_and_loaded():
    data = config.Data(
        size=32, channels=3, crop_top=0.08, crop="square", equalize="clahe", gamma=0.5,
        fuzzy_stack=True, mean=(0.1, 0.2, 0.3), std=(0.2,),
    )  # fmt: skip
    prepare = Preprocess.from_config(data)
    again = Preprocess.from_dict(json.loads(json.dumps(prepare.to_dict())))
    assert again == prepare
    assert again.digest() == prepare.digest()
    colour = picture(50, 40, 3)
    np.testing.assert_array_equal(again(colour), prepare(colour))
    with pytest.raises(InputError, match=r"preprocess.sharpen: unknown field"):
        Preprocess.from_dict({"size": 8, "sharpen": 1})


def test_the_digest_follows_the_pixels():
    base = Preprocess(size=32)
    assert base.digest() != Preprocess(size=33).digest()
    assert base.digest() != Preprocess(size=32, gamma=0.9).digest()
    assert base.digest() == Preprocess(size=32, mean=(0.2,)).digest()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\)"),
        (np.zeros((4,), np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4), np.uint8), "has no pixels"),
        (np.zeros((4, 4), np.int32), "type int32"),
        (np.full((4, 4), 1.5), "from 1.5 to 1.5: must be 0 to 1"),
        (np.array([[0.0, np.nan]]), "must be 0 to 1"),
    ],
)
def test_what_is_no_picture_is_one_line(array, message):
    with pytest.raises(InputError, match=message) as error:
        Preprocess(size=8)(array)
    assert "\n" not in str(error.value)
