"""A network that finds the lungs in prepared pictures, and the loss it learns by."""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from covjax.data import preprocess
from covjax.data.resized import resize_picture
from covjax.errors import InputError
from covjax.files import DAMAGED, read_arrays, write_arrays, write_json
from covjax.inference import padded
from covjax.models.fc_densenet import FCDenseNet103
from covjax.models.unet import UNet
from covjax.training.steps import normalise

NETWORKS = {
    "fc_densenet103": FCDenseNet103(num_classes=2),
    "unet": UNet(num_classes=2),
}
CARD, WEIGHTS = "segmenter.json", "weights.npz"
MEAN, STD = (0.5,), (0.5,)  # of pixels in [0, 1]


@dataclass(frozen=True)
class MaskLoss:
    """Cross-entropy over the pixels, and Dice loss: of each picture.

    Dice loss: Milletari, Navab, Ahmadi, V-Net, 2016, arXiv:1606.04797, section 3, with
    sums of probabilities instead of their squares, and 1 added above and below, so
    that an empty mask has a gradient.
    """

    background_weight: float
    dice_weight: float
    name: str = "cross_entropy"  # so that outputs become probabilities

    def __call__(self, logits: jax.Array, masks: jax.Array | np.ndarray) -> jax.Array:
        """Float32 ``[batch]`` of ``[batch, h, w, 2]`` and 0 or 1 ``[batch, h, w]``."""
        masks = jnp.asarray(masks)
        truth = masks.astype(jnp.float32)
        terms = optax.softmax_cross_entropy_with_integer_labels(logits, masks)
        weights = truth + (1 - truth) * self.background_weight
        losses = (weights * terms).sum((1, 2)) / weights.sum((1, 2))
        if self.dice_weight:
            lung = jax.nn.softmax(logits)[..., 1]
            both = 2 * (lung * truth).sum((1, 2)) + 1
            shared = both / (lung.sum((1, 2)) + truth.sum((1, 2)) + 1)
            losses += self.dice_weight * (1 - shared)
        return losses


@partial(jax.jit, static_argnames=("model", "shape"))
def _logits(
    model: nn.Module, variables: Any, images: jax.Array, shape: tuple[int, int]
) -> jax.Array:
    """Logits ``[batch, *shape, 2]`` of grey uint8 pictures ``[batch, s, s, 1]``."""
    pixels = normalise(images.astype(jnp.float32) / 255, MEAN, STD)
    logits: Any = model.apply(variables, pixels, train=False)
    return jax.image.resize(logits, (len(images), *shape, 2), "linear")


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """Prepared pictures to lung masks.

    Attributes:
      network: a key of `NETWORKS`.
      size: height and width of what the network sees, in pixels.
      batch_size: of the compiled program.
      variables: ``params`` and ``batch_stats``.
    """

    network: str
    size: int
    batch_size: int
    variables: Any = field(repr=False)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return NETWORKS[self.network]

    def logits(self, images: np.ndarray) -> jax.Array:
        """Logits ``[n, size, size, 2]`` of at most a batch of grey pictures.

        Args:
          images: uint8 ``[n, size, size, 1]``.
        """
        batch = next(padded(images, self.batch_size))
        shape = (self.size, self.size)
        return _logits(self.model, self.variables, batch, shape)[: len(images)]

    def masks(self, images: np.ndarray) -> np.ndarray:
        """Where the lungs are, Boolean ``[n, height, width]``.

        All batches have one shape: one compilation, and a picture's mask does not
        depend on how many others are asked about.

        Args:
          images: uint8 ``[n, height, width, channels]`` of any size.
        """
        if images.dtype != np.uint8 or images.ndim != 4:
            raise InputError(
                f"images {images.dtype}{list(images.shape)}: must be uint8 "
                "[n, height, width, channels]"
            )
        shape = images.shape[1:3]
        found = np.empty((len(images), *shape), bool)
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            seen = [resize_picture(one, self.size) for one in grey(images[rows])]
            batch = next(padded(np.stack(seen), self.batch_size))
            logits = _logits(self.model, self.variables, batch, shape)
            found[rows] = np.asarray(logits[..., 1] > logits[..., 0])[: len(seen)]
        return found

    def save(self, directory: Path) -> None:
        """Writes ``segmenter.json`` and ``weights.npz``, each at once."""
        directory.mkdir(parents=True, exist_ok=True)
        card = {"network": self.network, "size": self.size}
        card["batch_size"] = self.batch_size
        flat = flatten_dict(self.variables, sep="/")
        write_arrays(directory / WEIGHTS, flat)
        write_json(directory / CARD, card)

    @classmethod
    def load(cls, directory: Path) -> "Segmenter":
        """The inverse of `save`.

        Raises:
          InputError: when a file is missing or damaged.
        """
        for name in (CARD, WEIGHTS):
            if not (directory / name).is_file():
                raise InputError(
                    f"{directory / name}: no such file; a trained segmenter has it"
                )
        try:
            card = json.loads((directory / CARD).read_text())
            if card["network"] not in NETWORKS:
                raise ValueError(f"network {card['network']!r}")
            flat = read_arrays(directory / WEIGHTS)  # its checksums are verified
            return cls(variables=unflatten_dict(flat, sep="/"), **card)
        except (TypeError, *DAMAGED) as error:
            raise InputError(f"{directory}: damaged segmenter: {error}") from error


def grey(images: np.ndarray) -> np.ndarray:
    """One channel ``[n, h, w, 1]``: luma of colour, the first of repeated ones."""
    if images.shape[-1] != 3:
        return images[..., :1]
    return np.stack([preprocess.grey(image) for image in images])[..., None]
