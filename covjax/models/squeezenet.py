"""SqueezeNet: AlexNet-level accuracy with 50x fewer parameters.

Iandola et al. 2016, arXiv:1602.07360, table 1; version 1.1 is the authors' later
release with smaller stem and earlier pooling.
Parameters with 1000 classes: 1.0: 1,248,424; 1.1: 1,235,496.

Differs from the paper: no padding in the stem, as in the authors' Caffe files and in
torchvision.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import Conv, spatial_map
from covjax.blocks.fire import Fire
from covjax.blocks.pooling import global_avg_pool, max_pool, require_size

MIN_SIZE_1_0 = 21  # three halvings of the map after a 7x7 stem without padding
MIN_SIZE_1_1 = 17  # the same after a 3x3 stem

# He et al. 2015, uniform: torchvision
he_uniform = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")


class SqueezeNet(nn.Module):
    """Stem, Fire blocks in stages with pooling between them, 1x1 classifier."""

    num_classes: int
    stem: tuple[int, int]  # channels and kernel size
    stages: tuple[tuple[tuple[int, int], ...], ...]  # (squeeze, expand) of each Fire
    min_size: int
    dropout: float = 0.5  # section 3.3
    dtype: Any = jnp.float32
    axis_name: str | None = None  # has no normalisation to share

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, self.min_size, "SqueezeNet")
        conv = partial(Conv, dtype=self.dtype, kernel_init=he_uniform)
        channels, kernel_size = self.stem
        x = conv(channels, kernel_size, 2, padding="VALID", name="stem")(x)
        x = nn.relu(x)
        for i, fires in enumerate(self.stages):
            x = max_pool(x, 3, 2, ceil=True)
            x = Stage(fires, conv, name=f"stage{i + 1}")(x)
        x = spatial_map(self, x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        head = Conv(
            self.num_classes,
            1,
            dtype=jnp.float32,
            kernel_init=nn.initializers.normal(0.01),  # torchvision
            name="head",
        )
        return global_avg_pool(nn.relu(head(x)))


class Stage(nn.Module):
    """The Fire blocks between two poolings."""

    fires: tuple[tuple[int, int], ...]
    conv: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, 2 * last expand]``."""
        for i, (squeeze, expand) in enumerate(self.fires):
            x = Fire(squeeze, expand, self.conv, name=f"fire{i + 1}")(x)
        return x


SqueezeNet1_0 = partial(
    SqueezeNet,
    stem=(96, 7),
    stages=(
        ((16, 64), (16, 64), (32, 128)),
        ((32, 128), (48, 192), (48, 192), (64, 256)),
        ((64, 256),),
    ),
    min_size=MIN_SIZE_1_0,
)
SqueezeNet1_1 = partial(
    SqueezeNet,
    stem=(64, 3),
    stages=(
        ((16, 64), (16, 64)),
        ((32, 128), (32, 128)),
        ((48, 192), (48, 192), (64, 256), (64, 256)),
    ),
    min_size=MIN_SIZE_1_1,
)
