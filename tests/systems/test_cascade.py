"""The cascade: its questions, its products, and a whole run."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from covjax import config, evaluate, predict, train
from covjax.data.phantom import phantom
from covjax.errors import InputError
from covjax.systems.cascade import Settings, check, combine, disease, diseased

RECIPE = Path(__file__).parents[2] / "configs" / "survey" / "row21_brunese.py"


def test_products_by_hand():
    first = np.array([[0.9, 0.1], [0.2, 0.8]])
    second = np.array([[0.25, 0.75], [1.0, 0.0]])
    np.testing.assert_allclose(
        combine(first, second, healthy=0),
        [[0.9, 0.025, 0.075], [0.2, 0.8, 0.0]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        combine(first, second, healthy=1),
        [[0.025, 0.9, 0.075], [0.8, 0.2, 0.0]],
        rtol=1e-6,
    )


def test_questions():
    images = phantom(16, patients=9, pictures_per_patient=(1, 1))
    first = diseased(images, healthy=1)
    assert first.class_names == ("pneumonia", "diseased")
    np.testing.assert_array_equal(first.labels, images.labels != 1)
    assert first.labels.dtype == np.int32
    second = disease(images, healthy=1)
    assert second.class_names == ("normal", "covid19")
    kept = images.labels != 1
    np.testing.assert_array_equal(second.images, images.images[kept])
    np.testing.assert_array_equal(second.labels, images.labels[kept] // 2)


@pytest.mark.parametrize(
    ("classes", "loss", "healthy", "message"),
    [
        (("normal", "covid19"), "focal", "", "at least three classes.*normal, covid19"),
        (None, "binary", "", "train.loss='binary'.*cross_entropy"),
        (None, "focal", "well", "healthy='well'.*normal, pneumonia"),
    ],
)
def test_what_does_not_fit_is_refused(classes, loss, healthy, message):
    images = phantom(16, patients=6)
    if classes:
        images = images.select_classes(classes)
    run = config.Run(train=config.Train(loss=loss))
    with pytest.raises(InputError, match=message):
        check(run, images, Settings(healthy=healthy))


def test_row_21_with_a_small_network(tmp_path, predicts_as_evaluated):
    words = [
        "--config", f"{RECIPE}:smoke", "--workdir", str(tmp_path),
        "--config.model.name=squeezenet1_1", "--config.data.size=32",
    ]  # fmt: skip
    assert train.main(words) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["classes"] == ["normal", "pneumonia", "covid19"]
    stages = json.loads((tmp_path / "stages.json").read_text())
    assert stages["diseased"]["test"]["n"] == metrics["test"]["n"]
    ill = stages["disease"]["test"]
    assert ill["n"] < metrics["test"]["n"]
    assert set(ill["per_class"]) == {"pneumonia", "covid19"}
    assert ill["overall"]["auc"]["low"] is not None
    assert len((tmp_path / "openings.jsonl").read_text().splitlines()) == 1
    for name in ("diseased", "disease"):
        assert not (tmp_path / name / "openings.jsonl").exists()
        assert (tmp_path / name / "weights.npz").is_file()
    predicts_as_evaluated(tmp_path)
    words = ["--workdir", str(tmp_path), str(tmp_path / "files"), "--heatmaps"]
    with pytest.raises(InputError, match=r"--heatmaps: .* is a system, cascade"):
        predict.main(words)
    # and covjax.evaluate measures it again, on its own pictures and on others
    assert evaluate.main(["--workdir", str(tmp_path)]) == 0
    again = json.loads((tmp_path / "evaluation-test" / "metrics.json").read_text())
    assert again["model"] == "cascade"
    assert again["test"]["overall"] == metrics["test"]["overall"]
    assert again["operating_point"]["test"] == metrics["operating_point"]["test"]
    assert len((tmp_path / "openings.jsonl").read_text().splitlines()) == 2
    others = tmp_path / "others"
    for name in metrics["classes"]:
        (others / name).mkdir(parents=True)
        for file in sorted((tmp_path / "files").iterdir())[:2]:
            mirrored = ImageOps.mirror(Image.open(file))  # its own would be refused
            mirrored.save(others / name / file.name)
    words = ["--workdir", str(tmp_path), "--data", "folder", "--dir", str(others)]
    assert evaluate.main(words) == 0
    (place,) = tmp_path.glob("evaluation-folder-others-*")
    other = json.loads((place / "metrics.json").read_text())
    assert (other["test"]["n"], other["own_test"]) == (6, False)
