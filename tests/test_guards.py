"""What compiled programs cost must not rise; see benchmarks/guards.py."""

import json

import jax
import pytest

from benchmarks import guards

FILE = json.loads(guards.FILE.read_text())
REFERENCE = FILE["figures"]

needs_this_jax = pytest.mark.skipif(
    jax.__version__ != FILE["jax"], reason=f"the figures are of jax {FILE['jax']}"
)


@needs_this_jax
@pytest.mark.parametrize("guarded", guards.GUARDED, ids=lambda guarded: guarded.name)
def test_programs_cost_no_more(guarded):
    found = {guarded.name: guards.program(guarded)}
    assert not guards.rises(REFERENCE, found)


@needs_this_jax
def test_an_epoch_compiles_no_more():
    first, later = guards.compilations()
    found = {"epoch": {"compilations": first, "compilations_later": later}}
    assert not guards.rises(REFERENCE, found)
    assert later == 0


def test_a_rise_of_more_than_two_percent_is_told():
    before = {"a": {"flops": 100.0, "copies": 0}}
    assert not guards.rises(before, {"a": {"flops": 102.0, "copies": 0}})
    (line,) = guards.rises(before, {"a": {"flops": 102.1, "copies": 0}})
    assert "flops rose" in line
    assert "--write" in line
    (line,) = guards.rises(before, {"a": {"copies": 1}})
    assert "copies rose from 0 to 1" in line
    assert guards.rises(before, {"b": {"flops": 1.0}})
