"""Random patches of the lungs that vote on the picture.

Oh, Park, Ye, Deep learning COVID-19 features on CXR using limited training data sets,
2020, IEEE TMI 39(8):2688, doi 10.1109/TMI.2020.2993291, sections III-B to III-D, and
the authors' code. A network is trained on one new patch of each picture an epoch; a
picture is judged by the majority of its patches, and explained by their Grad-CAMs,
weighted by the probability of the class.

Differs from the paper: the authors draw the centre's row and column one by one, which
may miss the lung; here one lung pixel is drawn. At the border they stretch what is left
of a patch; here it is filled with black, as the masked picture is.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import LUNG, ImageSet
from covjax.errors import InputError
from covjax.evaluation import plots
from covjax.evaluation.explanation import DRAWN, draw
from covjax.evaluation.measures import selection
from covjax.inference import Classifier, Judged
from covjax.pretrained import pretrained
from covjax.systems import changed, check_ranges, outcome, segmentation
from covjax.systems.finished import without_embeddings
from covjax.systems.lungs import mask_lungs
from covjax.systems.network import train_network
from covjax.systems.patches import PatchVoter, RandomPatch
from covjax.systems.segmentation import CLASSIFIER, SEGMENTER
from covjax.systems.segmenter import Segmenter
from covjax.training.history import Row
from covjax.training.special import Special


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where patches come from, and how many vote.

    Attributes:
      lungs: "segmenter" finds them in every picture; "masks" takes the set's own.
      segmentation: settings of `covjax.systems.segmentation` for the segmenter.
      masked: whether what is not lung is blackened first.
      patch_size: height and width in pixels.
      patches: that vote on a picture.
      validation_patches: that vote when an epoch is judged.
    """

    lungs: str = "segmenter"
    segmentation: dict[str, Any] = field(default_factory=dict)
    masked: bool = True  # Oh et al., section III-B
    patch_size: int = 224  # section III-B
    patches: int = 100  # section III-B
    validation_patches: int = 10  # covjax's choice: a tenth of the time


def train(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings
) -> dict[str, Any]:
    """Trains the segmenter where one is needed, then the patch network; reports.

    The two networks lie in ``segmenter`` and ``classifier``; the latter takes patches.
    ``heatmaps/*.png`` are probabilistic Grad-CAMs of test pictures.

    Raises:
      InputError: for settings that do not fit, or a set without lung masks; as
        `covjax.training.loop.fit`.
    """
    check(run, splits, settings)
    small = replace(run, data=replace(run.data, size=settings.patch_size))
    start = pretrained(small, splits.train.num_classes)  # now: it may not be there
    segmenter = None
    if settings.lungs == "segmenter":
        where = "config.system.kwargs.segmentation"
        lungs = changed(segmentation.Settings(), settings.segmentation, where)
        segmenter = segmentation.obtain(run, splits, workdir / SEGMENTER, lungs)

    def prepared(images: ImageSet) -> ImageSet:
        found = own_lungs(images) if segmenter is None else segmenter.masks(
            images.images
        )  # fmt: skip
        return with_lungs(images, found, masked=settings.masked)

    seen = replace(
        splits,
        train=prepared(splits.train),
        validation=prepared(splits.validation),
        preprocess=replace(splits.preprocess, size=settings.patch_size),
    )
    classifier = train_patches(small, seen, workdir / CLASSIFIER, settings, start)
    voter = PatchVoter(classifier, settings.patches, run.train.seed)

    def judge(images: ImageSet) -> Judged:
        return without_embeddings(voter.scores(prepared(images).images))

    def explained(test: ImageSet) -> None:
        draw_heat(voter, prepared(test), workdir / "heatmaps")

    return outcome.report(
        run,
        splits,
        workdir,
        LungVoter(segmenter, voter, settings.masked),
        judge=judge,
        explanation=explained,
        blanked=False,  # lungs are found first, and each picture is a hundred patches
    )


def load(
    run: config.Run, workdir: Path, settings: Settings, class_names: tuple[str, ...]
) -> "LungVoter":
    """What `train` left in the work directory.

    Raises:
      InputError: where that is damaged, or the data set had to tell where lungs are.
    """
    if settings.lungs != "segmenter":
        raise InputError(
            f"{workdir}: patch_voting took the lungs from the data set's own masks "
            "(config.system.kwargs.lungs='masks'), which files lack; train it with "
            "lungs='segmenter' to judge files"
        )
    classifier = Classifier.load(workdir / CLASSIFIER)
    voter = PatchVoter(classifier, settings.patches, run.train.seed)
    return LungVoter(Segmenter.load(workdir / SEGMENTER), voter, settings.masked)


@dataclass(frozen=True)
class LungVoter:
    """Finds the lungs, whose patches vote; see `covjax.systems.finished.Parts`.

    Attributes:
      segmenter: finds them; None where only masks of the data set can tell.
      voter: asks the patches.
      masked: whether what is not lung is blackened first.
    """

    segmenter: Segmenter | None
    voter: PatchVoter
    masked: bool

    def judge(self, images: np.ndarray) -> Judged:
        """Shares of the votes; no embeddings, for the network sees patches."""
        assert self.segmenter is not None
        lungs = self.segmenter.masks(images)
        seen = beside_lungs(images, lungs, masked=self.masked)
        return without_embeddings(self.voter.scores(seen))


def check(run: config.Run, splits: Splits, settings: Settings) -> None:
    """Raises `InputError` for settings that do not fit."""
    where, size = "config.system.kwargs", run.data.size
    if settings.lungs not in ("segmenter", "masks"):
        raise InputError(
            f"{where}.lungs={settings.lungs!r}: must be one of segmenter, masks"
        )
    if not 8 <= settings.patch_size <= size:
        raise InputError(
            f"{where}.patch_size={settings.patch_size}: must be from 8 to "
            f"config.data.size={size}"
        )
    check_ranges(
        settings, {"patches": (1, None), "validation_patches": (1, None)}, where
    )
    if splits.train.multi_label or run.train.loss in ("binary", "margin"):
        raise InputError(
            f"config.train.loss={run.train.loss!r}: patches vote for one class a "
            "picture; must be cross_entropy or focal"
        )
    if splits.streamed:
        raise InputError(
            "config.data.feed: patches are cut from pictures in memory; set it to "
            "resident"
        )


def own_lungs(images: ImageSet) -> np.ndarray:
    """The set's own lung masks, Boolean; raises `InputError` without any."""
    if images.masks is None or not (images.masks & LUNG).any():
        raise InputError(
            f"data {images.name}: has no lung masks; config.system.kwargs.lungs must "
            "be segmenter"
        )
    return (np.asarray(images.masks) & LUNG).astype(bool)


def with_lungs(images: ImageSet, lungs: np.ndarray, *, masked: bool) -> ImageSet:
    """The set with the lungs as a last channel, 0 or 255, of every picture.

    Args:
      images: of any set.
      lungs: Boolean ``[n, height, width]``; a picture without lung is taken whole.
      masked: whether what is not lung is blackened.
    """
    return replace(images, images=beside_lungs(images.images, lungs, masked=masked))


def beside_lungs(images: np.ndarray, lungs: np.ndarray, *, masked: bool) -> np.ndarray:
    """Pictures ``[n, height, width, channels + 1]`` likewise; see `with_lungs`."""
    lungs = lungs | ~lungs.any(axis=(1, 2), keepdims=True)
    pictures = mask_lungs(images, lungs) if masked else images
    last = lungs[..., None].astype(np.uint8) * np.uint8(255)
    return np.concatenate([pictures, last], axis=-1)


def train_patches(
    run: config.Run, splits: Splits, workdir: Path, settings: Settings, start: Any
) -> Classifier:
    """Trains the network on a random patch of each picture.

    Args:
      run: of the system, with the patches' size; augmentation changes the patches.
      splits: of pictures whose last channel is the lungs.
      workdir: of this network.
      settings: size of the patches, and how many judge an epoch.
      start: variables, or None.
    """
    judged = splits.validation

    def judge(variables: Any) -> Row:
        classifier = Classifier.of(run, splits, variables)
        voter = PatchVoter(classifier, settings.validation_patches, run.train.seed)
        return judged_by(voter, judged, run.train.select_by)

    special = Special(view=RandomPatch(settings.patch_size), judge=judge)
    return train_network(run, splits, workdir, initial_variables=start, special=special)


def judged_by(voter: PatchVoter, images: ImageSet, select_by: str) -> Row:
    """An epoch's measures: those of the votes on whole pictures."""
    shares = voter.scores(images.images)
    right = shares[np.arange(len(shares)), images.labels]
    row: Row = {"validation_loss": float(-np.log(right + 1e-12).mean())}
    for name in ("auc", "accuracy"):
        row[f"validation_{name}"] = known(selection(images.labels, shares, name))
    if select_by == "loss":
        return row | {"score": -row["validation_loss"]}
    return row | {"score": known(selection(images.labels, shares, select_by))}


def known(value: float) -> float | None:
    """None for a measure that is undefined."""
    return value if np.isfinite(value) else None


def draw_heat(voter: PatchVoter, images: ImageSet, folder: Path) -> None:
    """Writes probabilistic Grad-CAMs of an even choice of pictures.

    Args:
      voter: the patch network.
      images: their last channel is the lungs.
      folder: where ``*.png`` go.
    """
    rows = plots.grid_rows(images.labels, images.num_classes, count=DRAWN)
    chosen = np.asarray(images.images[rows])
    decisions = voter.scores(chosen).argmax(axis=1)
    heat = [voter.heat(one, k) for one, k in zip(chosen, decisions, strict=True)]
    names = [images.class_names[k] for k in decisions]
    scaled = [h / max(float(h.max()), 1e-30) for h in heat]
    draw(chosen[..., :-1], np.stack(scaled), names, folder)
