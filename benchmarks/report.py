"""Result lines as tables and a plot.

    python -m benchmarks.report                    # prints the tables
    python -m benchmarks.report --write docs/benchmarks.md  # between its two marks
    python -m benchmarks.report --plot docs/throughput.png

Of several lines of one case the newest counts. Lines that were taken on a busy machine
with --force are left out unless --busy is given.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from covjax import cli
from covjax.errors import InputError

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
COLUMNS = 3  # of the plot's panels
Line = dict[str, Any]
WHERE = ("device", "processor")  # cpu2 is many machines; a GPU's line names one too
SPEED = ("model", "mode", "batch", "size", "precision", "against", *WHERE)


def main(arguments: Sequence[str]) -> int:
    """Prints, writes, plots."""
    parser = cli.Parser(prog="benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=harness.RESULTS)
    parser.add_argument("--write", type=Path, help="a file with the two marks")
    parser.add_argument("--plot", type=Path, help="a PNG of the ratios")
    parser.add_argument("--busy", action="store_true", help="forced lines too")
    flags = parser.parse_args(arguments)
    if not flags.results.is_dir():
        raise InputError(f"--results {flags.results}: no such folder")
    lines = {
        script: [
            line
            for path in sorted(flags.results.glob(f"{script}-*.jsonl"))
            for line in harness.read_results(path)
            if flags.busy or line.get("others_busy", 0) <= harness.QUIET
        ]
        for script in ("throughput", "traffic", "input", "streaming", "compile_time",
                       "accuracy", "xla_flags")
    }  # fmt: skip
    text = "\n\n".join(
        part
        for part in (
            speed_tables(lines["throughput"]),
            traffic_table(lines["traffic"]),
            feeding_table(lines["input"], lines["streaming"]),
            compile_table(lines["compile_time"]),
            accuracy_table(lines["accuracy"]),
            flag_table(lines["xla_flags"]),
        )
        if part
    )
    if flags.write:
        flags.write.write_text(between_marks(flags.write.read_text(), text))
    else:
        print(text)
    if flags.plot:
        plot(newest(lines["throughput"], SPEED), flags.plot)
    return 0


def newest(lines: Iterable[Line], names: tuple[str, ...]) -> list[Line]:
    """The last line of each case, which is what these fields tell apart."""
    last = {json.dumps([line.get(name) for name in names]): line for line in lines}
    return list(last.values())


def between_marks(document: str, text: str) -> str:
    """The document with everything between its marks replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(f"--write: the file needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def where(line: Line) -> str:
    """The device, and the processor where one is told."""
    processor = line.get("processor")
    return f"{line['device']} ({processor})" if processor else str(line["device"])


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def commands(lines: Iterable[Line]) -> str:
    """The commands that gave these lines, each once, as a code block."""
    found = dict.fromkeys(line["command"] for line in lines)
    return "\n".join(["```sh", *found, "```"])


def interval(value: Line, digits: int = 2) -> str:
    """``median [low, high]``."""
    parts = (value["median"], value["low"], value["high"])
    middle, low, high = (f"{part:.{digits}f}" for part in parts)
    return f"{middle} [{low}, {high}]"


def speed_tables(lines: list[Line]) -> str:
    """A table for each machine, precision, mode and peer, with its geometric mean."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in newest(lines, SPEED):
        key = (where(line), *(line[n] for n in ("precision", "mode", "against")))
        groups.setdefault(key, []).append(line)
    parts = []
    for (place, precision, mode, against), found in sorted(groups.items()):
        found.sort(key=lambda line: (line["model"], line["size"], line["batch"]))
        what = "Training" if mode == "train" else "Inference"
        against_whom = f", against {against}" if against else ""
        title = f"**{what}, {precision}, {place}{against_whom}**"
        peer = [against, "ratio [95% interval]"] if against else []
        header = ["network", "px", "batch", "images/s", *peer, "roofline", "MFU",
                  "compile s, cold / warm", "program MB"]  # fmt: skip
        body = table(header, [speed_row(line, against) for line in found])
        if against:
            body += f"\n\nGeometric mean of the ratios: {geometric_mean(found):.2f}."
        parts.append(f"{title}\n\n{body}\n\n{commands(found)}")
    return "\n\n".join(parts)


def speed_row(line: Line, against: str) -> list[str]:
    """One network of a table."""
    rates, own = line["images_per_second"], line["sides"]["covjax"]
    peer = []
    if against:
        facts = line["sides"][against]
        modes = [facts[n] for n in ("layout", "compiled") if n in facts]
        mode = f" ({', '.join(modes)})" if modes else ""
        rate = rates[against]["median"]
        peer = [f"{rate:.1f}{mode}", interval(line["ratio"])]
    seconds = own["compile_seconds"]
    return [
        line["model"],
        str(line["size"]),
        str(line["batch"]),
        f"{rates['covjax']['median']:.1f}",
        *peer,
        f"{line['roofline']['share']:.2f}",
        f"{line['roofline']['mfu']:.2f}",
        f"{seconds['cold']:.0f} / {seconds['warm']:.1f}",
        f"{own['peak_bytes'] / 1e6:.0f}",
    ]


def geometric_mean(lines: list[Line]) -> float:
    """Of the ratios' medians."""
    logs = [math.log(line["ratio"]["median"]) for line in lines]
    return math.exp(sum(logs) / len(logs))


def traffic_table(lines: list[Line]) -> str:
    """Bytes of compiled steps, by form."""
    found = newest(lines, ("model", "form", "batch", "size", "precision", "target"))
    rows = [
        [
            line["model"],
            line["form"],
            str(line["size"]),
            str(line["batch"]),
            f"{line['bytes'] / 1e9:.1f}",
            f"{line['bytes'] / line['roofline_bytes']:.2f}",
            str(line["kernels"]),
        ]
        for line in found
    ]
    if not rows:
        return ""
    header = ["network", "form", "px", "batch", "GB a step", "of the roofline's",
              "kernels"]  # fmt: skip
    title = f"**Memory traffic of a training step, compiled for {found[0]['target']}**"
    return f"{title}\n\n{table(header, rows)}\n\n{commands(found)}"


def feeding_table(inputs: list[Line], streams: list[Line]) -> str:
    """What feeding costs: an epoch against the bare step, a stream against decoding."""
    rows = []
    for line in newest(inputs, ("model", "size", "batch", *WHERE)):
        name = f"epoch of {line['model']} against its bare step"
        ratio = interval(line["epoch_rate_over_bare"], 3)
        rows.append([name, str(line["size"]), where(line), ratio])
    for line in newest(streams, ("data", "size", *WHERE)):
        name = f"stream of {line['data']} against its bare decoder"
        ratio = interval(line["stream_rate_over_bare"], 3)
        rows.append([name, str(line["size"]), where(line), ratio])
    if not rows:
        return ""
    header = ["rate", "px", "device", "ratio [95% interval]"]
    return f"{table(header, rows)}\n\n{commands([*inputs, *streams])}"


def compile_table(lines: list[Line]) -> str:
    """Seconds to the end of the first dispatch."""
    found = newest(lines, ("config", "overrides", "single_steps", *WHERE))
    rows = []
    for line in found:
        cold, warm = line["seconds"]["cold"], line["seconds"]["warm"]
        rows.append(
            [
                line["config"] + ", single steps" * line["single_steps"],
                where(line),
                interval(cold["total"], 1),
                interval(warm["total"], 1),
                f"{warm['imports']['median']:.1f}",
            ]
        )
    if not rows:
        return ""
    header = ["recipe", "device", "first dispatch, cold, s", "warm, s", "imports, s"]
    return f"{table(header, rows)}\n\n{commands(found)}"


def accuracy_table(lines: list[Line]) -> str:
    """Measures over seeds or folds, and seconds."""
    found = newest(lines, ("config", "overrides", "seeds", "folds", *WHERE))
    rows = []
    for line in found:
        auc, accuracy = (line["measures"][name] for name in ("auc", "accuracy"))
        runs = f"{line['folds']} folds" if line["folds"] else f"{line['seeds']} seeds"
        levels = [
            f"{level}: {row['median']:.0f}"
            for level, row in line["seconds_to_auc"].items()
            if row["reached"] == row["of"]
        ]
        rows.append(
            [
                line["config"],
                where(line),
                runs,
                *(
                    f"{m['mean']:.3f} [{m['low']:.3f}, {m['high']:.3f}]"
                    for m in (auc, accuracy)
                ),
                f"{line['seconds']:.0f}" + ("" if line["uninterrupted"] else "+"),
                ", ".join(levels),
            ]
        )
    if not rows:
        return ""
    header = ["recipe", "device", "runs", "AUC", "accuracy", "seconds in all",
              "seconds to validation AUC"]  # fmt: skip
    return f"{table(header, rows)}\n\n{commands(found)}"


def flag_table(lines: list[Line]) -> str:
    """XLA's flags with what each gains."""
    found = newest(lines, ("flag", "model", "batch", "precision", *WHERE))
    rows = []
    for line in found:
        gain = interval(line["ratio"], 3) if line.get("ratio") else line["error"]
        same = line.get("difference")
        rows.append(
            [
                f"`{line['flag']}`",
                f"{line['model']}, {line['batch']}, {line['precision']}",
                where(line),
                gain,
                "" if same is None else f"{same:.0e}",
            ]
        )
    if not rows:
        return ""
    header = [
        "XLA flag",
        "network, batch",
        "device",
        "speed over none",
        "scores differ",
    ]
    return f"{table(header, rows)}\n\n{commands(found)}"


def plot(lines: list[Line], path: Path) -> None:
    """Ratios with their intervals, one panel a peer and mode."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if line["against"]:
            key = (*(line[n] for n in ("against", "mode", "precision")), where(line))
            panels.setdefault(key, []).append(line)
    if not panels:
        raise InputError("--plot: no result line has a ratio to plot")
    tallest = max(map(len, panels.values()))
    rows = -(-len(panels) // COLUMNS)
    size = (3.2 * COLUMNS, rows * (1.0 + 0.28 * tallest))
    figure, axes = plt.subplots(rows, COLUMNS, figsize=size, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (key, found) in zip(axes.flat, panels.items()):
        against, mode, precision, place = key
        found.sort(key=lambda line: line["ratio"]["median"])
        ratios = [line["ratio"] for line in found]
        middle = [r["median"] for r in ratios]
        reach = [
            [r["median"] - r["low"] for r in ratios],
            [r["high"] - r["median"] for r in ratios],
        ]
        names = [f"{line['model']}, {line['batch']}" for line in found]
        axis.barh(names, middle, xerr=reach, color="#4477aa")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"{mode}, {precision}\n{place}", fontsize=9)
        axis.set_xlabel(f"speed over {against}", fontsize=9)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    cli.run_command(main)
