"""One step on any number of devices, and epochs of it without the host.

Two ways to compile the same step, with the same numbers: `MeshRunner` (`jax.jit` with
shardings over a mesh, the default) and `PmapRunner` (`jax.pmap`). Each runs batches
that come from the host, and epochs over data that lie in device memory.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import flax.jax_utils
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from covjax.errors import InputError
from covjax.training.state import TrainState
from covjax.training.steps import Batch, take

AXIS = "batch"  # of the mesh, and of pmap
Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]
Sums = dict[str, jax.Array]  # each [steps of the dispatch]


def choose_devices(count: int, batch_size: int) -> list[jax.Device]:
    """The first `count` local devices (0: all of them).

    Raises:
      InputError: when there are fewer, or they cannot share a batch equally.
    """
    devices = jax.local_devices()
    if count > len(devices):
        raise InputError(
            f"config.train.devices={count}: this machine has {len(devices)}"
        )
    devices = devices[: count or None]
    if batch_size % len(devices):
        raise InputError(
            f"config.train.batch_size={batch_size}: must be a multiple of the "
            f"{len(devices)} devices; fewer can be set by config.train.devices"
        )
    return devices


def scans_are_fast(device: jax.Device) -> bool:
    """Whether an epoch should be one `lax.scan` on this device.

    XLA's CPU backend runs a convolution inside a loop on one thread and without its
    fast path: 20 steps of a four-layer net at 64 px took 76 s scanned and 6 s as
    single steps (2 cores, jax 0.10.1), so there the host repeats the step.
    """
    return device.platform != "cpu"


class MeshRunner:
    """A step under `jax.jit` over a mesh: state replicated, batches sharded.

    XLA sees the whole batch, so that BatchNorm and the gradient need no collective
    by hand. The state that is given is donated.
    """

    def __init__(self, step: Step, devices: list[jax.Device], scan: bool):
        self.mesh = jax.make_mesh(
            (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self.scan = scan
        self.everywhere = NamedSharding(self.mesh, PartitionSpec())
        self.sharded = NamedSharding(self.mesh, PartitionSpec(AXIS))

        def one(state, batch):
            batch = jax.lax.with_sharding_constraint(batch, self.sharded)
            state, sums = step(state, batch)
            return jax.lax.with_sharding_constraint(state, self.everywhere), sums

        self.one = jax.jit(one, donate_argnums=0)
        self.one_of = jax.jit(
            lambda state, data, rows: one(state, take(data, rows)), donate_argnums=0
        )
        self.all_of = jax.jit(
            lambda state, data, rows: jax.lax.scan(
                lambda s, r: one(s, take(data, r)), state, rows
            ),
            donate_argnums=0,
        )

    def place(self, tree: Any) -> Any:
        """A state or a resident set, whole on every device; it may share buffers."""
        return jax.device_put(tree, self.everywhere)

    def fetch(self, state: TrainState) -> TrainState:
        """The state as one replica, on the devices."""
        return state

    def scoring(self, batch_size: int) -> Any:
        """Where batches to score are placed: shared out if they can be."""
        if self.mesh.size == 1:
            return None  # as `Classifier` places them: nothing is compiled twice
        return self.everywhere if batch_size % self.mesh.size else self.sharded

    def epoch(
        self, state: TrainState, data: Batch, rows: np.ndarray
    ) -> Iterator[tuple[TrainState, Sums]]:
        """Runs the batches ``rows [steps, batch]`` of placed data.

        Yields after every dispatch: once, or step by step where scans are slow.
        """
        if self.scan:
            with jax.set_mesh(self.mesh):
                result = self.all_of(state, data, jax.device_put(rows, self.everywhere))
            yield result
            return
        for row in rows:
            with jax.set_mesh(self.mesh):
                placed = jax.device_put(row, self.sharded)
                state, sums = self.one_of(state, data, placed)
            yield state, sums

    def batches(
        self, state: TrainState, batches: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[TrainState, Sums]]:
        """Runs batches from the host, and yields after every step."""
        for batch in batches:
            with jax.set_mesh(self.mesh):
                state, sums = self.one(state, jax.device_put(batch, self.sharded))
            yield state, sums


class PmapRunner:
    """A step under `jax.pmap`: every device has its own state and part of the batch.

    The step must be made for the axis `AXIS` (`Task.axis_name`, and the network's).
    """

    def __init__(self, step: Step, devices: list[jax.Device], scan: bool):
        self.devices = devices
        self.scan = scan

        def one_of(state, data, rows):
            return step(state, take(data, rows))

        def all_of(state, data, rows):
            return jax.lax.scan(lambda s, r: one_of(s, data, r), state, rows)

        def compiled(function):
            return jax.pmap(function, AXIS, devices=devices, donate_argnums=0)

        self.one, self.one_of = compiled(step), compiled(one_of)
        self.all_of = compiled(all_of)

    def place(self, tree: Any) -> Any:
        """A state or a resident set, one copy a device."""
        return flax.jax_utils.replicate(tree, self.devices)

    def fetch(self, state: TrainState) -> TrainState:
        """The state of the first device; all are equal."""
        return flax.jax_utils.unreplicate(state)

    def scoring(self, _batch_size: int) -> None:
        """As `MeshRunner.scoring`: on the first device."""

    def split(self, array: np.ndarray, axis: int = 0) -> np.ndarray:
        """Cuts the batch axis into one part a device, in front."""
        return np.stack(np.split(array, len(self.devices), axis))

    def epoch(
        self, state: TrainState, data: Batch, rows: np.ndarray
    ) -> Iterator[tuple[TrainState, Sums]]:
        """As `MeshRunner.epoch`."""
        if self.scan:
            state, sums = self.all_of(state, data, self.split(rows, axis=1))
            yield state, flax.jax_utils.unreplicate(sums)
            return
        for row in rows:
            state, sums = self.one_of(state, data, self.split(row))
            yield state, flax.jax_utils.unreplicate(sums)

    def batches(
        self, state: TrainState, batches: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[TrainState, Sums]]:
        """As `MeshRunner.batches`."""
        for images, labels in batches:
            batch = (self.split(images), self.split(labels))
            state, sums = self.one(state, batch)
            yield state, flax.jax_utils.unreplicate(sums)


Runner = MeshRunner | PmapRunner


def make_runner(step: Step, parallel: str, devices: list[jax.Device]) -> Runner:
    """The runner of ``config.train.parallel``: "jit" or "pmap"."""
    kind = PmapRunner if parallel == "pmap" else MeshRunner
    return kind(step, devices, scans_are_fast(devices[0]))


def host() -> jax.Device | None:
    """The processor beside the accelerators; None where JAX_PLATFORMS leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def enable_compilation_cache(directory: str | Path | None = None) -> None:
    """Keeps compiled programs on disk, for all later runs.

    Args:
      directory: default: ``$JAX_COMPILATION_CACHE_DIR``, else ``xla`` in
        ``$COVJAX_CACHE_DIR`` or ``~/.cache/covjax``.
    """
    if directory is None:
        home = os.environ.get("COVJAX_CACHE_DIR") or "~/.cache/covjax"
        directory = Path(home).expanduser() / "xla"
        directory = os.environ.get("JAX_COMPILATION_CACHE_DIR") or directory
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
