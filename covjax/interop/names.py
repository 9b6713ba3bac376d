"""Names of every family's tensors in torchvision and timm: the table `FAMILIES`.

A network may be kept under several namings; `from_torch` takes the one that fits.
The rules are explained in `covjax.interop.rules`.
"""

from typing import NamedTuple

from covjax.interop.inception_names import (
    GOOGLENET,
    INCEPTION_RESNET_V2,
    INCEPTION_V3,
    INCEPTION_V4,
)
from covjax.interop.rules import Rules, under, unit


class Normalisation(NamedTuple):
    """What a published network's pictures, in [0, 1], were normalised by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# TensorFlow's [-1, 1]; also what torchvision's published GoogLeNet and Inception-v3
# read, since they are made with transform_input=True
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Family(NamedTuple):
    """How networks of one family are named and laid out by one reference."""

    rules: Rules
    stem: str  # covjax's module that reads the picture
    # dense layers that read a flattened map: its height and width. PyTorch flattens
    # channels first, covjax channels last
    flattened: dict[str, int] = {}  # noqa: RUF012, never changed
    normalisation: Normalisation = IMAGENET
    # dense layers kept as convolutions of a whole map: its height and width
    convolutions: dict[str, int] = {}  # noqa: RUF012, never changed


ALEXNET = (
    ("conv1", "features.0"),
    ("conv2", "features.3"),
    ("conv3", "features.6"),
    ("conv4", "features.8"),
    ("conv5", "features.10"),
    ("fc1", "classifier.1"),
    ("fc2", "classifier.4"),
    ("head", "classifier.6"),
)

DENSENET = (
    *unit("stem", "features.conv0", "features.norm0"),
    ("stage{s}/layer{n}/{x}", "features.denseblock{s}.denselayer{n}.{x}"),
    ("transition{s}/{x}", "features.transition{s}.{x}"),
    ("norm", "features.norm5"),
    ("head", "classifier"),
)

RESNET = (
    *unit("stem", "conv1", "bn1"),
    ("stage{s}/block{b}/conv{n}", "layer{s}.{b-1}.conv{n}"),
    ("stage{s}/block{b}/norm{n}", "layer{s}.{b-1}.bn{n}"),
    ("stage{s}/block{b}/project", "layer{s}.{b-1}.downsample.0"),
    ("stage{s}/block{b}/project_norm", "layer{s}.{b-1}.downsample.1"),
    ("head", "fc"),
)

SQUEEZENET_1_0 = (
    ("stem", "features.0"),
    ("stage1/fire{n}/{x}", "features.{n+2}.{x}"),
    ("stage2/fire{n}/{x}", "features.{n+6}.{x}"),
    ("stage3/fire1/{x}", "features.12.{x}"),
    ("head", "classifier.1"),
)
SQUEEZENET_1_1 = (
    ("stem", "features.0"),
    ("stage1/fire{n}/{x}", "features.{n+2}.{x}"),
    ("stage2/fire{n}/{x}", "features.{n+5}.{x}"),
    ("stage3/fire{n}/{x}", "features.{n+8}.{x}"),
    ("head", "classifier.1"),
)


def vgg_features(layers: tuple[int, ...], batch_norm: bool) -> Rules:
    """The numbers of VGG's convolutions in one list with ReLUs and pools."""
    rules, index = [], 0
    for stage, depth in enumerate(layers, start=1):
        for layer in range(1, depth + 1):
            rules.append((f"stage{stage}/conv{layer}", f"features.{index}"))
            if batch_norm:
                rules.append((f"stage{stage}/norm{layer}", f"features.{index + 1}"))
            index += 3 if batch_norm else 2
        index += 1
    return tuple(rules)


VGG_HEAD = (
    ("fc1", "classifier.0"),
    ("fc2", "classifier.3"),
    ("head", "classifier.6"),
)
VGG_HEAD_TIMM = (
    ("fc1", "pre_logits.fc1"),
    ("fc2", "pre_logits.fc2"),
    ("head", "head.fc"),
)


def _pairs(ours: str, theirs: str) -> Rules:
    """A `ConvNorm` that the reference keeps as items 0 and 1 of a list."""
    return unit(ours, f"{theirs}.0", f"{theirs}.1")


def _mobile_block(ours: str, theirs: str, expands: bool) -> Rules:
    """An inverted residual of torchvision's MobileNetV2."""
    first = _pairs(f"{ours}/expand", f"{theirs}.conv.0") if expands else ()
    n = 1 if expands else 0
    return (
        *first,
        *_pairs(f"{ours}/filter", f"{theirs}.conv.{n}"),
        *unit(f"{ours}/project", f"{theirs}.conv.{n + 1}", f"{theirs}.conv.{n + 2}"),
    )


MOBILENET_V2 = (
    *_pairs("stem", "features.0"),
    *_mobile_block("stage1/block1", "features.1", expands=False),
    *_mobile_block("stage2/block{b}", "features.{b+1}", expands=True),
    *_mobile_block("stage3/block{b}", "features.{b+3}", expands=True),
    *_mobile_block("stage4/block{b}", "features.{b+6}", expands=True),
    *_mobile_block("stage5/block{b}", "features.{b+10}", expands=True),
    *_mobile_block("stage6/block{b}", "features.{b+13}", expands=True),
    *_mobile_block("stage7/block{b}", "features.{b+16}", expands=True),
    *_pairs("last", "features.18"),
    ("head", "classifier.1"),
)


def _mbconv(ours: str, theirs: str, expands: bool) -> Rules:
    """An inverted residual of torchvision's EfficientNet."""
    first = _pairs(f"{ours}/expand", f"{theirs}.block.0") if expands else ()
    n = 1 if expands else 0
    return (
        *first,
        *_pairs(f"{ours}/filter", f"{theirs}.block.{n}"),
        (f"{ours}/gate/reduce", f"{theirs}.block.{n + 1}.fc1"),
        (f"{ours}/gate/expand", f"{theirs}.block.{n + 1}.fc2"),
        *_pairs(f"{ours}/project", f"{theirs}.block.{n + 2}"),
    )


EFFICIENTNET = (
    *_pairs("stem", "features.0"),
    *_mbconv("stage1/block{b}", "features.1.{b-1}", expands=False),
    *_mbconv("stage{s}/block{b}", "features.{s}.{b-1}", expands=True),
    *_pairs("last", "features.8"),
    ("head", "classifier.1"),
)

# timm names MobileNet v1, v2 and EfficientNet alike; blocks of the first stage, and
# all of v1's, do not expand
_TIMM_SEPARABLE = (
    *unit("filter", ".conv_dw", ".bn1"),
    ("gate/reduce", ".se.conv_reduce"),
    ("gate/expand", ".se.conv_expand"),
    *unit("project", ".conv_pw", ".bn2"),
)
_TIMM_INVERTED = (
    *unit("expand", ".conv_pw", ".bn1"),
    *unit("filter", ".conv_dw", ".bn2"),
    ("gate/reduce", ".se.conv_reduce"),
    ("gate/expand", ".se.conv_expand"),
    *unit("project", ".conv_pwl", ".bn3"),
)
_TIMM_ENDS = (
    *unit("stem", "conv_stem", "bn1"),
    *unit("last", "conv_head", "bn2"),
    ("head", "classifier"),
)
MOBILENET_V1_TIMM = (
    *under("stage{s}/block{b}", "blocks.{s-1}.{b-1}", _TIMM_SEPARABLE),
    *_TIMM_ENDS,
)
INVERTED_TIMM = (
    *under("stage1/block{b}", "blocks.0.{b-1}", _TIMM_SEPARABLE),
    *under("stage{s}/block{b}", "blocks.{s-1}.{b-1}", _TIMM_INVERTED),
    *_TIMM_ENDS,
)


def _separable(ours: str, theirs: str, norm: str) -> Rules:
    """Xception's unit: depthwise, pointwise, normalisation."""
    return (
        (f"{ours}/depthwise", f"{theirs}.conv1"),
        (f"{ours}/pointwise", f"{theirs}.pointwise"),
        (f"{ours}/norm", norm),
    )


def _xception_block(ours: str, theirs: str, first: int = 1) -> Rules:
    """A block of timm's; `first` is 0 where it does not begin with a ReLU."""
    parts = [
        _separable(
            f"{ours}/conv{n}",
            f"{theirs}.rep.{3 * n - 3 + first}",
            f"{theirs}.rep.{3 * n - 2 + first}",
        )
        for n in (1, 2, 3)
    ]
    shortcut = unit(f"{ours}/project", f"{theirs}.skip", f"{theirs}.skipbn")
    return (*(rule for part in parts for rule in part), *shortcut)


XCEPTION_TIMM = (
    *unit("entry/conv1", "conv1", "bn1"),
    *unit("entry/conv2", "conv2", "bn2"),
    *_xception_block("entry/block1", "block1", first=0),
    *_xception_block("entry/block{b}", "block{b}"),
    *_xception_block("middle/block{b}", "block{b+3}"),
    *_xception_block("exit/block", "block12"),
    *_separable("exit/conv1", "conv3", "bn3"),
    *_separable("exit/conv2", "conv4", "bn4"),
    ("head", "fc"),
)


def _vgg(layers: tuple[int, ...], batch_norm: bool) -> dict[str, Family]:
    features = vgg_features(layers, batch_norm)
    return {
        "torchvision": Family((*features, *VGG_HEAD), "stage1/conv1", {"fc1": 7}),
        "timm": Family(
            (*features, *VGG_HEAD_TIMM),
            "stage1/conv1",
            convolutions={"fc1": 7, "fc2": 1},
        ),
    }


_DENSENET = {"torchvision": Family(DENSENET, "stem/conv")}  # timm: the same names
_RESNET = {"torchvision": Family(RESNET, "stem/conv")}  # timm: the same names
_EFFICIENTNET = {
    "torchvision": Family(EFFICIENTNET, "stem/conv"),
    "timm": Family(INVERTED_TIMM, "stem/conv"),
}
_V3_STEM = "stem/conv1/conv"

# network: naming: family. The first naming is what `to_torch` writes
FAMILIES: dict[str, dict[str, Family]] = {
    "alexnet": {"torchvision": Family(ALEXNET, "conv1", {"fc1": 6})},
    **dict.fromkeys(
        ("chexnet", "densenet121", "densenet169", "densenet201"), _DENSENET
    ),
    **{f"efficientnet_b{n}": _EFFICIENTNET for n in range(8)},
    "googlenet": {
        "torchvision": Family(
            GOOGLENET, "conv1/conv", {"aux1/dense": 4, "aux2/dense": 4}, HALF
        )
    },
    "inception_resnet_v2": {
        "timm": Family(INCEPTION_RESNET_V2, _V3_STEM, normalisation=HALF)
    },
    "inception_v3": {"torchvision": Family(INCEPTION_V3, _V3_STEM, {}, HALF)},
    "inception_v4": {"timm": Family(INCEPTION_V4, _V3_STEM, normalisation=HALF)},
    "mobilenet_v1": {
        "timm": Family(MOBILENET_V1_TIMM, "stem/conv", normalisation=HALF)
    },
    "mobilenet_v2": {
        "torchvision": Family(MOBILENET_V2, "stem/conv"),
        "timm": Family(INVERTED_TIMM, "stem/conv"),
    },
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101"), _RESNET),
    "squeezenet1_0": {"torchvision": Family(SQUEEZENET_1_0, "stem")},
    "squeezenet1_1": {"torchvision": Family(SQUEEZENET_1_1, "stem")},
    "vgg16": _vgg((2, 2, 3, 3, 3), batch_norm=False),
    "vgg16_bn": _vgg((2, 2, 3, 3, 3), batch_norm=True),
    "vgg19": _vgg((2, 2, 4, 4, 4), batch_norm=False),
    "vgg19_bn": _vgg((2, 2, 4, 4, 4), batch_norm=True),
    "xception": {"timm": Family(XCEPTION_TIMM, "entry/conv1/conv", normalisation=HALF)},
}
