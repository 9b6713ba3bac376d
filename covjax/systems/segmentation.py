"""Lung segmentation, and classification of the lungs alone.

A network learns the lungs from masks; then every picture is masked by, or cropped to,
the lungs that it finds, and a classifier is trained on what is left. FC-DenseNet103
with this protocol: Oh, Park, Ye, Deep learning COVID-19 features on CXR using limited
training data sets, 2020, IEEE TMI 39(8):2688, doi 10.1109/TMI.2020.2993291, and the
authors' code.

Differs from the paper: two classes, lung and background, instead of four; the mean
Jaccard by which the best epoch is chosen is that of the lungs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import LUNG, ImageSet
from covjax.data.resized import resized
from covjax.errors import InputError
from covjax.evaluation.explanation import explain
from covjax.evaluation.overlap import dice, jaccard, overlap
from covjax.files import write_json
from covjax.inference import Classifier, Judged
from covjax.pretrained import pretrained
from covjax.systems import Ranges, check_ranges, outcome
from covjax.systems.lungs import crop_lungs, crop_masks, mask_lungs
from covjax.systems.network import train_network
from covjax.systems.segmenter import MEAN, NETWORKS, STD, MaskLoss, Segmenter, grey
from covjax.training.history import Row
from covjax.training.loop import fit
from covjax.training.special import Special

SEGMENTER, CLASSIFIER = "segmenter", "classifier"  # folders of the two networks
MEASURES = "segmentation.json"  # how well the lungs were found
USES = ("mask", "crop")
RANGES: Ranges = {
    "size": (8, 4096),
    "epochs": (1, None),  # without one the network finds anything but lungs
    "batch_size": (1, None),
    "learning_rate": (0, None),
    "weight_decay": (0, None),
    "background_weight": (0, None),
    "dice_weight": (0, None),
    "margin": (0, None),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the lungs are learnt, and what is done with them.

    Attributes:
      segmenter: folder of a segmenter that was trained before; empty: it is trained
        on the masks of this data set, with the recipe's augmentation.
      network: "fc_densenet103" or "unet".
      size: height and width of what it sees; larger pictures are shrunk for it.
      epochs: the learning rate falls tenfold after 0.7, 0.8 and 0.9 of them.
      batch_size: pictures an update.
      learning_rate: of Adam.
      weight_decay: L2, of all parameters.
      background_weight: of background pixels in the cross-entropy; lung has 1.
      dice_weight: of the Dice loss, which is added to it.
      use: "mask" blackens what is not lung, "crop" cuts out the lungs' box.
      margin: of the box, as share of its sides.
    """

    segmenter: str = ""
    network: str = "fc_densenet103"
    size: int = 256  # Oh et al., section III-A
    epochs: int = 100  # authors' code
    batch_size: int = 2  # authors' code
    learning_rate: float = 1e-4  # section IV-A
    weight_decay: float = 1e-6  # authors' code
    background_weight: float = 0.5  # authors' code
    dice_weight: float = 0.0
    use: str = "mask"  # section III-B
    margin: float = 0.05


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains the segmenter, then the classifier on the lungs that it finds.

    Besides the report, ``segmentation.json`` has Dice and Jaccard where the set has
    masks. The two networks lie in ``segmenter``, where also one that was trained
    before is copied to, and ``classifier``.

    Raises:
      InputError: for settings that do not fit, or a set without lung masks; as
        `covjax.training.loop.fit`.
    """
    start = pretrained(run, splits.train.num_classes)  # now: it may not be there
    segmenter = obtain(run, splits, workdir / SEGMENTER, settings)

    def lungs_of(images: ImageSet) -> ImageSet:
        return restrict(images, segmenter.masks(images.images), settings)

    seen = replace(
        splits, train=lungs_of(splits.train), validation=lungs_of(splits.validation)
    )
    classifier = train_network(run, seen, workdir / CLASSIFIER, initial_variables=start)

    def explained(test: ImageSet) -> dict[str, Any]:
        both = {"validation": splits.validation, "test": test}
        write_json(
            workdir / MEASURES,
            {part: measure(segmenter, images, run) for part, images in both.items()},
        )
        return explain(classifier, lungs_of(test), workdir, run.evaluation)

    return outcome.report(
        run,
        splits,
        workdir,
        LungClassifier(segmenter, classifier, settings),
        explanation=explained,
    )


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "LungClassifier":
    """What `train` left in the work directory; `InputError` where that is damaged."""
    return LungClassifier(
        Segmenter.load(workdir / SEGMENTER),
        Classifier.load(workdir / CLASSIFIER),
        settings,
    )


@dataclass(frozen=True)
class LungClassifier:
    """Finds the lungs and judges them alone; see `covjax.systems.finished.Parts`.

    Attributes:
      segmenter: finds them.
      classifier: of pictures that are masked by, or cropped to, the lungs.
      settings: which of the two.
    """

    segmenter: Segmenter
    classifier: Classifier
    settings: Settings

    def judge(self, images: np.ndarray) -> Judged:
        """What the classifier says of the lungs."""
        lungs = lungs_alone(images, self.segmenter.masks(images), self.settings)
        return self.classifier.judge(lungs)


def obtain(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> Segmenter:
    """The segmenter of the settings: read, or trained on the set's masks.

    Args:
      run: its seed and augmentation count.
      splits: training and validation pictures; the test split is not looked at.
      workdir: of the segmenter alone, which is saved there; an interrupted training
        goes on.
      settings: how.
    """
    check(splits, settings)
    if settings.segmenter:
        segmenter = Segmenter.load(Path(settings.segmenter))
        segmenter.save(workdir)  # the run must not need another folder
        return segmenter
    learnt, judged = (
        lungs_to_learn(images, settings.size)
        for images in (splits.train, splits.validation)
    )
    segmenter = Segmenter(
        network=settings.network,
        size=settings.size,
        batch_size=settings.batch_size,
        variables={},
    )
    loss = MaskLoss(settings.background_weight, settings.dice_weight)

    def judge(variables: Any) -> Row:
        return judged_by(replace(segmenter, variables=variables), judged, loss)

    result = fit(
        recipe(run, settings),
        replace(splits, train=learnt, validation=judged),
        workdir,
        model=segmenter.model,
        special=Special(loss=loss, judge=judge),
    )
    segmenter = replace(segmenter, variables=result.best)
    segmenter.save(workdir)
    return segmenter


def check(splits: Splits, settings: Settings) -> None:
    """Raises `InputError` for settings that do not fit."""
    for name, allowed in (("use", USES), ("network", tuple(NETWORKS))):
        value = getattr(settings, name)
        if value not in allowed:
            raise InputError(
                f"config.system.kwargs.{name}={value!r}: must be one of "
                f"{', '.join(allowed)}"
            )
    check_ranges(settings, RANGES, "config.system.kwargs")
    if splits.streamed:
        raise InputError(
            "config.data.feed: lungs are found in pictures in memory; set it to "
            "resident"
        )


def lungs_to_learn(images: ImageSet, size: int) -> ImageSet:
    """Grey pictures that have a lung mask, labelled in every pixel, 1 being lung.

    Raises:
      InputError: when there is none.
    """
    marked = np.zeros(0, int)
    if images.masks is not None:
        marked = np.flatnonzero((images.masks & LUNG).any(axis=(1, 2)))
    if not len(marked):
        raise InputError(
            f"data {images.name}: has no lung masks to train on; name a trained "
            "segmenter by config.system.kwargs.segmenter"
        )
    chosen = resized(images.subset(marked), size)
    assert chosen.masks is not None
    return replace(
        chosen,
        images=grey(chosen.images),
        labels=(chosen.masks & LUNG).astype(np.int32),
        class_names=("background", "lung"),
        masks=None,
    )


def recipe(run: config.Run, settings: Settings) -> config.Run:
    """The recipe of the segmenter alone."""
    alone = outcome.part(run, name=settings.network, kwargs={}, pretrained="")
    return replace(
        alone,
        data=replace(run.data, size=settings.size, channels=1, mean=MEAN, std=STD),
        optimizer=config.Optimizer(
            name="adam",
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            decay_norms_and_biases=True,  # PyTorch
            schedule="multi_step",
            milestones=tuple(s * settings.epochs for s in (0.7, 0.8, 0.9)),
        ),
        train=config.Train(
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=run.train.seed,
            devices=1,  # a batch of two pictures cannot be shared out
        ),
    )


def judged_by(segmenter: Segmenter, images: ImageSet, loss: MaskLoss) -> Row:
    """An epoch's measures on pictures labelled in every pixel."""
    losses, dices, jaccards = [], [], []
    for start in range(0, len(images), segmenter.batch_size):
        rows = slice(start, start + segmenter.batch_size)
        logits, truth = segmenter.logits(images.images[rows]), images.labels[rows]
        losses.append(np.asarray(loss(logits, truth)))
        lungs = np.asarray(logits[..., 1] > logits[..., 0])
        dices.append(dice(lungs, truth > 0))
        jaccards.append(jaccard(lungs, truth > 0))
    score = float(np.concatenate(jaccards).mean())
    return {
        "validation_loss": float(np.concatenate(losses).mean()),
        "validation_dice": float(np.concatenate(dices).mean()),
        "validation_jaccard": score,
        "score": score,
    }


def measure(segmenter: Segmenter, images: ImageSet, run: config.Run) -> dict[str, Any]:
    """Dice and Jaccard of a set's lungs, with intervals, at the pictures' size.

    Returns:
      ``pictures`` with a lung mask, ``not_found`` (pictures in which the segmenter
      sees no lung), and, where there are masks, ``dice`` and ``jaccard``.
    """
    found = segmenter.masks(images.images)
    result: dict[str, Any] = {
        "pictures": 0,
        "not_found": int((~found.any(axis=(1, 2))).sum()),
    }
    if images.masks is None:
        return result
    truth = (np.asarray(images.masks) & LUNG).astype(bool)
    marked = truth.any(axis=(1, 2))
    if not marked.any():
        return result
    asked = run.evaluation
    measures = overlap(
        found[marked],
        truth[marked],
        images.patients[marked],
        level=asked.level,
        resamples=asked.resamples,
    )
    result["pictures"] = int(marked.sum())
    return result | {name: m.to_dict() for name, m in measures.items()}


def restrict(images: ImageSet, lungs: np.ndarray, settings: Settings) -> ImageSet:
    """The set with its pictures masked by, or cropped to, the given lungs.

    Args:
      images: its masks, where it has some, are cut as the pictures are.
      lungs: Boolean ``[n, height, width]``.
      settings: how.
    """
    masks = images.masks
    if settings.use == "crop" and masks is not None:
        masks = crop_masks(masks, lungs, settings.margin)
    pictures = lungs_alone(images.images, lungs, settings)
    return replace(images, images=pictures, masks=masks)


def lungs_alone(
    images: np.ndarray, lungs: np.ndarray, settings: Settings
) -> np.ndarray:
    """Pictures uint8 ``[n, size, size, channels]`` likewise; see `restrict`."""
    if settings.use == "mask":
        return mask_lungs(images, lungs)
    return crop_lungs(images, lungs, settings.margin)
