"""A trained network with everything it needs to judge a picture."""

import dataclasses
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from covjax import config
from covjax.blocks.folding import Pair, apply_folded, fold, foldable
from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.files import DAMAGED, read_arrays, write_arrays, write_json
from covjax.models import create_model
from covjax.training.losses import to_probabilities
from covjax.training.steps import normalise

if TYPE_CHECKING:
    from covjax.data import Splits

CARD, WEIGHTS = "classifier.json", "weights.npz"


class Scores(NamedTuple):
    """What a network says about pictures, float32."""

    outputs: Any  # logits, or capsule lengths, ``[n, classes]``
    probabilities: Any  # ``[n, classes]``
    embeddings: Any  # means over the last spatial map, ``[n, features]``


class Judged(NamedTuple):
    """What a classifier or a system says about pictures, float32."""

    probabilities: np.ndarray  # ``[n, classes]``
    embeddings: np.ndarray  # ``[n, features]``


@partial(jax.jit, static_argnames=("model", "pairs", "loss", "mean", "std"))
def score_batch(
    model: nn.Module,
    variables: Any,
    images: jax.Array,
    temperature: jax.Array,
    *,
    pairs: tuple[Pair, ...],
    loss: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Scores:
    """Scores of one batch of uint8 pictures; variables with their `pairs` folded."""
    pixels = normalise(images.astype(jnp.float32) / 255, mean, std)
    outputs, features = forward(model, variables, pixels, pairs)
    embeddings = features.astype(jnp.float32).mean(axis=(1, 2))
    return Scores(outputs, to_probabilities(outputs, loss, temperature), embeddings)


def forward(
    model: nn.Module, variables: Any, pixels: jax.Array, pairs: tuple[Pair, ...]
) -> tuple[Any, jax.Array]:
    """What a network makes of normalised pictures.

    Returns:
      Its scores, and the last spatial map, ``[n, h, w, features]``.
    """
    outputs, written = apply_folded(
        model, variables, pixels, pairs, mutable=["intermediates"]
    )
    leaves = jax.tree_util.tree_flatten_with_path(written["intermediates"])[0]
    marked = [x for path, x in leaves if "features" in jax.tree_util.keystr(path)]
    return outputs, marked[-1]


def score(
    model: nn.Module,
    variables: Any,
    images: np.ndarray,
    *,
    loss: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int,
    temperature: float = 1.0,
    sharding: Any = None,
) -> Scores:
    """Scores of every picture exactly once.

    All batches have one shape, the last padded with black pictures whose scores are
    dropped: one compilation, and a picture's numbers do not depend on how many others
    are asked about.

    Args:
      model: the network.
      variables: its ``params`` and ``batch_stats``.
      images: uint8 ``[n, height, width, channels]``.
      loss: decides how scores become probabilities.
      mean: of pixels in [0, 1], one value or one a channel.
      std: as mean.
      batch_size: pictures a batch.
      temperature: divides the raw scores.
      sharding: where each batch is placed; None: the first device.
    """
    pairs = foldable(model, images.shape[1:])
    variables = fold(variables, pairs)
    recipe = {"pairs": pairs, "loss": loss, "mean": tuple(mean), "std": tuple(std)}
    warm = jnp.float32(temperature)
    done: list[Scores] = []
    waiting: deque[Scores] = deque()
    for batch in padded(images, batch_size):
        placed = jax.device_put(batch, sharding)
        waiting.append(score_batch(model, variables, placed, warm, **recipe))
        if len(waiting) > 2:  # the device is kept busy, but not with the whole set
            done.append(jax.device_get(waiting.popleft()))
    done += jax.device_get(list(waiting))
    return Scores(*(np.concatenate(column)[: len(images)] for column in zip(*done)))


def padded(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Batches of one shape; at least one."""
    for start in range(0, max(len(images), 1), batch_size):
        batch = np.zeros((batch_size, *images.shape[1:]), np.uint8)
        part = images[start : start + batch_size]
        batch[: len(part)] = part
        yield batch


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """Prepared pictures to probabilities.

    Attributes:
      model_name: key of the table of networks.
      model_kwargs: what the network was made with besides.
      dtype: compute type, "float32" or "bfloat16".
      variables: ``params`` and ``batch_stats``.
      class_names: in the order of the probabilities.
      preprocess: what pictures must go through first.
      loss: one of those of `covjax.training.losses.Loss`; decides how scores become
        probabilities.
      batch_size: of the compiled program.
      temperature: calibration; divides the scores (Guo et al. 2017, section 4.2).
      thresholds: operating point by class name; filled by the evaluation.
      multi_label: whether a picture may have several labels, or none.
    """

    model_name: str
    model_kwargs: dict[str, Any]
    dtype: str
    variables: Any = field(repr=False)
    class_names: tuple[str, ...]
    preprocess: Preprocess
    loss: str
    batch_size: int
    temperature: float = 1.0
    thresholds: dict[str, float] = field(default_factory=dict)
    multi_label: bool = False

    @classmethod
    def of(cls, run: config.Run, splits: "Splits", variables: Any) -> "Classifier":
        """A trained network of a recipe, not yet calibrated.

        Args:
          run: the recipe; its model, loss and batch sizes count.
          splits: what it was trained on.
          variables: ``params`` and ``batch_stats``.
        """
        return cls(
            model_name=run.model.name,
            model_kwargs=run.model.kwargs,
            dtype=run.model.dtype,
            variables=variables,
            class_names=splits.train.class_names,
            preprocess=splits.preprocess,
            loss=run.train.loss,
            batch_size=run.evaluation.batch_size or run.train.batch_size,
            multi_label=splits.train.multi_label,
        )

    @property
    def name(self) -> str:
        """Of what judges the pictures; a system of several networks has its own."""
        return self.model_name

    @property
    def model(self) -> nn.Module:
        """The network, as the table of networks makes it."""
        return make_network(
            self.model_name, len(self.class_names), self.dtype, self.model_kwargs
        )

    def scored(self, images: np.ndarray) -> Scores:
        """Raw scores too; see `judge`."""
        check_pictures(images, self.preprocess)
        return score(
            self.model,
            self.variables,
            images,
            loss=self.loss,
            mean=self.preprocess.mean,
            std=self.preprocess.std,
            batch_size=self.batch_size,
            temperature=self.temperature,
        )

    def judge(self, images: np.ndarray) -> Judged:
        """Probabilities and embeddings.

        Args:
          images: uint8 ``[n, size, size, channels]``, out of `preprocess`.

        Raises:
          InputError: for pictures of another shape or type.
        """
        said = self.scored(images)
        return Judged(said.probabilities, said.embeddings)

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Probabilities alone, float32 ``[n, classes]``; see `judge`."""
        return self.scored(images).probabilities

    def uncalibrated(self, said: Scores) -> np.ndarray:
        """The probabilities of `scored` as they were before the temperature."""
        return np.asarray(to_probabilities(said.outputs, self.loss, jnp.float32(1)))

    def map_size(self) -> tuple[int, int]:
        """Height and width of the last spatial map."""
        size, channels = self.preprocess.size, self.preprocess.channels
        pixels = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
        unfolded = partial(forward, self.model, pairs=())
        _, features = jax.eval_shape(unfolded, self.variables, pixels)
        return features.shape[1:3]

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """What the network is given, float32, from prepared uint8 pictures."""
        mean, std = self.preprocess.mean, self.preprocess.std
        return np.asarray(normalise(jnp.asarray(images, jnp.float32) / 255, mean, std))

    def save(self, directory: Path) -> None:
        """Writes ``classifier.json`` and ``weights.npz``, each at once."""
        directory.mkdir(parents=True, exist_ok=True)
        card = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("variables", "preprocess")
        }
        card["preprocess"] = self.preprocess.to_dict()
        flat = flatten_dict(self.variables, sep="/")
        write_arrays(directory / WEIGHTS, flat)
        write_json(directory / CARD, card)

    @classmethod
    def load(cls, directory: Path) -> "Classifier":
        """The inverse of `save`.

        Raises:
          InputError: when a file is missing or damaged.
        """
        for name in (CARD, WEIGHTS):
            if not (directory / name).is_file():
                raise InputError(
                    f"{directory / name}: no such file; a finished run has it"
                )
        try:
            card = json.loads((directory / CARD).read_text())
            flat = read_arrays(directory / WEIGHTS)  # its checksums are verified
            card["preprocess"] = Preprocess.from_dict(card["preprocess"])
            card["class_names"] = tuple(card["class_names"])
            variables = {"batch_stats": {}} | unflatten_dict(flat, sep="/")
            return cls(variables=variables, **card)
        except (TypeError, *DAMAGED) as error:
            raise InputError(f"{directory}: damaged classifier: {error}") from error


def make_network(
    name: str,
    num_classes: int,
    dtype: str,
    kwargs: dict[str, Any],
    axis_name: str | None = None,
) -> nn.Module:
    """The network of a run; equal arguments give equal modules, compiled once."""
    fields = {key: as_field(value) for key, value in kwargs.items()}
    fields |= {"dtype": jnp.dtype(dtype), "axis_name": axis_name}
    return create_model(name, num_classes=num_classes, **fields)


def as_field(value: Any) -> Any:
    """JSON's lists as the tuples that modules need to be hashable."""
    return tuple(map(as_field, value)) if isinstance(value, list) else value


def check_pictures(images: np.ndarray, preprocess: Preprocess) -> None:
    """Raises `InputError` unless the pictures came out of `preprocess`."""
    wanted = (preprocess.size, preprocess.size, preprocess.channels)
    if images.dtype != np.uint8 or images.shape[1:] != wanted:
        raise InputError(
            f"images {images.dtype}{list(images.shape)}: must be uint8 "
            f"[n, {', '.join(map(str, wanted))}]"
        )
