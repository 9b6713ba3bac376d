"""Truncated Inception Net: the first modules of Inception-v3.

Das, Santosh, Pal: Truncated Inception Net: COVID-19 outbreak screening using chest
X-rays, 2020, Physical and Engineering Sciences in Medicine 43:915, doi
10.1007/s13246-020-00888-x, section 2. About 2.1 million parameters.

Differs from the paper: it cuts Inception-v3 behind three modules and one grid-size
reduction and adds a "cascade" of max poolings, whose number and size are not known;
here two of 3x3 with stride 2, the network's other poolings' form.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm
from covjax.blocks.inception import REDUCTION_B, Chain, Pool, inception_a
from covjax.blocks.pooling import global_avg_pool, require_size
from covjax.models.inception_v3 import STEM_V3

MIN_SIZE = 43  # the reduction then still has 3x3 pixels
CASCADE = (Pool("max", 3, 2), Pool("max", 3, 2))


class TruncatedInception(nn.Module):
    """Stem and first four modules of Inception-v3, max poolings, classifier.

    Stem and modules have the parameter names of
    `covjax.models.inception_v3.InceptionV3`, so its weights fit.
    """

    num_classes: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "Truncated Inception Net")
        init = nn.initializers.glorot_uniform()  # Keras
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=init)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-3,  # Inception-v3's published weights
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        chain = partial(Chain, unit=partial(ConvNorm, conv=conv, norm=norm))
        x = chain(STEM_V3, name="stem")(x)
        x = chain(tuple(inception_a(n) for n in (32, 64, 64)), name="stage1")(x)
        x = chain((REDUCTION_B,), name="stage2")(x)
        x = chain(CASCADE)(spatial_map(self, x))
        x = global_avg_pool(x)
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=init, name="head"
        )
        return head(x)
