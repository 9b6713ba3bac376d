"""What is frozen on validation, and the comparison of two models."""

import dataclasses
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from covjax import config
from covjax.errors import InputError
from covjax.evaluation import calibration, compare, intervals, operating_point
from covjax.evaluation.calibration import Temperature, fit_temperature
from covjax.evaluation.intervals import Measure
from covjax.evaluation.operating_point import OperatingPoint, choose
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.report import freeze

NAMES = ("normal", "covid19")


def make(labels, probabilities, patients=None) -> Predictions:
    n = len(labels)
    return Predictions(
        labels=np.asarray(labels),
        probabilities=np.asarray(probabilities),
        patients=np.array([""] * n if patients is None else patients, str),
        sources=np.array([""] * n),
        files=np.array([f"{i}.png" for i in range(n)]),
    )


def binary(labels, scores, **kwargs) -> Predictions:
    scores = np.asarray(scores, float)
    return make(labels, np.stack([1 - scores, scores], 1), **kwargs)


# Temperature


def test_temperature_1_changes_no_bit():
    p = np.float32([[0.1, 0.2, 0.7], [1, 0, 0]])
    for independent in (False, True):
        assert Temperature(1.0, independent)(p).tobytes() == p.tobytes()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_planted_miscalibration_is_recovered(temperature):
    random = np.random.default_rng(0)
    z = random.normal(size=(20000, 3)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < random.random((20000, 1))).sum(axis=1)
    hot = np.exp(z * temperature)  # logits that are too large by this factor
    hot /= hot.sum(axis=1, keepdims=True)
    fit = fit_temperature(labels, hot, independent=False)
    assert fit.value == pytest.approx(temperature, rel=0.04)
    np.testing.assert_allclose(fit(hot), p, atol=0.02)


def test_planted_miscalibration_of_sigmoids_is_recovered():
    random = np.random.default_rng(0)
    z = random.normal(size=(20000, 2))
    truth = (random.random((20000, 2)) < 1 / (1 + np.exp(-z))).astype(np.uint8)
    hot = 1 / (1 + np.exp(-2.5 * z))
    fit = fit_temperature(truth, hot, independent=True)
    assert fit.value == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(fit(hot), 1 / (1 + np.exp(-z)), atol=0.02)


def test_fitted_temperature_is_the_minimum():
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 200)
    p = random.dirichlet(np.ones(3), 200) * 0.7 + 0.3 * np.eye(3)[labels]
    fit = fit_temperature(labels, p, independent=False)

    def loss(value):
        scaled = Temperature(value, False)(p)
        return calibration.log_loss_terms(labels, scaled).mean()

    assert loss(fit.value) < min(loss(fit.value * 1.01), loss(fit.value / 1.01))


@pytest.mark.parametrize("independent", [True, False])
def test_faultless_validation_gives_no_temperature(independent):
    """It asks for 0, with which every later error would be a certain one."""
    labels = np.array([0, 1] * 10)
    for sure in (0.65, 0.9, 0.99, 0.9999):  # from 0.9 on the loss is 0 before T is
        p = np.where(np.eye(2)[labels] == 1, sure, 1 - sure)
        assert fit_temperature(labels, p, independent=independent).value == 1
    p = np.eye(2)[labels] * 0.3 + 0.35
    p[0] = p[0, ::-1]  # one error, and it can be learnt
    assert 0.05 < fit_temperature(labels, p, independent=independent).value < 1


@given(st.floats(0.1, 10), st.booleans())
@settings(max_examples=40, deadline=None)
def test_temperature_keeps_order_shape_and_type(value, independent):
    p = np.random.default_rng(0).dirichlet(np.ones(4), 30).astype(np.float32)
    p[0] = [1, 0, 0, 0]  # float32 softmax saturates
    scaled = Temperature(value, independent)(p)
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(scaled.argmax(axis=1), p.argmax(axis=1))
    back = Temperature(1 / value, independent)(scaled.astype(float))
    np.testing.assert_allclose(back[1:], p[1:], atol=2e-3)


# Operating point

SCORES = [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9]
LABELS = [0, 0, 1, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ({"threshold": "youden"}, 0.65),  # 3 of 4 found, no false alarm
        ({"threshold": "sensitivity", "target": 0.9}, 0.25),
        ({"threshold": "sensitivity", "target": 0.75}, 0.65),
        ({"threshold": "specificity", "target": 0.5}, 0.25),
        ({"threshold": "specificity", "target": 1.0}, 0.65),
        ({"threshold": "cost", "cost_ratio": 1.0}, 0.65),
        ({"threshold": "cost", "cost_ratio": 5.0}, 0.25),
    ],
)
def test_threshold_by_hand(rule, threshold):
    point = choose(binary(LABELS, SCORES), NAMES, config.Evaluation(**rule))
    assert point.threshold == pytest.approx(threshold)
    assert point.positive == "covid19"


def test_threshold_of_another_class():
    flipped = binary(1 - np.array(LABELS), 1 - np.array(SCORES))
    rule = config.Evaluation(positive="normal")
    point = choose(flipped, NAMES, rule)
    assert (point.positive, point.threshold) == ("normal", pytest.approx(0.65))


def test_calling_nobody_can_be_cheapest():
    hopeless = binary([0, 0, 0, 1], [0.9, 0.8, 1.0, 0.1])
    rule = config.Evaluation(threshold="cost", cost_ratio=0.1)
    point = choose(hopeless, NAMES, rule)
    assert not point.called(hopeless.probabilities[:, 1]).any()


@given(st.integers(0, 1000), st.sampled_from(["youden", "sensitivity", "specificity"]))
@settings(max_examples=60, deadline=None)
def test_no_other_threshold_is_better(seed, rule):
    random = np.random.default_rng(seed)
    labels = np.append([0, 1], random.integers(0, 2, 20))
    scores = np.round(random.random(22) * 0.7 + labels * 0.3, 1).astype(np.float32)
    data = make(labels, np.stack([1 - scores, scores], 1))
    point = choose(data, NAMES, config.Evaluation(threshold=rule, target=0.8))

    def rates(called):
        return called[labels == 1].mean(), 1 - called[labels == 0].mean()

    chosen = rates(point.called(scores))
    for t in np.append(np.unique(scores), 2):
        se, sp = rates(scores >= t)
        if rule == "youden":
            assert se + sp <= sum(chosen) + 1e-9
        elif rule == "sensitivity" and se >= 0.8:
            assert sp <= chosen[1] + 1e-9
        elif rule == "specificity" and sp >= 0.8:
            assert se <= chosen[0] + 1e-9
    if rule == "sensitivity":
        assert chosen[0] >= 0.8
    if rule == "specificity":
        assert chosen[1] >= 0.8


def test_the_chooser_cannot_see_the_test_split():
    for function in (choose, freeze):
        names = inspect.signature(function).parameters
        assert "validation" in names
        assert not any("test" in name for name in names)


def test_threshold_lies_between_neighbours_of_float32():
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    data = make([0, 1], np.array([[1 - low, low], [1 - high, high]], np.float32))
    point = choose(data, NAMES, config.Evaluation())
    np.testing.assert_array_equal(point.called(data.probabilities[:, 1]), [False, True])


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("covid19", "normal"), "covid19"),
        (("No Finding", "pneumonia"), "pneumonia"),
        (("COVID-19", "Healthy", "pneumonia"), "pneumonia"),
        (("healthy", "normal"), "normal"),
    ],
)
def test_the_default_class_is_a_disease(names, positive):
    assert operating_point.positive_class(config.Evaluation(), names) == positive


def test_unknown_positive_class():
    with pytest.raises(InputError, match=r"'covid'.*one of normal, covid19"):
        operating_point.positive_class(config.Evaluation(positive="covid"), NAMES)


def test_validation_without_the_class_has_no_point():
    assert choose(binary([0, 0], [0.1, 0.2]), NAMES, config.Evaluation()) is None


def test_applying_a_point_by_hand():
    point = OperatingPoint("covid19", 0.4, "by hand")  # 0.4 itself is called
    table = operating_point.apply(point, binary(LABELS, SCORES), NAMES, 0.95)
    assert [table[k] for k in ("tp", "fp", "fn", "tn")] == [3, 2, 1, 2]
    expected = {
        "sensitivity": 3 / 4,
        "specificity": 2 / 4,
        "precision": 3 / 5,
        "npv": 2 / 3,
        "fpr": 2 / 4,
        "accuracy": 5 / 8,
    }
    for name, value in expected.items():
        assert table[name]["estimate"] == pytest.approx(value), name
    low, high = intervals.wilson(0.6, 5, 0.95)
    assert (table["precision"]["low"], table["precision"]["high"]) == (low, high)
    assert table["prevalence"] == 0.5
    row = table["at_prevalence"][1]
    assert row["prevalence"] == 0.05
    assert row["ppv"]["estimate"] == pytest.approx(
        0.75 * 0.05 / (0.75 * 0.05 + 0.5 * 0.95)
    )
    assert row["npv"]["estimate"] == pytest.approx(
        0.5 * 0.95 / (0.5 * 0.95 + 0.25 * 0.05)
    )
    assert row["ppv"]["low"] < row["ppv"]["estimate"] < row["ppv"]["high"]


def test_predictive_values_without_a_value_are_none():
    never = Measure(0.0, 0.0, 0.1, 9, "Wilson")
    always = Measure(1.0, 0.9, 1.0, 9, "Wilson")
    row = operating_point.predictive_values(never, always, 0.1)
    assert row["ppv"]["estimate"] is None
    assert row["ppv"]["reason"] == "no picture is called positive"
    assert "reason" not in row["npv"]
    nothing = Measure(None, None, None, 0, "Wilson", "why")
    row = operating_point.predictive_values(nothing, always, 0.1)
    assert row["npv"] == {"estimate": None, "low": None, "high": None, "reason": "why"}


def test_scores_that_are_none_are_not_frozen():
    p = np.array([0.2, np.nan, 0.7])
    with pytest.raises(InputError, match="row 1 is"):
        freeze(binary(np.array([0, 1, 1]), p), NAMES, config.Run())


def test_freeze_calibrates_then_chooses():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    z = 4 * (labels * 2 - 1 + random.normal(size=300))
    data = binary(labels, 1 / (1 + np.exp(-z)))
    run = config.Run()
    temperature, point = freeze(data, NAMES, run)
    assert temperature.value > 1.5  # logits were twice as large as their evidence
    raw, plain = freeze(
        data,
        NAMES,
        dataclasses.replace(run, evaluation=config.Evaluation(calibrate=False)),
    )
    assert raw.value == 1
    called = point.called(temperature(data.probabilities)[:, 1])
    np.testing.assert_array_equal(called, plain.called(data.probabilities[:, 1]))


# Two models


def models(seed=0, n=120, gain=0.0, pictures=1):
    random = np.random.default_rng(seed)
    labels = np.repeat(random.integers(0, 2, n // pictures), pictures)
    patients = [f"p{i // pictures}" for i in range(n)]
    shared = random.normal(size=n)
    logits = [
        1.2 * (2 * labels - 1) * (1 + g) + shared + random.normal(size=n)
        for g in (gain, 0)
    ]
    return [binary(labels, 1 / (1 + np.exp(-z)), patients=patients) for z in logits]


def test_paired_delong_equals_its_definition():
    a, b = models()
    found = compare.delong(a, b, np.arange(120), 0.95)
    scores = np.stack([a.probabilities[:, 1], b.probabilities[:, 1]], 1)
    x, y = scores[a.labels == 1], scores[a.labels == 0]
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    cov = np.cov(wins.mean(axis=1).T) / len(x) + np.cov(wins.mean(axis=0).T) / len(y)
    difference = wins.mean(axis=(0, 1)) @ [1, -1]
    error = np.sqrt(np.array([1, -1]) @ cov @ np.array([1, -1]))
    assert found["estimate"] == pytest.approx(difference)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.959964 * error)
    assert found["p"] == pytest.approx(2 * stats.norm.sf(abs(difference) / error))


def test_paired_delong_rejects_as_often_as_it_says():
    """Two equal models on clustered pictures: p below 0.05 five times in a hundred."""
    rejected = []
    for seed in range(400):
        a, b = models(seed, n=160, pictures=2)
        cluster = np.repeat(np.arange(80), 2)
        rejected.append(compare.delong(a, b, cluster, 0.95)["p"] < 0.05)
    assert 0.02 <= np.mean(rejected) <= 0.085


def test_mcnemar_by_hand():
    first = np.array([1] * 9 + [0] * 2 + [1] * 5, bool)
    second = np.array([0] * 9 + [1] * 2 + [1] * 5, bool)
    found = compare.mcnemar(first, second)
    assert (found["only_first"], found["only_second"]) == (9, 2)
    assert found["p"] == pytest.approx(2 * sum(
        stats.binom.pmf(k, 11, 0.5) for k in range(3)
    ))  # fmt: skip
    assert compare.mcnemar(first, first)["p"] == 1


def test_compare_finds_the_better_model_and_is_antisymmetric():
    a, b = models(gain=1.5, n=300)
    found = compare.compare(a, b, NAMES, level=0.95, resamples=300)
    turned = compare.compare(b, a, NAMES, level=0.95, resamples=300)
    for name in ("auc", "accuracy", "balanced_accuracy", "mcc", "f1"):
        assert found[name]["low"] > 0, name
        assert found[name]["estimate"] == -turned[name]["estimate"]
    for name in ("brier", "log_loss"):
        assert found[name]["high"] < 0
    assert found["mcnemar"]["only_first"] > found["mcnemar"]["only_second"]
    assert found["auc"]["p"] < 0.01


def test_pairing_narrows_the_interval():
    a, b = models(n=300)
    paired = compare.compare(a, b, NAMES, level=0.95, resamples=300)["brier"]
    shuffled = np.random.default_rng(0).permutation(300)
    rows = np.concatenate(
        [shuffled[a.labels[shuffled] == 0], shuffled[a.labels[shuffled] == 1]]
    )
    order = np.argsort(a.labels, kind="stable")
    moved = np.empty_like(b.probabilities)
    moved[order] = b.probabilities[rows]  # each class's scores, dealt anew
    unpaired = compare.compare(a, dataclasses.replace(b, probabilities=moved), NAMES,
                               level=0.95, resamples=300)["brier"]  # fmt: skip
    assert paired["estimate"] == pytest.approx(unpaired["estimate"])
    assert paired["high"] - paired["low"] < 0.85 * (unpaired["high"] - unpaired["low"])


def test_a_model_equals_itself():
    a, _ = models()
    found = compare.compare(a, a, NAMES, level=0.95, resamples=20)
    assert found["auc"]["estimate"] == 0
    assert found["auc"]["low"] is None
    assert found["accuracy"]["estimate"] == 0


def test_other_pictures_cannot_be_compared():
    a, b = models()
    with pytest.raises(InputError, match="same pictures"):
        compare.compare(
            a,
            dataclasses.replace(b, files=b.files[::-1]),
            NAMES,
            level=0.95,
            resamples=2,
        )
