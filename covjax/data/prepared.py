"""Data sets that ``python -m covjax.data prepare`` has written as array_record.

The pictures lie in the record files; everything else stands in ``examples.json``
beside them, so that a set of any size is split without reading a picture.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covjax.data.builders._base import Example
from covjax.errors import InputError

EXAMPLES = "examples.json"
SPLIT = "pictures"  # the one TFDS split: row i is example i


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Writes ``examples.json``: what is known of each picture, in their order."""
    rows = [
        {
            "file": example.file,
            "label": example.label,
            "patient": example.patient,
            "source": example.source,
            "split": example.split,
            "metadata": dict(example.metadata),
            "mask": example.mask is not None,
            "stored": example.stored,
        }
        for example in examples
    ]
    (folder / EXAMPLES).write_text(json.dumps(rows))


def find_prepared(name: str, folder: Path) -> Path | None:
    """The prepared set under `folder`, a TFDS folder or the set's own; else None."""
    for root in (folder, folder / name):
        found = sorted(root.glob(f"*/{EXAMPLES}"))
        if found:
            return found[-1].parent  # of several versions the last
    return None


def read_prepared(folder: Path) -> list[Example]:
    """The examples of a prepared set; their pictures are read when opened.

    Raises:
      InputError: ``examples.json`` is damaged, or does not fit the records.
    """
    import tensorflow_datasets as tfds

    try:
        rows: list[dict[str, Any]] = json.loads((folder / EXAMPLES).read_text())
        records = tfds.builder_from_directory(folder).as_data_source(split=SPLIT)
        examples = [_example(records, i, row) for i, row in enumerate(rows)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: damaged; prepare it again ({reason})") from error
    if len(records) != len(examples):
        raise InputError(
            f"{folder}: {len(records)} records but {len(examples)} examples; prepare "
            "it again"
        )
    return examples


def _example(records: Any, index: int, row: dict[str, Any]) -> Example:
    def field(name: str) -> bytes:
        return records[index][name]

    label = row["label"]
    return Example(
        file=row["file"],
        label=tuple(label) if isinstance(label, list) else label,
        open=functools.partial(field, "image"),
        patient=row["patient"],
        source=row["source"],
        split=row["split"],
        metadata=row["metadata"],
        mask=functools.partial(field, "mask") if row["mask"] else None,
        stored=row["stored"],
    )
