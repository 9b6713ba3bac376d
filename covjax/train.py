"""Train a network on chest pictures by a recipe, and report.

python -m covjax.train --config configs/densenet.py
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli, config
from covjax.errors import InputError

if TYPE_CHECKING:
    from covjax.data import Splits

METRICS = "metrics.json"


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.train",
        description="Trains a network by a recipe, keeps its best and latest "
        "checkpoint, and ends with a report on the test split.\n"
        "The same command goes on where an interrupted run stopped.\n"
        "--config.data.folds=5 trains every fold in turn and joins them, "
        "--config.train.seeds=3 three seeds.",
        epilog=cli.OVERRIDES,
    )
    cli.add_config_flag(result)
    result.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        help="where the run lives; default: runs/ and a name made of the recipe",
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Trains as asked; returns the exit status."""
    flags, overrides = parser().parse_known_args(arguments)
    run = cli.load_config(flags.config, overrides)
    workdir = flags.workdir or default_workdir(flags.config, run)

    from covjax.evaluation import repeats
    from covjax.training.loop import Interrupted, check_workdir, claim
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    check_workdir(workdir, run)
    plan = repeats.plan(run, workdir)
    print(f"{run.system.name or run.model.name} on {run.data.name}, in {workdir}\n")
    splits, seeded = None, repeats.kind(run) == "seed"
    if len(plan) > 1:
        claim(workdir, run)
    try:
        for repeat in plan:
            if splits is None or not seeded:
                splits = load(repeat.run)
            show(train_once(repeat.run, splits, repeat.place), repeat.place)
    except Interrupted as stop:
        return cli.fail(str(stop), status=128 + stop.signal)
    if len(plan) > 1:
        # the folds' pictures are drawn in their own folders
        images = splits.test.images if splits is not None and seeded else None
        metrics = repeats.report(run, plan, workdir, images=images)
        if splits is not None and seeded:
            from covjax.systems import seeds

            places = [repeat.place for repeat in plan]
            seeds.keep(run, splits, places, workdir, metrics)
        show(metrics, workdir)
    return 0


def load(run: config.Run) -> "Splits":
    """The pictures of a run, with their counts shown."""
    from covjax import data
    from covjax.evaluation.operating_point import positive_class

    splits = data.load(run.data, progress=True)
    positive_class(run.evaluation, splits.train.class_names)  # wrong: say so now
    print(f"{splits.table()}\n")
    return splits


def default_workdir(source: str, run: config.Run) -> Path:
    """A name of its own for each recipe, variant and set of overrides."""
    path, _, variant = source.partition(":")
    digest = hashlib.sha256(json.dumps(config.to_dict(run)).encode()).hexdigest()
    words = [Path(path).stem, *filter(None, variant.split(",")), digest[:8]]
    return Path("runs") / "-".join(words)


def train_once(run: config.Run, splits: "Splits", workdir: Path) -> dict[str, Any]:
    """Trains one seed or fold and reports; a finished one is read, not opened again."""
    from covjax.evaluation.final import finish, record_data
    from covjax.pretrained import pretrained
    from covjax.training.loop import check_workdir, claim, fit

    check_workdir(workdir, run)  # a finished one of another recipe is no part of this
    if (workdir / METRICS).is_file():
        print(f"{workdir}: finished before; delete it to train again", file=sys.stderr)
        return json.loads((workdir / METRICS).read_text())
    if run.system.name:
        from covjax import systems

        claim(workdir, run)
        record_data(splits, workdir)
        return systems.train(run, splits, workdir)
    result = fit(
        run,
        splits,
        workdir,
        initial_variables=pretrained(run, splits.train.num_classes),
    )
    record_data(splits, workdir)
    return finish(
        run,
        splits,
        result.best,
        workdir,
        epoch=result.best_epoch,
        history=result.history,
    )


def show(metrics: dict[str, Any], workdir: Path) -> None:
    """Prints the short table."""
    from covjax.evaluation.table import summary_lines

    try:
        print("\n".join(summary_lines(metrics)))
    except KeyError as error:  # read, not made, by this version
        raise InputError(
            f"{workdir / METRICS}: has no {error}: an earlier covjax wrote it; delete "
            "the file to have the run judged again"
        ) from error
    print(f"\nreport: {workdir}")


if __name__ == "__main__":
    cli.run_command(main)
