"""The typed schema of a run. Every default of covjax lives here, and only here.

A recipe (``configs/*.py``) defines ``get_config(variant)`` and returns a `Run`;
the command line overrides single fields: ``--config.optimizer.learning_rate=1e-3``.
Standard library only, so that ``--help`` and errors come back at once.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covjax.errors import InputError


@dataclass(kw_only=True, slots=True)
class Model:
    """The network: a name of the model table and what its constructor takes."""

    name: str = "densenet121"
    kwargs: dict[str, Any] = field(default_factory=dict)  # for the constructor
    dtype: str = "float32"  # compute type; parameters and statistics stay float32
    pretrained: str = ""  # a checkpoint file, a covjax run, or timm/NAME
    new_head: bool = False  # start with a fresh classifier when its shape differs


@dataclass(kw_only=True, slots=True)
class System:
    """What a paper builds around the network; without a name, the network alone."""

    name: str = ""  # one of covjax.systems.SYSTEMS
    kwargs: dict[str, Any] = field(default_factory=dict)  # the system's settings


@dataclass(kw_only=True, slots=True)
class Data:
    """The pictures: which set, how each is prepared, how the set is split."""

    name: str = "phantom"  # a name of the catalog, or "folder"
    dir: str = ""  # where the files lie; empty: download or the default place
    manifest: str = ""  # for "folder": CSV with path, label[, patient, source, split]
    kwargs: dict[str, Any] = field(default_factory=dict)  # for the set's loader
    classes: tuple[str, ...] = ()  # keep these classes in this order; empty: all
    limit: int = 0  # at most this many pictures of each split; 0: all
    # preparation, once per picture, on the host
    size: int = 64  # height and width in pixels
    channels: int = 1
    crop_top: float = 0.0  # share of rows cut from the top (COVID-Net: 0.08)
    crop: str = "none"  # "none" squeezes to a square, "square" cuts the centre
    equalize: str = "none"  # "none", "histogram" or "clahe"
    gamma: float = 1.0
    fuzzy_stack: bool = False  # Togacar et al.: fuzzy colour, stacking, contrast
    mean: tuple[float, ...] = (0.5,)  # of pixels in [0, 1], one or one a channel
    std: tuple[float, ...] = (0.5,)
    # split
    split: str = "auto"  # "auto": official if there is one, else "grouped"; "image"
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    group_key: str = ""  # regular expression: its match in the file name is the group
    folds: int = 0  # k of k-fold cross-validation; 0: one hold-out split
    fold: int = -1  # the fold that is the test split; -1: each in turn
    test_source: str = ""  # leave one source out: this one is the test split
    # feeding
    feed: str = "auto"  # "resident" in device memory, "stream" through grain
    resident_gib: float = 4.0  # "auto" keeps sets up to this size in device memory
    cache_dir: str = ""  # empty: $COVJAX_CACHE_DIR or ~/.cache/covjax


@dataclass(kw_only=True, slots=True)
class Augment:
    """Random changes of training pictures, on the device; all off by default.

    Symmetric ranges: a value r draws uniformly from [-r, r] (zoom: [1-r, 1+r]).
    """

    flip: bool = False  # mirrors the chest, and so moves the heart
    flip_vertical: bool = False
    rotation_degrees: float = 0.0
    shift: float = 0.0  # share of height and width
    zoom: float = 0.0
    shear_degrees: float = 0.0
    aspect: float = 0.0  # relative change of width against height
    brightness: float = 0.0  # added, share of the pixel range
    contrast: float = 0.0  # relative, about the picture's mean
    crop_area: float = 1.0  # smallest area of a random resized crop; 1: no crop
    cutout: float = 0.0  # side of a blanked square, share of height and width


@dataclass(kw_only=True, slots=True)
class Optimizer:
    """Update rule and learning-rate schedule; epochs may be fractions."""

    name: str = "adam"  # "sgd", "adam", "adamw", "rmsprop"
    learning_rate: float = 1e-3  # the peak of the schedule
    momentum: float = 0.9  # of "sgd" and "rmsprop"
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    weight_decay: float = 0.0  # decoupled for adamw, L2 in the gradient otherwise
    l1: float = 0.0  # sum of absolute parameters, added to the loss
    decay_norms_and_biases: bool = False
    schedule: str = "constant"  # "step", "multi_step", "exponential", "cosine",
    # "one_cycle", "plateau"
    warmup_epochs: float = 0.0
    decay_epochs: float = 10.0  # "step": every so many; "exponential": per factor
    milestones: tuple[float, ...] = ()  # "multi_step": epochs
    decay_factor: float = 0.1  # "step", "multi_step", "exponential", "plateau"
    final_fraction: float = 0.0  # "cosine": last rate, share of the peak
    patience_epochs: int = 5  # "plateau"
    clip_norm: float = 0.0  # global gradient norm; 0: no clipping
    ema_decay: float = 0.0  # moving average of parameters; 0: none
    stage_rates: dict[str, float] = field(default_factory=dict)  # path: factor


@dataclass(kw_only=True, slots=True)
class Train:
    """The loop."""

    epochs: int = 10
    batch_size: int = 32  # over all devices
    seed: int = 0
    seeds: int = 1  # so many runs, with seeds seed, seed + 1, ...
    # "focal", "binary", "margin"; of two classes "deviation", "deviation_confidence"
    loss: str = "cross_entropy"
    class_weights: str = "none"  # "balanced": inverse class frequency
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    aux_weight: float = 0.3  # of each auxiliary head's loss (GoogLeNet, section 5)
    # of the squared error, summed over pixels in [0, 1], of what the decoder of a
    # capsule network draws (Sabour et al. 2017, section 4.1)
    reconstruction_weight: float = 0.0005
    sampling: str = "shuffle"  # "balanced": every class equally often
    parallel: str = "jit"  # "jit" over a mesh, or "pmap"
    devices: int = 0  # 0: all
    early_stopping_epochs: int = 0  # without a better validation measure; 0: never
    select_by: str = "auc"  # "auc", "accuracy", "balanced_accuracy", "f1", "loss"
    freeze: tuple[str, ...] = ()  # "backbone", "until:STAGE", or parameter paths
    freeze_batch_norm: bool = False  # running statistics are used and kept
    unfreeze_epochs: float = 0.0  # one stage more every so many epochs; 0: never
    checkpoint_epochs: int = 1
    remat: bool = False  # recompute activations in the backward pass
    sizes: tuple[int, ...] = ()  # progressive resizing: one size a share of epochs


@dataclass(kw_only=True, slots=True)
class Evaluation:
    """What is measured at the end, and how."""

    batch_size: int = 0  # 0: the training batch size
    threshold: str = "youden"  # "youden", "sensitivity", "specificity", "cost"
    target: float = 0.9  # of "sensitivity" and "specificity"
    cost_ratio: float = 1.0  # "cost": price of a missed case / of a false alarm
    positive: str = ""  # class of the operating point; empty: the last disease
    resamples: int = 2000  # of the patient-clustered bootstrap
    level: float = 0.95  # of every interval
    calibrate: bool = True  # temperature scaling on the validation split


@dataclass(kw_only=True, slots=True)
class Run:
    """A whole experiment: what a recipe returns and a work directory records."""

    model: Model = field(default_factory=Model)
    system: System = field(default_factory=System)
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)


CHOICES: dict[str, tuple[str, ...]] = {
    "model.dtype": ("float32", "bfloat16"),
    "data.crop": ("none", "square"),
    "data.equalize": ("none", "histogram", "clahe"),
    "data.split": ("auto", "official", "grouped", "image"),
    "data.feed": ("auto", "resident", "stream"),
    "optimizer.name": ("sgd", "adam", "adamw", "rmsprop"),
    "optimizer.schedule": (
        "constant",
        "step",
        "multi_step",
        "exponential",
        "cosine",
        "one_cycle",
        "plateau",
    ),
    "train.loss": (
        "cross_entropy",
        "focal",
        "binary",
        "margin",
        "deviation",
        "deviation_confidence",
    ),
    "train.class_weights": ("none", "balanced"),
    "train.sampling": ("shuffle", "balanced"),
    "train.parallel": ("jit", "pmap"),
    "train.select_by": ("auc", "accuracy", "balanced_accuracy", "f1", "loss"),
    "evaluation.threshold": ("youden", "sensitivity", "specificity", "cost"),
}

# field: (smallest, largest allowed); None: unbounded
RANGES: dict[str, tuple[float | None, float | None]] = {
    "data.limit": (0, None),
    "data.size": (8, 4096),
    "data.channels": (1, 64),
    "data.crop_top": (0, 0.9),
    "data.gamma": (0.01, 100),
    "data.folds": (0, None),
    "data.fold": (-1, None),
    "data.resident_gib": (0, None),
    "augment.rotation_degrees": (0, 180),
    "augment.shift": (0, 1),
    "augment.zoom": (0, 0.9),
    "augment.shear_degrees": (0, 60),
    "augment.aspect": (0, 0.9),
    "augment.brightness": (0, 1),
    "augment.contrast": (0, 1),
    "augment.crop_area": (0.01, 1),
    "augment.cutout": (0, 1),
    "optimizer.learning_rate": (0, None),
    "optimizer.momentum": (0, 1),
    "optimizer.weight_decay": (0, None),
    "optimizer.l1": (0, None),
    "optimizer.warmup_epochs": (0, None),
    "optimizer.decay_epochs": (1e-6, None),
    "optimizer.decay_factor": (0, 1),
    "optimizer.clip_norm": (0, None),
    "optimizer.ema_decay": (0, 1),
    "train.epochs": (0, None),
    "train.seed": (0, None),
    "train.batch_size": (1, None),
    "train.seeds": (1, None),
    "train.label_smoothing": (0, 1),
    "train.reconstruction_weight": (0, None),
    "train.devices": (0, None),
    "train.checkpoint_epochs": (1, None),
    "train.early_stopping_epochs": (0, None),
    "train.unfreeze_epochs": (0, None),
    "evaluation.batch_size": (0, None),
    "evaluation.target": (0, 1),
    "evaluation.cost_ratio": (1e-9, None),
    "evaluation.resamples": (1, None),
    "evaluation.level": (0.5, 0.999),
}


def get(run: Run, path: str) -> Any:
    """The value at a dotted path such as ``train.epochs``."""
    value: Any = run
    for name in path.split("."):
        value = getattr(value, name)
    return value


def check_range(name: str, value: float, low: float | None, high: float | None) -> None:
    """Raises `InputError` unless the value is from `low` to `high`; None: unbounded."""
    too_low = low is not None and not value >= low  # also catches NaN
    too_high = high is not None and not value <= high
    if too_low or too_high:
        bounds = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value!r}: must be {bounds}")


def check(run: Run) -> None:
    """Raises `InputError` for the first value that is not allowed."""
    for path, allowed in CHOICES.items():
        if get(run, path) not in allowed:
            raise InputError(
                f"config.{path}={get(run, path)!r}: must be one of {', '.join(allowed)}"
            )
    for path, (low, high) in RANGES.items():
        check_range(f"config.{path}", get(run, path), low, high)
    data = run.data
    if len(data.fractions) != 3 or abs(sum(data.fractions) - 1) > 1e-6:
        raise InputError(
            f"config.data.fractions={data.fractions!r}: must be three shares "
            "(train, validation, test) that add up to 1"
        )
    if min(data.fractions) <= 0:
        raise InputError(
            f"config.data.fractions={data.fractions!r}: each share must be above 0"
        )
    if data.folds == 1 or (data.folds and data.fold >= data.folds):
        raise InputError(
            f"config.data.folds={data.folds}, config.data.fold={data.fold}: folds must "
            "be 0 or at least 2, and fold below folds"
        )
    if data.fold > 0 and not data.folds:
        raise InputError(f"config.data.fold={data.fold}: needs config.data.folds")
    if data.folds and data.test_source:
        raise InputError(
            f"config.data.folds={data.folds}, config.data.test_source="
            f"{data.test_source!r}: the test split is either a fold or a source"
        )
    if run.train.seeds > 1 and data.folds and data.fold < 0:
        raise InputError(
            f"config.train.seeds={run.train.seeds}, config.data.folds={data.folds}: "
            "repeat either seeds or folds; several seeds need one fold, such as "
            "config.data.fold=0"
        )
    if data.manifest and data.name != "folder":
        raise InputError(
            f"config.data.manifest={data.manifest!r}: needs config.data.name=folder; "
            f"{data.name} takes none"
        )
    for name in ("mean", "std"):
        values = getattr(data, name)
        if len(values) not in (1, data.channels):
            raise InputError(
                f"config.data.{name}={values!r}: must have one value, or one for each "
                f"of the {data.channels} channels"
            )
    if min(data.std) <= 0:
        raise InputError(f"config.data.std={data.std!r}: must be above 0")


# Preparation that fits each data set at hand; a recipe may change it afterwards.
DATA_SETS: dict[str, dict[str, Any]] = {
    "phantom": {"size": 64},
    "folder": {"size": 224},
    "pneumonia_mnist": {"size": 32},  # 28 px originals; 32 is what most networks need
    "covid_ct": {"size": 224},  # He et al. 2020
    "darkcovidnet": {"size": 256},  # Ozturk et al. 2020
}


def with_variants(run: Run, text: str, smallest: int = 8) -> Run:
    """The run changed by a recipe's variant text, such as ``"covid_ct,smoke"``.

    Args:
      run: the recipe's settings.
      text: words joined by commas, each a data set, which brings its picture size,
        or ``smoke``, which shrinks the run to seconds on a CPU.
      smallest: height and width that the recipe's networks take at least.

    Raises:
      InputError: for any other word.
    """
    for word in filter(None, text.split(",")):
        if word == "smoke":
            continue
        if word not in DATA_SETS:
            raise InputError(
                f"variant {word!r}: must be smoke or a data set: {', '.join(DATA_SETS)}"
            )
        if word != run.data.name:
            run.data.name = word
            run.data.kwargs = {}
        for name, value in DATA_SETS[word].items():
            setattr(run.data, name, value)
    if "smoke" in text.split(","):
        shrink(run)
    run.data.size = max(run.data.size, smallest)
    return run


def shrink(run: Run) -> None:
    """Makes a run finish in seconds: few small pictures, one epoch."""
    run.data.limit = 24
    run.data.fold = max(run.data.fold, 0)  # one fold of many
    run.data.size = min(run.data.size, 64)
    run.train.epochs = 1
    run.train.batch_size = min(run.train.batch_size, 8)
    run.train.seeds = 1
    run.train.sizes = ()
    run.evaluation.resamples = 100


def choose(text: str, *groups: Sequence[str]) -> tuple[Any, ...]:
    """What a survey recipe's variant text says, such as ``"resnet50,two,smoke"``.

    Args:
      text: words in any order; at most one of each group, and ``smoke``.
      *groups: alternatives, the first of which is the default.

    Returns:
      A word of each group, and whether the text says ``smoke``.

    Raises:
      InputError: for any other word.
    """
    words = [word for word in text.split(",") if word]
    chosen: list[Any] = []
    for group in groups:
        named = [word for word in words if word in group]
        chosen.append(named[0] if named else group[0])
    unused = [word for word in words if word not in (*chosen, "smoke")]
    if unused:
        allowed = [", ".join(group) for group in (*groups, ("smoke",))]
        raise InputError(
            f"variant {unused[0]!r}: must be one of {'; or one of '.join(allowed)}"
        )
    return (*chosen, "smoke" in words)


def rehearse(run: Run, *, classes: Sequence[str] = (), size: int = 64) -> Run:
    """The run on a few phantom pictures: what ``:smoke`` of a survey recipe is.

    Args:
      run: changed in place; its network, loss, optimizer and protocol stay.
      classes: of the phantom, in this order; empty: all three.
      size: of the pictures: at least what the network takes.
    """
    shrink(run)
    data = run.data
    data.name, data.dir, data.manifest, data.kwargs = "phantom", "", "", {}
    data.split, data.group_key, data.test_source = "auto", "", ""
    data.classes, data.size = tuple(classes), size
    run.model.pretrained = ""
    run.evaluation.positive = ""
    return run


def to_dict(run: Run) -> dict[str, Any]:
    """The run as plain dictionaries, for ``config.json``."""
    return dataclasses.asdict(run)


def plain(run: Run) -> dict[str, Any]:
    """The run as it reads back from JSON: lists for tuples."""
    return json.loads(json.dumps(to_dict(run)))


def from_dict(values: dict[str, Any]) -> Run:
    """The inverse of `to_dict`; unknown fields raise `InputError`."""
    sections = {f.name: f.default_factory for f in dataclasses.fields(Run)}
    run = Run()
    for section, entries in values.items():
        if section not in sections:
            raise InputError(
                f"config.{section}: unknown section; known: {', '.join(sections)}"
            )
        target = getattr(run, section)
        names = {f.name for f in dataclasses.fields(target)}
        for name, value in entries.items():
            if name not in names:
                raise InputError(f"config.{section}.{name}: unknown field")
            if isinstance(getattr(target, name), tuple):
                value = tuple(value)  # JSON has lists only
            setattr(target, name, value)
    return run


def read(path: Path) -> Run:
    """The run of a ``config.json``; a field that it lacks is newer, and as usual.

    Raises:
      InputError: where the file is damaged.
    """
    try:
        return from_dict(json.loads(path.read_text()))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error
