"""Weights that are not there end a system before its long first part, not after."""

import pytest

from covjax import config
from covjax.data.loading import load
from covjax.errors import InputError
from covjax.systems import gan_augmentation, patch_voting, segmentation


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
