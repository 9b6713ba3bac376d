"""A data set examined before anything is trained on it: `python -m covjax.audit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covjax.data import duplicates
from covjax.data.duplicates import Duplicates
from covjax.data.imageset import ImageSet
from covjax.data.loading import Splits
from covjax.data.splits import NAMES
from covjax.evaluation import controls, findings
from covjax.evaluation.controls import Control
from covjax.evaluation.counts import one_vs_rest
from covjax.evaluation.findings import Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Everything `examine` found.

    Attributes:
      images: all pictures, training first, then validation and test.
      parts: str ``[n]``, the split of each.
      findings: in the order of `examine`.
      controls: from `covjax.evaluation.controls.run`.
      duplicates: rows are those of ``images``.
      statistics: a row a class and a row a source: counts, file size and exposure.
    """

    images: ImageSet
    parts: np.ndarray
    findings: list[Finding]
    controls: Sequence[Control]
    duplicates: Duplicates
    statistics: list[dict[str, Any]]

    @property
    def alarms(self) -> list[Finding]:
        """The findings that are alarms."""
        return [finding for finding in self.findings if finding.level == "alarm"]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``audit.json``; pictures by file name, patients never."""
        files, found = self.images.files, self.duplicates
        return {
            "data": self.images.name,
            "pictures": len(self.images),
            "alarms": len(self.alarms),
            "findings": [finding._asdict() for finding in self.findings],
            "controls": [
                {
                    "name": control.name,
                    "sees_lungs": control.sees_lungs,
                    "alarm": control.alarm,
                    "auc": control.auc.to_dict(),
                    "classes": {
                        name: auc.to_dict() for name, auc in control.classes.items()
                    },
                    "sentence": control.sentence,
                }
                for control in self.controls
            ],
            "duplicates": {
                "compared": found.compared,
                "threshold": found.threshold,
                "false_positive_rate": found.false_positive_rate,
                "expected_false": found.expected_false,
                "pairs": [
                    {
                        "files": [str(files[pair.first]), str(files[pair.second])],
                        "splits": [
                            str(self.parts[pair.first]),
                            str(self.parts[pair.second]),
                        ],
                        "kind": pair.kind,
                        "turn": pair.turn,
                        "correlation": round(pair.correlation, 4),
                    }
                    for pair in found.pairs
                ],
            },
            "statistics": self.statistics,
        }


def examine(splits: Splits, *, level: float = 0.95, seed: int = 0) -> Audit:
    """Looks for everything that is known to spoil a data set of this field.

    Args:
      splits: the data set as a run would see it.
      level: of the intervals.
      seed: of the controls.
    """
    images, parts = _joined(splits)
    found = duplicates.find(images.images, images.patients)
    tried = controls.run(splits, level=level, seed=seed)
    listed = [
        findings.patients(splits.verdict),
        *findings.unknown_ids(images),
        findings.series(images.files, parts),
        findings.repeated(images, parts, found),
        findings.balance(images),
        findings.prevalence(images, parts),
        *findings.sources(images),
        *map(_of_control, tried),
    ]
    return Audit(
        images=images,
        parts=parts,
        findings=listed,
        controls=tried,
        duplicates=found,
        statistics=_statistics(images),
    )


def _of_control(control: Control) -> Finding:
    untried = control.auc.estimate is None
    level = "alarm" if control.alarm else "untried" if untried else "fine"
    return Finding(f"control: {control.name}", level, control.sentence)


def _joined(splits: Splits) -> tuple[ImageSet, np.ndarray]:
    """The three splits as one set in memory, and the split of each picture."""
    sets = [getattr(splits, name) for name in NAMES]
    shared = set.intersection(*(set(s.metadata) for s in sets))

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(getattr(s, name)[:]) for s in sets])

    images = ImageSet(
        images=column("images"),
        labels=column("labels"),
        class_names=splits.train.class_names,
        patients=column("patients"),
        sources=column("sources"),
        splits=column("splits"),
        files=column("files"),
        metadata={
            name: np.concatenate([s.metadata[name] for s in sets]) for name in shared
        },
        name=splits.train.name,
    )
    return images, np.repeat(NAMES, [len(s) for s in sets])


def _statistics(images: ImageSet) -> list[dict[str, Any]]:
    """Counts, medians of file size, and mean exposure, of each class and source."""
    pixels = [p.astype(np.float32) for p in images.images]
    measured = {
        "brightness": np.array([p.mean() for p in pixels]),
        "contrast": np.array([p.std() for p in pixels]),
    }
    truth = one_vs_rest(images.labels, images.num_classes)
    groups = [("class", n, rows) for n, rows in zip(images.class_names, truth.T)]
    for name in np.unique(images.sources):
        groups.append(("source", str(name) or "unknown", images.sources == name))
    rows = []
    for kind, name, chosen in groups:
        row: dict[str, Any] = {"of": kind, "name": name, "pictures": int(chosen.sum())}
        for column in ("file_width", "file_height", "file_bytes"):
            if column in images.metadata and chosen.any():
                values = images.metadata[column][chosen].astype(np.float64)
                row[column] = float(np.median(values))
        for column, numbers in measured.items():
            row[column] = (
                round(float(numbers[chosen].mean()), 1) if chosen.any() else None
            )
        rows.append(row)
    return rows
