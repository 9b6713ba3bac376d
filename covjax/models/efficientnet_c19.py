"""EfficientNet-C19: EfficientNet with a deeper classifier for chest X-rays.

Luz, Silva, Silva, Silva, Guimarães, Miozzo, Moreira, Menotti: Towards an effective and
efficient deep learning model for COVID-19 patterns detection in X-ray images, 2022,
Research on Biomedical Engineering 38, arXiv 2004.05717, section 4.2, and the authors'
Keras code. The paper builds it on B0 to B5; `width` and `depth` are theirs (B0: 1, 1).

Differs from the paper: nothing known.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, spatial_map
from covjax.blocks.pooling import global_avg_pool
from covjax.models import efficientnet


class EfficientNetC19(nn.Module):
    """The stages of EfficientNet, two normalised dense layers, classifier.

    The stages have the parameter names of `covjax.models.efficientnet.EfficientNet`,
    so its weights fit.
    """

    num_classes: int
    width: float = 1.0
    depth: float = 1.0
    drop_path: float = 0.2  # as in EfficientNet
    padding: str = "SAME"  # as in EfficientNet
    epsilon: float = 1e-3  # as in EfficientNet and in Keras's layer
    momentum: float = 0.99  # as in EfficientNet and in Keras's layer
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        x = efficientnet.trunk(
            x,
            train=train,
            width=self.width,
            depth=self.depth,
            drop_path=self.drop_path,
            padding=self.padding,
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        init = nn.initializers.glorot_uniform()  # Keras
        x = norm(name="norm")(global_avg_pool(spatial_map(self, x)))
        # authors' code: dropout 0.7 and 0.5, widths 512 and 128
        for i, (rate, features) in enumerate(((0.7, 512), (0.5, 128))):
            x = nn.Dropout(rate, deterministic=not train)(x)
            x = nn.Dense(
                features, dtype=self.dtype, kernel_init=init, name=f"hidden{i + 1}"
            )(x)
            x = nn.silu(norm(name=f"hidden{i + 1}_norm")(x))
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=init, name="head"
        )
        return head(x)
