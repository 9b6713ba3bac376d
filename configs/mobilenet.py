"""MobileNetV2 on chest pictures (Sandler et al. 2018, arXiv:1801.04381).

    python -m covjax.train --config configs/mobilenet.py

The paper (section 6.1): RMSProp, decay and momentum 0.9, rate 0.045 lowered by 2 % an
epoch, weight decay 4e-5, batch 96 a replica. Here AdamW.
Others of the family: --config.model.name=mobilenet_v1. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "mobilenet_v2"
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
    return config.with_variants(run, variant, smallest=32)
