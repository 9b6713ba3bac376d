"""Examine a data set before anything is trained on it.

python -m covjax.audit --config configs/densenet.py:covid_ct
python -m covjax.audit --data darkcovidnet --dir DIR
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from covjax import cli, config
from covjax.errors import InputError

if TYPE_CHECKING:
    from covjax.data import Splits
    from covjax.evaluation.examination import Audit

SIZE = 128  # pixels a side of a set that has no size of its own in the recipes


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.audit",
        description="Looks for what lets a network score well for a wrong reason: "
        "patients, articles and\npictures in two splits, classes that are told by "
        "source, file, border or exposure.\nTrains no network. Writes audit.json and "
        "audit.html.",
        epilog=cli.OVERRIDES,
    )
    cli.add_config_flag(result, required=False)
    result.add_argument(
        "--data", metavar="NAME", help="a data set instead of a recipe's"
    )
    result.add_argument("--dir", metavar="DIR", help="where its files lie")
    result.add_argument(
        "--out", type=Path, metavar="DIR", help="default: runs/audit-NAME"
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Audits as asked; returns the exit status, 0 whatever is found."""
    flags, overrides = parser().parse_known_args(arguments)
    run = asked(flags.config, flags.data, flags.dir, overrides)
    out = flags.out or Path("runs") / f"audit-{run.data.name}"

    from covjax.evaluation.examination import examine

    splits = load(run.data)
    print(f"audit of {run.data.name}, in {out}\n\n{splits.table()}\n")
    audit = examine(splits, level=run.evaluation.level)
    write(audit, splits, out)
    print(table(audit))
    return 0


def asked(
    recipe: str | None, name: str | None, dir: str | None, overrides: Sequence[str]
) -> config.Run:
    """The run whose data section is audited."""
    if (recipe is None) == (name is None):
        raise InputError(
            "give either --config FILE[:VARIANT] or --data NAME "
            "(see python -m covjax.audit --help)"
        )
    if recipe is not None:
        run = cli.load_config(recipe, overrides)
    else:
        if overrides:
            raise InputError(f"{overrides[0]}: fields can be set with --config alone")
        run = config.Run()
        run.data.name = str(name)
        run.data.size = config.DATA_SETS.get(run.data.name, {"size": SIZE})["size"]
    if dir is not None:
        run.data.dir = dir
    return run


def load(data: config.Data) -> "Splits":
    """The splits of a recipe; where its patients overlap, they are loaded to be shown.

    ``data.split="auto"`` refuses a set whose own split has a patient twice; then that
    split is asked for by name.
    """
    from covjax.data import load as load_data

    # file headers need decoding; the pictures are those of any fold
    data = dataclasses.replace(data, feed="resident", fold=max(data.fold, 0))
    try:
        return load_data(data, progress=True)
    except InputError:
        if data.split != "auto" or data.folds or data.test_source:
            raise
        return load_data(dataclasses.replace(data, split="official"))


def write(audit: "Audit", splits: "Splits", out: Path) -> None:
    """Writes ``audit.json`` and ``audit.html``, each whole or not at all."""
    from covjax.evaluation.audit_page import page
    from covjax.files import whole, write_json

    out.mkdir(parents=True, exist_ok=True)
    facts = {"card": splits.card, "counts": splits.counts(), "verdict": splits.verdict}
    write_json(out / "audit.json", facts | audit.to_dict())
    with whole(out / "audit.html") as unfinished:
        unfinished.write_text(page(audit), encoding="utf-8")


def table(audit: "Audit") -> str:
    """The findings for the terminal, one sentence each."""
    import textwrap

    width = max(len(finding.topic) for finding in audit.findings)
    lines = []
    for finding in audit.findings:
        mark = {"alarm": "ALARM", "fine": ""}.get(finding.level, finding.level)
        start = f"{mark:<7}  {finding.topic:<{width}}  "
        lines += textwrap.wrap(
            finding.sentence,
            100,
            initial_indent=start,
            subsequent_indent=" " * len(start),
        )
    count = len(audit.alarms)
    ending = f"{count} {'alarm' if count == 1 else 'alarms'}"
    return "\n".join([*lines, "", *statistics(audit), "", ending])


def statistics(audit: "Audit") -> list[str]:
    """File size (medians) and exposure (means) of each class and source, in columns."""
    names = list(dict.fromkeys(name for row in audit.statistics for name in row))
    rows = [[name.removeprefix("file_") for name in names]]
    for row in audit.statistics:
        rows.append([number(row.get(name, "")) for name in names])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def number(value: "str | int | float | None") -> str:
    """A cell: large numbers in full with commas, unknown ones empty."""
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


if __name__ == "__main__":
    cli.run_command(main)
