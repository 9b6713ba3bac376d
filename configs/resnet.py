"""ResNet-18 on chest pictures (He et al. 2016, arXiv:1512.03385).

    python -m covjax.train --config configs/resnet.py
    python -m covjax.train --config configs/resnet.py:covid_ct --config.data.dir=DIR

The paper trains on ImageNet with SGD for 90 epochs; here AdamW and a one-cycle
schedule. Not yet run on the phantom; on PneumoniaMNIST see the README.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "resnet18"
    run.augment = config.Augment(
        rotation_degrees=10.0, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
    )
    run.optimizer = config.Optimizer(
        name="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        schedule="one_cycle",
    )
    run.train = config.Train(epochs=30, batch_size=16)
    return config.with_variants(run, variant)
