"""Does the network look at the lungs? Heat maps of test pictures, drawn and measured.

Two questions: where the heat of the decisions lies (Grad-CAM against the masks), and
what is left of the AUC when parts of the picture are taken away.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from covjax.data.imageset import LESION, LUNG, ImageSet
from covjax.evaluation import gradcam, intervals, plots
from covjax.evaluation.bootstrap import clusters
from covjax.evaluation.counts import one_vs_rest
from covjax.inference import Judged

EXPLAINED = 64  # pictures that are measured: enough for a share, cheap on a CPU
DRAWN = 12  # of them, in ``heatmaps/``
SHARES = (0.25, 0.5, 0.75)  # of height and width that are blanked or kept
GREY = 128


class Judge(Protocol):
    """Whatever judges prepared uint8 pictures: a network, or several as one."""

    def judge(self, images: np.ndarray) -> Judged:
        """Probabilities and embeddings."""


class Network(Judge, Protocol):
    """What is asked of `covjax.inference.Classifier`."""

    @property
    def model(self) -> Any:
        """The Flax module."""

    @property
    def variables(self) -> Any:
        """Its ``params`` and ``batch_stats``."""

    @property
    def batch_size(self) -> int:
        """Pictures a compiled call."""

    def map_size(self) -> tuple[int, int]:
        """Height and width of the last spatial map."""

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Normalised pictures."""


def explain(network: Network, test: ImageSet, workdir: Path) -> dict[str, Any]:
    """Heat maps of an even choice of test pictures; writes ``heatmaps/*.png``.

    Args:
      network: the classifier.
      test: the test split.
      workdir: the run's folder.

    Returns:
      ``pictures``; ``cells``, the height and width of the last spatial map, for a map
      of few cells cannot point at anything; ``like_random``, the mean rank correlation
      with the maps of a network whose weights were shuffled (Adebayo et al. 2018: near
      1 is bad); with masks also, for lungs and lesions, the mean ``share`` of heat
      inside, the ``area`` of the mask, which is the share of heat spread evenly, and
      ``pointing``, the share of pictures whose hottest pixel is inside.
    """
    rows = plots.grid_rows(test.labels, test.num_classes, count=EXPLAINED)
    images = np.asarray(test.images[rows])
    decisions = network.judge(images).probabilities.argmax(axis=1)
    pixels = network.pixels(images)

    def heat_of(variables: Any) -> np.ndarray:
        return gradcam.heatmaps(
            network.model, variables, pixels, decisions, batch_size=network.batch_size
        )

    heat = heat_of(network.variables)
    shuffled = heat_of(gradcam.randomised(network.variables))
    correlations = gradcam.rank_correlation(heat, shuffled)
    result: dict[str, Any] = {
        "pictures": len(rows),
        "cells": list(network.map_size()),
        "like_random": _mean(correlations),
        "masks": {},
    }
    if test.masks is not None:
        masks = np.asarray(test.masks[rows])
        for name, bit in (("lungs", LUNG), ("lesions", LESION)):
            inside = (masks & bit).astype(bool)
            some = inside.any(axis=(1, 2)) & (heat.max(axis=(1, 2)) > 0)
            if not some.any():
                continue
            result["masks"][name] = {
                "pictures": int(some.sum()),
                "share": _mean(gradcam.share_inside(heat[some], inside[some])),
                "area": float(inside[some].mean()),
                "pointing": _mean(gradcam.pointing_game(heat[some], inside[some])),
            }
    names = [test.class_names[d] for d in decisions]
    draw(images[:DRAWN], heat[:DRAWN], names, workdir / "heatmaps")
    return result


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    return float(known.mean()) if len(known) else None


def draw(images: np.ndarray, heat: np.ndarray, names: list[str], folder: Path) -> None:
    """Each picture beside itself with its heat."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for number, (image, one, name) in enumerate(zip(images, heat, names)):
        grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1).astype(np.uint8)
        pair = np.concatenate([grey, gradcam.overlay(image, one)], axis=1)
        scale = max(1, 224 // len(pair))  # small pictures are enlarged to be seen
        large = Image.fromarray(pair).resize(
            (scale * pair.shape[1], scale * pair.shape[0]), Image.Resampling.NEAREST
        )
        large.save(folder / f"{number:02d} called {name}.png".replace("/", "-"))


def without_parts(
    network: Judge, test: ImageSet, *, level: float
) -> list[dict[str, Any]]:
    """The network's AUC on test pictures of which a part is grey.

    Curves over the share of height and width: the centre blanked, and all but the
    border blanked; of the pictures with a lung mask also lungs only and lungs blanked.
    A network whose AUC survives without the centre or the lungs reads something else.

    Returns:
      Rows of ``part`` ("centre blanked", "border only", "lungs only", "lungs
      blanked"), ``share`` (of the sides that is blanked; None for masks), ``n``
      and ``auc``.
    """
    height, width = test.images.shape[1:3]
    everywhere = np.zeros((1, height, width), bool)
    hidden: list[tuple[str, float | None, np.ndarray]] = [
        ("centre blanked", share, everywhere | _centre(height, width, share))
        for share in SHARES
    ]
    border = everywhere | _centre(height, width, 0.875)  # a sixteenth on each side
    hidden.append(("border only", 0.875, border))
    lungs = np.zeros((len(test), height, width), bool)
    if test.masks is not None:
        lungs = (np.asarray(test.masks) & LUNG).astype(bool)
    marked = np.flatnonzero(lungs.any(axis=(1, 2)))
    if len(marked):
        lungs = lungs[marked]
        hidden += [("lungs only", None, ~lungs), ("lungs blanked", None, lungs)]
    images = np.asarray(test.images[:])
    truth = one_vs_rest(test.labels, test.num_classes)
    patients = np.asarray(test.patients, str)
    rows = []
    for part, share, where in hidden:
        chosen = marked if share is None else slice(None)
        left = np.where(where[..., None], np.uint8(GREY), images[chosen])
        said = network.judge(left)
        auc = intervals.area(
            truth[chosen], said.probabilities, clusters(patients[chosen]), level
        )
        row = {"part": part, "share": share, "n": len(left), "auc": auc.to_dict()}
        rows.append(row)
    return rows


def _centre(height: int, width: int, share: float) -> np.ndarray:
    """True in the middle `share` of height and width."""
    inside = [
        np.abs(np.arange(n) + 0.5 - n / 2) < share * n / 2 for n in (height, width)
    ]
    return np.logical_and.outer(*inside)
