"""FC-DenseNet103: dense blocks down and up again, for segmentation.

Jégou, Drozdzal, Vazquez, Romero, Bengio: The one hundred layers tiramisu, 2017, CVPR
workshops, arXiv 1611.09326, tables 1 and 2; used for lung fields by Oh, Park, Ye, 2020,
IEEE TMI 39(8):2688, doi 10.1109/TMI.2020.2993291. 9,319,428 parameters for one channel
and four classes (background, heart, left lung, right lung).

Differs from the paper: dropout drops whole maps, as in the PyTorch form that Oh et al.
train.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.pooling import max_pool, require_size


class DenseLayer(nn.Module):
    """Normalisation, ReLU, 3x3 convolution, dropout (table 1)."""

    growth_rate: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dropout: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, growth_rate]``."""
        x = nn.relu(self.norm(name="norm")(x))
        return self.dropout()(self.conv(self.growth_rate, 3, name="conv")(x))


class DenseBlock(nn.Module):
    """Layers that each read the input and all layers before: returns what is new."""

    layers: int
    layer: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, layers * growth_rate]``."""
        new: list[jax.Array] = []
        for i in range(self.layers):
            joined = jnp.concatenate([x, *new], axis=-1)
            new.append(self.layer(name=f"layer{i + 1}")(joined))
        return jnp.concatenate(new, axis=-1)


class TransitionDown(nn.Module):
    """Normalisation, ReLU, 1x1 convolution, dropout, pooling (table 1)."""

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    dropout: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, c]`` to ``[batch, h // 2, w // 2, c]``."""
        features = x.shape[-1]
        x = nn.relu(self.norm(name="norm")(x))
        return max_pool(self.dropout()(self.conv(features, 1, name="conv")(x)), 2, 2)


class TransitionUp(nn.Module):
    """Transposed 3x3 convolution of stride 2, cut to the skip's size, joined to it."""

    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        """Maps ``[batch, h // 2, w // 2, c]`` to ``[batch, h, w, c + skip]``."""
        x = nn.ConvTranspose(
            x.shape[-1],
            (3, 3),
            strides=(2, 2),
            padding="VALID",
            dtype=self.dtype,
            kernel_init=nn.initializers.he_uniform(),  # paper, section 4.1
            name="conv",
        )(x)
        height, width = skip.shape[1:3]
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        x = x[:, top : top + height, left : left + width]
        return jnp.concatenate([x, skip], axis=-1)


class FCDenseNet(nn.Module):
    """Dense blocks with poolings, a bottleneck, dense blocks with upsampling."""

    num_classes: int
    down: tuple[int, ...]  # layers in each block on the way down
    bottleneck: int
    up: tuple[int, ...]
    growth_rate: int = 16  # table 2
    stem_features: int = 48  # table 2
    dropout_rate: float = 0.2  # section 4.1
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to float32 logits of every pixel.

        Height and width are kept: ``[batch, height, width, num_classes]``.
        """
        require_size(x, 2 ** len(self.down), "FC-DenseNet")
        conv = partial(Conv, dtype=self.dtype, kernel_init=nn.initializers.he_uniform())
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # PyTorch's 0.1
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        dropout = partial(
            nn.Dropout,
            self.dropout_rate,
            broadcast_dims=(1, 2),
            deterministic=not train,
        )
        layer = partial(DenseLayer, self.growth_rate, conv, norm, dropout)
        x = conv(self.stem_features, 3, name="stem")(x)
        skips = []
        for i, layers in enumerate(self.down):
            new = DenseBlock(layers, layer, name=f"down{i + 1}")(x)
            skips.append(jnp.concatenate([x, new], axis=-1))
            x = TransitionDown(conv, norm, dropout, name=f"pool{i + 1}")(skips[-1])
        new = DenseBlock(self.bottleneck, layer, name="bottleneck")(x)
        for i, layers in enumerate(self.up):
            x = TransitionUp(self.dtype, name=f"unpool{i + 1}")(new, skips[-1 - i])
            new = DenseBlock(layers, layer, name=f"up{i + 1}")(x)
        x = spatial_map(self, jnp.concatenate([x, new], axis=-1))
        return Conv(self.num_classes, 1, dtype=jnp.float32, name="head")(x)


FCDenseNet103 = partial(
    FCDenseNet, down=(4, 5, 7, 10, 12), bottleneck=15, up=(12, 10, 7, 5, 4)
)
