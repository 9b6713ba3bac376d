"""Which module of torchvision or timm is which module of ours, family by family.

Every function maps a network of ours to ``{their module: our module}``, such as
``{"features.conv0": "stem/conv"}``. What a module holds follows from its kind: a
weight is our ``kernel`` (or a normalisation's ``scale``), a bias our ``bias``,
``running_mean`` and ``running_var`` our statistics ``mean`` and ``var``.
Hidden dense layers that read a flattened map are in `FLATTENED`.
"""

from collections.abc import Iterable

from covjax.blocks.residual import Bottleneck
from covjax.models.alexnet import AlexNet, AlexNet2012
from covjax.models.densenet import DenseNet
from covjax.models.efficientnet import STAGES, EfficientNet, repeats
from covjax.models.mobilenet import STAGES_V1, STAGES_V2, MobileNetV1, MobileNetV2
from covjax.models.resnet import ResNet
from covjax.models.squeezenet import SqueezeNet
from covjax.models.vgg import VGG
from covjax.models.xception import Xception

Names = dict[str, str]

# module that reads a flattened map: height and width of that map. PyTorch flattens
# channels first, we flatten them last.
FLATTENED = {AlexNet: {"fc1": 6}, AlexNet2012: {"fc1": 6}, VGG: {"fc1": 7}}


def densenet(model: DenseNet) -> Names:
    """In torchvision and timm."""
    names = {"features.conv0": "stem/conv", "features.norm0": "stem/norm"}
    for i, layers in enumerate(model.blocks, start=1):
        for j in range(1, layers + 1):
            for part in ("norm1", "conv1", "norm2", "conv2"):
                theirs = f"features.denseblock{i}.denselayer{j}.{part}"
                names[theirs] = f"stage{i}/layer{j}/{part}"
    for i in range(1, len(model.blocks)):
        names[f"features.transition{i}.norm"] = f"transition{i}/norm"
        names[f"features.transition{i}.conv"] = f"transition{i}/conv"
    last = f"features.norm{len(model.blocks) + 1}"
    return names | {last: "norm", "classifier": "head"}


def resnet(model: ResNet) -> Names:
    """In torchvision and timm."""
    bottleneck = model.block is Bottleneck
    names = {"conv1": "stem/conv", "bn1": "stem/norm"}
    for i, blocks in enumerate(model.blocks, start=1):
        for j in range(blocks):
            theirs, ours = f"layer{i}.{j}", f"stage{i}/block{j + 1}"
            for k in range(1, 4 if bottleneck else 3):
                names[f"{theirs}.conv{k}"] = f"{ours}/conv{k}"
                names[f"{theirs}.bn{k}"] = f"{ours}/norm{k}"
            if j == 0 and (i > 1 or bottleneck):
                names[f"{theirs}.downsample.0"] = f"{ours}/project"
                names[f"{theirs}.downsample.1"] = f"{ours}/project_norm"
    return names | {"fc": "head"}


def _vgg_trunk(model: VGG) -> Names:
    names, index = {}, 0
    for i, layers in enumerate(model.layers, start=1):
        for j in range(1, layers + 1):
            names[f"features.{index}"] = f"stage{i}/conv{j}"
            if model.batch_norm:
                names[f"features.{index + 1}"] = f"stage{i}/norm{j}"
            index += 3 if model.batch_norm else 2  # and the ReLU
        index += 1  # the pooling
    return names


def vgg(model: VGG) -> Names:
    """In torchvision."""
    dense = {"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "head"}
    return _vgg_trunk(model) | dense


def vgg_timm(model: VGG) -> Names:
    """In timm, whose hidden layers are convolutions."""
    dense = {"pre_logits.fc1": "fc1", "pre_logits.fc2": "fc2", "head.fc": "head"}
    return _vgg_trunk(model) | dense


def alexnet(model: AlexNet) -> Names:
    """In torchvision."""
    del model  # one geometry
    convs = {f"features.{n}": f"conv{i}" for i, n in enumerate((0, 3, 6, 8, 10), 1)}
    return convs | {
        "classifier.1": "fc1",
        "classifier.4": "fc2",
        "classifier.6": "head",
    }


def squeezenet(model: SqueezeNet) -> Names:
    """In torchvision."""
    names, index = {"features.0": "stem"}, 2  # after the stem and its ReLU
    for i, fires in enumerate(model.stages, start=1):
        index += 1  # the pooling
        for j in range(1, len(fires) + 1):
            for part in ("squeeze", "expand1x1", "expand3x3"):
                names[f"features.{index}.{part}"] = f"stage{i}/fire{j}/{part}"
            index += 1
    return names | {"classifier.1": "head"}


def _unit(conv: str, norm: str, ours: str) -> Names:
    """A convolution and its normalisation."""
    return {conv: f"{ours}/conv", norm: f"{ours}/norm"}


def mobilenet_v1_timm(model: MobileNetV1) -> Names:
    """In timm."""
    del model  # one geometry
    names = _unit("conv_stem", "bn1", "stem")
    for i, (_, blocks, _) in enumerate(STAGES_V1):
        for j in range(blocks):
            theirs, ours = f"blocks.{i}.{j}", f"stage{i + 1}/block{j + 1}"
            names |= _unit(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}/filter")
            names |= _unit(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}/project")
    return names | {"classifier": "head"}


def mobilenet_v2(model: MobileNetV2) -> Names:
    """In torchvision."""
    del model  # one geometry
    names, index = _unit("features.0.0", "features.0.1", "stem"), 1
    for i, (expansion, _, blocks, _) in enumerate(STAGES_V2, start=1):
        for j in range(1, blocks + 1):
            theirs, ours, part = f"features.{index}.conv", f"stage{i}/block{j}", 0
            if expansion > 1:
                names |= _unit(f"{theirs}.0.0", f"{theirs}.0.1", f"{ours}/expand")
                part = 1
            filter_ = f"{theirs}.{part}"
            names |= _unit(f"{filter_}.0", f"{filter_}.1", f"{ours}/filter")
            project = f"{theirs}.{part + 1}", f"{theirs}.{part + 2}"
            names |= _unit(*project, f"{ours}/project")
            index += 1
    names |= _unit(f"features.{index}.0", f"features.{index}.1", "last")
    return names | {"classifier.1": "head"}


def _timm_inverted(stages: Iterable[tuple[int, int]], gated: bool) -> Names:
    """Networks of inverted residuals in timm; (expansion, blocks) of each stage."""
    names = _unit("conv_stem", "bn1", "stem")
    for i, (expansion, blocks) in enumerate(stages):
        for j in range(blocks):
            theirs, ours = f"blocks.{i}.{j}", f"stage{i + 1}/block{j + 1}"
            units = [("conv_dw", "filter"), ("conv_pw", "project")]
            if expansion > 1:
                units = [("conv_pw", "expand"), *units[:1], ("conv_pwl", "project")]
            for k, (conv, part) in enumerate(units, start=1):
                names |= _unit(f"{theirs}.{conv}", f"{theirs}.bn{k}", f"{ours}/{part}")
            if gated:
                names[f"{theirs}.se.conv_reduce"] = f"{ours}/gate/reduce"
                names[f"{theirs}.se.conv_expand"] = f"{ours}/gate/expand"
    return names | _unit("conv_head", "bn2", "last") | {"classifier": "head"}


def mobilenet_v2_timm(model: MobileNetV2) -> Names:
    """In timm."""
    del model  # one geometry
    return _timm_inverted(((t, n) for t, _, n, _ in STAGES_V2), gated=False)


def efficientnet_timm(model: EfficientNet) -> Names:
    """In timm, with and without "tf_"."""
    expansions = (stage[0] for stage in STAGES)
    return _timm_inverted(zip(expansions, repeats(model.depth)), gated=True)


def efficientnet(model: EfficientNet) -> Names:
    """In torchvision."""
    names = _unit("features.0.0", "features.0.1", "stem")
    for i, blocks in enumerate(repeats(model.depth), start=1):
        parts = ["filter", "gate", "project"]
        if STAGES[i - 1][0] > 1:
            parts = ["expand", *parts]
        for j in range(blocks):
            for k, part in enumerate(parts):
                theirs, ours = f"features.{i}.{j}.block.{k}", f"stage{i}/block{j + 1}"
                if part == "gate":
                    names[f"{theirs}.fc1"] = f"{ours}/gate/reduce"
                    names[f"{theirs}.fc2"] = f"{ours}/gate/expand"
                else:
                    names |= _unit(f"{theirs}.0", f"{theirs}.1", f"{ours}/{part}")
    last = len(STAGES) + 1
    names |= _unit(f"features.{last}.0", f"features.{last}.1", "last")
    return names | {"classifier.1": "head"}


def xception_timm(model: Xception) -> Names:
    """In timm's ``legacy_xception``."""
    del model  # one geometry
    names = _unit("conv1", "bn1", "entry/conv1") | _unit("conv2", "bn2", "entry/conv2")
    # (their block, our block, separable convolutions, index of the first)
    blocks = [(i, f"entry/block{i}", 2, 0 if i == 1 else 1) for i in (1, 2, 3)]
    blocks += [(i, f"middle/block{i - 3}", 3, 1) for i in range(4, 12)]
    blocks += [(12, "exit/block", 2, 1)]
    for i, ours, convs, first in blocks:
        for k in range(convs):
            theirs, index = f"block{i}.rep", first + 3 * k  # ReLU, separable, norm
            names[f"{theirs}.{index}.conv1"] = f"{ours}/conv{k + 1}/depthwise"
            names[f"{theirs}.{index}.pointwise"] = f"{ours}/conv{k + 1}/pointwise"
            names[f"{theirs}.{index + 1}"] = f"{ours}/conv{k + 1}/norm"
        if not ours.startswith("middle"):
            names |= _unit(f"block{i}.skip", f"block{i}.skipbn", f"{ours}/project")
    for i in (3, 4):
        names[f"conv{i}.conv1"] = f"exit/conv{i - 2}/depthwise"
        names[f"conv{i}.pointwise"] = f"exit/conv{i - 2}/pointwise"
        names[f"bn{i}"] = f"exit/conv{i - 2}/norm"
    return names | {"fc": "head"}


TORCHVISION = {
    AlexNet: alexnet,
    DenseNet: densenet,
    EfficientNet: efficientnet,
    MobileNetV2: mobilenet_v2,
    ResNet: resnet,
    SqueezeNet: squeezenet,
    VGG: vgg,
}
TIMM = {
    DenseNet: densenet,
    EfficientNet: efficientnet_timm,
    MobileNetV1: mobilenet_v1_timm,
    MobileNetV2: mobilenet_v2_timm,
    ResNet: resnet,
    VGG: vgg_timm,
    Xception: xception_timm,
}
