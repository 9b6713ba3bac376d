"""The training that the survey starts: its output passes, signals reach it once."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Sequence

STOPPING = b"stopping: saving first"  # says covjax.training.loop at the first signal
PATIENCE_SECONDS = 1.0  # in which it says so, unless it is busy
KEPT_BYTES = 20_000  # of the output's end
KEPT_LETTERS = 200  # of an error
# of covjax.cli, or the end of a traceback
ERROR = re.compile(r"(?:\berror: |(?=\b\w+Error: ))([^\r\n]+)")


def train(words: Sequence[str]) -> tuple[int, str]:
    """Runs covjax.train, which ends its epoch and saves at SIGINT and SIGTERM.

    Returns:
      Its status, 128 and the signal's number after one; and its last error, or "".
    """
    command = [sys.executable, "-m", "covjax.train", *words]
    print(" ".join(["\npython", *command[1:]]), file=sys.stderr, flush=True)
    with noted_signals() as caught:
        here, there = channel(sys.stderr.fileno())
        child = subprocess.Popen(command, stdout=there, stderr=there)
        os.close(there)
        output = Output(here, sys.stderr.fileno())
        output.start()
        status = wait(child, output, caught)
        output.join(timeout=5)  # it has no end while a process of the child's lives
    if caught:
        return 128 + caught[0], ""
    return (128 - status if status < 0 else status), last_error(
        output.tail.decode(errors="replace")
    )


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
    """While it is entered, SIGINT and SIGTERM are put into this list."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda n, _: caught.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def channel(output: int) -> tuple[int, int]:
    """Ends to read from and to write to.

    They are a terminal where `output` is one: bars are drawn on terminals alone.
    """
    if not os.isatty(output):
        return os.pipe()
    here, there = pty.openpty()
    termios.tcsetwinsize(there, termios.tcgetwinsize(output))
    tty.setraw(there)  # the outer terminal turns newlines into its own
    return here, there


class Output(threading.Thread):
    """Passes on what a child writes, as it comes.

    Attributes:
      tail: the last of it.
      stopping: whether the child has said that it is about to stop.
    """

    def __init__(self, source: int, target: int):
        super().__init__(daemon=True)
        self.source, self.target = source, target
        self.tail, self.stopping = b"", False

    def run(self) -> None:
        """Ends with the output, or where nobody reads it."""
        with (
            contextlib.suppress(OSError),  # a terminal that nobody writes to any more
            open(self.target, "wb", closefd=False) as target,
            open(self.source, "rb", buffering=0) as source,
        ):
            while piece := source.read(2**16):
                told = self.tail + piece
                self.stopping = self.stopping or STOPPING in told
                self.tail = told[-KEPT_BYTES:]
                target.write(piece)
                target.flush()


def wait(child: subprocess.Popen, output: Output, caught: list[int]) -> int:
    """The child's status; passes on a signal that it has not had by itself.

    Ctrl-C, and what a queue sends to all processes of a job, reach it without us, and
    a second signal would end it before it has saved.
    """
    while not caught:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=0.1)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and not output.stopping:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(timeout=0.05)
    if not output.stopping:
        child.send_signal(caught[0])
    return child.wait()


def last_error(text: str) -> str:
    """The last error that the text tells of, shortened; "" where there is none."""
    found = ERROR.findall(text)
    if not found:
        return ""
    error = found[-1].strip()
    if len(error) <= KEPT_LETTERS:
        return error
    return f"{error[:KEPT_LETTERS].rstrip()} ..."
