"""Row 22: Chowdhury, Rahman et al. 2020, IEEE Access 8:132665, eight networks.

    python -m covjax.train --config configs/survey/row22_chowdhury.py:chexnet,two
        with --config.data.manifest=FILE

Published, mean of five folds, with augmentation: DenseNet-201 accuracy 97.94 % for
three classes; CheXNet and DenseNet-201 99.70 % for two. Not yet run here.

Data: 423 COVID-19, 1,485 viral pneumonia and 1,579 normal X-rays, the second version of
kaggle.com/tawsifurrahman/covid19-radiography-database with more, as a manifest.

CheXNet is DenseNet-121 trained on NIH ChestX-ray14: train it first (``--config
configs/densenet.py --config.model.name=chexnet --config.data.name=nih_chestxray14
--config.data.dir=DIR --config.data.size=224 --config.data.channels=3
--config.train.loss=binary --workdir runs/chexnet``; not run here). SqueezeNet's weights
are torchvision's file (covjax/imagenet.py). Different here: turns, zooms and shifts are
drawn from 0 to the paper's largest; Inception-v3 has its auxiliary head. Not known: the
patience of early stopping (here 5 epochs).
"""

from covjax import config, imagenet

NETWORKS = (
    "densenet201",
    "chexnet",
    "squeezenet1_1",
    "mobilenet_v2",
    "resnet18",
    "resnet101",
    "inception_v3",
    "vgg19",
)
SIZES = {"squeezenet1_1": 227, "inception_v3": 299}  # the others: 224
CLASSES = {
    "three": ("normal", "viral pneumonia", "COVID-19"),
    "two": ("normal", "COVID-19"),
}


def get_config(variant: str = "") -> config.Run:
    network, number, smoke = config.choose(variant, NETWORKS, tuple(CLASSES))
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=CLASSES[number],
        size=SIZES.get(network, 224),
        channels=3,
        split="image",
        fractions=(0.72, 0.08, 0.2),  # a tenth of the training folds is validation
        folds=5,
    )
    if network == "chexnet":
        imagenet.start(run, "densenet121")
        run.model.name, run.model.pretrained = "chexnet", "runs/chexnet"
    else:
        imagenet.start(run, network)
    run.augment = config.Augment(rotation_degrees=15.0, zoom=0.1, shift=0.2)
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.9)
    run.train = config.Train(epochs=20, batch_size=16, early_stopping_epochs=5)
    if smoke:
        phantom = {"three": (), "two": ("normal", "covid19")}[number]
        return config.rehearse(run, classes=phantom, size=80)
    return run
