"""Prepared pictures at another size: what networks of several resolutions are given."""

import dataclasses

import numpy as np
from PIL import Image

from covjax.data.imageset import ImageSet, LazyImages
from covjax.data.preprocess import resize


def resized(images: ImageSet, size: int) -> ImageSet:
    """The set with its pictures and masks at `size` by `size` pixels.

    Streamed pictures stay undecoded, and are resized as they are decoded.
    """
    if images.images.shape[1:3] == (size, size):
        return images
    new = resized_pictures(images.images, size)
    masks = images.masks
    if masks is not None and not isinstance(new, LazyImages):
        old, masks = masks, np.empty(new.shape[:3], np.uint8)
        for row in range(len(new)):
            masks[row] = resize_mask(old[row], size)
    return dataclasses.replace(images, images=new, masks=masks)


def resized_pictures(pictures: np.ndarray, size: int) -> np.ndarray:
    """Uint8 ``[n, h, w, channels]`` to ``[n, size, size, channels]``; see `resized`."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    if isinstance(pictures, LazyImages):
        read = pictures.read
        return dataclasses.replace(
            pictures,
            read=lambda row: resize_picture(read(row), size),
            picture_shape=(size, size, pictures.picture_shape[2]),
            key=f"{pictures.key} at {size}",
        )
    new = np.empty((len(pictures), size, size, pictures.shape[3]), np.uint8)
    for row in range(len(new)):
        new[row] = resize_picture(pictures[row], size)
    return new


def resize_picture(picture: np.ndarray, size: int) -> np.ndarray:
    """Antialiased: uint8 ``[h, w, channels]`` to ``[size, size, channels]``."""
    channels = [resize(picture[..., c], size) for c in range(picture.shape[-1])]
    return np.stack(channels, axis=-1)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Uint8 ``[h, w]`` to ``[size, size]``; no new values."""
    image = Image.fromarray(np.ascontiguousarray(mask))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST))
