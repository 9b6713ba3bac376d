"""The classifier: one picture or many, saved and loaded, the same bits."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import Tiny, pictures, settings, splits

from covjax import inference
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.inference import Classifier, padded, score
from covjax.training.loop import fit

SIZE = 12


@pytest.fixture(scope="module", autouse=True)
def tiny_in_the_table():
    """Lets the table of networks know the tiny net for a while."""
    with pytest.MonkeyPatch.context() as patch:

        def create(name, *, num_classes, dtype, **fields):
            assert (name, dtype) == ("tiny", jnp.dtype("float32"))
            return Tiny(num_classes=num_classes, **fields)

        patch.setattr(inference, "create_model", create)
        yield


@pytest.fixture(scope="module")
def judge():
    variables = Tiny().init(
        jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1)), train=False
    )
    return Classifier(
        model_name="tiny",
        model_kwargs={"dropout": 0.3},
        dtype="float32",
        variables=variables,
        class_names=("normal", "pneumonia", "covid"),
        preprocess=Preprocess(size=SIZE, mean=(0.4,), std=(0.2,)),
        loss="cross_entropy",
        batch_size=8,
    )


def test_one_picture_or_many_give_the_same_bits(judge):
    images = pictures(37, 0).images
    together = judge.scores(images)
    assert together.shape == (37, 3)
    assert together.dtype == np.float32
    for rows in (slice(0, 1), slice(9, 10), slice(30, 37), slice(3, 20)):
        np.testing.assert_array_equal(judge.scores(images[rows]), together[rows])


def test_probabilities_are_the_networks(judge):
    images = pictures(5, 0).images
    logits = Tiny().apply(judge.variables, (images / 255 - 0.4) / 0.2, train=False)
    np.testing.assert_allclose(judge.scored(images).outputs, logits, rtol=1e-4)
    np.testing.assert_allclose(judge.scores(images), jax.nn.softmax(logits), rtol=1e-4)


def test_temperature_is_not_compiled_in(judge):
    images = pictures(5, 0).images
    outputs = judge.scored(images).outputs
    warm = dataclasses.replace(judge, temperature=2.5)
    np.testing.assert_allclose(
        warm.uncalibrated(warm.scored(images)), judge.scores(images), rtol=1e-5
    )
    np.testing.assert_allclose(
        warm.scores(images), jax.nn.softmax(outputs / 2.5), rtol=1e-5
    )
    before = inference.score_batch._cache_size()
    dataclasses.replace(judge, temperature=0.7).scores(images)
    assert inference.score_batch._cache_size() == before


@pytest.mark.parametrize("count", [0, 1, 8, 9])
def test_every_picture_exactly_once(count):
    images = pictures(9, 0).images[:count]
    batches = list(padded(images, 8))
    assert {b.shape for b in batches} == {(8, SIZE, SIZE, 1)}
    together = np.concatenate(batches)
    np.testing.assert_array_equal(together[:count], images)
    assert not together[count:].any()
    assert len(batches) == max(1, -(-count // 8))


def test_no_pictures_give_no_rows(judge):
    assert judge.scores(np.zeros((0, SIZE, SIZE, 1), np.uint8)).shape == (0, 3)


def test_saved_and_loaded_gives_the_same_bits(judge, tmp_path):
    images = pictures(9, 0).images
    calibrated = dataclasses.replace(judge, temperature=1.7, thresholds={"covid": 0.3})
    calibrated.save(tmp_path / "run")
    loaded = Classifier.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.scores(images), calibrated.scores(images))
    names = {f.name for f in dataclasses.fields(judge)} - {"variables"}
    for name in names:
        assert getattr(loaded, name) == getattr(calibrated, name)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "classifier.json",
        "weights.npz",
    }


def flip_a_bit(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_what_cannot_be_loaded_is_one_clear_line(judge, tmp_path):
    with pytest.raises(InputError, match=r"classifier.json: no such file"):
        Classifier.load(tmp_path)
    judge.save(tmp_path)
    flip_a_bit(tmp_path / "weights.npz")
    with pytest.raises(InputError, match="damaged classifier"):
        Classifier.load(tmp_path)
    judge.save(tmp_path)
    (tmp_path / "classifier.json").write_text("{")
    with pytest.raises(InputError, match="damaged classifier"):
        Classifier.load(tmp_path)


def test_pictures_must_be_prepared(judge):
    wanted = r"must be uint8 \[n, 12, 12, 1\]"
    with pytest.raises(InputError, match=wanted):
        judge.scores(np.zeros((2, 13, 12, 1), np.uint8))
    with pytest.raises(InputError, match=wanted):
        judge.scores(np.zeros((2, 12, 12, 1), np.float32))


def test_validation_and_the_classifier_agree(judge, tmp_path):
    run, data = settings(epochs=2), splits()
    run.data.mean, run.data.std = data.preprocess.mean, data.preprocess.std
    trained = fit(run, data, tmp_path, model=Tiny(), progress=False)
    compiled = inference.score_batch._cache_size()
    judge = dataclasses.replace(
        judge, variables=trained.best, model_kwargs={}, preprocess=data.preprocess
    )
    labels = data.validation.labels
    p = judge.scores(data.validation.images)
    assert inference.score_batch._cache_size() == compiled  # nothing compiled anew
    accuracy = (p.argmax(1) == labels).mean()
    best = trained.history[trained.best_epoch - 1]
    assert accuracy == pytest.approx(best["validation_accuracy"])
    loss = -np.log(p[np.arange(len(p)), labels]).mean()
    assert loss == pytest.approx(best["validation_loss"], rel=1e-5)


def test_sharded_scores_agree():
    devices = jax.sharding.Mesh(jax.devices(), "batch")
    sharding = jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec("batch"))
    images = pictures(21, 0).images
    variables = Tiny().init(
        jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 1)), train=False
    )
    recipe = {"loss": "focal", "mean": (0.5,), "std": (0.5,), "batch_size": 16}
    alone = score(Tiny(), variables, images, **recipe)
    everywhere = jax.device_put(
        variables, jax.sharding.NamedSharding(devices, jax.sharding.PartitionSpec())
    )
    shared = score(Tiny(), everywhere, images, sharding=sharding, **recipe)
    np.testing.assert_allclose(shared.probabilities, alone.probabilities, rtol=1e-5)


def test_card_is_plain_json(judge, tmp_path):
    judge.save(tmp_path)
    card = json.loads((tmp_path / "classifier.json").read_text())
    assert card["class_names"] == ["normal", "pneumonia", "covid"]
    assert card["preprocess"]["size"] == SIZE
