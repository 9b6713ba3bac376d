"""A small U-Net, for segmentation in seconds on a CPU.

Ronneberger, Fischer, Brox: U-Net, 2015, MICCAI, arXiv 1505.04597, figure 1.

Differs from the paper: four levels of 16 to 128 channels instead of five of 64 to
1024, padded convolutions with batch normalisation, so that height and width are kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal
from covjax.blocks.pooling import max_pool, require_size


class Level(nn.Module):
    """Two 3x3 convolutions with normalisation and ReLU."""

    features: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, features]``."""
        x = ConvNorm(self.features, self.conv, self.norm, name="unit1")(x)
        return ConvNorm(self.features, self.conv, self.norm, name="unit2")(x)


class UNet(nn.Module):
    """Levels with pooling between them, and back up with a skip at each level."""

    num_classes: int
    widths: tuple[int, ...] = (16, 32, 64, 128)
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to float32 logits of every pixel.

        Height and width are kept: ``[batch, height, width, num_classes]``.
        """
        require_size(x, 2 ** (len(self.widths) - 1), "U-Net")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        skips = []
        for i, features in enumerate(self.widths):
            if i > 0:
                x = max_pool(x, 2, 2)
            x = Level(features, conv, norm, name=f"down{i + 1}")(x)
            skips.append(x)
        for i, features in enumerate(self.widths[-2::-1]):
            skip = skips[-2 - i]
            x = nn.ConvTranspose(
                features,
                (2, 2),
                strides=(2, 2),
                padding="VALID",
                dtype=self.dtype,
                name=f"upsample{i + 1}",
            )(x)
            rest = [(0, skip.shape[axis] - x.shape[axis]) for axis in (1, 2)]
            x = jnp.pad(x, [(0, 0), *rest, (0, 0)], mode="edge")  # odd sizes
            x = jnp.concatenate([skip, x], axis=-1)
            x = Level(features, conv, norm, name=f"up{i + 1}")(x)
        x = spatial_map(self, x)
        return Conv(self.num_classes, 1, dtype=jnp.float32, name="head")(x)
