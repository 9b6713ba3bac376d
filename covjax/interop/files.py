"""Checkpoint files of several makers as named arrays.

PyTorch files are unpickled by ``torch.load(weights_only=True)`` alone, which builds
tensors and nothing else; the other formats cannot hold code.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from covjax.errors import InputError
from covjax.files import read_arrays

Tensors = dict[str, np.ndarray]


def read_checkpoint(path: str | Path) -> Tensors:
    """The arrays of a checkpoint, by the names in the file.

    Args:
      path: ``.pth``, ``.pt`` or ``.bin`` (PyTorch), ``.safetensors``, ``.h5`` or
        ``.keras`` (Keras), ``.npz`` (covjax), or a finished run of covjax.

    Returns:
      Name to array. Keras' names are ``layer/variable``, covjax's are paths with the
      collection first.

    Raises:
      InputError: for a missing, damaged or unknown file, or a missing package.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.npz"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix not in READERS:
        raise InputError(
            f"{path}: unknown kind of checkpoint; must end in one of "
            f"{', '.join(READERS)}"
        )
    try:
        return READERS[path.suffix](path)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{path}: needs {error.name}; pip install {error.name}"
        ) from error
    except Exception as error:  # each library has its own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: damaged or not a checkpoint: {reason}") from error


def _read_torch(path: Path) -> Tensors:
    import torch

    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):  # training scripts wrap the weights
        if isinstance(state.get(key), dict):
            state = state[key]
    return {
        # DataParallel prefixes every name
        name.removeprefix("module."): tensor.float().numpy()
        for name, tensor in state.items()
    }


def _read_safetensors(path: Path) -> Tensors:
    from safetensors.numpy import load_file

    return load_file(path)


def _read_h5(path: Path) -> Tensors:
    """Keras' format up to version 2: groups and variables by layer names."""
    import h5py

    with h5py.File(path) as file:
        root = file.get("model_weights", file)
        if "layers" in root and "layer_names" not in root.attrs:
            raise InputError(
                f"{path}: a .weights.h5 file has no layer names; save the network as "
                ".keras or .h5"
            )
        tensors: Tensors = {}
        for name, group in root.items():
            # a layer's name may have a slash, and then its group is nested
            for layer, weights in _layers(name, group):
                tensors |= keras_layer(layer, [np.asarray(w) for w in weights])
        return tensors


def _layers(name: str, group: Any) -> list[tuple[str, list]]:
    """(layer, its datasets in order) of a group with ``weight_names``."""
    if "weight_names" not in group.attrs:
        parts = [_layers(f"{name}/{k}", g) for k, g in group.items()]
        return [layer for part in parts for layer in part]
    return [(name, [group[w] for w in group.attrs["weight_names"]])]


def _read_keras(path: Path) -> Tensors:
    """Keras 3: variables by class and number; the names are in the configuration."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read("model.weights.h5"))
    tensors: Tensors = {}
    counts: dict[str, int] = {}
    with h5py.File(weights) as file:
        for layer in config["config"]["layers"]:
            kind = snake_case(layer["class_name"])
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            group = file[f"layers/{kind}_{number}" if number else f"layers/{kind}"]
            variables = group.get("vars", {})
            arrays = [np.asarray(variables[str(i)]) for i in range(len(variables))]
            tensors |= keras_layer(layer["config"]["name"], arrays)
    return tensors


def keras_layer(layer: str, arrays: list[np.ndarray]) -> Tensors:
    """Names for a layer's variables, which Keras keeps in this order."""
    layer = layer.replace("/", "_")  # DenseNet's first layers before Keras 3
    if arrays and arrays[0].ndim == 1:
        names = ["gamma", "beta", "moving_mean", "moving_variance"][-len(arrays) :]
    elif len(arrays) > 1 and arrays[1].ndim == 4:
        names = ["depthwise_kernel", "pointwise_kernel"]
    else:
        names = ["kernel", "bias"][: len(arrays)]
    if len(names) != len(arrays):
        raise InputError(f"layer {layer!r}: has {len(arrays)} variables; unknown kind")
    return {f"{layer}/{name}": array for name, array in zip(names, arrays)}


def snake_case(name: str) -> str:
    """Keras' spelling of a class in its files.

    >>> snake_case("DepthwiseConv2D"), snake_case("ReLU"), snake_case("Conv2D")
    ('depthwise_conv2d', 're_lu', 'conv2d')
    """
    words = re.sub(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", name)
    return words.lower()


READERS: dict[str, Callable[[Path], Tensors]] = {
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".bin": _read_torch,
    ".safetensors": _read_safetensors,
    ".h5": _read_h5,
    ".keras": _read_keras,
    ".npz": read_arrays,
}
