"""Depthwise convolution: one filter a channel.

Used by MobileNet v1 and v2, Xception, EfficientNet, CovXNet and COVID-Net.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks import conv_forms, forms
from covjax.blocks.conv import (
    Padding,
    convolve,
    explicit_padding,
    padding_sides,
    pair,
)


class DepthwiseConv(nn.Module):
    """Filters every channel by itself; parameters ``kernel`` ``[kh, kw, 1, channels]``.

    The number of channels is kept (depth multiplier 1).
    """

    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    kernel_dilation: int | Sequence[int] = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to ``[batch, h, w, channels]``."""
        channels = x.shape[-1]
        shape = (*pair(self.kernel_size), 1, channels)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (channels,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        strides, dilation = pair(self.strides), pair(self.kernel_dilation)
        if forms.on_one_cpu():
            padding = explicit_padding(self.padding)
            sides = padding_sides(
                x.shape[1:3], kernel.shape[:2], strides, padding, dilation
            )
            y = conv_forms.depthwise(x, kernel, strides, sides, dilation)
        else:
            y = convolve(
                x,
                kernel,
                strides=strides,
                padding=explicit_padding(self.padding),
                dilation=dilation,
                groups=channels,
            )
        return y if bias is None else forms.add_bias(y, bias)
