"""Features of networks and of textures, and a classical classifier on top.

Toğaçar, Ergen, Cömert 2020, Computers in Biology and Medicine 121:103805: features of
two fine-tuned networks, selected, joined, to a linear support vector machine. Pereira,
Bertolini, Teixeira, Silla, Costa 2020, Computer Methods and Programs in Biomedicine
194:105532: features of a pretrained network and texture descriptors, joined before or
after the classifier, with resampling, flat or along a hierarchy of pneumonia.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.data.splits import group_ids
from covjax.data.texture import DESCRIPTORS, describe
from covjax.errors import InputError
from covjax.files import DAMAGED, read_arrays, write_arrays, write_json
from covjax.inference import Classifier, Judged, make_network
from covjax.pretrained import pretrained
from covjax.systems import changed, outcome
from covjax.systems.classical import PIPELINE, Fitted, Pipeline, fit_pipeline, rehearse
from covjax.systems.finished import without_embeddings
from covjax.systems.network import train_network, untrained_network

LAYERS = ("map", "logits")
FUSIONS = ("early", "sum", "product", "vote")
FACTS, VECTORS = "classifiers.json", "training_features.npz"
LABELS, GROUPS = "labels", "groups"  # columns of it, beside the features
Extractor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which features, and what becomes of them.

    Attributes:
      networks: weights to start from by name of the table of networks; ``""`` starts
        from scratch. Empty: the recipe's own network, unless there are textures.
      fine_tune: whether networks are trained first, by the recipe; False takes them as
        they start, for which from scratch means random features.
      layer: ``"map"`` for means over the last spatial map, ``"logits"`` for outputs.
      textures: descriptors of `covjax.data.texture`.
      fusion: ``"early"`` joins all vectors; else each set of features has a classifier
        of its own, and probabilities are joined by their ``"sum"``, ``"product"`` or
        the ``"vote"`` of their decisions.
      pipeline: fields of `covjax.systems.classical.Pipeline`.
    """

    networks: dict[str, str] = field(default_factory=dict)
    fine_tune: bool = True
    layer: str = "map"
    textures: tuple[str, ...] = ()
    fusion: str = "early"
    pipeline: dict[str, Any] = field(default_factory=dict)


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains the networks, fits the classifiers to training features, and reports.

    Besides the report there are ``training_features.npz``, which with the recipe gives
    the classifiers back, for they are not saved, and ``classifiers.json`` with their
    facts.

    Raises:
      InputError: for settings or data that do not fit; and as
        `covjax.training.loop.fit`.
    """
    groups, _ = group_ids(splits.train.patients, splits.train.files, run.data.group_key)
    check(settings, splits.train, groups, run.train.seed)
    recipes = [replace(run, model=model) for model in networks_of(run, settings)]
    # all before the first training: some may not be there
    starts = [first_variables(recipe, splits.train) for recipe in recipes]
    make = train_network if settings.fine_tune else untrained_network
    networks = {
        recipe.model.name: make(
            recipe, splits, workdir / recipe.model.name, initial_variables=starts.pop(0)
        )
        for recipe in recipes
    }
    sets = feature_sets(networks, settings)
    columns = {name: extract(splits.train.images) for name, extract in sets.items()}
    columns |= {LABELS: splits.train.labels, GROUPS: groups}
    write_arrays(workdir / VECTORS, columns)
    fitted = fit_classifiers(
        run, columns, list(sets), splits.train.class_names, settings
    )
    write_json(workdir / FACTS, {name: part.facts for name, part in fitted.items()})
    parts = FeaturesClassifier(sets, list(fitted.values()), settings.fusion)
    return outcome.report(run, splits, workdir, parts)


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "FeaturesClassifier":
    """What `train` left in the work directory; the classifiers are fitted again.

    Raises:
      InputError: where a file is missing or damaged, and where the classifiers are not
        those of the run, as may be with another version of scikit-learn.
    """
    networks = {
        model.name: Classifier.load(workdir / model.name)
        for model in networks_of(run, settings)
    }
    sets = feature_sets(networks, settings)
    try:
        arrays = read_arrays(workdir / VECTORS)
        columns = {name: arrays[name] for name in (*sets, LABELS, GROUPS)}
        facts = json.loads((workdir / FACTS).read_text())
    except DAMAGED as error:
        raise InputError(f"{workdir}: missing or damaged: {error}") from error
    fitted = fit_classifiers(run, columns, list(sets), class_names, settings)
    for name, part in fitted.items():
        for key, here in part.facts.items():
            there = facts.get(name, {}).get(key)
            if here != there:
                raise InputError(
                    f"{workdir / FACTS}: {name}: {key} is {there!r}, but {here!r} when "
                    "fitted again; use the version of scikit-learn that it names"
                )
    return FeaturesClassifier(sets, list(fitted.values()), settings.fusion)


@dataclass(frozen=True)
class FeaturesClassifier:
    """Features to probabilities; see `covjax.systems.finished.Parts`.

    Attributes:
      sets: what gives each set of features, by name.
      fitted: one classifier of each set, or one of all for ``"early"``.
      fusion: one of `FUSIONS`.
    """

    sets: dict[str, Extractor]
    fitted: list[Fitted]
    fusion: str

    def judge(self, images: np.ndarray) -> Judged:
        """See `fuse`; no embeddings, for features of several kinds have no scale."""
        found = [extract(images) for extract in self.sets.values()]
        return without_embeddings(fuse(self.fitted, found, self.fusion))


def check(settings: Settings, images: ImageSet, groups: np.ndarray, seed: int) -> None:
    """Raises `InputError` for settings or data that do not fit.

    Args:
      settings: of the system.
      images: of the training split.
      groups: str ``[n]``; of patients and the like.
      seed: of the run.
    """
    for name, allowed in (("layer", LAYERS), ("fusion", FUSIONS)):
        if getattr(settings, name) not in allowed:
            raise InputError(
                f"config.system.kwargs.{name}={getattr(settings, name)!r}: must be one "
                f"of {', '.join(allowed)}"
            )
    for name in settings.textures:
        if name not in DESCRIPTORS:
            raise InputError(
                f"config.system.kwargs.textures: {name!r} must be one of "
                f"{', '.join(DESCRIPTORS)}"
            )
    if images.multi_label:
        raise InputError(
            "config.system.name='features_classifier': needs one label a picture"
        )
    pipeline = read_pipeline(settings)
    rehearse(images.labels, groups, images.class_names, pipeline, seed)


def read_pipeline(settings: Settings) -> Pipeline:
    """The pipeline of the settings; `InputError` for what it does not have."""
    return changed(Pipeline(), settings.pipeline, PIPELINE)


def first_variables(run: config.Run, images: ImageSet) -> Any:
    """What a network starts from, None: random; `InputError` without such a network."""
    model = run.model
    make_network(model.name, images.num_classes, model.dtype, model.kwargs)
    return pretrained(run, images.num_classes)


def networks_of(run: config.Run, settings: Settings) -> list[config.Model]:
    """The model section of each network, by whose name its folder is called."""
    networks = dict(settings.networks)
    if not networks and not settings.textures:
        networks = {run.model.name: run.model.pretrained}
    return [
        replace(
            run.model,
            name=name,
            pretrained=weights,
            kwargs=run.model.kwargs if name == run.model.name else {},
        )
        for name, weights in networks.items()
    ]


def feature_sets(
    networks: dict[str, Classifier], settings: Settings
) -> dict[str, Extractor]:
    """What gives each set of features, by name: the networks, then the textures."""
    sets: dict[str, Extractor] = {
        name: partial(network_features, network, settings.layer)
        for name, network in networks.items()
    }
    return sets | {name: partial(texture_features, name) for name in settings.textures}


def network_features(network: Classifier, layer: str, images: np.ndarray) -> np.ndarray:
    """What a network makes of pictures, float32 ``[n, features]``."""
    said = network.scored(images)
    return said.outputs if layer == "logits" else said.embeddings


def texture_features(name: str, images: np.ndarray) -> np.ndarray:
    """A descriptor of pictures, float32 ``[n, length]``."""
    return describe(images, name)


def fit_classifiers(
    run: config.Run,
    columns: dict[str, np.ndarray],
    names: list[str],
    class_names: tuple[str, ...],
    settings: Settings,
) -> dict[str, Fitted]:
    """Fits one classifier to each set of training features, or one to all.

    Args:
      run: its seed counts.
      columns: what stands in ``training_features.npz``: the sets by name, ``[n,
        features]`` each, ``labels`` int ``[n]`` and ``groups`` str ``[n]``.
      names: of the sets, in order.
      class_names: of the data.
      settings: fusion and pipeline.
    """
    vectors = {name: columns[name] for name in names}
    if settings.fusion == "early":
        vectors = {"all": np.concatenate(list(vectors.values()), axis=1)}
    pipeline, seed = read_pipeline(settings), run.train.seed
    labels, groups = columns[LABELS], columns[GROUPS]
    return {
        name: fit_pipeline(rows, labels, groups, class_names, pipeline, seed)
        for name, rows in vectors.items()
    }


def fuse(fitted: list[Fitted], features: list[np.ndarray], fusion: str) -> np.ndarray:
    """Probabilities, float32 ``[n, classes]``.

    Args:
      fitted: one classifier of each set of features, or one of all for ``"early"``.
      features: of each set, ``[n, features]``.
      fusion: one of `FUSIONS`; the rules are those of Kittler, Hatef, Duin, Matas
        1998, IEEE TPAMI 20(3). Votes that are even are decided by the mean.
    """
    if fusion == "early":
        return fitted[0].probabilities(np.concatenate(features, axis=1))
    pairs = zip(fitted, features, strict=True)
    p = np.stack([part.probabilities(rows) for part, rows in pairs])
    match fusion:
        case "sum":
            return p.mean(axis=0)
        case "product":
            logs = np.log(np.maximum(p, np.finfo(np.float32).tiny)).sum(axis=0)
            shares = np.exp(logs - logs.max(axis=1, keepdims=True))
            return shares / shares.sum(axis=1, keepdims=True)
        case _:
            votes = (p.argmax(axis=2)[..., None] == np.arange(p.shape[2])).sum(axis=0)
            mixed = (votes + p.mean(axis=0)) / (len(p) + 1)
            return mixed.astype(np.float32)
