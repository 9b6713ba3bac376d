"""The settings of a system are what config.system.kwargs says, or one line."""

import dataclasses
import importlib

import pytest

from covjax import config, systems
from covjax.errors import InputError
from covjax.systems import (
    SYSTEMS,
    ensemble,
    features_classifier,
    gan_augmentation,
    patch_voting,
    read_settings,
    segmentation,
)
from covjax.systems.classical import Pipeline


def read(module, **kwargs):
    asked = config.System(name=module.__name__.rpartition(".")[2], kwargs=kwargs)
    return read_settings(module.Settings, asked)


@pytest.mark.parametrize(
    ("module", "kwargs"),
    [
        (gan_augmentation, {"epochs": 3, "learning_rate": 1}),
        (ensemble, {"members": ({}, {}), "transfer": {"a": 1}}),
        (ensemble, {"members": [{}, {}]}),  # as config.json has it
        (patch_voting, {"masked": False, "lungs": "masks"}),
    ],
)
def test_values_like_the_defaults_are_taken(module, kwargs):
    settings = read(module, **kwargs)
    assert {name: getattr(settings, name) for name in kwargs} == kwargs


@pytest.mark.parametrize(
    ("module", "name", "value", "wanted"),
    [
        (gan_augmentation, "epochs", "abc", "a whole number, such as 2000"),
        (gan_augmentation, "epochs", 2.5, "a whole number, such as 2000"),
        (gan_augmentation, "epochs", True, "a whole number, such as 2000"),
        (gan_augmentation, "learning_rate", "abc", "a number, such as 0.0002"),
        (segmentation, "margin", None, "a number, such as 0.05"),
        (ensemble, "rule", 3, "text, such as 'mean'"),
        (ensemble, "members", "resnet18", "a tuple of dictionaries, such as ()"),
        (ensemble, "members", ("covxnet32", "covxnet64"), "a tuple of dictionaries"),
        (ensemble, "trunk", (3,), "a tuple of text, such as ('stem', 'stage')"),
        (ensemble, "transfer", {3: 3}, "a dictionary whose names are text, such as"),
        (features_classifier, "networks", ("resnet18",), "a dictionary of text"),
        (features_classifier, "networks", {"resnet18": 3}, "a dictionary of text"),
        (features_classifier, "textures", ([],), "a tuple of text, such as ()"),
        (patch_voting, "masked", 1, "True or False, such as True"),
    ],
)
def test_a_value_of_another_kind_is_one_line(module, name, value, wanted):
    with pytest.raises(InputError) as error:
        read(module, **{name: value})
    line = f"config.system.kwargs.{name}={value!r}: must be {wanted}"
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("population", "x", "a whole number, such as 10"),
        ("population", 2.5, "a whole number, such as 10"),
        ("select_count", "x", "a whole number, such as 256"),
        ("hierarchy", {"a": 1}, "a dictionary of text, such as {}"),
        ("options", 3, "a dictionary whose names are text, such as {}"),
        ("resample", None, "text, such as 'none'"),
    ],
)
def test_settings_inside_settings_likewise(name, value, wanted):
    settings = features_classifier.Settings(pipeline={name: value})
    with pytest.raises(InputError) as error:
        features_classifier.read_pipeline(settings)
    line = f"config.system.kwargs.pipeline.{name}={value!r}: must be {wanted}"
    assert str(error.value) == line


def test_every_kind_has_words():
    modules = [importlib.import_module(f"covjax.systems.{name}") for name in SYSTEMS]
    for settings in (Pipeline, ensemble.Member, *(m.Settings for m in modules)):
        assert {f.type for f in dataclasses.fields(settings)} <= set(systems.KINDS)
