"""The step, one feature at a time, on a tiny net."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import Tiny, pictures

from covjax import config
from covjax.errors import InputError
from covjax.training.losses import Loss
from covjax.training.optimizer import make_optimizer
from covjax.training.state import (
    call_order,
    create_state,
    merge,
    repartition,
    split,
    trainable_paths,
)
from covjax.training.steps import Task, train_step

SET = pictures(16, 0)
BATCH = (jnp.asarray(SET.images), jnp.asarray(SET.labels))
SHAPE = (12, 12, 1)
OPTIMIZER, _ = make_optimizer(
    config.Optimizer(name="adam", learning_rate=0.01), epochs=1, steps_per_epoch=1
)
PLAIN = Task(
    model=Tiny(),
    optimizer=OPTIMIZER,
    loss=Loss(name="cross_entropy", num_classes=3),
    augment=config.Augment(),
    mean=(0.5,),
    std=(0.25,),
)


def state_of(model=None, freeze=(), ema=False):
    model = model or Tiny()
    variables = model.init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False)
    paths = trainable_paths(call_order(model, SHAPE), freeze)
    return create_state(variables, paths, OPTIMIZER, ema=ema, key=jax.random.key(1))


def stepped(task=PLAIN, state=None, steps=1):
    state = state or state_of(task.model)
    step = jax.jit(partial(train_step, task))
    for _ in range(steps):
        state, sums = step(state, BATCH)
    return state, sums


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def leaves(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_sums_are_of_the_normalised_pictures():
    state = state_of()
    x = (SET.images / 255 - 0.5) / 0.25
    logits, _ = Tiny().apply(state.variables(), x, train=True, mutable=["batch_stats"])
    p = np.asarray(jax.nn.softmax(logits))
    _, sums = stepped(state=state)
    wanted = -np.log(p[np.arange(16), SET.labels]).sum()
    assert float(sums["loss"]) == pytest.approx(wanted, rel=1e-4)
    assert sums["count"] == 16
    assert sums["correct"] == (p.argmax(1) == SET.labels).sum()


def test_the_loss_falls():
    _, first = stepped()
    _, last = stepped(steps=30)
    assert last["loss"] < 0.7 * first["loss"]


def test_randomness_comes_from_the_key_and_the_step():
    task = replace(PLAIN, augment=config.Augment(rotation_degrees=20.0))
    state = state_of()
    a, _ = stepped(task, state)
    assert_equal(a.params, stepped(task, state)[0].params)
    later, _ = stepped(task, state.replace(step=state.step + 1))
    other, _ = stepped(task, state.replace(key=jax.random.key(2)))
    for b in (later, other):
        assert (leaves(a.params) != leaves(b.params)).any()


def test_ema():
    task = replace(PLAIN, ema_decay=0.9)
    before = state_of(ema=True)
    after, _ = stepped(task, before)
    for name in ("params", "batch_stats"):
        old, new = getattr(before, name), getattr(after, name)
        wanted = jax.tree.map(lambda p, q: 0.9 * p + 0.1 * q, old, new)
        np.testing.assert_allclose(leaves(after.ema[name]), leaves(wanted), rtol=1e-5)
        assert (leaves(old) != leaves(new)).any()
    assert_equal(after.variables(), after.ema)


def test_auxiliary_heads_count_by_their_weight():
    model = Tiny(auxiliary=True)
    start = state_of(model)
    without, a = stepped(replace(PLAIN, model=model), start)
    with_it, b = stepped(replace(PLAIN, model=model, aux_weight=0.3), start)
    assert_equal(without.params["aux"], start.params["aux"])
    assert (leaves(with_it.params["aux"]) != leaves(start.params["aux"])).any()
    assert a["loss"] == b["loss"]  # what is reported is the main head's


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        (("backbone",), {"head"}),
        (("until:stem_norm",), {"stage1", "stage1_norm", "head"}),
        (("stem", "stage1/kernel"), {"stem_norm", "stage1_norm", "head"}),
    ],
)
def test_frozen_parameters_do_not_move_and_cost_nothing(freeze, trained):
    before = state_of(freeze=freeze)
    after, _ = stepped(replace(PLAIN, optimizer=OPTIMIZER), before, steps=2)
    assert set(before.params) == trained
    assert_equal(after.frozen, before.frozen)
    moments = [x for x in jax.tree.leaves(after.opt_state) if x.ndim]
    assert sum(m.size for m in moments) == 2 * leaves(before.params).size
    changed = leaves(after.params) != leaves(before.params)
    assert changed.mean() > 0.9
    whole = merge(before.params, before.frozen)
    assert set(whole) == {"stem", "stem_norm", "stage1", "stage1_norm", "head"}


def test_freezing_the_backbone_spares_its_backward_pass():
    def flops(freeze):
        state = state_of(freeze=freeze)
        lowered = jax.jit(partial(train_step, PLAIN)).lower(state, BATCH)
        return lowered.as_text().count("convolution(")

    assert flops(()) == 5  # two forward, two kernel gradients, one input gradient
    assert flops(("backbone",)) == 2


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (("until:stage9",), "stem, stem_norm, stage1"),
        (("ste",), "no such part"),
        (("stem", "backbone", "head"), "nothing to train"),
    ],
)
def test_bad_freeze(freeze, message):
    with pytest.raises(InputError, match=message):
        trainable_paths(call_order(Tiny(), SHAPE), freeze)


def test_thawing_goes_from_the_end():
    order = call_order(Tiny(), SHAPE)
    assert list(order) == ["stem", "stem_norm", "stage1", "stage1_norm", "head"]
    paths = trainable_paths(order, ("backbone",), thawed=2)
    assert {p.partition("/")[0] for p in paths} == {"stage1", "stage1_norm", "head"}
    sizes = [len(trainable_paths(order, ("backbone",), thawed=n)) for n in range(10)]
    assert sizes[:5] == sorted(set(sizes))  # one module more each time
    assert set(sizes[4:]) == {len(trainable_paths(order, ()))}


def test_repartition_keeps_parameters_and_averages_and_the_schedule():
    order = call_order(Tiny(), SHAPE)
    state, _ = stepped(state=state_of(freeze=("backbone",), ema=True))
    thawed = repartition(state, trainable_paths(order, ()), OPTIMIZER)
    assert_equal(thawed.variables(), state.variables())
    assert not thawed.frozen
    adam, schedule = thawed.opt_state[0], thawed.opt_state[-1]
    assert (adam.count, schedule.count) == (0, 1)
    assert not any(leaf.any() for leaf in jax.tree.leaves(adam.mu))
    assert_equal(thawed.ema["params"]["stem"], state.frozen["stem"])
    assert_equal(thawed.ema["params"]["head"], state.ema["params"]["head"])
    back = repartition(thawed, frozenset(["head/kernel", "head/bias"]), OPTIMIZER)
    for name in ("params", "frozen", "ema"):
        assert_equal(getattr(back, name), getattr(state, name))


def test_what_thaws_late_takes_no_larger_steps():
    """Adam's step of a constant gradient is the rate, however old the optimizer is."""
    optimizer = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(0.1))
    params = {"cold": {"bias": jnp.zeros(1)}, "warm": {"bias": jnp.zeros(1)}}
    state = create_state(
        {"params": params}, frozenset(["warm/bias"]), optimizer,
        ema=False, key=jax.random.key(0),
    )  # fmt: skip
    ones = jax.tree.map(jnp.ones_like, state.params)
    opt_state = state.opt_state
    for _ in range(50):
        _, opt_state = optimizer.update(ones, opt_state)
    thawed = repartition(state.replace(opt_state=opt_state), None, optimizer)
    opt_state = thawed.opt_state
    for _ in range(12):
        updates, opt_state = optimizer.update(
            jax.tree.map(jnp.ones_like, params), opt_state
        )
        for update in jax.tree.leaves(updates):
            np.testing.assert_allclose(update, -0.1, rtol=1e-3)


def test_split_and_merge_are_inverse():
    params = state_of().params
    kept, frozen = split(params, frozenset(["head/bias", "stem/kernel"]))
    assert set(kept) == {"head", "stem"}
    assert_equal(merge(kept, frozen), params)


def test_frozen_batch_norm_leaves_dropout_on():
    model = Tiny(dropout=0.5)
    start = state_of(model)
    task = replace(PLAIN, model=model, freeze_batch_norm=True)
    after, _ = stepped(task, start)
    assert_equal(after.batch_stats, start.batch_stats)
    moving, _ = stepped(replace(PLAIN, model=model), start)
    assert (leaves(moving.batch_stats) != leaves(start.batch_stats)).any()
    # the key decides only through dropout here
    other, _ = stepped(task, start.replace(key=jax.random.key(9)))
    assert (leaves(other.params) != leaves(after.params)).any()


def test_frozen_batch_norm_normalises_by_running_statistics():
    start = state_of()
    _, sums = stepped(replace(PLAIN, freeze_batch_norm=True), start)
    x = jnp.asarray((SET.images / 255 - 0.5) / 0.25, jnp.float32)
    logits = Tiny().apply(start.variables(), x, train=False)
    wanted = Loss(name="cross_entropy", num_classes=3)(logits, BATCH[1]).sum()
    assert float(sums["loss"]) == pytest.approx(float(wanted), rel=1e-5)


def test_remat_changes_memory_not_numbers():
    plain, kept = PLAIN, replace(PLAIN, remat=True)
    a, _ = stepped(plain, steps=2)
    b, _ = stepped(kept, steps=2)
    np.testing.assert_allclose(leaves(a.params), leaves(b.params), atol=1e-6)

    def saved(task):
        text = jax.jit(partial(train_step, task)).lower(state_of(), BATCH).as_text()
        return text.count("optimization_barrier")

    assert saved(plain) == 0
    assert saved(kept) > 0


def test_smaller_pictures():
    task = replace(PLAIN, size=8)
    text = jax.jit(partial(train_step, task)).lower(state_of(), BATCH).as_text()
    assert "16x8x8x1" in text
    _, sums = stepped(task)
    assert np.isfinite(sums["loss"])


def test_the_rate_factor_scales_the_update():
    start = state_of()
    full, _ = stepped(state=start)
    half, _ = stepped(state=start.replace(rate_factor=jnp.float32(0.5)))
    move = leaves(full.params) - leaves(start.params)
    np.testing.assert_allclose(
        leaves(half.params) - leaves(start.params), 0.5 * move, atol=1e-6
    )
