"""Patches centred on lung pixels: drawn, classified in one call, and explained."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from covjax.evaluation import gradcam
from covjax.inference import Classifier
from covjax.systems.votes import majority_vote
from covjax.training.losses import to_probabilities
from covjax.training.steps import normalise


def random_centres(key: jax.Array, lungs: jax.Array, count: int) -> jax.Array:
    """Row and column of `count` pixels of the lungs, each as likely as any other.

    Args:
      key: a jax key.
      lungs: Boolean ``[height, width]``; where it is empty, any pixel is drawn.
      count: pixels drawn, with replacement.

    Returns:
      int32 ``[count, 2]``.
    """
    flat = lungs.reshape(-1)
    before = jnp.cumsum((flat | ~flat.any()).astype(jnp.int32))
    rank = jax.random.randint(key, (count,), 0, before[-1])
    place = jnp.searchsorted(before, rank, side="right")
    width = lungs.shape[1]
    return jnp.stack([place // width, place % width], axis=-1).astype(jnp.int32)


def cut(picture: jax.Array, centre: jax.Array, size: int) -> jax.Array:
    """The patch whose pixel ``[size // 2, size // 2]`` is the picture's at `centre`.

    Args:
      picture: ``[height, width, channels]``; beyond it lies black.
      centre: int ``[2]``, row and column.
      size: height and width of the patch.
    """
    half = size // 2
    wide = jnp.pad(picture, [(half, size), (half, size), (0, 0)])
    corner = (centre[0], centre[1], jnp.zeros((), centre.dtype))
    return jax.lax.dynamic_slice(wide, corner, (size, size, picture.shape[-1]))


def draw_patches(
    key: jax.Array, picture: jax.Array, count: int, size: int
) -> tuple[jax.Array, jax.Array]:
    """Random patches of one picture.

    Args:
      key: a jax key.
      picture: ``[height, width, channels + 1]``, above 0 in the last one on lungs.
      count: number of patches.
      size: their height and width.

    Returns:
      Patches ``[count, size, size, channels]`` and centres int32 ``[count, 2]``.
    """
    centres = random_centres(key, picture[..., -1] > 0, count)
    pixels = picture[..., :-1]
    return jax.vmap(lambda centre: cut(pixels, centre, size))(centres), centres


@dataclass(frozen=True)
class RandomPatch:
    """What training is shown of a picture: one patch, new each time.

    Attributes:
      size: height and width of the patch.
    """

    size: int

    def __call__(self, keys: jax.Array, pictures: jax.Array) -> jax.Array:
        """Maps ``[batch, h, w, channels + 1]`` to ``[batch, size, size, channels]``."""
        one = lambda key, picture: draw_patches(key, picture, 1, self.size)[0][0]  # noqa: E731
        return jax.vmap(one)(keys, pictures)


@partial(jax.jit, static_argnames=("model", "count", "size", "loss", "mean", "std"))
def score_patches(
    model: nn.Module,
    variables: Any,
    key: jax.Array,
    picture: jax.Array,
    *,
    count: int,
    size: int,
    loss: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draws and classifies all patches of one picture.

    Returns:
      Normalised patches, their centres, and probabilities ``[count, classes]``.
    """
    patches, centres = draw_patches(key, picture, count, size)
    pixels = normalise(patches.astype(jnp.float32) / 255, mean, std)
    outputs: Any = model.apply(variables, pixels, train=False)
    return pixels, centres, to_probabilities(outputs, loss, jnp.float32(1))


@dataclass(frozen=True)
class PatchVoter:
    """Judges pictures by their patches.

    Attributes:
      classifier: of patches; its preprocessing's size is theirs.
      patches: that vote on a picture.
      seed: of their places; a picture's votes do not depend on other pictures.
    """

    classifier: Classifier
    patches: int
    seed: int

    def ask(self, picture: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`score_patches` of one picture ``[h, w, channels + 1]``, in one call."""
        prepare = self.classifier.preprocess
        return score_patches(
            self.classifier.model,
            self.classifier.variables,
            jax.random.key(self.seed),
            picture,
            count=self.patches,
            size=prepare.size,
            loss=self.classifier.loss,
            mean=tuple(prepare.mean),
            std=tuple(prepare.std),
        )

    def scores(self, pictures: np.ndarray) -> np.ndarray:
        """Shares of the votes, float32 ``[n, classes]``; see `majority_vote`.

        Args:
          pictures: uint8 ``[n, height, width, channels + 1]``, the last the lungs.
        """
        said = [np.asarray(self.ask(picture)[2]) for picture in pictures]
        return majority_vote(np.stack(said, axis=1))

    def heat(self, picture: np.ndarray, class_index: int) -> np.ndarray:
        """Probabilistic Grad-CAM of one picture, float32 ``[height, width]``.

        Each patch's Grad-CAM is weighted by its probability of the class; sums are
        divided by the number of patches over a pixel.

        Args:
          picture: uint8 ``[height, width, channels + 1]``, the last the lungs.
          class_index: the class explained.
        """
        pixels, centres, probabilities = self.ask(picture)
        size, (height, width) = pixels.shape[1], picture.shape[:2]
        maps = gradcam.heatmaps(
            self.classifier.model,
            self.classifier.variables,
            np.asarray(pixels),
            np.full(self.patches, class_index),
            batch_size=self.patches,
        )
        # corners in the picture with a border, in which every patch lies whole
        around = (height + 2 * size, width + 2 * size)
        corners = np.asarray(centres) + size - size // 2
        weights = np.asarray(probabilities)[:, class_index]
        wide = gradcam.patch_map(maps, weights, corners, around)
        return wide[size : size + height, size : size + width]
