"""What is broken in some versions of XLA's CPU backend does not happen here."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

import covjax  # noqa: F401, its flags for XLA are what is tested


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


PRODUCT_THEN_POOLING = """
import covjax
import jax.numpy as jnp, numpy as np
from jax import jit, lax

def transition(x, kernel):
    y = lax.dot_general(x, kernel, (((3,), (0,)), ((), ())))
    return lax.reduce_window(y, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

random = np.random.default_rng(0)
x = random.normal(size=(8, 9, 9, 256)).astype(np.float32)
kernel = random.normal(size=(256, 128)).astype(np.float32)
expected = (x @ kernel)[:, :8, :8].reshape(8, 4, 2, 4, 2, 128).sum(axis=(2, 4))
for _ in range(5):
    np.testing.assert_allclose(jit(transition)(x, kernel), expected, atol=1e-3)
"""


def run(script: str, flags: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "XLA_FLAGS": flags}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )


def test_product_then_pooling_of_an_odd_map_stays_in_its_memory():
    done = run(PRODUCT_THEN_POOLING, flags="")
    assert done.returncode == 0, done.stderr[-500:]


def test_flags_of_the_user_stay():
    show = "import covjax, os; print(os.environ['XLA_FLAGS'])"
    assert run(show, "--a=1").stdout.split()[0] == "--a=1"
    own = "--xla_cpu_experimental_ynn_fusion_type=reduce"
    assert run(show, own).stdout.split() == [own]
