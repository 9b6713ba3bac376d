"""The table of networks, sorted by name, and the one place where one is made.

To add a network: import its constructor, add one row. A row gives the constructor
and the published number of parameters; what a family shares stands above the table.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from covjax.errors import InputError
from covjax.models import densenet, resnet


class Entry(NamedTuple):
    """A network of the table."""

    make: Callable[..., nn.Module]  # takes num_classes and the network's own fields
    params: int  # published, with `num_classes` classes and `channels` channels
    paper: str  # authors and arXiv number or journal
    year: int
    reference: str  # the independent implementation or figure it is checked against
    native_size: int = 224  # height and width of the paper's pictures
    min_size: int = 1  # smallest height and width it takes
    channels: int = 3  # of the paper's pictures
    num_classes: int = 1000  # of the paper's classifier
    scores: str = "logits"  # or "lengths" of capsules


_densenet = partial(
    Entry,
    paper="Huang et al., arXiv:1608.06993",
    year=2017,
    min_size=densenet.MIN_SIZE,
    reference="torchvision",
)
_resnet = partial(
    Entry, paper="He et al., arXiv:1512.03385", year=2016, reference="torchvision"
)

MODELS: dict[str, Entry] = {
    "chexnet": _densenet(
        densenet.CheXNet,
        params=6_968_206,
        num_classes=14,
        paper="Rajpurkar et al., arXiv:1711.05225",
    ),
    "densenet121": _densenet(densenet.DenseNet121, params=7_978_856),
    "densenet169": _densenet(densenet.DenseNet169, params=14_149_480),
    "densenet201": _densenet(densenet.DenseNet201, params=20_013_928),
    "resnet18": _resnet(resnet.ResNet18, params=11_689_512),
    "resnet34": _resnet(resnet.ResNet34, params=21_797_672),
    "resnet50": _resnet(resnet.ResNet50, params=25_557_032),
    "resnet101": _resnet(resnet.ResNet101, params=44_549_160),
}


def create_model(name: str, *, num_classes: int, **kwargs: Any) -> nn.Module:
    """The network `name` of `MODELS`.

    Args:
      name: a key of `MODELS`.
      num_classes: how many scores the network gives for each picture.
      **kwargs: further fields of the network, such as ``dtype``.

    Returns:
      A Linen module; ``module.apply(variables, x, train=...)`` maps
      ``[batch, height, width, channels]`` to float32 ``[batch, num_classes]``.

    Raises:
      InputError: for an unknown name or field, or fewer than one class.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(MODELS)}"
        raise InputError(f"model {name!r}: unknown name; {hint}")
    if num_classes < 1:
        raise InputError(f"num_classes={num_classes!r}: must be at least 1")
    make = MODELS[name].make
    fields = set(inspect.signature(make).parameters) - {"parent", "name", "num_classes"}
    for field in kwargs:
        if field not in fields:
            raise InputError(
                f"model {name}: unknown argument {field!r}; "
                f"known: {', '.join(sorted(fields))}"
            )
    return make(num_classes=num_classes, **kwargs)
