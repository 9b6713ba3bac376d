"""A thousand damaged files: each gives a picture or one line, soon and in bounds."""

import io
import resource
import signal
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from nibabel.testing import data_path
from PIL import Image

from covjax.data.readers import read_image
from covjax.errors import InputError

MUTANTS = 1000
SECONDS = 10  # for one file, on a busy machine
MEMORY = 2**29  # bytes that all of them together may add to the process

MODES = (("PNG", "L RGB RGBA P I;16"), ("JPEG", "L RGB CMYK"), ("TIFF", "L RGB I;16"))


def seeds() -> list[tuple[str, bytes]]:
    """Sound files of every format: our own, pydicom's and nibabel's samples."""
    rng = np.random.default_rng(0)
    eight = Image.fromarray(rng.integers(0, 256, (40, 50), np.uint8))
    sixteen = Image.fromarray(rng.integers(0, 2**16, (40, 50), np.uint16))
    found = []
    for kind, modes in MODES:
        for mode in modes.split():
            stream = io.BytesIO()
            image = sixteen if mode == "I;16" else eight.convert(mode)
            packed = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
            image.save(stream, kind, **packed)
            found += [(f"{kind} {mode}", stream.getvalue())] * 4
    dicom = (Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")
    nifti = Path(data_path).glob("*.nii*")
    for path in sorted([*dicom, *nifti]):
        if path.stat().st_size < 200_000:
            found.append((path.name, path.read_bytes()))
    return found


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cuts, flips bits, writes absurd sizes, deletes, or inserts."""
    data, kind = bytearray(content), rng.integers(5)
    at = int(rng.integers(len(data)))
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for place in rng.integers(0, len(data), rng.integers(1, 20)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        absurd = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
        at = at % 2000  # where headers are
        data[at : at + 4] = absurd[rng.integers(3)]
    elif kind == 3:
        del data[at : at + int(rng.integers(1, 64))]
    else:
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    return bytes(data)


@pytest.mark.filterwarnings("ignore")  # what the decoders say of damage is not news
def test_a_thousand_damaged_files():
    def too_late(*_):
        raise TimeoutError(f"{name}, mutant {number}: no end after {SECONDS} s")

    files = seeds()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = signal.signal(signal.SIGALRM, too_late)
    read, said = 0, []
    try:
        for number in range(MUTANTS):
            rng = np.random.default_rng(number)
            name, content = files[rng.integers(len(files))]
            damaged = mutate(content, rng)
            signal.alarm(SECONDS)
            try:
                array = read_image(damaged, name=name).array
                assert array.dtype in (np.uint8, np.uint16)
                assert array.ndim == 2 or array.shape[2] == 3
                read += 1
            except InputError as error:
                said.append((name, str(error)))
            finally:
                signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert all(line.startswith(f"{name}: ") for name, line in said)
    assert all("\n" not in line and len(line) < 400 for _, line in said)
    assert read + len(said) == MUTANTS
    assert min(read, len(said)) > MUTANTS / 10  # damage is neither nothing nor all
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert used * 1024 < MEMORY  # Linux counts in KiB
