"""Comparison of a covjax network with a PyTorch one that has the same weights."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from covjax.interop.convert import flatten, from_torch, to_torch

try:
    import torch
except ImportError:
    if os.environ.get("COVJAX_REQUIRE_PARITY") == "1":
        raise
    pytest.skip("no torch to compare with", allow_module_level=True)

FAST_COMPILE = {"xla_backend_optimization_level": 0}
TOLERANCE = 1e-4  # largest difference, share of the largest value


def error(ours, theirs, smallest_scale: float = 1e-30) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    scale = max(np.abs(theirs).max(), smallest_scale)
    return np.abs(ours - theirs).max() / scale


def nhwc(tensor) -> np.ndarray:
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def nchw(array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights that keep the signal's size; nothing stays at a neutral 0 or 1."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor, low, high):
        tensor.uniform_(low, high, generator=generator)

    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    uniform(module.bias, -0.2, 0.2)
            elif isinstance(module, torch.nn.BatchNorm2d):
                uniform(module.weight, 0.7, 1.3)
                uniform(module.bias, -0.2, 0.2)
                uniform(module.running_mean, -0.2, 0.2)
                uniform(module.running_var, 0.7, 1.3)
    return network


def pictures(size: int, batch: int = 2, channels: int = 3, seed: int = 1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, size, size, channels)).astype(np.float32)


def variables_of(name: str, model, network, x) -> dict:
    """The PyTorch network's weights as variables of `model`."""
    template = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.asarray(x), train=False)
    )
    template = {k: template[k] for k in ("params", "batch_stats") if k in template}
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    return from_torch(name, state, template)


def assert_same_evaluation(name, model, network, x, stages: dict[str, str]):
    """Maps at `stages` (our module: theirs), one after another, then the logits."""
    network.eval()
    variables = variables_of(name, model, network, x)
    theirs = {}
    handles = [
        network.get_submodule(module).register_forward_hook(
            # a copy: a ReLU behind the module may overwrite its result
            lambda _module, _inputs, output, key=ours: theirs.update(
                {key: output.clone()}
            )
        )
        for ours, module in stages.items()
    ]
    with torch.no_grad():
        their_logits = network(nchw(x))
    for handle in handles:
        handle.remove()

    paths = {tuple(ours.split("/")) for ours in stages}

    @functools.partial(jax.jit, compiler_options=FAST_COMPILE)
    def evaluate(variables, x):
        return model.apply(
            variables,
            x,
            train=False,
            capture_intermediates=lambda module, _: module.path in paths,
            mutable=["intermediates"],
        )

    logits, state = evaluate(variables, x)
    for ours in stages:
        captured = state["intermediates"]
        for part in ours.split("/"):
            captured = captured[part]
        found = jax.tree.leaves(captured["__call__"])[0]  # beside it may stand moments
        difference = error(found, nhwc(theirs[ours]))
        assert difference <= TOLERANCE, f"{ours}: {difference:.2e}"
    difference = error(logits, their_logits.numpy())
    assert difference <= TOLERANCE, f"logits: {difference:.2e}"


def their_losses(output, labels, aux_weight):
    """Cross entropy of a PyTorch output; torchvision returns (logits, *auxiliary)."""
    outputs = output if isinstance(output, tuple) else (output,)
    losses = [torch.nn.functional.cross_entropy(o, labels) for o in outputs]
    return losses[0] + aux_weight * sum(losses[1:])


def assert_same_training(
    name, model, network, x, aux_weight: float = 0.3, naming: str = ""
):
    """Loss, gradient of every parameter and running statistics of one step.

    In float64, so that a difference is an error and not the rounding of a deep
    network's gradient.
    """
    network.train().double()
    labels = np.arange(len(x)) % 3
    counts = {}  # values that each normalisation takes its mean over
    for path, module in network.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda _module, inputs, _output, key=path: counts.update(
                    {key: inputs[0].numel() // inputs[0].shape[1]}
                )
            )
    with jax.enable_x64(True):
        variables = jax.tree.map(
            lambda leaf: leaf.astype(np.float64),
            variables_of(name, model, network, x.astype(np.float32)),
        )
        loss, gradient, statistics = _our_step(model, variables, x, labels, aux_weight)

    their_loss = their_losses(
        network(nchw(x.astype(np.float64))), torch.from_numpy(labels), aux_weight
    )
    their_loss.backward()
    assert error(loss, their_loss.item()) <= TOLERANCE

    gradients = to_torch(name, {"params": gradient}, naming)
    parameters = dict(network.named_parameters())
    assert gradients.keys() == parameters.keys()
    # a bias before a normalisation has gradient 0, and each side its own rounding
    largest = max(p.grad.abs().max().item() for p in parameters.values())
    for key, parameter in parameters.items():
        difference = error(gradients[key], parameter.grad.numpy(), 1e-3 * largest)
        assert difference <= TOLERANCE, f"gradient of {key}: {difference:.2e}"

    before = to_torch(name, {"batch_stats": variables.get("batch_stats", {})}, naming)
    after = to_torch(name, {"batch_stats": statistics}, naming)
    buffers = dict(network.named_buffers())
    assert len(flatten(statistics)) == len(after) == 2 * len(counts)
    for key in after:
        # flax keeps the biased variance, PyTorch the unbiased one
        n = counts[key.rpartition(".")[0]]
        factor = n / (n - 1) if key.endswith("var") else 1
        step = (after[key] - 0.9 * before[key]) * factor  # momentum 0.9 here, 0.1 there
        theirs = buffers[key].numpy() - 0.9 * before[key]
        assert error(step, theirs) <= TOLERANCE, key


def _our_step(model, variables, x, labels, aux_weight):
    model = model.clone(dtype=jnp.float64)

    def loss_of(params):
        logits, state = model.apply(
            {**variables, "params": params},
            jnp.asarray(x, jnp.float64),
            train=True,
            mutable=["batch_stats", "intermediates"],
            rngs={"dropout": jax.random.key(0)},
        )
        heads = state["intermediates"].get("aux_logits", ())
        losses = [
            optax.softmax_cross_entropy_with_integer_labels(
                scores.astype(jnp.float64), jnp.asarray(labels)
            ).mean()
            for scores in (logits, *heads)
        ]
        statistics = state.get("batch_stats", {})
        return losses[0] + aux_weight * sum(losses[1:]), statistics

    step = jax.jit(
        jax.value_and_grad(loss_of, has_aux=True), compiler_options=FAST_COMPILE
    )
    (loss, statistics), gradient = step(variables["params"])
    return loss, gradient, statistics
