"""Lung masks beside pictures: one PNG or NIfTI file a picture, lung above 0.

A NIfTI picture is shown by one slice of its volume; its mask is a volume of the same
slices, of which the same one is taken.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from covjax.data.imageset import LUNG
from covjax.data.nifti import read_volume
from covjax.data.readers import encode_png, read_bytes, read_image, sniff
from covjax.errors import InputError

ENDINGS = (".png", ".nii", ".nii.gz")


def find_mask(folder: Path, file: str) -> Path | None:
    """The mask of a picture; None where there is none.

    Args:
      folder: of the masks.
      file: of the picture, relative to its own folder; the mask has the same path in
        `folder` but for the ending.
    """
    path = folder / file
    stem = path.name.removesuffix(".gz")
    stem = stem.rpartition(".")[0] or stem
    found = (path.with_name(stem + ending) for ending in ENDINGS)
    return next((mask for mask in found if mask.is_file()), None)


def mask_opener(picture: Path, mask: Path) -> Callable[[], bytes]:
    """Opens a picture's mask as `covjax.data.builders._base.Example` wants it."""
    return partial(read_mask, picture, mask)


def read_mask(picture: Path, mask: Path) -> bytes:
    """A PNG whose pixels are LUNG where the mask is above 0.

    Raises:
      InputError: the mask is damaged, or has other slices than its picture.
    """
    content, name = read_bytes(mask), str(mask)
    if sniff(content) == "NIfTI":
        volume = read_volume(content, name=name)
        values = volume.values(_slice(picture, name, len(volume)))
    else:
        values = read_image(content, name=name).array
        values = values if values.ndim == 2 else values.max(axis=-1)
    return encode_png(np.where(values > 0, LUNG, 0).astype(np.uint8))


def _slice(picture: Path, mask: str, slices: int) -> int:
    """Which slice of a mask belongs to its picture."""
    if slices == 1:
        return 0
    content = read_bytes(picture)
    if sniff(content) == "NIfTI":
        volume = read_volume(content, name=str(picture))
        if len(volume) == slices:
            return volume.choose(1)[0]
    raise InputError(
        f"{mask}: has {slices} slices; the mask of {picture.name} must have one, or "
        "as many as its volume"
    )
