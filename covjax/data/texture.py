"""Texture descriptors of a grey picture: histograms of local patterns.

Of the seven of Pereira, Bertolini, Teixeira, Silla, Costa 2020 (Computer Methods and
Programs in Biomedicine 194:105532, section 3.1) these are here: LBP, EQP, LDN, LPQ and
oBIFs. Not here: LETRIST, and BSIF, whose filters were learnt from photographs that we
do not have. The table has Haralick's features besides.

Every descriptor takes a grey picture ``[height, width]`` and returns a vector of fixed
length. Histograms are shares of the pixels whose neighbourhood is inside the picture;
the Gaussians of oBIFs see it mirrored at its borders.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import ndimage

from covjax.data.cooccurrence import haralick
from covjax.data.preprocess import grey
from covjax.errors import InputError

KIRSCH = (-3, -3, 5, 5, 5, -3, -3, -3)  # the mask of east, along the neighbours
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def describe(images: np.ndarray, name: str) -> np.ndarray:
    """One descriptor of many pictures.

    Args:
      images: uint8 ``[n, height, width, channels]``; colours become grey.
      name: one of `DESCRIPTORS`.

    Returns:
      float32 ``[n, length]``.

    Raises:
      InputError: for an unknown name.
    """
    if name not in DESCRIPTORS:
        raise InputError(
            f"descriptor {name!r}: must be one of {', '.join(DESCRIPTORS)}"
        )
    rows = []
    for i in range(len(images)):
        picture = np.asarray(images[i])
        plane = grey(picture) if picture.shape[-1] == 3 else picture[..., 0]
        rows.append(DESCRIPTORS[name](plane))
    return np.stack(rows).astype(np.float32)


def lbp(picture: np.ndarray, radius: float = 1.0) -> np.ndarray:
    """Local binary patterns, uniform, ``[59]``.

    Bit p of a pixel's code says that the neighbour at angle ``2 pi p / 8`` on the
    circle is at least as bright; codes with more than two changes around the circle
    share the last bin.

    References:
      Ojala, Pietikäinen, Mäenpää 2002, IEEE TPAMI 24(7), sections 2.1 and 2.3.
    """
    return _uniform_histogram(_differences(picture, radius, radius) >= 0)


def eqp(
    picture: np.ndarray,
    axes: tuple[float, float] = (3.0, 1.0),  # not known; covjax's choice
    thresholds: tuple[float, float] = (1.0, 5.0),  # not known; covjax's choice
) -> np.ndarray:
    """Elongated quinary patterns, ``[4 * 59]``.

    Neighbours lie on an ellipse. A difference d to the centre is encoded in five
    steps: 2 from the second threshold, 1 from the first, -1 below minus the first, -2
    below minus the second, else 0. Each step but 0 gives a binary pattern.

    References:
      Nanni, Lumini, Brahnam 2010, Artificial Intelligence in Medicine 49(2) (quinary
      encoding); Liao, Chung 2007, ACCV (ellipse).
    """
    d = _differences(picture, *axes)
    low, high = thresholds
    steps = (d >= high, (low <= d) & (d < high), (-high <= d) & (d < -low), d < -high)
    return np.concatenate([_uniform_histogram(step) for step in steps])


def ldn(picture: np.ndarray) -> np.ndarray:
    """Local directional number patterns, ``[56]``.

    A pixel's code is ``8 i + j`` with i the direction of the largest and j of the
    smallest response of Kirsch's eight compass masks; codes with i = j, which only a
    flat neighbourhood has, are left out.

    References:
      Ramirez Rivera, Rojas Castillo, Chae 2013, IEEE TIP 22(5), section III.
    """
    plane = picture.astype(np.int32)
    height, width = plane.shape
    ring = np.stack(
        [plane[1 + y : height - 1 + y, 1 + x : width - 1 + x] for y, x in NEIGHBOURS]
    )
    # direction i is i steps of 45 degrees counter-clockwise from east; so is its mask
    masks = np.stack([np.roll(KIRSCH, -i) for i in range(8)])
    responses = np.tensordot(masks, ring, axes=1)
    codes = 8 * responses.argmax(axis=0) + responses.argmin(axis=0)
    counts = np.bincount(codes.ravel(), minlength=64).reshape(8, 8)
    return counts[~np.eye(8, dtype=bool)] / codes.size


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


def _differences(picture: np.ndarray, across: float, down: float) -> np.ndarray:
    """Eight neighbours on an ellipse minus their centre, ``[8, h, w]``, bilinear."""
    angles = 2 * np.pi * np.arange(8) / 8
    radii = across * down / np.hypot(across * np.sin(angles), down * np.cos(angles))
    # rounded: neighbours on the axes are pixels
    ys, xs = np.round(radii * [-np.sin(angles), np.cos(angles)], 9)
    margin = int(np.ceil(max(across, down)))
    plane = picture.astype(np.float64)
    height, width = (side - 2 * margin for side in plane.shape)
    if min(height, width) < 1:
        raise InputError(
            f"picture of {picture.shape[0]}x{picture.shape[1]} pixels: patterns of "
            f"radius {margin} need at least {2 * margin + 1}x{2 * margin + 1}"
        )
    centre = plane[margin : margin + height, margin : margin + width]
    result = np.zeros((8, height, width))
    for p, (y, x) in enumerate(zip(ys, xs, strict=True)):
        top, left = int(np.floor(y)), int(np.floor(x))
        for corner_y, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
            for corner_x, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
                if weight_y * weight_x:
                    row, column = margin + corner_y, margin + corner_x
                    corner = plane[row : row + height, column : column + width]
                    result[p] += weight_y * weight_x * (corner - centre)
    return result


def _uniform_histogram(bits: np.ndarray) -> np.ndarray:
    """Shares ``[59]`` of the uniform patterns of Boolean ``[8, h, w]``."""
    codes = np.tensordot(2 ** np.arange(8), bits, axes=1)
    return np.bincount(_uniform()[codes.ravel()], minlength=59) / codes.size


@cache
def _uniform() -> np.ndarray:
    """The bin of each code ``[256]``: at most two changes around, in order; or 58."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    changes = (bits != np.roll(bits, 1, axis=1)).sum(axis=1)
    return np.where(changes <= 2, np.cumsum(changes <= 2) - 1, 58)


def _along(plane: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    """Windows of one axis times a kernel; only whole windows."""
    return np.lib.stride_tricks.sliding_window_view(plane, len(kernel), axis) @ kernel


DESCRIPTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "eqp": eqp,
    "haralick": haralick,
    "lbp": lbp,
    "ldn": ldn,
    "lpq": lpq,
    "obif": obif,
}
