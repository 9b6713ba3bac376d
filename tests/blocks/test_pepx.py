"""PEPX: a case by hand, widths, strides, and what it must not do to channels."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.pepx import PEPX

norm = partial(BatchNorm, use_running_average=True, epsilon=0.0)


def pepx(**kwargs):
    return PEPX(3, 6, 4, 8, Conv, norm, **kwargs)


class PEPXTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_by_hand(self):
        """One channel everywhere, a 3x3 picture of ones.

        project x 2 = 2; expand x 3 = 6; depthwise of ones sums 4, 6 or 9 of these
        pixels; project again x -1, whose ReLU leaves nothing: the bias 7 alone. With
        + 1/6 instead: 4, 6 or 9 pixels, extended x 10 + 7.
        """
        block = PEPX(1, 1, 1, 1, Conv, norm)
        x = jnp.ones((1, 3, 3, 1))
        variables = block.init(jax.random.key(0), x)
        for name, value in (("project", 2.0), ("expand", 3.0), ("extend", 10.0)):
            variables["params"][name]["kernel"] = jnp.full((1, 1, 1, 1), value)
        variables["params"]["depthwise"]["kernel"] = jnp.ones((3, 3, 1, 1))
        variables["params"]["extend"]["bias"] = jnp.full(1, 7.0)
        run = self.variant(block.apply)

        variables["params"]["project_again"]["kernel"] = jnp.full((1, 1, 1, 1), -1.0)
        np.testing.assert_array_equal(run(variables, x), np.full((1, 3, 3, 1), 7.0))

        variables["params"]["project_again"]["kernel"] = jnp.full((1, 1, 1, 1), 1 / 6)
        expected = 10 * np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]]) + 7
        np.testing.assert_allclose(run(variables, x)[0, :, :, 0], expected, rtol=1e-6)


def test_widths_and_depthwise_keeps_channels():
    variables = jax.eval_shape(pepx().init, jax.random.key(0), jnp.zeros((1, 5, 5, 2)))
    kernels = {
        name: layer["kernel"].shape
        for name, layer in variables["params"].items()
        if "kernel" in layer
    }
    assert kernels == {
        "project": (1, 1, 2, 3),
        "expand": (1, 1, 3, 6),
        "depthwise": (3, 3, 1, 6),
        "project_again": (1, 1, 6, 4),
        "extend": (1, 1, 4, 8),
    }


@pytest.mark.parametrize("stride_depthwise", [False, True])
@pytest.mark.parametrize("size", [7, 8])
def test_stride_halves_up_wherever_it_stands(size, stride_depthwise):
    """So the shortcut, a strided 1x1 convolution, can always be added."""
    x = jnp.zeros((1, size, size, 2))
    block = pepx(strides=2, stride_depthwise=stride_depthwise)
    key = jax.random.key(0)
    y, variables = jax.eval_shape(block.init_with_output, key, x)
    shortcut, _ = jax.eval_shape(Conv(8, 1, strides=2).init_with_output, key, x)
    chex.assert_equal_shape([y, shortcut])
    unstrided = jax.eval_shape(pepx().init, key, x)
    chex.assert_trees_all_equal_shapes(variables, unstrided)


def test_where_the_stride_stands_is_told_apart():
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 2))
    variables = jax.jit(pepx(strides=2).init)(jax.random.key(1), x)
    first = pepx(strides=2).apply(variables, x)
    later = pepx(strides=2, stride_depthwise=True).apply(variables, x)
    assert not np.allclose(first, later)
