"""Evaluate finished runs: on their own test split, or on any other data set.

python -m covjax.evaluate --workdir runs/RUN --data folder --dir PICTURES
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli, config
from covjax.errors import InputError
from covjax.files import REPEATS, write_json

if TYPE_CHECKING:
    from covjax.data import ImageSet, Splits
    from covjax.evaluation.predictions import Predictions
    from covjax.inference import Classifier
    from covjax.systems import System

CARDS = ("classifier.json", "system.json")  # one of them is in a finished run


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.evaluate",
        description="Measures finished runs with intervals, on any data set "
        "(external validation) or on their own test split.\nSeveral runs are "
        "compared by paired tests with the first.",
        epilog="Classes are matched by name; --map gives names of the data set the "
        "names that the network knows:\n  --map Covid-19=covid19,No_findings=normal",
    )
    result.add_argument(
        "--workdir",
        type=Path,
        nargs="+",
        required=True,
        metavar="RUN",
        help="finished runs of the same classes",
    )
    result.add_argument("--data", default="", metavar="NAME", help="another data set")
    result.add_argument("--dir", default="", help="where its files lie")
    result.add_argument("--manifest", default="", metavar="CSV", help="for folder")
    result.add_argument("--map", default="", metavar="THEIRS=OURS,...")
    result.add_argument(
        "--limit", type=int, default=0, help="at most so many pictures; 0: all"
    )
    result.add_argument(
        "--reason",
        default="covjax.evaluate",
        help="noted where the run's own test split is opened again",
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Evaluates as asked; returns the exit status."""
    flags = parser().parse_args(arguments)
    classes = [classes_of(workdir) for workdir in flags.workdir]
    for workdir, own in zip(flags.workdir, classes, strict=True):
        if own != classes[0]:
            raise InputError(
                f"--workdir={workdir}: its classes are {', '.join(own)}, those of "
                f"{flags.workdir[0]} {', '.join(classes[0])}; they must be the same, "
                "in the same order"
            )
    if not flags.data and (flags.dir or flags.manifest or flags.map or flags.limit):
        raise InputError("--dir, --manifest, --map and --limit need --data NAME")

    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    results = [evaluate(workdir, flags) for workdir in flags.workdir]
    if len(results) > 1:
        names = tuple(results[0][1]["classes"])
        show_comparison(
            flags.workdir, names, [predictions for predictions, _ in results]
        )
    return 0


def classes_of(workdir: Path) -> list[str]:
    """The classes of a finished run, in the order of its probabilities."""
    if not (workdir / "config.json").is_file():
        raise InputError(f"--workdir={workdir}: not a finished run")
    for card in CARDS:
        if (workdir / card).is_file():
            try:
                return list(json.loads((workdir / card).read_text())["class_names"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{workdir / card}: damaged: {error!r}") from error
    parts = [place for card in CARDS for place in workdir.glob(f"{REPEATS}/{card}")]
    hint = f"; name one of its runs, such as {min(parts).parent}" if parts else ""
    raise InputError(f"--workdir={workdir}: not a finished run{hint}")


def evaluate(workdir: Path, flags: Any) -> tuple["Predictions", dict[str, Any]]:
    """Measures one run, writes and prints the result."""
    from covjax import systems
    from covjax.evaluation.measured import by_source, measured
    from covjax.evaluation.operating_point import OperatingPoint, apply
    from covjax.evaluation.predictions import Predictions
    from covjax.evaluation.subgroups import by_subgroup
    from covjax.evaluation.table import external_lines

    classifier = systems.load(workdir)
    run = systems.read_recipe(workdir)
    images = pictures(workdir, run, classifier, flags)
    predictions = Predictions.of(images, classifier.scores(images.images))
    names, level = classifier.class_names, run.evaluation.level
    how: dict[str, Any] = {"level": level, "resamples": run.evaluation.resamples}
    metrics: dict[str, Any] = {
        "model": classifier.name,
        "run": workdir.name,
        "data": images.name,
        "own_test": not flags.data,
        "files": [Path(word).name for word in (flags.dir, flags.manifest) if word],
        "classes": list(names),
        **how,
        "test": measured(predictions, names, **how),
        "sources": by_source(predictions, names, level=level),
        "subgroups": by_subgroup(images, predictions, names, level=level),
        "operating_point": None,
    }
    for positive, threshold in classifier.thresholds.items():
        point = OperatingPoint(positive, threshold, "frozen with the run")
        metrics["operating_point"] = point.to_dict() | {
            "test": apply(point, predictions, names, level)
        }
    place = workdir / f"evaluation-{words_of(flags)}"
    place.mkdir(exist_ok=True)
    predictions.save(place / "predictions.npz")
    write_json(place / "metrics.json", metrics)
    print("\n".join(external_lines(metrics)))
    print(f"\nwritten: {place}\n")
    return predictions, metrics


def words_of(flags: Any) -> str:
    """A name for the pictures that were asked for; other files have another."""
    if not flags.data:
        return "test"
    if flags.data != "folder":
        return str(flags.data)
    places = [str(Path(word).resolve()) for word in (flags.dir, flags.manifest) if word]
    digest = hashlib.sha256("\n".join(places).encode()).hexdigest()[:6]
    return f"folder-{Path(places[-1]).stem}-{digest}" if places else "folder"


def pictures(
    workdir: Path, run: config.Run, classifier: "Classifier | System", flags: Any
) -> "ImageSet":
    """The pictures to judge, labelled in the network's order of classes."""
    from covjax import data
    from covjax.data.loading import load_whole
    from covjax.evaluation.seal import open_test

    if not flags.data:
        splits = data.load(run.data, progress=True)
        require_same(workdir, splits)
        return open_test(splits, workdir, "the saved classifier", flags.reason)
    here, there = (
        tuple(Path(word).resolve() if word else None for word in words)
        for words in ((flags.dir, flags.manifest), (run.data.dir, run.data.manifest))
    )
    known = here == there or here == (None, None)
    if flags.data == run.data.name and known:
        raise InputError(
            f"--data {flags.data}: {workdir} was trained on pictures of it; leave out "
            "--data to measure its test split"
        )
    wanted = replace(
        run.data,
        name=flags.data,
        dir=flags.dir,
        manifest=flags.manifest,
        kwargs={},
        classes=(),
        limit=flags.limit,
        split="auto",
    )
    config.check(replace(run, data=wanted))
    images = load_whole(wanted, classifier.preprocess, progress=True)
    return match_classes(images, classifier.class_names, flags.map)


def require_same(workdir: Path, splits: "Splits") -> None:
    """Raises `InputError` unless the splits are those of the training.

    With pictures added or taken away they are dealt anew, and what was trained on
    may be in the test split.
    """
    path = workdir / "data.json"
    recorded = json.loads(path.read_text())["fingerprints"] if path.is_file() else {}
    for name, fingerprint in recorded.items():
        if getattr(splits, name).fingerprint() != fingerprint:
            raise InputError(
                f"{workdir}: the pictures of its {name} split are not those of its "
                "training (data.json); the data set has changed since"
            )


def match_classes(
    images: "ImageSet", class_names: tuple[str, ...], mapping: str
) -> "ImageSet":
    """The set with the network's classes, in its order.

    Raises:
      InputError: for a class of the set that the network does not know, or a word of
        the mapping that is none.
    """
    import numpy as np

    renamed = {}
    for word in filter(None, mapping.split(",")):
        theirs, equals, ours = word.partition("=")
        if not equals or theirs not in images.class_names or ours not in class_names:
            raise InputError(
                f"--map {word}: must be THEIRS=OURS with THEIRS one of "
                f"{', '.join(images.class_names)} and OURS one of "
                f"{', '.join(class_names)}"
            )
        renamed[theirs] = ours
    found = [renamed.get(name, name) for name in images.class_names]
    unknown = [name for name in found if name not in class_names]
    if unknown:
        raise InputError(
            f"data {images.name}: the network knows {', '.join(class_names)}, not "
            f"{', '.join(unknown)}; give --map {unknown[0]}={class_names[-1]} or alike"
        )
    place = np.array([class_names.index(name) for name in found])
    if images.multi_label:
        labels = np.zeros((len(images), len(class_names)), np.uint8)
        for column, index in enumerate(place):
            labels[:, index] |= images.labels[:, column]
    else:
        labels = place[images.labels].astype(np.int32)
    return replace(images, labels=labels, class_names=class_names)


def show_comparison(
    workdirs: Sequence[Path],
    names: tuple[str, ...],
    predictions: Sequence["Predictions"],
) -> None:
    """Prints each run's difference from the first, with paired tests."""
    from covjax.evaluation.compare import compare

    print(f"difference from {workdirs[0].name} on the same pictures, 95% interval")
    for workdir, other in zip(workdirs[1:], predictions[1:], strict=True):
        rows = compare(other, predictions[0], names, level=0.95, resamples=2000)
        print(f"\n{workdir.name}")
        for name in ("auc", "accuracy", "balanced_accuracy"):
            row = rows.get(name)
            if row is None or row["estimate"] is None:
                continue
            p = f"  p {row['p']:.3g} (DeLong)" if row.get("p") is not None else ""
            ends = f"no interval: {row.get('reason') or row['method']}"
            if row["low"] is not None:
                ends = f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            print(f"  {name:<18}{row['estimate']:+.3f} {ends}{p}")
        if "mcnemar" in rows:
            print(f"  McNemar           p {rows['mcnemar']['p']:.3g}")


if __name__ == "__main__":
    cli.run_command(main)
