"""DarkCovidNet: a small Darknet for chest X-rays.

Ozturk, Talo, Yildirim, Baloglu, Yildirim, Acharya: Automated detection of COVID-19
cases using deep neural networks with X-ray images, 2020, Computers in Biology and
Medicine 121:103792, doi 10.1016/j.compbiomed.2020.103792, table 1, and the authors'
fastai notebook. 1,164,434 parameters for two classes, 1,167,586 for three, at 256
pixels and three channels; the classifier reads all pixels of the last map, so its
size follows the picture's.

Differs from the paper: nothing known. As in the notebook, 1x1 convolutions are
padded by one pixel (the map grows by two) and the last convolution is followed by
ReLU and then normalisation.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import he_normal, torch_uniform
from covjax.blocks.pooling import max_pool, require_size

MIN_SIZE = 4  # the third pooling then has one pixel, padded to three, to halve


class DN(nn.Module):
    """Convolution padded by one pixel, normalisation, leaky ReLU."""

    features: int
    kernel_size: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, features]``."""
        x = self.conv(self.features, self.kernel_size, padding=1, name="conv")(x)
        x = self.norm(name="norm")(x)
        return nn.leaky_relu(x, negative_slope=0.1)  # notebook


class TripleConv(nn.Module):
    """The paper's "3 x Conv": a 3x3 unit, a 1x1 unit back to the input width, 3x3."""

    features: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h + 2, w + 2, features]``."""
        unit = partial(DN, conv=self.conv, norm=self.norm)
        narrow = x.shape[-1]
        x = unit(self.features, 3, name="dn1")(x)
        x = unit(narrow, 1, name="dn2")(x)
        return unit(self.features, 3, name="dn3")(x)


class DarkCovidNet(nn.Module):
    """17 convolutions, five poolings, one linear layer over the last map's pixels.

    The map given to Grad-CAM is that of the 16th convolution (256 channels): the
    17th has one channel a class already.
    """

    num_classes: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "DarkCovidNet")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # PyTorch's 0.1
            epsilon=1e-5,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(DN, conv=conv, norm=norm)
        x = max_pool(unit(8, 3, name="stem")(x), 2, 2)
        x = max_pool(unit(16, 3, name="stage1")(x), 2, 2)
        for i, features in enumerate((32, 64, 128, 256)):
            if i > 0:
                x = max_pool(x, 2, 2)
            x = TripleConv(features, conv, norm, name=f"stage{i + 2}")(x)
        x = unit(128, 1, name="conv15")(x)
        x = spatial_map(self, unit(256, 3, name="conv16")(x))
        x = conv(self.num_classes, 3, padding=1, name="conv17")(x)
        x = norm(name="norm17")(nn.relu(x))
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=torch_uniform, name="head"
        )
        return head(x.reshape(x.shape[0], -1))
