"""What is folded, by structure and by layer; scores: tests/models/test_battery.py."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.folding import apply_folded, fold, foldable
from covjax.blocks.separable import DepthwiseConv
from covjax.models import create_model

NORM = partial(BatchNorm, use_running_average=True)


def shapes_of(model, x):
    return jax.eval_shape(partial(model.init, jax.random.key(0), train=False), x)


def random(shapes, seed=0):
    """Variables in which nothing is neutral."""
    rng = np.random.default_rng(seed)

    def leaf(path, shape):
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, shape.shape).astype(np.float32)
        if path[-1].key in ("bias", "mean"):
            return rng.uniform(-0.3, 0.3, shape.shape).astype(np.float32)
        fan_in = max(1, np.prod(shape.shape[:-1]))
        kernel = rng.standard_normal(shape.shape, np.float32)
        return kernel * np.float32(np.sqrt(2 / fan_in))

    kept = {k: shapes[k] for k in ("params", "batch_stats") if k in shapes}
    return jax.tree_util.tree_map_with_path(leaf, kept)


# normalisations in all, and those right behind a convolution: DenseNet's stem and
# bottlenecks, DarkCovidNet's units but the last, whose ReLU comes first
@pytest.mark.parametrize(
    ("name", "norms", "folded"),
    [
        ("resnet50", 53, 53),
        ("mobilenet_v2", 52, 52),
        ("densenet121", 121, 59),
        ("darkcovidnet", 17, 16),
        ("efficientnet_b0", 49, 49),
        ("xception", 40, 40),
        ("covid_caps", 1, 0),
    ],
)
def test_what_is_folded(name, norms, folded):
    model, x = create_model(name, num_classes=3), jnp.zeros((1, 96, 96, 3))
    shapes = shapes_of(model, x)
    leaves = jax.tree_util.tree_leaves_with_path(shapes["batch_stats"])
    assert sum(path[-1].key == "mean" for path, _ in leaves) == norms
    assert len(foldable(model, x.shape[1:])) == folded


class Branch(nn.Module):
    """A convolution that something else than its normalisation reads as well."""

    @nn.compact
    def __call__(self, x, *, train):
        y = Conv(4)(x)
        return NORM()(y) + y


class Shared(nn.Module):
    """One convolution, used twice."""

    @nn.compact
    def __call__(self, x, *, train):
        conv = Conv(x.shape[-1])
        return NORM()(conv(NORM()(conv(x))))


class Chain(nn.Module):
    """Every kind of layer that takes a normalisation in; the last has none behind."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, *, train):
        norm = partial(NORM, dtype=self.dtype)
        x = norm(use_scale=False)(Conv(6, use_bias=False, dtype=self.dtype)(x))
        x = norm(use_bias=False)(DepthwiseConv(dtype=self.dtype)(x))
        x = nn.relu(norm()(norm()(x)))
        x = norm(epsilon=0.1)(nn.Dense(5, dtype=self.dtype)(x))
        return nn.Dense(3)(x)


@pytest.mark.parametrize("model", [Branch(), Shared()])
def test_a_map_that_others_read_is_left_alone(model):
    x = np.random.default_rng(1).standard_normal((2, 5, 5, 4), np.float32)
    variables = random(shapes_of(model, x))
    assert foldable(model, x.shape[1:]) == ()
    plain = model.apply(variables, x, train=False)
    found = apply_folded(model, fold(variables, ()), x, ())
    np.testing.assert_array_equal(found, plain)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05)]
)
def test_each_kind_of_layer(dtype, tolerance):
    model = Chain(jnp.dtype(dtype))
    x = np.random.default_rng(1).standard_normal((2, 5, 5, 4), np.float32)
    variables = random(shapes_of(model, x))
    pairs = foldable(model, x.shape[1:])
    assert [pair.linear[0] for pair in pairs] == [
        "Conv_0",
        "DepthwiseConv_0",
        "Dense_0",
    ]
    plain = model.apply(variables, x, train=False)
    folded, state = apply_folded(
        model, fold(variables, pairs), x, pairs, mutable=["intermediates"]
    )
    assert folded.dtype == plain.dtype
    assert state.get("intermediates", {}) == {}
    scale = float(abs(plain).max())
    np.testing.assert_allclose(folded, plain, rtol=tolerance, atol=tolerance * scale)
