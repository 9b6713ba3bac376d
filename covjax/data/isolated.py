"""GDCM in a process of its own: a damaged file can end it, but not the caller.

GDCM is the one free decoder of JPEG-LS and lossless JPEG. On damaged streams its C++
code throws where nobody catches, which ends the process, so it runs in a child with a
limit on memory and time. The child lives as long as its parent and serves one frame
after the other (about a second to start, then as fast as in the same process).

Request: length, frame number, then the DICOM file. Answer: status, length, then the
frame as an NPY array or the reason why there is none.
"""

import atexit
import io
import os
import select
import struct
import subprocess
import sys
import threading
import time
from typing import IO

import numpy as np

from covjax.data.dicom_tags import TAGS

SECONDS = 20.0  # for one frame
MEMORY = 2**32  # bytes of address space

_REQUEST, _ANSWER = struct.Struct("<QQ"), struct.Struct("<BQ")
_lock = threading.Lock()
_child: subprocess.Popen[bytes] | None = None
_owner = 0  # process that started the child: a fork must not share its pipes


def decode(content: bytes, index: int) -> np.ndarray:
    """Stored values of one frame; raises `RuntimeError` where GDCM cannot."""
    with _lock:
        child = _running()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(_REQUEST.pack(len(content), index) + content)
            child.stdin.flush()
            deadline = time.monotonic() + SECONDS
            status, size = _ANSWER.unpack(_read(child.stdout, _ANSWER.size, deadline))
            answer = _read(child.stdout, size, deadline)
        except (OSError, EOFError, TimeoutError) as error:
            _stop()
            raise RuntimeError(f"GDCM gave up ({type(error).__name__})") from error
    if status:
        raise RuntimeError(answer.decode(errors="replace"))
    return np.lib.format.read_array(io.BytesIO(answer), allow_pickle=False)


def _running() -> subprocess.Popen[bytes]:
    global _child, _owner
    if _child is not None and _owner == os.getpid() and _child.poll() is not None:
        _stop()  # it ended by itself; its pipes are still open
    if _child is None or _owner != os.getpid():
        _child = subprocess.Popen(
            [sys.executable, "-m", "covjax.data.isolated"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # its libraries print what they dislike
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        _owner = os.getpid()
        atexit.register(_stop)
    return _child


def _stop() -> None:
    global _child
    child, _child = _child, None
    if child is None or _owner != os.getpid():
        return
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:  # what it was not told any more
            pass


def _read(stream: IO[bytes], size: int, deadline: float) -> bytes:
    """Exactly `size` bytes before the deadline."""
    parts = []
    while size:
        left = max(deadline - time.monotonic(), 0)
        if not select.select([stream], [], [], left)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), min(size, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _serve() -> None:
    """The child: answers until its parent is gone."""
    # gdcm imports a module "dl" if it finds one, even a folder of data
    sys.path = [place for place in sys.path if place not in ("", os.getcwd())]
    import resource

    import pydicom
    from pydicom.pixels import pixel_array

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not stand among the answers
    while request := sys.stdin.buffer.read(_REQUEST.size):
        size, index = _REQUEST.unpack(request)
        content = sys.stdin.buffer.read(size)
        try:
            header = pydicom.dcmread(
                io.BytesIO(content), force=True, specific_tags=TAGS
            )
            array = pixel_array(header, index=index, decoding_plugin="gdcm")
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array, allow_pickle=False)
            status, answer = 0, stream.getvalue()
        except Exception as error:  # anything: the parent makes one line of it
            reason = str(error).split(": ")[-1]  # after the name of the plugin
            status, answer = 1, " ".join(reason.split()).encode()[:500]
        answers.write(_ANSWER.pack(status, len(answer)) + answer)
        answers.flush()


if __name__ == "__main__":
    _serve()
