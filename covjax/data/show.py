"""What a data set holds: counts as text, and a contact sheet.

print(counts_text(examples, classes))
contact_sheet(examples, classes).save("sheet.png")
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from covjax.data.builders._base import Example
from covjax.data.readers import read_image

if TYPE_CHECKING:
    from PIL import Image

SPLITS = ("train", "validation", "test", "")
COLUMNS, SIDE, MARGIN, TITLE = 8, 150, 6, 24  # pictures a class; pixels
PAPER = 64  # dark grey, so that white and black borders of pictures show
MOST_SOURCES = 12  # in the table; Cohen's collection has dozens with one picture


def counts_text(examples: Sequence[Example], classes: Sequence[str]) -> str:
    """Pictures and patients of each class, by split and by source."""
    splits = [s for s in SPLITS if any(e.split == s for e in examples)]
    rows = [["class", *(s or "no split" for s in splits), "pictures", "patients"]]
    groups = [(name, _of_class(examples, k)) for k, name in enumerate(classes)]
    if examples and isinstance(examples[0].label, tuple):
        groups.append(("none of these", [e for e in examples if not any(_bits(e))]))
    for name, chosen in [*groups, ("all", list(examples))]:
        found = Counter(example.split for example in chosen)
        cells = [str(found[split]) for split in splits]
        rows.append([name, *cells, str(len(chosen)), _patients(chosen)])
    sources = Counter(example.source for example in examples)
    table = [["source", *classes, "pictures"]]
    for source, total in sources.most_common(MOST_SOURCES):
        inside = [e for e in examples if e.source == source]
        cells = [str(len(_of_class(inside, k))) for k in range(len(classes))]
        table.append([source or "unknown", *cells, str(total)])
    text = align(rows) + "\n\n" + align(table)
    if len(sources) > MOST_SOURCES:
        text += f"\nand {len(sources) - MOST_SOURCES} more sources"
    return f"{text}\n\n{_crossing(examples)}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
    return "\n".join(lines)


def contact_sheet(examples: Sequence[Example], classes: Sequence[str]) -> "Image.Image":
    """Up to eight pictures of each class, evenly spaced over the set, in rows.

    Raises:
      InputError: a picture cannot be read.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=14)
    height = len(classes) * (TITLE + SIDE + MARGIN) + MARGIN
    sheet = Image.new("L", (COLUMNS * (SIDE + MARGIN) + MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for k, name in enumerate(classes):
        chosen, top = _of_class(examples, k), MARGIN + k * (TITLE + SIDE + MARGIN)
        draw.text((MARGIN, top), f"{name}: {len(chosen):,} pictures", 255, font=font)
        places = np.linspace(0, len(chosen) - 1, min(COLUMNS, len(chosen)))
        for column, place in enumerate(places.astype(int)):
            picture = _thumbnail(chosen[place])
            left = MARGIN + column * (SIDE + MARGIN) + (SIDE - picture.width) // 2
            below = top + TITLE + (SIDE - picture.height) // 2
            sheet.paste(picture, (left, below))
    return sheet


def _thumbnail(example: Example) -> "Image.Image":
    """A grey picture of at most SIDE pixels a side, in its own proportions."""
    from PIL import Image

    array = read_image(example.open(), name=example.file).array
    if array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)  # 65535 / 255
    picture = Image.fromarray(array).convert("L")
    scale = SIDE / max(picture.size)
    size = [max(round(side * scale), 1) for side in picture.size]
    return picture.resize((size[0], size[1]), Image.Resampling.BILINEAR)


def _bits(example: Example) -> tuple[int, ...]:
    assert isinstance(example.label, tuple)
    return example.label


def _of_class(examples: Sequence[Example], k: int) -> list[Example]:
    return [
        e
        for e in examples
        if (e.label[k] if isinstance(e.label, tuple) else e.label == k)
    ]


def _patients(examples: Sequence[Example]) -> str:
    """Number of known patients, and of pictures without one."""
    known = len({e.patient for e in examples if e.patient})
    unknown = sum(not e.patient for e in examples)
    if not unknown:
        return str(known)
    return f"{known} + {unknown} unknown" if known else "unknown"


def _crossing(examples: Sequence[Example]) -> str:
    """A sentence on patients who are in more than one of the set's own splits."""
    splits: dict[str, set[str]] = {}
    for example in examples:
        if example.patient and example.split:
            splits.setdefault(example.patient, set()).add(example.split)
    if not splits:
        return "Patients across the set's own splits: cannot be told."
    crossing = sum(len(found) > 1 for found in splits.values())
    return f"Patients across the set's own splits: {crossing} of {len(splits)}."
