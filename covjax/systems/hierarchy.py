"""A classifier that knows how classes belong together: one tree for all levels.

Vens, Struyf, Schietgat, Džeroski, Blockeel 2008, Decision trees for hierarchical
multi-label classification, Machine Learning 73, section 4.1 (Clus-HMC). A class stands
for itself and everything above it; the tree splits where the weighted variance of these
vectors falls most.

Differs from the paper: branches end by the number of pictures in a leaf instead of an
F-test.
"""

from typing import Any

import numpy as np

from covjax.errors import InputError

DECAY = 0.75  # weight of a level against the one above (section 4.1)


class HierarchicalTree:
    """Like a classifier of scikit-learn: `fit`, `predict_proba`, ``classes_``."""

    def __init__(self, paths: tuple[str, ...], **options: Any):
        """Makes the tree of ``DecisionTreeRegressor(**options)``.

        Args:
          paths: of each class, its name last: ``"pneumonia/viral/covid"``. No path may
            lead through another.
          **options: for scikit-learn.
        """
        from sklearn.tree import DecisionTreeRegressor

        self.vectors, depths = indicators(paths)
        self.scale = np.sqrt(DECAY**depths)
        self.ends = self.vectors.shape[1] - 1 - self.vectors[:, ::-1].argmax(axis=1)
        self.tree = DecisionTreeRegressor(**options)
        self.classes_ = np.arange(len(paths))

    def fit(self, features: np.ndarray, labels: np.ndarray) -> "HierarchicalTree":
        """Grows the tree from ``[n, features]`` and int ``[n]``."""
        # squared error of scaled columns is the weighted variance of the paper
        self.tree.fit(features, self.vectors[labels] * self.scale)
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Shares of the classes in the leaf of each picture, ``[n, classes]``."""
        return (self.tree.predict(features) / self.scale)[:, self.ends]


def indicators(paths: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The vector of each class over all places of the hierarchy, and their depths.

    Returns:
      float ``[classes, places]`` of 0 and 1, places in the order of their depth, and
      int ``[places]``, 0 at the top.

    Raises:
      InputError: where a path leads through another.
    """
    trails = [path.split("/") for path in paths]
    above = [
        {"/".join(trail[: depth + 1]) for depth in range(len(trail))}
        for trail in trails
    ]
    for i, path in enumerate(paths):
        for j, others in enumerate(above):
            if i != j and path in others:
                raise InputError(
                    f"hierarchy: {paths[j]!r} leads through {path!r}, which is a "
                    "class; a class must be an end"
                )
    places = sorted(set().union(*above), key=lambda place: (place.count("/"), place))
    vectors = np.array([[place in a for place in places] for a in above], float)
    return vectors, np.array([place.count("/") for place in places])
