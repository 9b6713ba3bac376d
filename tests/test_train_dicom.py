"""A recipe trains from a folder of DICOM files, as a hospital's archive gives them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from covjax import config, train
from covjax.data import load
from covjax.data.phantom import phantom

RECIPE = str(Path(__file__).resolve().parents[1] / "configs" / "resnet.py")
NAME = "Mustermann^Erika"


def dicom(pixels: np.ndarray, number: int) -> bytes:
    """A 12-bit radiograph; every other one inverted, every third one compressed."""
    header = Dataset()
    header.PatientName, header.PatientID = NAME, f"{NAME}-{number}"
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    # 8 bits as 12, shown by a window that covers them exactly: 0 black, 4080 white
    stored = pixels.astype(np.uint16) * 16
    inverted = number % 2 == 1
    header.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    header.WindowCenter, header.WindowWidth = 2040.5, 4081
    header.PixelData = (4080 - stored if inverted else stored).tobytes()
    header["PixelData"].VR = "OW"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if number % 3 == 0:
        header.compress(RLELossless)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, header, enforce_file_format=True)
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path):
    """Files without an ending, and a table that tells labels and patients."""
    drawn = phantom(32, patients=24, pictures_per_patient=(1, 1), seed=0)
    (tmp_path / "archive").mkdir()
    rows = [["path", "label", "patient"]]
    for i in range(len(drawn)):
        path = tmp_path / "archive" / f"IM{i:04d}"
        path.write_bytes(dicom(drawn.images[i].reshape(32, 32), i))
        label = drawn.class_names[drawn.labels[i]]
        rows.append([path.name, label, drawn.patients[i]])
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path, drawn


def test_a_recipe_trains_from_dicom_files(archive, capfd):
    root, drawn = archive
    data = config.Data(
        name="folder",
        dir=str(root / "archive"),
        manifest=str(root / "labels.csv"),
        size=32,
    )
    splits = load(data)
    found = {}
    for part in (splits.train, splits.validation, splits.test):
        for file, image in zip(part.files, part.images, strict=True):
            found[file] = image[..., 0]
    assert len(found) == len(drawn)
    for i in range(len(drawn)):  # the very pictures that were written
        np.testing.assert_array_equal(
            found[f"IM{i:04d}"], drawn.images[i].reshape(32, 32)
        )
    workdir = root / "run"
    train.main(
        ["--config", f"{RECIPE}:smoke", "--workdir", str(workdir),
         "--config.data.name=folder", f"--config.data.dir={data.dir}",
         f"--config.data.manifest={data.manifest}", "--config.data.size=32",
         "--config.model.name=squeezenet1_1"]
    )  # fmt: skip
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert metrics
    written = [p for p in workdir.rglob("*") if p.is_file()]
    assert len(written) > 5
    for path in written:  # no name of a header in any file of the run
        assert b"Mustermann" not in path.read_bytes(), path
    said = capfd.readouterr()
    assert "Mustermann" not in said.out + said.err
