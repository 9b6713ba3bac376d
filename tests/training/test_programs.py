"""Seeds and folds of a recipe are trained by one compiled program."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_run import Tiny, pictures, settings

from covjax.training import trainer
from covjax.training.history import Record


@pytest.fixture
def traces(monkeypatch):
    """One entry each time that the step is traced."""
    found = []
    step = trainer.train_step
    monkeypatch.setattr(
        trainer, "train_step", lambda *words: found.append(1) or step(*words)
    )
    monkeypatch.setattr(trainer, "make_network", lambda *_: Tiny())
    trainer.runners_of.cache_clear()
    return found


def trained(run, count=16):
    one = trainer.Trainer(run, pictures(count, 0), pictures(8, 1))
    record = Record(data="")
    state = one.train(one.create(), record, lambda: False)
    assert record.totals["count"] == one.steps * run.train.batch_size
    return np.asarray(state.params["stem"]["kernel"])


def test_seeds_share_the_program(traces):
    run = settings(batch_size=8)
    first = trained(run)
    second = trained(replace(run, train=replace(run.train, seed=1)))
    assert len(traces) == 1
    assert abs(first - second).max() > 0
    np.testing.assert_array_equal(trained(run), first)  # and nothing else
    slower = replace(run.optimizer, learning_rate=1e-5)
    trained(replace(run, optimizer=slower))
    assert len(traces) == 2


def test_folds_of_unequal_size_share_the_program(traces):
    run = settings(batch_size=8)
    run.data.folds = 2
    whole = trained(run, 15)
    trained(run, 14)
    assert len(traces) == 1
    run.data.folds = 0
    np.testing.assert_array_equal(trained(run, 15), whole)  # zeros are not seen
    assert len(traces) == 2
