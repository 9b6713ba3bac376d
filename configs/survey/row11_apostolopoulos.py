"""Row 11: Apostolopoulos, Mpesiana 2020, Phys Eng Sci Med 43:635, five networks.

    python -m covjax.train --config configs/survey/row11_apostolopoulos.py:vgg19
        with --config.data.manifest=FILE

Published, three classes: VGG-19 accuracy 93.48 % on the first data set, MobileNetV2
94.72 % on the second (sensitivity 98.66 %, specificity 96.46 %). Not yet run here.

Data: 224 COVID-19, 700 bacterial (second set: 714 bacterial and viral) and 504 normal
X-rays of github.com/ieee8023/covid-chestxray-dataset and
kaggle.com/paultimothymooney/chest-xray-pneumonia, as a manifest; which is not known.

Different here: pictures are square, not 200 x 266; the "layer cutoff" below which
nothing is trained falls on the end of the nearest stage, and statistics below it go on
following the pictures; the authors' dense layers of 1000 or so units before the
classifier are left out, but VGG-19 keeps its own. Not known: the learning rate (here
Keras's 1e-3) and the validation pictures (here an eighth of the training folds).
"""

from covjax import config, imagenet

FROZEN = {  # the paper's cutoff in Keras's layers
    "mobilenet_v2": ("until:stage1",),  # 10
    "vgg19": ("until:stage4",),  # 18
    "inception_v3": ("until:stage2", "stage3/mixed1"),  # 249
    "xception": ("until:middle",),  # 120
    "inception_resnet_v2": ("until:stage3",),  # 730
}


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, tuple(FROZEN))
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=("normal", "pneumonia", "COVID-19"),
        size=224,
        channels=3,
        split="image",
        folds=10,
    )
    imagenet.start(run, network)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-3)
    run.train = config.Train(epochs=10, batch_size=64, freeze=FROZEN[network])
    return config.rehearse(run, size=80) if smoke else run
