"""The COVID-19 networks against forms written again with PyTorch's functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.models.cnn_lstm import CNNLSTM
from covjax.models.covid_caps import CovidCaps
from covjax.models.covidnet import COVIDNet, Widths
from covjax.models.covxnet import CovXNet
from covjax.models.darkcovidnet import DarkCovidNet
from covjax.models.fc_densenet import FCDenseNet103

TOLERANCE = 1e-4  # largest difference, share of the largest value


@pytest.fixture(scope="session")
def forms(torch):
    import covid_forms

    return covid_forms


def random_variables(model, x, seed=0):
    """Weights that keep the signal's size; nothing stays at a neutral 0 or 1."""
    rng = np.random.default_rng(seed)
    template = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.asarray(x), train=False)
    )

    def draw(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.7, 1.3, leaf.shape).astype(np.float32)
        if name in ("bias", "mean"):
            return rng.uniform(-0.2, 0.2, leaf.shape).astype(np.float32)
        fan_in = np.prod(leaf.shape[:-1])
        return rng.normal(0, (2 / fan_in) ** 0.5, leaf.shape).astype(np.float32)

    kept = {k: template[k] for k in ("params", "batch_stats") if k in template}
    return jax.tree_util.tree_map_with_path(draw, kept)


def assert_agree(forms, form, model, size, *, channels=1, train=False, epsilon=1e-5):
    """The network and its form on pictures of `size` (height, width)."""
    import torch

    x = np.random.default_rng(1).normal(size=(2, *size, channels)).astype(np.float32)
    variables = random_variables(model, x)

    @jax.jit
    def run(variables, x):
        return model.apply(variables, x, train=train, mutable=["batch_stats"])[0]

    with torch.no_grad():
        theirs = form(
            forms.Form(variables, epsilon, train),
            torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        ).numpy()
    ours = np.asarray(run(variables, x))
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(theirs).max() > 1e-3
    spread = np.abs(theirs[0] - theirs[1]).max() / np.abs(theirs).max()
    assert spread > 1e-3  # the two pictures are told apart
    assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= TOLERANCE


@pytest.mark.parametrize(("size", "train"), [((37, 32), False), ((32, 32), True)])
def test_darkcovidnet(forms, size, train):
    model = DarkCovidNet(num_classes=3)
    assert_agree(forms, forms.darkcovidnet, model, size, channels=3, train=train)


@pytest.mark.parametrize("accumulate", [False, True])
def test_covid_caps(forms, accumulate):
    def form(layers, x):
        return forms.covid_caps(layers, x, accumulate)

    model = CovidCaps(num_classes=2, accumulate=accumulate)
    assert_agree(forms, form, model, (24, 27), channels=3, epsilon=1e-3)


def test_covid_caps_training(forms):
    model = CovidCaps(num_classes=3)
    assert_agree(forms, forms.covid_caps, model, (20, 20), train=True, epsilon=1e-3)


@pytest.mark.parametrize(
    ("dilations", "depth", "transfer", "train", "size"),
    [
        ((3, 2), 2, False, False, (32, 27)),
        ((4, 3, 2), 1, True, False, (24, 24)),
        ((3, 2), 1, False, True, (16, 16)),
    ],
)
def test_covxnet(forms, dilations, depth, transfer, train, size):
    def form(layers, x):
        return forms.covxnet(layers, x, dilations, depth, transfer)

    model = CovXNet(num_classes=4, dilations=dilations, depth=depth, transfer=transfer)
    assert_agree(forms, form, model, size, train=train, epsilon=1e-3)


@pytest.mark.parametrize(
    ("stride_depthwise", "train"), [(False, False), (True, False), (False, True)]
)
def test_pepx_in_covidnet(forms, stride_depthwise, train):
    model = COVIDNet(
        num_classes=3,
        stem=6,
        stages=(Widths(12, 2, 4, 6, 5), Widths(16, 3, 5, 8, 7)),
        hidden=(10,),
        stride_depthwise=stride_depthwise,
    )

    def form(layers, x):
        return forms.covidnet(layers, x, (2, 3), 1, stride_depthwise)

    assert_agree(forms, form, model, (30, 25), channels=3, train=train)


def test_cnn_lstm(forms):
    model = CNNLSTM(num_classes=3)
    assert_agree(forms, forms.cnn_lstm, model, (64, 71), channels=3)


def test_fc_densenet103(forms):
    model = FCDenseNet103(num_classes=4)
    assert_agree(forms, forms.fc_densenet103, model, (37, 32))
