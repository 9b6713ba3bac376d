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

RESULTS = Path(__file__).parent / "results"
QUIET_LOAD = 0.2  # of the last minute, in processes


def check_quiet(force: bool) -> None:
    """Ends the benchmark on a busy machine, unless forced; timings there say nothing.

    The load counts this process's own past minute too, so it is read at the start.
    """
    load = os.getloadavg()[0]
    if load > QUIET_LOAD and not force:
        sys.exit(
            f"error: load average {load:.2f} is above {QUIET_LOAD}: the machine is "
            "busy; wait a minute, or --force and the result says so"
        )


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
        "load_average": os.getloadavg()[0],
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
