"""The classical pipeline: each classifier learns, and only from training vectors."""

import numpy as np
import pytest

from covjax.errors import InputError
from covjax.systems import classical
from covjax.systems.classical import CLASSIFIERS, Pipeline, fit_pipeline

NAMES = ("normal", "pneumonia", "covid")
PATHS = {"normal": "normal", "pneumonia": "ill/pneumonia", "covid": "ill/covid"}


def data(n=60, seed=0, classes=3):
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % classes).astype(np.int32)
    features = rng.normal(size=(n, 5))
    features[:, 3] = 100 * labels + rng.normal(size=n)  # far larger than the others
    features[:, 4] = 1.0
    groups = np.array([f"p{i // 2}" for i in range(n)])
    return features, labels, groups


def fitted(pipeline, n=60, classes=3, seed=0):
    return fit_pipeline(*data(n, classes=classes), NAMES[:classes], pipeline, seed)


def pipeline(name, **kwargs):
    hierarchy = PATHS if name == "hierarchical_tree" else {}
    options = {"max_iter": 1000} if name == "mlp" else {}
    return Pipeline(classifier=name, hierarchy=hierarchy, options=options, **kwargs)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_learn(name):
    model = fitted(pipeline(name, resample="smote"))
    features, labels, _ = data(seed=1)
    p = model.probabilities(features)
    assert p.shape == (60, 3)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (p.argmax(axis=1) == labels).mean() > 0.9
    assert model.facts["converged"]


@pytest.mark.parametrize("name", ["linear_svm", "rbf_svm"])
def test_two_classes_are_a_sigmoid_of_the_distance(name):
    model = fitted(pipeline(name), classes=2)
    features, labels, _ = data(seed=1, classes=2)
    p = model.probabilities(features)
    scaled = ((features - model.mean) / model.scale)[:, model.columns]
    distance = model.estimator.decision_function(scaled)
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-distance)), rtol=1e-5)
    assert (p.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_vector_alone_or_among_others(name):
    """Of as many features as networks give, whose sums are many terms."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 700)).astype(np.float32)
    _, labels, groups = data()
    model = fit_pipeline(features, labels, groups, NAMES, pipeline(name), 0)
    asked = rng.normal(size=(37, 700)).astype(np.float32)
    together = model.probabilities(asked)
    alone = [model.probabilities(asked[row : row + 1])[0] for row in range(37)]
    np.testing.assert_array_equal(alone, together)


def test_scaling_is_that_of_training():
    features, _, _ = data()
    model = fitted(pipeline("knn"))
    np.testing.assert_allclose(model.mean, features.mean(axis=0))
    np.testing.assert_allclose(model.scale[:4], features.std(axis=0)[:4])
    assert model.scale[4] == 1  # a constant is not divided by nothing


def test_a_class_without_pictures_has_no_share():
    features, labels, groups = data(classes=2)
    for name in ("linear_svm", "random_forest"):
        model = fit_pipeline(features, labels, groups, NAMES, pipeline(name), 0)
        p = model.probabilities(features)
        assert (p[:, 2] == 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_selection_keeps_the_feature_that_tells():
    model = fitted(pipeline("linear_svm", select="best", select_count=1))
    assert model.columns.tolist() == [3]
    assert model.facts["selected"] == 1


def test_selection_sees_real_training_vectors_in_whole_groups(monkeypatch):
    """The search is scored on folds of the pictures themselves, patients whole."""
    seen = {}

    def watched(score, count, rng, **_):
        seen["count"] = count
        return np.array([3])

    def folds(groups, labels, number, seed):
        seen["groups"], seen["n"] = groups, len(labels)
        return real(groups, labels, number, seed)

    real = classical.k_fold
    monkeypatch.setattr(classical, "k_fold", folds)
    monkeypatch.setattr(classical.selection, "social_mimic", watched)
    features, labels, groups = data()
    rows = np.r_[0:60:3, 1:20:3]  # two classes, one the larger
    options = pipeline("linear_svm", select="social_mimic", resample="smote")
    model = fit_pipeline(
        features[rows], labels[rows], groups[rows], NAMES[:2], options, 0
    )
    assert seen["count"] == 5
    assert seen["n"] == len(rows) < sum(model.facts["resampled_counts"].values())
    np.testing.assert_array_equal(seen["groups"], groups[rows])


def test_social_mimic_within_the_pipeline():
    options = pipeline("knn", select="social_mimic", population=4, iterations=2)
    model, again = fitted(options), fitted(options)
    assert 3 in model.columns
    np.testing.assert_array_equal(model.columns, again.columns)


def test_an_optimisation_cut_short_is_told():
    short = Pipeline(classifier="mlp", options={"max_iter": 1})
    assert not fitted(short).facts["converged"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"classifier": "tree"}, "classifier='tree'.*linear_svm"),
        ({"resample": "adasyn"}, "resample='adasyn'.*smote"),
        ({"select": "all"}, "select='all'.*social_mimic"),
        ({"options": {"D": 3}}, "linear_svm.*unexpected keyword argument 'D'"),
        ({"options": {"C": -3}}, "linear_svm.*'C' parameter"),
        ({"classifier": "hierarchical_tree"}, "hierarchy.*needs it"),
        ({"hierarchy": PATHS}, "hierarchy.*belongs to"),
        ({"select_count": -3}, "pipeline.select_count=-3: must be at least 1"),
        ({"population": 0}, "pipeline.population=0: must be at least 1"),
        ({"iterations": -1}, "pipeline.iterations=-1: must be at least 0"),
        (
            {"classifier": "knn", "options": {"n_neighbors": 61}},
            r"knn with options {'n_neighbors': 61}: Expected n_neighbors <= n_samples",
        ),
        (
            {"classifier": "hierarchical_tree", "hierarchy": {"covid": "covid"}},
            "a path for each of normal, pneumonia, covid",
        ),
        (
            {
                "classifier": "rbf_svm",
                "options": {"decision_function_shape": "ovo"},
            },
            "decision_function_shape='ovo': must be 'ovr', one distance a class",
        ),
    ],
)
def test_what_does_not_fit_is_refused(kwargs, message):
    with pytest.raises(InputError, match=message) as error:
        fitted(Pipeline(**kwargs))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_class_alone_is_refused(name):
    features, labels, groups = data()
    with pytest.raises(InputError, match=r"are normal; \w+ needs two classes"):
        fit_pipeline(features, labels * 0, groups, NAMES, pipeline(name), 0)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("select", classical.selection.KINDS)
def test_a_rehearsal_takes_what_can_be_fitted(name, select):
    _, labels, groups = data()
    options = pipeline(name, select=select, resample="smote_tomek")
    classical.rehearse(labels, groups, NAMES, options, 0)
