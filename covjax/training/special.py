"""What a system may ask of the loop besides what a recipe can say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from covjax.training.history import Row
from covjax.training.steps import View


@dataclass(frozen=True, kw_only=True)
class Special:
    """Where a network is trained otherwise than as a classifier of whole pictures.

    Attributes:
      loss: instead of the one of ``run.train``; its name says how outputs become
        probabilities.
      view: what of the pictures the network is shown, such as a random patch.
      judge: instead of the measures of classes: from ``params`` and ``batch_stats``
        to ``score``, ``validation_loss`` and further columns of the epoch's row.
    """

    loss: Any = None
    view: View | None = None
    judge: Callable[[Any], Row] | None = None


ORDINARY = Special()  # a classifier of whole pictures
