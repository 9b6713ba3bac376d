"""CapsNet: dynamic routing between capsules.

Sabour, Frosst, Hinton 2017, NeurIPS, arXiv 1710.09829, figures 1 and 2. At 28 pixels,
one channel, ten classes: 6,804,224 parameters, 8,215,568 with the decoder. There is a
matrix for every pair of primary and class capsule, so the count follows the picture's
size; 128 pixels make 100,352 primary capsules, and ``conv_capsnet`` is meant for that.

Differs from the paper: nothing known.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.capsule import (
    Capsules,
    PrimaryCapsules,
    Reconstruction,
    capsule_lengths,
)
from covjax.blocks.conv import Conv, spatial_map
from covjax.blocks.pooling import require_size

MIN_SIZE = 17  # 9x9 unpadded leaves nine pixels, one window of the primary capsules


class CapsNet(nn.Module):
    """One convolution, primary capsules, class capsules.

    With `decoder`, a picture in [0, 1] drawn from the class capsule of the `labels`,
    or without labels from the longest one, is sown as ``intermediates/reconstruction``.
    The training step compares it with the pixels before normalisation, see
    `covjax.training.losses.reconstruction`; the lengths do not depend on it.
    """

    num_classes: int
    rounds: int = 3  # section 5
    accumulate: bool = True  # procedure 1
    decoder: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None  # the network has no normalisation

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, labels: jax.Array | None = None
    ) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to lengths ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "CapsNet")
        shape = x.shape[1:]
        conv = partial(Conv, kernel_size=9, padding="VALID", dtype=self.dtype)
        x = spatial_map(self, nn.relu(conv(256, name="stem")(x)))
        x = PrimaryCapsules(32, 8, partial(conv, strides=2), name="primary")(x)
        v = Capsules(
            self.num_classes,
            16,
            self.rounds,
            self.accumulate,
            self.dtype,
            name="class_capsules",
        )(x)
        if self.decoder:
            picture = Reconstruction(shape, self.dtype, name="decoder")(v, labels)
            self.sow("intermediates", "reconstruction", picture)
        return capsule_lengths(v)
