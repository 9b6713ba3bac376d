"""A classifier trained on real and on synthetic pictures, which a GAN has learnt.

* Waheed, Goyal, Gupta, Khanna, Al-Turjman, Pinheiro 2020, CovidGAN, IEEE Access
  8:91916, doi 10.1109/ACCESS.2020.2994762: one ACGAN of all classes.
* Loey, Smarandache, Khalifa 2020, Symmetry 12(4):651, doi 10.3390/sym12040651: a DCGAN,
  here one a class, for it knows none.

The GAN learns from the training split alone, and its pictures join the training split
alone: validation and test stay real. The papers train it on all pictures they have.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.data.resized import resize_picture, resized
from covjax.errors import InputError
from covjax.evaluation.final import finish
from covjax.files import DAMAGED, read_arrays, whole
from covjax.pretrained import pretrained
from covjax.systems import Ranges, check_ranges, outcome
from covjax.systems.gan import SIZES, make_gan
from covjax.systems.gan_training import Schedule, synthesise, train_gan
from covjax.training.loop import fit

SYNTHETIC, SOURCE = "synthetic.npz", "synthetic"
RANGES: Ranges = {
    "pictures": (1, None),
    "epochs": (1, None),
    "batch_size": (1, None),
    "learning_rate": (0, None),
    "b1": (0, 0.999),  # of 1 Adam's steps are not finite
    "checkpoint_epochs": (1, None),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The GAN and how many pictures it draws.

    Attributes:
      gan: "acgan" or "dcgan".
      pictures: synthetic pictures of each class.
      size: height and width that the GAN learns; 0: that of its paper. Its pictures
        are resized to those of the data.
      epochs: of the GAN over the training split.
      batch_size: of the GAN.
      learning_rate: of both its optimizers, Adam.
      b1: of Adam.
      checkpoint_epochs: from one checkpoint of the GAN to the next.
    """

    gan: str = "acgan"
    pictures: int = 1500
    size: int = 0
    epochs: int = 2000  # Waheed et al.
    batch_size: int = 64  # Waheed et al.
    learning_rate: float = 2e-4  # Radford et al. 2016, section 4; Waheed et al.
    b1: float = 0.5  # Radford et al. 2016, section 4; Waheed et al.
    checkpoint_epochs: int = 20


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains the GAN, draws with it, then trains and reports the classifier.

    The GAN lies in ``gan-all`` (or ``gan-0``, ``gan-1``, ..., one a class), its
    pictures in ``synthetic.npz``, the classifier in ``classifier``.

    Raises:
      InputError: for several labels a picture, streamed pictures, or settings that do
        not fit; and as `covjax.training.loop.fit`.
    """
    check(splits, settings)
    # read before the GAN takes its hours: the weights may not be there
    start = pretrained(run, splits.train.num_classes)
    synthetic = stored(splits.train, workdir)
    if synthetic is None:
        synthetic = drawn(run, splits.train, workdir, settings)
        store(synthetic, splits.train, workdir)
    mixed = replace(splits, train=joined(splits.train, synthetic))
    trained = fit(
        outcome.part(run), mixed, workdir / "classifier", initial_variables=start
    )
    return finish(
        run,
        splits,
        trained.best,
        workdir,
        epoch=trained.best_epoch,
        history=trained.history,
    )


def check(splits: Splits, settings: Settings) -> None:
    """Raises `InputError` for data or settings that a GAN cannot be trained with."""
    if splits.train.multi_label:
        raise InputError(
            f"data {splits.train.name}: a GAN needs one label a picture, not several"
        )
    if splits.streamed:
        raise InputError(
            "config.data.feed: a GAN's pictures must lie in memory; give feed=resident"
        )
    check_ranges(settings, RANGES, "config.system.kwargs")


def drawn(
    run: config.Run, real: ImageSet, workdir: Path, settings: Settings
) -> ImageSet:
    """Synthetic pictures of every class, by a GAN trained on real ones.

    Args:
      run: its seed and devices are the GAN's.
      real: the training split.
      workdir: of the system.
      settings: of the GAN.
    """
    size = settings.size or SIZES.get(settings.gan, 0)
    gan = make_gan(
        settings.gan,
        num_classes=real.num_classes,
        size=size,
        channels=real.images.shape[-1],
        learning_rate=settings.learning_rate,
        b1=settings.b1,
    )
    schedule = Schedule(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        checkpoint_epochs=settings.checkpoint_epochs,
        seed=run.train.seed,
        devices=run.train.devices,
    )
    small = resized(real, size)
    labels = np.repeat(np.arange(real.num_classes, dtype=np.int32), settings.pictures)
    groups = {"gan-all": np.arange(real.num_classes)}
    if not gan.num_classes:  # it cannot be told which class to draw
        groups = {f"gan-{k}": np.array([k]) for k in range(real.num_classes)}
    parts = []
    for number, (name, classes) in enumerate(groups.items()):
        own = small.subset(np.isin(small.labels, classes))
        generator = train_gan(gan, own, workdir / name, schedule)
        wanted = labels[np.isin(labels, classes)]
        parts.append(
            synthesise(
                gan,
                generator,
                wanted,
                seed=run.train.seed + number,
                batch_size=settings.batch_size,
            )
        )
    return synthetic_set(np.concatenate(parts), labels, real)


def synthetic_set(images: np.ndarray, labels: np.ndarray, real: ImageSet) -> ImageSet:
    """Synthetic pictures as a set like the real one, at its size.

    They have no patient, their source is ``"synthetic"``, and nothing else is known
    of them.
    """
    size, n = real.images.shape[1], len(labels)
    if images.shape[1] != size:
        images = np.stack([resize_picture(picture, size) for picture in images])
    return ImageSet(
        images=images,
        labels=labels,
        class_names=real.class_names,
        patients=np.full(n, ""),
        sources=np.full(n, SOURCE),
        splits=np.full(n, "train"),
        files=np.array([f"synthetic/{i}.png" for i in range(n)]),
        name=real.name,
    )


def joined(real: ImageSet, synthetic: ImageSet) -> ImageSet:
    """The real pictures, then the synthetic ones; masks and metadata are left out."""

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(real, name), getattr(synthetic, name)])

    return replace(
        real,
        images=both("images"),
        labels=both("labels"),
        patients=both("patients"),
        sources=both("sources"),
        splits=both("splits"),
        files=both("files"),
        masks=None,
        metadata={},
    )


def store(synthetic: ImageSet, real: ImageSet, workdir: Path) -> None:
    """Writes ``synthetic.npz``, whole or not at all, with what it was learnt from."""
    with whole(workdir / SYNTHETIC) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            images=synthetic.images,
            labels=synthetic.labels,
            learnt_from=np.array(real.fingerprint()),
        )


def stored(real: ImageSet, workdir: Path) -> ImageSet | None:
    """What `store` wrote: another device might draw other pictures from the weights.

    Raises:
      InputError: for a damaged file, and for pictures learnt from other real ones,
        among which may be those of test patients.
    """
    path = workdir / SYNTHETIC
    if not path.is_file():
        return None
    try:
        arrays = read_arrays(path)
        found = {name: arrays[name] for name in ("images", "labels", "learnt_from")}
    except DAMAGED as error:
        raise InputError(f"{path}: damaged: {error}; remove it to draw anew") from error
    if str(found["learnt_from"]) != real.fingerprint():
        raise InputError(
            f"{path}: belongs to a run on other training pictures than these of data "
            f"{real.name}; choose another --workdir"
        )
    return synthetic_set(found["images"], found["labels"], real)
