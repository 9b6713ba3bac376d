"""Is a picture like those the network was trained on? Size, exposure, embedding.

A probability says nothing for a picture of another kind. Three plain checks stand
beside it: the size of the file, the brightness and contrast of the prepared picture,
and the distance to the nearest training pictures in the network's own last features
(Sun et al. 2022, arXiv:2204.06507: deep nearest neighbours).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covjax.data.imageset import ImageSet
from covjax.errors import InputError
from covjax.files import DAMAGED, read_arrays, write_arrays

FILE = "familiarity.npz"
REFERENCES = 1000  # training pictures that are kept; more change the distance little
NEIGHBOURS = 10  # whose mean distance counts; k of the paper for small sets
TAIL = 0.01  # share of familiar pictures outside each limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Familiarity:
    """What training pictures are like.

    Attributes:
      references: float16 ``[k, features]``, embeddings of length 1; without features
        no picture is far away.
      distance: limit on the mean distance to the nearest references.
      exposure: ``[2, 2]``: lowest and highest mean and deviation of grey values.
      sides: ``[2]``: smallest and largest side of a file in pixels; 0 is unknown.
    """

    references: np.ndarray
    distance: float
    exposure: np.ndarray
    sides: np.ndarray

    @classmethod
    def of(
        cls,
        train: ImageSet,
        train_embeddings: np.ndarray,
        validation_embeddings: np.ndarray,
    ) -> "Familiarity":
        """Learns limits: sizes and exposure on training, distance on validation.

        Args:
          train: training pictures.
          train_embeddings: ``[n, features]``, theirs.
          validation_embeddings: of the validation split, which the network has not
            been fitted to, so that its distances are those of new, familiar pictures.
        """
        references = _unit(train_embeddings).astype(np.float16)
        distances = _distances(references, validation_embeddings)
        levels = np.array([exposure(np.asarray(image)) for image in train.images])
        tails = (TAIL / 2, 1 - TAIL / 2)
        sides = np.zeros(2)
        if {"file_width", "file_height"} <= train.metadata.keys():
            lengths = np.concatenate(
                [train.metadata["file_width"], train.metadata["file_height"]]
            ).astype(float)
            sides = np.array([lengths.min(), lengths.max()])
        return cls(
            references=references,
            distance=float(np.quantile(distances, 1 - TAIL)),
            exposure=np.quantile(levels, tails, axis=0),
            sides=sides,
        )

    def warnings(
        self, image: np.ndarray, sides: tuple[int, int], embedding: np.ndarray
    ) -> list[str]:
        """In what a picture is unlike the training set; empty where it is not.

        Args:
          image: uint8 ``[height, width, channels]``, prepared.
          sides: width and height of its file.
          embedding: ``[features]``, out of the network.
        """
        found = []
        low, high = self.sides
        if high and not (low / 2 <= min(sides) and max(sides) <= 2 * high):
            found.append(
                f"size {sides[0]}x{sides[1]}: training files have sides from "
                f"{low:.0f} to {high:.0f} pixels"
            )
        for name, value, lowest, highest in zip(
            ("brightness", "contrast"), exposure(image), *self.exposure, strict=True
        ):
            if not lowest <= value <= highest:
                found.append(
                    f"{name} {value:.0f}: 99% of training pictures lie in "
                    f"{lowest:.0f} to {highest:.0f}"
                )
        distance = _distances(self.references, embedding[None])[0]
        if distance > self.distance:
            found.append(
                f"features {distance:.3f} away from the nearest training pictures: "
                f"99% of validation pictures are within {self.distance:.3f}"
            )
        return found

    def save(self, workdir: Path) -> None:
        """Writes ``familiarity.npz``, whole or not at all."""
        arrays = {
            "references": self.references,
            "distance": np.float64(self.distance),
            "exposure": self.exposure,
            "sides": self.sides,
        }
        write_arrays(workdir / FILE, arrays)

    @classmethod
    def load(cls, workdir: Path) -> "Familiarity":
        """The inverse of `save`; `InputError` where there is no such file."""
        path = workdir / FILE
        try:
            values = read_arrays(path)
            return cls(
                references=values["references"],
                distance=float(values["distance"]),
                exposure=values["exposure"],
                sides=values["sides"],
            )
        except DAMAGED as error:
            raise InputError(f"{path}: not of a finished run: {error}") from error


def exposure(image: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a uint8 picture's values."""
    return float(image.mean()), float(image.std())


def _unit(embeddings: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings / np.maximum(norms, 1e-12)


def _distances(references: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Mean distance of each embedding to its nearest references, ``[n]``."""
    cosine = _unit(embeddings) @ references.T.astype(np.float32)
    distance = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    k = min(NEIGHBOURS, len(references))
    return np.partition(distance, k - 1, axis=1)[:, :k].mean(axis=1)
