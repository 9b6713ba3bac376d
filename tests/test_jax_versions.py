"""The wrong result of jax 0.10.2 on CPU (jax#39103) does not happen here."""

import jax
import jax.numpy as jnp
import numpy as np


def test_vmapped_product_then_reduction():
    """Squared norms of the rows (i, 0, 0): i squared, whatever the compiler fuses."""
    rows = np.zeros((32_769, 3), np.float32)  # 0.10.2 fails from this length on
    rows[:, 0] = np.arange(len(rows))
    matrix = np.eye(3, dtype=np.float32)

    def squared_norms(rows):
        return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)

    expected = rows[:, 0].astype(np.float64) ** 2
    np.testing.assert_allclose(jax.jit(squared_norms)(rows), expected, rtol=1e-6)


def test_excluded_versions_are_not_installed():
    assert jax.__version__ not in ("0.10.2", "0.11.0")
