"""A set written as array_record gives what its original files give."""

import numpy as np
import pytest
from PIL import Image

from covjax import config
from covjax.data import load, order
from covjax.data.builders import darkcovidnet
from covjax.data.prepared import EXAMPLES, find_prepared, read_prepared
from covjax.data.stream import stream
from covjax.errors import InputError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A small tree in DarkCovidNet's layout."""
    root = tmp_path_factory.mktemp("original")
    rng = np.random.default_rng(0)
    for folder in darkcovidnet.FOLDERS:
        (root / folder).mkdir()
        for patient in range(6):
            pixels = rng.integers(0, 256, (30, 25), np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{patient:08d}_001.png")
    return root


@pytest.fixture(scope="module")
def records(original, tmp_path_factory):
    from covjax.data.builders import records

    place = tmp_path_factory.mktemp("prepared")
    builder = records.builder("darkcovidnet", place, source=original)
    builder.download_and_prepare()
    return place


def asked(place, **fields) -> config.Data:
    return config.Data(name="darkcovidnet", dir=str(place), size=16, **fields)


def test_examples_are_those_of_the_original_files(original, records):
    folder = find_prepared("darkcovidnet", records)
    assert folder == find_prepared("darkcovidnet", records / "darkcovidnet")
    assert find_prepared("darkcovidnet", original) is None
    expected = darkcovidnet.DATA_SET.examples(original)
    found = read_prepared(folder)
    assert len(found) == len(expected) == 18
    for a, b in zip(found, expected, strict=True):
        assert (a.file, a.label, a.patient, a.source) == (
            b.file, b.label, b.patient, b.source
        )  # fmt: skip
        assert a.open() == b.open()


def test_streamed_records_are_the_resident_originals_batch_by_batch(original, records):
    resident = load(asked(original, split="image")).train
    streamed = load(asked(records, split="image", feed="stream")).train
    np.testing.assert_array_equal(resident.files, streamed.files)
    shown = order.epoch_order(5, 0, len(resident), resident.labels, "balanced")
    rows = order.training_batches(shown, 4)
    for batch, chosen in zip(stream(streamed, rows), rows, strict=True):
        np.testing.assert_array_equal(batch["image"], resident.images[chosen])
        np.testing.assert_array_equal(batch["label"], resident.labels[chosen])


def test_masks_metadata_and_several_labels_travel(tmp_path, monkeypatch):
    from covjax.data import catalog
    from covjax.data.builders import records
    from covjax.data.builders._base import DataSet, Example
    from covjax.data.readers import encode_png

    pixels = np.random.default_rng(1).integers(0, 4, (6, 9, 9), np.uint8)

    def read(folder):
        return [
            Example(
                file=f"{i}.png",
                label=(int(i < 3), int(i % 2)),
                open=lambda i=i: encode_png(pixels[i] * 60),
                patient=f"P{i}",
                split=("train", "train", "validation", "validation", "test", "test")[i],
                metadata={"view": "PA"} if i else {},
                mask=(lambda i=i: encode_png(pixels[i])) if i % 2 else None,
            )
            for i in range(6)
        ]

    words = dict.fromkeys(DataSet.__dataclass_fields__, "-")
    words |= {"name": "made", "classes": ("a", "b"), "needs": (), "read": read}
    words |= {"downloads": (), "multi_label": True}
    monkeypatch.setitem(catalog.CATALOG, "made", DataSet(**words))
    records.builder("made", tmp_path, source=tmp_path).download_and_prepare()
    test = load(config.Data(name="made", dir=str(tmp_path), size=9)).test
    np.testing.assert_array_equal(test.images[..., 0], pixels[4:] * 60)
    np.testing.assert_array_equal(test.masks, [pixels[4] * 0, pixels[5]])
    np.testing.assert_array_equal(test.labels, [[0, 0], [0, 1]])
    assert list(test.metadata["view"]) == ["PA", "PA"]
    assert list(test.patients) == ["P4", "P5"]


@pytest.mark.parametrize("text", ["", "[{}]", "[]", '{"a": 1}'])
def test_a_damaged_set_is_one_line(records, text):
    path = find_prepared("darkcovidnet", records) / EXAMPLES
    kept = path.read_text()
    try:
        path.write_text(text)
        with pytest.raises(InputError, match="prepare it again") as error:
            load(asked(records))
        assert "\n" not in str(error.value)
    finally:
        path.write_text(kept)
