"""The same networks from the plain parts: what covjax's own forms are measured against.

Each form is a context: what is traced inside it is the same network, on the same
variables, with `flax.linen`'s layers or with the literal routing of capsules.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp

from covjax.blocks import conv, conv_forms, forms, fused_pointwise, separable
from covjax.blocks.capsule import SharedCapsules, squash
from covjax.blocks.conv import BatchNorm, Conv, explicit_padding, pair
from covjax.blocks.separable import DepthwiseConv


@contextmanager
def plain() -> Iterator[None]:
    """`flax.linen.Conv`, `BatchNorm` and `max_pool` in place of covjax's."""
    with (
        mock.patch.object(forms, "on_one_cpu", return_value=False),
        mock.patch.object(forms, "relu", nn.relu),
        scattered(),
        nn.intercept_methods(_plain_layer),
    ):
        yield


@contextmanager
def literal() -> Iterator[None]:
    """Every prediction of shared capsules is formed, as in COVID-CAPS's code."""
    with nn.intercept_methods(_literal_capsules):
        yield


@contextmanager
def shifts() -> Iterator[None]:
    """Depthwise convolutions as shifted multiply-adds, as a CPU has them."""
    own = SimpleNamespace(**{**vars(forms), "on_one_cpu": lambda: True})
    with mock.patch.object(separable, "forms", own):
        yield


@contextmanager
def scattered() -> Iterator[None]:
    """Maximum pooling as `flax.linen.max_pool`, whose gradient XLA scatters."""

    def max_pool(x, window, strides, sides):
        return nn.max_pool(x, (window, window), (strides, strides), sides)

    with mock.patch.object(forms, "max_pool", max_pool):
        yield


@contextmanager
def stems() -> Iterator[None]:
    """Strided convolutions of pictures over blocks of pixels."""
    own = conv.convolve

    def convolve(x, kernel, *, strides, padding, dilation=(1, 1), groups=1):
        if x.shape[-1] > 4 or strides == (1, 1) or groups > 1 or dilation != (1, 1):
            return own(x, kernel, strides=strides, padding=padding, dilation=dilation,
                       groups=groups)  # fmt: skip
        sides = conv.padding_sides(x.shape[1:3], kernel.shape[:2], strides, padding)
        return space_to_depth(x, kernel, strides, sides)

    with mock.patch.object(conv, "convolve", convolve):
        yield


@contextmanager
def fused() -> Iterator[None]:
    """Dense layers normalise as they convolve and measure: Pallas kernels on a GPU."""
    with mock.patch.object(fused_pointwise, "chosen", return_value=True):
        yield


def space_to_depth(
    x: jax.Array, kernel: jax.Array, strides: forms.Pair, sides: forms.Sides
) -> jax.Array:
    """A convolution with strides as one without, over blocks of pixels as channels.

    Args:
      x: ``[batch, height, width, in]``.
      kernel: ``[kh, kw, in, out]``.
      strides: of height and width; they are the sides of a block.
      sides: (low, high) padding of height and width.

    Returns:
      ``[batch, h, w, out]``.
    """
    spans = conv_forms.out_spans(x.shape[1:3], kernel.shape[:2], strides, sides)
    grown = [-(-k // s) * s for k, s in zip(kernel.shape[:2], strides)]
    more = [(0, g - k) for g, k in zip(grown, kernel.shape[:2])]
    kernel = jnp.pad(kernel, (*more, (0, 0), (0, 0)))
    read = [s * (n - 1) + g for s, n, g in zip(strides, spans, grown)]
    ends = [r - n - low for r, n, (low, _) in zip(read, x.shape[1:3], sides)]
    margins = [(low, end, 0) for (low, _), end in zip(sides, ends)]
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *margins, (0, 0, 0)))
    return jax.lax.conv_general_dilated(
        blocks(padded, strides, axis=1),
        blocks(kernel, strides, axis=0),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def blocks(x: jax.Array, side: forms.Pair, axis: int) -> jax.Array:
    """Joins the pixels of each block, at `axis` and the next, with the axis after."""
    *before, height, width, depth = x.shape[: axis + 3]
    rows, columns = height // side[0], width // side[1]
    cut = x.reshape(*before, rows, side[0], columns, side[1], *x.shape[axis + 2 :])
    cut = jnp.swapaxes(cut, axis + 1, axis + 2)
    joined = side[0] * side[1] * depth
    return cut.reshape(*before, rows, columns, joined, *x.shape[axis + 3 :])


FORMS: dict[str, Callable[[], AbstractContextManager]] = {
    "covjax": nullcontext,
    "fused": fused,
    "literal": literal,
    "plain": plain,
    "scattered": scattered,
    "shifts": shifts,
    "stems": stems,
    "unfolded": nullcontext,
}
UNFOLDED = ("plain", "unfolded")  # batch normalisation by itself at inference


def _plain_layer(method, args, kwargs, context):
    """A Flax interceptor; the twin reads and writes the layer's own variables."""
    layer = context.module
    if context.method_name != "__call__":
        return method(*args, **kwargs)
    scope: Any = layer.scope
    if isinstance(layer, BatchNorm):
        names = ("use_running_average", "momentum", "epsilon", "dtype", "use_bias",
                 "use_scale", "axis_name")  # fmt: skip
        same = {name: getattr(layer, name) for name in names}
        return nn.BatchNorm(**same, parent=scope)(*args)
    if isinstance(layer, Conv | DepthwiseConv):
        channels = args[0].shape[-1]
        depthwise = isinstance(layer, DepthwiseConv)
        twin = nn.Conv(
            channels if depthwise else layer.features,
            pair(layer.kernel_size),
            strides=pair(layer.strides),
            padding=explicit_padding(layer.padding),
            kernel_dilation=pair(layer.kernel_dilation),
            feature_group_count=channels if depthwise else layer.feature_group_count,
            use_bias=layer.use_bias,
            dtype=layer.dtype,
            parent=scope,
        )
        return twin(*args)
    return method(*args, **kwargs)


def _literal_capsules(method, args, kwargs, context):
    layer = context.module
    if context.method_name != "__call__" or not isinstance(layer, SharedCapsules):
        return method(*args, **kwargs)
    x = args[0].astype(layer.dtype)
    kernel: jax.Array = layer.get_variable("params", "kernel").astype(layer.dtype)
    kernel = kernel.reshape(x.shape[-1], layer.capsules, layer.features)
    return literal_routing(x, kernel, layer.rounds, layer.accumulate)


def literal_routing(
    x: jax.Array, kernel: jax.Array, rounds: int, accumulate: bool
) -> jax.Array:
    """Procedure 1 of Sabour et al.: x ``[B, I, D]``, kernel ``[D, J, K]``."""
    u = jnp.einsum("bid,djk->bijk", x, kernel, preferred_element_type=jnp.float32)
    b = jnp.zeros(u.shape[:3])
    v = jnp.zeros(())
    for step in range(rounds):
        c = jax.nn.softmax(b, axis=-1)
        v = squash(jnp.sum(c[..., None] * u, axis=1))
        if step < rounds - 1:
            agreement = jnp.sum(u * v[:, None], axis=-1)
            b = b + agreement if accumulate else agreement
    return v
