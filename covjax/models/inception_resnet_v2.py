"""Inception-ResNet-v2.

Szegedy, Ioffe, Vanhoucke, Alemi 2017, AAAI, arXiv:1602.07261, figures 15 to 19.
Parameters with 1000 classes: 55,843,464.

Differs from the paper: stem, module counts (10, 20, 10), widths and scales are those
of the published weights (TensorFlow, Keras, timm), which figures 14 to 18 resemble:
the stem is Inception-v3's, the 35x35 maps have 320 channels, and a last 1x1
convolution gives 1536.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.inception import Chain, Inception, Layer, Mixed, Pool, branches
from covjax.blocks.pooling import global_avg_pool, require_size

MIN_SIZE = 75  # both reductions then still have 3x3 pixels

HALVE = Pool("max", 3, 2, "VALID")

# 299x299 to 35x35x192
STEM = (
    Layer(32, 3, 2, "VALID"),
    Layer(32, 3, 1, "VALID"),
    Layer(64, 3),
    HALVE,
    Layer(80),
    Layer(192, 3, 1, "VALID"),
    HALVE,
)
# "mixed_5b" of the published weights: to 35x35x320
ENTRY = Mixed(
    (
        (Layer(96),),
        (Layer(48), Layer(64, 5)),
        (Layer(64), Layer(96, 3), Layer(96, 3)),
        (Pool("avg"), Layer(64)),
    )
)
# figure 16
BLOCK35 = Mixed(
    (
        (Layer(32),),
        (Layer(32), Layer(32, 3)),
        (Layer(32), Layer(48, 3), Layer(64, 3)),
    )
)
# figure 7: to 17x17x1088
REDUCTION_A = Mixed(
    (
        (Layer(384, 3, 2, "VALID"),),
        (Layer(256), Layer(256, 3), Layer(384, 3, 2, "VALID")),
        (HALVE,),
    )
)
# figure 17
BLOCK17 = Mixed(((Layer(192),), (Layer(128), Layer(160, (1, 7)), Layer(192, (7, 1)))))
# figure 18: to 8x8x2080
REDUCTION_B = Mixed(
    (
        (Layer(256), Layer(384, 3, 2, "VALID")),
        (Layer(256), Layer(288, 3, 2, "VALID")),
        (Layer(256), Layer(288, 3), Layer(320, 3, 2, "VALID")),
        (HALVE,),
    )
)
# figure 19
BLOCK8 = Mixed(((Layer(192),), (Layer(192), Layer(224, (1, 3)), Layer(256, (3, 1)))))


class ResidualInception(nn.Module):
    """An inception module whose scaled result is added to its input (figure 20)."""

    mixed: Mixed
    scale: float  # of what is added; section 3.3
    unit: Callable
    conv: Callable  # with bias, without activation: back to the input's channels
    activation: Callable = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Keeps the shape of ``[batch, height, width, channels]``."""
        y = branches(self.mixed, self.unit, x)
        y = self.conv(x.shape[-1], 1, use_bias=True, name="project")(y)
        return self.activation(x + self.scale * y)


class Stage(nn.Module):
    """A module that changes the shape, then residual modules that keep it."""

    entry: Mixed
    blocks: int
    block: Callable  # a ResidualInception with everything given
    unit: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, in]`` to ``[batch, h, w, out]``."""
        x = Inception(self.entry, self.unit, name="entry")(x)
        for i in range(self.blocks):
            x = self.block(name=f"block{i + 1}")(x)
        return x


class InceptionResNetV2(nn.Module):
    """Stem, three stages of residual inception modules, classifier (figure 15)."""

    num_classes: int
    blocks: tuple[int, int, int] = (10, 20, 9)  # and one more, linear, at the end
    dropout: float = 0.2  # figure 15: keep 0.8
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "Inception-ResNet-v2")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # timm
            epsilon=1e-3,  # the published weights'
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(ConvNorm, conv=conv, norm=norm)
        block = partial(ResidualInception, unit=unit, conv=conv)
        stages = (  # scales: the published weights'
            (ENTRY, partial(block, BLOCK35, 0.17)),
            (REDUCTION_A, partial(block, BLOCK17, 0.10)),
            (REDUCTION_B, partial(block, BLOCK8, 0.20)),
        )
        x = Chain(STEM, unit, name="stem")(x)
        for i, (entry, repeated) in enumerate(stages):
            x = Stage(entry, self.blocks[i], repeated, unit, name=f"stage{i + 1}")(x)
        x = block(BLOCK8, 1.0, activation=lambda y: y, name="last_block")(x)
        x = unit(1536, kernel_size=1, name="last_conv")(x)
        x = global_avg_pool(spatial_map(self, x)).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)
