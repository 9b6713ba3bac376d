"""The 22 systems of the survey's Table 2: what their papers report, and what runs here.

    python -m benchmarks.survey --list
    python -m benchmarks.survey 8 --data-dir darkcovidnet=DIR
    python -m benchmarks.survey 1:resnet50 9 --data-dir row01=LIST.csv

Each row named is trained in full by `python -m covjax.train` and its recipe of
configs/survey; without any, all rows are. A row whose data are not at hand is not run,
and says where they are. The same command goes on after an interruption: finished rows
are read from benchmarks/results/, where each has one line, and a row that has begun
goes on in its work directory. At the end stands the table of the chosen rows, in
Markdown.

NAME of --data-dir is a data set of the catalog, or rowNN for rows whose data are a
folder or a CSV manifest of your own; the result of such a row is read only where it
is of these very pictures. Variants without a known figure are run where they are named
in full: 22:resnet18,two. Words such as --config.data.fold=0 change all rows, and the
table says so. --list shows the results of such changed recipes where the recipe as it
stands has none.
"""

import argparse
import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.survey_child import train
from benchmarks.survey_rows import ROWS, Row
from benchmarks.survey_table import Line, cells, markdown, protocol
from covjax import cli, config
from covjax.errors import InputError

RECIPES = Path(__file__).resolve().parents[1] / "configs" / "survey"
SCRIPT = {False: "survey", True: "survey_smoke"}  # of the results files
OF_A_PLACE = ("data.dir", "data.manifest")
Fingerprints = dict[str, str]  # as data.json has them


def parser() -> cli.Parser:
    """The command's flags."""
    lines = (__doc__ or "").splitlines()
    result = cli.Parser(prog="benchmarks.survey", description="\n".join(lines))
    result.add_argument(
        "rows", nargs="*", metavar="ROW", help="such as 8 or 8:three; default: all"
    )
    result.add_argument(
        "--data-dir",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="where a data set lies; may be given several times",
    )
    result.add_argument(
        "--workdir", type=Path, default=Path("runs/survey"), metavar="DIR"
    )
    result.add_argument(
        "--smoke", action="store_true", help="rehearse on a few phantom pictures"
    )
    result.add_argument(
        "--list", action="store_true", help="only the table, nothing is run"
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the rows; returns 1 where one has failed."""
    flags, overrides = parser().parse_known_args(arguments)
    check_words(overrides)
    rows = chosen(flags.rows)
    places = data_places(flags.data_dir)
    runs = loaded(rows, flags.smoke, overrides)
    told, status = [], 0
    for row, run in zip(rows, runs, strict=True):
        if isinstance(run, InputError):
            told.append(cells(row, "", None, f"not run: {run}", ""))
            continue
        line, why, code = None, "not run: interrupted before", 0
        if status <= 1:  # not after an interruption
            line, why, code = once(row, run, flags, places, overrides)
        status = max(status, code)
        others = []
        if line is None and flags.list and not own_place(row, run, places):
            others = changed(row, flags.smoke)
        for other in others:
            words = other["overrides"]
            how = protocol(load(row, flags.smoke, words), words)
            told.append(cells(row, how, other, "", run.data.name))
        if not others:
            told.append(cells(row, protocol(run, overrides), line, why, run.data.name))
    print("\n".join(markdown(told)))
    if flags.smoke:
        print("\nRehearsal on the phantom: the measured figures say nothing.")
    return status


def check_words(overrides: Sequence[str]) -> None:
    """Raises `InputError` for a field that is none, and for one that places data."""
    for word in cli.split_dictionary_entries(overrides)[0]:
        cli.check_field(word)
        if word.partition("=")[0].removeprefix("--config.") in OF_A_PLACE:
            raise InputError(f"{word}: must be given as --data-dir NAME=DIR")


def loaded(
    rows: Sequence[Row], smoke: bool, overrides: Sequence[str]
) -> list[config.Run | InputError]:
    """Each row's recipe, or why the overrides do not fit it.

    Raises:
      InputError: they fit none.
    """
    runs: list[config.Run | InputError] = []
    for row in rows:
        try:
            runs.append(load(row, smoke, overrides))
        except InputError as error:
            runs.append(error)
    if isinstance(runs[0], InputError) and not any(
        isinstance(run, config.Run) for run in runs
    ):
        raise runs[0]
    return runs


def once(
    row: Row,
    run: config.Run,
    flags: argparse.Namespace,
    places: dict[str, str],
    overrides: list[str],
) -> tuple[Line | None, str, int]:
    """Runs a row, or reads its result.

    Returns:
      The result, or None and why there is none; and the status.
    """
    seen: Fingerprints = {}
    if own_place(row, run, places):
        words = [*overrides, *data_words(row, run, places)]
        try:
            seen = fingerprints(load(row, flags.smoke, words))
        except InputError as error:
            return None, f"failed: {error}", 1
    line = finished(row, run, flags.smoke, seen)
    if line is not None:
        return line, "", 0
    try:
        words = [] if flags.smoke else data_words(row, run, places)
    except InputError as error:
        return None, f"not run: {error}", 0
    if flags.list:
        return None, "not run yet", 0
    parts = [f"row{row.number:02d}", *row.variant.split(","), digest(run)]
    parts += [short(seen)] if seen else []
    place = flags.workdir / "-".join(filter(None, parts))
    uninterrupted, start = not place.exists(), time.perf_counter()
    status, reason = train([
        "--config", source(row, flags.smoke), "--workdir", str(place), *overrides,
        *words,
    ])  # fmt: skip
    if status > 128:
        return None, "interrupted: the same command goes on", status
    if status:
        why = f"failed with status {status}"
        return None, f"{why}: {reason}" if reason else why, 1
    seconds = time.perf_counter() - start
    took = {"seconds": seconds, "uninterrupted": uninterrupted}
    return record(row, run, flags.smoke, place, overrides, took), "", 0


def chosen(words: Sequence[str]) -> list[Row]:
    """The rows of the command line's words, in the order of the survey."""
    known = {row.key for row in ROWS} | {str(row.number) for row in ROWS}
    for word in words:
        if word not in known:
            variants = [r.key for r in ROWS if str(r.number) == word.partition(":")[0]]
            raise InputError(
                f"row {word!r}: must be one of {', '.join(variants) or '1 to 22'}"
            )
    return [
        row
        for row in ROWS
        if row.key in words
        or (row.reported and (not words or str(row.number) in words))
    ]


def data_places(words: Sequence[str]) -> dict[str, str]:
    """``NAME=DIR`` words as a dictionary; every DIR must exist."""
    from covjax.data.catalog import CATALOG

    rows = {f"row{row.number:02d}" for row in ROWS}
    places = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals or name not in rows | set(CATALOG):
            raise InputError(
                f"--data-dir {word}: must be NAME=DIR, NAME rowNN or one of "
                f"{', '.join(CATALOG)}"
            )
        if not Path(place).exists():
            raise InputError(f"--data-dir {word}: {place} does not exist")
        places[name] = place
    return places


def source(row: Row, smoke: bool) -> str:
    """``FILE:VARIANT`` of the row's recipe."""
    found = sorted(RECIPES.glob(f"row{row.number:02d}_*.py"))
    if not found:
        raise InputError(f"configs/survey has no recipe of row {row.number}")
    words = ",".join(filter(None, [row.variant, "smoke" * smoke]))
    return f"{found[0]}:{words}" if words else str(found[0])


def load(row: Row, smoke: bool, overrides: Sequence[str]) -> config.Run:
    """The row's recipe, as it will be trained but for where the data lie."""
    return cli.load_config(source(row, smoke), overrides)


def data_words(row: Row, run: config.Run, places: dict[str, str]) -> list[str]:
    """The overrides that say where the row's data lie.

    Raises:
      InputError: they are not at hand; the message says where to get them.
    """
    from covjax.data.catalog import CATALOG, default_dir
    from covjax.data.prepared import find_prepared

    own = f"row{row.number:02d}"
    if run.data.name == "folder":
        place = own_place(row, run, places)
        if not place:
            raise InputError(f"{data_paragraph(row)} Then --data-dir {own}=LIST.csv")
        kind = "dir" if Path(place).is_dir() else "manifest"
        return [f"--config.data.{kind}={place}"]
    name = run.data.name
    place = places.get(own) or places.get(name) or str(default_dir(name))
    if find_prepared(name, Path(place)) is None:
        try:
            CATALOG[name].folder(place)
        except InputError as error:
            raise InputError(
                f"{CATALOG[name].get} ({CATALOG[name].home}) Then --data-dir {name}=DIR"
            ) from error
    return [f"--config.data.dir={place}"]


def own_place(row: Row, run: config.Run, places: dict[str, str]) -> str:
    """Where a folder or manifest for this row lies; "" without, and for other rows."""
    own = f"row{row.number:02d}"
    return places.get(own, "") if run.data.name == "folder" else ""


def fingerprints(run: config.Run) -> Fingerprints:
    """What ``data.json`` will have of the run's pictures, once it has finished."""
    from covjax import data
    from covjax.data import splits
    from covjax.evaluation import repeats

    if repeats.kind(run) == "fold":
        found = {}
        for fold in range(run.data.folds):
            parts = data.load(replace(run.data, fold=fold), progress=True)
            found[f"test of fold {fold}"] = parts.test.fingerprint()
        return found
    parts = data.load(run.data, progress=True)
    return {name: getattr(parts, name).fingerprint() for name in splits.NAMES}


def data_paragraph(row: Row) -> str:
    """What the recipe's docstring says of its data."""
    text = Path(source(row, False).partition(":")[0]).read_text()
    _, found, rest = text.partition("\nData: ")
    return " ".join((rest if found else text).partition("\n\n")[0].split())


def recipe(run: config.Run) -> dict[str, Any]:
    """Everything in the recipe but where its files lie, as it reads back from JSON."""
    values = config.plain(run)
    for name in ("dir", "manifest", "cache_dir"):
        del values["data"][name]
    return values


def same(there: dict[str, Any], run: config.Run) -> bool:
    """Whether a line's recipe is this one; a field it lacks is newer, and as usual."""
    try:
        return recipe(config.from_dict(there)) == recipe(run)
    except InputError:  # a field that is no more
        return False


def digest(run: config.Run) -> str:
    """Of what the recipe says; it stays when covjax gets a field more."""
    usual = recipe(config.Run())
    said = {
        f"{section}.{name}": value
        for section, fields in recipe(run).items()
        for name, value in fields.items()
        if value != usual[section][name]
    }
    return short(said)


def short(values: dict[str, Any]) -> str:
    """Eight letters for them, in the name of a work directory."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]


def lines_of(row: Row, smoke: bool) -> list[Line]:
    """The row's results on any device."""
    from benchmarks import harness

    return [
        line
        for path in sorted(harness.RESULTS.glob(f"{SCRIPT[smoke]}-*.jsonl"))
        for line in harness.read_results(path)
        if line["row"] == row.key
    ]


def finished(row: Row, run: config.Run, smoke: bool, seen: Fingerprints) -> Line | None:
    """The row's latest result with this very recipe, on any device.

    Where pictures are `seen`, only one that is known to be of them.
    """
    found = [
        line
        for line in lines_of(row, smoke)
        if same(line["recipe"], run)
        and (not seen or line.get("pictures", {}).get("fingerprints") == seen)
    ]
    return max(found, key=lambda line: line["time"]) if found else None


def changed(row: Row, smoke: bool) -> list[Line]:
    """The row's latest results with its recipe of today, changed by some words."""
    found = {}
    for line in sorted(lines_of(row, smoke), key=lambda line: line["time"]):
        words = line["overrides"]
        if words:
            with contextlib.suppress(InputError):  # a field that is no more
                if same(line["recipe"], load(row, smoke, words)):
                    found[" ".join(sorted(words))] = line
    return [found[words] for words in sorted(found)]


def record(
    row: Row,
    run: config.Run,
    smoke: bool,
    place: Path,
    overrides: list[str],
    took: dict[str, Any],
) -> Line:
    """Writes and returns the line of a finished row.

    `took` tells the seconds of the whole command, reports and compilation included.
    """
    from benchmarks import harness

    metrics = json.loads((place / "metrics.json").read_text())
    repeats = metrics["repeats"]
    logs = list(place.rglob("log.jsonl"))  # one a trained network
    rows = [json.loads(r) for log in logs for r in log.read_text().splitlines()]
    places = [json.loads((log.parent / "environment.json").read_text()) for log in logs]
    line = {
        # as typed, but for the places of this machine
        "command": " ".join(
            filter(
                None,
                [
                    "python -m benchmarks.survey",
                    row.key,
                    "--smoke" * smoke,
                    *overrides,
                ],
            )
        ),
        "row": row.key,
        "recipe": recipe(run),
        "data": metrics["card"]["name"],
        "pictures": pictures(json.loads((place / "data.json").read_text())),
        "overrides": overrides,
        "measured": {name: value_at(metrics, path) for name, path in row.measures}
        | {"AUC": metrics["test"]["overall"]["auc"]},
        "repeats": None
        if repeats is None
        else {
            "of": repeats["of"],
            "numbers": repeats["numbers"],
            "measures": {k: repeats["measures"][k] for k in ("accuracy", "auc")},
        },
        "headline": metrics["headline"],
        "verdict": metrics["verdict"]["sentence"],
        "train_seconds": sum(r["seconds"] for r in rows),
        # a row may have gone on elsewhere: "device" is where it ended
        "trained_on": sorted({where["device"] for where in places}),
        **took,
    }
    path = harness.write_result(SCRIPT[smoke], line)
    return harness.read_results(path)[-1]


def pictures(data: dict[str, Any]) -> dict[str, Any]:
    """What tells these pictures from others: ``data.json`` without its names."""
    from covjax.data.splits import totals

    return {"counts": totals(data["counts"]), "fingerprints": data["fingerprints"]}


def value_at(metrics: Any, path: str) -> Any:
    """The entry at a dotted path of ``metrics.json``; None where a part is missing."""
    for name in path.split("."):
        metrics = None if metrics is None else metrics.get(name)
    return metrics


if __name__ == "__main__":
    cli.run_command(main)
