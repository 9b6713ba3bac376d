"""LSTM over the positions of a feature map.

Hochreiter, Schmidhuber, 1997, with the forget gate of Gers et al., 2000, in the form
of Keras's LSTM layer, which Islam et al. 2020 use (one bias vector, no peepholes).

Used by cnn_lstm.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def unit_forget_bias(key, shape, dtype=jnp.float32) -> jax.Array:
    """Zeros, but ones for the forget gate, the second of the four (Keras's default)."""
    del key
    return jnp.zeros(shape, dtype).reshape(4, -1).at[1].set(1).reshape(shape)


class LSTM(nn.Module):
    """Reads a sequence and returns its hidden state after every step.

    With gates in Keras's order i, f, g, o and parameters ``kernel`` ``[in, 4 h]``,
    ``recurrent_kernel`` ``[h, 4 h]``, ``bias`` ``[4 h]``::

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    The products x W of all steps are one matrix product before the scan. The cell
    state is float32 whatever the compute type.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[batch, time, in]`` to ``[batch, time, features]``; starts at zero."""
        gates = 4 * self.features
        kernel = self.param(
            "kernel", nn.initializers.glorot_uniform(), (x.shape[-1], gates)
        )
        recurrent_kernel = self.param(
            "recurrent_kernel", nn.initializers.orthogonal(), (self.features, gates)
        )
        bias = self.param("bias", unit_forget_bias, (gates,))
        x, kernel, recurrent_kernel, bias = nn.dtypes.promote_dtype(
            x, kernel, recurrent_kernel, bias, dtype=self.dtype
        )
        projected_TxBxG = jnp.einsum("bti,ig->tbg", x, kernel) + bias.reshape(1, 1, -1)

        def step(carry, projected_BxG):
            hidden, cell = carry
            i, f, g, o = jnp.split(
                projected_BxG + hidden @ recurrent_kernel, 4, axis=-1
            )
            cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            hidden = (nn.sigmoid(o) * jnp.tanh(cell)).astype(self.dtype)
            return (hidden, cell), hidden

        batch = x.shape[0]
        start = (
            jnp.zeros((batch, self.features), self.dtype),
            jnp.zeros((batch, self.features), jnp.float32),
        )
        _, hidden_TxBxH = jax.lax.scan(step, start, projected_TxBxG)
        return hidden_TxBxH.swapaxes(0, 1)
