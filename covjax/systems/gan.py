"""A generator against a discriminator: two optimizers, one pure step.

* Goodfellow et al. 2014, Generative adversarial nets, algorithm 1, with the loss of the
  generator that does not saturate (section 3).
* Odena, Olah, Shlens 2017, Auxiliary classifier GANs, arXiv 1610.09585, section 3: the
  discriminator also names the class, of real and of synthetic pictures.

The discriminator sees real and synthetic pictures in batches of their own, each
normalised by itself; then the generator is updated against the new discriminator.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from covjax.errors import InputError
from covjax.models.gan import (
    NOISE,
    CovidDiscriminator,
    CovidGenerator,
    DCDiscriminator,
    DCGenerator,
)
from covjax.training.state import TrainState
from covjax.training.steps import Batch

SIZES = {"acgan": 112, "dcgan": 64}  # pixels: Waheed et al.; PyTorch's example


@dataclass(frozen=True, kw_only=True)
class Gan:
    """Two networks and what a step needs to train them.

    Attributes:
      generator: noise (and labels, if conditional) to pictures in [-1, 1].
      discriminator: pictures to a logit that says real, then class logits if
        conditional.
      num_classes: of the labels; 0 where it is not conditional.
      shape: height, width and channels of the pictures.
      optimizer: of each network, with a state of its own.
    """

    generator: nn.Module
    discriminator: nn.Module
    num_classes: int
    shape: tuple[int, int, int]
    optimizer: optax.GradientTransformation


def make_gan(
    kind: str,
    *,
    num_classes: int,
    size: int,
    channels: int,
    learning_rate: float,
    b1: float,
) -> Gan:
    """CovidGAN ("acgan", of all classes) or a DCGAN ("dcgan", which knows no class).

    Raises:
      InputError: for another kind, or a size that is no multiple of 16.
    """
    if kind not in SIZES:
        raise InputError(
            f"config.system.kwargs.gan={kind!r}: must be one of {', '.join(SIZES)}"
        )
    if size < 16 or size % 16:
        raise InputError(
            f"config.system.kwargs.size={size}: must be a multiple of 16 pixels"
        )
    optimizer = optax.adam(learning_rate, b1=b1, b2=0.999)  # Radford et al., section 4
    shape = (size, size, channels)
    if kind == "acgan":
        return Gan(
            generator=CovidGenerator(
                num_classes=num_classes, size=size, channels=channels
            ),
            discriminator=CovidDiscriminator(num_classes=num_classes),
            num_classes=num_classes,
            shape=shape,
            optimizer=optimizer,
        )
    return Gan(
        generator=DCGenerator(size=size, channels=channels),
        discriminator=DCDiscriminator(),
        num_classes=0,
        shape=shape,
        optimizer=optimizer,
    )


def create(gan: Gan, seed: int) -> TrainState:
    """Both networks at their start, in one state: each field has an entry for each."""

    @jax.jit
    def start(key):
        keys = jax.random.split(key, 3)
        inputs = [jnp.zeros((1, NOISE))]
        if gan.num_classes:
            inputs.append(jnp.zeros(1, jnp.int32))
        found = {
            "generator": gan.generator.init(keys[0], *inputs, train=False),
            "discriminator": gan.discriminator.init(
                keys[1], jnp.zeros((1, *gan.shape)), train=False
            ),
        }
        params = {name: variables["params"] for name, variables in found.items()}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            frozen={},
            batch_stats={name: v["batch_stats"] for name, v in found.items()},
            opt_state={name: gan.optimizer.init(p) for name, p in params.items()},
            ema={},
            rate_factor=jnp.ones((), jnp.float32),
            key=keys[2],
        )

    return start(jax.random.key(seed))


def step(
    gan: Gan, state: TrainState, batch: Batch
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update of the discriminator, then one of the generator.

    Returns:
      The next state, and sums over the batch: ``loss`` of the discriminator (mean of
      real and synthetic), ``generator_loss``, ``correct`` (real pictures called real)
      and ``count``.
    """
    images, labels = batch
    n, real = len(images), images.astype(jnp.float32) / 127.5 - 1
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), 5)
    noise = jax.random.normal(keys[0], (n, NOISE))
    wanted = jax.random.randint(keys[1], (n,), 0, max(gan.num_classes, 1))
    params, stats, opt_state = state.params, state.batch_stats, state.opt_state

    def draw(generator):
        return generate(gan, generator, stats["generator"], noise, wanted, train=True)

    synthetic = draw(params["generator"])[0]

    def judge(discriminator):
        seen, new = judged(gan, discriminator, stats["discriminator"], real, keys[2])
        fake, new = judged(gan, discriminator, new, synthetic, keys[3])
        losses = adversarial(seen, True, labels) + adversarial(fake, False, wanted)
        return losses.mean(), (losses, seen, new)

    gradient, (losses, seen, stats_d) = jax.grad(judge, has_aux=True)(
        params["discriminator"]
    )
    discriminator, opt_d = updated(
        gan, gradient, opt_state["discriminator"], params["discriminator"]
    )

    def fool(generator):
        pictures, new = draw(generator)
        fake, _ = judged(gan, discriminator, stats_d, pictures, keys[4])
        losses = adversarial(fake, True, wanted)
        return losses.mean(), (losses, new)

    gradient, (fooled, stats_g) = jax.grad(fool, has_aux=True)(params["generator"])
    generator, opt_g = updated(
        gan, gradient, opt_state["generator"], params["generator"]
    )
    state = state.replace(
        step=state.step + 1,
        params={"generator": generator, "discriminator": discriminator},
        batch_stats={"generator": stats_g, "discriminator": stats_d},
        opt_state={"generator": opt_g, "discriminator": opt_d},
    )
    return state, {
        "loss": losses.sum() / 2,
        "generator_loss": fooled.sum(),
        "correct": (seen[:, 0] > 0).astype(jnp.float32).sum(),
        "count": jnp.full((), n, jnp.float32),
    }


def updated(gan: Gan, gradient: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    """The parameters after an update of their optimizer, and its new state."""
    updates, opt_state = gan.optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def generate(
    gan: Gan,
    params: Any,
    stats: Any,
    noise: jax.Array,
    labels: jax.Array,
    *,
    train: bool,
) -> tuple[jax.Array, Any]:
    """Pictures in [-1, 1] of ``[n, 100]`` noise, and the running statistics."""
    inputs = (noise, labels) if gan.num_classes else (noise,)
    pictures, written = gan.generator.apply(
        {"params": params, "batch_stats": stats},
        *inputs,
        train=train,
        mutable=["batch_stats"],
    )
    return pictures, written["batch_stats"]


def judged(
    gan: Gan, params: Any, stats: Any, pictures: jax.Array, key: jax.Array
) -> tuple[jax.Array, Any]:
    """The discriminator's logits in training, and the running statistics."""
    outputs, written = gan.discriminator.apply(
        {"params": params, "batch_stats": stats},
        pictures,
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )
    return outputs, written["batch_stats"]


def adversarial(outputs: jax.Array, real: bool, labels: jax.Array) -> jax.Array:
    """The loss of each picture, ``[n]``: of real or not, and of the class if named."""
    target = jnp.full(len(outputs), float(real))
    losses = optax.sigmoid_binary_cross_entropy(outputs[:, 0], target)
    if outputs.shape[1] > 1:
        losses += optax.softmax_cross_entropy_with_integer_labels(
            outputs[:, 1:], labels
        )
    return losses
