"""Evaluate finished runs: on their own test split, or on any other data set.

python -m covjax.evaluate --workdir runs/RUN --data folder --dir PICTURES
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli, config
from covjax.errors import InputError
from covjax.files import CARDS, DAMAGED, read_arrays, runs_within, write_json

if TYPE_CHECKING:
    from covjax.data import ImageSet, Splits
    from covjax.evaluation.predictions import Predictions
    from covjax.inference import Classifier
    from covjax.systems import System

SPLITS = ("train", "validation", "test")
FLAGS = {  # what stands for a field of the recipe on this command's line
    "config.data.dir": "--dir",
    "config.data.manifest": "--manifest",
    "config.data.limit": "--limit",
}


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.evaluate",
        description="Measures finished runs with intervals, on any data set "
        "(external validation) or on their own test split.\nSeveral runs are "
        "compared by paired tests with the first.",
        epilog="Classes are matched by name; --map gives names of the data set the "
        "names\nthat the network knows, as for one that was trained on the phantom:\n"
        "  --data darkcovidnet --map COVID-19=covid19",
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

    from covjax.evaluation.side_by_side import compare_runs, comparison_lines
    from covjax.evaluation.table import external_lines
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache

    keep_freed_memory()
    enable_compilation_cache()
    subjects = [subject(workdir, flags) for workdir in flags.workdir]
    for other in subjects[1:]:
        require_same_pictures(subjects[0], other)
    level = subjects[0].run.evaluation.level  # one for all of a table
    results = [evaluate(each, flags, level) for each in subjects]
    place = f"evaluation-{words_of(flags)}"
    if len(subjects) == 1:
        lines = external_lines(results[0][1])
    else:
        compared = compare_runs(flags.workdir, results)
        write_json(flags.workdir[0] / place / "comparison.json", compared)
        lines = comparison_lines(compared)
    print("\n".join(lines) + "\n")
    for workdir in flags.workdir:
        print(f"written: {workdir / place}")
    return 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Subject:
    """A finished run, and the pictures that it is to judge.

    Attributes:
      workdir: of the run.
      run: its recipe.
      classifier: its network or system.
      test: the pictures, labelled in the network's order of classes.
    """

    workdir: Path
    run: config.Run
    classifier: "Classifier | System"
    test: "ImageSet"


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
    runs = runs_within(workdir)
    hint = f"; name one of its runs, such as {min(runs)}" if runs else ""
    raise InputError(f"--workdir={workdir}: not a finished run{hint}")


def subject(workdir: Path, flags: Any) -> Subject:
    """The run with the pictures that were asked for; none of them is judged yet."""
    from covjax import systems

    classifier, run = systems.load(workdir), systems.read_recipe(workdir)
    if flags.data:
        images = external(workdir, run, classifier, flags)
    else:
        images = own_splits(workdir, run).test  # whoever judges it opens it first
    return Subject(workdir=workdir, run=run, classifier=classifier, test=images)


def require_same_pictures(first: Subject, other: Subject) -> None:
    """Raises `InputError` unless both runs are to judge the same pictures.

    They are told by their files and, where both runs prepare pictures in the same
    way, by their content.
    """
    import numpy as np

    from covjax.data.loading import picture_digests

    here, there = first.test, other.test
    same = np.array_equal(here.files, there.files)
    same = same and np.array_equal(here.labels, there.labels)
    if same and first.classifier.preprocess == other.classifier.preprocess:
        same = np.array_equal(picture_digests(here), picture_digests(there))
    if not same:
        raise InputError(
            f"--workdir={other.workdir}: its {len(there)} pictures are not the "
            f"{len(here)} of {first.workdir}, in the same order and of the same "
            "classes; runs are compared on the same pictures"
        )


def evaluate(
    subject: Subject, flags: Any, level: float
) -> tuple["Predictions", dict[str, Any]]:
    """Measures one run and writes the result.

    Args:
      subject: the run and the pictures.
      flags: of the command.
      level: of the intervals.
    """
    from covjax.evaluation.measured import by_source, measured
    from covjax.evaluation.operating_point import OperatingPoint, apply
    from covjax.evaluation.predictions import Predictions
    from covjax.evaluation.seal import open_test
    from covjax.evaluation.subgroups import by_subgroup

    workdir, classifier, images = subject.workdir, subject.classifier, subject.test
    if not flags.data:
        images = open_test(subject, workdir, "the saved classifier", flags.reason)
    place = workdir / f"evaluation-{words_of(flags)}"
    place.mkdir(exist_ok=True)
    predictions = Predictions.of(images, classifier.scores(images.images))
    names, resamples = classifier.class_names, subject.run.evaluation.resamples
    how: dict[str, Any] = {"level": level, "resamples": resamples}
    metrics: dict[str, Any] = {
        "model": classifier.name,
        "run": workdir.resolve().name,
        "data": images.name,
        "own_test": not flags.data,
        "files": [Path(word).name for word in (flags.dir, flags.manifest) if word],
        "asked": asked(flags),
        "classes": list(names),
        **how,
        "test": measured(predictions, names, **how),
        "sources": by_source(predictions, names, level=level),
        "subgroups": by_subgroup(images, predictions, names, level=level),
        "operating_point": None,
        "copies": sought(subject, predictions, level, place) if flags.data else None,
    }
    for positive, threshold in classifier.thresholds.items():
        point = OperatingPoint(positive, threshold, "frozen with the run")
        metrics["operating_point"] = point.to_dict() | {
            "test": apply(point, predictions, names, level)
        }
    predictions.save(place / "predictions.npz")
    write_json(place / "metrics.json", metrics)
    return predictions, metrics


def sought(
    subject: Subject, predictions: "Predictions", level: float, place: Path
) -> dict[str, Any]:
    """`covjax.evaluation.copies`, or the ``reason`` why none could be looked for."""
    from covjax.evaluation.copies import copies

    try:
        splits = own_splits(subject.workdir, subject.run)
    except InputError as error:  # a run may be far away from what it was trained on
        return {"reason": str(error)}
    return copies(splits, subject.test, predictions, level, place)


def asked(flags: Any) -> dict[str, Any]:
    """Which pictures of a data set and under which names; only what was given."""
    found = {
        "dir": Path(flags.dir).resolve().name if flags.dir else "",
        "manifest": Path(flags.manifest).name,
        "map": ",".join(sorted(filter(None, flags.map.split(",")))),
        "limit": flags.limit,
    }
    return {name: value for name, value in found.items() if value}


def words_of(flags: Any) -> str:
    """A name for the pictures that were asked for; others have another."""
    found = asked(flags)
    if not found:
        return flags.data or "test"
    places = [Path(word).resolve() for word in (flags.dir, flags.manifest) if word]
    digest = hashlib.sha256(json.dumps([found, *map(str, places)]).encode())
    words = [flags.data, *(place.stem for place in places[-1:]), digest.hexdigest()[:6]]
    return "-".join(words)


def external(
    workdir: Path, run: config.Run, classifier: "Classifier | System", flags: Any
) -> "ImageSet":
    """Another data set, none of whose pictures is the run's own."""
    from covjax.data.loading import load_whole

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
        split_seed=0,  # the same pictures for every run
    )
    try:
        config.check(replace(run, data=wanted))
        images = load_whole(wanted, classifier.preprocess, progress=True)
    except InputError as error:
        message = str(error)
        for name, flag in FLAGS.items():
            message = message.replace(name, flag)
        raise InputError(message) from error
    matched = match_classes(images, classifier.class_names, flags.map)
    require_unseen(workdir, images, flags.data)
    return matched


def require_unseen(workdir: Path, images: "ImageSet", name: str) -> None:
    """Raises `InputError` where pictures of an external set are the run's own.

    They are told by their content, whatever their files are called: as the run
    prepares them. A run of before this was recorded has no file of it.
    """
    import numpy as np

    from covjax.data.loading import picture_digests
    from covjax.evaluation.final import DIGESTS

    path = workdir / DIGESTS
    if not path.is_file():
        return
    try:
        recorded = read_arrays(path)
        own = {split: recorded[split] for split in SPLITS}
    except DAMAGED as error:
        raise InputError(f"{path}: damaged: {error!r}") from error
    found = picture_digests(images)
    counts = {split: int(np.isin(found, own[split]).sum()) for split in SPLITS}
    if any(counts.values()):
        seen = int(np.isin(found, np.concatenate(list(own.values()))).sum())
        where = ", ".join(f"{n} in the {split}" for split, n in counts.items() if n)
        raise InputError(
            f"--data {name}: {seen} of {len(found)} pictures are the run's own, "
            f"{where} split of {workdir}; leave them out; without --data "
            "its own test split is measured"
        )


def own_splits(workdir: Path, run: config.Run) -> "Splits":
    """What the run was trained and judged on.

    Raises:
      InputError: where the pictures are not those of the training. With some added or
        taken away they are dealt anew, and what was trained on may be in the test
        split.
    """
    from covjax import data

    path = workdir / "data.json"
    try:
        fingerprints = json.loads(path.read_text())["fingerprints"]
        recorded = {split: fingerprints[split] for split in SPLITS}
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; without it nobody knows whether the data set has "
            "changed since the training"
        ) from error
    except (TypeError, *DAMAGED) as error:
        raise InputError(f"{path}: damaged: {error!r}") from error
    splits = data.load(run.data, progress=True)
    for name, fingerprint in recorded.items():
        if getattr(splits, name).fingerprint() != fingerprint:
            raise InputError(
                f"{workdir}: the pictures of its {name} split are not those of its "
                "training (data.json); the data set has changed since"
            )
    return splits


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
            f"data {images.name}: the network does not know {', '.join(unknown)}; give "
            "--map THEIRS=OURS,... where names mean the same; theirs are "
            f"{', '.join(images.class_names)}, the network's {', '.join(class_names)}"
        )
    place = np.array([class_names.index(name) for name in found])
    if images.multi_label:
        labels = np.zeros((len(images), len(class_names)), np.uint8)
        for column, index in enumerate(place):
            labels[:, index] |= images.labels[:, column]
    else:
        labels = place[images.labels].astype(np.int32)
    return replace(images, labels=labels, class_names=class_names)


if __name__ == "__main__":
    cli.run_command(main)
