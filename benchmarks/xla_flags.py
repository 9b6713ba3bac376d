"""Which of XLA's flags make a step faster, or its compilation, each by itself.

    python -m benchmarks.xla_flags --model resnet50 --batch 256 --precision bfloat16

Every flag is tried in processes of its own, in turns with processes without it: an
unknown flag ends its process, and the result says so. A gain counts only where the
scores stay the same. The results file is the record; no flag is set by default.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks import harness
from covjax import cli

# performance.md's candidates for one GPU, and XLA:CPU's
FLAGS = {
    "gpu": (
        # on by default in jaxlib 0.11.2: times two code generators for each reduction
        "--xla_gpu_experimental_enable_fusion_autotuner=false",
        "--xla_gpu_enable_command_buffer=+convolution",
        "--xla_gpu_experimental_enable_conv_fusion=true",
        "--xla_gpu_exhaustive_tiling_search=true",
        "--xla_gpu_cudnn_gemm_fusion_level=2",
        "--xla_gpu_enable_while_loop_double_buffering=true",
    ),
    "cpu": (
        "--xla_cpu_use_onednn=true",
        "--xla_cpu_experimental_ynn_fusion_type=",
        "--xla_cpu_enable_fast_math=true",
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Measures flag after flag."""
    parser = cli.Parser(prog="benchmarks.xla_flags", description=__doc__)
    harness.add_case_flags(parser, batch=256, size=224, precision="bfloat16")
    parser.add_argument("--window", type=float, default=2.0, help="seconds at least")
    parser.add_argument("--only", nargs="+", help="these flags, without their dashes")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    harness.add_flags(parser)
    parser.set_defaults(rounds=3)
    flags = parser.parse_args(arguments)
    if flags.alone:
        print(json.dumps(measured(flags)))
        return 0
    harness.check_quiet(flags.force)
    # this process leaves the accelerator to the others: it asks for its name alone
    platform = "cpu" if harness.device_name().startswith("cpu") else "gpu"
    for flag in [f"--{word}" for word in flags.only or ()] or FLAGS[platform]:
        case = {
            "flag": flag,
            "model": flags.model,
            "batch": flags.batch,
            "size": flags.size,
            "precision": flags.precision,
        }
        if not flags.again and harness.has_result("xla_flags", case):
            continue
        result = compare(flag, arguments, flags.rounds)
        harness.write_result("xla_flags", case | result)
        print(flag, result.get("ratio") or result["error"], flush=True)
    return 0


def compare(flag: str, arguments: Sequence[str], rounds: int) -> dict:
    """Seconds a step, and to compile it, with and without the flag, in turns."""
    seconds: dict[str, list[float]] = {"": [], flag: []}
    compiling: dict[str, list[float]] = {"": [], flag: []}
    logits = {}
    for number in range(rounds):
        for one in ("", flag) if number % 2 == 0 else (flag, ""):
            done = in_a_process(one, arguments)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                return {"error": f"fails: {last[:200]}"}
            row = json.loads(done.stdout.splitlines()[-1])
            seconds[one].append(row["seconds"])
            compiling[one].append(row["compile_seconds"])
            logits[one] = np.asarray(row["logits"])
    scale = np.linalg.norm(logits[""])
    return {
        "rounds": rounds,
        "step_seconds": by_flag(seconds),
        "compile_seconds": by_flag(compiling),
        "ratio": harness.paired_ratio(seconds[""], seconds[flag]),
        "difference": float(np.linalg.norm(logits[flag] - logits[""]) / scale),
    }


def by_flag(seconds: dict[str, list[float]]) -> dict[str, dict]:
    """The spread of the seconds with each flag."""
    return {flag or "none": harness.spread(s) for flag, s in seconds.items()}


def in_a_process(flag: str, arguments: Sequence[str]) -> subprocess.CompletedProcess:
    """This script again, for one measurement."""
    environment = os.environ.copy()
    environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flag}".strip()
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    command = [sys.executable, "-m", "benchmarks.xla_flags", *arguments, "--alone"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )


def measured(flags: argparse.Namespace) -> dict:
    """Seconds a training step, to compile it cold, and the scores of two pictures."""
    from benchmarks.side import Case, CovjaxSide, draw
    from covjax.training.memory import keep_freed_memory

    keep_freed_memory()
    case = Case.of(flags, "train")
    side = CovjaxSide(case, draw(case.shapes()))
    logits = side.logits(case.pictures(2)).ravel().tolist()
    seconds = harness.timed_steps({"covjax": side.steps}, 3, flags.window)["covjax"]
    return {
        "seconds": float(np.median(seconds)),
        "compile_seconds": side.facts["compile_seconds"]["cold"],
        "logits": logits,
    }


if __name__ == "__main__":
    cli.run_command(main)
