"""The pure parts of the benchmarks: ratios, skipping, counting, tables."""

import argparse
import json
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    accuracy,
    harness,
    kernels,
    report,
    roofline,
    side,
    throughput,
    traffic,
)
from covjax.blocks import forms
from covjax.errors import InputError
from covjax.models import MODELS


def test_ratios_are_paired():
    # the machine slows down from round to round; within a round the ratio is 2
    below = [1.0, 2.0, 3.0, 4.0, 5.0]
    above = [2.0, 4.0, 6.0, 8.0, 10.0]
    assert harness.paired_ratio(above, below) == {"median": 2, "low": 2, "high": 2}
    ratio = harness.paired_ratio([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert ratio["median"] == 2
    assert 1 <= ratio["low"] < 2 < ratio["high"] <= 3


def test_sides_take_turns():
    order = []
    sides = {name: lambda name=name: order.append(name) for name in "ab"}
    harness.interleaved(sides, rounds=3)
    assert "".join(order) == "abbaab"


def test_windows_are_filled(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock[0])

    def run(count):
        clock[0] += 0.25 * count

    seconds = harness.timed_steps({"a": run}, rounds=2, window=2.0)
    assert seconds == {"a": [0.25, 0.25]}
    assert harness.steps_of(run, 2.0) == 8


def test_results_are_skipped_and_survive_a_cut_off_line(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    case = {"model": "alexnet", "batch": 8}
    assert not harness.has_result("throughput", case)
    path = harness.write_result("throughput", case | {"value": 1})
    with path.open("a") as file:
        file.write('{"model": "vgg16", "ba')
    assert harness.has_result("throughput", case)
    assert not harness.has_result("throughput", {"model": "alexnet", "batch": 16})
    assert not harness.has_result("throughput", {"model": "vgg16"})
    assert not harness.has_result("accuracy", case)
    monkeypatch.setattr(harness, "processor", lambda: "of another machine")
    assert not harness.has_result("throughput", case)


def test_results_alone_do_not_change_the_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a commit -qm a"):
        (tmp_path / "code.py").touch()
        subprocess.run(["git", *words.split()], check=True)
    clean = harness.commit()
    assert clean
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "a.jsonl").touch()
    assert harness.commit() == clean
    (tmp_path / "code.py").write_text("other")
    assert harness.commit() == f"{clean}+"


def test_a_busy_machine_is_refused(monkeypatch):
    monkeypatch.setattr(harness, "others_busy", lambda: 0.06)
    with pytest.raises(InputError, match="busy"):
        harness.check_quiet(force=False)
    harness.check_quiet(force=True)
    monkeypatch.setattr(harness, "others_busy", lambda: 0.04)
    harness.check_quiet(force=False)


def test_others_are_seen(monkeypatch):
    # of 2 s on 2 cores others take 1 s and this process half a second
    readings = iter([(100.0, 200.0), (101.5, 204.0)])
    own = iter([10.0, 10.5])
    monkeypatch.setattr(harness, "cpu_seconds", lambda: next(readings))
    monkeypatch.setattr(harness.time, "process_time", lambda: next(own))
    monkeypatch.setattr(harness.time, "sleep", lambda _: None)
    assert harness.others_busy() == pytest.approx(0.25)


# multiply-adds in millions and bfloat16 megabytes of a training step, counted from
# torchvision's layers
@pytest.mark.parametrize(
    ("name", "macs", "megabytes"),
    [("resnet18", 1814, 73), ("densenet121", 2834, 392), ("mobilenet_v2", 301, 188)],
)
def test_work_is_that_of_the_layers(name, macs, megabytes):
    case = side.Case(name, "train", 1, MODELS[name].native_size, "float32")
    work = roofline.count(case.network(), case.shapes(), case.shape)
    assert round(work.macs / 1e6) == macs
    assert round(work.bytes("train", 2) / 1e6) == megabytes
    assert work.flops("train") == 3 * work.flops("infer") == 6 * work.macs


def test_the_roofline_is_the_slower_of_two():
    work = roofline.Work(macs=1_000, conv_in=10, conv_out=10)
    fast, slow = roofline.Ceilings(1e9, 2e6), roofline.Ceilings(80, 1e12)
    assert work.images_per_second("infer", 4, fast) == pytest.approx(1_000)
    assert work.images_per_second("infer", 4, slow) == pytest.approx(1)


@pytest.mark.parametrize(
    ("form", "name", "size", "kwargs"),
    [
        ("plain", "covxnet32", 16, {"depth": 1, "dilations": (2, 1)}),
        ("shifts", "covxnet32", 16, {"depth": 1, "dilations": (2, 1)}),
        ("literal", "covid_caps", 16, {}),
        ("scattered", "squeezenet1_1", 33, {"dropout": 0.0}),
        ("stems", "squeezenet1_1", 33, {"dropout": 0.0}),  # 3x3, strides 2, unpadded
    ],
)
def test_other_forms_are_the_same_network(form, name, size, kwargs, monkeypatch):
    from benchmarks.plain import FORMS

    if form == "shifts":  # a CPU's own form
        monkeypatch.setattr(forms, "on_one_cpu", lambda: False)
    case = side.Case(name, "train", 2, size, "float32", kwargs)
    model, variables = case.network(), side.draw(case.shapes())
    x = jnp.asarray(side.normalised(case.pictures(2)))

    def run(form):
        def forward(variables, x):
            return model.apply(variables, x, train=True, mutable=["batch_stats"])

        with FORMS[form]():
            lowered = jax.jit(forward).lower(variables, x)
        return lowered.as_text(), lowered.compile()(variables, x)

    (ours, found), (theirs, other) = run("covjax"), run(form)
    assert ours != theirs
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        found,
        other,
    )


def test_results_do_not_tell_where_this_machine_keeps_things():
    words = ["x.py", "--dir", "/data/a", "--config.data.dir=/data/b", "runs/c", "a=b/c"]
    assert harness.told(words) == [
        "--dir", "DIR", "--config.data.dir=DIR", "runs/c", "a=b/c",
    ]  # fmt: skip


def test_the_case_of_the_flags():
    parser = argparse.ArgumentParser()
    harness.add_case_flags(parser, batch=4, size=0, precision="bfloat16")
    case = side.Case.of(parser.parse_args(["--model", "darkcovidnet"]), "train")
    assert case == side.Case("darkcovidnet", "train", 4, 256, "bfloat16")


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        (kernels, ["--model", "resnet5"], "--model: 'resnet5' is not a network; "),
        (kernels, ["--form", "plane"], "--form: 'plane' is none of covjax, fused, "),
        (throughput, ["--models", "six", "resnet5"], "--models: 'resnet5' is not a "),
        (throughput, ["--modes", "trai"], "--modes: invalid choice: 'trai'"),
    ],
)
def test_bad_flags_are_one_line(script, words, message):
    with pytest.raises(InputError, match=f"^argument {message}"):
        script.main(words)


def test_groups_of_networks_are_their_names():
    words = ["--models", "six", "resnet18", "vgg16", "--modes", "train"]
    found = throughput.cases(throughput.parser().parse_args(words))
    assert [case.model for case in found] == [*throughput.SIX, "vgg16"]
    assert {case.size for case in found} == {224, 256}
    every = throughput.parser().parse_args(["--models", "all"])
    assert len(throughput.cases(every)) == 2 * len(MODELS)


def test_half_precision_may_lose_what_the_peer_loses():
    case = side.Case("resnet18", "train", 2, 32, "bfloat16")

    class Fake:
        def __init__(self, exact, mixed=None):
            self.exact, self.timed = np.array([1.0, exact]), np.array([1.0, mixed])

        def logits(self, pictures, mixed=False):
            return self.timed if mixed else self.exact

        def mixed(self):
            """As a peer with mixed precision has it."""

    found = throughput.gate(case, Fake(0.07), Fake(0.0, mixed=0.04))
    assert found["of_peer"] == pytest.approx(0.04)
    assert found["allowed"] == pytest.approx(0.08)
    assert found["difference"] == pytest.approx(0.07)
    with pytest.raises(throughput.Refused, match=r"9.0e-02, more than 8e-02"):
        throughput.gate(case, Fake(0.09), Fake(0.0, mixed=0.04))
    assert throughput.gate(case, Fake(0.01), Fake(0.0, mixed=0.0))["allowed"] == 0.02


COMPILED = """HloModule jit_one

%cut (p0: bf16[4,8], p1: bf16[4,8]) -> bf16[4,2] {
  %p0 = bf16[4,8]{1,0} parameter(0)
  %p1 = bf16[4,8]{1,0} parameter(1)
  %sum = bf16[4,8]{1,0} add(%p0, %p1)
  ROOT %part = bf16[4,2]{1,0} slice(%sum), slice={[0:4], [3:5]}
}

%join (p2: bf16[4,8], p3: f32[8]) -> f32[4] {
  %p2 = bf16[4,8]{1,0} parameter(0)
  %p3 = f32[8]{0} parameter(1)
  %wide = bf16[4,16]{1,0} concatenate(%p2, %p2), dimensions={1}
  %seen = bf16[4,4]{1,0} slice(%wide), slice={[0:4], [6:10]}
  ROOT %total = f32[4]{0} reduce(%seen), dimensions={1}
}

%inner (q: bf16[4,8]) -> f32[4] {
  %q = bf16[4,8]{1,0} parameter(0)
  %s = f32[8]{0} constant({...})
  ROOT %j = f32[4]{0} fusion(%q, %s), kind=kInput, calls=%join
}

ENTRY %main (a: bf16[4,8]) -> (bf16[4,2], f32[4]) {
  %a = bf16[4,8]{1,0} parameter(0)
  %conv = (bf16[4,8]{1,0}, u8[0]{0}) custom-call(%a), custom_call_target="library$conv"
  %b = bf16[4,8]{1,0} get-tuple-element(%conv), index=0
  %f = bf16[4,2]{1,0} fusion(%a, %b), kind=kLoop, calls=%cut
  %c = f32[4]{0} call(%b), to_apply=%inner
  ROOT %t = (bf16[4,2]{1,0}, f32[4]{0}) tuple(%f, %c)
}
"""


def test_traffic_of_a_compiled_program():
    conv, cut, joined = traffic.kernels(COMPILED)
    assert (conv.kind, conv.bytes) == ("custom-call library$conv", 2 * 64)
    # channels 3 and 4 of both maps, and the two of the result
    assert (cut.name, cut.kind, cut.bytes) == ("f", "fusion kLoop", 3 * 4 * 2 * 2)
    # of one map joined with itself channels 6, 7 and 0, 1: its whole width
    assert joined.bytes == 64 + 16


def test_seconds_to_a_level():
    runs = [[(10.0, 0.85), (10.0, None), (5.0, 0.96)], [(10.0, 0.7), (30.0, 0.92)]]
    found = accuracy.seconds_to_levels(runs)
    assert found["0.8"] == {"reached": 2, "of": 2, "median": 25.0}
    assert found["0.95"] == {"reached": 1, "of": 2, "median": 25.0}
    assert found["0.99"]["median"] is None


def test_mean_and_interval_over_seeds():
    # t(0.975, 2) = 4.303; the mean's standard error is 0.1 / sqrt(3)
    found = accuracy.mean_interval([0.4, 0.5, 0.6])
    assert found["mean"] == pytest.approx(0.5)
    assert found["high"] - 0.5 == pytest.approx(4.303 * 0.1 / 3**0.5, rel=1e-3)
    assert accuracy.mean_interval([0.8, 0.9, 1.0])["high"] == 1


def line(model="resnet18", ratio=2.0, **changes):
    spread = {"median": 10.0, "low": 9.0, "high": 11.0}
    return {
        "command": "python -m benchmarks.throughput",
        "device": "cpu2",
        "model": model,
        "mode": "train",
        "batch": 8,
        "size": 224,
        "precision": "float32",
        "against": "torch",
        "images_per_second": {"covjax": spread, "torch": spread},
        "ratio": {"median": ratio, "low": ratio - 0.5, "high": ratio + 0.5},
        "roofline": {"share": 0.5, "mfu": 0.25},
        "sides": {
            "covjax": {"compile_seconds": {"cold": 30.0, "warm": 2.0},
                       "peak_bytes": 5e7},
            "torch": {"layout": "channels_last", "compiled": "eager"},
        },
        **changes,
    }  # fmt: skip


def test_tables_show_the_newest_line_of_each_case():
    lines = [line(ratio=9.0), line(ratio=2.0), line("vgg16", ratio=8.0)]
    text = report.speed_tables(lines)
    assert "2.00 [1.50, 2.50]" in text
    assert "9.00" not in text
    assert "Geometric mean of the ratios: 4.00." in text
    assert "channels_last, eager" in text
    assert text.count("python -m benchmarks.throughput") == 1
    alone = line(against="", sides={"covjax": line()["sides"]["covjax"]})
    assert "| resnet18 | 224 | 8 | 10.0 | 0.50 |" in report.speed_tables([alone])


def test_the_report_writes_between_its_marks(tmp_path, monkeypatch):
    results = tmp_path / "results"
    results.mkdir()
    busy = line("vgg16", others_busy=0.5)
    rows = [json.dumps(row) for row in (line(), busy)]
    (results / "throughput-cpu2.jsonl").write_text("\n".join(rows) + "\n")
    page, picture = tmp_path / "README.md", tmp_path / "plot.png"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    words = ["--results", str(results), "--write", str(page)]
    words += ["--plot", str(picture)]
    assert report.main(words) == 0
    text = page.read_text()
    assert "resnet18" in text
    assert "vgg16" not in text
    assert "\nold\n" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"--results .*nowhere: no such folder"):
        report.main(["--results", str(tmp_path / "nowhere")])
    page.write_text("no marks")
    with pytest.raises(InputError, match="needs the lines"):
        report.main(words)


def test_kinds_of_operations():
    runs = [
        kernels.Run("loop_add_fusion.3", 1.0, 2.0),
        kernels.Run("loop_add_fusion_12", 2.0, 1.0),  # inside the first
        kernels.Run("convert", 5.0, 1.0),
    ]
    found = kernels.summary(runs)
    assert found["busy"] == pytest.approx(3 / 5)
    assert found["overlap"] == pytest.approx(4 / 3)
    assert found["span_seconds"] == 5.0
    assert found["kinds"] == pytest.approx({"loop_add_fusion": 0.75, "convert": 0.25})
    assert found["operations"]["loop_add_fusion.3"] == pytest.approx(0.5)
    with pytest.raises(SystemExit, match="no operation"):
        kernels.summary([])


def test_the_operations_of_a_program_are_recorded():
    program = jax.jit(lambda x: jnp.sin(x @ x).sum(axis=0))
    x = jnp.ones((64, 64))
    program(x)
    runs = kernels.recorded(lambda: jax.block_until_ready(program(x)))
    assert any("dot" in run.name or "fusion" in run.name for run in runs)
    assert all(run.seconds >= 0 for run in runs)


def test_the_gpu_plan_ends_in_time_and_tells_what_is_undone(tmp_path):
    """With a stand-in for Python that only writes down what it is asked."""
    log, python = tmp_path / "log", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$2 $XLA_FLAGS" >> {log}\n')
    python.chmod(0o755)
    suite = Path(harness.__file__).parent / "gpu_suite.sh"

    def told(minutes):
        environment = {"PYTHON": str(python), "SUITE_MINUTES": minutes}
        return subprocess.run(
            [suite, "--tiny"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    whole = told("25")
    assert (whole.returncode, whole.stderr) == (0, "")
    steps = [line.partition(":")[0] for line in whole.stdout.splitlines()]
    assert steps == [
        "headline", "tables", "forms", "start", "seeds", "folds", "infer", "small",
        "flags",
    ]  # fmt: skip
    asked = log.read_text().splitlines()
    assert sum("xla_cpu_enable_fast_math=false" in line for line in asked) == 1
    assert asked[-1].startswith("benchmarks.report")
    log.unlink()
    late = told("0")
    assert late.returncode == 1
    assert late.stdout == f"out of time, to be done: {' '.join(steps)}\n"
    assert log.read_text().startswith("benchmarks.report")
