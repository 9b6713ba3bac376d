"""Inception-v4.

Szegedy, Ioffe, Vanhoucke, Alemi 2017, AAAI, arXiv:1602.07261, figures 3 to 9.
Parameters with 1000 classes: 42,679,816.

Differs from the paper: nothing known; widths are those of figures 3 to 9 and table 1.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.conv_norm import ConvNorm, he_normal, torch_uniform
from covjax.blocks.inception import Chain, Layer, Mixed, Pool, fork
from covjax.blocks.pooling import global_avg_pool, require_size

MIN_SIZE = 75  # both reductions then still have 3x3 pixels

ROW, COLUMN = (1, 7), (7, 1)
HALVE = Pool("max", 3, 2, "VALID")

# figure 3: 299x299 to 35x35x384
STEM = (
    Layer(32, 3, 2, "VALID"),
    Layer(32, 3, 1, "VALID"),
    Layer(64, 3),
    Mixed(((HALVE,), (Layer(96, 3, 2, "VALID"),))),
    Mixed(
        (
            (Layer(64), Layer(96, 3, 1, "VALID")),
            (Layer(64), Layer(64, ROW), Layer(64, COLUMN), Layer(96, 3, 1, "VALID")),
        )
    ),
    Mixed(((Layer(192, 3, 2, "VALID"),), (HALVE,))),
)
# figure 4: 35x35x384
INCEPTION_A = Mixed(
    (
        (Layer(96),),
        (Layer(64), Layer(96, 3)),
        (Layer(64), Layer(96, 3), Layer(96, 3)),
        (Pool("avg"), Layer(96)),
    )
)
# figure 7 with k, l, m, n = 192, 224, 256, 384 (table 1): to 17x17x1024
REDUCTION_A = Mixed(
    (
        (Layer(384, 3, 2, "VALID"),),
        (Layer(192), Layer(224, 3), Layer(256, 3, 2, "VALID")),
        (HALVE,),
    )
)
# figure 5: 17x17x1024
INCEPTION_B = Mixed(
    (
        (Layer(384),),
        (Layer(192), Layer(224, ROW), Layer(256, COLUMN)),
        (
            Layer(192),
            Layer(192, COLUMN),
            Layer(224, ROW),
            Layer(224, COLUMN),
            Layer(256, ROW),
        ),
        (Pool("avg"), Layer(128)),
    )
)
# figure 8: to 8x8x1536
REDUCTION_B = Mixed(
    (
        (Layer(192), Layer(192, 3, 2, "VALID")),
        (Layer(256), Layer(256, ROW), Layer(320, COLUMN), Layer(320, 3, 2, "VALID")),
        (HALVE,),
    )
)
# figure 6: 8x8x1536
INCEPTION_C = Mixed(
    (
        (Layer(256),),
        (Layer(384), fork(256)),
        (Layer(384), Layer(448, (3, 1)), Layer(512, (1, 3)), fork(256)),
        (Pool("avg"), Layer(256)),
    )
)


class InceptionV4(nn.Module):
    """Stem, three stages of inception modules, classifier (figure 9)."""

    num_classes: int
    modules: tuple[int, int, int] = (4, 7, 3)  # A, B and C, without the reductions
    dropout: float = 0.2  # figure 9: keep 0.8
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "Inception-v4")
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=he_normal)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,  # timm
            epsilon=1e-3,  # the published weights'
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        chain = partial(Chain, unit=partial(ConvNorm, conv=conv, norm=norm))
        a, b, c = self.modules
        x = chain(STEM, name="stem")(x)
        x = chain(a * (INCEPTION_A,), name="stage1")(x)
        x = chain((REDUCTION_A, *b * (INCEPTION_B,)), name="stage2")(x)
        x = chain((REDUCTION_B, *c * (INCEPTION_C,)), name="stage3")(x)
        x = global_avg_pool(spatial_map(self, x)).astype(jnp.float32)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, kernel_init=torch_uniform, name="head")(x)
