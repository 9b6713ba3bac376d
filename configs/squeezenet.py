"""SqueezeNet 1.1 on chest pictures (Iandola et al. 2016, arXiv:1602.07360).

    python -m covjax.train --config configs/squeezenet.py

The authors' solver: SGD, rate 0.04 falling linearly, momentum 0.9, weight decay 2e-4,
batch 512 of ImageNet. Here AdamW, which suits small sets.
Others of the family: --config.model.name=squeezenet1_0. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "squeezenet1_1"
    run.augment = config.Augment(
        rotation_degrees=10.0, shift=0.1, zoom=0.1, brightness=0.1, contrast=0.1
    )
    run.optimizer = config.Optimizer(
        name="adamw",
        learning_rate=1e-4,  # no normalisation: higher rates diverge
        weight_decay=1e-2,
        schedule="one_cycle",
    )
    run.train = config.Train(epochs=30, batch_size=16)
    return config.with_variants(run, variant, smallest=21)
