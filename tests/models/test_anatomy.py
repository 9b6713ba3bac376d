"""Layer tables and multiply-adds, and the command that prints them."""

import subprocess
import sys
import time

import pytest

from covjax.errors import InputError
from covjax.models import MODELS, create_model
from covjax.models.__main__ import main
from covjax.models.anatomy import layers

# billions of multiply-adds at the native size, as counted on torchvision's and timm's
# networks by tracing convolutions and dense layers (performance page, section 2.2)
MULTIPLY_ADDS = {
    "alexnet": 0.714,
    "densenet121": 2.834,
    "efficientnet_b0": 0.386,
    "efficientnet_b4": 4.394,
    "googlenet": 1.498,
    "inception_v3": 5.713,
    "inception_v4": 12.254,
    "mobilenet_v2": 0.301,
    "resnet18": 1.814,
    "resnet50": 4.089,
    "squeezenet1_0": 0.819,
    "vgg16_bn": 15.470,
    "xception": 8.357,
}


@pytest.mark.parametrize(("name", "expected"), MULTIPLY_ADDS.items())
def test_multiply_adds_are_those_of_the_references(name, expected):
    model = create_model(name, num_classes=1000)
    found = layers(model, MODELS[name].native_size, 3)
    total = sum(layer.multiply_adds for layer in found)
    assert round(total / 1e9, 3) == expected


def test_layers_stand_in_the_order_in_which_they_run():
    found = layers(create_model("squeezenet1_1", num_classes=4), 32, 1)
    assert [layer.path for layer in found[:4]] == [
        "stem",
        "stage1/fire1/squeeze",
        "stage1/fire1/expand1x1",
        "stage1/fire1/expand3x3",
    ]
    stem, head = found[0], found[-1]
    # 32 px, 3x3 with stride 2 and no padding: 15 px; 3 * 3 * 1 * 64 and 64 biases
    assert stem == ("stem", "Conv", (15, 15, 64), 640, 15 * 15 * 9 * 64)
    assert (head.path, head.params) == ("head", 512 * 4 + 4)


def test_parameters_add_up():
    found = layers(create_model("resnet18", num_classes=1000), 64, 3)
    assert sum(layer.params for layer in found) == 11_689_512


def test_the_command_prints_layers(capsys):
    assert main(["squeezenet1_1", "--size", "32", "--classes", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "layer", "kind", "result", "parameters", "multiply-adds",
    ]  # fmt: skip
    assert lines[1].split() == ["stem", "Conv", *"15x15x64".replace("x", " x ").split(),
                                "1,792", "388,800"]  # fmt: skip
    assert lines[-1].split()[:2] == ["all", "724,548"]  # 722,496 and 4 * 513


def test_the_command_prints_the_table(capsys, monkeypatch):
    few = {name: MODELS[name] for name in ("alexnet", "squeezenet1_1")}
    monkeypatch.setattr("covjax.models.table.MODELS", few)
    assert main(["--markdown"]) == 0
    heading, rule, *rows = capsys.readouterr().out.splitlines()
    assert heading.startswith("| name | paper | year | parameters | multiply-adds |")
    assert set(rule) == set("|- ")
    assert rows[0] == (
        "| alexnet | Krizhevsky, arXiv:1404.5997 | 2014 | 61,100,840 | 0.714 | 224 "
        "| torchvision |"
    )
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["densenet12"], r"'densenet12'.*densenet121"),
        (["densenet121", "--size", "20"], "20x20.*29x29"),
        (["densenet121", "--size", "0"], "--size=0"),
        (["--size", "64"], "need the name"),
        (["densenet121", "--depth", "3"], "--depth"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


def test_help_does_not_wait_for_jax():
    """`--help` must not import jax; the time is bounded loosely for a busy machine."""
    code = (
        "import sys, runpy; sys.argv = ['covjax.models', '--help']\n"
        "try: runpy.run_module('covjax.models', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'jax' not in sys.modules"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "densenet121 --size 224" in done.stdout
    assert time.monotonic() - start < 10
