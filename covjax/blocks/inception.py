"""Inception modules, written as data: parallel chains of convolutions and pools.

A chain is a tuple of `Layer`, `Pool` and `Mixed` steps; a `Mixed` is a tuple of
chains whose maps are concatenated. Used by GoogLeNet, BN-Inception, Inception-v2,
v3 and v4, Inception-ResNet-v2 and Truncated Inception Net. The modules A to E of
Inception-v3 stand at the end of the file, because two networks are made of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.pooling import avg_pool, max_pool


class Layer(NamedTuple):
    """One convolution with what follows it (normalisation, activation)."""

    features: int
    kernel_size: int | tuple[int, int] = 1
    strides: int = 1
    padding: str = "SAME"


class Pool(NamedTuple):
    """One pooling step."""

    kind: str  # "max" or "avg"
    window: int = 3
    strides: int = 1
    padding: str = "SAME"


class Mixed(NamedTuple):
    """Chains side by side; their maps are concatenated in this order."""

    chains: tuple[tuple, ...]


Steps = tuple[Layer | Pool | Mixed, ...]


class Chain(nn.Module):
    """Steps one after another: a branch of a module, a stage or a stem.

    Parameters: ``conv<n>`` and ``mixed<n>``, n counting these two kinds from 1.
    """

    steps: Steps
    unit: Callable  # what a Layer becomes: ConvNorm with `conv` and `norm` given
    count_include_pad: bool = False  # of mean pools at the border (see Inception-v3)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, out]``."""
        number = 0
        for step in self.steps:
            if isinstance(step, Pool):
                x = self._pool(step, x)
                continue
            number += 1
            if isinstance(step, Mixed):
                x = Inception(
                    step, self.unit, self.count_include_pad, name=f"mixed{number}"
                )(x)
            else:
                x = self.unit(
                    step.features,
                    kernel_size=step.kernel_size,
                    strides=step.strides,
                    padding=step.padding,
                    name=f"conv{number}",
                )(x)
        return x

    def _pool(self, step: Pool, x: jax.Array) -> jax.Array:
        if step.kind == "max":
            return max_pool(x, step.window, step.strides, step.padding)
        # a margin is counted only where it is asked for as a number of pixels
        padding: int | str = step.padding
        if self.count_include_pad and padding == "SAME":
            padding = step.window // 2
        return avg_pool(
            x,
            step.window,
            step.strides,
            padding,
            count_include_pad=self.count_include_pad,
        )


class Inception(nn.Module):
    """One inception module; parameters ``branch<n>``, n counting chains from 1."""

    mixed: Mixed
    unit: Callable
    count_include_pad: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, out]``."""
        return branches(self.mixed, self.unit, x, self.count_include_pad)


def branches(
    mixed: Mixed, unit: Callable, x: jax.Array, count_include_pad: bool = False
) -> jax.Array:
    """Applies the chains of `mixed` to x inside the calling compact method."""
    maps = [
        Chain(steps, unit, count_include_pad, name=f"branch{i + 1}")(x)
        for i, steps in enumerate(mixed.chains)
    ]
    return jnp.concatenate(maps, axis=-1)


# --- Inception-v3: Szegedy et al. 2016, arXiv:1512.00567; figures are the paper's.
# Widths are those of the published weights (TensorFlow, Keras, torchvision).


def fork(features: int) -> Mixed:
    """1x3 and 3x1 side by side (figure 7)."""
    return Mixed(((Layer(features, (1, 3)),), (Layer(features, (3, 1)),)))


def inception_a(pool_features: int) -> Mixed:
    """Figure 5, with one 5x5: 224 + `pool_features` maps of the same size."""
    return Mixed(
        (
            (Layer(64),),
            (Layer(48), Layer(64, 5)),
            (Layer(64), Layer(96, 3), Layer(96, 3)),
            (Pool("avg"), Layer(pool_features)),
        )
    )


# figure 10, at 35x35: 480 maps beside those that came in, half the size
REDUCTION_B = Mixed(
    (
        (Layer(384, 3, 2, "VALID"),),
        (Layer(64), Layer(96, 3), Layer(96, 3, 2, "VALID")),
        (Pool("max", 3, 2, "VALID"),),
    )
)


def inception_c(features: int) -> Mixed:
    """Figure 6 with n = 7 and `features` inside: 768 maps of the same size."""
    row, column = (1, 7), (7, 1)
    double = (Layer(features, column), Layer(features, row), Layer(features, column))
    return Mixed(
        (
            (Layer(192),),
            (Layer(features), Layer(features, row), Layer(192, column)),
            (Layer(features), *double, Layer(192, row)),
            (Pool("avg"), Layer(192)),
        )
    )


# figure 10, at 17x17: 512 maps beside those that came in, half the size
REDUCTION_D = Mixed(
    (
        (Layer(192), Layer(320, 3, 2, "VALID")),
        (
            Layer(192),
            Layer(192, (1, 7)),
            Layer(192, (7, 1)),
            Layer(192, 3, 2, "VALID"),
        ),
        (Pool("max", 3, 2, "VALID"),),
    )
)

# figure 7: 2048 maps of the same size
INCEPTION_E = Mixed(
    (
        (Layer(320),),
        (Layer(384), fork(384)),
        (Layer(448), Layer(384, 3), fork(384)),
        (Pool("avg"), Layer(192)),
    )
)
