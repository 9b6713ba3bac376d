"""Probabilities of several networks, or of several patches, to one decision."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax.errors import InputError


def majority_vote(probabilities: np.ndarray) -> np.ndarray:
    """Shares of the votes, such that the largest is the majority's class.

    Every voter has a vote for its most probable class, and the mean probability
    counts as one vote more, which it gives to all classes by their share: it decides
    ties and nothing else.

    Args:
      probabilities: ``[voters, n, classes]``, rows that add up to 1.

    Returns:
      Float32 ``[n, classes]``, rows that add up to 1.
    """
    voters, _, classes = probabilities.shape
    votes = np.eye(classes)[probabilities.argmax(axis=-1)].sum(axis=0)
    mean = probabilities.mean(axis=0, dtype=float)
    return ((votes + mean) / (voters + 1)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """How the probabilities of several networks become one.

    Attributes:
      rule: "mean", "weighted", "majority" or "stacking".
      weights: ``[members]``, adding up to 1, of "mean" and "weighted"; of "stacking"
        the coefficients ``[members * classes + 1, classes]`` of a softmax, the last
        row being the intercepts; empty for "majority".
    """

    rule: str
    weights: np.ndarray

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Float32 ``[n, classes]`` from ``[members, n, classes]``.

        Sums are taken term by term: a matrix product's last bits depend on the number
        of pictures.
        """
        if self.rule == "majority":
            return majority_vote(probabilities)
        if self.rule == "stacking":
            terms = beside(probabilities)[:, :, None] * self.weights[:-1]
            logits = terms.sum(axis=1) + self.weights[-1]
            exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
            shares = exponents / exponents.sum(axis=1, keepdims=True)
            return shares.astype(np.float32)
        terms = self.weights[:, None, None] * probabilities
        return terms.sum(axis=0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rule": self.rule, "weights": self.weights.tolist()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Combination":
        """The inverse of `to_dict`."""
        return cls(rule=values["rule"], weights=np.array(values["weights"]))


def combine(rule: str, probabilities: np.ndarray, labels: np.ndarray) -> Combination:
    """Makes a rule's combination; "weighted" and "stacking" learn it.

    Args:
      rule: see `Combination`.
      probabilities: ``[members, n, classes]``; for "stacking" of pictures that the
        members had not seen.
      labels: int ``[n]``.
    """
    members = len(probabilities)
    match rule:
        case "mean":
            weights = np.full(members, 1 / members)
        case "majority":
            weights = np.empty(0)
        case "weighted":
            weights = best_weights(probabilities, labels)
        case _:
            weights = meta_learner(probabilities, labels)
    return Combination(rule=rule, weights=weights)


def best_weights(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Weights ``[members]`` from 0 to 1 that have the least log loss."""
    from scipy.optimize import minimize

    members, n, _ = probabilities.shape
    right = probabilities[:, np.arange(n), labels].astype(float)

    def loss(free: np.ndarray) -> float:
        return -float(np.log(softmax(free) @ right + 1e-12).mean())

    return softmax(minimize(loss, np.zeros(members), method="BFGS").x)


def softmax(values: np.ndarray) -> np.ndarray:
    """Shares of ``exp(values)``."""
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def beside(probabilities: np.ndarray) -> np.ndarray:
    """Members beside one another: ``[n, members * classes]``."""
    return np.concatenate(list(probabilities), axis=1)


def meta_learner(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coefficients of a multinomial logistic regression, as `Combination` has them.

    Raises:
      InputError: when a class has no picture.
    """
    from sklearn.linear_model import LogisticRegression

    classes = probabilities.shape[-1]
    missing = np.setdiff1d(np.arange(classes), labels)
    if len(missing):
        raise InputError(
            f"stacking: the training split has no picture of class {missing[0]}"
        )
    learner = LogisticRegression(C=1.0, max_iter=1000)  # scikit-learn's own C
    learner.fit(beside(probabilities), labels)
    weights = np.vstack([learner.coef_.T, learner.intercept_])
    weights = weights.astype(float)  # coef_ has the type of the probabilities
    if classes == 2:  # scikit-learn keeps the second class's row alone
        weights = np.hstack([np.zeros_like(weights), weights])
    return weights
