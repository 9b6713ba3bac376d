"""Losses, each a number a picture, and the probabilities that belong to them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from covjax import config
from covjax.errors import InputError

# losses of an anomaly score, and the deviations that an anomaly should reach
DEVIATIONS = ("deviation", "deviation_confidence")
MARGIN = 5.0  # Pang et al. 2019, section 4.3
FOCAL_TINY = 1e-6  # smallest 1 - p of the focal loss


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Maps outputs and labels to one loss a picture.

    ``cross_entropy``: of the softmax, with label smoothing (Szegedy et al. 2016,
    section 7). ``focal``: (1 - p)^gamma times it (Lin et al. 2017, equation 4).
    ``binary``: sigmoid cross-entropy of every class, summed over classes; labels may
    be multi-hot. ``margin``: of capsule lengths (Sabour et al. 2017, equation 4).
    ``deviation`` and ``deviation_confidence``: see `anomaly`.
    """

    name: str
    num_classes: int
    weights: tuple[float, ...] = ()  # of a picture, by its class; (): all 1
    positive_weights: tuple[float, ...] = ()  # multi-hot: of a class's positives
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0

    def __call__(self, outputs: jax.Array, labels: jax.Array) -> jax.Array:
        """Float32 ``[batch]`` from ``[batch, classes]`` and int or multi-hot labels."""
        outputs = outputs.astype(jnp.float32)
        targets = self.targets(labels)
        match self.name:
            case "cross_entropy":
                losses = optax.softmax_cross_entropy(
                    outputs, optax.smooth_labels(targets, self.label_smoothing)
                )
            case "focal":
                log_p = (jax.nn.log_softmax(outputs) * targets).sum(-1)
                # at 0 a power below 1 has no gradient
                missing = jnp.maximum(-jnp.expm1(log_p), FOCAL_TINY)
                losses = -(missing**self.focal_gamma) * log_p
            case "binary":
                losses = self.binary(outputs, targets)
            case "deviation" | "deviation_confidence":
                losses = anomaly(outputs, labels, self.name)
            case _:
                losses = margin(outputs, targets)
        if self.weights and labels.ndim == 1:
            losses = losses * jnp.asarray(self.weights, jnp.float32)[labels]
        return losses

    def targets(self, labels: jax.Array) -> jax.Array:
        """Float32 ``[batch, classes]``, one-hot or multi-hot."""
        if labels.ndim == 1:
            return jax.nn.one_hot(labels, self.num_classes)
        return labels.astype(jnp.float32)

    def binary(self, logits: jax.Array, targets: jax.Array) -> jax.Array:
        """Sigmoid cross-entropy; positives weighted, smoothing towards one half."""
        s = self.label_smoothing
        terms = optax.sigmoid_binary_cross_entropy(logits, targets * (1 - s) + s / 2)
        if self.positive_weights:
            weights = jnp.asarray(self.positive_weights, jnp.float32)[None]
            # Rajpurkar et al. 2017 (CheXNet), section 2.2: both sides weigh the same
            terms = terms * (targets * weights + (1 - targets) * (1 - weights))
        return terms.sum(-1)


def margin(lengths: jax.Array, targets: jax.Array) -> jax.Array:
    """Sabour et al. 2017, equation 4: m+ = 0.9, m- = 0.1, lambda = 0.5."""
    present = targets * jnp.maximum(0.0, 0.9 - lengths) ** 2
    absent = (1 - targets) * jnp.maximum(0.0, lengths - 0.1) ** 2
    return (present + 0.5 * absent).sum(-1)


def reconstruction(drawn: jax.Array, pixels: jax.Array) -> jax.Array:
    """Squared error summed over a picture, ``[batch]`` (Sabour et al., section 4.1).

    The sum grows with the picture; the paper's weight 0.0005 belongs to 784 pixels.

    Args:
      drawn: by a capsule network's decoder, float32 ``[batch, h, w, channels]``.
      pixels: what the network was shown, in [0, 1]: before they were normalised.
    """
    return jnp.square(drawn - pixels).sum(axis=(1, 2, 3))


def anomaly(outputs: jax.Array, labels: jax.Array, name: str) -> jax.Array:
    """Of an anomaly score and the head beside it, ``[batch]``.

    Column 1 of the outputs is the score, with the `deviation` loss. Column 0 is a logit
    with sigmoid cross-entropy: under ``deviation`` of the normal class (Zhang et al.
    2020, arXiv:2003.12338v1), under ``deviation_confidence`` of the score deciding
    rightly, which is what the confidence head of version 4 of that paper is for.

    Args:
      outputs: float32 ``[batch, 2]``.
      labels: int ``[batch]``, 1 for anomalies.
      name: of the loss.
    """
    anomalous = labels.astype(jnp.float32)
    wanted = 1 - anomalous
    if name == "deviation_confidence":
        wanted = (class_scores(outputs, name).argmax(-1) == labels).astype(jnp.float32)
    beside = optax.sigmoid_binary_cross_entropy(outputs[:, 0], wanted)
    return deviation(outputs[:, 1], anomalous) + beside


def deviation(scores: jax.Array, anomalous: jax.Array) -> jax.Array:
    """Pang, Shen, van den Hengel 2019, KDD, arXiv:1911.08623, equations 5 to 7.

    With d the distance of a score from the mean of reference scores, in their standard
    deviations: ``|d|`` for normal pictures, ``max(0, MARGIN - d)`` for anomalies.

    Args:
      scores: float32 ``[batch]``.
      anomalous: float32 ``[batch]``, 1 for anomalies.
    """
    mean, std = references()
    distance = (scores - mean) / std
    far = jnp.maximum(0.0, MARGIN - distance)
    return (1 - anomalous) * jnp.abs(distance) + anomalous * far


def references() -> tuple[float, float]:
    """Mean and deviation of the reference scores, drawn once from N(0, 1)."""
    drawn = np.random.default_rng(0).standard_normal(5000)  # l, section 4.3
    return float(drawn.mean()), float(drawn.std(ddof=1))


def make_loss(train: config.Train, labels: np.ndarray, num_classes: int) -> Loss:
    """The loss of a run.

    Args:
      train: the run's settings of the loop.
      labels: of the training split, int ``[n]`` or multi-hot ``[n, classes]``; from
        them come balanced class weights.
      num_classes: number of classes.

    Raises:
      InputError: for a loss that does not fit the labels or its settings.
    """
    if labels.ndim == 2 and train.loss not in ("binary", "margin"):
        raise InputError(
            f"config.train.loss={train.loss!r}: pictures with several labels need "
            "'binary' or 'margin'"
        )
    if train.label_smoothing and train.loss not in ("cross_entropy", "binary"):
        raise InputError(
            f"config.train.label_smoothing={train.label_smoothing}: must be 0 with "
            f"the loss {train.loss!r}; it belongs to cross_entropy and binary"
        )
    if train.loss in DEVIATIONS and num_classes != 2:
        raise InputError(
            f"config.train.loss={train.loss!r}: needs two classes, the anomalies last; "
            f"the data have {num_classes}"
        )
    extra: dict[str, Any] = {}
    if train.class_weights == "balanced":
        extra = balanced_weights(labels, num_classes)
    return Loss(
        name=train.loss,
        num_classes=num_classes,
        label_smoothing=train.label_smoothing,
        focal_gamma=train.focal_gamma,
        **extra,
    )


def balanced_weights(labels: np.ndarray, num_classes: int) -> dict[str, Any]:
    """Weights by inverse frequency whose mean over the pictures is 1.

    With several labels a picture: the share of negatives, which weighs the positives
    of each class, as in CheXNet.
    """
    if labels.ndim == 2:
        share = 1 - labels.mean(axis=0)
        return {"positive_weights": tuple(float(s) for s in share)}
    counts = np.bincount(labels, minlength=num_classes)
    if not counts.all():
        raise InputError(
            "config.train.class_weights='balanced': the training split has no "
            f"picture of class {int(np.argmin(counts))}"
        )
    return {"weights": tuple(float(len(labels) / (num_classes * c)) for c in counts)}


def class_scores(outputs: jax.Array, loss: str) -> jax.Array:
    """Float32 ``[n, classes]``: the largest is the decision.

    An anomaly score decides half-way to the margin; all other outputs are what they
    are.
    """
    if loss not in DEVIATIONS:
        return outputs
    scores = outputs[:, 1]
    return jnp.stack([jnp.full_like(scores, MARGIN / 2), scores], axis=-1)


def to_probabilities(outputs: Any, loss: str, temperature: Any) -> jax.Array:
    """Float32 ``[n, classes]``: softmax, sigmoid, or capsule lengths as shares.

    `temperature` divides logits (of an anomaly score: its distance from the decision),
    and the logarithm of lengths; at 1 lengths are only divided by their sum.
    """
    match loss:
        case "binary":
            return jax.nn.sigmoid(outputs / temperature)
        case "margin":
            return jax.nn.softmax(jnp.log(outputs + 1e-12) / temperature)
        case _:
            return jax.nn.softmax(class_scores(outputs, loss) / temperature)
