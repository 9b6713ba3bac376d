"""The embedded data set: drawn chest radiographs, free of patients and of downloads.

Three classes. Pneumonia is the consolidation of one lobe; COVID-19 is ground glass
in both lungs, below the pleura, most in the lower zones (Wong et al., Radiology 2020;
296: E72). Anatomy, breath, position, exposure, hospital, sex and age vary from patient
to patient and know nothing of the class, unless a `shortcut` is planted.

``python -m covjax.data.phantom --out docs/phantom.png`` draws the README's picture.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from covjax.data import anatomy
from covjax.data.imageset import LESION, LUNG, ImageSet
from covjax.errors import InputError
from covjax.files import whole

CLASS_NAMES = ("normal", "pneumonia", "covid19")
# What may be planted, for tests of the audit: a lead letter in the corner of COVID-19
# pictures; a hospital of its own, with brighter pictures, for most of them; patients
# who come back under another name; files copied under other names; a file format and
# size of their own for COVID-19 pictures.
SHORTCUTS = ("", "marker", "exposure", "patients", "copies", "format")
SIZES = (16, 2048)


class _Hospital(NamedTuple):
    """How a hospital's machine exposes and stores its pictures."""

    name: str
    share: float
    level: float  # mean grey value
    contrast: float  # standard deviation of the grey values
    file: tuple[int, int, str, str]  # width, height, mode, format


_HOSPITALS = (
    _Hospital("hospital_a", 0.45, 150, 57, (2048, 2048, "L", "PNG")),
    _Hospital("hospital_b", 0.35, 146, 60, (2500, 2048, "L", "JPEG")),
    _Hospital("hospital_c", 0.20, 154, 54, (1760, 2140, "L", "PNG")),
)
_COPY_EVERY, _COPY_BACK = 10, 9  # patient 9 is patient 0 again, 19 is 10, ...


def phantom(
    size: int = 64,
    *,
    patients: int = 480,
    pictures_per_patient: tuple[int, int] = (1, 3),
    seed: int = 0,
    difficulty: float = 0.5,
    shortcut: str = "",
) -> ImageSet:
    """Draws the data set; a pure function of its arguments.

    Patient k is the same whatever the number of patients; at another size it is the
    same chest with other detector noise. Classes are balanced over patients.

    Args:
      size: height and width in pixels, 16 to 2048.
      patients: number of patients, at least 1.
      pictures_per_patient: fewest and most pictures of one patient.
      seed: of everything that is random.
      difficulty: from 0 (large, dense lesions, little noise) to 1 (small, faint ones).
      shortcut: a planted defect, one of `SHORTCUTS`; empty for an honest set.

    Returns:
      An `ImageSet` with one channel, lung and lesion masks, patients, hospitals as
      sources, and the metadata ``sex``, ``age``, ``view`` and ``file_*``.

    Raises:
      InputError: an argument is outside the range above.
    """
    _check(size, patients, pictures_per_patient, difficulty, shortcut)
    rows = []
    for patient in range(patients):
        rows += _patient(
            patient, size, pictures_per_patient, seed, difficulty, shortcut
        )
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    metadata = ("sex", "age", "view", *(n for n in columns if n.startswith("file_")))
    return ImageSet(
        images=columns["image"][..., None],
        labels=columns["label"].astype(np.int32),
        class_names=CLASS_NAMES,
        patients=columns["patient"],
        sources=columns["source"],
        splits=np.full(len(rows), ""),
        files=columns["file"],
        masks=columns["mask"],
        metadata={name: columns[name] for name in metadata},
        name="phantom",
    )


def _check(size, patients, pictures_per_patient, difficulty, shortcut) -> None:
    if not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"size={size!r}: must be from {SIZES[0]} to {SIZES[1]} pixels")
    if patients < 1:
        raise InputError(f"patients={patients!r}: must be at least 1")
    if not 1 <= min(pictures_per_patient) == pictures_per_patient[0]:
        raise InputError(
            f"pictures_per_patient={pictures_per_patient!r}: must be two numbers from "
            "1, the smaller first"
        )
    if not 0 <= difficulty <= 1:
        raise InputError(f"difficulty={difficulty!r}: must be from 0 to 1")
    if shortcut not in SHORTCUTS:
        raise InputError(
            f"shortcut={shortcut!r}: must be one of {', '.join(map(repr, SHORTCUTS))}"
        )


def _patient(patient, size, pictures_per_patient, seed, difficulty, shortcut):
    """All pictures of one patient, a dictionary of columns each."""
    copied = shortcut in ("patients", "copies") and (
        patient % _COPY_EVERY == _COPY_BACK
    )
    source = patient - _COPY_BACK if copied else patient
    rng = np.random.default_rng([seed, 0, source])
    label = _label(source, seed)
    person = anatomy.random_patient(rng)
    hospital = _hospital(rng, label, shortcut)
    age = int(rng.integers(20, 90))
    fewest, most = pictures_per_patient
    rows = []
    for number in range(int(rng.integers(fewest, most + 1))):
        rng = np.random.default_rng([seed, 1, source, number])
        pose = anatomy.random_pose(rng)
        drawing = anatomy.draw(person, pose, label, difficulty, size)
        marker = (
            label == anatomy.COVID19 if shortcut == "marker" else rng.random() < 0.5
        )
        shift = 28 if shortcut == "exposure" and hospital is _HOSPITALS[2] else 0
        header = _header(rng, hospital, label, shortcut)
        image = _expose(rng, drawing, hospital, difficulty, shift, marker)
        if copied and shortcut == "patients":
            image = _export_again(rng, image)
        ending = "jpg" if header["file_format"] == "JPEG" else "png"
        rows.append(
            {
                "image": image,
                "label": label,
                "mask": (LUNG * drawing.lung + LESION * drawing.lesion).astype(
                    np.uint8
                ),
                "patient": f"P{patient:05d}",
                "source": hospital.name,
                "file": f"P{patient:05d}_{number}.{ending}",
                "sex": "F" if person.female else "M",
                "age": age,
                "view": "AP" if pose.supine else "PA",
                **header,
            }
        )
    return rows


def _label(patient: int, seed: int) -> int:
    """Each three patients in a row are one of each class, in random order."""
    block, place = divmod(patient, len(CLASS_NAMES))
    order = np.random.default_rng([seed, 2, block]).permutation(len(CLASS_NAMES))
    return int(order[place])


def _hospital(rng: np.random.Generator, label: int, shortcut: str) -> _Hospital:
    shares = np.array([hospital.share for hospital in _HOSPITALS])
    if shortcut == "exposure":
        third = 0.9 if label == anatomy.COVID19 else 0.05
        shares = np.array([*(shares[:2] / shares[:2].sum() * (1 - third)), third])
    return _HOSPITALS[rng.choice(len(_HOSPITALS), p=shares)]


def _header(rng: np.random.Generator, hospital: _Hospital, label: int, shortcut: str):
    """What the file would say of itself without being decoded."""
    width, height, mode, kind = hospital.file
    if shortcut == "format" and label == anatomy.COVID19:
        width, height, mode, kind = 1024, 860, "RGB", "JPEG"  # as cut from an article
    bytes_a_pixel = {"PNG": 0.85, "JPEG": 0.12}[kind] * np.exp(rng.normal(0, 0.15))
    return {
        "file_width": width,
        "file_height": height,
        "file_mode": mode,
        "file_format": kind,
        "file_bytes": int(width * height * bytes_a_pixel),
    }


def _expose(rng, drawing, hospital: _Hospital, difficulty, shift, marker) -> np.ndarray:
    """Grey values: automatic exposure, tube gradient, detector noise, lead letter."""
    shadow = drawing.shadow
    size = len(shadow)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    tilt, heel = rng.normal(0, 0.06, 2)
    shadow = shadow + np.float32(tilt) * line + np.float32(heel) * line[:, None]
    # The window is set on the tissue around the lungs, which disease leaves alone.
    grey = (shadow - shadow[~drawing.lung].mean()) * np.float32(3.6)
    bend = rng.normal(0, 0.03)  # of the film curve
    grey = grey + np.float32(bend) * (grey * grey - 1)
    noise = rng.uniform(0.04, 0.10) * (0.5 + difficulty)
    grey += np.float32(noise) * rng.standard_normal(grey.shape, dtype=np.float32)
    level = hospital.level + shift + rng.normal(0, 11)
    contrast = hospital.contrast * np.exp(rng.normal(0, 0.12))
    grey = level + contrast * grey
    if marker:
        _letter(rng, grey)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _letter(rng: np.random.Generator, grey: np.ndarray) -> None:
    """The lead letter L, at the patient's left shoulder, on the detector."""
    size = len(grey)
    unit = max(1, round(size / 40))
    top = round(size * rng.uniform(0.03, 0.07))
    left = round(size * rng.uniform(0.86, 0.90))
    grey[top : top + 4 * unit, left : left + unit] = 245
    grey[top + 3 * unit : top + 4 * unit, left : left + 3 * unit] = 245


def _export_again(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The same picture after another program: smaller and back, another window."""
    size = len(image)
    shape = (round(0.8 * size), round(0.8 * size))
    small = Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR)
    back = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    window = rng.uniform(0.8, 0.95) * back + rng.uniform(5, 20)
    return np.clip(np.rint(window), 0, 255).astype(np.uint8)


def sheet(size: int = 150, *, columns: int = 5, seed: int = 3) -> Image.Image:
    """The classes in rows; the last column repeats the one before with its masks."""
    drawn = phantom(
        size,
        patients=3 * (columns - 1),
        pictures_per_patient=(1, 1),
        seed=seed,
        difficulty=0.2,  # lesions that show on a small picture
    )
    caption = 14
    page = Image.new("RGB", (columns * size, 3 * (size + caption)), "white")
    pen = ImageDraw.Draw(page)
    for row, name in enumerate(CLASS_NAMES):
        top = row * (size + caption)
        pen.text((4, top + 1), name, fill="black")
        chosen = np.flatnonzero(drawn.labels == row)
        for column, k in enumerate(chosen):
            picture = Image.fromarray(drawn.images[k, ..., 0])
            page.paste(picture, (column * size, top + caption))
        assert drawn.masks is not None
        coloured = _outlined(drawn.images[chosen[-1], ..., 0], drawn.masks[chosen[-1]])
        page.paste(coloured, ((columns - 1) * size, top + caption))
    return page.quantize(128, dither=Image.Dither.NONE)  # keeps the file small


def _outlined(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The picture with its lungs outlined and its lesions tinted."""
    coloured = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    lung, lesion = (mask & LUNG) > 0, (mask & LESION) > 0
    coloured[lesion] = 0.65 * coloured[lesion] + 0.35 * np.array([255, 60, 30])
    inner = lung.copy()
    for axis in (0, 1):
        inner &= np.roll(lung, 1, axis) & np.roll(lung, -1, axis)
    coloured[lung & ~inner] = (60, 190, 255)
    return Image.fromarray(coloured.astype(np.uint8))


def main(arguments: Sequence[str]) -> int:
    """Writes the sheet of pictures; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m covjax.data.phantom", description="Draw the phantom's classes."
    )
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--size", type=int, default=150, help="pixels of one picture")
    options = parser.parse_args(arguments)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with whole(options.out) as unfinished:
        sheet(options.size).save(unfinished, format="PNG", optimize=True)
    return 0


if __name__ == "__main__":
    from covjax import cli

    cli.run_command(main)
