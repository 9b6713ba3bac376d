"""The sides of a comparison: what is measured, and covjax's own side."""

import argparse
import gc
import inspect
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.plain import FORMS, UNFOLDED
from covjax import config
from covjax.blocks.folding import Pair, fold, foldable
from covjax.inference import make_network, score_batch
from covjax.models import MODELS
from covjax.training.losses import Loss
from covjax.training.optimizer import make_optimizer
from covjax.training.parallel import MeshRunner
from covjax.training.state import create_state
from covjax.training.steps import Task, train_step

LEARNING_RATE, MOMENTUM = 1e-4, 0.9  # small: labels are random, weights must last
AUX_WEIGHT = 0.3  # of each auxiliary head, on all sides
MEAN, STD = (0.5,), (0.5,)


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
      model: key of `MODELS`.
      mode: "train" or "infer".
      batch: pictures a step.
      size: their height and width.
      precision: "float32" or "bfloat16".
      kwargs: of the network, where a peer's conventions ask for some.
    """

    model: str
    mode: str
    batch: int
    size: int
    precision: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, flags: argparse.Namespace, mode: str) -> "Case":
        """That of `harness.add_case_flags`."""
        size = flags.size or MODELS[flags.model].native_size
        return cls(flags.model, mode, flags.batch, size, flags.precision)

    @property
    def classes(self) -> int:
        """As in the network's paper."""
        return MODELS[self.model].num_classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture: height, width, channels."""
        return (self.size, self.size, MODELS[self.model].channels)

    @property
    def loss(self) -> str:
        """The one that fits the network's scores."""
        lengths = MODELS[self.model].scores == "lengths"
        return "margin" if lengths else "cross_entropy"

    def network(self) -> Any:
        """The covjax network."""
        return make_network(self.model, self.classes, self.precision, self.kwargs)

    def shapes(self) -> dict[str, Any]:
        """Shapes of its variables."""
        blank = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
        made = jax.eval_shape(
            partial(self.network().init, train=False), jax.random.key(0), blank
        )
        return {
            "params": made["params"],
            "batch_stats": made.get("batch_stats", {}),
        }

    def pictures(self, count: int) -> np.ndarray:
        """Random uint8 pictures: constant ones would be multiplied faster."""
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (count, *self.shape), np.uint8)

    def labels(self) -> np.ndarray:
        """Random classes of one batch, int32."""
        rng = np.random.default_rng(1)
        return rng.integers(0, self.classes, self.batch).astype(np.int32)


class Side(Protocol):
    """Something that takes steps."""

    facts: dict[str, Any]  # for the result line

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """Float32 scores at inference, before any step, for the numerics gate."""

    def steps(self, count: int) -> None:
        """Takes so many steps and waits for the last."""


def normalised(pictures: np.ndarray) -> np.ndarray:
    """What covjax computes from uint8 pictures on the device, for the peers."""
    return (pictures.astype(np.float32) / 255 - MEAN[0]) / STD[0]


def draw(shapes: Any) -> Any:
    """Variables that keep the signal's size; nothing stays at a neutral 0 or 1."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        name = path[-1].key
        if name in ("scale", "var"):
            return rng.uniform(0.7, 1.3, shape.shape).astype(np.float32)
        if name in ("bias", "mean"):
            return rng.uniform(-0.2, 0.2, shape.shape).astype(np.float32)
        deviation = np.float32((2 / np.prod(shape.shape[:-1])) ** 0.5)
        return rng.standard_normal(shape.shape, np.float32) * deviation

    return jax.tree_util.tree_map_with_path(leaf, shapes)


class CovjaxSide:
    """The step that `covjax.train` runs, or the program that `Classifier` runs.

    Args:
      case: what to measure.
      variables: to start from.
      form: a key of `FORMS`: "covjax", or the network made of plain parts.
    """

    def __init__(self, case: Case, variables: Any, form: str = "covjax"):
        self.case, self.variables, self.form = case, variables, form
        self.compiled, cold, warm = compile_twice(partial(lower, case, variables, form))
        seconds = {"cold": cold, "warm": warm}
        self.facts: dict[str, Any] = {
            "compile_seconds": seconds,
            **figures(self.compiled),
        }
        self.state = jax.device_put(start(case, variables, form))
        self.batch = jax.device_put((case.pictures(case.batch), case.labels()))

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """See `Side`; compiled for these few pictures, quickly."""
        quick: dict[str, Any] = {
            "cpu": {"xla_backend_optimization_level": 0},
            "gpu": {"xla_gpu_autotune_level": 0},
        }.get(jax.default_backend(), {})
        pairs = folded_by(self.form, self.case)
        variables = fold(self.variables, pairs)
        with FORMS[self.form]():
            lowered = jax.jit(scorer(self.case, pairs)).lower(variables, pictures)
        scores = lowered.compile(compiler_options=quick)(variables, pictures)
        return np.asarray(scores.outputs, np.float32)

    def steps(self, count: int) -> None:
        """See `Side`."""
        result: Any = None
        if self.case.mode == "infer":
            for _ in range(count):
                result = self.compiled(self.state, self.batch[0])
        else:
            for _ in range(count):
                self.state, result = self.compiled(self.state, self.batch)
        jax.block_until_ready(result)


def lower(case: Case, variables: Any, form: str = "covjax") -> Any:
    """The case's program, traced anew and not yet compiled."""
    if case.mode == "train":
        return trace(case, variables, form, jax.devices()).lower()
    with FORMS[form]():
        state = jax.eval_shape(partial(start, case, form=form), variables)
        program = jax.jit(scorer(case, folded_by(form, case)))
        return program.lower(state, case.pictures(case.batch))


def trace(case: Case, variables: Any, form: str, devices: Sequence[jax.Device]) -> Any:
    """A training step, to be lowered for the first of the devices."""
    batch = (case.pictures(case.batch), case.labels())
    with FORMS[form]():
        state = jax.eval_shape(partial(start, case, form=form), variables)
        task = Task(
            model=case.network(),
            optimizer=optimizer(),
            loss=Loss(name=case.loss, num_classes=case.classes),
            augment=config.Augment(),
            mean=MEAN,
            std=STD,
            aux_weight=AUX_WEIGHT,
        )
        runner = MeshRunner(partial(train_step, task), [devices[0]], scan=False)
        with jax.set_mesh(runner.mesh):
            return runner.one.trace(state, batch)


def start(case: Case, variables: Any, form: str = "covjax") -> Any:
    """What a step is given first: a training state, or the variables."""
    if case.mode == "infer":
        return fold(variables, folded_by(form, case))

    @jax.jit  # one program: on a GPU each little one takes its own compilation
    def state(key: Any, variables: Any) -> Any:
        return create_state(variables, None, optimizer(), ema=False, key=key)

    return state(jax.random.key(0), variables)


def folded_by(form: str, case: Case) -> tuple[Pair, ...]:
    """The normalisations that this form of the network folds at inference."""
    return () if form in UNFOLDED else foldable(case.network(), case.shape)


def scorer(case: Case, pairs: tuple[Pair, ...]) -> Callable[[Any, Any], Any]:
    """`covjax.inference.score_batch` of variables and pictures, not yet compiled."""
    recipe = {"pairs": pairs, "loss": case.loss, "mean": MEAN, "std": STD}

    def score(variables: Any, pictures: Any) -> Any:
        plain = inspect.unwrap(score_batch)
        return plain(case.network(), variables, pictures, jnp.float32(1), **recipe)

    return score


def figures(compiled: Any) -> dict[str, float]:
    """What the compiler tells of a program."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text = compiled.as_text()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes
    temporary = memory.temp_size_in_bytes
    return {
        "flops": cost.get("flops", 0.0),
        "bytes_accessed": cost.get("bytes accessed", 0.0),
        "temporary_bytes": temporary,
        "peak_bytes": temporary + kept - memory.alias_size_in_bytes,
        "transposes": text.count(" transpose("),
        "copies": text.count(" copy("),
    }


def optimizer() -> Any:
    """SGD with momentum, as on all sides."""
    settings = config.Optimizer(
        name="sgd", learning_rate=LEARNING_RATE, momentum=MOMENTUM
    )
    return make_optimizer(settings, epochs=1, steps_per_epoch=1)[0]


def compile_twice(lower: Any) -> tuple[Any, float, float]:
    """The program, and seconds to trace and compile it without and with the cache."""
    from jax.experimental.compilation_cache import compilation_cache

    seconds, programs = [], []
    with tempfile.TemporaryDirectory() as directory:
        compilation_cache.reset_cache()
        jax.config.update("jax_compilation_cache_dir", directory)
        for _ in range(2):
            gc.collect()
            start = time.perf_counter()
            programs.append(lower().compile())
            seconds.append(time.perf_counter() - start)
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.reset_cache()
    return programs[0], seconds[0], seconds[1]
