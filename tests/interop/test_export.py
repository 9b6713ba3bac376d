"""An exported run gives the same numbers in a process without flax."""

import json
import subprocess
import sys

import numpy as np
import pytest

from covjax.data.preprocess import Preprocess
from covjax.errors import InputError
from covjax.inference import Classifier
from covjax.interop.export import export_stablehlo

SIZE, BATCH = 32, 4

# what a user without covjax would write
PROGRAM = """
import sys
sys.modules["flax"] = None
import jax, numpy as np
program, pictures, result = sys.argv[1:]
exported = jax.export.deserialize(open(program, "rb").read())
np.save(result, exported.call(np.load(pictures)))
assert "covjax" not in sys.modules
"""


@pytest.fixture(scope="module")
def classifier(random_variables):
    _, variables = random_variables("mobilenet_v2", size=SIZE, channels=1)
    return Classifier(
        model_name="mobilenet_v2",
        model_kwargs={},
        dtype="float32",
        variables=variables,
        class_names=("normal", "covid19", "other"),
        preprocess=Preprocess(size=SIZE, channels=1),
        loss="cross_entropy",
        batch_size=BATCH,
        temperature=1.7,
        thresholds={"covid19": 0.3},
    )


def run_program(program, pictures, tmp_path):
    np.save(tmp_path / "pictures.npy", pictures)
    arguments = [str(program), "pictures.npy", "result.npy"]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        check=True,
        cwd=tmp_path,
        timeout=300,
    )
    return np.load(tmp_path / "result.npy")


def test_a_fresh_process_without_flax_gives_the_same_bits(classifier, tmp_path):
    pytest.importorskip("flatbuffers")
    program = export_stablehlo(classifier, tmp_path / "exported")
    shape = (BATCH, SIZE, SIZE, 1)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected = classifier.scores(pictures)
    assert np.ptp(expected, axis=0).min() > 0  # the pictures matter
    result = run_program(program, pictures, tmp_path)
    np.testing.assert_array_equal(result, expected)

    few = run_program(program, pictures[:3], tmp_path)  # another batch size
    np.testing.assert_allclose(few, expected[:3], atol=1e-6)

    card = json.loads((tmp_path / "exported" / "classifier.json").read_text())
    assert card["class_names"] == ["normal", "covid19", "other"]
    assert card["thresholds"] == {"covid19": 0.3}
    assert Preprocess.from_dict(card["preprocess"]) == classifier.preprocess


def test_a_run_is_not_overwritten(classifier, tmp_path):
    classifier.save(tmp_path)
    with pytest.raises(InputError, match="holds a run; choose another directory"):
        export_stablehlo(classifier, tmp_path)
