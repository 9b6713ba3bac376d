"""CoroNet: Xception with a wide classifier.

Khan, Shah, Bhat: CoroNet: a deep neural network for detection and diagnosis of
COVID-19 from chest X-ray images, 2020, Computer Methods and Programs in Biomedicine
196:105581, doi 10.1016/j.cmpb.2020.105581, table 2. 33,969,964 parameters for four
classes and three channels at 150 pixels as Keras counts them (with running
statistics), 33,915,436 of them trained; the classifier reads all pixels of the last
map, so its size follows the picture's.

Differs from the paper: nothing known.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import spatial_map
from covjax.models import xception

MIN_SIZE = xception.MIN_SIZE


class CoroNet(nn.Module):
    """The three flows of Xception, a dense layer over all pixels, classifier.

    The flows have the parameter names of `covjax.models.xception.Xception`, so its
    weights fit.
    """

    num_classes: int
    padding: str = "SAME"  # these three: as in `covjax.models.xception.Xception`
    epsilon: float = 1e-3
    momentum: float = 0.99
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        x = xception.trunk(self, x, train=train)
        x = spatial_map(self, x).reshape(x.shape[0], -1)
        x = nn.Dropout(0.5, deterministic=not train)(x)  # table 2
        init = nn.initializers.glorot_uniform()  # Keras
        x = nn.Dense(256, dtype=self.dtype, kernel_init=init, name="hidden")(x)
        head = nn.Dense(
            self.num_classes, dtype=jnp.float32, kernel_init=init, name="head"
        )
        return head(nn.relu(x))
