"""Densely Connected Convolutional Networks.

Huang, Liu, van der Maaten, Weinberger 2017, CVPR, arXiv:1608.06993, table 1.
Parameters with 1000 classes: 121: 7,978,856; 169: 14,149,480; 201: 20,013,928.
CheXNet (Rajpurkar et al. 2017, arXiv:1711.05225) is DenseNet-121 with one sigmoid
for each of 14 findings: 6,968,206; its logits go to the ``binary`` loss.

Differs from the paper: nothing known; padding and start follow torchvision.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.dense import DenseBlock, Transition
from covjax.blocks.forms import channel_moments
from covjax.blocks.pooling import global_avg_pool, max_pool, require_size

MIN_SIZE = 29  # the last transition then still has 2x2 pixels to halve


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between them, classifier."""

    num_classes: int
    blocks: tuple[int, ...]  # dense layers in each block
    growth_rate: int = 32  # k of table 1
    stem_features: int = 64  # 2k: section 4.2
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "DenseNet")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,  # torchvision
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = ConvNorm(self.stem_features, conv, norm, 7, 2, padding=3, name="stem")(x)
        x = max_pool(x, 3, 2, padding=1)
        axis_name = None if self.is_initializing() else self.axis_name
        measure = partial(channel_moments, axis_name=axis_name)
        block = partial(
            DenseBlock,
            growth_rate=self.growth_rate,
            conv=conv,
            norm=norm,
            measure=measure if train else None,
        )
        moments = None
        for i, layers in enumerate(self.blocks):
            if i > 0:
                x = Transition(conv, norm, name=f"transition{i}")(x, moments)
            x, moments = block(layers, name=f"stage{i + 1}")(x)
        x = spatial_map(self, nn.relu(norm(name="norm")(x, moments=moments)))
        x = global_avg_pool(x)
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=torch_uniform, name="head"
        )
        return head(x)


DenseNet121 = partial(DenseNet, blocks=(6, 12, 24, 16))
DenseNet169 = partial(DenseNet, blocks=(6, 12, 32, 32))
DenseNet201 = partial(DenseNet, blocks=(6, 12, 48, 32))
CheXNet = DenseNet121
