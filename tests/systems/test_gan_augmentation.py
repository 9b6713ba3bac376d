"""GANs: the step by hand, resumed training, and where synthetic pictures may be."""

import dataclasses
import json
import os
import signal
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

from covjax import config, train
from covjax.data import load
from covjax.data.imageset import LUNG
from covjax.errors import InputError
from covjax.models.gan import NOISE
from covjax.systems import gan_augmentation, gan_training
from covjax.systems.gan import Gan, adversarial, create, step
from covjax.systems.gan_augmentation import Settings, joined, synthetic_set
from covjax.systems.gan_training import Schedule, synthesise, train_gan
from covjax.training.loop import Interrupted

RATE, B1 = 2e-4, 0.5
SCHEDULE = Schedule(epochs=3, batch_size=4, checkpoint_epochs=1, seed=1, devices=1)


@pytest.fixture(scope="module")
def splits():
    kwargs = {"patients": 30, "pictures_per_patient": (1, 1)}
    return load(config.Data(size=16, classes=("normal", "covid19"), kwargs=kwargs))


class Generator(nn.Module):
    """A stand-in for CovidGAN's that compiles in a second."""

    channels: int = 1

    @nn.compact
    def __call__(self, z, labels, *, train):
        x = nn.Dense(64, name="noise")(z) + nn.Embed(2, 64, name="embed")(labels)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dense(256 * self.channels, name="out")(nn.relu(x))
        return jnp.tanh(x.reshape(-1, 16, 16, self.channels))


class Discriminator(nn.Module):
    """A stand-in with what matters: batch statistics and dropout."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(4, (3, 3), strides=2, use_bias=False, name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.leaky_relu(x))
        return nn.Dense(3, name="head")(x.reshape(len(x), -1))


def stand_in(channels: int = 1) -> Gan:
    return Gan(
        generator=Generator(channels=channels),
        discriminator=Discriminator(),
        num_classes=2,
        shape=(16, 16, channels),
        optimizer=optax.adam(RATE, b1=B1),
    )


@pytest.fixture(scope="module")
def acgan():
    return stand_in()


@pytest.fixture(scope="module")
def stepped(acgan):
    """A state, a batch, and what one step made of them."""
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), np.uint8)
    batch = (jnp.asarray(images), jnp.array([0, 1, 1, 0]))
    before = create(acgan, 1)
    return before, batch, jax.jit(partial(step, acgan))(before, batch)


def test_losses_by_hand():
    outputs = jnp.array([[2.0, 1.0, -1.0], [-3.0, 0.5, 0.5]])
    labels = jnp.array([0, 1])

    def softplus(x):
        return np.log1p(np.exp(x))

    classes = np.array([softplus(-2.0), np.log(2.0)])  # log-softmax of two
    np.testing.assert_allclose(
        adversarial(outputs, True, labels),
        np.array([softplus(-2.0), softplus(3.0)]) + classes,
        1e-5,
    )
    np.testing.assert_allclose(
        adversarial(outputs[:, :1], False, labels),
        np.array([softplus(2.0), softplus(-3.0)]),
        1e-5,
    )


def test_a_step_updates_each_network_by_its_own_loss(acgan, stepped):
    """The generator is moved against the discriminator that was just updated."""
    before, (images, labels), (after, sums) = stepped
    keys = jax.random.split(jax.random.fold_in(before.key, 0), 5)
    noise = jax.random.normal(keys[0], (4, NOISE))
    wanted = jax.random.randint(keys[1], (4,), 0, 2)
    stats = before.batch_stats
    real = images / 127.5 - 1.0

    def see(params, statistics, pictures, key):
        return acgan.discriminator.apply(
            {"params": params, "batch_stats": statistics}, pictures, train=True,
            mutable=["batch_stats"], rngs={"dropout": key},
        )  # fmt: skip

    def drawn(params):
        variables = {"params": params, "batch_stats": stats["generator"]}
        return acgan.generator.apply(
            variables, noise, wanted, train=True, mutable=["batch_stats"]
        )

    fake = drawn(before.params["generator"])[0]

    def loss_d(params):
        one, mid = see(params, stats["discriminator"], real, keys[2])
        two, _ = see(params, mid["batch_stats"], fake, keys[3])
        return (adversarial(one, True, labels) + adversarial(two, False, wanted)).mean()

    judge = after.params["discriminator"], after.batch_stats["discriminator"]

    def loss_g(params):
        out, _ = see(*judge, drawn(params)[0], keys[4])
        return adversarial(out, True, wanted).mean()

    rule = optax.adam(RATE, b1=B1)
    losses = {"discriminator": loss_d, "generator": loss_g}
    for name, loss in losses.items():
        params = before.params[name]
        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        updates, _ = rule.update(gradient, rule.init(params))
        moved = optax.apply_updates(params, updates)
        found = flatten_dict(after.params[name])
        for path, leaf in flatten_dict(moved).items():
            # Adam's first step is the gradient's sign, which is noise where there is
            # none: a bias ahead of batch normalisation
            if path != ("noise", "bias"):
                np.testing.assert_allclose(found[path], leaf, atol=2e-6)
        key = "loss" if name == "discriminator" else "generator_loss"
        parts = 2 if name == "discriminator" else 1  # real and synthetic
        assert float(sums[key]) == pytest.approx(float(value) * 4 / parts, rel=1e-5)


def test_the_next_step_draws_other_noise(acgan, stepped):
    before, batch, (_, sums) = stepped
    later = before.replace(step=before.step + 1)
    assert jax.jit(partial(step, acgan))(later, batch)[1]["loss"] != sums["loss"]


@pytest.fixture(scope="module")
def whole(acgan, splits, tmp_path_factory):
    """Three epochs without a break."""
    workdir = tmp_path_factory.mktemp("gan")
    return workdir, train_gan(acgan, splits.train, workdir, SCHEDULE)


def test_every_epoch_has_a_sheet(whole):
    workdir, _ = whole
    sheets = sorted(path.name for path in (workdir / "sheets").iterdir())
    assert sheets == [f"epoch-000{k}.png" for k in (1, 2, 3)]
    with Image.open(workdir / "sheets" / sheets[0]) as sheet:
        assert sheet.size == (8 * 16, 4 * 16)
    rows = [json.loads(row) for row in (workdir / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(0 <= row["real_called_real"] <= 1 for row in rows)


def test_an_interrupted_gan_goes_on(acgan, splits, whole, tmp_path, monkeypatch):
    write = gan_training.write_sheet

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(gan_training, "write_sheet", interrupted)
    with pytest.raises(Interrupted, match="1 of 3 epochs of the GAN"):
        train_gan(acgan, splits.train, tmp_path, SCHEDULE)
    monkeypatch.undo()
    (tmp_path / "sheets" / "epoch-0001.png").unlink()
    resumed = train_gan(acgan, splits.train, tmp_path, SCHEDULE)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole[1])
    assert len(list((tmp_path / "sheets").iterdir())) == 2  # the first is not redone
    # a finished one is read back, of other pictures it is refused
    again = train_gan(acgan, splits.train, tmp_path, SCHEDULE)
    jax.tree.map(np.testing.assert_array_equal, again, whole[1])
    with pytest.raises(InputError, match="other training pictures"):
        train_gan(acgan, splits.test, tmp_path, SCHEDULE)


def test_pictures_do_not_depend_on_how_many_are_drawn(acgan, whole):
    draw = partial(synthesise, acgan, whole[1], seed=3, batch_size=4)
    labels = np.array([0, 1, 0, 1, 0])
    five = draw(labels)
    assert five.shape == (5, 16, 16, 1)
    assert five.dtype == np.uint8
    np.testing.assert_array_equal(draw(labels[:2]), five[:2])
    assert not np.array_equal(five[1], five[3])
    assert not np.array_equal(five[0], five[4])  # of another batch


def test_synthetic_pictures_say_what_they_are(splits):
    real = splits.train
    assert real.masks is not None
    assert (real.masks & LUNG).any()
    images = np.full((3, 8, 8, 1), 7, np.uint8)
    synthetic = synthetic_set(images, np.array([0, 1, 1], np.int32), real)
    both = joined(real, synthetic)
    assert both.images.shape == (len(real) + 3, 16, 16, 1)
    assert (both.images[-3:] == 7).all()
    assert both.sources[-3:].tolist() == ["synthetic"] * 3
    assert both.patients[-3:].tolist() == [""] * 3
    assert set(both.splits[-3:]) == {"train"}
    np.testing.assert_array_equal(both.images[:-3], real.images)
    np.testing.assert_array_equal(both.labels, [*real.labels, 0, 1, 1])
    assert len(set(both.files)) == len(both)
    assert both.subset(np.arange(2)).masks is None


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gan": "wgan"}, "gan='wgan': must be one of acgan, dcgan"),
        ({"size": 24}, "size=24: must be a multiple of 16"),
        ({"pictures": 0}, "pictures=0: must be at least 1"),
        ({"learning_rate": -1}, "learning_rate=-1: must be at least 0"),
        ({"b1": 1.0}, "b1=1.0: must be from 0 to 0.999"),
    ],
)
def test_bad_settings_are_one_line(splits, tmp_path, kwargs, message):
    settings = Settings(**{"epochs": 1, **kwargs})
    with pytest.raises(InputError, match=message):
        gan_augmentation.train(config.Run(), splits, tmp_path, settings)


def test_several_labels_are_refused(splits, tmp_path):
    several = dataclasses.replace(
        splits.train, labels=np.eye(2, dtype=np.uint8)[splits.train.labels]
    )
    with pytest.raises(InputError, match="one label a picture"):
        gan_augmentation.train(
            config.Run(), dataclasses.replace(splits, train=several), tmp_path,
            Settings(),
        )  # fmt: skip


@pytest.mark.parametrize(("kind", "gans"), [("acgan", 1), ("dcgan", 2)])
def test_synthetic_pictures_are_in_training_alone(
    tmp_path, monkeypatch, predicts_as_evaluated, kind, gans
):
    """From the command to the report; the second time everything is read back."""
    from covjax.evaluation import final

    seen = {}
    fit, finish = gan_augmentation.fit, final.finish

    def watched_fit(run, splits, workdir, **kwargs):
        seen["fit"] = splits
        return fit(run, splits, workdir, **kwargs)

    def watched_finish(run, splits, *arguments, **kwargs):
        seen["finish"] = splits
        return finish(run, splits, *arguments, **kwargs)

    monkeypatch.setattr(gan_augmentation, "fit", watched_fit)
    monkeypatch.setattr(gan_augmentation, "finish", watched_finish)
    if kind == "acgan":  # CovidGAN itself takes minutes on simulated devices
        monkeypatch.setattr(gan_augmentation, "make_gan", lambda *_, **__: stand_in(3))
    recipe = Path(__file__).resolve().parents[2] / "configs/survey/row14_waheed.py"
    words = [
        "--config", f"{recipe}:smoke", "--workdir", str(tmp_path / "run"),
        "--config.model.name=squeezenet1_1", "--config.data.limit=8",
        "--config.data.size=32", f"--config.system.kwargs.gan={kind}",
        "--config.train.devices=1",
    ]  # fmt: skip
    assert train.main(words) == 0
    place = tmp_path / "run"
    assert len(list(place.glob("gan-*/sheets/epoch-0001.png"))) == gans
    mixed, real = seen["fit"], seen["finish"]
    assert (mixed.train.sources == "synthetic").sum() == 2 * 4
    assert (np.bincount(mixed.train.labels[-8:]) == [4, 4]).all()
    for part in (mixed.validation, mixed.test, real.train, real.validation, real.test):
        assert not (part.sources == "synthetic").any()
        assert not np.char.startswith(part.files, "synthetic").any()
    assert mixed.validation is real.validation
    data = json.loads((place / "data.json").read_text())
    assert sum(data["counts"]["train"].values()) == len(real.train)
    metrics = json.loads((place / "metrics.json").read_text())
    assert metrics["test"]["n"] == len(real.test)
    predicts_as_evaluated(place)

    (place / "metrics.json").unlink()
    monkeypatch.setattr(gan_augmentation, "drawn", None)  # must not be called again
    first = mixed.train.fingerprint()
    assert train.main(words) == 0
    assert seen["fit"].train.fingerprint() == first


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_file_of_pictures_is_named(splits, tmp_path, share):
    path = tmp_path / "synthetic.npz"
    gan_augmentation.store(splits.train, splits.train, tmp_path)
    content = path.read_bytes()
    path.write_bytes(b"PK" + content[2 : int(share * len(content))])
    with pytest.raises(InputError, match=r"synthetic\.npz: damaged") as error:
        gan_augmentation.stored(splits.train, tmp_path)
    assert "\n" not in str(error.value)


def test_pictures_learnt_from_others_are_refused(splits, tmp_path):
    """They may be of patients who are in the other set's test split."""
    gan_augmentation.store(splits.train, splits.train, tmp_path)
    again = gan_augmentation.stored(splits.train, tmp_path)
    np.testing.assert_array_equal(again.images, splits.train.images)
    images = splits.train.images.copy()
    images[0] += 1
    other = dataclasses.replace(splits.train, images=images)
    with pytest.raises(InputError, match=r"npz: belongs to a run on other training"):
        gan_augmentation.stored(other, tmp_path)
