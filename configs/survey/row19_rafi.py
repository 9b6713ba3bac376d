"""Row 19: T. H. Rafi 2020, Eng Appl Sci Lett 3(4), EfficientNet-B4.

The survey's reference is lost; this paper, of which only the abstract was read, is the
likeliest by architecture, counts and figure.

    python -m covjax.train --config configs/survey/row19_rafi.py:efficientnet_b4
        with --config.data.dir=DIR

Published: accuracy 98.86 % and AUC 0.997 for EfficientNet-B4, the best of four. Not yet
run here.

Data: COVID-19 Radiography Database, version 1, of
kaggle.com/tawsifurrahman/covid19-radiography-database: 219 COVID-19, 1,341 normal,
1,345 viral pneumonia. Its patients are unknown.

Not known, for only the abstract is: picture size, split, optimizer, learning rate,
epochs and augmentation, which are covjax's choices. The paper's fourth network, a small
CNN, is left out.
"""

from covjax import config, imagenet

NETWORKS = ("efficientnet_b4", "resnet50", "densenet121")


def get_config(variant: str = "") -> config.Run:
    network, smoke = config.choose(variant, NETWORKS)
    run = config.Run()
    run.data = config.Data(
        name="covid19_radiography_v1",
        size=224,
        channels=3,
        fractions=(0.7, 0.1, 0.2),
    )
    imagenet.start(run, network)
    run.augment = config.Augment(rotation_degrees=10.0, shift=0.1, zoom=0.1)
    run.optimizer = config.Optimizer(name="adam", learning_rate=1e-4)
    run.train = config.Train(epochs=30, batch_size=16)
    return config.rehearse(run) if smoke else run
