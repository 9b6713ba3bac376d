"""Rethinking the Inception Architecture for Computer Vision: Inception-v2 and v3.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, CVPR, arXiv:1512.00567.
v3 with 1000 classes: 27,161,264 parameters, 23,834,568 without the auxiliary head.
v2 is table 1: 3x3 convolutions in the stem, five 17x17 modules, an auxiliary head
without batch normalisation in its dense layer (section 6 makes v3 from it).

Differs from the paper: widths and the 5x5 of the first modules are those of the
published weights. The widths inside v2's five 17x17 modules are not published; they
are v3's, with the middle one twice. Maps smaller than the 5x5 of the auxiliary head
are padded with zeros to that size, so that the head exists at every input size.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.inception import (
    INCEPTION_E,
    REDUCTION_B,
    REDUCTION_D,
    Chain,
    Layer,
    Pool,
    Steps,
    inception_a,
    inception_c,
)
from covjax.blocks.pooling import avg_pool, global_avg_pool, require_size

MIN_SIZE = 75  # both reductions then still have 3x3 pixels

# 299x299 to 35x35; section 6 and the published weights
STEM_V3 = (
    Layer(32, 3, 2, "VALID"),
    Layer(32, 3, 1, "VALID"),
    Layer(64, 3),
    Pool("max", 3, 2, "VALID"),
    Layer(80, 1),
    Layer(192, 3, 1, "VALID"),
    Pool("max", 3, 2, "VALID"),
)
# table 1; the last row is padded, since the modules take 35x35
STEM_V2 = (
    Layer(32, 3, 2, "VALID"),
    Layer(32, 3, 1, "VALID"),
    Layer(64, 3),
    Pool("max", 3, 2, "VALID"),
    Layer(80, 3, 1, "VALID"),
    Layer(192, 3, 2, "VALID"),
    Layer(288, 3),
)


class AuxiliaryHead(nn.Module):
    """A classifier on the 17x17 maps, used in training only (figure 8)."""

    num_classes: int
    unit: Any  # with batch normalisation
    dense: Any  # the 5x5 convolution, which sees the whole map; without activation

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, height, width, 768]`` to logits ``[batch, classes]``."""
        x = avg_pool(_at_least_5x5(x), 5, 3)
        x = self.unit(128, kernel_size=1, name="conv1")(x)
        x = self.dense(768, kernel_size=5, padding="VALID", name="conv2")(
            _at_least_5x5(x)
        )
        x = global_avg_pool(nn.relu(x)).astype(jnp.float32)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)


def _at_least_5x5(x: jax.Array) -> jax.Array:
    """Zeros around maps smaller than 5x5; larger ones as they are."""
    missing = [max(0, 5 - n) for n in x.shape[1:3]]
    sides = [(m // 2, m - m // 2) for m in missing]
    return jnp.pad(x, ((0, 0), *sides, (0, 0)))


class InceptionV3(nn.Module):
    """Stem, three stages of inception modules, classifier."""

    num_classes: int
    stem: Steps = STEM_V3
    pool_features: tuple[int, ...] = (32, 64, 64)  # of the 35x35 modules
    features_7x7: tuple[int, ...] = (128, 160, 160, 192)  # of the 17x17 modules
    aux_heads: bool = True
    aux_batch_norm: bool = True  # in the auxiliary head's dense layer
    dropout: float = 0.5  # torchvision; TensorFlow keeps 0.8
    # mean pools at the border: torchvision and timm count the padding, TensorFlow and
    # Keras, for whose weights this is False, do not
    count_include_pad: bool = True
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "Inception-v3")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # torchvision
            epsilon=1e-3,  # the published weights'
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(ConvNorm, conv=conv, norm=norm)
        chain = partial(Chain, unit=unit, count_include_pad=self.count_include_pad)
        at_35 = tuple(inception_a(n) for n in self.pool_features)
        at_17 = (REDUCTION_B, *(inception_c(n) for n in self.features_7x7))
        at_8 = (REDUCTION_D, INCEPTION_E, INCEPTION_E)

        x = chain(self.stem, name="stem")(x)
        x = chain(at_35, name="stage1")(x)
        x = chain(at_17, name="stage2")(x)
        if self.aux_heads and (train or self.is_initializing()):
            normed, bare = partial(unit, activation=None), partial(conv, use_bias=True)
            dense = normed if self.aux_batch_norm else bare
            logits = AuxiliaryHead(self.num_classes, unit, dense, name="aux")(x)
            self.sow("intermediates", "aux_logits", logits)
        x = chain(at_8, name="stage3")(x)
        x = global_avg_pool(spatial_map(self, x)).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)


InceptionV2 = partial(
    InceptionV3,
    stem=STEM_V2,
    features_7x7=(128, 160, 160, 160, 192),
    aux_batch_norm=False,
)
