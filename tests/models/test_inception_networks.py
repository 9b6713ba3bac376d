"""Structure of the inception family: sizes after each stage, counts, heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.conv import Conv
from covjax.blocks.inception import Chain, Inception, Layer, Mixed, Pool
from covjax.models import bn_inception, create_model
from covjax.models.inception_resnet_v2 import ResidualInception


def shapes_of(model, size, **arguments):
    """Variables and what every module gives, as shapes."""

    def run(key):
        x = jnp.zeros((1, size, size, 3))
        variables = model.init(key, x, train=False)
        _, state = model.apply(
            variables,
            x,
            capture_intermediates=True,
            mutable=["intermediates", "batch_stats"],
            rngs={"dropout": key},
            **arguments,
        )
        variables.pop("perturbations", None)
        return variables, state["intermediates"]

    return jax.eval_shape(run, jax.random.key(0))


def map_of(maps, path):
    for part in path.split("/"):
        maps = maps[part]
    return maps["__call__"][-1].shape[1:]


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


SIZES = {
    "googlenet": (224, {"conv1": (112, 112, 64), "conv3": (56, 56, 192),
                        "inception3a": (28, 28, 256), "inception3b": (28, 28, 480),
                        "inception4a": (14, 14, 512), "inception4d": (14, 14, 528),
                        "inception4e": (14, 14, 832), "inception5b": (7, 7, 1024)}),
    "googlenet_2014": (224, {"conv3": (56, 56, 192), "inception3a": (28, 28, 256),
                             "inception4a": (14, 14, 512),
                             "inception5b": (7, 7, 1024)}),
    "bn_inception": (224, {"stem": (28, 28, 192), "inception3a": (28, 28, 256),
                           "inception3b": (28, 28, 320),
                           "inception3c": (14, 14, 576),
                           "inception4c": (14, 14, 576),
                           "inception4d": (14, 14, 576),
                           "inception4e": (7, 7, 1024),
                           "inception5b": (7, 7, 1024)}),
    "inception_v2": (299, {"stem/conv4": (71, 71, 80), "stem/conv5": (35, 35, 192),
                           "stem": (35, 35, 288), "stage1": (35, 35, 288),
                           "stage2": (17, 17, 768), "stage3/mixed1": (8, 8, 1280),
                           "stage3": (8, 8, 2048)}),
    "inception_v3": (299, {"stem/conv2": (147, 147, 32), "stem/conv5": (71, 71, 192),
                           "stem": (35, 35, 192), "stage1/mixed1": (35, 35, 256),
                           "stage1": (35, 35, 288), "stage2/mixed1": (17, 17, 768),
                           "stage2": (17, 17, 768), "stage3/mixed1": (8, 8, 1280),
                           "stage3": (8, 8, 2048)}),
    "inception_v4": (299, {"stem/mixed4": (73, 73, 160), "stem/mixed5": (71, 71, 192),
                           "stem": (35, 35, 384), "stage1": (35, 35, 384),
                           "stage2": (17, 17, 1024), "stage3": (8, 8, 1536)}),
    "inception_resnet_v2": (299, {"stem": (35, 35, 192), "stage1": (35, 35, 320),
                                  "stage2": (17, 17, 1088), "stage3": (8, 8, 2080),
                                  "last_conv": (8, 8, 1536)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_the_paper(name):
    size, expected = SIZES[name]
    _, maps = shapes_of(create_model(name, num_classes=5), size, train=False)
    found = {path: map_of(maps, path) for path in expected}
    assert found == expected
    assert "aux_logits" not in maps


@pytest.mark.parametrize(
    ("name", "size", "heads", "without"),
    [
        ("googlenet", 224, 2, 6_624_904),
        ("googlenet_2014", 224, 2, 6_998_552),
        ("inception_v3", 299, 1, 23_834_568),
    ],
)
def test_auxiliary_heads_are_for_training_only(name, size, heads, without):
    model = create_model(name, num_classes=1000)
    _, maps = shapes_of(model, size, train=True)
    assert [leaf.shape for leaf in maps["aux_logits"]] == heads * [(1, 1000)]
    variables, maps = shapes_of(
        create_model(name, num_classes=1000, aux_heads=False), size, train=True
    )
    assert "aux_logits" not in maps
    assert count(variables) == without


def test_small_pictures_have_the_same_parameters():
    """The auxiliary head's 5x5 kernel does not fit a 3x3 map."""
    model = create_model("inception_v3", num_classes=5)
    small, maps = shapes_of(model, 75, train=True)
    large, _ = shapes_of(model, 299, train=True)
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, large)
    assert map_of(maps, "stage2") == (3, 3, 768)


def test_paper_layout_has_biases_and_no_statistics():
    model = create_model("googlenet_2014", num_classes=5)
    variables, _ = shapes_of(model, 64, train=False)
    assert "batch_stats" not in variables
    unit = variables["params"]["inception3a"]["branch3"]
    assert unit["conv2"]["conv"]["kernel"].shape == (5, 5, 16, 32)
    assert unit["conv2"]["conv"]["bias"].shape == (32,)


def test_bn_inception_becomes_the_published_caffe_network(monkeypatch):
    """128 projections in 4c and 4d, and biases: the 11,295,240 of the weights file."""
    wider = {
        name: bn_inception.inception(*widths, "avg", 128)
        for name, widths in {
            "4c": (160, (128, 160), (128, 160)),
            "4d": (96, (128, 192), (160, 192)),
        }.items()
    }
    monkeypatch.setattr(bn_inception, "MODULES", bn_inception.MODULES | wider)
    variables, _ = shapes_of(
        create_model("bn_inception", num_classes=1000), 64, train=False
    )
    means = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["batch_stats"])
        if path[-1].key == "mean"
    ]
    assert count(variables) + sum(means) == 11_295_240


def conv_only(features, *, name=None, **geometry):
    return Conv(features, name=name, **geometry)


def test_residual_module_adds_a_scaled_map():
    block = ResidualInception(
        Mixed(((Layer(3),), (Layer(2),))), 0.25, conv_only, Conv, lambda y: y
    )
    x = jnp.ones((1, 2, 2, 4))
    variables = block.init(jax.random.key(0), x)
    project = jnp.zeros((1, 1, 5, 4)).at[0, 0, 0, 0].set(1)
    params = dict(variables["params"])
    params["project"] = {"kernel": project, "bias": jnp.full(4, 8.0)}
    y = block.apply({"params": params}, x)
    first = x @ params["branch1"]["conv1"]["kernel"][0, 0]
    np.testing.assert_allclose(y[..., 0], 1 + 0.25 * (first[..., 0] + 8), rtol=1e-6)
    np.testing.assert_allclose(y[..., 1:], 3.0)


def test_chain_numbers_what_has_parameters():
    steps = (Layer(2), Pool("max"), Mixed(((Layer(1),), (Pool("avg"),))), Layer(4, 3))
    chain = Chain(steps, conv_only)
    variables = chain.init(jax.random.key(0), jnp.zeros((1, 5, 5, 3)))
    assert set(variables["params"]) == {"conv1", "mixed2", "conv3"}
    assert variables["params"]["conv3"]["kernel"].shape == (3, 3, 1 + 2, 4)


def test_branches_are_concatenated_in_their_order():
    mixed = Mixed(((Pool("max"),), (Pool("avg"),)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 2)), jnp.float32)
    y = Inception(mixed, conv_only).apply({}, x)
    assert y.shape == (1, 4, 4, 4)
    np.testing.assert_array_equal(y[0, 1, 1, :2], x[0, :3, :3].max((0, 1)))
    np.testing.assert_allclose(y[0, 1, 1, 2:], x[0, :3, :3].mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize(("counted", "corner"), [(True, 4 / 9), (False, 1.0)])
def test_mean_pools_count_the_padding_only_when_asked(counted, corner):
    chain = Chain((Pool("avg"),), conv_only, count_include_pad=counted)
    y = chain.apply({}, jnp.ones((1, 4, 4, 1)))
    np.testing.assert_allclose(y[0, 0, 0, 0], corner, rtol=1e-6)
    np.testing.assert_allclose(y[0, 1, 1, 0], 1.0, rtol=1e-6)
