"""The one type in which pictures travel through covjax."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from covjax.errors import InputError

LUNG, LESION = 1, 2  # bits of `ImageSet.masks`


@functools.cache
def _decoders() -> ThreadPoolExecutor:
    """The threads of all `LazyImages`; decoders of pictures leave Python's lock."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")


@dataclass(frozen=True, slots=True)
class LazyImages:
    """Pictures that are decoded when asked for; indexes like a uint8 array.

    Attributes:
      read: row of the source to one picture uint8 ``[height, width, channels]``;
        called from several threads at once.
      rows: int ``[n]``, the source's row of each picture.
      picture_shape: ``(height, width, channels)``.
      key: digest of what the pictures are made from, in place of their own.
    """

    read: Callable[[int], np.ndarray]
    rows: np.ndarray
    picture_shape: tuple[int, int, int]
    key: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``[n, height, width, channels]``."""
        return (len(self.rows), *self.picture_shape)

    @property
    def ndim(self) -> int:
        """Always four."""
        return 4

    @property
    def dtype(self) -> np.dtype:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Size of the decoded pictures."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        rows = self.rows[index]
        if np.ndim(rows) == 0:
            return self.read(int(rows))
        pictures = np.empty((len(rows), *self.picture_shape), np.uint8)
        for place, picture in enumerate(_decoders().map(self.read, rows.tolist())):
            pictures[place] = picture
        return pictures

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)

    def subset(self, rows: np.ndarray) -> "LazyImages":
        """The given rows, still undecoded."""
        return dataclasses.replace(self, rows=self.rows[rows])


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Pictures with what is known of them; one row a picture, NumPy only.

    Attributes:
      images: uint8 ``[n, height, width, channels]``; memory-mapped where it comes from
        the cache, `LazyImages` where the set is streamed.
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

    images: np.ndarray  # or LazyImages
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
            images=self.images.subset(rows)
            if isinstance(self.images, LazyImages)
            else self.images[rows],
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
        """SHA-256 over pictures, labels, names and ids; equal sets, equal digest.

        Streamed pictures are not decoded for it: their `LazyImages.key` stands in.
        """
        digest = hashlib.sha256(repr((self.class_names, self.images.shape)).encode())
        for column in (self.patients, self.sources, self.splits, self.files):
            digest.update("\0".join(map(str, column)).encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        if isinstance(self.images, LazyImages):
            digest.update(f"{self.images.key} {self.images.rows.tolist()}".encode())
            return digest.hexdigest()
        for start in range(0, len(self), 1024):  # memory-mapped sets stay on disk
            digest.update(np.ascontiguousarray(self.images[start : start + 1024]).data)
        return digest.hexdigest()

    def rows_of(self, names: tuple[str, ...]) -> np.ndarray:
        """Rows of pictures of these classes; all rows of a multi-label set.

        Raises:
          InputError: a name is unknown or given twice.
        """
        for name in names:
            if name not in self.class_names or names.count(name) > 1:
                raise InputError(
                    f"config.data.classes: {name!r} must be, once, one of "
                    f"{', '.join(self.class_names)}"
                )
        if self.multi_label:
            return np.arange(len(self))
        places = [self.class_names.index(name) for name in names]
        return np.flatnonzero(np.isin(self.labels, places))

    def select_classes(self, names: tuple[str, ...]) -> "ImageSet":
        """Only pictures of these classes, labelled by their places in `names`.

        A multi-label set keeps all its pictures and the columns of these classes.

        Raises:
          InputError: a name is unknown or given twice.
        """
        chosen = self.subset(self.rows_of(names))
        old = [self.class_names.index(name) for name in names]
        if self.multi_label:
            labels = np.ascontiguousarray(chosen.labels[:, old])
        else:
            place = np.zeros(self.num_classes, np.int32)
            place[old] = np.arange(len(names))
            labels = place[chosen.labels]
        return dataclasses.replace(chosen, labels=labels, class_names=names)
