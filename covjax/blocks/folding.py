"""Networks at inference, with batch normalisation folded into what stands before it.

Jacob et al. 2018, arXiv:1712.05877, section 3.2. With running statistics a
normalisation is a factor and an offset a channel. Behind a convolution or a dense layer
both become part of its kernel and bias: the same function, and one pass over the map
less where the compiler does not fuse them anyway.

The normalisation of pixels stays: its offset cannot be folded where a convolution pads
with zeros, and pictures are converted from uint8 in the same pass.
"""

from collections import Counter
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Var

from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.forms import like
from covjax.blocks.separable import DepthwiseConv

LINEAR = (Conv, DepthwiseConv, nn.Dense)
Path = tuple[str, ...]  # of a module in its network


class Pair(NamedTuple):
    """A linear layer, and the normalisation that alone reads its result."""

    linear: Path
    norm: Path
    epsilon: float


@lru_cache(maxsize=64)
def foldable(model: nn.Module, shape: tuple[int, ...]) -> tuple[Pair, ...]:
    """All pairs of a network, in the order of calls.

    Args:
      model: the network.
      shape: of a picture: height, width, channels.
    """
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    init = partial(model.init, train=False)
    made = jax.eval_shape(init, jax.random.key(0), x)
    variables = {k: made[k] for k in ("params", "batch_stats") if k in made}
    norms: dict[str, BatchNorm] = {}

    def marked(method, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__":
            return method(*args, **kwargs)
        name = "/".join(module.path)
        if isinstance(module, BatchNorm):
            norms[name] = module
            return checkpoint_name(args[0], name)  # a reader of the norm, not of x
        result = method(*args, **kwargs)
        return checkpoint_name(result, name) if isinstance(module, LINEAR) else result

    with nn.intercept_methods(marked):
        traced = jax.make_jaxpr(lambda v, x: model.apply(v, x, train=False))(
            variables, x
        ).jaxpr
    marks = [e for e in traced.eqns if e.primitive.name == "name"]
    calls = Counter(mark.params["name"] for mark in marks)
    source_of = {mark.outvars[0]: mark.params["name"] for mark in marks}
    reads = Counter(v for e in traced.eqns for v in e.invars if isinstance(v, Var))
    reads.update(v for v in traced.outvars if isinstance(v, Var))
    pairs = []
    for mark in marks:
        norm, source = mark.params["name"], mark.invars[0]
        linear = source_of.get(source, "")
        alone = reads[source] == calls[norm] == calls[linear] == 1
        if norm in norms and linear and linear not in norms and alone:
            paths = tuple(linear.split("/")), tuple(norm.split("/"))
            pairs.append(Pair(*paths, norms[norm].epsilon))
    return tuple(pairs)


@partial(jax.jit, static_argnames="pairs")
def fold(variables: Any, pairs: tuple[Pair, ...]) -> dict[str, Any]:
    """The variables with each pair's normalisation in its linear layer.

    The normalisation's own are left out; every linear layer of a pair has a bias.

    Args:
      variables: ``params`` and ``batch_stats`` of the network.
      pairs: of the network, from `foldable`.
    """
    params = flatten_dict(variables["params"])
    stats = flatten_dict(variables.get("batch_stats", {}))
    for linear, norm, epsilon in pairs:
        mean, var = stats.pop((*norm, "mean")), stats.pop((*norm, "var"))
        factor = jax.lax.rsqrt(var + epsilon) * params.pop((*norm, "scale"), 1.0)
        offset = params.pop((*norm, "bias"), 0.0) - mean * factor
        kernel = params[*linear, "kernel"]
        params[*linear, "kernel"] = kernel * like(kernel, factor)
        params[*linear, "bias"] = params.get((*linear, "bias"), 0.0) * factor + offset
    return {"params": unflatten_dict(params), "batch_stats": unflatten_dict(stats)}


def apply_folded(
    model: nn.Module,
    variables: Any,
    x: jax.Array,
    pairs: tuple[Pair, ...],
    **kwargs: Any,
) -> Any:
    """What ``model.apply(..., x, train=False, **kwargs)`` gives, folded.

    Args:
      model: the network.
      variables: out of `fold`.
      x: ``[batch, height, width, channels]``.
      pairs: those that were folded.
      **kwargs: of ``apply``, such as ``mutable``.
    """
    linear = {pair.linear for pair in pairs}
    norms = {pair.norm for pair in pairs}

    def folded(method, args, kwargs, context):
        module: Any = context.module
        if context.method_name != "__call__":
            return method(*args, **kwargs)
        if module.path in norms:
            return args[0].astype(module.dtype or args[0].dtype)
        if module.path in linear and not module.use_bias:
            return module.clone(use_bias=True, parent=module.scope)(*args, **kwargs)
        return method(*args, **kwargs)

    with nn.intercept_methods(folded):
        return model.apply(variables, x, train=False, **kwargs)
