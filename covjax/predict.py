"""Judge pictures with a finished run: probabilities, decision, heat map, warnings.

A run of a network, or of a system made of several.

python -m covjax.predict --workdir runs/RUN scans/ --out predictions
"""

import csv
import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covjax import cli
from covjax.errors import InputError
from covjax.files import files_below, whole

if TYPE_CHECKING:
    import numpy as np

    from covjax.evaluation.familiarity import Familiarity
    from covjax.inference import Classifier
    from covjax.systems.finished import System


HEATMAPS = "heatmaps"  # their folder


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture that could be read: its row, the file's size and the pixels."""

    row: dict[str, Any]
    sides: tuple[int, int]
    image: "np.ndarray"


Read = tuple[dict[str, Any], Prepared | None]  # a file's row, and what was read of it


def parser() -> cli.Parser:
    """The command's flags."""
    result = cli.Parser(
        prog="covjax.predict",
        description="Judges PNG, JPEG, TIFF, DICOM and NIfTI files with a finished "
        "run.\nResearch only, not for diagnosis.",
        epilog="A file that cannot be read gets its error in its row, and the rest "
        "goes on. The numbers are those of the\nrun's own evaluation, bit for bit, "
        "for one picture or a thousand.",
    )
    result.add_argument(
        "--workdir", type=Path, required=True, metavar="RUN", help="the finished run"
    )
    result.add_argument("paths", nargs="+", type=Path, help="files or folders")
    result.add_argument(
        "--out",
        type=Path,
        default=Path("predictions"),
        metavar="DIR",
        help="for predictions.csv and predictions.json (default: predictions)",
    )
    result.add_argument(
        "--heatmaps", action="store_true", help="draw Grad-CAM of the likeliest class"
    )
    return result


def main(arguments: Sequence[str]) -> int:
    """Predicts as asked; returns the exit status."""
    flags = parser().parse_args(arguments)
    for path in flags.paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if not flags.workdir.is_dir():
        raise InputError(f"--workdir={flags.workdir}: no such run")

    from tqdm import tqdm

    from covjax import systems
    from covjax.evaluation.familiarity import Familiarity
    from covjax.training.parallel import enable_compilation_cache

    enable_compilation_cache()
    classifier = systems.load(flags.workdir)
    explained = classifier if flags.heatmaps else None
    if isinstance(explained, systems.System):
        raise InputError(
            f"--heatmaps: {flags.workdir} is a system, {explained.name}, and only "
            "networks have heat maps; leave it out"
        )
    familiarity = Familiarity.load(flags.workdir)
    files = sorted(set(listed(flags.paths)))
    if not files:
        raise InputError(f"{flags.paths[0]}: holds no files")
    flags.out.mkdir(parents=True, exist_ok=True)
    for old in (flags.out / HEATMAPS).glob("[0-9]*-*.png"):
        old.unlink()
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(files), unit="picture", disable=not sys.stderr.isatty()) as bar:
        for found in read_ahead(classifier, files):
            judge(classifier, familiarity, found)
            if explained is not None:
                draw_heatmaps(explained, found, flags.out, first=len(rows))
            rows += [row for row, _ in found]
            bar.update(len(found))
    write(rows, flags.out)
    failed = sum(bool(row["error"]) for row in rows)
    print(f"{len(rows) - failed} pictures judged, {failed} could not be read")
    print(f"{flags.out / 'predictions.csv'}: research only, not for diagnosis")
    return 0


def listed(paths: Sequence[Path]) -> Iterator[Path]:
    """The files themselves, and all files below the folders but hidden ones."""
    for path in paths:
        if path.is_dir():
            below = map(Path, files_below(path))
            yield from (file for file in below if file.is_file() or file.is_symlink())
        else:
            yield path


def read_ahead(
    classifier: "Classifier | System", files: Sequence[Path]
) -> Iterator[list[Read]]:
    """The files in batches; one is read by all cores while the one before is judged."""
    size = classifier.batch_size
    waiting: deque[list[Future[Read]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), size):
            batch = files[start : start + size]
            waiting.append([pool.submit(read, classifier, file) for file in batch])
            if len(waiting) > 1:
                yield [one.result() for one in waiting.popleft()]
        for batch_read in waiting:
            yield [one.result() for one in batch_read]


def read(classifier: "Classifier | System", file: Path) -> Read:
    """Reads and prepares one file as training did."""
    from covjax.data.readers import read_image

    row: dict[str, Any] = {"file": str(file), "error": ""}
    try:
        picture = read_image(file)
        height, width = picture.array.shape[:2]
        image = classifier.preprocess(picture.array)
    except InputError as error:
        row["error"] = str(error)
        return row, None
    if picture.part:
        row["picture"] = picture.part
    return row, Prepared(row, (width, height), image)


def judge(
    classifier: "Classifier | System",
    familiarity: "Familiarity",
    results: Sequence[Read],
) -> None:
    """Completes the rows of the files that could be read."""
    import numpy as np

    readable = [prepared for _, prepared in results if prepared is not None]
    if not readable:
        return
    said = classifier.judge(np.stack([prepared.image for prepared in readable]))
    for prepared, scores, embedding in zip(readable, *said, strict=True):
        prepared.row.update(decided(classifier, scores))
        prepared.row["warnings"] = familiarity.warnings(
            prepared.image, prepared.sides, embedding
        )


def decided(classifier: "Classifier | System", scores: "np.ndarray") -> dict[str, Any]:
    """Probabilities, the decision, and calls at the frozen thresholds.

    The decision is the likeliest class; where a picture may have several labels all
    that are likelier than not, or "none".
    """
    from covjax.evaluation.counts import decisions

    names = classifier.class_names
    called = decisions(scores[None], multi_label=classifier.multi_label)[0]
    row: dict[str, Any] = {
        "probabilities": {n: float(p) for n, p in zip(names, scores, strict=True)},
        "decision": "; ".join(
            n for n, is_it in zip(names, called, strict=True) if is_it
        )
        or "none",
    }
    row["positive"] = {
        name: bool(scores[names.index(name)].astype(float) >= threshold)
        for name, threshold in classifier.thresholds.items()
    }
    return row


def draw_heatmaps(
    classifier: "Classifier",
    results: Sequence[Read],
    out: Path,
    *,
    first: int,
) -> None:
    """Draws Grad-CAM of each likeliest class over the prepared picture.

    Args:
      classifier: the network.
      results: of one batch of files.
      out: the folder of the results.
      first: number of the batch's first file.
    """
    import numpy as np
    from PIL import Image

    from covjax.evaluation.gradcam import heatmaps, overlay

    readable = [
        (number, row, prepared)
        for number, (row, prepared) in enumerate(results, first)
        if prepared is not None
    ]
    if not readable:
        return
    images = np.stack([prepared.image for _, _, prepared in readable])
    classes = np.array(
        [np.argmax(list(row["probabilities"].values())) for _, row, _ in readable]
    )
    heat = heatmaps(
        classifier.model,
        classifier.variables,
        classifier.pixels(images),
        classes,
        batch_size=classifier.batch_size,
    )
    folder = out / HEATMAPS
    folder.mkdir(exist_ok=True)
    for (number, row, prepared), one in zip(readable, heat, strict=True):
        path = folder / f"{number:05d}-{Path(row['file']).stem}.png"
        Image.fromarray(overlay(prepared.image, one)).save(path)
        row["heatmap"] = str(path)


def write(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Writes the rows as JSON and as CSV, each whole or not at all."""
    for name in ("predictions.json", "predictions.csv"):
        with (
            whole(out / name) as unfinished,
            # a file's name may hold bytes that are no UTF-8
            unfinished.open("w", newline="", errors="backslashreplace") as file,
        ):
            if name.endswith("json"):
                json.dump(rows, file, indent=2)
            else:
                flat = [flattened(row) for row in rows]
                columns = list(dict.fromkeys(key for row in flat for key in row))
                table = csv.DictWriter(file, columns, restval="")
                table.writeheader()
                table.writerows(flat)


def flattened(row: dict[str, Any]) -> dict[str, Any]:
    """One level of columns: ``probability of covid19``, ``positive for covid19``."""
    flat: dict[str, Any] = {
        key: row[key] for key in ("file", "error", "picture", "decision") if key in row
    }
    for name, value in row.get("probabilities", {}).items():
        flat[f"probability of {name}"] = value
    for name, value in row.get("positive", {}).items():
        flat[f"positive for {name}"] = value
    flat["warnings"] = "; ".join(row.get("warnings", []))
    if "heatmap" in row:
        flat["heatmap"] = row["heatmap"]
    return flat


if __name__ == "__main__":
    cli.run_command(main)
