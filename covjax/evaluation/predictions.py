"""What a model said about one split, with what is known of each picture."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from covjax.errors import InputError
from covjax.evaluation import bootstrap, intervals
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.intervals import Measure
from covjax.files import DAMAGED, read_arrays, write_arrays

if TYPE_CHECKING:
    from covjax.data.imageset import ImageSet


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """One row a picture; ``predictions_validation.npz`` and ``predictions_test.npz``.

    Attributes:
      labels: int32 ``[n]``, or uint8 ``[n, classes]`` multi-hot.
      probabilities: float32 ``[n, classes]``.
      patients: str ``[n]``; ``""`` is unknown.
      sources: str ``[n]``; ``""`` is unknown.
      files: str ``[n]``, the name of each picture.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray
    sources: np.ndarray
    files: np.ndarray

    @classmethod
    def of(cls, images: "ImageSet", probabilities: np.ndarray) -> "Predictions":
        """The set's columns beside the scores of its pictures."""
        return cls(
            labels=np.asarray(images.labels),
            probabilities=np.asarray(probabilities),
            patients=np.asarray(images.patients, str),
            sources=np.asarray(images.sources, str),
            files=np.asarray(images.files, str),
        )

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Reads what `save` wrote; `InputError` where the file is not that."""
        try:
            arrays = read_arrays(path)
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})
        except DAMAGED as error:
            raise InputError(
                f"{path}: not the predictions of a run: {error}"
            ) from error

    def save(self, path: Path) -> None:
        """Writes the columns as one ``.npz`` file, whole or not at all."""
        write_arrays(path, {f.name: getattr(self, f.name) for f in fields(self)})

    def subset(self, rows: np.ndarray) -> "Predictions":
        """Those of the pictures at `rows`: numbers, or a Boolean for each."""
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return Predictions(**columns)

    def auc(self, level: float) -> Measure:
        """Macro AUC of the classes, each against the rest, with DeLong's interval."""
        truth = one_vs_rest(self.labels, self.probabilities.shape[1])
        cluster = bootstrap.clusters(self.patients)
        return intervals.area(truth, self.probabilities, cluster, level)

    def __len__(self) -> int:
        return len(self.labels)


def mean_probabilities(members: Sequence[np.ndarray]) -> np.ndarray:
    """What several models say in the mean, float32 as each, ``[n, classes]``.

    The sum is taken in their order: a row does not depend on the others.
    """
    total = np.zeros(members[0].shape)
    for member in members:
        total += member
    return (total / len(members)).clip(0, 1).astype(np.float32)
