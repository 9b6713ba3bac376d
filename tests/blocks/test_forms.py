"""The faster forms equal the plain operations, forward and backward."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from covjax.blocks import conv_forms, forms
from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.separable import DepthwiseConv


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def value_and_pullback(function, *arguments):
    """The value, and the gradients for one random cotangent, all compiled."""
    shape = jax.eval_shape(function, *arguments).shape
    cotangent = draw(*shape, seed=1)

    @jax.jit
    def run(*arguments):
        y, pullback = jax.vjp(function, *arguments)
        return y, *pullback(cotangent)

    return run(*arguments)


def assert_same(function, plain, *arguments):
    ours = value_and_pullback(function, *arguments)
    theirs = value_and_pullback(plain, *arguments)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(abs(b).max()))


def test_tests_run_the_forms():
    assert forms.on_one_cpu()


def test_a_mesh_of_several_devices_keeps_the_plain_operations():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        assert not forms.on_one_cpu()


@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (1, 1, 1, 3), (6, 4)])
def test_channel_sums(shape):
    a, b = draw(*shape), draw(*shape, seed=2)
    one, two = jax.jit(lambda a, b: forms.channel_sums((a,), (a, b)))(a, b)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(one, a.sum(axes), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(two, (a * b).sum(axes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding", "dilation"),
    [
        (9, 3, 1, 1, 1),
        (9, 3, 2, 1, 1),
        (8, 3, 2, "SAME", 1),
        (10, 5, 2, 2, 1),
        (11, 3, 1, "SAME", 3),
        (12, 3, 2, ((0, 1), (2, 0)), 2),
        (7, 3, 3, "VALID", 1),
        (5, 7, 1, 3, 1),
    ],
)
def test_depthwise(size, kernel, strides, padding, dilation, loops, monkeypatch):
    if not loops:  # the kernel's gradient without a loop over rows
        monkeypatch.setattr(conv_forms, "on_one_cpu", lambda: False)
    layer = DepthwiseConv(kernel, strides, padding, dilation, use_bias=False)
    plain = nn.Conv(
        4,
        (kernel, kernel),
        strides,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=4,
        use_bias=False,
    )
    assert_same(
        lambda x, k: layer.apply({"params": {"kernel": k}}, x),
        lambda x, k: plain.apply({"params": {"kernel": k}}, x),
        draw(2, size, size + 1, 4),
        draw(kernel, kernel, 1, 4, seed=3),
    )


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID", 0, 1, ((0, 1), (2, 0))])
def test_pointwise(strides, padding):
    layer = Conv(6, 1, strides, padding=padding)
    plain = nn.Conv(6, (1, 1), strides, padding=padding)
    assert_same(
        lambda x, k, b: layer.apply({"params": {"kernel": k, "bias": b}}, x),
        lambda x, k, b: plain.apply({"params": {"kernel": k, "bias": b}}, x),
        draw(2, 7, 8, 4),
        draw(1, 1, 4, 6),
        draw(6),
    )


def test_padded_pointwise_grows_the_map():
    """DarkCovidNet pads its 1x1 convolutions; no shortcut may drop the border."""
    x, k = draw(1, 4, 4, 2), draw(1, 1, 2, 3)
    y = Conv(3, 1, padding=1, use_bias=False).apply({"params": {"kernel": k}}, x)
    assert y.shape == (1, 6, 6, 3)
    np.testing.assert_array_equal(y[:, 0], 0)
    np.testing.assert_allclose(y[0, 1, 1], x[0, 0, 0] @ k[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [
        ((1, 1), (3, 3), 1, 1),  # eight of nine taps see padding alone
        ((2, 2), (3, 3), 1, "SAME"),
        ((4, 3), (3, 3), 2, 1),
        ((4, 5), (5, 5), 1, 2),
        ((2, 3), (1, 7), 1, "SAME"),
        ((6, 2), (7, 1), 1, ((3, 3), (0, 0))),
        ((3, 3), (3, 3), 1, "VALID"),
    ],
)
def test_gathered(size, kernel, strides, padding, monkeypatch):
    calls = []
    original = conv_forms.gathered
    monkeypatch.setattr(
        conv_forms, "gathered", lambda *a: calls.append(1) or original(*a)
    )
    x, k = draw(3, *size, 5), draw(*kernel, 5, 4, seed=3)
    conv = Conv(4, kernel, strides=strides, padding=padding, use_bias=False)
    plain = nn.Conv(4, kernel, strides=strides, padding=padding, use_bias=False)
    assert_same(
        lambda x, k: conv.apply({"params": {"kernel": k}}, x),
        lambda x, k: plain.apply({"params": {"kernel": k}}, x),
        x,
        k,
    )
    assert calls


def test_maps_as_large_as_the_kernel_keep_the_plain_convolution(monkeypatch):
    monkeypatch.setattr(conv_forms, "gathered", None)
    x, conv = draw(1, 6, 6, 2), Conv(4, 3, strides=2)
    assert conv.apply(conv.init(jax.random.key(0), x), x).shape == (1, 3, 3, 4)


@pytest.mark.parametrize(
    ("size", "window", "strides", "sides"),
    [
        (9, 3, 2, ((1, 1), (1, 1))),
        (8, 2, 2, ((0, 0), (0, 0))),
        (9, 3, 2, ((0, 1), (0, 1))),
        (10, 3, 2, ((0, 0), (0, 0))),
        (7, 3, 1, ((1, 1), (1, 1))),
        (7, 2, 3, ((0, 0), (0, 0))),
    ],
)
@pytest.mark.parametrize("cpu", [True, False])
def test_max_pool(size, window, strides, sides, cpu, monkeypatch):
    """With ties, as after a ReLU: the gradient goes to the first largest value."""
    monkeypatch.setattr(forms, "on_one_cpu", lambda: cpu)
    x = np.maximum(draw(2, size, size, 3), 0)

    def plain(x):
        return lax.reduce_window(
            x,
            -jnp.inf,
            lax.max,
            (1, window, window, 1),
            (1, strides, strides, 1),
            ((0, 0), *sides, (0, 0)),
        )

    assert_same(lambda x: forms.max_pool(x, window, strides, sides), plain, x)


def test_relu():
    x = draw(3, 4)
    x[0] = 0
    assert_same(forms.relu, nn.relu, x)
    x[1, 1] = np.nan
    assert np.isnan(forms.relu(x)[1, 1])


def test_the_gradient_of_relu_keeps_the_result_alone():
    a, b = (jnp.asarray(draw(3, 4)) for _ in range(2))
    _, pull = jax.vjp(lambda a, b: forms.relu(a + b), a, b)
    (kept,) = jax.tree.leaves(pull)
    np.testing.assert_array_equal(kept, np.maximum(a + b, 0))


def test_max_pool_shows_nan():
    x = draw(1, 4, 4, 1)
    x[0, 1, 1, 0] = np.nan
    y = forms.max_pool(x, 2, 2, ((0, 0), (0, 0)))
    assert np.isnan(y[0, 0, 0, 0])
    assert np.isfinite(np.asarray(y)[0, 1]).all()


def norm_in_training(layer, x, scale, bias):
    start = {"mean": jnp.full(4, 0.5), "var": jnp.full(4, 2.0)}
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": start}
    return layer.apply(variables, x, mutable=["batch_stats"])


@pytest.mark.parametrize("shape", [(3, 5, 6, 4), (8, 4)])
@pytest.mark.parametrize("loops", [True, False])
def test_batch_norm(shape, loops, monkeypatch):
    if not loops:
        monkeypatch.setattr(forms, "on_one_cpu", lambda: False)
    ours = BatchNorm(use_running_average=False, momentum=0.8, epsilon=1e-3)
    plain = nn.BatchNorm(use_running_average=False, momentum=0.8, epsilon=1e-3)
    arguments = 2 + 3 * draw(*shape), draw(4, seed=4), draw(4, seed=5)
    assert_same(
        lambda *a: norm_in_training(ours, *a)[0],
        lambda *a: norm_in_training(plain, *a)[0],
        *arguments,
    )
    stats = [norm_in_training(n, *arguments)[1]["batch_stats"] for n in (ours, plain)]
    for name in ("mean", "var"):
        np.testing.assert_allclose(stats[0][name], stats[1][name], rtol=1e-5)


def test_batch_norm_in_evaluation_uses_the_running_statistics():
    x = draw(2, 3, 3, 4)
    variables = {
        "params": {"scale": draw(4), "bias": draw(4, seed=1)},
        "batch_stats": {"mean": draw(4, seed=2), "var": abs(draw(4, seed=3))},
    }
    y = BatchNorm(use_running_average=True).apply(variables, x)
    expected = nn.BatchNorm(use_running_average=True).apply(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_of_bfloat16_keeps_float32_statistics():
    x = jnp.asarray(draw(4, 5, 5, 4), jnp.bfloat16)
    layer = BatchNorm(use_running_average=False, dtype=jnp.bfloat16)
    y, state = norm_in_training(layer, x, jnp.ones(4), jnp.zeros(4))
    assert y.dtype == jnp.bfloat16
    assert state["batch_stats"]["mean"].dtype == jnp.float32


def test_synchronised_batch_norm():
    """Two devices under pmap give the gradients of one large batch.

    Each device's loss is the mean over its own half, so the gradient of a parameter
    is averaged over the devices, and that of a picture counts twice.
    """
    x, scale, bias = draw(4, 3, 3, 4), draw(4, seed=1), draw(4, seed=2)
    target = draw(4, 3, 3, 4, seed=3)

    def gradients(layer, *arguments):
        def loss(scale, bias, x, target):
            y, _ = norm_in_training(layer, x, scale, bias)
            return jnp.mean((y - target) ** 2)

        return jax.grad(loss, argnums=(0, 1, 2))(*arguments)

    plain = nn.BatchNorm(use_running_average=False)
    expected = gradients(plain, scale, bias, x, target)
    layer = BatchNorm(use_running_average=False, axis_name="batch")
    *found, of_x = jax.pmap(
        lambda *a: gradients(layer, *a), "batch", in_axes=(None, None, 0, 0)
    )(scale, bias, x.reshape(2, 2, 3, 3, 4), target.reshape(2, 2, 3, 3, 4))
    found = [g.mean(axis=0) for g in found] + [of_x.reshape(x.shape) / 2]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_known_moments_are_taken_and_carry_their_gradient():
    x, scale, bias = 2 + 3 * draw(3, 5, 6, 4), draw(4, seed=4), draw(4, seed=5)
    layer = BatchNorm(use_running_average=False)
    start = {"mean": jnp.zeros(4), "var": jnp.ones(4)}

    def apart(x, scale, bias):
        """Two maps measured one by one, normalised as one."""
        parts = x[..., :1], x[..., 1:]
        pairs = zip(*(forms.channel_moments(part, None) for part in parts))
        moments = tuple(jnp.concatenate(pair) for pair in pairs)
        params = {"scale": scale, "bias": bias}
        variables = {"params": params, "batch_stats": start}
        joined = jnp.concatenate(parts, axis=-1)
        return layer.apply(variables, joined, moments=moments, mutable="batch_stats")

    def at_once(x, scale, bias):
        return norm_in_training(nn.BatchNorm(use_running_average=False), x, scale, bias)

    assert_same(lambda *a: apart(*a)[0], lambda *a: at_once(*a)[0], x, scale, bias)
    given = (jnp.full(4, 5.0), jnp.full(4, 29.0))  # a variance of 4
    params = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    variables = {"params": params, "batch_stats": start}
    y, state = layer.apply(variables, x, moments=given, mutable="batch_stats")
    np.testing.assert_allclose(y, (x - 5) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * 4, rtol=1e-6)
