"""Anomaly detection: COVID-19 as what deviates, with a score instead of classes.

Zhang, Xie, Pang, Liao, Verjans, Li, Sun, He, Li, Shen, Xia 2020, arXiv:2003.12338 (IEEE
TMI 40(3), 2021). A network gives an anomaly score, trained with the deviation loss of
Pang et al. 2019, and beside it

- ``config.train.loss="deviation"``: a classification logit (version 1 of the paper);
- ``config.train.loss="deviation_confidence"``: a confidence that the score decides
  rightly (version 4, CAAD). A picture is called an anomaly if its score is large or its
  confidence small.

Differs from the paper: both heads are one dense layer on the pooled features, trained
together from the start; the depth of the paper's heads, the ranges of its scores and
its order of training are not known. One threshold serves score and confidence.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.errors import InputError
from covjax.evaluation import bootstrap, intervals
from covjax.files import write_json
from covjax.inference import Classifier, Judged, Scores
from covjax.systems import outcome
from covjax.systems.network import train_network
from covjax.training.losses import DEVIATIONS, MARGIN

NETWORK = "network"  # its folder
HEADS = "heads.json"  # what each head is worth by itself


@dataclass(frozen=True, kw_only=True)
class Settings:
    """None: ``config.train.loss`` says which form it is."""


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains the network in ``network/`` and reports; the last class is the anomaly.

    Besides the report, ``heads.json`` says of both splits what the score is worth
    alone, and, in the confident form, how well confidence tells right from wrong.

    Raises:
      InputError: for another loss or number of classes, and as
        `covjax.training.loop.fit`.
    """
    if run.train.loss not in DEVIATIONS:
        raise InputError(
            f"config.train.loss={run.train.loss!r}: the system 'anomaly' needs one of "
            f"{', '.join(DEVIATIONS)}"
        )
    detector = Detector(train_network(run, splits, workdir / NETWORK))
    heads: dict[str, Any] = {}

    def judge(images: ImageSet) -> Judged:
        said = detector.network.scored(images.images)
        name = "validation" if images is splits.validation else "test"
        heads[name] = of_heads(said.outputs, images, run)
        write_json(workdir / HEADS, heads)
        return judged(said, run.train.loss)

    return outcome.report(run, splits, workdir, detector, judge=judge)


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "Detector":
    """What `train` left in the work directory; `InputError` where that is damaged."""
    return Detector(Classifier.load(workdir / NETWORK))


@dataclass(frozen=True)
class Detector:
    """A network with an anomaly score; see `covjax.systems.finished.Parts`.

    Attributes:
      network: its loss is one of `covjax.training.losses.DEVIATIONS`.
    """

    network: Classifier

    def judge(self, images: np.ndarray) -> Judged:
        """See `probabilities`; the embeddings are those of the network."""
        return judged(self.network.scored(images), self.network.loss)


def judged(said: Scores, loss: str) -> Judged:
    """What the system makes of its network's scores; see `probabilities`."""
    return Judged(probabilities(said.outputs, loss), said.embeddings)


def probabilities(outputs: np.ndarray, loss: str) -> np.ndarray:
    """Of normal and anomalous, float32 ``[n, 2]``.

    The score's probability is a sigmoid about half the margin. In the confident form
    it is at least the doubt, 1 - confidence: the larger of the two is beyond a
    threshold exactly if one of them is, which is the paper's rule.

    Args:
      outputs: of the network, ``[n, 2]``: the logit beside the score, the score.
      loss: one of `covjax.training.losses.DEVIATIONS`.
    """
    anomalous = sigmoid(outputs[:, 1] - MARGIN / 2)
    if loss == "deviation_confidence":
        anomalous = np.maximum(anomalous, 1 - sigmoid(outputs[:, 0]))
    return np.stack([1 - anomalous, anomalous], axis=1).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Without overflow, float64."""
    return np.exp(-np.logaddexp(0, -logits.astype(float)))


def of_heads(outputs: np.ndarray, images: ImageSet, run: config.Run) -> dict[str, Any]:
    """AUC of the score alone, and of the head beside it at its own question.

    Args:
      outputs: of the network, ``[n, 2]``: the logit beside the score, the score.
      images: of one split.
      run: its loss and the level of the intervals.
    """
    beside, scores = outputs.T
    anomalous = images.labels == 1
    cluster = bootstrap.clusters(images.patients)

    def auc(truth: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        return intervals.area(
            truth[:, None], values[:, None], cluster, run.evaluation.level
        ).to_dict()

    entry = {
        "mean_score_normal": mean(scores[~anomalous]),
        "mean_score_anomalous": mean(scores[anomalous]),
        "score_auc": auc(anomalous, scores),
    }
    if run.train.loss == "deviation":
        return entry | {"classification_auc": auc(anomalous, -beside)}
    right = (scores > MARGIN / 2) == anomalous
    return entry | {
        "score_right": float(right.mean()),
        "confidence_auc": auc(right, beside),
    }


def mean(values: np.ndarray) -> float | None:
    """None of nothing."""
    return float(values.mean()) if len(values) else None
