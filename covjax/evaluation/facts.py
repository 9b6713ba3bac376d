"""What a finished run's files say, in sentences, each with the file that says it."""

from collections.abc import Mapping
from typing import Any

from covjax import config
from covjax.evaluation.checklists import Fact
from covjax.evaluation.table import OVERALL, blinded, heat_outside, of_hidden

UNSCALED = (
    "No temperature scaling: it was not asked for, or validation asked for one below "
    "0.05, as it does where all its pictures are decided rightly."
)
Files = Mapping[str, Any]  # content by name, such as "metrics.json"; absent: missing


def facts(files: Files) -> dict[str, Fact]:
    """The facts that checklists ask for, of the files that are there."""
    found: dict[str, Fact] = {}
    for name, tell in (
        ("config.json", _of_config),
        ("data.json", _of_data),
        ("environment.json", _of_environment),
        ("log.jsonl", _of_log),
        ("classifier.json", _of_classifier),
        ("metrics.json", _of_metrics),
        ("evaluation-*/metrics.json", _of_evaluations),
    ):
        if name in files:
            found |= {key: Fact(text, name) for key, text in tell(files[name]).items()}
    return found


def changed(values: dict[str, Any], section: str) -> str:
    """The fields of a section of the configuration that differ from the default."""
    default = config.to_dict(config.Run())[section]
    return ", ".join(
        f"{name} {value}"
        for name, value in values[section].items()
        if _listed(value) != _listed(default.get(name))
    )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _of_config(run: Any) -> dict[str, str]:
    model, data, train = run["model"], run["data"], run["train"]
    kwargs = "".join(f", {k} {v}" for k, v in model["kwargs"].items())
    shape = f"{data['size']} x {data['size']} x {data['channels']}"
    optimizer = run["optimizer"]
    start = f"parameters of {model['pretrained']}" if model["pretrained"] else "random"
    seeds = f"seed {train['seed']}"
    if train["seeds"] > 1:
        seeds = f"seeds {train['seed']} to {train['seed'] + train['seeds'] - 1}"
    epochs = "1 epoch" if train["epochs"] == 1 else f"{train['epochs']} epochs"
    told = {
        "model": f"{model['name']}{kwargs}, a convolutional network on {shape} pixels, "
        f"computed in {model['dtype']}.",
        "initial": f"{start}, {seeds}.",
        "training": f"At most {epochs} of batches of "
        f"{train['batch_size']}; {optimizer['name']}, learning rate "
        f"{optimizer['learning_rate']:g}, {optimizer['schedule']} schedule; loss "
        f"{train['loss']}; augmentation: {changed(run, 'augment') or 'none'}.",
        "imbalance": f"Class weights: {train['class_weights']}; sampling: "
        f"{train['sampling']}.",
    }
    system = run["system"]
    if system["name"]:
        settings = "; ".join(f"{k} {v}" for k, v in system["kwargs"].items())
        told["model"] = (
            f"A system, {system['name']} ({settings or 'its usual settings'}), on "
            f"{shape} pixels, computed in {model['dtype']}."
        )
        members = system["kwargs"].get("members")
        networks = system["kwargs"].get("networks") or members
        if members:
            told["ensemble"] = told["model"]
        alone = bool(system["kwargs"].get("textures")) and not networks
        if not alone and not networks:  # textures have no network
            told["model"] += (
                f" Networks that it does not name are {model['name']}{kwargs}."
            )
        if networks or alone:  # each with its own start
            del told["initial"]
        if alone or not system["kwargs"].get("fine_tune", True):
            del told["training"], told["imbalance"]
    if data["limit"] or data["classes"]:
        kept = ", ".join(data["classes"]) or "all classes"
        limit = f", at most {data['limit']} pictures a split" if data["limit"] else ""
        told["subset"] = f"{kept}{limit}."
    return told


def _of_data(data: Any) -> dict[str, str]:
    card, verdict = data["card"], data["verdict"]
    counts = "; ".join(
        f"{part}: {sum(c.values())} ({', '.join(f'{n} {k}' for k, n in c.items())})"
        for part, c in data["counts"].items()
    )
    found = {
        "source": f"{card['name']}, {card['home']}. {card['citation']}",
        "licence": card["licence"],
    }
    if not card["home"]:  # your own pictures: no file says where they are from
        found = {}
    return found | {
        "counts": f"Pictures of {counts}. Exclusions before that are not recorded.",
        "partition": f"{verdict['sentence']}.",
        "disjoint": f"Patients: {verdict['verdict']}.",
        "missing": f"{verdict['unknown_pictures']} pictures have no patient id; each "
        "counts as a patient of its own.",
    }


def _of_environment(environment: Any) -> dict[str, str]:
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    return {"software": f"Python {environment['python']}, {versions}."}


def _of_log(rows: Any) -> dict[str, str]:
    kept = [row["epoch"] for row in rows if row["best"]]
    if not kept:
        return {}
    return {
        "selection": f"Epoch {kept[-1]} of {len(rows)}, the best by the validation "
        "split."
    }


def _of_classifier(classifier: Any) -> dict[str, str]:
    steps = ", ".join(f"{k} {v}" for k, v in classifier["preprocess"].items())
    warm = (
        f"Temperature scaling, {classifier['temperature']:.3f}, fitted on validation."
    )
    if classifier["temperature"] == 1:
        warm = UNSCALED
    return {
        "preprocess": f"{steps}; the same object prepares pictures in use.",
        "weights": "The network's parameters are kept with the run (weights.npz).",
        "temperature": warm,
    }


def _of_metrics(metrics: Any) -> dict[str, str]:
    test = metrics["test"]
    methods = "; ".join(sorted({m["method"] for m in test["overall"].values()}))
    people = test["patients"]
    told = {
        "measures": ", ".join(OVERALL[k] for k in test["overall"])
        + "; per class sensitivity, specificity, precision, NPV, F1, AUC.",
        "uncertainty": f"{100 * metrics['level']:g}% intervals: {methods}.",
        "internal": f"{test['n']} test pictures of "
        f"{'unknown' if people is None else people} patients.",
        "result": metrics["headline"],
        "failures": f"{len(metrics['failures'])} wrong decisions are listed, the most "
        "confident first.",
        "prevalence": "; ".join(
            f"{part}: "
            + ", ".join(f"{c} {p:.1%}" for c, p in metrics[part]["prevalence"].items())
            for part in ("validation", "test")
        ),
        "gaps": _gaps(metrics),
        "limitations": " ".join(limitations(metrics)),
    }
    if metrics["uncalibrated"] is not None:
        before = metrics["uncalibrated"]["test"]["ece"]["estimate"]
        told["recalibrated"] = (
            f"Calibration error on test {before:.3f} before, "
            f"{test['overall']['ece']['estimate']:.3f} after temperature scaling."
        )
    explanation = metrics["explanation"]
    if explanation is not None:
        told["heatmaps"] = (
            f"Grad-CAM of {explanation['pictures']} test pictures, measured against "
            "masks where there are any and against a network with shuffled weights."
        )
    if metrics["controls"]:
        names = ", ".join(
            row["name"]
            for row in metrics["controls"]
            if row["auc"]["estimate"] is not None
        )
        told["controls"] = names and f"Controls on the same test pictures: {names}."
    if metrics["without_parts"]:
        names = ", ".join(row["part"] for row in metrics["without_parts"])
        told["controls"] = (
            told.get("controls", "") + f" The network itself with {names}."
        ).strip()
    if metrics["sources"]:
        names = ", ".join(f"{row['source']} ({row['n']})" for row in metrics["sources"])
        told["centres"] = f"Sources of the test pictures: {names}."
        told["sources"] = f"Measured within each source: {names}."
    repeats = metrics["repeats"]
    if repeats is not None and repeats["of"] == "seed":
        seeds = ", ".join(map(str, repeats["numbers"]))
        told["ensemble"] = f"Mean probability of seeds {seeds}."
    point = metrics["operating_point"]
    if point is not None:
        found = point["test"]
        threshold = "each fold's own threshold"
        if point["threshold"] is not None:
            threshold = f"{point['threshold']:.3f}"
        values = "; ".join(
            f"{name} {found[name]['estimate']:.3f} [{found[name]['low']:.3f}, "
            f"{found[name]['high']:.3f}]"
            for name in ("sensitivity", "specificity")
            if found[name]["estimate"] is not None
        )
        told["accuracy"] = (
            values and f"{point['positive']} from {threshold} on: {values}."
        )
        told["output"] = (
            f"A probability a class; {point['positive']} is called from {threshold} on "
            f"({point['rule']}, on validation)."
        )
    return {key: text for key, text in told.items() if text}


def _gaps(metrics: Any) -> str:
    if not metrics["gaps"]:
        return ""
    flagged = [OVERALL[k] for k, gap in metrics["gaps"].items() if gap["flagged"]]
    if flagged:
        return (
            f"Validation and test differ by more than chance in {', '.join(flagged)}."
        )
    return "No measure differs between validation and test by more than chance."


def _of_evaluations(evaluations: Any) -> dict[str, str]:
    """What `covjax.evaluate` measured on other data, and in groups of patients."""
    results = "; ".join(
        f"{measured_on(metrics)}: {_auc(metrics['test']['overall']['auc'])} on "
        f"{metrics['test']['n']} pictures"
        for metrics in evaluations.values()
        if not metrics["own_test"]
    )
    groups = "; ".join(
        f"{row['column']} {row['group']}: AUC {row['auc']['estimate']:.3f}"
        for metrics in evaluations.values()
        for row in metrics["subgroups"]
        if row["auc"]["estimate"] is not None
    )
    return {k: f"{v}." for k, v in (("external", results), ("subgroups", groups)) if v}


def _auc(auc: Any) -> str:
    if auc["estimate"] is None:
        return f"no AUC ({auc['reason']})"
    return f"AUC {auc['estimate']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"


def measured_on(metrics: Any) -> str:
    """Which pictures an evaluation was of."""
    if metrics["own_test"]:
        return "its own test split, again"
    asked = metrics.get("asked", {})  # which older evaluations do not tell
    told = " ".join([metrics["data"], *metrics["files"]])
    if "limit" in asked:
        told += f", {asked['limit']} pictures drawn of it"
    if "map" in asked:
        told += f", with {asked['map'].replace('=', ' as ').replace(',', ', ')}"
    seen = (metrics.get("copies") or {}).get("pictures")
    if not seen:
        return told
    return f"{told}, {seen} of which show{'s' * (seen == 1)} a picture of its own"


def limitations(metrics: Any) -> list[str]:
    """What the run's own numbers say against it."""
    found = []
    matching = ", ".join(
        f"{row['name']} (AUC {row['auc']['estimate']:.2f})"
        for row in metrics["controls"]
        if row["matches"]
    )
    if matching:
        found.append(f"The network is not shown to beat these controls: {matching}.")
    found += [row["sentence"] for row in blinded(metrics)]
    found += filter(None, [of_hidden(metrics)])
    if heat_outside(metrics["explanation"]):
        lungs = metrics["explanation"]["masks"]["lungs"]
        found.append(
            f"Only {lungs['share']:.0%} of the heat lies inside the lungs, which are "
            f"{lungs['area']:.0%} of the picture."
        )
    verdict = metrics["verdict"]
    if verdict["verdict"] != "verified":
        found.append(f"Patients in the splits: {verdict['sentence']}.")
    if any(gap["flagged"] for gap in metrics["gaps"].values()):
        found.append(_gaps(metrics))
    if metrics["test"]["patients"] is None:
        found.append(
            "Some test pictures have no patient id: their intervals take them as "
            "independent and may be too narrow."
        )
    if not metrics["sources"]:
        found.append("The test pictures' sources are unknown, or there is one source.")
    return found
