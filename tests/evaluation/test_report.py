"""The report of a run: files, table, page; what it must never say."""

import dataclasses
import html.parser
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from covjax import cli, config, report
from covjax.errors import InputError
from covjax.evaluation import calibration, page, plots, repeats
from covjax.evaluation import report as report_module
from covjax.evaluation.calibration import Temperature
from covjax.evaluation.checklists import CLAIM, TRIPOD_AI, fill
from covjax.evaluation.controls import Control
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.facts import facts, limitations
from covjax.evaluation.intervals import Measure, area
from covjax.evaluation.operating_point import choose
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.report import beside, freeze, write_report
from covjax.evaluation.table import headline, summary_lines

NAMES = ("normal", "pneumonia", "covid19")
CARD = {"name": "drawn", "licence": "CC0", "citation": "none", "home": "here"}
VERDICT = {
    "verdict": "verified",
    "sentence": "no patient is in two splits",
    "unknown_pictures": 0,
}


def predictions(seed=0, n=60, sharpness=2.0, names=NAMES) -> Predictions:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % len(names)
    z = random.normal(size=(n, len(names)))
    z[np.arange(n), labels] += sharpness
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return Predictions(
        labels=labels.astype(np.int32),
        probabilities=p.astype(np.float32),
        patients=np.array([f"p{i // 2}" for i in range(n)]),
        sources=np.array(["a", "b"])[np.arange(n) // 2 % 2],
        files=np.array([f"<i>{i}</i>.png" for i in range(n)]),  # hostile to HTML
    )


def control(name, other: Predictions, sees_lungs=False) -> Control:
    truth = one_vs_rest(other.labels, len(NAMES))
    auc = area(truth, other.probabilities, np.arange(len(other)) // 2, 0.95)
    sentence = f"A classifier of {name} reaches AUC {auc.estimate:.2f} here."
    return Control(name, sees_lungs, other.probabilities, auc, {}, sentence)


AUC = Measure(0.71, 0.61, 0.79, 40, "DeLong").to_dict()
EXPLANATION = {
    "pictures": 3,
    "cells": [2, 2],
    "like_random": 0.1,
    "masks": {
        "lungs": {
            "pictures": 3,
            "share": 0.2,
            "area": 0.3,
            "excess": Measure(-0.1, -0.15, -0.05, 3, "bootstrap").to_dict(),
            "pointing": 0.5,
        }
    },
}
PART = {
    "part": "centre blanked 75%",
    "sees_lungs": False,
    "n": 60,
    "auc": AUC,
    "lead": Measure(0.2, 0.1, 0.3, 60, "DeLong, paired").to_dict(),
    "matches": False,
    "sentence": "The network itself, with the centre blanked 75%, reaches AUC 0.71.",
}
ELSEWHERE = {
    "data": "elsewhere",
    "own_test": False,
    "files": [],
    "test": {"n": 40, "overall": {"auc": AUC}},
    "sources": [],
    "subgroups": [{"column": "sex", "group": "F", "n": 40, "auc": AUC}],
}
HISTORY = [
    {"epoch": e, "loss": 1 / e, "validation_loss": 1.1 / e, "validation_auc": None}
    | {"best": e < 3}
    for e in (1, 2, 3)
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its folder and metrics."""
    workdir = tmp_path_factory.mktemp("run")
    run = config.Run()
    run.evaluation.resamples = 50
    raw, raw_test = predictions(1), predictions(2)
    temperature, point = freeze(raw, NAMES, run)
    validation, test = (
        dataclasses.replace(p, probabilities=temperature(p.probabilities))
        for p in (raw, raw_test)
    )
    images = np.random.default_rng(0).integers(0, 255, (60, 16, 16, 1), np.uint8)
    metrics = write_report(
        workdir,
        run=run,
        validation=validation,
        test=test,
        temperature=temperature,
        point=point,
        controls=[control("the border", predictions(3, sharpness=0.1))],
        class_names=NAMES,
        history=HISTORY,
        card=CARD,
        verdict=VERDICT,
        images=images,
        explanation=EXPLANATION,
        parts=[PART],
        raw={"validation": raw.probabilities, "test": raw_test.probabilities},
    )
    (workdir / "evaluation-elsewhere").mkdir()
    counts = {
        part: dict.fromkeys(NAMES, 20) for part in ("train", "validation", "test")
    }
    files = {
        "config.json": config.to_dict(run),
        "data.json": {
            "card": CARD,
            "verdict": VERDICT,
            "counts": counts,
            "fingerprints": {"train": "0a1b"},
        },
        "environment.json": {
            "command": ["train.py", "--config", "configs/densenet.py"],
            "python": "3.11",
            "platform": "none",
            "versions": {"covjax": "0.1.0"},
            "device": "cpu",
            "devices": 1,
        },
        "classifier.json": {"preprocess": {"size": 64}, "temperature": 1.5},
        "evaluation-elsewhere/metrics.json": ELSEWHERE,
    }
    for name, values in files.items():
        (workdir / name).write_text(json.dumps(values))
    opening = {"time": "2026-11-23", "checkpoint": "epoch 2", "reason": "final"}
    (workdir / "openings.jsonl").write_text(json.dumps(opening) + "\n")
    (workdir / "log.jsonl").write_text("\n".join(map(json.dumps, HISTORY)))
    return workdir, metrics


def test_files(finished):
    workdir, metrics = finished
    assert json.loads((workdir / "metrics.json").read_text()) == metrics
    drawn = {path.stem for path in workdir.glob("*.png")}
    assert drawn == set(page.PICTURES)
    for name in drawn:
        with Image.open(workdir / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 200
        assert pixels.std() > 10  # something is drawn
    assert not list(workdir.glob("*.tmp"))


def test_metrics_hold_what_the_evidence_asks_for(finished):
    _, metrics = finished
    test = metrics["test"]
    assert test["n"] == 60
    assert test["patients"] == 30
    assert np.sum(test["confusion_matrix"]) == 60
    assert metrics["operating_point"]["positive"] == "covid19"
    assert metrics["uncalibrated"]["test"]["ece"]["estimate"] is not None
    assert [row["source"] for row in metrics["sources"]] == ["a", "b"]
    assert set(metrics["gaps"]) <= set(test["overall"])
    row = metrics["controls"][0]
    expected = test["overall"]["auc"]["estimate"] - row["auc"]["estimate"]
    assert row["lead"]["estimate"] == pytest.approx(expected)
    assert not row["matches"]


def test_failures_are_wrong_and_sorted(finished):
    _, metrics = finished
    chances = [row["probability"] for row in metrics["failures"]]
    assert chances == sorted(chances, reverse=True)
    wrong = 60 - np.trace(metrics["test"]["confusion_matrix"])
    assert len(chances) == min(wrong, 24) > 3
    for row in metrics["failures"]:
        assert row["decision"] not in row["truth"]
        assert row["file"] == f"<i>{row['row']}</i>.png"


def test_uncalibrated_measures_are_of_the_raw_probabilities(finished):
    _, metrics = finished
    raw = predictions(2)
    found = metrics["uncalibrated"]["test"]
    assert abs(metrics["temperature"] - 1) > 0.05
    for name, terms in (
        ("log_loss", calibration.log_loss_terms(raw.labels, raw.probabilities)),
        ("brier", calibration.brier_terms(raw.labels, raw.probabilities)),
    ):
        assert found[name]["estimate"] == pytest.approx(terms.mean(), rel=1e-4)


def test_without_a_temperature_there_is_no_before(tmp_path):
    """Several seeds, calibration off, or nothing that validation could teach."""
    both = predictions(1), predictions(2)
    asked = config.Evaluation(resamples=20)
    found = report_module.both_splits(*both, None, None, NAMES, asked, {})
    assert found["uncalibrated"] is None
    found = write_report(
        tmp_path, run=config.Run(evaluation=asked), validation=both[0], test=both[1],
        temperature=Temperature(1.0, False), point=None, controls=[],
        class_names=NAMES, history=[], card=CARD, verdict=VERDICT, images=None,
        raw={"validation": both[0].probabilities, "test": both[1].probabilities},
    )  # fmt: skip
    assert found["uncalibrated"] is None
    card = {"preprocess": {"size": 64}, "temperature": 1.0}
    told = facts({"classifier.json": card})
    assert told["temperature"].text.startswith("No temperature scaling")


def test_failures_of_several_labels():
    """Every class is a decision: a right rejection is none, a missed label is one."""
    p = np.array([[0.1, 0.2], [0.9, 0.1], [0.6, 0.7]], np.float32)
    several = dataclasses.replace(
        predictions(1), probabilities=p, labels=np.array([[0, 0], [1, 1], [1, 0]]),
        **{n: np.array(["a", "b", "c"]) for n in ("files", "patients", "sources")},
    )  # fmt: skip
    missed, invented = report_module.failures(several, ("x", "y"))
    assert (missed["file"], missed["truth"], missed["decision"]) == (
        "b",
        ["x", "y"],
        "x",
    )
    assert missed["probability"] == pytest.approx(0.9)  # that it is not y
    assert (invented["file"], invented["decision"]) == ("c", "x, y")
    assert invented["probability"] == pytest.approx(0.7)


def test_a_system_is_told_as_what_it_is():
    recipe = Path(__file__).parents[2] / "configs" / "survey" / "row20_pereira.py"
    run = config.to_dict(cli.load_config(str(recipe), []))
    told = facts({"config.json": run})
    assert "initial" not in told
    assert "training" not in told
    assert "A system, features_classifier (" in told["model"].text
    assert "timm/inception_v3.tv_in1k" in told["model"].text
    run["system"]["kwargs"] = {"textures": ["lbp"]}  # no network at all
    told = facts({"config.json": run})
    assert not {"initial", "training", "imbalance"} & set(told)
    assert "inception_v3" not in told["model"].text
    run["system"]["name"], run["train"]["epochs"] = "", 1
    assert "At most 1 epoch of" in facts({"config.json": run})["training"].text


def test_openings_of_all_seeds_are_told(finished, tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps(finished[1]))
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
        opening = {"time": "2026-11-23", "checkpoint": "epoch 2", "reason": "final"}
        path = tmp_path / f"seed-{seed}" / "openings.jsonl"
        path.write_text(json.dumps(opening) + "\n")
    found = page.read(tmp_path, None)["openings.jsonl"]
    assert [row["checkpoint"] for row in found] == [
        "seed-0, epoch 2",
        "seed-1, epoch 2",
    ]


def test_table_says_of_how_many_pictures_a_part_is(finished):
    for count, words in ((7, "7 pictures with a mask"), (60, "+0.300")):
        rows = [PART, PART | {"part": "lungs alone", "sees_lungs": True, "n": count}]
        metrics = finished[1] | {"without_parts": rows}
        line = next(x for x in summary_lines(metrics) if x.startswith("lungs alone"))
        assert line.endswith(words)


def test_table_has_estimates_with_intervals(finished):
    _, metrics = finished
    lines = summary_lines(metrics)
    assert lines[0] == metrics["headline"]
    auc = metrics["test"]["overall"]["auc"]
    row = next(line for line in lines if line.startswith("AUC (macro)"))
    assert row.split() == ["AUC", "(macro)", f"{auc['estimate']:.3f}",
                           f"{auc['low']:.3f}", "to", f"{auc['high']:.3f}"]  # fmt: skip
    assert max(map(len, lines[1:])) <= 100
    assert any(line.startswith("the border") for line in lines)


def matching(metrics, sees_lungs):
    row = metrics["controls"][0] | {"matches": True, "sees_lungs": sees_lungs}
    return metrics | {"controls": [row]}


def test_a_control_that_matches_comes_first(finished):
    _, metrics = finished
    assert metrics["headline"].startswith("densenet121 on phantom: AUC")
    blind = headline(matching(metrics, sees_lungs=False))
    assert blind.startswith("Not evidence of disease: a classifier of the border")
    seeing = headline(matching(metrics, sees_lungs=True))
    assert seeing.startswith("No better than a simple method: a classifier")
    for text in (blind, seeing):
        assert metrics["headline"] in text


def test_the_network_without_lungs_comes_first_where_it_is_as_good(finished):
    _, metrics = finished
    found = metrics | {"without_parts": [PART | {"matches": True}]}
    assert headline(found).startswith(
        "Not evidence of disease: the network itself, with the centre blanked 75%"
    )
    assert PART["sentence"] in limitations(found)
    seeing = metrics | {"without_parts": [PART | {"matches": True, "sees_lungs": True}]}
    assert headline(seeing) == metrics["headline"]
    assert PART["sentence"] not in limitations(seeing)


def test_seeds_whose_networks_need_no_lungs_come_first(finished, tmp_path):
    _, metrics = finished
    for seed, matches in ((3, True), (4, False)):
        (tmp_path / f"seed-{seed}").mkdir()
        one = metrics | {"without_parts": [PART | {"matches": matches}]}
        (tmp_path / f"seed-{seed}/metrics.json").write_text(json.dumps(one))
    places = {seed: tmp_path / f"seed-{seed}" for seed in (3, 4)}
    joint = metrics | {"without_parts": [], "repeats": repeats.table(places, "seed")}
    words = "ith the lungs hidden the network of seed 3 (of 2 seeds) is as good"
    assert headline(joint).startswith(f"Not evidence of disease: w{words}")
    assert any(line.startswith(f"W{words}") for line in limitations(joint))
    (tmp_path / "seed-3/metrics.json").write_text(json.dumps(metrics))
    joint["repeats"] = repeats.table(places, "seed")
    assert headline(joint).startswith("densenet121 on phantom")


def test_heat_lies_outside_only_beyond_chance(finished):
    _, metrics = finished
    assert any("of the heat" in line for line in limitations(metrics))
    lungs = EXPLANATION["masks"]["lungs"]
    chance = Measure(-0.01, -0.05, 0.03, 3, "bootstrap").to_dict()
    unsure = EXPLANATION | {"masks": {"lungs": lungs | {"excess": chance}}}
    found = limitations(metrics | {"explanation": unsure})
    assert not any("of the heat" in line for line in found)


@pytest.mark.parametrize(
    ("sharpness", "matches"), [(2.0, True), (1.9, True), (0.5, False)]
)
def test_which_controls_match(finished, sharpness, matches):
    row = beside(
        control("x", predictions(7, sharpness=sharpness)), predictions(2), 0.95
    )
    assert row["matches"] == matches


def test_a_control_within_the_interval_matches_though_the_lead_is_certain():
    network = predictions(2, n=600, sharpness=1.5)
    noise = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    blurred = network.probabilities * np.exp(0.4 * noise)
    blurred /= blurred.sum(axis=1, keepdims=True)
    row = beside(
        control("x", dataclasses.replace(network, probabilities=blurred)), network, 0.95
    )
    assert row["lead"]["low"] > 0
    assert row["matches"]


def test_a_control_below_the_interval_matches_where_the_lead_may_be_none():
    network, other = predictions(2, n=36, sharpness=3), predictions(3, 36, 1.5)
    row = beside(control("x", other), network, 0.95)
    truth, patient = one_vs_rest(network.labels, 3), np.arange(36) // 2
    own = area(truth, network.probabilities, patient, 0.95)
    assert row["auc"]["estimate"] < own.low - 0.01
    assert row["lead"]["low"] < -0.01
    assert row["matches"]


def test_a_control_that_was_not_fitted_does_not_match():
    absent = dataclasses.replace(
        control("x", predictions(7)),
        probabilities=None,
        auc=Measure(None, None, None, 60, "not fitted", "one source"),
    )
    row = beside(absent, predictions(2), 0.95)
    assert row["lead"] is None
    assert not row["matches"]


def test_splits_without_a_class_still_have_a_report(tmp_path):
    test = predictions(2)
    rows = np.flatnonzero(test.labels != 2)
    part = Predictions(
        **{f.name: getattr(test, f.name)[rows] for f in dataclasses.fields(test)}
    )
    run = config.Run()
    run.evaluation.resamples = 20
    metrics = write_report(
        tmp_path,
        run=run,
        validation=part,
        test=part,
        temperature=Temperature(1.0, False),
        point=choose(part, NAMES, run.evaluation),
        controls=[],
        class_names=NAMES,
        history=[],
        card=CARD,
        verdict=VERDICT,
        images=None,
    )
    assert metrics["operating_point"] is None
    assert metrics["headline"].endswith("needs pictures of the class and of another.")
    lines = "\n".join(summary_lines(metrics))
    assert "no operating point" in lines
    assert "note: covid19, sensitivity: no picture of this class" in lines
    assert not (tmp_path / "pictures.png").exists()
    report.main(["--workdir", str(tmp_path)])
    assert "no picture of this class" in (tmp_path / "report.html").read_text()


def test_several_labels_have_a_report(tmp_path):
    random = np.random.default_rng(0)
    truth = (random.random((40, 3)) < 0.4).astype(np.uint8)
    p = np.clip(0.5 * truth + 0.5 * random.random((40, 3)), 0, 1).astype(np.float32)
    data = dataclasses.replace(predictions(n=40), labels=truth, probabilities=p)
    run = config.Run()
    run.train.loss, run.evaluation.resamples = "binary", 20
    temperature, point = freeze(data, NAMES, run)
    assert temperature.independent
    metrics = write_report(
        tmp_path,
        run=run,
        validation=data,
        test=data,
        temperature=temperature,
        point=point,
        controls=[],
        class_names=NAMES,
        history=[],
        card=CARD,
        verdict=VERDICT,
        images=np.zeros((40, 8, 8, 3), np.uint8),
    )
    assert metrics["test"]["confusion_matrix"] is None
    assert summary_lines(metrics)
    report.main(["--workdir", str(tmp_path)])


def test_grid_shows_every_class_evenly():
    labels = np.repeat([0, 1], [100, 3])
    rows = plots.grid_rows(labels, 2, 24)
    assert len(rows) == len(set(rows)) == 15  # twelve and all three
    assert (labels[rows] == 1).sum() == 3
    assert {0, 99} <= set(rows)


# Several seeds


@pytest.fixture
def places(finished, tmp_path):
    _, metrics = finished
    result = {}
    for seed, value in ((0, 0.8), (1, 0.9), (2, 1.0)):
        result[seed] = tmp_path / f"seed-{seed}"
        result[seed].mkdir()
        copy = json.loads(json.dumps(metrics))
        copy["test"]["overall"]["auc"]["estimate"] = value
        (result[seed] / "metrics.json").write_text(json.dumps(copy))
        predictions(seed).save(result[seed] / "predictions_test.npz")
    return result


def test_every_seed_is_listed(places):
    table = repeats.table(places, "seed")
    row = table["measures"]["auc"]
    assert (table["of"], table["numbers"]) == ("seed", [0, 1, 2])
    assert row["values"] == [0.8, 0.9, 1.0]
    assert row["mean"] == pytest.approx(0.9)
    assert row["sd"] == pytest.approx(0.1)
    assert (row["min"], row["max"]) == (0.8, 1.0)
    assert "accuracy at threshold" in table["measures"]


def test_part_of_the_seeds_is_no_result(places):
    (places[1] / "metrics.json").unlink()
    with pytest.raises(InputError, match="seeds 1 of 3 have not finished"):
        repeats.table(places, "seed")


def test_ensemble_is_the_mean_on_the_same_pictures(places):
    joined = repeats.ensemble(places, "test")
    members = [predictions(seed).probabilities for seed in places]
    np.testing.assert_allclose(joined.probabilities, np.mean(members, axis=0), 1e-5)
    predictions(0, n=30).save(places[2] / "predictions_test.npz")
    with pytest.raises(InputError, match="seed-2"):
        repeats.ensemble(places, "test")


def test_seeds_stand_before_the_ensemble(finished, places):
    _, metrics = finished
    joint = metrics | {"repeats": repeats.table(places, "seed")}
    text = headline(joint)
    assert "AUC 0.900 in the mean of 3 seeds" in text
    assert text.index("mean of 3 seeds") < text.index("ensemble")
    lines = "\n".join(summary_lines(joint))
    assert "seed 0   seed 1   seed 2" in lines


def test_seeds_are_reported_together(tmp_path):
    run = config.Run()
    run.train.seeds, run.evaluation.resamples = 2, 20
    plan = repeats.plan(run, tmp_path)
    for repeat in plan:
        repeat.place.mkdir()
        both = {"validation": predictions(9), "test": predictions(repeat.number)}
        for part, found in both.items():
            found.save(repeat.place / f"predictions_{part}.npz")
        write_report(
            repeat.place,
            run=repeat.run,
            **both,
            temperature=Temperature(1.0, False),
            point=choose(both["validation"], NAMES, run.evaluation),
            controls=[control("border", predictions(3, sharpness=0.1))],
            class_names=NAMES,
            history=[],
            card=CARD,
            verdict=VERDICT,
            images=None,
        )
        data = {"card": CARD, "verdict": VERDICT, "counts": {}, "fingerprints": {}}
        (repeat.place / "data.json").write_text(json.dumps(data))
    metrics = repeats.report(run, plan, tmp_path)
    assert "in the mean of 2 seeds" in metrics["headline"]
    assert metrics["test"]["n"] == 60  # the same pictures, not twice
    mean = np.mean([predictions(seed).probabilities for seed in (0, 1)], axis=0)
    joined = Predictions.load(tmp_path / "predictions_test.npz").probabilities
    np.testing.assert_allclose(joined, mean, atol=1e-6)
    assert metrics["operating_point"]["threshold"] is not None
    assert metrics["gaps"]
    fitted = [row["name"] for row in metrics["controls"] if row["lead"]]
    assert fitted == ["border"]


def test_folds_say_what_they_are_made_of(finished, places):
    _, metrics = finished
    units = "of pictures, not of patients"
    joint = metrics | {"repeats": repeats.table(places, "fold") | {"units": units}}
    joint["operating_point"] = metrics["operating_point"] | {"threshold": None}
    text = headline(joint)
    assert f"AUC 0.900 in the mean of 3 folds {units} (standard" in text
    assert "every picture by the network that had not seen it: AUC" in text
    lines = "\n".join(summary_lines(joint))
    assert "fold 0   fold 1   fold 2" in lines
    assert "covid19 at each fold's own threshold" in lines
    undefined = json.loads(json.dumps(joint))
    undefined["repeats"]["measures"]["auc"]["mean"] = None
    assert f": 3 folds {units}; every picture" in headline(undefined)


def test_predictions_come_back(tmp_path):
    data = predictions()
    data.save(tmp_path / "p.npz")
    for f in dataclasses.fields(data):
        back = getattr(Predictions.load(tmp_path / "p.npz"), f.name)
        np.testing.assert_array_equal(back, getattr(data, f.name))
    (tmp_path / "p.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"p\.npz"):
        Predictions.load(tmp_path / "p.npz")


# The page


class Page(html.parser.HTMLParser):
    """Collects text, tags left open and addresses."""

    VOID = ("meta", "img", "br", "line", "circle")

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.addresses = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.addresses += [values[k] for k in ("src", "href") if k in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def made(finished):
    workdir, _ = finished
    (workdir / "heatmaps").mkdir()
    Image.new("L", (9, 9)).save(workdir / "heatmaps" / "covid19.png")
    audit = {
        "data": CARD["name"],
        "findings": [{"level": "alarm", "topic": "border", "sentence": "Found."}],
    }
    (workdir / "audit.json").write_text(json.dumps(audit))
    assert report.main(["--workdir", str(workdir)]) == 0
    return (workdir / "report.html").read_text(encoding="utf-8")


def test_page_is_whole_and_needs_no_network(made):
    parsed = Page(made)
    assert parsed.open == []
    assert len(parsed.addresses) == len(page.PICTURES) + 1
    assert all(a.startswith("data:image/png;base64,") for a in parsed.addresses)
    assert "http" not in made.replace("http://www.w3.org", "")
    assert "url(" not in made


def test_page_says_it_all(finished, made):
    _, metrics = finished
    text = " ".join(" ".join(Page(made).text).split())
    assert text.index(metrics["headline"]) < 5000  # after the style, first in the body
    for words in (
        "Research only, not for diagnosis.",
        "CC0",
        "no patient is in two splits",
        "Found.",
        "Intended use",
        "python -m covjax.train --config configs/densenet.py",
        "epoch 2",
        "Epoch 2 of 3",
        "CLAIM checklist, draft",
        "TRIPOD+AI checklist, draft",
        "0a1b",
        "Only 20% of the heat lies inside the lungs, which are 30% of the picture.",
        "centre blanked 75%",
        "elsewhere: AUC 0.710 [0.610, 0.790] on 40 pictures.",
        "sex F",
    ):
        assert words in text, words
    assert f"{metrics['test']['overall']['auc']['low']:.3f}" in text
    assert "<i>" not in made  # names of files are escaped
    assert "<i>" in text


def test_json_behind_the_page(finished, made):
    workdir, metrics = finished
    told = json.loads((workdir / "report.json").read_text())
    assert told["m"] == metrics
    assert len(told["claim"]) == 44
    assert told["heatmaps"] == ["covid19"]


def test_no_item_is_filled_without_its_file(finished):
    workdir, _ = finished
    files = page.read(workdir, None)
    known = facts(files)
    for checklist in (CLAIM, TRIPOD_AI):
        assert len({item.number for item in checklist}) == len(checklist)
        rows = fill(checklist, known)
        filled = [row for row in rows if row["text"]]
        assert len(filled) >= 15
        assert all(row["artefact"] in files for row in filled)
        assert any(not row["text"] for row in rows)
        for absent in files:
            left = facts({k: v for k, v in files.items() if k != absent})
            assert absent not in {row["artefact"] for row in fill(checklist, left)}
        assert not any(row["text"] for row in fill(checklist, {}))


def test_every_fact_is_asked_for(finished):
    workdir, _ = finished
    asked = {item.fact for item in CLAIM + TRIPOD_AI}
    told = set(facts(page.read(workdir, None)))
    assert told <= asked
    assert asked - told == {None, "subset", "ensemble"}  # all classes, one seed


def test_alarm_colours_the_first_line(finished):
    _, metrics = finished
    told = page.content({"metrics.json": matching(metrics, sees_lungs=False)})
    assert told["alarm"]
    text = page.render(told, {})
    assert 'class="headline alarm"' in text
    assert "not shown to beat these controls: the border (AUC" in text


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda d: None, "must be a finished run"),
        (lambda d: (d / "metrics.json").write_text("{"), "metrics.json: not JSON"),
        (lambda d: (d / "metrics.json").write_text("{}"), "have no 'test'"),
    ],
)
def test_not_a_run(tmp_path, prepare, words):
    prepare(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        report.main(["--workdir", str(tmp_path)])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    [
        *(f"{n}.json" for n in ("metrics", "data", "config", "classifier")),
        "environment.json",
        "openings.jsonl",
        "evaluation-elsewhere/metrics.json",
    ],
)
def test_a_damaged_file_is_named(finished, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    (copy / "report.html").unlink(missing_ok=True)
    (copy / name).write_text("[]")
    with pytest.raises(InputError, match=rf"{name}: must be as covjax writes it, not"):
        report.main(["--workdir", str(copy)])
    (copy / name).write_text('{"test": [], "model": [], "versions": [], "data": []}')
    with pytest.raises(InputError, match="must be"):
        report.main(["--workdir", str(copy)])
    assert not (copy / "report.html").exists()


def test_another_audit(finished, tmp_path):
    path = tmp_path / "audit.json"
    for audit, message in (
        ([], "not an audit"),
        ({"headline": "metrics"}, "not an audit"),
        ({"findings": [], "data": "covid_ct"}, f"is of covid_ct.*is of {CARD['name']}"),
    ):
        path.write_text(json.dumps(audit))
        with pytest.raises(InputError, match=message):
            report.main(["--workdir", str(finished[0]), "--audit", str(path)])


def test_another_folders_audit(finished, tmp_path):
    """Everybody's own pictures are called "folder"."""
    counts = {"train": {"ill": 3, "well": 2}, "test": {"ill": 1, "well": 1}}
    metrics = finished[1] | {"card": {"name": "folder"}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "data.json").write_text(json.dumps({"counts": counts}))
    audit = {
        "findings": [],
        "data": "folder",
        "counts": {"train": {"ill": 4, "well": 3}},
    }
    path = tmp_path / "other.json"
    path.write_text(json.dumps(audit))
    assert page.read(tmp_path, path)["audit.json"] == audit
    path.write_text(json.dumps(audit | {"counts": {"test": {"ill": 4, "dead": 3}}}))
    with pytest.raises(
        InputError, match=r"3 dead, 4 ill.* than the run's .4 ill, 3 well"
    ):
        page.read(tmp_path, path)


def test_another_data_set_without_an_auc_is_told():
    gone = Measure(None, None, None, 40, "DeLong", "a class has no picture").to_dict()
    poor = ELSEWHERE | {"test": {"n": 40, "overall": {"auc": gone}}}
    told = facts({"evaluation-*/metrics.json": {"a": poor}})["external"].text
    assert told == "elsewhere: no AUC (a class has no picture) on 40 pictures."


def test_facts_of_configurations():
    run = config.to_dict(config.Run(train=config.Train(seed=2, seeds=3)))
    assert facts({"config.json": run})["initial"].text == "random, seeds 2 to 4."
    run["system"] = {"name": "ensemble", "kwargs": {"members": [{"model": "vgg16"}]}}
    told = facts({"config.json": run})
    assert "does not name" not in told["model"].text
    assert "vgg16" in told["ensemble"].text
    folder = {"name": "folder", "home": "", "citation": "not", "licence": "not stated"}
    verdict = {"sentence": "s", "verdict": "v", "unknown_pictures": 0}
    own = facts({"data.json": {"card": folder, "verdict": verdict, "counts": {}}})
    assert not {"source", "licence"} & own.keys()
    assert "partition" in own


def test_the_runs_own_test_split_is_not_external():
    again = ELSEWHERE | {"own_test": True}
    assert "external" not in facts({"evaluation-*/metrics.json": {"a": again}})
    other = ELSEWHERE | {"files": ["ward"]}
    told = facts({"evaluation-*/metrics.json": {"a": again, "b": other}})
    assert told["external"].text.startswith("elsewhere ward: AUC")
    assert ";" not in told["external"].text


def test_missing_audit(finished):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        report.main(["--workdir", str(finished[0]), "--audit", "none.json"])


def test_command_line_ends_with_one_line_and_status_2(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "covjax.report", "--workdir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}: must be a finished run")
    assert done.stderr.count("\n") == 1


def test_a_grid_frames_right_and_wrong_decisions(tmp_path):
    pictures = np.full((2, 8, 8, 1), 90, np.uint8)
    names = ["normal", "a name that is far too long for the width of its picture"]
    said = np.array([[0.9, 0.1], [0.8, 0.2]])
    plots.grid(pictures, np.array([0, 1]), said, names, tmp_path / "grid.png")
    sheet = Image.open(tmp_path / "grid.png")
    top = plots.HEADING + (plots.CELL[1] - plots.TILE) // 2
    for cell, colour in enumerate((plots.RIGHT, plots.WRONG)):
        left = cell * plots.CELL[0] + (plots.CELL[0] - plots.TILE) // 2
        assert sheet.getpixel((left - 2, top + 50)) == ImageColor.getrgb(colour)
        assert sheet.getpixel((left + 50, top + 50)) == (90, 90, 90)
    # the second truth is cut, and leaves the margins of its cell white
    above = np.asarray(sheet)[top - 20 : top - 4]
    assert (above[:, : plots.CELL[0] - 40] < 128).any()  # "normal"
    assert (above[:, 2 * plots.CELL[0] + 1 :] == 255).all()
