"""From a recipe's data section to three splits."""

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covjax import config
from covjax.data import Splits, load, load_whole
from covjax.data.imageset import LazyImages
from covjax.data.loading import picture_digests
from covjax.data.phantom import phantom
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError

SMALL = {"patients": 45, "pictures_per_patient": (1, 2)}


@pytest.fixture
def folder(tmp_path) -> Path:
    """60 pictures of 30 patients, two classes and two sources, with a manifest."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(30):
        for number in range(2):
            file = f"pictures/p{patient:02d}_{number}.png"
            path = tmp_path / file
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 24), np.uint8)).save(path)
            label = "covid19" if patient % 3 == 0 else "normal"
            rows.append(
                {"path": file, "label": label, "patient": f"P{patient}",
                 "source": "north" if patient < 8 else "south", "sex": "F"}
            )  # fmt: skip
    write(tmp_path / "manifest.csv", rows)
    return tmp_path


def write(path: Path, rows: list[dict[str, str]]):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def asked(folder: Path, **fields) -> config.Data:
    fields = {"size": 16, "manifest": str(folder / "manifest.csv"), **fields}
    return config.Data(name="folder", **fields)


def patients(splits: Splits) -> list[set[str]]:
    parts = (splits.train, splits.validation, splits.test)
    return [set(part.patients) for part in parts]


class TestPhantom:
    def test_equals_the_drawing_prepared(self):
        data = config.Data(size=24, kwargs={**SMALL, "seed": 3})
        splits = load(data)
        drawn = phantom(24, **SMALL, seed=3)
        by_file = {str(f): i for i, f in enumerate(drawn.files)}
        rows = [by_file[str(f)] for f in splits.test.files]
        np.testing.assert_array_equal(splits.test.images, drawn.images[rows])
        np.testing.assert_array_equal(splits.test.masks, drawn.masks[rows])
        np.testing.assert_array_equal(splits.test.labels, drawn.labels[rows])
        total = sum(len(p) for p in (splits.train, splits.validation, splits.test))
        assert total == len(drawn)
        assert splits.card["licence"].startswith("Apache-2.0")
        assert splits.verdict["verdict"] == "verified"

    def test_preparation_changes_pictures_and_masks_alike(self):
        data = config.Data(size=24, channels=3, crop_top=0.25, kwargs=SMALL)
        splits = load(data)
        assert splits.train.images.shape[1:] == (24, 24, 3)
        assert splits.preprocess == Preprocess.from_config(data)
        drawn = phantom(24, **SMALL)
        row = list(drawn.files).index(splits.train.files[0])
        np.testing.assert_array_equal(
            splits.train.masks[0], splits.preprocess.mask(drawn.masks[row])
        )

    def test_is_drawn_once(self, monkeypatch):
        data = config.Data(size=24, kwargs=SMALL)
        first = load(data)

        def refuse(*_, **__):
            raise AssertionError("drawn again")

        refuse.__signature__ = __import__("inspect").signature(phantom)
        monkeypatch.setattr("covjax.data.phantom.phantom", refuse)
        assert load(data).train.fingerprint() == first.train.fingerprint()
        with pytest.raises(AssertionError, match="drawn again"):
            load(dataclasses.replace(data, size=25))

    def test_a_wrong_option_is_one_line(self):
        with pytest.raises(InputError, match="'patient' is not an option of phantom"):
            load(config.Data(kwargs={"patient": 3}))


class TestFolder:
    def test_pictures_labels_and_columns_stay_together(self, folder):
        splits = load(asked(folder))
        rows = {row["path"]: row for row in rows_of(folder)}
        for part in (splits.train, splits.validation, splits.test):
            for i, file in enumerate(part.files):
                pixels = np.asarray(Image.open(folder / str(file)))
                np.testing.assert_array_equal(part.images[i], splits.preprocess(pixels))
                assert part.class_names[part.labels[i]] == rows[file]["label"]
                assert part.patients[i] == rows[file]["patient"]
                assert part.sources[i] == rows[file]["source"]
                assert part.metadata["sex"][i] == "F"
                assert part.metadata["file_width"][i] == 24
                assert part.metadata["file_mode"][i] == "L"
                assert part.metadata["file_format"][i] == "PNG"
                size = (folder / str(file)).stat().st_size
                assert part.metadata["file_bytes"][i] == size

    def test_patients_are_on_one_side_and_all_pictures_used(self, folder):
        splits = load(asked(folder))
        train, validation, test = patients(splits)
        assert not train & validation | train & test | validation & test
        assert len(train | validation | test) == 30
        assert splits.verdict["verdict"] == "verified"
        assert "verified: no patient is in two splits" in splits.table()

    def test_the_table_counts(self, folder):
        splits = load(asked(folder))
        lines = splits.table().splitlines()
        assert lines[0].split() == ["class", "train", "validation", "test"]
        assert lines[1].split()[0] == "covid19"
        assert sum(map(int, lines[1].split()[1:])) == 20
        assert sum(map(int, lines[3].split()[1:])) == 60
        assert splits.counts()["train"] == splits.train.counts()

    @pytest.mark.parametrize("feed", ["resident", "stream", "auto"])
    def test_resident_and_streamed_are_the_same_set(self, folder, feed):
        resident = load(asked(folder, feed="resident"))
        other = load(asked(folder, feed=feed, resident_gib=0.0))
        assert isinstance(other.train.images, LazyImages) == (feed != "resident")
        assert other.streamed == (feed != "resident")
        for part in ("train", "validation", "test"):
            a, b = getattr(resident, part), getattr(other, part)
            np.testing.assert_array_equal(a.files, b.files)
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_array_equal(a.images, np.asarray(b.images))
            np.testing.assert_array_equal(
                resident.digests()[part], other.digests()[part]
            )

    def test_digests_are_of_the_pixels_alone(self, folder, monkeypatch):
        whole = load(asked(folder)).train
        found = picture_digests(whole)
        monkeypatch.setattr("covjax.data.loading.CHUNK", 7)
        changed = whole.images.copy()
        changed[5, 0, 0] ^= 1
        other = dataclasses.replace(whole, images=changed, files=whole.files[::-1])
        assert np.flatnonzero(found != picture_digests(other)).tolist() == [5]
        assert len(np.unique(found)) == len(whole)

    def test_row_order_of_the_manifest_does_not_change_the_split(self, folder):
        before = load(asked(folder))
        write(folder / "manifest.csv", rows_of(folder)[::-1])
        after = load(asked(folder))
        assert patients(before) == patients(after)

    def test_changed_content_is_decoded_anew(self, folder):
        before = load(asked(folder))
        file = str(before.train.files[0])
        Image.fromarray(np.full((20, 24), 9, np.uint8)).save(folder / file)
        after = load(asked(folder))
        assert (after.train.images[0] == 9).all()
        np.testing.assert_array_equal(before.train.images[1:], after.train.images[1:])

    def test_classes_are_chosen_and_ordered(self, folder):
        splits = load(asked(folder, classes=("normal", "covid19")))
        assert splits.train.class_names == ("normal", "covid19")
        covid = splits.train.labels == 1
        assert set(splits.train.patients[covid]) <= {f"P{3 * i}" for i in range(10)}
        rows = rows_of(folder)
        for row in rows[:12]:
            row["label"] = "other"
        write(folder / "manifest.csv", rows)
        splits = load(asked(folder, classes=("normal", "covid19")))
        assert sum(map(len, patients(splits))) == 24
        with pytest.raises(
            InputError, match=r"'flu' must be, once, one of covid19, no"
        ):
            load(asked(folder, classes=("flu",)))

    def test_one_class_is_refused(self, folder):
        with pytest.raises(
            InputError,
            match=r"classes=\('normal',\): one class cannot be .* covid19, n",
        ):
            load(asked(folder, classes=("normal",)))

    def test_a_class_without_a_training_picture_is_refused(self, folder):
        rows = rows_of(folder)
        for i, row in enumerate(rows):
            rare = row["label"] == "covid19"
            row["split"] = ("val", "test")[i // 2 % 2] if rare else "train"
        write(folder / "manifest.csv", rows)
        wanted = r"the train split has no picture of class \w+, which .*\({}\), or"
        with pytest.raises(InputError, match=wanted.format(0)):
            load(asked(folder))
        assert load(asked(folder, split="grouped")).train.counts()["covid19"] == 14
        with pytest.raises(InputError, match=wanted.format(1)):
            load(asked(folder, split="grouped", limit=1))

    def test_a_label_without_a_training_picture_is_refused(self, folder):
        rows = rows_of(folder)
        for i, row in enumerate(rows):
            row["split"] = ("train", "val", "test", "train")[i // 2 % 4]
        rows[4]["label"] = "normal|rare"
        assert rows[4]["split"] == "test"
        write(folder / "manifest.csv", rows)
        with pytest.raises(InputError, match="has no picture of class rare, which can"):
            load(asked(folder))
        for names in (("normal", "covid19"), ("covid19",)):
            splits = load(asked(folder, classes=names))
            assert splits.train.num_classes == len(names)

    def test_limit_keeps_every_class_of_each_split(self, folder):
        splits = load(asked(folder, limit=4))
        for part in (splits.train, splits.validation, splits.test):
            assert len(part) == 4
            assert set(part.labels) == {0, 1}
        whole = load(asked(folder)).test
        places = [whole.files.tolist().index(file) for file in splits.test.files]
        np.testing.assert_array_equal(splits.test.images, whole.images[places])

    def test_folds_cover_every_picture_once(self, folder):
        seen: list[str] = []
        for fold in range(3):
            splits = load(asked(folder, folds=3, fold=fold))
            train, validation, test = patients(splits)
            assert not train & validation | train & test | validation & test
            seen += splits.test.files.tolist()
        assert len(seen) == len(set(seen)) == 60
        with pytest.raises(
            InputError, match="one fold is loaded at a time, from 0 to 2"
        ):
            load(asked(folder, folds=3))

    def test_a_whole_source_is_left_out(self, folder):
        rows = rows_of(folder)
        rows[-1]["patient"] = "P0"  # of the north, with a picture in the south
        write(folder / "manifest.csv", rows)
        splits = load(asked(folder, test_source="north"))
        assert set(splits.test.sources) == {"north"}
        assert len(splits.test) == 16
        assert "P0" not in patients(splits)[0] | patients(splits)[1]
        assert splits.verdict["verdict"] == "verified"
        assert splits.verdict["pictures"] == 59
        with pytest.raises(InputError, match="no picture has it; known: north, south"):
            load(asked(folder, test_source="east"))

    def test_split_by_image_is_reported(self, folder):
        splits = load(asked(folder, split="image"))
        assert splits.verdict["verdict"] == "violated"
        assert splits.verdict["shared_patients"] > 0
        assert "by image" in splits.verdict["method"]

    def test_unknown_patients_are_counted(self, folder):
        rows = rows_of(folder)
        for row in rows[:5]:
            row["patient"] = ""
        write(folder / "manifest.csv", rows)
        splits = load(asked(folder))
        assert splits.verdict["verdict"] == "unverifiable"
        assert splits.verdict["unknown_pictures"] == 5
        assert "5 pictures without an id" in splits.verdict["sentence"]

    def test_the_group_key_gives_groups_to_names(self, folder):
        rows = [{k: v for k, v in r.items() if k != "patient"} for r in rows_of(folder)]
        write(folder / "manifest.csv", rows)
        assert load(asked(folder)).verdict["verdict"] == "unverifiable"
        splits = load(asked(folder, group_key=r"p(\d\d)_"))
        found = splits.verdict
        assert found["verdict"] == "unverifiable"
        assert (found["patients"], found["groups"]) == (0, 30)
        assert found["sentence"] == (
            "hold-out: 60 pictures, 0 known patients, 60 pictures without an id, 30 "
            "groups by config.data.group_key; unverifiable: groups by "
            "config.data.group_key are apart, but pictures without an id may share "
            "patients"
        )
        with pytest.raises(
            InputError, match=r"group_key='zzz': matches no file name, such as 'pic"
        ):
            load(asked(folder, group_key="zzz"))


def test_the_masks_are_those_of_the_manifest(folder):
    """Nothing but the manifest, which lies elsewhere, tells of another mask."""
    pictures = folder / "pictures"
    for name, value in (("all", 255), ("none", 0)):
        mask = np.full((20, 24), value, np.uint8)
        Image.fromarray(mask).save(pictures / f"{name}.png")
    for path in pictures.iterdir():
        os.utime(path, (1e9, 1e9))  # long ago, so that digests are remembered
    rows = [r | {"path": r["path"].partition("/")[2]} for r in rows_of(folder)]

    def highest(mask: str) -> int | None:
        write(folder / "manifest.csv", [r | {"mask": mask} for r in rows])
        masks = load(asked(folder, dir=str(pictures))).train.masks
        return None if masks is None else int(masks.max())

    assert [highest(m) for m in ("", "all.png", "none.png", "")] == [None, 1, 0, None]


def test_a_name_that_is_not_utf8_is_loaded(tmp_path):
    for label in ("a", "b"):
        for number in range(6):
            path = tmp_path / "set" / label / os.fsdecode(b"caf\xe9 %d.png" % number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)
    data = config.Data(name="folder", dir=str(tmp_path / "set"), size=8)
    for feed in ("resident", "stream"):
        splits = load(dataclasses.replace(data, feed=feed))
        assert len(splits.train.fingerprint()) == 64
    assert len(load_whole(data, Preprocess(size=8))) == 12


class TestWhole:
    def test_everything_is_prepared_as_the_model_wants(self, folder):
        prepare = Preprocess(size=11, channels=3, gamma=0.5)
        whole = load_whole(asked(folder), prepare)
        rows = rows_of(folder)
        assert list(whole.files) == [row["path"] for row in rows]
        for image, file in zip(whole.images, whole.files, strict=True):
            pixels = np.asarray(Image.open(folder / str(file)))
            np.testing.assert_array_equal(image, prepare(pixels))

    def test_classes_and_limit(self, folder):
        prepare = Preprocess(size=8)
        data = asked(folder, classes=("normal", "covid19"), limit=12)
        whole = load_whole(data, prepare)
        assert whole.counts() == {"normal": 8, "covid19": 4}
        drawn = load_whole(config.Data(kwargs=SMALL), Preprocess(size=20))
        np.testing.assert_array_equal(drawn.images, phantom(20, **SMALL).images)

    def test_streamed(self, folder):
        prepare = Preprocess(size=8)
        lazy = load_whole(asked(folder, feed="stream"), prepare)
        assert isinstance(lazy.images, LazyImages)
        whole = load_whole(asked(folder), prepare)
        np.testing.assert_array_equal(np.asarray(lazy.images), whole.images)


class TestOfficialSplit:
    def write(self, folder: Path, parts: list[str]):
        rows = rows_of(folder)
        for i, row in enumerate(rows):
            row["split"] = parts[i // 2 % len(parts)]
        write(folder / "manifest.csv", rows)
        return rows

    def test_is_taken_as_it_is(self, folder):
        rows = self.write(folder, ["train", "val", "test", "train"])
        splits = load(asked(folder))
        assert set(splits.test.files) == {
            r["path"] for r in rows if r["split"] == "test"
        }
        assert splits.verdict["method"] == "official"
        assert splits.verdict["verdict"] == "verified"

    def test_a_planted_patient_overlap_is_an_error_unless_asked_for(self, folder):
        rows = self.write(folder, ["train", "val", "test", "train"])
        rows[0]["split"] = "test"  # of patient P0, whose other picture is in train
        write(folder / "manifest.csv", rows)
        with pytest.raises(
            InputError, match="1 patients are in more than one"
        ) as error:
            load(asked(folder))
        assert "p00_0.png (test) and pictures/p00_1.png (train)" in str(error.value)
        assert "P0" not in str(error.value)
        splits = load(asked(folder, split="official"))
        assert splits.verdict["verdict"] == "violated"
        assert splits.verdict["shared_between"]["train-test"] == 1
        assert load(asked(folder, split="grouped")).verdict["verdict"] == "verified"

    def test_validation_is_taken_from_train_where_it_is_missing(self, folder):
        rows = self.write(folder, ["train", "train", "test"])
        splits = load(asked(folder))
        test = {r["path"] for r in rows if r["split"] == "test"}
        assert set(splits.test.files) == test
        train, validation, _ = patients(splits)
        assert validation
        assert not train & validation

    def test_what_is_missing_is_one_line(self, folder):
        with pytest.raises(InputError, match="folder has no split of its own"):
            load(asked(folder, split="official"))
        self.write(folder, ["train", "val"])
        with pytest.raises(InputError, match="its own split has no test part"):
            load(asked(folder))
        self.write(folder, ["train", "test", ""])
        with pytest.raises(InputError, match=r"p02_0.png has no split, others have"):
            load(asked(folder))


def test_pictures_of_every_kind_and_size_come_out_right(tmp_path):
    """Grey, RGB, RGBA, palette and 16-bit files of one motif give one picture."""
    y, x = np.mgrid[:32, :32]
    grey = (4 * x + 3 * y).astype(np.uint8)
    image = Image.fromarray(grey)
    made = {
        "grey.png": image,
        "rgb.png": image.convert("RGB"),
        "rgba.png": image.convert("RGBA"),
        "la.png": image.convert("LA"),
        "palette.png": image.convert("RGB").quantize(256),
        "sixteen.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "large.png": image.resize((64, 64), Image.Resampling.NEAREST),
        "grey.tif": image,
        "grey.jpg": image,
    }
    rows = []
    for label in ("a", "b"):
        for name, picture in made.items():
            (tmp_path / label).mkdir(exist_ok=True)
            picture.save(
                tmp_path / label / name, **({"quality": 95} if "jpg" in name else {})
            )
            rows.append({"path": f"{label}/{name}", "label": label})
    write(tmp_path / "manifest.csv", rows)
    splits = load(asked(tmp_path, size=32))
    seen = 0
    for part in (splits.train, splits.validation, splits.test):
        for image_of, file in zip(part.images, part.files, strict=True):
            atol = 3 if "jpg" in file else 2 if "large" in file else 0
            inner = slice(1, -1)  # a bilinear filter has no neighbours at the border
            np.testing.assert_allclose(
                image_of[inner, inner, 0].astype(int), grey[inner, inner], atol=atol
            )
            seen += 1
    assert seen == 18


def test_an_unreadable_picture_is_named(folder):
    (folder / "pictures/p07_0.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(InputError, match=r"pictures/p07_0.png: ") as error:
        load(asked(folder))
    assert "\n" not in str(error.value)
    left = [path.suffix for path in folder.glob("cache/imagesets/*")]
    assert left == [".lock"]  # nothing half-decoded


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (config.Data(name="covid_cd"), "did you mean covid_ct"),
        (config.Data(name="folder", kwargs={"a": 1}), "'a' is not an option"),
        (config.Data(name="folder"), "config.data.dir: must name a folder"),
        (config.Data(name="covid_ct", dir="/nowhere"), "/nowhere: no such folder"),
    ],
)
def test_bad_settings_are_one_line(data, message):
    with pytest.raises(InputError, match=message) as error:
        load(data)
    assert "\n" not in str(error.value)


def test_progress_is_shown_when_asked(folder, capfd):
    load(asked(folder))
    assert capfd.readouterr().err == ""
    load(asked(folder, size=17), progress=True)
    assert "decoding: 100%" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "size", "counts", "verdict"),
    [
        ("covid_ct", 32, (425, 118, 203), "verified"),
        ("pneumoniamnist", 28, (4708, 524, 624), "unverifiable"),
        ("darkcovidnet", 32, None, "unverifiable"),
    ],
)
def test_real_sets(data_dir, name, size, counts, verdict):
    catalog_name = {"pneumoniamnist": "pneumonia_mnist"}.get(name, name)
    splits = load(config.Data(name=catalog_name, dir=str(data_dir / name), size=size))
    found = tuple(len(p) for p in (splits.train, splits.validation, splits.test))
    assert sum(found) == (sum(counts) if counts else 1124)
    assert counts is None or found == counts
    assert splits.verdict["verdict"] == verdict
