"""MobileNet, versions 1 and 2.

`MobileNetV1`: Howard et al. 2017, arXiv:1704.04861, table 1: 4,231,976 parameters.
`MobileNetV2`: Sandler et al. 2018, arXiv:1801.04381, table 2: 3,504,872.

Differs from the papers: version 1 ends each unit with ReLU6, as the authors' code
and Keras do. Version 1 pads like the authors' TensorFlow code and Keras, version 2
like torchvision; ``padding`` and ``epsilon`` select the other convention, for
weights that were trained with it.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, he_normal_fan_out, spatial_map
from covjax.blocks.conv_norm import (
    ConvNorm,
    DepthwiseNorm,
    he_normal,
    strided_padding,
)
from covjax.blocks.pooling import global_avg_pool
from covjax.blocks.residual import InvertedResidual
from covjax.blocks.separable import DepthwiseConv

# (features, blocks, strides of the first) of each stage
STAGES_V1 = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
# (t, c, n, s) of table 2: expansion, features, blocks, strides of the first
STAGES_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class SeparableBlock(nn.Module):
    """3x3 channel by channel, then 1x1, each with BN and ReLU6 (V1, figure 3)."""

    features: int
    strides: int
    padding: str | int
    conv: Any
    depthwise: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        x = DepthwiseNorm(
            self.depthwise,
            self.norm,
            strides=self.strides,
            padding=self.padding,
            activation=nn.relu6,
            name="filter",
        )(x)
        return ConvNorm(
            self.features, self.conv, self.norm, 1, activation=nn.relu6, name="project"
        )(x)


class Stage(nn.Module):
    """Blocks of one width; the first changes size and channels."""

    blocks: int
    features: int
    strides: int
    block: Any  # a block class with everything but width and stride

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        for i in range(self.blocks):
            x = self.block(
                features=self.features,
                strides=self.strides if i == 0 else 1,
                name=f"block{i + 1}",
            )(x)
        return x


class MobileNetV1(nn.Module):
    """Stem, 13 separable blocks in five stages, classifier."""

    num_classes: int
    padding: str = "SAME"  # authors' code; "symmetric": timm
    epsilon: float = 1e-3  # Keras; timm: 1e-5
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        layers = _layers(self, train)
        padding = strided_padding(self.padding, 3)
        x = ConvNorm(
            32,
            layers["conv"],
            layers["norm"],
            strides=2,
            padding=padding,
            activation=nn.relu6,
            name="stem",
        )(x)
        block = partial(SeparableBlock, padding=padding, **layers)
        for i, (features, blocks, strides) in enumerate(STAGES_V1):
            x = Stage(blocks, features, strides, block, name=f"stage{i + 1}")(x)
        x = global_avg_pool(spatial_map(self, x))
        head = nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.glorot_uniform(),  # Keras
            name="head",
        )
        return head(x)


class MobileNetV2(nn.Module):
    """Stem, 17 inverted residuals in seven stages, 1x1, classifier."""

    num_classes: int
    padding: str = "symmetric"  # torchvision; "SAME": Keras
    epsilon: float = 1e-5  # torchvision; Keras: 1e-3
    dropout: float = 0.2  # torchvision
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        layers = _layers(self, train)
        padding = strided_padding(self.padding, 3)
        unit = partial(
            ConvNorm, conv=layers["conv"], norm=layers["norm"], activation=nn.relu6
        )
        x = unit(32, strides=2, padding=padding, name="stem")(x)
        block = partial(
            InvertedResidual,
            kernel_size=3,
            padding=padding,
            activation=nn.relu6,
            **layers,
        )
        for i, (expansion, features, blocks, strides) in enumerate(STAGES_V2):
            expanded = partial(block, expansion=expansion)
            x = Stage(blocks, features, strides, expanded, name=f"stage{i + 1}")(x)
        x = unit(1280, kernel_size=1, name="last")(x)
        x = global_avg_pool(spatial_map(self, x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = nn.Dense(
            self.num_classes,
            dtype=jnp.float32,
            kernel_init=nn.initializers.normal(0.01),  # torchvision
            name="head",
        )
        return head(x)


def _layers(network: MobileNetV1 | MobileNetV2, train: bool) -> dict[str, Any]:
    """The convolutions and the normalisation of a network, for its blocks."""
    bare = {"use_bias": False, "dtype": network.dtype}
    return {
        "conv": partial(Conv, kernel_init=he_normal_fan_out, **bare),
        "depthwise": partial(DepthwiseConv, kernel_init=he_normal, **bare),
        "norm": partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=network.epsilon,
            dtype=network.dtype,
            axis_name=network.axis_name,
        ),
    }
