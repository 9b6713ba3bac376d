"""The table of ImageNet weights agrees with the libraries that publish them."""

import pytest

from covjax.imagenet import HOMES, WEIGHTS
from covjax.interop.weights import HUB

# timm's names of the weights that its hub does not have
ALONE = {"xception-43020ad28.pth": "legacy_xception.tf_in1k"}
TORCHVISION = {
    "alexnet": "AlexNet_Weights",
    "googlenet": "GoogLeNet_Weights",
    "squeezenet1_1": "SqueezeNet1_1_Weights",
}


def test_each_network_is_in_one_of_the_libraries():
    of_timm = {
        network
        for network, weights in WEIGHTS.items()
        if weights.pretrained.startswith(HUB) or weights.pretrained in ALONE
    }
    assert of_timm == WEIGHTS.keys() - TORCHVISION.keys()


@pytest.mark.parametrize("network", sorted(WEIGHTS.keys() - TORCHVISION.keys()))
def test_timm(timm, network):
    weights = WEIGHTS[network]
    name = ALONE.get(weights.pretrained, weights.pretrained.removeprefix(HUB))
    published = timm.get_pretrained_cfg(name)
    for ours, theirs in ((weights.mean, published.mean), (weights.std, published.std)):
        assert ours * (3 // len(ours)) == theirs
    if weights.pretrained in ALONE:
        home = HOMES[weights.pretrained].partition("releases/")[2]
        assert published.url.endswith(f"{home}{weights.pretrained}")
    else:
        assert published.hf_hub_id == weights.pretrained
    # the names that timm gives to TensorFlow's padding and epsilon
    theirs = network.startswith("efficientnet") and not name.startswith("tf_")
    theirs |= "xception" in name
    assert bool(weights.kwargs) == theirs


@pytest.mark.parametrize("network", sorted(TORCHVISION))
def test_torchvision(torchvision, network):
    weights, name = WEIGHTS[network], TORCHVISION[network]
    published = getattr(torchvision.models, name).IMAGENET1K_V1
    assert published.url == f"{HOMES[weights.pretrained]}{weights.pretrained}"
    if network != "googlenet":  # reads them again, by transform_input
        read = published.transforms()
        assert (tuple(read.mean), tuple(read.std)) == (weights.mean, weights.std)
