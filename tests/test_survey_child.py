"""The survey's trainings: signals reach them once, errors and bars pass through."""

import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from benchmarks import survey_child
from covjax.training.loop import Interrupt

ROOT = Path(__file__).resolve().parents[1]
# stands for covjax.train: at the first signal it saves, a second one ends it at once
CHILD = """
import os, signal, sys, time
from pathlib import Path
print("terminal", sys.stderr.isatty(), file=sys.stderr)
if sys.stderr.isatty():
    print("columns", os.get_terminal_size(2).columns, file=sys.stderr)
count = 0
def note(number, frame):
    global count, last
    count, last = count + 1, number
    if count > 1:
        os._exit(1)
    if sys.argv[1] != "mute":
        print("stopping: saving first; once more to stop", file=sys.stderr, flush=True)
if sys.argv[1] == "fail":
    print("| 3%", end="\\r", file=sys.stderr)
    print("error: no such picture: ä.png", file=sys.stderr)
    sys.exit(2)
signal.signal(signal.SIGINT, note)
signal.signal(signal.SIGTERM, note)
Path("began").touch()
for _ in range(3000):  # an orphan ends too
    if count:
        break
    time.sleep(0.01)
time.sleep(2.5)
Path("saved").write_text(str(count))
sys.exit(128 + last)
"""
DRIVER = """
import sys
from benchmarks import survey
status, error = survey.train([sys.argv[1]])
print(error)
sys.exit(status)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a survey's training in a group of its own, in an empty folder."""
    (tmp_path / "driver").mkdir()
    driver = tmp_path / "driver" / "driver.py"
    driver.write_text(DRIVER)
    folder = tmp_path / "folder"
    (folder / "covjax").mkdir(parents=True)
    (folder / "covjax" / "__init__.py").touch()
    (folder / "covjax" / "train.py").write_text(CHILD)

    def begin(word, **streams):
        return subprocess.Popen(
            [sys.executable, str(driver), word],
            cwd=folder,  # where python -m covjax.train finds the stand-in
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
            stdout=subprocess.PIPE,
            **streams,
        )

    return folder, begin


@pytest.mark.parametrize(
    ("word", "number", "send"),
    [
        ("told", signal.SIGTERM, os.kill),
        ("told", signal.SIGINT, os.kill),
        ("told", signal.SIGTERM, os.killpg),
        ("told", signal.SIGINT, os.killpg),  # Ctrl-C
        ("mute", signal.SIGTERM, os.kill),
    ],
)
def test_a_signal_reaches_the_training_once_and_is_awaited(start, word, number, send):
    folder, begin = start
    process = begin(word, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (folder / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    send(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (folder / "saved").read_text() == "1"


def test_the_reason_is_handed_back_and_streams_too(start):
    _, begin = start
    out, errors = begin("fail", stderr=subprocess.PIPE).communicate(timeout=60)
    assert out.decode() == "no such picture: ä.png\n"
    assert "terminal False" in errors.decode()
    assert "error: no such picture: ä.png" in errors.decode()


def test_a_terminal_stays_one(start):
    """Else covjax draws no bars."""
    _, begin = start
    here, there = pty.openpty()
    termios.tcsetwinsize(there, (24, 77))
    process = begin("fail", stderr=there)
    os.close(there)
    told = b""
    try:
        while piece := os.read(here, 1000):
            told += piece
    except OSError:  # the other end is closed
        pass
    os.close(here)
    process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"terminal True\r\ncolumns 77\r\n| 3%\rerror: " in told


def test_a_training_that_stops_says_what_is_looked_for(capsys):
    Interrupt().note(signal.SIGTERM, None)
    assert survey_child.STOPPING.decode() in capsys.readouterr().err


def test_errors_are_shortened():
    assert survey_child.last_error("no error") == ""
    assert survey_child.last_error("error: a\nerror: b\r\nmore") == "b"
    traceback = "Traceback:\n  raise\njaxlib.XlaRuntimeError: INTERNAL: c\n"
    assert survey_child.last_error(traceback) == "XlaRuntimeError: INTERNAL: c"
    long = survey_child.last_error("error: " + "long " * 100)
    assert len(long) < 210
    assert long.endswith("long ...")
