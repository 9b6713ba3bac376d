"""Row 16: Toraman, Alakus, Turkoglu 2020, Convolutional CapsNet, CSF 140:110122.

doi 10.1016/j.chaos.2020.110122

    python -m covjax.train --config configs/survey/row16_conv_capsnet.py:three
        with --config.data.manifest=FILE

Published, mean of ten folds: accuracy 84.22 % for three classes, 97.24 % for two. Not
yet run here.

Data: 231 COVID-19 X-rays of github.com/ieee8023/covid-chestxray-dataset and 1,050 each
of normal and pneumonia of NIH ChestX-ray8, as a manifest; which of them is not known.

Different here: classes are drawn equally often, where the authors enlarge COVID-19 to
1,050 pictures beforehand. Not checked against the paper: Adam, batch size, epochs and
the layers. Not known: learning rate (5e-5 is a guess), augmentation, whether the
decoder's loss (weight 0.0005) is a sum over pixels, as it is here after Sabour et al.,
or a mean, and some of the network (covjax/models/conv_capsnet.py).
"""

from covjax import config

CLASSES = {
    "three": ("normal", "pneumonia", "COVID-19"),
    "two": ("normal", "COVID-19"),
}


def get_config(variant: str = "") -> config.Run:
    number, smoke = config.choose(variant, tuple(CLASSES))
    run = config.Run()
    run.model = config.Model(name="conv_capsnet", kwargs={"decoder": True})
    run.data = config.Data(
        name="folder",
        classes=CLASSES[number],
        size=128,
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        split="image",
        folds=10,
    )
    run.optimizer = config.Optimizer(name="adam", learning_rate=5e-5)
    run.train = config.Train(
        epochs=50, batch_size=16, loss="margin", sampling="balanced"
    )
    if smoke:
        phantom = {"three": (), "two": ("normal", "covid19")}[number]
        return config.rehearse(run, classes=phantom, size=72)
    return run
