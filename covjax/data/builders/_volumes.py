"""CT volumes to slices: which slices, their pictures as PNG, their masks.

A slice is named by its rank among the chosen ones, so that a set is listed without
reading a volume; its place in the volume is found when it is opened.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from covjax.data.builders._base import Example, file_state
from covjax.data.imageset import LESION, LUNG
from covjax.data.nifti import Volume, read_volume
from covjax.data.readers import encode_png, read_bytes
from covjax.errors import InputError


def volumes(folder: Path) -> dict[str, Path]:
    """NIfTI files of a folder by their name without ``.nii`` or ``.nii.gz``."""
    return {
        path.name.split(".nii")[0]: path
        for path in sorted(folder.glob("*.nii*"))
        if path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")
    }


def open_volume(path: Path) -> Volume:
    """The volume of a file; the last few stay open, since slices come in order."""
    return _open_volume(path, file_state(path))


@functools.lru_cache(maxsize=3)  # picture, lesions and lungs of one patient
def _open_volume(path: Path, state: tuple[int, int]) -> Volume:
    del state  # only so that a changed file is read again
    return read_volume(read_bytes(path), name=str(path))


def ranked_slices(path: Path, count: int) -> list[Callable[[], bytes]]:
    """Openers of `count` slices of a volume, spread over its lungs."""
    if not isinstance(count, int) or count < 1:
        raise InputError(f"config.data.kwargs: slices={count!r}: must be at least 1")
    return [functools.partial(_ranked, path, rank, count) for rank in range(count)]


def slice_opener(path: Path, index: int) -> Callable[[], bytes]:
    """Opens the slice at this place, counted from the feet."""
    return functools.partial(_slice, path, index)


def mask_opener(
    index: int, *, lesion: Path, lung: Path | None = None
) -> Callable[[], bytes]:
    """Opens a slice of the masks, with the bits LUNG and LESION."""
    return functools.partial(_mask, index, lesion, lung)


def slices_with(mask: Path) -> list[int]:
    """Places of the slices where a mask is not empty."""
    volume = open_volume(mask)
    return [i for i in range(len(volume)) if np.any(volume.values(i) > 0)]


def check_same_shape(*paths: Path) -> None:
    """Raises `InputError` where a mask does not fit its volume."""
    shapes = [open_volume(path).stored.shape for path in paths]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise InputError(
                f"{path}: has the shape {list(shape)}, but {paths[0].name} has "
                f"{list(shapes[0])} (slices, rows, columns)"
            )


def labelled_slices(
    folder: Path,
    *,
    lesions: Path,
    lungs: Path,
    source: Callable[[str], str],
    prefix: str = "",
) -> list[Example]:
    """Slices that show lung, with their masks; the label is whether a lesion is there.

    Args:
      folder: volumes; a volume is a patient.
      lesions: lesion masks of the same names.
      lungs: lung masks of the same names.
      source: of a volume, by its name.
      prefix: of the names to take.
    """
    found, masks, lung_masks = volumes(folder), volumes(lesions), volumes(lungs)
    examples = []
    for name, path in found.items():
        if not name.startswith(prefix):
            continue
        for where, kind in ((lesions, masks), (lungs, lung_masks)):
            if name not in kind:
                raise InputError(f"{where}: has no mask of {path.name}")
        check_same_shape(masks[name], lung_masks[name])
        marked = set(slices_with(masks[name]))
        for index in slices_with(lung_masks[name]):
            examples.append(
                Example(
                    file=f"{path.name}#{index:03d}",
                    label=int(index in marked),
                    open=slice_opener(path, index),
                    patient=name,
                    source=source(name),
                    mask=mask_opener(index, lesion=masks[name], lung=lung_masks[name]),
                    stored=False,
                )
            )
    return examples


@functools.lru_cache(maxsize=4)
def _chosen(path: Path, state: tuple[int, int], count: int) -> list[int]:
    return _open_volume(path, state).choose(count)


def _ranked(path: Path, rank: int, count: int) -> bytes:
    return _slice(path, _chosen(path, file_state(path), count)[rank])


def _slice(path: Path, index: int) -> bytes:
    return encode_png(open_volume(path).picture(index))


def _mask(index: int, lesion: Path, lung: Path | None) -> bytes:
    bits = np.where(open_volume(lesion).values(index) > 0, LESION, 0)
    if lung is not None:
        bits |= np.where(open_volume(lung).values(index) > 0, LUNG, 0)
    return encode_png(bits.astype(np.uint8))
