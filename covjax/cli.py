"""What the commands share: flags, recipes, and errors of one line with status 2."""

import argparse
import ast
import dataclasses
import difflib
import errno
import gc
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from covjax import config
from covjax.errors import InputError

# errors of the disk, or of a path that a user named, that become one line
OF_THE_DISK = (
    errno.ENOSPC,
    errno.EACCES,
    errno.EROFS,
    errno.EDQUOT,
    errno.EEXIST,
    errno.ENOTDIR,
)
GARBAGE = 10_000  # new objects before Python looks for garbage among them
OVERRIDES = """\
Any field of the recipe can be set: --config.train.epochs=3
  --config.model.name=resnet18  --config.data.dir=DIR  --config.model.dtype=bfloat16
The fields, their meaning and their defaults are in covjax/config.py.
A recipe takes variants behind a colon, joined by commas: a data set and 'smoke',
which shrinks it to seconds: --config configs/densenet.py:covid_ct,smoke"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **kwargs: Any):
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with status 2."""
        raise InputError(f"{message} (see python -m {self.prog} --help)")


def run_command(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a command on ``sys.argv`` and exits with its status.

    `InputError` and what the disk refuses become one line and status 2, Ctrl-C status
    130.
    """
    # XLA reports, as errors and line after line, that a cached program was tuned for
    # "prefer-no-gather", which is no feature that a processor could lack
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # tracing makes millions of objects that live on, and Python would look through them
    # after every 700: DenseNet-121's step is traced and lowered in 6.1 s instead of 7.9
    # (medians of three in turns, 2 cores)
    gc.set_threshold(GARBAGE)
    try:
        status = main(sys.argv[1:])
    except InputError as error:
        status = fail(str(error))
    except BrokenPipeError:  # the reader has seen enough, as in "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        status = fail(f"{error.filename or 'writing'}: {error.strerror}")
    except KeyboardInterrupt:
        status = fail("interrupted", status=130)
    sys.exit(status)


def fail(message: str, status: int = 2) -> int:
    """Prints the message as one line on standard error; returns the status."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return status


def add_config_flag(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds ``--config FILE[:VARIANT]``."""
    parser.add_argument(
        "--config",
        metavar="FILE[:VARIANT]",
        required=required,
        help="the recipe, such as configs/densenet.py or configs/resnet.py:covid_ct",
    )


def load_config(source: str, overrides: Sequence[str]) -> config.Run:
    """The checked run of a recipe file with ``--config.field=value`` overrides.

    Raises:
      InputError: for a missing file, an unknown field, a bad value or variant.
    """
    path, _, variant = source.partition(":")
    words, entries = split_dictionary_entries(overrides)
    for word in words:
        check_field(word)
    run = load_recipe(Path(path), variant)
    run = set_fields(run, words)
    for section, name, key, value in entries:
        if section == "system" and not run.system.name:
            raise InputError(
                f"--config.system.kwargs.{key}: belongs to a system, and "
                "config.system.name is empty"
            )
        getattr(getattr(run, section), name)[key] = value
    config.check(run)
    return run


def load_recipe(path: Path, variant: str) -> config.Run:
    """Calls ``get_config(variant)`` of a recipe file."""
    if not path.is_file():
        known = sorted(str(p) for p in Path("configs").glob("*.py"))
        hint = f"; recipes here: {', '.join(known)}" if known else ""
        raise InputError(f"--config={path}: no such file{hint}")
    spec = importlib.util.spec_from_file_location(f"covjax_recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--config={path}: a recipe is a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        run = module.get_config(variant)
    except (SyntaxError, NameError, ImportError, AttributeError, TypeError) as error:
        raise InputError(f"--config={path}: not a recipe: {error}") from error
    if not isinstance(run, config.Run):
        raise InputError(f"--config={path}: get_config must return covjax.config.Run")
    return run


def set_fields(run: config.Run, words: Sequence[str]) -> config.Run:
    """The run with typed fields set by ml_collections' config flags."""
    from absl import flags
    from ml_collections import config_flags

    command_line = ["covjax", *words]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_dataclass(
        "config", run, flag_values=values, sys_argv=command_line
    )
    try:
        left = values(command_line)
    except flags.IllegalFlagValueError as error:
        word = str(error).removeprefix("flag ").partition(": ")[0]
        path = word.partition("=")[0].removeprefix("--config.")
        expected = type(config.get(config.Run(), path)).__name__
        raise InputError(f"{word}: must be of type {expected}") from error
    except flags.Error as error:
        raise InputError(str(error)) from error
    if left[1:]:
        raise InputError(f"{left[1]!r}: fields are set by --config.FIELD=VALUE")
    return holder.value


def check_field(word: str) -> None:
    """Raises `InputError` where a ``--config.a.b=value`` word names no field."""
    if not word.startswith(("--config.", "--noconfig.")):
        if word.startswith("-"):
            raise InputError(f"{word}: unknown flag; fields are set by --config.FIELD")
        return  # the value of the flag before it
    path = word.partition("=")[0].partition("config.")[2]
    holder: Any = config.Run()
    for name in path.split("."):
        known = [f.name for f in dataclasses.fields(holder)]
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise InputError(f"--config.{path}: unknown field {name!r}; {hint}")
        holder = getattr(holder, name)
        if not dataclasses.is_dataclass(holder):
            if name != path.split(".")[-1]:
                raise InputError(f"--config.{path}: {name} has no fields")
            return
    raise InputError(f"--config.{path}: is a section; set one of its fields")


def split_dictionary_entries(
    words: Sequence[str],
) -> tuple[list[str], list[tuple[str, str, str, Any]]]:
    """Takes ``--config.model.kwargs.depth=3`` words out of the flags.

    Dictionaries have free keys, which typed flags cannot know. Returns the other
    words and the (section, field, key, value) entries; values are Python literals,
    anything else is a string.
    """
    others, entries = [], []
    dictionaries = {
        (section, f.name)
        for section in ("model", "system", "data", "optimizer")
        for f in dataclasses.fields(getattr(config.Run(), section))
        if isinstance(getattr(getattr(config.Run(), section), f.name), dict)
    }
    for word in words:
        path, equals, text = word.partition("=")
        parts = path.removeprefix("--config.").split(".", 2)
        if tuple(parts[:2]) not in dictionaries or not path.startswith("--config."):
            others.append(word)
            continue
        if len(parts) < 3 or not equals:
            raise InputError(
                f"{word}: write {'.'.join(['--config', *parts[:2]])}.KEY=VALUE"
            )
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        entries.append((parts[0], parts[1], parts[2], value))
    return others, entries
