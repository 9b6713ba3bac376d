"""Small networks and files that the tests write themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.interop.convert import flatten, unflatten
from covjax.models import create_model


@pytest.fixture(scope="session")
def random_variables():
    """A maker of variables with random leaves: none is at a neutral 0 or 1."""

    def make(name, num_classes=3, size=64, channels=3, seed=0, **kwargs):
        model = create_model(name, num_classes=num_classes, **kwargs)
        blank = jnp.zeros((1, size, size, channels))
        shapes = jax.eval_shape(
            lambda: model.init(jax.random.key(0), blank, train=False)
        )
        rng = np.random.default_rng(seed)

        def draw(path, leaf):
            if path[-1] == "kernel":
                spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5
                return rng.normal(0, spread, leaf.shape).astype(np.float32)
            low = 0.7 if path[-1] in ("scale", "var") else -0.2
            return rng.uniform(low, low + 0.5, leaf.shape).astype(np.float32)

        shapes = {k: shapes[k] for k in ("params", "batch_stats") if k in shapes}
        leaves = {path: draw(path, s) for path, s in flatten(shapes).items()}
        return model, {"batch_stats": {}} | unflatten(leaves)

    return make
