"""Where a network looks: Grad-CAM, Grad-CAM++, occlusion, and how good the maps are.

Every network marks its last spatial map (`covjax.blocks.conv.spatial_map`), so one
function serves them all, capsule networks included. Maps are measured, not only
drawn: share of heat inside a mask, pointing game, and the randomisation test of
Adebayo et al. 2018 (arXiv:1810.03292).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from covjax.errors import InputError

METHODS = ("gradcam", "gradcam++")


def heatmaps(
    model: nn.Module,
    variables: Any,
    pixels: np.ndarray,
    classes: np.ndarray,
    *,
    method: str = "gradcam",
    batch_size: int = 32,
) -> np.ndarray:
    """Heat of each picture for one class, as large as the picture.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2) weights the
    channels of the last spatial map by the mean gradient of the class's score;
    Grad-CAM++ (Chattopadhay et al. 2018, arXiv:1710.11063, equations 10 and 19) by
    its positive part, each pixel with a weight of its own.

    Args:
      model: the network.
      variables: its ``params`` and ``batch_stats``.
      pixels: float32 ``[n, height, width, channels]``, normalised.
      classes: int ``[n]``, the class explained in each picture.
      method: one of `METHODS`.
      batch_size: of the compiled program; the last batch is padded.

    Returns:
      float32 ``[n, height, width]``, from 0 to 1 in each picture; all zero where
      nothing speaks for the class.
    """
    if method not in METHODS:
        raise InputError(f"method={method!r}: must be one of {', '.join(METHODS)}")
    parts = []
    for start in range(0, len(pixels), batch_size):
        batch = _padded(np.asarray(pixels[start : start + batch_size]), batch_size)
        target = _padded(np.asarray(classes[start : start + batch_size]), batch_size)
        parts.append(
            np.asarray(_cam(model, variables, batch, target.astype(np.int32), method))
        )
    if not parts:
        return np.zeros(pixels.shape[:3], np.float32)
    return np.concatenate(parts)[: len(pixels)]


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate(
        [values, np.zeros((count - len(values), *values.shape[1:]), values.dtype)]
    )


@partial(jax.jit, static_argnames=("model", "method"))
def _cam(
    model: nn.Module,
    variables: Any,
    pixels: jax.Array,
    classes: jax.Array,
    method: str,
) -> jax.Array:
    """Heat ``[batch, height, width]`` of one batch."""
    weights = {k: variables[k] for k in ("params", "batch_stats") if k in variables}
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), pixels, train=False)
    ).get("perturbations")
    if shapes is None:
        raise InputError(f"{type(model).__name__}: marks no spatial map to explain")
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def score(perturbations):
        outputs, written = model.apply(
            weights | {"perturbations": perturbations},
            pixels,
            train=False,
            mutable=["intermediates"],
        )
        chosen = jnp.take_along_axis(outputs, classes[:, None], axis=1)
        return chosen.sum(), _features(written["intermediates"])

    gradients, features = jax.grad(score, has_aux=True)(nothing)
    gradient = jax.tree.leaves(gradients)[-1].astype(jnp.float32)
    features = features.astype(jnp.float32)
    if method == "gradcam":
        weight = gradient.mean(axis=(1, 2), keepdims=True)
    else:
        square = gradient**2
        total = features.sum(axis=(1, 2), keepdims=True)
        divisor = 2 * square + total * gradient**3
        alpha = square / jnp.where(divisor == 0, 1.0, divisor)
        weight = (alpha * jax.nn.relu(gradient)).sum(axis=(1, 2), keepdims=True)
    heat = jax.nn.relu((weight * features).sum(axis=-1))
    heat = jax.image.resize(heat, pixels.shape[:3], "linear")
    return heat / jnp.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-30)


def _features(sown: Any) -> jax.Array:
    """The map that was marked last among a network's sown values."""
    leaves = jax.tree_util.tree_flatten_with_path(sown)[0]
    marked = [
        leaf
        for path, leaf in leaves
        if any(getattr(key, "key", None) == "features" for key in path)
    ]
    return marked[-1]


def occlusion(
    scores: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    class_index: int,
    *,
    window: int,
    strides: int,
    fill: int = 128,
) -> np.ndarray:
    """How far the class's probability falls when a square is hidden.

    Zeiler and Fergus 2014 (arXiv:1311.2901, section 4.2).

    Args:
      scores: maps uint8 ``[n, height, width, channels]`` to probabilities.
      image: uint8 ``[height, width, channels]``.
      class_index: the class explained.
      window: side of the square in pixels.
      strides: step of the square in pixels.
      fill: grey value of the square.

    Returns:
      float32 ``[height, width]``: mean fall over the squares that hide a pixel,
      negative where hiding helps.
    """
    height, width = image.shape[:2]
    corners = [
        (top, left)
        for top in range(0, height - window + strides, strides)
        for left in range(0, width - window + strides, strides)
    ]
    hidden = np.repeat(image[None], len(corners), axis=0)
    for picture, (top, left) in zip(hidden, corners, strict=True):
        picture[top : top + window, left : left + window] = fill
    before = scores(image[None])[0, class_index]
    falls = before - scores(hidden)[:, class_index]
    total = np.zeros((height, width), np.float32)
    count = np.zeros((height, width), np.float32)
    for fall, (top, left) in zip(falls, corners, strict=True):
        total[top : top + window, left : left + window] += fall
        count[top : top + window, left : left + window] += 1
    return total / np.maximum(count, 1)


def share_inside(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each picture's heat inside its mask; NaN where there is no heat.

    Args:
      heat: ``[n, height, width]``, not negative.
      mask: Boolean ``[n, height, width]``.
    """
    total = heat.sum(axis=(1, 2))
    inside = (heat * mask).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full(len(heat), np.nan), where=total > 0)


def pointing_game(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Whether each picture's hottest pixel lies in its mask.

    Zhang et al. 2018, arXiv:1608.00507, section 4.2, without its tolerance.
    """
    hottest = heat.reshape(len(heat), -1).argmax(axis=1)
    return mask.reshape(len(mask), -1)[np.arange(len(mask)), hottest]


def randomised(variables: Any, seed: int = 0) -> Any:
    """The variables with every parameter's values shuffled within itself.

    The cascade of Adebayo et al. 2018 (section 3.1) in one step: a map that looks
    alike with these weights does not explain what the network has learnt.
    """
    rng = np.random.default_rng(seed)

    def shuffle(values):
        values = np.array(values)
        return rng.permutation(values.reshape(-1)).reshape(values.shape)

    return {**variables, "params": jax.tree.map(shuffle, variables["params"])}


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each pair of maps ``[n, height, width]``.

    NaN where a map is constant.
    """
    from scipy.stats import rankdata

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    product = (a * b).sum(axis=1)
    return np.divide(product, norm, out=np.full(len(a), np.nan), where=norm > 0)


def patch_map(
    heat: np.ndarray,
    probabilities: np.ndarray,
    corners: np.ndarray,
    shape: tuple[int, int],
) -> np.ndarray:
    """Probabilistic Grad-CAM of Oh et al. 2020 (IEEE TMI 39:2688, section III-D).

    Args:
      heat: ``[patches, height, width]``, Grad-CAM of each patch.
      probabilities: ``[patches]`` of the class explained; weights of the patches.
      corners: int ``[patches, 2]``, top and left of each patch in the picture.
      shape: height and width of the picture.

    Returns:
      float32 ``[height, width]``: the weighted sum divided by the number of patches
      over each pixel, 0 where there are none.
    """
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    height, width = heat.shape[1:]
    for patch, weight, (top, left) in zip(heat, probabilities, corners, strict=True):
        total[top : top + height, left : left + width] += weight * patch
        count[top : top + height, left : left + width] += 1
    return total / np.maximum(count, 1)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The grey picture with its heat in colour: uint8 ``[height, width, 3]``.

    Args:
      image: uint8 ``[height, width, channels]``.
      heat: ``[height, width]`` from 0 to 1; it is also the colour's opacity.
    """
    from matplotlib import colormaps

    grey = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1) / 255
    colour = colormaps["inferno"](heat)[..., :3]
    opacity = 0.6 * heat[..., None]
    return np.rint(255 * ((1 - opacity) * grey + opacity * colour)).astype(np.uint8)
