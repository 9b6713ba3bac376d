"""ImageNet weights that recipes start from: where they are, and what they were fed.

Weights read pictures as they were normalised in their training, so a recipe that
starts from some takes their mean and standard deviation too. Sources are repositories
of timm on huggingface.co, which are fetched, or files of `HOMES`, to be downloaded.
"""

from typing import Any, NamedTuple

from covjax import config


class Weights(NamedTuple):
    """One network's; see `covjax.config.Model` and `covjax.config.Data`."""

    pretrained: str
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    kwargs: dict[str, Any] = {}  # noqa: RUF012, never changed


HALF = (0.5,), (0.5,)  # TensorFlow's [-1, 1]
# of weights that PyTorch trained, where the network's own convention is TensorFlow's
PYTORCH: dict[str, Any] = {"padding": "symmetric", "epsilon": 1e-5, "momentum": 0.9}
_XCEPTION = Weights("xception-43020ad28.pth", *HALF, PYTORCH)  # timm's legacy_xception

WEIGHTS = {
    "alexnet": Weights("alexnet-owt-7be5be79.pth"),
    "coronet": _XCEPTION,
    "densenet121": Weights("timm/densenet121.tv_in1k"),
    "densenet201": Weights("timm/densenet201.tv_in1k"),
    "efficientnet_b0": Weights("timm/efficientnet_b0.ra_in1k", kwargs=PYTORCH),
    "efficientnet_b4": Weights("timm/tf_efficientnet_b4.aa_in1k"),
    # made with transform_input=True, as torchvision's Inception-v3
    "googlenet": Weights("googlenet-1378be20.pth", *HALF),
    "inception_resnet_v2": Weights("timm/inception_resnet_v2.tf_in1k", *HALF),
    "inception_v3": Weights("timm/inception_v3.tv_in1k", *HALF),
    "mobilenet_v2": Weights("timm/mobilenetv2_100.ra_in1k"),
    "resnet18": Weights("timm/resnet18.tv_in1k"),
    "resnet50": Weights("timm/resnet50.tv_in1k"),
    "resnet101": Weights("timm/resnet101.tv_in1k"),
    "squeezenet1_1": Weights("squeezenet1_1-b8a52dc0.pth"),
    "vgg16": Weights("timm/vgg16.tv_in1k"),
    "vgg19": Weights("timm/vgg19.tv_in1k"),
    "xception": _XCEPTION,
}

# where the files are that no repository has, by name
_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/"
HOMES = {
    "alexnet-owt-7be5be79.pth": _TORCHVISION,
    "googlenet-1378be20.pth": _TORCHVISION,
    "squeezenet1_1-b8a52dc0.pth": _TORCHVISION,
    "xception-43020ad28.pth": f"{_TIMM}v0.1-cadene/",
}


def start(run: config.Run, network: str) -> None:
    """Makes the run fine-tune a network of `WEIGHTS` under a new classifier."""
    weights = WEIGHTS[network]
    run.model = config.Model(
        name=network,
        kwargs=dict(weights.kwargs),
        pretrained=weights.pretrained,
        new_head=True,
    )
    run.data.mean, run.data.std = weights.mean, weights.std
