"""Row 21: Brunese, Mercaldo, Reginelli, Santone 2020, CMPB 196:105608, a cascade.

    python -m covjax.train --config configs/survey/row21_brunese.py
        with --config.data.manifest=FILE

Published: healthy or diseased: accuracy 0.96, sensitivity 0.96, specificity 0.98;
COVID-19 or other disease: 0.98, 0.87, 0.94 (``stages.json`` has these two); the survey
prints their mean, 97 %. Not yet run here.

Data: 3,520 healthy, 2,753 other pulmonary disease and 250 COVID-19 X-rays of
github.com/ieee8023/covid-chestxray-dataset, NIH ChestX-ray14 and others, as a manifest:
COVID-19 has sources of its own.

Different here: VGG-16 keeps its own dense layers, where the paper has a pooling of the
last map, one small dense layer, dropout 0.5 and the classifier. Not known: what was
frozen (here all but the classifier), optimizer, learning rate, batch size, epochs and
augmentation: all covjax's choices.
"""

from covjax import config, imagenet


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.system = config.System(name="cascade")  # healthy is the first class
    run.data = config.Data(
        name="folder",
        classes=("healthy", "other disease", "COVID-19"),
        size=224,
        channels=3,
        split="image",
        fractions=(0.7, 0.1, 0.2),
    )
    imagenet.start(run, "vgg16")
    run.augment = config.Augment(rotation_degrees=15.0, zoom=0.1)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=50, batch_size=32, freeze=("backbone",))
    return config.rehearse(run) if smoke else run
