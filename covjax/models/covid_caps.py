"""COVID-CAPS: a small capsule network for chest X-rays.

Afshar, Heidarian, Naderkhani, Oikonomou, Plataniotis, Mohammadi: COVID-CAPS: a
capsule network-based framework for identification of COVID-19 cases from X-ray
images, 2020, Pattern Recognition Letters 138, arXiv 2004.02696, and the authors'
Keras code. 295,488 parameters for two classes and three channels as Keras counts
them, 128 of these running statistics.

Differs from the paper: the figure has primary capsules of 8 features; this follows
the code, which the published count fits. Lengths are below one by construction.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.capsule import SharedCapsules, capsule_lengths
from covjax.blocks.conv import BatchNorm, Conv, spatial_map
from covjax.blocks.pooling import avg_pool, require_size

MIN_SIZE = 14  # four unpadded 3x3 convolutions around one pooling leave one pixel


class CovidCaps(nn.Module):
    """Four unpadded convolutions, then three capsule layers of shared weights.

    `accumulate` chooses Sabour's routing instead of the authors', whose logits are
    replaced in every round.
    """

    num_classes: int
    accumulate: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to lengths ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "COVID-CAPS")
        conv = partial(
            Conv,
            kernel_size=3,
            padding="VALID",
            dtype=self.dtype,
            kernel_init=nn.initializers.glorot_uniform(),  # Keras
        )
        x = nn.relu(conv(64, name="conv1")(x))
        x = BatchNorm(
            use_running_average=not train,
            momentum=0.99,  # Keras
            epsilon=1e-3,  # Keras
            dtype=self.dtype,
            axis_name=self.axis_name,
            name="norm1",
        )(x)
        x = nn.relu(conv(64, name="conv2")(x))
        x = avg_pool(x, 2, 2)
        x = nn.relu(conv(128, name="conv3")(x))
        x = spatial_map(self, nn.relu(conv(128, name="conv4")(x)))
        capsules = partial(SharedCapsules, accumulate=self.accumulate, dtype=self.dtype)
        x = x.reshape(x.shape[0], -1, x.shape[-1])  # a capsule at every pixel
        x = capsules(32, 8, name="capsules1")(x)
        x = capsules(32, 8, name="capsules2")(x)
        x = capsules(self.num_classes, 16, name="class_capsules")(x)
        return capsule_lengths(x)
