"""GoogLeNet and the Inceptions against torchvision, timm and Keras."""

from collections import OrderedDict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness

from covjax.blocks.conv import BatchNorm, Conv
from covjax.blocks.conv_norm import ConvNorm
from covjax.models import create_model
from covjax.models.inception_v3 import AuxiliaryHead


def units(first: int, last: int, theirs: str) -> dict[str, str]:
    """stem/conv<n> and the reference's n-th name."""
    names = theirs.split()
    return {f"stem/conv{n}": names[n - 1] for n in range(first, last + 1)}


def test_googlenet_evaluates_like_torchvision(torchvision):
    network = torchvision.models.googlenet(num_classes=7, init_weights=False)
    stages = {f"conv{n}": f"conv{n}" for n in (1, 2, 3)}
    stages |= {f"inception{b}": f"inception{b}" for b in ("3a", "3b", "4a", "4e", "5b")}
    witness.assert_same_evaluation(
        "googlenet",
        create_model("googlenet", num_classes=7),
        witness.randomize(network),
        witness.pictures(97),  # odd: the pools hang over the edge
        stages,
    )


def test_googlenet_trains_like_torchvision(torchvision):
    network = torchvision.models.googlenet(
        num_classes=7, init_weights=False, dropout=0.0, dropout_aux=0.0
    )
    witness.assert_same_training(
        "googlenet",
        create_model("googlenet", num_classes=7, dropout=0.0, aux_dropout=0.0),
        witness.randomize(network),
        witness.pictures(96, batch=4),
    )


def test_inception_v3_evaluates_like_torchvision(torchvision):
    network = torchvision.models.inception_v3(num_classes=7, init_weights=False)
    stages = units(
        1,
        5,
        "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3",
    )
    for stage, names in (
        ("stage1", "5b 5c 5d"),
        ("stage2", "6a 6b 6e"),
        ("stage3", "7a 7b 7c"),
    ):
        for name in names.split():
            stages[f"{stage}/mixed{'abcde'.index(name[1]) + (stage != 'stage1')}"] = (
                f"Mixed_{name}"
            )
    witness.assert_same_evaluation(
        "inception_v3",
        create_model("inception_v3", num_classes=7),
        witness.randomize(network),
        witness.pictures(107),
        stages,
    )


def test_inception_v3_trains_like_torchvision(torchvision):
    network = torchvision.models.inception_v3(
        num_classes=7, init_weights=False, dropout=0.0, aux_logits=False
    )
    witness.assert_same_training(
        "inception_v3",
        create_model("inception_v3", num_classes=7, dropout=0.0, aux_heads=False),
        witness.randomize(network),
        witness.pictures(107, batch=3),
    )


def test_auxiliary_head_of_inception_v3(torchvision):
    """On the 17x17 map of 299 px pictures, which is too large for the whole network."""
    theirs = torchvision.models.inception.InceptionAux(768, 7)
    witness.randomize(theirs).train()
    x = np.random.default_rng(0).normal(size=(3, 17, 17, 768)).astype(np.float32)
    unit = partial(
        ConvNorm,
        conv=partial(Conv, use_bias=False),
        norm=partial(BatchNorm, use_running_average=False, epsilon=1e-3),
    )
    ours = AuxiliaryHead(7, unit, partial(unit, activation=None))
    state = {k: jnp.asarray(v.numpy()) for k, v in theirs.state_dict().items()}

    def convolution(n):
        return {
            "conv": {"kernel": state[f"conv{n}.conv.weight"].transpose(2, 3, 1, 0)},
            "norm": {
                "scale": state[f"conv{n}.bn.weight"],
                "bias": state[f"conv{n}.bn.bias"],
            },
        }

    params = {
        "conv1": convolution(0),
        "conv2": convolution(1),
        "head": {"kernel": state["fc.weight"].T, "bias": state["fc.bias"]},
    }
    logits, _ = jax.jit(partial(ours.apply, mutable=["batch_stats"]))(
        {"params": params}, jnp.asarray(x)
    )
    assert witness.error(logits, theirs(witness.nchw(x)).detach().numpy()) <= 1e-4


def test_inception_v4_evaluates_like_timm(timm):
    network = timm.create_model("inception_v4", num_classes=7)
    stages = {"stem/conv3": "features.2", "stem/mixed4": "features.3"}
    stages |= {"stem/mixed5": "features.4", "stem/mixed6": "features.5"}
    stages |= {"stage1/mixed1": "features.6", "stage2/mixed1": "features.10"}
    stages |= {"stage2/mixed8": "features.17", "stage3/mixed1": "features.18"}
    stages |= {"stage3/mixed4": "features.21"}
    witness.assert_same_evaluation(
        "inception_v4",
        create_model("inception_v4", num_classes=7),
        witness.randomize(network),
        witness.pictures(107, batch=1),
        stages,
    )


def test_short_inception_v4_trains_like_timm(timm, torch):
    """One module of each kind: their gradients pass through every kind of step."""
    network = timm.create_model("inception_v4", num_classes=7)
    kept = [*range(7), 10, 11, 18, 19]
    network.features = torch.nn.Sequential(
        OrderedDict((str(i), network.features[i]) for i in kept)
    )
    witness.assert_same_training(
        "inception_v4",
        create_model("inception_v4", num_classes=7, dropout=0.0, modules=(1, 1, 1)),
        witness.randomize(network),
        witness.pictures(107, batch=3),
    )


IRV2_STEM = "conv2d_1a conv2d_2a conv2d_2b conv2d_3b conv2d_4a"


def test_inception_resnet_v2_evaluates_like_timm(timm):
    network = timm.create_model("inception_resnet_v2", num_classes=7)
    stages = units(1, 5, IRV2_STEM)
    stages |= {"stage1/entry": "mixed_5b", "stage1/block1": "repeat.0"}
    stages |= {"stage1": "repeat", "stage2/entry": "mixed_6a", "stage2": "repeat_1"}
    stages |= {"stage3/entry": "mixed_7a", "stage3": "repeat_2"}
    stages |= {"last_block": "block8", "last_conv": "conv2d_7b"}
    witness.assert_same_evaluation(
        "inception_resnet_v2",
        create_model("inception_resnet_v2", num_classes=7),
        witness.randomize(network),
        witness.pictures(107, batch=1),
        stages,
    )


def test_short_inception_resnet_v2_trains_like_timm(timm):
    network = timm.create_model("inception_resnet_v2", num_classes=7)
    for repeat in ("repeat", "repeat_1", "repeat_2"):
        setattr(network, repeat, getattr(network, repeat)[:1])
    witness.assert_same_training(
        "inception_resnet_v2",
        create_model(
            "inception_resnet_v2", num_classes=7, dropout=0.0, blocks=(1, 1, 1)
        ),
        witness.randomize(network),
        witness.pictures(107, batch=3),
    )


@pytest.mark.parametrize("size", [5, 13, 17])
def test_local_response_norm_like_torch(torch, size):
    from covjax.blocks.local_response import local_response_norm

    x = 9 * np.random.default_rng(0).normal(size=(2, 3, 3, size)).astype(np.float32)
    # torch divides alpha by the size of the window
    theirs = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    expected = witness.nhwc(theirs(witness.nchw(x)))
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), expected, rtol=1e-5)
