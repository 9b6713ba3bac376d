"""Row 12: D. Das, Santosh, Pal 2020, Truncated Inception Net, Phys Eng Sci Med 43:915.

    python -m covjax.train --config configs/survey/row12_truncated_inception.py
        with --config.data.manifest=FILE

Published, mean of ten folds: accuracy 99.96 % (AUC 1.0) for COVID-19 against pneumonia
and healthy, 99.92 % with tuberculosis added. Not yet run here.

Data: 162 COVID-19 X-rays of github.com/ieee8023/covid-chestxray-dataset, 4,280
pneumonia and 1,583 normal ones of kaggle.com/paultimothymooney/chest-xray-pneumonia,
and the Shenzhen and Montgomery tuberculosis sets, as a manifest of two classes; the
survey's counts are those of all together.

Not known: whether it started from ImageNet (here from scratch), optimizer, learning
rate, epochs, batch size, augmentation (here none), and the poolings behind the last
module (covjax/models/truncated_inception.py).
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    (smoke,) = config.choose(variant)
    run = config.Run()
    run.model = config.Model(name="truncated_inception")
    run.data = config.Data(
        name="folder",
        classes=("non-COVID", "COVID-19"),
        size=224,
        channels=3,
        split="image",
        folds=10,
    )
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-3)
    run.train = config.Train(epochs=30, batch_size=32)
    if smoke:
        return config.rehearse(run, classes=("normal", "covid19"))
    return run
