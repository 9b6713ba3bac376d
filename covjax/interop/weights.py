"""Pretrained weights for a network: from a file, a run of covjax, or timm's hub.

`covjax.interop.names` and `keras_names` have the tables of names, `files` the file
formats, `convert` and `keras` the axes, `stem` the change of normalisation.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from covjax.errors import InputError
from covjax.imagenet import HOMES
from covjax.interop.convert import (
    Leaves,
    Variables,
    checked,
    fitting_family,
    flatten,
    from_torch,
    require_same_names,
    to_torch,
    torch_leaves,
    unflatten,
)
from covjax.interop.files import Tensors, read_checkpoint
from covjax.interop.keras import from_keras, keras_leaves
from covjax.interop.keras_names import KERAS
from covjax.interop.names import FAMILIES, Normalisation
from covjax.interop.stem import fold

__all__ = ["from_keras", "from_torch", "load_pretrained", "read_checkpoint", "to_torch"]

HUB = "timm/"  # owner of timm's weights on huggingface.co
KERAS_FILES = (".h5", ".keras")
COVJAX_FILE = ".npz"


class Card(NamedTuple):
    """What a covjax run says of its network."""

    model_name: str
    normalisation: Normalisation  # one value a channel of its pictures


class Source(NamedTuple):
    """A checkpoint that was read."""

    name: str
    kind: str  # suffix of the file
    tensors: Tensors
    normalisation: Normalisation | None  # None: what the family's table says


def load_pretrained(
    source: str,
    model_name: str,
    variables: Variables,
    *,
    channels: int,
    new_head: bool,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Variables:
    """Initial variables with the values of a pretrained network.

    Args:
      source: a checkpoint file (see `read_checkpoint`), the directory of a finished
        covjax run, or ``timm/NAME`` such as ``timm/densenet121.tv_in1k``, which is
        fetched once and kept by ``huggingface_hub``.
      model_name: a key of `MODELS`.
      variables: initial variables of the network.
      channels: of this run's pictures. Weights for three channels are folded to one
        for grey pictures; see `covjax.interop.stem`.
      new_head: whether classifiers of another size stay as they are in `variables`.
      mean: of this run's normalisation of pixels in [0, 1].
      std: likewise.

    Returns:
      Variables of the same structure, float32. Every tensor of the source is used
      exactly once, but for replaced classifiers.

    Raises:
      InputError: when the source cannot be read or does not fit.
    """
    read = open_source(source)
    given, stem, theirs = _leaves(read, model_name, variables)
    template = flatten(variables)
    heads = [p for p in template if is_head(p) and given[p].shape != template[p].shape]
    if heads and not new_head:
        raise InputError(
            f"{read.name}: {'/'.join(heads[0][1:])} has shape {given[heads[0]].shape}, "
            f"this network's {tuple(template[heads[0]].shape)}; "
            "config.model.new_head=True starts with a fresh classifier"
        )
    given |= {path: np.asarray(template[path]) for path in heads}
    ours = _per_channel(mean, std, channels)
    if stem is not None and theirs is not None:
        shape = tuple(template[stem].shape)
        given[stem] = fold(given[stem], shape, theirs, ours, channels)
    elif theirs not in (None, ours):
        raise InputError(
            f"{read.name}: was trained with mean {theirs.mean} and std {theirs.std}; "
            f"set config.data.mean and config.data.std to these for {model_name}"
        )
    loaded = unflatten(checked(read.name, given, variables))
    return {collection: loaded.get(collection, {}) for collection in variables}


def _leaves(
    read: Source, model_name: str, variables: Variables
) -> tuple[Leaves, tuple[str, ...] | None, Normalisation | None]:
    """The source's leaves by our paths, the stem's path, the source's normalisation.

    Shapes are the source's; the stem is None where no table knows it.
    """
    if read.kind in KERAS_FILES:
        leaves = keras_leaves(model_name, read.tensors, variables)
        keras = KERAS[model_name]
        stem = _kernel(keras.stem)
        if keras.blue_first:
            leaves[stem] = leaves[stem][:, :, ::-1]
        return leaves, stem, keras.normalisation
    if read.kind != COVJAX_FILE:
        leaves = torch_leaves(model_name, read.tensors, variables)
        family = fitting_family(model_name, read.tensors, variables)
        return leaves, _kernel(family.stem), read.normalisation or family.normalisation
    wanted = {"/".join(path) for path in flatten(variables)}
    require_same_names(read.name, wanted, set(read.tensors))
    leaves = {tuple(name.split("/")): leaf for name, leaf in read.tensors.items()}
    families = FAMILIES.get(model_name, {})
    stems = [_kernel(family.stem) for family in families.values()]
    return leaves, stems[0] if stems else None, read.normalisation


def _kernel(module: str) -> tuple[str, ...]:
    return ("params", *module.split("/"), "kernel")


def is_head(path: tuple[str, ...]) -> bool:
    """Whether the leaf belongs to a classifier, the last or an auxiliary one."""
    return path[-2] == "head"


def open_source(source: str) -> Source:
    """Reads a file, a run's directory or, where neither exists, timm's hub."""
    path = Path(source)
    if source in HOMES and not path.exists():
        raise InputError(
            f"config.model.pretrained={source}: no such file; download "
            f"{HOMES[source]}{source}, or name where it lies"
        )
    if path.exists() or not source.startswith(HUB):
        tensors = read_checkpoint(path)
        kind = COVJAX_FILE if path.is_dir() else path.suffix
        card = (path if path.is_dir() else path.parent) / "classifier.json"
        is_run = kind == COVJAX_FILE and card.is_file()
        normalisation = read_card(card).normalisation if is_run else None
        return Source(source, kind, tensors, normalisation)
    weights, settings = fetch(source)
    picture = settings.get("pretrained_cfg", {})
    theirs = None
    if "mean" in picture and "std" in picture:
        theirs = Normalisation(tuple(picture["mean"]), tuple(picture["std"]))
    return Source(source, weights.suffix, read_checkpoint(weights), theirs)


def read_card(path: Path) -> Card:
    """What ``classifier.json`` says; raises `InputError` where it is damaged."""
    try:
        values = json.loads(path.read_text())
        picture = values["preprocess"]
        normalisation = _per_channel(
            picture["mean"], picture["std"], picture["channels"]
        )
        return Card(values["model_name"], normalisation)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged: {error!r}") from error


def _per_channel(mean: Any, std: Any, channels: int) -> Normalisation:
    means, deviations = (np.broadcast_to(v, channels).tolist() for v in (mean, std))
    return Normalisation(tuple(means), tuple(deviations))


def fetch(name: str) -> tuple[Path, dict[str, Any]]:
    """The weights file of ``timm/NAME`` and its settings, from the hub or its cache."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise InputError(
            f'{name}: needs huggingface_hub; pip install "covjax[interop]"'
        ) from error
    try:
        weights = hf_hub_download(name, "model.safetensors")
        settings = hf_hub_download(name, "config.json")
    except Exception as error:  # no network, no such repository, no such file
        raise InputError(
            f"{name}: no such file, and huggingface.co did not give it "
            f"({type(error).__name__}); download model.safetensors elsewhere and give "
            "its path"
        ) from error
    return Path(weights), json.loads(Path(settings).read_text())
