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


def test_a_file_with_its_old_size_and_time_is_read_again(files, tmp_path):
    first, facts = files.digest(tmp_path), (files.root / "a").stat()
    files.write("a", b"CONTENT OF a")
    os.utime(files.root / "a", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert files.digest(tmp_path) != first


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


def digest_of(examples, memory: Path, root: Path | None = None) -> str:
    return content.content_digest(
        examples, root, "", memory, lambda items, total, what: items
    )


class TestPaths:
    """Examples that name their files need no folder that holds them."""

    def example(self, files: Files, mask: str = "") -> Example:
        paths = [files.root / name for name in ("a", mask) if name]
        return Example(
            file="a",
            label=0,
            open=lambda: files.open("a"),
            mask=(lambda: files.open(mask)) if mask else None,
            paths=tuple(paths),
        )

    def test_content_is_read_once_wherever_it_lies(self, files, tmp_path):
        first = digest_of([self.example(files, "b")], tmp_path)
        assert digest_of([self.example(files, "b")], tmp_path) == first
        assert files.read == ["a", "b"]
        files.write("b", b"other", age=30.0)
        assert digest_of([self.example(files, "b")], tmp_path) != first

    def test_other_files_beside_them_do_not_count(self, files, tmp_path):
        digest_of([self.example(files)], tmp_path)
        files.write("b", b"other", age=30.0)
        digest_of([self.example(files)], tmp_path)
        assert files.read == ["a"]

    def test_another_mask_or_none_is_read(self, files, tmp_path):
        files.write("c", b"another mask")
        found = {digest_of([self.example(files, m)], tmp_path) for m in ("", "b", "c")}
        assert len(found) == 3


def test_masks_of_a_folder_are_not_those_of_before(files, tmp_path):
    """Where files are not named, too, a digest without masks is no digest with them."""
    plain = Example(file="a", label=0, open=lambda: b"a")
    masked = Example(file="a", label=0, open=lambda: b"a", mask=lambda: b"m")
    first = digest_of([plain], tmp_path, files.root)
    assert digest_of([masked], tmp_path, files.root) != first


class TestLinks:
    @pytest.fixture
    def linked(self, tmp_path) -> Files:
        """A set whose folder lies elsewhere, behind a link."""
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "set").mkdir()
        (tmp_path / "set/class").symlink_to(tmp_path / "elsewhere")
        return Files(tmp_path / "set/class")

    def digest(self, files: Files, memory: Path, named: bool) -> str:
        path = files.root / "a"
        example = Example(
            file="class/a",
            label=0,
            open=path.read_bytes,
            paths=(path,) if named else (),
        )
        return digest_of([example], memory, files.root.parent)

    @pytest.mark.parametrize("named", [False, True])
    def test_a_file_behind_a_linked_folder_is_read_again(self, linked, tmp_path, named):
        first = self.digest(linked, tmp_path, named)
        linked.write("a", b"other", age=30.0)
        assert self.digest(linked, tmp_path, named) != first

    @pytest.mark.parametrize("named", [False, True])
    def test_a_link_to_another_folder_is_read_again(self, linked, tmp_path, named):
        first = self.digest(linked, tmp_path, named)
        (tmp_path / "other").mkdir()
        other = Files(tmp_path / "other")
        other.write("a", b"CONTENT OF a")
        facts = (tmp_path / "elsewhere/a").stat()
        os.utime(other.root / "a", ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        linked.root.unlink()
        linked.root.symlink_to(other.root)
        assert self.digest(linked, tmp_path, named) != first

    def test_loops_end_and_links_to_nowhere_are_no_error(self, linked, tmp_path):
        (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
        (tmp_path / "elsewhere/self").symlink_to(tmp_path / "elsewhere/self")
        (tmp_path / "set/gone.png").symlink_to("/nowhere/gone.png")
        first = self.digest(linked, tmp_path, named=False)
        linked.write("a", b"other", age=30.0)
        assert self.digest(linked, tmp_path, named=False) != first


def test_names_that_are_not_utf8_are_taken(files, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    files.write(name, b"content")
    assert len(files.digest(tmp_path, names=(name,))) == 64
    assert files.digest(tmp_path, names=(name,))
    assert files.read == [name]
