"""What every network of the table owes its users, on tiny pictures.

Compiling is what costs here, so most of XLA's optimisation is off, and the shallowest
form of each class runs, in training mode where it has no reference in tests/parity.
That the loss depends on every parameter is read from the traced program of every
network.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.blocks.folding import apply_folded, fold, foldable
from covjax.models import MODELS, create_model

FAST_COMPILE = {"xla_backend_optimization_level": 0}
CLASSES = 3
BATCH = 3

# the shallowest form of each class that still has all its kinds of block
SHALLOW = {
    "alexnet": {},
    "alexnet_2012": {},
    "bn_inception": {},
    "capsnet": {},
    "cnn_lstm": {},
    "conv_capsnet": {},
    "coronet": {},
    "covid_caps": {},
    "covidnet_small": {},
    "covxnet32": {"depth": 1},
    "darkcovidnet": {},
    "densenet121": {"blocks": (1, 2, 1, 1)},
    "efficientnet_b0": {"depth": 0.1},
    "efficientnet_c19": {"depth": 0.1},
    "googlenet": {},
    "inception_resnet_v2": {"blocks": (1, 1, 1)},
    "inception_v3": {"pool_features": (32,), "features_7x7": (128,)},
    "inception_v4": {"modules": (1, 1, 1)},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
    "resnet18": {"blocks": (1, 1, 2, 1)},
    "resnet50": {"blocks": (1, 1, 2, 1)},
    "squeezenet1_1": {},
    "truncated_inception": {},
    "vgg16_bn": {"layers": (1, 1, 1, 1, 1)},
    "xception": {},
}
# their gradients and statistics are compared with a reference's in tests/parity
TRAINED_IN_PARITY = {
    "alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_resnet_v2",
    "inception_v3", "inception_v4", "mobilenet_v1", "mobilenet_v2", "resnet18",
    "resnet50", "squeezenet1_1", "vgg16_bn", "xception",
}  # fmt: skip
# one of each kind of block, and all that exponentiate or divide on their own
DELICATE = (
    "alexnet_2012", "capsnet", "cnn_lstm", "conv_capsnet", "covid_caps", "covxnet32",
    "densenet121", "efficientnet_b0", "resnet50", "squeezenet1_1",
)  # fmt: skip
AUXILIARY = {"googlenet": 2, "googlenet_2014": 2, "inception_v2": 1, "inception_v3": 1}


# at 32 pixels SqueezeNet ends in one pixel, which its last ReLU may kill, and the
# LSTM reads a sequence of one step
LARGER = {"cnn_lstm": 64, "squeezenet1_0": 64, "squeezenet1_1": 64}


def size_of(name):
    return max(LARGER.get(name, 32), MODELS[name].min_size)


def draw(shapes):
    """Variables that keep a signal's size, without compiling the initialisers."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        if path[-1].key in ("scale", "var"):
            return np.ones(shape.shape, np.float32)
        if path[-1].key in ("bias", "mean"):
            return np.zeros(shape.shape, np.float32)
        fan_in = max(1, np.prod(shape.shape[:-1]))
        kernel = rng.standard_normal(shape.shape, np.float32)
        return kernel * np.float32(np.sqrt(2 / fan_in))

    kept = {k: shapes[k] for k in ("params", "batch_stats") if k in shapes}
    return jax.tree_util.tree_map_with_path(leaf, kept)


def pictures(name, channels, seed=1):
    size = size_of(name)
    rng = np.random.default_rng(seed)
    return rng.standard_normal((BATCH, size, size, channels), np.float32)


def shapes_of(model, x):
    init = functools.partial(model.init, jax.random.key(0), train=False)
    return jax.eval_shape(init, x)


def compiled(function):
    return jax.jit(function, compiler_options=FAST_COMPILE)


def finite(tree):
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(tree)]
    return all(np.isfinite(leaf).all() for leaf in leaves)


def leaves_of(tree):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def train_mode(model, variables, x):
    """Scores, and what the network changed or sowed, in training mode."""
    return model.apply(
        variables,
        x,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["batch_stats", "intermediates"],
    )


def loss_and_state(model, x):
    """A training loss that all heads take part in, as a function of parameters."""

    def loss(params, rest):
        scores, state = train_mode(model, {"params": params, **rest}, x)
        heads = state["intermediates"].get("aux_logits", ())
        # uneven weights, since capsule lengths of a batch may add up to a constant
        weights = jnp.arange(1.0, CLASSES + 1).reshape(1, -1)
        total = sum((jnp.sin(s + 1) * weights).sum() for s in (scores, *heads))
        return total, (scores, state)

    return loss


def class_of(name):
    return type(create_model(name, num_classes=CLASSES)).__name__


def evaluation(model):
    """Scores, and what the network changed or sowed; compiled for two tests once."""
    mutable = ["intermediates", "batch_stats"]
    return compiled(functools.partial(model.apply, train=False, mutable=mutable))


@pytest.mark.parametrize("name", SHALLOW)
def test_evaluation_of_grey_pictures(name):
    model = create_model(name, num_classes=CLASSES, **SHALLOW[name])
    x = pictures(name, channels=1)
    variables = draw(shapes_of(model, x))

    run = evaluation(model)
    scores, state = run(variables, x)
    assert scores.shape == (BATCH, CLASSES)
    assert scores.dtype == jnp.float32
    assert finite(scores)
    if MODELS[name].scores == "lengths":
        assert (np.asarray(scores) >= 0).all()
        assert (np.asarray(scores) < 1).all()
    (features,) = state["intermediates"]["features"]
    assert features.ndim == 4
    assert features.shape[0] == BATCH
    assert "aux_logits" not in state["intermediates"]

    before = leaves_of(variables.get("batch_stats", {}))
    for path, leaf in leaves_of(state.get("batch_stats", {})).items():
        np.testing.assert_array_equal(leaf, before[path], path)

    # rows are independent: another first picture changes the first row alone
    other = x.copy()
    other[0] = pictures(name, channels=1, seed=2)[0]
    changed, scores = np.asarray(run(variables, other)[0]), np.asarray(scores)
    np.testing.assert_array_equal(changed[1:], scores[1:])
    assert (changed[0] != scores[0]).any()


def used_inputs(jaxpr):
    """Which inputs the first output of a traced function depends on.

    Functions inside count as using all that they are given.
    """
    needed = {jaxpr.outvars[0]}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if not hasattr(v, "val"))
    return [v in needed for v in jaxpr.invars]


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_depends_on_every_parameter(name):
    """Traced in bfloat16 on three channels; the result is float32 all the same."""
    model = create_model(name, num_classes=CLASSES, dtype=jnp.bfloat16)
    x = jnp.zeros((BATCH, size_of(name), size_of(name), 3))
    shapes = shapes_of(model, x)
    params = shapes["params"]
    rest = {k: v for k, v in shapes.items() if k == "batch_stats"}
    loss = loss_and_state(model, x)
    traced, results = jax.make_jaxpr(loss, return_shape=True)(params, rest)
    used = used_inputs(traced.jaxpr)[: len(jax.tree.leaves(params))]
    paths = [jax.tree_util.keystr(p)
             for p, _ in jax.tree_util.tree_leaves_with_path(params)]  # fmt: skip
    assert [p for p, u in zip(paths, used, strict=True) if not u] == []

    _, (scores, state) = results
    assert scores.shape == (BATCH, CLASSES)
    assert scores.dtype == jnp.float32
    assert state["intermediates"]["features"][0].dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(state.get("batch_stats", {})):
        assert leaf.dtype == jnp.float32
    heads = state["intermediates"].get("aux_logits", ())
    assert len(heads) == AUXILIARY.get(name, 0)
    assert all(head.shape == (BATCH, CLASSES) for head in heads)


def test_every_class_has_a_shallow_form():
    assert {class_of(name) for name in MODELS} == {class_of(name) for name in SHALLOW}


@pytest.mark.parametrize("name", sorted(SHALLOW.keys() - TRAINED_IN_PARITY))
def test_training_of_grey_pictures(name):
    """The gradient reaches every parameter, and every statistic moves."""
    model = create_model(name, num_classes=CLASSES, **SHALLOW[name])
    x = pictures(name, channels=1)
    variables = draw(shapes_of(model, x))
    params = variables.pop("params")
    step = compiled(jax.value_and_grad(loss_and_state(model, x), has_aux=True))
    (_, (scores, state)), gradient = step(params, variables)
    assert finite((scores, state, gradient))
    for path, leaf in leaves_of(gradient).items():
        assert leaf.any(), path
    before = leaves_of(variables.get("batch_stats", {}))
    after = leaves_of(state.get("batch_stats", {}))
    assert before.keys() == after.keys()
    for path, leaf in after.items():
        assert (leaf != before[path]).any(), path


@pytest.mark.parametrize("name", DELICATE)
def test_bfloat16_is_finite_in_both_modes(name):
    kwargs = SHALLOW[name]
    model = create_model(name, num_classes=CLASSES, dtype=jnp.bfloat16, **kwargs)
    x = pictures(name, channels=3)
    variables = draw(shapes_of(model, x))

    @compiled
    def run(variables, x):
        scores = model.apply(variables, x, train=False)
        return scores, *train_mode(model, variables, x)

    scores, trained, state = run(variables, x)
    assert scores.dtype == trained.dtype == jnp.float32
    assert finite((scores, trained, state))


@pytest.mark.parametrize("name", SHALLOW)
def test_normalisation_folded_in_gives_the_same_scores(name):
    model = create_model(name, num_classes=CLASSES, **SHALLOW[name])
    x = pictures(name, channels=1)
    variables = draw(shapes_of(model, x))
    rng = np.random.default_rng(2)  # nothing is neutral
    for tree in (variables["params"], variables.get("batch_stats", {})):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if path[-1].key in ("scale", "var", "bias", "mean"):
                leaf += rng.uniform(-0.3, 0.3, leaf.shape)

    pairs = foldable(model, x.shape[1:])
    plain, _ = evaluation(model)(variables, x)
    apply = compiled(lambda v, x: apply_folded(model, v, x, pairs))
    folded = apply(fold(variables, pairs), x)
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-4 * abs(plain).max())
