"""The kernels equal their plain twin, and the twin Flax's own layers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from benchmarks.plain import FORMS
from covjax.blocks import forms, fused_pointwise, pointwise_kernels
from covjax.models.densenet import DenseNet


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def arguments(size, depth, width, dtype=jnp.float32):
    """x, factor, offset and kernel; a third of what is normalised is negative."""
    kernel = draw(depth, width, seed=3) / depth**0.5
    return (
        jnp.asarray(draw(size, depth), dtype),
        1 + 0.3 * draw(depth, seed=1),
        0.5 + 0.3 * draw(depth, seed=2),
        jnp.asarray(kernel, dtype),
    )


def results(function, inputs):
    """y, sums and squares, and the gradients for cotangents of all three."""

    @jax.jit
    def run(*inputs):
        (y, sums, squares), pull = jax.vjp(function, *inputs)
        dy = jnp.asarray(draw(*y.shape, seed=4), y.dtype)
        cotangents = dy, draw(*sums.shape, seed=5), 0.3 * draw(*squares.shape, seed=6)
        return y, sums, squares, *pull(cotangents)

    return run(*inputs)


def assert_close(found, expected, tolerance, least=0.0):
    """By the largest value of each array, or of `least` where all are smaller."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=tolerance * max(abs(b).max(), least)
        )


def layers(x, factor, offset, kernel):
    """What XLA is given without this form."""
    z = nn.relu(x * factor[None] + offset[None])
    y = lax.conv_general_dilated(
        z[:, None, None],
        kernel[None, None],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[:, 0, 0]
    return y, y.sum(0), (y * y).sum(0)


def test_the_twin_equals_the_layers():
    inputs = arguments(200, 96, 64)
    twin = results(fused_pointwise.norm_relu_pointwise, inputs)
    assert_close(twin, results(layers, inputs), 1e-5)


def test_the_twin_has_the_gradient_of_the_rectifier_at_zero():
    inputs = [jnp.zeros((3, 4)), jnp.ones(4), jnp.zeros(4), jnp.ones((4, 2))]
    assert_close(
        results(fused_pointwise.norm_relu_pointwise, inputs)[3:],
        [jnp.zeros_like(a) for a in inputs],
        0,
    )


@pytest.mark.parametrize(
    ("size", "depth", "width"),
    [
        (256, 64, 64),
        (200, 96, 64),  # ragged rows, and channels that two blocks share
        (300, 160, 128),
        (40, 32, 32),  # less than one block of rows
        (128, 64, 256),  # two blocks of columns, fewer channels
    ],
)
def test_kernels(size, depth, width, monkeypatch):
    # three shares, of unlike lengths
    blocks = pointwise_kernels.BACKWARD._replace(programs=6)
    monkeypatch.setattr(pointwise_kernels, "BACKWARD", blocks)
    inputs = arguments(size, depth, width)
    twin, kernels = (
        results(partial(by_means, means), inputs) for means in ("plain", "interpret")
    )
    assert_close(kernels, twin, 1e-5)


def by_means(means, *inputs):
    return fused_pointwise.by(*inputs, means)


def test_kernels_in_bfloat16():
    # each rounding to 8 bits is wrong by 2^-9 of a value at most, and the twin rounds
    # the same values. What differs is the order of float32 sums; where that tips the
    # rounding of y, y is off by one step, 2^-8 of itself, and so may dx be.
    inputs = arguments(200, 96, 64, jnp.bfloat16)
    twin, kernels = (
        results(partial(by_means, means), inputs) for means in ("plain", "interpret")
    )
    assert_close(kernels, twin, 2**-8)
    # against float32 on the rounded values: z, y and the cotangent are rounded once
    # each, and errors of sums are no larger in proportion than those of their terms
    wide = [jnp.asarray(a, jnp.float32) for a in inputs]
    exact = results(partial(by_means, "plain"), wide)
    exact = [jnp.asarray(a, b.dtype) for a, b in zip(exact, kernels)]
    assert_close(kernels, exact, 3 * 2**-8)
    y = jnp.asarray(kernels[0], jnp.float32)  # the sums are of y as it is written
    assert_close(kernels[1:3], (y.sum(0), (y * y).sum(0)), 1e-6)


def test_what_the_kernels_take():
    def fits(size, depth, width, dtype=jnp.bfloat16):
        shape = jax.ShapeDtypeStruct
        return fused_pointwise.fits(
            shape((size, depth), dtype), shape((depth, width), dtype)
        )

    assert fits(802816, 224, 128)
    assert fits(12544, 512, 256)
    assert not fits(802816, 224, 128, jnp.float32)
    assert not fits(802816, 220, 128)
    assert not fits(802816, 224, 96)
    assert not fits(802816, 1024, 512)
    assert not fits(2**24, 128, 128)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        assert not fits(802816, 224, 128)


def test_a_cpu_keeps_plain_operations(monkeypatch):
    inputs = arguments(64, 64, 64, jnp.bfloat16)

    def program():
        function = lambda *a: fused_pointwise.norm_relu_pointwise(*a)  # noqa: E731
        return str(jax.make_jaxpr(function)(*inputs))

    assert "pallas_call" not in program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "pallas_call" in program()


def train(form, variables, model, x):
    """Loss, gradients and new statistics of a network in training."""

    @jax.jit
    def run(params, x):
        def loss(params, x):
            logits, state = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            labels = jnp.arange(len(x)) % 3
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), state

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    with FORMS[form]():
        return run(variables["params"], x)


def test_a_network_is_the_same(monkeypatch):
    model = DenseNet(3, blocks=(2, 1), growth_rate=4, stem_features=8)
    x = draw(4, 32, 32, 3)
    variables = model.init(jax.random.key(0), x, train=False)
    leaves, tree = jax.tree.flatten(variables)
    leaves = [
        leaf if leaf.ndim > 1 else 0.5 + 0.5 * abs(draw(*leaf.shape, seed=i))
        for i, leaf in enumerate(leaves)
    ]
    variables = jax.tree.unflatten(tree, leaves)
    expected = train("covjax", variables, model, x)
    calls, measured = [], []
    own = forms.channel_moments
    monkeypatch.setattr(
        forms,
        "channel_moments",
        lambda x, axis_name: measured.append(x.shape[-1]) or own(x, axis_name),
    )
    original = fused_pointwise.norm_relu_pointwise
    monkeypatch.setattr(
        fused_pointwise,
        "norm_relu_pointwise",
        lambda *a: calls.append(a[0].shape) or original(*a),
    )
    found = train("fused", variables, model, x)
    # 4 pictures of 8x8 and 4x4: two layers, the transition, a layer
    assert calls == [(256, 8), (256, 12), (256, 16), (64, 8)]
    assert 16 not in measured  # the bottlenecks of 4 * 4 channels
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    # what is shifted before it is normalised has no gradient but rounding
    assert_close(jax.tree.leaves(found), jax.tree.leaves(expected), 1e-5, least=0.1)
    train("covjax", variables, model, x)
    assert len(calls) == 4  # by default nothing changes
    assert 16 in measured


def test_the_form_draws_the_same_network():
    model = DenseNet(
        3, blocks=(1, 1), growth_rate=4, stem_features=8, axis_name="batch"
    )
    x = jnp.zeros((2, 32, 32, 3))
    start = model.init(jax.random.key(0), x, train=True)
    with FORMS["fused"]():
        same = model.init(jax.random.key(0), x, train=True)
    jax.tree.map(np.testing.assert_array_equal, start, same)
