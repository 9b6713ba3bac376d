"""CNN+LSTM: a VGG-like network whose last map is read as a sequence.

Islam, Islam, Asraf: A combined deep CNN-LSTM network for the detection of novel
coronavirus (COVID-19) using X-ray images, 2020, Informatics in Medicine Unlocked
20:100412, doi 10.1016/j.imu.2020.100412, table 2. 17,829,699 parameters for three
classes and three channels at 224 pixels; the layer behind the LSTM reads all its
steps, so its size follows the picture's.

Differs from the paper: nothing known. The authors' later script instead has batch
normalisation, a ReLU in the LSTM, and convolutions frozen at their random start;
none of this is in the paper.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import Conv, spatial_map
from covjax.blocks.pooling import max_pool, require_size
from covjax.blocks.recurrent import LSTM

MIN_SIZE = 32  # five poolings leave one pixel
STAGES = ((64, 2), (128, 2), (256, 2), (512, 3), (512, 3))  # features, convolutions


class CNNLSTM(nn.Module):
    """Five stages of 3x3 convolutions, an LSTM over the last map, two layers."""

    num_classes: int
    dtype: Any = jnp.float32
    axis_name: str | None = None  # the network has no normalisation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "CNN+LSTM")
        init = nn.initializers.glorot_uniform()  # Keras
        conv = partial(Conv, kernel_size=3, dtype=self.dtype, kernel_init=init)
        for i, (features, depth) in enumerate(STAGES):
            for j in range(depth):
                x = nn.relu(conv(features, name=f"stage{i + 1}_conv{j + 1}")(x))
            if i + 1 == len(STAGES):
                x = spatial_map(self, x)
            x = max_pool(x, 2, 2)
            x = nn.Dropout(0.25, deterministic=not train)(x)  # section 3.2
        x = x.reshape(x.shape[0], -1, x.shape[-1])  # row by row, a step a pixel
        x = LSTM(512, dtype=self.dtype, name="lstm")(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.Dense(64, dtype=self.dtype, kernel_init=init, name="hidden")(x)
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=init, name="head"
        )
        return head(nn.relu(x))
