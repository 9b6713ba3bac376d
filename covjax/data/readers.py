"""Picture files to arrays: PNG, JPEG, TIFF, DICOM and NIfTI, told apart by content.

Damaged, hostile or unsupported files end in one `InputError` that names the file.
Nothing here looks at a file's extension, follows a pickle or decodes more pixels than
`covjax.data.picture` allows. The pictures of a volume or of a multi-frame file are
read by `covjax.data.nifti` and `covjax.data.dicom`; `read_image` shows one of them.
"""

import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from covjax.data import dicom, nifti
from covjax.data.picture import MAX_BYTES, Picture, check_pixels
from covjax.errors import InputError

FULL_RANGE = "covjax:full-range"  # a note in PNG files that `encode_png` makes

FORMATS = "PNG, JPEG, TIFF, DICOM, NIfTI"


def read_image(
    path_or_bytes: str | os.PathLike[str] | bytes, *, name: str | None = None
) -> Picture:
    """Decodes one picture; grey stays grey, colour is RGB, alpha lies on black.

    Of a volume or a multi-frame file it returns the one picture that its reader
    holds to be the most telling: the axial slice with most lung, the middle frame.

    Args:
      path_or_bytes: a file, or its content.
      name: what errors call it; by default the path.

    Raises:
      InputError: the file is missing, damaged, too large or of another kind.
    """
    if isinstance(path_or_bytes, bytes):
        content, name = path_or_bytes, name or "picture"
    else:
        name = name or os.fspath(path_or_bytes)
        content = read_bytes(path_or_bytes, name=name)
    kind = sniff(content)
    if kind == "DICOM":
        return dicom.read_picture(content, name=name)
    if kind == "NIfTI":
        return nifti.read_picture(content, name=name)
    if kind not in ("PNG", "JPEG", "TIFF"):
        raise InputError(f"{name}: {kind}; covjax reads {FORMATS}")
    return _read_with_pillow(content, kind, name)


def read_bytes(path: str | os.PathLike[str], *, name: str | None = None) -> bytes:
    """The content of a regular file of at most `MAX_BYTES`."""
    name = name or os.fspath(path)
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"{name}: no such file")
        if not path.is_file():
            raise InputError(f"{name}: not a regular file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{name}: {size} bytes; at most {MAX_BYTES} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: cannot be read ({_line(error)})") from error


def sniff(content: bytes) -> str:
    """The kind of a file by its first bytes: one of `FORMATS`, or what it is not."""
    if not content:
        return "an empty file"
    if content[128:132] == b"DICM":  # its preamble may look like a TIFF's
        return "DICOM"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if content.startswith(b"\x1f\x8b"):
        content = _gunzip_start(content, 352)
    if content[344:348] in (b"n+1\0", b"ni1\0") or content[4:8] in (
        b"n+2\0",
        b"ni2\0",
    ):
        return "NIfTI"
    if content[:1] in (b"\x02", b"\x08") and content[1:2] == b"\0":
        return "DICOM"  # without the preamble: the first group is 0002 or 0008
    if content[:2] in (b"\0\x02", b"\0\x08"):
        return "DICOM"  # the same, big-endian
    return "not a picture file that covjax knows"


def encode_png(array: np.ndarray) -> bytes:
    """A uint8 or uint16 picture as PNG bytes, without loss; quick, not small."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    stream, notes = io.BytesIO(), PngInfo()
    notes.add_text(FULL_RANGE, "yes")
    Image.fromarray(array).save(stream, "PNG", compress_level=1, pnginfo=notes)
    return stream.getvalue()


def _gunzip_start(content: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(content[: 64 * size], size)
    except zlib.error:
        return b""


def _read_with_pillow(content: bytes, kind: str, name: str) -> Picture:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            width, height = image.size
            check_pixels(width * height, name)
            header = {
                "format": kind,
                "mode": image.mode,
                "width": width,
                "height": height,
                "bytes": len(content),
            }
            array = _to_array(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: damaged {kind} file (no valid header)") from error
    # Pillow's decoders raise whatever damaged bytes lead them to: OSError,
    # SyntaxError, struct.error, KeyError, ... and its own bomb warning
    except Exception as error:
        raise InputError(f"{name}: damaged {kind} file ({_line(error)})") from error
    return Picture(array, header)


def _to_array(image: Any) -> np.ndarray:
    """A Pillow image of any mode as grey or RGB, 8 or 16 bit."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = to_uint16(np.asarray(image))
        return deep if FULL_RANGE in image.info else fill_range(deep)
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if "A" in image.getbands() or "a" in image.mode or "transparency" in image.info:
        grey = image.mode in ("LA", "La")
        pixels = np.asarray(image.convert("RGBA"))
        alpha = pixels[..., 3:].astype(np.uint16)
        on_black = ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)
        return on_black[..., 0] if grey else on_black
    return np.asarray(image.convert("RGB"))  # P, CMYK, YCbCr, LAB, HSV


def to_uint16(values: np.ndarray) -> np.ndarray:
    """Numbers of any type as uint16: kept where they fit, else stretched to fit."""
    if values.dtype == np.uint16:
        return values
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low >= 0 and 1 < high < 2**16 and np.array_equal(values, np.rint(values)):
        return values.astype(np.uint16)
    scale = (2**16 - 1) / (high - low) if high > low else 0.0
    return np.rint((values - low) * scale).astype(np.uint16)


def fill_range(values: np.ndarray) -> np.ndarray:
    """Spreads values of 8, 10, 12 or 14 bits in a uint16 array over its 16 bits.

    Detectors give 10 to 14 bits, and exports of their pictures keep the numbers. The
    depth is the least that holds the greatest value.
    """
    greatest = int(values.max())
    bits = next(bits for bits in (8, 10, 12, 14, 16) if greatest < 2**bits)
    return np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
