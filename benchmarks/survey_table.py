"""The survey's table: what was reported beside what was measured, in Markdown."""

from collections.abc import Sequence
from typing import Any

from benchmarks.survey_rows import Row
from covjax import config

HEAD = (
    "row",
    "system",
    "data",
    "protocol",
    "reported",
    "measured [interval]",
    "seeds or folds",
    "training time",
)
Line = dict[str, Any]  # one line of a results file


def protocol(run: config.Run, overrides: Sequence[str] = ()) -> str:
    """Pictures, split and training in a few words."""
    data, train, optimizer = run.data, run.train, run.optimizer
    unit = "by picture" if data.split == "image" else "by patient"
    if data.folds:
        which = "folds" if data.fold < 0 else f"folds, only fold {data.fold}"
        split = f"{data.folds} {which}, {unit}"
    elif data.split == "official":
        split = "the data set's own split"
    else:
        shares = " / ".join(f"{100 * share:.0f}" for share in data.fractions)
        split = f"{shares} %, {unit}"
    epochs = "1 epoch" if train.epochs == 1 else f"{train.epochs} epochs"
    settings = run.system.kwargs
    sources = [run.model.pretrained, *settings.get("networks", {}).values()]
    how = "pretrained" if any(sources) else "from scratch"
    if settings.get("fine_tune", True):
        how += f", {epochs}, {optimizer.name} {optimizer.learning_rate:g}"
        how += f", batch {train.batch_size}"
    else:
        how += ", not fine-tuned"
    told = f"{data.size} px, {split}; {how}"
    changes = ", ".join(word.removeprefix("--config.") for word in overrides)
    return f"{told}; changed: {changes}" if changes else told


def cells(
    row: Row, how: str, line: Line | None, why: str, data: str
) -> tuple[str, ...]:
    """One line of the table: a result, or why there is none, on which data."""
    reported = f"{row.reported or 'no figure known'} ({row.source})"
    if line is None:
        # a row on a folder: `why` says which pictures
        name = "" if data == "folder" else data
        return (row.key, row.system, name, how, reported, why, "", "")
    minutes = line["train_seconds"] / 60
    time = f"{minutes:.3g} min" if minutes < 120 else f"{minutes / 60:.3g} h"
    return (
        row.key,
        row.system,
        pictures(line),
        how,
        reported,
        "; ".join(f"{name} {figure(m)}" for name, m in line["measured"].items()),
        spread(line["repeats"]),
        ", ".join([time, *line["trained_on"]]),
    )


def pictures(line: Line) -> str:
    """``folder: 65 normal, 295 COVID-19``: a folder's name alone says nothing."""
    name = line["data"]
    if "pictures" in line:
        counts = line["pictures"]["counts"].items()
        return f"{name}: {', '.join(f'{number} {of}' for of, number in counts)}"
    if name == "folder":  # of before they were written down
        return f"{name}: {line['measured']['AUC']['n']} test pictures, not told which"
    return name


def figure(measure: dict[str, Any] | None) -> str:
    """``87.1 % [84.9, 89.0]``, or why there is none."""
    if measure is None:
        return "undefined"
    if measure["estimate"] is None:
        return f"undefined: {measure['reason']}"
    estimate, low, high = (
        "?" if measure[end] is None else f"{100 * measure[end]:.1f}"
        for end in ("estimate", "low", "high")
    )
    return f"{estimate} % [{low}, {high}]"


def spread(repeats: dict[str, Any] | None) -> str:
    """``5 folds: accuracy 87.0 ± 1.2 %``; one run has none."""
    if repeats is None:
        return "1"
    row = repeats["measures"]["accuracy"]
    told = f"{len(repeats['numbers'])} {repeats['of']}s"
    if row["mean"] is None:
        return told
    return f"{told}: accuracy {100 * row['mean']:.1f} ± {100 * row['sd']:.1f} %"


def markdown(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The table's lines."""
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    return [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
        for line in lines
    ]
