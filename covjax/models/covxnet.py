"""CovXNet: depthwise convolutions of varying dilation, one network a resolution.

Mahmud, Rahman, Fattah: CovXNet: a multi-dilation convolutional neural network for
automatic COVID-19 and other pneumonia detection from chest X-ray images with
transferable multi-receptive feature optimization, 2020, Computers in Biology and
Medicine 122:103869, doi 10.1016/j.compbiomed.2020.103869, and the authors' code.
Parameters as Keras counts them (with running statistics), one channel, two classes,
depth 5: 32 px 246,946; 64 px 989,986; 128 px 3,831,970; 256 px 14,902,306.

Differs from the paper: the number of residual units in a row is an argument there
and not given; 5 is covjax's choice. The transfer head is published for 128 pixels;
its widths here are the last map's and twice that, which are the published ones.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.dilated import ConvReluNorm, DilatedResidual, Shifter
from covjax.blocks.pooling import global_avg_pool, require_size


class CovXNet(nn.Module):
    """Stem, stages of residual units joined by shifters, two dense layers.

    `transfer` puts the paper's fine-tuning head (two 2x2 convolutions) behind the
    trunk, whose parameters are ``stem1``, ``stem2``, ``stage1`` and so on.
    """

    num_classes: int
    dilations: tuple[int, ...]  # the largest one in each stage
    depth: int = 5  # residual units in a row; not given in the paper
    transfer: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, 2 ** len(self.dilations), "CovXNet")
        init = nn.initializers.glorot_uniform()  # Keras
        conv = partial(Conv, dtype=self.dtype, kernel_init=init)
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.99,  # Keras
            epsilon=1e-3,  # Keras
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        unit = partial(ConvReluNorm, conv=conv, norm=norm)
        x = unit(16, 5, name="stem1")(x)
        x = unit(32, 3, strides=2, name="stem2")(x)
        for i, dilations in enumerate(self.dilations):
            stage = f"stage{i + 1}"
            for j in range(self.depth):
                name = f"{stage}_residual{j + 1}"
                x = DilatedResidual(dilations, conv, norm, name=name)(x)
            if i + 1 < len(self.dilations):
                x = Shifter(dilations, conv, norm, name=f"{stage}_shifter")(x)
        if self.transfer:
            features = x.shape[-1]
            x = unit(features, 2, name="transfer1")(x)
            x = unit(2 * features, 2, name="transfer2")(x)
        x = global_avg_pool(spatial_map(self, x))
        x = nn.Dense(64, dtype=self.dtype, kernel_init=init, name="hidden")(x)
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=init, name="head"
        )
        return head(nn.relu(x))


CovXNet32 = partial(CovXNet, dilations=(3, 2))
CovXNet64 = partial(CovXNet, dilations=(4, 3, 2))
CovXNet128 = partial(CovXNet, dilations=(5, 4, 3, 2))
CovXNet256 = partial(CovXNet, dilations=(6, 5, 4, 3, 2))
