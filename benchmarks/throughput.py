"""Images a second of training and inference, alone or side by side with a peer.

    python -m benchmarks.throughput --models six --against torch
    python -m benchmarks.throughput --models mobilenet_v2 --against plain --batches 8

A step is what a user runs: forward, backward, update by SGD with momentum, and the
running statistics; or normalisation and forward. Both sides start from the same
weights, and nothing is timed unless their scores agree. The sides take turns; the
ratio is the median of the paired ones, peer's seconds over covjax's. Each result is
written as soon as it is there; what the results file has is skipped.
"""

import argparse
import gc
import itertools
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks import harness
from covjax import cli

if TYPE_CHECKING:
    from benchmarks.roofline import Ceilings
    from benchmarks.side import Case, Side

# of the targets: side by side with PyTorch, and with the plain parts
SIX = ("densenet121", "resnet18", "mobilenet_v2", "efficientnet_b0", "squeezenet1_1",
       "darkcovidnet")  # fmt: skip
GROUPS = {
    "six": SIX,
    "separable": ("mobilenet_v2", "efficientnet_b0", "xception", "covxnet128"),
    "keras": ("densenet121", "mobilenet_v2", "efficientnet_b0", "inception_v3",
              "xception"),
}  # fmt: skip
# largest difference of scores that is rounding, share of their norm
EXACT = 1e-4  # float32: tests/parity
ROUGH = 2e-2  # bfloat16, or the TF32 of a GPU's float32


class Refused(Exception):
    """The sides do not compute the same."""


def parser() -> cli.Parser:
    """The flags."""
    result = cli.Parser(prog="benchmarks.throughput", description=__doc__)
    result.add_argument(
        "--models",
        nargs="+",
        type=networks,
        default=[SIX],
        help=f"names of the table of networks, all, {', '.join(GROUPS)}",
    )
    modes = ["train", "infer"]
    result.add_argument("--modes", nargs="+", default=modes, choices=modes)
    result.add_argument("--batches", nargs="+", type=int, default=[16])
    result.add_argument(
        "--sizes", nargs="+", type=int, default=[0], help="pixels; 0: the paper's"
    )
    result.add_argument(
        "--precisions",
        nargs="+",
        default=["float32"],
        choices=["float32", "bfloat16"],
    )
    result.add_argument(
        "--against",
        default="",
        choices=["", "torch", "keras", "plain", "literal"],
        help="a network without this peer is measured alone",
    )
    result.add_argument(
        "--torch-modes",
        nargs="+",
        default=["eager", "default"],
        help="of torch.compile, besides eager: default, reduce-overhead, max-autotune",
    )
    result.add_argument(
        "--torch-layouts",
        nargs="+",
        default=["contiguous", "channels_last"],
        help="of pictures and kernels",
    )
    result.add_argument(
        "--forms",
        nargs="+",
        default=[],
        choices=["fused", "scattered", "shifts", "stems", "unfolded"],
        help="covjax with another form of one operation, timed beside: fused, of dense "
        "layers; scattered, of the gradient of maximum pooling; shifts, of depthwise "
        "convolutions; stems, of strided convolutions of pictures; unfolded, of batch "
        "normalisation at inference (benchmarks/plain.py)",
    )
    result.add_argument("--window", type=float, default=2.0, help="seconds at least")
    harness.add_flags(result)
    return result


def main(arguments: Sequence[str]) -> int:
    """Measures case after case; 1 where one of them failed."""
    flags = parser().parse_args(arguments)
    harness.check_quiet(flags.force)

    from benchmarks import roofline
    from covjax.training.memory import keep_freed_memory

    keep_freed_memory()
    status, tops = 0, {}
    for case in cases(flags):
        against = peer_of(case.model, flags.against)
        key = {
            "model": case.model,
            "mode": case.mode,
            "batch": case.batch,
            "size": case.size,
            "precision": case.precision,
            "against": against,
        }
        if not flags.again and harness.has_result("throughput", key):
            continue
        if case.precision not in tops:
            tops[case.precision] = roofline.ceilings(case.precision)
        title = ", ".join(str(value) for value in key.values() if value)
        try:
            result = measure(case, against, flags, tops[case.precision])
        except Exception as error:  # the other cases are measured all the same
            if not isinstance(error, Refused):
                traceback.print_exc()
            print(f"{title}: {error}", file=sys.stderr)
            status = 1
        else:
            harness.write_result("throughput", key | result)
            print(f"{title}: {summary(result)}", flush=True)
        free()
        harness.check_quiet(flags.force)
    return status


def networks(word: str) -> tuple[str, ...]:
    """The names that a word of ``--models`` stands for."""
    from covjax.models import MODELS

    if word == "all":
        return tuple(MODELS)
    return GROUPS.get(word) or (harness.network(word),)


def cases(flags: argparse.Namespace) -> "list[Case]":
    """What the flags ask for, each with the conventions of its peer."""
    from benchmarks.side import Case
    from covjax.models import MODELS

    names = dict.fromkeys(itertools.chain(*flags.models))
    grid = itertools.product(
        names, flags.precisions, flags.sizes, flags.modes, flags.batches
    )
    return [
        Case(
            model,
            mode,
            batch,
            size or MODELS[model].native_size,
            precision,
            conventions(model, flags.against),
        )
        for model, precision, size, mode, batch in grid
    ]


def peer_of(model: str, against: str) -> str:
    """`against`, or nothing where the network has no such peer."""
    if against == "torch":
        from benchmarks.peers import has_torch_peer

        return against if has_torch_peer(model) else ""
    if against == "keras":
        from benchmarks.keras_side import APPLICATIONS

        return against if model in APPLICATIONS else ""
    if against == "literal":
        return against if model == "covid_caps" else ""
    return against


def conventions(model: str, against: str) -> dict[str, Any]:
    """Arguments of covjax's network that make it the peer's."""
    if against == "torch":
        from benchmarks.peers import kwargs_for_torch

        return kwargs_for_torch(model)
    if against == "keras":
        from benchmarks.keras_side import APPLICATIONS

        return APPLICATIONS[model][1] if model in APPLICATIONS else {}
    return {}


def measure(
    case: "Case", against: str, flags: argparse.Namespace, top: "Ceilings"
) -> dict[str, Any]:
    """The result line of one case."""
    import jax
    import numpy as np

    from benchmarks import roofline, side

    peer, variables = make_peer(case, against, flags)
    if variables is None:
        variables = side.draw(case.shapes())
    ours = side.CovjaxSide(case, variables)
    sides: dict[str, Side] = {"covjax": ours}
    for form in flags.forms:
        sides[form] = side.CovjaxSide(case, variables, form)
    parameters = sum(np.size(x) for x in jax.tree.leaves(variables["params"]))
    result: dict[str, Any] = {"parameters": parameters}
    if peer is not None:
        sides[against] = peer
        result["gate"] = gate(case, ours, peer)
    seconds = harness.timed_steps(
        {name: one.steps for name, one in sides.items()}, flags.rounds, flags.window
    )
    rates = {n: [case.batch / s for s in values] for n, values in seconds.items()}
    work = roofline.count(case.network(), case.shapes(), case.shape)
    itemsize = 4 if case.precision == "float32" else 2
    limit = work.images_per_second(case.mode, itemsize, top)
    rate = float(np.median(rates["covjax"]))
    result |= {
        "images_per_second": {n: harness.spread(v) for n, v in rates.items()},
        "step_seconds": {n: harness.spread(v) for n, v in seconds.items()},
        "rounds": flags.rounds,
        "window": flags.window,
        "sides": {name: one.facts for name, one in sides.items()},
        "multiply_adds": work.macs,
        "roofline": {
            "bytes_per_second": top.bytes_per_second,
            "flops_per_second": top.flops_per_second,
            "bytes_per_image": work.bytes(case.mode, itemsize),
            "images_per_second": limit,
            "share": rate / limit,
            "mfu": rate * work.flops(case.mode) / top.flops_per_second,
        },
    }
    if flags.forms:
        result["forms"] = {
            form: harness.paired_ratio(seconds["covjax"], seconds[form])
            for form in flags.forms
        }
    if peer is not None:
        result["ratio"] = harness.paired_ratio(seconds[against], seconds["covjax"])
    return result


def make_peer(
    case: "Case", against: str, flags: argparse.Namespace
) -> "tuple[Side | None, Any]":
    """The other side, and the variables that both start from."""
    from benchmarks import side

    if against == "keras":
        from benchmarks.keras_side import KerasSide

        network = KerasSide(case)
        return network, network.variables
    variables = side.draw(case.shapes()) if against else None
    if against == "torch":
        from benchmarks import torch_side

        found = torch_side.fastest(
            case, variables, flags.torch_layouts, flags.torch_modes
        )
        return found, variables
    if against:
        return side.CovjaxSide(case, variables, against), variables
    return None, None


def gate(case: "Case", ours: "Side", peer: Any) -> dict[str, Any]:
    """How far the scores of two pictures are apart; `Refused` when too far.

    In bfloat16 covjax may differ from the peer's float32 by twice as much as the
    peer's own mixed precision does (MobileNetV2 on random weights: PyTorch's by 4.7 %
    of the scores' norm, covjax's by 5.1 %).
    """
    import jax
    import numpy as np

    if getattr(peer, "variables", ours) is None:  # other layers: no common weights
        return {"same_weights": False}
    pictures = case.pictures(2)
    logits, theirs = ours.logits(pictures), peer.logits(pictures)
    scale = np.linalg.norm(theirs)
    difference = float(np.linalg.norm(logits - theirs) / scale)
    exact = case.precision == "float32" and jax.default_backend() == "cpu"
    found = {"difference": difference, "allowed": EXACT if exact else ROUGH}
    if case.precision == "bfloat16" and hasattr(peer, "mixed"):
        mixed = np.linalg.norm(peer.logits(pictures, mixed=True) - theirs) / scale
        found["of_peer"] = float(mixed)
        found["allowed"] = max(ROUGH, 2 * float(mixed))
    if not difference <= found["allowed"]:
        raise Refused(
            f"scores differ by {difference:.1e}, more than {found['allowed']:.0e}"
        )
    return {"same_weights": True, **found}


def summary(result: dict[str, Any]) -> str:
    """One line for the terminal."""
    rates = result["images_per_second"]
    text = ", ".join(f"{name} {s['median']:.1f}" for name, s in rates.items())
    text += f" images/s, {result['roofline']['share']:.2f} of the roofline"
    if "ratio" in result:
        ratio = result["ratio"]
        text += f", ratio {ratio['median']:.2f}"
        text += f" [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    for form, ratio in result.get("forms", {}).items():
        text += f", {form} {ratio['median']:.2f} times as fast"
    return text


def free() -> None:
    """Gives back what the last case held."""
    import jax

    jax.clear_caches()
    gc.collect()
    if "torch" in sys.modules:
        import torch

        torch._dynamo.reset()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    cli.run_command(main)
