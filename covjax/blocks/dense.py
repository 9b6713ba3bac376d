"""Dense blocks: every layer reads all maps before it.

Used by DenseNet and CheXNet (Huang et al. 2017, arXiv:1608.06993, section 3).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.pooling import avg_pool


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1, BN, ReLU, 3x3: `growth_rate` new maps."""

    growth_rate: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, growth_rate]``."""
        y = nn.relu(self.norm(name="norm1")(x))
        y = self.conv(4 * self.growth_rate, 1, name="conv1")(y)  # bottleneck: section 3
        y = nn.relu(self.norm(name="norm2")(y))
        return self.conv(self.growth_rate, 3, padding=1, name="conv2")(y)


class DenseBlock(nn.Module):
    """`layers` dense layers; the result holds the input and all new maps."""

    layers: int
    growth_rate: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds ``layers * growth_rate`` channels to ``[batch, h, w, in]``."""
        for i in range(self.layers):
            layer = DenseLayer(
                self.growth_rate, self.conv, self.norm, name=f"layer{i + 1}"
            )
            x = jnp.concatenate([x, layer(x)], axis=-1)
        return x


class Transition(nn.Module):
    """BN, ReLU, 1x1 to half the channels, mean of 2x2: between two dense blocks."""

    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Halves height, width and channels of ``[batch, h, w, in]``."""
        y = nn.relu(self.norm(name="norm")(x))
        y = self.conv(x.shape[-1] // 2, 1, name="conv")(y)  # compression 0.5: sec. 3
        return avg_pool(y, 2, 2)
