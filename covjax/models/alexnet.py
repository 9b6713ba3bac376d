"""AlexNet, in two layouts.

`AlexNet`: One weird trick for parallelizing convolutional neural networks,
Krizhevsky 2014, arXiv:1404.5997, as torchvision has it: 61,100,840 parameters.
`AlexNet2012`: ImageNet Classification with Deep Convolutional Neural Networks,
Krizhevsky, Sutskever, Hinton 2012, NIPS, section 3, with local response
normalisation: 60,965,224 parameters, or 62,378,344 with ``groups=1`` (the survey's
figure 3, one device).

Differs from the papers: the last map is averaged to 6x6 where it has another size,
so that the parameters fit pictures of any size.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import Conv, spatial_map
from covjax.blocks.conv_norm import torch_uniform
from covjax.blocks.local_response import local_response_norm
from covjax.blocks.pooling import adaptive_avg_pool, max_pool, require_size

MIN_SIZE = 63  # three poolings of 3x3 after the stem
MIN_SIZE_2012 = 67  # the same without padding in the stem


class AlexNet(nn.Module):
    """Five convolutions, two hidden dense layers with dropout before each."""

    num_classes: int
    dropout: float = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = None  # has no normalisation to share

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "AlexNet")
        conv = partial(Conv, dtype=self.dtype, kernel_init=torch_uniform)
        x = nn.relu(conv(64, 11, 4, padding=2, name="conv1")(x))
        x = max_pool(x, 3, 2)
        x = nn.relu(conv(192, 5, padding=2, name="conv2")(x))
        x = max_pool(x, 3, 2)
        x = nn.relu(conv(384, 3, padding=1, name="conv3")(x))
        x = nn.relu(conv(256, 3, padding=1, name="conv4")(x))
        x = nn.relu(conv(256, 3, padding=1, name="conv5")(x))
        x = spatial_map(self, max_pool(x, 3, 2))
        x = adaptive_avg_pool(x, 6)
        x = x.reshape(x.shape[0], -1)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=torch_uniform)
        for name in ("fc1", "fc2"):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(dense(4096, name=name)(x))
        return dense(self.num_classes, dtype=jnp.float32, name="head")(x)


class AlexNet2012(nn.Module):
    """The layout of 2012: wider stem, response normalisation, two groups."""

    num_classes: int
    groups: int = 2  # one for each of the paper's two devices
    dropout: float = 0.5  # section 4.2
    dtype: Any = jnp.float32
    axis_name: str | None = None  # has no normalisation to share

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE_2012, "AlexNet2012")
        normal = nn.initializers.normal(0.01)  # section 5
        conv = partial(Conv, dtype=self.dtype, kernel_init=normal)
        split = partial(conv, feature_group_count=self.groups)
        ones = nn.initializers.ones_init()  # section 5: layers 2, 4, 5 and hidden dense
        x = nn.relu(conv(96, 11, 4, padding="VALID", name="conv1")(x))
        x = max_pool(local_response_norm(x), 3, 2)
        x = nn.relu(split(256, 5, padding=2, bias_init=ones, name="conv2")(x))
        x = max_pool(local_response_norm(x), 3, 2)
        x = nn.relu(conv(384, 3, padding=1, name="conv3")(x))
        x = nn.relu(split(384, 3, padding=1, bias_init=ones, name="conv4")(x))
        x = nn.relu(split(256, 3, padding=1, bias_init=ones, name="conv5")(x))
        x = spatial_map(self, max_pool(x, 3, 2))
        x = adaptive_avg_pool(x, 6)
        x = x.reshape(x.shape[0], -1)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=normal)
        for name in ("fc1", "fc2"):
            x = nn.relu(dense(4096, bias_init=ones, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.num_classes, dtype=jnp.float32, name="head")(x)
