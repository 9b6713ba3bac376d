"""Judging files and other data sets with a finished run, of random weights."""

import csv
import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from covjax import cli, config, evaluate, predict
from covjax.data import load
from covjax.data.catalog import CATALOG
from covjax.data.phantom import phantom
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.evaluation import repeats
from covjax.evaluation.copies import copies
from covjax.evaluation.explanation import explain, without_parts
from covjax.evaluation.facts import measured_on
from covjax.evaluation.familiarity import Familiarity
from covjax.evaluation.final import record_data
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.table import of_copies
from covjax.inference import Classifier, make_network
from covjax.systems import seeds
from covjax.systems.finished import without_embeddings
from covjax.training.state import initialise

NAMES = ("normal", "pneumonia", "covid19")


@pytest.fixture(scope="module")
def pictures():
    return phantom(32, patients=20, pictures_per_patient=(1, 1))


@pytest.fixture(scope="module")
def classifier():
    network = make_network("squeezenet1_1", 3, "float32", {})
    variables = initialise(network, (32, 32, 1), 0)
    return Classifier(
        model_name="squeezenet1_1",
        model_kwargs={},
        dtype="float32",
        variables=jax.tree.map(np.asarray, variables),
        class_names=NAMES,
        preprocess=Preprocess.from_config(config.Data(size=32)),
        loss="cross_entropy",
        batch_size=4,
        thresholds={"covid19": 0.3},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory, classifier, pictures):
    """A work directory with all that the commands read."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    classifier.save(workdir)
    embeddings = classifier.judge(pictures.images).embeddings
    Familiarity.of(pictures, embeddings, embeddings).save(workdir)
    values = config.to_dict(config.Run())
    values["evaluation"]["resamples"] = 50
    (workdir / "config.json").write_text(json.dumps(values))
    return workdir


@pytest.fixture
def scans(tmp_path, pictures):
    for i in range(6):
        (tmp_path / "scans" / NAMES[i % 3]).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "scans" / NAMES[i % 3] / f"{i}.png"
        Image.fromarray(pictures.images[i, :, :, 0]).save(path)
    return tmp_path / "scans"


def judged(run, out, *paths):
    predict.main(["--workdir", str(run), "--out", str(out), *map(str, paths)])
    return {
        row["file"]: row for row in json.loads((out / "predictions.json").read_text())
    }


def test_one_picture_or_many_give_the_same_numbers(run, scans, tmp_path, classifier):
    many = judged(run, tmp_path / "many", scans)
    assert len(many) == 6
    file = str(scans / "pneumonia" / "4.png")
    alone = judged(run, tmp_path / "alone", file)[file]
    assert alone["probabilities"] == many[file]["probabilities"]
    image = classifier.preprocess(np.asarray(Image.open(file)))
    expected = classifier.scores(image[None])[0]
    assert list(alone["probabilities"].values()) == [float(p) for p in expected]
    assert alone["decision"] == NAMES[expected.argmax()]
    assert alone["positive"] == {"covid19": bool(expected[2] >= 0.3)}


def test_a_bad_file_has_its_error_and_the_rest_goes_on(run, scans, tmp_path):
    (scans / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    (scans / "gone.png").symlink_to("/nowhere/gone.png")
    (scans / "normal").rename(tmp_path / "behind a link")
    (scans / "normal").symlink_to(tmp_path / "behind a link")
    os.mkfifo(scans / "no file.png")
    stale = tmp_path / "out/heatmaps/00009-of another call.png"
    stale.parent.mkdir(parents=True)
    stale.touch()
    rows = judged(run, tmp_path / "out", scans, "--heatmaps")
    for name in ("broken.png", "gone.png"):
        assert name in rows[str(scans / name)]["error"]
    assert sum(not row["error"] for row in rows.values()) == 6
    assert len(list((tmp_path / "out" / "heatmaps").glob("*.png"))) == 6
    with (tmp_path / "out" / "predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {"file", "probability of covid19", "positive for covid19"} <= table[0].keys()


def test_names_that_are_no_utf8_and_places_that_are_files(
    run, scans, tmp_path, monkeypatch
):
    odd = os.fsencode(scans) + b"/\xe9.png"
    os.rename(scans / "normal" / "0.png", odd)
    rows = judged(run, tmp_path / "odd", scans)
    assert sum(not row["error"] for row in rows.values()) == 6
    assert "\\udce9.png" in (tmp_path / "odd" / "predictions.csv").read_text()
    (tmp_path / "taken").write_text("")
    words = ["--workdir", str(run), str(scans), "--out", str(tmp_path / "taken")]
    monkeypatch.setattr("sys.argv", ["predict", *words])
    with pytest.raises(SystemExit) as end:
        cli.run_command(predict.main)
    assert end.value.code == 2


def test_damaged_files_of_a_run_are_one_line(run, scans, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "familiarity.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"familiarity\.npz: not of a finished run"):
        predict.main(["--workdir", str(copy), str(scans)])


def test_unlike_pictures_are_warned_of(run, scans, tmp_path):
    white = tmp_path / "white.png"
    Image.fromarray(np.full((9000, 40), 255, np.uint8)).save(white)
    warnings = " ".join(judged(run, tmp_path / "out", white)[str(white)]["warnings"])
    for word in ("brightness 255", "contrast 0", "size 40x9000"):
        assert word in warnings
    near = str(scans / "normal" / "0.png")
    found = judged(run, tmp_path / "near", near)[near]["warnings"]
    assert not any(word in " ".join(found) for word in ("brightness", "features"))


def test_bad_input_is_one_line(run, tmp_path):
    with pytest.raises(InputError, match="absent"):
        predict.main(["--workdir", str(run), str(tmp_path / "absent")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no files"):
        predict.main(["--workdir", str(run), str(tmp_path / "empty")])
    with pytest.raises(InputError, match="no such run"):
        predict.main(["--workdir", str(tmp_path / "x"), str(tmp_path)])


def test_a_network_without_its_recipe_is_not_evaluated(classifier, tmp_path):
    classifier.save(tmp_path)  # and whose test split would that be?
    with pytest.raises(InputError, match="not a finished run"):
        evaluate.main(["--workdir", str(tmp_path)])


def external(run, scans, *words):
    evaluate.main(
        ["--workdir", str(run), "--data", "folder", "--dir", str(scans), *words]
    )
    # the run is shared by several tests, each with scans of its own
    place = max(run.glob("evaluation-folder-scans-*"), key=lambda p: p.stat().st_mtime)
    metrics = json.loads((place / "metrics.json").read_text())
    assert (metrics["own_test"], metrics["files"]) == (False, ["scans"])
    return metrics


def test_external_data_set_in_the_order_of_the_network(
    run, scans, classifier, pictures
):
    """Folders are read in alphabetical order; the network's order is another."""
    metrics = external(run, scans)
    labels = np.array([0, 1, 2, 0, 1, 2])
    decisions = classifier.scores(pictures.images[:6]).argmax(axis=1)
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (labels, decisions), 1)
    assert metrics["test"]["confusion_matrix"] == matrix.tolist()
    assert metrics["operating_point"]["threshold"] == 0.3


def test_another_folder_is_another_evaluation(run, scans, tmp_path):
    external(run, scans)
    before = set(run.glob("evaluation-folder-scans-*"))
    (tmp_path / "ward").mkdir()
    scans.rename(tmp_path / "ward" / "scans")
    words = ["--data", "folder", "--dir", str(tmp_path / "ward" / "scans")]
    evaluate.main(["--workdir", str(run), *words])
    assert len(set(run.glob("evaluation-folder-scans-*")) - before) == 1


def test_what_it_was_trained_on_is_no_external_data(run):
    """The run's recipe names the phantom."""
    with pytest.raises(InputError, match="trained on pictures of it; leave out --data"):
        evaluate.main(["--workdir", str(run), "--data", "phantom"])


@pytest.fixture
def trained(run, tmp_path):
    """The run with the record of its data, and its splits."""
    shutil.copytree(run, tmp_path / "trained")
    splits = load(config.Data(size=32))
    record_data(splits, tmp_path / "trained")
    return tmp_path / "trained", splits


def saved(images, folder):
    for i, picture in enumerate(images.images):
        path = folder / NAMES[images.labels[i]] / f"other name {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[:, :, 0]).save(path)
    return folder


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_its_own_pictures_under_other_names_are_no_external_data(
    trained, tmp_path, part
):
    workdir, splits = trained
    own = getattr(splits, part).subset(np.arange(3))
    drawn = saved(phantom(32, patients=6, seed=9), tmp_path / "set")
    count = len(list(drawn.rglob("*.png")))
    words = ["--workdir", str(workdir), "--data", "folder", "--dir", str(drawn)]
    assert evaluate.main(words) == 0  # not one of its own
    for i, picture in enumerate(own.images):
        Image.fromarray(picture[:, :, 0]).save(drawn / "normal" / f"own {i}.png")
    told = f"3 of {count + 3} pictures are the run's own, 3 in the {part} split"
    with pytest.raises(InputError, match=told):
        evaluate.main(words)
    assert not (workdir / "openings.jsonl").exists()


def test_copies_of_its_own_pictures_are_told(trained, tmp_path, capsys):
    """Of other brightness and contrast, so that no byte is the same."""
    workdir, splits = trained
    values = json.loads((workdir / "config.json").read_text())
    values["data"]["size"] = 32
    (workdir / "config.json").write_text(json.dumps(values))
    drawn = saved(phantom(32, patients=6, seed=9), tmp_path / "set")
    count = len(list(drawn.rglob("*.png")))
    words = ["--workdir", str(workdir), "--data", "folder", "--dir", str(drawn)]
    evaluate.main(words)
    assert "no picture shows one of the run's own (" in capsys.readouterr().out
    for name, i in (("train", 0), ("train", 1), ("test", 0)):
        picture = np.asarray(getattr(splits, name).images[i, :, :, 0], float)
        windowed = Image.fromarray((0.8 * picture + 20).astype(np.uint8))
        windowed.save(drawn / "normal" / f"copy {name} {i}.png")
    evaluate.main(words)
    told = capsys.readouterr().out
    (line,) = (
        line for line in told.splitlines() if "show one of the run's own" in line
    )
    assert line.startswith(
        "3 pictures show one of the run's own, 2 in the train split, 1 in the test "
        "split, such as normal/copy t"
    )
    place = max(workdir.glob("evaluation-*"), key=lambda p: p.stat().st_mtime)
    with (place / "copies.csv").open() as file:
        listed = {row["picture"]: row["split"] for row in csv.DictReader(file)}
    assert listed == {
        "normal/copy train 0.png": "train",
        "normal/copy train 1.png": "train",
        "normal/copy test 0.png": "test",
    }
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["test"]["n"] == count + 3
    assert metrics["copies"]["auc"]["n"] == count
    assert measured_on(metrics).endswith(", 3 of which show a picture of its own")
    other = tmp_path / "other"
    shutil.copytree(workdir, other)
    (other / "data.json").unlink()
    evaluate.main([*words[:2], str(other), *words[2:]])
    told = capsys.readouterr().out
    assert f"{workdir.name}: 3 pictures show one of the run's own" in told
    assert "other: copies of the run's own pictures were not looked for: " in told


def test_small_pictures_and_single_copies(trained, tmp_path):
    _, splits = trained
    tiny = dataclasses.replace(splits.preprocess, size=23)
    small = dataclasses.replace(splits, preprocess=tiny)
    said = Predictions.of(splits.test, np.full((len(splits.test), 3), 1 / 3))
    found = copies(small, splits.test, said, 0.95, tmp_path)
    assert of_copies(found).endswith("looked for: of 23 pixels a side they cannot be "
                                     "told from others")  # fmt: skip
    one = splits.test.subset(np.arange(1))
    found = copies(splits, one, said.subset(np.arange(1)), 0.95, tmp_path)
    assert of_copies(found).startswith("1 picture shows one of the run's own, 1 in the")
    assert found["auc"] is None


def test_its_own_phantom_elsewhere_is_no_external_data(trained, tmp_path):
    words = ["--workdir", str(trained[0]), "--data", "phantom"]
    with pytest.raises(InputError, match=r"of \d+ pictures are the run's own, \d+ in"):
        evaluate.main([*words, "--dir", str(tmp_path)])
    (trained[0] / "digests.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"digests\.npz: damaged"):
        evaluate.main([*words, "--dir", str(tmp_path)])


def test_the_example_of_the_help_has_names_that_exist():
    *_, data, _, mapping = str(evaluate.parser().epilog).split()
    theirs, _, ours = mapping.partition("=")
    assert theirs in CATALOG[data].classes
    assert ours in NAMES


def test_a_data_set_that_changed_is_not_opened(run):
    path = run / "data.json"
    digests = dict.fromkeys(("train", "validation", "test"), "of another set")
    for text, message in (
        (json.dumps({"fingerprints": digests}), "its train split are not those of its"),
        ("[]", r"data\.json: damaged: TypeError"),
        ("{}", r"data\.json: damaged: KeyError"),
        ('{"fingerprints": {}}', r"data\.json: damaged: KeyError"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            evaluate.main(["--workdir", str(run)])
    path.unlink()
    with pytest.raises(InputError, match=r"data\.json: no such file"):
        evaluate.main(["--workdir", str(run)])
    assert not (run / "openings.jsonl").exists()


def test_every_question_has_a_place_of_its_own(run, scans):
    """The same pictures under other names, or a part of them, are another result."""
    asked = [[], ["--limit", "3"], ["--map", "normal=covid19,covid19=normal"]]
    before = set(run.glob("evaluation-*"))
    found = [external(run, scans, *words) for words in asked]
    assert len(set(run.glob("evaluation-*")) - before) == 3
    assert [metrics["test"]["n"] for metrics in found] == [6, 3, 6]
    assert found[1]["asked"] == {"dir": "scans", "limit": 3}
    assert [measured_on(metrics) for metrics in found] == [
        "folder scans",
        "folder scans, 3 pictures drawn of it",
        "folder scans, with covid19 as normal, normal as covid19",
    ]
    flags = evaluate.parser().parse_args(["--workdir", "a", "--data", "darkcovidnet"])
    assert evaluate.words_of(flags) == "darkcovidnet"
    flags.dir = str(scans)
    assert evaluate.words_of(flags).startswith("darkcovidnet-scans-")


def test_bad_words_are_told_as_this_command_has_them(run, tmp_path):
    for words, message in (
        ([], "^--dir: must name a folder"),
        (["--dir", str(tmp_path / "absent")], r"no such folder \(--dir\)"),
        (["--dir", str(tmp_path), "--limit", "-1"], "--limit=-1"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate.main(["--workdir", str(run), "--data", "folder", *words])


def test_runs_of_other_classes_are_not_compared(run, classifier, tmp_path):
    other = dataclasses.replace(classifier, class_names=NAMES[::-1])
    other.save(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"its classes are .*, those of .* in the sam"):
        evaluate.main(["--workdir", str(run), str(tmp_path / "other")])


def test_a_run_and_its_copy_are_compared(run, scans, tmp_path, capsys):
    """Without any difference there is no interval of it."""
    shutil.copytree(run, tmp_path / "copy")
    words = ["--data", "folder", "--dir", str(scans)]
    evaluate.main(["--workdir", str(run), str(tmp_path / "copy"), *words])
    told = capsys.readouterr().out
    assert "+0.000 no interval" in told
    assert "copy less run: no interval of AUC, both rank the pictures alike" in told
    assert "no interval of accuracy, it is the same however the patients" in told


def test_compared_runs_are_one_table(run, scans, classifier, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "other")
    network = make_network("squeezenet1_1", 3, "float32", {})
    variables = jax.tree.map(np.asarray, initialise(network, (32, 32, 1), 1))
    dataclasses.replace(classifier, variables=variables).save(tmp_path / "other")
    words = ["--data", "folder", "--dir", str(scans)]
    before = set(run.glob("evaluation-*"))
    evaluate.main(["--workdir", str(run), str(tmp_path / "other"), *words])
    (place,) = set(run.glob("evaluation-*")) - before
    compared = json.loads((place / "comparison.json").read_text())
    (difference,) = compared["differences"]
    assert (difference["run"], difference["less"]) == ("other", "run")
    first, second = compared["runs"]
    for name in ("auc", "accuracy"):
        gap = second[name]["estimate"] - first[name]["estimate"]
        assert difference[name]["estimate"] == pytest.approx(gap)
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if "AUC" in line)
    assert lines[start].split() == ["AUC", "accuracy", "balanced", "accuracy"]
    assert [line.split("  ")[0] for line in lines[start + 1 : start + 4]] == [
        "run", "other", "other less run",
    ]  # fmt: skip
    assert f" p {difference['auc']['p']:.3g}" in lines[start + 3]
    assert f" p {difference['mcnemar']['p']:.3g}" in lines[start + 3]
    assert lines[start + 4] == ""  # no table besides


def test_unlike_test_splits_are_refused_before_they_are_opened(trained, tmp_path):
    workdir, _ = trained
    shutil.copytree(workdir, tmp_path / "other")
    values = json.loads((workdir / "config.json").read_text())
    values["data"] |= {"size": 32, "split_seed": 1}
    (tmp_path / "other" / "config.json").write_text(json.dumps(values))
    record_data(load(config.Data(size=32, split_seed=1)), tmp_path / "other")
    values["data"]["split_seed"] = 0
    (workdir / "config.json").write_text(json.dumps(values))
    with pytest.raises(
        InputError, match=r"other: its .* pictures are not the .*traine"
    ):
        evaluate.main(["--workdir", str(workdir), str(tmp_path / "other")])
    assert not list(tmp_path.glob("*/openings.jsonl"))
    assert not list(tmp_path.glob("*/evaluation-test"))


@pytest.fixture
def seeded(run, classifier, tmp_path):
    """Two finished seeds under one recipe, the second of other weights, as one."""
    recipe = config.Run(train=config.Train(seeds=2), data=config.Data(size=32))
    recipe.evaluation.resamples = 50
    workdir, splits = tmp_path / "seeded", load(recipe.data)
    network = make_network("squeezenet1_1", 3, "float32", {})
    plan = repeats.plan(recipe, workdir)
    for repeat in plan:
        shutil.copytree(run, repeat.place)
        variables = initialise(network, (32, 32, 1), repeat.number)
        member = dataclasses.replace(
            classifier,
            variables=jax.tree.map(np.asarray, variables),
            temperature=1.5 - repeat.number,
        )
        member.save(repeat.place)
        said = Predictions.of(splits.test, member.scores(splits.test.images))
        said.save(repeat.place / "predictions_test.npz")
    (workdir / "config.json").write_text(json.dumps(config.to_dict(recipe)))
    places = [repeat.place for repeat in plan]
    record_data(splits, places[0])
    shutil.copyfile(places[0] / "data.json", workdir / "data.json")
    point = {"positive": "covid19", "threshold": 0.4}
    seeds.keep(recipe, splits, places, workdir, {"operating_point": point})
    return workdir, dict(enumerate(places))


def test_seeds_answer_as_their_report_joins_them(seeded, scans, tmp_path):
    workdir, places = seeded
    joined = repeats.ensemble(places, "test")
    assert evaluate.main(["--workdir", str(workdir)]) == 0
    found = Predictions.load(workdir / "evaluation-test/predictions.npz")
    np.testing.assert_array_equal(found.probabilities, joined.probabilities)
    one = Predictions.load(places[1] / "predictions_test.npz").probabilities
    assert np.abs(one - joined.probabilities).max() > 1e-3
    metrics = json.loads((workdir / "evaluation-test/metrics.json").read_text())
    assert metrics["model"] == "2 seeds of densenet121"  # of the recipe
    assert metrics["operating_point"]["threshold"] == 0.4
    file = str(scans / "covid19" / "2.png")
    row = judged(workdir, tmp_path / "out", file)[file]
    both = [judged(place, tmp_path / "one", file)[file] for place in places.values()]
    for name, probability in row["probabilities"].items():
        mean = np.mean([other["probabilities"][name] for other in both])
        assert probability == pytest.approx(mean, abs=1e-7)
    with pytest.raises(InputError, match="2 seeds of densenet121, and only networks"):
        judged(workdir, tmp_path / "maps", file, "--heatmaps")


def test_seeds_know_their_pictures_and_need_all_members(seeded, tmp_path):
    workdir, places = seeded
    words = ["--workdir", str(workdir), "--data", "phantom", "--dir", str(tmp_path)]
    with pytest.raises(InputError, match=r"of \d+ pictures are the run's own, \d+ in"):
        evaluate.main(words)
    (places[1] / "weights.npz").unlink()
    with pytest.raises(InputError, match=r"seed-1/weights\.npz: no such file"):
        evaluate.main(["--workdir", str(workdir)])


def test_of_several_labels_all_likely_ones_are_told(classifier):
    one = predict.decided(classifier, np.float32([0.7, 0.4, 0.5]))
    assert one["decision"] == "normal"
    several = dataclasses.replace(classifier, multi_label=True)
    for scores, decision in (
        ([0.7, 0.4, 0.5], "normal; covid19"),
        ([0.4, 0.49, 0.1], "none"),
    ):
        assert predict.decided(several, np.float32(scores))["decision"] == decision


def test_unfinished_seeds_are_named_one_by_one(classifier, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    classifier.save(tmp_path / "seed-3")
    with pytest.raises(InputError, match=r"name one of its runs, such as .*seed-3"):
        evaluate.main(["--workdir", str(tmp_path)])


def test_classes_are_matched_by_name(run, scans):
    (scans / "covid19").rename(scans / "Corona")
    told = r"not know Corona; .* THEIRS=OURS.* theirs are Corona, normal, pneumonia, .*"
    with pytest.raises(InputError, match=told + ", ".join(NAMES)) as caught:
        external(run, scans)
    assert "Corona=" not in str(caught.value)  # which class it is, is not guessed
    assert external(run, scans, "--map", "Corona=covid19")["test"]["n"] == 6
    with pytest.raises(InputError, match="THEIRS=OURS"):
        external(run, scans, "--map", "Corona=flu")


def test_heat_maps_and_missing_parts(tmp_path, classifier, pictures):
    found = explain(classifier, pictures, tmp_path, config.Evaluation())
    assert found["cells"] == list(classifier.map_size())
    assert 0 < found["masks"]["lungs"]["area"] < 1
    assert 0 <= found["masks"]["lungs"]["share"] <= 1
    lungs = found["masks"]["lungs"]
    difference = lungs["share"] - lungs["area"]
    assert lungs["excess"]["estimate"] == pytest.approx(difference, abs=1e-6)
    assert len(list((tmp_path / "heatmaps").glob("*.png"))) == 12
    parts = blanked(classifier.judge, pictures)
    assert [(name, row["sees_lungs"]) for name, row in parts.items()] == [
        ("centre blanked 25%", True), ("centre blanked 50%", True),
        ("centre blanked 75%", False), ("centre blanked 88%", False),
        ("centre blanked 94%", False), ("lungs alone", True),
        ("lungs and 6% around alone", True), ("lungs blanked", False),
        ("lungs and 6% around blanked", False),
    ]  # fmt: skip


def blanked(judge, pictures):
    """The rows of `without_parts` by part."""
    whole = Predictions.of(
        pictures, judge(np.asarray(pictures.images[:])).probabilities
    )
    return {r["part"]: r for r in without_parts(judge, pictures, whole, level=0.9)}


def test_lungs_are_blanked_where_there_are_some(pictures):
    """A picture without a mask has no lungs to leave or to take away."""

    def mean(images):
        bright = images.mean(axis=(1, 2, 3)) / 255
        return without_embeddings(np.stack([1 - bright, bright, bright], axis=1))

    masks = pictures.masks.copy()
    masks[pictures.labels == 2] = 0
    some = dataclasses.replace(pictures, masks=masks)
    rows = blanked(mean, some)
    assert rows["centre blanked 94%"]["n"] == len(pictures)
    count = int((pictures.labels != 2).sum())
    assert rows["lungs alone"]["n"] == rows["lungs blanked"]["n"] == count
    assert rows["lungs blanked"]["auc"]["estimate"] is None  # a class is missing
    assert rows["lungs blanked"]["lead"]["estimate"] is None
    none = dataclasses.replace(pictures, masks=np.zeros_like(masks))
    assert all(part.startswith("centre blanked") for part in blanked(mean, none))


def test_blanking_hides_what_it_names(pictures):
    """A network that reads one pixel in the middle loses it with the centre."""

    def one_pixel(images):
        bright = images[:, 16, 16, 0].astype(np.float32) / 255
        return without_embeddings(
            np.stack([1 - bright, bright / 2, bright / 2], axis=1)
        )

    for part, row in blanked(one_pixel, pictures).items():
        if part.startswith("centre"):
            assert row["auc"]["estimate"] == pytest.approx(0.5)


def test_a_mark_outside_the_lungs_is_not_evidence(pictures):
    """A network that reads the picture's corner is as good without the lungs."""
    images = pictures.images.copy()
    images[:, 0, 0, 0] = 100 * pictures.labels

    def corner(images):
        z = -((images[:, :1, 0, 0] / 100 - np.arange(3)) ** 2)
        return without_embeddings(np.exp(z) / np.exp(z).sum(1, keepdims=True))

    rows = blanked(corner, dataclasses.replace(pictures, images=images))
    hidden = [row for row in rows.values() if not row["sees_lungs"]]
    assert all(row["auc"]["estimate"] == 1 for row in hidden)
    assert all(row["matches"] for row in hidden)
    assert "reaches AUC 1.00" in hidden[0]["sentence"]
