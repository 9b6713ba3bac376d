"""NIfTI volumes of the chest to axial pictures, as a radiologist would see them.

Every slice is axial and in the radiological convention: the first row is anterior,
the first column is the patient's right; slices go from the feet to the head. Values
in Hounsfield units are shown through the lung window, others in the volume's own
range. Needs nibabel for the header: ``pip install 'covjax[medical]'``.
"""

import io
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax.data.picture import MAX_BYTES, Picture, check_pixels
from covjax.errors import InputError

LUNG_WINDOW = (-600.0, 1500.0)  # centre, width in HU: radiopaedia.org/articles/
# windowing-ct, "lungs W:1500 L:-600"
AIR = -500.0  # HU, halfway between air and soft tissue: where the iteration of Hu,
# Hoffman and Reinhardt 2001 (IEEE TMI 20:490) starts
HAS_AIR, IS_SOFT = -200.0, 200.0  # HU: a chest reaches below the one, and half of
# it lies below the other; what does not is in other units
LUNG_GRID = 128  # rows and columns that are enough to compare lung areas


@dataclass(frozen=True, slots=True)
class Volume:
    """An opened NIfTI file; slices are cut and scaled when asked for.

    Attributes:
      stored: stored numbers ``[slice, row, column]``, a view of the file's bytes.
      slope, intercept: Hounsfield units are ``slope * stored + intercept``.
      low, high: the values shown as black and white.
      hounsfield: whether the values look like Hounsfield units.
    """

    stored: np.ndarray
    slope: float
    intercept: float
    low: float
    high: float
    hounsfield: bool

    def __len__(self) -> int:
        return len(self.stored)

    def values(self, index: int) -> np.ndarray:
        """One slice, float32 ``[height, width]``; what is no number becomes `low`."""
        values = self.stored[index].astype(np.float32) * self.slope + self.intercept
        return np.nan_to_num(values, nan=self.low, posinf=self.high, neginf=self.low)

    def picture(self, index: int) -> np.ndarray:
        """One slice through the window, uint8 ``[height, width]``."""
        share = (self.values(index) - self.low) / max(self.high - self.low, 1e-6)
        return np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)

    def lung_area(self, index: int) -> float:
        """Share of a slice that is air enclosed by the body."""
        from scipy import ndimage

        values = self.values(index)
        stride = max(min(values.shape) // LUNG_GRID, 1)
        air = values[::stride, ::stride] < AIR
        parts, _ = ndimage.label(air)
        edge = np.unique(
            np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        )
        return float((air & ~np.isin(parts, edge)).mean())

    def choose(self, count: int) -> list[int]:
        """`count` slices, evenly spaced where the lungs are at least half their widest.

        A volume that is not in Hounsfield units, or shows no lung, gives slices
        evenly spaced over its middle half. With fewer slices than `count`, some
        come twice.
        """
        first, last = len(self) // 4, max(3 * len(self) // 4 - 1, len(self) // 4)
        if self.hounsfield:
            areas = np.array([self.lung_area(index) for index in range(len(self))])
            if areas.max() > 0:
                if count == 1:
                    return [int(areas.argmax())]
                wide = np.flatnonzero(areas >= areas.max() / 2)
                first, last = int(wide[0]), int(wide[-1])
        places = (np.arange(count) + 0.5) / count  # the middle of `count` equal parts
        return [int(first + place * (last - first + 1)) for place in places]


def read_picture(content: bytes, *, name: str) -> Picture:
    """The axial slice with most lung."""
    volume = read_volume(content, name=name)
    (index,) = volume.choose(1)
    array = volume.picture(index)
    header = {
        "format": "NIfTI",
        "mode": volume.stored.dtype.name,
        "width": array.shape[1],
        "height": array.shape[0],
        "bytes": len(content),
    }
    part = f"slice {index + 1} of {len(volume)}" if len(volume) > 1 else ""
    return Picture(array, header, part)


def read_volume(content: bytes, *, name: str) -> Volume:
    """Opens a ``.nii`` or ``.nii.gz`` file.

    Args:
      content: the file.
      name: what errors call it.

    Raises:
      InputError: damaged, not three-dimensional, too large, or nibabel is missing.
    """
    with _one_line(name):
        from nibabel.orientations import (
            apply_orientation,
            axcodes2ornt,
            io_orientation,
            ornt_transform,
        )

        header = _header(content)
        stored = _stored(content, header, name)
        turned = io_orientation(header.get_best_affine())
        wanted = ornt_transform(turned, axcodes2ornt(("L", "P", "S")))
        stored = apply_orientation(stored, wanted).transpose(2, 1, 0)
        slope, intercept = header.get_slope_inter()
        return _with_window(stored, float(slope or 1.0), float(intercept or 0.0))


def read_flat(content: bytes, *, name: str) -> np.ndarray:
    """The slices of a file that belongs to a flat picture: ``[slice, height, width]``.

    The first stored axis is the picture's x and the second its y, as ITK writes. The
    affine is not looked at: a flat picture has no patient's axes to turn to.

    Args:
      content: the file, of two or three axes.
      name: what errors call it.

    Raises:
      InputError: as `read_volume`.
    """
    with _one_line(name):
        header = _header(content)
        stored = _stored(content, header, name, axes=(2, 3))
        slope, intercept = header.get_slope_inter()
        return np.atleast_3d(stored).T * (slope or 1.0) + (intercept or 0.0)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Makes one `InputError` of whatever damaged bytes make of nibabel and NumPy."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{name}: a NIfTI file needs nibabel: pip install 'covjax[medical]'"
        ) from error
    except Exception as error:
        raise InputError(
            f"{name}: damaged NIfTI file ({type(error).__name__})"
        ) from error


def _header(content: bytes) -> Any:
    import nibabel

    start = _unpack(content, 540)
    second = start[4:8] in (b"n+2\0", b"ni2\0")
    kind = nibabel.Nifti2Header if second else nibabel.Nifti1Header
    stream = io.BytesIO(start[:540] if second else start[:348])
    return kind.from_fileobj(stream, check=False)  # its check prints; ours ends


def _stored(
    content: bytes, header: Any, name: str, axes: tuple[int, ...] = (3,)
) -> np.ndarray:
    """The numbers of a file as they lie there: ``[i, j, k]``, a read-only view."""
    dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
    shape = tuple(int(length) for length in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in axes:
        read = " or ".join(map(str, axes))
        raise InputError(f"{name}: a NIfTI file of shape {shape}; {read} axes are read")
    if header["magic"].item()[:2] == b"ni":
        raise InputError(f"{name}: a NIfTI header without its pixels; use one file")
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: a NIfTI file of {dtype}, not of plain numbers")
    voxels = math.prod(shape)
    size = offset + voxels * dtype.itemsize
    if voxels < 1 or offset < 0 or size > MAX_BYTES:
        raise InputError(f"{name}: {voxels} voxels; at most {MAX_BYTES} bytes are read")
    check_pixels(max(shape) ** 2, name)  # whichever two axes make the slice
    data = _unpack(content, size)
    if len(data) < size:
        raise InputError(
            f"{name}: damaged NIfTI file ({len(data)} of {size} bytes are there)"
        )
    return np.frombuffer(data, dtype, voxels, offset).reshape(shape, order="F")


def _unpack(content: bytes, size: int) -> bytes:
    """The first `size` bytes, unpacked if they are packed, and never more."""
    if not content.startswith(b"\x1f\x8b"):
        return content[:size] if size < len(content) else content
    return zlib.decompressobj(wbits=31).decompress(content, size)


def _with_window(stored: np.ndarray, slope: float, intercept: float) -> Volume:
    ends = (np.fmin.reduce(stored, axis=None), np.fmax.reduce(stored, axis=None))
    low, high = sorted(float(end) * slope + intercept for end in ends)
    middle = float(np.median(stored[::4, ::4, ::4])) * slope + intercept
    hounsfield = low < HAS_AIR and middle < IS_SOFT
    if hounsfield:
        centre, width = LUNG_WINDOW
        low, high = centre - width / 2, centre + width / 2
    elif not (np.isfinite(low) and np.isfinite(high)):
        low, high = 0.0, 1.0
    return Volume(stored, slope, intercept, low, high, hounsfield)
