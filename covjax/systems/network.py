"""One network of a system: trained in a folder of its own, ready to be asked."""

from pathlib import Path
from typing import Any

from covjax import config
from covjax.data import Splits
from covjax.inference import Classifier
from covjax.pretrained import pretrained
from covjax.systems.outcome import part
from covjax.training.loop import fit
from covjax.training.special import ORDINARY, Special


def train_network(
    run: config.Run,
    splits: Splits,
    workdir: Path,
    *,
    initial_variables: Any = None,
    special: Special = ORDINARY,
) -> Classifier:
    """Trains the network of a recipe, or goes on, or reads what was finished.

    The test split is not looked at. The classifier of the best epoch is saved in
    `workdir`, so that ``config.model.pretrained`` may name it and `covjax.predict`
    can use it by itself.

    Args:
      run: of the system; its model, data, augmentation, optimizer and loop count.
      splits: training and validation pictures of this network.
      workdir: of this network alone.
      initial_variables: to start from instead of ``config.model.pretrained``.
      special: what the system asks of the loop besides.

    Raises:
      InputError, Interrupted: as `covjax.training.loop.fit`.
    """
    run = part(run)
    start = initial_variables or pretrained(run, splits.train.num_classes)
    result = fit(run, splits, workdir, initial_variables=start, special=special)
    classifier = Classifier(
        model_name=run.model.name,
        model_kwargs=run.model.kwargs,
        dtype=run.model.dtype,
        variables=result.best,
        class_names=splits.train.class_names,
        preprocess=splits.preprocess,
        loss=run.train.loss,
        batch_size=run.evaluation.batch_size or run.train.batch_size,
    )
    classifier.save(workdir)
    return classifier
