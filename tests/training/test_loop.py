"""The whole loop on a tiny net: resumed, interrupted, killed, refused."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from tiny_run import Tiny, pictures, settings, splits

from covjax.data.imageset import LazyImages
from covjax.errors import InputError
from covjax.training import loop
from covjax.training.loop import Interrupted, fit
from covjax.training.trainer import Trainer

MODEL = Tiny(dropout=0.3)
TIMES = ("seconds", "images_per_second")


def run(workdir, configuration=None, data=None, **kwargs):
    return fit(
        configuration or settings(),
        data or splits(),
        workdir,
        model=MODEL,
        progress=False,
        **kwargs,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three epochs without a break."""
    workdir = tmp_path_factory.mktemp("whole")
    return run(workdir), workdir


def log_of(workdir):
    rows = [json.loads(r) for r in (workdir / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_same(workdir, trained, whole):
    wanted, other = whole
    assert log_of(workdir) == log_of(other)
    for a, b in ((trained.last, wanted.last), (trained.best, wanted.best)):
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_run_leaves_its_files(whole):
    trained, workdir = whole
    names = {p.name.partition(".")[0] for p in workdir.iterdir()}
    assert names == {
        "checkpoints", "config", "environment", "events", "finished", "log",
    }  # fmt: skip
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert [row["step"] for row in trained.history] == [5, 10, 15]
    assert trained.resumed_epochs == 0
    environment = json.loads((workdir / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    finished = json.loads((workdir / "finished.json").read_text())
    assert finished == {"epochs": 3, "best_epoch": trained.best_epoch}


def test_the_best_epoch_is_the_one_with_the_best_measure(whole):
    trained, _ = whole
    ranks = [(r["validation_auc"], -r["validation_loss"]) for r in trained.history]
    assert trained.best_epoch == 1 + ranks.index(max(ranks))


def test_a_seed_decides_everything(whole, tmp_path):
    again = run(tmp_path / "again")
    assert_same(tmp_path / "again", again, whole)
    other = run(tmp_path / "other", seed=6)
    assert other.history[0]["loss"] != again.history[0]["loss"]
    stored = json.loads((tmp_path / "other" / "config.json").read_text())
    assert stored["train"]["seed"] == 6


def test_a_finished_run_is_not_trained_again(whole, monkeypatch):
    _, workdir = whole
    before = log_of(workdir)
    monkeypatch.setattr(Trainer, "train", None)  # would fail if it were called
    again = run(workdir)
    assert again.resumed_epochs == 3
    assert_same(workdir, again, whole)
    assert log_of(workdir) == before


@pytest.fixture
def stop_after(monkeypatch):
    """Sends SIGTERM to this process after so many dispatches."""

    def arm(dispatches, number=signal.SIGTERM):
        account, left = Trainer.account, iter(range(dispatches - 1, -1, -1))

        def counted(self, *args):
            account(self, *args)
            if next(left, 1) == 0:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Trainer, "account", counted)

    return arm


# 5 steps an epoch; the signal is seen at the dispatch after it
@pytest.mark.parametrize(
    ("dispatches", "number", "message"),
    [
        (2, signal.SIGTERM, "after 0 of 3 epochs and 3 of 5 steps"),
        (5, signal.SIGINT, "after 1 of 3 epochs;"),
        (7, signal.SIGTERM, "after 1 of 3 epochs and 3 of 5 steps"),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    whole, tmp_path, stop_after, monkeypatch, dispatches, number, message
):
    before = signal.getsignal(number)
    stop_after(dispatches, number)
    with pytest.raises(Interrupted, match=message) as caught:
        run(tmp_path)
    assert caught.value.signal == number
    assert signal.getsignal(number) is before
    monkeypatch.undo()
    resumed = run(tmp_path)
    assert resumed.resumed_epochs == dispatches // 5
    assert_same(tmp_path, resumed, whole)


def test_a_lost_last_checkpoint_costs_its_epoch_only(whole, tmp_path, capsys):
    run(tmp_path)
    newest = max((tmp_path / "checkpoints").iterdir(), key=lambda p: int(p.name))
    assert newest.name == "15"
    for path in (newest / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    again = run(tmp_path)
    assert again.resumed_epochs == 2
    assert "checkpoint 15 is damaged" in capsys.readouterr().err
    assert_same(tmp_path, again, whole)


def test_another_run_in_the_work_directory_is_refused(whole, tmp_path):
    _, workdir = whole
    with pytest.raises(InputError, match=r"config.train.epochs is 3 there and 4 here"):
        run(workdir, settings(epochs=4))
    with pytest.raises(InputError, match="other training pictures"):
        run(workdir, data=splits(48))
    changed = settings()
    changed.evaluation.level = 0.9
    assert run(workdir, changed).resumed_epochs == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        run(tmp_path / "file")


def test_a_loss_that_is_not_finite_is_one_clear_line(tmp_path):
    configuration = settings()
    configuration.optimizer.learning_rate = 1e20
    configuration.optimizer.name = "sgd"
    with pytest.raises(InputError, match=r"not finite in epoch 1, step \d of 5: try"):
        run(tmp_path, configuration)


def test_early_stopping_waits_for_its_patience(tmp_path):
    configuration = settings(epochs=9, early_stopping_epochs=2)
    configuration.optimizer.learning_rate = 0.0  # nothing gets better but statistics
    configuration.train.freeze_batch_norm = True
    trained = run(tmp_path, configuration)
    assert [row["best"] for row in trained.history] == [True, False, False]
    assert trained.best_epoch == 1
    assert run(tmp_path, configuration).resumed_epochs == 3


def test_without_validation_the_last_epoch_is_the_best(tmp_path):
    data = splits()
    data.validation = pictures(0, 1)
    trained = run(tmp_path, settings(epochs=2), data)
    assert trained.best_epoch == 2
    assert "validation_auc" not in trained.history[0]


def test_an_undefined_measure_never_wins(tmp_path):
    data = splits()
    data.validation = data.validation.subset(data.validation.labels == 0)
    trained = run(tmp_path, settings(epochs=2), data)
    assert trained.best_epoch == 0
    assert trained.history[0]["validation_auc"] is None
    jax.tree.map(np.testing.assert_array_equal, trained.best, trained.last)


def test_a_small_part_of_a_streamed_set_is_streamed(tmp_path):
    """Of a set that is too large for the device, the fold of a system may fit."""
    data = splits()
    lazy = LazyImages(
        read=lambda row: pictures(40, 0).images[row],
        rows=np.arange(40),
        picture_shape=(12, 12, 1),
        key="forty",
    )
    data.train = replace(data.train, images=lazy)
    assert lazy.nbytes < settings().data.resident_gib * 2**30
    assert run(tmp_path, settings(epochs=1), data).history[0]["loss"] > 0


def test_thawing_and_smaller_pictures_resume_alike(tmp_path, stop_after, monkeypatch):
    def configuration():
        result = settings(
            epochs=4, freeze=("backbone",), unfreeze_epochs=1.5, sizes=(8, 12)
        )
        result.optimizer.ema_decay = 0.5
        return result

    whole = run(tmp_path / "whole", configuration())
    stop_after(12)
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", configuration())
    monkeypatch.undo()
    resumed = run(tmp_path / "broken", configuration())
    assert_same(tmp_path / "broken", resumed, (whole, tmp_path / "whole"))


def test_training_starts_from_given_variables(tmp_path, whole):
    given = whole[0].last
    configuration = settings(epochs=1, freeze=("backbone",))
    trained = run(tmp_path, configuration, initial_variables=given)
    np.testing.assert_array_equal(
        trained.last["params"]["stem"]["kernel"], given["params"]["stem"]["kernel"]
    )
    changed = (
        trained.last["params"]["head"]["kernel"] != given["params"]["head"]["kernel"]
    )
    assert changed.any()
    given["params"]["stem"]["kernel"].block_until_ready()  # was not donated


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer.stage_rates", {"stage7": 0.1}, "stage_rates='stage7'.*stem, stem"),
        ("train.freeze", ("until:stage7",), "freeze='until:stage7'.*stem, stem"),
        ("train.loss", "margin", "loss='margin': the network gives logits"),
        ("train.devices", 99, "devices=99"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(tmp_path, field, value, message):
    configuration = settings()
    section, name = field.split(".")
    setattr(getattr(configuration, section), name, value)
    with pytest.raises(InputError, match=message):
        run(tmp_path, configuration)


@pytest.mark.parametrize("select_by", ["accuracy", "balanced_accuracy"])
def test_several_labels_have_no_accuracy(tmp_path, select_by):
    data = splits()
    for part in ("train", "validation"):
        pictures_ = getattr(data, part)
        labels = np.eye(3, dtype=np.uint8)[pictures_.labels]
        setattr(data, part, replace(pictures_, labels=labels))
    with pytest.raises(InputError, match="select_by"):
        run(tmp_path, settings(loss="binary", select_by=select_by), data)
    trained = run(tmp_path / "auc", settings(loss="binary", epochs=1), data)
    assert trained.history[0]["validation_auc"] > 0
    assert "validation_accuracy" not in trained.history[0]


class Flat(nn.Module):
    """A classifier that takes one size only."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(3, name="head")(x.reshape(len(x), -1))


def test_a_network_of_fixed_size_refuses_others(tmp_path):
    with pytest.raises(InputError, match=r"sizes: the network cannot take 8"):
        fit(settings(sizes=(8, 12)), splits(), tmp_path, model=Flat())


@pytest.mark.parametrize("size", [0, 13])
def test_sizes_beyond_the_pictures_are_refused(tmp_path, size):
    with pytest.raises(InputError, match=r"config.train.sizes"):
        run(tmp_path, settings(sizes=(size,)))


# --- processes that are killed ---------------------------------------------------


def start(workdir, epochs):
    script = Path(__file__).with_name("tiny_run.py")
    cache = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    return subprocess.Popen(
        [sys.executable, str(script), str(workdir), str(epochs)],
        env=os.environ | cache,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def told(workdir):
    log = workdir / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def kill_at_random_moments(workdir, kills, epochs, seed):
    """Runs until it ends by itself; after each kill, what was told must be there."""
    rng = random.Random(seed)
    for kill in range(kills):
        process, goal = start(workdir, epochs), told(workdir) + 1
        while process.poll() is None and told(workdir) < goal:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.1))  # an epoch takes some 0.05 s
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, errors
        yield kill, told(workdir)
    process = start(workdir, epochs)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def check_kills(workdir, kills, epochs):
    before = 0
    for _, lines in kill_at_random_moments(workdir, kills, epochs, seed=kills):
        checkpoints = [int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*")
                       if p.name.isdigit()]  # fmt: skip
        # every epoch that was told of is on disk: only the one in flight is lost
        assert max(checkpoints) >= 5 * lines
        assert lines > before
        before = lines
    assert not list((workdir / "checkpoints").glob("*tmp*"))
    return log_of(workdir)


def test_kill_9_loses_at_most_the_epoch_in_flight(tmp_path):
    rows = check_kills(tmp_path / "killed", kills=2, epochs=30)
    assert rows == log_of_whole(tmp_path, 30)


@pytest.mark.skipif(
    "COVJAX_SLOW_TESTS" not in os.environ,
    reason="twenty kills take minutes; set COVJAX_SLOW_TESTS=1",
)
def test_twenty_kills(tmp_path):
    rows = check_kills(tmp_path / "killed", kills=20, epochs=60)
    assert rows == log_of_whole(tmp_path, 60)


def log_of_whole(tmp_path, epochs):
    run(tmp_path / "unbroken", settings(epochs=epochs))
    return log_of(tmp_path / "unbroken")


def test_sigterm_ends_with_a_message_and_status(tmp_path):
    process = start(tmp_path, 2000)
    while process.poll() is None and told(tmp_path) < 1:
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopping: saving first" in errors
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors


def test_signals_are_left_alone_in_other_threads(tmp_path):
    caught = []

    def work():
        with loop.Interrupt() as interrupt:
            caught.append(signal.getsignal(signal.SIGTERM) != interrupt.note)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == [True]


def test_a_run_from_before_a_field_goes_on(tmp_path):
    run = settings()
    loop.claim(tmp_path, run)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    del values["train"]["remat"]
    path.write_text(json.dumps(values))
    loop.check_workdir(tmp_path, run)
    with pytest.raises(InputError, match=r"config\.train\.remat is False there"):
        loop.check_workdir(tmp_path, settings(remat=True))


@pytest.mark.parametrize("text", ["{", "[]", '{"train": 3}', '{"train": {"x": 1}}'])
def test_a_damaged_recipe_of_a_run_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        loop.check_workdir(tmp_path, settings())
