"""What a classifier scores that never looks at the lungs.

Each control is fitted on the training split and scored on the same test pictures,
with the same AUC and interval, as the network it stands beside. Five see no lungs:
the source, the file's header, sex, age and view, the picture's border, its corners. A
sixth knows only brightness and contrast. If one of them scores well, so would a network
that has learnt nothing of the disease. The last two see a small picture whole: what
they reach needs no network.

References:
  DeGrave, Janizek and Lee, Nature Machine Intelligence 3 (2021) 610; Maguolo and
  Nanni, Information Fusion 76 (2021) 1; Lopez-Cabrera et al., Health and Technology
  11 (2021) 411.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from covjax.data.imageset import ImageSet
from covjax.data.loading import Splits
from covjax.evaluation import bootstrap
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.intervals import Measure, area

ALARM = 0.6  # a control without lungs whose whole interval is above is a finding
MOST = 5000  # training pictures a control is fitted on, drawn by the seed
SIDE = 32  # of the small pictures
HEADER = ("file_width", "file_height", "file_bytes", "file_mode", "file_format")
PERCENTILES = (1, 10, 50, 90, 99)
PERSON = ("age", "sex", "view")


@dataclass(frozen=True, slots=True)
class Control:
    """One control and what it scored.

    Attributes:
      name: short, such as ``"source"``.
      sees_lungs: whether the pixels it is given contain the lungs.
      probabilities: float ``[n, classes]`` of the test pictures; None if it could not
        be fitted.
      auc: mean one-vs-rest AUC with its interval; without an estimate, the reason.
      classes: AUC of each class against the rest, by name; empty if not fitted.
      sentence: the result in words.
    """

    name: str
    sees_lungs: bool
    probabilities: np.ndarray | None
    auc: Measure
    classes: dict[str, Measure]
    sentence: str

    @property
    def alarm(self) -> bool:
        """Whether something other than the lungs tells the class."""
        low = self.auc.low
        return not self.sees_lungs and low is not None and low > ALARM


class _View(NamedTuple):
    """What the controls are given of a split."""

    images: ImageSet
    small: np.ndarray  # float32 [n, SIDE, SIDE], fewer pixels where pictures have fewer
    exposure: np.ndarray  # float32 [n, statistics] of the grey values


class _Recipe(NamedTuple):
    """A control before it is fitted."""

    name: str
    subject: str  # of the sentence
    sees_lungs: bool
    # the columns of both splits; None if they tell nothing
    features: Callable[[_View, _View], tuple[np.ndarray, np.ndarray] | None]
    missing: str  # the reason in that case
    model: Callable[[int, int], Any]  # (pictures, seed) to a scikit-learn classifier


@lru_cache(maxsize=1)  # the seeds of a run share their splits
def run(splits: Splits, *, level: float = 0.95, seed: int = 0) -> tuple[Control, ...]:
    """Fits every control on the training split and scores it on the test split.

    Asked again for the very same splits, it gives what it found before.

    Args:
      splits: the data; its validation split is not used.
      level: of the intervals.
      seed: of the trees and of the draw where the training split is large.
    """
    rows = np.arange(len(splits.train))
    if len(rows) > MOST:
        drawn = np.random.default_rng(seed).choice(len(rows), MOST, replace=False)
        rows = np.sort(drawn)
    train, test = _view(splits.train.subset(rows)), _view(splits.test)
    return tuple(_control(recipe, train, test, level, seed) for recipe in RECIPES)


def _control(
    recipe: _Recipe, train: _View, test: _View, level: float, seed: int
) -> Control:
    names = test.images.class_names
    columns = recipe.features(train, test)
    probabilities = None
    if columns is not None:
        model = recipe.model(len(columns[0]), seed)
        labels = np.asarray(train.images.labels)
        probabilities = _fitted(model, *columns, labels, len(names))
    labels = np.asarray(test.images.labels)
    patients = np.asarray(test.images.patients, str)
    return scored(recipe, probabilities, labels, patients, names, level)


def scored(
    recipe: _Recipe,
    probabilities: np.ndarray | None,
    labels: np.ndarray,
    patients: np.ndarray,
    names: tuple[str, ...],
    level: float,
) -> Control:
    """One of `RECIPES` on test pictures; without probabilities it was not fitted."""
    if probabilities is None:
        auc = Measure(None, None, None, len(labels), "not fitted", recipe.missing)
        sentence = f"{recipe.subject} cannot be tried: {recipe.missing}."
        return Control(recipe.name, recipe.sees_lungs, None, auc, {}, sentence)
    truth = one_vs_rest(labels, len(names))
    cluster = bootstrap.clusters(patients)
    auc = area(truth, probabilities, cluster, level)
    classes = {
        name: area(truth[:, [k]], probabilities[:, [k]], cluster, level)
        for k, name in enumerate(names)
    }
    sentence = f"{recipe.subject} {told(auc, classes)}."
    lungs = recipe.sees_lungs
    return Control(recipe.name, lungs, probabilities, auc, classes, sentence)


def told(auc: Measure, classes: dict[str, Measure]) -> str:
    """The result, with the class that is told best where there are several."""
    if auc.estimate is None:
        return f"cannot be measured: {auc.reason}"
    text = f"reaches AUC {_interval(auc)} here"
    if len(classes) > 2:
        name = max(classes, key=lambda c: classes[c].estimate or 0.0)
        text += f", {_interval(classes[name])} for {name}"
    return text


def _interval(auc: Measure) -> str:
    return f"{auc.estimate:.2f} [{auc.low:.2f}, {auc.high:.2f}]"


def _fitted(
    model: Any, x: np.ndarray, new: np.ndarray, labels: np.ndarray, classes: int
) -> np.ndarray:
    """Probabilities ``[n, classes]`` of the new rows; a model a class if multi-hot."""
    from sklearn.base import clone

    if labels.ndim == 1:
        known = np.unique(labels)
        if len(known) == 1:
            return np.tile(np.eye(classes)[known[0]], (len(new), 1))
        probabilities = np.zeros((len(new), classes))
        probabilities[:, known] = model.fit(x, labels).predict_proba(new)
        return probabilities.clip(0, 1)
    columns = [
        _fitted(clone(model), x, new, labels[:, k], 2)[:, 1] for k in range(classes)
    ]
    return np.stack(columns, axis=1)


def _view(images: ImageSet) -> _View:
    """Reads each picture once, so that a streamed set is decoded once."""
    side = min(SIDE, *images.images.shape[1:3])
    small = np.empty((len(images), side, side), np.float32)
    exposure = np.empty((len(images), 2 + len(PERCENTILES)), np.float32)
    for start in range(0, len(images), 256):
        for row, picture in enumerate(images.images[start : start + 256], start):
            grey = picture.mean(axis=-1, dtype=np.float32)
            plane = Image.fromarray(grey).resize((side, side), Image.Resampling.BOX)
            small[row], exposure[row] = np.asarray(plane), _exposure_of(grey)
    return _View(images, small, exposure)


def _exposure_of(grey: np.ndarray) -> np.ndarray:
    """Mean, deviation and percentiles of the grey values, ``[7]``."""
    return np.array([grey.mean(), grey.std(), *np.percentile(grey, PERCENTILES)])


def _columns(
    train: ImageSet, test: ImageSet, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The metadata columns that differ at all: numbers as such, words one-hot."""
    found = []
    for name in names:
        if name not in train.metadata or name not in test.metadata:
            continue
        both = np.concatenate([train.metadata[name], test.metadata[name]]).astype(str)
        if len(np.unique(both[: len(train)])) > 1:
            found.append(_numbers(both))
    if not found:
        return None
    table = np.concatenate(found, axis=1)
    return table[: len(train)], table[len(train) :]


def _numbers(column: np.ndarray) -> np.ndarray:
    """A column of text as numbers ``[n, 1]`` (-1 is unknown) or one-hot ``[n, k]``."""
    try:
        return np.array([float(v) if v else -1.0 for v in column])[:, None]
    except ValueError:
        return (column[:, None] == np.unique(column)) * 1.0


def _source(train: _View, test: _View):
    sources = np.concatenate([train.images.sources, test.images.sources]).astype(str)
    if len(np.unique(sources[: len(train.images)])) == 1:
        return None
    table = (sources[:, None] == np.unique(sources)) * 1.0
    return table[: len(train.images)], table[len(train.images) :]


def _inside(keep: Callable[[np.ndarray], np.ndarray]):
    """Features: the small pictures' pixels at which ``keep(side)`` is true."""

    def features(train: _View, test: _View):
        chosen = keep(np.arange(train.small.shape[1]))
        return train.small[:, chosen], test.small[:, chosen]

    return features


def _border(line: np.ndarray) -> np.ndarray:
    """The outer sixteenth of each side."""
    outer = np.minimum(line, line[::-1]) < max(1, len(line) // 16)
    return outer[:, None] | outer


def _corners(line: np.ndarray) -> np.ndarray:
    """What an ellipse over 95 % of height and width leaves: the centre is blank."""
    at = (line + 0.5) / len(line) * 2 - 1
    return at[:, None] ** 2 + at**2 > 0.95**2


def _whole(train: _View, test: _View):
    """Half the small side (16 x 16), each picture's own mean and contrast removed."""

    def halved(small: np.ndarray) -> np.ndarray:
        n, side = len(small), small.shape[1] // 2
        cut = small[:, : 2 * side, : 2 * side].reshape(n, side, 2, side, 2)
        flat = cut.mean(axis=(2, 4)).reshape(n, -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        return flat / np.maximum(flat.std(axis=1, keepdims=True), 1e-3)

    return halved(train.small), halved(test.small)


def _tree(pictures: int, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    leaf = max(5, pictures // 100)  # smaller leaves learn single files by heart
    return DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, random_state=seed)


def _frequencies(pictures: int, seed: int) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=seed)  # grown out: one leaf a source


def _forest(pictures: int, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed)


def _neighbours(pictures: int, seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(5, pictures), weights="distance")


def _logistic(pictures: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # 256 columns against some hundred pictures want a strong penalty
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))


_CLOSED = "A classifier that never opens the picture and knows only"
_SEES = "A classifier that sees only"
RECIPES = (
    _Recipe("source", f"{_CLOSED} its source", False, _source,
            "all training pictures have the same source", _frequencies),
    _Recipe("header", f"{_CLOSED} its file's size, mode and format", False,
            lambda a, b: _columns(a.images, b.images, HEADER),
            "all training files have the same header, or it is unknown", _tree),
    _Recipe("person", f"{_CLOSED} the patient's age and sex and the view", False,
            lambda a, b: _columns(a.images, b.images, PERSON),
            "age, sex and view are unknown or all the same in training", _tree),
    _Recipe("border", f"{_SEES} the picture's border", False,
            _inside(_border), "", _forest),
    _Recipe("corners", f"{_SEES} the picture's corners, its centre blanked", False,
            _inside(_corners), "", _forest),
    _Recipe("exposure", f"{_SEES} the picture's brightness and contrast", False,
            lambda a, b: (a.exposure, b.exposure), "", _forest),
    _Recipe("neighbours", "A vote of the nearest neighbours on 16 x 16 pixels", True,
            _whole, "", _neighbours),
    _Recipe("logistic", "A logistic regression on 16 x 16 pixels", True,
            _whole, "", _logistic),
)  # fmt: skip
