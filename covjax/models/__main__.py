"""The command ``python -m covjax.models``: the table of networks, or one's layers."""

from collections.abc import Iterator, Sequence

from covjax.cli import Parser, run_command
from covjax.errors import InputError

COLUMNS = ("name", "paper", "year", "parameters", "multiply-adds", "size", "reference")
EXAMPLES = """\
  python -m covjax.models                             every network
  python -m covjax.models densenet121 --size 224      its layers
  python -m covjax.models --markdown > docs/models.md

Multiply-adds, in billions, are those of convolutions and dense layers for one
picture of the paper's size. Parameters are counted with the paper's classifier and
without running statistics, which Keras's totals include."""


def main(arguments: Sequence[str]) -> int:
    """Prints the table of networks or the layers of one; returns the exit status."""
    parser = Parser(
        prog="covjax.models",
        description="The networks of covjax: the whole table, or the layers of one.",
        epilog=EXAMPLES,
    )
    parser.add_argument("name", nargs="?", help="print the layers of this network")
    for flag, text in (
        ("size", "height and width of the pictures in pixels (default: the paper's)"),
        ("channels", "channels of the pictures (default: the paper's)"),
        ("classes", "number of classes (default: the paper's)"),
    ):
        parser.add_argument(f"--{flag}", type=int, metavar="N", help=text)
    parser.add_argument("--markdown", action="store_true", help="a table in Markdown")
    flags = parser.parse_args(arguments)
    sizes = (flags.size, flags.channels, flags.classes)
    if flags.name is None and sizes != (None, None, None):
        raise InputError("--size, --channels and --classes need the name of a network")
    for flag, value in zip(("size", "channels", "classes"), sizes):
        if value is not None and value < 1:
            raise InputError(f"--{flag}={value}: must be at least 1")
    if flags.name is None:
        print_rows(table(), flags.markdown)
    else:
        print_rows(layer_table(flags.name, *sizes), flags.markdown)
    return 0


def table() -> Iterator[tuple[str, ...]]:
    """The heading and one row a network, each counted when it is asked for."""
    from covjax.models import MODELS, create_model
    from covjax.models.anatomy import layers

    yield COLUMNS
    for name, entry in MODELS.items():
        model = create_model(name, num_classes=entry.num_classes)
        found = layers(model, entry.native_size, entry.channels)
        yield (
            name,
            entry.paper,
            str(entry.year),
            f"{entry.params:,}",
            f"{sum(layer.multiply_adds for layer in found) / 1e9:.3f}",
            str(entry.native_size),
            entry.reference,
        )


def layer_table(
    name: str, size: int | None, channels: int | None, classes: int | None
) -> Iterator[tuple[str, ...]]:
    """The heading, one row a layer of the network `name`, and the sums."""
    from covjax.models import MODELS, create_model
    from covjax.models.anatomy import layers

    create_model(name, num_classes=1)  # InputError for an unknown name
    entry = MODELS[name]
    model = create_model(name, num_classes=classes or entry.num_classes)
    found = layers(model, size or entry.native_size, channels or entry.channels)
    yield ("layer", "kind", "result", "parameters", "multiply-adds")
    for layer in found:
        shape = " x ".join(map(str, layer.shape))
        counts = (f"{layer.params:,}", f"{layer.multiply_adds:,}")
        yield (layer.path, layer.kind, shape, *counts)
    params = sum(layer.params for layer in found)
    multiply_adds = sum(layer.multiply_adds for layer in found)
    yield ("all", "", "", f"{params:,}", f"{multiply_adds:,}")


def print_rows(rows: Iterator[tuple[str, ...]], markdown: bool) -> None:
    """Prints aligned columns, or a Markdown table; the first row is the heading."""
    listed = list(rows)
    if markdown:
        listed.insert(1, tuple("---" for _ in listed[0]))
        for row in listed:
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(cell) for cell in column) for column in zip(*listed)]
    for row in listed:
        cells = [
            cell.rjust(width) if is_count(cell) else cell.ljust(width)
            for cell, width in zip(row, widths)
        ]
        print("  ".join(cells).rstrip())


def is_count(cell: str) -> bool:
    """Whether the cell is a number, which stands on the right."""
    return cell.replace(",", "").replace(".", "").isdigit()


if __name__ == "__main__":
    run_command(main)
