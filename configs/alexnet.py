"""AlexNet on chest pictures (Krizhevsky et al. 2012; layout of arXiv:1404.5997).

    python -m covjax.train --config configs/alexnet.py

The paper: SGD, momentum 0.9, rate 0.01 divided by ten on plateaus, weight decay 5e-4,
batch 128, 90 epochs of ImageNet. Here AdamW, which suits small sets.
Others of the family: --config.model.name=alexnet_2012. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "alexnet"
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
    return config.with_variants(run, variant, smallest=67)
