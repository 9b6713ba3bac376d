"""The end of every system: scores of two splits become the report of a run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.data.imageset import ImageSet
from covjax.evaluation import controls
from covjax.evaluation.explanation import without_parts
from covjax.evaluation.final import learn_familiar
from covjax.evaluation.operating_point import thresholds
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.report import freeze, write_report
from covjax.evaluation.seal import open_test
from covjax.inference import Judged
from covjax.systems.finished import Parts, System


def report(
    run: config.Run,
    splits: Splits,
    workdir: Path,
    parts: Parts,
    *,
    judge: Callable[[ImageSet], Judged] | None = None,
    history: Sequence[dict[str, Any]] = (),
    explanation: Callable[[ImageSet], dict[str, Any] | None] | None = None,
    blanked: bool = True,
) -> dict[str, Any]:
    """Scores validation and, once, test; writes predictions, plots and measures.

    Temperature and threshold are chosen on validation, and with what training pictures
    are like saved for `covjax.predict`, before the test split is opened.

    Args:
      run: the recipe.
      splits: the data.
      workdir: of the run; it exists.
      parts: the networks of the system.
      judge: the pictures of a split, where that takes more than the pictures; None:
        ``parts.judge``.
      history: of a training whose curves the report should show.
      explanation: of the opened test split, for the report's ``explanation``.
      blanked: whether the test pictures are judged again without parts of them.

    Returns:
      What stands in ``metrics.json``.
    """
    names = splits.train.class_names
    judge = judge or (lambda images: parts.judge(images.images))
    said = judge(splits.validation)
    raw = Predictions.of(splits.validation, said.probabilities)
    temperature, point = freeze(raw, names, run)
    system = System(
        parts=parts,
        name=run.system.name,
        class_names=names,
        preprocess=splits.preprocess,
        batch_size=run.evaluation.batch_size or run.train.batch_size,
        temperature=temperature,
        thresholds=thresholds(point),
        multi_label=splits.train.multi_label,
    )
    system.save(workdir)
    learn_familiar(system.judge, said, splits, workdir, run.train.seed)

    def calibrated(images: ImageSet, probabilities: np.ndarray) -> Predictions:
        return Predictions.of(images, temperature(probabilities))

    validation = calibrated(splits.validation, raw.probabilities)
    validation.save(workdir / "predictions_validation.npz")
    images = open_test(
        splits, workdir, run.system.name, "final evaluation of covjax.train"
    )
    before = judge(images).probabilities
    test = calibrated(images, before)
    test.save(workdir / "predictions_test.npz")
    return write_report(
        workdir,
        run=run,
        validation=validation,
        test=test,
        temperature=temperature,
        point=point,
        controls=controls.run(splits, level=run.evaluation.level),
        class_names=names,
        history=history,
        card=splits.card,
        verdict=splits.verdict,
        images=images.images,
        raw={"validation": raw.probabilities, "test": before},
        explanation=explanation(images) if explanation else None,
        parts=without_parts(system.judge, images, test, level=run.evaluation.level)
        if blanked
        else (),
    )


def part(run: config.Run, **model: Any) -> config.Run:
    """The recipe of one network inside a system, with another model section."""
    return replace(run, system=config.System(), model=replace(run.model, **model))
