"""Digests of content are remembered while the files stay as they are."""

import os
import time
from pathlib import Path

import pytest

from covjax.data import content
from covjax.data.builders._base import Example


class Files:
    """Pictures in a folder, whose every reading is noted."""

    def __init__(self, root: Path):
        self.root = root
        self.read: list[str] = []
        for name in ("a", "b"):
            self.write(name, b"content of " + name.encode())

    def write(self, name: str, text: bytes, age: float = 60.0):
        path = self.root / name
        path.write_bytes(text)
        os.utime(path, (time.time() - age,) * 2)

    def open(self, name: str) -> bytes:
        self.read.append(name)
        return (self.root / name).read_bytes()

    def digest(self, memory: Path, names=("a", "b"), options="", root=True) -> str:
        examples = [
            Example(file=n, label=0, open=lambda n=n: self.open(n)) for n in names
        ]
        where = self.root if root else None
        return content.content_digest(
            examples, where, options, memory, lambda items, total, what: items
        )


@pytest.fixture
def files(tmp_path) -> Files:
    (tmp_path / "set").mkdir()
    return Files(tmp_path / "set")


def test_content_is_read_once(files, tmp_path):
    first = files.digest(tmp_path)
    assert sorted(files.read) == ["a", "b"]
    assert files.digest(tmp_path) == first
    assert len(files.read) == 2


@pytest.mark.parametrize("text", [b"other", b"CONTENT OF a"])
def test_a_changed_file_is_read_again(files, tmp_path, text):
    first = files.digest(tmp_path)
    files.write("a", text, age=30.0)
    assert files.digest(tmp_path) != first
    assert len(files.read) == 4


def test_other_pictures_or_options_are_read(files, tmp_path):
    first = files.digest(tmp_path)
    assert files.digest(tmp_path, names=("b", "a")) != first
    assert files.digest(tmp_path, options="window=lung") == first
    assert len(files.read) == 6


def test_a_file_of_this_moment_is_not_trusted(files, tmp_path):
    files.write("a", b"one", age=0.0)
    first = files.digest(tmp_path)
    files.write("a", b"two", age=0.0)
    assert files.digest(tmp_path) != first


def test_content_decides_and_not_the_place(files, tmp_path):
    (tmp_path / "copy").mkdir()
    other = Files(tmp_path / "copy")
    assert other.digest(tmp_path) == files.digest(tmp_path)
    assert files.digest(tmp_path, root=False) == files.digest(tmp_path)


def test_masks_count(files, tmp_path):
    def digest(mask):
        examples = [Example(file="a", label=0, open=lambda: b"a", mask=lambda: mask)]
        return content.content_digest(
            examples, None, "", tmp_path, lambda items, total, what: items
        )

    assert digest(b"1") != digest(b"2")
