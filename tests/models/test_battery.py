"""What every network of the table owes its users, on tiny pictures.

Two compiled programs a network, with most of XLA's optimisation off: float32 on grey
pictures and bfloat16 on three channels, each in both modes. That the loss depends
on every parameter is read from the traced program of every network; that the
gradient is a number other than zero is computed on shallow forms of each family.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from covjax.models import MODELS, create_model

FAST_COMPILE = {"xla_backend_optimization_level": 0}
CLASSES = 3
BATCH = 3


def size_of(name):
    return max(32, MODELS[name].min_size)


def draw(shapes, seed=0):
    """Variables that keep a signal's size, without compiling the initialisers."""
    rng = np.random.default_rng(seed)

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


def train_mode(model, variables, x):
    """Scores, and what the network changed or sowed, in training mode."""
    return model.apply(
        variables,
        x,
        train=True,
        rngs={"dropout": jax.random.key(0)},
        mutable=["batch_stats", "intermediates"],
    )


def both_modes(model):
    def run(variables, x):
        scores, sown = model.apply(
            variables, x, train=False, mutable=["intermediates", "batch_stats"]
        )
        return scores, sown, *train_mode(model, variables, x)

    return jax.jit(run, compiler_options=FAST_COMPILE)


def finite(tree):
    return all(np.isfinite(np.asarray(leaf, np.float32)).all()
               for leaf in jax.tree.leaves(tree))  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_float32_on_grey_pictures(name):
    model = create_model(name, num_classes=CLASSES)
    x = pictures(name, channels=1)
    variables = draw(shapes_of(model, x))
    run = both_modes(model)
    scores, sown, trained, after = run(variables, x)

    for result in (scores, trained):
        assert result.shape == (BATCH, CLASSES)
        assert result.dtype == jnp.float32
    assert finite((scores, trained, after))
    if MODELS[name].scores == "lengths":
        assert (np.asarray(scores) >= 0).all()
        assert (np.asarray(scores) < 1).all()

    (features,) = sown["intermediates"]["features"]
    assert features.shape[0] == BATCH
    assert features.ndim == 4
    heads = after["intermediates"].get("aux_logits", ())
    assert all(head.shape == (BATCH, CLASSES) for head in heads)
    assert "aux_logits" not in sown["intermediates"]

    # statistics: still in evaluation, every one moved by a training step
    before = variables.get("batch_stats", {})
    for path, leaf in jax.tree_util.tree_leaves_with_path(before):
        same, moved = sown["batch_stats"], after["batch_stats"]
        for key in path:
            same, moved = same[key.key], moved[key.key]
        np.testing.assert_array_equal(same, leaf)
        assert (np.asarray(moved) != leaf).any(), jax.tree_util.keystr(path)

    # rows: another first picture changes the first row alone
    other = x.copy()
    other[0] = pictures(name, channels=1, seed=2)[0]
    changed = np.asarray(run(variables, other)[0])
    np.testing.assert_array_equal(changed[1:], np.asarray(scores)[1:])
    assert (changed[0] != np.asarray(scores)[0]).any()


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_on_three_channels(name):
    model = create_model(name, num_classes=CLASSES, dtype=jnp.bfloat16)
    x = pictures(name, channels=3)
    variables = draw(shapes_of(model, x))
    scores, sown, trained, after = both_modes(model)(variables, x)
    for result in (scores, trained):
        assert result.shape == (BATCH, CLASSES)
        assert result.dtype == jnp.float32
    assert finite((scores, trained, after))
    assert sown["intermediates"]["features"][0].dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(after.get("batch_stats", {})):
        assert leaf.dtype == jnp.float32


AUXILIARY = {"googlenet": 2, "googlenet_2014": 2, "inception_v2": 1, "inception_v3": 1}


def loss_of(model, x):
    """A training loss that all heads take part in."""

    def loss(params, rest):
        scores, after = train_mode(model, {"params": params, **rest}, x)
        heads = after["intermediates"].get("aux_logits", ())
        # weighted, since capsule lengths of one batch may add up to a constant
        return sum((jnp.sin(s + 1) * jnp.arange(1.0, CLASSES + 1)).sum()
                   for s in (scores, *heads))  # fmt: skip

    return loss


def used_inputs(jaxpr):
    """Which inputs the only output of a traced function depends on.

    Inner functions count as using all that they are given.
    """
    needed = {v for v in jaxpr.outvars if isinstance(v, jax.extend.core.Var)}
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(
                v for v in equation.invars if isinstance(v, jax.extend.core.Var)
            )
    return [v in needed for v in jaxpr.invars]


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_depends_on_every_parameter(name):
    model = create_model(name, num_classes=CLASSES)
    x = jnp.zeros((BATCH, size_of(name), size_of(name), 1))
    shapes = shapes_of(model, x)
    params = shapes["params"]
    rest = {k: v for k, v in shapes.items() if k == "batch_stats"}
    traced = jax.make_jaxpr(lambda p, r: loss_of(model, x)(p, r))(params, rest)
    used = used_inputs(traced.jaxpr)
    paths = [jax.tree_util.keystr(p)
             for p, _ in jax.tree_util.tree_leaves_with_path(params)]  # fmt: skip
    assert len(used) >= len(paths)
    assert [p for p, u in zip(paths, used) if not u] == []


@pytest.mark.parametrize(("name", "heads"), AUXILIARY.items())
def test_auxiliary_heads_are_sown_in_training(name, heads):
    model = create_model(name, num_classes=CLASSES)
    x = jnp.zeros((1, size_of(name), size_of(name), 1))
    _, after = jax.eval_shape(
        functools.partial(train_mode, model), shapes_of(model, x), x
    )
    assert len(after["intermediates"]["aux_logits"]) == heads


# the shallowest form of each family that still has all its kinds of block
SHALLOW = {
    "alexnet": {},
    "alexnet_2012": {},
    "densenet121": {"blocks": (1, 2, 1, 1)},
    "efficientnet_b0": {"depth": 0.1},
    "resnet18": {"blocks": (1, 1, 2, 1)},
    "resnet50": {"blocks": (1, 1, 2, 1)},
    "squeezenet1_0": {},
    "squeezenet1_1": {},
    "vgg16": {"layers": (1, 1, 1, 1, 1)},
    "vgg16_bn": {"layers": (1, 1, 1, 1, 1)},
    "mobilenet_v1": {},
    "mobilenet_v2": {},
}


@pytest.mark.parametrize(("name", "kwargs"), SHALLOW.items())
def test_the_gradient_reaches_every_parameter(name, kwargs):
    model = create_model(name, num_classes=CLASSES, **kwargs)
    x = pictures(name, channels=1)
    variables = draw(shapes_of(model, x))
    params = variables.pop("params")
    step = jax.jit(jax.grad(loss_of(model, x)), compiler_options=FAST_COMPILE)
    gradient = step(params, variables)
    assert finite(gradient)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.asarray(leaf).any(), jax.tree_util.keystr(path)
