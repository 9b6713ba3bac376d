"""Which features a classifier is given; chosen on training data only."""

from collections.abc import Callable

import numpy as np

KINDS = ("none", "best", "social_mimic")
WEIGHT = 0.99  # of the error against the share of features; the authors' is not known


def best(features: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The `count` columns with the largest F statistic, in order, int ``[count]``."""
    from sklearn.feature_selection import f_classif

    varies = np.flatnonzero(features.std(axis=0) > 0)  # others have no statistic
    statistic = np.zeros(features.shape[1])
    statistic[varies] = f_classif(features[:, varies], labels)[0]
    return np.sort(np.argsort(-statistic, kind="stable")[:count])


def social_mimic(
    score: Callable[[np.ndarray], float],
    count: int,
    rng: np.random.Generator,
    *,
    population: int,
    iterations: int,
) -> np.ndarray:
    """A wrapper search by social mimic optimisation; the chosen columns, int ``[k]``.

    Each follower is a point of the unit cube that stands for the columns above one
    half. The cost is ``WEIGHT (1 - score) + (1 - WEIGHT) share of columns``. In every
    iteration a follower moves by ``(cost - cost of the leader) / cost`` times its own
    position, or by a drawn share where that is nothing, and the best ever is kept.

    Differs from the authors' notebook (mtogacar/COVID_19): there the moved position is
    computed and then not used, so that its search is the best of the first, random
    population; its score is the accuracy on one fifth of the pictures, and of many
    searches the one with the best accuracy is kept. Here `score` is asked, which must
    know nothing but training data.

    Args:
      score: from the chosen columns to something in [0, 1], more is better.
      count: number of columns there are.
      rng: of the first population and of the drawn shares.
      population: number of followers.
      iterations: moves of each.

    References:
      Balochian, Baloochian 2019, Social mimic optimization algorithm and engineering
      applications, Expert Systems with Applications 134; Toğaçar, Ergen, Cömert 2020,
      Computers in Biology and Medicine 121:103805, section 2.6.
    """
    known: dict[bytes, float] = {}

    def cost(position: np.ndarray) -> float:
        chosen = position > 0.5
        if not chosen.any():
            return 1.0
        key = chosen.tobytes()
        if key not in known:
            error = 1 - score(np.flatnonzero(chosen))
            known[key] = WEIGHT * error + (1 - WEIGHT) * float(chosen.mean())
        return known[key]

    positions = np.stack([first_position(count, rng) for _ in range(population)])
    leader, lowest = positions[0], np.inf
    for _ in range(iterations + 1):
        costs = np.array([cost(position) for position in positions])
        if costs.min() < lowest:
            lowest, leader = costs.min(), positions[costs.argmin()].copy()
        distance = (costs - costs.min()) / costs
        distance = np.where(distance == 0, rng.random(population), distance)
        positions = np.minimum(positions * (1 + distance[:, None]), 1)
    return np.flatnonzero(leader > 0.5)


def first_position(count: int, rng: np.random.Generator) -> np.ndarray:
    """A point with at least one and at most four fifths of the columns chosen."""
    position = rng.uniform(0, 0.5, count)
    most = max(1, int(0.8 * count))  # authors' notebook
    chosen = rng.choice(count, rng.integers(1, most + 1), replace=False)
    position[chosen] += 0.5 + 1e-9
    return position
