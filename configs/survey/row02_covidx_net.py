"""Row 2: Hemdan, Shouman, Karar 2020, COVIDX-Net, arXiv 2003.11055.

    python -m covjax.train --config configs/survey/row02_covidx_net.py:vgg19
        with --config.data.manifest=FILE

Published: accuracy 90 % for VGG-19 and DenseNet-201, on ten test pictures; F1 0.91 for
COVID-19 and 0.89 for normal. Inception-v3 was worst (50 %). Not yet run here.

Data: 25 COVID-19 and 25 normal X-rays of github.com/ieee8023/covid-chestxray-dataset
and its neighbours, as a manifest; which of them is not known.

Different here: pictures are normalised as the weights were trained, where the authors
scaled them to [0, 1]; the classifier alone is trained, where the authors have a small
head, so VGG-19 keeps its two dense layers, frozen. Not known: momentum (here none), and
the validation pictures (here a tenth). The paper's seventh network, ResNet-v2, is not
in covjax.
"""

from covjax import config, imagenet

NETWORKS = (
    "vgg19",
    "densenet201",
    "inception_v3",
    "inception_resnet_v2",
    "xception",
    "mobilenet_v2",
)


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, NETWORKS)
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=("normal", "COVID-19"),
        size=224,
        channels=3,
        split="image",
        fractions=(0.7, 0.1, 0.2),
    )
    imagenet.start(run, network)
    run.optimizer = config.Optimizer(name="sgd", learning_rate=1e-3, momentum=0.0)
    run.train = config.Train(
        epochs=50, batch_size=7, freeze=("backbone",), freeze_batch_norm=True
    )
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"), size=80)
    return run
