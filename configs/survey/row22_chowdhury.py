"""Row 22: Chowdhury, Rahman et al. 2020, IEEE Access 8:132665, eight networks.

    python -m covjax.train --config configs/survey/row22_chowdhury.py:chexnet,two
        with --config.data.manifest=FILE

Published, mean of five folds, with augmentation: DenseNet-201 accuracy 97.94 % for
three classes; CheXNet and DenseNet-201 99.70 % for two. Not yet run here.

Data: 423 COVID-19, 1,485 viral pneumonia and 1,579 normal X-rays, the second version of
kaggle.com/tawsifurrahman/covid19-radiography-database with more, as a manifest.

CheXNet is DenseNet-121 trained on NIH ChestX-ray14: train it first
(``--config.data.name=nih_chestxray14``) and name that run in
``--config.model.pretrained``. SqueezeNet's weights are torchvision's file. Not known:
the patience of early stopping (here 5 epochs).
"""

from covjax import config

NETWORKS = {
    "densenet201": "timm/densenet201.tv_in1k",
    "chexnet": "",
    "squeezenet1_1": "",
    "mobilenet_v2": "timm/mobilenetv2_100.ra_in1k",
    "resnet18": "timm/resnet18.tv_in1k",
    "resnet101": "timm/resnet101.tv_in1k",
    "inception_v3": "timm/inception_v3.tv_in1k",
    "vgg19": "timm/vgg19.tv_in1k",
}
SIZES = {"squeezenet1_1": 227, "inception_v3": 299}  # the others: 224
CLASSES = {
    "three": ("normal", "viral pneumonia", "COVID-19"),
    "two": ("normal", "COVID-19"),
}


def get_config(variant: str = "") -> config.Run:
    network, number, smoke = config.choose(variant, tuple(NETWORKS), tuple(CLASSES))
    run = config.Run()
    run.model = config.Model(name=network, pretrained=NETWORKS[network], new_head=True)
    run.data = config.Data(
        name="folder",
        classes=CLASSES[number],
        size=SIZES.get(network, 224),
        channels=3,
        mean=(0.485, 0.456, 0.406),  # ImageNet
        std=(0.229, 0.224, 0.225),
        split="image",
        folds=5,
    )
    run.augment = config.Augment(rotation_degrees=15.0, zoom=0.1, shift=0.2)
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.9)
    run.train = config.Train(epochs=20, batch_size=16, early_stopping_epochs=5)
    if smoke:
        phantom = {"three": (), "two": ("normal", "covid19")}[number]
        return config.rehearse(run, classes=phantom, size=80)
    return run
