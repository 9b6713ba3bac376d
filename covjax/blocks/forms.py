"""Faster forms of the normalisation and pooling on which CPUs lose their time.

Used by `conv.py` and `pooling.py`, and so by every network; `conv_forms.py` has those
of the convolutions. Each form computes the same numbers as the plain operation of
`jax.lax` (tests: 1e-5). TPUs keep XLA's own forms. On a CPU XLA reduces over leading
axes at 1 to 2 GB/s; there and on a GPU it scatters the gradient of a maximum pixel by
pixel.
"""

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]  # (low, high) padding of height and width


def on_one_cpu() -> bool:
    """Whether the program being traced runs on a single CPU device.

    The loops here run over the batch, which must then not be spread over a mesh.
    """
    return jax.default_backend() == "cpu" and on_one_device()


def on_one_device() -> bool:
    """Whether the program being traced is not spread over a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.empty or mesh.size == 1


def channel_sums(*products: tuple[jax.Array, ...]) -> list[jax.Array]:
    """For each product of maps, its sum over all axes but the last.

    On a CPU a loop over picture rows with one ``[width, channels]`` accumulator a
    sum, which stays in the cache; elsewhere the compiler's own reduction.

    Args:
      *products: tuples of one or two ``[..., channels]`` maps, all of one shape.

    Returns:
      ``[channels]`` for each product, float32 (float64 for float64 maps).
    """
    shape = products[0][0].shape
    if len(shape) != 4 or not on_one_cpu():
        axes = tuple(range(len(shape) - 1))
        return [jnp.sum(_product(factors), axes) for factors in products]
    batch, height, width, channels = shape
    rows = [
        [x.reshape(batch * height, width, channels) for x in factors]
        for factors in products
    ]

    def add_row(i, sums):
        return tuple(
            total
            + _product(
                [lax.dynamic_index_in_dim(x, i, keepdims=False) for x in factors]
            )
            for factors, total in zip(rows, sums)
        )

    zero = jnp.zeros((width, channels), wide(products[0][0]))
    sums = lax.fori_loop(0, batch * height, add_row, (zero,) * len(rows))
    return [s.sum(axis=0) for s in sums]


def _product(factors: Sequence[jax.Array]) -> jax.Array:
    """The product of one array or more, in at least float32."""
    return reduce(jnp.multiply, [x.astype(wide(x)) for x in factors])


def wide(x: jax.Array) -> jnp.dtype:
    """The type to sum x in: float32, or float64 for float64 (parity tests)."""
    return jnp.promote_types(x.dtype, jnp.float32)


# ---------------------------------------------------------------------------- bias


@jax.custom_vjp
def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """``[..., channels]`` plus ``[channels]``; its gradient by `channel_sums`."""
    return x + like(x, bias)


def _add_bias_forward(x, bias):
    return add_bias(x, bias), None


def _add_bias_backward(_, dy):
    return dy, channel_sums((dy,))[0].astype(dy.dtype)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


# ------------------------------------------------------------- batch normalisation


Moments = tuple[jax.Array, jax.Array]  # mean and mean square, float32 [channels]


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def channel_moments(x: jax.Array, axis_name: str | None) -> Moments:
    """Mean and mean square of every channel of ``[..., channels]``.

    Args:
      x: the map; it alone is kept for the gradient.
      axis_name: mapped axis (pmap) whose devices share the batch, or None.

    Returns:
      float32 ``[channels]`` each.
    """
    count = x.size // x.shape[-1]
    mean, square = (s / count for s in channel_sums((x,), (x, x)))
    return (mean, square) if axis_name is None else lax.pmean((mean, square), axis_name)


def _channel_moments_forward(x, axis_name):
    return channel_moments(x, axis_name), x


def _channel_moments_backward(axis_name, x, cotangents):
    # of the mean over all devices' pictures, whatever device reads it
    if axis_name is not None:
        cotangents = lax.pmean(cotangents, axis_name)
    d_mean, d_square = (d * (x.shape[-1] / x.size) for d in cotangents)
    return (scale_and_shift(x, 2 * d_square, d_mean),)


channel_moments.defvjp(_channel_moments_forward, _channel_moments_backward)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def batch_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    moments: Moments,
    epsilon: float,
) -> jax.Array:
    """Normalises channels by their moments; one map is kept for the gradient.

    With the mean m and the variance v = mean square - m^2,
    ``y = scale * (x - m) / sqrt(v + epsilon) + bias``.

    Args:
      x: ``[..., channels]``.
      scale: float32 ``[channels]``.
      bias: float32 ``[channels]``.
      moments: of x, from `channel_moments`; its gradient leads through them as well.
      epsilon: added to the variance.

    Returns:
      y in x's type.
    """
    return _batch_norm_forward(x, scale, bias, moments, epsilon)[0]


def _batch_norm_forward(x, scale, bias, moments, epsilon):
    mean = moments[0]
    inverse = lax.rsqrt(variance_of(moments) + epsilon)
    y = scale_and_shift(x, scale * inverse, bias - mean * scale * inverse)
    return y, (x, scale, mean, inverse)


def _batch_norm_backward(epsilon, kept, dy):
    del epsilon
    x, scale, mean, inverse = kept
    sum_dy, sum_dy_x = channel_sums((dy,), (dy, x))
    d_factor = sum_dy_x - mean * sum_dy
    d_variance = -0.5 * scale * inverse**3 * d_factor
    d_mean = -scale * inverse * sum_dy - 2 * mean * d_variance
    dx = (dy * like(x, scale * inverse)).astype(x.dtype)
    return dx, d_factor * inverse, sum_dy, (d_mean, d_variance)


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


def variance_of(moments: Moments) -> jax.Array:
    """The (biased) variance, float32 ``[channels]``; rounding may not make it negative.

    Args:
      moments: mean and mean square.
    """
    mean, square = moments
    return jnp.maximum(square - mean**2, 0.0)


def scale_and_shift(x: jax.Array, factor: jax.Array, offset: jax.Array) -> jax.Array:
    """``x * factor + offset`` by channel: computed in float32, given in x's type."""
    factor, offset = (like(x, values) for values in (factor, offset))
    return (x * factor + offset).astype(x.dtype)


def like(x: jax.Array, values: jax.Array) -> jax.Array:
    """``[channels]`` with as many axes as x: ranks are never promoted."""
    return values.reshape((1,) * (x.ndim - 1) + (-1,))


# ---------------------------------------------------------------------- activation


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """``max(x, 0)``, whose gradient reads the result and not x.

    For a sum of maps: the gradient of `flax.linen.relu` forms the sum anew.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x):
    y = relu(x)
    return y, y


def _relu_backward(y, dy):
    # XLA makes y > 0 a comparison of x, and x is the sum
    return (jnp.where(y == 0, 0, dy),)


relu.defvjp(_relu_forward, _relu_backward)


# ------------------------------------------------------------------ maximum pooling


NO_TAP = 255  # of a window; the largest window has 15 x 15


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def max_pool(x: jax.Array, window: int, strides: int, sides: Sides) -> jax.Array:
    """Maximum of each window as shifted comparisons; the first gets the gradient.

    Args:
      x: ``[batch, height, width, channels]``.
      window: height and width of the window.
      strides: of both directions.
      sides: (low, high) padding of height and width, which never wins.

    Returns:
      ``[batch, h, w, channels]``.
    """
    return _max_pool(x, window, strides, sides)[0]


def _max_pool(x, window, strides, sides):
    """The maxima, and uint8 the number of the tap that each came from."""
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)), constant_values=-jnp.inf)
    spans = [(n - window) // strides + 1 for n in padded.shape[1:3]]
    best, winner = jnp.zeros(()), jnp.zeros(())
    for tap, (i, j) in enumerate(product(range(window), repeat=2)):
        shifted = padded[
            :,
            i : i + strides * (spans[0] - 1) + 1 : strides,
            j : j + strides * (spans[1] - 1) + 1 : strides,
        ]
        if tap == 0:
            best, winner = shifted, jnp.zeros(shifted.shape, jnp.uint8)
        else:
            better = ~(shifted <= best)  # a NaN wins, and so is seen
            best = jnp.where(better, shifted, best)
            winner = jnp.where(better, jnp.uint8(tap), winner)
    return best, winner


def materialised(dy: jax.Array, winner: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The same arrays, computed once: by a loop that makes no round.

    XLA's CPU backend would compute the comparisons, and what leads to dy, anew for
    each tap of the window, and drops `jax.lax.optimization_barrier` before it fuses
    (DenseNet-121's first pooling, 8 pictures of 224 px: 103 ms, like this below 9).
    """
    first = dy[(0,) * dy.ndim]
    never = (first > 0) & (first < 0)  # which the compiler does not see
    state = lax.while_loop(
        lambda state: state[0],
        lambda state: (state[0], -state[1], state[2] + 1),  # what stays would be free
        (never, dy, winner),
    )
    return state[1], state[2]


def _max_pool_forward(x, window, strides, sides):
    y, winner = _max_pool(x, window, strides, sides)
    return y, (winner, x.shape)


def _max_pool_backward(window, strides, sides, kept, dy):
    """Each pixel looks up the few windows that cover it, and whether it won them.

    The padded map is seen in blocks of strides x strides pixels: those of block i lie
    in the windows i, i - 1, ... that reach so far.
    """
    winner, shape = kept
    if on_one_cpu():
        dy, winner = materialised(dy, winner)
    (top, _), (left, _) = sides
    blocks = [-(-(n + low) // strides) for n, (low, _) in zip(shape[1:3], sides)]

    def of_blocks(x: jax.Array, back: tuple[int, ...]) -> jax.Array:
        """What each block finds in the window so many before its own."""
        margins = [(b, n - m - b) for b, n, m in zip(back, blocks, x.shape[1:3])]
        padding = [(low, high, 0) for low, high in ((0, 0), *margins, (0, 0))]
        return lax.pad(x, jnp.zeros((), x.dtype), padding)[:, :, None, :, None]

    dx = jnp.zeros((), dy.dtype)
    for back in product(range(-(-window // strides)), repeat=2):
        rows, columns = np.ix_(*(np.arange(strides) + strides * b for b in back))
        inside = (rows < window) & (columns < window)
        taps = np.where(inside, rows * window + columns, NO_TAP).astype(np.uint8)
        won = of_blocks(winner, back) == taps[None, None, :, None, :, None]
        dx = dx + jnp.where(won, of_blocks(dy, back), jnp.zeros((), dy.dtype))
    batch, channels = dy.shape[0], dy.shape[-1]
    dx = dx.reshape(batch, blocks[0] * strides, blocks[1] * strides, channels)
    return (dx[:, top : top + shape[1], left : left + shape[2]],)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
