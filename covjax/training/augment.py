"""Random changes of training pictures, on the device, inside the step.

Rotation, shift, zoom, shear, aspect, flips and the random resized crop are one
affine map of each picture, resampled once; brightness, contrast and cutout follow.
What is switched off costs nothing: it is not in the compiled program.
"""

import jax
import jax.numpy as jnp

from covjax import config


def augment(
    images: jax.Array, keys: jax.Array, settings: config.Augment, fill: jax.Array
) -> jax.Array:
    """Changes every picture by its own key.

    Args:
      images: float ``[batch, height, width, channels]`` in [0, 1].
      keys: jax keys ``[batch]``.
      settings: the ranges.
      fill: float ``[channels]``, what cutout blanks with: the value that is zero
        after normalisation (DeVries and Taylor 2017, section 3.2).

    Returns:
      Pictures of the same shape, in [0, 1]. What the map brings in from outside a
      picture is black (COVID-Net's ``data.py`` does so too).
    """
    return jax.vmap(lambda image, key: augment_one(image, key, settings, fill))(
        images, keys
    )


def augment_one(
    image: jax.Array, key: jax.Array, settings: config.Augment, fill: jax.Array
) -> jax.Array:
    """One picture ``[height, width, channels]``, one key."""
    affine_key, light_key, hole_key = jax.random.split(key, 3)
    if moves(settings):
        image = warp(image, *random_affine(affine_key, settings, image.shape))
    if settings.brightness or settings.contrast:
        image = relight(image, light_key, settings)
    if settings.cutout:
        image = cutout(image, hole_key, settings.cutout, fill)
    return image


def augment_masks(
    masks: jax.Array, keys: jax.Array, settings: config.Augment
) -> jax.Array:
    """Moves masks as `augment` moves their pictures under the same keys.

    Args:
      masks: 0 or 1, ``[batch, height, width]``.
      keys: jax keys ``[batch]``.
      settings: the ranges.

    Returns:
      Masks of the same shape and type; what comes in from outside is 0.
    """

    def one(mask, key):
        affine_key = jax.random.split(key, 3)[0]
        layer = mask[..., None].astype(jnp.float32)
        moved = warp(layer, *random_affine(affine_key, settings, layer.shape))
        return (moved[..., 0] >= 0.5).astype(mask.dtype)

    return jax.vmap(one)(masks, keys) if moves(settings) else masks


def moves(settings: config.Augment) -> bool:
    """Whether any change of place is switched on."""
    ranges = (
        settings.rotation_degrees,
        settings.shift,
        settings.zoom,
        settings.shear_degrees,
        settings.aspect,
        1 - settings.crop_area,
    )
    return settings.flip or settings.flip_vertical or any(ranges)


def random_affine(
    key: jax.Array, settings: config.Augment, shape: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Draws the map from places in the result to places in the source.

    Returns:
      The matrix ``[2, 2]`` on (row, column) about the centre, and the centre's
      offset ``[2]`` in pixels.
    """
    draw = jax.random.uniform(key, (11,), minval=-1.0)
    angle = jnp.deg2rad(settings.rotation_degrees) * draw[0]
    shear = jnp.tan(jnp.deg2rad(settings.shear_degrees) * draw[1])
    zoom = 1 + settings.zoom * draw[2]
    aspect = 1 + settings.aspect * draw[3]
    # share of the side that a crop keeps: its area is uniform
    crop = jnp.sqrt(settings.crop_area + (1 - settings.crop_area) * (draw[4] + 1) / 2)
    mirror = jnp.array(
        [
            jnp.where(settings.flip_vertical & (draw[5] > 0), -1.0, 1.0),
            jnp.where(settings.flip & (draw[6] > 0), -1.0, 1.0),
        ]
    )
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.array([[cos, sin], [-sin, cos]])
    slant = jnp.array([[jnp.ones(()), jnp.zeros(())], [shear, jnp.ones(())]])
    scale = crop / zoom * jnp.array([jnp.ones(()), 1 / aspect])
    # a product of 2x2 matrices written out: a dot would round to bfloat16 on TPU
    matrix = (rotation[:, :, None] * slant[None]).sum(1) * (scale * mirror)[None]
    size = jnp.array(shape[:2], jnp.float32)
    offset = (settings.shift * draw[7:9] + (1 - crop) / 2 * draw[9:11]) * size
    return matrix, offset


def warp(image: jax.Array, matrix: jax.Array, offset: jax.Array) -> jax.Array:
    """Bilinear samples of ``[height, width, channels]``; outside lies zero."""
    height, width, channels = image.shape
    rows = jnp.arange(height)[:, None] - (height - 1) / 2
    columns = jnp.arange(width)[None] - (width - 1) / 2
    y = matrix[0, 0] * rows + matrix[0, 1] * columns + (height - 1) / 2 + offset[0]
    x = matrix[1, 0] * rows + matrix[1, 1] * columns + (width - 1) / 2 + offset[1]
    top, left = jnp.floor(y), jnp.floor(x)
    flat = image.reshape(height * width, channels)
    result = jnp.zeros_like(image)
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = jnp.clip(row, 0, height - 1) * width + jnp.clip(
                column, 0, width - 1
            )
            weight = jnp.where(inside, row_weight * column_weight, 0.0)
            result += weight[..., None] * flat[place.astype(jnp.int32)]
    return result


def relight(image: jax.Array, key: jax.Array, settings: config.Augment) -> jax.Array:
    """Contrast about the picture's mean, then brightness, cut to [0, 1]."""
    draw = jax.random.uniform(key, (2,), minval=-1.0)
    mean = image.mean()
    image = mean + (image - mean) * (1 + settings.contrast * draw[0])
    return jnp.clip(image + settings.brightness * draw[1], 0.0, 1.0)


def cutout(image: jax.Array, key: jax.Array, side: float, fill: jax.Array) -> jax.Array:
    """Blanks a square whose centre lies anywhere; its side is a share of each side."""
    height, width, _ = image.shape
    centre = jax.random.uniform(key, (2,))
    rows = (jnp.arange(height) + 0.5)[:, None] / height
    columns = (jnp.arange(width) + 0.5)[None] / width
    hole = (abs(rows - centre[0]) < side / 2) & (abs(columns - centre[1]) < side / 2)
    return jnp.where(hole[..., None], fill[None, None], image)
