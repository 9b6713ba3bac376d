"""A recipe trained to its end over several seeds or folds: measures, and how soon.

    python -m benchmarks.accuracy --config configs/densenet.py --seeds 5
    python -m benchmarks.accuracy --config configs/survey/row08_darkcovidnet.py:three
        --folds 5 --config.data.dir=DIR

Runs `python -m covjax.train` in a new process, so that start, compilation and reports
count. All seeds or folds share it, and what it compiles. An interrupted benchmark goes
on where it stopped, but its seconds then say so.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from covjax import cli

LEVELS = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)  # of the validation AUC
MEASURES = ("auc", "accuracy", "balanced_accuracy")


def main(arguments: Sequence[str]) -> int:
    """Trains, reads the work directories, writes one line."""
    parser = cli.Parser(prog="benchmarks.accuracy", description=__doc__)
    parser.add_argument("--config", default="configs/densenet.py", help="a recipe")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=0, help="instead of seeds")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--force", action="store_true", help="on a busy machine too")
    parser.add_argument(
        "--again", action="store_true", help="what the results file has already, too"
    )
    flags, overrides = parser.parse_known_args(arguments)
    case = {
        "config": flags.config,
        "overrides": overrides,
        "seeds": 0 if flags.folds else flags.seeds,
        "folds": flags.folds,
    }
    if not flags.again and harness.has_result("accuracy", case):
        return 0
    harness.check_quiet(flags.force)
    name = "-".join(Path(flags.config).name.replace(".py", "").split(":"))
    kind, count = ("fold", flags.folds) if flags.folds else ("seed", flags.seeds)
    section = "data" if flags.folds else "train"
    whole = flags.runs / f"{name}-{kind}s{count}"
    started_anew = not whole.exists()
    words = [*overrides, f"--config.{section}.{kind}s={count}"]
    words += ["--config.data.fold=-1"] * (kind == "fold")  # all of them
    seconds = train(flags.config, whole, words)
    places = [whole / f"{kind}-{k}" if count > 1 else whole for k in range(count)]
    runs = [read_run(place) for place in places]
    result = case | {
        "seconds": seconds,
        "uninterrupted": started_anew,
        "runs": runs,
        "measures": {
            name: mean_interval([run["measures"][name]["estimate"] for run in runs])
            for name in MEASURES
        },
        "seconds_to_auc": seconds_to_levels([run["epochs"] for run in runs]),
    }
    for run in runs:
        del run["epochs"]
    path = harness.write_result("accuracy", result)
    auc = result["measures"]["auc"]
    print(
        f"{flags.config}: {len(runs)} runs in {seconds:.0f} s, AUC {auc['mean']:.3f} "
        f"[{auc['low']:.3f}, {auc['high']:.3f}]; {path}"
    )
    return 0


def train(source: str, workdir: Path, overrides: list[str]) -> float:
    """Seconds from the start of the process to its end."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "covjax.train", "--config", source]
    harness.run_or_exit([*command, "--workdir", str(workdir), *overrides])
    return time.perf_counter() - start


def read_run(workdir: Path) -> dict[str, Any]:
    """A finished run's test measures with their intervals, and its epochs."""
    test = json.loads((workdir / "metrics.json").read_text())["test"]["overall"]
    rows = map(json.loads, (workdir / "log.jsonl").read_text().splitlines())
    epochs = [(row["seconds"], row["validation_auc"]) for row in rows]
    return {
        "measures": {name: test[name] for name in MEASURES},
        "training_seconds": sum(seconds for seconds, _ in epochs),
        "epochs": epochs,
    }


def mean_interval(values: list[float]) -> dict[str, float]:
    """Mean of shares and its 95 % interval by Student's t; one alone has none."""
    from scipy import stats

    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean, "low": float("nan"), "high": float("nan")}
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    low, high = max(mean - half, 0.0), min(mean + half, 1.0)
    return {"mean": mean, "low": float(low), "high": float(high)}


def seconds_to_levels(
    runs: list[list[tuple[float, float | None]]],
) -> dict[str, dict[str, Any]]:
    """Training seconds until the validation AUC first reaches each level.

    Args:
      runs: for each run its epochs, as (seconds, AUC).

    Returns:
      For each level how many runs reach it, and the median of their seconds.
    """
    found: dict[str, dict[str, Any]] = {}
    for level in LEVELS:
        times = []
        for epochs in runs:
            elapsed = np.cumsum([seconds for seconds, _ in epochs])
            reached = [auc is not None and auc >= level for _, auc in epochs]
            if any(reached):
                times.append(float(elapsed[reached.index(True)]))
        found[str(level)] = {
            "reached": len(times),
            "of": len(runs),
            "median": float(np.median(times)) if times else None,
        }
    return found


if __name__ == "__main__":
    cli.run_command(main)
