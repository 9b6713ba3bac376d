"""The update rule of a run: one chain of optax transforms, and its schedule."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from covjax import config
from covjax.errors import InputError

Schedule = Callable[[Any], jax.Array]


def make_optimizer(
    settings: config.Optimizer, *, epochs: int, steps_per_epoch: int
) -> tuple[optax.GradientTransformation, Schedule]:
    """The optimizer and the learning rate by step.

    The order: clip the gradient of the loss; add the gradients of the L2 and L1
    penalties; the rule itself; AdamW's decoupled decay; factors of single stages;
    the learning rate.

    Args:
      settings: the optimizer section of a run.
      epochs: of the whole run.
      steps_per_epoch: updates an epoch.

    Returns:
      The optax transform, and the schedule.
    """
    schedule = make_schedule(settings, epochs, steps_per_epoch)
    mask = everything if settings.decay_norms_and_biases else kernels
    steps = []
    if settings.clip_norm:
        steps.append(optax.clip_by_global_norm(settings.clip_norm))
    if settings.weight_decay and settings.name != "adamw":
        steps.append(optax.add_decayed_weights(settings.weight_decay, mask))
    if settings.l1:
        steps.append(optax.masked(add_l1(settings.l1), mask))
    match settings.name:
        case "sgd":
            if settings.momentum:
                steps.append(optax.trace(settings.momentum, settings.nesterov))
        case "rmsprop":
            steps.append(optax.scale_by_rms(decay=0.9, eps=1e-8))  # Hinton, lecture 6e
            if settings.momentum:
                steps.append(optax.trace(settings.momentum, settings.nesterov))
        case _:  # eps: Kingma and Ba 2015, algorithm 1
            steps.append(optax.scale_by_adam(settings.b1, settings.b2, eps=1e-8))
    if settings.weight_decay and settings.name == "adamw":
        steps.append(optax.add_decayed_weights(settings.weight_decay, mask))
    if settings.stage_rates:
        steps.append(scale_stages(settings.stage_rates))
    steps.append(optax.scale_by_learning_rate(schedule))
    return optax.chain(*steps), schedule


def kernels(params: Any) -> Any:
    """True for arrays of rank 2 and more: not biases, not scales of norms."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def everything(params: Any) -> Any:
    """True for every parameter."""
    return jax.tree.map(lambda _: True, params)


def add_l1(weight: float) -> optax.GradientTransformation:
    """Adds the gradient of ``weight * sum |p|``."""
    return optax.stateless_with_tree_map(lambda g, p: g + weight * jnp.sign(p))


def scale_stages(rates: dict[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates below each path by its factor; the longest path wins."""

    def scale(updates, _params):
        def one(path, update):
            name = "/".join(str(k.key) for k in path)
            fits = [p for p in rates if within(name, p)]
            return update * rates[max(fits, key=len)] if fits else update

        return jax.tree_util.tree_map_with_path(one, updates)

    return optax.stateless(scale)


def within(name: str, prefix: str) -> bool:
    """Whether the parameter path `name` lies at or below `prefix`."""
    return name == prefix or name.startswith(prefix + "/")


def make_schedule(
    settings: config.Optimizer, epochs: int, steps_per_epoch: int
) -> Schedule:
    """The learning rate by step; epochs in `settings` may be fractions.

    A warm-up rises linearly to the peak; cosine starts after it, the others count
    epochs from the start of the run. "plateau" is constant here: its factor lives
    in the training state.
    """
    peak, factor = settings.learning_rate, settings.decay_factor
    warmup, total = settings.warmup_epochs, max(epochs, 1)
    if warmup >= total and settings.schedule in ("cosine", "one_cycle"):
        raise InputError(
            f"config.optimizer.warmup_epochs={warmup}: must be below the "
            f"{epochs} epochs of the run"
        )
    if settings.schedule == "one_cycle":
        # Smith and Topin 2018; shares as in fastai: rise 0.3, from 1/25, to 1e-4 of it
        return optax.cosine_onecycle_schedule(
            max(total * steps_per_epoch, 2), peak, warmup / total or 0.3, 25.0, 1e4
        )

    def shape(epoch):
        # float32 quotients can fall just short of a boundary; no boundary lies here
        middle = epoch + 0.5 / steps_per_epoch
        match settings.schedule:
            case "step":
                return factor ** jnp.floor(middle / settings.decay_epochs)
            case "multi_step":
                passed = sum((middle >= m) * 1.0 for m in settings.milestones)
                return factor ** jnp.asarray(passed, jnp.float32)
            case "exponential":
                return factor ** (epoch / settings.decay_epochs)
            case "cosine":
                share = jnp.clip((epoch - warmup) / (total - warmup), 0, 1)
                cosine = (1 + jnp.cos(jnp.pi * share)) / 2
                return settings.final_fraction + (1 - settings.final_fraction) * cosine
            case _:
                return 1.0

    def rate(step):
        epoch = jnp.asarray(step, jnp.float32) / steps_per_epoch
        # the first of the w warm-up steps takes 1/w of the peak
        rising = (epoch + 1 / steps_per_epoch) / warmup if warmup else 1.0
        return jnp.asarray(peak * shape(epoch) * jnp.minimum(1.0, rising), jnp.float32)

    return rate
