"""Class folders and manifests: what is read, and one line for what cannot be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covjax.data.folder import read_folder, read_manifest
from covjax.errors import InputError


def draw(path: Path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 5), value, np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path) -> Path:
    for file in ("normal/b.png", "normal/a.jpg", "covid19/deep/c.png"):
        draw(tmp_path / file)
    (tmp_path / "covid19/readme.txt").write_text("notes")
    (tmp_path / "covid19/.DS_Store").write_text("hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / "manifest.csv").write_text("not a class")
    return tmp_path


def test_class_folders(tree):
    names, examples = read_folder(str(tree))
    assert names == ("covid19", "normal")
    assert [(e.file, e.label, e.split) for e in examples] == [
        ("covid19/deep/c.png", 0, ""),
        ("normal/a.jpg", 1, ""),
        ("normal/b.png", 1, ""),
    ]
    assert {e.patient for e in examples} == {""}  # unknown, never guessed
    assert examples[0].open() == (tree / "covid19/deep/c.png").read_bytes()


def test_a_level_of_splits(tmp_path):
    for part in ("train", "Val", "test"):
        for name in ("a", "b"):
            draw(tmp_path / part / name / "1.png")
    names, examples = read_folder(str(tmp_path))
    assert names == ("a", "b")
    assert {(e.file, e.split) for e in examples} >= {
        ("train/a/1.png", "train"),
        ("Val/b/1.png", "validation"),
        ("test/b/1.png", "test"),
    }


def test_files_without_an_ending_are_pictures_to_be_read(tree):
    (tree / "normal/IM0001").write_bytes(b"?")
    _, examples = read_folder(str(tree))
    assert "normal/IM0001" in {e.file for e in examples}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, r"covid\d: a class without pictures"),
        (lambda root: (root / "covid1").rmdir(), "1 classes .covid0.; needs two"),
    ],
)
def test_an_empty_class_or_one_class_is_one_line(tmp_path, prepare, message):
    for name in ("covid0", "covid1"):
        (tmp_path / name).mkdir()
    prepare(tmp_path)
    with pytest.raises(InputError, match=message):
        read_folder(str(tmp_path))


def test_a_class_that_one_split_lacks_is_named(tmp_path):
    for file in ("train/a/1.png", "train/b/1.png", "test/a/1.png"):
        draw(tmp_path / file)
    with pytest.raises(InputError, match="test/b: a class without pictures"):
        read_folder(str(tmp_path))


@pytest.mark.parametrize("other", ["chest_xray/train/a", "chest_xray/a", "dev"])
def test_splits_beside_another_folder_are_no_classes(tmp_path, other):
    """As in Kaggle's chest_xray/, which holds itself a second time."""
    for part in ("train", "test", "val"):
        for name in ("a", "b"):
            draw(tmp_path / part / name / "1.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/readme.txt").write_text("no pictures, so no class")
    assert read_folder(str(tmp_path))[0] == ("a", "b")
    draw(tmp_path / other / "1.png")
    name = other.partition("/")[0]
    with pytest.raises(InputError, match=f"test is named as a split and {name} is not"):
        read_folder(str(tmp_path))


@pytest.mark.parametrize("file", ["loose.png", "IM0001", "train/loose.jpg"])
def test_a_picture_without_a_class_is_named(tmp_path, file):
    for name in ("train/a", "train/b", "test/a", "test/b"):
        draw(tmp_path / name / "1.png")
    (tmp_path / "train/licence").write_text("not a picture")
    assert len(read_folder(str(tmp_path))[1]) == 4
    draw(tmp_path / "loose.png")
    (tmp_path / "loose.png").rename(tmp_path / file)
    with pytest.raises(InputError, match=f"{file}: a picture outside the class folder"):
        read_folder(str(tmp_path))


def test_a_link_to_nowhere_is_named(tree):
    (tree / "normal/gone.png").symlink_to("/nowhere/gone.png")
    with pytest.raises(InputError, match=r"gone.png: a link to a file that is not"):
        read_folder(str(tree))


def test_links_to_folders_are_followed_once(tree, tmp_path_factory):
    before = len(read_folder(str(tree))[1])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    draw(elsewhere / "one.png")
    draw(elsewhere / ".thumbnails/one.png")
    (tree / "normal/more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(tree / "normal")
    (tree / "normal/above").symlink_to(tree)  # not the pictures of other classes
    (tree / "covid19/a link first").symlink_to(tree / "covid19/deep")
    files = [example.file for example in read_folder(str(tree))[1]]
    assert len(files) == len(set(files)) == before + 1
    assert {"normal/more/one.png", "covid19/deep/c.png"} <= set(files)


@pytest.mark.parametrize("link", ["covid19/all", "covid19/same.jpg"])
def test_a_picture_behind_two_names_is_refused(tree, link):
    (tree / link).symlink_to(tree / "normal" / ("" if "all" in link else "a.jpg"))
    with pytest.raises(InputError, match=r"normal/a.jpg: is covid19/\S+ again, behind"):
        read_folder(str(tree))


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"nowhere: no such folder \(config.data.dir\)"
    ):
        read_folder(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"config.data.dir: must name a folder"):
        read_folder("")
    with pytest.raises(InputError, match="0 classes"):
        read_folder(str(tmp_path))


def manifest(tree: Path, text: str) -> str:
    path = tree / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_manifest_with_every_column(tree):
    path = manifest(
        tree,
        "\ufeffpath,label,patient,source,split,sex,age,view,extra\n"
        'normal/a.jpg,normal,7,"Hospital, north",Train,F,61,PA,x\n'
        " covid19/deep/c.png , covid19 ,,,val,,,,\r\n",
    )
    names, (first, second) = read_manifest(path)
    assert names == ("covid19", "normal")
    assert (first.file, first.label, first.patient) == ("normal/a.jpg", 1, "7")
    assert (first.source, first.split) == ("Hospital, north", "train")
    assert first.metadata == {"sex": "F", "age": "61", "view": "PA"}
    assert (second.file, second.label, second.patient) == ("covid19/deep/c.png", 0, "")
    assert second.split == "validation"
    assert second.open().startswith(b"\x89PNG")


def test_paths_are_relative_to_the_folder_when_one_is_given(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "list.csv"
    elsewhere.write_text("path,label\na.jpg,x\nb.png,y\n")
    _, examples = read_manifest(str(elsewhere), str(tree / "normal"))
    assert [e.file for e in examples] == ["a.jpg", "b.png"]
    assert examples[1].open()
    with pytest.raises(InputError, match=r"list.csv, row 1: a.jpg: no such file"):
        read_manifest(str(elsewhere))


def test_several_labels_make_a_multi_label_set(tree):
    path = manifest(
        tree,
        "path,label\nnormal/a.jpg,edema|effusion\nnormal/b.png,none\n"
        "covid19/deep/c.png,effusion\n",
    )
    names, examples = read_manifest(path)
    assert names == ("edema", "effusion", "none")
    assert [e.label for e in examples] == [(1, 1, 0), (0, 0, 1), (0, 1, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty table"),
        ("file,label\nnormal/a.jpg,x\n", "has no column 'path'; found file, label"),
        ("path,label\nnormal/a.jpg,x\nnormal/b.png,\n", "row 2: label='': is empty"),
        ("path,label\nnormal/a.jpg,x|\nnormal/b.png,y\n", r"row 1: label='x\|'"),
        (
            "path,label\nnormal/a.jpg,x\nnormal/z.png,y\n",
            "row 2: normal/z.png: no such",
        ),
        ("path,label\nnormal/a.jpg,x\n,y\n", "row 2: an empty path: no such file"),
        (
            "path,label\nnormal/a.jpg,x\nnormal/a.jpg,y\n",
            "row 2: normal/a.jpg is listed",
        ),
        ("path,label\nnormal/a.jpg,x\nnormal/b.png,x\n", r"1 classes \(x\); needs two"),
        (
            "path,label,split\nnormal/a.jpg,x,\nnormal/b.png,y,dev\n",
            "row 2: split='dev'",
        ),
    ],
)
def test_a_bad_manifest_is_one_line_that_names_the_row(tree, text, message):
    with pytest.raises(InputError, match=message) as error:
        read_manifest(manifest(tree, text))
    assert "manifest.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", ["./normal/a.jpg", "covid19/../normal/a.jpg", "link"])
def test_a_file_under_two_names_is_listed_twice(tree, other):
    """Else it may be in train and in test."""
    (tree / "link").symlink_to(tree / "normal/a.jpg")
    text = f"path,label\nnormal/a.jpg,x\nnormal/b.png,y\n{other},x\n"
    with pytest.raises(
        InputError, match=f"row 3: {other} is listed twice, before as normal/a.jpg"
    ):
        read_manifest(manifest(tree, text))


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.csv: no such file"):
        read_manifest(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_manifest(str(tmp_path / "none.csv"), str(tmp_path / "nowhere"))
