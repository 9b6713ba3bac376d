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

# Each is a module of this package with a frozen dataclass `Settings`, made of
# config.system.kwargs, and train(run, splits, workdir, settings), which returns what
# stands in metrics.json.
SYSTEMS: tuple[str, ...] = (
    "anomaly",
    "cascade",
    "ensemble",
    "features_classifier",
    "gan_augmentation",
    "patch_voting",
    "segmentation",
)


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
      InputError: for a name that the system does not know.
    """
    names = [field.name for field in dataclasses.fields(settings)]
    for name in system.kwargs:
        if name not in names:
            near = difflib.get_close_matches(name, names)
            raise InputError(
                f"config.system.kwargs: {system.name} has no {name!r}; it has "
                f"{', '.join(near or names)}"
            )
    return settings(**system.kwargs)
