"""Pictures of another data set that show what the run has seen: no external evidence.

Public sets of this field are made of each other, and their copies were resized,
re-encoded or windowed anew, so that their bytes tell nothing.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from covjax.data import duplicates
from covjax.data.splits import NAMES
from covjax.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from covjax.data import Splits
    from covjax.data.imageset import ImageSet

EXAMPLES = 3


def copies(
    splits: "Splits", images: "ImageSet", predictions: Predictions, level: float
) -> dict[str, Any]:
    """Which external pictures show one of the run's own, and the AUC without them.

    Args:
      splits: of the run.
      images: of the other data set, prepared in the same way.
      predictions: what the run says of them.
      level: of the interval.

    Returns:
      ``pictures``, how many have a twin; ``train``, ``validation`` and ``test``, how
      many have theirs there; ``examples``, pairs of files, theirs first; ``auc`` of
      the others; ``compared`` pairs, and ``expected_false`` of them by chance.
    """
    parts = [getattr(splits, name) for name in NAMES]
    found = duplicates.between(
        (part.images[row] for part in parts for row in range(len(part))),
        (images.images[row] for row in range(len(images))),
        np.concatenate([part.patients for part in (*parts, images)]),
    )
    split = np.repeat(NAMES, [len(part) for part in parts])
    files = np.concatenate([part.files for part in parts])
    twins = {(pair.second, str(split[pair.first])) for pair in found.pairs}
    seen = sorted({row for row, _ in twins})
    others = np.delete(np.arange(len(images)), seen)
    return {
        "pictures": len(seen),
        **{name: sum(name == there for _, there in twins) for name in NAMES},
        "examples": [
            [str(images.files[pair.second]), str(files[pair.first])]
            for pair in found.pairs[:EXAMPLES]
        ],
        "auc": predictions.subset(others).auc(level).to_dict() if len(others) else None,
        "compared": found.compared,
        "expected_false": found.expected_false,
    }
