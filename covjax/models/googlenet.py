"""Going Deeper with Convolutions: GoogLeNet, in torchvision's form and the paper's.

Szegedy et al. 2015, CVPR, arXiv:1409.4842, table 1.
Parameters with 1000 classes: `GoogLeNet` (torchvision) 13,004,888, 6,624,904 without
the two auxiliary heads; `GoogLeNet2014` (the paper) 13,378,280 and 6,998,552.

torchvision's form has batch normalisation and no bias, no response normalisation,
3x3 where table 1 has 5x5 (pytorch/vision#906), and a 2x2 fourth pool.

Differs from the paper: auxiliary heads average to 4x4 adaptively (torchvision), at
224 px by 4x4 windows instead of 5x5, so that they take other sizes as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, Padding, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.inception import Inception, Layer, Mixed, Pool
from covjax.blocks.local_response import local_response_norm
from covjax.blocks.pooling import (
    adaptive_avg_pool,
    global_avg_pool,
    max_pool,
    require_size,
)

MIN_SIZE = 15  # torchvision's; every pool then still has a pixel

# table 1: 1x1 | 3x3 reduce, 3x3 | 5x5 reduce, 5x5 | pool projection
WIDTHS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
AUX_HEADS = {"4a": "aux1", "4d": "aux2"}  # after these modules (section 5)


def inception(widths: tuple[int, ...], large_kernel: int) -> Mixed:
    """Figure 2b with the six numbers of a row of table 1."""
    one, reduce3, three, reduce5, five, projection = widths
    return Mixed(
        (
            (Layer(one),),
            (Layer(reduce3), Layer(three, 3)),
            (Layer(reduce5), Layer(five, large_kernel)),
            (Pool("max"), Layer(projection)),
        )
    )


class ConvRelu(nn.Module):
    """A convolution with bias, then ReLU: the paper's unit; parameters ``conv``."""

    features: int
    conv: Callable
    kernel_size: int = 1
    strides: int = 1
    padding: Padding = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        conv = self.conv(
            self.features,
            self.kernel_size,
            self.strides,
            padding=self.padding,
            name="conv",
        )
        return nn.relu(conv(x))


class AuxiliaryHead(nn.Module):
    """A classifier on an inner map, used in training only (section 5)."""

    num_classes: int
    dropout: float
    unit: Callable
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to logits ``[batch, classes]``."""
        x = self.unit(128, kernel_size=1, name="conv")(adaptive_avg_pool(x, 4))
        x = x.reshape(x.shape[0], -1)
        dense = partial(nn.Dense, kernel_init=torch_uniform)
        x = nn.relu(dense(1024, dtype=self.dtype, name="dense")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.num_classes, dtype=jnp.float32, name="head")(x)


class GoogLeNet(nn.Module):
    """Stem, nine inception modules, classifier; two auxiliary heads."""

    num_classes: int
    paper_layout: bool = False  # bias and response normalisation, as in 2014
    aux_heads: bool = True
    dropout: float = 0.2  # torchvision; paper: 0.4
    aux_dropout: float = 0.7  # section 5
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "GoogLeNet")
        unit = self._unit(train)
        response_norm = local_response_norm if self.paper_layout else lambda x: x
        large_kernel = 5 if self.paper_layout else 3
        aux_heads = self.aux_heads and (train or self.is_initializing())
        aux_head = partial(
            AuxiliaryHead, self.num_classes, self.aux_dropout, unit, self.dtype
        )

        x = unit(64, kernel_size=7, strides=2, padding=3, name="conv1")(x)
        x = response_norm(max_pool(x, 3, 2, ceil=True))
        x = unit(64, kernel_size=1, name="conv2")(x)
        x = response_norm(unit(192, kernel_size=3, name="conv3")(x))
        x = max_pool(x, 3, 2, ceil=True)
        for name, widths in WIDTHS.items():
            mixed = inception(widths, large_kernel)
            x = Inception(mixed, unit, name=f"inception{name}")(x)
            if name == "3b":
                x = max_pool(x, 3, 2, ceil=True)
            if name == "4e":
                x = max_pool(x, 3 if self.paper_layout else 2, 2, ceil=True)
            if name in AUX_HEADS and aux_heads:
                head = aux_head(name=AUX_HEADS[name])
                self.sow("intermediates", "aux_logits", head(x, train=train))
        x = global_avg_pool(spatial_map(self, x)).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)

    def _unit(self, train: bool) -> Callable:
        """What every convolution of the network is, but for its geometry."""
        if self.paper_layout:
            conv = partial(
                Conv,
                dtype=self.dtype,
                kernel_init=nn.initializers.xavier_uniform(),  # BVLC's train_val file
                bias_init=nn.initializers.constant(0.2),  # BVLC's train_val file
            )
            return partial(ConvRelu, conv=conv)
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-3,  # torchvision
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        return partial(ConvNorm, conv=conv, norm=norm)


GoogLeNet2014 = partial(GoogLeNet, paper_layout=True, dropout=0.4)
