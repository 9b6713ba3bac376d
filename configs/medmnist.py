"""ResNet-18 on PneumoniaMNIST at 28 px, for comparison with MedMNIST v2's table.

Yang et al. 2023, Scientific Data 10:41, arXiv:2110.14795.

    python -m covjax.train --config configs/medmnist.py --config.data.dir=DIR
    python -m covjax.train --config configs/medmnist.py:own --config.data.dir=DIR

Without a word: the paper's settings (section "Baseline methods" and the authors'
code): CIFAR's stem, Adam, a tenth of the rate after 50 and 75 of 100 epochs, no
augmentation, best validation AUC. Published for it: AUC 0.944, accuracy 0.854.

``own``: ImageNet's stem, with which an epoch costs a tenth, 30 epochs of AdamW and one
cycle, augmentation, label smoothing, averaged weights. Five seeds of either.
"""

from covjax import config


def get_config(variant: str = "") -> config.Run:
    settings, smoke = config.choose(variant, ("paper", "own"))
    run = config.Run()
    run.model.name = "resnet18"
    run.data = config.Data(name="pneumonia_mnist", size=28)
    if settings == "paper":
        run.model.kwargs = {"small_stem": True}
        run.optimizer = config.Optimizer(
            name="adam",
            learning_rate=1e-3,
            schedule="multi_step",
            milestones=(50.0, 75.0),
            decay_factor=0.1,
        )
        # epochs of 0.17 s on an H100; saving took 0.2 s on a CPU under a profiler
        run.train = config.Train(
            epochs=100, batch_size=128, seeds=5, checkpoint_epochs=25
        )
    else:
        run.augment = config.Augment(
            rotation_degrees=10.0, shift=0.1, zoom=0.1, brightness=0.2, contrast=0.2
        )
        run.optimizer = config.Optimizer(
            name="adamw",
            learning_rate=2e-3,
            weight_decay=5e-2,
            schedule="one_cycle",
            ema_decay=0.99,
        )
        run.train = config.Train(
            epochs=30, batch_size=128, seeds=5, label_smoothing=0.1
        )
    if smoke:
        return config.rehearse(run, size=28)
    return run
