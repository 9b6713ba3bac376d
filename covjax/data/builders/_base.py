"""What every data set of the catalog is made of: a card and a list of examples.

A builder file reads one data set's own layout on disk and says what it found as
`Example` rows; it decodes nothing. `covjax.data.builders.tfds` writes the rows of any
data set as array_record, `covjax.data.load` decodes them into an ImageSet.
"""

import functools
import inspect
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from covjax.data.picture import MAX_BYTES
from covjax.data.readers import read_bytes
from covjax.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One picture with what its data set says of it.

    Attributes:
      file: its name, unique within the set, relative to the set's folder.
      label: index of its class, or one 0/1 per class where several may hold.
      open: gives the encoded picture (the file's bytes; PNG for slices and arrays).
      patient: the set's own id; ``""`` is unknown, never a guess.
      source: hospital or collection; ``""`` is unknown.
      split: the set's own split: train, validation, test or ``""``.
      metadata: further columns such as sex, age and view, as text.
      mask: gives a PNG with the bits LUNG and LESION of `imageset`, where there is one.
      stored: whether the encoded picture is a file of the set; one that is encoded
        here, from an array or a volume, has a size that tells of the pixels alone.
      paths: all files that `open` and `mask` read; empty: any of the set's folder.
    """

    file: str
    label: int | tuple[int, ...]
    open: Callable[[], bytes]
    patient: str = ""
    source: str = ""
    split: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    mask: Callable[[], bytes] | None = None
    stored: bool = True
    paths: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """A file that can be fetched without an account.

    Attributes:
      url: where it is.
      file: where it goes, relative to the set's folder.
      sha256: its digest as published; ``""`` where none is known.
      unpack: for a ZIP file, the folder in it whose content is taken; ``""`` takes
        all, None keeps the file as it is.
      to: where the content goes, relative to the set's folder.
    """

    url: str
    file: str
    sha256: str = ""
    unpack: str | None = None
    to: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The card of a data set, and the function that reads its layout.

    Attributes:
      name: the word for ``--config.data.name``.
      title: its name in the literature.
      modality: "X-ray", "CT" or both.
      size: pictures and patients, in words.
      classes: class names in the order of the labels; the target class is last.
      file_format: of the original files.
      licence: as its home states it, or that none is stated.
      citation: the paper to cite.
      home: address of the data set.
      get: how to get it, in a sentence or two.
      patient_rule: where patient ids come from.
      source_rule: where sources come from.
      checked: what the reading code was checked on.
      needs: paths in the set's folder, all of which must exist; ``a|b`` is either, and
        ``*`` is any name.
      read: lists the examples of a folder; keyword arguments are the set's options.
      downloads: what `prepare` can fetch by itself.
      multi_label: whether a picture may have several labels.
    """

    name: str
    title: str
    modality: str
    size: str
    classes: tuple[str, ...]
    file_format: str
    licence: str
    citation: str
    home: str
    get: str
    patient_rule: str
    source_rule: str
    checked: str
    needs: tuple[str, ...]
    read: Callable[..., list[Example]]
    downloads: tuple[Download, ...] = ()
    multi_label: bool = False

    def examples(self, dir: str | os.PathLike[str], **options: object) -> list[Example]:
        """The pictures under `dir`, in an order that depends on nothing but names.

        Args:
          dir: the set's folder, or one that holds it under the set's name.
          **options: ``config.data.kwargs``; each set's `read` names its own.

        Raises:
          InputError: the folder, a file in it, or an option is not as it must be.
        """
        known = list(inspect.signature(self.read).parameters)[1:]
        if isinstance(self.read, functools.partial):  # what the set itself fixes
            known = [name for name in known if name not in self.read.keywords]
        for option in options:
            if option not in known:
                raise InputError(
                    f"config.data.kwargs: {option!r} is not an option of {self.name}; "
                    f"known: {', '.join(known) or 'none'}"
                )
        folder = self.folder(dir)
        examples = self.read(folder, **options)
        if not examples:
            raise InputError(f"{folder}: no pictures of {self.name} found")
        seen: set[str] = set()
        for example in examples:
            if example.file in seen:
                raise InputError(f"{folder}: {example.file} is listed twice")
            seen.add(example.file)
        return examples

    def missing(self, folder: Path) -> list[str]:
        """Those of `needs` that `folder` does not have."""
        return [
            need
            for need in self.needs
            if not any(any(folder.glob(part)) for part in need.split("|"))
        ]

    def folder(self, dir: str | os.PathLike[str]) -> Path:
        """`dir` or its subfolder of the set's name, whichever holds the set."""
        short = self.name.replace("_", "")  # as MedMNIST writes pneumoniamnist
        for folder in (Path(dir), Path(dir) / self.name, Path(dir) / short):
            if folder.is_dir() and not self.missing(folder):
                return folder
        if not Path(dir).is_dir():
            raise InputError(f"{dir}: no such folder; {self.name}: {self.get}")
        missing = self.missing(Path(dir))[0].replace("|", " or ")
        raise InputError(f"{dir}: has no {missing}; {self.name}: {self.get}")


NOT_SEEN = "a small tree in the published layout, written by the test; the original "
NOT_SEEN += "files could not be fetched"


def inside(folder: Path, name: str) -> Path:
    """A file that a table names, which must lie in `folder` and exist.

    Raises:
      InputError: the name leads elsewhere, or there is no such file.
    """
    path = folder / name
    if not name or name != path.name or not path.is_file():
        raise InputError(f"{path}: named in a table of the set, but not there")
    return path


def find_picture(folder: Path, stem: str) -> Path | None:
    """The picture of this name and any known extension; None where there is none."""
    for name in (stem, *(stem + suffix for suffix in PICTURES)):
        if stem and name == (folder / name).name and (folder / name).is_file():
            return folder / name
    return None


def class_folders(folder: Path, names: Sequence[str]) -> list[tuple[int, Path]]:
    """Label and path of every picture in folders that are named by their class.

    Args:
      folder: holds the class folders.
      names: their names in the order of the labels; upper or lower case is the same.
    """
    found = {path.name.lower(): path for path in sorted(folder.iterdir())}
    rows = []
    for label, name in enumerate(names):
        if name.lower() not in found:
            raise InputError(f"{folder}: has no folder {name}")
        paths = pictures(found[name.lower()])
        if not paths:
            raise InputError(f"{found[name.lower()]}: has no pictures")
        rows += [(label, path) for path in paths]
    return rows


def file_opener(path: Path) -> Callable[[], bytes]:
    """Opens a file of its own."""
    return functools.partial(read_bytes, path)


def member_opener(archive: Path, member: str) -> Callable[[], bytes]:
    """Opens a file inside a ZIP; members are read in memory and never unpacked."""
    return functools.partial(_read_member, archive, member)


def members(archive: Path) -> list[str]:
    """Names of the files in a ZIP, sorted, without folders and hidden files."""
    return sorted(
        name
        for name in _open_zip(archive).namelist()
        if not name.endswith("/") and not Path(name).name.startswith(".")
    )


def pictures(folder: Path) -> list[Path]:
    """Picture files directly in a folder, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES and not path.name.startswith(".")
    )


def read_lines(path: Path) -> list[str]:
    """Non-empty lines of a text file, whatever its line ends and its last line."""
    text = read_bytes(path).decode("utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def file_state(path: Path) -> tuple[int, int]:
    """Time of change and size: what a cache of open files is keyed by."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return state.st_mtime_ns, state.st_size


def _open_zip(archive: Path) -> zipfile.ZipFile:
    return _open_zip_file(archive, file_state(archive))


@functools.lru_cache(maxsize=8)
def _open_zip_file(archive: Path, state: tuple[int, int]) -> zipfile.ZipFile:
    del state  # only so that a changed file is opened again
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: not a readable ZIP file ({error})") from error


def _read_member(archive: Path, member: str) -> bytes:
    try:
        info = _open_zip(archive).getinfo(member)
        if info.file_size > MAX_BYTES:
            raise InputError(f"{archive}/{member}: {info.file_size} bytes is too large")
        return _open_zip(archive).read(member)
    except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(f"{archive}: cannot read {member} ({error})") from error
