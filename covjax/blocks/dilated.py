"""Depthwise convolutions of several dilations side by side: CovXNet's units.

Mahmud, Rahman, Fattah: CovXNet, 2020, Computers in Biology and Medicine 122:103869,
doi 10.1016/j.compbiomed.2020.103869, figures 2 and 3, and the authors' Keras code:
normalisation stands behind the ReLU everywhere.

Used by covxnet.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.pooling import max_pool
from covjax.blocks.separable import DepthwiseConv


class ConvReluNorm(nn.Module):
    """Convolution with bias, ReLU, batch normalisation, in this order."""

    features: int
    kernel_size: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        x = self.conv(
            self.features, self.kernel_size, strides=self.strides, name="conv"
        )(x)
        return self.norm(name="norm")(nn.relu(x))


class DilatedDepthwise(nn.Module):
    """3x3 depthwise convolutions with dilations 1 to `dilations`, ReLU, joined.

    Channel c of dilation d of the input's C channels is channel ``(d - 1) C + c`` of
    the result.
    """

    dilations: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, C]`` to ``[batch, h, w, dilations * C]``."""
        branches = [
            DepthwiseConv(
                3,
                kernel_dilation=d,
                dtype=x.dtype,
                kernel_init=nn.initializers.glorot_uniform(),  # Keras
                name=f"dilation{d}",
            )(x)
            for d in range(1, self.dilations + 1)
        ]
        return nn.relu(jnp.concatenate(branches, axis=-1))


class DilatedResidual(nn.Module):
    """CovXNet's residual unit: widen twofold, dilated depthwise, narrow, add.

    The paper normalises each dilation by itself; one normalisation of the joined
    channels is the same, since every channel has its own statistics.
    """

    dilations: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Keeps the shape ``[batch, height, width, C]``."""
        features = x.shape[-1]
        y = ConvReluNorm(2 * features, 1, self.conv, self.norm, name="widen")(x)
        y = DilatedDepthwise(self.dilations, name="depthwise")(y)
        y = self.norm(name="depthwise_norm")(y)
        return x + ConvReluNorm(features, 1, self.conv, self.norm, name="narrow")(y)


class Shifter(nn.Module):
    """CovXNet's shifter unit: half the height and width, twice the channels."""

    dilations: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, C]`` to ``[batch, h // 2, w // 2, 2 C]``."""
        features = x.shape[-1]
        x = ConvReluNorm(4 * features, 1, self.conv, self.norm, name="widen")(x)
        x = DilatedDepthwise(self.dilations, name="depthwise")(x)
        x = self.norm(name="depthwise_norm")(max_pool(x, 2, 2))
        return ConvReluNorm(2 * features, 1, self.conv, self.norm, name="narrow")(x)
