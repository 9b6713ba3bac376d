"""The Fire block: squeeze with 1x1, expand with 1x1 and 3x3 side by side.

Used by SqueezeNet (Iandola et al. 2016, arXiv:1602.07360, section 3.2).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


class Fire(nn.Module):
    """Squeezes to `squeeze` channels and expands to ``2 * expand``."""

    squeeze: int  # s_1x1
    expand: int  # e_1x1 = e_3x3
    conv: Callable

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, in]`` to ``[batch, h, w, 2 * expand]``."""
        x = nn.relu(self.conv(self.squeeze, 1, name="squeeze")(x))
        ones = nn.relu(self.conv(self.expand, 1, name="expand1x1")(x))
        threes = nn.relu(self.conv(self.expand, 3, padding=1, name="expand3x3")(x))
        return jnp.concatenate([ones, threes], axis=-1)
