"""Co-occurrence of grey levels, and Haralick's features of it."""

import numpy as np


def haralick(picture: np.ndarray, levels: int = 32) -> np.ndarray:
    """Haralick's first 13 features, ``[26]``: mean and range over four directions.

    References:
      Haralick, Shanmugam, Dinstein 1973, IEEE SMC-3(6), appendix; sum variance about
      the sum average, where the paper prints the sum entropy.
    """
    table = np.stack(
        [
            _haralick(cooccurrence(picture, offset, levels))
            for offset in ((0, 1), (-1, 1), (-1, 0), (-1, -1))
        ]
    )
    return np.concatenate([table.mean(axis=0), np.ptp(table, axis=0)])


def cooccurrence(
    picture: np.ndarray, offset: tuple[int, int], levels: int
) -> np.ndarray:
    """Shares of pairs of grey levels at an offset, both ways, ``[levels, levels]``.

    Args:
      picture: uint8 ``[height, width]``; 0 to 255 is cut into `levels` equal steps.
      offset: rows and columns from the first pixel of a pair to the second.
      levels: number of grey levels.
    """
    cut = picture.astype(np.int64) * levels // 256
    (y, x), (height, width) = offset, cut.shape
    first = cut[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    second = cut[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    pairs = np.bincount((first * levels + second).ravel(), minlength=levels**2)
    counts = pairs.reshape(levels, levels)
    return (counts + counts.T) / (2 * pairs.sum())


def _haralick(p: np.ndarray) -> np.ndarray:
    """Features f1 to f13 of one matrix, in the paper's symbols."""
    n = len(p)
    i, j = np.indices(p.shape)
    px = p.sum(axis=1)  # p is symmetric: py is the same
    mean = (i * p).sum()
    variance = ((i - mean) ** 2 * p).sum()
    sums = np.bincount((i + j).ravel(), p.ravel(), minlength=2 * n - 1)
    gaps = np.bincount(np.abs(i - j).ravel(), p.ravel(), minlength=n)
    k, d = np.arange(2 * n - 1), np.arange(n)
    average = (k * sums).sum()
    product = np.outer(px, px)
    hxy, hx = _entropy(p), _entropy(px)
    hxy1 = -(p[product > 0] * np.log(product[product > 0])).sum()
    hxy2 = _entropy(product)
    return np.array(
        [
            (p**2).sum(),  # angular second moment
            (d**2 * gaps).sum(),  # contrast
            ((i * j * p).sum() - mean**2) / variance if variance else 0.0,
            variance,
            (p / (1 + (i - j) ** 2)).sum(),  # inverse difference moment
            average,
            ((k - average) ** 2 * sums).sum(),
            _entropy(sums),
            hxy,
            ((d - (d * gaps).sum()) ** 2 * gaps).sum(),  # difference variance
            _entropy(gaps),
            (hxy - hxy1) / hx if hx else 0.0,  # measures of correlation
            np.sqrt(max(0.0, 1 - np.exp(-2 * (hxy2 - hxy)))),
        ]
    )


def _entropy(p: np.ndarray) -> float:
    return float(-(p[p > 0] * np.log(p[p > 0])).sum())
