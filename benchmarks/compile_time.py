"""From the start of a process to its first training step, cold and warm.

    python -m benchmarks.compile_time --config configs/densenet.py

Each round starts two new processes on one empty compilation cache: the first compiles,
the second finds the program there. The pictures are in their own cache before. Seconds
count from the start of the interpreter and are told apart: imports, data, the step's
program with its first run, the second step.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise

from benchmarks import harness

PHASES = ("imports", "data", "first_step", "second_step", "total")


def main() -> None:
    """Measures and writes one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/densenet.py", help="a recipe")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    harness.add_flags(parser)
    flags, overrides = parser.parse_known_args()
    if flags.started:
        print(json.dumps(first_steps(flags.config, overrides, flags.started)))
        return
    case = {"config": flags.config, "overrides": overrides}
    if not flags.again and harness.has_result("compile_time", case):
        return
    harness.check_quiet(flags.force)
    with tempfile.TemporaryDirectory() as cache:
        in_a_process(flags.config, overrides, cache)  # prepares the pictures
    rows: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    for _ in range(flags.rounds):
        with tempfile.TemporaryDirectory() as cache:
            for temperature in rows:
                row = in_a_process(flags.config, overrides, cache)
                rows[temperature].append(row)
    seconds = {
        temperature: {p: harness.spread([row[p] for row in found]) for p in PHASES}
        for temperature, found in rows.items()
    }
    result = case | {"rounds": flags.rounds, "seconds": seconds}
    path = harness.write_result("compile_time", result)
    for temperature, phases in seconds.items():
        total, first = phases["total"]["median"], phases["first_step"]["median"]
        print(
            f"{flags.config}, {temperature}: first step after {total:.1f} s, "
            f"of which {first:.1f} s compile and run it; {path}"
        )


def in_a_process(source: str, overrides: list[str], cache: str) -> dict[str, float]:
    """The seconds that a new process tells of."""
    command = [sys.executable, "-m", "benchmarks.compile_time", "--config", source]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    done = subprocess.run(
        [*command, "--started", str(time.time()), *overrides],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def first_steps(source: str, overrides: list[str], started: float) -> dict[str, float]:
    """Trains two steps as covjax.train does; seconds of each phase."""
    from covjax import cli, data
    from covjax.training.history import Record
    from covjax.training.memory import keep_freed_memory
    from covjax.training.parallel import enable_compilation_cache
    from covjax.training.trainer import Trainer

    run = cli.load_config(source, overrides)
    keep_freed_memory()
    enable_compilation_cache()
    times = [started, time.time()]
    splits = data.load(run.data)
    times.append(time.time())
    trainer = Trainer(run, splits.train, splits.validation)
    runner = trainer.runner(0)
    record = Record(data="")
    state = runner.place(trainer.enter(trainer.create(), record))
    pictures, labels = splits.train.images, splits.train.labels
    size = run.train.batch_size
    batch = (pictures[:size], labels[:size])
    for _, sums in runner.batches(state, [batch] * 2):
        float(sums["loss"])
        times.append(time.time())
    seconds = [after - before for before, after in pairwise(times)]
    return dict(zip(PHASES, [*seconds, times[3] - started]))


if __name__ == "__main__":
    main()
