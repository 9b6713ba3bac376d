"""Weights that are not there end a system before its long first part, not after."""

from dataclasses import replace

import pytest

from covjax import config
from covjax.data.loading import load
from covjax.errors import InputError
from covjax.systems import (
    ensemble,
    features_classifier,
    gan_augmentation,
    patch_voting,
    segmentation,
)
from covjax.systems.network import untrained_network


@pytest.mark.parametrize(
    ("system", "first"),
    [
        (gan_augmentation, "drawn"),
        (segmentation, "obtain"),
        (patch_voting, "segmentation"),
    ],
)
def test_weights_are_read_first(system, first, tmp_path, monkeypatch):
    monkeypatch.setattr(system, first, None)  # asking it would be another error
    run = config.Run(data=config.Data(size=32, limit=8))
    run.model.name, run.model.pretrained = "squeezenet1_1", str(tmp_path / "gone.npz")
    settings = system.Settings()
    if system is patch_voting:
        settings = system.Settings(patch_size=32)
    with pytest.raises(InputError, match=r"gone\.npz: no such file"):
        system.train(run, load(run.data), tmp_path, settings)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"mobilenet_v2": "gone.npz"}, r"gone\.npz: no such file"),
        ({"mobilenet_v4": ""}, "model 'mobilenet_v4': unknown name"),
    ],
)
@pytest.mark.parametrize("fine_tune", [True, False])
def test_features_of_a_second_network(
    second, message, fine_tune, tmp_path, monkeypatch
):
    monkeypatch.setattr(features_classifier, "train_network", None)
    monkeypatch.setattr(features_classifier, "untrained_network", None)
    run = config.Run(data=config.Data(size=32, limit=8))
    networks = {"squeezenet1_1": ""} | second
    settings = features_classifier.Settings(networks=networks, fine_tune=fine_tune)
    with pytest.raises(InputError, match=message):
        features_classifier.train(run, load(run.data), tmp_path, settings)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"name": "gone"}, r"earlier/gone/classifier\.json: no such file"),
        ({"name": "other", "model": "covxnet64"}, "only one of the two networks has"),
        ({"name": "other", "model": "covxnet63"}, "model 'covxnet63': unknown name"),
    ],
)
def test_the_trunk_of_a_second_member(second, message, tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble, "train_member", None)
    run = config.Run(data=config.Data(size=32, limit=8))
    run.model = config.Model(name="covxnet32", kwargs={"depth": 1})
    splits = load(run.data)
    for name, model in (("first", "covxnet32"), ("other", "squeezenet1_1")):
        kwargs = {"depth": 1} if name == "first" else {}
        donor = replace(run, model=config.Model(name=model, kwargs=kwargs))
        untrained_network(donor, splits, tmp_path / "earlier" / name)
    run.model.pretrained = str(tmp_path / "earlier")
    settings = ensemble.Settings(members=({"name": "first"}, second))
    with pytest.raises(InputError, match=message):
        ensemble.train(run, splits, tmp_path, settings)
