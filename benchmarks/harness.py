"""What every benchmark shares: a quiet machine, interleaved windows, a line a result.

The protocol is that of MLPerf-like comparisons in small: the sides of a comparison
take turns, each window ends with one wait for the device, and a claim is the median
of the paired ratios with a bootstrap interval.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from covjax.errors import InputError

# COVJAX_RESULTS_DIR: for rehearsals, and for machines whose checkout is thrown away
RESULTS = Path(os.environ.get("COVJAX_RESULTS_DIR", Path(__file__).parent / "results"))
QUIET = 0.05  # of all cores' time, by other processes
SAMPLE_SECONDS = 2.0
_last_look: dict[str, float] = {}  # what `check_quiet` saw, for the result lines


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that all scripts have."""
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--force", action="store_true", help="on a busy machine too")
    parser.add_argument(
        "--again", action="store_true", help="what the results file has already, too"
    )


def add_case_flags(
    parser: argparse.ArgumentParser, *, batch: int, size: int, precision: str
) -> None:
    """The flags of scripts that look at one network, with their defaults."""
    parser.add_argument("--model", type=network, default="resnet50")
    parser.add_argument("--batch", type=int, default=batch)
    papers = "; 0: the paper's" * (size == 0)
    parser.add_argument("--size", type=int, default=size, help="pixels" + papers)
    parser.add_argument(
        "--precision", default=precision, choices=["float32", "bfloat16"]
    )


def network(name: str) -> str:
    """The type of flags that take a name of the table of networks."""
    from covjax.models import MODELS

    if name not in MODELS:
        raise argparse.ArgumentTypeError(
            f"{name!r} is not a network; `python -m covjax.models` lists them"
        )
    return name


def form(name: str) -> str:
    """The type of flags that take a name of `benchmarks.plain.FORMS`."""
    from benchmarks.plain import FORMS

    if name not in FORMS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMS)}")
    return name


def run_or_exit(
    command: Sequence[str], **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run`; ends this process too, with its status, where it fails."""
    done = subprocess.run(command, check=False, **kwargs)
    if done.returncode:  # it has said why
        sys.exit(done.returncode)
    return done


def check_quiet(force: bool) -> None:
    """Raises `InputError` on a busy machine, unless forced; timings there say nothing.

    It looks for `SAMPLE_SECONDS`, in which this process should do nothing.
    """
    try:
        busy = others_busy()
    except OSError:
        if not force:
            raise InputError(
                "no /proc/stat tells whether the machine is busy; --force"
            ) from None
        return
    _last_look["others_busy"] = round(busy, 4)
    if busy > QUIET and not force:
        raise InputError(
            f"other processes take {busy:.0%} of the processor, more than "
            f"{QUIET:.0%}: the machine is busy; wait, or --force and the result says so"
        )


def others_busy() -> float:
    """Share of all cores' time that other processes take while this one waits.

    Time that a hypervisor gives to other machines counts too.
    """
    (busy_before, all_before), own_before = cpu_seconds(), time.process_time()
    time.sleep(SAMPLE_SECONDS)
    (busy, every), own = cpu_seconds(), time.process_time()
    others = busy - busy_before - (own - own_before)
    return max(others, 0.0) / max(every - all_before, 1e-9)


def cpu_seconds() -> tuple[float, float]:
    """Seconds of all cores since boot: busy ones, and all (Linux, proc(5))."""
    line = Path("/proc/stat").read_text().splitlines()[0]
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user
    ticks = [int(word) for word in line.split()[1:9]]
    idle = ticks[3] + ticks[4]
    scale = os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - idle) / scale, sum(ticks) / scale


def interleaved(
    sides: Mapping[str, Callable[[], None]], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each side's windows; every second round runs them backwards.

    Each side must leave nothing running when it returns, and be warm.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            start = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def timed_steps(
    sides: Mapping[str, Callable[[int], None]], rounds: int, window: float
) -> dict[str, list[float]]:
    """Seconds a step of each side, one value a round.

    Args:
      sides: each runs so many steps and waits for the last one.
      rounds: windows of each side, which take turns.
      window: seconds of one window at least; steps are counted so that they fill it.
    """
    counts = {name: steps_of(run, window) for name, run in sides.items()}
    windows = {name: partial(run, counts[name]) for name, run in sides.items()}
    return {
        name: [seconds / counts[name] for seconds in values]
        for name, values in interleaved(windows, rounds).items()
    }


def steps_of(run: Callable[[int], None], window: float) -> int:
    """How many steps fill a window; what it takes to find out warms the side up."""
    run(2)
    count, seconds = 1, 0.0
    while seconds < window / 2:
        start = time.perf_counter()
        run(count)
        seconds = time.perf_counter() - start
        if seconds < window / 2:
            count = min(2 * count, math.ceil(count * window / max(seconds, 1e-9)))
    return max(1, math.ceil(count * window / seconds))


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {"median": float(middle), "low": float(low), "high": float(high)}


def paired_ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Median of above / below, round by round, with a 95 % bootstrap interval."""
    ratios = np.asarray(above) / np.asarray(below)
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), (2.5, 97.5))
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}


def write_result(script: str, result: Mapping[str, Any]) -> Path:
    """Appends one line to ``results/SCRIPT-DEVICE.jsonl``; never edits one."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", f"benchmarks.{script}", *told(sys.argv)]),
        "commit": commit(),
        "device": device_name(),
        "processor": processor(),
        **_last_look,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions(
            "jax", "jaxlib", "flax", "numpy", "torch", "keras", "timm"
        ),
        **result,
    }
    path = results_file(script)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return path


def told(words: list[str]) -> list[str]:
    """A command's words after its name; where this machine keeps things is DIR."""
    return [re.sub(r"(^|=)/.*", r"\1DIR", word) for word in words[1:]]


def has_result(script: str, case: Mapping[str, Any]) -> bool:
    """Whether this machine's results have a line with all of the case's values."""
    there = {**case, "processor": processor()}  # cpu2 is many machines
    return any(
        all(line.get(name) == value for name, value in there.items())
        for line in read_results(results_file(script))
    )


def read_results(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file; what a killed process left half-written is not."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def results_file(script: str) -> Path:
    """Where a script's results on this device are."""
    return RESULTS / f"{script}-{device_name().lower().replace(' ', '-')}.jsonl"


def device_name() -> str:
    """The accelerator's name, or how many processors there are."""
    import jax

    device = jax.devices()[0]
    return device.device_kind if device.platform != "cpu" else f"cpu{os.cpu_count()}"


def versions(*packages: str) -> dict[str, str]:
    """Versions of the installed ones among the packages, and Python's."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """The short commit, with a + where the tree has changes besides results."""

    def git(*words: str) -> str:
        command = ["git", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ":(top,exclude)benchmarks/results")
    return git("describe", "--always") + "+" * bool(changed)
