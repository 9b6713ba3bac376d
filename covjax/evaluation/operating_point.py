"""The threshold of one class: chosen on validation, frozen, then measured on test."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from covjax import config
from covjax.errors import InputError
from covjax.evaluation import bootstrap, intervals, ranking
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.predictions import Predictions

# names of classes that are no disease: of one's own folders the last may be one
HEALTHY = {
    "control", "healthy", "negative", "no finding", "no findings", "no_finding",
    "no_findings", "non-covid", "noncovid", "normal",
}  # fmt: skip
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.5)  # at which PPV and NPV are told


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A picture is called positive if its probability is at least the threshold.

    Attributes:
      positive: name of the class.
      threshold: on its (calibrated) probability; None where each fold has its own.
      rule: how it was chosen, in words.
    """

    positive: str
    threshold: float | None
    rule: str

    def called(self, probabilities: np.ndarray) -> np.ndarray:
        """Which probabilities ``[n]`` of the class are called positive."""
        assert self.threshold is not None
        return probabilities.astype(float) >= self.threshold  # float32 would round it

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``operating_point.json``."""
        return asdict(self)


def thresholds(point: OperatingPoint | None) -> dict[str, float]:
    """The frozen thresholds by class name, as a finished run keeps them."""
    if point is None or point.threshold is None:
        return {}
    return {point.positive: point.threshold}


def positive_class(rule: config.Evaluation, class_names: tuple[str, ...]) -> str:
    """The class of the operating point: as asked, or the last that is a disease.

    Raises:
      InputError: where there is no such class.
    """
    diseased = [c for c in class_names if c.casefold() not in HEALTHY]
    positive = rule.positive or (diseased or class_names)[-1]
    if positive not in class_names:
        raise InputError(
            f"config.evaluation.positive={positive!r}: must be one of "
            f"{', '.join(class_names)}"
        )
    return positive


def choose(
    validation: Predictions, class_names: tuple[str, ...], rule: config.Evaluation
) -> OperatingPoint | None:
    """The best threshold on the validation split; the test split is not an argument.

    Youden: largest sensitivity + specificity. Fixed sensitivity (specificity): among
    the thresholds that reach the target, the largest specificity (sensitivity). Cost:
    smallest ``cost_ratio`` times missed cases plus false alarms. A threshold lies
    halfway between two probabilities of validation. None where the split has no
    picture of the class, or none of the others.
    """
    positive = positive_class(rule, class_names)
    k = class_names.index(positive)
    truth = one_vs_rest(validation.labels, len(class_names))[:, k]
    scores = validation.probabilities[:, k].astype(float)
    c = ranking.curve(truth, scores)
    if not c.positives or not c.negatives:
        return None
    tp, fp = np.append(0, c.tp), np.append(0, c.fp)  # first: nothing is called
    sensitivity, specificity = tp / c.positives, 1 - fp / c.negatives
    target = rule.target - 1e-9
    match rule.threshold:
        case "youden":
            merit, words = sensitivity + specificity, "largest Youden index"
        case "sensitivity":
            merit = np.where(sensitivity >= target, specificity, -1)
            words = f"sensitivity of at least {rule.target:g}"
        case "specificity":
            merit = np.where(specificity >= target, sensitivity, -1)
            words = f"specificity of at least {rule.target:g}"
        case _:
            merit = -(rule.cost_ratio * (c.positives - tp) + fp)
            words = f"least cost, a missed case at {rule.cost_ratio:g} false alarms"
    best = int(np.argmax(np.round(merit, 12)))
    steps = np.append(np.append(np.nextafter(1, 2), c.thresholds), 0)
    threshold = (steps[best] + steps[best + 1]) / 2
    if threshold == steps[best + 1]:  # neighbours: nothing lies between
        threshold = steps[best]
    return OperatingPoint(positive, float(threshold), words)


def apply(
    point: OperatingPoint,
    predictions: Predictions,
    class_names: tuple[str, ...],
    level: float,
    called: np.ndarray | None = None,
) -> dict[str, Any]:
    """What the frozen point does on a split: proportions with their intervals.

    ``called`` (bool ``[n]``) stands in where there is no single threshold.
    ``at_prevalence`` follows from sensitivity and specificity by Bayes' rule; its
    intervals combine the ends of both, and so cover at least the level.
    """
    k = class_names.index(point.positive)
    truth = one_vs_rest(predictions.labels, len(class_names))[:, k]
    if called is None:
        called = point.called(predictions.probabilities[:, k])
    cluster = bootstrap.clusters(predictions.patients)
    found = intervals.proportions(truth, called, cluster, level)
    found["accuracy"] = intervals.proportion(
        "accuracy", truth == called, cluster, level
    )
    return {
        "tp": int((truth & called).sum()),
        "fp": int((~truth & called).sum()),
        "fn": int((truth & ~called).sum()),
        "tn": int((~truth & ~called).sum()),
        "prevalence": float(truth.mean()),
        **{name: measure.to_dict() for name, measure in found.items()},
        "at_prevalence": [
            predictive_values(found["sensitivity"], found["specificity"], share)
            for share in PREVALENCES
        ],
    }


def predictive_values(
    sensitivity: intervals.Measure, specificity: intervals.Measure, prevalence: float
) -> dict[str, Any]:
    """PPV and NPV where this share of pictures is positive; None with a reason."""
    unknown = sensitivity.reason or specificity.reason

    def value(name: str, a: float | None, b: float | None) -> float | None:
        if a is None or b is None:
            return None
        if name == "ppv":
            hits, others = a * prevalence, (1 - b) * (1 - prevalence)
        else:
            hits, others = b * (1 - prevalence), (1 - a) * prevalence
        return hits / (hits + others) if hits + others else None

    found: dict[str, Any] = {"prevalence": prevalence}
    for name, called in (("ppv", "positive"), ("npv", "negative")):
        found[name] = {  # both values rise with both arguments
            end: value(name, getattr(sensitivity, end), getattr(specificity, end))
            for end in ("estimate", "low", "high")
        }
        if found[name]["estimate"] is None:
            found[name]["reason"] = unknown or f"no picture is called {called}"
    return found
