"""Generators and discriminators of chest pictures: CovidGAN (an ACGAN) and DCGAN.

* Waheed, Goyal, Gupta, Khanna, Al-Turjman, Pinheiro: CovidGAN, 2020, IEEE Access
  8:91916, doi 10.1109/ACCESS.2020.2994762. 112 pixels, three channels, two classes:
  generator 22,300,458 parameters, discriminator 1,647,811, as Keras counts them (with
  running statistics).
* Radford, Metz, Chintala: DCGAN, 2016, arXiv 1511.06434, in the 4x4 form that Loey,
  Smarandache, Khalifa, 2020, Symmetry 12(4):651, describe. 64 pixels, three channels:
  generator 3,576,704, discriminator 2,765,568 (the counts of PyTorch's example).

Pictures are in [-1, 1]. All weights start from a normal distribution of deviation 0.02.

Differs from the papers: CovidGAN's layers follow a third-party form that agrees with
the paper's counts; the DCGAN of Loey et al. is given in words only (five 4x4 layers
each), so its widths and its 64 pixels are those of the common example.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks.conv import BatchNorm, Conv

NOISE = 100  # features of the noise vector, both papers
_init = nn.initializers.normal(0.02)  # Radford et al., section 4


class CovidGenerator(nn.Module):
    """Noise and class label to a picture."""

    num_classes: int
    size: int = 112  # of the picture, a multiple of 16
    channels: int = 3
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, labels: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, 100]``, int ``[batch]`` to pictures ``[batch, ...]``, NHWC."""
        side = self.size // 16  # four doublings
        dense = partial(nn.Dense, dtype=self.dtype, kernel_init=_init)
        x = nn.relu(dense(side * side * 1024, name="noise")(z))
        x = x.reshape(-1, side, side, 1024)
        label = nn.Embed(
            self.num_classes, 50, dtype=self.dtype, embedding_init=_init, name="embed"
        )(labels)
        label = dense(side * side, name="label")(label).reshape(-1, side, side, 1)
        x = jnp.concatenate([x, label], axis=-1)
        up = partial(
            nn.ConvTranspose,
            kernel_size=(5, 5),
            strides=(2, 2),
            dtype=self.dtype,
            kernel_init=_init,
        )
        for i, features in enumerate((512, 256, 128)):
            x = up(features, name=f"up{i + 1}")(x)
            x = nn.relu(_keras_norm(self, train)(name=f"norm{i + 1}")(x))
        return jnp.tanh(up(self.channels, name="up4")(x).astype(jnp.float32))


class CovidDiscriminator(nn.Module):
    """Picture to a real-or-synthetic logit and class logits."""

    num_classes: int
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to ``[batch, 1 + num_classes]``.

        The first logit says real, the others are the classes'. Needs the "dropout" key
        in training.
        """
        conv = partial(Conv, kernel_size=3, dtype=self.dtype, kernel_init=_init)
        for i, features in enumerate((32, 64, 128, 256, 512)):
            x = conv(features, strides=1 if i == 0 else 2, name=f"conv{i + 1}")(x)
            x = _keras_norm(self, train)(name=f"norm{i + 1}")(x)
            x = nn.leaky_relu(x, negative_slope=0.2)
            x = nn.Dropout(0.5, deterministic=not train)(x)
        x = x.reshape(x.shape[0], -1)
        dense = partial(nn.Dense, dtype=jnp.float32, kernel_init=_init)
        real = dense(1, name="real")(x)
        return jnp.concatenate([real, dense(self.num_classes, name="head")(x)], axis=-1)


class DCGenerator(nn.Module):
    """Noise to a picture, by five transposed 4x4 convolutions."""

    size: int = 64  # of the picture, a multiple of 16
    channels: int = 3
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, 100]`` to ``[batch, size, size, channels]``."""
        up = partial(
            nn.ConvTranspose, use_bias=False, dtype=self.dtype, kernel_init=_init
        )
        side = self.size // 16
        x = z[:, None, None, :]
        x = up(512, (side, side), padding="VALID", name="up1")(x)
        for i, features in enumerate((256, 128, 64, self.channels)):
            x = nn.relu(_torch_norm(self, train)(name=f"norm{i + 1}")(x))
            x = up(features, (4, 4), strides=(2, 2), name=f"up{i + 2}")(x)
        return jnp.tanh(x.astype(jnp.float32))


class DCDiscriminator(nn.Module):
    """Picture to a real-or-synthetic logit, by five 4x4 convolutions."""

    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, height, width, channels]`` to ``[batch, 1]``."""
        conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=_init)
        for i, features in enumerate((64, 128, 256, 512)):
            x = conv(features, 4, strides=2, padding=1, name=f"conv{i + 1}")(x)
            if i > 0:  # not on the picture itself: Radford et al., section 3
                x = _torch_norm(self, train)(name=f"norm{i + 1}")(x)
            x = nn.leaky_relu(x, negative_slope=0.2)
        # the last kernel covers the whole map
        x = conv(1, x.shape[1:3], padding="VALID", name="conv5")(x)
        return x.reshape(-1, 1).astype(jnp.float32)


def _keras_norm(network: CovidGenerator | CovidDiscriminator, train: bool) -> partial:
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=0.99,
        epsilon=1e-3,
        dtype=network.dtype,
        axis_name=network.axis_name,
    )


def _torch_norm(network: DCGenerator | DCDiscriminator, train: bool) -> partial:
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=0.9,
        epsilon=1e-5,
        dtype=network.dtype,
        axis_name=network.axis_name,
        scale_init=_scale_init,
    )


def _scale_init(key, shape, dtype=jnp.float32) -> jax.Array:
    """Near one, deviation 0.02 (PyTorch's example)."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
