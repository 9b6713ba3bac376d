"""The settings of a system are what config.system.kwargs says, or one line."""

import pytest

from covjax import config
from covjax.errors import InputError
from covjax.systems import (
    ensemble,
    features_classifier,
    gan_augmentation,
    patch_voting,
    read_settings,
    segmentation,
)


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
        (ensemble, "members", "resnet18", "a tuple, such as"),
        (features_classifier, "networks", ("resnet18",), "a dictionary, such as {}"),
        (patch_voting, "masked", 1, "True or False, such as True"),
    ],
)
def test_a_value_of_another_kind_is_one_line(module, name, value, wanted):
    with pytest.raises(InputError) as error:
        read(module, **{name: value})
    line = f"config.system.kwargs.{name}={value!r}: must be {wanted}"
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)
