"""The seeds of a recipe asked together, as its report joins them: by their mean."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.evaluation import familiarity
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.final import DIGESTS
from covjax.evaluation.predictions import mean_probabilities
from covjax.files import CARDS
from covjax.inference import Classifier, Judged
from covjax.systems.finished import System


@dataclass(frozen=True)
class Seeds:
    """Runs of one recipe that answer as one; see `covjax.systems.finished.Parts`.

    Attributes:
      members: what each seed has made, calibrated by itself.
    """

    members: Sequence[Classifier | System]

    def judge(self, images: np.ndarray) -> Judged:
        """The mean of the members' probabilities, and the first one's embeddings."""
        said = [member.judge(images) for member in self.members]
        mean = mean_probabilities([one.probabilities for one in said])
        return Judged(mean, said[0].embeddings)


def keep(
    run: config.Run,
    splits: Splits,
    places: Sequence[Path],
    workdir: Path,
    metrics: dict[str, Any],
) -> None:
    """Writes what lets `covjax.systems.load` find the seeds as one.

    Nothing is written where they know no classes: segmenters.

    Args:
      run: the recipe that asked for them.
      splits: its data; the test split is not judged.
      places: the seeds' work directories; all have finished.
      workdir: of the recipe.
      metrics: of the seeds together, with the threshold of their mean.
    """
    if not any((places[0] / card).is_file() for card in CARDS):
        return
    for name in (familiarity.FILE, DIGESTS):  # all seeds saw the same pictures
        if (places[0] / name).is_file():  # earlier versions made none
            shutil.copyfile(places[0] / name, workdir / name)
    point = metrics["operating_point"]
    System(
        parts=Seeds(()),  # they are in the seeds' folders
        name=f"{len(places)} seeds of {run.system.name or run.model.name}",
        class_names=splits.train.class_names,
        preprocess=splits.preprocess,
        batch_size=run.evaluation.batch_size or run.train.batch_size,
        temperature=Temperature(1.0, independent=run.train.loss == "binary"),
        thresholds={point["positive"]: point["threshold"]} if point else {},
        multi_label=splits.train.multi_label,
    ).save(workdir)
