"""What a run tells: progress bar, ``log.jsonl``, TensorBoard, ``environment.json``."""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from tqdm import tqdm

from covjax.files import whole
from covjax.training.history import Record, Row

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

LOG = "log.jsonl"
PACKAGES = ("covjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain",
            "numpy", "pillow", "tensorflow-datasets")  # fmt: skip


class Log:
    """Tells of every finished epoch, each time in the same order.

    On a terminal a progress bar moves within the epoch; elsewhere nothing is printed
    but one line an epoch.
    """

    def __init__(self, workdir: Path, history: list[Row], epochs: int, progress: bool):
        self.path = workdir / LOG
        self.epochs = epochs
        self.progress = progress
        self.terminal = progress and sys.stderr.isatty()
        # a resumed run goes on from its checkpoint; what came later is told anew
        lines = "".join(json.dumps(row) + "\n" for row in history)
        with whole(self.path) as unfinished:
            unfinished.write_text(lines)
        self.known = self.told = len(history)
        self.first_step = history[-1]["step"] + 1 if history else 0
        self.bar: tqdm | None = None

    @cached_property
    def events(self) -> "SummaryWriter":
        """The TensorBoard writer, made when it is needed: importing it is slow."""
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(self.path.parent), purge_step=self.first_step)

    @contextmanager
    def bar_of(self, record: Record, images: int) -> Iterator[None]:
        """Shows a bar over the pictures of the running epoch."""
        self.bar = tqdm(
            total=images,
            initial=int(record.totals.get("count", 0)),
            desc=f"epoch {record.epoch + 1}/{self.epochs}",
            unit=" images",
            disable=not self.terminal,
            leave=False,
            dynamic_ncols=True,
        )
        try:
            yield
        finally:
            self.bar.close()
            self.bar = None

    def advance(self, record: Record) -> None:
        """Moves the bar to where the epoch stands."""
        if self.bar is None or not record.totals:
            return
        texts = [f"loss {record.totals['loss'] / record.totals['count']:.4f}"]
        if record.history:
            last = record.history[-1]
            left = (self.epochs - record.epoch) * last["seconds"]
            if last.get("validation_auc") is not None:
                texts.append(f"AUC {last['validation_auc']:.4f}")
            texts.append(f"{duration(left)} left in all")
        self.bar.set_postfix_str(", ".join(texts), refresh=False)
        self.bar.update(int(record.totals["count"]) - self.bar.n)

    def report(self, history: list[Row]) -> None:
        """Tells of the epochs that have not been told of yet."""
        for row in history[self.told :]:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in row.items():
                if isinstance(value, float):
                    self.events.add_scalar(name, value, row["step"])
            self.events.flush()
            if self.progress:
                say(epoch_line(row, self.epochs))
        self.told = len(history)

    def close(self) -> None:
        """Closes the event file."""
        if self.told > self.known:
            self.events.close()


def say(message: str) -> None:
    """One line on the terminal, beside a bar that may be there."""
    tqdm.write(message, file=sys.stderr)


def epoch_line(row: Row, epochs: int) -> str:
    """``epoch 3/10  loss 0.41  validation auc 0.953  812 images/s  12 s left``."""
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {row['loss']:.4f}"]
    if "validation_loss" in row:
        parts.append(f"validation loss {row['validation_loss']:.4f}")
    if row.get("validation_auc") is not None:
        parts.append(f"AUC {row['validation_auc']:.4f}")
    parts.append(f"{row['images_per_second']:.3g} images/s")
    left = (epochs - row["epoch"]) * row["seconds"]
    parts.append(f"{duration(left)} left" + (" *" if row["best"] else ""))
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """``48 s``, ``5 min`` or ``2.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def environment() -> dict[str, Any]:
    """Versions, device, flags and command of this process."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "absent"
    device = jax.devices()[0]
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
    }
