"""The cache survives two processes at once, a kill, and damage."""

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from covjax.data import cache
from covjax.data.imageset import ImageSet


def image_set(n=6, masks=True) -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(0, 256, (n, 8, 8, 1), np.uint8),
        labels=(np.arange(n) % 2).astype(np.int32),
        class_names=("normal", "covid19"),
        patients=np.array([f"P{i // 2}" for i in range(n)]),
        sources=np.full(n, "ä"),
        splits=np.full(n, ""),
        files=np.array([f"{i}.png" for i in range(n)]),
        masks=rng.integers(0, 4, (n, 8, 8), np.uint8) if masks else None,
        metadata={"age": np.arange(n), "sex": np.full(n, "F")},
        name="small",
    )


def build(made: ImageSet):
    def inner(allocate):
        images = allocate("images", made.images.shape)
        images[:] = made.images
        return dataclasses.replace(made, images=images)

    return inner


def refuse(allocate):
    raise AssertionError("built although it is in the cache")


def assert_same(a: ImageSet, b: ImageSet):
    assert a.fingerprint() == b.fingerprint()
    assert a.name == b.name
    assert a.metadata.keys() == b.metadata.keys()
    for name in a.metadata:
        np.testing.assert_array_equal(a.metadata[name], b.metadata[name])
    assert (a.masks is None) == (b.masks is None)
    if a.masks is not None:
        np.testing.assert_array_equal(a.masks, b.masks)


@pytest.mark.parametrize("masks", [True, False])
def test_built_once_then_read(tmp_path, masks):
    made = image_set(masks=masks)
    assert_same(cache.cached("key", build(made), tmp_path), made)
    again = cache.cached("key", refuse, tmp_path)
    assert_same(again, made)
    assert isinstance(again.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.images[0] = 0


def test_another_key_is_another_entry(tmp_path):
    cache.cached("a", build(image_set(4)), tmp_path)
    assert len(cache.cached("b", build(image_set(5)), tmp_path)) == 5
    assert len(cache.cached("a", refuse, tmp_path)) == 4


def truncate(path: Path):
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["images.npy", "masks.npy", "columns.npz", "entry.json"]
)
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_entry_is_built_again_with_a_message(tmp_path, name, damage):
    made = image_set()
    cache.cached("key", build(made), tmp_path)
    (path,) = tmp_path.glob(f"*/{name}")
    damage(path)
    told: list[str] = []
    assert_same(cache.cached("key", build(made), tmp_path, tell=told.append), made)
    assert len(told) == 1
    assert "is damaged" in told[0]
    assert "\n" not in told[0]
    assert_same(cache.cached("key", refuse, tmp_path), made)


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(allocate):
        allocate("images", (4, 8, 8, 1))[:] = 1
        raise ValueError("decoding")

    with pytest.raises(ValueError, match="decoding"):
        cache.cached("key", fail, tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


def test_a_full_disk_is_told_before_pictures_are_decoded(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device.*images.npy"):
        cache.cached("key", build(image_set()), tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".lock"]


# a process that builds slowly: it says when half of the pictures are written
PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from covjax.data import cache
from covjax.data.imageset import ImageSet
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
def build(allocate):
    print("building", flush=True)
    images = allocate("images", (100, 8, 8, 1))
    images[:50] = 7
    print("half", flush=True)
    time.sleep(pause)
    images[50:] = 7
    text = np.full(100, "")
    return ImageSet(images=images, labels=np.zeros(100, np.int32), class_names=("a",),
                    patients=text, sources=text, splits=text, files=text)
made = cache.cached("key", build, folder)
assert (made.images[:] == 7).all()
print("done", len(made), flush=True)
"""


def start(folder: Path, pause: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(folder), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen, word: str):
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"ended before {word!r}")


def test_two_processes_at_once_build_once(tmp_path):
    first = start(tmp_path, 2.0)
    read_until(first, "half")
    second = start(tmp_path, 0.0)
    outputs = [p.communicate(timeout=60) for p in (first, second)]
    assert first.returncode == second.returncode == 0
    assert "done 100" in outputs[0][0]
    assert outputs[1][0].splitlines() == ["done 100"]  # it never built
    assert "waiting" in outputs[1][1]


def test_a_kill_in_the_middle_leaves_no_entry_and_the_next_cleans_up(tmp_path):
    first = start(tmp_path, 60.0)
    read_until(first, "half")
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert len(list(tmp_path.glob(".*-*"))) == 1  # half an entry, out of the way
    begun = time.monotonic()
    out, err = start(tmp_path, 0.0).communicate(timeout=60)
    assert out.splitlines() == ["building", "half", "done 100"]
    assert err == ""
    assert time.monotonic() - begun < 30  # the lock died with its owner
    assert len(list(tmp_path.iterdir())) == 2  # the entry and its lock


def test_root(monkeypatch, tmp_path):
    monkeypatch.setenv("COVJAX_CACHE_DIR", str(tmp_path))
    assert cache.root() == tmp_path / "imagesets"
    assert cache.root("/x") == Path("/x/imagesets")
    monkeypatch.delenv("COVJAX_CACHE_DIR")
    assert cache.root() == Path.home() / ".cache/covjax/imagesets"
