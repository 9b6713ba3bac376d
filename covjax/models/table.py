"""The table of networks, sorted by name, and the one place where one is made.

To add a network: import its constructor, add one row. A row gives the constructor
and the published number of parameters; what a family shares stands above the table.
"""

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn

from covjax.errors import InputError
from covjax.models import (
    alexnet,
    bn_inception,
    capsnet,
    cnn_lstm,
    conv_capsnet,
    coronet,
    covid_caps,
    covidnet,
    covxnet,
    darkcovidnet,
    densenet,
    efficientnet,
    efficientnet_c19,
    googlenet,
    inception_resnet_v2,
    inception_v3,
    inception_v4,
    mobilenet,
    resnet,
    squeezenet,
    truncated_inception,
    vgg,
    xception,
)
from covjax.models.constant import ConstantChannel


class Entry(NamedTuple):
    """A network of the table."""

    make: Callable[..., nn.Module]  # takes num_classes and the network's own fields
    params: int  # published, with `num_classes` classes and `channels` channels
    paper: str  # authors and arXiv number or journal
    year: int
    reference: str  # the independent implementation or figure it is checked against
    native_size: int = 224  # height and width of the paper's pictures
    min_size: int = 1  # smallest height and width it takes
    channels: int = 3  # of the paper's pictures
    num_classes: int = 1000  # of the paper's classifier
    scores: str = "logits"  # or "lengths" of capsules


_inception = partial(
    Entry, native_size=299, min_size=inception_v3.MIN_SIZE, reference="torchvision"
)
_googlenet = partial(
    Entry,
    paper="Szegedy et al., arXiv:1409.4842",
    year=2015,
    min_size=googlenet.MIN_SIZE,
)
_covidnet = partial(
    Entry,
    paper="Wang et al., arXiv:2003.09871",
    year=2020,
    num_classes=3,
    min_size=covidnet.MIN_SIZE,
    reference="published counts; a reconstruction",
)
# parameters that are trained; Keras's totals stand in covxnet.py
_covxnet = partial(
    Entry,
    paper="Mahmud et al., doi:10.1016/j.compbiomed.2020.103869",
    year=2020,
    num_classes=2,
    channels=1,
    reference="torch layers",
)
_densenet = partial(
    Entry,
    paper="Huang et al., arXiv:1608.06993",
    year=2017,
    min_size=densenet.MIN_SIZE,
    reference="torchvision",
)
_resnet = partial(
    Entry, paper="He et al., arXiv:1512.03385", year=2016, reference="torchvision"
)
_squeezenet = partial(
    Entry, paper="Iandola et al., arXiv:1602.07360", year=2016, reference="torchvision"
)
_efficientnet = partial(
    Entry, paper="Tan & Le, arXiv:1905.11946", year=2019, reference="torchvision, timm"
)
_vgg = partial(
    Entry,
    paper="Simonyan & Zisserman, arXiv:1409.1556",
    year=2015,
    min_size=vgg.MIN_SIZE,
    reference="torchvision",
)

MODELS: dict[str, Entry] = {
    "alexnet": Entry(
        alexnet.AlexNet,
        params=61_100_840,
        paper="Krizhevsky, arXiv:1404.5997",
        year=2014,
        min_size=alexnet.MIN_SIZE,
        reference="torchvision",
    ),
    "alexnet_2012": Entry(
        alexnet.AlexNet2012,
        params=60_965_224,
        paper="Krizhevsky et al., NIPS 2012",
        year=2012,
        native_size=227,
        min_size=alexnet.MIN_SIZE_2012,
        reference="torch layers",
    ),
    "bn_inception": Entry(
        bn_inception.BNInception,
        params=11_194_984,
        paper="Ioffe and Szegedy, arXiv:1502.03167",
        year=2015,
        reference="figure 5 of the paper",
    ),
    "capsnet": Entry(
        capsnet.CapsNet,
        params=6_804_224,  # without the decoder
        paper="Sabour et al., arXiv:1710.09829",
        year=2017,
        native_size=28,
        min_size=capsnet.MIN_SIZE,
        channels=1,
        num_classes=10,
        scores="lengths",
        reference="NumPy routing",
    ),
    "chexnet": _densenet(
        densenet.CheXNet,
        params=6_968_206,
        num_classes=14,
        paper="Rajpurkar et al., arXiv:1711.05225",
    ),
    "cnn_lstm": Entry(
        cnn_lstm.CNNLSTM,
        params=17_829_699,
        paper="Islam et al., doi:10.1016/j.imu.2020.100412",
        year=2020,
        min_size=cnn_lstm.MIN_SIZE,
        num_classes=3,
        reference="torch layers",
    ),
    "conv_capsnet": Entry(
        conv_capsnet.ConvCapsNet,
        params=3_448_192,  # not published: arithmetic from the layer list
        paper="Toraman et al., doi:10.1016/j.chaos.2020.110122",
        year=2020,
        native_size=128,
        min_size=conv_capsnet.MIN_SIZE,
        channels=1,
        num_classes=2,
        scores="lengths",
        reference="NumPy routing",
    ),
    "coronet": Entry(
        coronet.CoroNet,
        params=33_915_436,  # trained; Keras counts 33,969,964
        paper="Khan et al., doi:10.1016/j.cmpb.2020.105581",
        year=2020,
        native_size=150,
        min_size=coronet.MIN_SIZE,
        num_classes=4,
        reference="authors' summary",
    ),
    "covid_caps": Entry(
        covid_caps.CovidCaps,
        params=295_360,  # trained; Keras counts 295,488
        paper="Afshar et al., arXiv:2004.02696",
        year=2020,
        min_size=covid_caps.MIN_SIZE,
        num_classes=2,
        scores="lengths",
        reference="NumPy routing, torch layers",
    ),
    "covidnet_b": _covidnet(covidnet.COVIDNetB, params=11_703_883, native_size=480),
    "covidnet_small": _covidnet(covidnet.COVIDNetSmall, params=116_533_923),
    "covxnet32": _covxnet(
        covxnet.CovXNet32, params=238_338, native_size=32, min_size=4
    ),
    "covxnet64": _covxnet(
        covxnet.CovXNet64, params=967_938, native_size=64, min_size=8
    ),
    "covxnet128": _covxnet(
        covxnet.CovXNet128, params=3_782_146, native_size=128, min_size=16
    ),
    "covxnet256": _covxnet(
        covxnet.CovXNet256, params=14_796_034, native_size=256, min_size=32
    ),
    "darkcovidnet": Entry(
        darkcovidnet.DarkCovidNet,
        params=1_167_586,
        paper="Ozturk et al., doi:10.1016/j.compbiomed.2020.103792",
        year=2020,
        native_size=256,
        min_size=darkcovidnet.MIN_SIZE,
        num_classes=3,
        reference="authors' summary, torch layers",
    ),
    "densenet121": _densenet(densenet.DenseNet121, params=7_978_856),
    "densenet169": _densenet(densenet.DenseNet169, params=14_149_480),
    "densenet201": _densenet(densenet.DenseNet201, params=20_013_928),
    "efficientnet_b0": _efficientnet(
        efficientnet.EfficientNetB0, params=5_288_548, native_size=224
    ),
    "efficientnet_b1": _efficientnet(
        efficientnet.EfficientNetB1, params=7_794_184, native_size=240
    ),
    "efficientnet_b2": _efficientnet(
        efficientnet.EfficientNetB2, params=9_109_994, native_size=260
    ),
    "efficientnet_b3": _efficientnet(
        efficientnet.EfficientNetB3, params=12_233_232, native_size=300
    ),
    "efficientnet_b4": _efficientnet(
        efficientnet.EfficientNetB4, params=19_341_616, native_size=380
    ),
    "efficientnet_b5": _efficientnet(
        efficientnet.EfficientNetB5, params=30_389_784, native_size=456
    ),
    "efficientnet_b6": _efficientnet(
        efficientnet.EfficientNetB6, params=43_040_704, native_size=528
    ),
    "efficientnet_b7": _efficientnet(
        efficientnet.EfficientNetB7, params=66_347_960, native_size=600
    ),
    "efficientnet_c19": Entry(
        efficientnet_c19.EfficientNetC19,
        params=4_733_311,
        paper="Luz et al., arXiv:2004.05717",
        year=2022,
        num_classes=3,
        reference="efficientnet_b0 and arithmetic",
    ),
    "googlenet": _googlenet(
        googlenet.GoogLeNet, params=13_004_888, reference="torchvision"
    ),
    "googlenet_2014": _googlenet(
        googlenet.GoogLeNet2014,
        params=13_378_280,
        reference="table 1 of the paper",
    ),
    "inception_resnet_v2": _inception(
        inception_resnet_v2.InceptionResNetV2,
        params=55_843_464,
        paper="Szegedy et al., arXiv:1602.07261",
        year=2017,
        reference="timm, Keras",
    ),
    "inception_v2": _inception(
        inception_v3.InceptionV2,
        params=29_410_672,
        paper="Szegedy et al., arXiv:1512.00567",
        year=2016,
        reference="blocks of inception_v3",
    ),
    "inception_v3": _inception(
        inception_v3.InceptionV3,
        params=27_161_264,
        paper="Szegedy et al., arXiv:1512.00567",
        year=2016,
        reference="torchvision, Keras",
    ),
    "inception_v4": _inception(
        inception_v4.InceptionV4,
        params=42_679_816,
        paper="Szegedy et al., arXiv:1602.07261",
        year=2017,
        reference="timm",
    ),
    "mobilenet_v1": Entry(
        mobilenet.MobileNetV1,
        params=4_231_976,
        paper="Howard et al., arXiv:1704.04861",
        year=2017,
        reference="timm, Keras",
    ),
    "mobilenet_v2": Entry(
        mobilenet.MobileNetV2,
        params=3_504_872,
        paper="Sandler et al., arXiv:1801.04381",
        year=2018,
        reference="torchvision, Keras",
    ),
    "resnet18": _resnet(resnet.ResNet18, params=11_689_512),
    "resnet34": _resnet(resnet.ResNet34, params=21_797_672),
    "resnet50": _resnet(resnet.ResNet50, params=25_557_032),
    "resnet101": _resnet(resnet.ResNet101, params=44_549_160),
    "squeezenet1_0": _squeezenet(
        squeezenet.SqueezeNet1_0, params=1_248_424, min_size=squeezenet.MIN_SIZE_1_0
    ),
    "squeezenet1_1": _squeezenet(
        squeezenet.SqueezeNet1_1, params=1_235_496, min_size=squeezenet.MIN_SIZE_1_1
    ),
    "truncated_inception": Entry(
        truncated_inception.TruncatedInception,
        params=2_146_018,  # published: about 2.1 million
        paper="Das et al., doi:10.1007/s13246-020-00888-x",
        year=2020,
        min_size=truncated_inception.MIN_SIZE,
        num_classes=2,
        reference="blocks of inception_v3",
    ),
    "vgg16": _vgg(vgg.VGG16, params=138_357_544),
    "vgg16_bn": _vgg(vgg.VGG16BN, params=138_365_992),
    "vgg19": _vgg(vgg.VGG19, params=143_667_240),
    "vgg19_bn": _vgg(vgg.VGG19BN, params=143_678_248),
    "xception": Entry(
        xception.Xception,
        params=22_855_952,
        paper="Chollet, arXiv:1610.02357",
        year=2017,
        native_size=299,
        min_size=xception.MIN_SIZE,
        reference="timm, Keras",
    ),
}


def create_model(name: str, *, num_classes: int, **kwargs: Any) -> nn.Module:
    """The network `name` of `MODELS`.

    Args:
      name: a key of `MODELS`.
      num_classes: how many scores the network gives for each picture.
      **kwargs: further fields of the network, such as ``dtype``;
        ``constant_channel=True`` gives any network's stem a channel of ones beside
        the picture (see `covjax.models.constant`).

    Returns:
      A Linen module; ``module.apply(variables, x, train=...)`` maps
      ``[batch, height, width, channels]`` to float32 ``[batch, num_classes]``.

    Raises:
      InputError: for an unknown name or field, or fewer than one class.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.5)
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(MODELS)}"
        raise InputError(f"model {name!r}: unknown name; {hint}")
    if num_classes < 1:
        raise InputError(f"num_classes={num_classes!r}: must be at least 1")
    constant_channel = kwargs.pop("constant_channel", False)
    make = MODELS[name].make
    fields = set(inspect.signature(make).parameters) - {"parent", "name", "num_classes"}
    for field in kwargs:
        if field not in fields:
            raise InputError(
                f"model {name}: unknown argument {field!r}; "
                f"known: {', '.join(sorted(fields | {'constant_channel'}))}"
            )
    if constant_channel and kwargs.get("decoder"):
        raise InputError(
            f"model {name}: decoder=True draws the network's input, and cannot with "
            "constant_channel=True"
        )
    network = make(num_classes=num_classes, **kwargs)
    return ConstantChannel(network) if constant_channel else network
