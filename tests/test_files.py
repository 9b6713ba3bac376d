"""Files are whole or not there."""

import json

import numpy as np
import pytest

from covjax import files


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_what_is_written_is_there(tmp_path):
    files.write_json(tmp_path / "a.json", {"x": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, None]}
    files.write_arrays(tmp_path / "a.npz", {"x/y": np.arange(3)})
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["x/y"].tolist() == [0, 1, 2]
    assert sorted(names(tmp_path)) == ["a.json", "a.npz"]


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("before")
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(tmp_path / "file", {})
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_an_error_half_way_leaves_what_was_there(tmp_path):
    def fail():
        with files.whole(tmp_path / "file") as unfinished:
            unfinished.write_text("half")
            raise ZeroDivisionError

    (tmp_path / "file").write_text("before")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "file", {"auc": float("nan")})
    assert not names(tmp_path)
