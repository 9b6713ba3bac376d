"""What a paper builds from more than one network, each trained by one command.

A recipe names its system in ``config.system``; `train` builds it in the run's work
directory and ends with the same report as a single network's run.
"""

import dataclasses
import difflib
import importlib
from pathlib import Path
from typing import Any, get_args, get_origin

from covjax import config
from covjax.data import Splits
from covjax.errors import InputError
from covjax.evaluation import repeats
from covjax.files import CARDS, runs_within
from covjax.inference import Classifier
from covjax.systems.finished import System, read_card
from covjax.systems.seeds import Seeds
from covjax.systems.segmenter import CARD as SEGMENTER

# Each is a module of this package with a frozen dataclass `Settings`, made of
# config.system.kwargs; train(run, splits, workdir, settings), which returns what
# stands in metrics.json; and, unless what it trains is one network in the end,
# load(run, workdir, settings, class_names), which gives `finished.Parts`.
SYSTEMS: tuple[str, ...] = (
    "anomaly",
    "cascade",
    "ensemble",
    "features_classifier",
    "gan_augmentation",
    "patch_voting",
    "segmentation",
)

Ranges = dict[str, tuple[float, float | None]]  # field: least, most; None: unbounded

# what a setting must be, by the annotation of its field
KINDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple[str, ...]: "a tuple of text",
    tuple[dict[str, Any], ...]: "a tuple of dictionaries",
    dict[str, Any]: "a dictionary whose names are text",
    dict[str, str]: "a dictionary of text",
}


def train(run: config.Run, splits: Splits, workdir: Path) -> dict[str, Any]:
    """Builds the system of a recipe, and reports.

    Args:
      run: the recipe; ``run.system.name`` is one of `SYSTEMS`.
      splits: the data.
      workdir: of this run; parts that were finished before are read, not made again.

    Raises:
      InputError: for an unknown system or setting, and as `covjax.training.loop.fit`.
      Interrupted: after SIGINT or SIGTERM; the same command goes on.
    """
    module = importlib.import_module(f"covjax.systems.{known(run.system.name)}")
    settings = read_settings(module.Settings, run.system)
    return module.train(run, splits, workdir, settings)


def load(workdir: Path) -> Classifier | System:
    """What a finished run judges pictures with: its network, its system, its seeds.

    Args:
      workdir: of the run.

    Raises:
      InputError: for a run that has not finished or whose files are damaged, for a
        part of a system that has no classes, and for a system that needs more than
        pictures.
    """
    if (workdir / SEGMENTER).is_file():
        raise InputError(
            f"{workdir}: a segmenter finds lungs and knows no classes; name the run "
            "that it is a part of"
        )
    runs = runs_within(workdir)
    if runs and not any((workdir / card).is_file() for card in CARDS):
        raise InputError(
            f"{workdir}: holds several runs; name one of them, such as {min(runs)}"
        )
    run = read_recipe(workdir)
    if run.train.seeds > 1:
        card = read_card(workdir)
        members = [load(repeat.place) for repeat in repeats.plan(run, workdir)]
        return System(parts=Seeds(members), **card)
    if run.system.name in ("", "gan_augmentation"):  # one network in the end
        return Classifier.load(workdir)
    module = importlib.import_module(f"covjax.systems.{known(run.system.name)}")
    card = read_card(workdir)
    settings = read_settings(module.Settings, run.system)
    return System(
        parts=module.load(run, workdir, settings, card["class_names"]), **card
    )


def read_recipe(workdir: Path) -> config.Run:
    """The recipe of a run; the default one of a network that was saved by itself.

    Raises:
      InputError: where the file is damaged.
    """
    path = workdir / "config.json"
    return config.read(path) if path.is_file() else config.Run()


def known(name: str) -> str:
    """The name, if it is one of `SYSTEMS`; raises `InputError` otherwise."""
    if name not in SYSTEMS:
        raise InputError(
            f"config.system.name={name!r}: must be one of {', '.join(SYSTEMS)}"
        )
    return name


def read_settings(settings: type, system: config.System) -> Any:
    """The settings of a system, made of ``config.system.kwargs``; see `changed`."""
    return changed(settings(), system.kwargs, "config.system.kwargs")


def changed(usual: Any, values: Any, where: str) -> Any:
    """A dataclass of settings with other values, each of the kind of its field.

    Args:
      usual: the dataclass with what stands where nothing is said.
      values: by name of the field; what a user wrote.
      where: the user wrote it.

    Raises:
      InputError: for a name that it does not have, or a value of another kind.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(usual)}
    if not _is(values, dict[str, Any]):
        raise InputError(
            f"{where}={values!r}: must be a dictionary with any of {', '.join(kinds)}"
        )
    for name, value in values.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds)
            raise InputError(
                f"{where}: has no {name!r}; it has {', '.join(near or kinds)}"
            )
        if not _is(value, kinds[name]):
            raise InputError(
                f"{where}.{name}={value!r}: must be {KINDS[kinds[name]]}, such as "
                f"{getattr(usual, name)!r}"
            )
    return dataclasses.replace(usual, **values)


def check_ranges(settings: Any, ranges: Ranges, where: str) -> None:
    """Raises `InputError` for the first field that is not within its range."""
    for name, (low, high) in ranges.items():
        config.check_range(f"{where}.{name}", getattr(settings, name), low, high)


def _is(value: Any, kind: Any) -> bool:
    """Whether a value is of the kind of an annotation in `KINDS`."""
    if kind is Any:
        return True
    inner = get_args(kind)
    if get_origin(kind) is tuple:  # lists too: JSON knows no tuples
        return isinstance(value, (list, tuple)) and all(_is(v, inner[0]) for v in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(
            _is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items()
        )
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
