"""Faster forms of the convolutions on which CPUs lose their time.

Used by `conv.py` and `separable.py`, and so by every network. Each form computes the
same numbers as `jax.lax.conv_general_dilated` (tests: 1e-5). GPU and TPU keep XLA's
own; on an H100 jaxlib 0.11.2 aborts when it compiles ResNet-50 with `pointwise` (a
failed check of its Triton products). On a CPU XLA filters channels one by one, and
leaves its fast convolution for a naive loop where the kernel is larger than the map.
"""

from collections.abc import Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import lax

from covjax.blocks.forms import Pair, Sides, like, on_one_cpu, wide


def pointwise(x: jax.Array, kernel: jax.Array, strides: Pair) -> jax.Array:
    """A 1x1 convolution without padding, as one matrix product.

    Pixels are laid out in one row of vectors first: with three axes to sum over, the
    kernel's gradient takes twice as long (8 pictures, 56x56, 64 to 256 channels: 17 and
    9 ms for value and both gradients; in bfloat16 on jax 0.11, 130 and 10 ms).

    Args:
      x: ``[batch, height, width, in]``.
      kernel: ``[1, 1, in, out]``.
      strides: of height and width.

    Returns:
      ``[batch, h, w, out]``.
    """
    return by_pixel(x[:, :: strides[0], :: strides[1]], kernel[0, 0])


def by_pixel(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """``[batch, h, w, in] @ [in, out]``, as a product of two matrices."""
    y = x.reshape(-1, x.shape[-1]) @ matrix
    return y.reshape(*x.shape[:-1], matrix.shape[-1])


def overhangs(spans: Sequence[int], kernel_size: Sequence[int]) -> bool:
    """Whether a kernel is larger than the map that it gives.

    There XLA's convolution or one of its gradients is a naive loop. On 2 cores,
    milliseconds of value and both gradients, 64 pictures, plain against `gathered`:
    3x3 256 to 256 channels at 1x1 2.4 and 0.5, at 2x2 44 and 1.8, at 3x3 4.7 and 3.6,
    at 4x4 6.8 and 7.8; 3x3 128 to 256, strides 2, at 2x2 20 and 1.1; 5x5 48 to 64 at
    4x4 4.8 and 1.4, at 5x5 1.4 and 2.0.
    """
    return any(n < k for n, k in zip(spans, kernel_size))


def gathered(x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides) -> jax.Array:
    """A convolution as one matrix product over the pixels that each output sees.

    Taps that see padding alone are left out, so a 3x3 kernel over one pixel costs as
    much as a 1x1 kernel.

    Args:
      x: ``[batch, height, width, in]``.
      kernel: ``[kh, kw, in, out]``.
      strides: of height and width.
      sides: (low, high) padding of height and width.

    Returns:
      ``[batch, h, w, out]``.
    """
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)))
    spans = out_spans(x.shape[1:3], kernel.shape[:2], strides, sides)
    reaches = [
        [
            tap
            for tap in range(k)
            if any(0 <= tap + s * i - low < n for i in range(span))
        ]
        for n, k, s, span, (low, _) in zip(
            x.shape[1:3], kernel.shape[:2], strides, spans, sides
        )
    ]
    taps = [(i, j) for i in reaches[0] for j in reaches[1]]
    seen = [shifted(padded, tap, strides, spans) for tap in taps]
    weights = jnp.concatenate([kernel[i, j] for i, j in taps])
    return by_pixel(jnp.concatenate(seen, axis=-1), weights)


def out_spans(
    size: Sequence[int], kernel_size: Sequence[int], strides: Pair, sides: Sides
) -> list[int]:
    """Height and width of the map that a convolution gives."""
    return [
        (n + low + high - k) // s + 1
        for n, k, s, (low, high) in zip(size, kernel_size, strides, sides)
    ]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(
    x: jax.Array, kernel: jax.Array, strides: Pair, sides: Sides, dilation: Pair
) -> jax.Array:
    """A depthwise convolution as shifted multiply-adds, dilation without zeros.

    Args:
      x: ``[batch, height, width, channels]``.
      kernel: ``[kh, kw, 1, channels]``.
      strides: of height and width.
      sides: (low, high) padding of height and width.
      dilation: step between the taps of the kernel.

    Returns:
      ``[batch, h, w, channels]``.
    """
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)))
    spans = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[1:3], kernel.shape[:2], strides, dilation)
    ]
    y = jnp.zeros((), x.dtype)
    for i, j in product(range(kernel.shape[0]), range(kernel.shape[1])):
        seen = shifted(padded, (i * dilation[0], j * dilation[1]), strides, spans)
        tap = seen * like(x, kernel[i, j, 0])
        y = tap if (i, j) == (0, 0) else y + tap
    return y


def shifted(
    padded: jax.Array, start: Pair, strides: Pair, spans: Sequence[int]
) -> jax.Array:
    """What one tap of a kernel sees of a padded map: ``[batch, *spans, channels]``."""
    rows, columns = (
        slice(first, first + step * (span - 1) + 1, step)
        for first, step, span in zip(start, strides, spans)
    )
    return padded[:, rows, columns]


def _depthwise_forward(x, kernel, strides, sides, dilation):
    return depthwise(x, kernel, strides, sides, dilation), (x, kernel)


def _depthwise_backward(strides, sides, dilation, kept, dy):
    x, kernel = kept
    return (
        _depthwise_input_gradient(dy, kernel, x.shape, strides, sides, dilation),
        _depthwise_kernel_gradient(dy, x, kernel, strides, sides, dilation),
    )


def _depthwise_input_gradient(dy, kernel, shape, strides, sides, dilation):
    """The same shifts backwards, over dy spread out by the strides."""
    height, width = shape[1:3]
    reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[:2])]
    config = [(0, 0, 0)]
    for n, low_high, r, s, m in zip(
        (height, width), sides, reach, strides, dy.shape[1:3]
    ):
        spread = s * (m - 1) + 1
        low = r - low_high[0]  # negative: cut
        config.append((low, n + r - low - spread, s - 1))
    config.append((0, 0, 0))
    spread_dy = lax.pad(dy, jnp.zeros((), dy.dtype), config)
    dx = jnp.zeros((), dy.dtype)
    for i, j in product(range(kernel.shape[0]), range(kernel.shape[1])):
        top, left = reach[0] - i * dilation[0], reach[1] - j * dilation[1]
        seen = shifted(spread_dy, (top, left), (1, 1), (height, width))
        tap = seen * like(dy, kernel[i, j, 0])
        dx = tap if (i, j) == (0, 0) else dx + tap
    return dx


def _depthwise_kernel_gradient(dy, x, kernel, strides, sides, dilation):
    """On a CPU a loop over the rows of dy with one accumulator for each tap."""
    batch, height, width, channels = dy.shape
    kh, kw = kernel.shape[:2]
    padded = jnp.pad(x, ((0, 0), *sides, (0, 0)))
    if not on_one_cpu():
        gradient = dy.astype(wide(dy))
        sums = []
        for i, j in product(range(kh), range(kw)):
            start = (i * dilation[0], j * dilation[1])
            seen = shifted(padded, start, strides, (height, width))
            sums.append(jnp.sum(gradient * seen, (0, 1, 2)))
        return jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)

    def add_row(step, sums):
        b, r = step // height, step % height
        gradient = lax.dynamic_slice(dy, (b, r, 0, 0), (1, 1, width, channels))[0, 0]
        gradient = gradient.astype(wide(dy))
        values = []
        for i in range(kh):
            start = (b, r * strides[0] + i * dilation[0], 0, 0)
            row = lax.dynamic_slice(padded, start, (1, 1, *padded.shape[2:]))[0, 0]
            for j in range(kw):
                left = j * dilation[1]
                taken = row[left : left + strides[1] * (width - 1) + 1 : strides[1]]
                values.append(sums[i * kw + j] + gradient * taken)
        return tuple(values)

    zero = jnp.zeros((width, channels), wide(dy))
    sums = lax.fori_loop(0, batch * height, add_row, (zero,) * (kh * kw))
    gradient = jnp.stack([s.sum(axis=0) for s in sums])
    return gradient.reshape(kernel.shape).astype(kernel.dtype)


depthwise.defvjp(_depthwise_forward, _depthwise_backward)
