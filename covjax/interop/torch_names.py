"""Names of the networks outside the inception family in torchvision and in timm.

`FAMILIES` has one naming a network, torchvision's where it has the network, and
timm's under ``timm/NAME`` where that is another one. The rules are those of
`covjax.interop.names`; lists that count layers through a whole network, as
torchvision's do, are written out from the network's geometry.
"""

from covjax.interop.names import Family, Rules
from covjax.models.mobilenet import STAGES_V2
from covjax.models.squeezenet import SqueezeNet1_0, SqueezeNet1_1
from covjax.models.vgg import VGG16, VGG19

DENSENET = (
    ("stem/{p}", "features.{p}0"),
    ("stage{s}/layer{l}/{p}", "features.denseblock{s}.denselayer{l}.{p}"),
    ("transition{t}/{p}", "features.transition{t}.{p}"),
    ("norm", "features.norm5"),
    ("head", "classifier"),
)
RESNET = (
    ("stem/conv", "conv1"),
    ("stem/norm", "bn1"),
    ("stage{s}/block{b}/conv{c}", "layer{s}.{b-1}.conv{c}"),
    ("stage{s}/block{b}/norm{c}", "layer{s}.{b-1}.bn{c}"),
    ("stage{s}/block{b}/project", "layer{s}.{b-1}.downsample.0"),
    ("stage{s}/block{b}/project_norm", "layer{s}.{b-1}.downsample.1"),
    ("head", "fc"),
)
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


def numbered(units: tuple[tuple[str, str], ...]) -> Rules:
    """Rules for (our unit, their unit): its convolution is .0, its norm .1."""
    parts = (("conv", "0"), ("norm", "1"))
    return tuple((f"{u}/{p}", f"{v}.{n}") for u, v in units for p, n in parts)


def vgg_convolutions(layers: tuple[int, ...], batch_norm: bool) -> Rules:
    """For torchvision and timm, which count norms, ReLUs and poolings as well."""
    rules, index = [], 0
    for s, depth in enumerate(layers, start=1):
        for c in range(1, depth + 1):
            rules.append((f"stage{s}/conv{c}", f"features.{index}"))
            rules.append((f"stage{s}/norm{c}", f"features.{index + 1}"))
            index += 3 if batch_norm else 2
        index += 1
    return tuple(rules)


def squeezenet(stages: tuple[tuple[tuple[int, int], ...], ...]) -> Rules:
    """For torchvision, which counts stem, ReLU, poolings and Fire blocks through."""
    rules, index = [("stem", "features.0"), ("head", "classifier.1")], 2
    for s, fires in enumerate(stages, start=1):
        rules.append((f"stage{s}/fire{{f}}/{{p}}", f"features.{{f+{index}}}.{{p}}"))
        index += 1 + len(fires)
    return tuple(rules)


def mobilenet_v2() -> Rules:
    """For torchvision, which counts blocks through; the first has no expansion."""
    first = "stage1/block1"
    rules = [
        *numbered((("stem", "features.0"), (f"{first}/filter", "features.1.conv.0"))),
        (f"{first}/project/conv", "features.1.conv.1"),
        (f"{first}/project/norm", "features.1.conv.2"),
    ]
    index = 1  # blocks so far
    for s, (_, _, blocks, _) in enumerate(STAGES_V2[1:], start=2):
        ours, theirs = f"stage{s}/block{{b}}", f"features.{{b+{index}}}.conv"
        rules += numbered(
            ((f"{ours}/expand", f"{theirs}.0"), (f"{ours}/filter", f"{theirs}.1"))
        )
        rules.append((f"{ours}/project/conv", f"{theirs}.2"))
        rules.append((f"{ours}/project/norm", f"{theirs}.3"))
        index += blocks
    last = (("last", f"features.{index + 1}"),)
    return (*rules, *numbered(last), ("head", "classifier.1"))


EFFICIENTNET = (
    *numbered(
        (
            ("stem", "features.0"),
            ("stage1/block{b}/filter", "features.1.{b-1}.block.0"),
            ("stage1/block{b}/project", "features.1.{b-1}.block.2"),
            ("stage{s}/block{b}/expand", "features.{s}.{b-1}.block.0"),
            ("stage{s}/block{b}/filter", "features.{s}.{b-1}.block.1"),
            ("stage{s}/block{b}/project", "features.{s}.{b-1}.block.3"),
            ("last", "features.8"),
        )
    ),
    ("stage1/block{b}/gate/reduce", "features.1.{b-1}.block.1.fc1"),
    ("stage1/block{b}/gate/expand", "features.1.{b-1}.block.1.fc2"),
    ("stage{s}/block{b}/gate/reduce", "features.{s}.{b-1}.block.2.fc1"),
    ("stage{s}/block{b}/gate/expand", "features.{s}.{b-1}.block.2.fc2"),
    ("head", "classifier.1"),
)

_TIMM_ENDS = (
    ("stem/conv", "conv_stem"),
    ("stem/norm", "bn1"),
    ("last/conv", "conv_head"),
    ("last/norm", "bn2"),
    ("head", "classifier"),
)


def _separable(ours: str, theirs: str) -> Rules:
    """A timm block without expansion."""
    return (
        (f"{ours}/filter/conv", f"{theirs}.conv_dw"),
        (f"{ours}/filter/norm", f"{theirs}.bn1"),
        (f"{ours}/project/conv", f"{theirs}.conv_pw"),
        (f"{ours}/project/norm", f"{theirs}.bn2"),
    )


MOBILENET_V1_TIMM = (
    *_TIMM_ENDS,
    *_separable("stage{s}/block{b}", "blocks.{s-1}.{b-1}"),
)
INVERTED_TIMM = (
    *_TIMM_ENDS,
    *_separable("stage1/block{b}", "blocks.0.{b-1}"),
    ("stage{s}/block{b}/expand/conv", "blocks.{s-1}.{b-1}.conv_pw"),
    ("stage{s}/block{b}/expand/norm", "blocks.{s-1}.{b-1}.bn1"),
    ("stage{s}/block{b}/filter/conv", "blocks.{s-1}.{b-1}.conv_dw"),
    ("stage{s}/block{b}/filter/norm", "blocks.{s-1}.{b-1}.bn2"),
    ("stage{s}/block{b}/project/conv", "blocks.{s-1}.{b-1}.conv_pwl"),
    ("stage{s}/block{b}/project/norm", "blocks.{s-1}.{b-1}.bn3"),
    ("stage{s}/block{b}/gate/{p}", "blocks.{s-1}.{b-1}.se.conv_{p}"),
)


def _xception_convs(ours: str, theirs: str, convs: int, first: int) -> Rules:
    """Separable convolutions of a block; `first` is 0 where no ReLU comes before."""
    rules = []
    for c in range(convs):
        index = first + 3 * c  # separable convolution, norm, ReLU
        unit = f"{ours}/conv{c + 1}"
        rules += [
            (f"{unit}/depthwise", f"{theirs}.rep.{index}.conv1"),
            (f"{unit}/pointwise", f"{theirs}.rep.{index}.pointwise"),
            (f"{unit}/norm", f"{theirs}.rep.{index + 1}"),
        ]
    return tuple(rules)


XCEPTION = (
    *_xception_convs("entry/block1", "block1", 2, first=0),
    *_xception_convs("entry/block{b}", "block{b}", 2, first=1),
    *_xception_convs("middle/block{b}", "block{b+3}", 3, first=1),
    *_xception_convs("exit/block", "block12", 2, first=1),
    ("entry/block{b}/project/conv", "block{b}.skip"),
    ("entry/block{b}/project/norm", "block{b}.skipbn"),
    ("exit/block/project/conv", "block12.skip"),
    ("exit/block/project/norm", "block12.skipbn"),
    ("entry/conv{c}/conv", "conv{c}"),
    ("entry/conv{c}/norm", "bn{c}"),
    ("exit/conv{c}/depthwise", "conv{c+2}.conv1"),
    ("exit/conv{c}/pointwise", "conv{c+2}.pointwise"),
    ("exit/conv{c}/norm", "bn{c+2}"),
    ("head", "fc"),
)

_DENSE = (("fc1", "classifier.0"), ("fc2", "classifier.3"), ("head", "classifier.6"))
_DENSE_TIMM = (
    ("fc1", "pre_logits.fc1"),
    ("fc2", "pre_logits.fc2"),
    ("head", "head.fc"),
)
_VGG = {
    f"vgg{depth}{'_bn' * batch_norm}": vgg_convolutions(
        make.keywords["layers"], batch_norm
    )
    for depth, make in ((16, VGG16), (19, VGG19))
    for batch_norm in (False, True)
}
_FC1 = {"fc1": 7}  # reads the flattened 7x7 map

FAMILIES: dict[str, Family] = {
    "alexnet": Family(ALEXNET, {"fc1": 6}),
    "chexnet": Family(DENSENET),
    **{f"densenet{n}": Family(DENSENET) for n in (121, 169, 201)},
    **{f"efficientnet_b{n}": Family(EFFICIENTNET) for n in range(8)},
    "mobilenet_v1": Family(MOBILENET_V1_TIMM),
    "mobilenet_v2": Family(mobilenet_v2()),
    **{f"resnet{n}": Family(RESNET) for n in (18, 34, 50, 101)},
    "squeezenet1_0": Family(squeezenet(SqueezeNet1_0.keywords["stages"])),
    "squeezenet1_1": Family(squeezenet(SqueezeNet1_1.keywords["stages"])),
    **{name: Family((*rules, *_DENSE), _FC1) for name, rules in _VGG.items()},
    "xception": Family(XCEPTION),
    # timm's names where torchvision has the network too, under other names
    **{f"timm/efficientnet_b{n}": Family(INVERTED_TIMM) for n in range(8)},
    "timm/mobilenet_v2": Family(INVERTED_TIMM),
    **{
        f"timm/{name}": Family((*rules, *_DENSE_TIMM), _FC1)
        for name, rules in _VGG.items()
    },
}
