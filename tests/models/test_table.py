"""The table of networks: every published count, names, arguments, sizes."""

import re

import jax
import jax.numpy as jnp
import pytest

from covjax.errors import InputError
from covjax.models import MODELS, create_model

# parameters as published: survey page, section 6, or the paper named in the model's
# file; trained ones only, with the head of the publication
PUBLISHED = {
    "alexnet": 61_100_840,
    "alexnet_2012": 60_965_224,
    "bn_inception": 11_194_984,
    "capsnet": 6_804_224,
    "chexnet": 6_953_856 + 1024 * 14 + 14,  # DenseNet-121's trunk and 14 sigmoids
    "cnn_lstm": 17_829_699,
    "conv_capsnet": 3_448_192,
    "coronet": 33_969_964 - 54_528,  # Keras' total without running statistics
    "covid_caps": 295_488 - 128,
    "covidnet_b": 11_703_883,
    "covidnet_small": 116_533_923,
    "covxnet32": 238_338,
    "covxnet64": 967_938,
    "covxnet128": 3_782_146,
    "covxnet256": 14_796_034,
    "darkcovidnet": 1_167_586,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_c19": 4_733_311,
    "googlenet": 13_004_888,
    "googlenet_2014": 13_378_280,
    "inception_resnet_v2": 55_843_464,
    "inception_v2": 29_410_672,
    "inception_v3": 27_161_264,
    "inception_v4": 42_679_816,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "truncated_inception": 2_146_018,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "xception": 22_855_952,
}


def variables(model, size, channels):
    x = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_counts_cover_the_table():
    assert set(PUBLISHED) == set(MODELS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    entry = MODELS[name]
    model = create_model(name, num_classes=entry.num_classes)
    params = variables(model, entry.native_size, entry.channels)["params"]
    assert count(params) == PUBLISHED[name] == entry.params


@pytest.mark.parametrize(
    ("name", "kwargs", "expected"),
    [
        ("alexnet_2012", {"groups": 1}, 62_378_344),
        ("googlenet", {"aux_heads": False}, 6_624_904),
        ("googlenet_2014", {"aux_heads": False}, 6_998_552),
        ("inception_v3", {"aux_heads": False}, 23_834_568),
        ("resnet50", {"stride_on_first": True}, 25_557_032),
    ],
)
def test_options_have_the_published_counts(name, kwargs, expected):
    entry = MODELS[name]
    model = create_model(name, num_classes=1000, **kwargs)
    assert count(variables(model, entry.native_size, 3)["params"]) == expected


def test_names_are_sorted_with_numbers_as_numbers():
    def key(name):
        parts = re.split(r"(\d+)", name)
        return [int(p) if p.isdigit() else p for p in parts]

    assert list(MODELS) == sorted(MODELS, key=key)


# one network of each class and smallest size: depth changes neither
GEOMETRIES = {
    (getattr(entry.make, "func", entry.make), entry.min_size): name
    for name, entry in reversed(MODELS.items())
}


@pytest.mark.parametrize("name", sorted(GEOMETRIES.values()))
def test_smallest_size_is_the_smallest(name):
    """The smallest size works; one pixel less is an error that names it."""
    entry = MODELS[name]
    model = create_model(name, num_classes=3)
    shapes = variables(model, entry.min_size, entry.channels)
    assert all(0 not in leaf.shape for leaf in jax.tree.leaves(shapes))
    if entry.min_size > 1:
        with pytest.raises(InputError, match=rf"\b{entry.min_size}x{entry.min_size}"):
            variables(model, entry.min_size - 1, entry.channels)


def test_an_unknown_name_answers_with_the_nearest():
    with pytest.raises(InputError, match=r"'DenseNet12'.*densenet121"):
        create_model("DenseNet12", num_classes=3)


def test_a_name_like_no_other_answers_with_all():
    with pytest.raises(InputError, match=r"'\?\?'.*alexnet.*xception"):
        create_model("??", num_classes=3)


def test_an_unknown_argument_answers_with_the_known():
    with pytest.raises(InputError, match=r"'strides'.*stride_on_first"):
        create_model("resnet50", num_classes=3, strides=2)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_network_has_a_class(num_classes):
    with pytest.raises(InputError, match=f"num_classes={num_classes}"):
        create_model("resnet18", num_classes=num_classes)


def test_a_padding_is_one_of_two():
    model = create_model("mobilenet_v2", num_classes=3, padding="same")
    with pytest.raises(InputError, match=r"padding='same'.*SAME or symmetric"):
        variables(model, 32, 3)
