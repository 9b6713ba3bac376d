"""EfficientNet-B0 on chest pictures (Tan and Le 2019, arXiv:1905.11946).

    python -m covjax.train --config configs/efficientnet.py

The paper (section 5.2): RMSProp, decay and momentum 0.9, rate 0.256 lowered by 3 %
every 2.4 epochs, weight decay 1e-5, moving average of the weights. Here AdamW.
Others of the family: --config.model.name=efficientnet_b4. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "efficientnet_b0"
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
