"""A cascade of two networks: healthy or diseased, and if diseased, which disease.

Brunese, Mercaldo, Reginelli, Santone 2020, Explainable deep learning for pulmonary
disease and coronavirus COVID-19 detection from X-rays, Computer Methods and Programs
in Biomedicine 196:105608.

Differs from the paper: the second network is asked about every picture and the
probabilities are multiplied, so that no early decision is final; the paper asks it
about those that the first called diseased. Both say the same where the first is sure.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.errors import InputError
from covjax.evaluation.explanation import explain
from covjax.evaluation.measured import measured
from covjax.evaluation.predictions import Predictions
from covjax.files import write_json
from covjax.inference import Classifier, Judged
from covjax.systems import outcome
from covjax.systems.network import train_network

STAGES = "stages.json"  # each network's own measures
Question = Callable[[ImageSet, int], ImageSet]  # the labels that a network learns


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the cascade asks first.

    Attributes:
      healthy: name of the class without disease; empty: the first class.
    """

    healthy: str = ""


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains both networks and reports on the final classes.

    Besides the report, ``stages.json`` has each network's measures on its own
    question, and the heat maps are those of the second, on pictures of disease.

    Raises:
      InputError: for fewer than three classes, several labels a picture, the binary
        loss, or an unknown healthy class; and as `covjax.training.loop.fit`.
    """
    healthy = check(run, splits.train, settings)
    questions: dict[str, Question] = {"diseased": diseased, "disease": disease}
    networks = {
        name: train_network(run, asked(splits, question, healthy), workdir / name)
        for name, question in questions.items()
    }
    cascade = Cascade(networks["diseased"], networks["disease"], healthy)

    def explanation(test: ImageSet) -> dict[str, Any]:
        both = {"validation": splits.validation, "test": test}
        write_json(
            workdir / STAGES,
            {
                name: {
                    part: own_measures(run, networks[name], question(images, healthy))
                    for part, images in both.items()
                }
                for name, question in questions.items()
            },
        )
        sick = disease(test, healthy)
        return explain(cascade.second, sick, workdir, run.evaluation)

    return outcome.report(run, splits, workdir, cascade, explanation=explanation)


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "Cascade":
    """What `train` left in the work directory; `InputError` where that is damaged."""
    first, second = (
        Classifier.load(workdir / name) for name in ("diseased", "disease")
    )
    return Cascade(first, second, class_names.index(settings.healthy or class_names[0]))


@dataclass(frozen=True)
class Cascade:
    """Two networks that answer as one; see `covjax.systems.finished.Parts`.

    Attributes:
      first: tells healthy from diseased.
      second: tells the diseases apart.
      healthy: place of the healthy class among the final ones.
    """

    first: Classifier
    second: Classifier
    healthy: int

    def judge(self, images: np.ndarray) -> Judged:
        """Probabilities of the final classes, float32 ``[n, classes]``.

        The embeddings are those of the first network, which has seen all kinds of
        pictures.
        """
        sick, embeddings = self.first.judge(images)
        which = self.second.scores(images)
        return Judged(combine(sick, which, self.healthy), embeddings)


def check(run: config.Run, images: ImageSet, settings: Settings) -> int:
    """The place of the healthy class; `InputError` where a cascade makes no sense."""
    names = images.class_names
    if images.multi_label or len(names) < 3:
        raise InputError(
            f"config.system.name='cascade': needs one label of at least three classes, "
            f"healthy and two diseases; the data have {', '.join(names)}"
        )
    if run.train.loss == "binary":
        raise InputError(
            "config.train.loss='binary': a cascade multiplies shares that add up to 1; "
            "must be cross_entropy, focal or margin"
        )
    healthy = settings.healthy or names[0]
    if healthy not in names:
        raise InputError(
            f"config.system.kwargs.healthy={healthy!r}: must be one of "
            f"{', '.join(names)}"
        )
    return names.index(healthy)


def diseased(images: ImageSet, healthy: int) -> ImageSet:
    """All pictures under the first question: 0 is healthy, 1 any disease."""
    return replace(
        images,
        labels=(images.labels != healthy).astype(np.int32),
        class_names=(images.class_names[healthy], "diseased"),
    )


def disease(images: ImageSet, healthy: int) -> ImageSet:
    """The pictures of disease, under the second question: which one."""
    names = images.class_names
    return images.select_classes((*names[:healthy], *names[healthy + 1 :]))


def asked(splits: Splits, question: Question, healthy: int) -> Splits:
    """The splits under a question; the test split stays as it is, unopened."""
    return replace(
        splits,
        train=question(splits.train, healthy),
        validation=question(splits.validation, healthy),
    )


def combine(first: np.ndarray, second: np.ndarray, healthy: int) -> np.ndarray:
    """Probabilities of the final classes, float32 ``[n, classes]``.

    ``P(disease k) = P(diseased) P(k | diseased)``.

    Args:
      first: ``[n, 2]``, of healthy and diseased.
      second: ``[n, classes - 1]``, of each disease.
      healthy: place of the healthy class.
    """
    products = first[:, 1:] * second
    return np.insert(products, healthy, first[:, 0], axis=1).astype(np.float32)


def own_measures(
    run: config.Run, network: Classifier, images: ImageSet
) -> dict[str, Any]:
    """What a stage's network is worth on its own question."""
    return measured(
        Predictions.of(images, network.scores(images.images)),
        images.class_names,
        level=run.evaluation.level,
        resamples=run.evaluation.resamples,
    )
