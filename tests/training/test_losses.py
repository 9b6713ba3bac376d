"""Losses against PyTorch's or the paper's formula, and their probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax import config
from covjax.errors import InputError
from covjax.training.losses import Loss, balanced_weights, make_loss, to_probabilities

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [1.0, 1.0, 4.0]], np.float32)
LABELS = np.array([0, 2, 2], np.int32)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_cross_entropy_with_smoothing():
    loss = Loss(name="cross_entropy", num_classes=3, label_smoothing=0.1)
    targets = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
    wanted = -(targets * log_softmax(LOGITS)).sum(-1)
    np.testing.assert_allclose(loss(LOGITS, LABELS), wanted, rtol=1e-6)


def test_class_weights_scale_a_picture():
    plain = Loss(name="cross_entropy", num_classes=3)
    weighted = Loss(name="cross_entropy", num_classes=3, weights=(1.0, 2.0, 5.0))
    ratio = weighted(LOGITS, LABELS) / plain(LOGITS, LABELS)
    np.testing.assert_allclose(ratio, [1, 5, 5], rtol=1e-6)


def test_focal_of_a_certain_picture_has_a_gradient():
    loss = Loss(name="focal", num_classes=2, focal_gamma=0.5)
    outputs = jnp.array([[200.0, 0.0], [1.0, 0.0]])
    gradient = jax.grad(lambda x: loss(x, jnp.zeros(2, int)).sum())(outputs)
    assert np.isfinite(gradient).all()
    assert gradient[1, 0] < 0


def test_focal():
    loss = Loss(name="focal", num_classes=3, focal_gamma=2.0)
    log_p = log_softmax(LOGITS)[np.arange(3), LABELS]
    wanted = -((1 - np.exp(log_p)) ** 2) * log_p
    np.testing.assert_allclose(loss(LOGITS, LABELS), wanted, rtol=1e-5)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_binary_takes_one_label_or_several(multi_hot):
    loss = Loss(name="binary", num_classes=3)
    targets = np.eye(3)[LABELS]
    labels = targets.astype(np.uint8) if multi_hot else LABELS
    if multi_hot:
        labels[1, 0] = targets[1, 0] = 1
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    wanted = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(loss(LOGITS, labels), wanted, rtol=1e-5)


def test_binary_smoothing_goes_towards_one_half():
    loss = Loss(name="binary", num_classes=3, label_smoothing=0.2)
    targets = np.eye(3)[LABELS] * 0.8 + 0.1
    p = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    wanted = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum(-1)
    np.testing.assert_allclose(loss(LOGITS, LABELS), wanted, rtol=1e-5)


def test_margin_by_hand():
    loss = Loss(name="margin", num_classes=2)
    lengths = jnp.array([[0.95, 0.05], [0.4, 0.6], [0.6, 0.4]])
    # 0: met on both sides; 1: 0.5^2 + 0.5 * 0.5^2; 2: 0.3^2 + 0.5 * 0.3^2
    wanted = [0.0, 0.25 + 0.5 * 0.25, 0.09 + 0.5 * 0.09]
    np.testing.assert_allclose(loss(lengths, jnp.array([0, 0, 0])), wanted, atol=1e-7)


def test_balanced_weights_have_mean_one():
    labels = np.array([0] * 6 + [1] * 3 + [2])
    weights = np.array(balanced_weights(labels, 3)["weights"])
    assert weights[labels].mean() == pytest.approx(1)
    totals = [weights[c] * (labels == c).sum() for c in range(3)]
    np.testing.assert_allclose(totals, totals[0])


def test_chexnet_weights_of_several_labels():
    labels = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], np.uint8)
    train = config.Train(loss="binary", class_weights="balanced")
    loss = make_loss(train, labels, 2)
    assert loss.positive_weights == (0.75, 0.5)
    logits = np.zeros((1, 2), np.float32)
    value = loss(logits, np.array([[1, 0]], np.uint8))
    np.testing.assert_allclose(value, [np.log(2) * (0.75 + 0.5)], rtol=1e-6)


@pytest.mark.parametrize(
    ("train", "labels", "message"),
    [
        (config.Train(loss="focal"), np.zeros((4, 2), np.uint8), "config.train.loss"),
        (
            config.Train(loss="margin", label_smoothing=0.1),
            np.zeros(4, np.int32),
            "label_smoothing",
        ),
        (config.Train(class_weights="balanced"), np.zeros(4, np.int32), "class 1"),
    ],
)
def test_what_does_not_fit_is_refused(train, labels, message):
    with pytest.raises(InputError, match=message):
        make_loss(train, labels, 2)


def test_probabilities():
    one = jnp.float32(1)
    softmax = to_probabilities(LOGITS, "focal", one)
    np.testing.assert_allclose(softmax, np.exp(log_softmax(LOGITS)), rtol=1e-5)
    lengths = jnp.array([[0.6, 0.2], [0.3, 0.3]])
    np.testing.assert_allclose(
        to_probabilities(lengths, "margin", one), [[0.75, 0.25], [0.5, 0.5]], rtol=1e-5
    )
    np.testing.assert_allclose(
        to_probabilities(LOGITS, "binary", jnp.float32(2)),
        1 / (1 + np.exp(-LOGITS / 2)),
        rtol=1e-5,
    )
