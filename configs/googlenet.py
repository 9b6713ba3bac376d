"""GoogLeNet on chest pictures (Szegedy et al. 2015, arXiv:1409.4842).

    python -m covjax.train --config configs/googlenet.py

The paper (section 6): SGD, momentum 0.9, rate lowered by 4 % every 8 epochs; auxiliary
heads with weight 0.3. Here AdamW; the heads' weight is the paper's.
Others of the family: --config.model.name=googlenet_2014. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "googlenet"
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
