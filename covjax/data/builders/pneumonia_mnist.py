"""PneumoniaMNIST of MedMNIST v2: small paediatric chest radiographs in one NPZ file.

The arrays become PNG bytes, so that this set travels like every other. Children of
one hospital in Guangzhou; the file carries no patient ids.
"""

import functools
import io
import zipfile
from pathlib import Path

import numpy as np

from covjax.data.builders._base import DataSet, Download, Example
from covjax.data.picture import MAX_PIXELS
from covjax.data.readers import encode_png
from covjax.errors import InputError

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(folder: Path) -> list[Example]:
    """Every picture of the three official splits, in the file's order."""
    path = folder / "pneumoniamnist.npz"
    examples = []
    for key, split in SPLITS.items():
        images, labels = _array(path, f"{key}_images"), _array(path, f"{key}_labels")
        labels = labels.reshape(-1)
        if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(labels):
            raise InputError(
                f"{path}: {key}_images must be uint8 [n, height, width] with n labels, "
                f"found {images.dtype} {list(images.shape)} and {len(labels)} labels"
            )
        for row, label in enumerate(labels):
            if label not in (0, 1):
                raise InputError(f"{path}: {key}_labels[{row}]={label}: must be 0 or 1")
            examples.append(
                Example(
                    file=f"{key}/{row:05d}.png",
                    label=int(label),
                    open=functools.partial(encode_png, images[row]),
                    split=split,
                    source="Guangzhou Women and Children's Medical Center",
                    stored=False,
                )
            )
    return examples


def _array(path: Path, key: str) -> np.ndarray:
    """One array of the NPZ file, never unpickled, of a bounded size."""
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(f"{key}.npy")
            if member.file_size > 8 * MAX_PIXELS:
                raise InputError(f"{path}: {key} has {member.file_size} bytes")
            stream = io.BytesIO(archive.read(member))
        return np.lib.format.read_array(stream, allow_pickle=False)
    except KeyError as error:
        raise InputError(f"{path}: has no array {key}") from error
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged NPZ file ({error})") from error


DATA_SET = DataSet(
    name="pneumonia_mnist",
    title="PneumoniaMNIST (MedMNIST v2)",
    modality="X-ray",
    size="5,856 pictures of 28 x 28",
    classes=("normal", "pneumonia"),
    file_format="NPZ of uint8 arrays",
    licence="CC BY 4.0",
    citation="Yang et al. 2023, MedMNIST v2, Scientific Data 10:41; "
    "Kermany et al. 2018, Cell 172:1122",
    home="https://medmnist.com",
    get="put pneumoniamnist.npz (Zenodo record 10519652) into the folder",
    patient_rule="unknown: the file has no ids",
    source_rule="one hospital",
    checked="a copy of the original file",
    needs=("pneumoniamnist.npz",),
    read=read,
    downloads=(
        Download(
            url="https://zenodo.org/records/10519652/files/pneumoniamnist.npz",
            file="pneumoniamnist.npz",
            # registered by tensorflow-datasets 4.9.10 for the same address
            sha256="e1792d3f03751cb101e99f19a63b3c1941436c988665f47853417b05be250cd8",
        ),
    ),
)
