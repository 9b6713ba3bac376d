"""Train a network on chest pictures by a recipe, and report.

python -m covjax.train --config configs/densenet.py
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli, config

if TYPE_CHECKING:
    from covjax.data import Splits
    from covjax.inference import Classifier
    from covjax.training.loop import Fit

METRICS = "metrics.json"


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.train",
        description="Trains a network by a recipe, keeps its best and latest "
        "checkpoint, and ends with a report on the test split.\n"
        "The same command goes on where an interrupted run stopped.",
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

    from covjax import data
    from covjax.evaluation.operating_point import positive_class
    from covjax.training.loop import Interrupted, check_workdir, claim
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    check_workdir(workdir, run)
    splits = data.load(run.data, progress=True)
    positive_class(run.evaluation, splits.train.class_names)  # wrong: say so now
    title = run.system.name or run.model.name
    print(f"{title} on {run.data.name}, in {workdir}\n\n{splits.table()}\n")
    seeds = range(run.train.seed, run.train.seed + run.train.seeds)
    several = len(seeds) > 1
    places = {s: workdir / f"seed-{s}" if several else workdir for s in seeds}
    try:
        for seed, place in places.items():
            show(train_once(run, seed, splits, place), place)
    except Interrupted as stop:
        return cli.fail(str(stop), status=128 + stop.signal)
    if several:
        claim(workdir, run)
        show(join_seeds(run, splits, places, workdir), workdir)
    return 0


def default_workdir(source: str, run: config.Run) -> Path:
    """A name of its own for each recipe, variant and set of overrides."""
    path, _, variant = source.partition(":")
    digest = hashlib.sha256(json.dumps(config.to_dict(run)).encode()).hexdigest()
    words = [Path(path).stem, *filter(None, variant.split(",")), digest[:8]]
    return Path("runs") / "-".join(words)


def train_once(
    run: config.Run, seed: int, splits: "Splits", workdir: Path
) -> dict[str, Any]:
    """Trains with one seed and reports; a finished run is read, not opened again."""
    from covjax.training.loop import claim, fit

    run = dataclasses.replace(
        run, train=dataclasses.replace(run.train, seed=seed, seeds=1)
    )
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
        initial_variables=pretrained(run, splits),
    )
    record_data(splits, workdir)
    return finish(run, splits, result, workdir)


def record_data(splits: "Splits", workdir: Path) -> None:
    """Writes ``data.json``: what the run was trained and judged on."""
    from covjax.evaluation.report import write_json

    facts = {
        "card": splits.card,
        "verdict": splits.verdict,
        "counts": splits.counts(),
        "fingerprints": {
            "train": splits.train.fingerprint(),
            "validation": splits.validation.fingerprint(),
            "test": splits.test.fingerprint(),
        },
    }
    write_json(workdir / "data.json", facts)


def pretrained(run: config.Run, splits: "Splits") -> Any:
    """The variables that ``config.model.pretrained`` names, or None."""
    if not run.model.pretrained:
        return None
    from covjax.inference import make_network
    from covjax.interop.weights import load_pretrained
    from covjax.training.state import initialise

    data, model = run.data, run.model
    network = make_network(
        model.name, splits.train.num_classes, model.dtype, model.kwargs
    )
    start = initialise(network, (data.size, data.size, data.channels), run.train.seed)
    return load_pretrained(
        model.pretrained,
        model.name,
        start,
        channels=data.channels,
        new_head=model.new_head,
        mean=data.mean,
        std=data.std,
    )


def finish(
    run: config.Run, splits: "Splits", result: "Fit", workdir: Path
) -> dict[str, Any]:
    """Scores validation and, once, test by the best checkpoint; writes the report.

    Temperature and threshold are chosen on validation and saved with the classifier
    before the test split is opened.
    """
    from covjax.evaluation import controls
    from covjax.evaluation.explanation import explain, without_parts
    from covjax.evaluation.predictions import Predictions
    from covjax.evaluation.report import freeze, write_report
    from covjax.evaluation.seal import open_test
    from covjax.inference import Classifier

    classifier = Classifier(
        model_name=run.model.name,
        model_kwargs=run.model.kwargs,
        dtype=run.model.dtype,
        variables=result.best,
        class_names=splits.train.class_names,
        preprocess=splits.preprocess,
        loss=run.train.loss,
        batch_size=run.evaluation.batch_size or run.train.batch_size,
    )
    names = splits.train.class_names
    raw = Predictions.of(splits.validation, classifier.scores(splits.validation.images))
    temperature, point = freeze(raw, names, run)
    classifier = dataclasses.replace(
        classifier,
        temperature=temperature.value,
        thresholds={} if point is None else {point.positive: point.threshold},
    )
    classifier.save(workdir)
    validation = Predictions.of(
        splits.validation, classifier.scores(splits.validation.images)
    )
    validation.save(workdir / "predictions_validation.npz")
    learn_familiar(classifier, splits, workdir, run.train.seed)
    test_set = open_test(
        splits,
        workdir,
        f"epoch {result.best_epoch}",
        "final evaluation of covjax.train",
    )
    test = Predictions.of(test_set, classifier.scores(test_set.images))
    test.save(workdir / "predictions_test.npz")
    return write_report(
        workdir,
        run=run,
        validation=validation,
        test=test,
        temperature=temperature,
        point=point,
        controls=controls.run(splits, level=run.evaluation.level),
        class_names=names,
        history=result.history,
        card=splits.card,
        verdict=splits.verdict,
        images=test_set.images,
        explanation=explain(classifier, test_set, workdir)
        | {"parts": without_parts(classifier, test_set, level=run.evaluation.level)},
    )


def learn_familiar(
    classifier: "Classifier", splits: "Splits", workdir: Path, seed: int
) -> None:
    """Saves what training pictures are like, for the warnings of covjax.predict."""
    import numpy as np

    from covjax.evaluation.familiarity import REFERENCES, Familiarity

    count = min(len(splits.train), REFERENCES)
    rows = np.random.default_rng(seed).choice(len(splits.train), count, replace=False)
    familiarity = Familiarity.of(
        splits.train.subset(np.sort(rows)),
        classifier.embeddings(splits.train.images[np.sort(rows)]),
        classifier.embeddings(splits.validation.images),
    )
    familiarity.save(workdir)


def join_seeds(
    run: config.Run, splits: "Splits", places: dict[int, Path], workdir: Path
) -> dict[str, Any]:
    """Reports all seeds together: each, their mean and spread, their ensemble."""
    from covjax.evaluation import controls, seeds
    from covjax.evaluation.calibration import Temperature
    from covjax.evaluation.operating_point import choose
    from covjax.evaluation.report import write_report

    record_data(splits, workdir)
    names = splits.train.class_names
    table = seeds.table(places)
    both = {part: seeds.ensemble(places, part) for part in ("validation", "test")}
    for part, predictions in both.items():
        predictions.save(workdir / f"predictions_{part}.npz")
    return write_report(
        workdir,
        run=run,
        validation=both["validation"],
        test=both["test"],
        temperature=Temperature(1.0, independent=run.train.loss == "binary"),
        point=choose(both["validation"], names, run.evaluation),
        controls=controls.run(splits, level=run.evaluation.level),
        class_names=names,
        history=[],
        card=splits.card,
        verdict=splits.verdict,
        images=splits.test.images,
        seeds=table,
    )


def show(metrics: dict[str, Any], workdir: Path) -> None:
    """Prints the short table."""
    from covjax.evaluation.table import summary_lines

    print("\n".join(summary_lines(metrics)))
    print(f"\nreport: {workdir}")


if __name__ == "__main__":
    cli.run_command(main)
