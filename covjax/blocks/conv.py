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

from covjax.blocks import conv_forms, forms

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
    def __call__(self, x: jax.Array, by: Callable | None = None) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``.

        Args:
          x: the map.
          by: takes the place of `convolve`, for a form that does more in one pass
            (`blocks/dense.py`).
        """
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
        y = (by or convolve)(
            x,
            kernel,
            strides=pair(self.strides),
            padding=explicit_padding(self.padding),
            dilation=pair(self.kernel_dilation),
            groups=self.feature_group_count,
        )
        return y if bias is None else forms.add_bias(y, bias)


def explicit_padding(padding: Padding) -> str | tuple[tuple[int, int], ...]:
    """Padding in the two forms that `jax.lax` takes: a name, or (low, high) pairs."""
    if isinstance(padding, str):
        return padding
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    sides = [(p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding]
    return tuple(sides)


def padding_sides(
    size: Sequence[int],
    kernel_size: Sequence[int],
    strides: tuple[int, int],
    padding: str | tuple[tuple[int, int], ...],
    dilation: tuple[int, int] = (1, 1),
) -> forms.Sides:
    """`explicit_padding` of a map of this size as (low, high) pairs."""
    if not isinstance(padding, str):
        return (padding[0], padding[1])
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel_size)]
    height, width = jax.lax.padtype_to_pads(size, reach, strides, padding)
    return height, width


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
    if groups == 1 and dilation == (1, 1) and forms.on_one_cpu():
        size = kernel.shape[:2]
        sides = padding_sides(x.shape[1:3], size, strides, padding)
        bare = sides == ((0, 0), (0, 0))
        if size == (1, 1) and (bare or strides == (1, 1)):
            y = conv_forms.pointwise(x, kernel, strides)
            return y if bare else jnp.pad(y, ((0, 0), *sides, (0, 0)))
        spans = conv_forms.out_spans(x.shape[1:3], size, strides, sides)
        if conv_forms.overhangs(spans, size):
            return conv_forms.gathered(x, kernel, strides, sides)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=padding,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class BatchNorm(nn.Module):
    """Batch normalisation with the parameters and statistics of `flax.linen.BatchNorm`.

    Ioffe and Szegedy 2015. Statistics are float32 whatever the compute type; the
    running variance is the biased one. `momentum` is the share of the old running
    value that is kept (PyTorch's momentum is one minus this).

    Attributes:
      use_running_average: normalise by the running statistics and keep them.
      momentum: decay of the running statistics.
      epsilon: added to the variance.
      dtype: compute type, and type of the result; None: that of x.
      use_bias: whether an offset is learnt.
      use_scale: whether a factor is learnt.
      scale_init: start of the factor.
      bias_init: start of the offset.
      axis_name: mapped axis of `jax.pmap` over which statistics are shared.
    """

    use_running_average: bool
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None
    use_bias: bool = True
    use_scale: bool = True
    scale_init: Callable = nn.initializers.ones_init()
    bias_init: Callable = nn.initializers.zeros_init()
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        moments: forms.Moments | None = None,
        folded: bool = False,
    ) -> Any:
        """Normalises the channels of ``[..., channels]``.

        Args:
          x: the map.
          moments: of x, where they are known already (`blocks/dense.py`).
          folded: give factor and offset, float32 ``[channels]``, for who applies them.
        """
        shape = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale, bias = jnp.ones(shape), jnp.zeros(shape)
        if self.use_scale:
            scale = self.param("scale", self.scale_init, shape, jnp.float32)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, shape, jnp.float32)
        x = x.astype(self.dtype or x.dtype)
        if self.use_running_average:
            factor = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            offset = bias - running_mean.value * factor
            return (
                (factor, offset) if folded else forms.scale_and_shift(x, factor, offset)
            )
        if moments is None:
            axis_name = None if self.is_initializing() else self.axis_name
            moments = forms.channel_moments(x, axis_name)
        if not self.is_initializing():
            mean, var = moments[0], forms.variance_of(moments)
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * var
        if folded:
            factor = scale * jax.lax.rsqrt(forms.variance_of(moments) + self.epsilon)
            return factor, bias - moments[0] * factor
        return forms.batch_norm(x, scale, bias, moments, self.epsilon)
