"""A network on this run's pictures equals the original on its own, borders included."""

import jax.numpy as jnp
import numpy as np
import pytest

from covjax.errors import InputError
from covjax.interop.convert import to_torch
from covjax.interop.names import IMAGENET, Normalisation
from covjax.interop.stem import fold
from covjax.interop.weights import load_pretrained

pytest.importorskip("safetensors")  # of the extras interop and parity

GREY = {"mean": (0.5,), "std": (0.25,)}


def normalised(pixels, mean, std):
    return ((pixels - np.array(mean)) / np.array(std)).astype(np.float32)


def grey_pixels(size, batch=2):
    rng = np.random.default_rng(3)
    return rng.uniform(size=(batch, size, size, 1))


@pytest.fixture
def saved(tmp_path, random_variables):
    """A network for ImageNet's pictures, in a file of torchvision's names."""
    from safetensors.numpy import save_file

    def save(name, **kwargs):
        model, variables = random_variables(name, **kwargs)
        path = tmp_path / f"{name}.safetensors"
        tensors = to_torch(name, variables)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
        return model, variables, str(path)

    return save


# a padded stem before a normalisation, and one without padding, with a bias
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_grey_network_equals_the_original_on_replicated_grey(
    name, saved, random_variables
):
    model, variables, path = saved(name, size=32)
    pixels = grey_pixels(32)
    expected = model.apply(
        variables,
        jnp.asarray(normalised(np.repeat(pixels, 3, axis=3), *IMAGENET)),
        train=False,
    )
    grey, start = random_variables(
        name, size=32, channels=1, seed=1, constant_channel=True
    )
    loaded = load_pretrained(path, name, start, channels=1, new_head=False, **GREY)
    result = grey.apply(loaded, jnp.asarray(normalised(pixels, **GREY)), train=False)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_stem_is_equal_at_every_pixel_of_the_border():
    """The map itself: a mean over it, as in the logits, could hide the border."""
    import jax

    def convolve(x, kernel):
        result = jax.lax.conv_general_dilated(
            jnp.asarray(x, jnp.float32),
            jnp.asarray(kernel, jnp.float32),
            (2, 2),
            ((3, 3), (3, 3)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return np.asarray(result)

    kernel = np.random.default_rng(0).normal(size=(7, 7, 3, 8))
    pixels = grey_pixels(11)
    original = convolve(normalised(np.repeat(pixels, 3, axis=3), *IMAGENET), kernel)
    ours = Normalisation((0.5,), (0.25,))
    folded = fold(kernel, (7, 7, 2, 8), IMAGENET, ours, channels=1)
    x = normalised(pixels, *ours)
    x = np.concatenate([x, np.ones_like(x)], axis=3)
    np.testing.assert_allclose(convolve(x, folded), original, rtol=1e-5, atol=1e-5)

    # what a bias in place of the constant channel would give: right inside only
    biased = convolve(x[..., :1], folded[:, :, :1]) + folded[:, :, 1].sum((0, 1))
    wrong = np.abs(biased - original).max(axis=(0, 3))
    assert wrong[2:4, 2:4].max() < 1e-4
    assert wrong[0].min() > 0.01


def test_colour_networks_take_another_normalisation(saved, random_variables):
    model, variables, path = saved("resnet18", size=32)
    pixels = np.random.default_rng(0).uniform(size=(2, 32, 32, 3))
    expected = model.apply(
        variables, jnp.asarray(normalised(pixels, *IMAGENET)), train=False
    )
    other, start = random_variables("resnet18", size=32, seed=1, constant_channel=True)
    loaded = load_pretrained(
        path, "resnet18", start, channels=3, new_head=False, **GREY
    )
    result = other.apply(loaded, jnp.asarray(normalised(pixels, **GREY)), train=False)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_equal_normalisation_changes_nothing():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)
    same = fold(kernel, kernel.shape, IMAGENET, IMAGENET, channels=3)
    np.testing.assert_array_equal(same, kernel)


def test_equal_means_need_no_constant_channel():
    """Weights for [-1, 1], as TensorFlow's are: grey pictures of mean 0.5."""
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    folded = fold(kernel, (3, 3, 1, 4), half, Normalisation((0.5,), (0.25,)), 1)
    np.testing.assert_allclose(folded, kernel.sum(2, keepdims=True) / 2)


def test_a_run_with_a_constant_channel_is_read_with_another_normalisation():
    """(s2 x + m2 - m1) / s1 in the first channel, the constant in the second."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 4))
    theirs, ours = Normalisation((0.5,), (0.25,)), Normalisation((0.4,), (0.5,))
    folded = fold(kernel, (3, 3, 2, 4), theirs, ours, 1)
    np.testing.assert_allclose(folded[:, :, 0], 2 * kernel[:, :, 0])
    expected = kernel[:, :, 1] + kernel[:, :, 0] * (0.4 - 0.5) / 0.25
    np.testing.assert_allclose(folded[:, :, 1], expected)


def test_constants_without_a_channel_are_refused(saved, random_variables):
    _, _, path = saved("resnet18", size=32)
    _, start = random_variables("resnet18", size=32, channels=1)
    with pytest.raises(InputError, match=r"set config.model.kwargs.constant_channel=T"):
        load_pretrained(path, "resnet18", start, channels=1, new_head=False, **GREY)
    _, start = random_variables("resnet18", size=32, channels=3)
    with pytest.raises(InputError, match=r"set config.data.mean=\(0.485, 0.456, 0.40"):
        load_pretrained(path, "resnet18", start, channels=3, new_head=False, **GREY)


def test_other_numbers_of_channels_are_refused(saved, random_variables):
    _, _, path = saved("resnet18", size=32)
    _, start = random_variables("resnet18", size=32, channels=2)
    with pytest.raises(InputError, match=r"channels=2: .* must be 1 or 3"):
        load_pretrained(path, "resnet18", start, channels=2, new_head=False, **GREY)
