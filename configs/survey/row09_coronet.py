"""Row 9: Khan, Shah, Bhat 2020, CoroNet, Comput Methods Programs Biomed 196:105581.

doi 10.1016/j.cmpb.2020.105581

    python -m covjax.train --config configs/survey/row09_coronet.py:four
        with --config.data.manifest=FILE

Published, mean of four folds: accuracy 89.6 % for four classes, 95 % for three, 99 %
for two. Not yet run here.

Data: 284 COVID-19 X-rays of github.com/ieee8023/covid-chestxray-dataset and 310 normal,
330 bacterial, 327 viral ones of kaggle.com/paultimothymooney/chest-xray-pneumonia, as a
manifest; which of them is not known.

From ImageNet's Xception, as in the paper. Different here: pictures are normalised as
these weights were trained, where the authors scaled them to [0, 1]; the authors'
channel shift of 20 grey values is a shift of brightness; the normalisation and
whitening flags of their script have no effect and are left out. Not known: the
validation pictures (here an eighth of the training folds).
"""

from covjax import config, imagenet

CLASSES = {
    "four": ("normal", "bacterial pneumonia", "viral pneumonia", "COVID-19"),
    "three": ("normal", "pneumonia", "COVID-19"),
    "two": ("normal", "COVID-19"),
}


def get_config(variant: str = "") -> config.Run:
    number, smoke = config.choose(variant, tuple(CLASSES))
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=CLASSES[number],
        size=150,
        channels=3,
        split="image",
        folds=4,
    )
    imagenet.start(run, "coronet")
    run.augment = config.Augment(
        flip=True,
        flip_vertical=True,
        rotation_degrees=50.0,
        shift=0.2,
        zoom=0.1,
        shear_degrees=0.25,  # Keras's unit is degrees
        brightness=20 / 255,
    )
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=80, batch_size=10)
    return config.rehearse(run) if smoke else run
