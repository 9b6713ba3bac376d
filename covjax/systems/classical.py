"""Feature vectors to classes by scikit-learn: scale, select, balance, classify.

Everything is fitted to training vectors and to nothing else. The fitted object is not
saved: scikit-learn's files are pickles, which run code when they are read. The same
vectors and seed fit it again in seconds.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from covjax.data.splits import k_fold
from covjax.errors import InputError
from covjax.systems import Ranges, check_ranges, resampling, selection
from covjax.systems.hierarchy import HierarchicalTree

MARGINS = ("linear_svm", "rbf_svm")  # give distances, not probabilities
CLASSIFIERS = (*MARGINS, "knn", "random_forest", "mlp", "hierarchical_tree")
INNER_FOLDS = 3  # of the feature selection; covjax's choice
PIPELINE = "config.system.kwargs.pipeline"  # where users write it
RANGES: Ranges = {
    "select_count": (1, None),
    "population": (1, None),
    "iterations": (0, None),
}
SELECTION_TREES = 10  # of the forest that scores features (Toğaçar's notebook)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """How classes are made of vectors.

    Attributes:
      classifier: one of `CLASSIFIERS`.
      options: for the constructor of scikit-learn's classifier.
      resample: one of `covjax.systems.resampling.KINDS`.
      select: one of `covjax.systems.selection.KINDS`.
      select_count: features that ``"best"`` keeps.
      population: followers of ``"social_mimic"``.
      iterations: of ``"social_mimic"``.
      hierarchy: path of each class by its name, for ``"hierarchical_tree"`` alone.
    """

    classifier: str = "linear_svm"
    options: dict[str, Any] = field(default_factory=dict)
    resample: str = "none"
    select: str = "none"
    select_count: int = 256
    population: int = 10
    iterations: int = 10
    hierarchy: dict[str, str] = field(default_factory=dict)

    def check(self, class_names: tuple[str, ...]) -> None:
        """Raises `InputError` for a value that is not allowed."""
        for name, allowed in (
            ("classifier", CLASSIFIERS),
            ("resample", resampling.KINDS),
            ("select", selection.KINDS),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{PIPELINE}.{name}={getattr(self, name)!r}: must be one of "
                    f"{', '.join(allowed)}"
                )
        shape = self.options.get("decision_function_shape", "ovr")
        if shape != "ovr":  # distances of pairs: of three classes as many as classes
            raise InputError(
                f"{PIPELINE}.options.decision_function_shape={shape!r}: must be 'ovr', "
                "one distance a class"
            )
        check_ranges(self, RANGES, PIPELINE)
        if (self.classifier == "hierarchical_tree") != bool(self.hierarchy):
            raise InputError(
                f"{PIPELINE}.hierarchy: belongs to the classifier "
                "'hierarchical_tree', which needs it"
            )
        if self.hierarchy and set(self.hierarchy) != set(class_names):
            raise InputError(
                f"{PIPELINE}.hierarchy: must have a path for each of "
                f"{', '.join(class_names)}"
            )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted pipeline.

    Attributes:
      mean: of each feature in training.
      scale: its standard deviation; 1 where it does not vary.
      columns: the features that are used, int ``[k]``.
      estimator: scikit-learn's.
      margins: whether it gives distances instead of probabilities.
      num_classes: of the data; the estimator may have seen fewer.
      facts: numbers for the record.
    """

    mean: np.ndarray
    scale: np.ndarray
    columns: np.ndarray
    estimator: Any
    margins: bool
    num_classes: int
    facts: dict[str, Any]

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float32 ``[n, classes]`` of vectors ``[n, features]``.

        Distances from a support vector machine's planes become shares by softmax (of
        two classes by a sigmoid); the report's temperature, fitted on validation, says
        how steep.
        """
        vectors = ((features - self.mean) / self.scale)[:, self.columns]
        result = np.zeros((len(features), self.num_classes), np.float32)
        for row, vector in zip(result, vectors, strict=True):
            row[self.estimator.classes_] = self.ask(vector.copy())
        return result

    def ask(self, vector: np.ndarray) -> np.ndarray:
        """Shares ``[classes seen]`` of one scaled vector ``[k]``, contiguous.

        One at a time: a matrix product's last bits depend on the number of rows, and
        on how they lie in memory.
        """
        if not self.margins:
            return self.estimator.predict_proba(vector[None])[0]
        distances = self.estimator.decision_function(vector[None]).reshape(-1)
        if len(distances) == 1:
            distances = np.concatenate([-distances, distances]) / 2
        return np.exp(distances - np.logaddexp.reduce(distances))


def fit_pipeline(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: tuple[str, ...],
    pipeline: Pipeline,
    seed: int,
) -> Fitted:
    """Fits the pipeline to training vectors.

    Features are chosen before classes are balanced, so that no vector made of two
    pictures is on both sides of an inner fold.

    Args:
      features: float ``[n, features]``.
      labels: int ``[n]``.
      groups: str ``[n]``; pictures of one group stay in one inner fold.
      class_names: of the data.
      pipeline: what to do.
      seed: of everything that is random.

    Raises:
      InputError: for settings that do not fit, also those that scikit-learn refuses,
        and for vectors of one class alone.
    """
    import sklearn

    pipeline.check(class_names)
    if len(np.unique(labels)) < 2:
        raise InputError(
            f"data: all training pictures are {class_names[labels[0]]}; "
            f"{pipeline.classifier} needs two classes"
        )
    rng = np.random.default_rng(seed)
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    scaled = (features - mean) / scale
    columns = select(scaled, labels, groups, pipeline, rng, seed)
    vectors, targets = resampling.resample(
        scaled[:, columns], labels, pipeline.resample, rng
    )
    estimator, converged = fit_estimator(vectors, targets, class_names, pipeline, seed)
    fitted = Fitted(
        mean=mean,
        scale=scale,
        columns=columns,
        estimator=estimator,
        margins=pipeline.classifier in MARGINS,
        num_classes=len(class_names),
        facts={
            "features": int(features.shape[1]),
            "selected": len(columns),
            "training_counts": counts(labels, class_names),
            "resampled_counts": counts(targets, class_names),
            "converged": converged,
            "scikit_learn": sklearn.__version__,
        },
    )
    with refusals(pipeline):  # some are told only to who asks
        fitted.probabilities(features[:1])
    return fitted


def rehearse(
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: tuple[str, ...],
    pipeline: Pipeline,
    seed: int,
) -> None:
    """Fits the pipeline to made-up vectors of the pictures, with their labels.

    What it refuses is known so before networks are trained. Arguments and errors are
    those of `fit_pipeline`.
    """
    classes = np.eye(len(class_names))[labels]
    vectors = classes + np.random.default_rng(seed).normal(0, 0.1, classes.shape)
    quick = replace(pipeline, population=1, iterations=0)
    pipeline.check(class_names)
    fit_pipeline(vectors, labels, groups, class_names, quick, seed)


@contextmanager
def refusals(pipeline: Pipeline) -> Iterator[None]:
    """What scikit-learn refuses becomes one line that names the classifier."""
    try:
        yield
    except (TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{PIPELINE}: {pipeline.classifier} with options {pipeline.options}: "
            f"{first}"
        ) from error


def counts(labels: np.ndarray, class_names: tuple[str, ...]) -> dict[str, int]:
    """Number of vectors of each class."""
    numbers = np.bincount(labels, minlength=len(class_names))
    return dict(zip(class_names, numbers.tolist(), strict=True))


def select(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    pipeline: Pipeline,
    rng: np.random.Generator,
    seed: int,
) -> np.ndarray:
    """The columns that the classifier is given, int ``[k]``.

    ``"social_mimic"`` scores columns by the accuracy of a small random forest, as in
    Toğaçar's notebook, in an inner cross-validation in which no group is on two sides.
    """
    if pipeline.select == "none":
        return np.arange(features.shape[1])
    if pipeline.select == "best":
        return selection.best(features, labels, pipeline.select_count)
    from sklearn.ensemble import RandomForestClassifier

    folds = k_fold(groups, labels, INNER_FOLDS, seed)

    def score(columns: np.ndarray) -> float:
        right = 0.0
        for fold in range(INNER_FOLDS):
            inside, outside = folds != fold, folds == fold
            forest = RandomForestClassifier(SELECTION_TREES, random_state=seed)
            forest.fit(features[inside][:, columns], labels[inside])
            said = forest.predict(features[outside][:, columns])
            right += float((said == labels[outside]).sum())
        return right / len(labels)

    return selection.social_mimic(
        score,
        features.shape[1],
        rng,
        population=pipeline.population,
        iterations=pipeline.iterations,
    )


def fit_estimator(
    features: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    pipeline: Pipeline,
    seed: int,
) -> tuple[Any, bool]:
    """Scikit-learn's classifier, and whether its optimisation has converged."""
    from sklearn.exceptions import ConvergenceWarning

    with refusals(pipeline), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator = make_estimator(class_names, pipeline, seed)
        estimator.fit(features, labels)
    for entry in caught:
        if not issubclass(entry.category, ConvergenceWarning):
            warnings.warn_explicit(
                entry.message, entry.category, entry.filename, entry.lineno
            )
    failed = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    return estimator, not failed


def make_estimator(class_names: tuple[str, ...], pipeline: Pipeline, seed: int) -> Any:
    """The classifier, not fitted; its defaults are scikit-learn's where unnamed."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC, LinearSVC

    options, drawn = pipeline.options, {"random_state": seed}
    match pipeline.classifier:
        case "linear_svm":  # one class against the rest
            return LinearSVC(**{"max_iter": 10_000} | drawn | options)
        case "rbf_svm":
            return SVC(**drawn | options)
        case "knn":
            return KNeighborsClassifier(**options)
        case "random_forest":
            return RandomForestClassifier(**drawn | options)
        case "mlp":
            return MLPClassifier(**drawn | options)
        case _:
            paths = tuple(pipeline.hierarchy[name] for name in class_names)
            return HierarchicalTree(paths, **{"min_samples_leaf": 5} | drawn | options)
