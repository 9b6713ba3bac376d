"""Convolutional CapsNet for chest X-rays.

Toraman, Alakus, Turkoglu: Convolutional capsnet: a novel artificial neural network
approach to detect COVID-19 disease from X-ray images using capsule networks, 2020,
Chaos, Solitons and Fractals 140:110122, doi 10.1016/j.chaos.2020.110122, section 3.
The parameter count was not published; it follows the picture's size (128 pixels).

Differs from the paper: nothing known, but the list of layers was not checked against
it. The padding of the 5x5 convolutions is not known (here they keep the size), nor are
the primary capsules' features (here 8, as in CapsNet).
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
from covjax.blocks.pooling import max_pool, require_size

MIN_SIZE = 72  # three poolings leave nine pixels, one window of the primary capsules


class ConvCapsNet(nn.Module):
    """Four convolutions with poolings between them, primary and class capsules.

    `decoder` as in `covjax.models.capsnet.CapsNet`.
    """

    num_classes: int
    rounds: int = 3  # section 3
    accumulate: bool = True
    decoder: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None  # the network has no normalisation

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, labels: jax.Array | None = None
    ) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to lengths ``[batch, classes]``."""
        require_size(x, MIN_SIZE, "Convolutional CapsNet")
        shape = x.shape[1:]
        conv = partial(Conv, dtype=self.dtype)
        for i, features in enumerate((16, 32, 64, 128)):
            if i > 0:
                x = max_pool(x, 2, 2)
            x = nn.relu(conv(features, 5, name=f"conv{i + 1}")(x))
        x = spatial_map(self, x)
        primary = partial(conv, kernel_size=9, padding="VALID")
        x = PrimaryCapsules(32, 8, primary, name="primary")(x)
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
