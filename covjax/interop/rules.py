"""How the name of a tensor in covjax becomes its name elsewhere: rules.

A rule is a pair of module paths, covjax's with slashes and the reference's with dots;
``{x}`` is any one part of a name, and ``{x-1}`` is that number less one. The first
rule that fits wins. Tensors inside a module are named alike everywhere: `LEAVES`.
"""

import re
from collections.abc import Iterable
from functools import partial

Rules = tuple[tuple[str, str], ...]

# covjax's leaf: PyTorch's
LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


def translate(rules: Rules, path: str) -> str | None:
    """The reference's name of covjax's module `path`, or None without a rule.

    >>> translate((("stage{s}/conv{c}", "layer{s}.{c-1}"),), "stage3/conv1")
    'layer3.0'
    """
    for ours, theirs in rules:
        match = re.fullmatch(re.sub(r"\{(\w)\}", r"(?P<\1>[^/]+?)", ours), path)
        if match:
            return re.sub(r"\{(\w)([+-]\d+)?\}", partial(_fill, match), theirs)
    return None


def _fill(match: re.Match, part: re.Match) -> str:
    value, shift = match[part[1]], part[2]
    return str(int(value) + int(shift)) if shift else value


def unit(ours: str, conv: str, norm: str) -> Rules:
    """Rules for one `ConvNorm`: the reference's convolution and normalisation."""
    return ((f"{ours}/conv", conv), (f"{ours}/norm", norm))


def units(rules: Iterable[tuple[str, str]]) -> Rules:
    """Rules for `ConvNorm` modules that the reference keeps as ``conv``, ``bn``."""
    return tuple(
        rule
        for ours, theirs in rules
        for rule in unit(ours, f"{theirs}.conv", f"{theirs}.bn")
    )


def under(ours: str, theirs: str, rules: Rules) -> Rules:
    """The same rules below a module."""
    return tuple((f"{ours}/{a}", f"{theirs}{b}") for a, b in rules)
