"""The one type in which pictures travel through covjax."""

import dataclasses
import hashlib
from dataclasses import dataclass, field

import numpy as np

LUNG, LESION = 1, 2  # bits of `ImageSet.masks`


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Pictures with what is known of them; one row a picture, NumPy only.

    Attributes:
      images: uint8 ``[n, height, width, channels]``; may be memory-mapped.
      labels: int32 ``[n]`` class indices, or uint8 ``[n, classes]`` multi-hot.
      class_names: names in the order of the labels.
      patients: str ``[n]``; ``""`` is unknown, never a guess.
      sources: str ``[n]``, hospital or collection; ``""`` is unknown.
      splits: str ``[n]``, the set's own split, ``""`` where it has none;
        otherwise ``"train"``, ``"validation"`` or ``"test"``.
      files: str ``[n]``, the name each picture had, relative to its set.
      masks: uint8 ``[n, height, width]`` with the bits `LUNG` and `LESION`, or None.
      metadata: further columns, each ``[n]``: ``sex``, ``age``, ``view`` and, for
        the audit, ``file_width``, ``file_height``, ``file_mode``, ``file_format``,
        ``file_bytes``.
      name: name of the data set.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    patients: np.ndarray
    sources: np.ndarray
    splits: np.ndarray
    files: np.ndarray
    masks: np.ndarray | None = None
    metadata: dict[str, np.ndarray] = field(default_factory=dict)
    name: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def multi_label(self) -> bool:
        """Whether a picture may have several labels or none."""
        return self.labels.ndim == 2

    def subset(self, rows: np.ndarray) -> "ImageSet":
        """The given rows, in the given order (indices or a Boolean mask)."""
        return dataclasses.replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            patients=self.patients[rows],
            sources=self.sources[rows],
            splits=self.splits[rows],
            files=self.files[rows],
            masks=None if self.masks is None else self.masks[rows],
            metadata={name: column[rows] for name, column in self.metadata.items()},
        )

    def counts(self) -> dict[str, int]:
        """Number of pictures of each class."""
        if self.multi_label:
            numbers = self.labels.sum(axis=0)
        else:
            numbers = np.bincount(self.labels, minlength=self.num_classes)
        return {c: int(k) for c, k in zip(self.class_names, numbers, strict=True)}

    def fingerprint(self) -> str:
        """SHA-256 over pictures, labels, names and ids; equal sets, equal digest."""
        digest = hashlib.sha256(repr((self.class_names, self.images.shape)).encode())
        for column in (self.patients, self.sources, self.splits, self.files):
            digest.update("\0".join(map(str, column)).encode())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        for start in range(0, len(self), 1024):  # memory-mapped sets stay on disk
            digest.update(np.ascontiguousarray(self.images[start : start + 1024]))
        return digest.hexdigest()
