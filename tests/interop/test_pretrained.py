"""Networks made of another one's trunk start from that one's weights."""

import numpy as np
import pytest

from covjax import config
from covjax.interop.convert import flatten, to_torch
from covjax.pretrained import TRUNKS, pretrained

pytest.importorskip("safetensors")  # of the extras interop and parity

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,), (0.5,))
# size that the network takes, normalisation of the donor's weights, their naming, and
# the parts that are not the donor's
CASES = {
    "coronet": (75, HALF, "timm", {"hidden", "head"}),
    "efficientnet_c19": (
        32,
        IMAGENET,
        "torchvision",
        {"norm", "hidden1", "hidden1_norm", "hidden2", "hidden2_norm", "head"},
    ),
    "truncated_inception": (75, HALF, "torchvision", {"head"}),
}


def test_every_trunk_is_tried():
    assert CASES.keys() == TRUNKS.keys()


@pytest.mark.parametrize("name", CASES)
def test_the_trunk_is_the_donors(name, random_variables, tmp_path):
    from safetensors.numpy import save_file

    size, (mean, std), naming, own = CASES[name]
    donor = random_variables(TRUNKS[name], size=size)[1]
    tensors = to_torch(TRUNKS[name], donor, naming)
    path = tmp_path / "donor.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    run = config.Run()
    run.model = config.Model(name=name, pretrained=str(path))
    run.data = config.Data(size=size, channels=3, mean=mean, std=std)
    found, given = flatten(pretrained(run, num_classes=3)), flatten(donor)
    fresh = {leaf[1] for leaf in found if leaf not in given or leaf[1] == "head"}
    assert fresh == own
    for leaf, value in found.items():
        if leaf[1] not in own:
            np.testing.assert_array_equal(value, given[leaf], err_msg="/".join(leaf))
    assert found["params", "head", "kernel"].shape[-1] == 3
