"""Measures against scikit-learn, against hand counts, and as properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from covjax.errors import InputError
from covjax.evaluation import calibration, measures, ranking
from covjax.evaluation.counts import agreement, counts_of_confusion, per_class

# DarkCovidNet's notebook (survey.md, section 3): COVID, no finding, pneumonia
DARK_3 = np.array([[24, 1, 3], [0, 102, 7], [1, 12, 75]])
DARK_2 = np.array([[21, 3], [0, 101]])


def predictions(n=400, classes=3, seed=0, levels=None):
    """Labels and probabilities; with ``levels`` the scores have many ties."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    if levels:
        p = np.round(p * levels) + 1
        p /= p.sum(axis=1, keepdims=True)
    return labels, p


def test_darkcovidnet_three_classes():
    values = per_class(counts_of_confusion(DARK_3))
    assert agreement(DARK_3)["accuracy"] == 201 / 225
    assert values["precision"][0] == 24 / 25
    assert values["sensitivity"][0] == 24 / 28
    assert (
        values["specificity"][0] == 196 / 197
    )  # not 24 / 25, as Table 1 would have it
    assert values["fpr"][0] == 1 / 197
    assert values["npv"][0] == 196 / 200
    assert values["f1"][0] == 48 / 53


def test_darkcovidnet_two_classes():
    assert agreement(DARK_2)["accuracy"] == 122 / 125
    assert per_class(counts_of_confusion(DARK_2))["f1"][0] == 42 / 45


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("levels", [None, 5])
def test_equal_to_scikit_learn(classes, levels):
    labels, p = predictions(classes=classes, levels=levels, seed=classes)
    called = p.argmax(axis=1)
    names = tuple(f"class {k}" for k in range(classes))
    ours = measures.summary(labels, p, names)
    overall = {
        "accuracy": reference.accuracy_score(labels, called),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, called),
        "mcc": reference.matthews_corrcoef(labels, called),
        "kappa": reference.cohen_kappa_score(labels, called),
        "brier": reference.brier_score_loss(labels, p[:, 1] if classes == 2 else p),
    }
    if levels is None:  # scikit-learn clips at another epsilon
        overall["log_loss"] = reference.log_loss(labels, p)
    for name, value in overall.items():
        assert ours["overall"][name] == pytest.approx(value, rel=1e-12), name
    assert np.array_equal(
        ours["confusion_matrix"], reference.confusion_matrix(labels, called)
    )
    for average in ("macro", "weighted"):
        p_r_f = reference.precision_recall_fscore_support(
            labels, called, average=average
        )
        for name, value in zip(("precision", "sensitivity", "f1"), p_r_f[:3]):
            assert ours[average][name] == pytest.approx(value, rel=1e-12)
    for k, name in enumerate(names):
        row, truth = ours["per_class"][name], labels == k
        area = reference.roc_auc_score(truth, p[:, k])
        assert row["auc"] == pytest.approx(area, rel=1e-12)
        average = reference.average_precision_score(truth, p[:, k])
        assert row["average_precision"] == pytest.approx(average, rel=1e-12)
        fpr, tpr, _ = reference.roc_curve(truth, p[:, k], drop_intermediate=False)
        assert row["sensitivity_at_specificity"] == tpr[1 - fpr >= 0.9 - 1e-9].max()
        best = (1 - fpr)[tpr >= 0.9 - 1e-9].max()
        assert row["specificity_at_sensitivity"] == pytest.approx(best, rel=1e-12)
        ours_fpr, ours_tpr = ranking.roc_points(truth, p[:, k])
        np.testing.assert_allclose(ours_fpr, fpr)
        np.testing.assert_allclose(ours_tpr, tpr)
    macro = np.mean([row["auc"] for row in ours["per_class"].values()])
    assert ours["overall"]["auc"] == measures.macro_auc(labels, p) == macro


def test_auc_by_counting_pairs():
    positive = np.array([1, 1, 1, 0, 0], bool)
    scores = np.array([0.9, 0.5, 0.2, 0.5, 0.1])
    # of 6 pairs: 0.9 beats both, 0.5 ties one and beats one, 0.2 beats one
    assert ranking.roc_auc(positive, scores) == (2 + 1.5 + 1) / 6


columns = arrays.arrays(
    np.float64, st.integers(4, 40), elements=st.sampled_from(np.linspace(0, 1, 6))
)


@given(columns, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_auc_is_symmetric_and_blind_to_monotone_change(scores, random):
    positive = np.array([random.random() < 0.5 for _ in scores])
    area = ranking.roc_auc(positive, scores)
    if positive.all() or not positive.any():
        assert area is None
        return
    assert area == pytest.approx(1 - ranking.roc_auc(~positive, scores))
    assert area == pytest.approx(ranking.roc_auc(positive, np.exp(3 * scores)))
    pairs = scores[positive][:, None] - scores[~positive][None, :]
    assert area == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


@given(arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 30)))
@settings(max_examples=60, deadline=None)
def test_counts_add_up(matrix):
    counts = counts_of_confusion(matrix)
    assert (counts.tp + counts.fp + counts.fn + counts.tn == matrix.sum()).all()
    values = per_class(counts)
    defined = ~np.isnan(values["specificity"])
    total = values["specificity"] + values["fpr"]
    np.testing.assert_allclose(total[defined], 1)
    for name, value in (agreement(matrix) | values).items():
        inside = value[~np.isnan(value)]
        low = -1 if name in ("mcc", "kappa") else 0
        assert ((inside >= low - 1e-12) & (inside <= 1 + 1e-12)).all(), name


def test_undefined_is_none_not_zero():
    labels = np.array([0, 0, 1, 1])  # nothing of class c, and nothing is called b
    p = np.array([[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    tree = measures.summary(labels, p, ("a", "b", "c"))
    assert tree["per_class"]["b"]["precision"] is None
    assert tree["per_class"]["b"]["f1"] == 0  # defined: two pictures were missed
    assert tree["per_class"]["c"]["sensitivity"] is None
    assert tree["per_class"]["c"]["auc"] is None
    assert tree["overall"]["auc"] is None
    assert tree["overall"]["balanced_accuracy"] is None
    assert tree["macro"]["precision"] is None
    assert tree["weighted"]["sensitivity"] == 0.5  # class c has no pictures, no say
    assert tree["overall"]["accuracy"] == 0.5
    one = measures.summary(np.zeros(4, int), np.tile([1.0, 0], (4, 1)), ("a", "b"))
    assert one["overall"]["mcc"] is None
    assert one["overall"]["kappa"] is None
    for group in (one["overall"], one["macro"], *one["per_class"].values()):
        assert {key for key, v in group.items() if v is None} <= set(measures.REASONS)


def test_several_labels():
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], np.uint8)
    p = np.array([[0.9, 0.6], [0.4, 0.7], [0.1, 0.1], [0.2, 0.8]])
    tree = measures.summary(truth, p, ("effusion", "mass"))
    assert tree["confusion_matrix"] is None
    row = tree["per_class"]["effusion"]
    assert (row["tp"], row["fp"], row["fn"], row["tn"]) == (1, 0, 1, 2)
    assert tree["per_class"]["mass"]["precision"] == 2 / 3
    assert tree["overall"]["auc"] == 1
    assert "accuracy" not in tree["overall"]
    terms = [reference.log_loss(truth[:, k], p[:, k]) for k in (0, 1)]
    assert tree["overall"]["log_loss"] == pytest.approx(np.mean(terms))
    scores = [reference.brier_score_loss(truth[:, k], p[:, k]) for k in (0, 1)]
    assert tree["overall"]["brier"] == pytest.approx(np.mean(scores))


def test_calibration_error_by_hand():
    # bins of one fifteenth: 0.9 and 0.92 share (13/15, 14/15], 0.86 is alone
    p = np.array([[0.9, 0.1], [0.92, 0.08], [0.86, 0.14]])
    labels = np.array([0, 1, 0])
    expected = (2 * abs(0.91 - 0.5) + abs(0.86 - 1)) / 3
    error = calibration.expected_calibration_error(labels, p)
    assert error == pytest.approx(expected)


def test_log_loss_of_a_certain_error_is_finite():
    terms = calibration.log_loss_terms(np.array([1]), np.array([[1.0, 0.0]]))
    assert terms[0] == pytest.approx(-np.log(np.finfo(np.float32).eps), rel=1e-6)


@pytest.mark.parametrize("name", ["auc", "accuracy", "balanced_accuracy", "f1", "loss"])
def test_selection_prefers_the_better_model(name):
    labels, p = predictions()
    better = 0.5 * p + 0.5 * np.eye(3)[labels]
    assert measures.selection(labels, better, name) > measures.selection(
        labels, p, name
    )


def test_selection_without_a_value_is_minus_infinity():
    labels, p = np.zeros(5, int), np.full((5, 2), 0.5)
    assert measures.selection(labels, p, "auc") == -np.inf
    assert measures.selection(labels, p * np.nan, "loss") == -np.inf


@pytest.mark.parametrize(
    ("labels", "p", "words"),
    [
        (np.zeros(3, int), np.full((2, 2), 0.5), "labels: shape"),
        (np.zeros(2, int), np.array([[0.5, 0.5], [np.nan, 1]]), "row 1"),
        (np.zeros(2, int), np.array([[0.5, 0.5], [-0.5, 1.0]]), "row 1"),
        (np.array([0, 2]), np.full((2, 2), 0.5), "from 0 to 1"),
        (np.zeros(2, int), np.full(2, 0.5), "probabilities: shape"),
    ],
)
def test_bad_predictions_are_one_line(labels, p, words):
    with pytest.raises(InputError, match=words) as caught:
        measures.summary(labels, p, ("a", "b"))
    assert "\n" not in str(caught.value)
