"""Does the network look at the lungs? Heat maps of test pictures, drawn and measured.

Two questions: where the heat of the decisions lies (Grad-CAM against the masks), and
what is left of the AUC when parts of the picture are taken away.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy import ndimage

from covjax import config
from covjax.data.imageset import LESION, LUNG, ImageSet
from covjax.evaluation import compare, gradcam, intervals, plots
from covjax.evaluation.controls import told
from covjax.evaluation.predictions import Predictions
from covjax.inference import Judged

EXPLAINED = 64  # pictures that are measured: enough for a share, cheap on a CPU
DRAWN = 12  # of them, in ``heatmaps/``
CENTRES = (0.25, 0.5, 0.75, 0.875, 0.9375)  # of height and width that are blanked
OUTER = 0.75  # from here on what is left counts as a picture without lungs
MARGIN = 1 / 16  # of the height, around the lungs
GREY = 128


class Network(Protocol):
    """What is asked of `covjax.inference.Classifier`."""

    def judge(self, images: np.ndarray) -> Judged:
        """Probabilities and embeddings of prepared uint8 pictures."""

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


def explain(
    network: Network, test: ImageSet, workdir: Path, asked: config.Evaluation
) -> dict[str, Any]:
    """Heat maps of an even choice of test pictures; writes ``heatmaps/*.png``.

    Args:
      network: the classifier.
      test: the test split.
      workdir: the run's folder.
      asked: level and resamples of the interval.

    Returns:
      ``pictures``; ``cells``, the height and width of the last spatial map, for a map
      of few cells cannot point at anything; ``like_random``, the mean rank correlation
      with the maps of a network whose weights were shuffled (Adebayo et al. 2018: near
      1 is bad); with masks also, for lungs and lesions, the mean ``share`` of heat
      inside, the ``area`` of the mask, which is the share of heat spread evenly, their
      difference ``excess`` with its interval, and ``pointing``, the share of pictures
      whose hottest pixel is inside.
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
            share = gradcam.share_inside(heat[some], inside[some])
            area = inside[some].mean(axis=(1, 2))
            patients = np.asarray(test.patients, str)[rows][some]
            excess = intervals.mean(
                "excess", share - area, patients, asked.level, asked.resamples
            )
            result["masks"][name] = {
                "pictures": int(some.sum()),
                "share": float(share.mean()),
                "area": float(area.mean()),
                "excess": excess.to_dict(),
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


class Part(NamedTuple):
    """A part of the pictures that is made grey."""

    name: str
    sees_lungs: bool  # whether something of them is left
    pictures: np.ndarray  # which: their rows
    hidden: np.ndarray  # Boolean ``[pictures or 1, height, width]``


def without_parts(
    judge: Callable[[np.ndarray], Judged],
    test: ImageSet,
    whole: Predictions,
    *,
    level: float,
) -> list[dict[str, Any]]:
    """The network's AUC on test pictures of which a part is grey.

    Curves over the share that is left: the centre blanked, down to a thin border; of
    the pictures with a lung mask also the lungs alone, and all but the lungs, with and
    without a margin. A network whose AUC survives without the lungs reads something
    else.

    Args:
      judge: of prepared uint8 pictures; of a network, or of a system as one.
      test: the test split.
      whole: what was said of it with nothing blanked.
      level: of the intervals.

    Returns:
      Rows of ``part``, ``sees_lungs``, ``n``, ``auc``, ``sentence`` and, against the
      network that sees all of the same pictures, `compare.beside`'s.
    """
    images, rows = np.asarray(test.images[:]), []
    for part in parts_of(test):
        left = np.where(part.hidden[..., None], np.uint8(GREY), images[part.pictures])
        seeing = whole.subset(part.pictures)
        blind = replace(seeing, probabilities=judge(left).probabilities)
        auc = blind.auc(level)
        rows.append(
            {
                "part": part.name,
                "sees_lungs": part.sees_lungs,
                "n": len(left),
                "auc": auc.to_dict(),
                **compare.beside(seeing, blind, auc, level),
                "sentence": f"The network itself, with the {part.name}, "
                f"{told(auc, {})}.",
            }
        )
    return rows


def parts_of(test: ImageSet) -> list[Part]:
    """What is blanked, in the order of the report."""
    height, width = test.images.shape[1:3]
    everyone = np.arange(len(test))

    def centre(share: float) -> np.ndarray:
        """True in the middle `share` of height and width."""
        inside = [
            np.abs(np.arange(n) + 0.5 - n / 2) < share * n / 2 for n in (height, width)
        ]
        return np.logical_and.outer(*inside)[None]

    found = [
        Part(f"centre blanked {share:.0%}", share < OUTER, everyone, centre(share))
        for share in CENTRES
    ]
    if test.masks is None:
        return found
    lungs = (np.asarray(test.masks) & LUNG).astype(bool)
    marked = np.flatnonzero(lungs.any(axis=(1, 2)))
    if not len(marked):
        return found
    lungs = lungs[marked]
    steps = max(1, round(MARGIN * height))
    wide = ndimage.binary_dilation(lungs, np.ones((1, 3, 3), bool), steps)
    around = f"lungs and {MARGIN:.0%} around"
    return [
        *found,
        Part("lungs alone", True, marked, ~lungs),
        Part(f"{around} alone", True, marked, ~wide),
        Part("lungs blanked", False, marked, lungs),
        Part(f"{around} blanked", False, marked, wide),
    ]
