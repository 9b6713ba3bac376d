"""Tables of names: complete, one to one, and undone by their inverse."""

import numpy as np
import pytest

from covjax.errors import InputError
from covjax.interop import names
from covjax.interop.convert import (
    current_name,
    flatten,
    from_torch,
    require_same_names,
    to_torch,
    torch_name,
    unflatten,
)
from covjax.interop.keras import keras_name, numbered_from_zero
from covjax.interop.keras_names import KERAS
from covjax.interop.rules import translate
from covjax.models import MODELS


@pytest.fixture(scope="module")
def shapes():
    import jax
    import jax.numpy as jnp

    from covjax.models import create_model

    known = {}

    def of(name):
        if name not in known:
            size = MODELS[name].native_size
            model = create_model(name, num_classes=5)
            tree = jax.eval_shape(
                lambda: model.init(
                    jax.random.key(0), jnp.zeros((1, size, size, 3)), train=False
                )
            )
            known[name] = {k: tree[k] for k in ("params", "batch_stats") if k in tree}
        return known[name]

    return of


@pytest.mark.parametrize("name", names.FAMILIES)
def test_every_tensor_has_a_name_of_its_own(name, shapes):
    paths = flatten(shapes(name))
    for family in names.FAMILIES[name].values():
        assert len({torch_name(family, path) for path in paths}) == len(paths)
        assert ("params", *family.stem.split("/"), "kernel") in paths
        for module in {**family.flattened, **family.convolutions}:
            assert ("params", *module.split("/"), "kernel") in paths


@pytest.mark.parametrize("name", KERAS)
def test_every_tensor_has_a_keras_name_of_its_own(name, shapes):
    paths = flatten(shapes(name))
    paths = {p: s for p, s in paths.items() if "aux" not in p[1]}
    assert len({keras_name(KERAS[name], p, paths) for p in paths}) == len(paths)
    assert ("params", *KERAS[name].stem.split("/"), "kernel") in paths


@pytest.mark.parametrize(
    ("name", "naming"),
    [("alexnet", ""), ("googlenet", ""), ("mobilenet_v2", "timm"), ("vgg16", "timm")],
)
def test_round_trip_is_the_identity(name, naming, shapes):
    """Dense layers behind flattened maps included; values are their own numbers."""
    start = 0
    leaves = {}
    for path, leaf in flatten(shapes(name)).items():
        # float32 counts exactly up to 2^24 only; a wrong order shows in any tensor
        numbers = np.arange(start, start + np.prod(leaf.shape)) % 16_777_213
        leaves[path] = numbers.astype(np.float32).reshape(leaf.shape)
        start += 7
    variables = unflatten(leaves)
    back = flatten(from_torch(name, to_torch(name, variables, naming), shapes(name)))
    assert back.keys() == leaves.keys()
    for path, leaf in leaves.items():
        np.testing.assert_array_equal(back[path], leaf)


def test_kernels_change_axes():
    """One tensor by hand: [height, width, in, out] to [out, in, height, width]."""
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    variables = {"params": {"stem": {"conv": {"kernel": kernel}}}}
    theirs = to_torch("resnet18", variables)
    assert list(theirs) == ["conv1.weight"]
    assert theirs["conv1.weight"].shape == (5, 4, 2, 3)
    assert theirs["conv1.weight"][4, 3, 1, 2] == kernel[1, 2, 3, 4]


def test_flattened_maps_change_order():
    """Row c*4*4 + h*4 + w of PyTorch is row (h*4 + w)*128 + c here."""
    kernel = np.arange(2048, dtype=np.float32).reshape(2048, 1)
    variables = {"params": {"aux1": {"dense": {"kernel": kernel}}}}
    weight = to_torch("googlenet", variables)["aux1.fc1.weight"]
    c, h, w = 77, 2, 3
    assert weight[0, c * 16 + h * 4 + w] == kernel[(h * 4 + w) * 128 + c, 0]


def test_rules():
    rules = (("a{n}/last", "x.last"), ("a{n}/b{m}", "x{n+1}.{m-1}"), ("c", "d"))
    assert translate(rules, "a3/b1") == "x4.0"
    assert translate(rules, "a3/last") == "x.last"
    assert translate(rules, "a3") is None
    assert translate(rules, "a3/b1/c") is None


def test_old_densenet_names():
    old = "features.denseblock2.denselayer3.conv.2.weight"
    assert current_name(old) == "features.denseblock2.denselayer3.conv2.weight"
    assert current_name("features.conv0.weight") == "features.conv0.weight"


def test_keras_numbers_start_anywhere():
    arrays = dict.fromkeys(("conv2d_9/kernel", "conv2d_10/kernel", "conv2d/kernel"))
    assert list(numbered_from_zero(arrays)) == [
        "conv2d:1/kernel",
        "conv2d:2/kernel",
        "conv2d:0/kernel",
    ]


def test_missing_and_left_over_are_listed(shapes):
    state = {
        name: np.zeros(1, np.float32)
        for name in to_torch("resnet18", {"params": {"head": {"bias": np.zeros(1)}}})
    }
    state["extra.weight"] = np.zeros(1)
    state["bn1.num_batches_tracked"] = np.zeros(())
    with pytest.raises(InputError) as caught:
        from_torch("resnet18", state, shapes("resnet18"))
    message = str(caught.value)
    assert "missing 101: bn1.bias" in message
    assert "left over 1: extra.weight" in message
    assert "num_batches_tracked" not in message
    assert "\n" not in message


def test_other_shapes_are_refused(shapes):
    zeros = unflatten(
        {
            p: np.zeros(s.shape, np.float32)
            for p, s in flatten(shapes("resnet18")).items()
        }
    )
    state = to_torch("resnet18", zeros)
    state["layer2.0.conv1.weight"] = np.zeros((128, 64, 5, 5))
    with pytest.raises(
        InputError, match=r"stage2/block1/conv1/kernel has shape \(3, 3"
    ):
        from_torch("resnet18", state, shapes("resnet18"))


def test_networks_without_a_counterpart_are_named(shapes):
    with pytest.raises(InputError, match="'capsnet': has no torchvision or timm"):
        to_torch("capsnet", {})


def test_auxiliary_heads_alone_are_told_how_to_fit():
    without, with_them = {"fc.weight"}, {"fc.weight", "AuxLogits.fc.weight"}
    with pytest.raises(InputError, match=r"nothing; config.*aux_heads=False fits"):
        require_same_names("inception_v3", with_them, without)
    with pytest.raises(InputError, match="aux_heads=True fits"):
        require_same_names("inception_v3", without, with_them)
    with pytest.raises(InputError, match=r"left over 1: fc\.bias$"):
        require_same_names("inception_v3", with_them, without | {"fc.bias"})
