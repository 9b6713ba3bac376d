"""python -m covjax.data: the data sets that covjax knows, and what is on this disk.

list     every set: what it holds, its licence, its home, how to get it
prepare  fetch what can be fetched, verify it, write it as TFDS array_record
show     counts of classes, splits, patients and sources, and a contact sheet
"""

import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from covjax import cli
from covjax.errors import InputError

EXAMPLES = """\
  python -m covjax.data
  python -m covjax.data prepare covid_ct --dir DIR --write_manifest
  python -m covjax.data show covid_ct --dir DIR

Without --dir a set is looked for in $COVJAX_DATA_DIR/NAME and then in
~/.cache/covjax/data/NAME."""


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "prepare":
        return prepare(arguments.name, arguments.dir, arguments.write_manifest)
    if arguments.command == "show":
        return show(arguments.name, arguments.dir, arguments.output)
    return list_all()


def list_all() -> int:
    """Prints the whole catalog."""
    from covjax.data.catalog import CATALOG

    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120), 60)
    wrap = textwrap.TextWrapper(
        width - 4, break_long_words=False, break_on_hyphens=False
    )
    places = {name: _place(name) for name in CATALOG}
    for name, data_set in CATALOG.items():
        here = f"on this disk: {places[name]}" if places[name] else "not on this disk"
        print(f"{name}  [{data_set.modality}]  {here}")
        how = f"python -m covjax.data prepare {name}; or " if data_set.downloads else ""
        for line in (
            f"{data_set.title}: {data_set.size}",
            f"classes: {', '.join(data_set.classes)}",
            f"{data_set.file_format}; licence: {data_set.licence}",
            data_set.home,
            f"to get it: {how}{data_set.get}",
        ):
            print(textwrap.indent(wrap.fill(line), "    "))
    found = sum(place is not None for place in places.values())
    print(f"{len(CATALOG)} data sets, {found} on this disk")
    return 0


def prepare(name: str, dir: str, write_manifest: bool) -> int:
    """Fetches, verifies and writes one set."""
    from covjax.data import prepare as steps
    from covjax.data.catalog import find, original_dir, prepared_dir

    data_set = find(name)
    place = Path(dir).expanduser() if dir else original_dir(name)
    try:
        folder = data_set.folder(place)
    except InputError:
        steps.fetch(data_set, place)
        folder = data_set.folder(place)
    manifest = steps.manifest_of(name, folder)
    if write_manifest:
        steps.write_manifest(manifest, folder)
        print(f"wrote {manifest}")
    verified = steps.verify(manifest, folder)
    if verified is None:
        print("not verified: no manifest; --write_manifest makes one", file=sys.stderr)
    else:
        print(f"verified {verified} files in {folder}")
    made, new = steps.build(data_set, folder, prepared_dir())
    print(f"{'prepared' if new else 'already prepared'}: {made}")
    print(f"train on it with --config.data.name={name} --config.data.dir={made.parent}")
    return 0


def show(name: str, dir: str, output: str) -> int:
    """Prints the counts of one set and draws its contact sheet."""
    from covjax.data import prepared
    from covjax.data.catalog import default_dir, find
    from covjax.data.show import contact_sheet, counts_text

    data_set = find(name)
    place = Path(dir).expanduser() if dir else default_dir(name)
    records = prepared.find_prepared(name, place)
    if records:
        examples = prepared.read_prepared(records)
    else:
        examples = data_set.examples(place)
    print(f"{data_set.title}\nlicence: {data_set.licence}\ncite: {data_set.citation}")
    print(f"patient ids: {data_set.patient_rule}\nsources: {data_set.source_rule}")
    print(f"reading checked on: {data_set.checked}\n")
    print(counts_text(examples, data_set.classes))
    path = Path(output or f"{name}.png")
    temporary = path.with_name(f".{path.name}.tmp")
    contact_sheet(examples, data_set.classes).save(temporary, "PNG")
    temporary.replace(path)
    print(f"contact sheet: {path}")
    return 0


def _place(name: str) -> Path | None:
    """Where a set is on this disk, as originals or prepared; None where it is not."""
    from covjax.data import prepared
    from covjax.data.catalog import CATALOG, original_dir, prepared_dir

    try:
        return CATALOG[name].folder(original_dir(name))
    except InputError:
        return prepared.find_prepared(name, prepared_dir())


def _parser() -> cli.Parser:
    parser = cli.Parser(
        prog="covjax.data", description=__doc__, epilog=EXAMPLES, add_help=True
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="every set (the default)")
    for command, words in (
        ("prepare", "fetch, verify and write a set as array_record"),
        ("show", "counts and a contact sheet"),
    ):
        sub = commands.add_parser(command, help=words)
        sub.add_argument("name", metavar="NAME", help="of the set, see list")
        sub.add_argument(
            "--dir", default="", help="folder of the set's files, or the one above"
        )
        if command == "prepare":
            sub.add_argument(
                "--write_manifest",
                action="store_true",
                help="record the SHA-256 of every file, to be verified later",
            )
        else:
            sub.add_argument(
                "--output", default="", help="of the contact sheet; NAME.png"
            )
    return parser


if __name__ == "__main__":
    cli.run_command(main)
