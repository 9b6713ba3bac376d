"""One self-contained page of a finished run.

python -m covjax.report --workdir RUN
"""

from collections.abc import Sequence
from pathlib import Path

from covjax import cli
from covjax.errors import InputError


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.report",
        description="Writes report.html, one page that opens without a network, and "
        "report.json, what it says.\nNothing is computed again and the test split is "
        "not opened.",
    )
    result.add_argument(
        "--workdir", type=Path, metavar="RUN", required=True, help="a finished run"
    )
    result.add_argument(
        "--audit",
        type=Path,
        metavar="FILE",
        help="an audit.json of the data set; default: the one in RUN, if any",
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Writes the page; returns the exit status."""
    flags = parser().parse_args(arguments)

    from jinja2 import UndefinedError

    from covjax.evaluation import page
    from covjax.files import whole, write_json

    try:
        files = page.read(flags.workdir, flags.audit)
        told = page.content(files)
        html = page.render(told, page.pictures(flags.workdir, told["heatmaps"]))
    except KeyError as error:
        raise InputError(
            f"{flags.workdir}: its files have no {error}; they must be of this version "
            "of covjax"
        ) from error
    except (TypeError, AttributeError, UndefinedError) as error:
        raise InputError(
            f"{flags.workdir}: its files must be as this version of covjax writes "
            f"them: {error}"
        ) from error
    with whole(flags.workdir / "report.html") as unfinished:
        unfinished.write_text(html, encoding="utf-8")
    write_json(flags.workdir / "report.json", told)
    print(f"{told['m']['headline']}\n\nreport: {flags.workdir / 'report.html'}")
    return 0


if __name__ == "__main__":
    cli.run_command(main)
