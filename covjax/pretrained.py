"""The variables that a network of a recipe starts from, when it names some."""

from typing import Any

from covjax import config
from covjax.inference import make_network
from covjax.interop.weights import load_pretrained
from covjax.training.state import initialise


def pretrained(run: config.Run, num_classes: int) -> Any:
    """The variables that ``config.model.pretrained`` names, or None.

    Args:
      run: its model says which network and which weights, its data what pictures.
      num_classes: of the network that is to be trained.

    Raises:
      InputError: for weights that cannot be found or do not fit.
    """
    if not run.model.pretrained:
        return None
    data, model = run.data, run.model
    network = make_network(model.name, num_classes, model.dtype, model.kwargs)
    start = initialise(network, (data.size, data.size, data.channels), run.train.seed)
    return load_pretrained(
        model.pretrained,
        model.name,
        start,
        channels=data.channels,
        new_head=model.new_head,
        mean=data.mean,
        std=data.std,
    )
