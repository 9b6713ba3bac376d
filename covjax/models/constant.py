"""A channel of ones beside the picture.

A network that was trained on three differently normalised channels reads one grey
channel exactly if its stem also sees where the picture ends: see
`covjax.interop.stem`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class ConstantChannel(nn.Module):
    """`network` on pictures with one channel more, of ones.

    Parameters, statistics and what is sown have the network's own paths; the stem's
    kernel has one input channel more.
    """

    network: nn.Module

    def setup(self) -> None:
        """Joins the network's scope, so that no path grows."""
        nn.share_scope(self, self.network)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to logits ``[batch, classes]``."""
        ones = jnp.ones((*x.shape[:3], 1), x.dtype)
        return self.network(jnp.concatenate([x, ones], axis=-1), train=train)
