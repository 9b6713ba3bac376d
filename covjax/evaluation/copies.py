"""Pictures of another data set that show what the run has seen: no external evidence.

Public sets of this field are made of each other, and their copies were resized,
re-encoded or windowed anew, so that their bytes tell nothing.
"""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from covjax.data import duplicates
from covjax.data.splits import NAMES
from covjax.evaluation.predictions import Predictions
from covjax.files import whole

if TYPE_CHECKING:
    from covjax.data import Splits
    from covjax.data.imageset import ImageSet

FILE = "copies.csv"


def copies(
    splits: "Splits",
    images: "ImageSet",
    predictions: Predictions,
    level: float,
    place: Path,
) -> dict[str, Any]:
    """Which external pictures show one of the run's own, and the AUC without them.

    All pairs are written to `FILE`, the most alike first.

    Args:
      splits: of the run.
      images: of the other data set, prepared in the same way.
      predictions: what the run says of them.
      level: of the interval.
      place: the folder of the evaluation.

    Returns:
      ``pictures``, how many have a twin; ``train``, ``validation`` and ``test``, how
      many have theirs there; ``example``, a pair of files, theirs first; ``auc`` of
      the others; ``compared`` pairs, and ``expected_false`` of them by chance. The
      ``reason`` alone where pictures are too small to tell.
    """
    size = splits.preprocess.size
    if size < duplicates.SMALLEST:
        return {"reason": f"of {size} pixels a side they cannot be told from others"}
    parts = [getattr(splits, name) for name in NAMES]
    found = duplicates.between(
        (part.images[row] for part in parts for row in range(len(part))),
        (images.images[row] for row in range(len(images))),
        np.concatenate([part.patients for part in parts]),
    )
    split = np.repeat(NAMES, [len(part) for part in parts])
    files = np.concatenate([part.files for part in parts])
    rows = [
        (str(images.files[p.second]), str(files[p.first]), str(split[p.first]),
         p.turn, f"{p.correlation:.3f}")
        for p in sorted(found.pairs, key=lambda pair: -pair.correlation)
    ]  # fmt: skip
    with (
        whole(place / FILE) as unfinished,
        unfinished.open("w", newline="", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(("picture", "shows", "split", "turn", "correlation"))
        table.writerows(rows)
    twins = {(pair.second, str(split[pair.first])) for pair in found.pairs}
    seen = sorted({row for row, _ in twins})
    others = np.delete(np.arange(len(images)), seen)
    return {
        "pictures": len(seen),
        **{name: sum(name == there for _, there in twins) for name in NAMES},
        "example": list(rows[0][:2]) if rows else None,
        "auc": predictions.subset(others).auc(level).to_dict() if len(others) else None,
        "compared": found.compared,
        "expected_false": found.expected_false,
    }
