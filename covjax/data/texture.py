"""Texture descriptors of a grey picture: histograms of local patterns.

The seven of Pereira, Bertolini, Teixeira, Silla, Costa 2020 (Computer Methods and
Programs in Biomedicine 194:105532, section 3.1) and Haralick's features. Those of
neighbours are here, those of filters in `covjax.data.texture_filters`.

Every descriptor takes a grey picture ``[height, width]`` and returns a vector of fixed
length. Histograms are shares of the pixels whose neighbourhood is inside the picture;
Gaussians see it mirrored (oBIFs) or go on with its outermost pixels (LETRIST).
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from covjax.data.cooccurrence import haralick
from covjax.data.preprocess import grey
from covjax.data.texture_filters import bsif, letrist, lpq, obif
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


DESCRIPTORS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bsif": bsif,
    "eqp": eqp,
    "haralick": haralick,
    "lbp": lbp,
    "ldn": ldn,
    "letrist": letrist,
    "lpq": lpq,
    "obif": obif,
}
