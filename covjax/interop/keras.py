"""A Keras application's layers as variables of the same network in covjax."""

import re
from collections.abc import Iterable

import numpy as np

from covjax.errors import InputError
from covjax.interop.convert import (
    Leaves,
    Variables,
    checked,
    flatten,
    require_same_names,
    unflatten,
)
from covjax.interop.keras_names import KERAS, KerasFamily
from covjax.interop.rules import translate

LEAVES = {"kernel": "kernel", "bias": "bias"}
NORM_LEAVES = {
    "scale": "gamma",
    "bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def from_keras(
    model_name: str, tensors: dict[str, np.ndarray], variables: Variables
) -> Variables:
    """The network's variables with the values of a Keras file.

    Args:
      model_name: a key of `MODELS` with a counterpart in Keras applications.
      tensors: ``layer/variable`` to array, as `read_checkpoint` gives them.
      variables: initial variables, for names and shapes; arrays or shapes alone.

    Returns:
      Variables with the names and shapes of `variables` and float32 NumPy arrays.

    Raises:
      InputError: where names or shapes differ, with what is missing and left over.
    """
    leaves = keras_leaves(model_name, tensors, variables)
    return unflatten(checked(model_name, leaves, variables))


def keras_leaves(
    model_name: str, tensors: dict[str, np.ndarray], variables: Variables
) -> Leaves:
    """`from_keras` without its check of shapes."""
    if model_name not in KERAS:
        raise InputError(
            f"model {model_name!r}: has no Keras counterpart; those with one: "
            f"{', '.join(KERAS)}"
        )
    family = KERAS[model_name]
    template = flatten(variables)
    wanted = {}  # their name: our path
    leaves = {}
    for path, leaf in template.items():
        if path[-1] == "scale" and not family.learnt_scale:
            leaves[path] = np.ones(leaf.shape)
        else:
            wanted[keras_name(family, path, template)] = path
    given = numbered_from_zero(tensors)
    require_same_names(model_name, set(wanted), set(given))
    for name, path in wanted.items():
        leaves[path] = _axes(given[name], len(template[path].shape))
    return leaves


def keras_name(
    family: KerasFamily, path: tuple[str, ...], leaves: Iterable[tuple[str, ...]]
) -> str:
    """``layer/variable`` of the leaf at `path` (collection first)."""
    *module, leaf = path[1:]
    name = translate(family.rules, "/".join(module))
    if name is None:
        raise InputError(f"parameter {'/'.join(path)}: no rule names it in Keras")
    if "/" in name:  # a layer with two kernels
        return name
    is_norm = ("batch_stats", *module, "mean") in leaves
    return f"{name}/{(NORM_LEAVES if is_norm else LEAVES)[leaf]}"


def numbered_from_zero(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Automatic names such as ``conv2d_96`` as ``conv2d:2``, by their order.

    Keras goes on counting from one network to the next of a session.
    """
    automatic = re.compile(r"(conv2d|batch_normalization)(?:_(\d+))?")
    numbers: dict[str, list[int]] = {}
    for layer in {name.rpartition("/")[0] for name in tensors}:
        if match := automatic.fullmatch(layer):
            numbers.setdefault(match[1], []).append(int(match[2] or 0))
    ranks = {
        kind: {number: rank for rank, number in enumerate(sorted(found))}
        for kind, found in numbers.items()
    }
    renamed = {}
    for name, tensor in tensors.items():
        layer, _, variable = name.rpartition("/")
        if match := automatic.fullmatch(layer):
            layer = f"{match[1]}:{ranks[match[1]][int(match[2] or 0)]}"
        renamed[f"{layer}/{variable}"] = tensor
    return renamed


def _axes(leaf: np.ndarray, rank: int) -> np.ndarray:
    """Depthwise kernels keep channels before multipliers; a 1x1 head is dense."""
    if leaf.ndim == 4 and rank == 2:
        return leaf[0, 0]
    if leaf.ndim == 4 and leaf.shape[3] == 1:
        return leaf.transpose(0, 1, 3, 2)
    return leaf
