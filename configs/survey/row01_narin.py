"""Row 1: Narin, Kaya, Pamuk 2020, arXiv 2003.10849: COVID-19 against normal.

    python -m covjax.train --config configs/survey/row01_narin.py:resnet50
        with --config.data.manifest=FILE

Published: ResNet-50 accuracy 98 %, Inception-v3 97 %, Inception-ResNet-v2 87 %, mean
of five folds. Not yet run here.

Data: 50 COVID-19 X-rays of github.com/ieee8023/covid-chestxray-dataset and 50 normal
ones of kaggle.com/paultimothymooney/chest-xray-pneumonia, as a manifest; which of
them is not known. The two classes come from two sources, and pictures were shuffled
without regard to patients: ``--config.data.split=grouped`` keeps these apart.

Different here: pictures are normalised as the weights were trained; Inception-v3 has
its auxiliary head and dropout. Not known: the width of the dense layer before the
classifier (here none), and the validation pictures (here an eighth of the training
folds).
"""

from covjax import config, imagenet

NETWORKS = ("resnet50", "inception_v3", "inception_resnet_v2")


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, NETWORKS)
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=("normal", "COVID-19"),
        size=224,
        channels=3,
        split="image",
        folds=5,
    )
    imagenet.start(run, network)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-5)
    run.train = config.Train(epochs=30, batch_size=2)
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"), size=80)
    return run
