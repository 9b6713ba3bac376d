"""Deep Residual Learning for Image Recognition.

He, Zhang, Ren, Sun 2016, CVPR, arXiv:1512.03385, table 1.
Parameters with 1000 classes: 18: 11,689,512; 34: 21,797,672; 50: 25,557,032;
101: 44,549,160.

Differs from the paper: bottlenecks stride on the 3x3 ("v1.5", torchvision's form);
``stride_on_first=True`` gives the paper's. Projections where shapes change (option
B).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, he_normal_fan_out, spatial_map
from covjax.blocks.conv_norm import ConvNorm, torch_uniform
from covjax.blocks.pooling import global_avg_pool, max_pool
from covjax.blocks.residual import BasicBlock, Bottleneck

WIDTHS = (64, 128, 256, 512)  # table 1


class Stage(nn.Module):
    """Residual blocks of one width; the first changes size and channels."""

    blocks: int
    features: int
    strides: int
    block: Callable  # a block class with everything but width and stride

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, out]``."""
        for i in range(self.blocks):
            strides = self.strides if i == 0 else 1
            x = self.block(self.features, strides, name=f"block{i + 1}")(x)
        return x


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, classifier."""

    num_classes: int
    blocks: tuple[int, ...]  # residual blocks in each stage
    block: Callable  # BasicBlock or Bottleneck
    stride_on_first: bool = False  # the paper's bottleneck; basic blocks always do
    small_stem: bool = False  # 3x3 without stride or pooling: CIFAR's, section 4.2
    zero_init_residual: bool = False  # each block starts as the identity (Goyal 2017)
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        conv = partial(
            Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal_fan_out
        )
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,  # torchvision
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        block = partial(self.block, conv=conv, norm=norm)
        if self.block is Bottleneck:
            block = partial(block, stride_on_first=self.stride_on_first)
        if self.zero_init_residual:
            block = partial(block, last_scale=nn.initializers.zeros_init())
        if self.small_stem:
            x = ConvNorm(64, conv, norm, 3, 1, padding=1, name="stem")(x)
        else:
            x = ConvNorm(64, conv, norm, 7, 2, padding=3, name="stem")(x)
            x = max_pool(x, 3, 2, padding=1)
        for i, (blocks, width) in enumerate(zip(self.blocks, WIDTHS)):
            x = Stage(blocks, width, 1 if i == 0 else 2, block, name=f"stage{i + 1}")(x)
        x = global_avg_pool(spatial_map(self, x))
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=torch_uniform, name="head"
        )
        return head(x)


ResNet18 = partial(ResNet, blocks=(2, 2, 2, 2), block=BasicBlock)
ResNet34 = partial(ResNet, blocks=(3, 4, 6, 3), block=BasicBlock)
ResNet50 = partial(ResNet, blocks=(3, 4, 6, 3), block=Bottleneck)
ResNet101 = partial(ResNet, blocks=(3, 4, 23, 3), block=Bottleneck)
