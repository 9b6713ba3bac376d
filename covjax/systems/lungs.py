"""Pictures of the lungs alone: all else black, or cut away."""

import numpy as np

from covjax.data.resized import resize_mask, resize_picture


def mask_lungs(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Pictures that are black outside the lungs.

    Args:
      images: uint8 ``[n, height, width, channels]``.
      masks: Boolean ``[n, height, width]``; where one is empty, the picture is kept:
        a black one would hide that nothing was found.
    """
    kept = masks | ~masks.any(axis=(1, 2), keepdims=True)
    return np.asarray(images) * kept[..., None].astype(np.uint8)


def crop_lungs(images: np.ndarray, masks: np.ndarray, margin: float) -> np.ndarray:
    """The lungs' box of each picture, squeezed to the picture's size.

    Args:
      images: uint8 ``[n, size, size, channels]``.
      masks: Boolean ``[n, size, size]``; where one is empty, the picture is kept.
      margin: added on each side where the picture goes on, as share of the box.
    """
    boxes = boxes_of(masks, margin)
    cut = [resize_picture(i[b], len(i)) for i, b in zip(images, boxes, strict=True)]
    return np.stack(cut) if cut else np.asarray(images)


def crop_masks(marks: np.ndarray, masks: np.ndarray, margin: float) -> np.ndarray:
    """Other marks ``[n, size, size]`` of the pictures, cut as `crop_lungs` cuts."""
    boxes = boxes_of(masks, margin)
    cut = [resize_mask(m[b], len(m)) for m, b in zip(marks, boxes, strict=True)]
    return np.stack(cut) if cut else np.asarray(marks)


def boxes_of(masks: np.ndarray, margin: float) -> list[tuple[slice, slice]]:
    """Rows and columns of each mask's box with its margin; all of an empty mask."""
    result = []
    for mask in masks:
        sides = []
        for axis in (1, 0):
            inside = np.flatnonzero(mask.any(axis=axis))
            length = mask.shape[1 - axis]
            low, high = (inside[0], inside[-1] + 1) if len(inside) else (0, length)
            more = round(margin * (high - low))
            sides.append(slice(max(0, low - more), min(length, high + more)))
        result.append((sides[0], sides[1]))
    return result
