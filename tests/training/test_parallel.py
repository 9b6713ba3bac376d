"""The same numbers on one device and on eight, by jit and by pmap."""

from functools import partial

import jax
import numpy as np
import pytest
from tiny_run import Tiny, pictures, settings, splits

from covjax.errors import InputError
from covjax.training import parallel
from covjax.training.history import Record
from covjax.training.trainer import Trainer

STEPS = 5


@pytest.fixture(autouse=True)
def eight_devices():
    assert jax.device_count() == 8


def trained(
    monkeypatch, *, devices, how="jit", scan=False, feed="resident", model=None
):
    """Parameters, statistics and sums after five augmented steps of batch 16."""
    monkeypatch.setattr(parallel, "scans_are_fast", lambda _: scan)
    run = settings(devices=devices, parallel=how, batch_size=16)
    run.optimizer.name = "sgd"
    run.data.feed = feed
    data = splits(16 * STEPS)
    trainer = Trainer(run, data.train, data.validation, model or Tiny())
    record = Record(data="")
    state = trainer.train(trainer.create(), record, lambda: False)
    assert record.done == STEPS
    assert record.totals["count"] == 16 * STEPS
    return jax.tree.map(np.asarray, state.variables()), record.totals


@pytest.fixture(scope="module")
def single():
    with pytest.MonkeyPatch.context() as patch:
        return trained(patch, devices=1)


def difference(a, b):
    gaps = jax.tree.map(lambda x, y: float(abs(x - y).max()), a, b)
    return max(jax.tree.leaves(gaps))


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_eight_devices_equal_one(monkeypatch, single, how, scan):
    variables, totals = trained(monkeypatch, devices=8, how=how, scan=scan)
    assert difference(variables, single[0]) < 1e-5
    assert totals["loss"] == pytest.approx(single[1]["loss"], rel=1e-5)
    assert totals["correct"] == single[1]["correct"]


@pytest.mark.parametrize("how", ["jit", "pmap"])
def test_streamed_equals_resident(monkeypatch, single, how):
    variables, _ = trained(monkeypatch, devices=8, how=how, feed="stream")
    assert difference(variables, single[0]) < 1e-5


def test_without_synchronised_statistics_pmap_would_differ(monkeypatch, single):
    class Local(Tiny):
        def clone(self, **kwargs):
            kwargs.pop("axis_name", None)
            return super().clone(**kwargs)

    variables, _ = trained(monkeypatch, devices=8, how="pmap", model=Local())
    assert difference(variables, single[0]) > 1e-3


def test_devices_must_exist_and_share_the_batch():
    with pytest.raises(InputError, match=r"config.train.devices=9.*has 8"):
        parallel.choose_devices(9, 72)
    with pytest.raises(InputError, match=r"batch_size=12: must be a multiple of the 8"):
        parallel.choose_devices(0, 12)
    assert len(parallel.choose_devices(3, 12)) == 3


def test_the_state_is_donated():
    run = settings(batch_size=8)
    trainer = Trainer(run, pictures(8, 0), pictures(8, 1), Tiny())
    runner = trainer.runner(0)
    state = runner.place(trainer.create())
    data = runner.place((trainer.train_set.images, trainer.train_set.labels))
    kernel = state.params["stem"]["kernel"]
    rows = np.arange(8, dtype=np.int32)[None]
    next(iter(partial(runner.epoch, state, data)(rows)))
    assert kernel.is_deleted()
