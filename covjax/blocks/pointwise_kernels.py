"""The Pallas (Triton) kernels of `fused_pointwise.py`, forward and backward."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plt

BY_COLUMNS = (((1,), (1,)), ((), ()))  # a @ b^T
BY_ROWS = (((0,), (0,)), ((), ()))  # a^T @ b


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


def forward(
    x: jax.Array,
    factor: jax.Array,
    offset: jax.Array,
    kernel: jax.Array,
    blocks: Blocks,
    interpret: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
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
