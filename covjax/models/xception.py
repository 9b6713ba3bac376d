"""Xception: Deep Learning with Depthwise Separable Convolutions.

Chollet 2017, CVPR, arXiv:1610.02357, figure 5.
Parameters with 1000 classes: 22,855,952.

Differs from the paper: nothing known; numbers that it leaves out are those of the
author's Keras code. ``padding="symmetric", epsilon=1e-5`` is the convention of
weights that were trained in PyTorch (timm's "legacy_xception").
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, strided_padding
from covjax.blocks.pooling import global_avg_pool, max_pool, require_size
from covjax.blocks.separable import DepthwiseConv

MIN_SIZE = 7  # two stem convolutions without padding

glorot_uniform = nn.initializers.glorot_uniform()  # Keras' default


class SeparableConv(nn.Module):
    """3x3 channel by channel, 1x1, BN; nothing between the first two (figure 4)."""

    features: int
    conv: Any
    depthwise: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, features]``."""
        x = self.depthwise(3, name="depthwise")(x)
        x = self.conv(self.features, 1, name="pointwise")(x)
        return self.norm(name="norm")(x)


class Block(nn.Module):
    """Separable convolutions beside a shortcut; with `pool`, both halve the map."""

    features: tuple[int, ...]  # of each separable convolution
    layers: dict[str, Any]  # conv, depthwise, norm
    pool: str | int | None = None  # padding of the pooling
    relu_first: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, last features]``."""
        y = x
        for i, features in enumerate(self.features):
            if i > 0 or self.relu_first:
                y = nn.relu(y)
            y = SeparableConv(features, **self.layers, name=f"conv{i + 1}")(y)
        if self.pool is None:
            return x + y
        conv, norm = self.layers["conv"], self.layers["norm"]
        shortcut = ConvNorm(
            self.features[-1], conv, norm, 1, 2, activation=None, name="project"
        )
        return shortcut(x) + max_pool(y, 3, 2, padding=self.pool)


class EntryFlow(nn.Module):
    """Two convolutions and three blocks that halve the map."""

    layers: dict[str, Any]
    pool: str | int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to ``[batch, h, w, 728]``."""
        conv, norm = self.layers["conv"], self.layers["norm"]
        x = ConvNorm(32, conv, norm, 3, 2, padding="VALID", name="conv1")(x)
        x = ConvNorm(64, conv, norm, 3, padding="VALID", name="conv2")(x)
        for i, features in enumerate((128, 256, 728)):
            x = Block(
                (features, features),
                self.layers,
                self.pool,
                relu_first=i > 0,
                name=f"block{i + 1}",
            )(x)
        return x


class MiddleFlow(nn.Module):
    """Eight blocks that keep size and channels."""

    layers: dict[str, Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """``[batch, h, w, 728]`` keeps its shape."""
        for i in range(8):
            x = Block((728, 728, 728), self.layers, name=f"block{i + 1}")(x)
        return x


class ExitFlow(nn.Module):
    """A block that halves the map, and two separable convolutions."""

    layers: dict[str, Any]
    pool: str | int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, 728]`` to ``[batch, h, w, 2048]``."""
        x = Block((728, 1024), self.layers, self.pool, name="block")(x)
        x = nn.relu(SeparableConv(1536, **self.layers, name="conv1")(x))
        return nn.relu(SeparableConv(2048, **self.layers, name="conv2")(x))


class Xception(nn.Module):
    """Entry, middle and exit flow, classifier."""

    num_classes: int
    padding: str = "SAME"  # Keras; "symmetric": timm
    epsilon: float = 1e-3  # Keras; timm: 1e-5
    momentum: float = 0.99  # Keras; timm: 0.9
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        x = trunk(self, x, train=train)
        x = global_avg_pool(spatial_map(self, x))
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=glorot_uniform, name="head"
        )
        return head(x)


def trunk(network: Any, x: jax.Array, *, train: bool) -> jax.Array:
    """The three flows; called inside a network's compact method, which owns them.

    Maps ``[batch, height, width, channels]`` to ``[batch, h / 32, w / 32, 2048]``.

    Args:
      network: has the fields of `Xception`.
      x: the pictures.
      train: whether statistics are those of the batch.
    """
    require_size(x, MIN_SIZE, "Xception")
    dtype = network.dtype
    bare = {"use_bias": False, "dtype": dtype, "kernel_init": glorot_uniform}
    layers = {
        "conv": partial(Conv, **bare),
        "depthwise": partial(DepthwiseConv, **bare),
        "norm": partial(
            BatchNorm,
            use_running_average=not train,
            momentum=network.momentum,
            epsilon=network.epsilon,
            dtype=dtype,
            axis_name=network.axis_name,
        ),
    }
    pool = strided_padding(network.padding, 3)
    x = EntryFlow(layers, pool, name="entry")(x)
    x = MiddleFlow(layers, name="middle")(x)
    return ExitFlow(layers, pool, name="exit")(x)
