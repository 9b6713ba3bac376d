"""Several networks asked together: mean, weighted mean, majority vote, stacking.

Stacking: Wolpert, Stacked generalization, 1992, Neural Networks 5:241. Networks at
several resolutions under a meta-learner, the first stage trained on another data set:
Mahmud, Rahman, Fattah, CovXNet, 2020, Computers in Biology and Medicine 122:103869.

The meta-learner learns from predictions of networks that had not seen the picture nor
its patient: on their own training pictures networks are surer than they may be.

Differs from the paper: its meta-learner is not described; here it is a multinomial
logistic regression.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.data.resized import resized, resized_pictures
from covjax.data.splits import group_ids, k_fold
from covjax.errors import InputError
from covjax.files import write_json
from covjax.inference import Classifier, Judged, make_network
from covjax.systems import changed, outcome
from covjax.systems.network import train_network
from covjax.systems.votes import Combination, combine
from covjax.training.state import initialise

RULES = ("mean", "weighted", "majority", "stacking")
COMBINATION = "combination.json"  # how the members are joined


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The networks and how they are joined.

    Attributes:
      members: dictionaries with ``model``, and where they are not the recipe's own
        ``size`` (at most ``config.data.size``), ``kwargs`` and ``name``, the member's
        folder in the work directory, by default the model's name.
      rule: "mean", "weighted" (by weights with the least log loss on validation),
        "majority" (ties go to the higher mean probability) or "stacking".
      folds: of the out-of-fold predictions that stacking learns from.
      trunk: first letters of the top-level parts that a member takes from its
        namesake in ``config.model.pretrained``, the work directory of an earlier
        ensemble, and keeps frozen.
      transfer: kwargs that a member with such a trunk has besides.
    """

    members: tuple[dict[str, Any], ...] = ()
    rule: str = "mean"
    folds: int = 5
    trunk: tuple[str, ...] = ("stem", "stage")
    transfer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of an ensemble; see `Settings`."""

    name: str
    model: str
    size: int
    kwargs: dict[str, Any]


class Start(NamedTuple):
    """What a member begins with."""

    variables: Any  # None: from scratch
    frozen: tuple[str, ...]  # parts of them that stay as they are


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains every member, joins them on training or validation data, and reports.

    Raises:
      InputError: for settings that do not fit; as `covjax.training.loop.fit`.
    """
    members = check(run, splits.train, settings)
    # all before the first training: weights may not be there, patients too few
    parts = folds_of(run, splits.train, settings)
    starts = [start_of(run, splits.train, member, settings) for member in members]
    pairs = list(zip(members, starts, strict=True))
    networks = [
        train_member(run, splits, workdir / member.name, member, start)
        for member, start in pairs
    ]

    if settings.rule == "stacking":
        unseen = [
            out_of_fold_of(run, splits, workdir / member.name, member, start, parts)
            for member, start in pairs
        ]
        joined = combine("stacking", np.stack(unseen), splits.train.labels)
    else:
        joined = combine(
            settings.rule,
            probabilities_of(ask(networks, splits.validation.images)),
            splits.validation.labels,
        )
    write_json(workdir / COMBINATION, joined.to_dict())
    return outcome.report(run, splits, workdir, Ensemble(networks, joined))


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "Ensemble":
    """What `train` left in the work directory; `InputError` where that is damaged."""
    members = read_members(run, settings)
    networks = [Classifier.load(workdir / member.name) for member in members]
    path = workdir / COMBINATION
    try:
        joined = Combination.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: missing or damaged: {error}") from error
    return Ensemble(networks, joined)


@dataclass(frozen=True)
class Ensemble:
    """Networks that answer as one; see `covjax.systems.finished.Parts`.

    Attributes:
      networks: the members, each with its size of pictures.
      joined: makes one answer of theirs.
    """

    networks: list[Classifier]
    joined: Combination

    def judge(self, images: np.ndarray) -> Judged:
        """The members' probabilities combined, and the first one's embeddings."""
        said = ask(self.networks, images)
        return Judged(self.joined(probabilities_of(said)), said[0].embeddings)


def ask(networks: list[Classifier], images: np.ndarray) -> list[Judged]:
    """What each member says.

    Args:
      networks: the members.
      images: uint8 ``[n, size, size, channels]``, resized for each.
    """
    return [n.judge(resized_pictures(images, n.preprocess.size)) for n in networks]


def probabilities_of(said: list[Judged]) -> np.ndarray:
    """Float32 ``[members, n, classes]``."""
    return np.stack([one.probabilities for one in said])


def check(run: config.Run, images: ImageSet, settings: Settings) -> tuple[Member, ...]:
    """The members; raises `InputError` for settings that do not fit."""
    where = "config.system.kwargs"
    if settings.rule not in RULES:
        raise InputError(
            f"{where}.rule={settings.rule!r}: must be one of {', '.join(RULES)}"
        )
    if settings.rule != "mean" and images.multi_label:
        raise InputError(
            f"{where}.rule={settings.rule!r}: with several labels a picture it must "
            "be mean"
        )
    if settings.rule == "stacking" and settings.folds < 2:
        raise InputError(f"{where}.folds={settings.folds}: must be at least 2")
    if len(settings.members) < 2:
        raise InputError(
            f"{where}.members: must name two networks or more, such as "
            "({'model': 'resnet18'}, {'model': 'vgg16'})"
        )
    members = read_members(run, settings)
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{where}.members: two are called {name!r}; give each a 'name'"
            )
    return members


def read_members(run: config.Run, settings: Settings) -> tuple[Member, ...]:
    """The entries of the settings, completed by the recipe."""
    usual = Member(name="", model=run.model.name, size=run.data.size, kwargs={})
    transfer = settings.transfer if run.model.pretrained else {}
    members = []
    for number, entry in enumerate(settings.members):
        where = f"config.system.kwargs.members[{number}]"
        member = changed(usual, entry, where)
        if not 8 <= member.size <= run.data.size:
            raise InputError(
                f"{where}.size={member.size}: must be from 8 to "
                f"config.data.size={run.data.size}"
            )
        name = member.name or member.model
        if name == ".." or Path(name).name != name:
            raise InputError(f"{where}.name={name!r}: must be the name of a folder")
        kwargs = run.model.kwargs | member.kwargs | transfer
        members.append(replace(member, name=name, kwargs=kwargs))
    return tuple(members)


def start_of(
    run: config.Run, images: ImageSet, member: Member, settings: Settings
) -> Start:
    """What a member begins with: the trunk of an earlier one if there is any.

    Raises:
      InputError: where the network or the earlier one is not there or does not fit.
    """
    network = make_network(
        member.model, images.num_classes, run.model.dtype, member.kwargs
    )
    if not run.model.pretrained:
        return Start(None, ())
    donor = Classifier.load(Path(run.model.pretrained) / member.name)
    shape = (member.size, member.size, images.images.shape[-1])
    fresh = initialise(network, shape, run.train.seed)
    variables, taken = with_trunk(fresh, donor.variables, settings.trunk)
    return Start(jax.device_get(variables), taken)  # folds begin with it too


def train_member(
    run: config.Run, splits: Splits, workdir: Path, member: Member, start: Start
) -> Classifier:
    """Trains one network at its size.

    Args:
      run: of the ensemble.
      splits: at the ensemble's size; the test split is not looked at.
      workdir: of this network.
      member: which network.
      start: what it begins with.
    """
    alone = outcome.part(run, name=member.model, kwargs=member.kwargs, pretrained="")
    alone = replace(
        alone,
        data=replace(run.data, size=member.size),
        train=replace(run.train, freeze=(*run.train.freeze, *start.frozen)),
    )
    small = replace(
        splits,
        train=resized(splits.train, member.size),
        validation=resized(splits.validation, member.size),
        preprocess=replace(splits.preprocess, size=member.size),
    )
    return train_network(alone, small, workdir, initial_variables=start.variables)


def with_trunk(
    fresh: dict[str, Any], donor: dict[str, Any], trunk: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The donor's parts whose names start as `trunk` says, in fresh variables.

    Returns:
      The variables, and the names of the parts that were taken.

    Raises:
      InputError: when the donor's parts are not those of the network.
    """
    parts = [name for name in fresh["params"] if name.startswith(trunk)]
    theirs = [name for name in donor["params"] if name.startswith(trunk)]
    if not parts or set(parts) != set(theirs):
        odd = sorted(set(parts) ^ set(theirs)) or [" or ".join(trunk)]
        raise InputError(
            f"config.model.pretrained: only one of the two networks has {odd[0]}; the "
            "trunk must be that of the same network"
        )
    result = {collection: dict(tree) for collection, tree in fresh.items()}
    for collection, tree in donor.items():
        for name in parts:
            if name in tree:
                result[collection][name] = tree[name]
    return result, tuple(parts)


def folds_of(run: config.Run, images: ImageSet, settings: Settings) -> np.ndarray:
    """The fold of each training picture, ``[n]``, for stacking; one for other rules."""
    if settings.rule != "stacking":
        return np.zeros(len(images), int)
    groups, _ = group_ids(images.patients, images.files, run.data.group_key)
    return k_fold(groups, images.labels, settings.folds, run.train.seed)


def out_of_fold_of(
    run: config.Run,
    splits: Splits,
    workdir: Path,
    member: Member,
    start: Start,
    parts: np.ndarray,
) -> np.ndarray:
    """A member's probabilities of training pictures that it had not seen."""

    def predict(seen: ImageSet, unseen: ImageSet, fold: int) -> np.ndarray:
        place = workdir / f"fold-{fold}"
        less = replace(splits, train=seen)
        network = train_member(run, less, place, member, start)
        return network.judge(resized(unseen, member.size).images).probabilities

    return out_of_fold(splits.train, parts, predict)


def out_of_fold(
    images: ImageSet,
    parts: np.ndarray,
    predict: Callable[[ImageSet, ImageSet, int], np.ndarray],
) -> np.ndarray:
    """Probabilities of every picture by a model that has not seen its fold.

    Args:
      images: of the training split.
      parts: int ``[n]``, the fold of each, from `covjax.data.splits.k_fold`.
      predict: trains on the first set and gives probabilities of the second; the
        third argument is the number of the fold.

    Returns:
      Float32 ``[n, classes]``.
    """
    result = np.full((len(images), images.num_classes), np.nan, np.float32)
    for fold in np.unique(parts).tolist():
        inside = parts == fold
        result[inside] = predict(images.subset(~inside), images.subset(inside), fold)
    return result
