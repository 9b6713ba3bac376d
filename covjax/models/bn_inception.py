"""Batch Normalization: BN-Inception.

Ioffe, Szegedy 2015, ICML, arXiv:1502.03167, appendix, figure 5.
Parameters with 1000 classes: 11,194,984 by figure 5; the paper prints none. (The
Caffe weights, with 128 projections in 4c and 4d and biases, have 11,295,240.)
"Inception-v2" of table 1 in "Rethinking the Inception ..." is in `inception_v3`.

Differs from the paper: the first convolution is an ordinary one, not separable, as
in every published set of weights; padding is "SAME" everywhere (TensorFlow), so that
both branches of a stride-2 module meet at every input size.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.inception import Chain, Inception, Layer, Mixed, Pool
from covjax.blocks.pooling import global_avg_pool

STEM = (
    Layer(64, 7, 2),
    Pool("max", 3, 2),
    Layer(64, 1),
    Layer(192, 3),
    Pool("max", 3, 2),
)


def inception(
    one: int,
    three: tuple[int, int],
    double: tuple[int, int],
    pool: str,
    projection: int,
) -> Mixed:
    """Figure 5's module: 1x1 | 3x3 | double 3x3 | pool and projection."""
    reduce3, features3 = three
    reduce_double, features_double = double
    return Mixed(
        (
            (Layer(one),),
            (Layer(reduce3), Layer(features3, 3)),
            (Layer(reduce_double), *2 * (Layer(features_double, 3),)),
            (Pool(pool), Layer(projection)),
        )
    )


def reduction(three: tuple[int, int], double: tuple[int, int]) -> Mixed:
    """Figure 5's module of stride 2: no 1x1 branch, the pool passes its input on."""
    reduce3, features3 = three
    reduce_double, features_double = double
    return Mixed(
        (
            (Layer(reduce3), Layer(features3, 3, 2)),
            (
                Layer(reduce_double),
                Layer(features_double, 3),
                Layer(features_double, 3, 2),
            ),
            (Pool("max", 3, 2),),
        )
    )


MODULES = {
    "3a": inception(64, (64, 64), (64, 96), "avg", 32),
    "3b": inception(64, (64, 96), (64, 96), "avg", 64),
    "3c": reduction((128, 160), (64, 96)),
    "4a": inception(224, (64, 96), (96, 128), "avg", 128),
    "4b": inception(192, (96, 128), (96, 128), "avg", 128),
    "4c": inception(160, (128, 160), (128, 160), "avg", 96),
    "4d": inception(96, (128, 192), (160, 192), "avg", 96),
    "4e": reduction((128, 192), (192, 256)),
    "5a": inception(352, (192, 320), (160, 224), "avg", 128),
    "5b": inception(352, (192, 320), (192, 224), "max", 128),
}


class BNInception(nn.Module):
    """Stem, ten inception modules, classifier."""

    num_classes: int
    dropout: float = 0.0  # section 4.2.1: batch normalisation instead
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-3,  # TensorFlow's inception_v2
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(ConvNorm, conv=conv, norm=norm)
        x = Chain(STEM, unit, name="stem")(x)
        for name, mixed in MODULES.items():
            x = Inception(mixed, unit, name=f"inception{name}")(x)
        x = global_avg_pool(spatial_map(self, x)).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)
