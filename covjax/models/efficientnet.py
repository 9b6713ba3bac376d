"""EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks.

Tan, Le 2019, ICML, arXiv:1905.11946, table 1; the scaling of B1 to B7 and all
numbers that the paper leaves out are those of the authors' TensorFlow code.
Parameters with 1000 classes: B0: 5,288,548; B1: 7,794,184; B2: 9,109,994;
B3: 12,233,232; B4: 19,341,616; B5: 30,389,784; B6: 43,040,704; B7: 66,347,960.

Differs from the paper: nothing known. ``padding="symmetric", epsilon=1e-5`` is the
convention of weights trained by torchvision (B0 to B4) and timm (not timm's "tf_").
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, he_normal_fan_out, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, strided_padding
from covjax.blocks.pooling import global_avg_pool
from covjax.blocks.residual import InvertedResidual
from covjax.blocks.separable import DepthwiseConv

# table 1: (expansion, kernel size, features, blocks, strides of the first)
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


class SqueezeExcite(nn.Module):
    """Weighs every channel by a number in (0, 1) that all channels' means decide.

    Hu et al. 2018, arXiv:1709.01507, with the squeeze counted from the block's input.
    """

    block_channels: int  # that entered the block, before its expansion
    conv: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, h, w, channels]`` keeps its shape."""
        weights = global_avg_pool(x)[:, None, None, :]
        squeezed = max(1, self.block_channels // 4)  # authors' code: se_ratio 0.25
        weights = nn.silu(self.conv(squeezed, 1, name="reduce")(weights))
        weights = nn.sigmoid(self.conv(x.shape[-1], 1, name="expand")(weights))
        return x * weights


class Stage(nn.Module):
    """Inverted residuals (MBConv) of one width; the first changes size."""

    features: int
    strides: int
    drop_rates: tuple[float, ...]  # stochastic depth of each block
    train: bool
    block: Any  # InvertedResidual with what all blocks of the stage share

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        for i, rate in enumerate(self.drop_rates):
            # one draw a picture: the whole branch stays or goes
            drop = nn.Dropout(
                rate, broadcast_dims=(1, 2, 3), deterministic=not self.train
            )
            x = self.block(
                features=self.features,
                strides=self.strides if i == 0 else 1,
                drop=drop,
                name=f"block{i + 1}",
            )(x)
        return x


class EfficientNet(nn.Module):
    """Stem, seven stages of inverted residuals, 1x1, classifier."""

    num_classes: int
    width: float = 1.0  # factor of all channels
    depth: float = 1.0  # factor of all repeats
    dropout: float = 0.2  # authors' code
    drop_path: float = 0.2  # stochastic depth of the last block; authors' code
    padding: str = "SAME"  # authors' code; "symmetric": torchvision
    epsilon: float = 1e-3  # authors' code; torchvision: 1e-5 for B0 to B4
    momentum: float = 0.99  # authors' code; torchvision: 0.9 for B0 to B4
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        x = trunk(
            x,
            train=train,
            width=self.width,
            depth=self.depth,
            drop_path=self.drop_path,
            padding=self.padding,
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = global_avg_pool(spatial_map(self, x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            # authors' code: uniform in +-1/sqrt(classes)
            kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"),
            name="head",
        )
        return head(x)


def trunk(
    x: jax.Array,
    *,
    train: bool,
    width: float,
    depth: float,
    drop_path: float,
    padding: str,
    epsilon: float,
    momentum: float,
    dtype: Any,
    axis_name: str | None,
) -> jax.Array:
    """All but the classifier; called inside a module's compact method, which owns it.

    Maps ``[batch, height, width, channels]`` to ``[batch, h, w, 1280 * width]``.
    """
    bare = {"use_bias": False, "dtype": dtype}
    conv = partial(Conv, kernel_init=he_normal_fan_out, **bare)
    depthwise = partial(DepthwiseConv, kernel_init=he_normal, **bare)
    norm = partial(
        BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
        axis_name=axis_name,
    )
    unit = partial(ConvNorm, conv=conv, norm=norm, activation=nn.silu)
    block = partial(
        InvertedResidual,
        conv=conv,
        depthwise=depthwise,
        norm=norm,
        activation=nn.silu,
        gate=partial(SqueezeExcite, conv=partial(conv, use_bias=True)),
    )
    x = unit(
        round_channels(32 * width),
        strides=2,
        padding=strided_padding(padding, 3),
        name="stem",
    )(x)
    blocks = repeats(depth)
    rates = [drop_path * i / sum(blocks) for i in range(sum(blocks))]
    for i, (expansion, kernel_size, features, _, strides) in enumerate(STAGES):
        start = sum(blocks[:i])
        x = Stage(
            round_channels(features * width),
            strides,
            tuple(rates[start : start + blocks[i]]),
            train,
            partial(
                block,
                expansion=expansion,
                kernel_size=kernel_size,
                padding=strided_padding(padding, kernel_size),
            ),
            name=f"stage{i + 1}",
        )(x)
    return unit(round_channels(1280 * width), kernel_size=1, name="last")(x)


def repeats(depth: float) -> tuple[int, ...]:
    """How many blocks each stage has at a depth factor (authors' code)."""
    return tuple(math.ceil(stage[3] * depth) for stage in STAGES)


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is at least 90 % (authors' code)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


# authors' code: width, depth and dropout (resolutions: 224, 240, 260, 300, 380, 456,
# 528, 600)
EfficientNetB0 = partial(EfficientNet, width=1.0, depth=1.0, dropout=0.2)
EfficientNetB1 = partial(EfficientNet, width=1.0, depth=1.1, dropout=0.2)
EfficientNetB2 = partial(EfficientNet, width=1.1, depth=1.2, dropout=0.3)
EfficientNetB3 = partial(EfficientNet, width=1.2, depth=1.4, dropout=0.3)
EfficientNetB4 = partial(EfficientNet, width=1.4, depth=1.8, dropout=0.4)
EfficientNetB5 = partial(EfficientNet, width=1.6, depth=2.2, dropout=0.4)
EfficientNetB6 = partial(EfficientNet, width=1.8, depth=2.6, dropout=0.5)
EfficientNetB7 = partial(EfficientNet, width=2.0, depth=3.1, dropout=0.5)
