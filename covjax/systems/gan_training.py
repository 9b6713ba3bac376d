"""The epochs of a GAN: resumed, with a sheet of samples each, and what it draws."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from covjax.data.imageset import ImageSet
from covjax.data.order import epoch_order, steps_per_epoch, training_batches
from covjax.errors import InputError
from covjax.models.gan import NOISE
from covjax.systems.gan import Gan, create, generate, step
from covjax.training import parallel
from covjax.training.checkpoint import Checkpoints
from covjax.training.history import Record
from covjax.training.logging import Log, say
from covjax.training.loop import Interrupt, Interrupted
from covjax.training.state import TrainState

SHEETS, ROWS, COLUMNS = "sheets", 4, 8  # pictures of a sample sheet


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and in which portions.

    Attributes:
      epochs: over the pictures.
      batch_size: real pictures of a step, and as many synthetic ones.
      checkpoint_epochs: from one checkpoint to the next.
      seed: of the start, the noise and the order.
      devices: to share a batch; 0: all.
    """

    epochs: int
    batch_size: int
    checkpoint_epochs: int
    seed: int
    devices: int


def train_gan(gan: Gan, images: ImageSet, workdir: Path, schedule: Schedule) -> Any:
    """Trains both networks, or goes on, or reads what was finished.

    Writes checkpoints, ``log.jsonl`` and ``sheets/epoch-NNNN.png``, a sheet of
    synthetic pictures of the same noise after every epoch.

    Args:
      gan: out of `make_gan`.
      images: real pictures of the GAN's shape.
      workdir: of this GAN alone; made if missing.
      schedule: epochs, batches, checkpoints.

    Returns:
      ``params`` and ``batch_stats`` of the generator.

    Raises:
      InputError: for other pictures than the checkpoints were trained on, or a loss
        that is not finite.
      Interrupted: after SIGINT or SIGTERM, at the end of the epoch.
    """
    (workdir / SHEETS).mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir / "checkpoints", say)
    try:
        found = checkpoints.restore_latest(lambda _: create(gan, schedule.seed))
        fingerprint = images.fingerprint()
        state, record = create(gan, schedule.seed), Record(data=fingerprint)
        if found is not None:
            state, record = found[0], Record(**found[1])
        if record.data != fingerprint:
            raise InputError(
                f"{workdir}: belongs to a run on other training pictures; choose "
                "another --workdir"
            )
        log = Log(workdir, record.history, schedule.epochs, progress=True)
        try:
            state = train_epochs(gan, state, record, images, workdir, schedule, log,
                                 checkpoints)  # fmt: skip
        finally:
            log.close()
    finally:
        checkpoints.close()
    return {
        "params": state.params["generator"],
        "batch_stats": state.batch_stats["generator"],
    }


def train_epochs(
    gan: Gan,
    state: TrainState,
    record: Record,
    images: ImageSet,
    workdir: Path,
    schedule: Schedule,
    log: Log,
    checkpoints: Checkpoints,
) -> TrainState:
    """The epochs that are left: train, draw the sheet, save, tell; `record` goes on."""
    devices = parallel.choose_devices(schedule.devices, schedule.batch_size)
    runner = parallel.make_runner(partial(step, gan), "jit", devices)
    resident = runner.place((images.images, images.labels))
    state = runner.place(state)
    with Interrupt() as interrupt:
        while record.epoch < schedule.epochs and not interrupt.number:
            clock = time.perf_counter()
            order = epoch_order(schedule.seed, record.epoch, len(images))
            rows = training_batches(order, schedule.batch_size)
            with log.bar_of(record, rows.size):
                for placed, sums in runner.epoch(state, resident, rows):
                    state = placed
                    record.add({k: float(np.sum(v)) for k, v in sums.items()})
                    log.advance(record)
            write_sheet(gan, runner.fetch(state), record.epoch + 1, workdir)
            seconds = time.perf_counter() - clock
            record.finish_epoch(epoch_row(record, seconds, steps_per_epoch(
                len(images), schedule.batch_size
            )))  # fmt: skip
            last = record.epoch == schedule.epochs or interrupt.number
            if last or record.epoch % schedule.checkpoint_epochs == 0:
                checkpoints.save(runner.fetch(state), asdict(record), -1)
                checkpoints.wait()
                log.report(record.history)
    if interrupt.number:
        raise Interrupted(
            interrupt.number,
            f"interrupted after {record.epoch} of {schedule.epochs} epochs of the GAN; "
            "saved: the same command goes on from here",
        )
    return runner.fetch(state)


def epoch_row(record: Record, seconds: float, steps: int) -> dict[str, Any]:
    """What the log says of the running epoch; stops a GAN that has come apart."""
    totals, epoch = record.totals, record.epoch + 1
    if not np.isfinite(totals["loss"] + totals["generator_loss"]):
        raise InputError(
            f"the GAN's loss is not finite in epoch {epoch}: try a lower "
            "config.system.kwargs.learning_rate"
        )
    return {
        "epoch": epoch,
        "step": epoch * steps,
        "loss": totals["loss"] / totals["count"],
        "generator_loss": totals["generator_loss"] / totals["count"],
        "real_called_real": totals["correct"] / totals["count"],
        "images_per_second": totals["count"] / seconds,
        "seconds": seconds,
        "best": False,
    }


@partial(jax.jit, static_argnames="gan")
def _drawn(gan: Gan, variables: Any, noise: jax.Array, labels: jax.Array) -> jax.Array:
    pictures, _ = generate(
        gan, variables["params"], variables["batch_stats"], noise, labels, train=False
    )
    return jnp.round((pictures + 1) * 127.5).astype(jnp.uint8)


def synthesise(
    gan: Gan, variables: Any, labels: np.ndarray, *, seed: int, batch_size: int
) -> np.ndarray:
    """Synthetic pictures, uint8 ``[n, height, width, channels]``, one a label.

    Args:
      gan: out of `make_gan`.
      variables: of the generator, out of `train_gan`; its running statistics are used.
      labels: int ``[n]``; a GAN without classes reads only how many there are.
      seed: of the noise; picture i depends on nothing else but its batch's place.
      batch_size: of the compiled program; the last batch is padded.
    """
    parts = []
    for number, rows in enumerate(batches(len(labels), batch_size)):
        key = jax.random.fold_in(jax.random.key(seed), number)
        padded = np.zeros(batch_size, np.int32)
        padded[: len(rows)] = labels[rows]
        noise = jax.random.normal(key, (batch_size, NOISE))
        parts.append(np.asarray(_drawn(gan, variables, noise, padded))[: len(rows)])
    return np.concatenate(parts)


def batches(n: int, batch_size: int) -> Iterator[np.ndarray]:
    """Rows 0 to n - 1 in order, the last batch short."""
    for first in range(0, n, batch_size):
        yield np.arange(first, min(first + batch_size, n))


def write_sheet(gan: Gan, state: TrainState, epoch: int, workdir: Path) -> None:
    """Writes ``sheets/epoch-NNNN.png``: the same noise each time, a class a row."""
    labels = np.repeat(np.arange(ROWS) % max(gan.num_classes, 1), COLUMNS)
    variables = {
        "params": state.params["generator"],
        "batch_stats": state.batch_stats["generator"],
    }
    pictures = synthesise(gan, variables, labels, seed=0, batch_size=len(labels))
    height, width, channels = gan.shape
    grid = pictures.reshape(ROWS, COLUMNS, height, width, channels)
    sheet = grid.swapaxes(1, 2).reshape(ROWS * height, COLUMNS * width, channels)
    shown = sheet if channels == 3 else sheet[..., 0]
    path = workdir / SHEETS / f"epoch-{epoch:04d}.png"
    temporary = path.with_suffix(".tmp")
    Image.fromarray(shown).save(temporary, format="png")
    temporary.replace(path)
