"""The end of a network's run: the test split is opened once, and reported."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from covjax import config
from covjax.data import Splits
from covjax.evaluation import controls
from covjax.evaluation.explanation import explain, without_parts
from covjax.evaluation.familiarity import REFERENCES, Familiarity
from covjax.evaluation.operating_point import thresholds
from covjax.evaluation.predictions import Predictions
from covjax.evaluation.report import freeze, write_report
from covjax.evaluation.seal import open_test
from covjax.files import write_arrays, write_json
from covjax.inference import Classifier, Judged

DIGESTS = "digests.npz"  # of every picture by split: none of them is external data


def record_data(splits: Splits, workdir: Path) -> None:
    """Writes what the run was trained and judged on: ``data.json`` and `DIGESTS`."""
    facts = {
        "card": splits.card,
        "verdict": splits.verdict,
        "counts": splits.counts(),
        "fingerprints": {
            "train": splits.train.fingerprint(),
            "validation": splits.validation.fingerprint(),
            "test": splits.test.fingerprint(),
        },
    }
    write_json(workdir / "data.json", facts)
    write_arrays(workdir / DIGESTS, splits.digests())


def finish(
    run: config.Run,
    splits: Splits,
    variables: Any,
    workdir: Path,
    *,
    epoch: int,
    history: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Scores validation and, once, test by the best checkpoint; writes the report.

    Temperature and threshold are chosen on validation and saved with the classifier
    before the test split is opened.

    Args:
      run: the recipe.
      splits: the data.
      variables: ``params`` and ``batch_stats`` of the best epoch.
      workdir: of the run; it exists.
      epoch: their number, for the record of the opening.
      history: of the training, for its curves.

    Returns:
      What stands in ``metrics.json``.
    """
    classifier = Classifier.of(run, splits, variables)
    names = splits.train.class_names
    said = classifier.judge(splits.validation.images)
    raw = Predictions.of(splits.validation, said.probabilities)
    temperature, point = freeze(raw, names, run)
    classifier = dataclasses.replace(
        classifier, temperature=temperature.value, thresholds=thresholds(point)
    )
    classifier.save(workdir)
    validation = Predictions.of(
        splits.validation, classifier.scores(splits.validation.images)
    )
    validation.save(workdir / "predictions_validation.npz")
    learn_familiar(classifier.judge, said, splits, workdir, run.train.seed)
    test_set = open_test(
        splits, workdir, f"epoch {epoch}", "final evaluation of covjax.train"
    )
    scored = classifier.scored(test_set.images)
    test = Predictions.of(test_set, scored.probabilities)
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
        images=test_set.images,
        raw={
            "validation": raw.probabilities,
            "test": classifier.uncalibrated(scored),
        },
        explanation=explain(classifier, test_set, workdir, run.evaluation),
        parts=without_parts(
            classifier.judge, test_set, test, level=run.evaluation.level
        ),
    )


def learn_familiar(
    judge: Callable[[np.ndarray], Judged],
    validation: Judged,
    splits: Splits,
    workdir: Path,
    seed: int,
) -> None:
    """Saves what training pictures are like, for the warnings of covjax.predict.

    Args:
      judge: prepared pictures; it is not asked where it has no embeddings.
      validation: what it said of the validation split.
      splits: the data; the test split is not looked at.
      workdir: of the run.
      seed: draws the training pictures that are kept.
    """
    count = min(len(splits.train), REFERENCES)
    rows = np.random.default_rng(seed).choice(len(splits.train), count, replace=False)
    train = splits.train.subset(np.sort(rows))
    embeddings = np.zeros((count, 0), np.float32)
    if validation.embeddings.shape[1]:
        embeddings = judge(train.images[:]).embeddings
    Familiarity.of(train, embeddings, validation.embeddings).save(workdir)
