"""Texture descriptors by filters: LPQ, oBIFs, LETRIST and BSIF.

`covjax.data.texture` has the table of all descriptors.
"""

from functools import cache

import numpy as np
from scipy import ndimage

from covjax.data.preprocess import grey
from covjax.errors import InputError


def lpq(picture: np.ndarray, window: int = 7) -> np.ndarray:
    """Local phase quantisation, without decorrelation, ``[256]``.

    The signs of the real and imaginary parts of the windowed Fourier transform at the
    frequencies (a, 0), (0, a), (a, a) and (a, -a), a = 1 / window, are the eight bits.

    References:
      Ojansivu, Heikkilä 2008, ICISP, section 3.1.
    """
    plane = picture.astype(np.float64)
    wave = np.exp(2j * np.pi * (np.arange(window) - window // 2) / window)
    flat = np.ones(window)
    pairs = ((flat, wave), (wave, flat), (wave, wave), (wave, wave.conj()))
    found = [_along(_along(plane, x, axis=1), y, axis=0) for y, x in pairs]
    # rounded: a flat window must give 0, not the noise of a sum that cancels
    parts = np.round([part for f in found for part in (f.real, f.imag)], 6)
    codes = np.tensordot(2 ** np.arange(8), parts >= 0, axes=1)
    return np.bincount(codes.ravel(), minlength=256) / codes.size


def obif(
    picture: np.ndarray,
    scales: tuple[float, float] = (2.0, 4.0),  # not known; covjax's choice
    flatness: float = 1e-3,  # likewise
) -> np.ndarray:
    """Columns of oriented basic image features at two scales, ``[23 * 23]``.

    A pixel is flat, a slope (8 directions), a dark or light blob, a dark line, a light
    line or a saddle (4 directions each): whichever response of derivatives of
    Gaussians is largest.

    References:
      Crosier, Griffin 2010, IJCV 88, section 3; Newell, Griffin 2011, ICDAR.
    """
    first, second = (_features(picture.astype(np.float64), s, flatness) for s in scales)
    codes = 23 * first + second
    return np.bincount(codes.ravel(), minlength=529) / codes.size


def _features(plane: np.ndarray, scale: float, flatness: float) -> np.ndarray:
    """Number of each pixel's oriented basic image feature, 0 to 22."""

    def response(y: int, x: int) -> np.ndarray:
        # cut at 6 deviations: at 4 even a flat picture has a curvature
        filtered = ndimage.gaussian_filter(plane, scale, order=(y, x), truncate=6)
        return scale ** (y + x) * filtered

    s10, s01 = response(0, 1), response(1, 0)
    s20, s02, s11 = response(0, 2), response(2, 0), response(1, 1)
    mean, twist = s20 + s02, np.hypot(s20 - s02, 2 * s11)
    kinds = np.stack(
        [
            flatness * response(0, 0),
            2 * np.hypot(s10, s01),
            mean,
            -mean,
            (twist + mean) / np.sqrt(2),
            (twist - mean) / np.sqrt(2),
            twist,
        ]
    ).argmax(axis=0)
    slope = np.round(np.arctan2(s01, s10) / (np.pi / 4)).astype(int) % 8
    line = np.round(np.arctan2(2 * s11, s20 - s02) / 2 / (np.pi / 4)).astype(int) % 4
    starts = np.array([0, 1, 9, 10, 11, 15, 19])  # 1, 8, 1, 1, 4, 4, 4 of each
    turn = np.where(kinds == 1, slope, np.where(kinds >= 4, line, 0))
    return starts[kinds] + turn


def letrist(picture: np.ndarray) -> np.ndarray:
    """Locally encoded transform feature histogram, ``[144 + 144 + 125]``.

    Of the derivatives of Gaussians of 1, 2 and 4 pixels, in closed form: g, the first
    derivative's largest value over all directions; d, the second's largest minus its
    smallest; the shape index s = 1/2 + arctan((Lxx + Lyy) / d) / pi; and the ratio
    r = 2 arctan(d / g) / pi. g and d become a bit, whether they are above twice their
    mean over the picture; s becomes one of 3 levels of equal width, r one of 5. Two
    histograms are of (g, d, s) at two neighbouring scales, one is of r at all three.
    A quarter turn changes none of it, nor do other brightness and contrast.

    The Gaussians are cut at 6 deviations, the authors' at 3; each histogram is of
    shares, theirs of counts. Not known: what a pixel without any derivative gets (here
    the middle s and the lowest r).

    References:
      Song, Li, Meng, Wu, Cai 2018, IEEE TCSVT 28(7); scales, thresholds, levels and
      borders as in the program that its authors published.
    """
    plane = picture.astype(np.float64)
    plane = (plane - plane.mean()) / (plane.std() or 1)
    codes, ratio = [], np.zeros(plane.shape, int)
    for scale in (1.0, 2.0, 4.0):
        g, d, curvature = _extrema(plane, scale)
        strong, curved = (part > 2 * part.mean() for part in (g, d))
        shape = _level(0.5 + np.arctan2(curvature, d) / np.pi, 3)
        codes.append(6 * strong + 3 * curved + shape)
        ratio = 5 * ratio + _level(2 / np.pi * np.arctan2(d, g), 5)
    fine, middle, coarse = codes
    joint = ((12 * fine + middle, 144), (12 * middle + coarse, 144), (ratio, 125))
    counts = [np.bincount(code.ravel(), minlength=bins) for code, bins in joint]
    return np.concatenate(counts) / plane.size


def _extrema(plane: np.ndarray, scale: float) -> tuple[np.ndarray, ...]:
    """LETRIST's g and d, and Lxx + Lyy, each ``[height, width]``."""

    def response(y: int, x: int) -> np.ndarray:
        filtered = ndimage.gaussian_filter(
            plane, scale, order=(y, x), mode="nearest", truncate=6
        )
        # rounded: a flat neighbourhood must give 0, not the noise of sums that cancel
        return np.round(scale ** (y + x) * filtered, 5)

    right, down, twist = response(0, 2), response(2, 0), response(1, 1)
    return (
        np.hypot(response(0, 1), response(1, 0)),
        np.hypot(right - down, 2 * twist),
        right + down,
    )


def _level(shares: np.ndarray, levels: int) -> np.ndarray:
    """Which of the levels of equal width each of the numbers from 0 to 1 is in."""
    return np.minimum((shares * levels).astype(int), levels - 1)


def bsif(picture: np.ndarray) -> np.ndarray:
    """Binarised statistical image features, ``[256]``.

    Bit i of a pixel's code says that the product of its window and filter i is above
    zero. Other brightness and contrast change no code.

    The filters are not the paper's: they are learnt from scikit-learn's two photographs
    (`bsif_filters`), the paper's from thirteen of another collection.

    References:
      Kannala, Rahtu 2012, ICPR, section 2.
    """
    filters = bsif_filters()
    bits, window, _ = filters.shape
    if min(picture.shape) < window:
        raise InputError(
            f"picture of {picture.shape[0]}x{picture.shape[1]} pixels: BSIF needs at "
            f"least {window}x{window}"
        )
    windows = np.lib.stride_tricks.sliding_window_view(
        picture.astype(np.float64), (window, window)
    )
    # rounded: a flat window must give 0, not the noise of a sum that cancels
    products = np.round(np.tensordot(filters, windows, axes=([1, 2], [2, 3])), 6)
    codes = np.tensordot(2 ** np.arange(bits), products > 0, axes=1)
    return np.bincount(codes.ravel(), minlength=2**bits) / codes.size


@cache
def bsif_filters(
    bits: int = 8,  # of the survey's row 20 not known; covjax's choice
    window: int = 7,  # likewise
    patches: int = 20_000,  # 50,000 in the paper
) -> np.ndarray:
    """Independent components of patches of photographs, ``[bits, window, window]``.

    Each patch loses its mean; the first principal components, whitened, are turned to
    be independent. On patches the filters' products have variance 1. The same on each
    call; between machines they may differ by rounding.

    References:
      Kannala, Rahtu 2012, section 2; Hyvärinen 1999, IEEE TNN 10(3) (FastICA).
    """
    from sklearn.datasets import load_sample_images
    from sklearn.decomposition import FastICA

    photographs = load_sample_images().images
    rng = np.random.default_rng(0)
    found = []
    for photograph in photographs:
        windows = np.lib.stride_tricks.sliding_window_view(
            grey(photograph).astype(np.float64), (window, window)
        )
        count = patches // len(photographs)
        ys, xs = (rng.integers(0, side, count) for side in windows.shape[:2])
        found.append(windows[ys, xs].reshape(count, -1))
    data = np.concatenate(found)
    data -= data.mean(axis=1, keepdims=True)
    ica = FastICA(bits, whiten="unit-variance", random_state=0, max_iter=1000)
    rows = ica.fit(data).components_
    rows -= rows.mean(axis=1, keepdims=True)
    # a component's sign is arbitrary: its largest weight is positive here
    largest = np.abs(rows).argmax(axis=1)
    rows *= np.sign(rows[np.arange(bits), largest])[:, None]
    return rows.reshape(bits, window, window)


def _along(plane: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    """Windows of one axis times a kernel; only whole windows."""
    return np.lib.stride_tricks.sliding_window_view(plane, len(kernel), axis) @ kernel
