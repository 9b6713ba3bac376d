"""CovXNet's units: where the dilated taps fall, shapes, order, counts by hand."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.dilated import (
    ConvReluNorm,
    DilatedDepthwise,
    DilatedResidual,
    Shifter,
)

norm = partial(BatchNorm, use_running_average=True, epsilon=0.0)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


class DilatedDepthwiseTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_by_hand(self):
        """A single bright pixel, filtered with 1 to 9 at dilations 1 and 2."""
        x = jnp.zeros((1, 7, 7, 1)).at[0, 3, 3, 0].set(1)
        kernel = jnp.arange(1.0, 10).reshape(3, 3, 1, 1)
        params = {
            "dilation1": {"kernel": kernel, "bias": jnp.zeros(1)},
            "dilation2": {"kernel": kernel, "bias": jnp.full(1, -4.0)},
        }
        y = self.variant(DilatedDepthwise(2).apply)({"params": params}, x)
        chex.assert_shape(y, (1, 7, 7, 2))
        # cross-correlation writes the kernel upside down around the pixel
        upside_down = np.arange(9.0, 0, -1).reshape(3, 3)
        near = np.zeros((7, 7))
        near[2:5, 2:5] = upside_down
        far = np.zeros((7, 7))
        far[1:6:2, 1:6:2] = np.maximum(upside_down - 4, 0)  # bias, then ReLU
        np.testing.assert_array_equal(y[0, :, :, 0], near)
        np.testing.assert_array_equal(y[0, :, :, 1], far)


def test_channels_are_joined_dilation_by_dilation():
    x = jnp.array([1.0, 10, 100]).reshape(1, 1, 1, 3)
    layer = DilatedDepthwise(2)
    variables = layer.init(jax.random.key(0), x)
    ones = jax.tree.map(jnp.ones_like, variables)  # one pixel: kernel centre 1, bias 1
    np.testing.assert_array_equal(layer.apply(ones, x)[0, 0, 0], [2, 11, 101] * 2)


def test_normalisation_stands_behind_the_relu():
    layer = ConvReluNorm(1, 1, Conv, norm)
    x = jnp.full((1, 1, 1, 1), -5.0)
    variables = layer.init(jax.random.key(0), x)
    variables["params"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 1))
    variables["batch_stats"]["norm"]["mean"] = jnp.full(1, 2.0)
    assert layer.apply(variables, x).item() == -2  # ReLU(-5) - 2; not ReLU(-7)


def test_residual_unit_adds_its_input():
    layer = DilatedResidual(2, Conv, norm)
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 4))
    variables = jax.jit(layer.init)(jax.random.key(1), x)
    zero = jax.tree.map(jnp.zeros_like, variables["params"])
    y = layer.apply({**variables, "params": zero}, x)
    np.testing.assert_array_equal(y, x)
    assert not np.allclose(layer.apply(variables, x), x)


def test_units_count_and_shifter_halves_and_doubles():
    # Keras's counts, with two running statistics a normalised channel
    # residual (32, 3): 1x1 32>64 2,112 + 256; three depthwise of 64 3 (640 + 256);
    # 1x1 192>32 6,176 + 128
    x = jnp.zeros((1, 9, 8, 32))
    residual = jax.eval_shape(DilatedResidual(3, Conv, norm).init, jax.random.key(0), x)
    assert count(residual) == 2_368 + 2_688 + 6_304
    # shifter (32, 3): 1x1 32>128 4,224 + 512; depthwise 3 (1,280 + 512);
    # 1x1 384>64 24,640 + 256
    shifter = Shifter(3, Conv, norm)
    y, variables = jax.eval_shape(shifter.init_with_output, jax.random.key(0), x)
    assert count(variables) == 4_736 + 5_376 + 24_896
    assert y.shape == (1, 4, 4, 64)


def test_one_normalisation_of_joined_channels_is_one_of_each_dilation():
    train = partial(BatchNorm, use_running_average=False, epsilon=1e-3)
    maps = jax.random.normal(jax.random.key(0), (4, 3, 3, 6))
    joined = train()
    variables = joined.init(jax.random.key(0), maps)
    whole, _ = joined.apply(variables, maps, mutable=["batch_stats"])
    for part in (slice(0, 3), slice(3, 6)):
        own = train()
        alone, _ = own.apply(
            own.init(jax.random.key(0), maps[..., part]),
            maps[..., part],
            mutable=["batch_stats"],
        )
        chex.assert_trees_all_close(whole[..., part], alone, atol=1e-6)
