"""Capsules: squash, lengths, and routing against its literal form.

The literal form here forms every prediction u_ij = x_i W_j; the layer never does.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks import capsule


def literal_routing(x, kernel, rounds, accumulate):
    """Procedure 1 of Sabour et al. with ``kernel`` ``[D, J, K]`` shared by inputs."""
    u = jnp.einsum("bid,djk->bijk", x, kernel)
    b = jnp.zeros(u.shape[:3])
    for step in range(rounds):
        c = jax.nn.softmax(b, axis=-1)
        s = jnp.sum(c[..., None] * u, axis=1)
        square = jnp.sum(s * s, axis=-1, keepdims=True) + 1e-7
        v = s * jnp.sqrt(square) / (1 + square)
        if step < rounds - 1:
            agreement = jnp.sum(u * v[:, None], axis=-1)
            b = b + agreement if accumulate else agreement
    return v


def inputs(inputs=11, features=5, capsules=4, out=3, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(keys[0], (2, inputs, features))
    kernel = jax.random.normal(keys[1], (features, capsules, out)) / features
    weights = jax.random.normal(keys[2], (2, capsules, out))  # of the scalar loss
    return x, kernel, weights


def test_squash_by_hand():
    # |(3, 4)|^2 = 25, so the length becomes 25/26 and the direction stays (0.6, 0.8)
    np.testing.assert_allclose(
        capsule.squash(jnp.array([3.0, 4.0])), [0.6 * 25 / 26, 0.8 * 25 / 26], rtol=1e-6
    )


def test_squash_is_finite_and_smooth_at_zero():
    value, gradient = jax.value_and_grad(lambda s: jnp.sum(capsule.squash(s)))(
        jnp.zeros((2, 3))
    )
    assert value == 0
    chex.assert_tree_all_finite(gradient)
    # near zero v = s sqrt(e) (1 + O(|s|^2)) with e = 1e-7
    np.testing.assert_allclose(gradient, np.full((2, 3), 1e-7**0.5), rtol=1e-4)


def test_lengths_stay_below_one_and_have_gradients():
    s = jnp.array([[0.0, 0.0], [0.3, 0.4], [30.0, 40.0], [3e8, 4e8]])
    lengths = capsule.capsule_lengths(capsule.squash(s))
    assert lengths[0] == 0
    # |s| = 0.5: 0.25 / 1.25
    np.testing.assert_allclose(lengths[1:3], [0.2, 2500 / 2501], rtol=1e-5)
    # rounding makes some of these longer than one without the bound
    long = 1e6 * jax.random.normal(jax.random.key(0), (1000, 5))
    assert np.all(capsule.capsule_lengths(capsule.squash(long)) < 1)
    gradient = jax.grad(lambda v: jnp.sum(capsule.capsule_lengths(v)))(
        jnp.array([[0.0, 0.0], [0.3, 0.4]])
    )
    np.testing.assert_allclose(gradient, [[0, 0], [0.6, 0.8]], rtol=1e-6)


def test_routing_by_hand():
    # x = 1, -1, 1 and W = 2, 1 (all one-dimensional), two rounds.
    # round 1: s = (1, 1/2), v = s^2 / (1 + s^2) = (1/2, 1/5), so x W v = x (1, 1/5)
    # round 2: c_1 = sigmoid(0.8 x)
    x = jnp.array([[[1.0], [-1.0], [1.0]]])
    kernel = jnp.array([[[2.0], [1.0]]])
    high = 1 / (1 + np.exp(-0.8))
    s = np.array([2 * (2 * high - (1 - high)), 2 * (1 - high) - high])
    expected = np.sign(s) * s**2 / (1 + s**2)
    v = capsule.route_shared(x, kernel, 2, False)
    np.testing.assert_allclose(v[0, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("accumulate", [False, True])
# inputs below, at and beside whole blocks
@pytest.mark.parametrize(("count", "rounds"), [(3, 1), (8, 3), (11, 3), (11, 4)])
def test_shared_routing_equals_the_literal_form(monkeypatch, count, rounds, accumulate):
    monkeypatch.setattr(capsule, "BLOCK", 4)
    x, kernel, weights = inputs(count)

    def loss(route):
        def run(x, kernel):
            return jnp.sum(weights * route(x, kernel, rounds, accumulate))

        return jax.jit(jax.value_and_grad(run, argnums=(0, 1)))(x, kernel)

    chex.assert_trees_all_close(
        loss(capsule.route_shared), loss(literal_routing), atol=1e-5, rtol=1e-5
    )


def test_the_two_routings_differ():
    x, kernel, _ = inputs()
    replaced = capsule.route_shared(x, kernel, 3, False)
    accumulated = capsule.route_shared(x, kernel, 3, True)
    assert float(jnp.max(jnp.abs(replaced - accumulated))) > 1e-3


def test_couplings_sum_to_one_over_the_outputs():
    x, kernel, _ = inputs()
    directions = capsule._directions(jnp.ones((2, 4, 5)), kernel)
    couplings = capsule._couplings(x, directions)
    assert couplings.shape == (2, 11, 4)
    np.testing.assert_allclose(jnp.sum(couplings, axis=-1), 1, rtol=1e-6)


def test_shared_routing_needs_less_than_a_fifth_of_the_memory():
    """COVID-CAPS's first layer at 224 pixels, forward and backward."""
    x = jax.ShapeDtypeStruct((1, 11_236, 128), jnp.float32)
    kernel = jax.ShapeDtypeStruct((128, 32, 8), jnp.float32)

    def temporary_bytes(route, backward):
        def run(x, kernel):
            return jnp.sum(route(x, kernel, 3, False) ** 2)

        run = jax.value_and_grad(run, argnums=(0, 1)) if backward else run
        compiled = jax.jit(run).lower(x, kernel).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    for backward in (False, True):
        ours = temporary_bytes(capsule.route_shared, backward)
        assert ours < temporary_bytes(literal_routing, backward) / 5


@pytest.mark.parametrize("accumulate", [False, True])
def test_capsules_have_a_matrix_for_every_pair(accumulate):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 4)).astype(np.float32)
    layer = capsule.Capsules(3, 5, accumulate=accumulate)
    variables = layer.init(jax.random.key(1), jnp.asarray(x))
    kernel = np.asarray(variables["params"]["kernel"])
    assert kernel.shape == (6, 3, 4, 5)

    u = np.einsum("bid,ijdk->bijk", x, kernel)
    b = np.zeros((2, 6, 3))
    for _ in range(3):
        c = np.exp(b) / np.exp(b).sum(-1, keepdims=True)
        s = np.einsum("bij,bijk->bjk", c, u)
        square = (s**2).sum(-1, keepdims=True)
        v = s * np.sqrt(square) / (1 + square)
        b = accumulate * b + np.einsum("bijk,bjk->bij", u, v)
    np.testing.assert_allclose(layer.apply(variables, x), v, atol=1e-5)


@pytest.mark.parametrize("layer", [capsule.Capsules, capsule.SharedCapsules])
def test_bfloat16_layers_return_float32(layer):
    x = inputs()[0]
    exact = layer(4, 8)
    variables = exact.init(jax.random.key(0), x)
    half = jax.jit(layer(4, 8, dtype=jnp.bfloat16).apply)(variables, x)
    assert half.dtype == jnp.float32
    chex.assert_trees_all_close(half, jax.jit(exact.apply)(variables, x), atol=0.02)


def test_reconstruction_reads_the_longest_capsule_only():
    layer = capsule.Reconstruction((4, 4, 1))
    v = jnp.array([[[0.9, 0.0], [0.1, 0.2]]])
    variables = layer.init(jax.random.key(0), v)
    draw = jax.jit(layer.apply)
    picture = draw(variables, v)
    assert picture.shape == (1, 4, 4, 1)
    assert float(picture.min()) >= 0
    assert float(picture.max()) <= 1
    other = draw(variables, v.at[0, 1].set(0.3))
    np.testing.assert_array_equal(picture, other)
    assert not np.allclose(picture, draw(variables, v.at[0, 0, 1].set(0.3)))


def test_reconstruction_reads_the_capsule_of_the_label():
    layer = capsule.Reconstruction((4, 4, 1))
    v = jnp.array([[[0.9, 0.0], [0.1, 0.2]]])
    variables = layer.init(jax.random.key(0), v)
    draw = jax.jit(layer.apply)
    longest, label = jnp.array([0]), jnp.array([1])
    picture = draw(variables, v, label)
    np.testing.assert_array_equal(draw(variables, v, longest), draw(variables, v))
    assert not np.allclose(picture, draw(variables, v))
    np.testing.assert_array_equal(picture, draw(variables, v.at[0, 0].set(0.3), label))
    assert not np.allclose(picture, draw(variables, v.at[0, 1, 1].set(0.3), label))
    half = capsule.Reconstruction((4, 4, 1), jnp.bfloat16)
    assert jax.eval_shape(half.apply, variables, v, label).dtype == jnp.float32
