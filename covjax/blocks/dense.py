"""Dense blocks: every layer reads all maps before it.

Used by DenseNet and CheXNet (Huang et al. 2017, arXiv:1608.06993, section 3).

In training a channel's mean and variance do not depend on the layer that reads it;
scale and offset do. So each channel is measured once, where it is made, and its
moments go along with it: exact, and 58 to 70 % of what the normalisations of
DenseNet-121 to 201 would read is not read again.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks import fused_pointwise
from covjax.blocks.forms import Moments
from covjax.blocks.pooling import avg_pool

# a map to its channels' moments; None at inference, which has running statistics
Measure = Callable[[jax.Array], Moments] | None
Measured = tuple[jax.Array, Moments | None]  # a map with its moments


def norm_relu_conv(
    norm: nn.Module, conv: nn.Module, x: jax.Array, moments: Moments | None
) -> Measured:
    """Normalisation, ReLU and 1x1 convolution.

    Args:
      norm: `conv.BatchNorm`.
      conv: `conv.Conv` of kernel size 1 without bias.
      x: ``[batch, h, w, in]``.
      moments: of x.

    Returns:
      ``[batch, h, w, out]`` and None; where `fused_pointwise` is chosen,
      ``[batch * h * w, out]`` and its moments.
    """
    if moments is None or not fused_pointwise.chosen() or norm.is_initializing():
        return conv(nn.relu(norm(x, moments=moments))), None
    # the layers keep their parameters, statistics and types; neither computes its own
    folded = norm(x, moments=moments, folded=True)
    return conv(x, by=partial(fused_pointwise.convolve, folded, norm.axis_name))


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1, BN, ReLU, 3x3: `growth_rate` new maps."""

    growth_rate: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jax.Array, moments: Moments | None) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, growth_rate]``."""
        norm1, norm2 = self.norm(name="norm1"), self.norm(name="norm2")
        conv1 = self.conv(4 * self.growth_rate, 1, name="conv1")  # bottleneck: sec. 3
        y, moments = norm_relu_conv(norm1, conv1, x, moments)
        y = nn.relu(norm2(y, moments=moments)).reshape(*x.shape[:-1], -1)
        return self.conv(self.growth_rate, 3, padding=1, name="conv2")(y)


class DenseBlock(nn.Module):
    """`layers` dense layers; the result holds the input and all new maps."""

    layers: int
    growth_rate: int
    conv: Callable
    norm: Callable
    measure: Measure

    @nn.compact
    def __call__(self, x: jax.Array) -> Measured:
        """Adds ``layers * growth_rate`` channels to ``[batch, h, w, in]``."""
        moments = self.measure(x) if self.measure else None
        for i in range(self.layers):
            layer = DenseLayer(
                self.growth_rate, self.conv, self.norm, name=f"layer{i + 1}"
            )
            new = layer(x, moments)
            x = jnp.concatenate([x, new], axis=-1)
            if self.measure and moments:
                (mean, square), (new_mean, new_square) = moments, self.measure(new)
                mean = jnp.concatenate([mean, new_mean])
                moments = mean, jnp.concatenate([square, new_square])
        return x, moments


class Transition(nn.Module):
    """BN, ReLU, 1x1 to half the channels, mean of 2x2: between two dense blocks."""

    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jax.Array, moments: Moments | None) -> jax.Array:
        """Halves height, width and channels of ``[batch, h, w, in]``."""
        conv = self.conv(x.shape[-1] // 2, 1, name="conv")  # section 3: compression 0.5
        y, _ = norm_relu_conv(self.norm(name="norm"), conv, x, moments)
        return avg_pool(y.reshape(*x.shape[:-1], -1), 2, 2)
