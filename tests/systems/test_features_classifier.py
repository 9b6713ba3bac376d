"""Features to a classical classifier: fusion, what is looked at, and a whole run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covjax import config, systems, train
from covjax.data.loading import load
from covjax.errors import InputError
from covjax.systems import features_classifier
from covjax.systems.classical import Pipeline, fit_pipeline
from covjax.systems.features_classifier import Settings, fuse

RECIPE = Path(__file__).parents[2] / "configs" / "survey" / "row20_pereira.py"


class Fixed:
    """A classifier that says what it is told."""

    def __init__(self, *rows):
        self.rows = np.array(rows, np.float32)

    def probabilities(self, features):
        return self.rows


A, B, C = Fixed([0.5, 0.3, 0.2]), Fixed([0.1, 0.6, 0.3]), Fixed([0.4, 0.3, 0.3])


@pytest.mark.parametrize(
    ("fusion", "wanted"),
    [
        ("sum", [1 / 3, 0.4, 0.8 / 3]),
        ("product", [0.020 / 0.092, 0.054 / 0.092, 0.018 / 0.092]),
        # two votes, one, none; and the mean as what decides between even votes
        ("vote", [(2 + 1 / 3) / 4, (1 + 0.4) / 4, 0.8 / 12]),
    ],
)
def test_late_fusion_by_hand(fusion, wanted):
    found = fuse([A, B, C], [None] * 3, fusion)
    np.testing.assert_allclose(found, [wanted], rtol=1e-5)


def test_even_votes_are_decided_by_the_mean():
    found = fuse([Fixed([0.9, 0.1]), Fixed([0.4, 0.6])], [None] * 2, "vote")
    assert found.argmax() == 0


def test_product_of_nothing_is_not_nan():
    found = fuse([Fixed([0, 1.0]), Fixed([1.0, 0])], [None] * 2, "product")
    np.testing.assert_allclose(found, [[0.5, 0.5]])


@pytest.fixture(scope="module")
def splits():
    return load(config.Data(name="phantom", size=32, limit=30))


def fit_and_score(splits, workdir, monkeypatch, group_key="", **settings):
    """What the system would report on validation; the report itself is left out."""
    options = {"textures": ("lbp", "ldn"), "pipeline": {"resample": "smote"}}
    settings = Settings(**(options | settings))
    monkeypatch.setattr(
        features_classifier.outcome,
        "report",
        lambda run, splits, workdir, parts: (
            parts.judge(splits.validation.images).probabilities
        ),
    )
    run = config.Run(system=config.System(name="features_classifier"))
    run.data.group_key = group_key
    return features_classifier.train(run, splits, workdir, settings)


def test_nothing_is_fitted_to_validation_or_test(splits, tmp_path, monkeypatch):
    """Other validation and no test pictures: the same vectors and classifiers."""
    names = ("a", "b")
    places = [tmp_path / name for name in names]
    for place in places:
        place.mkdir()
    first = fit_and_score(splits, places[0], monkeypatch)
    rows = np.arange(5)
    other = replace(splits, validation=splits.validation.subset(rows), test=None)
    second = fit_and_score(other, places[1], monkeypatch)
    np.testing.assert_array_equal(first[:5], second)
    files = [(p / "classifiers.json").read_text() for p in places]
    assert files[0] == files[1]


def test_saved_vectors_give_the_classifier_back(splits, tmp_path, monkeypatch):
    said = fit_and_score(splits, tmp_path, monkeypatch)
    with np.load(tmp_path / "training_features.npz", allow_pickle=False) as saved:
        vectors = np.concatenate([saved["lbp"], saved["ldn"]], axis=1)
        labels, groups = saved["labels"], saved["groups"]
    model = fit_pipeline(
        vectors, labels, groups, splits.train.class_names, Pipeline(resample="smote"), 0
    )
    extract = features_classifier.texture_features
    parts = [extract(name, splits.validation.images) for name in ("lbp", "ldn")]
    np.testing.assert_array_equal(
        model.probabilities(np.concatenate(parts, axis=1)), said
    )
    wanted = [f"patient {name}" for name in splits.train.patients]
    np.testing.assert_array_equal(groups, wanted)


def test_groups_of_file_names_stay_together(splits, tmp_path, monkeypatch):
    train = splits.train.subset(np.arange(len(splits.train)))
    files = np.array([f"p{i // 3}_{i % 3}.png" for i in range(len(train))])
    train = replace(train, patients=np.full(len(train), ""), files=files)
    other = replace(splits, train=train)
    fit_and_score(other, tmp_path, monkeypatch, group_key=r"(p\d+)_")
    with np.load(tmp_path / "training_features.npz", allow_pickle=False) as saved:
        wanted = [f"key {file.partition('_')[0]}" for file in files]
        np.testing.assert_array_equal(saved["groups"], wanted)


def test_late_fusion_fits_one_classifier_a_set(splits, tmp_path, monkeypatch):
    fit_and_score(splits, tmp_path, monkeypatch, fusion="sum")
    facts = json.loads((tmp_path / "classifiers.json").read_text())
    assert {name: row["features"] for name, row in facts.items()} == {
        "lbp": 59,
        "ldn": 56,
    }
    counts = facts["lbp"]["resampled_counts"].values()
    assert len(set(counts)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "late"}, "fusion='late'.*early, sum"),
        ({"layer": "stem"}, "layer='stem'.*map, logits"),
        ({"textures": ("gabor",)}, "'gabor' must be one of bsif"),
        ({"pipeline": {"sampling": 1}}, "pipeline: has no 'sampling'; it has resample"),
        ({"pipeline": {"population": 0}}, "population=0: must be at least 1"),
        (
            {"pipeline": {"classifier": "knn", "options": {"n_neighbors": 50}}},
            "knn with options .* n_samples_fit = 30",
        ),
        ({"pipeline": {"options": {"C": -3}}}, "linear_svm with options {'C': -3}: "),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    settings, message, splits, tmp_path, monkeypatch
):
    monkeypatch.setattr(features_classifier, "train_network", None)
    settings = {"networks": {"squeezenet1_1": ""}} | settings
    with pytest.raises(InputError, match=message) as error:
        fit_and_score(splits, tmp_path, monkeypatch, **settings)
    assert "\n" not in str(error.value)


def test_row_20_with_a_small_network(tmp_path, predicts_as_evaluated):
    status = train.main(
        [
            "--config", f"{RECIPE}:hierarchical,late,smoke",
            "--workdir", str(tmp_path),
            "--config.model.name=squeezenet1_1",
            "--config.system.kwargs.networks={'squeezenet1_1': ''}",
            "--config.system.kwargs.textures=('lbp',)",
            "--config.data.size=32",
        ]
    )  # fmt: skip
    assert status == 0
    facts = json.loads((tmp_path / "classifiers.json").read_text())
    assert facts["squeezenet1_1"]["features"] == 512
    assert facts["lbp"]["features"] == 59
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["classes"] == ["normal", "pneumonia", "covid19"]
    assert len((tmp_path / "openings.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "squeezenet1_1" / "weights.npz").is_file()
    predicts_as_evaluated(tmp_path)
    facts["lbp"]["scikit_learn"] = "0.1"
    (tmp_path / "classifiers.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"lbp: scikit_learn is '0\.1', but '[\d.]+'"):
        systems.load(tmp_path)
