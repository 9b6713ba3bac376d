"""Where the time of a step goes: the operations of the compiled program, by kind.

    python -m benchmarks.kernels --model resnet50 --batch 256 --precision bfloat16

Compiles the step of `benchmarks.throughput`, times it, and records one more step with
JAX's profiler. A kind is XLA's name of an operation without its number. "busy" is the
share of the recorded step in which at least one operation runs; "overlap" is the sum
of all operations' seconds over that. Above 1 they run side by side, as on a CPU, where
an operation that waits for a core counts as well: shares say where the time goes only
where the overlap is near 1.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import harness
from covjax import cli

SHOWN = 16  # kinds and operations


class Run(NamedTuple):
    """One run of an operation."""

    name: str  # XLA's, such as loop_add_fusion.3
    start: float  # seconds
    seconds: float  # that it takes


def main(arguments: Sequence[str]) -> int:
    """Measures one step and writes one line."""
    parser = cli.Parser(prog="benchmarks.kernels", description=__doc__)
    parser.add_argument("--mode", default="train", choices=["train", "infer"])
    harness.add_case_flags(parser, batch=16, size=224, precision="float32")
    parser.add_argument(
        "--form", type=harness.form, default="covjax", help="see benchmarks/plain.py"
    )
    parser.add_argument("--window", type=float, default=2.0, help="seconds at least")
    harness.add_flags(parser)
    flags = parser.parse_args(arguments)
    harness.check_quiet(flags.force)
    case = {
        name: getattr(flags, name)
        for name in ("model", "mode", "batch", "size", "precision", "form")
    }
    if not flags.again and harness.has_result("kernels", case):
        return 0

    from benchmarks.side import Case, CovjaxSide, draw
    from covjax.training.memory import keep_freed_memory

    keep_freed_memory()
    shown = Case.of(flags, flags.mode)
    side = CovjaxSide(shown, draw(shown.shapes()), flags.form)
    seconds = harness.timed_steps({"": side.steps}, flags.rounds, flags.window)[""]
    runs = recorded(lambda: side.steps(1))
    result = summary(runs)
    result |= {
        "step_seconds": harness.spread(seconds),
        "compile_seconds": side.facts["compile_seconds"],
    }
    path = harness.write_result("kernels", case | result)
    step = float(np.median(seconds))
    print(f"{flags.model}: {step * 1e3:.2f} ms, {flags.batch / step:.4g} images/s")
    print(
        f"busy {result['busy']:.1%}, overlap {result['overlap']:.2f}, "
        f"{result['count']} operations; {path}"
    )
    for name, share in result["kinds"].items():
        print(f"{share:6.1%}  {name}")
    return 0


def recorded(step: Callable[[], Any]) -> list[Run]:
    """The operations that run while a step does, on whatever device."""
    import jax

    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            step()
        (path,) = Path(directory).rglob("*.xplane.pb")
        return list(operations(jax.profiler.ProfileData.from_file(str(path)).planes))


def operations(planes: Iterable[Any]) -> Iterator[Run]:
    """The events that belong to an operation of a compiled program.

    A loop of the program and what runs inside it are both there.
    """
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                name = dict(event.stats).get("hlo_op")
                if name:
                    yield Run(str(name), event.start_ns / 1e9, event.duration_ns / 1e9)


def summary(runs: list[Run]) -> dict[str, Any]:
    """Shares of the time: of the device's span that is busy, of kinds, of operations.

    Raises:
      SystemExit: the profiler has seen none.
    """
    if not runs:
        raise SystemExit("error: the profiler saw no operation on this device")
    covered, end = 0.0, -np.inf
    for run in sorted(runs, key=lambda run: run.start):
        stop = run.start + run.seconds
        covered += max(0.0, stop - max(run.start, end))
        end = max(end, stop)
    span = end - min(run.start for run in runs)
    total = sum(run.seconds for run in runs)
    kinds: defaultdict[str, float] = defaultdict(float)
    names: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        names[run.name] += run.seconds / total
        kinds[kind(run.name)] += run.seconds / total
    return {
        "busy": covered / span,
        "overlap": total / covered,
        "span_seconds": span,
        "count": len(runs),
        "kinds": largest(kinds),
        "operations": largest(names),
    }


def largest(shares: dict[str, float]) -> dict[str, float]:
    """The `SHOWN` largest, in order."""
    return dict(sorted(shares.items(), key=lambda item: -item[1])[:SHOWN])


def kind(name: str) -> str:
    """The name without its number: loop_add_fusion of loop_add_fusion.3 and _12."""
    return re.sub(r"([._]\d+|\.clone)+$", "", name)


if __name__ == "__main__":
    cli.run_command(main)
