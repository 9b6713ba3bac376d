"""What stays the same over the epochs of a run: network, data in place, programs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from covjax import config
from covjax.data.imageset import ImageSet, LazyImages
from covjax.data.order import epoch_order, steps_per_epoch, training_batches
from covjax.errors import InputError
from covjax.inference import make_network, score
from covjax.models import MODELS
from covjax.training import parallel
from covjax.training.history import Record, Row, plateau_factor
from covjax.training.losses import make_loss
from covjax.training.optimizer import make_optimizer, within
from covjax.training.special import ORDINARY, Special
from covjax.training.state import (
    TrainState,
    call_order,
    create_state,
    initialise,
    paths,
    repartition,
    trainable_paths,
)
from covjax.training.steps import Task, train_step


class Trainer:
    """Trains and validates single epochs; what happens between them is the loop's.

    Attributes:
      model: the network as it is used outside pmap.
      steps: updates an epoch.
    """

    def __init__(
        self,
        run: config.Run,
        train: ImageSet,
        validation: ImageSet,
        model: nn.Module | None = None,
        special: Special = ORDINARY,
    ):
        self.run, self.train_set, self.validation_set = run, train, validation
        self.special = special
        self.devices = parallel.choose_devices(run.train.devices, run.train.batch_size)
        self.axis_name = parallel.AXIS if run.train.parallel == "pmap" else None
        self.scores = "logits"
        own = model is None
        if model is None:
            name, dtype, kwargs = run.model.name, run.model.dtype, run.model.kwargs
            model = make_network(name, train.num_classes, dtype, kwargs)
            self.scores = MODELS[name].scores
        self.model = model
        self.draws = getattr(model, "decoder", False)  # the pictures from its capsules
        self.stepped = self.model  # the one inside the step
        if self.axis_name:
            self.stepped = self.model.clone(axis_name=self.axis_name)
        self.image_shape = shown_shape(special, train.images.shape[1:])
        self.steps = steps_per_epoch(len(train), run.train.batch_size)
        self.loss = special.loss or make_loss(
            run.train, train.labels, train.num_classes
        )
        self.loss_of = jax.jit(lambda o, y: self.loss(o, y).mean())
        self.optimizer, self.schedule = make_optimizer(
            run.optimizer, epochs=run.train.epochs, steps_per_epoch=self.steps
        )
        shared = own and special is ORDINARY
        self.runners = runners_of(self.recipe()) if shared else {}
        self.resident: Any = None
        self.check()

    def recipe(self) -> str:
        """All that the compiled step depends on but the pictures; not the seed."""
        run = self.run
        train = replace(run.train, seed=0, seeds=1)
        parts = (run.model, run.augment, run.optimizer, train, run.data.mean,
                 run.data.std, self.loss, self.steps, self.devices)  # fmt: skip
        return repr(parts)

    def check(self) -> None:
        """Raises `InputError` for settings that do not fit data or network."""
        run, several = self.run, self.train_set.multi_label
        if several and run.train.select_by in ("accuracy", "balanced_accuracy"):
            raise InputError(
                f"config.train.select_by={run.train.select_by!r}: with several labels "
                "a picture it must be one of auc, f1, loss"
            )
        if (self.scores == "lengths") != (run.train.loss == "margin"):
            raise InputError(
                f"config.train.loss={run.train.loss!r}: the network gives "
                f"{self.scores}; lengths need 'margin', logits one of the others"
            )
        if self.draws and several:
            raise InputError(
                "config.model.kwargs.decoder=True: must be False with several labels a "
                "picture; the decoder draws the capsule of one"
            )
        for stage in run.optimizer.stage_rates:
            names = [name for part in self.order.values() for name in part]
            if not any(within(name, stage) for name in names):
                raise InputError(
                    f"config.optimizer.stage_rates={stage!r}: the network has no such "
                    f"part; its parts: {', '.join(self.order)}"
                )
        self.trainable(0)
        for size in run.train.sizes:
            self.check_size(size)

    def check_size(self, size: int) -> None:
        """Raises `InputError` for a size that the network cannot take."""
        full, channels = self.image_shape[0], self.image_shape[-1]
        if not 0 < size <= full:
            raise InputError(
                f"config.train.sizes: {size} must be from 1 to the {full} pixels of "
                "the pictures"
            )
        shapes = [
            jax.eval_shape(lambda s=shape: initialise(self.model, s, 0))
            for shape in ((size, size, channels), self.image_shape)
        ]
        if shapes[0] != shapes[1]:
            raise InputError(f"config.train.sizes: the network cannot take {size}")

    def create(self, variables: Any = None) -> TrainState:
        """The state at the start: from the given variables, or from scratch.

        Made on the host: the same seed is the same network on every accelerator, and
        none of them compiles what runs once.
        """
        host = parallel.host()
        # the last optimisations of random numbers take two thirds of the compilation on
        # a CPU (ResNet-18 7.6 and 2.8 s) and change no bit
        options = {"xla_backend_optimization_level": 1} if host else None
        # where it is the default already: nothing is compiled for both
        with jax.default_device(None if jax.default_backend() == "cpu" else host):
            start = jax.jit(self.start, compiler_options=options)
            return start(jax.random.key(self.run.train.seed), variables)

    def start(self, key: jax.Array, variables: Any = None) -> TrainState:
        """What `create` makes, from the seed's key; to be traced."""
        init_key, state_key = jax.random.split(key)
        if variables is None:
            blank = jnp.zeros((1, *self.image_shape))
            variables = self.model.init(init_key, blank, train=False)
        return create_state(
            variables,
            self.trainable(0),
            self.optimizer,
            ema=self.run.optimizer.ema_decay > 0,
            key=state_key,
        )

    def template(self, record: dict[str, Any]) -> TrainState:
        """A state of zeros with the structure of the one saved with `record`."""
        trainable = self.trainable(Record(**record).stage_epoch())
        key = jax.random.key(0)
        shapes = jax.eval_shape(
            lambda: repartition(self.start(key), trainable, self.optimizer)
        )
        shapes = shapes.replace(key=jax.random.key_data(key))
        zeros = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
        return zeros.replace(key=key)

    @cached_property
    def order(self) -> dict[str, list]:
        """The network's parts, in the order of calls."""
        return call_order(self.model, self.image_shape)

    def trainable(self, epoch: int) -> frozenset[str] | None:
        """Paths of the parameters that are trained in an epoch; None: all."""
        train = self.run.train
        if not train.freeze:
            return None
        thawed = int(epoch / train.unfreeze_epochs) if train.unfreeze_epochs else 0
        return trainable_paths(self.order, tuple(train.freeze), thawed)

    def size(self, epoch: int) -> int:
        """Height and width of an epoch's pictures; 0: as they come."""
        sizes, epochs = self.run.train.sizes, self.run.train.epochs
        size = sizes[min(epoch * len(sizes) // epochs, len(sizes) - 1)] if sizes else 0
        return 0 if size == self.image_shape[0] else size

    def runner(self, epoch: int) -> parallel.Runner:
        """The compiled step of an epoch; made anew where what it trains changes."""
        run = self.run
        stage = (self.trainable(epoch), self.size(epoch))
        if stage not in self.runners:
            task = Task(
                model=self.stepped,
                optimizer=self.optimizer,
                loss=self.loss,
                augment=run.augment,
                mean=tuple(run.data.mean),
                std=tuple(run.data.std),
                view=self.special.view,
                size=self.size(epoch),
                aux_weight=run.train.aux_weight,
                reconstruction_weight=self.draws * run.train.reconstruction_weight,
                ema_decay=run.optimizer.ema_decay,
                freeze_batch_norm=run.train.freeze_batch_norm,
                remat=run.train.remat,
                axis_name=self.axis_name,
            )
            self.runners.clear()  # the last stage's program is not needed again
            self.runners[stage] = parallel.make_runner(
                partial(train_step, task), run.train.parallel, self.devices
            )
        return self.runners[stage]

    def enter(self, state: TrainState, record: Record) -> TrainState:
        """The state with which an epoch starts: what to train, and how fast."""
        factor = plateau_factor(self.run.optimizer, record.history)
        state = state.replace(rate_factor=jnp.float32(factor))
        trainable = self.trainable(record.epoch)
        if trainable not in (None, paths(state.params)):
            state = repartition(state, trainable, self.optimizer)
        return state

    def dispatches(
        self, state: TrainState, record: Record
    ) -> Iterator[tuple[TrainState, parallel.Sums]]:
        """Runs what is left of the epoch; `state` is used up."""
        train, pictures = self.run.train, self.train_set
        order = epoch_order(
            train.seed, record.epoch, len(pictures), pictures.labels, train.sampling
        )
        rows = training_batches(order, train.batch_size)[record.done :]
        runner = self.runner(record.epoch)
        state = runner.place(state)
        if self.streams():
            from covjax.data.stream import stream

            batches = ((b["image"], b["label"]) for b in stream(pictures, rows))
            return runner.batches(state, batches)
        if self.resident is None:
            # as many for every fold: a set of another size is another program
            count = -len(pictures) % train.batch_size if self.run.data.folds else 0
            self.resident = runner.place(
                (grown(pictures.images, count), grown(pictures.labels, count))
            )
        return runner.epoch(state, self.resident, rows)

    def streams(self) -> bool:
        """Whether batches come from the host."""
        feed, limit = self.run.data.feed, self.run.data.resident_gib * 2**30
        images = self.train_set.images
        if isinstance(images, LazyImages):  # a small part of a large set, too
            return True
        return feed == "stream" or (feed == "auto" and images.nbytes > limit)

    def train(
        self, state: TrainState, record: Record, each: Callable[[], bool]
    ) -> TrainState:
        """Trains an epoch, or what is left of it.

        Args:
          state: of one replica; it is used up.
          record: goes along.
          each: called after every dispatch, while the device works; True ends early.
        """
        pending = None
        for placed, sums in self.dispatches(state, record):
            state = placed
            if pending is not None:
                self.account(pending, record)
            pending = sums
            if each():
                break
        if pending is not None:
            self.account(pending, record)
            state = self.runner(record.epoch).fetch(state)
        return state

    def account(self, sums: parallel.Sums, record: Record) -> None:
        """Adds the sums of one dispatch, and stops a run that has come apart."""
        losses = np.atleast_1d(np.asarray(sums["loss"], np.float64))
        if not np.isfinite(losses).all():
            step = record.done + int(np.argmin(np.isfinite(losses))) + 1
            raise InputError(
                f"loss is not finite in epoch {record.epoch + 1}, step {step} of "
                f"{self.steps}: try a lower config.optimizer.learning_rate (now "
                f"{self.run.optimizer.learning_rate:g}), warmup_epochs or clip_norm=1"
            )
        record.add({k: float(np.asarray(v, np.float64).sum()) for k, v in sums.items()})
        record.done += len(losses)

    def row(self, record: Record) -> Row:
        """What the log says of an epoch's training."""
        totals, epoch = record.totals, record.epoch + 1
        step = epoch * self.steps
        factor = plateau_factor(self.run.optimizer, record.history)
        row = {
            "epoch": epoch,
            "step": step,
            "loss": totals["loss"] / totals["count"],
            "accuracy": totals["correct"] / totals["count"],
            "learning_rate": float(self.schedule(step - 1)) * factor,
            "images_per_second": totals["count"] / totals["seconds"],
        }
        if "reconstruction" in totals:
            row["reconstruction"] = totals["reconstruction"] / totals["count"]
        return row

    def validate(self, state: TrainState) -> Row:
        """Measures on the validation split; {} where it is empty.

        A measure that is undefined, such as the AUC of one class, is None.
        """
        # here, not above: SciPy's statistics take a second, and the first step waits
        from covjax.evaluation.measures import selection

        labels = self.validation_set.labels
        if not len(labels):
            return {}
        if self.special.judge is not None:
            return self.special.judge(state.variables())
        run, batch_size = self.run, self.run.evaluation.batch_size
        batch_size = batch_size or run.train.batch_size
        runner = next(iter(self.runners.values()))
        scores = score(
            self.model,
            state.variables(),
            self.validation_set.images,
            loss=run.train.loss,
            mean=run.data.mean,
            std=run.data.std,
            batch_size=batch_size,
            sharding=runner.scoring(batch_size),
        )

        def measure(name: str) -> float | None:
            value = selection(labels, scores.probabilities, name)
            return value if np.isfinite(value) else None

        row: Row = {"validation_loss": float(self.loss_of(scores.outputs, labels))}
        row["validation_auc"] = measure("auc")
        if labels.ndim == 1:
            row["validation_accuracy"] = measure("accuracy")
        if run.train.select_by != "loss":
            row[f"validation_{run.train.select_by}"] = measure(run.train.select_by)
        return row | {"score": measure(run.train.select_by)}


@lru_cache(maxsize=1)
def runners_of(recipe: str) -> dict[tuple, parallel.Runner]:
    """The runners of a recipe by stage, for all its seeds and folds in this process."""
    del recipe
    return {}


def grown(rows: np.ndarray, count: int) -> np.ndarray:
    """With `count` rows of zeros at the end, which no batch takes."""
    blank = np.zeros((count, *rows.shape[1:]), rows.dtype)
    return np.concatenate([rows, blank]) if count else rows


def shown_shape(special: Special, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of what the network is shown of a picture."""
    if special.view is None:
        height, width, channels = shape
        return height, width, channels
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    picture = jax.ShapeDtypeStruct((1, *shape), np.uint8)
    return jax.eval_shape(special.view, key, picture).shape[1:]
