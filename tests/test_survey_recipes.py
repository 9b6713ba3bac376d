"""Recipes of the survey's Table 2: every variant is valid, and smoke can run."""

import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax import cli, config, imagenet, systems
from covjax.data.catalog import CATALOG
from covjax.data.phantom import CLASS_NAMES
from covjax.errors import InputError
from covjax.interop.names import FAMILIES, Normalisation
from covjax.interop.stem import fold
from covjax.models import MODELS, create_model
from covjax.pretrained import TRUNKS
from covjax.training.state import call_order, trainable_paths

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "survey"
RECIPES = sorted(FOLDER.glob("row*.py"))
# the words of a recipe's variants, as it says them when it does not know one
_GROUPS = re.compile(r"must be one of (.*)")


def variants(path: Path) -> list[str]:
    """Every word that the recipe knows, alone, and none."""
    with pytest.raises(InputError) as error:
        cli.load_config(f"{path}:unheard-of", [])
    groups = _GROUPS.search(str(error.value))[1].split("; or one of ")
    words = [word for group in groups for word in group.split(", ")]
    assert words[-1] == "smoke"
    return ["", *words[:-1]]


CASES = [(path, variant) for path in RECIPES for variant in variants(path)]
NAMES = [f"{path.stem}:{variant}" for path, variant in CASES]


def load(path, *words) -> config.Run:
    run = cli.load_config(f"{path}:{','.join(filter(None, words))}", [])
    config.check(run)
    return run


def structure(run: config.Run):
    """The network, and its top-level modules at the recipe's pictures."""
    classes = run.data.classes or CLASS_NAMES
    model = create_model(run.model.name, num_classes=len(classes), **run.model.kwargs)
    shape = (run.data.size, run.data.size, run.data.channels)
    return model, call_order(model, shape)


def test_there_are_recipes():
    rows = {int(path.stem[3:5]) for path in RECIPES}
    assert rows == set(range(1, 23))


@pytest.mark.parametrize(("path", "variant"), CASES, ids=NAMES)
def test_full_and_smoke_are_the_same_system(path, variant):
    full, smoke = load(path, variant), load(path, variant, "smoke")
    assert full.data.name == "folder" or full.data.name in CATALOG
    assert smoke.data.name == "phantom"
    assert smoke.train.epochs == 1
    assert set(smoke.data.classes) <= set(CLASS_NAMES)
    assert smoke.data.size >= MODELS[smoke.model.name].min_size
    assert smoke.model.pretrained == ""
    for run in (full, smoke):
        assert run.train.loss == (
            "margin" if scores(run) == "lengths" else run.train.loss
        )
    assert full.system.name == smoke.system.name
    same = ("optimizer", "augment")
    for section in same:
        assert getattr(full, section) == getattr(smoke, section)
    assert (full.model.name, full.model.kwargs) == (
        smoke.model.name,
        smoke.model.kwargs,
    )
    assert (full.train.freeze, full.train.loss) == (
        smoke.train.freeze,
        smoke.train.loss,
    )
    assert full.data.channels == smoke.data.channels


def scores(run: config.Run) -> str:
    return MODELS[run.model.name].scores


@pytest.mark.parametrize(("path", "variant"), CASES, ids=NAMES)
def test_a_system_knows_its_settings(path, variant):
    for words in ((variant,), (variant, "smoke")):
        run = load(path, *words)
        if run.system.name:
            name = systems.known(run.system.name)
            module = importlib.import_module(f"covjax.systems.{name}")
            systems.read_settings(module.Settings, run.system)
        if "smoke" in words:
            assert "timm/" not in str(run.system.kwargs)  # nothing is fetched


@pytest.mark.parametrize(("path", "variant"), CASES, ids=NAMES)
def test_pictures_are_normalised_as_the_weights_were(path, variant):
    """Else a network cannot read its weights, and the run ends before it begins."""
    run = load(path, variant)
    sources = {run.model.name: run.model.pretrained}
    sources |= run.system.kwargs.get("networks", {})
    for network, source in sources.items():
        if source and not source.startswith("runs/"):
            (theirs,) = {
                family.normalisation
                for family in FAMILIES[TRUNKS.get(network, network)].values()
            }
            mean, std = (
                tuple(np.broadcast_to(values, 3))
                for values in (run.data.mean, run.data.std)
            )
            kernel = np.ones((3, 3, 3, 1))
            ours = Normalisation(mean, std)
            np.testing.assert_array_equal(
                fold(kernel, kernel.shape, theirs, ours, run.data.channels), kernel
            )
            assert source == imagenet.WEIGHTS[network].pretrained


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_docstring_is_a_lab_record(path):
    text = path.read_text()
    assert f"Row {int(path.stem[3:5])}: " in text
    assert f"configs/survey/{path.name}" in text
    for word in ("Published", "Data:", "ot known"):
        assert word in text


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("row02_covidx_net", "mobilenet_v2"),
        ("row08_darkcovidnet", "two"),
        ("row10_deep_covid", "squeezenet1_1"),
        *(("row11_apostolopoulos", n) for n in ("mobilenet_v2", "vgg19", "xception")),
        *(("row11_apostolopoulos", n) for n in ("inception_v3", "inception_resnet_v2")),
        ("row16_conv_capsnet", "three"),
    ],
)
def test_network_and_frozen_parts_fit(name, variant):
    run = load(FOLDER / f"{name}.py", variant, "smoke")
    model, order = structure(run)
    trained = trainable_paths(order, tuple(run.train.freeze))
    everything = {path for paths in order.values() for path in paths}
    assert bool(run.train.freeze) == (trained != everything)
    x = jnp.zeros((1, run.data.size, run.data.size, run.data.channels))
    y = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), x, train=False)[0]
    )
    assert y.shape == (1, len(run.data.classes or CLASS_NAMES))


def test_an_unknown_word_is_told_what_there_is():
    with pytest.raises(InputError, match=r"'four'.* three, two; or one of smoke"):
        cli.load_config(f"{FOLDER / 'row08_darkcovidnet.py'}:four", [])
