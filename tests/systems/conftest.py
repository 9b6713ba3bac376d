"""A system that was trained must judge the files of its test pictures as it did."""

import json
from functools import cache

import numpy as np
import pytest
from PIL import Image

from covjax import config, predict
from covjax.data.phantom import phantom
from covjax.evaluation.predictions import Predictions

drawn = cache(phantom)  # as the files are, whatever a recipe does to pictures


@pytest.fixture
def predicts_as_evaluated(tmp_path):
    """Asks `covjax.predict` about the test pictures of a finished run.

    All of them and one of them alone must have the numbers of the run's own
    evaluation, to the last bit; returns the rows of all.
    """

    def judged(workdir, *paths):
        out = tmp_path / "judged"
        assert predict.main(["--workdir", str(workdir), "--out", str(out), *paths]) == 0
        return json.loads((out / "predictions.json").read_text())

    def check(workdir):
        run = config.from_dict(json.loads((workdir / "config.json").read_text()))
        evaluated = Predictions.load(workdir / "predictions_test.npz")
        metrics = json.loads((workdir / "metrics.json").read_text())
        pictures = drawn(run.data.size)
        folder = tmp_path / "files"
        folder.mkdir(exist_ok=True)

        def place(file):  # some names end as those of JPEG files do
            return str((folder / file).with_suffix(".png"))

        for row in np.flatnonzero(np.isin(pictures.files, evaluated.files)):
            picture = Image.fromarray(pictures.images[row, :, :, 0])
            picture.save(place(pictures.files[row]))
        names = metrics["classes"]
        expected = {
            place(file): dict(zip(names, map(float, said), strict=True))
            for file, said in zip(evaluated.files, evaluated.probabilities, strict=True)
        }
        rows = judged(workdir, str(folder))
        assert {row["file"]: row["probabilities"] for row in rows} == expected
        point = metrics["operating_point"]
        for row in rows:
            share = expected[row["file"]][point["positive"]]
            called = share >= point["threshold"]
            assert row["positive"] == {point["positive"]: called}
        alone = max(expected, key=lambda file: expected[file][point["positive"]])
        (row,) = judged(workdir, alone)
        assert row["probabilities"] == expected[alone]
        return rows

    return check
