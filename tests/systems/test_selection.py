"""Choice of features: what is chosen, and what the search may look at."""

import numpy as np

from covjax.systems.selection import best, first_position, social_mimic


def test_best_are_the_columns_that_tell_classes_apart():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    features = rng.normal(size=(30, 6))
    features[:, 4] += 5 * labels
    features[:, 1] -= 3 * labels
    features[:, 2] = 7  # no variance, no statistic
    assert best(features, labels, 2).tolist() == [1, 4]
    assert best(features, labels, 99).tolist() == list(range(6))


def test_first_positions_choose_from_one_to_four_fifths():
    rng = np.random.default_rng(0)
    numbers = [(first_position(10, rng) > 0.5).sum() for _ in range(200)]
    assert min(numbers) == 1
    assert max(numbers) == 8
    assert (first_position(1, rng) > 0.5).all()


def search(score, count=12, **kwargs):
    options = {"population": 6, "iterations": 4} | kwargs
    return social_mimic(score, count, np.random.default_rng(1), **options)


def test_social_mimic_keeps_the_best_it_has_seen():
    asked = {}

    def score(columns):
        hits = len({2, 5, 7} & set(columns.tolist()))
        asked[tuple(columns)] = hits / 3
        return hits / 3

    found = search(score)

    def cost(columns):
        return 0.99 * (1 - asked[columns]) + 0.01 * len(columns) / 12

    assert cost(tuple(found)) == min(map(cost, asked))
    assert len(asked) > 6  # it has moved from the first population


def test_fewer_columns_win_where_the_score_is_the_same():
    sizes = []

    def score(columns):
        sizes.append(len(columns))
        return 0.8

    assert len(search(score)) == min(sizes)


def test_social_mimic_is_a_function_of_its_seed():
    def score(columns):
        return 1 / (1 + abs(columns.sum() - 20))

    np.testing.assert_array_equal(search(score), search(score))
