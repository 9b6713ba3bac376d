"""Capsules: vectors as units, joined by routing-by-agreement.

Sabour, Frosst, Hinton: Dynamic routing between capsules, 2017, arXiv 1710.09829
(`squash`: equation 1; routing: procedure 1). Afshar et al.: COVID-CAPS, 2020,
arXiv 2004.02696, and its Keras code (weights shared over the input capsules,
routing that replaces its logits).

Used by covid_caps, capsnet, conv_capsnet. Symbols in this file: x input capsules, W
weights, u = x W predictions, b logits, c couplings, s weighted sums, v outputs;
axes: B batch, I input capsules, D their features, J output capsules, K theirs.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

BLOCK = 2048  # input capsules in one step of the backward pass: bounds its memory
EPSILON = 1e-7  # COVID-CAPS: Keras's epsilon, added to the squared length


def squash(s: jax.Array) -> jax.Array:
    """Shortens every vector of the last axis below length one, keeping its direction.

    ``v = s sqrt(|s|^2 + e) / (1 + |s|^2 + e)``; the gradient is finite everywhere,
    at zero too.
    """
    square = jnp.sum(jnp.square(s), axis=-1, keepdims=True) + EPSILON
    return s * (jnp.sqrt(square) / (1 + square))


def capsule_lengths(v: jax.Array) -> jax.Array:
    """Lengths in [0, 1) of squashed capsules: ``[..., J, K]`` to ``[..., J]``.

    The gradient at a zero vector is zero, and a length that rounds to one is given
    as the largest float32 below one.
    """
    square = jnp.sum(jnp.square(v.astype(jnp.float32)), axis=-1)
    is_zero = square == 0
    length = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, square)))
    return jnp.minimum(length, 1 - jnp.finfo(jnp.float32).epsneg)


class PrimaryCapsules(nn.Module):
    """A convolution whose channels are read as capsules (Sabour et al., section 4)."""

    capsules: int  # at every position of the map
    features: int
    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, positions * capsules, features]``."""
        x = self.conv(self.capsules * self.features, name="conv")(x)
        return squash(x.reshape(x.shape[0], -1, self.features).astype(jnp.float32))


class Capsules(nn.Module):
    """Fully connected capsules: a matrix for each pair of input and output capsule.

    Parameter ``kernel`` ``[I, J, D, K]``. `accumulate` adds each round's agreement to
    the logits (Sabour et al.); without it the agreement replaces them (COVID-CAPS).
    """

    capsules: int
    features: int
    rounds: int = 3  # Sabour et al., section 4
    accumulate: bool = True
    dtype: Any = jnp.float32
    # Sabour et al.'s code: truncated normal of deviation 0.1
    kernel_init: Callable = nn.initializers.truncated_normal(0.1)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, I, D]`` to float32 ``[batch, capsules, features]``."""
        shape = (x.shape[1], self.capsules, x.shape[2], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        u_BxIxJxK = jnp.einsum(
            "bid,ijdk->bijk", x.astype(self.dtype), kernel.astype(self.dtype)
        )
        weigh = partial(jnp.einsum, "bij,bijk->bjk", preferred_element_type=jnp.float32)
        agree = partial(jnp.einsum, "bijk,bjk->bij", preferred_element_type=jnp.float32)
        b = jnp.zeros(u_BxIxJxK.shape[:3], jnp.float32)
        v = squash(jnp.sum(u_BxIxJxK.astype(jnp.float32), axis=1) / self.capsules)
        for _ in range(self.rounds - 1):
            agreement = agree(u_BxIxJxK, v.astype(self.dtype))
            b = b + agreement if self.accumulate else agreement
            c = jax.nn.softmax(b, axis=-1)
            v = squash(weigh(c.astype(self.dtype), u_BxIxJxK))
        return v


class Reconstruction(nn.Module):
    """Draws each input from one class capsule (Sabour et al., section 4.1)."""

    shape: tuple[int, ...]  # height, width, channels of the picture
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, v: jax.Array, labels: jax.Array | None = None) -> jax.Array:
        """Maps ``[batch, J, K]`` to float32 ``[batch, *shape]`` in [0, 1].

        Of each picture only the capsule of its class in `labels`, int ``[batch]``, is
        seen; without labels the longest one.
        """
        if labels is None:
            labels = jnp.argmax(capsule_lengths(v), axis=-1)
        v = v * jax.nn.one_hot(labels, v.shape[1])[..., None]
        x = v.reshape(v.shape[0], -1)
        x = nn.relu(nn.Dense(512, dtype=self.dtype, name="dense1")(x))
        x = nn.relu(nn.Dense(1024, dtype=self.dtype, name="dense2")(x))
        x = nn.Dense(math.prod(self.shape), dtype=jnp.float32, name="dense3")(x)
        return nn.sigmoid(x).reshape(-1, *self.shape)


class SharedCapsules(nn.Module):
    """Capsules whose weights are shared by all input capsules (COVID-CAPS).

    Parameter ``kernel`` ``[D, J * K]``. `accumulate` as in `Capsules`. The prediction
    tensor ``[B, I, J, K]`` is never formed, see `route_shared`.
    """

    capsules: int
    features: int
    rounds: int = 3  # COVID-CAPS code
    accumulate: bool = False  # COVID-CAPS code
    dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.glorot_uniform()  # COVID-CAPS code

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, I, D]`` to float32 ``[batch, capsules, features]``."""
        shape = (x.shape[2], self.capsules * self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        kernel = kernel.reshape(x.shape[2], self.capsules, self.features)
        return route_shared(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            self.rounds,
            self.accumulate,
        )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def route_shared(
    x: jax.Array, kernel: jax.Array, rounds: int, accumulate: bool
) -> jax.Array:
    """Routing of x ``[B, I, D]`` through shared weights ``[D, J, K]``: ``[B, J, K]``.

    With ``u_ij = x_i W_j``::

        s_j  = sum_i c_ij u_ij = (sum_i c_ij x_i) W_j
        b_ij = <u_ij, v_j>     = <x_i, W_j v_j>

    so each round is ``softmax(x a)`` and one weighted sum of x, where ``a_j = W_j v_j``
    (the sum of these over the rounds when `accumulate`). The backward pass keeps only x
    and the ``[B, J, D]`` sums, and walks over the input capsules in blocks.
    """
    return _route(x, kernel, rounds, accumulate)[0]


def _product(equation: str, *operands: jax.Array) -> jax.Array:
    """An einsum that reads the type of its first operand and adds up in float32."""
    dtype = operands[0].dtype
    cast = [operand.astype(dtype) for operand in operands]
    return jnp.einsum(equation, *cast, preferred_element_type=jnp.float32)


def _outputs(sums_BxJxD: jax.Array, kernel: jax.Array) -> jax.Array:
    return squash(_product("djk,bjd->bjk", kernel, sums_BxJxD))


def _directions(sums_BxJxD: jax.Array, kernel: jax.Array) -> jax.Array:
    return _product("djk,bjk->bjd", kernel, _outputs(sums_BxJxD, kernel))


def _couplings(x: jax.Array, a_BxJxD: jax.Array) -> jax.Array:
    return jax.nn.softmax(_product("bid,bjd->bij", x, a_BxJxD), axis=-1)


def _route(x, kernel, rounds, accumulate):
    capsules = kernel.shape[1]
    # the first couplings are uniform
    mean = jnp.sum(x, axis=1, keepdims=True, dtype=jnp.float32) / capsules
    sums = [jnp.broadcast_to(mean, (x.shape[0], capsules, x.shape[2]))]
    directions: list[jax.Array] = []
    for _ in range(rounds - 1):
        a = _directions(sums[-1], kernel)
        if accumulate and directions:
            a = a + directions[-1]
        directions.append(a)
        sums.append(_product("bid,bij->bjd", x, _couplings(x, a)))
    return _outputs(sums[-1], kernel), (x, kernel, sums, directions)


def _route_backward(rounds, accumulate, saved, cotangent):
    x, kernel, sums, directions = saved
    _, pull = jax.vjp(_outputs, sums[-1], kernel)
    d_sums, d_kernel = pull(cotangent)
    d_x = jnp.zeros_like(x)
    d_later = None  # of the directions of the round after
    for step in reversed(range(rounds - 1)):
        d_x, d_a = _round_backward(d_x, x, directions[step], d_sums)
        if accumulate and d_later is not None:
            d_a = d_a + d_later
        d_later = d_a
        _, pull = jax.vjp(_directions, sums[step], kernel)
        d_sums, d_kernel_here = pull(d_a)
        d_kernel = d_kernel + d_kernel_here
    d_mean = jnp.sum(d_sums, axis=1, keepdims=True) / kernel.shape[1]
    return d_x + d_mean.astype(x.dtype), d_kernel


def _round_backward(d_x, x, a, d_sums):
    """Adds one round's share to d_x, in place, and returns it with d_a ``[B, J, D]``.

    Couplings are computed anew from x, a block of input capsules at a time.
    """
    count = x.shape[1]
    blocks = -(-count // BLOCK)
    size = -(-count // blocks)
    back_to_x = jnp.concatenate([d_sums, a], axis=1)

    def block(i, carry):
        d_x, d_a = carry
        start = jnp.minimum(i * size, count - size)
        is_new = start + jnp.arange(size) >= i * size  # the last block may overlap
        x_here = jax.lax.dynamic_slice_in_dim(x, start, size, axis=1)
        c = _couplings(x_here, a) * is_new.reshape(1, -1, 1)
        d_c = _product("bid,bjd->bij", x_here, d_sums)
        d_b = c * (d_c - jnp.sum(c * d_c, axis=-1, keepdims=True))
        d_a = d_a + _product("bid,bij->bjd", x_here, d_b)
        both = jnp.concatenate([c, d_b], axis=-1).astype(x.dtype)
        d_here = jax.lax.dynamic_slice_in_dim(d_x, start, size, axis=1)
        d_here = d_here + _product("bij,bjd->bid", both, back_to_x).astype(x.dtype)
        return jax.lax.dynamic_update_slice_in_dim(d_x, d_here, start, axis=1), d_a

    return jax.lax.fori_loop(0, blocks, block, (d_x, jnp.zeros_like(a)))


route_shared.defvjp(_route, _route_backward)
