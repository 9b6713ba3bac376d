"""One network of a system: trained in a folder of its own, ready to be asked."""

from pathlib import Path
from typing import Any

from covjax import config
from covjax.data import Splits
from covjax.inference import Classifier, make_network
from covjax.pretrained import pretrained
from covjax.systems.outcome import part
from covjax.training.loop import fit
from covjax.training.special import ORDINARY, Special
from covjax.training.state import initialise


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
    finds it there.

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
    classifier = Classifier.of(run, splits, result.best)
    classifier.save(workdir)
    return classifier


def untrained_network(
    run: config.Run, splits: Splits, workdir: Path, *, initial_variables: Any = None
) -> Classifier:
    """The network of a recipe as it starts: as given, or random; saved likewise."""
    if initial_variables is None:
        names, model = splits.train.class_names, run.model
        initial_variables = initialise(
            make_network(model.name, len(names), model.dtype, model.kwargs),
            splits.train.images.shape[1:],
            run.train.seed,
        )
    classifier = Classifier.of(run, splits, initial_variables)
    classifier.save(workdir)
    return classifier
