"""Pooling with PyTorch's conventions, and the check of the smallest input.

Used by all networks. Arrays are NHWC. Padding is one number (both sides of height
and width), ``"SAME"`` or ``"VALID"``. With ``ceil`` the last window may hang over
the edge, as in Caffe and in PyTorch's ``ceil_mode``, as long as it starts inside.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from covjax.blocks import forms
from covjax.errors import InputError

Sides = tuple[tuple[int, int], tuple[int, int]]  # (low, high) of height and width


def max_pool(
    x: jax.Array, window: int, strides: int, padding: int | str = 0, ceil: bool = False
) -> jax.Array:
    """Largest value of each window; padding never wins.

    Args:
      x: ``[batch, height, width, channels]``.
      window: height and width of the window.
      strides: step of the window in both directions.
      padding: pixels on each side, or ``"SAME"`` or ``"VALID"``.
      ceil: whether a last, partial window counts.

    Returns:
      ``[batch, h, w, channels]``.
    """
    sides = pool_padding(x.shape[1:3], window, strides, padding, ceil)
    if forms.on_one_cpu() or jax.default_backend() == "gpu":
        return forms.max_pool(x, window, strides, sides)
    return nn.max_pool(
        x, window_shape=(window, window), strides=(strides, strides), padding=sides
    )


def avg_pool(
    x: jax.Array,
    window: int,
    strides: int,
    padding: int | str = 0,
    ceil: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """Mean of each window.

    Args:
      x: ``[batch, height, width, channels]``.
      window: height and width of the window.
      strides: step of the window in both directions.
      padding: pixels on each side, or ``"SAME"`` or ``"VALID"``.
      ceil: whether a last, partial window counts; what hangs over does not.
      count_include_pad: whether padded zeros count (PyTorch: yes; TensorFlow: no).

    Returns:
      ``[batch, h, w, channels]``.
    """
    sides = pool_padding(x.shape[1:3], window, strides, padding, ceil)
    sums = nn.pool(
        x,
        init=0.0,
        reduce_fn=jax.lax.add,
        window_shape=(window, window),
        strides=(strides, strides),
        padding=sides,
    )
    # "SAME" and overhang are at most the window; an asked-for margin is `padding`
    margin = padding if isinstance(padding, int) else window
    counts = [
        _window_counts(size, window, strides, low_high, count_include_pad * margin)
        for size, low_high in zip(x.shape[1:3], sides)
    ]
    divisor = np.multiply.outer(*counts)[None, :, :, None]
    return sums / jnp.asarray(divisor, sums.dtype)


def global_avg_pool(x: jax.Array) -> jax.Array:
    """Mean over height and width: ``[batch, h, w, channels]`` to ``[batch, channels]``.

    The sum is taken in float32 (`jax.numpy.mean` does so for half types).
    """
    return jnp.mean(x, axis=(1, 2))


def adaptive_avg_pool(x: jax.Array, size: int) -> jax.Array:
    """Averages any map to ``[batch, size, size, channels]``, as PyTorch does.

    Output i is the mean of inputs floor(i n / size) to ceil((i + 1) n / size), so
    maps smaller than `size` are repeated and a map of `size` is kept as it is.
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (_adaptive_weights(n, size) for n in x.shape[1:3])
    return jnp.einsum(
        "oh,bhwc,pw->bopc",
        jnp.asarray(rows, x.dtype),
        x,
        jnp.asarray(columns, x.dtype),
        precision=jax.lax.Precision.HIGHEST,  # a mean, not a product to round
    )


def pool_padding(
    size: tuple[int, ...], window: int, strides: int, padding: int | str, ceil: bool
) -> Sides:
    """The (low, high) padding of height and width that gives the asked-for windows."""
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(
            size, (window, window), (strides, strides), padding
        )
        return (pads[0], pads[1])
    overhangs = []
    for n in size:
        steps, rest = divmod(n + 2 * padding - window, strides)
        # a window that starts beyond the last pixel is left out
        hangs = ceil and rest and (steps + 1) * strides < n + padding
        overhangs.append(strides - rest if hangs else 0)
    return (padding, padding + overhangs[0]), (padding, padding + overhangs[1])


def _window_counts(
    size: int, window: int, strides: int, sides: tuple[int, int], margin: int
) -> np.ndarray:
    """How many positions of each window count, along one axis."""
    low, high = sides
    counted = np.zeros(low + size + high)
    counted[max(low - margin, 0) : low + size + margin] = 1
    starts = range(0, low + size + high - window + 1, strides)
    return np.array([counted[start : start + window].sum() for start in starts])


def _adaptive_weights(size: int, target: int) -> np.ndarray:
    """The ``[target, size]`` matrix that averages `size` values to `target`."""
    weights = np.zeros((target, size), np.float32)
    for i in range(target):
        start, end = i * size // target, -(-(i + 1) * size // target)
        weights[i, start:end] = 1 / (end - start)
    return weights


def require_size(x: jax.Array, smallest: int, network: str) -> None:
    """Raises `InputError` for pictures that a network would shrink to nothing."""
    height, width = x.shape[1:3]
    if min(height, width) < smallest:
        raise InputError(
            f"{network}: pictures of {height}x{width} pixels are too small; "
            f"the smallest it takes is {smallest}x{smallest}"
        )
