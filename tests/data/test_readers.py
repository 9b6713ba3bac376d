"""Every kind of PNG, JPEG and TIFF comes out right, or ends in one line."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from covjax.data import readers
from covjax.data.readers import encode_png, read_image, sniff, to_uint16
from covjax.errors import InputError

GREY = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
DEEP = (np.arange(120, dtype=np.uint16) * 500 + 7).reshape(10, 12)


def encoded(image, kind="PNG", **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    start = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", start)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "rgb", "16 bit"])
def test_lossless_files_come_out_exact(kind, pixels):
    array = read_image(encoded(pixels, kind)).array
    assert array.dtype == pixels.dtype
    np.testing.assert_array_equal(array, pixels)


def test_big_endian_16_bit_tiff():
    big = Image.frombytes("I;16B", (12, 10), DEEP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(encoded(big, "TIFF")).array, DEEP)


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "rgb"])
def test_jpeg_keeps_its_channels_and_nearly_its_values(pixels):
    smooth = np.repeat(np.repeat(pixels, 8, axis=0), 8, axis=1)
    content = encoded(smooth, "JPEG", quality=95, subsampling=0)
    array = read_image(content).array
    assert array.shape == smooth.shape
    assert np.abs(array.astype(int) - smooth).mean() < 3  # JPEG is lossy


def test_alpha_is_laid_on_black():
    alpha = np.where(np.arange(12) < 6, 255, 51).astype(np.uint8)
    rgba = np.concatenate(
        [COLOUR, np.broadcast_to(alpha[None, :, None], (10, 12, 1))], axis=-1
    )
    array = read_image(encoded(rgba)).array
    np.testing.assert_array_equal(array[:, :6], COLOUR[:, :6])
    np.testing.assert_array_equal(array[:, 6:], np.rint(COLOUR[:, 6:] * 0.2))


def test_grey_with_alpha_stays_grey():
    image = Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (12, 10), 255)])
    np.testing.assert_array_equal(read_image(encoded(image)).array, GREY)


def test_palette_gives_colours_and_its_transparency_gives_black():
    image = Image.new("P", (4, 2))
    image.putpalette([10, 20, 30, 40, 50, 60] + [0] * 762)
    image.putpixel((3, 1), 1)
    array = read_image(encoded(image)).array
    assert array[0, 0].tolist() == [10, 20, 30]
    assert array[1, 3].tolist() == [40, 50, 60]
    array = read_image(encoded(image, transparency=1)).array
    assert array[0, 0].tolist() == [10, 20, 30]
    assert array[1, 3].tolist() == [0, 0, 0]


def test_one_bit_is_black_and_white():
    bits = GREY > 100
    array = read_image(encoded(Image.fromarray(bits))).array
    np.testing.assert_array_equal(array, np.where(bits, 255, 0))


def test_cmyk_jpeg_becomes_rgb():
    content = encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")
    assert read_image(content).array.shape == (8, 8, 3)
    assert read_image(content).array.min() > 250  # no ink is white


def test_exif_orientation_is_followed():
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at its right
    content = encoded(GREY, "PNG", exif=exif)
    np.testing.assert_array_equal(read_image(content).array, np.rot90(GREY, -1))


def test_float_and_signed_tiffs_are_stretched_to_16_bit():
    values = np.linspace(-1, 1, 120, dtype=np.float32).reshape(10, 12)
    array = read_image(encoded(Image.fromarray(values), "TIFF")).array
    assert array.dtype == np.uint16
    assert (array.min(), array.max()) == (0, 65535)
    assert np.all(np.diff(array.ravel().astype(int)) >= 0)


def test_to_uint16_keeps_what_fits_and_survives_what_does_not():
    np.testing.assert_array_equal(
        to_uint16(np.array([[3, 60000]], np.int32)), [[3, 60000]]
    )
    holes = np.array([[np.nan, np.inf, 2.5, -2.5]])
    assert to_uint16(holes).tolist() == [[32768, 32768, 65535, 0]]
    assert to_uint16(np.full((2, 2), 7.5)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_depths_below_16_bits_fill_the_range(bits):
    white = 2**bits - 1
    pixels = np.array([[0, white // 3, white // 2, white]], np.uint16)
    array = read_image(encoded(pixels)).array
    np.testing.assert_array_equal(array, np.rint(pixels / white * 65535))


def test_what_covjax_encodes_is_not_stretched_again():
    dark = np.array([[0, 100, 3000]], np.uint16)
    np.testing.assert_array_equal(read_image(encode_png(dark)).array, dark)


def test_header_says_what_the_file_is():
    content = encoded(GREY)
    assert read_image(content).header == {
        "format": "PNG",
        "mode": "L",
        "width": 12,
        "height": 10,
        "bytes": len(content),
    }


def test_the_extension_does_not_matter(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(encoded(np.zeros((16, 16), np.uint8), "JPEG"))
    assert read_image(path).header["format"] == "JPEG"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"hello, world", "not a picture file"),
        (b"GIF89a" + bytes(50), "not a picture file"),
        (b"\x80\x04\x95pickle", "not a picture file"),
        (encoded(GREY)[:50], "damaged PNG"),
        (encoded(COLOUR, "JPEG")[:200], "damaged JPEG"),
        (encoded(DEEP, "TIFF")[:40], "damaged TIFF"),
        (png_header(30000, 30000), "900000000 pixels"),
        (png_header(9000, 9000), "81000000 pixels"),
        (png_header(10, 0), "PNG"),
        (b"\x1f\x8b" + bytes(20), "not a picture file"),
    ],
    ids=range(11),
)
def test_bad_content_ends_in_one_line_that_names_the_file(content, words):
    with pytest.raises(InputError, match=words) as caught:
        read_image(content, name="ward3/film.png")
    message = str(caught.value)
    assert message.startswith("ward3/film.png: ")
    assert "\n" not in message
    assert len(message) < 300


def test_bad_paths_end_in_one_line(tmp_path, monkeypatch):
    for path, words in [
        (tmp_path / "none.png", "no such file"),
        (tmp_path, "not a regular file"),
        (f"{tmp_path}/nul\0.png", "cannot be read|no such file"),
    ]:
        with pytest.raises(InputError, match=words):
            read_image(path)
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    with pytest.raises(InputError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")
    (tmp_path / "big.png").write_bytes(encoded(GREY))
    monkeypatch.setattr(readers, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 are read"):
        read_image(tmp_path / "big.png")


def test_encode_png_is_lossless():
    for pixels in (GREY, COLOUR, DEEP):
        np.testing.assert_array_equal(read_image(encode_png(pixels)).array, pixels)


def test_sniff_knows_dicom_and_nifti_by_content():
    assert sniff(bytes(128) + b"DICM" + bytes(10)) == "DICOM"
    assert sniff(struct.pack("<i", 348) + bytes(340) + b"n+1\0") == "NIfTI"
