"""What a paper builds from more than one network, each trained by one command.

A recipe names its system in ``config.system``; `train` builds it in the run's work
directory and ends with the same report as a single network's run.
"""

import dataclasses
import difflib
import importlib
from pathlib import Path
from typing import Any

from covjax import config
from covjax.data import Splits
from covjax.errors import InputError
from covjax.files import CARDS, REPEATS
from covjax.inference import Classifier
from covjax.systems.finished import System, read_card
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

# what a setting must be, by the type of its default
KINDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple",
    dict: "a dictionary",
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
    """What a finished run judges pictures with: its network, or its system.

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
    if not any((workdir / card).is_file() for card in CARDS):
        runs = [p.parent for card in CARDS for p in workdir.glob(f"{REPEATS}/{card}")]
        if runs:
            raise InputError(
                f"{workdir}: holds several runs; name one of them, such as {min(runs)}"
            )
    run = read_recipe(workdir)
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
    """The settings of a system, made of ``config.system.kwargs``.

    Raises:
      InputError: for a name that the system does not know, or a value of another type
        than the default.
    """
    usual = settings()
    fields = [field.name for field in dataclasses.fields(settings)]
    for name, value in system.kwargs.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields)
            raise InputError(
                f"config.system.kwargs: {system.name} has no {name!r}; it has "
                f"{', '.join(near or fields)}"
            )
        default = getattr(usual, name)
        if not _like(value, default):
            raise InputError(
                f"config.system.kwargs.{name}={value!r}: must be "
                f"{KINDS[type(default)]}, such as {default!r}"
            )
    return settings(**system.kwargs)


def _like(value: Any, default: Any) -> bool:
    """Whether a value may stand where the default does."""
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    wider = {float: (int, float), tuple: (list, tuple)}  # JSON knows no tuples
    return isinstance(value, wider.get(type(default), type(default)))
