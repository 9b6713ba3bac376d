"""Contrast of chest pictures: equalisation, CLAHE, fuzzy colour with stacking.

Every function takes and returns float32 ``[height, width, channels]`` in [0, 255].
"""

import numpy as np

LEVELS = 65536  # grey levels told apart: those of a 16-bit picture


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Histogram equalisation, each channel by itself.

    A level v becomes ``255 (cdf(v) - cdf_min) / (n - cdf_min)``: the darkest level
    is 0, the brightest 255. A flat channel stays as it is.

    References:
      Gonzalez & Woods, Digital Image Processing, 3rd ed., section 3.3.1.
    """
    result = np.empty_like(pixels)
    for channel in range(pixels.shape[-1]):
        levels = np.rint(pixels[..., channel] * 257).astype(np.int64)  # 255 -> 65535
        cdf = np.cumsum(np.bincount(levels.ravel(), minlength=LEVELS))
        darkest = cdf[levels.min()]
        if darkest == levels.size:
            result[..., channel] = pixels[..., channel]
        else:
            result[..., channel] = (
                255 * (cdf[levels] - darkest) / (levels.size - darkest)
            )
    return result


def clahe(pixels: np.ndarray, tiles: int = 8, clip_limit: float = 2.0) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation on 8-bit levels.

    The picture is cut into tiles x tiles; each has its own clipped and equalised
    histogram, and a pixel is interpolated between the four nearest tiles.

    Args:
      pixels: the picture.
      tiles: per side; 8, the usual choice.
      clip_limit: largest histogram bin, in multiples of a flat histogram's.

    References:
      Zuiderveld, Contrast Limited Adaptive Histogram Equalization, Graphics Gems IV,
      1994.
    """
    height, width, channels = pixels.shape
    tall, wide = -(-height // tiles), -(-width // tiles)  # of one tile
    pad = ((0, tall * tiles - height), (0, wide * tiles - width), (0, 0))
    levels = np.rint(np.pad(pixels, pad, mode="symmetric")).astype(np.int64)
    result = np.empty_like(pixels)
    for channel in range(channels):
        cut = levels[..., channel].reshape(tiles, tall, tiles, wide)
        tables = _tile_tables(cut.transpose(0, 2, 1, 3), clip_limit)
        result[..., channel] = _between_tiles(
            tables, levels[:height, :width, channel], tall, wide
        )
    return result


def _tile_tables(cut: np.ndarray, clip_limit: float) -> np.ndarray:
    """New level of each old one, ``[tiles, tiles, 256]``."""
    tiles, area = cut.shape[0], cut.shape[2] * cut.shape[3]
    offsets = np.arange(tiles * tiles).reshape(tiles, tiles, 1, 1) * 256
    counts = np.bincount((cut + offsets).ravel(), minlength=tiles * tiles * 256)
    counts = counts.reshape(tiles, tiles, 256).astype(np.float64)
    limit = max(1.0, clip_limit * area / 256)
    excess = np.maximum(counts - limit, 0).sum(axis=-1, keepdims=True)
    counts = np.minimum(counts, limit) + excess / 256  # shared by all levels
    return 255 * np.cumsum(counts, axis=-1) / area


def _between_tiles(
    tables: np.ndarray, levels: np.ndarray, tall: int, wide: int
) -> np.ndarray:
    """Bilinear interpolation of the tables between the centres of their tiles."""
    tiles = len(tables)

    def neighbours(length: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = (np.arange(length) + 0.5) / side - 0.5
        first = np.floor(place).astype(int)
        low, high = np.clip([first, first + 1], 0, tiles - 1)
        return low, high, place - first

    top, bottom, down = neighbours(levels.shape[0], tall)
    left, right, across = neighbours(levels.shape[1], wide)
    across, down = across[None, :], down[:, None]
    upper = (1 - across) * tables[top[:, None], left, levels]
    upper += across * tables[top[:, None], right, levels]
    lower = (1 - across) * tables[bottom[:, None], left, levels]
    lower += across * tables[bottom[:, None], right, levels]
    return (1 - down) * upper + down * lower


def fuzzy_stack(pixels: np.ndarray) -> np.ndarray:
    """Fuzzy colour, stacking on the original, then more contrast.

    References:
      Toğaçar, Ergen, Cömert, COVID-19 detection using deep learning models to
      exploit Social Mimic Optimization and structured chest X-ray images using fuzzy
      color and stacking approaches, Comput. Biol. Med. 121, 2020, sections 2.2 and
      2.3, with the numbers of the authors' notebooks (mtogacar/COVID_19).
    """
    stacked = np.rint(0.5 * pixels + 0.5 * fuzzy_color(pixels))  # authors' notebook
    # alpha 1.5, beta -80; the absolute value is that of OpenCV's convertScaleAbs
    return np.minimum(np.abs(1.5 * stacked - 80), 255).astype(np.float32)


def fuzzy_color(pixels: np.ndarray) -> np.ndarray:
    """Contrast enhanced in 2 x 2 overlapping fuzzy windows, logarithmic model.

    Grey levels are mapped to (-1, 1) and then to the real line by atanh. A window's
    gain brings its weighted variance there to 0.35; a pixel gets the gains of all
    windows by its memberships, which are Bernstein polynomials of degree two.

    Differs from the authors' notebook in the last row and column only, where their
    weights are 0 / 0 and ours the limit. Their window means vanish (a saturated sum
    is divided by the window's size), so that brightness is not shifted; kept.

    References:
      Patrascu, Image enhancement using the fuzzy window, logarithmic image model.
    """
    inside = 1 - 1e-5  # the notebook's EPSILON keeps the logarithm finite
    height, width, _ = pixels.shape
    values = np.arctanh(np.clip(pixels.astype(np.float64) / 127.5 - 1, -inside, inside))
    # memberships along y and x, normalised: their product is a window's weight
    weights = _memberships(height)[:, None, :, None] * _memberships(width)[:, None, :]
    square = np.square(values.mean(axis=-1))  # one gain for all channels
    variance = (weights * square).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))
    gains = np.sqrt(0.35) / (np.sqrt(variance) + 1e-5)  # IDEAL_VARIANCE, EPSILON
    gain = (weights * gains[..., None, None]).sum(axis=(0, 1))
    return np.rint(127.5 * (np.tanh(values * gain[..., None]) + 1)).astype(np.float32)


def _memberships(length: int) -> np.ndarray:
    """Of each pixel along one side in the first and second window, ``[2, length]``.

    Bernstein's (1 - t)^2 and 2 t (1 - t), divided by their sum.
    """
    t = np.linspace(0, 1, length)
    return np.stack([(1 - t) / (1 + t), 2 * t / (1 + t)])
