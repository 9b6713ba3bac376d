"""A 1x1 convolution that normalises what it reads and measures what it writes.

For a GPU, used by `dense.py` where `chosen` says so (the form "fused" of
`benchmarks/plain.py`; never by default). Batch normalisation, ReLU and 1x1
convolution of a dense layer are bound by memory: XLA writes the normalised map and
reads it back, and reads the result once more for its moments. Here one Pallas
(Triton) kernel reads x, and writes y with the sums of y and of y*y; another does all
of the backward pass, reading x once. The normalised map exists in registers only.

Where the kernels cannot run (`fits`), the same numbers come from plain operations.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

from covjax.blocks.forms import Moments, wide

Result = tuple[jax.Array, jax.Array, jax.Array]  # y, its sums, the sums of its squares


class Blocks(NamedTuple):
    """Block sizes of a kernel, all powers of two, and how a program runs.

    A program of `forward` has `rows` rows and `outputs` columns of y, one of
    `backward` has `channels` channels of x and all columns; each loops over the rest.
    """

    rows: int = 128  # of x, read at once
    channels: int = 64  # of x, read at once
    outputs: int = 128  # columns of y, at most; the backward kernel has them all
    warps: int = 8
    stages: int = 3  # of reading ahead
    programs: int = 132  # of the backward kernel, about: multiprocessors of an H100


FORWARD = Blocks()
BACKWARD = Blocks(rows=64, channels=128, stages=3)
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
    mesh = jax.sharding.get_abstract_mesh()
    return (
        (mesh.empty or mesh.size == 1)
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
    return forward(x, factor, offset, kernel, FORWARD, means == "interpret")


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
    interpret = means == "interpret"
    return backward(x, factor, offset, kernel, dy, BACKWARD, interpret)


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
    dz = lax.dot_general(dy, kernel, BY_COLUMNS, preferred_element_type=wide(x))
    g = jnp.where(moved > 0, dz, 0)
    d_kernel = lax.dot_general(z, dy, BY_ROWS, preferred_element_type=wide(x))
    return (
        (g * factor[None]).astype(x.dtype),
        (g * x).sum(0).astype(factor.dtype),
        g.sum(0).astype(offset.dtype),
        d_kernel.astype(kernel.dtype),
    )


# ------------------------------------------------------------------- Triton kernels

BY_COLUMNS = (((1,), (1,)), ((), ()))  # a @ b^T
BY_ROWS = (((0,), (0,)), ((), ()))  # a^T @ b


def forward(
    x: jax.Array,
    factor: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    blocks: Blocks,
    interpret: bool,
) -> Result:
    """`norm_relu_pointwise` by a kernel; one program for each tile of y.

    Args:
      x: ``[M, K]``.
      factor: float32 ``[K]``.
      offset: float32 ``[K]``.
      kernel: ``[K, N]``; N is a multiple of the outputs of a block, or smaller.
      blocks: sizes of a program.
      interpret: run without a GPU.
    """
    size, width = x.shape[0], kernel.shape[1]
    blocks = blocks._replace(outputs=min(blocks.outputs, width))
    tiles = pl.cdiv(size, blocks.rows)
    y, parts = pl.pallas_call(
        partial(_forward_kernel, blocks=blocks),
        grid=(width // blocks.outputs, tiles),  # side by side: what reads the same x
        out_shape=(
            jax.ShapeDtypeStruct((size, width), x.dtype),
            jax.ShapeDtypeStruct((tiles * 2, width), jnp.float32),
        ),
        compiler_params=plt.CompilerParams(
            num_warps=blocks.warps, num_stages=blocks.stages
        ),
        interpret=interpret,
    )(x, factor, offset, kernel)
    sums, squares = parts.reshape(tiles, 2, width).sum(0)
    return y, sums, squares


def _forward_kernel(x, factor, offset, kernel, y, parts, *, blocks):
    size, depth = x.shape
    row, rows = span(pl.program_id(1), blocks.rows)
    _, columns = span(pl.program_id(0), blocks.outputs)
    row_there = below(row, size, blocks.rows)

    def add_channels(i, total):
        channel, channels = span(i, blocks.channels)
        there = below(channel, depth, blocks.channels)
        mask = both(row_there, there, (blocks.rows, blocks.channels))
        block = read(x, (rows, channels), mask).astype(jnp.float32)
        f, o = read(factor, channels, there), read(offset, channels, there)
        z = jnp.maximum(block * f[None] + o[None], 0).astype(x.dtype)
        mask = both(there, None, (blocks.channels, blocks.outputs))
        weights = read(kernel, (channels, columns), mask)
        return total + jnp.dot(z, weights, preferred_element_type=jnp.float32)

    total = jnp.zeros((blocks.rows, blocks.outputs), jnp.float32)
    total = lax.fori_loop(0, pl.cdiv(depth, blocks.channels), add_channels, total)
    result = total.astype(y.dtype)
    mask = both(row_there, None, (blocks.rows, blocks.outputs))
    plt.store(y.at[rows, columns], result, mask=mask)
    seen = result.astype(jnp.float32)
    if mask is not None:  # rows that are not there gave max(offset, 0)
        seen = jnp.where(mask, seen, 0)
    tile = pl.program_id(1)
    plt.store(parts.at[2 * tile, columns], jnp.sum(seen, axis=0))
    plt.store(parts.at[2 * tile + 1, columns], jnp.sum(seen * seen, axis=0))


def backward(
    x: jax.Array,
    factor: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    dy: jax.Array,
    blocks: Blocks,
    interpret: bool,
) -> tuple[jax.Array, ...]:
    """The gradients of x, factor, offset and kernel by one kernel.

    A program has some channels and a share of the rows. It keeps their part of the
    kernel and of its gradient, so x is read once; dy is read for each block of
    channels, by programs that run side by side, so mostly from the cache.

    Args:
      x: ``[M, K]``.
      factor: float32 ``[K]``.
      offset: float32 ``[K]``.
      kernel: ``[K, N]``, N a power of two.
      dy: ``[M, N]`` in x's type.
      blocks: sizes of a program.
      interpret: run without a GPU.
    """
    size, depth = x.shape
    width = kernel.shape[1]
    channels = blocks.channels * 128 // max(width, 128)
    while channels > depth:
        channels //= 2
    blocks = blocks._replace(channels=channels, outputs=width)
    groups = pl.cdiv(depth, channels)
    tiles = pl.cdiv(size, blocks.rows)
    shares = min(max(blocks.programs // groups, 1), tiles)
    dx, d_kernel, sums = pl.pallas_call(
        partial(_backward_kernel, blocks=blocks, tiles=tiles),
        grid=(groups, shares),
        out_shape=(
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            jax.ShapeDtypeStruct((shares, depth, width), jnp.float32),
            jax.ShapeDtypeStruct((shares * 2, depth), jnp.float32),
        ),
        compiler_params=plt.CompilerParams(
            num_warps=blocks.warps, num_stages=blocks.stages
        ),
        interpret=interpret,
    )(x, factor, offset, kernel, dy)
    d_factor, d_offset = sums.reshape(shares, 2, depth).sum(0)
    return dx, d_factor, d_offset, d_kernel.sum(0).astype(kernel.dtype)


def _backward_kernel(
    x, factor, offset, kernel, dy, dx, d_kernel, sums, *, blocks, tiles
):
    size, depth = x.shape
    share, shares = pl.program_id(1), d_kernel.shape[0]
    # the last block begins where it ends with x: what it has in common with the one
    # before, both write alike, which takes fewer registers than a mask
    first = jnp.minimum(pl.program_id(0) * blocks.channels, depth - blocks.channels)
    channels = pl.ds(pl.multiple_of(first, 32), blocks.channels)
    every = pl.ds(0, blocks.outputs)
    f, o = factor[channels][None], offset[channels][None]
    weights = kernel[channels, every]

    def add_rows(i, totals):
        d_weights, gradient_x, gradient = totals
        row, rows = span(i, blocks.rows)
        there = below(row, size, blocks.rows)
        mask = both(there, None, (blocks.rows, blocks.channels))
        block = read(x, (rows, channels), mask).astype(jnp.float32)
        moved = block * f + o
        z = jnp.maximum(moved, 0).astype(x.dtype)
        # rows that are not there: z is max(offset, 0), but dy is 0
        dy_mask = both(there, None, (blocks.rows, blocks.outputs))
        d = read(dy, (rows, every), dy_mask)
        dz = lax.dot_general(d, weights, BY_COLUMNS, preferred_element_type=jnp.float32)
        g = jnp.where(moved > 0, dz, 0.0)
        plt.store(dx.at[rows, channels], (g * f).astype(dx.dtype), mask=mask)
        add = lax.dot_general(z, d, BY_ROWS, preferred_element_type=jnp.float32)
        return d_weights + add, gradient_x + g * block, gradient + g

    tile = jnp.zeros((blocks.rows, blocks.channels), jnp.float32)
    d_weights = jnp.zeros((blocks.channels, blocks.outputs), jnp.float32)
    start, stop = share * tiles // shares, (share + 1) * tiles // shares
    totals = lax.fori_loop(start, stop, add_rows, (d_weights, tile, tile))
    plt.store(d_kernel.at[share, channels, every], totals[0])
    for i in range(2):
        plt.store(sums.at[2 * share + i, channels], jnp.sum(totals[1 + i], axis=0))


def span(block, size):
    """The first index of a block, and the block's slice of that many elements."""
    first = block * size
    return first, pl.ds(first, size)


def below(first, end, size):
    """Bool ``[size]``: what is there of a block; None where blocks fill the axis."""
    return None if end % size == 0 else first + jnp.arange(size) < end


def both(rows, columns, shape):
    """The mask of a tile from those of its two axes, where None is all there."""
    if rows is None and columns is None:
        return None
    mask = (
        jnp.ones(shape, bool)
        if rows is None
        else jnp.broadcast_to(rows[:, None], shape)
    )
    return mask if columns is None else mask & jnp.broadcast_to(columns[None], shape)


def read(source, index, mask):
    """A block, with 0 for what is not there."""
    index = index if isinstance(index, tuple) else (index,)
    return plt.load(source.at[index], mask=mask, other=None if mask is None else 0)
