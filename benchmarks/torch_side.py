"""PyTorch's side: every mode of torchvision's or timm's network, and the fastest."""

import gc
import os
import time
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import harness, peers
from benchmarks.side import AUX_WEIGHT, LEARNING_RATE, MOMENTUM, Case, normalised

LAYOUTS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
COMPILE_MODES = ("eager", "default", "reduce-overhead", "max-autotune")


class TorchSide:
    """Steps of one mode; bfloat16 is automatic mixed precision, as its users train.

    Args:
      case: what to measure.
      variables: covjax's, which the network is given.
      layout: a key of `LAYOUTS`.
      compiled: one of `COMPILE_MODES`.
    """

    def __init__(self, case: Case, variables: Any, layout: str, compiled: str):
        self.case, self.format = case, LAYOUTS[layout]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network: Any = peers.torch_network(case.model, case.classes, case.size)
        peers.load(network, case.model, variables)
        self.network = network.to(device=self.device, memory_format=self.format)
        self.network.train(case.mode == "train")
        self.optimizer = torch.optim.SGD(
            network.parameters(), LEARNING_RATE, MOMENTUM, fused=True
        )
        self.step = self.train_step if case.mode == "train" else self.infer_step
        self.called: Any = self.network
        if compiled != "eager":
            mode = None if compiled == "default" else compiled
            self.called = torch.compile(self.network, mode=mode)
        self.x = self.placed(case.pictures(case.batch))
        self.y = torch.from_numpy(case.labels()).long().to(self.device)
        count = sum(p.numel() for p in network.parameters())
        self.facts = {
            "layout": layout,
            "compiled": compiled,
            "parameters": count,
            # PASSIVE: its threads sleep while they wait, and do not spin
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        }

    def restart(self, variables: Any) -> None:
        """Back to the weights of the start."""
        peers.load(self.network, self.case.model, variables)
        self.optimizer.state.clear()

    def placed(self, pictures: np.ndarray) -> torch.Tensor:
        """Normalised pictures on the device, in the layout."""
        x = torch.from_numpy(normalised(pictures)).permute(0, 3, 1, 2)
        return x.to(self.device).contiguous(memory_format=self.format)

    def mixed(self) -> torch.autocast:
        """Mixed precision, where the case asks for it."""
        enabled = self.case.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def logits(self, pictures: np.ndarray, mixed: bool = False) -> np.ndarray:
        """See `Side`: the reference, in float32 without TF32, or as it is timed."""
        self.network.eval()
        allow_tf32(mixed)
        with torch.no_grad(), self.mixed() if mixed else nullcontext():
            logits = self.network(self.placed(pictures)).float().cpu().numpy()
        allow_tf32(True)
        self.network.train(self.case.mode == "train")
        return logits

    def train_step(self) -> torch.Tensor:
        """Forward, backward, update."""
        with self.mixed():
            outputs = self.called(self.x)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            losses = [nn.functional.cross_entropy(o, self.y) for o in outputs]
            loss = losses[0] + AUX_WEIGHT * sum(losses[1:])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def infer_step(self) -> torch.Tensor:
        """Logits."""
        with torch.inference_mode(), self.mixed():
            return self.called(self.x)

    def steps(self, count: int) -> None:
        """See `Side`."""
        for _ in range(count):
            self.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def allow_tf32(allowed: bool) -> None:
    """On a GPU, as XLA does by default."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def fastest(
    case: Case, variables: Any, layouts: Iterable[str], compile_modes: Iterable[str]
) -> TorchSide:
    """The fastest mode of all; its facts tell the seconds a step of the others."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.backends.cudnn.benchmark = True
    allow_tf32(True)
    seconds: dict[str, float | str] = {}
    best: TorchSide | None = None
    least = float("inf")
    for layout in layouts:
        for compiled in compile_modes:
            try:
                side = TorchSide(case, variables, layout, compiled)
                measured = quick_seconds(side)
            except Exception as error:  # a mode that does not work here
                seconds[f"{layout}, {compiled}"] = f"{type(error).__name__}: {error}"
                continue
            seconds[f"{layout}, {compiled}"] = measured
            if measured < least:
                best, least = side, measured
            del side
            gc.collect()
    if best is None:
        raise RuntimeError(f"{case.model}: no mode of PyTorch works: {seconds}")
    best.facts["modes"] = seconds
    best.restart(variables)
    if best.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        best.steps(2)
        best.facts["peak_bytes"] = torch.cuda.max_memory_allocated()
        best.restart(variables)
    return best


def quick_seconds(side: TorchSide) -> float:
    """Seconds a step, the best of three short windows."""
    count = harness.steps_of(side.steps, 0.5)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        side.steps(count)
        times.append((time.perf_counter() - start) / count)
    return min(times)
