"""Balancing of feature vectors by class; of training data only."""

import numpy as np

KINDS = ("none", "oversample", "undersample", "smote", "smote_tomek")
NEIGHBOURS = 5  # k of SMOTE (Chawla et al. 2002, section 4.2)


def resample(
    features: np.ndarray, labels: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The training vectors with every class equally often, as far as the kind goes.

    ``oversample`` repeats drawn vectors up to the largest class, ``undersample`` keeps
    as many as the smallest class has, ``smote`` adds vectors between neighbours up to
    the largest class, ``smote_tomek`` then takes away what is left of Tomek links.

    Args:
      features: ``[n, features]``, scaled, for distances count.
      labels: int ``[n]``.
      kind: one of `KINDS`.
      rng: decides what is drawn.
    """
    if kind == "none":
        return features, labels
    counts = np.bincount(labels)
    wanted = int(counts[counts > 0].min() if kind == "undersample" else counts.max())
    parts = []
    for label in np.flatnonzero(counts):
        vectors = features[labels == label]
        missing = wanted - len(vectors)
        if kind == "undersample":
            chosen = vectors[rng.choice(len(vectors), wanted, replace=False)]
        elif kind == "oversample":
            drawn = rng.integers(len(vectors), size=missing)
            chosen = np.concatenate([vectors, vectors[drawn]])
        else:
            chosen = np.concatenate([vectors, between(vectors, missing, rng)])
        parts.append((chosen, np.full(len(chosen), label, labels.dtype)))
    features, labels = (np.concatenate(column) for column in zip(*parts))
    if kind == "smote_tomek":
        linked = tomek_links(features, labels)
        return features[~linked], labels[~linked]
    return features, labels


def between(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """New vectors of one class, each on the line from a vector to a neighbour of it.

    The neighbour is one of the `NEIGHBOURS` nearest; a class of one vector repeats it.

    References:
      Chawla, Bowyer, Hall, Kegelmeyer 2002, SMOTE, JAIR 16, section 4.2.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(vectors) == 1:
        return np.repeat(vectors, count, axis=0)
    k = min(NEIGHBOURS, len(vectors) - 1)
    near = (
        NearestNeighbors(n_neighbors=k)
        .fit(vectors)
        .kneighbors(
            return_distance=False  # without a query a vector is not its own neighbour
        )
    )
    start = rng.integers(len(vectors), size=count)
    end = near[start, rng.integers(k, size=count)]
    share = rng.random((count, 1))
    new = vectors[start] + share * (vectors[end] - vectors[start])
    return new.astype(vectors.dtype)


def tomek_links(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which vectors are the nearest neighbour of their nearest, of another class.

    References:
      Batista, Prati, Monard 2004, SIGKDD Explorations 6(1), section 3: after SMOTE
      both ends of a link go.
    """
    from sklearn.neighbors import NearestNeighbors

    finder = NearestNeighbors(n_neighbors=1).fit(features)
    nearest = finder.kneighbors(return_distance=False)[:, 0]
    mutual = nearest[nearest] == np.arange(len(features))
    return mutual & (labels[nearest] != labels)
