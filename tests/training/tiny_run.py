"""A net and a data set small enough to train in a second; also run as a script.

``python tiny_run.py WORKDIR [EPOCHS]`` is the process that the tests kill.
"""

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import numpy as np

from covjax import config
from covjax.blocks.conv import BatchNorm, Conv
from covjax.data.imageset import ImageSet
from covjax.data.preprocess import Preprocess


class Tiny(nn.Module):
    """Two convolutions with batch normalisation, and a classifier."""

    num_classes: int = 3
    axis_name: str | None = None
    dropout: float = 0.0
    auxiliary: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        norm = partial(
            BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            axis_name=self.axis_name,
        )
        x = Conv(4, use_bias=False, name="stem")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        if self.auxiliary and (train or self.is_initializing()):
            logits = nn.Dense(self.num_classes, name="aux")(x.mean((1, 2)))
            self.sow("intermediates", "aux_logits", logits)
        x = Conv(8, strides=2, use_bias=False, name="stage1")(x)
        x = nn.relu(norm(name="stage1_norm")(x))
        self.sow("intermediates", "features", x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(self.num_classes, name="head")(x)


def pictures(n: int, seed: int, size: int = 12) -> ImageSet:
    """Noise with a patch whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3).astype(np.int32)
    images = rng.integers(0, 100, (n, size, size, 1))
    images[:, 3:7, 3:7] += (70 * labels)[:, None, None, None]
    unknown = np.array([""] * n)
    return ImageSet(
        images=images.astype(np.uint8),
        labels=labels,
        class_names=("normal", "pneumonia", "covid"),
        patients=unknown,
        sources=unknown,
        splits=unknown,
        files=unknown,
    )


def splits(n: int = 40) -> SimpleNamespace:
    return SimpleNamespace(
        train=pictures(n, 0),
        validation=pictures(21, 1),
        preprocess=Preprocess(size=12),
    )


def settings(**train) -> config.Run:
    """A run of three epochs on one device."""
    run = config.Run()
    run.data.size = 12
    values = {"epochs": 3, "batch_size": 8, "devices": 1, "seed": 5} | train
    for name, value in values.items():
        setattr(run.train, name, value)
    run.augment.rotation_degrees = 10.0
    run.augment.brightness = 0.1
    run.optimizer.learning_rate = 0.01
    return run


if __name__ == "__main__":
    from covjax.training.loop import Interrupted, fit
    from covjax.training.parallel import enable_compilation_cache

    enable_compilation_cache()
    run = settings(epochs=int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    try:
        fit(run, splits(), Path(sys.argv[1]), model=Tiny(dropout=0.3))
    except Interrupted as interrupt:
        print(interrupt, file=sys.stderr)
        sys.exit(128 + interrupt.signal)
