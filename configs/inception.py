"""Inception-v3 on chest pictures (Szegedy et al. 2016, arXiv:1512.00567).

    python -m covjax.train --config configs/inception.py

The paper (section 8): RMSProp with decay 0.9, rate 0.045 lowered by 6 % every two
epochs, clipping at 2.0, label smoothing 0.1, batch 32 a replica, 100 epochs.
Here AdamW; clipping and smoothing are the paper's. Pictures of 75 px at least.
Others of the family: --config.model.name=inception_v4. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "inception_v3"
    run.augment = config.Augment(
        rotation_degrees=10.0, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
    )
    run.optimizer = config.Optimizer(
        name="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        schedule="one_cycle",
        clip_norm=2.0,  # section 8
    )
    run.train = config.Train(epochs=30, batch_size=16, label_smoothing=0.1)
    return config.with_variants(run, variant, smallest=75)
