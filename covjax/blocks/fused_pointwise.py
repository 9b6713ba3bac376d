"""A 1x1 convolution that normalises what it reads and measures what it writes.

For a GPU, used by `dense.py` where `chosen` says so (the form "fused" of
`benchmarks/plain.py`; not by default as long as no GPU has measured it). Batch
normalisation, ReLU and 1x1 convolution of a dense layer are bound by memory: XLA
writes the normalised map and reads it back, and reads the result once more for its
moments. Here one Pallas kernel (`pointwise_kernels.py`) reads x, and writes y with the
sums of y and of y*y; another does all of the backward pass, reading x once. The
normalised map exists in registers only. By the programs compiled for an H100, a step
of DenseNet-121 with 256 pictures moves 73 GB in place of 94.

Where the kernels cannot run (`fits`), the same numbers come from plain operations.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from covjax.blocks.forms import Moments, on_one_device, wide

Result = tuple[jax.Array, jax.Array, jax.Array]  # y, its sums, the sums of its squares


# columns of y that the kernels take: the backward kernel's registers hold
# [channels, outputs] sums
OUTPUTS = (64, 128, 256)


def chosen() -> bool:
    """Whether dense layers are to be computed by this file; the benchmark says so."""
    return False


def fits(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether the kernels take these shapes, on one device.

    Args:
      x: ``[M, K]``.
      kernel: ``[K, N]``.
    """
    return (
        on_one_device()
        and x.dtype == kernel.dtype == jnp.bfloat16
        and x.shape[1] % 32 == 0
        and kernel.shape[1] in OUTPUTS
        and x.shape[0] * max(x.shape[1], kernel.shape[1]) < 2**31  # indices: int32
    )


def norm_relu_pointwise(
    x: jax.Array, factor: jax.Array, offset: jax.Array, kernel: jax.Array
) -> Result:
    """``z = max(x * factor + offset, 0)``, ``y = z @ kernel``, and the sums of y.

    z is computed in float32 and rounded to x's type; y is summed in float32.

    Args:
      x: ``[M, K]``, pixels by channels.
      factor: float32 ``[K]``.
      offset: float32 ``[K]``.
      kernel: ``[K, N]`` in x's type.

    Returns:
      y ``[M, N]`` in x's type; float32 ``[N]`` the sums of y, and of y*y, over M.
    """
    on_gpu = jax.default_backend() == "gpu" and fits(x, kernel)
    return by(x, factor, offset, kernel, "triton" if on_gpu else "plain")


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def by(
    x: jax.Array, factor: jax.Array, offset: jax.Array, kernel: jax.Array, means: str
) -> Result:
    """`norm_relu_pointwise` by the means named.

    Args:
      x: ``[M, K]``.
      factor: float32 ``[K]``.
      offset: float32 ``[K]``.
      kernel: ``[K, N]``.
      means: "plain" operations; the "triton" kernels; the kernels as "interpret" runs
        them on a CPU, for tests.
    """
    if means == "plain":
        return plain_forward(x, factor, offset, kernel)
    from covjax.blocks import pointwise_kernels as kernels  # a quarter of a second

    interpret = means == "interpret"
    return kernels.forward(x, factor, offset, kernel, kernels.FORWARD, interpret)


def _forward(x, factor, offset, kernel, means):
    y, sums, squares = by(x, factor, offset, kernel, means)
    return (y, sums, squares), (x, factor, offset, kernel, y)


def _backward(means, kept, cotangents):
    """All three cotangents as one of y.

    Left to XLA, which makes dy in the same pass over y: y is what the next
    normalisation reads.
    """
    x, factor, offset, kernel, y = kept
    dy, d_sums, d_squares = cotangents
    total = dy.astype(wide(y)) + d_sums[None] + 2 * y * d_squares[None]
    dy = total.astype(y.dtype)
    if means == "plain":
        return plain_backward(x, factor, offset, kernel, dy)
    from covjax.blocks import pointwise_kernels as kernels

    interpret = means == "interpret"
    return kernels.backward(x, factor, offset, kernel, dy, kernels.BACKWARD, interpret)


by.defvjp(_forward, _backward)


# ------------------------------------------------------------------------ in layers


def convolve(
    norm: tuple[jax.Array, jax.Array],
    axis_name: str | None,
    x: jax.Array,
    kernel: jax.Array,
    **_,
) -> tuple[jax.Array, Moments]:
    """Normalises, rectifies and convolves a map; also measures the result.

    Args:
      norm: factor and offset, float32 ``[in]`` each.
      axis_name: mapped axis (pmap) whose devices share the batch, or None.
      x: ``[batch, height, width, in]``.
      kernel: ``[1, 1, in, out]``.

    Returns:
      ``[batch * height * width, out]``, and its moments as of `forms.channel_moments`.
      What follows by channel should take it so, as the kernels do: over a reshaped y,
      XLA computes the gradients of normalisation and ReLU in three passes, not in two.
    """
    pixels = x.reshape(-1, x.shape[-1])
    y, *sums = norm_relu_pointwise(pixels, *norm, kernel[0, 0])
    mean, square = (s / len(pixels) for s in sums)
    if axis_name is not None:
        mean, square = lax.pmean((mean, square), axis_name)
    return y, (mean, square)


# ------------------------------------------------------------------ plain operations


def plain_forward(
    x: jax.Array, factor: jax.Array, offset: jax.Array, kernel: jax.Array
) -> Result:
    """`norm_relu_pointwise` in plain operations."""
    z = jnp.maximum(x * factor[None] + offset[None], 0).astype(x.dtype)
    y = jnp.dot(z, kernel, preferred_element_type=wide(x)).astype(x.dtype)
    seen = y.astype(wide(y))  # as rounded: the map that the next layer reads
    return y, seen.sum(0), (seen * seen).sum(0)


def plain_backward(
    x: jax.Array,
    factor: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
) -> tuple[jax.Array, ...]:
    """The gradients of x, factor, offset and kernel in plain operations.

    Args:
      x: ``[M, K]``.
      factor: float32 ``[K]``.
      offset: float32 ``[K]``.
      kernel: ``[K, N]``.
      dy: ``[M, N]`` in x's type.
    """
    moved = x * factor[None] + offset[None]
    z = jnp.maximum(moved, 0).astype(x.dtype)
    dz = jnp.dot(dy, kernel.T, preferred_element_type=wide(x))
    g = jnp.where(moved > 0, dz, 0)
    d_kernel = jnp.dot(z.T, dy, preferred_element_type=wide(x))
    return (
        (g * factor[None]).astype(x.dtype),
        (g * x).sum(0).astype(factor.dtype),
        g.sum(0).astype(offset.dtype),
        d_kernel.astype(kernel.dtype),
    )
