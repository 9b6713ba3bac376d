"""The seal on the test split: each look at it is written down."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from covjax.data.imageset import ImageSet

OPENINGS = "openings.jsonl"


class Splits(Protocol):
    """What holds a test split."""

    @property
    def test(self) -> ImageSet:
        """The pictures that nothing was chosen by."""


def open_test(splits: Splits, workdir: Path, checkpoint: str, reason: str) -> ImageSet:
    """The test split; the opening is recorded in the run first.

    Args:
      splits: of the run's data.
      workdir: the run's folder, whose ``openings.jsonl`` gets a line.
      checkpoint: which weights are judged.
      reason: why.
    """
    opening = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "checkpoint": checkpoint,
        "reason": reason,
    }
    with (workdir / OPENINGS).open("a") as file:
        file.write(json.dumps(opening) + "\n")
    return splits.test
