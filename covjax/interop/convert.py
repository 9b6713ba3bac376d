"""Variables of a covjax network to a reference's tensors and back, exactly.

Only names and axes change: kernels are ``[height, width, in, out]`` here and
``[out, in, height, width]`` in PyTorch, dense kernels are transposed, and a dense
layer behind a flattened map has its rows in another order.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from covjax.errors import InputError
from covjax.interop.names import FAMILIES, Family
from covjax.interop.rules import LEAVES, translate

Variables = dict[str, Any]  # {"params": ..., "batch_stats": ...}
Leaves = dict[tuple[str, ...], Any]  # {("params", "stem", "conv", "kernel"): array}

BOOKKEEPING = "num_batches_tracked"  # PyTorch's counter: no weight, never read


def to_torch(
    model_name: str, variables: Variables, naming: str = ""
) -> dict[str, np.ndarray]:
    """The network's tensors under torchvision's (or timm's) names and axes.

    Args:
      model_name: a key of `MODELS` with a counterpart.
      variables: ``params`` and, where the network has them, ``batch_stats``.
      naming: "torchvision" or "timm"; empty: torchvision's where it has the network.

    Returns:
      Name to array, as in the reference's state dict, which `from_torch` reads back.

    Raises:
      InputError: for a network without a counterpart.
    """
    families = families_of(model_name)
    family = families[naming or next(iter(families))]
    return {
        torch_name(family, path): _to_torch_axes(family, path, np.asarray(leaf))
        for path, leaf in flatten(variables).items()
    }


def from_torch(
    model_name: str, tensors: dict[str, np.ndarray], variables: Variables
) -> Variables:
    """The network's variables with the values of a torchvision or timm state dict.

    Args:
      model_name: a key of `MODELS` with a counterpart.
      tensors: name to array, as `read_checkpoint` gives them.
      variables: initial variables, for names and shapes; arrays or shapes alone.

    Returns:
      Variables with the names and shapes of `variables` and float32 NumPy arrays.

    Raises:
      InputError: where names or shapes differ; the line lists what is missing and
        what is left over, so that every tensor is used exactly once or none is.
    """
    leaves = torch_leaves(model_name, tensors, variables)
    return unflatten(checked(model_name, leaves, variables))


def torch_leaves(
    model_name: str, tensors: dict[str, np.ndarray], variables: Variables
) -> Leaves:
    """`from_torch` without its check of shapes."""
    given = {
        current_name(name): tensor
        for name, tensor in tensors.items()
        if not name.endswith(BOOKKEEPING)
    }
    family = fitting_family(model_name, given, variables)
    wanted = {torch_name(family, path): path for path in flatten(variables)}
    require_same_names(model_name, set(wanted), set(given))
    return {
        path: _from_torch_axes(family, path, given[name])
        for name, path in wanted.items()
    }


def current_name(name: str) -> str:
    """Names that torchvision's DenseNet files of 2017 wrote with one dot more.

    >>> current_name("features.denseblock1.denselayer1.norm.1.weight")
    'features.denseblock1.denselayer1.norm1.weight'
    """
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def fitting_family(
    model_name: str, tensors: Iterable[str], variables: Variables
) -> Family:
    """The naming that has most of the tensors' names."""
    paths, names = list(flatten(variables)), set(tensors)

    def shared(family: Family) -> int:
        return len(names & {torch_name(family, path) for path in paths})

    return max(families_of(model_name).values(), key=shared)


def families_of(model_name: str) -> dict[str, Family]:
    """A network's namings; `InputError` where there is none."""
    if model_name not in FAMILIES:
        raise InputError(
            f"model {model_name!r}: has no torchvision or timm counterpart; "
            f"those with one: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_name]


def torch_name(family: Family, path: tuple[str, ...]) -> str:
    """The reference's name of the leaf at `path` (collection first)."""
    *module, leaf = path[1:]
    name = translate(family.rules, "/".join(module))
    if name is None:
        raise InputError(f"parameter {'/'.join(path)}: no rule names it elsewhere")
    return f"{name}.{LEAVES[leaf]}"


def require_same_names(what: str, wanted: set[str], given: set[str]) -> None:
    """Raises `InputError` with what is missing and what is left over."""
    missing, extra = sorted(wanted - given), sorted(given - wanted)
    if missing or extra:
        advice = ""
        if all(name.lower().startswith("aux") for name in (*missing, *extra)):
            advice = f"; config.model.kwargs.aux_heads={not missing} fits"
        raise InputError(
            f"{what}: the checkpoint does not fit; missing {_listed(missing)}; "
            f"left over {_listed(extra)}{advice}"
        )


def checked(what: str, leaves: Leaves, variables: Variables) -> Leaves:
    """`leaves` as float32, if their shapes are those of `variables`."""
    for path, leaf in flatten(variables).items():
        if leaves[path].shape != tuple(leaf.shape):
            raise InputError(
                f"{what}: {'/'.join(path)} has shape {tuple(leaf.shape)}, the "
                f"checkpoint's {leaves[path].shape}"
            )
    return {path: np.asarray(leaf, np.float32) for path, leaf in leaves.items()}


def flatten(variables: Variables) -> Leaves:
    """Nested dictionaries to one, keyed by paths; empty ones vanish."""
    leaves: Leaves = {}
    for name, value in variables.items():
        if isinstance(value, dict):
            leaves |= {(name, *path): leaf for path, leaf in flatten(value).items()}
        else:
            leaves[name,] = value
    return leaves


def unflatten(leaves: Leaves) -> Variables:
    """The inverse of `flatten`."""
    variables: Variables = {}
    for (*path, name), leaf in leaves.items():
        inner = variables
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = leaf
    return variables


def _listed(names: list[str]) -> str:
    """At most eight names, and how many more there are."""
    if not names:
        return "nothing"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"{len(names)}: {', '.join(names[:8])}{more}"


def _to_torch_axes(
    family: Family, path: tuple[str, ...], leaf: np.ndarray
) -> np.ndarray:
    if path[-1] != "kernel":
        return leaf
    if leaf.ndim == 4:
        return leaf.transpose(3, 2, 0, 1)
    module = "/".join(path[1:-1])
    if side := family.convolutions.get(module):
        return leaf.reshape(side, side, -1, leaf.shape[1]).transpose(3, 2, 0, 1)
    if side := family.flattened.get(module):
        rows = leaf.reshape(side, side, -1, leaf.shape[1]).transpose(2, 0, 1, 3)
        leaf = rows.reshape(leaf.shape)
    return leaf.T


def _from_torch_axes(
    family: Family, path: tuple[str, ...], leaf: np.ndarray
) -> np.ndarray:
    if path[-1] != "kernel":
        return leaf
    module = "/".join(path[1:-1])
    if leaf.ndim == 4:
        kernel = leaf.transpose(2, 3, 1, 0)
        is_dense = module in family.convolutions
        return kernel.reshape(-1, kernel.shape[-1]) if is_dense else kernel
    leaf = leaf.T
    side = family.flattened.get(module)
    if side and leaf.shape[0] % side**2 == 0:  # else its shape is refused later
        rows = leaf.reshape(-1, side, side, leaf.shape[1]).transpose(1, 2, 0, 3)
        leaf = rows.reshape(leaf.shape)
    return leaf
