"""What the machine can do, measured, and what a network asks of it, counted.

Bytes are those of an implementation that fuses everything but batch normalisation:
forward and backward, a convolution's input and output are moved three times each, a
normalised map eight times (statistics one, apply two, backward sums two, backward
apply three), a pooling's input three times and its output twice. Weights, residual
additions and gates are not counted, and neither is anything that stays in a cache.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.plain import plain
from covjax.blocks.conv import BatchNorm

POOLS = ("reduce_window_max", "reduce_window_sum", "reduce_window")


@dataclass(frozen=True)
class Ceilings:
    """The fastest copy and the fastest matrix product of this device."""

    bytes_per_second: float
    flops_per_second: float


def ceilings(precision: str) -> Ceilings:
    """Measures both on random data; the copy counts what it reads and writes."""
    on_cpu = jax.default_backend() == "cpu"
    megabytes, side = (256, 2048) if on_cpu else (1024, 8192)
    dtype = jnp.dtype(precision)
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], (megabytes * 2**20 // dtype.itemsize,), dtype)
    copied = best_seconds(jax.jit(lambda x: -x), x)
    a = jax.random.normal(keys[1], (side, side), dtype)
    multiplied = best_seconds(jax.jit(jnp.matmul), a, a)
    return Ceilings(2 * x.nbytes / copied, 2 * side**3 / multiplied)


def best_seconds(function: Callable, *arguments: Any, repeats: int = 5) -> float:
    """The fastest of a few windows of some calls each."""
    jax.block_until_ready(function(*arguments))
    calls, best = (3 if jax.default_backend() == "cpu" else 20), math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready([function(*arguments) for _ in range(calls)][-1])
        best = min(best, (time.perf_counter() - start) / calls)
    return best


@dataclass
class Work:
    """Of one picture's forward pass: multiply-adds, and elements of maps."""

    macs: int = 0
    conv_in: int = 0
    conv_out: int = 0
    norm: int = 0
    pool_in: int = 0
    pool_out: int = 0

    def bytes(self, mode: str, itemsize: int) -> int:
        """Moved for one picture by a training step or at inference."""
        convolutions = self.conv_in + self.conv_out
        if mode == "infer":
            return itemsize * (convolutions + self.pool_in + self.pool_out)
        pools = 3 * self.pool_in + 2 * self.pool_out
        return itemsize * (3 * convolutions + 8 * self.norm + pools)

    def flops(self, mode: str) -> int:
        """Forward; a training step has the gradients of inputs and weights besides."""
        return (2 if mode == "infer" else 6) * self.macs

    def images_per_second(self, mode: str, itemsize: int, top: Ceilings) -> float:
        """The roofline: no faster than the slower of memory and arithmetic."""
        seconds = max(
            self.bytes(mode, itemsize) / top.bytes_per_second,
            self.flops(mode) / top.flops_per_second,
        )
        return 1 / seconds


def count(model: nn.Module, variables: Any, shape: tuple[int, ...]) -> Work:
    """Traces one picture of ``[height, width, channels]`` through the plain network."""
    work = Work()

    def count_norm(method, args, kwargs, context):
        if isinstance(context.module, BatchNorm):
            work.norm += args[0].size
        return method(*args, **kwargs)

    picture = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    with nn.intercept_methods(count_norm), plain():
        traced = jax.make_jaxpr(partial(model.apply, train=False))(variables, picture)
    for equation, times in equations(traced.jaxpr):
        sizes = [math.prod(v.aval.shape) for v in equation.invars]
        out = math.prod(equation.outvars[0].aval.shape)
        name = equation.primitive.name
        if name == "conv_general_dilated":
            features = equation.invars[1].aval.shape[-1]
            work.macs += times * out * (sizes[1] // features)
            work.conv_in += times * sizes[0]
            work.conv_out += times * out
        elif name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            lengths = [equation.invars[0].aval.shape[axis] for axis in contracted]
            work.macs += times * out * math.prod(lengths)
        elif name in POOLS:
            work.pool_in += times * sizes[0]
            work.pool_out += times * out
    return work


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """All equations inside, with how often each runs; of branches, all."""
    for equation in jaxpr.eqns:
        yield equation, times
        inner_times = times * equation.params.get("length", 1)
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner, inner_times)
