"""The variables that a network of a recipe starts from, when it names some."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from covjax import config
from covjax.inference import make_network
from covjax.interop.convert import flatten, unflatten
from covjax.interop.weights import is_head, load_pretrained, read_card
from covjax.training.state import initialise

# networks that are another one's trunk with a head of their own
TRUNKS = {
    "coronet": "xception",
    "efficientnet_c19": "efficientnet_b0",
    "truncated_inception": "inception_v3",
}


def pretrained(run: config.Run, num_classes: int) -> Any:
    """The variables that ``config.model.pretrained`` names, or None.

    The networks of `TRUNKS` take the trunk of their donor's weights, and keep a fresh
    head.

    Args:
      run: its model says which network and which weights, its data what pictures.
      num_classes: of the network that is to be trained.

    Raises:
      InputError: for weights that cannot be found or do not fit.
    """
    if not run.model.pretrained:
        return None
    data, model = run.data, run.model
    shape = (data.size, data.size, data.channels)
    network = make_network(model.name, num_classes, model.dtype, model.kwargs)
    start = initialise(network, shape, run.train.seed)

    def load(name: str, variables: Any, new_head: bool) -> Any:
        return load_pretrained(
            model.pretrained,
            name,
            variables,
            channels=data.channels,
            new_head=new_head,
            mean=data.mean,
            std=data.std,
        )

    if model.name not in TRUNKS or _is_run_of(model.pretrained, model.name):
        return load(model.name, start, model.new_head)
    donor = TRUNKS[model.name]
    giver = make_network(donor, num_classes, model.dtype, model.kwargs)
    shapes = jax.eval_shape(lambda: initialise(giver, shape, 0))
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    return from_donor(start, load(donor, blank, True))


def from_donor(fresh: Any, donor: Any) -> Any:
    """Fresh variables with everything of the donor's that has the same path.

    The classifiers, which the last part of a path names, are not taken.
    """
    given = flatten(donor)
    return unflatten(
        {
            path: given[path] if path in given and not is_head(path) else leaf
            for path, leaf in flatten(fresh).items()
        }
    )


def _is_run_of(source: str, name: str) -> bool:
    """Whether the source is a finished covjax run of this very network."""
    card = Path(source) / "classifier.json"
    return card.is_file() and read_card(card).model_name == name
