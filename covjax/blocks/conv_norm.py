"""Convolution, batch normalisation, activation: the unit most networks repeat.

Used by DenseNet, ResNet, MobileNet, EfficientNet, Xception and the inception family.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from covjax.blocks.conv import Padding
from covjax.errors import InputError

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
    activation: Callable | None = nn.relu

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
        x = self.norm(name="norm")(x)
        return x if self.activation is None else self.activation(x)


class DepthwiseNorm(nn.Module):
    """`depthwise`, then `norm`, then `activation`: `ConvNorm` channel by channel."""

    depthwise: Callable
    norm: Callable
    kernel_size: int = 3
    strides: int = 1
    padding: Padding = "SAME"
    activation: Callable = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to ``[batch, h, w, channels]``."""
        x = self.depthwise(
            self.kernel_size, self.strides, padding=self.padding, name="conv"
        )(x)
        return self.activation(self.norm(name="norm")(x))


def strided_padding(padding: str, kernel_size: int) -> str | int:
    """``"SAME"`` as TensorFlow pads, or half the kernel on each side, as PyTorch.

    The two differ at stride 2, where TensorFlow pads more at the end than at the
    start.

    Raises:
      InputError: for a padding other than ``"SAME"`` and ``"symmetric"``.
    """
    if padding not in ("SAME", "symmetric"):
        raise InputError(f"padding={padding!r}: must be SAME or symmetric")
    return kernel_size // 2 if padding == "symmetric" else "SAME"
