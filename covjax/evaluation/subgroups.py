"""How a network does for women and men, by age and by view, where they are known."""

from itertools import pairwise
from typing import Any

import numpy as np

from covjax.data.imageset import ImageSet
from covjax.evaluation.predictions import Predictions

COLUMNS = ("sex", "age", "view")
BANDS = (0, 18, 40, 60, 80, 200)  # years; edges of the age bands
SMALLEST = 10  # pictures; fewer say nothing


def by_subgroup(
    images: ImageSet,
    predictions: Predictions,
    class_names: tuple[str, ...],
    *,
    level: float,
) -> list[dict[str, Any]]:
    """AUC within each group of at least ten pictures; empty where nothing is known."""
    rows = []
    for column in COLUMNS:
        if column not in images.metadata:
            continue
        groups = _groups(column, np.asarray(images.metadata[column]))
        for group in np.unique(groups[groups != ""]):
            here = groups == group
            if here.sum() < SMALLEST:
                continue
            auc = predictions.subset(here).auc(level)
            rows.append(
                {
                    "column": column,
                    "group": str(group),
                    "n": int(here.sum()),
                    "auc": auc.to_dict(),
                }
            )
    return rows


def _groups(column: str, values: np.ndarray) -> np.ndarray:
    """The name of each picture's group; ``""`` where it is unknown."""
    if column != "age":
        return values.astype(str)
    ages = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        try:
            ages[row] = float(value)
        except ValueError:
            continue
    names = np.full(len(values), "", dtype="U16")
    for low, high in pairwise(BANDS):
        named = f"{low} to {high - 1} years" if high < BANDS[-1] else f"{low} years on"
        names[(ages >= low) & (ages < high)] = named
    return names
