"""Pooling against a literal loop over windows, in PyTorch's conventions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.pooling import (
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    max_pool,
    require_size,
)
from covjax.errors import InputError

# (height, width, window, strides, padding, ceil)
CASES = [
    (7, 8, 3, 2, 0, False),
    (7, 8, 3, 2, 0, True),
    (8, 7, 3, 2, 1, False),
    (8, 7, 3, 2, 1, True),
    (2, 2, 3, 2, 0, True),  # one window, larger than the map
    (5, 6, 2, 2, 1, True),  # a last window would start in the padding: left out
    (9, 5, 5, 3, 2, True),
    (6, 6, 2, 2, 0, False),
    (4, 5, 3, 1, 1, False),
]


def windows(size, window, strides, padding, ceil):
    """(start, end) of each window in input coordinates; they may reach outside."""
    steps = (size + 2 * padding - window) / strides
    count = (math.ceil(steps) if ceil else math.floor(steps)) + 1
    if ceil and (count - 1) * strides >= size + padding:
        count -= 1
    starts = [i * strides - padding for i in range(count)]
    return [(start, start + window) for start in starts]


def literal(x, window, strides, padding, ceil, reduce):
    rows = windows(x.shape[1], window, strides, padding, ceil)
    columns = windows(x.shape[2], window, strides, padding, ceil)
    out = np.zeros((x.shape[0], len(rows), len(columns), x.shape[3]))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            inside = x[:, max(top, 0) : bottom, max(left, 0) : right]
            # what of the window lies on the map or its margin of padding
            area = (min(bottom, x.shape[1] + padding) - top) * (
                min(right, x.shape[2] + padding) - left
            )
            out[:, i, j] = reduce(inside, area)
    return out


def largest(inside, area):
    return inside.max(axis=(1, 2))


def mean_with_margin(inside, area):
    return inside.sum(axis=(1, 2)) / area


def mean_without_margin(inside, area):
    return inside.mean(axis=(1, 2))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("case", CASES)
def test_max_pool(case, rng):
    height, width, window, strides, padding, ceil = case
    x = rng.normal(size=(2, height, width, 3)).astype(np.float32) - 10
    found = max_pool(jnp.asarray(x), window, strides, padding, ceil)
    np.testing.assert_array_equal(
        found, literal(x, window, strides, padding, ceil, largest)
    )


@pytest.mark.parametrize(("backend", "reduces"), [("gpu", False), ("tpu", True)])
def test_tpus_alone_keep_the_reduction(backend, reduces, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    made = jax.make_jaxpr(lambda x: max_pool(x, 3, 2, 1))(jnp.zeros((1, 8, 8, 2)))
    assert ("reduce_window" in str(made)) == reduces


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("counted", [True, False])
def test_avg_pool(case, counted, rng):
    height, width, window, strides, padding, ceil = case
    x = rng.normal(size=(2, height, width, 3)).astype(np.float32)
    found = avg_pool(jnp.asarray(x), window, strides, padding, ceil, counted)
    mean = mean_with_margin if counted else mean_without_margin
    expected = literal(x, window, strides, padding, ceil, mean)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_same_padding_is_tensorflow_s(rng):
    """At stride 2 on an even map, the one padded row is the last."""
    x = rng.normal(size=(1, 4, 4, 1)).astype(np.float32)
    found = max_pool(jnp.asarray(x), 3, 2, "SAME")
    assert found.shape == (1, 2, 2, 1)
    assert found[0, 0, 0, 0] == x[0, :3, :3, 0].max()
    mean = avg_pool(jnp.asarray(x), 3, 2, "SAME", count_include_pad=False)
    np.testing.assert_allclose(mean[0, 1, 1, 0], x[0, 2:, 2:, 0].mean(), rtol=1e-6)


def test_a_constant_map_keeps_its_value():
    x = jnp.full((1, 5, 5, 1), 3.0)
    np.testing.assert_array_equal(avg_pool(x, 3, 2, 1, True, False), 3.0)


@pytest.mark.parametrize(("size", "target"), [(7, 7), (12, 6), (9, 4), (1, 6), (3, 7)])
def test_adaptive_avg_pool(size, target, rng):
    x = rng.normal(size=(2, size, size, 3)).astype(np.float32)
    found = np.asarray(adaptive_avg_pool(jnp.asarray(x), target))
    edges = [
        (i * size // target, math.ceil((i + 1) * size / target)) for i in range(target)
    ]
    for i, (top, bottom) in enumerate(edges):
        for j, (left, right) in enumerate(edges):
            expected = x[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, atol=1e-6)


def test_global_mean_of_half_precision_adds_in_float32():
    """In bfloat16 sums, 1 + 1/256 would be lost from 256 on."""
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    assert global_avg_pool(x)[0, 0] == 1


def test_the_smaller_side_decides():
    require_size(jnp.zeros((1, 29, 40, 1)), 29, "Net")
    with pytest.raises(InputError, match=r"Net: pictures of 40x28 .* 29x29"):
        require_size(jnp.zeros((1, 40, 28, 1)), 29, "Net")
