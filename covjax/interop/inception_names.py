"""Names of the inception family in torchvision (GoogLeNet, v3) and timm (v4, ResNet).

The rules are explained in `covjax.interop.rules`.
"""

from covjax.interop.rules import under, units

GOOGLENET = (
    *units(
        (
            ("conv{n}", "conv{n}"),
            ("inception{x}/branch1/conv1", "inception{x}.branch1"),
            ("inception{x}/branch4/conv1", "inception{x}.branch4.1"),
            ("inception{x}/branch{b}/conv{n}", "inception{x}.branch{b}.{n-1}"),
            ("aux{n}/conv", "aux{n}.conv"),
        )
    ),
    ("aux{n}/dense", "aux{n}.fc1"),
    ("aux{n}/head", "aux{n}.fc2"),
    ("head", "fc"),
)

_V3_A = (
    ("branch1/conv1", ".branch1x1"),
    ("branch2/conv{n}", ".branch5x5_{n}"),
    ("branch3/conv{n}", ".branch3x3dbl_{n}"),
    ("branch4/conv1", ".branch_pool"),
)
_V3_B = (
    ("branch1/conv1", ".branch3x3"),
    ("branch2/conv{n}", ".branch3x3dbl_{n}"),
)
_V3_C = (
    ("branch1/conv1", ".branch1x1"),
    ("branch2/conv{n}", ".branch7x7_{n}"),
    ("branch3/conv{n}", ".branch7x7dbl_{n}"),
    ("branch4/conv1", ".branch_pool"),
)
_V3_D = (
    ("branch1/conv{n}", ".branch3x3_{n}"),
    ("branch2/conv{n}", ".branch7x7x3_{n}"),
)
_V3_E = (
    ("branch1/conv1", ".branch1x1"),
    ("branch2/conv1", ".branch3x3_1"),
    ("branch2/mixed2/branch1/conv1", ".branch3x3_2a"),
    ("branch2/mixed2/branch2/conv1", ".branch3x3_2b"),
    ("branch3/conv{n}", ".branch3x3dbl_{n}"),
    ("branch3/mixed3/branch1/conv1", ".branch3x3dbl_3a"),
    ("branch3/mixed3/branch2/conv1", ".branch3x3dbl_3b"),
    ("branch4/conv1", ".branch_pool"),
)
INCEPTION_V3 = (
    *units(
        (
            ("stem/conv1", "Conv2d_1a_3x3"),
            ("stem/conv2", "Conv2d_2a_3x3"),
            ("stem/conv3", "Conv2d_2b_3x3"),
            ("stem/conv4", "Conv2d_3b_1x1"),
            ("stem/conv5", "Conv2d_4a_3x3"),
            *under("stage1/mixed1", "Mixed_5b", _V3_A),
            *under("stage1/mixed2", "Mixed_5c", _V3_A),
            *under("stage1/mixed3", "Mixed_5d", _V3_A),
            *under("stage2/mixed1", "Mixed_6a", _V3_B),
            *under("stage2/mixed2", "Mixed_6b", _V3_C),
            *under("stage2/mixed3", "Mixed_6c", _V3_C),
            *under("stage2/mixed4", "Mixed_6d", _V3_C),
            *under("stage2/mixed5", "Mixed_6e", _V3_C),
            *under("stage3/mixed1", "Mixed_7a", _V3_D),
            *under("stage3/mixed2", "Mixed_7b", _V3_E),
            *under("stage3/mixed3", "Mixed_7c", _V3_E),
            ("aux/conv{n}", "AuxLogits.conv{n-1}"),
        )
    ),
    ("aux/head", "AuxLogits.fc"),
    ("head", "fc"),
)

_CHAINS = (("branch{b}/conv{n}", ".branch{b-1}.{n-1}"),)
_POOL_LAST = (
    ("branch1/conv1", ".branch0"),
    ("branch4/conv1", ".branch3.1"),
    *_CHAINS,
)
_V4_C = (
    ("branch1/conv1", ".branch0"),
    ("branch2/conv1", ".branch1_0"),
    ("branch2/mixed2/branch1/conv1", ".branch1_1a"),
    ("branch2/mixed2/branch2/conv1", ".branch1_1b"),
    ("branch3/conv{n}", ".branch2_{n-1}"),
    ("branch3/mixed4/branch1/conv1", ".branch2_3a"),
    ("branch3/mixed4/branch2/conv1", ".branch2_3b"),
    ("branch4/conv1", ".branch3.1"),
)
INCEPTION_V4 = (
    *units(
        (
            ("stem/conv{n}", "features.{n-1}"),
            ("stem/mixed4/branch2/conv1", "features.3.conv"),
            *under("stem/mixed5", "features.4", _CHAINS),
            ("stem/mixed6/branch1/conv1", "features.5.conv"),
            *under("stage1/mixed{m}", "features.{m+5}", _POOL_LAST),
            *under("stage2/mixed{m}", "features.{m+9}", _POOL_LAST),
            *under("stage3/mixed1", "features.18", _CHAINS),
            *under("stage3/mixed{m}", "features.{m+17}", _V4_C),
        )
    ),
    ("head", "last_linear"),
)

INCEPTION_RESNET_V2 = (
    *units(
        (
            ("stem/conv1", "conv2d_1a"),
            ("stem/conv2", "conv2d_2a"),
            ("stem/conv3", "conv2d_2b"),
            ("stem/conv4", "conv2d_3b"),
            ("stem/conv5", "conv2d_4a"),
            *under("stage1/entry", "mixed_5b", _POOL_LAST),
            *under("stage2/entry", "mixed_6a", _POOL_LAST),
            *under("stage3/entry", "mixed_7a", _CHAINS),
            *under("stage1/block{m}", "repeat.{m-1}", _POOL_LAST),
            *under("stage2/block{m}", "repeat_1.{m-1}", _POOL_LAST),
            *under("stage3/block{m}", "repeat_2.{m-1}", _POOL_LAST),
            *under("last_block", "block8", _POOL_LAST),
            ("last_conv", "conv2d_7b"),
        )
    ),
    ("stage1/block{m}/project", "repeat.{m-1}.conv2d"),
    ("stage2/block{m}/project", "repeat_1.{m-1}.conv2d"),
    ("stage3/block{m}/project", "repeat_2.{m-1}.conv2d"),
    ("last_block/project", "block8.conv2d"),
    ("head", "classif"),
)
