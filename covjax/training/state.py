"""The state of training, and which of the parameters it trains."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from covjax.errors import InputError
from covjax.training.optimizer import within

Tree = Mapping[str, Any]


class TrainState(flax.struct.PyTreeNode):
    """Everything that a step changes, and the frozen parameters it needs.

    Attributes:
      step: int32 scalar, updates so far.
      params: the parameters that are trained; gradients, moments and averages exist
        for these only.
      frozen: the other parameters, as they came.
      batch_stats: running statistics of normalisation.
      opt_state: of the optax transform.
      ema: moving averages of ``params`` and ``batch_stats``, which belong to each
        other; ``{}`` when they are off.
      rate_factor: float32 scalar on the learning rate, set between epochs.
      key: of all randomness; a step folds its number into it.
    """

    step: jax.Array
    params: Any
    frozen: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    rate_factor: jax.Array
    key: jax.Array

    def variables(self) -> dict[str, Any]:
        """What the network is applied with when it is used: averages where kept."""
        used = self.ema or {"params": self.params, "batch_stats": self.batch_stats}
        return {**used, "params": merge(used["params"], self.frozen)}


def create_state(
    variables: Tree,
    trainable: frozenset[str] | None,
    optimizer: optax.GradientTransformation,
    *,
    ema: bool,
    key: jax.Array,
) -> TrainState:
    """A fresh state.

    Args:
      variables: ``params`` and, where the network has some, ``batch_stats``.
      trainable: paths of the parameters to train; None: all.
      optimizer: the optax transform.
      ema: whether to keep moving averages; they start where the network does.
      key: a typed jax key.
    """
    params, frozen = split(variables["params"], trainable)
    stats = variables.get("batch_stats", {})
    averaged = {"params": params, "batch_stats": stats} if ema else {}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        frozen=frozen,
        batch_stats=stats,
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, averaged),
        rate_factor=jnp.ones((), jnp.float32),
        key=key,
    )


def split(params: Tree, trainable: frozenset[str] | None) -> tuple[dict, dict]:
    """The parameters whose path is in `trainable` (None: all), and the others."""
    if trainable is None:
        return dict(params), {}
    flat = flatten_dict(params, sep="/")
    chosen = {name: value for name, value in flat.items() if name in trainable}
    others = {name: value for name, value in flat.items() if name not in trainable}
    return unflatten_dict(chosen, sep="/"), unflatten_dict(others, sep="/")


def paths(params: Tree) -> frozenset[str]:
    """Paths of all parameters, such as ``stage1/block1/conv/kernel``."""
    return frozenset(flatten_dict(params, sep="/"))


def merge(params: Tree, frozen: Tree) -> dict[str, Any]:
    """The inverse of `split`."""
    return unflatten_dict({**flatten_dict(frozen), **flatten_dict(params)})


def initialise(
    model: nn.Module, image_shape: tuple[int, int, int], seed: int
) -> dict[str, Any]:
    """Fresh ``params`` and ``batch_stats`` for pictures of `image_shape`."""

    @jax.jit
    def init(key):
        variables = model.init(key, jnp.zeros((1, *image_shape)), train=False)
        return {
            "params": variables["params"],
            "batch_stats": variables.get("batch_stats", {}),
        }

    return init(jax.random.key(seed))


def call_order(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, list]:
    """Paths of the parameters below each top-level module, in the order of calls."""
    order: dict[str, list] = {}

    def init(key):
        variables = model.init(key, jnp.zeros((1, *image_shape)), train=False)
        for name in flatten_dict(variables["params"], sep="/"):
            order.setdefault(name.partition("/")[0], []).append(name)

    jax.eval_shape(init, jax.random.key(0))
    return order


def trainable_paths(
    order: dict[str, list], freeze: tuple[str, ...], thawed: int = 0
) -> frozenset[str]:
    """Paths of the parameters to train.

    Args:
      order: from `call_order`.
      freeze: each "backbone" (all but the classifier, auxiliary heads and decoder),
        "until:STAGE" (top-level modules up to and including STAGE) or a path.
      thawed: so many of the frozen top-level modules, the last ones, are trained
        nevertheless.

    Raises:
      InputError: for a name that the network does not have, or when nothing is left.
    """
    modules, frozen = list(order), set()
    for entry in freeze:
        stage = entry.removeprefix("until:")
        if entry == "backbone":
            heads = [m for m in modules if m.startswith(("head", "aux"))]
            heads = heads or [m for m in modules if m != "decoder"][-1:]
            warm = (*heads, "decoder")
            chosen = [n for m in modules if m not in warm for n in order[m]]
        elif entry.startswith("until:"):
            end = modules.index(stage) + 1 if stage in modules else 0
            chosen = [n for m in modules[:end] for n in order[m]]
        else:
            chosen = [n for names in order.values() for n in names if within(n, entry)]
        if not chosen:
            raise InputError(
                f"config.train.freeze={entry!r}: the network has no such part; "
                f"its parts: {', '.join(modules)}"
            )
        frozen.update(chosen)
    cold = [m for m in modules if frozen.intersection(order[m])]
    for module in cold[max(len(cold) - thawed, 0) :]:
        frozen.difference_update(order[module])
    left = frozenset(n for names in order.values() for n in names) - frozen
    if not left:
        raise InputError(f"config.train.freeze={freeze!r}: leaves nothing to train")
    return left


def repartition(
    state: TrainState, trainable: frozenset[str] | None, optimizer: Any
) -> TrainState:
    """The state with another set of trained parameters.

    Averages of newly trained parameters start at the parameters themselves. All
    moments start anew: Adam's has one count for all parameters, and at a high count
    the zero moments of new ones would take up to six times the rate.
    """
    everything = merge(state.params, state.frozen)
    params, frozen = split(everything, trainable)
    ema = state.ema
    if ema:
        averaged, _ = split(merge(ema["params"], everything), trainable)
        # a donated state must not hold a buffer twice
        ema = {**ema, "params": jax.tree.map(jnp.copy, averaged)}
    return state.replace(
        params=params,
        frozen=frozen,
        opt_state=restarted(state.opt_state, optimizer.init(params)),
        ema=ema,
    )


def restarted(old: tuple[Any, ...], new: tuple[Any, ...]) -> tuple[Any, ...]:
    """A chain's fresh states, but for the step of the learning rate's schedule."""
    kept = optax.ScaleByScheduleState
    return tuple(o if isinstance(o, kept) else n for o, n in zip(old, new, strict=True))
