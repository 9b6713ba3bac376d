"""What the phantom is drawn with: coordinates, soft edges, ellipses, smooth noise.

Lengths are in half picture widths; x grows to the picture's right, which is the
patient's left, and y grows downwards. Everything is float32 ``[size, size]``.
"""

import functools
import math
from typing import NamedTuple

import numpy as np


class Plane(NamedTuple):
    """Coordinates of every pixel in the patient's frame."""

    x: np.ndarray
    y: np.ndarray
    side: np.ndarray  # distance from the midline
    left: np.ndarray  # the patient's left half
    pixel: float


def frame(size: int, shift: tuple[float, float], zoom: float, tilt: float) -> Plane:
    """The patient's frame, moved, enlarged and tilted (radians) on the picture."""
    line = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(2 / size) - 1
    u = (line[None, :] - np.float32(shift[0])) / np.float32(zoom)
    v = (line[:, None] - np.float32(shift[1])) / np.float32(zoom)
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    x, y = cos * u + sin * v, cos * v - sin * u
    return Plane(x, y, np.abs(x), x > 0, 2 / size)


def by_side(plane: Plane, left: float, right: float) -> np.ndarray:
    """One value in the patient's left half, another in the right."""
    return np.where(plane.left, np.float32(left), np.float32(right))


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """A smooth random field, about unit variance, that looks alike at every size."""
    weights = _spline(cells, size)
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    rows = np.einsum("ik,jk->ij", weights, coarse)  # BLAS threads cost more than they
    return np.einsum("ik,jk->ij", rows, weights)  # give for matrices of this size


@functools.cache
def _spline(cells: int, size: int) -> np.ndarray:
    """Weights ``[size, cells]`` that spread a coarse grid over the pixels."""
    at = (np.arange(size) + 0.5) / size * (cells - 1)
    weights = np.exp(-1.2 * (at[:, None] - np.arange(cells)) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def edge(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 outside, 1 inside, with a soft border; distance is positive inside."""
    return 0.5 + 0.5 * np.tanh(distance * (0.5 / softness))


def ellipse(
    plane: Plane, x: float, y: float, rx: float, ry: float, tilt: float = 0.0
) -> np.ndarray:
    """Signed distance (roughly) to an ellipse, positive inside."""
    cos, sin = math.cos(tilt), math.sin(tilt)
    u, v = plane.x - np.float32(x), plane.y - np.float32(y)
    radius = np.sqrt(((cos * u + sin * v) / rx) ** 2 + ((cos * v - sin * u) / ry) ** 2)
    return (1 - radius) * min(rx, ry)
