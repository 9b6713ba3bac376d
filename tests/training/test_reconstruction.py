"""The decoder of a capsule network is trained beside the margin loss."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import pictures, settings

from covjax import config, data
from covjax.blocks.capsule import (
    Capsules,
    PrimaryCapsules,
    Reconstruction,
    capsule_lengths,
)
from covjax.blocks.conv import Conv
from covjax.errors import InputError
from covjax.models import create_model
from covjax.training.augment import augment
from covjax.training.history import Record
from covjax.training.losses import Loss, reconstruction
from covjax.training.special import Special
from covjax.training.state import call_order, create_state, trainable_paths
from covjax.training.steps import Task, batch_keys, train_step
from covjax.training.trainer import Trainer

MARGIN = Loss(name="margin", num_classes=3)
SET = pictures(16, 0)
BATCH = (jnp.asarray(SET.images), jnp.asarray(SET.labels))


class TinyCapsules(nn.Module):
    """A convolution, primary capsules, three class capsules and a decoder."""

    num_classes: int = 3
    decoder: bool = True
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train, labels=None):
        shape = x.shape[1:]
        conv = partial(Conv, kernel_size=5, strides=4, dtype=self.dtype)
        x = PrimaryCapsules(2, 4, conv)(x)
        v = Capsules(self.num_classes, 4, dtype=self.dtype)(x)
        if self.decoder:
            picture = Reconstruction(shape, self.dtype)(v, labels)
            self.sow("intermediates", "reconstruction", picture)
        return capsule_lengths(v)


TINY = Task(
    model=TinyCapsules(),
    optimizer=optax.sgd(1.0),  # the update is minus the gradient
    loss=MARGIN,
    augment=config.Augment(brightness=0.2),
    mean=(0.4,),
    std=(0.25,),
    reconstruction_weight=0.01,
)


@cache
def fresh(model, shape):
    """Parameters alone, without what `init` sows."""
    init = jax.jit(partial(model.init, train=False))
    return {"params": init(jax.random.key(0), jnp.zeros((1, *shape)))["params"]}


def state_of(task, images=BATCH[0]):
    return create_state(
        fresh(task.model, images.shape[1:]),
        None,
        task.optimizer,
        ema=False,
        key=jax.random.key(1),
    )


def test_by_hand():
    pixels = jnp.array([[[[0.0], [1.0]]], [[[0.5], [0.25]]]])
    drawn = jnp.array([[[[0.5], [0.0]]], [[[0.5], [0.75]]]])
    np.testing.assert_allclose(reconstruction(drawn, pixels), [1.25, 0.25])


def test_the_step_follows_the_written_out_loss():
    """Augmented pixels in [0, 1] are drawn, from the capsules of the labels."""
    task, state = TINY, state_of(TINY)

    @jax.jit
    def augmented(images):
        keys, _ = batch_keys(task, state, len(images))
        return augment(images / 255.0, keys, task.augment, jnp.full(1, 0.4))

    pixels = augmented(BATCH[0])
    assert 0 <= pixels.min() < pixels.max() <= 1

    def loss(params):
        lengths, written = task.model.apply(
            {"params": params},
            (pixels - 0.4) / 0.25,
            train=True,
            labels=BATCH[1],
            mutable="intermediates",
        )
        (drawn,) = written["intermediates"]["reconstruction"]
        errors = ((drawn - pixels) ** 2).sum((1, 2, 3))
        margins = MARGIN(lengths, BATCH[1])
        return (margins + 0.01 * errors).mean(), (lengths, margins, errors)

    differentiated = jax.jit(jax.grad(loss, has_aux=True))
    gradient, (lengths, margins, errors) = differentiated(state.params)
    assert (lengths.argmax(-1) != BATCH[1]).any()  # longest and label differ
    for leaf in jax.tree.leaves(gradient["Reconstruction_0"]):
        assert leaf.any()
    wanted = jax.tree.map(jnp.subtract, state.params, gradient)
    for task in (TINY, replace(TINY, remat=True)):
        after, sums = jax.jit(partial(train_step, task))(state, BATCH)
        jax.tree.map(
            partial(np.testing.assert_allclose, atol=1e-6), after.params, wanted
        )
        assert sums["loss"] == pytest.approx(float(margins.sum()), rel=1e-5)
        assert sums["reconstruction"] == pytest.approx(float(errors.sum()), rel=1e-5)


def test_without_weight_the_decoder_stays():
    task = replace(TINY, reconstruction_weight=0.0)
    state = state_of(task)
    after, sums = jax.jit(partial(train_step, task))(state, BATCH)
    jax.tree.map(
        np.testing.assert_array_equal,
        after.params["Reconstruction_0"],
        state.params["Reconstruction_0"],
    )
    assert "reconstruction" not in sums


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_two_steps_on_the_phantom_draw_better(dtype):
    run = config.Run()
    run.data = config.Data(limit=8, size=20)
    drawn = data.load(run.data).train
    assert run.train.reconstruction_weight == 0.0005  # the paper's
    task = replace(
        TINY,
        model=TinyCapsules(dtype=jnp.dtype(dtype)),
        optimizer=optax.adam(1e-3),
        augment=config.Augment(),
        reconstruction_weight=run.train.reconstruction_weight,
    )
    step = jax.jit(partial(train_step, task))
    state = state_of(task, drawn.images)
    losses = []
    for _ in range(3):  # the third sees what two updates have done
        state, sums = step(state, (drawn.images, drawn.labels))
        losses.append(float(sums["reconstruction"]))
    assert sums["reconstruction"].dtype == jnp.float32
    assert losses[2] < losses[1] < losses[0]


def trained(*, devices, how="jit"):
    """Variables, sums and row of three steps by the trainer."""
    run = settings(devices=devices, parallel=how, batch_size=16)
    run.augment = config.Augment()
    run.optimizer.name = "sgd"
    run.train.reconstruction_weight = 0.01
    pixels = pictures(48, 0)
    trainer = Trainer(run, pixels, pixels, TinyCapsules(), Special(loss=MARGIN))
    record = Record(data="")
    state = trainer.train(trainer.create(), record, lambda: False)
    record.totals["seconds"] = 1.0
    return state.variables()["params"], record.totals, trainer.row(record)


def test_eight_devices_equal_one():
    one, totals, row = trained(devices=1)
    assert row["reconstruction"] == totals["reconstruction"] / 48
    for how in ("jit", "pmap"):
        many, sums, _ = trained(devices=8, how=how)
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), many, one)
        for name in ("loss", "reconstruction", "count"):
            assert sums[name] == pytest.approx(totals[name], rel=1e-5)


def capsnet_run(**kwargs):
    run = settings(loss="margin", select_by="auc")
    run.model = config.Model(name="capsnet", kwargs={"decoder": True} | kwargs)
    return run


def test_the_backbone_is_all_but_class_capsules_and_decoder():
    order = call_order(
        create_model("capsnet", num_classes=3, decoder=True), (17, 17, 1)
    )
    left = {path.partition("/")[0] for path in trainable_paths(order, ("backbone",))}
    assert left == {"class_capsules", "decoder"}


def test_several_labels_are_refused():
    several = replace(SET, labels=np.eye(3, dtype=np.uint8)[SET.labels])
    with pytest.raises(InputError, match="decoder=True: must be False with several la"):
        Trainer(capsnet_run(), several, several)


def test_a_channel_of_ones_is_refused():
    with pytest.raises(InputError, match=r"decoder=True draws .*constant_channel=True"):
        Trainer(capsnet_run(constant_channel=True), SET, SET)


def test_a_negative_weight_is_refused():
    run = capsnet_run()
    run.train.reconstruction_weight = -0.1
    with pytest.raises(InputError, match=r"reconstruction_weight=-0.1: .* at least 0"):
        config.check(run)
