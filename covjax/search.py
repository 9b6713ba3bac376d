"""Search for a recipe's learning rate, momentum and weight decay.

python -m covjax.search --config configs/squeezenet.py --trials 30
"""

import json
import pprint
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli, config
from covjax.errors import InputError
from covjax.files import whole

if TYPE_CHECKING:
    import optuna

    from covjax.data import ImageSet

# field of the optimizer: lowest, highest, whether by orders of magnitude. The three
# fields are those of Ucar and Korkmaz 2020, COVIDiagnosis-Net, Medical Hypotheses
# 140:109761; the ranges are covjax's
RANGES = {
    "learning_rate": (1e-4, 1e-1, True),
    "momentum": (0.8, 0.98, False),
    "weight_decay": (1e-10, 1e-2, True),
}
WITH_MOMENTUM = ("sgd", "rmsprop")
STUDY, BEST = "study.db", "best.py"
RANDOM_TRIALS = 10  # before the model of the search is asked; Optuna's default
PLACE = "place"  # attribute of a trial: its folder


@dataclass(frozen=True)
class Shown:
    """All that a trial is given: the test split is not among it."""

    train: "ImageSet"
    validation: "ImageSet"


def parser() -> cli.Parser:
    """The command's flags."""
    ranges = "\n".join(
        f"  {name:<14}{low:g} to {high:g}" for name, (low, high, _) in RANGES.items()
    )
    result = cli.Parser(
        prog="covjax.search",
        description="Searches learning rate, momentum (where the optimizer has one) "
        "and weight decay by\nBayesian optimisation (Optuna's TPE). A trial is worth "
        "its best epoch's validation measure,\nconfig.train.select_by; the test split "
        f"is never opened.\n\n{ranges}\n\nThe same command goes on where it was "
        "interrupted; more --trials go on from those there are.\nThe best trial's "
        f"recipe is DIR/{BEST}: python -m covjax.train --config DIR/{BEST}",
        epilog=cli.OVERRIDES,
    )
    cli.add_config_flag(result)
    result.add_argument(
        "--trials", type=int, default=30, metavar="N", help="in all; default: 30"
    )
    result.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where the search lives; default: runs/search- and the recipe's name",
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Searches as asked; returns the exit status."""
    flags, overrides = parser().parse_known_args(arguments)
    run = cli.load_config(flags.config, overrides)
    workdir = flags.workdir or Path("runs") / f"search-{Path(flags.config).stem}"
    check(run, flags.trials)

    from covjax import data
    from covjax.training.loop import Interrupted, check_workdir, claim
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    check_workdir(workdir, run)
    splits = data.load(run.data, progress=True)
    print(f"{splits.table()}\n")
    claim(workdir, run)
    study = open_study(workdir, run.train.seed)
    shown = Shown(splits.train, splits.validation)
    try:
        while len(done(study)) < flags.trials:
            try_one(study, run, shown, workdir)
            finished = done(study)
            counted = f"trial {len(finished)} of {flags.trials}"
            print(f"{counted}: {told(finished[-1], run)}", flush=True)
    except Interrupted as stop:
        return cli.fail(str(stop), status=128 + stop.signal)
    path = write_best(study, run, flags.config, workdir)
    print(f"best: {study.best_trial.user_attrs[PLACE]}, {told(study.best_trial, run)}")
    print(f"train it: python -m covjax.train --config {path}")
    return 0


def check(run: config.Run, trials: int) -> None:
    """Raises `InputError` for what cannot be searched."""
    if trials < 1:
        raise InputError(f"--trials={trials}: must be at least 1")
    if run.system.name:
        raise InputError(
            f"config.system.name={run.system.name!r}: a search is of one network; "
            "give --config.system.name="
        )
    if run.data.folds and run.data.fold < 0:
        raise InputError(
            f"config.data.folds={run.data.folds}: a search needs one fold, such as "
            "--config.data.fold=0, or none, --config.data.folds=0"
        )
    if run.train.epochs < 1:
        raise InputError(f"config.train.epochs={run.train.epochs}: must be at least 1")
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError(
            "covjax.search needs optuna, which is not installed: "
            "pip install covjax[search]"
        ) from error


def open_study(workdir: Path, seed: int) -> "optuna.Study":
    """The study in the work directory, ready to go on.

    A trial that was interrupted is queued again with its values and its folder, so
    that its training goes on. The sampler's seed counts the trials there are: a
    resumed search does not draw its first trials again.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="covjax",
        storage=f"sqlite:///{(workdir / STUDY).absolute()}",
        direction="maximize",
        load_if_exists=True,
    )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_TRIALS, seed=seed + len(study.trials)
    )
    return study


def done(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """The trials that have a value, in their order."""
    import optuna

    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))


def try_one(
    study: "optuna.Study", run: config.Run, shown: Shown, workdir: Path
) -> None:
    """Trains with the next values in a folder of its own, and tells the study.

    A training that comes apart (a loss that is not finite) is worth the worst value.
    """
    from covjax.pretrained import pretrained
    from covjax.training.loop import fit

    trial = study.ask()
    values = {
        name: trial.suggest_float(name, low, high, log=by_orders)
        for name, (low, high, by_orders) in RANGES.items()
        if name != "momentum" or run.optimizer.name in WITH_MOMENTUM
    }
    if PLACE not in trial.user_attrs:
        trial.set_user_attr(PLACE, f"trial-{trial.number:03d}")
    place = workdir / trial.user_attrs[PLACE]
    tried = with_values(run, values)
    try:
        result = fit(
            tried,
            shown,
            place,
            initial_variables=pretrained(tried, shown.train.num_classes),
        )
    except InputError as error:
        if "not finite" not in str(error):
            raise
        print(f"trial {trial.number}: {error}", file=sys.stderr)
        study.tell(trial, float("-inf"))
        return
    study.tell(trial, worth(result.history))


def with_values(run: config.Run, values: dict[str, Any]) -> config.Run:
    """The recipe with these fields of its optimizer."""
    return replace(run, optimizer=replace(run.optimizer, **values))


def worth(history: Sequence[dict[str, Any]]) -> float:
    """The best epoch's selection measure; minus infinity where none is defined."""
    scores = [row["score"] for row in history if row.get("score") is not None]
    return max(scores, default=float("-inf"))


def told(trial: "optuna.trial.FrozenTrial", run: config.Run) -> str:
    """Its validation measure and values in words."""
    values = ", ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
    return f"validation {run.train.select_by} {trial.value:.4f} with {values}"


def write_best(
    study: "optuna.Study", run: config.Run, source: str, workdir: Path
) -> Path:
    """Writes the best trial's whole recipe as a file for covjax.train."""
    best = study.best_trial
    if best.value == float("-inf"):
        raise InputError(
            f"{workdir}: no trial of {len(done(study))} has a validation measure"
        )
    recipe = with_values(run, best.params)
    text = TEMPLATE.format(
        source=source,
        trial=best.user_attrs[PLACE],
        trials=len(done(study)),
        told=told(best, run),
        values=pprint.pformat(
            json.loads(json.dumps(config.to_dict(recipe))), sort_dicts=False
        ),
    )
    path = workdir / BEST
    with whole(path) as unfinished:
        unfinished.write_text(text)
    return path


TEMPLATE = '''\
"""Found by covjax.search from {source}: {trial}, the best of {trials} trials.

{told}.
The best of several trials by one validation split: its validation figure is optimistic.
"""

from covjax import config

RUN = {values}


def get_config(variant: str = "") -> config.Run:
    return config.with_variants(config.from_dict(RUN), variant)
'''


if __name__ == "__main__":
    cli.run_command(main)
