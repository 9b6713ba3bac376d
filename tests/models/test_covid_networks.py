"""Structure of the networks made for COVID-19: counts, maps and odd inputs.

Counts of trained parameters at the published size are in test_table.py. Keras's
totals, which the papers print for some, include two running statistics a normalised
channel: here these are counted from "batch_stats".
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.models import create_model
from covjax.models.capsnet import CapsNet
from covjax.models.conv_capsnet import ConvCapsNet
from covjax.models.covxnet import CovXNet128

KEY = jax.random.key(0)
# these programs run once: the compiler need not try hard
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def pictures(size, channels, batch=1):
    return jax.ShapeDtypeStruct((batch, size, size, channels), jnp.float32)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def variables_of(model, size, channels):
    variables = jax.eval_shape(
        lambda x: model.init(KEY, x, train=False), pictures(size, channels)
    )
    return {k: variables.get(k, {}) for k in ("params", "batch_stats")}


def shapes(model, size, channels):
    """Variables and every layer's output, by path, without computing anything."""

    def run(x):
        variables = model.init(KEY, x, train=False)
        kept = {k: variables.get(k, {}) for k in ("params", "batch_stats")}
        _, state = model.apply(
            kept, x, train=False, capture_intermediates=True, mutable="intermediates"
        )
        return kept, state["intermediates"]

    variables, outputs = jax.eval_shape(run, pictures(size, channels))
    flat = jax.tree_util.tree_flatten_with_path(outputs)[0]
    maps = {
        "/".join(key.key for key in path[:-2]): leaf.shape
        for path, leaf in flat
        if path[-2].key == "__call__"
    }
    return variables, maps, outputs["features"][0].shape


@pytest.mark.parametrize(
    ("name", "kwargs", "size", "channels", "num_classes", "total"),
    [
        ("covid_caps", {}, 224, 3, 2, 295_488),
        ("coronet", {}, 150, 3, 4, 33_969_964),
        ("covxnet32", {"depth": 1}, 32, 1, 2, 85_026),
        ("covxnet32", {"depth": 3}, 32, 1, 2, 165_986),
        ("covxnet32", {}, 32, 1, 2, 246_946),
        ("covxnet64", {"depth": 1}, 64, 1, 2, 346_786),
        ("covxnet64", {"depth": 3}, 64, 1, 2, 668_386),
        ("covxnet64", {}, 64, 1, 2, 989_986),
        ("covxnet128", {"depth": 1}, 128, 1, 2, 1_346_082),
        ("covxnet128", {"depth": 3}, 128, 1, 2, 2_589_026),
        ("covxnet128", {}, 128, 1, 2, 3_831_970),
        ("covxnet256", {"depth": 1}, 256, 1, 2, 5_229_474),
        ("covxnet256", {"depth": 3}, 256, 1, 2, 10_065_890),
        ("covxnet256", {}, 256, 1, 2, 14_902_306),
    ],
)
def test_keras_totals(name, kwargs, size, channels, num_classes, total):
    model = create_model(name, num_classes=num_classes, **kwargs)
    assert count(variables_of(model, size, channels)) == total


@pytest.mark.parametrize(
    ("name", "kwargs", "size", "channels", "num_classes", "trained"),
    [
        ("darkcovidnet", {}, 256, 3, 2, 1_164_434),
        ("capsnet", {"decoder": True}, 28, 1, 10, 8_215_568),
        # 512, 1024 and 128 * 128 units after two capsules of 16
        ("conv_capsnet", {"decoder": True}, 128, 1, 2, 3_448_192 + 17_335_808),
        # the published fit does not depend on where the strides stand
        ("covidnet_b", {"stride_depthwise": True}, 480, 3, 3, 11_703_883),
    ],
)
def test_trained_parameters(name, kwargs, size, channels, num_classes, trained):
    model = create_model(name, num_classes=num_classes, **kwargs)
    assert count(variables_of(model, size, channels)["params"]) == trained


def test_darkcovidnet_maps():
    """The padded 1x1 convolutions let maps grow by two (survey page, 2.18)."""
    _, maps, features = shapes(create_model("darkcovidnet", num_classes=3), 256, 3)
    sides = {
        "stem": (256, 8),
        "stage1": (128, 16),
        "stage2/dn1": (64, 32),
        "stage2/dn2": (66, 16),
        "stage2": (66, 32),
        "stage3/dn1": (33, 64),
        "stage3": (35, 64),
        "stage4/dn1": (17, 128),
        "stage4": (19, 128),
        "stage5/dn1": (9, 256),
        "stage5": (11, 256),
        "conv15": (13, 128),
        "conv16": (13, 256),
        "norm17": (13, 3),
    }
    for name, (side, channels) in sides.items():
        assert maps[name] == (1, side, side, channels), name
    assert features == maps["conv16"]
    convolutions = [name for name in maps if name.endswith(("conv", "conv17"))]
    assert len(convolutions) == 17


def test_covid_caps_maps():
    variables, maps, features = shapes(
        create_model("covid_caps", num_classes=2), 224, 3
    )
    sides = {"conv1": 222, "conv2": 220, "conv3": 108, "conv4": 106}
    for name, side in sides.items():
        assert maps[name][1:3] == (side, side), name
    assert features == (1, 106, 106, 128)  # 11,236 capsules
    assert maps["capsules1"] == (1, 32, 8)
    assert maps["class_capsules"] == (1, 2, 16)
    assert variables["params"]["capsules1"]["kernel"].shape == (128, 256)


@pytest.mark.parametrize(
    ("size", "channels"),
    [(32, 64), (64, 128), (128, 256), (256, 512)],
)
def test_covxnet_ends_at_8x8(size, channels):
    model = create_model(f"covxnet{size}", num_classes=2, depth=1)
    variables, maps, features = shapes(model, size, 1)
    assert maps["stem2"] == (1, size // 2, size // 2, 32)
    assert features == (1, 8, 8, channels)
    # the largest dilation falls by one each stage, to two
    stages = int(np.log2(size)) - 3
    for stage in range(1, stages + 1):
        depthwise = variables["params"][f"stage{stage}_residual1"]["depthwise"]
        assert len(depthwise) == stages + 2 - stage


def test_covxnet_transfer_head():
    """823,364 parameters in Keras's counting behind the 128-pixel trunk."""
    trunk = variables_of(CovXNet128(num_classes=4, depth=1), 128, 1)
    model = CovXNet128(num_classes=4, depth=1, transfer=True)
    whole, maps, features = shapes(model, 128, 1)
    head = ("transfer1", "transfer2", "hidden", "head")
    parts = [
        whole[kind].get(name, {}) for name in head for kind in ("params", "batch_stats")
    ]
    assert count(parts) == 823_364
    assert maps["transfer1"] == (1, 8, 8, 256)
    assert features == (1, 8, 8, 512)
    shared = set(whole["params"]) - set(head)
    assert shared == set(trunk["params"]) - set(head)


def multiply_adds(variables, maps) -> int:
    """Of all convolutions and dense layers, from their kernels and output maps."""
    total = 0
    flat = jax.tree_util.tree_flatten_with_path(variables["params"])[0]
    for path, leaf in flat:
        if path[-1].key == "kernel":
            out = maps["/".join(key.key for key in path[:-1])]
            total += leaf.size * int(np.prod(out[1:-1]))
    return total


@pytest.mark.parametrize(
    ("name", "kwargs", "size", "billions"),
    [
        ("covidnet_b", {}, 480, 7.500),  # published: 7.50
        ("covidnet_b", {"stride_depthwise": True}, 480, 8.4),
        ("covidnet_small", {}, 224, 2.21),  # published: 2.26; see covidnet.py
    ],
)
def test_covidnet_multiply_adds(name, kwargs, size, billions):
    model = create_model(name, num_classes=3, **kwargs)
    variables, maps, _ = shapes(model, size, 3)
    decimals = len(str(billions).split(".")[1])
    assert round(multiply_adds(variables, maps) / 1e9, decimals) == billions


def test_covidnet_stages():
    variables, maps, features = shapes(
        create_model("covidnet_b", num_classes=3), 480, 3
    )
    sides = ((120, 200, 3), (60, 416, 4), (30, 824, 6), (15, 2048, 3))
    for stage, (side, width, blocks) in enumerate(sides, start=1):
        assert maps[f"stage{stage}"] == (1, side, side, width)
        assert len(variables["params"][f"stage{stage}"]) == blocks + 1  # a shortcut
    assert features == (1, 15, 15, 2048)
    assert variables["params"]["head"]["kernel"].shape == (460_800, 3)


def test_cnn_lstm_reads_49_steps():
    _, maps, features = shapes(create_model("cnn_lstm", num_classes=3), 224, 3)
    assert features == (1, 14, 14, 512)
    assert maps["lstm"] == (1, 49, 512)
    assert sum("conv" in name for name in maps) == 12


def test_coronet_reads_all_pixels():
    variables, _, features = shapes(create_model("coronet", num_classes=4), 150, 3)
    assert features == (1, 5, 5, 2048)
    assert variables["params"]["hidden"]["kernel"].shape == (51_200, 256)


def test_truncated_inception_keeps_inception_v3s_names():
    short, maps, features = shapes(
        create_model("truncated_inception", num_classes=2), 224, 3
    )
    whole = variables_of(create_model("inception_v3", num_classes=2), 224, 3)
    for name, part in short["params"].items():
        if name != "head":
            for inner, leaf in jax.tree_util.tree_flatten_with_path(part)[0]:
                other = whole["params"][name]
                for key in inner:
                    other = other[key.key]
                assert other.shape == leaf.shape
    assert maps["stage1"] == (1, 25, 25, 288)
    assert features == (1, 12, 12, 768)


def test_efficientnet_c19_head():
    c19 = create_model("efficientnet_c19", num_classes=3)
    params = variables_of(c19, 32, 3)["params"]
    b0 = variables_of(create_model("efficientnet_b0", num_classes=3), 32, 3)
    assert [params[n]["kernel"].shape for n in ("hidden1", "hidden2", "head")] == [
        (1280, 512),
        (512, 128),
        (128, 3),
    ]
    shared = set(b0["params"]) - {"head"}
    assert shared < set(params)
    for name in shared:
        assert jax.tree.map(jnp.shape, params[name]) == jax.tree.map(
            jnp.shape, b0["params"][name]
        )


@pytest.mark.parametrize(
    ("model", "capsules"),
    [(CapsNet(num_classes=10), (28, 1152)), (ConvCapsNet(num_classes=3), (128, 2048))],
)
def test_primary_capsules(model, capsules):
    size, number = capsules
    variables, maps, _ = shapes(model, size, 1)
    assert maps["primary"] == (1, number, 8)
    kernel = variables["params"]["class_capsules"]["kernel"]
    assert kernel.shape == (number, model.num_classes, 8, 16)


@pytest.mark.parametrize(
    ("network", "shape"), [(CapsNet, (2, 17, 20, 1)), (ConvCapsNet, (2, 72, 72, 1))]
)
def test_capsnets_draw_the_picture(network, shape):
    """Of the label's capsule where it is given; the lengths are the encoder's."""
    model = network(num_classes=3, decoder=True)
    x = jax.random.uniform(KEY, shape)
    params = jit(lambda x: model.init(KEY, x, train=False))(x)["params"]

    def draw(params, labels):
        lengths, state = model.apply(
            {"params": params}, x, train=True, labels=labels, mutable="intermediates"
        )
        return lengths, *state["intermediates"]["reconstruction"]

    @jit
    def run(params):
        lengths, longest = draw(params, None)
        label = lengths.argmax(-1)
        same, other = draw(params, label), draw(params, (label + 1) % 3)
        encoder = {name: leaf for name, leaf in params.items() if name != "decoder"}
        alone = network(3).apply({"params": encoder}, x, train=False)
        return (lengths, other[0], alone), (longest, same[1], other[1])

    lengths, (longest, same, other) = map(np.asarray, run(params))
    assert lengths[0].shape == (2, 3)
    np.testing.assert_allclose(lengths, lengths[:1].repeat(3, 0), rtol=1e-5)
    assert longest.shape == x.shape
    np.testing.assert_array_equal(same, longest)
    assert (other != longest).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", ["covid_caps", "capsnet", "conv_capsnet"])
def test_capsules_survive_a_black_picture(name):
    """All capsules are then zero: lengths in [0, 1) and finite gradients."""
    size = {"covid_caps": 14, "capsnet": 17, "conv_capsnet": 72}[name]
    model = create_model(name, num_classes=2)
    x = jnp.zeros((2, size, size, 1)).at[1].set(3.0)
    variables = jit(lambda x: model.init(KEY, x, train=False))(x)
    stats = variables.get("batch_stats", {})

    def loss(params):
        lengths, _ = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
        )
        return jnp.sum(jnp.maximum(0, 0.9 - lengths) ** 2), lengths

    (_, lengths), gradients = jit(jax.value_and_grad(loss, has_aux=True))(
        variables["params"]
    )
    assert np.all((lengths >= 0) & (lengths < 1))
    for leaf in jax.tree.leaves(gradients):
        assert np.all(np.isfinite(leaf))
