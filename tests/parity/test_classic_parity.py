"""The networks outside the inception family against torchvision and timm."""

import pytest
import witness

from covjax.models import create_model

CLASSES = 7


def numbered(ours, theirs, count, shift=0):
    """Stages 1 to count of ours and theirs, which may count from elsewhere."""
    return {ours.format(i): theirs.format(i + shift) for i in range(1, count + 1)}


VGG_POOLS = {"vgg16": (4, 9, 16, 23, 30), "vgg16_bn": (6, 13, 23, 33, 43),
             "vgg19": (4, 9, 18, 27, 36), "vgg19_bn": (6, 13, 26, 39, 52)}  # fmt: skip
DENSENET = {
    "stem": "features.relu0",
    **numbered("stage{}", "features.denseblock{}", 4),
    **numbered("transition{}", "features.transition{}", 3),
    "norm": "features.norm5",
}
RESNET = {"stem": "relu", **numbered("stage{}", "layer{}", 4)}
RESIDUAL = {
    "stem": "features.0",
    **numbered("stage{}", "features.{}", 7),
    "last": "features.8",
}
TIMM_STAGES = {"stem": "bn1", **numbered("stage{}", "blocks.{}", 7, -1), "last": "bn2"}

# network of both: (picture size, our module: theirs); sizes that are no multiple of
# anything, so that padding and rounding of sizes show
TORCHVISION = {
    "alexnet": (97, {f"conv{i}": f"features.{n}"
                     for i, n in enumerate((0, 3, 6, 8, 10), 1)}
                | {"fc1": "classifier.1", "fc2": "classifier.4"}),
    "densenet121": (45, DENSENET),
    "densenet169": (32, DENSENET),
    "mobilenet_v2": (45, {
        "stem": "features.0", "stage1": "features.1", "stage2": "features.3",
        "stage3": "features.6", "stage4": "features.10", "stage5": "features.13",
        "stage6": "features.16", "stage7": "features.17", "last": "features.18",
    }),
    "resnet18": (45, RESNET),
    "resnet34": (32, RESNET),
    "resnet50": (45, RESNET),
    "squeezenet1_0": (45, {"stem": "features.0", "stage1": "features.5",
                           "stage2": "features.10", "stage3": "features.12"}),
    "squeezenet1_1": (46, {"stem": "features.0", "stage1": "features.4",
                           "stage2": "features.7", "stage3": "features.12"}),
    "vgg16": (45, numbered("stage{}", "features.{}", 0)),
    "vgg16_bn": (75, {}),
    "vgg19": (32, {}),
}  # fmt: skip
for _name, _pools in VGG_POOLS.items():
    if _name in TORCHVISION:
        _stages = {f"stage{i}": f"features.{n}" for i, n in enumerate(_pools, 1)}
        TORCHVISION[_name] = (TORCHVISION[_name][0], _stages | {"fc1": "classifier.0"})

SYMMETRIC = {"padding": "symmetric", "epsilon": 1e-5}  # PyTorch's convention


@pytest.mark.parametrize("name", TORCHVISION)
def test_evaluates_like_torchvision(torchvision, name):
    size, stages = TORCHVISION[name]
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    witness.assert_same_evaluation(
        name,
        create_model(name, num_classes=CLASSES),
        witness.randomize(network),
        witness.pictures(size),
        stages,
    )


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_b2"])
def test_efficientnet_evaluates_like_torchvision(torchvision, name):
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    witness.assert_same_evaluation(
        name,
        create_model(name, num_classes=CLASSES, **SYMMETRIC),
        witness.randomize(network),
        witness.pictures(45),
        RESIDUAL,
    )


# timm's: (ours, arguments, picture size, stages)
TIMM = {
    "tf_efficientnet_b0": ("efficientnet_b0", {}, 46, TIMM_STAGES),
    "efficientnet_b1": ("efficientnet_b1", SYMMETRIC, 45, TIMM_STAGES),
    "mobilenetv1_100": (
        "mobilenet_v1",
        SYMMETRIC,
        45,
        {"stem": "bn1", **numbered("stage{}", "blocks.{}", 5, -1)},
    ),
    "mobilenetv2_100": ("mobilenet_v2", {}, 45, TIMM_STAGES),
    "legacy_xception": (
        "xception",
        SYMMETRIC,
        62,
        {
            **numbered("entry/block{}", "block{}", 3),
            **numbered("middle/block{}", "block{}", 8, 3),
            "exit/block": "block12",
        },
    ),
}


@pytest.mark.parametrize("theirs", TIMM)
def test_evaluates_like_timm(timm, theirs):
    name, kwargs, size, stages = TIMM[theirs]
    network = timm.create_model(theirs, num_classes=CLASSES, pretrained=False)
    witness.assert_same_evaluation(
        name,
        create_model(name, num_classes=CLASSES, **kwargs),
        witness.randomize(network),
        witness.pictures(size),
        stages,
    )


def alexnet_2012(torch):
    """The paper's figure 2 in PyTorch's layers, numbered as torchvision's AlexNet."""
    nn = torch.nn

    def respond_and_pool():
        # PyTorch divides alpha by the window, the paper does not
        response = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
        return nn.Sequential(response, nn.MaxPool2d(3, 2))

    network = nn.Module()
    features = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), respond_and_pool()),
        *(nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), respond_and_pool()),
        *(nn.Conv2d(256, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    flatten = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
    classifier = nn.Sequential(
        *(flatten, nn.Linear(256 * 36, 4096), nn.ReLU()),
        *(nn.Identity(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, CLASSES),
    )
    network.add_module("features", features)
    network.add_module("classifier", classifier)
    network.forward = lambda x: classifier(features(x))
    return network


@pytest.mark.parametrize("size", [131, 227])
def test_alexnet_2012_evaluates_like_torch_layers(torch, size):
    witness.assert_same_evaluation(
        "alexnet",  # for the names of its layers
        create_model("alexnet_2012", num_classes=CLASSES),
        witness.randomize(alexnet_2012(torch)),
        30 * witness.pictures(size),  # large enough for responses to differ from k
        {f"conv{i}": f"features.{n}" for i, n in enumerate((0, 3, 6, 8, 10), 1)},
    )


def shallow_vgg(torchvision):
    """VGG-16-BN with the first convolution of each stage alone, names unchanged."""
    network = torchvision.models.vgg16_bn(
        num_classes=CLASSES, dropout=0.0, init_weights=False
    )
    convolutions = {0, 7, 14, 24, 34}
    firsts = convolutions | {n + 1 for n in convolutions}  # their normalisations
    for n, layer in enumerate(network.features):
        layer.inplace = False  # two ReLUs now follow each other
        if n not in firsts and list(layer.parameters()):
            network.features[n] = witness.torch.nn.Identity()
    return network


def shallow_resnet(torchvision, block):
    block = getattr(torchvision.models.resnet, block)
    return torchvision.models.ResNet(block, [1, 1, 2, 1], num_classes=CLASSES)


# ours: (arguments, makes theirs); the shallowest form with all kinds of block, since
# only compiling a deep one takes long
TRAINED = {
    "alexnet": (
        {"dropout": 0.0},
        lambda tv, timm: tv.models.alexnet(num_classes=CLASSES, dropout=0.0),
    ),
    "densenet121": (
        {"blocks": (1, 2, 1, 1)},
        lambda tv, timm: tv.models.DenseNet(
            block_config=(1, 2, 1, 1), num_classes=CLASSES
        ),
    ),
    "efficientnet_b0": (
        {"depth": 0.1, "dropout": 0.0, "drop_path": 0.0, "momentum": 0.9},
        lambda tv, timm: timm.models.efficientnet._gen_efficientnet(
            "tf_efficientnet_b0",
            depth_multiplier=0.1,
            pad_type="same",
            bn_eps=1e-3,
            num_classes=CLASSES,
        ),
    ),
    "mobilenet_v1": (
        SYMMETRIC,
        lambda tv, timm: timm.create_model("mobilenetv1_100", num_classes=CLASSES),
    ),
    "mobilenet_v2": (
        {"dropout": 0.0},
        lambda tv, timm: tv.models.mobilenet_v2(num_classes=CLASSES, dropout=0.0),
    ),
    "resnet18": (
        {"blocks": (1, 1, 2, 1)},
        lambda tv, timm: shallow_resnet(tv, "BasicBlock"),
    ),
    "resnet50": (
        {"blocks": (1, 1, 2, 1)},
        lambda tv, timm: shallow_resnet(tv, "Bottleneck"),
    ),
    "squeezenet1_1": (
        {"dropout": 0.0},
        lambda tv, timm: tv.models.squeezenet1_1(num_classes=CLASSES, dropout=0.0),
    ),
    "vgg16_bn": (
        {"layers": (1, 1, 1, 1, 1), "dropout": 0.0},
        lambda tv, timm: shallow_vgg(tv),
    ),
    "xception": (
        SYMMETRIC | {"momentum": 0.9},
        lambda tv, timm: timm.create_model("legacy_xception", num_classes=CLASSES),
    ),
}


@pytest.mark.parametrize("name", TRAINED)
def test_trains_like_the_reference(torchvision, timm, name):
    kwargs, make = TRAINED[name]
    size = 64 if name == "alexnet" else 45
    naming = "timm" if name == "efficientnet_b0" else ""
    witness.assert_same_training(
        name,
        create_model(name, num_classes=CLASSES, **kwargs),
        witness.randomize(make(torchvision, timm)),
        witness.pictures(size, batch=3),
        naming=naming,
    )
