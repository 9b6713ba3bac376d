"""VGG-16 on chest pictures (Simonyan and Zisserman 2015, arXiv:1409.1556).

    python -m covjax.train --config configs/vgg.py

The paper (section 3.1): SGD, momentum 0.9, rate 0.01, weight decay 5e-4, batch 256, 74
epochs of ImageNet, without normalisation. Here with BatchNorm and AdamW.
Others of the family: --config.model.name=vgg19. Not yet run to its end.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    run = config.Run()
    run.model.name = "vgg16_bn"
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
