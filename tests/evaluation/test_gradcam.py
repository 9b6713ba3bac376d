"""Grad-CAM by hand on a network whose gradient is known, and the maps' measures."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.conv import spatial_map
from covjax.errors import InputError
from covjax.evaluation import gradcam


class Linear(nn.Module):
    """The mean of each channel, mixed into two classes: gradients are the mixture."""

    @nn.compact
    def __call__(self, x, *, train):
        x = spatial_map(self, x)
        mix = self.param("mix", nn.initializers.ones, (x.shape[-1], 2))
        return x.mean(axis=(1, 2)) @ mix


class Blind(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return x.mean(axis=(1, 2))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).random((5, 6, 8, 3)).astype(np.float32)


MIX = np.array([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]], np.float32)


def by_hand(pixels, classes, weights):
    heat = np.maximum((pixels * weights[:, None, None]).sum(-1), 0)
    return heat / heat.max(axis=(1, 2), keepdims=True)


def test_gradcam_weights_channels_by_their_mean_gradient(pixels):
    classes = np.array([0, 1, 0, 1, 1])
    found = gradcam.heatmaps(
        Linear(), {"params": {"mix": MIX}}, pixels, classes, batch_size=2
    )
    expected = by_hand(pixels, classes, MIX[:, classes].T)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gradcam_plus_plus(pixels):
    """With a gradient g that is constant over the map, alpha is the same everywhere."""
    classes = np.zeros(5, int)
    found = gradcam.heatmaps(
        Linear(), {"params": {"mix": MIX}}, pixels, classes, method="gradcam++"
    )
    g = np.broadcast_to(MIX[:, 0] / 48, (5, 3))
    total = pixels.sum(axis=(1, 2))
    divisor = 2 * g**2 + total * g**3
    alpha = np.divide(g**2, divisor, out=np.zeros_like(total), where=divisor != 0)
    expected = by_hand(pixels, classes, 48 * alpha * np.maximum(g, 0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_nothing_speaks_for_the_class(pixels):
    variables = {"params": {"mix": -np.ones((3, 2), np.float32)}}
    heat = gradcam.heatmaps(Linear(), variables, pixels, np.zeros(5, int))
    np.testing.assert_array_equal(heat, 0)


def test_bad_input(pixels):
    with pytest.raises(InputError, match="gradcam, gradcam"):
        gradcam.heatmaps(Linear(), {}, pixels, np.zeros(5, int), method="cam")
    with pytest.raises(InputError, match="Blind"):
        gradcam.heatmaps(Blind(), {"params": {}}, pixels, np.zeros(5, int))


def test_occlusion_finds_the_one_place_that_counts():
    def scores(images):
        bright = images[:, 5, 6, 0] / 255
        return np.stack([1 - bright, bright], axis=1)

    image = np.full((8, 9, 1), 10, np.uint8)
    image[5, 6] = 255
    heat = gradcam.occlusion(scores, image, 1, window=3, strides=1, fill=0)
    assert heat.shape == (8, 9)
    assert heat[5, 6] == heat.max() > 0
    assert heat[0, 0] == 0


def test_share_and_pointing():
    heat = np.zeros((3, 4, 4))
    heat[0, 0, 0], heat[0, 3, 3] = 3.0, 1.0
    heat[1, 1, 1] = 2.0
    mask = np.zeros((3, 4, 4), bool)
    mask[:, :2, :2] = True
    mask[1] = ~mask[1]
    np.testing.assert_array_equal(gradcam.share_inside(heat, mask), [0.75, 0.0, np.nan])
    np.testing.assert_array_equal(gradcam.pointing_game(heat, mask)[:2], [True, False])


def test_randomisation_keeps_values_and_loses_places():
    variables = {"params": {"kernel": jnp.arange(100.0).reshape(10, 10)}}
    shuffled = gradcam.randomised(variables)["params"]["kernel"]
    assert not np.array_equal(shuffled, variables["params"]["kernel"])
    np.testing.assert_array_equal(np.sort(shuffled, axis=None), np.arange(100.0))


def test_rank_correlation():
    maps = np.random.default_rng(1).random((2, 5, 5))
    maps[1] = 0.5
    same, constant = gradcam.rank_correlation(maps, np.exp(maps))
    assert same == pytest.approx(1.0)
    assert np.isnan(constant)
    assert gradcam.rank_correlation(maps[:1], -maps[:1])[0] == pytest.approx(-1.0)


def test_patches_are_weighted_and_averaged():
    heat = np.ones((2, 2, 2), np.float32)
    found = gradcam.patch_map(
        heat, np.array([1.0, 0.5]), np.array([[0, 0], [1, 1]]), (3, 4)
    )
    expected = [[1, 1, 0, 0], [1, 0.75, 0.5, 0], [0, 0.5, 0.5, 0]]
    np.testing.assert_allclose(found, expected)


def test_overlay_leaves_cold_places_grey():
    image = np.full((2, 2, 1), 100, np.uint8)
    found = gradcam.overlay(image, np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, 0], [100, 100, 100])
    assert len(set(found[0, 1].tolist())) > 1


def test_heat_is_the_same_alone_and_in_a_batch(pixels):
    variables = {"params": {"mix": MIX}}
    many = gradcam.heatmaps(Linear(), variables, pixels, np.zeros(5, int), batch_size=4)
    alone = gradcam.heatmaps(
        Linear(), variables, pixels[3:4], np.zeros(1, int), batch_size=4
    )
    np.testing.assert_array_equal(many[3], alone[0])
    assert jax.tree.leaves(variables)[0] is MIX
