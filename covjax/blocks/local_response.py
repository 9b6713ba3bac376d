"""Local response normalisation: strong channels quiet their neighbours.

Used by AlexNet (2012) and GoogLeNet in the paper's layout.
"""

import jax
import jax.numpy as jnp


def local_response_norm(x: jax.Array) -> jax.Array:
    """Divides each value by the activity of its five neighbouring channels.

    ``b_i = a_i / (2 + 1e-4 * sum_j a_j^2) ** 0.75`` over channels i - 2 to i + 2
    (Krizhevsky et al. 2012, section 3.3); ``[batch, h, w, channels]`` keeps its shape.
    """
    sums = jax.lax.reduce_window(
        jnp.square(x.astype(jnp.float32)),
        0.0,
        jax.lax.add,
        window_dimensions=(1, 1, 1, 5),
        window_strides=(1, 1, 1, 1),
        padding=((0, 0), (0, 0), (0, 0), (2, 2)),
    )
    return (x / (2 + 1e-4 * sums) ** 0.75).astype(x.dtype)
