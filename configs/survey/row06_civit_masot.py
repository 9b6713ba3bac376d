"""Row 6: Civit-Masot, Luna-Perejón et al. 2020, Applied Sciences 10(13):4640.

    python -m covjax.train --config configs/survey/row06_civit_masot.py
        with --config.data.manifest=FILE

Published: accuracy about 86 % for three classes, as it is quoted and with doubt (the
survey prints 90 %), COVID-19 sensitivity near 100 %. That this is the survey's row is
likely. Not yet run here.

Data: 132 X-rays of each of three classes, of
github.com/ieee8023/covid-chestxray-dataset and
kaggle.com/paultimothymooney/chest-xray-pneumonia, as a manifest; which of them is not
known.

Different here: pictures are normalised as the weights were trained; VGG-16 keeps its
own dense layers. Not known: learning rate, epochs, batch size, how far pictures were
turned and zoomed, and the validation pictures: all these are covjax's choices.
"""

from covjax import config, imagenet


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.data = config.Data(
        name="folder",
        classes=("normal", "pneumonia", "COVID-19"),
        size=224,
        channels=3,
        equalize="histogram",
        split="image",
        fractions=(0.7, 0.1, 0.2),
    )
    imagenet.start(run, "vgg16")
    run.augment = config.Augment(rotation_degrees=15.0, zoom=0.1)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=50, batch_size=16)
    return config.rehearse(run) if smoke else run
