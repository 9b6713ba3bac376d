"""Convolution, batch normalisation, activation: the unit most networks repeat.

Used by DenseNet, ResNet, VGG, MobileNet, EfficientNet, Xception.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from covjax.blocks.conv import Padding

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
# PyTorch's own start for dense layers: uniform in +-1/sqrt(fan_in)
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class ConvNorm(nn.Module):
    """`conv`, then `norm`, then `activation`; parameters ``conv`` and ``norm``."""

    features: int
    conv: Callable
    norm: Callable
    kernel_size: int | tuple[int, int] = 3
    strides: int = 1
    padding: Padding = "SAME"
    activation: Callable = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        x = self.conv(
            self.features,
            self.kernel_size,
            self.strides,
            padding=self.padding,
            name="conv",
        )(x)
        return self.activation(self.norm(name="norm")(x))
