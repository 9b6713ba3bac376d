"""Deterministic picture operations: one object, saved with the model.

Training, evaluation, prediction and serving prepare a picture with the same
`Preprocess`, in this order: grey or colour, crop of the top, centre square,
antialiased resize, equalisation, gamma, fuzzy stacking, rounding to 8 bits.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from covjax import config
from covjax.data import contrast
from covjax.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocess:
    """What is done to every picture; see `covjax.config.Data` for the fields.

    Attributes:
      size: height and width of the result in pixels.
      channels: 1 is grey, 3 keeps colour, any other number repeats the grey.
      crop_top: share of rows cut from the top.
      crop: ``"none"`` squeezes to a square, ``"square"`` cuts the centre.
      equalize: ``"none"``, ``"histogram"`` or ``"clahe"``.
      gamma: exponent of pixels in [0, 1].
      fuzzy_stack: Toğaçar's fuzzy colour and stacking.
      mean: of pixels in [0, 1], one value or one a channel.
      std: likewise; the device computes ``(pixels / 255 - mean) / std``.
    """

    size: int
    channels: int = 1
    crop_top: float = 0.0
    crop: str = "none"
    equalize: str = "none"
    gamma: float = 1.0
    fuzzy_stack: bool = False
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)

    @classmethod
    def from_config(cls, data: config.Data) -> "Preprocess":
        """The preparation that a recipe asks for."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(**{name: getattr(data, name) for name in names})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """The inverse of `to_dict`; an unknown field raises `InputError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise InputError(
                    f"preprocess.{name}: unknown field; known: {', '.join(known)}"
                )
        lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        return cls(**{**values, **lists})  # JSON has lists only

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def digest(self) -> str:
        """SHA-256 of what decides the pixels; mean and std act later, on the device."""
        values = self.to_dict()
        del values["mean"], values["std"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Prepares one picture.

        Args:
          picture: ``[height, width]``, ``[height, width, 1]`` or ``[height, width,
            3]``; uint8, uint16 (0 to 65535 is black to white) or float in [0, 1].

        Returns:
          uint8 ``[size, size, channels]``.

        Raises:
          InputError: for another shape or type, or floats outside [0, 1].
        """
        pixels = to_8_bit_range(picture)
        if pixels.ndim == 3 and self.channels != 3:
            pixels = grey(pixels)
        pixels = resize(self._cut(pixels), self.size)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self._changes_tones:
            pixels = self._tones(pixels.astype(np.float32))
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels).astype(np.uint8)
        if pixels.shape[-1] != self.channels:
            pixels = np.repeat(pixels, self.channels, axis=-1)
        return pixels

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Cuts and resizes a mask ``[height, width]`` as its picture; no new values."""
        image = Image.fromarray(np.ascontiguousarray(self._cut(mask)))
        return np.asarray(
            image.resize((self.size, self.size), Image.Resampling.NEAREST)
        )

    @property
    def _changes_tones(self) -> bool:
        return self.equalize != "none" or self.gamma != 1 or self.fuzzy_stack

    def _cut(self, pixels: np.ndarray) -> np.ndarray:
        pixels = pixels[round(self.crop_top * pixels.shape[0]) :]
        if self.crop == "square":
            height, width = pixels.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            pixels = pixels[top : top + side, left : left + side]
        return pixels

    def _tones(self, pixels: np.ndarray) -> np.ndarray:
        if self.equalize == "histogram":
            pixels = contrast.equalize(pixels)
        elif self.equalize == "clahe":
            pixels = contrast.clahe(pixels)
        if self.gamma != 1:
            pixels = 255 * (pixels / 255) ** self.gamma
        if self.fuzzy_stack:
            pixels = contrast.fuzzy_stack(pixels)
        return pixels


def to_8_bit_range(picture: np.ndarray) -> np.ndarray:
    """uint8 as it is, else float32 in [0, 255]; grey ``[h, w]``, colour ``[h, w, 3]``.

    Sixteen bits keep their precision until the end, so that equalisation sees it.
    """
    if picture.ndim == 3 and picture.shape[-1] == 1:
        picture = picture[..., 0]
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[-1] != 3):
        raise InputError(
            f"picture of shape {picture.shape}: must be [height, width] or "
            "[height, width, 1 or 3]"
        )
    if 0 in picture.shape:
        raise InputError(f"picture of shape {picture.shape}: has no pixels")
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:
        return picture.astype(np.float32) / np.float32(257)  # 65535 / 255
    if np.issubdtype(picture.dtype, np.floating):
        low, high = float(np.min(picture)), float(np.max(picture))
        if not (low >= 0 and high <= 1):  # also catches NaN
            raise InputError(
                f"picture with floats from {low} to {high}: must be 0 to 1"
            )
        return picture.astype(np.float32) * 255
    raise InputError(
        f"picture of type {picture.dtype}: must be uint8, uint16 or float in [0, 1]"
    )


def grey(pixels: np.ndarray) -> np.ndarray:
    """Luma of a colour picture ``[h, w, 3]``; the type stays."""
    if pixels.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))
    return pixels @ LUMA


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Antialiased: Pillow's bilinear filter, widened when it shrinks; type stays."""
    if pixels.shape[:2] == (size, size):
        return pixels
    if pixels.dtype != np.uint8 and pixels.ndim == 3:
        return np.stack([resize(pixels[..., c], size) for c in range(3)], axis=-1)
    image = Image.fromarray(np.ascontiguousarray(pixels))  # mode L, RGB or F
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
