"""The training step: a pure function that the caller compiles.

``partial(train_step, task)`` maps a state and a batch to the next state and sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from covjax import config
from covjax.blocks.conv import BatchNorm
from covjax.training.augment import augment, augment_masks
from covjax.training.losses import Loss, class_scores, reconstruction
from covjax.training.state import TrainState, merge

# images uint8 [b, h, w, c]; labels [b], [b, k] or, of every pixel, [b, h, w]
Batch = tuple[jax.Array, jax.Array]
# a key a picture and the pictures to what the network is shown of them
View = Callable[[jax.Array, jax.Array], jax.Array]
CONVOLUTIONS = ("conv_general_dilated", "dot_general")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a step needs and never changes.

    Attributes:
      model: the network.
      optimizer: the optax transform.
      loss: maps outputs and labels to a loss a picture.
      view: what is shown of the pictures, before all else; None: the pictures.
      augment: ranges of the random changes.
      mean: of pixels in [0, 1], one value or one a channel.
      std: as mean.
      size: height and width that pictures are resized to; 0: as they come.
      aux_weight: of the loss of each auxiliary head.
      reconstruction_weight: of the squared error of what the network's decoder draws
        of the capsules of the labels; 0: the network is not given the labels.
      ema_decay: of the moving average; 0: none.
      freeze_batch_norm: normalise by the running statistics, and keep them.
      remat: keep only the results of convolutions for the backward pass.
      axis_name: the device axis under pmap, None elsewhere.
    """

    model: nn.Module
    optimizer: optax.GradientTransformation
    loss: Loss
    augment: config.Augment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    view: View | None = None
    size: int = 0
    aux_weight: float = 0.0
    reconstruction_weight: float = 0.0
    ema_decay: float = 0.0
    freeze_batch_norm: bool = False
    remat: bool = False
    axis_name: str | None = None


def take(data: Batch, rows: jax.Array) -> Batch:
    """The batch of the given rows of the resident set."""
    images, labels = data
    return images[rows], labels[rows]


def train_step(
    task: Task, state: TrainState, batch: Batch
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update.

    Returns:
      The next state, and sums over the batch: ``loss`` (without auxiliary heads,
      reconstruction and penalties), ``correct``, ``count`` and, where the network has
      a decoder that is trained, ``reconstruction``.
    """
    images, labels = batch
    picture_keys, dropout_key = batch_keys(task, state, len(images))
    if task.view is not None:
        images = task.view(picture_keys, images)
    pixels = prepare(task, images, picture_keys)
    images = normalise(pixels, task.mean, task.std)
    if labels.ndim == 3:  # masks go where their pictures go
        labels = augment_masks(labels, picture_keys, task.augment)

    def objective(params):
        outputs, stats, sown = forward(task, params, state, images, labels, dropout_key)
        losses = task.loss(outputs, labels)
        extra = sum(task.loss(head, labels).mean() for head in sown("aux_logits"))
        total = losses.mean() + task.aux_weight * extra
        measured = {"loss": losses}
        if task.reconstruction_weight:
            errors = reconstruction(sown("reconstruction")[0], pixels)
            total += task.reconstruction_weight * errors.mean()
            measured["reconstruction"] = errors
        return total, (measured, outputs, stats)

    gradient, (measured, outputs, stats) = jax.grad(objective, has_aux=True)(
        state.params
    )
    sums = {
        **{name: values.sum() for name, values in measured.items()},
        "correct": correct(class_scores(outputs, task.loss.name), labels).sum(),
        "count": jnp.full((), len(images), jnp.float32),
    }
    if task.axis_name:
        gradient = jax.lax.pmean(gradient, task.axis_name)
        sums = jax.lax.psum(sums, task.axis_name)
    updates, opt_state = task.optimizer.update(gradient, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: u * state.rate_factor, updates)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if task.ema_decay:
        latest = {"params": params, "batch_stats": stats}
        ema = optax.incremental_update(latest, ema, 1 - task.ema_decay)
    state = state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=stats,
        opt_state=opt_state,
        ema=ema,
    )
    return state, sums


def batch_keys(
    task: Task, state: TrainState, local: int
) -> tuple[jax.Array, jax.Array]:
    """A key for each of the `local` pictures, and one for dropout.

    A picture's key depends on its place in the whole batch, so that it is augmented
    alike on any number of devices.
    """
    picture_key, dropout_key = jax.random.split(
        jax.random.fold_in(state.key, state.step)
    )
    if task.axis_name is None:
        return jax.random.split(picture_key, local), dropout_key
    index = jax.lax.axis_index(task.axis_name)
    keys = jax.random.split(picture_key, local * jax.lax.axis_size(task.axis_name))
    mine = jax.lax.dynamic_slice_in_dim(keys, index * local, local)
    return mine, jax.random.fold_in(dropout_key, index)


def prepare(task: Task, images: jax.Array, keys: jax.Array) -> jax.Array:
    """Augmented and resized pictures in [0, 1], float32, from uint8."""
    channels = images.shape[-1]
    pixels = images.astype(jnp.float32) / 255
    mean = jnp.broadcast_to(jnp.asarray(task.mean, jnp.float32), (channels,))
    pixels = augment(pixels, keys, task.augment, mean)
    if task.size:
        shape = (len(images), task.size, task.size, channels)
        pixels = jax.image.resize(pixels, shape, "linear", antialias=True)
    return pixels


def normalise(
    pixels: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
    """``(pixels - mean) / std`` of pixels in [0, 1], by channel."""
    shape = (1, 1, 1, -1)
    means = jnp.asarray(mean, jnp.float32).reshape(shape)
    return (pixels - means) / jnp.asarray(std, jnp.float32).reshape(shape)


def forward(
    task: Task,
    params: Any,
    state: TrainState,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, Any, Callable[[str], list[jax.Array]]]:
    """Outputs, running statistics, and what the network has sown by its name."""
    given: dict[str, Any] = {"labels": labels} if task.reconstruction_weight else {}

    def apply(params, images):
        variables = {
            "params": merge(params, state.frozen),
            "batch_stats": state.batch_stats,
        }
        with nn.intercept_methods(freeze_norm if task.freeze_batch_norm else as_it_is):
            return task.model.apply(
                variables,
                images,
                train=True,
                mutable=["batch_stats", "intermediates"],
                rngs={"dropout": key},
                **given,
            )

    if task.remat:
        apply = jax.checkpoint(apply, policy=keep_convolutions)
    outputs, written = apply(params, images)
    leaves = jax.tree_util.tree_flatten_with_path(written.get("intermediates", {}))[0]

    def sown(name: str) -> list[jax.Array]:
        return [x for path, x in leaves if any(named(k, name) for k in path)]

    return outputs, written.get("batch_stats", {}), sown


def named(key: Any, name: str) -> bool:
    """Whether an entry of a tree path is the dictionary key `name`."""
    return getattr(key, "key", None) == name


def as_it_is(method, args, kwargs, context):
    """A Flax interceptor that changes nothing."""
    return method(*args, **kwargs)


def freeze_norm(method, args, kwargs, context):
    """A Flax interceptor: batch normalisation as at inference, dropout as it was."""
    norm = context.module
    if not isinstance(norm, BatchNorm) or norm.use_running_average:
        return method(*args, **kwargs)
    return norm.clone(use_running_average=True, parent=norm.scope)(*args, **kwargs)


def keep_convolutions(primitive: Any, *_, **__) -> bool:
    """The rematerialisation policy: normalisation and activations are recomputed."""
    return primitive.name in CONVOLUTIONS


def correct(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """1.0 where the highest output is the label (multi-hot: one of the labels).

    Of labels of every pixel: the share of the pixels.
    """
    best = outputs.argmax(-1)
    if labels.ndim == best.ndim:
        right = (best == labels).astype(jnp.float32)
        return right.reshape(len(labels), -1).mean(axis=1)
    return jnp.take_along_axis(labels, best[:, None], 1)[:, 0].astype(jnp.float32)
