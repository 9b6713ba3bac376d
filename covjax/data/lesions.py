"""What the phantom's diseases put into the lungs.

Each returns the opacity: the share of the air, 0 to 1, that gave way to fluid or cells,
float ``[size, size]``, before it is cut to the lungs. ``breath`` is the diaphragm's
height, ``extent`` the size against the average, ``difficulty`` from 0 to 1.
"""

import numpy as np

from covjax.data.canvas import Plane, edge, ellipse, smooth_noise

# A lobe as an ellipse beside the midline, and the fissure that cuts it, as (side of
# the patient, x, y, rx, ry, fissure, which side of the fissure): above is -1.
_LOBES = (
    (-1, 0.40, -0.40, 0.34, 0.34, -0.10, -1),  # right upper, on the minor fissure
    (-1, 0.30, 0.08, 0.30, 0.22, -0.08, 1),  # right middle, at the heart's border
    (-1, 0.48, 0.36, 0.32, 0.30, 0.05, 1),  # right lower
    (1, 0.42, -0.30, 0.34, 0.36, 0.05, -1),  # left upper
    (1, 0.48, 0.34, 0.32, 0.30, 0.02, 1),  # left lower
)


def consolidation(
    rng: np.random.Generator,
    plane: Plane,
    breath: float,
    extent: float,
    difficulty: float,
) -> np.ndarray:
    """Airspace opacity of one lobe, sharp at its fissure, ragged elsewhere."""
    which, x, y, rx, ry, fissure, below = _LOBES[rng.integers(len(_LOBES))]
    extent *= rng.uniform(0.85, 1.15) * (1.2 - 0.4 * difficulty)
    dense = rng.uniform(0.8, 1.0) * (1.08 - 0.4 * difficulty)
    x = which * (x + rng.normal(0, 0.05))
    y = y + rng.normal(0, 0.04) + 0.5 * breath
    size = len(plane.x)
    ragged = 0.05 * smooth_noise(rng, 16, size) + 0.03 * smooth_noise(rng, 40, size)
    shape = ellipse(plane, x, y, rx * extent, ry * extent) + ragged
    slant = fissure + 0.5 * breath + 0.12 * (plane.side - 0.4)
    border = edge(below * (plane.y - slant), max(0.015, 0.5 * plane.pixel))
    return dense * edge(shape, 0.045) * border * (which * plane.x > 0)


def ground_glass(
    rng: np.random.Generator,
    plane: Plane,
    breath: float,
    extent: float,
    difficulty: float,
    depth: np.ndarray,
) -> np.ndarray:
    """Hazy patches in both lungs, below the pleura, most in the lower zones.

    ``depth`` is the distance from the lungs' outer border, ``[size, size]``.
    """
    extent *= 1.22 - 0.45 * difficulty
    clear = np.ones_like(plane.x)
    for which in (-1, 1):
        for _ in range(rng.integers(1, 4)):
            y = rng.triangular(-0.45, 0.30, 0.50) + 0.5 * breath
            x = which * rng.uniform(0.52, 0.72)
            rx, ry = rng.uniform(0.14, 0.26) * extent, rng.uniform(0.16, 0.30) * extent
            dense = rng.uniform(0.40, 0.70) * (1.1 - 0.5 * difficulty)
            patch = ellipse(plane, x, y, rx, ry, rng.uniform(-0.5, 0.5))
            clear *= 1 - dense * edge(patch, 0.035)
    size = len(plane.x)
    mottle = 1 + 0.35 * smooth_noise(rng, 28, size) + 0.2 * smooth_noise(rng, 56, size)
    peripheral = 0.35 + 0.65 * np.exp(-((depth / 0.22) ** 2))
    return np.clip((1 - clear) * np.clip(mottle, 0.2, 1.8) * peripheral, 0, 1)
