"""Votes, weights and stacking by hand; what a meta-learner may learn from."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from covjax import config, train
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.data.preprocess import Preprocess
from covjax.data.splits import group_ids, k_fold
from covjax.errors import InputError
from covjax.systems import ensemble
from covjax.systems.finished import without_embeddings
from covjax.systems.votes import Combination, combine, majority_vote

RECIPE = Path(__file__).resolve().parents[2] / "configs/survey/row17_covxnet.py"


def pictures(n: int, classes: int, seed: int = 0, patients: int = 10) -> ImageSet:
    """Noise; picture i belongs to patient i mod `patients`, a patient to one class."""
    rng = np.random.default_rng(seed)
    patient = np.arange(n) % patients
    return ImageSet(
        images=rng.integers(0, 256, (n, 8, 8, 1), np.uint8),
        labels=(patient % classes).astype(np.int32),
        class_names=tuple("abc"[:classes]),
        patients=np.array([f"p{k}" for k in patient]),
        sources=np.full(n, ""),
        splits=np.full(n, ""),
        files=np.array([f"{seed} {i}" for i in range(n)]),
    )


def drawn(voters: int, n: int, classes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), (voters, n)).astype(np.float32)


class TestVotes:
    def test_by_hand(self):
        said = np.array(
            [  # three voters, two pictures
                [[0.6, 0.4], [0.9, 0.1]],
                [[0.55, 0.45], [0.4, 0.6]],
                [[0.0, 1.0], [0.3, 0.7]],
            ]
        )
        # votes 2 : 1 although the mean is 0.3833 : 0.6167; votes 1 : 2
        expected = [[2.38333, 1.61667], [1.53333, 2.46667]]
        np.testing.assert_allclose(majority_vote(said), np.array(expected) / 4, 1e-4)

    def test_ties_go_to_the_higher_mean(self):
        said = np.array([[[0.6, 0.4, 0.0]], [[0.1, 0.9, 0.0]]])
        assert majority_vote(said).argmax() == 1
        assert majority_vote(1 - said[..., ::-1]).argmax() == 0

    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(("voters", "classes"), [(2, 2), (4, 3), (9, 4)])
    def test_is_the_literal_vote(self, voters, classes, seed):
        said = drawn(voters, 50, classes, seed)
        found = majority_vote(said)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        for picture in range(50):
            votes = [int(voter[picture].argmax()) for voter in said]
            most = max(votes.count(k) for k in range(classes))
            tied = [k for k in range(classes) if votes.count(k) == most]
            means = said[:, picture].mean(axis=0)
            assert found[picture].argmax() == max(tied, key=lambda k: means[k])

    def test_a_sure_minority_does_not_win(self):
        said = np.array([[[0.0, 1.0]], [[0.51, 0.49]], [[0.51, 0.49]]])
        assert majority_vote(said).argmax() == 0


class TestCombination:
    def test_mean(self):
        said = drawn(3, 20, 4)
        labels = np.arange(20) % 4
        found = combine("mean", said, labels)(said)
        np.testing.assert_allclose(found, said.mean(axis=0), rtol=1e-5)

    def test_weights_have_the_least_loss(self):
        labels = np.arange(60) % 3
        good = 0.7 * np.eye(3)[labels] + 0.1
        said = np.stack([drawn(1, 60, 3)[0], good])
        joined = combine("weighted", said, labels)
        assert joined.weights.sum() == pytest.approx(1)
        rows = np.arange(60)

        def loss(weight: float) -> float:
            mixed = weight * said[0] + (1 - weight) * said[1]
            return -np.log(mixed[rows, labels]).mean()

        grid = np.linspace(0, 1, 2001)
        best = grid[np.argmin([loss(w) for w in grid])]
        assert joined.weights[0] == pytest.approx(best, abs=2e-3)

    @pytest.mark.parametrize("classes", [2, 3, 4])
    def test_stacking_is_logistic_regression(self, classes):
        labels = np.arange(80) % classes
        said = drawn(3, 80, classes) / 2 + np.eye(classes)[labels] / 2
        found = combine("stacking", said, labels)(drawn(3, 30, classes, 1))
        beside = np.concatenate(list(said), axis=1)
        reference = LogisticRegression(max_iter=1000).fit(beside, labels)
        asked = np.concatenate(list(drawn(3, 30, classes, 1)), axis=1)
        np.testing.assert_allclose(found, reference.predict_proba(asked), atol=1e-5)

    @pytest.mark.parametrize("rule", ensemble.RULES)
    def test_written_and_read(self, rule):
        said, labels = drawn(2, 12, 3), np.arange(12) % 3
        joined = combine(rule, said, labels)
        again = Combination.from_dict(json.loads(json.dumps(joined.to_dict())))
        np.testing.assert_array_equal(again(said), joined(said))
        np.testing.assert_allclose(joined(said).sum(axis=1), 1, rtol=1e-5)

    @pytest.mark.parametrize("rule", ensemble.RULES)
    def test_a_picture_alone_or_among_others(self, rule):
        said = drawn(9, 101, 4)
        joined = combine(rule, said, np.arange(101) % 4)
        together = joined(said)
        for row in range(101):
            alone = joined(said[:, row : row + 1])
            np.testing.assert_array_equal(alone[0], together[row])

    def test_a_class_without_pictures(self):
        with pytest.raises(InputError, match="no picture of class 2"):
            combine("stacking", drawn(2, 10, 3), np.arange(10) % 2)


def alike(images):
    """The same pictures in every split."""
    return Splits(
        train=images,
        validation=images,
        test=images,
        preprocess=Preprocess(size=8),
        verdict={},
        card={},
    )


def test_no_picture_is_predicted_by_who_saw_its_patient():
    images, folds = pictures(43, 2), []

    def predict(seen, unseen, fold):
        folds.append(fold)
        assert not set(seen.patients) & set(unseen.patients)
        assert len(seen) + len(unseen) == 43
        assert set(seen.labels) == {0, 1}
        return unseen.images[:, 0, 0].repeat(2, axis=1) / 255

    groups, _ = group_ids(images.patients, images.files)
    found = ensemble.out_of_fold(images, k_fold(groups, images.labels, 3, 0), predict)
    assert folds == [0, 1, 2]
    expected = images.images[:, 0, 0].repeat(2, axis=1) / 255
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # each once, in its place


def test_stacking_keeps_the_groups_of_file_names_together(tmp_path, monkeypatch):
    """As in class folders, whose patients are known by ``config.data.group_key``."""
    train = pictures(44, 2)
    train = replace(
        train,
        patients=np.full(44, ""),
        files=np.array([f"p{i // 4}_{i % 4}.png" for i in range(44)]),
    )
    sides = []

    def train_member(run, splits, place, member, start):
        sides.append({file.partition("_")[0] for file in splits.train.files})
        return Memory(splits.preprocess, {}, 2)

    monkeypatch.setattr(ensemble, "train_member", train_member)
    run = config.Run()
    run.data.group_key = r"(p\d+)_"
    member = ensemble.Member(name="a", model="a", size=8, kwargs={})
    splits = alike(train)
    start = ensemble.Start(None, ())
    settings = ensemble.Settings(rule="stacking", folds=3)
    parts = ensemble.folds_of(run, train, settings)
    ensemble.out_of_fold_of(run, splits, tmp_path, member, start, parts)
    names = {f"p{i}" for i in range(11)}
    left_out = [names - side for side in sides]
    assert sum(map(len, left_out)) == len(names)  # each in one fold, with all it has


def test_too_many_folds_are_refused_before_any_member_trains(tmp_path, monkeypatch):
    def train_member(*_):
        raise AssertionError("a member was trained")

    monkeypatch.setattr(ensemble, "train_member", train_member)
    images = pictures(43, 2)
    splits = alike(images)
    settings = ensemble.Settings(
        members=({"model": "alexnet"}, {"model": "vgg11"}), rule="stacking", folds=44
    )
    run = config.Run(data=config.Data(size=64))
    with pytest.raises(InputError, match="patients or groups cannot be split into 44"):
        ensemble.train(run, splits, tmp_path, settings)


@dataclass
class Memory:
    """A network that knows what it was trained on, and nothing else."""

    preprocess: Preprocess
    known: dict
    classes: int

    def judge(self, images):
        blind = np.full(self.classes, 1 / self.classes)
        return without_embeddings(
            np.array([self.known.get(i.tobytes(), blind) for i in images])
        )


@dataclass
class Bright:
    """A network that looks at the picture, and is right eight times of ten."""

    preprocess: Preprocess

    def judge(self, images):
        share = images[:, 0, 0, 0] / 255
        return without_embeddings(np.stack([1 - share, share], axis=1))


def test_stacking_does_not_trust_a_network_that_memorises(tmp_path, monkeypatch):
    """On training predictions the memory is perfect; out of fold it knows nothing."""
    sets = [pictures(120, 2, seed, patients=60) for seed in range(3)]
    for images in sets:
        wrong = np.random.default_rng(9).random(120) < 0.2
        said = images.labels ^ wrong
        images.images[:, 0, 0, 0] = np.where(said, 204, 51)
    prepare = Preprocess(size=8)
    splits = SplitsOf(*sets, prepare)
    asked = []

    def train_member(run, splits, workdir, member, start):
        asked.append(workdir.relative_to(tmp_path).as_posix())
        if member.name == "bright":
            return Bright(prepare)
        train = splits.train
        known = {
            i.tobytes(): np.eye(2)[k]
            for i, k in zip(train.images, train.labels, strict=True)
        }
        return Memory(prepare, known, 2)

    def report(run, splits, workdir, parts):
        return parts.judge(splits.test.images).probabilities

    monkeypatch.setattr(ensemble, "train_member", train_member)
    monkeypatch.setattr(ensemble.outcome, "report", report)
    run = config.Run()
    run.data.size = 8
    members = ({"name": "memory"}, {"name": "bright"})
    settings = ensemble.Settings(members=members, rule="stacking", folds=3)
    found = ensemble.train(run, splits, tmp_path, settings)
    np.testing.assert_array_equal(
        found.argmax(axis=1), sets[2].images[:, 0, 0, 0] > 128
    )
    joined = json.loads((tmp_path / "combination.json").read_text())
    weights = np.abs(np.array(joined["weights"])[:4]).max(axis=1)
    assert weights[:2].max() < 0.1 * weights[2:].min()
    folds = [f"{name}/fold-{k}" for name in ("memory", "bright") for k in range(3)]
    assert asked == ["memory", "bright", *folds]


@dataclass(frozen=True)
class SplitsOf:
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    preprocess: Preprocess


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": ({"model": "resnet18"},)}, "must name two networks"),
        ({"members": ({}, {})}, "two are called 'densenet121'"),
        ({"members": ({"dpeth": 1}, {})}, "members[0]: has no 'dpeth'; it has name"),
        (
            {"members": ({}, "covxnet64")},
            "members[1]='covxnet64': must be a dictionary",
        ),
        ({"members": ({}, {"kwargs": 3})}, "members[1].kwargs=3: must be a dictionary"),
        ({"members": ({"size": "x"}, {})}, "members[0].size='x': must be a whole"),
        (
            {"members": ({"size": 65}, {"name": "b"})},
            "members[0].size=65: must be from 8 to config.data.size=64",
        ),
        ({"rule": "median"}, "rule='median': must be one of mean, weighted"),
        ({"rule": "stacking", "folds": 1}, "folds=1: must be at least 2"),
    ],
)
def test_broken_settings(changes, message):
    changes = {"members": ({}, {"name": "b"})} | changes
    with pytest.raises(InputError) as error:
        ensemble.check(config.Run(), pictures(9, 3), ensemble.Settings(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["..", ".", "a/../../x", "a/b", "/x", "b/"])
def test_a_member_lies_in_the_work_directory(name):
    settings = ensemble.Settings(members=({}, {"name": name}))
    with pytest.raises(InputError) as error:
        ensemble.check(config.Run(), pictures(9, 3), settings)
    line = (
        f"config.system.kwargs.members[1].name={name!r}: must be the name of a folder"
    )
    assert str(error.value) == line


def test_several_labels_need_the_mean():
    images = pictures(4, 3)
    many = replace(images, labels=np.ones((4, 3), np.uint8))
    settings = ensemble.Settings(members=({}, {"name": "b"}), rule="majority")
    with pytest.raises(InputError, match="several labels a picture it must be mean"):
        ensemble.check(config.Run(), many, settings)


def test_a_trunk_is_taken_and_nothing_else():
    def variables(value, *names):
        tree = {name: {"kernel": np.full(2, value)} for name in names}
        return {"params": tree, "batch_stats": {"stem1": {"mean": np.full(2, value)}}}

    fresh = variables(0, "stem1", "stage1", "transfer1", "head")
    donor = variables(1, "stem1", "stage1", "hidden", "head")
    start, taken = ensemble.with_trunk(fresh, donor, ("stem", "stage"))
    assert taken == ("stem1", "stage1")
    values = {name: tree["kernel"][0] for name, tree in start["params"].items()}
    assert values == {"stem1": 1, "stage1": 1, "transfer1": 0, "head": 0}
    assert start["batch_stats"]["stem1"]["mean"][0] == 1
    assert fresh["params"]["stem1"]["kernel"][0] == 0  # the given tree is as it was
    for lacking in (variables(1, "stem1"), variables(1, "stem1", "stage1", "stage2")):
        with pytest.raises(InputError, match="only one of the two networks has stage"):
            ensemble.with_trunk(fresh, lacking, ("stem", "stage"))


def test_two_stages_from_recipe_to_report(tmp_path, predicts_as_evaluated):
    """Row 17: the second stage keeps the first one's trunk, frozen."""
    members = (
        {"model": "covxnet32", "size": 32},
        {"model": "covxnet32", "size": 16, "name": "small"},
    )
    words = ["--config.data.size=32", "--config.system.kwargs.rule=weighted"]
    words += [f"--config.system.kwargs.members={members}"]
    words += ["--config.model.kwargs.depth=1"]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    recipe = f"{RECIPE}:pretraining,smoke"
    assert train.main(["--config", recipe, "--workdir", first, *words]) == 0
    recipe = f"{RECIPE}:normal,smoke"
    words += [f"--config.model.pretrained={first}"]
    assert train.main(["--config", recipe, "--workdir", second, *words]) == 0
    for name in ("covxnet32", "small"):
        old, new = (
            np.load(tmp_path / stage / name / "weights.npz")
            for stage in ("first", "second")
        )
        kept = [k for k in new if k.startswith(("params/stem", "params/stage"))]
        assert len(kept) > 10
        for key in kept:
            np.testing.assert_array_equal(new[key], old[key])
        assert any(key.startswith("params/transfer1") for key in new)
        assert new["params/head/kernel"].shape[1] == 2
        assert old["params/head/kernel"].shape[1] == 3
    metrics = json.loads((tmp_path / "second/metrics.json").read_text())
    assert metrics["classes"] == ["normal", "covid19"]
    joined = json.loads((tmp_path / "second/combination.json").read_text())
    assert sum(joined["weights"]) == pytest.approx(1)
    predicts_as_evaluated(tmp_path / "second")
    absent = [*words[:-1], f"--config.model.pretrained={tmp_path / 'nowhere'}"]
    with pytest.raises(InputError, match=r"nowhere/covxnet32/classifier\.json: no"):
        train.main(["--config", recipe, "--workdir", str(tmp_path / "x"), *absent])
