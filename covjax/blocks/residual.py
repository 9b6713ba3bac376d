"""Residual blocks: what a block computes is added to what it was given.

`BasicBlock` and `Bottleneck` are used by ResNet, `InvertedResidual` by MobileNetV2
and (with squeeze-and-excitation) by EfficientNet.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax

from covjax.blocks import forms
from covjax.blocks.conv_norm import ConvNorm, DepthwiseNorm


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (He et al. 2016, arXiv:1512.03385, figure 5 left)."""

    features: int
    strides: int
    conv: Callable
    norm: Callable
    last_scale: Callable = nn.initializers.ones_init()  # of the last normalisation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        y = self.conv(self.features, 3, self.strides, padding=1, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, padding=1, name="conv2")(y)
        y = self.norm(name="norm2", scale_init=self.last_scale)(y)
        return _joined(self, x, y)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the features (figure 5 right).

    The stride is on the 3x3 ("v1.5", as in torchvision) or, with `stride_on_first`,
    on the first 1x1 as in the paper and in Keras.
    """

    features: int
    strides: int
    conv: Callable
    norm: Callable
    last_scale: Callable = nn.initializers.ones_init()  # of the last normalisation
    stride_on_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, 4 * features]``."""
        first, second = self.strides, 1
        if not self.stride_on_first:
            first, second = second, first
        y = self.conv(self.features, 1, first, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y))
        y = self.conv(self.features, 3, second, padding=1, name="conv2")(y)
        y = nn.relu(self.norm(name="norm2")(y))
        y = self.conv(4 * self.features, 1, name="conv3")(y)
        y = self.norm(name="norm3", scale_init=self.last_scale)(y)
        return _joined(self, x, y)


def _joined(block: BasicBlock | Bottleneck, x: jax.Array, y: jax.Array) -> jax.Array:
    """ReLU of y and the input x, or its 1x1 projection where y has another shape.

    Option B of section 3.3.
    """
    if x.shape == y.shape:
        return forms.relu(x + y)
    x = block.conv(y.shape[-1], 1, block.strides, name="project")(x)
    x = block.norm(name="project_norm")(x)
    # its gradient reads both maps anyway, for those of the normalisations
    return nn.relu(x + y)


class InvertedResidual(nn.Module):
    """Expand with 1x1, filter channel by channel, project with a linear 1x1.

    Sandler et al. 2018, arXiv:1801.04381, table 1. The input is added where neither
    size nor channels change. `gate` (EfficientNet: squeeze-and-excitation) makes a
    module that weighs the filtered channels, from the number of channels that came
    in; `drop` acts on the branch before it is added.
    """

    features: int
    expansion: int  # t: 1 leaves out the expansion
    strides: int
    kernel_size: int
    padding: str | int  # of the filter
    conv: Callable
    depthwise: Callable
    norm: Callable
    activation: Callable
    gate: Callable | None = None
    drop: Callable = lambda x: x

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        unit = partial(ConvNorm, conv=self.conv, norm=self.norm, kernel_size=1)
        y = x
        if self.expansion > 1:
            y = unit(
                self.expansion * x.shape[-1], activation=self.activation, name="expand"
            )(y)
        y = DepthwiseNorm(
            self.depthwise,
            self.norm,
            self.kernel_size,
            self.strides,
            self.padding,
            self.activation,
            name="filter",
        )(y)
        if self.gate is not None:
            y = self.gate(x.shape[-1], name="gate")(y)
        y = unit(self.features, activation=None, name="project")(y)
        return x + self.drop(y) if x.shape == y.shape else y
