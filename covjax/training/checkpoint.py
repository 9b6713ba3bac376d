"""Checkpoints by orbax: written behind training's back, verified when they are read.

orbax restores a flipped bit and another dtype without a word; hence a SHA-256 digest
of every leaf lies beside the arrays, and a damaged checkpoint gives way to the one
before it, with a message.
"""

import errno
import functools
import hashlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from covjax.errors import InputError
from covjax.training.state import TrainState

FULL = ("No space left on device", "RESOURCE_EXHAUSTED")
Arrays = dict[str, np.ndarray]  # path: leaf


class Damaged(Exception):
    """A checkpoint that is not what was written."""


class Checkpoints:
    """The checkpoints of one run: the two latest, and the best.

    The one before the latest is kept to fall back to. The number of a checkpoint is
    the number of updates it has seen.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]):
        # orbax tells of every save, and of errors that are raised here as well
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.directory, self.say = directory, say
        ignore_late_reads()
        self.manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,  # of a process that was killed
                best_fn=lambda m: m["improvement"],  # without it none is written
                preservation_policy=policy.AnyPreservationPolicy(
                    [
                        policy.LatestN(2),
                        policy.BestN(get_metric_fn=lambda m: m["improvement"], n=1),
                    ]
                ),
            ),
        )

    def save(self, state: TrainState, record: dict[str, Any], improvement: int) -> None:
        """Starts to write; `wait` tells when it is on disk.

        Args:
          state: of one replica.
          record: JSON values that belong to it: the history so far.
          improvement: how often the validation measure had improved when this was
            the best state, -1 if it was not; never NaN, for which orbax would delete
            the best checkpoint.
        """
        arrays = to_arrays(state)
        step = int(arrays["step"])
        if step in self.manager.all_steps():  # an interrupt right after a save
            return
        # through JSON: a copy, since the caller goes on changing its record
        record = json.loads(json.dumps(record))
        sealed: dict[str, Any] = {"record": record, "digests": digests(arrays)}
        sealed["seal"] = sha256(canonical(sealed))
        self.manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(unflatten_dict(arrays, sep="/")),
                record=ocp.args.JsonSave(sealed),
            ),
            metrics={"improvement": improvement},
        )

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises what went wrong."""
        try:
            self.manager.wait_until_finished()
        except Exception as error:
            # tensorstore has no type of its own for it
            if any(word in str(error) for word in FULL):
                raise OSError(errno.ENOSPC, FULL[0], str(self.directory)) from error
            raise

    def close(self) -> None:
        """Waits, and ends orbax's threads."""
        self.manager.close()

    def restore_latest(
        self, template: Callable[[dict[str, Any]], TrainState]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """The latest whole checkpoint, or None where there is none.

        Args:
          template: makes a state of the right structure from the record.

        Raises:
          InputError: when every checkpoint is damaged.
        """
        steps = sorted(self.manager.all_steps(), reverse=True)
        for step in steps:
            try:
                state, record = self.restore(step, template)
            except Damaged as error:
                self.say(f"checkpoint {step} is damaged ({error}); trying the previous")
                continue
            for later in steps[: steps.index(step)]:
                self.manager.delete(later)  # or orbax would refuse to save them anew
            return state, record
        if steps:
            raise InputError(
                f"{self.directory}: all {len(steps)} checkpoints are damaged; "
                "remove the directory to start anew"
            )
        return None

    def restore(
        self, step: int, template: Callable[[dict[str, Any]], TrainState]
    ) -> tuple[TrainState, dict[str, Any]]:
        """The verified checkpoint of one step; raises `Damaged` if it is not whole."""
        try:
            sealed = self.manager.restore(
                step, args=ocp.args.Composite(record=ocp.args.JsonRestore())
            )["record"]
            seal = sealed.pop("seal")
        except Exception as error:  # orbax has no type of its own for damaged files
            raise Damaged(f"its record: {first_line(error)}") from error
        if seal != sha256(canonical(sealed)):
            raise Damaged("its record has another digest than was written")
        state = template(sealed["record"])
        wanted = to_arrays(state)
        try:
            tree = self.manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(unflatten_dict(wanted, sep="/"))
                ),
            )["state"]
        except Exception as error:
            raise Damaged(first_line(error)) from error
        arrays = flatten_dict(tree, sep="/")
        for name, digest in digests(arrays).items():
            if sealed["digests"].get(name) != digest:
                raise Damaged(f"{name} has another digest than was written")
        return from_arrays(state, arrays), sealed["record"]


def to_arrays(state: TrainState) -> Arrays:
    """Every leaf by its path, on the host; the key as its data."""
    state = state.replace(key=jax.random.key_data(state.key))
    flat = flatten_dict(serialization.to_state_dict(state), sep="/")
    # copies: the leaves may be views of buffers that the next step is given
    return {name: np.array(leaf) for name, leaf in flat.items()}


def from_arrays(state: TrainState, arrays: Arrays) -> TrainState:
    """The state of the same structure as `state` with the values of `arrays`."""
    raw = state.replace(key=jax.random.key_data(state.key))
    names = flatten_dict(
        serialization.to_state_dict(raw), sep="/", keep_empty_nodes=True
    )
    values = unflatten_dict({n: arrays.get(n, {}) for n in names}, sep="/")
    raw = serialization.from_state_dict(raw, values)
    return raw.replace(key=jax.random.wrap_key_data(raw.key))


def digests(arrays: Arrays) -> dict[str, str]:
    """SHA-256 of each leaf's dtype, shape and bytes."""
    found = {}
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        kind = f"{array.dtype}{array.shape}".encode()
        found[name] = sha256(kind, raw.data)
    return found


def sha256(*parts: Any) -> str:
    """Hexadecimal digest of the parts, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def canonical(values: dict[str, Any]) -> bytes:
    """JSON with sorted keys."""
    return json.dumps(values, sort_keys=True).encode()


@functools.cache  # once a process
def ignore_late_reads() -> None:
    """Keeps tensorstore from printing a traceback for each read it gave up.

    orbax closes its event loop at the first array that cannot be read; the others,
    which end later, find it closed and say so on standard error.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def first_line(error: Exception) -> str:
    """The first line of an error's text, cut short."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
