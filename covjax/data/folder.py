"""Your own pictures: class folders, or a CSV manifest.

Class folders, with or without a level of splits above them:

    DIR/normal/a.png  DIR/covid19/b.dcm
    DIR/train/normal/a.png  DIR/test/normal/c.png

Lung masks lie in a folder of their own, ``config.data.kwargs.masks``, under the paths
of their pictures but for the ending, which is ``.png``, ``.nii`` or ``.nii.gz``:

    MASKS/normal/a.png  MASKS/covid19/b.nii.gz

It may be a folder of DIR whose name begins with ``_``. Pictures without a mask are
taken without.

A manifest is a table with the columns ``path`` and ``label``, and where known
``patient``, ``source``, ``split``, ``mask`` (the path of the lung mask), ``sex``,
``age`` and ``view``. Paths are relative to
``config.data.dir``, or without one to the manifest. Several labels are joined by ``|``.
Classes are sorted by name; ``config.data.classes`` chooses another order.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

from covjax.data.builders._base import Example
from covjax.data.builders._tables import read_csv
from covjax.data.mask_files import ENDINGS, find_mask, mask_opener
from covjax.data.readers import FORMATS, read_bytes, sniff
from covjax.errors import InputError
from covjax.files import files_below

SPLITS = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
METADATA = ("sex", "age", "view")
# beside pictures in many folders; every other file must be a picture, since DICOM
# files often have no ending and none should be left out in silence
NOT_PICTURES = {".csv", ".db", ".html", ".ini", ".json", ".md", ".pdf", ".txt",
                ".xlsx", ".xml", ".yaml", ".yml"}  # fmt: skip


def read_folder(folder: str, masks: str = "") -> tuple[tuple[str, ...], list[Example]]:
    """Class names and examples of a tree of class folders, sorted by name.

    Args:
      folder: the tree.
      masks: folder of the lung masks; empty: there are none.

    Raises:
      InputError: the folder is missing, has no class folders, or one is empty; only
        some of its folders are splits; a picture lies outside the class folders; a link
        leads nowhere, or to a picture that is there already; no picture has a mask.
    """
    if not folder:
        raise InputError("config.data.dir: must name a folder of class folders")
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder (config.data.dir)")
    parts = _parts(root)
    for place in {root, *(part for _, part in parts)}:
        _check_none_loose(place)
    names = sorted({c.name for _, part in parts for c in _folders(part)})
    _check_classes(names, f"{folder}: has", "one folder a class")
    examples = []
    seen: dict[str, str] = {}  # where each file lies, and where it was met
    for split, part in parts:
        for label, name in enumerate(names):
            files = _pictures(part / name)
            if not files:
                raise InputError(f"{part / name}: a class without pictures")
            for path in files:
                file = path.relative_to(root).as_posix()
                lies = os.path.realpath(path)
                if lies in seen:
                    raise InputError(
                        f"{path}: is {seen[lies]} again, behind a link; every picture "
                        "must be there once (config.data.dir)"
                    )
                seen[lies] = file
                mask = find_mask(Path(masks), file) if masks else None
                examples.append(
                    Example(
                        file=file,
                        label=label,
                        split=split,
                        **_files(root / file, mask, file),
                    )
                )
    if masks and not any(example.mask for example in examples):
        raise InputError(
            f"{masks}: has no mask of any picture, such as {examples[0].file} with the "
            f"ending {', '.join(ENDINGS)} (config.data.kwargs.masks)"
        )
    return tuple(names), examples


def read_manifest(
    manifest: str, folder: str = ""
) -> tuple[tuple[str, ...], list[Example]]:
    """Class names and examples of a CSV manifest, in its order.

    Raises:
      InputError: a column is missing, or a row names no label, an unknown split, a
        missing file or one that an earlier row names.
    """
    path = Path(manifest)
    if folder and not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder (config.data.dir)")
    root = Path(folder) if folder else path.parent
    rows = [
        {name: cell.strip() for name, cell in row.items()}
        for row in read_csv(path, columns=("path", "label"))
    ]
    labels = [_labels(row["label"], i, manifest) for i, row in enumerate(rows)]
    names = sorted({name for row in labels for name in row})
    _check_classes(names, f"{manifest}: has", "a label in each row")
    multi_label = any(len(row) > 1 for row in labels)
    examples: list[Example] = []
    seen: dict[str, str] = {}  # where each file lies, and how it was spelled
    for i, row in enumerate(rows):
        where = f"{manifest}, row {i + 1}"
        file = row["path"]
        if not (root / file).is_file():
            raise InputError(f"{where}: {file or 'an empty path'}: no such file")
        place = os.path.realpath(root / file)
        if place in seen:
            before = "" if seen[place] == file else f", before as {seen[place]}"
            raise InputError(f"{where}: {file} is listed twice{before}")
        seen[place] = file
        mask = row.get("mask", "")
        if mask and not (root / mask).is_file():
            raise InputError(f"{where}: {mask}: no such file (mask)")
        split = row.get("split", "").lower()
        if split not in SPLITS:
            raise InputError(
                f"{where}: split={split!r}: must be train, validation, test or empty"
            )
        if multi_label:
            label: int | tuple[int, ...] = tuple(int(n in labels[i]) for n in names)
        else:
            label = names.index(labels[i][0])
        examples.append(
            Example(
                file=file,
                label=label,
                patient=row.get("patient", ""),
                source=row.get("source", ""),
                split=SPLITS[split],
                metadata={name: row[name] for name in METADATA if name in row},
                **_files(root / file, root / mask if mask else None, file),
            )
        )
    return tuple(names), examples


def _parts(root: Path) -> list[tuple[str, Path]]:
    """The folders that hold class folders, each with the split that it is."""
    tops = _folders(root)
    splits = [top for top in tops if top.name.lower() in SPLITS]
    if not splits:
        return [("", root)]
    for top in tops:
        if top not in splits and _pictures(top):
            raise InputError(
                f"{root}: {splits[0].name} is named as a split and {top.name} is not; "
                "all folders with pictures must be splits, or all classes "
                "(config.data.dir)"
            )
    return [(SPLITS[top.name.lower()], top) for top in splits]


def _check_none_loose(place: Path) -> None:
    """Raises `InputError` for a picture beside the class folders, which has no class.

    Other files may lie there: only a file's content makes it a picture.
    """
    for file in sorted(place.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            with file.open("rb") as opened:
                kind = sniff(opened.read(2**15))
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        if kind in FORMATS.split(", "):
            raise InputError(
                f"{file}: a picture outside the class folders; move it into one, or "
                "list all pictures in config.data.manifest"
            )


def _labels(cell: str, row: int, manifest: str) -> list[str]:
    labels = [label.strip() for label in cell.split("|")]
    if not all(labels):
        raise InputError(f"{manifest}, row {row + 1}: label={cell!r}: is empty")
    return labels


def _check_classes(names: list[str], who: str, wanted: str) -> None:
    if len(names) < 2:
        found = ", ".join(names) or "none"
        raise InputError(
            f"{who} {len(names)} classes ({found}); needs two and {wanted}"
        )


def _files(picture: Path, mask: Path | None, name: str) -> dict[str, Any]:
    """What an example is read from: its fields `open`, `mask` and `paths`."""
    return {
        "open": partial(read_bytes, picture, name=name),
        "mask": mask_opener(picture, mask) if mask else None,
        "paths": (picture, mask) if mask else (picture,),
    }


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] not in "._")


def _pictures(path: Path) -> list[Path]:
    """Files at any depth, sorted, without hidden ones and notes beside the pictures."""
    found = []
    for file in sorted(map(Path, files_below(path))):
        if file.suffix.lower() in NOT_PICTURES:
            continue
        if file.is_symlink() and not file.exists():
            raise InputError(f"{file}: a link to a file that is not there")
        if file.is_file():
            found.append(file)
    return found
