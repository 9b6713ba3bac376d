"""A finished system as one thing: prepared pictures to calibrated probabilities."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.evaluation.calibration import Temperature
from covjax.files import write_json
from covjax.inference import Judged, check_pictures

CARD = "system.json"


class Parts(Protocol):
    """The networks of a system, which answer as one.

    What they say of a picture does not depend on the pictures beside it, to the last
    bit.
    """

    def judge(self, images: np.ndarray) -> Judged:
        """Probabilities before calibration, and embeddings.

        The embeddings are those of a network that sees the whole picture; see
        `without_embeddings` where there is none.

        Args:
          images: uint8 ``[n, size, size, channels]``, prepared.
        """


def without_embeddings(probabilities: np.ndarray) -> Judged:
    """What a system without a network of the whole picture says: ``[n, 0]`` beside."""
    return Judged(probabilities, np.zeros((len(probabilities), 0), np.float32))


@dataclass(frozen=True, kw_only=True)
class System:
    """Judges pictures as `covjax.inference.Classifier` does.

    Attributes:
      parts: the networks, out of the run's folders.
      name: one of `covjax.systems.SYSTEMS`, or how many seeds of what.
      class_names: in the order of the probabilities.
      preprocess: what pictures must go through first.
      batch_size: pictures that are asked about at a time.
      temperature: calibrates the probabilities.
      thresholds: operating point by class name.
      multi_label: whether a picture may have several labels, or none.
    """

    parts: Parts = field(repr=False)
    name: str
    class_names: tuple[str, ...]
    preprocess: Preprocess
    batch_size: int
    temperature: Temperature
    thresholds: dict[str, float]
    multi_label: bool = False

    def judge(self, images: np.ndarray) -> Judged:
        """Calibrated probabilities, and embeddings; see `Parts`.

        Args:
          images: uint8 ``[n, size, size, channels]``, out of `preprocess`.

        Raises:
          InputError: for pictures of another shape or type.
        """
        check_pictures(images, self.preprocess)
        probabilities, embeddings = self.parts.judge(images)
        return Judged(self.temperature(probabilities), embeddings)

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Probabilities alone, float32 ``[n, classes]``; see `judge`."""
        return self.judge(images).probabilities

    def save(self, workdir: Path) -> None:
        """Writes ``system.json``; the parts are in the run's folders already."""
        card = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name != "parts"
        }
        card["preprocess"] = self.preprocess.to_dict()
        card["temperature"] = dataclasses.asdict(self.temperature)
        write_json(workdir / CARD, card)


def read_card(workdir: Path) -> dict[str, Any]:
    """What `System.save` wrote: the arguments of `System`, but for ``parts``.

    Raises:
      InputError: where the file is missing or damaged.
    """
    path = workdir / CARD
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a system that has finished has it (of several "
            "folds or seeds, name the folder of one)"
        )
    try:
        values = json.loads(path.read_text())
        names = [f.name for f in dataclasses.fields(System) if f.name != "parts"]
        values = {"multi_label": False} | values  # earlier versions did not write it
        card: dict[str, Any] = {name: values[name] for name in names}
        card["class_names"] = tuple(card["class_names"])
        card["preprocess"] = Preprocess.from_dict(card["preprocess"])
        card["temperature"] = Temperature(**card["temperature"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(f"{path}: damaged: {error}") from error
    return card
