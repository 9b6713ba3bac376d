"""Generators and discriminators: exact counts, shapes, ranges, what labels do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.models.gan import (
    NOISE,
    CovidDiscriminator,
    CovidGenerator,
    DCDiscriminator,
    DCGenerator,
)

KEY = jax.random.key(0)
# these programs run once: the compiler need not try hard
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shapes(model, *inputs):
    return jax.eval_shape(lambda: model.init_with_output(KEY, *inputs, train=False))


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def totals(variables):
    """(trained, with running statistics as Keras counts)."""
    return count(variables["params"]), count(
        [variables["params"], variables["batch_stats"]]
    )


def test_covid_generator():
    noise, labels = jnp.zeros((2, NOISE)), jnp.zeros(2, jnp.int32)
    y, variables = shapes(CovidGenerator(num_classes=2), noise, labels)
    assert totals(variables)[1] == 22_300_458
    assert y.shape == (2, 112, 112, 3)
    # the label is one channel beside the noise's 1024
    assert variables["params"]["up1"]["kernel"].shape == (5, 5, 1025, 512)


def test_covid_discriminator():
    y, variables = shapes(
        CovidDiscriminator(num_classes=2), jnp.zeros((2, 112, 112, 3))
    )
    assert totals(variables)[1] == 1_647_811
    assert y.shape == (2, 3)  # real or synthetic, then two classes
    assert variables["params"]["real"]["kernel"].shape == (25_088, 1)


def test_dcgan_counts_are_those_of_pytorchs_example():
    y, variables = shapes(DCGenerator(), jnp.zeros((2, NOISE)))
    assert totals(variables)[0] == 3_576_704
    assert y.shape == (2, 64, 64, 3)
    y, variables = shapes(DCDiscriminator(), jnp.zeros((2, 64, 64, 3)))
    assert totals(variables)[0] == 2_765_568
    assert y.shape == (2, 1)


@pytest.mark.parametrize("size", [16, 48])
def test_sizes_and_channels(size):
    noise, labels = jnp.zeros((1, NOISE)), jnp.zeros(1, jnp.int32)
    generator = CovidGenerator(num_classes=3, size=size, channels=1)
    assert shapes(generator, noise, labels)[0].shape == (1, size, size, 1)
    picture = shapes(DCGenerator(size=size, channels=1), noise)[0]
    assert picture.shape == (1, size, size, 1)
    assert shapes(DCDiscriminator(), jnp.zeros(picture.shape))[0].shape == (1, 1)
    scores = shapes(CovidDiscriminator(num_classes=3), jnp.zeros(picture.shape))[0]
    assert scores.shape == (1, 4)


@pytest.fixture(scope="module")
def generator():
    """A small generator and its variables at the start."""
    model = CovidGenerator(num_classes=2, size=16, channels=1)
    inputs = jnp.zeros((1, NOISE)), jnp.zeros(1, jnp.int32)
    return model, jit(lambda: model.init(KEY, *inputs, train=False))()


def test_weights_start_small(generator):
    params = generator[1]["params"]
    for name in ("noise", "label", "up1", "up3"):
        assert np.std(params[name]["kernel"]) == pytest.approx(0.02, rel=0.2)


def test_generator_listens_to_noise_and_label(generator):
    model, variables = generator
    # at the start pictures are nearly grey; a larger last layer shows what is read
    params = variables["params"]
    last = jax.tree.map(lambda w: 100 * w, params["up4"])
    variables = {**variables, "params": {**params, "up4": last}}
    apply = jit(lambda v, z, y: model.apply(v, z, y, train=False))
    draw = partial(apply, variables)
    noise, labels = jax.random.normal(KEY, (2, NOISE)), jnp.array([0, 1])
    pictures = draw(noise, labels)
    assert pictures.dtype == jnp.float32
    assert float(jnp.abs(pictures).max()) <= 1
    assert not np.allclose(pictures, draw(noise, 1 - labels), atol=1e-6)
    assert not np.allclose(pictures, draw(noise[::-1], labels), atol=1e-6)


def test_discriminator_drops_out_in_training_only():
    model = CovidDiscriminator(num_classes=2)
    x = jax.random.normal(KEY, (4, 16, 16, 1))
    variables = jit(lambda: model.init(KEY, x, train=False))()

    @jit
    def train(variables, key):
        return model.apply(
            variables, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )[0]

    first, second = (train(variables, jax.random.key(seed)) for seed in (1, 2))
    assert not np.allclose(first, second)
