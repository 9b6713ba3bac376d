"""Convolution and batch normalisation, as every network of covjax takes them.

Used by all networks. Arrays are NHWC, kernels HWIO. Parameter and statistic names
are Flax's own (``kernel``, ``bias``, ``scale``, ``mean``, ``var``), so a faster
form is a change in this file alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Padding = str | int | Sequence[int | tuple[int, int]]

# He et al. 2015, section 2.2, fan-out form: what torchvision's networks start from
he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """A (height, width) pair from one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def spatial_map(module: nn.Module, x: jax.Array) -> jax.Array:
    """Marks x as the network's last spatial map, for Grad-CAM and feature readers.

    Args:
      module: the network whose ``__call__`` is running.
      x: float ``[batch, height, width, channels]``.

    Returns:
      x. It is sown as ``intermediates/features``, and a ``perturbations/features``
      collection, where the caller gives one, is added to it.
    """
    x = module.perturb("features", x)
    module.sow("intermediates", "features", x)
    return x


class Conv(nn.Module):
    """2-D convolution with the fields and parameters of `flax.linen.Conv`.

    `padding` is ``"SAME"``, ``"VALID"``, one number for all four sides (PyTorch's
    convention, the same on both sides at any stride) or two (low, high) pairs.
    """

    features: int
    kernel_size: int | Sequence[int] = 3
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    kernel_dilation: int | Sequence[int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        kernel_shape = (
            *pair(self.kernel_size),
            x.shape[-1] // self.feature_group_count,
            self.features,
        )
        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolve(
            x,
            kernel,
            strides=pair(self.strides),
            padding=explicit_padding(self.padding),
            dilation=pair(self.kernel_dilation),
            groups=self.feature_group_count,
        )
        return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def explicit_padding(padding: Padding) -> str | tuple[tuple[int, int], ...]:
    """Padding in the two forms that `jax.lax` takes: a name, or (low, high) pairs."""
    if isinstance(padding, str):
        return padding
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    sides = [(p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding]
    return tuple(sides)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: tuple[int, int],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
) -> jax.Array:
    """``[batch, height, width, in]`` * ``[kh, kw, in / groups, out]``, NHWC."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


BatchNorm = nn.BatchNorm  # replaced by the fused form in this file when it pays
