"""Any data set of the catalog as a TFDS data set in array_record form.

    builder("covid_ct", data_dir, source=folder).download_and_prepare()
    rows = builder("covid_ct", data_dir).as_data_source(split="pictures")
    picture = read_image(rows[7]["image"])

There is one TFDS split, ``pictures``: row i is example i of the catalog, and the
set's own split travels as a field. ``image`` holds the bytes of the original PNG or
JPEG file (PNG for what no browser shows), not decoded values: TFDS's own decoder
would read palettes as grey and fold 16-bit pictures into 8.

Shards are written one by one under a temporary name, so that an interrupted run goes
on where it stopped; the set appears in its place when the last one is done.
TensorFlow is never needed.
"""

import hashlib
import json
import os
import shutil
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import (
    dataset_builder,
    example_serializer,
    file_adapters,
    splits,
    writer,
)

from covjax.data.builders._base import DataSet, Example
from covjax.data.catalog import find
from covjax.data.prepared import SPLIT, write_examples
from covjax.data.readers import encode_png, read_image, sniff

SHARD = 512  # pictures in a file: what an interruption can cost
VERSION = "1.0.0"


class ChestBuilder(  # type: ignore[call-arg]
    dataset_builder.FileReaderBuilder, skip_registration=True
):
    """Writes the examples of one data set; `builder` makes the class for it."""

    VERSION = tfds.core.Version(VERSION)
    data_set: DataSet
    source: str = ""  # the folder of the original files; only needed to write
    progress: Callable[[int], Any] | None = None  # is told of each picture

    def _info(self) -> tfds.core.DatasetInfo:
        card, text = self.data_set, tfds.features.Text()
        label: Any = tfds.features.ClassLabel(names=list(card.classes))
        if card.multi_label:
            label = tfds.features.Tensor(shape=(len(card.classes),), dtype=np.uint8)
        columns = ("image", "mask", "file", "patient", "source", "split", "metadata")
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{card.title}. Licence: {card.licence}.",
            homepage=card.home,
            citation=card.citation,
            features=tfds.features.FeaturesDict(
                {"label": label, **dict.fromkeys(columns, text)}
            ),
            disable_shuffling=True,  # row i stays example i
        )

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        del dl_manager, download_config  # covjax fetches and verifies by itself
        examples = self.data_set.examples(self.source)
        root = Path(self.data_dir_root) / self.name
        key = digest(self.data_set, examples)
        staging = root / f"unfinished-{VERSION}-{key[:12]}"
        for old in root.glob("unfinished-*"):
            if old != staging:  # of other files: of no use any more
                shutil.rmtree(old)
        staging.mkdir(parents=True, exist_ok=True)
        template = self._get_filename_template(split_name=SPLIT)
        starts = range(0, len(examples), SHARD)
        parts = [examples[start : start + SHARD] for start in starts]
        for index, part in enumerate(parts):
            done = staging / f"{index:05d}"
            if not done.exists():
                self._write(part, done.with_suffix(".tmp"))
                os.replace(done.with_suffix(".tmp"), done)
            elif self.progress:
                self.progress(len(part))
        size = 0
        for index in range(len(parts)):
            path = Path(
                template.sharded_filepath(shard_index=index, num_shards=len(parts))
            )
            size += (staging / f"{index:05d}").stat().st_size
            os.link(staging / f"{index:05d}", path)  # nothing is lost until all is
        split = splits.SplitInfo(
            name=SPLIT,
            shard_lengths=[len(part) for part in parts],
            num_bytes=size,
            filename_template=template,
        )
        self.info.set_splits(splits.SplitDict([split]))
        (Path(self.data_dir) / "examples.sha256").write_text(key + "\n")
        write_examples(Path(self.data_dir), examples)

    def _log_download_bytes(self) -> None:
        """Says nothing: nothing is downloaded, and covjax has its own progress bar."""

    def _log_download_done(self) -> None:
        """Says nothing, as above."""

    def _post_download_and_prepare_hook(self) -> None:
        for left in (Path(self.data_dir_root) / self.name).glob("unfinished-*"):
            shutil.rmtree(left)

    def _write(self, examples: list[Example], path: Path) -> None:
        features = self.info.features
        serializer = example_serializer.ExampleSerializer(
            features.get_serialized_info()
        )

        def rows() -> Iterator[tuple[str, bytes]]:
            for example in examples:
                row = features.encode_example(_fields(example))
                yield example.file, serializer.serialize_example(row)
                if self.progress:
                    self.progress(1)

        file_format = file_adapters.FileFormat.ARRAY_RECORD
        writer.ExampleWriter(file_format=file_format).write(path, rows())


def builder(
    name: str,
    data_dir: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] = "",
    progress: Callable[[int], Any] | None = None,
) -> ChestBuilder:
    """The TFDS builder of a data set.

    Args:
      name: a name of the catalog.
      data_dir: where TFDS keeps its sets; this one lies in ``NAME/VERSION`` there.
      source: folder of the original files, which `download_and_prepare` reads.
      progress: called with the number of pictures written since the last call.

    Raises:
      InputError: the name is unknown; while preparing: a file is not as it must be.
    """
    fields = {
        "name": name,
        "data_set": find(name),
        "source": os.fspath(source),
        "progress": staticmethod(progress) if progress else None,
        "__module__": __name__,
    }
    options = {"skip_registration": True}  # two folders, two classes, one name
    made = types.new_class(
        name, (ChestBuilder,), options, lambda space: space.update(fields)
    )
    return made(data_dir=os.fspath(data_dir), file_format="array_record")


def digest(data_set: DataSet, examples: list[Example]) -> str:
    """SHA-256 of everything a prepared set holds besides the pixels."""
    rows = [
        [e.file, e.label, e.patient, e.source, e.split, sorted(e.metadata.items())]
        for e in examples
    ]
    return hashlib.sha256(json.dumps([data_set.classes, rows]).encode()).hexdigest()


def _fields(example: Example) -> dict[str, Any]:
    content = example.open()
    picture = read_image(content, name=example.file)  # a bad file stops here
    if sniff(content) not in ("PNG", "JPEG"):
        content = encode_png(picture.array)
    label: Any = example.label
    return {
        "image": content,
        "mask": example.mask() if example.mask else b"",
        "label": np.array(label, np.uint8) if isinstance(label, tuple) else label,
        "file": example.file,
        "patient": example.patient,
        "source": example.source,
        "split": example.split,
        "metadata": json.dumps(dict(example.metadata), sort_keys=True),
    }
