"""Texture descriptors by hand, by the papers' own examples, and by brute force."""

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_sample_images
from sklearn.decomposition import PCA

from covjax.data import texture, texture_filters
from covjax.data.cooccurrence import cooccurrence, haralick
from covjax.data.preprocess import grey
from covjax.errors import InputError

RISING = np.array([[1, 1, 9], [1, 5, 9], [1, 1, 9]], np.uint8)


def bin_of(code: int) -> int:
    """Place of a code among the uniform ones, counted on strings."""

    def changes(value: int) -> int:
        bits = f"{value:08b}"
        return sum(a != b for a, b in zip(bits, bits[1:] + bits[:1]))

    if changes(code) > 2:
        return 58
    return sum(changes(value) <= 2 for value in range(code))


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)


@pytest.mark.parametrize(
    ("corner", "code"),
    [
        (1, 0b10000011),  # east and both diagonals beside it
        (9, 0b10001011),  # and, mixed of 5, 1, 1 and 9, the north-west
    ],
)
def test_lbp_of_a_patch(corner, code):
    patch = RISING.copy()
    patch[0, 0] = corner
    found = texture.lbp(patch)
    assert found.shape == (59,)
    assert np.flatnonzero(found).tolist() == [bin_of(code)]
    assert found.sum() == 1


def test_lbp_of_a_flat_picture_is_exact():
    found = texture.lbp(np.full((9, 9), 77, np.uint8))
    assert found[bin_of(255)] == 1


@pytest.mark.parametrize(
    ("thresholds", "codes"),
    [
        ((1.0, 3.0), (0b00000001, 0b10000010, 0, 0b01111100)),
        ((1.0, 4.5), (0, 0b10000011, 0b01111100, 0)),
    ],
)
def test_eqp_of_a_patch(thresholds, codes):
    # differences from east counter-clockwise: 4, 2, -4, -3.7, -4, -3.7, -4, 2
    found = texture.eqp(RISING, axes=(1.0, 1.0), thresholds=thresholds)
    wanted = [59 * k + bin_of(code) for k, code in enumerate(codes)]
    assert np.flatnonzero(found).tolist() == wanted


def test_eqp_follows_the_ellipse():
    """Three pixels to the sides, one up and down."""
    side, above = np.zeros((2, 7, 7), np.uint8)
    side[3, 6] = above[0, 3] = 200  # three away from the centre
    found = texture.eqp(side, axes=(3.0, 1.0))
    assert found[bin_of(1)] == 1  # at least the second threshold: east alone
    assert texture.eqp(above, axes=(3.0, 1.0))[bin_of(0)] == 1
    assert texture.eqp(above, axes=(1.0, 3.0))[bin_of(4)] == 1  # north is bit 2


def test_ldn_of_an_edge():
    # east 10, south and north 2, west 0: largest response east (0), smallest west (4)
    patch = np.array([[0, 2, 10], [0, 7, 10], [0, 2, 10]], np.uint8)
    found = texture.ldn(patch)
    assert found.shape == (56,)
    assert np.flatnonzero(found).tolist() == [3]  # row 0 without its own place
    turned = texture.ldn(np.rot90(patch))  # north (2) against south (6)
    assert np.flatnonzero(turned).tolist() == [2 * 7 + 5]
    assert texture.ldn(np.full((5, 5), 9, np.uint8)).sum() == 0


def test_lpq_is_the_transform_of_the_paper():
    picture, a = noise(9), 1 / 7
    codes = []
    for row in range(3, 6):
        for column in range(3, 6):
            bits = []
            for u, v in ((0, a), (a, 0), (a, a), (a, -a)):  # rows, columns
                value = sum(
                    float(picture[row - y, column - x])
                    * np.exp(-2j * np.pi * (u * y + v * x))
                    for y in range(-3, 4)
                    for x in range(-3, 4)
                )
                bits += [value.real >= 0, value.imag >= 0]
            codes.append(sum(int(bit) << k for k, bit in enumerate(bits)))
    wanted = np.bincount(codes, minlength=256) / 9
    np.testing.assert_allclose(texture.lpq(picture), wanted)


def test_lpq_of_a_flat_picture_is_one_code():
    for level in range(0, 256, 5):
        assert texture.lpq(np.full((9, 9), level, np.uint8))[255] == 1


def test_obif_of_ramps_and_of_nothing():
    ramp = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    assert texture.obif(ramp).argmax() == 23 * 1 + 1  # slope, direction 0
    assert texture.obif(ramp.T).argmax() == 23 * 3 + 3  # a quarter turn: direction 2
    assert texture.obif(np.full((16, 16), 100, np.uint8))[0] == 1


@pytest.mark.parametrize(
    ("across", "down", "direction"), [(1, 0, 0), (1, 1, 1), (0, 1, 2), (1, -1, 3)]
)
def test_obif_of_stripes(across, down, direction):
    """The direction is that of the largest curvature: across dark, along light."""
    y, x = np.mgrid[:64, :64]
    stripes = (127 + 120 * np.cos(2 * np.pi * (across * x + down * y) / 16)).round()
    first = texture.obif(stripes).reshape(23, 23).sum(axis=1)
    for start, turn in ((11, 0), (15, 2)):
        lines = first[start : start + 4]
        assert lines[(direction + turn) % 4] > 0.9 * lines.sum() > 0


def test_obif_turns_with_the_picture():
    """A quarter turn moves directions and nothing else."""
    kinds = np.repeat(np.arange(7), [1, 8, 1, 1, 4, 4, 4])

    def by_kind(picture):
        table = np.zeros((7, 7))
        columns = np.add.outer(7 * kinds, kinds).ravel()
        np.add.at(table.reshape(-1), columns, texture.obif(picture))
        return table

    picture = noise(24)
    np.testing.assert_allclose(by_kind(picture), by_kind(np.rot90(picture)), atol=1e-12)
    assert not np.allclose(texture.obif(picture), texture.obif(np.rot90(picture)))


def letrist_of(picture: np.ndarray) -> np.ndarray:
    """LETRIST pixel by pixel, with the Hessian's eigenvalues."""
    plane = (picture - picture.mean()) / picture.std()
    height, width = picture.shape
    features = []  # at each scale g, d, s, r of each pixel
    for scale in (1, 2, 4):
        x = np.arange(-6 * scale, 6 * scale + 1)
        bell = np.exp(-(x**2) / (2 * scale**2))
        bell /= bell.sum()
        slope, bend = -x / scale * bell, (x**2 / scale**2 - 1) * bell
        wide = np.pad(plane, 6 * scale, mode="edge")
        found = np.zeros((4, height, width))
        for row in range(height):
            for column in range(width):
                window = wide[row : row + len(x), column : column + len(x)]
                gradient = [bell @ window @ slope, slope @ window @ bell]
                twist = slope @ window @ slope
                hessian = [
                    [bell @ window @ bend, twist],
                    [twist, bend @ window @ bell],
                ]
                low, high = np.linalg.eigvalsh(hessian)
                g, d = np.linalg.norm(gradient), high - low
                s = 0.5 + np.arctan((low + high) / d) / np.pi
                found[:, row, column] = g, d, s, 2 / np.pi * np.arctan(d / g)
        features.append(found)
    means = [found.mean(axis=(1, 2)) for found in features]
    result = np.zeros(413)
    for row in range(height):
        for column in range(width):
            codes, ratio = [], 0
            for found, mean in zip(features, means, strict=True):
                g, d, s, r = found[:, row, column]
                strong, curved = int(g > 2 * mean[0]), int(d > 2 * mean[1])
                codes.append((strong * 2 + curved) * 3 + int(3 * s))
                ratio = 5 * ratio + int(5 * r)
            result[12 * codes[0] + codes[1]] += 1
            result[144 + 12 * codes[1] + codes[2]] += 1
            result[288 + ratio] += 1
    return result / picture.size


def test_letrist_is_the_transform_of_the_paper():
    picture = noise(15)
    picture[4:7, 9:12] = 255  # strong enough for the bits of g and d
    found = texture.letrist(picture)
    assert np.flatnonzero(found[:144] > 0).max() > 72  # with g's bit
    np.testing.assert_allclose(found, letrist_of(picture), atol=1e-12)


def test_letrist_of_a_ramp_and_of_nothing():
    """No curvature: the middle shape, the lowest ratio, no bit at any scale."""
    places = [12 + 1, 144 + 12 + 1, 288]
    ramp = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    assert (texture.letrist(ramp)[places] > 0.8).all()  # all but the borders
    for level in (0, 77, 255):
        flat = texture.letrist(np.full((16, 16), level, np.uint8))
        assert flat[places].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "change",
    [np.rot90, np.fliplr, lambda picture: 3 * picture + 20],
    ids=["turned", "mirrored", "brighter"],
)
def test_letrist_does_not_change(change):
    picture = noise(40) // 4
    found = texture.letrist(picture)
    np.testing.assert_allclose(found, texture.letrist(change(picture)), atol=1e-12)
    parts = np.split(found, [144, 288])
    np.testing.assert_allclose([part.sum() for part in parts], 1)


def test_bsif_filter_by_filter():
    picture, filters = noise(12), texture_filters.bsif_filters()
    codes = np.zeros(256)
    for row in range(6):
        for column in range(6):
            window = picture[row : row + 7, column : column + 7].astype(float)
            bits = [(f * window).sum() > 0 for f in filters]
            codes[sum(int(bit) << i for i, bit in enumerate(bits))] += 1
    found = texture.bsif(picture)
    np.testing.assert_allclose(found, codes / 36)
    assert found.sum() == pytest.approx(1)


def test_bsif_does_not_see_brightness_and_contrast():
    picture = noise(40) // 4
    found = texture.bsif(picture)
    np.testing.assert_array_equal(found, texture.bsif(3 * picture + 20))
    for level in range(0, 256, 5):
        assert texture.bsif(np.full((9, 9), level, np.uint8))[0] == 1


def test_bsif_filters_are_independent_components():
    """No mean; uncorrelated with variance 1; further from normal than the principal."""
    filters = texture_filters.bsif_filters().reshape(8, 49)
    again = texture_filters.bsif_filters.__wrapped__().reshape(8, 49)
    np.testing.assert_array_equal(filters, again)
    np.testing.assert_allclose(filters.sum(axis=1), 0, atol=1e-12)
    windows = [
        np.lib.stride_tricks.sliding_window_view(grey(photograph).astype(float), (7, 7))
        for photograph in load_sample_images().images
    ]
    patches = np.concatenate([w[::3, ::3].reshape(-1, 49) for w in windows])
    patches -= patches.mean(axis=1, keepdims=True)
    products = patches @ filters.T
    np.testing.assert_allclose(np.cov(products.T), np.eye(8), atol=0.1)
    principal = PCA(8).fit_transform(patches)
    peaks = [np.mean(stats.kurtosis(found)) for found in (products, principal)]
    assert peaks[0] > 1.2 * peaks[1]


@pytest.mark.parametrize(
    ("offset", "wanted"),
    [  # Haralick, Shanmugam, Dinstein 1973, figure 3
        ((0, 1), [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]]),
        ((-1, 1), [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]]),
        ((-1, 0), [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]]),
        ((-1, -1), [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]]),
    ],
)
def test_cooccurrence_of_the_papers_picture(offset, wanted):
    grey = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
    found = cooccurrence((grey * 64).astype(np.uint8), offset, 4)
    wanted = np.array(wanted)
    np.testing.assert_allclose(found, wanted / wanted.sum())


def test_haralick_of_stripes():
    """Rows of 0 and 255: along a row always equal, across always different."""
    stripes = np.zeros((8, 8), np.uint8)
    stripes[::2] = 255
    found = haralick(stripes, levels=2)
    mean, spread = found[:13], found[13:]
    # second moment 1/2 in all four directions; contrast 0 once and 1 three times
    np.testing.assert_allclose([mean[0], spread[0]], [0.5, 0], atol=0.01)
    np.testing.assert_allclose([mean[1], spread[1]], [0.75, 1], atol=1e-12)
    np.testing.assert_allclose([mean[2], spread[2]], [-0.5, 2], atol=0.02)  # 1, -1
    np.testing.assert_allclose(mean[4], (1 + 3 * 0.5) / 4)  # inverse difference
    np.testing.assert_allclose(mean[8], np.log(2), atol=0.01)  # entropy
    np.testing.assert_allclose(mean[10], 0, atol=1e-12)  # the difference is certain


def test_describe_takes_colour_and_is_finite():
    images = np.repeat(noise(40)[None, ..., None], 2, axis=0)
    for name in texture.DESCRIPTORS:
        one = texture.describe(images, name)
        three = texture.describe(np.repeat(images, 3, axis=-1), name)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(one[0], one[1])
        black = texture.describe(np.zeros_like(images), name)
        assert np.isfinite(black).all()


def test_what_cannot_be_described():
    with pytest.raises(InputError, match=r"gabor.*eqp"):
        texture.describe(np.zeros((1, 8, 8, 1), np.uint8), "gabor")
    with pytest.raises(InputError, match="at least 7x7"):
        texture.eqp(np.zeros((6, 40), np.uint8))
    with pytest.raises(InputError, match=r"6x40 pixels: BSIF.*at least 7x7"):
        texture.bsif(np.zeros((6, 40), np.uint8))
