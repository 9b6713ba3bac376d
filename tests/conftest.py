"""Every test runs strictly: no rank promotion, warnings are errors, 8 devices."""

import gc
import os
from pathlib import Path

import pytest

# read by XLA when jax starts, so it must be set before any test imports jax
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",  # half the time to compile
    ]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session", autouse=True)
def strict_jax(tmp_path_factory):
    import jax

    from covjax import cli

    gc.set_threshold(cli.GARBAGE)  # a fifth less time to trace
    jax.config.update("jax_numpy_rank_promotion", "raise")
    # workers of one run share what they compile
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(shared / "xla"))
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COVJAX_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real pictures; tests that need it skip where it is absent."""
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("COVJAX_DATA_DIR", root.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no real pictures at {path}; set COVJAX_DATA_DIR")
    return path
