"""Sets at another size: the same pictures in memory and streamed."""

import dataclasses

import numpy as np
import pytest

from covjax.data.imageset import LazyImages
from covjax.data.phantom import phantom
from covjax.data.preprocess import Preprocess
from covjax.data.resized import resize_picture, resized


@pytest.fixture(scope="module")
def drawn():
    return phantom(32, patients=5, pictures_per_patient=(1, 1))


@pytest.mark.parametrize("size", [8, 17, 48])
def test_is_what_preparing_at_that_size_gives(drawn, size):
    small = resized(drawn, size)
    prepare = Preprocess(size=size)
    for row in range(len(drawn)):
        np.testing.assert_array_equal(small.images[row], prepare(drawn.images[row]))
        np.testing.assert_array_equal(small.masks[row], prepare.mask(drawn.masks[row]))
    np.testing.assert_array_equal(small.labels, drawn.labels)


def test_streamed_pictures_stay_undecoded(drawn):
    decoded = []

    def read(row: int) -> np.ndarray:
        decoded.append(row)
        return drawn.images[row]

    rows = np.array([3, 0, 4])
    lazy = LazyImages(read, rows, (32, 32, 1), "key")
    streamed = dataclasses.replace(drawn.subset(rows), images=lazy, masks=None)
    small = resized(streamed, 16)
    assert small.images.shape == (3, 16, 16, 1)
    assert small.images.key != lazy.key  # it stands for the pixels
    assert decoded == []
    np.testing.assert_array_equal(small.images[:], resized(drawn, 16).images[[3, 0, 4]])
    assert sorted(decoded) == [0, 3, 4]


def test_every_channel_is_resized(drawn):
    picture = np.concatenate([drawn.images[0], 255 - drawn.images[0]], axis=-1)
    small = resize_picture(picture, 9)
    assert small.shape == (9, 9, 2)
    for channel in (0, 1):
        alone = resize_picture(picture[..., channel : channel + 1], 9)
        np.testing.assert_array_equal(small[..., channel], alone[..., 0])


def test_the_same_size_is_the_same_set(drawn):
    assert resized(drawn, 32) is drawn
