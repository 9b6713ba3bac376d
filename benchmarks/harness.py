"""What every benchmark shares: a quiet machine, interleaved windows, a line a result.

The protocol is that of MLPerf-like comparisons in small: the sides of a comparison
take turns, each window ends with one wait for the device, and a claim is the median
of the paired ratios with a bootstrap interval.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

# as covjax.cli does; XLA reads it when jax starts
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results"
QUIET = 0.05  # of all cores' time, by other processes
SAMPLE_SECONDS = 2.0
_last_look: dict[str, float] = {}  # what `check_quiet` saw, for the result lines


def check_quiet(force: bool) -> None:
    """Ends the benchmark on a busy machine, unless forced; timings there say nothing.

    It looks for `SAMPLE_SECONDS`, in which this process should do nothing.
    """
    try:
        busy = others_busy()
    except OSError:
        if not force:
            sys.exit("error: no /proc/stat tells whether the machine is busy; --force")
        return
    _last_look["others_busy"] = round(busy, 4)
    if busy > QUIET and not force:
        sys.exit(
            f"error: other processes take {busy:.0%} of the processor, more than "
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
    import jax

    device = jax.devices()[0]
    kind = device.device_kind if device.platform != "cpu" else f"cpu{os.cpu_count()}"
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", f"benchmarks.{script}", *sys.argv[1:]]),
        "commit": commit(),
        "device": kind,
        "processor": processor(),
        **_last_look,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "versions": versions(
            "jax", "jaxlib", "flax", "numpy", "torch", "keras", "timm"
        ),
        **result,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{script}-{kind.lower().replace(' ', '-')}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return path


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
    """The short commit, with a + where the tree has changes."""
    words = ["git", "describe", "--always", "--dirty=+"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()
