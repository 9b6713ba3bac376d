"""Inception-ResNet-v2 on chest pictures (Szegedy et al. 2017, arXiv:1602.07261).

    python -m covjax.train --config configs/inception_resnet.py

The paper (section 4): RMSProp with decay 0.9, rate 0.045 lowered by 6 % every two
epochs. Here AdamW. Pictures of 75 px at least.
Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "inception_resnet_v2"
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
    return config.with_variants(run, variant, smallest=75)
