"""What a network is made of: its layers in the order in which they run.

Nothing is computed: shapes are traced, so the largest network takes about a second.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class Layer(NamedTuple):
    """A module that owns parameters."""

    path: str  # of its parameters, such as stage1/block1/conv1
    kind: str  # class of the module
    shape: tuple[int, ...]  # of its result for one picture
    params: int
    multiply_adds: int  # of convolutions and products with a kernel; 0 for others


def layers(model: nn.Module, size: int, channels: int) -> list[Layer]:
    """The layers that one picture passes in evaluation.

    Auxiliary heads, which run in training alone, are not among them.

    Args:
      model: a network of `MODELS`.
      size: height and width of the picture.
      channels: of the picture.

    Raises:
      InputError: for a picture smaller than the network takes.
    """
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    key = jax.random.key(0)
    variables = jax.eval_shape(lambda x: model.init(key, x, train=False), x)
    found: list[Layer] = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        module = context.module
        own = {
            name: leaf
            for name, leaf in module.variables.get("params", {}).items()
            if hasattr(leaf, "shape")
        }
        if own and context.method_name == "__call__":
            found.append(_layer(module, own, result.shape))
        return result

    def evaluate(variables: Any, x: jax.Array) -> Any:
        with nn.intercept_methods(record):
            return model.apply(variables, x, train=False)

    kept = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
    jax.eval_shape(evaluate, kept, x)
    return found


def _layer(module: nn.Module, own: dict[str, Any], shape: tuple[int, ...]) -> Layer:
    positions = math.prod(shape[1:-1])  # where a kernel is applied
    kernels = [leaf.size for name, leaf in own.items() if name.endswith("kernel")]
    return Layer(
        path="/".join(module.path),
        kind=type(module).__name__,
        shape=shape[1:],
        params=sum(leaf.size for leaf in own.values()),
        multiply_adds=positions * sum(kernels),
    )
