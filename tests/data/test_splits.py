"""Splits are by patient, stratified, and a pure function of ids and seed."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covjax.data import splits
from covjax.errors import InputError

FRACTIONS = (0.7, 0.1, 0.2)


@st.composite
def patients_of_one_class(draw):
    """Every patient has pictures of one class, every class three patients or more."""
    classes = draw(st.integers(1, 4))
    groups, labels = [], []
    for label in range(classes):
        for patient in range(draw(st.integers(3, 12))):
            pictures = draw(st.integers(1, 5))
            groups += [f"p{label}-{patient}"] * pictures
            labels += [label] * pictures
    return np.array(groups), np.array(labels)


@st.composite
def mixed_patients(draw):
    """Any labels on any patients, at least three of these."""
    patients = draw(st.lists(st.integers(0, 9), min_size=3, max_size=60))
    patients[:3] = [0, 1, 2]
    labels = draw(
        st.lists(st.integers(0, 3), min_size=len(patients), max_size=len(patients))
    )
    return np.array([f"p{p}" for p in patients]), np.array(labels)


def sides(groups, parts):
    return {g: set(parts[groups == g]) for g in set(groups)}


@settings(max_examples=60, deadline=None)
@given(mixed_patients(), st.integers(0, 5), st.randoms())
def test_hold_out_is_by_patient_complete_and_blind_to_row_order(rows, seed, random):
    groups, labels = rows
    parts = splits.hold_out(groups, labels, FRACTIONS, seed)
    assert set(parts) <= set(splits.NAMES)
    assert all(len(side) == 1 for side in sides(groups, parts).values())
    order = list(range(len(groups)))
    random.shuffle(order)
    again = splits.hold_out(groups[order], labels[order], FRACTIONS, seed)
    np.testing.assert_array_equal(again, parts[order])


@settings(max_examples=60, deadline=None)
@given(patients_of_one_class(), st.integers(0, 5))
def test_every_class_is_in_every_part(rows, seed):
    groups, labels = rows
    parts = splits.hold_out(groups, labels, FRACTIONS, seed)
    for label, name in itertools.product(set(labels), splits.NAMES):
        assert ((labels == label) & (parts == name)).any(), (label, name)


@settings(max_examples=40, deadline=None)
@given(patients_of_one_class(), st.integers(2, 3), st.integers(0, 5))
def test_folds_are_disjoint_complete_and_stratified(rows, folds, seed):
    groups, labels = rows
    fold = splits.k_fold(groups, labels, folds, seed)
    assert set(fold) == set(range(folds))
    assert all(len(side) == 1 for side in sides(groups, fold).values())
    for label in set(labels):
        assert set(fold[labels == label]) == set(range(folds))


def test_shares_are_kept_in_every_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    groups = np.array([f"{k}-{rng.integers(k * 50 + 60)}" for k in labels])
    parts = splits.hold_out(groups, labels, FRACTIONS, 0)
    for label in range(3):
        share = [(parts[labels == label] == name).mean() for name in splits.NAMES]
        np.testing.assert_allclose(share, FRACTIONS, atol=0.03)


def test_patients_of_all_sizes_are_in_every_part():
    """Test patients must not be those with few pictures."""
    sizes = np.tile([1, 2, 4, 8], 60)
    groups = np.repeat([f"p{i}" for i in range(240)], sizes)
    parts = splits.hold_out(groups, np.zeros(len(groups), int), FRACTIONS, 0)
    _, first, count = np.unique(groups, return_index=True, return_counts=True)
    means = [count[parts[first] == name].mean() for name in splits.NAMES]
    np.testing.assert_allclose(means, sizes.mean(), rtol=0.25)


def test_seeds_differ():
    groups = np.array([f"p{i}" for i in range(40)])
    labels = np.arange(40) % 2
    found = {tuple(splits.hold_out(groups, labels, FRACTIONS, s)) for s in range(5)}
    assert len(found) == 5


def test_multi_label_keeps_rare_labels_and_rows_without_one():
    rng = np.random.default_rng(1)
    labels = (rng.random((400, 4)) < [0.5, 0.2, 0.05, 0.02]).astype(np.uint8)
    groups = np.array([f"p{i // 2}" for i in range(400)])
    parts = splits.hold_out(groups, labels, FRACTIONS, 0)
    columns = np.concatenate([labels, ~labels.any(axis=1, keepdims=True)], axis=1)
    for column in columns.T:
        share = [column[parts == n].sum() / column.sum() for n in splits.NAMES]
        assert min(share) > 0
        np.testing.assert_allclose(share, FRACTIONS, atol=0.15)


def test_a_rare_label_of_three_patients_is_in_every_part():
    labels = np.zeros((300, 2), np.uint8)
    labels[:3, 0] = labels[:, 1] = 1
    groups = np.repeat([f"p{i}" for i in range(102)], [1] * 3 + [3] * 99)
    for seed in range(5):
        parts = splits.hold_out(groups, labels, FRACTIONS, seed)
        assert set(parts[:3]) == set(splits.NAMES)


def test_a_patient_with_many_pictures_goes_where_there_is_room():
    groups = np.repeat([f"p{i}" for i in range(43)], [20] * 3 + [1] * 40)
    parts = splits.hold_out(groups, np.zeros(100, int), FRACTIONS, 0)
    assert [(parts == name).sum() for name in splits.NAMES] == [70, 10, 20]


def test_a_class_of_two_patients_is_learnt_and_tested():
    groups = np.array([f"p{i}" for i in range(12)])
    labels = np.array([0] * 10 + [1] * 2)
    parts = splits.hold_out(groups, labels, FRACTIONS, 3)
    assert set(parts[10:]) == {"train", "test"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("fractions", "largest"),
    [
        (FRACTIONS, ["train", "test"]),
        ((0.6, 0.3, 0.1), ["train", "validation"]),
        ((0.1, 0.4, 0.5), ["test", "validation"]),
    ],
)
def test_a_class_of_few_patients_is_in_the_largest_parts(fractions, largest, seed):
    groups = np.array([f"p{i}" for i in range(13)])
    labels = np.array([0] * 10 + [1] * 2 + [2])
    parts = splits.hold_out(groups, labels, fractions, seed)
    assert set(parts[10:12]) == set(largest)
    assert parts[12] == largest[0]


def test_names_that_are_not_utf8_are_split():
    """As Python reads the names of files that were written in Latin-1."""
    files = np.array([os.fsdecode(b"caf\xe9 %d" % i) for i in range(12)])
    labels = np.arange(12) % 2
    parts = splits.hold_out(files, labels, FRACTIONS, 0)
    assert set(parts) == set(splits.NAMES)
    assert len(splits.take(files, labels, 4, 0)) == 4


def test_fewer_patients_than_parts_are_refused():
    with pytest.raises(InputError, match="2 patients or groups cannot be split into 3"):
        splits.hold_out(np.array(["a", "b"]), np.array([0, 1]), FRACTIONS, 0)


def test_thirty_thousand_patients_take_seconds():
    import time

    groups = np.array([f"p{i}" for i in range(30_000)])
    labels = np.random.default_rng(0).random((30_000, 14)) < 0.05
    start = time.process_time()
    splits.hold_out(groups, labels.astype(np.uint8), FRACTIONS, 0)
    assert time.process_time() - start < 20


class TestGroupIds:
    files = np.array(["a_1.png", "a_2.png", "b_1.png", "c.png", "d.png"])

    def test_unknown_patients_are_groups_of_their_own(self):
        groups, matched = splits.group_ids(
            np.array(["x", "x", "", "", "y"]), self.files
        )
        assert not matched.any()
        assert groups[0] == groups[1]
        assert len(set(groups)) == 4

    def test_a_patient_called_like_a_file_is_another(self):
        groups, _ = splits.group_ids(
            np.array(["a_1.png", ""]), np.array(["x", "a_1.png"])
        )
        assert groups[0] != groups[1]

    def test_the_expression_groups_by_its_parentheses(self):
        groups, matched = splits.group_ids(np.full(5, ""), self.files, r"^(\w)_\d")
        assert groups[0] == groups[1] != groups[2]
        assert list(matched) == [True, True, True, False, False]

    def test_parentheses_without_a_match_are_no_group(self):
        """Two pictures of nobody known are not one patient called None."""
        files = np.array(["x_1.png", "y_2.png", "pat7_3.png", "pat7_x.png", "pat_q8_"])
        key = r"(pat\d+)?_(q\d)?"
        groups, matched = splits.group_ids(np.full(5, ""), files, key)
        assert list(matched) == [False, False, True, True, True]
        assert groups[2] == groups[3] == "key pat7"
        assert groups[4] == "key q8"
        assert len(set(groups)) == 4

    @given(st.permutations(range(4)))
    def test_patient_and_expression_connect(self, order):
        """P has a_1 and b_1, so article a and article b stay together."""
        files = np.array(["a_1", "a_2", "b_1", "c_1"])[order]
        patients = np.array(["P", "", "P", "Q"])[order]
        groups, _ = splits.group_ids(patients, files, r"^(\w)_")
        by_file = dict(zip(files, groups, strict=True))
        assert by_file["a_1"] == by_file["a_2"] == by_file["b_1"] != by_file["c_1"]
        assert by_file["a_1"] == "key a"  # whatever the order of the rows

    def test_a_bad_expression_is_one_line(self):
        with pytest.raises(InputError, match="not a regular expression"):
            splits.group_ids(np.full(5, ""), self.files, "(")

    def test_a_part_of_a_set_may_have_no_match(self):
        """The training split is grouped again where classifiers are chosen."""
        groups, matched = splits.group_ids(np.full(5, ""), self.files, "zzz")
        assert not matched.any()
        assert len(set(groups)) == 5


class TestVerdict:
    groups = np.array(["a", "a", "b", "c", "c"])
    named = np.array([True] * 5)
    matched = ~named

    def test_verified(self):
        parts = np.array(["train", "train", "validation", "test", "test"])
        found = splits.verdict(self.groups, self.named, self.matched, parts)
        assert found["verdict"] == "verified"
        assert (found["patients"], found["unknown_pictures"]) == (3, 0)
        assert found["examples"] == []

    def test_violated_counts_patients_and_pictures(self):
        parts = np.array(["train", "test", "validation", "test", "validation"])
        found = splits.verdict(self.groups, self.named, self.matched, parts)
        assert found["verdict"] == "violated"
        assert (found["shared_patients"], found["shared_pictures"]) == (2, 4)
        assert found["shared_between"] == {
            "train-validation": 0,
            "train-test": 1,
            "validation-test": 1,
        }
        assert found["examples"] == [0, 1]

    def test_unknown_ids_make_it_unverifiable_and_are_never_shared(self):
        groups = np.array(["file x", "file x", "b"])
        named = np.array([False, False, True])
        parts = np.array(["train", "test", "test"])
        found = splits.verdict(groups, named, np.zeros(3, bool), parts)
        assert found["verdict"] == "unverifiable"
        assert (found["unknown_pictures"], found["shared_patients"]) == (2, 0)

    def test_groups_are_no_known_patients(self):
        """A file name may hold anything; who is in the picture is not known by it."""
        parts = np.array(["train", "train", "validation", "test", "test"])
        found = splits.verdict(self.groups, ~self.named, self.named, parts)
        assert found["verdict"] == "unverifiable"
        assert (found["patients"], found["groups"]) == (0, 3)
        assert found["unknown_pictures"] == 5
        named = np.array([True, False, False, False, False])
        found = splits.verdict(self.groups, named, self.named, parts)
        assert (found["patients"], found["groups"]) == (1, 2)
        assert (found["verdict"], found["unknown_pictures"]) == ("unverifiable", 4)

    def test_a_group_in_two_splits_is_violated(self):
        parts = np.array(["train", "test", "validation", "test", "test"])
        found = splits.verdict(self.groups, ~self.named, self.named, parts)
        assert (found["verdict"], found["shared_patients"]) == ("violated", 1)

    def test_pictures_left_out_do_not_count(self):
        parts = np.array(["", "train", "train", "test", "test"])
        assert (
            splits.verdict(self.groups, self.named, self.matched, parts)["pictures"]
            == 4
        )

    def test_all_ids_unknown(self):
        found = splits.verdict(
            np.array(["file x", "file y"]),
            np.array([False, False]),
            np.array([False, False]),
            np.array(["train", "test"]),
        )
        assert (found["verdict"], found["patients"]) == ("unverifiable", 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array),
    st.integers(0, 70),
    st.randoms(),
)
def test_take_is_stratified_and_blind_to_row_order(labels, limit, random):
    files = np.array([f"{i}.png" for i in range(len(labels))])
    rows = splits.take(files, labels, limit, 0)
    assert len(rows) == (min(limit, len(labels)) if limit else len(labels))
    assert sorted(set(rows)) == list(rows)
    if limit >= len(set(labels)):
        assert set(labels[rows]) == set(labels)
    for label in set(labels):
        fair = len(rows) * (labels == label).mean()
        assert abs((labels[rows] == label).sum() - fair) <= len(set(labels))
    order = list(range(len(labels)))
    random.shuffle(order)
    again = splits.take(files[order], labels[order], limit, 0)
    assert set(files[order][again]) == set(files[rows])
