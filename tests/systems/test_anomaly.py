"""Anomaly scores: the deviation loss by hand, its decisions, and a whole run."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax import config, train
from covjax.data.phantom import phantom
from covjax.errors import InputError
from covjax.systems.anomaly import Settings, of_heads, probabilities
from covjax.systems.anomaly import train as train_system
from covjax.training.losses import (
    Loss,
    deviation,
    make_loss,
    references,
    to_probabilities,
)

RECIPE = Path(__file__).parents[2] / "configs" / "survey" / "row04_zhang.py"


def softplus(x):
    return np.log1p(np.exp(x))


def test_references_are_nearly_standard():
    mean, std = references()
    assert abs(mean) < 0.05
    assert std == pytest.approx(1, abs=0.05)


def test_deviation_by_hand():
    """In deviations: normal at 0 and -2, an anomaly at 4, 5 and 7."""
    mean, std = references()
    scores = mean + std * jnp.array([0.0, -2.0, 4.0, 5.0, 7.0])
    anomalous = jnp.array([0.0, 0.0, 1.0, 1.0, 1.0])
    found = deviation(scores, anomalous)
    np.testing.assert_allclose(found, [0, 2, 1, 0, 0], atol=1e-5)


def test_the_score_is_pulled_the_right_way():
    slope = jax.grad(lambda s, y: deviation(s, y).sum())
    scores, labels = jnp.array([3.0, 3.0, -1.0, 9.0]), jnp.array([0.0, 1.0, 0.0, 1.0])
    assert np.sign(slope(scores, labels)).tolist() == [1, -1, -1, 0]


def test_the_classification_head_is_beside_the_score():
    loss = Loss(name="deviation", num_classes=2)
    mean, std = references()
    outputs = jnp.array([[1.5, mean], [1.5, mean + 5 * std]])  # no deviation is wrong
    found = loss(outputs, jnp.array([0, 1]))
    # column 0 is the logit of the normal class
    np.testing.assert_allclose(found, [softplus(-1.5), softplus(1.5)], rtol=1e-4)


def test_the_confidence_head_learns_whether_the_score_is_right():
    loss = Loss(name="deviation_confidence", num_classes=2)
    outputs = jnp.array([[0.7, 1.0], [0.7, 1.0], [0.7, 4.0], [0.7, 4.0]])
    labels = jnp.array([0, 1, 0, 1])  # 4 is beyond half the margin: right, wrong, ...
    found = loss(outputs, labels) - deviation(outputs[:, 1], labels.astype(float))
    sure, doubt = softplus(-0.7), softplus(0.7)
    np.testing.assert_allclose(found, [sure, doubt, doubt, sure], rtol=1e-4)
    through = jax.grad(lambda x: loss(x, labels).sum())(outputs)[:, 1]
    alone = jax.grad(lambda x: deviation(x, labels.astype(float)).sum())(outputs[:, 1])
    np.testing.assert_array_equal(through, alone)  # confidence does not move the score


def test_a_score_at_half_the_margin_is_undecided():
    outputs = jnp.array([[9.0, 2.5], [-9.0, 4.5]])
    p = to_probabilities(outputs, "deviation", jnp.float32(2))
    np.testing.assert_allclose(p[:, 1], [0.5, 1 / (1 + np.exp(-1))], rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_an_anomaly_has_a_large_score_or_a_small_confidence(threshold):
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 3, (200, 2))
    score = 1 / (1 + np.exp(-(outputs[:, 1] - 2.5)))
    doubt = 1 / (1 + np.exp(outputs[:, 0]))
    found = probabilities(outputs, "deviation_confidence")
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    called = found[:, 1] >= threshold
    np.testing.assert_array_equal(called, (score >= threshold) | (doubt >= threshold))
    alone = probabilities(outputs, "deviation")
    np.testing.assert_array_equal(alone[:, 1] >= threshold, score >= threshold)


def test_heads_by_hand():
    images = phantom(16, patients=40, pictures_per_patient=(1, 1))
    images = images.select_classes(("normal", "covid19"))
    anomalous = images.labels == 1
    scores = np.where(anomalous, 5.0, 0.0)
    wrong = np.flatnonzero(anomalous)[0]
    scores[wrong] = -1
    confidence = np.where(np.arange(len(scores)) == wrong, -3.0, 3.0)
    outputs = np.stack([confidence, scores], axis=1)
    run = config.Run(train=config.Train(loss="deviation_confidence"))
    found = of_heads(outputs, images, run)
    n = anomalous.sum()
    assert found["mean_score_normal"] == 0
    assert found["mean_score_anomalous"] == pytest.approx((5 * (n - 1) - 1) / n)
    assert found["score_auc"]["estimate"] == pytest.approx((n - 1) / n)
    assert found["score_right"] == pytest.approx(1 - 1 / len(images))
    assert found["confidence_auc"]["estimate"] == 1
    run.train.loss = "deviation"
    logit = np.stack([-scores, scores], axis=1)
    found = of_heads(logit, images, run)["classification_auc"]
    assert found["estimate"] == pytest.approx((n - 1) / n)


def test_what_does_not_fit_is_refused(tmp_path):
    run = config.Run(train=config.Train(loss="focal"))
    with pytest.raises(InputError, match=r"'focal'.*'anomaly' needs.*deviation"):
        train_system(run, None, tmp_path, Settings())
    with pytest.raises(InputError, match=r"two classes, the anomalies last.*have 3"):
        make_loss(config.Train(loss="deviation"), np.arange(3), 3)


def test_row_4_with_a_small_network(tmp_path, predicts_as_evaluated):
    recipe = tmp_path / "small.py"
    recipe.write_text(
        "from covjax import cli, config\n\n\n"
        "def get_config(variant):\n"
        f"    run = cli.load_config({f'{RECIPE}:confidence,smoke'!r}, [])\n"
        "    run.model = config.Model(name='squeezenet1_1')\n"
        "    return run\n"
    )
    words = ["--config", str(recipe), "--config.data.size=32"]
    assert train.main([*words, "--workdir", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["classes"] == ["normal", "covid19"]
    heads = json.loads((tmp_path / "heads.json").read_text())
    assert set(heads) == {"validation", "test"}
    assert 0 <= heads["test"]["score_right"] <= 1
    rows = (tmp_path / "network" / "log.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(rows[-1])["validation_loss"])
    assert len((tmp_path / "openings.jsonl").read_text().splitlines()) == 1
    predicts_as_evaluated(tmp_path)
