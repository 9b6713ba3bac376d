"""LSTM: a case by hand, a NumPy loop, and where its products are done."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from covjax.blocks.recurrent import LSTM


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class LSTMTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_by_hand(self):
        """One unit, inputs 1 and 2: every number below is from the equations."""
        params = {
            "kernel": jnp.array([[0.5, 1.0, 2.0, -1.0]]),  # i, f, g, o
            "recurrent_kernel": jnp.array([[1.0, 0.0, -1.0, 2.0]]),
            "bias": jnp.array([0.0, 1.0, 0.0, 0.5]),
        }
        c1 = sigmoid(0.5) * math.tanh(2)  # the cell starts at zero
        h1 = sigmoid(-0.5) * math.tanh(c1)
        c2 = sigmoid(3.0) * c1 + sigmoid(1 + h1) * math.tanh(4 - h1)
        h2 = sigmoid(-1.5 + 2 * h1) * math.tanh(c2)
        run = self.variant(LSTM(1).apply)
        hidden = run({"params": params}, jnp.array([[[1.0], [2.0]]]))
        np.testing.assert_allclose(hidden[0, :, 0], [h1, h2], rtol=1e-5)


def test_against_a_loop_over_time():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 7, 4)).astype(np.float32)
    layer = LSTM(5)
    variables = layer.init(jax.random.key(0), jnp.asarray(x))
    chex.assert_shape(variables["params"]["kernel"], (4, 20))
    chex.assert_shape(variables["params"]["recurrent_kernel"], (5, 20))
    w, u, b = (
        np.asarray(variables["params"][name])
        for name in ("kernel", "recurrent_kernel", "bias")
    )
    hidden, cell = np.zeros((3, 5)), np.zeros((3, 5))
    expected = []
    for t in range(7):
        i, f, g, o = np.split(x[:, t] @ w + hidden @ u + b, 4, axis=-1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        expected.append(hidden)
    expected = np.stack(expected, axis=1)
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


def test_start_is_kerass():
    params = LSTM(3).init(jax.random.key(0), jnp.zeros((1, 2, 4)))["params"]
    np.testing.assert_array_equal(params["bias"], [0] * 3 + [1] * 3 + [0] * 6)
    u = params["recurrent_kernel"]  # orthogonal rows
    np.testing.assert_allclose(u @ u.T, np.eye(3), atol=1e-5)


def test_one_product_for_all_inputs_and_one_inside_the_scan():
    layer = LSTM(3)
    x = jnp.zeros((2, 6, 4))
    variables = layer.init(jax.random.key(0), x)
    jaxpr = jax.make_jaxpr(layer.apply)(variables, x).jaxpr
    names = [equation.primitive.name for equation in jaxpr.eqns]
    assert names.count("dot_general") == 1
    scan = jaxpr.eqns[names.index("scan")]
    inside = [e.primitive.name for e in scan.params["jaxpr"].jaxpr.eqns]
    assert inside.count("dot_general") == 1
    assert scan.params["length"] == 6


def test_gradient_reaches_every_parameter_and_bfloat16_is_close():
    x = jax.random.normal(jax.random.key(1), (2, 5, 4))
    layer = LSTM(3)
    variables = layer.init(jax.random.key(0), x)
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(layer.apply(v, x) ** 2)))(variables)
    for leaf in jax.tree.leaves(gradients):
        assert float(jnp.abs(leaf).max()) > 0
    half = LSTM(3, dtype=jnp.bfloat16).apply(variables, x)
    assert half.dtype == jnp.bfloat16
    chex.assert_trees_all_close(
        half.astype(jnp.float32), layer.apply(variables, x), atol=0.03
    )
