"""VGG: Very Deep Convolutional Networks for Large-Scale Image Recognition.

Simonyan, Zisserman 2015, ICLR, arXiv:1409.1556, table 1, columns D and E.
Parameters with 1000 classes: 16: 138,357,544; 19: 143,667,240; with batch
normalisation 138,365,992 and 143,678,248.

Differs from the paper: the last map is averaged to 7x7 where it has another size (as
in torchvision), so that the parameters fit pictures of any size.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, he_normal_fan_out, spatial_map
from covjax.blocks.pooling import adaptive_avg_pool, max_pool, require_size

MIN_SIZE = 32  # five halvings
WIDTHS = (64, 128, 256, 512, 512)  # table 1

normal_0_01 = nn.initializers.normal(0.01)  # section 3.1: variance 1e-2; torchvision's


class Stage(nn.Module):
    """3x3 convolutions of one width, and a pooling."""

    layers: int
    features: int
    conv: Any
    norm: Any  # None: without batch normalisation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h / 2, w / 2, features]``."""
        for i in range(1, self.layers + 1):
            x = self.conv(self.features, 3, padding=1, name=f"conv{i}")(x)
            if self.norm is not None:
                x = self.norm(name=f"norm{i}")(x)
            x = nn.relu(x)
        return max_pool(x, 2, 2)


class VGG(nn.Module):
    """Five stages, two hidden dense layers with dropout, classifier."""

    num_classes: int
    layers: tuple[int, ...]  # convolutions in each stage
    batch_norm: bool = False
    dropout: float = 0.5  # section 3.1
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        x = trunk(
            x,
            train=train,
            layers=self.layers,
            batch_norm=self.batch_norm,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        x = adaptive_avg_pool(spatial_map(self, x), 7)
        x = x.reshape(x.shape[0], -1)
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=normal_0_01)
        for name in ("fc1", "fc2"):
            x = nn.relu(dense(4096, name=name)(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return dense(self.num_classes, dtype=jnp.float32, name="head")(x)


def trunk(
    x: jax.Array,
    *,
    train: bool,
    layers: tuple[int, ...],
    batch_norm: bool = False,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
) -> jax.Array:
    """The five stages; called inside a module's compact method, which owns them.

    Maps ``[batch, height, width, channels]`` to ``[batch, h / 32, w / 32, 512]``.
    """
    require_size(x, MIN_SIZE, "VGG")
    conv = partial(Conv, dtype=dtype, kernel_init=he_normal_fan_out)
    norm = None
    if batch_norm:
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,  # torchvision
            dtype=dtype,
            axis_name=axis_name,
        )
    for i, (depth, width) in enumerate(zip(layers, WIDTHS)):
        x = Stage(depth, width, conv, norm, name=f"stage{i + 1}")(x)
    return x


VGG16 = partial(VGG, layers=(2, 2, 3, 3, 3))
VGG19 = partial(VGG, layers=(2, 2, 4, 4, 4))
VGG16BN = partial(VGG16, batch_norm=True)
VGG19BN = partial(VGG19, batch_norm=True)
