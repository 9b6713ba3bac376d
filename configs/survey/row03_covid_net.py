"""Row 3: Wang, Lin, Wong 2020, COVID-Net, Scientific Reports 10:19549.

    python -m covjax.train --config configs/survey/row03_covid_net.py
        with --config.data.dir=DIR

Published: accuracy 93.3 %, sensitivity 95 / 94 / 91 % for normal, pneumonia, COVID-19
(ResNet-50 90.6 %, VGG-19 83.0 %). Not yet run here.

Data: COVIDx, assembled from five sets by the lists of github.com/lindawangg/COVID-Net
(``python -m covjax.data`` says how, for the fifth version of the lists); the paper has
13,975 pictures of 13,870 patients, and which version that is is not known.

Not known, or different here: the layers of COVID-Net (covjax/models/covidnet.py is a
reconstruction, without the ImageNet pre-training that the paper used); the aspect
ratio is changed in all pictures, not in three of ten; brightness is added, not
multiplied; classes are drawn equally often, where the authors replace half of each
batch by COVID-19; an eighth of the training pictures is for validation; ResNet-50 and
VGG-19 have their own heads (23.5 and 139.6 million parameters, the paper's 25.0 and
20.4) and read pictures normalised as their weights were trained.
"""

from covjax import config, imagenet

NETWORKS = ("covidnet_b", "resnet50", "vgg19")


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, NETWORKS)
    run = config.Run()
    run.model = config.Model(name=network)
    run.data = config.Data(
        name="covidx",
        size=480,
        channels=3,
        crop_top=0.08,  # the authors' data.py
        crop="square",
        mean=(0.0,),
        std=(1.0,),
        split="official",
    )
    if network != "covidnet_b":
        imagenet.start(run, network)
    run.augment = config.Augment(
        flip=True,
        rotation_degrees=10.0,
        shift=0.1,
        zoom=0.15,
        aspect=0.1,
        brightness=0.1,
    )
    run.optimizer = config.Optimizer(
        name="adam",
        learning_rate=2e-5,
        schedule="plateau",
        decay_factor=0.7,
        patience_epochs=5,
    )
    run.train = config.Train(epochs=22, batch_size=8, sampling="balanced")
    return config.rehearse(run) if smoke else run
