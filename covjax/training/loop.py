"""The loop: epochs in a fixed order, stopped and resumed without a trace."""

import signal
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import flax.linen as nn

from covjax import config
from covjax.data.imageset import ImageSet
from covjax.errors import InputError
from covjax.files import write_json
from covjax.training.checkpoint import Checkpoints, Damaged
from covjax.training.history import (
    Record,
    Row,
    best_epoch,
    improvement,
    is_best,
    is_over,
)
from covjax.training.logging import Log, environment, say
from covjax.training.special import ORDINARY, Special
from covjax.training.state import TrainState
from covjax.training.trainer import Trainer

CONFIG, ENVIRONMENT, FINISHED = "config.json", "environment.json", "finished.json"
# sections and fields that may differ when a run goes on: its numbers stay the same
FREE = ("evaluation", "data.dir", "data.cache_dir", "train.checkpoint_epochs")


class Splits(Protocol):
    """What `fit` needs of a data set that has been split."""

    @property
    def train(self) -> ImageSet:
        """Pictures to learn from."""

    @property
    def validation(self) -> ImageSet:
        """Pictures to choose the best epoch by."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What training gives.

    Attributes:
      model: the network that the variables belong to.
      best: ``params`` and ``batch_stats`` of the best epoch.
      last: those of the last epoch.
      best_epoch: counted from 1; 0 where no epoch had a measure to judge it by.
      history: one row an epoch, as in ``log.jsonl``.
      resumed_epochs: so many of them came from the work directory.
    """

    model: nn.Module
    best: Any
    last: Any
    best_epoch: int
    history: list[Row]
    resumed_epochs: int


class Interrupted(Exception):
    """A signal has ended training; everything done so far is saved.

    Attributes:
      signal: its number; a command exits with status 128 + signal.
    """

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.signal = number


def fit(
    run: config.Run,
    splits: Splits,
    workdir: Path,
    *,
    seed: int | None = None,
    model: nn.Module | None = None,
    special: Special = ORDINARY,
    initial_variables: Any = None,
    progress: bool = True,
) -> Fit:
    """Trains a network.

    The start rule: the latest whole checkpoint in the work directory, else
    `initial_variables`, else from scratch. A finished run is not trained again.

    Args:
      run: the checked configuration.
      splits: training and validation pictures.
      workdir: where the run lives; made if missing.
      seed: instead of ``run.train.seed``.
      model: instead of ``run.model``.
      special: of a system that trains on masks, patches and the like.
      initial_variables: ``params`` and ``batch_stats`` to start from.
      progress: whether to tell of epochs on the terminal.

    Raises:
      InputError: for settings that do not fit, a work directory of another run, or a
        loss that is not finite.
      Interrupted: after SIGINT or SIGTERM.
    """
    if seed is not None:
        run = replace(run, train=replace(run.train, seed=seed))
    trainer = Trainer(run, splits.train, splits.validation, model, special)
    claim(workdir, run)
    checkpoints = Checkpoints(workdir / "checkpoints", say)
    try:
        state, record = start(trainer, checkpoints, splits.train, initial_variables)
        resumed = record.epoch
        log = Log(workdir, record.history, run.train.epochs, progress)
        try:
            state = train_epochs(trainer, state, record, checkpoints, log)
        finally:
            log.close()
        number, best = best_of(trainer, state, record.history, checkpoints)
    finally:
        checkpoints.close()
    write_json(workdir / FINISHED, {"epochs": record.epoch, "best_epoch": number})
    return Fit(
        model=trainer.model,
        best=best,
        last=state.variables(),
        best_epoch=number,
        history=record.history,
        resumed_epochs=resumed,
    )


def start(
    trainer: Trainer, checkpoints: Checkpoints, train: ImageSet, variables: Any
) -> tuple[TrainState, Record]:
    """The state and the record that the run goes on from."""
    fingerprint = train.fingerprint()
    found = checkpoints.restore_latest(trainer.template)
    if found is None:
        return trainer.create(variables), Record(data=fingerprint)
    record = Record(**found[1])
    if record.data != fingerprint:
        raise InputError(
            f"{checkpoints.directory}: belongs to a run on other training pictures; "
            "choose another --workdir"
        )
    return found[0], record


def train_epochs(
    trainer: Trainer,
    state: TrainState,
    record: Record,
    checkpoints: Checkpoints,
    log: Log,
) -> TrainState:
    """Runs the epochs that are left; `record` goes along.

    Each epoch: train, and meanwhile tell of the epoch before, whose checkpoint is on
    disk by then; validate; judge; save; stop if asked to.
    """
    train = trainer.run.train

    def meanwhile() -> bool:
        checkpoints.wait()  # an epoch is told of once it can no longer be lost
        log.report(record.history)
        log.advance(record)
        return interrupt.number > 0

    with Interrupt() as interrupt:
        while not is_over(record.history, train):
            clock = time.perf_counter()
            state = trainer.enter(state, record)
            with log.bar_of(record, trainer.steps * train.batch_size):
                state = trainer.train(state, record, meanwhile)
            record.add({"seconds": time.perf_counter() - clock})
            finished = record.done == trainer.steps
            if finished:
                row = trainer.row(record) | trainer.validate(state)
                row["seconds"] = time.perf_counter() - clock
                row["best"] = is_best(record.history, row)
                record.finish_epoch(row)
            due = record.epoch % train.checkpoint_epochs == 0
            over = is_over(record.history, train)
            better = improvement(record.history) if finished else -1
            if due or over or better > 0 or interrupt.number:
                checkpoints.save(state, asdict(record), better)
            if interrupt.number:
                break
        checkpoints.wait()
        log.report(record.history)
        if interrupt.number:
            raise Interrupted(interrupt.number, where(record, train, trainer.steps))
    return state


def where(record: Record, train: config.Train, steps: int) -> str:
    """The message of an interrupted run."""
    inside = f" and {record.done} of {steps} steps" if record.done else ""
    return (
        f"interrupted after {record.epoch} of {train.epochs} epochs{inside}; saved: "
        "the same command goes on from here"
    )


def best_of(
    trainer: Trainer,
    state: TrainState,
    history: list[Row],
    checkpoints: Checkpoints,
) -> tuple[int, Any]:
    """Number and variables of the best epoch; the last one's where none is."""
    number = best_epoch(history)
    if number in (0, len(history)):
        return number, state.variables()
    step = history[number - 1]["step"]
    try:
        return number, checkpoints.restore(step, trainer.template)[0].variables()
    except Damaged as error:
        raise InputError(
            f"{checkpoints.directory}/{step}: the best checkpoint is damaged: {error}"
        ) from error


def check_workdir(workdir: Path, run: config.Run) -> None:
    """Raises `InputError` when the work directory holds another run."""
    path = workdir / CONFIG
    if path.is_file():
        for name, old, new in differences(config.read(path), run):
            raise InputError(
                f"{workdir}: holds another run (config.{name} is {old!r} there and "
                f"{new!r} here); choose another --workdir"
            )
    elif workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir}: is a file; the work directory must be a folder")


def claim(workdir: Path, run: config.Run) -> None:
    """Makes the work directory this run's; raises as `check_workdir`."""
    check_workdir(workdir, run)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / CONFIG, config.plain(run))
    write_json(workdir / ENVIRONMENT, environment())


def differences(there: config.Run, here: config.Run) -> list[tuple[str, Any, Any]]:
    """(field, old, new) of the fields that make it another run."""
    found, before = [], config.plain(there)
    for section, fields in config.plain(here).items():
        for name, value in fields.items():
            path, old = f"{section}.{name}", before[section][name]
            if old != value and section not in FREE and path not in FREE:
                found.append((path, old, value))
    return found


class Interrupt:
    """While it is entered, SIGINT and SIGTERM are noted; a second one ends at once.

    Attributes:
      number: of the signal that came; 0 before.
    """

    def __init__(self):
        self.number = 0
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: Any) -> None:
        """The signal handler."""
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        say("stopping: saving first; once more to stop at once")
