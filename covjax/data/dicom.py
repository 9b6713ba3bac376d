"""DICOM files to pictures, as a viewer would show them.

Stored values go through the modality transformation (rescale slope and intercept, or
its table), then the file's own VOI window or table, then MONOCHROME1 is inverted, so
that air is dark in every result. Sources: DICOM PS3.3, C.7.6.3 (pixels), C.11.1
(modality), C.11.2 (VOI).

Of the header, only the elements in `covjax.data.dicom_tags` are read: names, numbers
and dates of patients are skipped before they are parsed, and cannot reach an error or
a log.
Needs pydicom, and python-gdcm for some compressions: ``pip install 'covjax[medical]'``.
"""

import importlib.util
import io
import logging
import warnings
from typing import Any

import numpy as np

from covjax.data import codestream, isolated
from covjax.data.dicom_tags import TAGS
from covjax.data.picture import Picture, check_pixels
from covjax.errors import InputError

INSTALL = "pip install 'covjax[medical]'"

# by transfer syntax: Pillow and pydicom raise on damaged streams, GDCM may end its
# process and is used where nothing else decodes
_PLUGINS = {
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    "1.2.840.10008.1.2.4.90": "pillow",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pillow",  # JPEG 2000
}
_GDCM = (
    "1.2.840.10008.1.2.4.51",  # JPEG extended; 12 bits end in an error
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
)


def read_picture(content: bytes, *, name: str) -> Picture:
    """The picture of a DICOM file; of several frames, the one in the middle."""
    return read_frame(content, None, name=name)


def read_frame(content: bytes, frame: int | None, *, name: str) -> Picture:
    """One frame as grey or RGB, uint8 or uint16.

    Grey pictures of at most 8 bits without any transformation keep their values. All
    others fill 0 to 65535 with the VOI window, or with the picture's own range.

    Args:
      content: the file.
      frame: which one, from 0; None for the middle one.
      name: what errors call the file.

    Raises:
      InputError: damaged, without a picture, too large, or compressed in a way that
        needs a package that is not there.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError(f"{name}: a DICOM file needs pydicom: {INSTALL}") from error
    # pydicom warns of every oddity of a header, in lines that quote it
    warnings.filterwarnings("ignore", module=r"pydicom\b")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    try:
        codestream.check_deflated(content, name)
        header = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=TAGS)
        frames = _check(header, name)
        index = frames // 2 if frame is None else frame
        if not 0 <= index < frames:
            raise InputError(f"{name}: frame {index} of a file with {frames} frames")
        array = _show(_decode(content, header, index, name), header, index)
        described = {
            "format": "DICOM",
            "mode": str(header.PhotometricInterpretation),
            "width": int(header.Columns),
            "height": int(header.Rows),
            "bytes": len(content),
        }
    except InputError:
        raise
    # what damaged bytes make of pydicom and its decoders: anything
    except Exception as error:
        raise InputError(
            f"{name}: damaged DICOM file ({type(error).__name__})"
        ) from error
    part = f"frame {index + 1} of {frames}" if frames > 1 else ""
    return Picture(array, described, part)


def _check(header: Any, name: str) -> int:
    """Refuses what is no picture or too large; gives the number of frames."""
    pixels = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
    if not any(tag in header for tag in pixels):
        raise InputError(f"{name}: a DICOM file without a picture, or cut off")
    for tag in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if header.get(tag) is None:
            raise InputError(f"{name}: damaged DICOM file (no {tag})")
    if getattr(header, "file_meta", None) is None or not header.file_meta.get(
        "TransferSyntaxUID"
    ):
        raise InputError(f"{name}: a DICOM file that does not say how it is encoded")
    check_pixels(int(header.Rows) * int(header.Columns), name)
    if int(header.get("SamplesPerPixel", 1)) not in (1, 3):
        raise InputError(f"{name}: {header.SamplesPerPixel} samples in a pixel")
    return max(int(header.get("NumberOfFrames") or 1), 1)


def _decode(content: bytes, header: Any, index: int, name: str) -> np.ndarray:
    """Stored values of one frame: ``[rows, columns]``, or RGB with a last axis."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.uid import JPEG2000TransferSyntaxes

    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed and syntax.is_encapsulated:
        frames = max(int(header.get("NumberOfFrames") or 1), 1)
        frame = get_frame(header.PixelData, index, number_of_frames=frames)
        codestream.check(frame, int(header.Rows), int(header.Columns), name)
    try:
        if syntax in _GDCM:
            array = _decode_with_gdcm(content, index, name, syntax.name)
        else:
            plugin = _PLUGINS.get(syntax, "")
            array = pixel_array(header, index=index, decoding_plugin=plugin)
    except RuntimeError:
        if syntax not in JPEG2000TransferSyntaxes:
            raise
        # Pillow does not know some rare forms
        array = _decode_with_gdcm(content, index, name, syntax.name)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        array = apply_color_lut(array, header)
    return array


def _decode_with_gdcm(
    content: bytes, index: int, name: str, compression: str
) -> np.ndarray:
    """Stored values of one frame from the process that holds GDCM."""
    if importlib.util.find_spec("gdcm") is None:
        raise InputError(
            f"{name}: DICOM with {compression} needs python-gdcm: {INSTALL}"
        )
    try:
        return isolated.decode(content, index)
    except RuntimeError as error:
        raise InputError(
            f"{name}: DICOM with {compression} cannot be decompressed "
            f"({str(error)[:160]})"
        ) from error


def _show(values: np.ndarray, header: Any, index: int) -> np.ndarray:
    """Stored values as a picture in which air is dark."""
    if values.ndim == 3:
        bits = 8 * values.dtype.itemsize
        return (values >> (bits - 16)).astype(np.uint16) if bits > 16 else values
    bits = int(header.get("BitsStored") or header.BitsAllocated)
    if bits == 1:
        values = values * np.uint8(255)
    changed = _modality(values, header, index)
    shown = _voi(changed, header, index)
    if shown is None:
        plain = changed is values and values.dtype == np.uint8
        shown = values if plain else _own_range(changed)
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    return np.iinfo(shown.dtype).max - shown if inverted else shown


def _modality(values: np.ndarray, header: Any, index: int) -> np.ndarray:
    """Applies rescale slope and intercept or the modality table, if there are any."""
    from pydicom.pixels.processing import apply_modality_lut

    if "ModalityLUTSequence" in header:
        return apply_modality_lut(values, header)
    group = _group(header, index, "PixelValueTransformationSequence")
    slope = _number(group.get("RescaleSlope"), 1.0)
    intercept = _number(group.get("RescaleIntercept"), 0.0)
    if (slope, intercept) == (1.0, 0.0):
        return values
    return values * np.float64(slope) + intercept


def _voi(values: np.ndarray, header: Any, index: int) -> np.ndarray | None:
    """Applies the first VOI table or window of the file; None where it has none."""
    from pydicom.pixels.processing import apply_voi

    if header.get("VOILUTSequence"):
        return _own_range(apply_voi(values, header), low=0)
    group = _group(header, index, "FrameVOILUTSequence")
    centre = _number(group.get("WindowCenter"), np.nan)
    width = _number(group.get("WindowWidth"), np.nan)
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        return None
    function = str(group.get("VOILUTFunction") or "LINEAR")
    x = values.astype(np.float64)
    if function == "SIGMOID":  # C.11.2.1.3.1
        share = 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    elif function == "LINEAR_EXACT":  # C.11.2.1.3.2
        share = (x - centre) / width + 0.5
    else:  # C.11.2.1.2.1
        share = (x - (centre - 0.5)) / max(width - 1, 1e-6) + 0.5
    return np.rint(np.clip(share, 0, 1) * 65535).astype(np.uint16)


def _own_range(values: np.ndarray, low: float | None = None) -> np.ndarray:
    """Stretches values from their least (or `low`) to their greatest to 16 bits."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low = float(values.min()) if low is None else low
    high = float(values.max())
    scale = 65535 / (high - low) if high > low else 0.0
    return np.rint(np.clip((values - low) * scale, 0, 65535)).astype(np.uint16)


def _group(header: Any, index: int, name: str) -> Any:
    """Where a transformation stands: the frame's own, the shared, or the top level."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for item in [*per_frame[index : index + 1], *shared[:1]]:
        if item.get(name):
            return item[name].value[0]
    return header


def _number(value: Any, default: float) -> float:
    """The first of possibly several decimal strings."""
    if value is None or value == "":
        return default
    if not isinstance(value, str | int | float) and hasattr(value, "__len__"):
        return _number(value[0], default) if len(value) else default
    return float(value)
