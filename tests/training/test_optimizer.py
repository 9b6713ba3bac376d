"""Update rules against hand-computed steps, schedules at marked epochs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from covjax.config import Optimizer
from covjax.errors import InputError
from covjax.training.history import plateau_factor
from covjax.training.optimizer import make_optimizer, make_schedule

PARAMS = {
    "stem": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([0.5])},
    "head": {"kernel": jnp.array([[3.0]])},
}
GRADIENT = {
    "stem": {"kernel": jnp.array([[0.3, 0.4]]), "bias": jnp.array([0.0])},
    "head": {"kernel": jnp.array([[1.2]])},
}


def updated(settings, steps=1, gradient=GRADIENT):
    optimizer, _ = make_optimizer(settings, epochs=10, steps_per_epoch=10)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_sgd_momentum_and_nesterov():
    plain = updated(Optimizer(name="sgd", learning_rate=0.1, momentum=0.9), steps=2)
    assert plain["head"]["kernel"] == pytest.approx(3 - 0.1 * 1.2 - 0.1 * 1.2 * 1.9)
    nesterov = updated(
        Optimizer(name="sgd", learning_rate=0.1, momentum=0.9, nesterov=True)
    )
    assert nesterov["head"]["kernel"] == pytest.approx(3 - 0.1 * 1.2 * 1.9)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adams_first_step_is_the_rate(name):
    params = updated(Optimizer(name=name, learning_rate=0.1))
    np.testing.assert_allclose(params["stem"]["kernel"], [[0.9, -2.1]], rtol=1e-5)


def test_rmsprop():
    params = updated(Optimizer(name="rmsprop", learning_rate=0.1, momentum=0.0))
    wanted = 3 - 0.1 * 1.2 / np.sqrt(0.1 * 1.2**2)
    assert params["head"]["kernel"] == pytest.approx(wanted, rel=1e-5)


def test_decay_skips_biases_unless_asked():
    still = optax.tree.zeros_like(GRADIENT)
    settings = Optimizer(name="sgd", learning_rate=0.1, momentum=0, weight_decay=0.5)
    params = updated(settings, gradient=still)
    assert params["head"]["kernel"] == pytest.approx(3 - 0.1 * 0.5 * 3)
    assert params["stem"]["bias"] == 0.5
    settings.decay_norms_and_biases = True
    bias = updated(settings, gradient=still)["stem"]["bias"]
    assert bias == pytest.approx(0.5 - 0.1 * 0.5 * 0.5)


def test_adamw_decays_beside_the_gradient():
    params = updated(Optimizer(name="adamw", learning_rate=0.1, weight_decay=0.5))
    assert params["head"]["kernel"] == pytest.approx(3 - 0.1 * (1 + 0.5 * 3), rel=1e-5)


def test_l1_pulls_kernels_by_their_sign():
    still = optax.tree.zeros_like(GRADIENT)
    settings = Optimizer(name="sgd", learning_rate=0.1, momentum=0, l1=0.2)
    params = updated(settings, gradient=still)
    np.testing.assert_allclose(params["stem"]["kernel"], [[0.98, -1.98]], rtol=1e-6)
    assert params["stem"]["bias"] == 0.5


def test_clipping_bounds_the_gradient_before_decay():
    settings = Optimizer(
        name="sgd", learning_rate=1.0, momentum=0, clip_norm=0.13, weight_decay=0.1
    )  # the gradient's norm is 1.3
    params = updated(settings)
    assert params["head"]["kernel"] == pytest.approx(3 - 0.12 - 0.3, rel=1e-5)


def test_stage_rates_by_longest_path():
    settings = Optimizer(
        name="sgd",
        learning_rate=1.0,
        momentum=0,
        stage_rates={"stem": 0.1, "stem/kernel": 10.0},
    )
    gradient = GRADIENT | {"stem": GRADIENT["stem"] | {"bias": jnp.array([1.0])}}
    params = updated(settings, gradient=gradient)
    assert params["stem"]["bias"] == pytest.approx(0.4)
    np.testing.assert_allclose(params["stem"]["kernel"], [[-2.0, -6.0]], rtol=1e-6)
    assert params["head"]["kernel"] == pytest.approx(1.8)


def rates(epochs=10, **settings):
    schedule = make_schedule(Optimizer(learning_rate=1.0, **settings), epochs, 4)
    return lambda epoch: float(schedule(round(epoch * 4)))


def test_schedules():
    assert rates()(7) == 1
    step = rates(schedule="step", decay_epochs=2.5, decay_factor=0.1)
    assert [step(e) for e in (0, 2.25, 2.5, 5)] == pytest.approx([1, 1, 0.1, 0.01])
    multi = rates(schedule="multi_step", milestones=(3, 6), decay_factor=0.5)
    assert [multi(e) for e in (2.75, 3, 6)] == [1, 0.5, 0.25]
    exponential = rates(schedule="exponential", decay_epochs=1, decay_factor=0.95)
    assert exponential(3) == pytest.approx(0.95**3)
    cosine = rates(schedule="cosine", final_fraction=0.2)
    assert [cosine(e) for e in (0, 5, 10)] == pytest.approx([1, 0.6, 0.2])


def test_warm_up_rises_to_the_peak_then_cosine_falls():
    rate = rates(schedule="cosine", warmup_epochs=2)
    assert [rate(e) for e in (0, 1, 1.75)] == pytest.approx([1 / 8, 5 / 8, 1])
    assert rate(6) == pytest.approx(0.5)


def test_one_cycle_peaks_where_told():
    rate = rates(schedule="one_cycle", warmup_epochs=4)
    assert rate(0) == pytest.approx(1 / 25)
    assert rate(4) == pytest.approx(1)
    assert rate(10) == pytest.approx(1 / 25e4, rel=1e-3)
    with pytest.raises(InputError, match="warmup_epochs"):
        rates(schedule="one_cycle", warmup_epochs=10)


def test_plateau_waits_for_its_patience():
    settings = Optimizer(schedule="plateau", patience_epochs=2, decay_factor=0.5)

    def factor(*losses):
        return plateau_factor(settings, [{"validation_loss": x} for x in losses])

    assert factor() == 1
    assert factor(3, 2, 2.5) == 1
    assert factor(3, 2, 2.5, 2) == 0.5
    assert factor(3, 2, 2.5, 2, 1, 2, 2, 2, 2) == 0.125
    settings.schedule = "constant"
    assert factor(1, 1, 1, 1, 1) == 1


@pytest.mark.parametrize("steps_per_epoch", [47, 61, 82, 109])
def test_steps_fall_on_whole_epochs(steps_per_epoch):
    """In float32 610 / 61 / 10 may be just below 1: the rate fell one step late."""
    steps = jnp.arange(40 * steps_per_epoch)
    wanted = 0.1 ** (np.arange(40 * steps_per_epoch) // (10 * steps_per_epoch))
    for settings in (
        Optimizer(learning_rate=1.0, schedule="step", decay_epochs=10.0),
        Optimizer(learning_rate=1.0, schedule="multi_step", milestones=(10, 20, 30)),
    ):
        schedule = make_schedule(settings, 40, steps_per_epoch)
        np.testing.assert_allclose(
            jax.jit(jax.vmap(schedule))(steps), wanted, rtol=1e-5
        )
