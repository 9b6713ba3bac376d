"""The pictures of a report, as PNG files. Matplotlib is imported when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from covjax.evaluation import calibration, ranking
from covjax.evaluation.counts import one_vs_rest, ratio
from covjax.evaluation.intervals import wilson
from covjax.files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every kind of colour vision
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
RIGHT, WRONG = COLOURS[2], COLOURS[1]
STYLES = ("-", "--", ":", "-.")  # and without colour, on paper
CELL, TILE, HEADING = (210, 252), 190, 48  # of a grid of pictures, pixels


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    with whole(path) as unfinished:
        figure.savefig(unfinished, format="png")


def _axes(figure: "Figure", title: str, x: str, y: str, position: int = 111) -> Any:
    axes = figure.add_subplot(position)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _legend(axes: Any, place: str = "best") -> None:
    if axes.get_legend_handles_labels()[0]:  # matplotlib warns of an empty one
        axes.legend(frameon=False, fontsize=8, loc=place)


def _line(k: int) -> dict[str, Any]:
    """Colour and dashes of the k-th line."""
    return {"color": COLOURS[k % 7], "linestyle": STYLES[k // 7 % 4], "linewidth": 1.8}


def curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Losses and measures by epoch; a line marks the epoch that was kept.

    Args:
      history: one row an epoch, as in ``log.jsonl``: ``epoch`` and numbers.
      path: the PNG file.
    """
    names = list(dict.fromkeys(key for row in history for key in row))
    losses = [name for name in names if name.endswith("loss")]
    scores = [name for name in names if name.endswith(("auc", "accuracy", "f1"))]
    epochs = [row["epoch"] for row in history]
    kept = [row["epoch"] for row in history if row.get("best")]
    figure = _figure(9, 3.4)
    for position, title, group in ((121, "Loss", losses), (122, "Measures", scores)):
        axes = _axes(figure, title, "epoch", "", position)
        if kept:
            axes.axvline(kept[-1], color="0.6", linewidth=1, label="kept")
        for k, name in enumerate(group):
            points = [
                (row["epoch"], row[name])
                for row in history
                if row.get(name) is not None and np.isfinite(row[name])
            ]
            if not points:
                continue
            where = "" if name.startswith("validation") else "training "
            label = where + name.replace("_", " ").replace("auc", "AUC")
            marker = "o" if len(points) < 15 else None
            axes.plot(*zip(*points), marker=marker, ms=4, label=label, **_line(k))
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(axes)
    _save(figure, path)


def roc(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """ROC curve of each class against the rest; classes without one are left out."""
    figure = _figure(4.8, 4.4)
    axes = _axes(figure, "ROC", "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    truth = one_vs_rest(labels, len(class_names))
    for k, name in enumerate(class_names):
        area = ranking.roc_auc(truth[:, k], probabilities[:, k])
        if area is not None:
            fpr, tpr = ranking.roc_points(truth[:, k], probabilities[:, k])
            axes.plot(fpr, tpr, label=f"{name}  AUC {area:.3f}", **_line(k))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    _legend(axes, "lower right")
    _save(figure, path)


def precision_recall(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: Path,
) -> None:
    """Precision by sensitivity of each class; the dotted level is its prevalence."""
    figure = _figure(4.8, 4.4)
    axes = _axes(figure, "Precision and sensitivity", "sensitivity", "precision")
    truth = one_vs_rest(labels, len(class_names))
    for k, name in enumerate(class_names):
        c = ranking.curve(truth[:, k], probabilities[:, k])
        if not c.positives:
            continue
        area = ranking.average_precision(truth[:, k], probabilities[:, k])
        recall, precision = c.tp / c.positives, c.tp / (c.tp + c.fp)
        axes.step(
            np.append(0, recall),
            np.append(precision[0], precision),
            label=f"{name}  AP {area:.3f}",
            **_line(k),
        )
        axes.axhline(truth[:, k].mean(), color=COLOURS[k % 7], ls=":", lw=1)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    _legend(axes, "lower left")
    _save(figure, path)


def confusion(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Counts by true and predicted class, shaded by share of the true class."""
    matrix = np.asarray(matrix)
    k = len(class_names)
    share = ratio(matrix, matrix.sum(axis=1, keepdims=True))
    side = 2.6 + 0.75 * k
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(share), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        shade = share[row, column]
        percent = "" if np.isnan(shade) else f"\n{100 * shade:.0f} %"
        colour = "white" if shade > 0.55 else "black"
        axes.text(
            column, row, f"{count}{percent}", ha="center", va="center", color=colour
        )
    axes.set_xticks(range(k), class_names, rotation=30 if k > 3 else 0, ha="center")
    axes.set_yticks(range(k), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Confusion matrix, n = {matrix.sum()}", fontsize=11, loc="left")
    _save(figure, path)


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, path: Path, level: float
) -> None:
    """Share of right decisions by confidence, above the number of decisions.

    Bars are Wilson's intervals, as if the pictures of a patient were independent.
    """
    confidence, hits = calibration.confidence_and_hits(labels, probabilities)
    table = calibration.reliability(confidence, hits)
    full = table.counts > 0
    error = calibration.expected_calibration_error(labels, probabilities)
    figure = _figure(4.8, 4.8)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    share = ratio(table.hits, table.counts)[full]
    ends = [wilson(p, n, level) for p, n in zip(share, table.counts[full], strict=True)]
    reach = np.abs(np.array(ends).T - share)
    upper.errorbar(
        table.confidence[full], share, reach, marker="o", ms=4, elinewidth=1, **_line(0)
    )
    upper.set_title(f"Reliability, ECE {error:.3f}", fontsize=11, loc="left")
    upper.set(ylabel="share of right decisions", ylim=(-0.02, 1.02), xlim=(-0.01, 1.01))
    edges = np.linspace(0, 1, len(table.counts) + 1)
    lower.bar(edges[:-1], table.counts, np.diff(edges), align="edge", color="0.6")
    lower.set(xlabel="confidence of the decision", ylabel="decisions")
    for axes in (upper, lower):
        axes.grid(True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    _save(figure, path)


def grid_rows(labels: np.ndarray, num_classes: int, count: int = 24) -> np.ndarray:
    """Rows for `grid`: as many of each class as can be, evenly spaced, none chosen."""
    truth = one_vs_rest(labels, num_classes)
    share = -(-count // num_classes)
    rows: list[int] = []
    for column in truth.T:
        members = np.flatnonzero(column)
        picks = np.linspace(0, len(members) - 1, min(share, len(members)))
        rows += members[np.unique(picks.round().astype(int))].tolist()
    return np.array(list(dict.fromkeys(rows))[:count], dtype=int)


def grid(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    title: str = "Test pictures",
) -> None:
    """Pictures uint8 ``[n, height, width, channels]``, each with truth and decision."""
    n = len(images)
    columns = max(min(n, 6), 1)
    plain, bold, large = (_font(*f) for f in (("", 13), ("-Bold", 13), ("", 18)))
    heading = f"{title}: truth above, decision and its probability below"
    width = max(columns * CELL[0], int(large.getlength(heading)) + HEADING)
    size = (width, -(-n // columns) * CELL[1] + HEADING)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((width / 2, HEADING / 2), heading, "black", large, anchor="mm")
    truth = one_vs_rest(labels, len(class_names))
    for i in range(n):
        left = i % columns * CELL[0] + (CELL[0] - TILE) // 2
        top = i // columns * CELL[1] + (CELL[1] - TILE) // 2 + HEADING
        said = int(probabilities[i].argmax())
        colour, font = (RIGHT, plain) if truth[i, said] else (WRONG, bold)
        sheet.paste(colour, (left - 3, top - 3, left + TILE + 3, top + TILE + 3))
        picture = np.asarray(images[i])
        picture = picture if picture.shape[-1] == 3 else picture[..., 0]
        sheet.paste(Image.fromarray(picture).resize((TILE, TILE)), (left, top))
        names = " + ".join(np.array(class_names)[truth[i]]) or "none"
        names = _cut(names, plain)
        middle = left + TILE / 2
        pen.text((middle, top - 9), names, "black", plain, anchor="ms")
        share = f" {probabilities[i, said]:.2f}"
        decision = _cut(class_names[said], font, share)
        pen.text((middle, top + TILE + 16), decision, colour, font, anchor="ms")
    with whole(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _cut(name: str, font: ImageFont.FreeTypeFont, share: str = "") -> str:
    """Name and share, the name cut to what fits between a cell's sides."""
    fits = name
    while len(fits) > 2 and font.getlength(fits + share) > CELL[0]:
        fits = fits[:-2] + "…"
    return fits + share


def _font(style: str, pixels: int) -> ImageFont.FreeTypeFont:
    """The font of the other plots."""
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / f"DejaVuSans{style}.ttf"), pixels)
