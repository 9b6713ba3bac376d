"""What compiled programs cost, in figures that do not depend on the machine's load.

    python -m benchmarks.guards            # compare with guards.json
    python -m benchmarks.guards --write    # renew it, after a change that is meant

For a handful of networks at small size: operations, bytes accessed and temporary
memory that the compiler reports, how many transposes and copies are left in its
program, and how many programs an epoch compiles. A rise of more than 2 % is an error.
The figures belong to the jax version that the file names.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covjax import cli

FILE = Path(__file__).with_name("guards.json")
RISE = 1.02
FIGURES = ("flops", "bytes_accessed", "temporary_bytes", "transposes", "copies")
RENEW = "where the rise is meant: python -m benchmarks.guards --write"


class Guarded(NamedTuple):
    """A program: a network, its mode, its pictures' size."""

    model: str
    mode: str
    size: int
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """As in the file."""
        return f"{self.model} {self.mode}"


# shallow forms, where depth only repeats: compiling takes the time
GUARDED = (
    Guarded("covid_caps", "train", 48, {}),
    Guarded("covxnet32", "train", 32, {"depth": 1}),
    Guarded("darkcovidnet", "train", 32, {}),
    Guarded("densenet121", "train", 32, {"blocks": (1, 2, 1, 1)}),
    Guarded("mobilenet_v2", "infer", 64, {}),
    Guarded("resnet18", "train", 32, {"blocks": (1, 1, 2, 1)}),
)
BATCH = 4


def program(guarded: Guarded) -> dict[str, float]:
    """The figures of one program."""
    from benchmarks.side import Case, draw, figures, lower

    case = Case(
        guarded.model, guarded.mode, BATCH, guarded.size, "float32", guarded.kwargs
    )
    compiled = lower(case, draw(case.shapes())).compile(
        compiler_options={"xla_backend_optimization_level": 0}
    )
    found = figures(compiled)
    return {name: found[name] for name in FIGURES}


def compilations(epochs: int = 2) -> list[int]:
    """Programs compiled in each epoch of training and validation, from nothing."""
    import jax

    from covjax import config
    from covjax.data.phantom import phantom
    from covjax.training.history import Record
    from covjax.training.trainer import Trainer

    run = config.Run()
    run.model.name, run.data.size, run.train.devices = "darkcovidnet", 32, 1
    run.train.batch_size = 8
    images = phantom(32, patients=24)
    compiled: list[str] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.clear_caches()
    trainer = Trainer(run, images, images)
    record = Record(data="")
    state = trainer.create()
    jax.monitoring.register_event_duration_secs_listener(note)
    counts = []
    try:
        for _ in range(epochs):
            before = len(compiled)
            state = trainer.train(trainer.enter(state, record), record, lambda: False)
            record.finish_epoch(trainer.validate(state) | {"best": False})
            counts.append(len(compiled) - before)
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    return counts


def measure() -> dict[str, dict[str, float]]:
    """All figures, as in the file."""
    found = {guarded.name: program(guarded) for guarded in GUARDED}
    first, later = compilations()
    found["epoch"] = {"compilations": first, "compilations_later": later}
    return found


def rises(
    reference: dict[str, dict[str, float]], found: dict[str, dict[str, float]]
) -> list[str]:
    """A line for each figure that has risen by more than 2 % or has no reference."""
    lines = []
    for name, row in found.items():
        for figure, value in row.items():
            before = reference.get(name, {}).get(figure)
            if before is None:
                lines.append(f"{name}: {figure} has no reference; {RENEW}")
            elif value > RISE * before:
                lines.append(
                    f"{name}: {figure} rose from {before:.0f} to {value:.0f}; {RENEW}"
                )
    return lines


def main(arguments: Sequence[str]) -> int:
    """Writes or compares."""
    parser = cli.Parser(prog="benchmarks.guards", description=__doc__)
    parser.add_argument("--write", action="store_true")
    flags = parser.parse_args(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"  # jax has not started yet
    import jax

    found = measure()
    if flags.write:
        content = {"jax": jax.__version__, "figures": found}
        FILE.write_text(json.dumps(content, indent=2) + "\n")
        return 0
    lines = rises(json.loads(FILE.read_text())["figures"], found)
    print("\n".join(lines) or "no figure has risen")
    return 1 if lines else 0


if __name__ == "__main__":
    cli.run_command(main)
