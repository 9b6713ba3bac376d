"""A decoded picture, and how large one may be."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax.errors import InputError

MAX_PIXELS = 2**26  # 8192 x 8192; a full-field chest radiograph has about 2**24
MAX_BYTES = 2**31  # of a file, packed or unpacked


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture.

    Attributes:
      array: uint8 or uint16 over its whole range, ``[height, width]`` (grey) or
        ``[height, width, 3]``.
      header: what the file says of itself, for the audit: ``format``, ``mode``,
        ``width``, ``height``, ``bytes``; never a patient's name or number.
      part: which one of its file's pictures this is, "frame 2 of 3"; empty for one.
    """

    array: np.ndarray
    header: dict[str, Any]
    part: str = ""


def check_pixels(pixels: int, name: str) -> None:
    """Raises `InputError` where a picture has no pixels or more than `MAX_PIXELS`."""
    if not 0 < pixels <= MAX_PIXELS:
        raise InputError(f"{name}: {pixels} pixels; at most {MAX_PIXELS} are decoded")
