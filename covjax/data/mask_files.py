"""Lung masks beside pictures: one PNG or NIfTI file a picture, lung above 0.

A NIfTI picture is shown by one slice of its volume; its mask is a volume of the same
slices, of which the same one is taken. The NIfTI mask of a flat picture has two axes,
or a third of length 1: the first is the picture's x, as ITK writes it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from covjax.data.imageset import LUNG
from covjax.data.nifti import read_flat, read_volume
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
        values = _of_nifti(content, name, picture)
    else:
        values = read_image(content, name=name).array
        values = values if values.ndim == 2 else values.max(axis=-1)
    return encode_png(np.where(values > 0, LUNG, 0).astype(np.uint8))


def _of_nifti(content: bytes, name: str, picture: Path) -> np.ndarray:
    """The slice of a mask that belongs to its picture."""
    shown = read_bytes(picture)
    if sniff(shown) == "NIfTI":
        mask = read_volume(content, name=name)
        volume, slices = read_volume(shown, name=str(picture)), len(mask)
        if slices in (1, len(volume)):
            return mask.values(0 if slices == 1 else volume.choose(1)[0])
    else:
        flat = read_flat(content, name=name)
        slices = len(flat)
        if slices == 1:
            return flat[0]
    raise InputError(
        f"{name}: has {slices} slices; the mask of {picture.name} must have one, or "
        "as many as its volume"
    )
