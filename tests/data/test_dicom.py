"""DICOM files as a viewer shows them; pydicom's own samples; nothing of a patient."""

import io
import logging
import os
import signal
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from covjax.data import codestream, dicom, isolated
from covjax.data.readers import read_image
from covjax.errors import InputError

SAMPLES = Path(pydicom.data.__file__).parent / "test_files"
SECRET = "Mustermann"


def dicom_file(pixels: np.ndarray, syntax=ExplicitVRLittleEndian, **fields) -> bytes:
    """A DICOM file of ``[rows, columns]`` or ``[frames, rows, columns]`` pixels."""
    header = Dataset()
    header.PatientName, header.PatientID = f"{SECRET}^Erika", f"{SECRET}-1964"
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    header.SOPInstanceUID = "1.2.3"
    header.Rows, header.Columns = pixels.shape[-2:]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 8 * pixels.itemsize
    header.HighBit = header.BitsStored - 1
    header.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        header.NumberOfFrames = len(pixels)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.PixelData = pixels.tobytes()
    for name, value in fields.items():
        setattr(header, name, value)
    header["PixelData"].VR = "OW"
    if syntax == RLELossless:
        header.compress(RLELossless)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, header, enforce_file_format=True)
    return stream.getvalue()


RAMP = np.arange(-512, 512, 4, dtype=np.int16).reshape(16, 16)


def test_own_range_without_a_window():
    array = read_image(dicom_file(RAMP)).array
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, np.rint((RAMP + 512) / 1020 * 65535))


def test_eight_bits_without_a_window_keep_their_values():
    pixels = np.arange(60, 124, dtype=np.uint8).reshape(8, 8)
    array = read_image(dicom_file(pixels)).array
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, pixels)
    inverted = dicom_file(pixels, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(inverted).array, 255 - pixels)


def test_linear_window_of_the_standard():
    """PS3.3 C.11.2.1.2.1, its worked conditions for centre 40 and width 400."""
    content = dicom_file(RAMP, WindowCenter=40, WindowWidth=400)
    array = read_image(content).array.astype(float)
    assert np.all(array[RAMP <= 40 - 0.5 - 399 / 2] == 0)
    assert np.all(array[RAMP > 40 - 0.5 + 399 / 2] == 65535)
    inside = (RAMP > -160) & (RAMP <= 239)
    expected = ((RAMP[inside] - 39.5) / 399 + 0.5) * 65535
    np.testing.assert_allclose(array[inside], expected, atol=0.5)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(function):
    content = dicom_file(
        RAMP,
        RescaleSlope=2,
        RescaleIntercept=-100,
        RescaleType="HU",
        WindowCenter=[-40, 7],
        WindowWidth=[600, 9],
        VOILUTFunction=function,
    )
    header = pydicom.dcmread(io.BytesIO(content))
    reference = apply_voi_lut(apply_modality_lut(RAMP, header), header)
    # pydicom's result fills the range of the stored bits after rescaling
    low, high = -(2**15) * 2 - 100, (2**15 - 1) * 2 - 100
    expected = (reference - low) / (high - low) * 65535
    np.testing.assert_allclose(read_image(content).array, expected, atol=0.51)


def test_monochrome1_is_inverted_after_its_window():
    fields = {"WindowCenter": 0, "WindowWidth": 512}
    plain = read_image(dicom_file(RAMP, **fields)).array
    inverted = read_image(
        dicom_file(RAMP, PhotometricInterpretation="MONOCHROME1", **fields)
    ).array
    np.testing.assert_array_equal(inverted, 65535 - plain)


def test_bits_stored_below_bits_allocated_and_their_sign():
    values = np.array([[-2048, -1], [0, 2047]], np.int16)
    stored = (values & 0x0FFF).view(np.uint16)  # 12 bits, the upper 4 are empty
    content = dicom_file(stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    expected = np.rint((values + 2048.0) / 4095 * 65535)
    np.testing.assert_array_equal(read_image(content).array, expected)


@pytest.mark.parametrize("kind", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables(kind):
    table = Dataset()
    table.LUTDescriptor = [4, 10, 16]  # entries, first value, bits
    table.LUTData = np.array([0, 1000, 3000, 4000], "<u2").tobytes()
    table.ModalityLUTType = "OD"
    pixels = np.array([[3, 10], [11, 12], [13, 99]], np.uint16)
    content = dicom_file(pixels, **{kind: Sequence([table])})
    expected = np.rint(np.array([[0, 0], [1000, 3000], [4000, 4000]]) / 4000 * 65535)
    np.testing.assert_array_equal(read_image(content).array, expected)


def test_the_middle_of_several_frames_and_any_other():
    frames = np.stack([np.full((4, 4), v, np.uint8) for v in (1, 5, 9)])
    for content in (dicom_file(frames), dicom_file(frames, RLELossless)):
        assert np.all(read_image(content).array == 5)
        assert read_image(content).part == "frame 2 of 3"
        assert np.all(dicom.read_frame(content, 2, name="x").array == 9)
        with pytest.raises(InputError, match="x: frame 3 of a file with 3 frames"):
            dicom.read_frame(content, 3, name="x")


def test_windows_of_functional_groups_per_frame():
    def groups(centre):
        voi, item = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = centre, 100
        item.FrameVOILUTSequence = Sequence([voi])
        return item

    shared, transformation = Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1000
    shared.PixelValueTransformationSequence = Sequence([transformation])
    content = dicom_file(
        np.full((2, 4, 4), 1000, np.uint16),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([groups(1000), groups(-1000)]),
    )
    assert np.all(dicom.read_frame(content, 0, name="x").array == 0)  # 0 HU, dark
    assert np.all(dicom.read_frame(content, 1, name="x").array == 65535)


def test_one_bit_pixels_are_black_and_white():
    bits = np.array([[0, 1, 1, 0, 0, 0, 0, 1]], np.uint8)
    packed = np.packbits(bits, bitorder="little").reshape(1, 1)
    content = dicom_file(
        packed, Rows=1, Columns=8, BitsAllocated=1, BitsStored=1, HighBit=0
    )
    np.testing.assert_array_equal(read_image(content).array, bits * 255)


def same(*names):
    pictures = [read_image(SAMPLES / name).array for name in names]
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    return pictures[0]


def test_every_encoding_of_one_mr_picture_is_the_same():
    """Raw in three byte orders, RLE, JPEG 2000, JPEG-LS, with padding."""
    kinds = ("", "_implicit", "_bigendian", "_expb", "_RLE", "_jp2klossless")
    kinds = (*kinds, "_jpeg_ls_lossless", "_padded")
    array = same(*(f"MR_small{kind}.dcm" for kind in kinds))
    header = pydicom.dcmread(SAMPLES / "MR_small.dcm")
    stored = np.frombuffer(header.PixelData, "<i2").reshape(64, 64).astype(float)
    share = np.clip((stored - 599.5) / 1599 + 0.5, 0, 1)  # window 600, width 1600
    np.testing.assert_array_equal(array, np.rint(share * 65535))


def test_every_lossless_encoding_of_one_colour_picture_is_the_same():
    """RLE, JPEG 2000, lossless JPEG (first-order prediction)."""
    array = same("SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_jpeg_gdcm.dcm")
    for name in ("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_jls_lossy_line.dcm"):
        lossy = read_image(SAMPLES / name).array
        assert np.abs(lossy.astype(int) - array).max() <= 2  # baseline, near-lossless


def test_colours_of_more_than_16_bits_keep_the_upper_ones():
    deep = np.arange(12, dtype=np.uint32).reshape(2, 2, 3) * 0x01234567
    content = dicom_file(
        deep[..., 0],  # its rows and columns; the pixels follow
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        PixelData=deep.tobytes(),
    )
    np.testing.assert_array_equal(read_image(content).array, deep >> 16)
    sixteen = read_image(SAMPLES / "SC_rgb_rle_16bit.dcm").array
    np.testing.assert_array_equal(
        read_image(SAMPLES / "SC_rgb_rle_32bit.dcm").array, sixteen
    )


def test_palette_and_ybr_become_rgb():
    header = pydicom.dcmread(SAMPLES / "examples_palette.dcm")
    array = read_image(SAMPLES / "examples_palette.dcm").array
    index = header.pixel_array[100, 300]
    red = np.frombuffer(header.RedPaletteColorLookupTableData, "<u2")
    assert array[100, 300, 0] == red[index]
    ybr = read_image(SAMPLES / "examples_ybr_color.dcm").array
    assert ybr.shape == (240, 320, 3)
    assert len(np.unique(ybr[..., 0].astype(int) - ybr[..., 2])) > 10


# samples of pydicom that hold no picture, or a broken one, and what is said of them
REFUSED = {
    "ExplVR_BigEndNoMeta.dcm": "without a picture",
    "ExplVR_LitEndNoMeta.dcm": "without a picture",
    "JPEG-lossy.dcm": "JPEG Extended .* cannot be decompressed .*12-bit",
    "JPEG2000-embedded-sequence-delimiter.dcm": "the compressed picture is 1024 x",
    "JPGExtended.dcm": "JPEG Extended .* cannot be decompressed .*12-bit",
    "MR_truncated.dcm": "damaged DICOM",
    "UN_sequence.dcm": "without a picture",
    "badVR.dcm": "damaged DICOM",
    "empty_charset_LEI.dcm": "without a picture",
    "meta_missing_tsyntax.dcm": "damaged DICOM file .no Rows",
    "nested_priv_SQ.dcm": "damaged DICOM file .no Rows",
    "no_meta.dcm": "not a picture file",
    "no_meta_group_length.dcm": "without a picture",
    "priv_SQ.dcm": "without a picture",
    "reportsi.dcm": "without a picture",
    "reportsi_with_empty_number_tags.dcm": "without a picture",
    "rtplan.dcm": "without a picture",
    "rtplan_truncated.dcm": "without a picture",
    "rtstruct.dcm": "without a picture",
    "test-SR.dcm": "without a picture",
    "waveform_ecg.dcm": "without a picture",
}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.dcm")), ids=lambda p: p.name)
def test_every_sample_decodes_or_ends_in_one_line(path):
    if path.name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[path.name]) as caught:
            read_image(path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(path))
        return
    picture = read_image(path)
    header = pydicom.dcmread(path)
    assert picture.array.shape[:2] == (header.Rows, header.Columns)
    assert picture.array.dtype in (np.uint8, np.uint16)
    assert picture.array.min() < picture.array.max()


def test_no_patient_reaches_errors_headers_warnings_or_logs(capfd, caplog):
    whole = dicom_file(RAMP, PatientBirthDate="19640101")
    whole = whole.replace(b"19640101", SECRET[:8].encode())  # not a date
    damaged = [whole[:-100], whole[:400], whole.replace(b"CS", b"IS")]
    damaged += [whole.replace(b"\x28\0\x10\0US\2\0", b"\x28\0\x10\0US\7\0")]
    assert all(SECRET.encode() in content for content in damaged)
    said = [str(read_image(whole).header)]
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        for content in damaged:
            try:
                said.append(str(read_image(content, name="film.dcm").header))
            except InputError as error:
                said.append(str(error))
    said += [str(warning.message) for warning in caught]
    said += [*caplog.messages, *capfd.readouterr()]
    assert len(said) >= 7
    assert SECRET[:8] not in " ".join(said)


def test_nothing_of_a_patient_is_even_parsed(monkeypatch):
    parsed, dcmread = [], pydicom.dcmread

    def spy(*arguments, **options):
        parsed.append(dcmread(*arguments, **options))
        return parsed[-1]

    monkeypatch.setattr(pydicom, "dcmread", spy)
    read_image(dicom_file(RAMP, PatientSex="F", StudyDate="20200401"))
    (header,) = parsed
    groups = {element.tag.group for element in header}
    assert groups == {0x0028, 0x7FE0}  # how to show pixels, and the pixels


def test_a_compressed_frame_that_claims_another_size_is_not_decoded():
    jpeg = (SAMPLES / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    size = jpeg.index(b"\xff\xc3") + 5  # SOF3: rows, columns
    huge = jpeg[:size] + b"\xff\xfe\xff\xfe" + jpeg[size + 4 :]
    with pytest.raises(InputError, match="65534 x 65534, its header says 100 x 100"):
        read_image(huge)
    with pytest.raises(InputError, match="4294836225 pixels"):
        read_image(dicom_file(RAMP, Rows=65535, Columns=65535))


def test_dimensions_of_codestreams():
    frame = struct.pack(">BHHB", 8, 300, 200, 1)
    for marker in (b"\xff\xc0", b"\xff\xc3", b"\xff\xf7"):
        app = b"\xff\xe0" + struct.pack(">H", 4) + b"xx"
        data = b"\xff\xd8" + app + b"\xff" + marker + struct.pack(">H", 8) + frame
        assert codestream.dimensions(data + bytes(9)) == (300, 200)
    siz = struct.pack(">HHIIII", 47, 0, 210, 320, 10, 20)
    assert codestream.dimensions(b"\xff\x4f\xff\x51" + siz) == (300, 200)
    assert codestream.dimensions(b"\xff\xd8\xff") is None
    assert codestream.dimensions(bytes(100)) is None


def test_a_deflated_bomb_is_refused(monkeypatch):
    sample = (SAMPLES / "image_dfl.dcm").read_bytes()
    codestream.check_deflated(sample, "fine")
    start = 144 + int.from_bytes(sample[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = sample[:start] + packer.compress(bytes(2**24)) + packer.flush()
    monkeypatch.setattr(codestream, "MAX_INFLATED", 2**22)
    with pytest.raises(InputError, match="x: unpacks to more than 4194304 bytes"):
        read_image(bomb, name="x")


def test_a_stream_that_ends_gdcm_ends_in_one_line_and_the_next_is_fine(monkeypatch):
    sample = (SAMPLES / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    expected = read_image(sample).array
    child = isolated._child
    assert child is not None
    child.kill()  # as std::terminate would
    child.wait()
    np.testing.assert_array_equal(read_image(sample).array, expected)
    os.kill(isolated._child.pid, signal.SIGSTOP)  # as a stream that never ends
    monkeypatch.setattr(isolated, "SECONDS", 0.2)
    with pytest.raises(InputError, match=r"GDCM gave up \(TimeoutError\)"):
        read_image(sample)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_image(sample).array, expected)


def test_a_folder_called_dl_does_not_stand_in_the_way_of_gdcm(tmp_path, monkeypatch):
    sample = (SAMPLES / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    (tmp_path / "dl").mkdir()
    monkeypatch.chdir(tmp_path)
    isolated._stop()
    assert read_image(sample).array.shape == (100, 100, 3)
    isolated._stop()


def test_a_forked_process_has_a_gdcm_of_its_own(monkeypatch):
    sample = (SAMPLES / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    expected = read_image(sample).array
    first = isolated._child
    monkeypatch.setattr(isolated, "_owner", -1)  # what a child of fork finds
    np.testing.assert_array_equal(read_image(sample).array, expected)
    assert isolated._child is not first
    first.kill()
    first.communicate()


def test_missing_packages_are_named_with_their_installation(monkeypatch):
    lossless = (SAMPLES / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    plain = dicom_file(RAMP)
    find_spec = dicom.importlib.util.find_spec
    monkeypatch.setattr(
        dicom.importlib.util,
        "find_spec",
        lambda name: None if name == "gdcm" else find_spec(name),
    )
    with pytest.raises(InputError, match=r"python-gdcm: pip install 'covjax\[medical"):
        read_image(lossless)
    assert read_image(plain).array.size  # needs no GDCM
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pydicom: pip install 'covjax\[medical\]'"):
        read_image(plain)


def test_encapsulated_data_that_is_no_jpeg(capfd):
    content = dicom_file(np.zeros((8, 8), np.uint8))
    header = pydicom.dcmread(io.BytesIO(content))
    header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    header.PixelData = encapsulate([b"no picture at all"])
    header["PixelData"].is_undefined_length = True
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, header)
    with pytest.raises(InputError, match="film: DICOM with JPEG Lossless"):
        read_image(stream.getvalue(), name="film")
    assert capfd.readouterr().err == ""
