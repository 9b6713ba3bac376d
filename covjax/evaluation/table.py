"""What a run measured, in lines for the terminal."""

from typing import Any

from covjax.data.splits import NAMES

OVERALL = {  # printed name of each measure of a whole split
    "auc": "AUC (macro)",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "kappa": "kappa",
    "average_precision": "average precision",
    "brier": "Brier score",
    "ece": "calibration error",
    "log_loss": "log loss",
}
PER_CLASS = ("sensitivity", "specificity", "precision", "npv", "f1", "auc")


def headline(metrics: dict[str, Any]) -> str:
    """The result in a sentence or two; a control that matches it comes first.

    A score that a classifier without lungs reaches as well is not evidence of
    disease, and is not told alone.
    """
    test = metrics["test"]
    auc = test["overall"]["auc"]
    if auc["estimate"] is None:
        return f"{metrics['model']} on {metrics['data']}: no AUC, {auc['reason']}."
    result = (
        f"{metrics['model']} on {metrics['data']}: {_repeats(metrics)}AUC "
        f"{auc['estimate']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}] on {test['n']} "
        "test pictures."
    )
    matching = [row for row in metrics["controls"] if row["matches"]]
    blind = [row for row in matching if not row["sees_lungs"]] + blinded(metrics)
    if blind:
        worst = max(blind, key=lambda row: row["auc"]["estimate"])
        return f"Not evidence of disease: {_lower(worst['sentence'])} {result}"
    hidden = of_hidden(metrics)
    if hidden:
        return f"Not evidence of disease: {_lower(hidden)} {result}"
    if matching:
        best = max(matching, key=lambda row: row["auc"]["estimate"])
        return f"No better than a simple method: {_lower(best['sentence'])} {result}"
    return result


def blinded(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows in which the network, with the lungs hidden, is as good as with them."""
    return [
        row
        for row in metrics["without_parts"]
        if row["matches"] and not row["sees_lungs"]
    ]


def of_hidden(metrics: dict[str, Any]) -> str:
    """In which seeds or folds the network needs no lungs; "" where there is none."""
    repeats = metrics["repeats"]
    if repeats is None or not repeats["blinded"]:
        return ""
    numbers = ", ".join(map(str, repeats["blinded"]))
    return (
        f"With the lungs hidden the network of {repeats['of']} {numbers} (of "
        f"{len(repeats['numbers'])} {repeats['of']}s) is as good as with them."
    )


def _repeats(metrics: dict[str, Any]) -> str:
    """All seeds or folds, before what joins them; nothing for a single run."""
    found = metrics["repeats"]
    if found is None:
        return ""
    row = found["measures"]["auc"]
    told = f"{len(row['values'])} {found['of']}s"
    if found["of"] == "fold":
        told += f" {found['units']}"
    if row["mean"] is not None:
        told = (
            f"AUC {row['mean']:.3f} in the mean of {told} (standard deviation "
            f"{row['sd']:.3f}, {row['min']:.3f} to {row['max']:.3f})"
        )
    if found["of"] == "seed":
        return f"{told}; their ensemble: "
    return f"{told}; every picture by the network that had not seen it: "


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """The test split's measures as a short table for the terminal."""
    lines = [
        metrics["headline"],
        "",
        *_measure_lines(metrics),
        "",
        *_point_lines(metrics),
    ]
    if metrics["repeats"] is not None:
        lines += ["", *_repeat_lines(metrics["repeats"])]
    lines += ["", *_control_lines(metrics)]
    lines += _explanation_lines(metrics["explanation"])
    lines += _part_lines(metrics["without_parts"])
    return [*lines, *_notes(metrics)]


def external_lines(metrics: dict[str, Any]) -> list[str]:
    """A finished run's measures on another data set, or on its own test split again."""
    lines = [f"{metrics['run']} ({metrics['model']}) on {metrics['data']}", ""]
    if metrics["copies"]:
        lines += [of_copies(metrics["copies"]), ""]
    lines += [*_measure_lines(metrics), "", *_point_lines(metrics)]
    for name, column in (("sources", "source"), ("subgroups", "group")):
        if metrics[name]:
            lines += ["", f"AUC by {column}".ljust(20) + " estimate   interval"]
        for row in metrics[name]:
            lines.append(f"{row[column]:<20}{_cells(row['auc'])}   n {row['n']}")
    return lines


def of_copies(found: dict[str, Any]) -> str:
    """Whether another data set's pictures show what the run has seen, in a sentence."""
    if "reason" in found:
        return (
            f"copies of the run's own pictures were not looked for: {found['reason']}"
        )
    chance = (
        f"{found['compared']:,} pairs were compared, {found['expected_false']:.2g} of "
        "them would be named by chance"
    )
    if not found["pictures"]:
        return f"no picture shows one of the run's own ({chance})"
    where = ", ".join(
        f"{found[name]} in the {name} split" for name in NAMES if found[name]
    )
    one = found["pictures"] == 1
    theirs, own = found["example"]
    sentence = (
        f"{found['pictures']} picture{'' if one else 's'} show{'s' * one} one of the "
        f"run's own, {where}, such as {theirs} as {own}: no external evidence; all are "
        "listed in copies.csv"
    )
    auc = found["auc"]
    if auc and auc["estimate"] is None:
        sentence += f"; no AUC of the others, {auc['reason']}"
    elif auc:
        sentence += f"; AUC of the others {_cells(auc).strip()}"
    return f"{sentence} ({chance})"


def _measure_lines(metrics: dict[str, Any]) -> list[str]:
    """Who was judged, the overall measures, and those of each class."""
    test, level = metrics["test"], metrics["level"]
    patients = test["patients"]
    people = "patients unknown" if patients is None else f"{patients} patients"
    of = "test split" if metrics.get("own_test", True) else metrics["data"]
    make_up = ", ".join(f"{name} {p:.0%}" for name, p in test["prevalence"].items())
    lines = [
        f"{of}: {test['n']} pictures, {people} ({make_up})",
        "",
        f"{'':<20}{'estimate':>9}   {f'{100 * level:g}% interval'}",
    ]
    for key, name in OVERALL.items():
        if key in test["overall"]:
            lines.append(f"{name:<20}{_cells(test['overall'][key])}")
    width = max(12, *(len(name) + 2 for name in metrics["classes"]))
    lines += ["", "class".ljust(width) + "".join(f"{m:>12}" for m in PER_CLASS)]
    for name, row in test["per_class"].items():
        cells = "".join(f"{_number(row[m]):>12}" for m in PER_CLASS)
        lines.append(name.ljust(width) + cells)
    macro = test["macro"] | {"auc": test["overall"]["auc"]}
    cells = "".join(f"{_number(macro[m]):>12}" for m in PER_CLASS)
    lines.append("macro".ljust(width) + cells)
    return lines


def _explanation_lines(found: dict[str, Any] | None) -> list[str]:
    """Where the heat lies, and what is left without parts of the picture."""
    if found is None:
        return []
    cells = "x".join(map(str, found["cells"]))
    lines = [
        "",
        f"where the network looks (Grad-CAM of {found['pictures']} pictures, from a "
        f"last map of {cells} cells)",
    ]
    for name, row in found["masks"].items():
        lines.append(
            f"{name:<20}{row['share']:.0%} of the heat inside, {row['area']:.0%} of "
            f"the picture; hottest pixel inside in {row['pointing']:.0%}"
        )
    if found["like_random"] is not None:
        lines.append(
            f"{'shuffled weights':<20}rank correlation of the maps "
            f"{found['like_random']:.2f} (near 1: the maps do not show what was learnt)"
        )
    if heat_outside(found):
        lines.append(
            "note: the heat lies outside the lungs more than evenly spread heat"
        )
    return lines


def heat_outside(explanation: dict[str, Any] | None) -> bool:
    """Whether less heat lies in the lungs than if it were spread evenly."""
    lungs = None if explanation is None else explanation["masks"].get("lungs")
    return lungs is not None and (lungs["excess"]["high"] or 0) < 0


def _part_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The network's AUC without parts of the picture, beside its own lead."""
    if not rows:
        return []
    lines = ["", "the network's AUC without parts of the picture, and the loss"]
    whole = max(row["n"] for row in rows)
    for row in rows:
        cells = f"{row['part']:<30}{_cells(row['auc'])}"
        of = f"   {row['n']} pictures with a mask" if row["n"] < whole else ""
        lines.append(f"{cells:<58}{_lead(row, not row['sees_lungs'])}{of}".rstrip())
    return lines


def _point_lines(metrics: dict[str, Any]) -> list[str]:
    """The operating point on the test split."""
    point = metrics["operating_point"]
    if point is None:
        return ["no operating point: validation lacks the class or any other"]
    shown = ("sensitivity", "specificity", "precision", "npv", "accuracy")
    where = "each fold's own threshold"
    if point["threshold"] is not None:
        where = f"probability >= {point['threshold']:.3f}"
    head = f"{point['positive']} at {where} ({point['rule']} on validation)"
    return [head, *(f"{m:<20}{_cells(point['test'][m])}" for m in shown)]


def _repeat_lines(repeats: dict[str, Any]) -> list[str]:
    """Every seed or fold, mean and spread."""
    names = [f"{repeats['of']} {number}" for number in repeats["numbers"]]
    lines = ["".ljust(26) + "".join(f"{c:>9}" for c in ["mean", "sd", *names])]
    for key, row in repeats["measures"].items():
        values = [row["mean"], row["sd"], *row["values"]]
        cells = "".join(f"{'-' if v is None else f'{v:.3f}':>9}" for v in values)
        lines.append(OVERALL.get(key, key).ljust(26) + cells)
    return lines


def _control_lines(metrics: dict[str, Any]) -> list[str]:
    """The controls' AUC beside the network's lead over them."""
    lines = ["control (AUC)       estimate   interval           network's lead"]
    for row in metrics["controls"]:
        cells = f"{row['name']:<20}{_cells(row['auc'])}"
        if row["lead"] is not None:
            cells = f"{cells:<50}{_lead(row, True)}"
        lines.append(cells)
    return lines


def _lead(row: dict[str, Any], marked: bool) -> str:
    """The network's lead, and whether it is matched by what should not match it."""
    lead = row["lead"]
    if lead["estimate"] is None:
        return ""
    cells = f"{lead['estimate']:+.3f}"
    if lead["low"] is not None:
        cells += f"   {lead['low']:+.3f} to {lead['high']:+.3f}"
    return cells + ("  <- matches the network" if marked and row["matches"] else "")


def _notes(metrics: dict[str, Any]) -> list[str]:
    """What a reader must know of these numbers."""
    notes = []
    for name, row in metrics["test"]["per_class"].items():
        undefined = {m: row[m]["reason"] for m in PER_CLASS if "reason" in row[m]}
        notes += [f"note: {name}, {m}: {why}" for m, why in undefined.items()]
    flagged = [key for key, gap in metrics["gaps"].items() if gap["flagged"]]
    if flagged:
        gaps = ", ".join(
            f"{OVERALL[key]} {metrics['gaps'][key]['estimate']:+.3f}" for key in flagged
        )
        notes.append(f"note: validation does not stand for test (difference: {gaps})")
    return ["", *notes] if notes else []


def _number(measure: dict[str, Any]) -> str:
    return "-" if measure["estimate"] is None else f"{measure['estimate']:.3f}"


def _cells(measure: dict[str, Any]) -> str:
    """Estimate and interval in fixed columns."""
    if measure["estimate"] is None:
        return f"{'-':>9}   {measure['reason']}"
    if measure["low"] is None:
        return f"{measure['estimate']:>9.3f}   {measure['method']}"
    interval = f"{measure['low']:.3f} to {measure['high']:.3f}"
    return f"{measure['estimate']:>9.3f}   {interval}"
