"""Structure of the classic networks: stages, projections, strides, padding."""

import functools

import jax
import jax.numpy as jnp
import pytest

from covjax.models import create_model
from covjax.models.anatomy import layers
from covjax.models.efficientnet import round_channels


def table(name, size=224, **kwargs):
    """Path: layer, for every layer of the network."""
    found = layers(create_model(name, num_classes=10, **kwargs), size, 3)
    return {layer.path: layer for layer in found}


def stage_shapes(name, stages, size=224):
    """Shapes of the results of top-level modules."""
    model = create_model(name, num_classes=10)
    x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), x
    )
    variables.pop("perturbations", None)
    apply = functools.partial(
        model.apply,
        train=False,
        mutable=["intermediates"],
        capture_intermediates=lambda module, _: module.path in paths,
    )
    paths = {tuple(stage.split("/")) for stage in stages}
    _, state = jax.eval_shape(apply, variables, x)
    shapes = []
    for stage in stages:
        found = state["intermediates"]
        for part in stage.split("/"):
            found = found[part]
        # of dense blocks the map comes first, its moments may stand beside it
        shapes.append(jax.tree.leaves(found["__call__"])[0].shape[1:])
    return shapes


def squares(*sizes_and_channels):
    return [(size, size, channels) for size, channels in sizes_and_channels]


def numbered(stage, count):
    return [f"{stage}{i}" for i in range(1, count + 1)]


# the tables of the papers, with maps at 224 px (Xception: 299)
STAGES = {
    "densenet121": squares((56, 256), (28, 512), (14, 1024), (7, 1024)),
    "densenet169": squares((56, 256), (28, 512), (14, 1280), (7, 1664)),
    "densenet201": squares((56, 256), (28, 512), (14, 1792), (7, 1920)),
    "resnet18": squares((56, 64), (28, 128), (14, 256), (7, 512)),
    "resnet34": squares((56, 64), (28, 128), (14, 256), (7, 512)),
    "resnet50": squares((56, 256), (28, 512), (14, 1024), (7, 2048)),
    "vgg16": squares((112, 64), (56, 128), (28, 256), (14, 512), (7, 512)),
    "squeezenet1_0": squares((54, 256), (27, 512), (13, 512)),
    "squeezenet1_1": squares((55, 128), (27, 256), (13, 512)),
    "mobilenet_v1": squares((112, 64), (56, 128), (28, 256), (14, 512), (7, 1024)),
    "mobilenet_v2": squares(
        (112, 16), (56, 24), (28, 32), (14, 64), (14, 96), (7, 160), (7, 320)
    ),
    "efficientnet_b0": squares(
        (112, 16), (56, 24), (28, 40), (14, 80), (14, 112), (7, 192), (7, 320)
    ),
}


@pytest.mark.parametrize(("name", "expected"), STAGES.items())
def test_stages_have_the_paper_s_maps(name, expected):
    assert stage_shapes(name, numbered("stage", len(expected))) == expected


def test_the_flows_of_xception():
    stages = [
        "entry/conv2",
        *numbered("entry/block", 3),
        "middle",
        "exit/block",
        "exit",
    ]
    assert stage_shapes("xception", stages, size=299) == squares(
        (147, 64), (74, 128), (37, 256), (19, 728), (19, 728), (10, 1024), (10, 2048)
    )


def blocks(paths, stage, block="block"):
    return len({p.split("/")[1] for p in paths if p.startswith(f"{stage}/{block}")})


@pytest.mark.parametrize(
    ("name", "block", "expected"),
    [
        ("densenet121", "layer", [6, 12, 24, 16]),
        ("densenet169", "layer", [6, 12, 32, 32]),
        ("densenet201", "layer", [6, 12, 48, 32]),
        ("resnet18", "block", [2, 2, 2, 2]),
        ("resnet34", "block", [3, 4, 6, 3]),
        ("resnet50", "block", [3, 4, 6, 3]),
        ("resnet101", "block", [3, 4, 23, 3]),
        ("mobilenet_v1", "block", [1, 2, 2, 6, 2]),
        ("mobilenet_v2", "block", [1, 2, 3, 4, 3, 3, 1]),
        ("efficientnet_b0", "block", [1, 2, 2, 3, 3, 4, 1]),
        ("efficientnet_b4", "block", [2, 4, 4, 6, 6, 8, 2]),
        ("squeezenet1_0", "fire", [3, 4, 1]),
        ("squeezenet1_1", "fire", [2, 2, 4]),
        ("vgg16", "conv", [2, 2, 3, 3, 3]),
        ("vgg19", "conv", [2, 2, 4, 4, 4]),
    ],
)
def test_stages_have_as_many_blocks_as_in_the_paper(name, block, expected):
    paths = table(name, size=64)
    stages = numbered("stage", len(expected))
    assert [blocks(paths, stage, block) for stage in stages] == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("resnet18", {2, 3, 4}), ("resnet50", {1, 2, 3, 4})]
)
def test_only_the_first_block_of_a_stage_projects(name, expected):
    projected = {p for p in table(name, size=64) if p.endswith("/project")}
    assert projected == {f"stage{i}/block1/project" for i in expected}


@pytest.mark.parametrize(("on_first", "size"), [(False, 56), (True, 28)])
def test_the_stride_of_a_bottleneck(on_first, size):
    """v1.5 halves the map in the 3x3, the paper in the 1x1 before it."""
    found = table("resnet50", stride_on_first=on_first)
    assert found["stage2/block1/conv1"].shape == (size, size, 128)
    assert found["stage2/block1/conv2"].shape == (28, 28, 128)


def test_basic_blocks_always_stride_first():
    found = table("resnet18", stride_on_first=True)
    assert found["stage2/block1/conv1"].shape == (28, 28, 128)


def test_the_small_stem_keeps_the_size():
    found = table("resnet18", size=28, small_stem=True)
    assert found["stem/conv"].shape == (28, 28, 64)
    assert found["stage1/block2/conv2"].shape == (28, 28, 64)
    assert found["stage4/block2/conv2"].shape == (4, 4, 512)


def test_a_dense_layer_reads_all_maps_before_it():
    found = table("densenet121")
    norms = [found[f"stage1/layer{i}/norm1"].shape[-1] for i in range(1, 7)]
    assert norms == [64, 96, 128, 160, 192, 224]
    assert found["stage1/layer6/conv1"].shape == (56, 56, 128)
    assert found["transition1/conv"].shape == (56, 56, 128)


def test_an_inverted_residual_expands_but_in_the_first_stage():
    found = table("mobilenet_v2")
    assert "stage1/block1/expand/conv" not in found
    assert found["stage2/block1/expand/conv"].shape == (112, 112, 96)
    assert found["stage2/block1/filter/conv"].shape == (56, 56, 96)
    assert found["stage2/block1/project/conv"].shape == (56, 56, 24)


def test_the_squeeze_counts_from_the_block_s_input():
    found = table("efficientnet_b0")
    assert found["stage1/block1/gate/reduce"].shape == (1, 1, 8)  # 32 / 4
    assert found["stage2/block1/gate/reduce"].shape == (1, 1, 4)  # 16 / 4, not 96 / 4
    assert found["stage2/block1/gate/expand"].shape == (1, 1, 96)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (32 * 1.1, 32),
        (16 * 1.1, 16),
        (24 * 1.4, 32),
        (40 * 1.2, 48),
        (1280 * 1.1, 1408),
    ],
)
def test_channels_are_rounded_to_eights(channels, expected):
    assert round_channels(channels) == expected


def test_channels_never_shrink_by_a_tenth():
    assert round_channels(19) == 24  # the nearest, 16, would be 84 %


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_dense_layers_fit_any_size(name):
    sizes = [table(name, size=size)["fc1"].params for size in (224, 64, 300)]
    assert len(set(sizes)) == 1


def test_groups_halve_the_kernels_of_layers_2_4_and_5():
    whole, split = (table("alexnet_2012", size=227, groups=g) for g in (1, 2))
    for name, expected in (("conv2", 2), ("conv3", 1), ("conv4", 2), ("conv5", 2)):
        kernels = [found[name].multiply_adds for found in (whole, split)]
        assert kernels[0] == expected * kernels[1]


def test_chexnet_is_densenet_with_fourteen_findings():
    chexnet = create_model("chexnet", num_classes=14)
    assert chexnet == create_model("densenet121", num_classes=14)
