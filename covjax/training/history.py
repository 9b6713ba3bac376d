"""Where a run stands, and what its history decides: pure functions of plain values."""

from dataclasses import dataclass, field
from typing import Any

from covjax import config

Row = dict[str, Any]  # one epoch


@dataclass(kw_only=True)
class Record:
    """The part of a checkpoint that is not arrays; all JSON.

    Attributes:
      data: fingerprint of the training pictures.
      epoch: whole epochs done; the one that is running, counted from 0.
      done: batches done of it; above 0 only in a run that was interrupted.
      totals: sums over these batches.
      history: one row a finished epoch.
    """

    data: str
    epoch: int = 0
    done: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)

    def add(self, sums: dict[str, float]) -> None:
        """Adds to the sums of the running epoch."""
        for name, value in sums.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def finish_epoch(self, row: Row) -> None:
        """Appends the row of the running epoch and goes to the next."""
        self.history.append(row)
        self.epoch, self.done, self.totals = self.epoch + 1, 0, {}

    def stage_epoch(self) -> int:
        """The epoch whose trained parameters the saved state has."""
        return self.epoch if self.done else max(self.epoch - 1, 0)


def is_best(history: list[Row], row: Row) -> bool:
    """Whether a row beats all before it; always so without a validation split.

    The selection measure decides, at a tie the lower validation loss, then the
    earlier epoch. An undefined measure never wins.
    """
    if "score" not in row:
        return True
    if row["score"] is None:
        return False
    best = max((rank(r) for r in history if r["best"]), default=None)
    return best is None or rank(row) > best


def rank(row: Row) -> tuple[float, float]:
    """The selection measure, then the negated validation loss."""
    return row["score"], -row["validation_loss"]


def best_epoch(history: list[Row]) -> int:
    """Number of the best epoch, counted from 1; 0 if none had a measure."""
    return max((row["epoch"] for row in history if row["best"]), default=0)


def improvement(history: list[Row]) -> int:
    """How often there was a new best, if the last row is the best one; else -1."""
    return sum(r["best"] for r in history) if history and history[-1]["best"] else -1


def is_over(history: list[Row], train: config.Train) -> bool:
    """Whether training ends: all epochs done, or none better for too long."""
    patience = train.early_stopping_epochs
    waited = len(history) - best_epoch(history)
    return len(history) >= train.epochs or bool(patience and waited >= patience)


def plateau_factor(settings: config.Optimizer, history: list[Row]) -> float:
    """What "plateau" multiplies the rate by after the epochs so far.

    Falls by `decay_factor` whenever `patience_epochs` epochs in a row have not been
    better than the best before them, by validation loss, or training loss without a
    validation split. A pure function of the history, so that a resumed run decides
    alike.
    """
    factor, best, waited = 1.0, float("inf"), 0
    if settings.schedule != "plateau":
        return factor
    for row in history:
        loss: float = row["validation_loss" if "validation_loss" in row else "loss"]
        waited = 0 if loss < best else waited + 1
        best = min(loss, best)
        if waited >= max(settings.patience_epochs, 1):
            factor, waited = factor * settings.decay_factor, 0
    return factor
