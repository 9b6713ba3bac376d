"""Fetches, verifies and prepares a data set: what ``covjax.data prepare`` does.

Each step can be interrupted and goes on where it stopped: a download keeps its part,
a prepared set its finished shards, and nothing appears in its place before it is whole.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from covjax.data.catalog import DataSet, Download, prepared_dir
from covjax.errors import InputError
from covjax.files import whole

MANIFEST = "manifest.sha256"  # lines of sha256sum: digest, two blanks, path
BLOCK = 2**20
SECONDS = 30.0  # without a byte from a server


def fetch(data_set: DataSet, folder: Path) -> None:
    """Downloads those files of a set that are not in `folder` yet.

    Raises:
      InputError: the set cannot be downloaded, there is no network, or a file is not
        what it should be.
    """
    if not data_set.downloads:
        raise InputError(f"{folder}: {data_set.name} is not here; {data_set.get}")
    for download in data_set.downloads:
        archive, target = folder / download.file, folder / download.to
        if archive.exists() or (download.to and target.exists()):
            continue
        try:
            fetch_file(download, archive)
            if download.unpack is not None:
                unpack(archive, download.unpack, target)
                archive.unlink()
        except InputError as error:
            raise InputError(f"{error}; by hand: {data_set.get}") from error


def fetch_file(download: Download, path: Path) -> None:
    """Downloads one file, from where an earlier try stopped, and checks its digest."""
    part = path.with_name(path.name + ".part")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(download.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            path.parent.mkdir(parents=True, exist_ok=True)
            resumed = answer.status == 206
            start = start if resumed else 0
            length = int(answer.headers.get("Content-Length") or 0)
            total = start + length if length else 0  # 0: the server does not say
            with (
                open(part, "ab" if resumed else "wb") as file,
                _bar(total, path.name, "B") as bar,
            ):
                bar.update(start)
                while block := answer.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        if total and part.stat().st_size != total:
            raise InputError(
                f"{download.url}: ended after {part.stat().st_size} of {total} bytes; "
                "run again to go on"
            )
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is already the whole file
            raise InputError(f"{download.url}: {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(f"{download.url}: cannot be fetched ({reason})") from error
    if download.sha256 and _digest(part) != download.sha256:
        part.unlink()
        raise InputError(f"{download.url}: the file has another SHA-256 than published")
    os.replace(part, path)


def unpack(archive: Path, prefix: str, target: Path) -> None:
    """Unpacks what lies under `prefix` in a ZIP file, or all where nothing does.

    Everything is unpacked beside `target` first and then moved into it.

    Raises:
      InputError: the archive is damaged, larger than the disk, or a member's name
        leads out of the folder.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [info for info in file.infolist() if not info.is_dir()]
            under = [i for i in members if i.filename.startswith(f"{prefix}/")]
            free = shutil.disk_usage(archive.parent).free
            if sum(info.file_size for info in members) > free:
                raise InputError(f"{archive}: unpacks to more than the disk has free")
            with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".") as place:
                for info in under or members:
                    name = info.filename[len(prefix) + 1 :] if under else info.filename
                    path = PurePosixPath(name)
                    if path.is_absolute() or ".." in path.parts or "\\" in name:
                        raise InputError(f"{archive}: {name!r} leads out of the folder")
                    inside = Path(place, path)
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(info) as source, open(inside, "wb") as written:
                        shutil.copyfileobj(source, written, BLOCK)
                target.mkdir(parents=True, exist_ok=True)
                for entry in Path(place).iterdir():
                    if not (target / entry.name).exists():
                        os.replace(entry, target / entry.name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{archive}: damaged ZIP file ({error})") from error


def manifest_of(name: str, folder: Path) -> Path:
    """Where the manifest of a set lies or is to lie.

    In its folder; beside the prepared sets, where that folder is not to be written.
    """
    inside = folder / MANIFEST
    writable = os.access(folder, os.W_OK) and folder.stat().st_mode & 0o222
    if inside.exists() or writable:
        return inside
    return prepared_dir() / f"{name}.{MANIFEST}"


def write_manifest(manifest: Path, folder: Path) -> None:
    """Writes the digest of every file in `folder`."""
    files = _files(folder)
    lines = []
    with _bar(len(files), "hashing", "file") as bar:
        for name, path in files.items():
            lines.append(f"{_digest(path)}  {name}\n")
            bar.update(1)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    with whole(manifest) as unfinished:
        unfinished.write_text("".join(lines))


def verify(manifest: Path, folder: Path) -> int | None:
    """Compares the files of `folder` with its manifest.

    Returns:
      The number of files, or None where there is no manifest.

    Raises:
      InputError: names the first file that differs, is missing or was added.
    """
    if not manifest.exists():
        return None
    expected = {}
    for number, line in enumerate(manifest.read_text().splitlines(), start=1):
        digest, blanks, name = line[:64], line[64:66], line[66:]
        if blanks != "  " or not name:
            raise InputError(f"{manifest}: line {number} is not a digest and a path")
        expected[name] = digest
    files = _files(folder)
    for name in expected:
        if name not in files:
            raise InputError(f"{folder / name}: missing, but named in {manifest}")
    for name in files:
        if name not in expected:
            raise InputError(f"{folder / name}: not named in {manifest}")
    with _bar(len(files), "verifying", "file") as bar:
        for name, path in files.items():
            if _digest(path) != expected[name]:
                raise InputError(f"{path}: has another SHA-256 than in {manifest}")
            bar.update(1)
    return len(files)


def build(data_set: DataSet, source: Path, target: Path) -> tuple[Path, bool]:
    """Writes the set of `source` as array_record into the TFDS folder `target`.

    Returns:
      The prepared folder, and whether it had to be written.

    Raises:
      InputError: a file is not as it must be, or another process is at work there.
    """
    examples = data_set.examples(source)
    state = _state(source)
    root = target / data_set.name
    root.mkdir(parents=True, exist_ok=True)
    with _lock(root):
        from covjax.data.builders import records

        folder = root / records.VERSION
        made_from = folder / "sources.sha256"
        if folder.exists():
            if made_from.exists() and made_from.read_text().strip() == state:
                return folder, False
            shutil.rmtree(folder)  # of other files, or of an older covjax
        for left in root.glob("incomplete.*"):  # of a killed process
            shutil.rmtree(left)
        with (
            _bar(len(examples), f"preparing {data_set.name}", "picture") as bar,
            tempfile.TemporaryDirectory() as unused,
        ):
            builder = records.builder(
                data_set.name, target, source=source, progress=bar.update
            )
            builder.download_and_prepare(download_dir=unused)
        made_from.write_text(state + "\n")
    return folder, True


def _files(folder: Path) -> dict[str, Path]:
    """Every file of a set by its path in it, sorted; hidden ones are not the set's."""
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != MANIFEST
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    }


def _state(folder: Path) -> str:
    """Digest of names, sizes and times of all files: quick, and changes with them."""
    result = hashlib.sha256()
    for name, path in _files(folder).items():
        found = path.stat()
        result.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return result.hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """One process at a time; the system frees it when the process ends."""
    with open(root / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{root}: another process prepares this set") from error
        yield


def _bar(total: int, what: str, unit: str) -> Any:
    """A progress bar on standard error."""
    from tqdm import tqdm

    return tqdm(total=total, desc=what, unit=unit, unit_scale=unit == "B")
