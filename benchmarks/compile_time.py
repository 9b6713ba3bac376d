"""From the start of a process to its first trained pictures, cold and warm.

    python -m benchmarks.compile_time --config configs/densenet.py

Each round starts two new processes on one empty compilation cache: the first compiles,
the second finds the program there. The pictures are in their own cache before. Seconds
count from the start of the interpreter and are told apart: imports, data, the first
state, the first dispatch, both with their compilation, the second dispatch. A dispatch
is what `covjax.train` asks of the device at once: a step on a CPU, an epoch elsewhere;
--single-steps makes it a step everywhere, which says what the loop inside the program
costs the compiler.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise

from benchmarks import harness
from covjax import cli

PHASES = (
    "imports", "data", "state", "first_dispatch", "second_dispatch", "total"
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measures and writes one line."""
    parser = cli.Parser(prog="benchmarks.compile_time", description=__doc__)
    parser.add_argument("--config", default="configs/densenet.py", help="a recipe")
    parser.add_argument(
        "--single-steps", action="store_true", help="no loop inside the program"
    )
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    harness.add_flags(parser)
    flags, overrides = parser.parse_known_args(arguments)
    if flags.started:
        print(json.dumps(first_dispatches(flags, overrides)))
        return 0
    case = {
        "config": flags.config,
        "overrides": overrides,
        "single_steps": flags.single_steps,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    if not flags.again and harness.has_result("compile_time", case):
        return 0
    harness.check_quiet(flags.force)
    with tempfile.TemporaryDirectory() as cache:
        in_a_process(flags, overrides, cache)  # prepares the pictures
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(flags.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for temperature in rows:
                row = in_a_process(flags, overrides, cache)
                rows[temperature].append(row)
    seconds = {
        temperature: {p: harness.spread([row[p] for row in found]) for p in PHASES}
        for temperature, found in rows.items()
    }
    result = case | {"rounds": flags.rounds, "seconds": seconds}
    path = harness.write_result("compile_time", result)
    for temperature, phases in seconds.items():
        total, first = phases["total"]["median"], phases["first_dispatch"]["median"]
        print(
            f"{flags.config}, {temperature}: first dispatch done after {total:.1f} s, "
            f"of which {first:.1f} s compile and run it; {path}"
        )
    return 0


def in_a_process(
    flags: argparse.Namespace, overrides: list[str], cache: str
) -> dict[str, float]:
    """The seconds that a new process tells of."""
    command = [sys.executable, "-m", "benchmarks.compile_time"]
    command += ["--config", flags.config, *["--single-steps"] * flags.single_steps]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    done = harness.run_or_exit(
        [*command, "--started", str(time.time()), *overrides],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def first_dispatches(
    flags: argparse.Namespace, overrides: list[str]
) -> dict[str, float]:
    """Trains as covjax.train does until the second dispatch; seconds of each phase."""
    import jax

    from covjax import data
    from covjax.training import parallel
    from covjax.training.history import Record
    from covjax.training.memory import keep_freed_memory
    from covjax.training.trainer import Trainer

    run = cli.load_config(flags.config, overrides)
    keep_freed_memory()
    parallel.enable_compilation_cache()
    if flags.single_steps:
        parallel.scans_are_fast = lambda device: False
    times = [flags.started, time.time()]
    splits = data.load(run.data)
    times.append(time.time())
    trainer = Trainer(run, splits.train, splits.validation)
    state = jax.block_until_ready(trainer.create())
    times.append(time.time())
    while len(times) < len(PHASES):  # an epoch may be one dispatch
        record = Record(data="")
        for placed, sums in trainer.dispatches(trainer.enter(state, record), record):
            state = placed
            float(sums["loss"].sum())
            times.append(time.time())
            if len(times) == len(PHASES):
                break
    seconds = [after - before for before, after in pairwise(times)]
    return dict(zip(PHASES, [*seconds, times[4] - flags.started]))


if __name__ == "__main__":
    cli.run_command(main)
