"""Which network of torchvision, timm or Keras is which network of covjax."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from covjax.interop.convert import flatten, to_torch
from covjax.interop.names import FAMILIES
from covjax.interop.rules import LEAVES

SYMMETRIC = {"padding": "symmetric", "epsilon": 1e-5}  # PyTorch's conventions

# covjax's name: (timm's, arguments of covjax's network). All others of the names
# table are torchvision's, by the same name
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "inception_resnet_v2": ("inception_resnet_v2", {}),
    "inception_v4": ("inception_v4", {}),
    "mobilenet_v1": ("mobilenetv1_100", SYMMETRIC),
    "xception": ("legacy_xception", SYMMETRIC),
}
# torchvision's networks whose constructors take arguments besides the classes
TORCHVISION_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
}


def kwargs_for_torch(model: str) -> dict[str, Any]:
    """Arguments that give covjax's network the peer's conventions."""
    if model.startswith("efficientnet_b"):
        return SYMMETRIC
    return TIMM.get(model, ("", {}))[1]


def has_torch_peer(model: str) -> bool:
    """Whether there is a network to compare with."""
    return model == "darkcovidnet" or (model in FAMILIES and model != "chexnet")


def torch_network(model: str, classes: int, size: int) -> nn.Module:
    """The peer, with its own random weights."""
    if model == "darkcovidnet":
        return DarkCovidNet(classes, size)
    torchvision = import_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about initialisers
        if model in TIMM:
            timm = importlib.import_module("timm")
            return timm.create_model(TIMM[model][0], num_classes=classes)
        return torchvision.models.get_model(
            model,
            weights=None,
            num_classes=classes,
            **TORCHVISION_ARGUMENTS.get(model, {}),
        )


def load(network: nn.Module, model: str, variables: Any) -> None:
    """Gives the peer covjax's variables: every tensor, or an error."""
    naming = "timm" if model in TIMM else ""
    tensors = (
        to_torch(model, variables, naming)
        if model in FAMILIES
        else named_alike(variables)
    )
    state = {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    counters = [name for name in missing if name.endswith("num_batches_tracked")]
    if unexpected or len(counters) < len(missing):
        raise ValueError(f"{model}: missing {missing}, left over {unexpected}")


def named_alike(variables: Any) -> dict[str, np.ndarray]:
    """Tensors of a peer whose modules are named as covjax's, such as `DarkCovidNet`."""
    tensors = {}
    for (_, *path, leaf), value in flatten(variables).items():
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(np.ndim(value))
        value = np.asarray(value)
        tensors[".".join([*path, LEAVES[leaf]])] = (
            value.transpose(axes) if axes else value
        )
    return tensors


_kept: list[torch.library.Library] = []


def import_torchvision() -> Any:
    """torchvision, whose own operators need no build of CUDA here."""
    if not _kept and not torch.cuda.is_available():
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):  # importing torchvision.models asks for them
            arguments = "Tensor dets, Tensor scores, float iou_threshold"
            library.define(f"{name}({arguments}) -> Tensor")
        _kept.append(library)
    return importlib.import_module("torchvision")


class DN(nn.Module):
    """Convolution padded by one pixel, normalisation, leaky ReLU."""

    def __init__(self, narrow: int, wide: int, window: int):
        super().__init__()
        self.conv = nn.Conv2d(narrow, wide, window, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(wide)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``[batch, narrow, height, width]`` to ``[batch, wide, h, w]``."""
        return nn.functional.leaky_relu(self.norm(self.conv(x)), 0.1, inplace=True)


class DarkCovidNet(nn.Module):
    """Ozturk et al. 2020, table 1, in PyTorch's layers; names as in covjax."""

    def __init__(self, classes: int, size: int):
        super().__init__()
        self.stem, self.stage1 = DN(3, 8, 3), DN(8, 16, 3)
        for stage, wide in enumerate((32, 64, 128, 256), start=2):
            narrow = wide // 2
            units = {
                "dn1": DN(narrow, wide, 3),
                "dn2": DN(wide, narrow, 1),
                "dn3": DN(narrow, wide, 3),
            }
            self.add_module(f"stage{stage}", nn.ModuleDict(units))
        self.conv15, self.conv16 = DN(256, 128, 1), DN(128, 256, 3)
        self.conv17 = nn.Conv2d(256, classes, 3, padding=1, bias=False)
        self.norm17 = nn.BatchNorm2d(classes)
        with torch.no_grad():
            rows = self.features(torch.zeros(2, 3, size, size)).shape[1]
        self.head = nn.Linear(rows, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """All pixels of the last map, in covjax's order."""
        pool: Callable = nn.functional.max_pool2d
        x = pool(self.stage1(pool(self.stem(x), 2)), 2)
        for stage in (2, 3, 4, 5):
            x = pool(x, 2) if stage > 2 else x
            for unit in getattr(self, f"stage{stage}").values():
                x = unit(x)
        x = self.norm17(nn.functional.relu(self.conv17(self.conv16(self.conv15(x)))))
        return x.permute(0, 2, 3, 1).flatten(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``[batch, classes]`` of ``[batch, 3, size, size]``."""
        return self.head(self.features(x))
