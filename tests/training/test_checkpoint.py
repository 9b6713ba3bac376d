"""Checkpoints: what is kept, what is noticed, what is fallen back to."""

import errno
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import Tiny, settings, splits

from covjax.errors import InputError
from covjax.training.checkpoint import Checkpoints, Damaged, to_arrays
from covjax.training.trainer import Trainer


@pytest.fixture(scope="module")
def trainer():
    run = settings()
    run.optimizer.ema_decay = 0.9
    run.train.freeze = ("stem",)
    data = splits()
    return Trainer(run, data.train, data.validation, Tiny())


@pytest.fixture(scope="module")
def state(trainer):
    return trainer.create()


@pytest.fixture
def said():
    return []


@pytest.fixture
def open_checkpoints(tmp_path, said):
    opened = []

    def open_(directory=tmp_path / "checkpoints"):
        opened.append(Checkpoints(directory, said.append))
        return opened[-1]

    yield open_
    for checkpoints in opened:
        checkpoints.close()


def at(state, step):
    kernel = {"kernel": jnp.full((72, 64), step, jnp.float32)}  # not inlined by orbax
    return state.replace(step=jnp.int32(step), params=state.params | {"stage9": kernel})


def fill(checkpoints, state, improvements):
    for step, improvement in enumerate(improvements, 1):
        record = {"data": "d", "epoch": step}
        checkpoints.save(at(state, step), record, improvement)
    checkpoints.wait()


def template(trainer, state):
    return lambda record: at(trainer.template(record), 0)


def test_everything_comes_back(trainer, state, open_checkpoints):
    whole = at(state, 7).replace(key=jax.random.key(3))
    checkpoints = open_checkpoints()
    record = {"data": "d", "epoch": 2, "totals": {"loss": 0.1 + 0.2}}
    checkpoints.save(whole, record, 1)
    checkpoints.wait()
    found, its_record = open_checkpoints().restore_latest(template(trainer, state))
    assert its_record == record
    assert jax.tree.structure(found) == jax.tree.structure(whole)
    wanted = to_arrays(whole)
    for name, leaf in to_arrays(found).items():
        assert leaf.dtype == wanted[name].dtype
        np.testing.assert_array_equal(leaf, wanted[name])
    assert wanted["ema/params/head/kernel"].any()
    assert wanted["frozen/stem/kernel"].any()


def test_the_two_latest_and_the_best_are_kept(state, open_checkpoints):
    checkpoints = open_checkpoints()
    fill(checkpoints, state, [1, 2, -1, -1, -1])
    assert sorted(checkpoints.manager.all_steps()) == [2, 4, 5]


def test_a_resumed_run_knows_which_was_the_best(state, open_checkpoints):
    fill(open_checkpoints(), state, [1, 2, -1, -1])
    checkpoints = open_checkpoints()
    for step in (5, 6):
        checkpoints.save(at(state, step), {"data": "d", "epoch": step}, -1)
    checkpoints.wait()
    assert sorted(checkpoints.manager.all_steps()) == [2, 5, 6]


def test_nothing_to_restore(trainer, state, open_checkpoints):
    assert open_checkpoints().restore_latest(template(trainer, state)) is None


def data_files(directory):
    files = [p for p in directory.rglob("*") if p.is_file() and p.parent.name == "d"]
    return sorted(files, key=lambda p: p.stat().st_size, reverse=True)


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def test_a_bit_flip_is_never_restored(trainer, state, open_checkpoints, tmp_path):
    """A flip is noticed, or lies in a byte that the state does not depend on."""
    fill(open_checkpoints(), state, [1])
    wanted = to_arrays(at(state, 1))
    path = data_files(tmp_path / "checkpoints" / "1")[0]
    whole = path.read_bytes()
    noticed = 0
    for place in np.linspace(0, len(whole) - 1, 12).astype(int):
        raw = bytearray(whole)
        raw[place] ^= 1
        path.write_bytes(raw)
        try:
            found, _ = open_checkpoints().restore(1, template(trainer, state))
        except Damaged:
            noticed += 1
            continue
        for name, leaf in to_arrays(found).items():
            np.testing.assert_array_equal(leaf, wanted[name])
    assert noticed


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    trainer, state, open_checkpoints, tmp_path, said
):
    fill(open_checkpoints(), state, [1, 2, -1])
    truncate(data_files(tmp_path / "checkpoints" / "3")[0])
    checkpoints = open_checkpoints()
    found, record = checkpoints.restore_latest(template(trainer, state))
    assert (int(found.step), record["epoch"]) == (2, 2)
    assert len(said) == 1
    assert said[0].startswith("checkpoint 3 is damaged")
    checkpoints.save(at(state, 3), {"data": "d", "epoch": 3}, 3)  # can be made again
    checkpoints.wait()
    assert sorted(checkpoints.manager.all_steps()) == [2, 3]


def test_a_changed_record_is_noticed(trainer, state, open_checkpoints, tmp_path):
    fill(open_checkpoints(), state, [1])
    path = tmp_path / "checkpoints" / "1" / "record" / "metadata"
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 2'))
    with pytest.raises(Damaged, match="record"):
        open_checkpoints().restore(1, template(trainer, state))


def test_all_damaged_is_one_clear_line(trainer, state, open_checkpoints, tmp_path):
    fill(open_checkpoints(), state, [1, 2])
    for step in "12":
        truncate(data_files(tmp_path / "checkpoints" / step)[0])
    with pytest.raises(InputError, match="all 2 checkpoints are damaged"):
        open_checkpoints().restore_latest(template(trainer, state))


def test_another_type_is_not_cast_in_silence(trainer, state, open_checkpoints):
    fill(open_checkpoints(), state, [1])

    def half(record):
        empty = template(trainer, state)(record)
        params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), empty.params)
        return empty.replace(params=params)

    with pytest.raises(Damaged, match="digest"):
        open_checkpoints().restore(1, half)


def test_leftovers_of_a_killed_process_are_removed(state, open_checkpoints, tmp_path):
    fill(open_checkpoints(), state, [1])
    left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    left.mkdir()
    checkpoints = open_checkpoints()
    assert checkpoints.manager.latest_step() == 1
    checkpoints.wait()
    deadline = time.monotonic() + 10  # orbax removes them in a thread of its own
    while left.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left.exists()


def test_a_full_disk_is_told_as_one(open_checkpoints, monkeypatch):
    checkpoints = open_checkpoints()

    def full():
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.manager, "wait_until_finished", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            checkpoints.wait()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(checkpoints.directory)
