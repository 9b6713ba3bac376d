"""Dense blocks: what is measured once is what every layer would measure."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks import dense
from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.forms import channel_moments

CONV = partial(Conv, use_bias=False)
MEASURE = partial(channel_moments, axis_name=None)


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Network(nn.Module):
    """A block of three layers and a transition."""

    norm: type[nn.Module]
    measure: dense.Measure

    @nn.compact
    def __call__(self, x):
        norm = partial(self.norm, use_running_average=False, momentum=0.9)
        x, moments = dense.DenseBlock(3, 4, CONV, norm, self.measure)(x)
        return dense.Transition(CONV, norm)(x, moments)


class PlainNorm(nn.Module):
    """Flax's own, which measures what it is given."""

    use_running_average: bool
    momentum: float

    @nn.compact
    def __call__(self, x, moments=None):
        assert moments is None
        return nn.BatchNorm(self.use_running_average, momentum=self.momentum)(x)


def inside(tree):
    """Without the extra level of `PlainNorm`."""
    if isinstance(tree, dict) and set(tree) == {"BatchNorm_0"}:
        return tree["BatchNorm_0"]
    return {k: inside(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


def outside(tree, like):
    """The inverse of `inside`, for the structure of `like`."""
    if isinstance(like, dict) and set(like) == {"BatchNorm_0"}:
        return {"BatchNorm_0": tree}
    if isinstance(like, dict):
        return {name: outside(tree[name], like[name]) for name in like}
    return tree


@pytest.mark.parametrize("shape", [(4, 6, 6, 5), (2, 3, 7, 5)])
def test_statistics_that_are_reused_change_nothing(shape):
    x = draw(shape, 0)
    ours = Network(BatchNorm, MEASURE)
    plain = Network(PlainNorm, None)
    start = ours.init(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(start)
    leaves = [0.5 + abs(draw(leaf.shape, i)) for i, leaf in enumerate(leaves)]
    start = jax.tree.unflatten(tree, leaves)
    theirs = outside(start, plain.init(jax.random.key(0), x))

    def result(network, variables):
        def run(params, x):
            y, state = network.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                x,
                mutable="batch_stats",
            )
            return y, state["batch_stats"]

        def forward(params, x):
            y, pull, stats = jax.vjp(run, params, x, has_aux=True)
            return y, stats, pull(jnp.asarray(draw(y.shape, 9)))

        return jax.jit(forward)(variables["params"], x)

    y, stats, (gradient, dx) = result(ours, start)
    found = result(plain, theirs)
    expected = (found[0], inside(found[1]), (inside(found[2][0]), found[2][1]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=1e-5, atol=1e-5 * float(abs(b).max())
        ),
        (y, stats, (gradient, dx)),
        expected,
    )


def test_each_channel_is_measured_once():
    measured = []

    def measure(x):
        measured.append(x.shape[-1])
        return channel_moments(x, None)

    jax.eval_shape(
        Network(BatchNorm, measure).init, jax.random.key(0), jnp.ones((2, 4, 4, 5))
    )
    assert measured == [5, 4, 4, 4]
