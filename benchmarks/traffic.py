"""Bytes that a training step moves on a GPU, without the GPU.

    python -m benchmarks.traffic --model resnet50 --batch 256 --precision bfloat16

The step is compiled for an H100 by XLA's CUDA plugin (``pip install 'covjax[cuda13]'``;
no driver is needed), with nothing tried out on a device, and every kernel's operands
and results are added up. Element-wise kernels run at the memory's speed, so theirs is
their time; a convolution takes longer where it computes more. What a kernel finds in a
cache is counted all the same.
"""

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

from benchmarks import harness
from covjax import cli
from covjax.errors import InputError

TARGET = "NVIDIA H100 80GB HBM3"
# figures of the SXM module as XLA's own description of it has them
DESCRIPTION = f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048
  core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA"
runtime_version {{ major: 12 minor: 8 }}
dnn_version_info {{ major: 9 minor: 7 }}
device_description_str: "{TARGET}"
"""
BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2,
         "f16": 2, "s8": 1, "u8": 1, "pred": 1}  # fmt: skip
MOVES_NOTHING = ("parameter", "tuple", "get-tuple-element", "bitcast", "constant")
READS_ALL = ("broadcast", "dot", "gather", "reduce", "reverse", "scatter", "transpose",
             "tuple")  # fmt: skip


class Instruction(NamedTuple):
    """A line of a compiled program."""

    name: str
    shape: str
    operation: str
    operands: list[str]
    rest: str  # attributes


@dataclass(frozen=True)
class Kernel:
    """One launch: what it is, and the bytes that it reads and writes."""

    name: str
    kind: str
    bytes: float


def main(arguments: Sequence[str]) -> int:
    """Compiles one step, prints its traffic and writes a line."""
    parser = cli.Parser(prog="benchmarks.traffic", description=__doc__)
    harness.add_case_flags(parser, batch=256, size=0, precision="bfloat16")
    parser.add_argument(
        "--form", type=harness.form, default="covjax", help="see benchmarks.throughput"
    )
    parser.add_argument("--top", type=int, default=10, help="kernels to show")
    flags = parser.parse_args(arguments)
    # read when XLA starts: there is no device to try kernels out on
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"
    )
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

    from benchmarks import roofline, side

    case = side.Case.of(flags, "train")
    found = kernels(compiled_for_gpu(case, flags.form))
    work = roofline.count(case.network(), case.shapes(), case.shape)
    least = flags.batch * work.bytes("train", 2 if flags.precision == "bfloat16" else 4)
    total = sum(kernel.bytes for kernel in found)
    kinds: defaultdict[str, float] = defaultdict(float)
    for kernel in found:
        kinds[kernel.kind] += kernel.bytes
    result = {
        "target": TARGET,
        "model": flags.model,
        "mode": "train",
        "batch": flags.batch,
        "size": case.size,
        "precision": flags.precision,
        "form": flags.form,
        "kernels": len(found),
        "bytes": total,
        "roofline_bytes": least,
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
    }
    path = harness.write_result("traffic", result)
    print(
        f"{flags.model}, {flags.form}: {total / 1e9:.1f} GB in {len(found)} kernels, "
        f"{total / least:.2f} of the roofline's; {path}"
    )
    for kernel in sorted(found, key=lambda kernel: -kernel.bytes)[: flags.top]:
        print(f"{kernel.bytes / 1e9:7.2f} GB  {kernel.kind}  {kernel.name}")
    return 0


def compiled_for_gpu(case: Any, form: str) -> str:
    """The step's program, compiled for `TARGET`."""
    import jax
    from jax.experimental import topologies

    from benchmarks import side
    from covjax.blocks import forms

    try:
        there = topologies.get_topology_desc(
            "gpu", "cuda", target_config=DESCRIPTION, topology="1x1x1"
        )
    except NotImplementedError:
        raise InputError(
            "there is no CUDA plugin: pip install 'covjax[cuda13]'"
        ) from None
    with (
        mock.patch.object(jax, "default_backend", return_value="gpu"),
        mock.patch.object(forms, "on_one_cpu", return_value=False),
    ):
        traced = side.trace(case, case.shapes(), form, there.devices)
        return traced.lower(lowering_platforms=("cuda",)).compile().as_text()


def kernels(text: str) -> list[Kernel]:
    """What a compiled program launches, from its text."""
    parts = computations(text)
    found: list[Kernel] = []

    def walk(name: str) -> None:
        shapes: dict[str, str] = {}
        for line in parts[name]:
            shapes[line.name] = line.shape
            if line.operation in MOVES_NOTHING:
                continue
            called = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", line.rest)
            if line.operation == "call" and called:
                walk(called[1])
                continue
            read: dict[str, float] = {x: size_of(shapes[x]) for x in line.operands}
            if line.operation == "fusion" and called:
                shares = shares_read(parts[called[1]])
                for number, operand in enumerate(line.operands):
                    read[operand] = size_of(shapes[operand]) * shares[number]
            moved = size_of(line.shape) + sum(read.values())
            found.append(Kernel(line.name, kind(line), moved))

    walk("ENTRY")
    return found


def computations(text: str) -> dict[str, list[Instruction]]:
    """The named parts of a program's text; the main one is ENTRY."""
    parts: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in text.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            current = parts["ENTRY" if head[1] else head[2]] = []
        elif " = " in line and line.startswith(" "):
            current.append(instruction(line))
    return parts


def instruction(line: str) -> Instruction:
    """Takes one line apart."""
    name, _, value = line.strip().removeprefix("ROOT ").partition(" = ")
    end = closing(value) + 1 if value.startswith("(") else value.index(" ")
    shape, value = value[:end], value[end:].strip()
    start = value.index("(")
    end = start + closing(value[start:])
    operands = re.findall(r"%([\w.\-]+)", value[start:end])
    rest = value[start:] if value.startswith("parameter") else value[end:]
    return Instruction(name.lstrip("%"), shape, value[:start], operands, rest)


def closing(text: str) -> int:
    """Where the bracket with which the text begins is closed."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    raise ValueError(f"no end: {text[:80]}")


def size_of(shape: str) -> int:
    """Bytes of an array or a tuple of some."""
    return sum(
        BYTES[dtype] * math.prod(int(n) for n in lengths.split(",") if n)
        for dtype, lengths in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape)
        if dtype in BYTES
    )


def kind(line: Instruction) -> str:
    """What sort of kernel: a library's by its name there, a fusion's by its emitter."""
    found = re.search(r'custom_call_target="([^"]*)"|kind=(\w+)', line.rest)
    return f"{line.operation} {found[1] or found[2]}" if found else line.operation


def shares_read(lines: Iterable[Instruction]) -> Mapping[int, float]:
    """Of each parameter of a fusion, the share of its channels that is read.

    A dense block's gradient of a few channels is cut out of wide maps inside the fusion
    that adds it up; the rest of those maps stays where it is.
    """
    lines = list(lines)
    lengths = {line.name: last_axis(line.shape) for line in lines}
    wanted: dict[str, tuple[int, int]] = {}

    def want(name: str, low: int, high: int) -> None:
        seen = wanted.get(name, (low, high))
        wanted[name] = min(seen[0], low), max(seen[1], high)

    want(lines[-1].name, 0, lengths[lines[-1].name])
    for line in reversed(lines):
        if line.name not in wanted:
            continue
        low, high = wanted[line.name]
        if line.operation == "slice":
            first = int(re.findall(r"\[(\d+):", line.rest.partition("slice=")[2])[-1])
            want(line.operands[0], first + low, first + high)
        elif line.operation == "concatenate" and joins_channels(line):
            start = 0
            for operand in line.operands:
                begin, end = max(low - start, 0), min(high - start, lengths[operand])
                if begin < end:
                    want(operand, begin, end)
                start += lengths[operand]
        else:
            for operand in line.operands:
                same = lengths[operand] == lengths[line.name]
                if same and line.operation not in READS_ALL:
                    want(operand, low, high)
                else:
                    want(operand, 0, lengths[operand])
    shares = {}
    for line in lines:
        if line.operation == "parameter":
            low, high = wanted.get(line.name, (0, 0))
            number = int(re.findall(r"\d+", line.rest)[0])
            shares[number] = (high - low) / lengths[line.name]
    return shares


def last_axis(shape: str) -> int:
    """The length of an array's last axis; 1 for a scalar or a tuple."""
    found = re.match(r"\w+\[([\d,]+)\]", shape)
    return int(found[1].split(",")[-1]) if found else 1


def joins_channels(line: Instruction) -> bool:
    """Whether arrays are joined along their last axis."""
    axes = re.match(r"\w+\[([\d,]*)\]", line.shape)
    last = axes[1].count(",") if axes else 0
    return f"dimensions={{{last}}}" in line.rest


if __name__ == "__main__":
    cli.run_command(main)
