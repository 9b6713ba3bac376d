"""A finished run as one StableHLO program that needs neither covjax nor flax.

The program takes prepared uint8 pictures in batches of any size and gives the run's
calibrated probabilities; weights, normalisation and temperature are inside. It runs
on CPU, CUDA and TPU, wherever jax is::

    import jax
    program = jax.export.deserialize(open("classifier.stablehlo", "rb").read())
    probabilities = program.call(pictures)  # [n, classes]

Beside it, ``classifier.json`` says how pictures are prepared, what the classes are
called and where the thresholds lie.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from covjax.blocks.folding import fold, foldable
from covjax.errors import InputError
from covjax.files import whole, write_json
from covjax.inference import Classifier, score_batch

PROGRAM, CARD = "classifier.stablehlo", "classifier.json"
PLATFORMS = ("cpu", "cuda", "tpu")


def export_stablehlo(classifier: Classifier, directory: Path) -> Path:
    """Writes ``classifier.stablehlo`` and ``classifier.json``.

    Args:
      classifier: of a finished run: ``Classifier.load(workdir)``.
      directory: where the files go; made where it is missing. It must not be that of
        the run, whose own card has the same name.

    Returns:
      The path of the program.

    Raises:
      InputError: when jax's serializer is not installed, or `directory` holds a run.
    """
    if (directory / "weights.npz").exists():
        raise InputError(f"{directory}: holds a run; choose another directory")
    model, picture = classifier.model, classifier.preprocess
    pairs = foldable(model, (picture.size, picture.size, picture.channels))
    variables = fold(classifier.variables, pairs)

    def probabilities(images: jax.Array) -> jax.Array:
        return score_batch(
            model,
            # no constants to the compiler: else the last bits are its own
            jax.lax.optimization_barrier(variables),
            images,
            jnp.float32(classifier.temperature),
            pairs=pairs,
            loss=classifier.loss,
            mean=tuple(picture.mean),
            std=tuple(picture.std),
        ).probabilities

    (batch,) = export.symbolic_shape("batch")
    shape = (batch, picture.size, picture.size, picture.channels)
    program = export.export(jax.jit(probabilities), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.uint8)
    )
    try:
        data = bytes(program.serialize())
    except ImportError as error:
        raise InputError(
            'export: needs flatbuffers; pip install "covjax[interop]"'
        ) from error
    card = {
        "class_names": list(classifier.class_names),
        "preprocess": picture.to_dict(),
        "thresholds": classifier.thresholds,
        "network": classifier.model_name,
        "input": ["batch", *shape[1:], "uint8"],
        "output": ["batch", len(classifier.class_names), "float32"],
    }
    directory.mkdir(parents=True, exist_ok=True)
    with whole(directory / PROGRAM) as unfinished:
        unfinished.write_bytes(data)
    write_json(directory / CARD, card)
    return directory / PROGRAM
