"""Names of every family's layers in Keras applications: the table `KERAS`.

The rules are explained in `covjax.interop.rules`; the reference's side is a layer's
name, or ``layer/variable`` where a layer holds two kernels. Layers that Keras numbers
by itself are ``class:n`` here, n counting from 0 in the order in which they were made.
Keras' ResNets (biases before every normalisation) and EfficientNets (normalisation of
the pictures inside the network) have no entry.
"""

from typing import NamedTuple

from covjax.blocks.inception import Layer, Mixed, Pool, Steps
from covjax.interop.names import HALF, IMAGENET, Normalisation
from covjax.interop.rules import Rules, under, unit
from covjax.models import inception_resnet_v2, inception_v3
from covjax.models.inception_v3 import INCEPTION_E, REDUCTION_B, REDUCTION_D

# pictures of 0 to 255 in the order blue, green, red, less these means (in RGB here)
CAFFE = Normalisation(
    (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
)


class KerasFamily(NamedTuple):
    """How networks of one family are named by Keras, and what they expect."""

    rules: Rules
    stem: str  # covjax's module that reads the picture
    normalisation: Normalisation = HALF
    blue_first: bool = False  # channels of the stem's kernel
    learnt_scale: bool = True  # False: normalisations without a factor


VGG = (
    ("stage{s}/conv{n}", "block{s}_conv{n}"),
    ("fc1", "fc1"),
    ("fc2", "fc2"),
    ("head", "predictions"),
)

DENSENET = (
    *unit("stem", "conv1_conv", "conv1_bn"),
    ("stage{s}/layer{n}/norm1", "conv{s+1}_block{n}_0_bn"),
    ("stage{s}/layer{n}/conv1", "conv{s+1}_block{n}_1_conv"),
    ("stage{s}/layer{n}/norm2", "conv{s+1}_block{n}_1_bn"),
    ("stage{s}/layer{n}/conv2", "conv{s+1}_block{n}_2_conv"),
    *unit("transition{s}", "pool{s+1}_conv", "pool{s+1}_bn"),
    ("norm", "bn"),
    ("head", "predictions"),
)


def _separable_block(ours: str, number: str) -> Rules:
    """A block of MobileNet v1."""
    depthwise, pointwise = f"conv_dw_{number}", f"conv_pw_{number}"
    return (
        *unit(f"{ours}/filter", depthwise, f"{depthwise}_bn"),
        *unit(f"{ours}/project", pointwise, f"{pointwise}_bn"),
    )


MOBILENET_V1 = (
    *unit("stem", "conv1", "conv1_bn"),
    *_separable_block("stage1/block{b}", "{b}"),
    *_separable_block("stage2/block{b}", "{b+1}"),
    *_separable_block("stage3/block{b}", "{b+3}"),
    *_separable_block("stage4/block{b}", "{b+5}"),
    *_separable_block("stage5/block{b}", "{b+11}"),
    ("head", "conv_preds"),
)

_INVERTED = (
    *unit("expand", "_expand", "_expand_BN"),
    *unit("filter", "_depthwise", "_depthwise_BN"),
    *unit("project", "_project", "_project_BN"),
)
MOBILENET_V2 = (
    *unit("stem", "Conv1", "bn_Conv1"),
    *under("stage1/block1", "expanded_conv", _INVERTED),
    *under("stage2/block{b}", "block_{b}", _INVERTED),
    *under("stage3/block{b}", "block_{b+2}", _INVERTED),
    *under("stage4/block{b}", "block_{b+5}", _INVERTED),
    *under("stage5/block{b}", "block_{b+9}", _INVERTED),
    *under("stage6/block{b}", "block_{b+12}", _INVERTED),
    *under("stage7/block{b}", "block_{b+15}", _INVERTED),
    *unit("last", "Conv_1", "Conv_1_bn"),
    ("head", "predictions"),
)


def _numbered(ours: str, number: int) -> Rules:
    """A convolution and a normalisation that Keras numbered alike."""
    return unit(ours, f"conv2d:{number}", f"batch_normalization:{number}")


def _xception_block(ours: str, theirs: str) -> Rules:
    parts = (
        ("/depthwise", "/depthwise_kernel"),
        ("/pointwise", "/pointwise_kernel"),
        ("/norm", "_bn"),
    )
    return tuple(
        (f"{ours}/conv{{n}}{a}", f"{theirs}_sepconv{{n}}{b}") for a, b in parts
    )


XCEPTION = (
    *unit("entry/conv1", "block1_conv1", "block1_conv1_bn"),
    *unit("entry/conv2", "block1_conv2", "block1_conv2_bn"),
    *_xception_block("entry/block{b}", "block{b+1}"),
    *_xception_block("middle/block{b}", "block{b+4}"),
    *_xception_block("exit/block", "block13"),
    *_xception_block("exit", "block14"),
    *_numbered("entry/block1/project", 0),
    *_numbered("entry/block2/project", 1),
    *_numbered("entry/block3/project", 2),
    *_numbered("exit/block/project", 3),
    ("head", "predictions"),
)


def paths(steps: Steps) -> list[str]:
    """Paths of the convolutions that a `Chain` of these steps makes, in order."""
    found: list[str] = []
    parts = [step for step in steps if not isinstance(step, Pool)]
    for n, step in enumerate(parts, start=1):
        if isinstance(step, Layer):
            found.append(f"conv{n}")
        else:
            found += [f"mixed{n}/{path}" for path in mixed_paths(step)]
    return found


def mixed_paths(mixed: Mixed) -> list[str]:
    """Paths of the convolutions of one `Inception`, in order."""
    return [
        f"branch{b}/{path}"
        for b, steps in enumerate(mixed.chains, start=1)
        for path in paths(steps)
    ]


def _inception_v3() -> Rules:
    """Keras makes the convolutions in the order of covjax's own modules."""
    a = tuple(inception_v3.inception_a(n) for n in (32, 64, 64))
    c = tuple(inception_v3.inception_c(n) for n in (128, 160, 160, 192))
    chains = {
        "stem": inception_v3.STEM_V3,
        "stage1": a,
        "stage2": (REDUCTION_B, *c),
        "stage3": (REDUCTION_D, INCEPTION_E, INCEPTION_E),
    }
    order = [
        f"{name}/{path}" for name, steps in chains.items() for path in paths(steps)
    ]
    rules = [_numbered(path, n) for n, path in enumerate(order)]
    return (*(rule for pair in rules for rule in pair), ("head", "predictions"))


def _inception_resnet_v2() -> Rules:
    """The same; projections and the last convolution have names."""
    net = inception_resnet_v2
    order = [f"stem/{path}" for path in paths(net.STEM)]
    stages = (
        (net.ENTRY, net.BLOCK35, 10),
        (net.REDUCTION_A, net.BLOCK17, 20),
        (net.REDUCTION_B, net.BLOCK8, 9),
    )
    for s, (entry, block, count) in enumerate(stages, start=1):
        order += [f"stage{s}/entry/{path}" for path in mixed_paths(entry)]
        for b in range(1, count + 1):
            order += [f"stage{s}/block{b}/{path}" for path in mixed_paths(block)]
    order += [f"last_block/{path}" for path in mixed_paths(net.BLOCK8)]
    rules = [_numbered(path, n) for n, path in enumerate(order)]
    return (
        *(rule for pair in rules for rule in pair),
        ("stage1/block{b}/project", "block35_{b}_conv"),
        ("stage2/block{b}/project", "block17_{b}_conv"),
        ("stage3/block{b}/project", "block8_{b}_conv"),
        ("last_block/project", "block8_10_conv"),
        *unit("last_conv", "conv_7b", "conv_7b_bn"),
        ("head", "predictions"),
    )


_DENSENET = KerasFamily(DENSENET, "stem/conv", IMAGENET)
_VGG = KerasFamily(VGG, "stage1/conv1", CAFFE, blue_first=True)

KERAS: dict[str, KerasFamily] = {
    "densenet121": _DENSENET,
    "densenet169": _DENSENET,
    "densenet201": _DENSENET,
    "inception_resnet_v2": KerasFamily(
        _inception_resnet_v2(), "stem/conv1/conv", learnt_scale=False
    ),
    "inception_v3": KerasFamily(_inception_v3(), "stem/conv1/conv", learnt_scale=False),
    "mobilenet_v1": KerasFamily(MOBILENET_V1, "stem/conv"),
    "mobilenet_v2": KerasFamily(MOBILENET_V2, "stem/conv"),
    "vgg16": _VGG,
    "vgg19": _VGG,
    "xception": KerasFamily(XCEPTION, "entry/conv1/conv"),
}
