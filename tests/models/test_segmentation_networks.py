"""FC-DenseNet103 and the small U-Net: counts, sizes, learning."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from covjax.errors import InputError
from covjax.models.fc_densenet import FCDenseNet, FCDenseNet103
from covjax.models.unet import UNet

KEY = jax.random.key(0)
TINY = FCDenseNet(
    num_classes=2, down=(2,), bottleneck=1, up=(1,), growth_rate=8, stem_features=4
)
# these programs run once: the compiler need not try hard
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def init(model, size, channels=1):
    x = jnp.zeros((1, *size, channels))
    return jax.eval_shape(lambda: model.init_with_output(KEY, x, train=False))


def test_fc_densenet103_count():
    """9,319,428 trained parameters, 103 convolutions (Jégou et al., table 2)."""
    y, variables = init(FCDenseNet103(num_classes=4), (256, 256))
    params = variables["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 9_319_428
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    assert sum(path[-1].key == "kernel" for path, _ in paths) == 103
    assert y.shape == (1, 256, 256, 4)
    assert params["head"]["kernel"].shape == (1, 1, 256, 4)


def test_fc_densenet_skips_and_upsampling():
    """What goes up is a block's new maps alone: growth times its layers."""
    _, variables = init(FCDenseNet103(num_classes=4), (64, 64))
    for i, layers in enumerate((15, 12, 10, 7, 5), start=1):
        kernel = variables["params"][f"unpool{i}"]["conv"]["kernel"]
        assert kernel.shape == (3, 3, 16 * layers, 16 * layers)


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize("model", [FCDenseNet103(num_classes=3), UNet(num_classes=3)])
def test_any_size_is_kept(model, size):
    y, _ = init(model, size)
    assert y.shape == (1, *size, 3)
    assert y.dtype == jnp.float32


def test_too_small_is_an_error():
    with pytest.raises(InputError, match="32x32"):
        init(FCDenseNet103(num_classes=2), (31, 40))
    with pytest.raises(InputError, match="8x8"):
        init(UNet(num_classes=2), (7, 8))


@pytest.mark.parametrize(
    "model", [TINY, UNet(num_classes=2, widths=(4, 8))], ids=["fc_densenet", "unet"]
)
def test_learns_where_a_bright_square_is(model):
    rng = np.random.default_rng(0)
    masks = np.zeros((4, 16, 16), np.int32)
    for mask in masks:
        top, left = rng.integers(1, 8, 2)
        mask[top : top + 7, left : left + 7] = 1
    x = jnp.asarray(masks[..., None] + rng.normal(0, 0.2, (4, 16, 16, 1)), jnp.float32)
    variables = jit(lambda x: model.init(KEY, x, train=False))(x)
    optimizer = optax.adam(1e-2)

    def loss(params, stats, key):
        logits, new = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, masks)
        return losses.mean(), new["batch_stats"]

    def step(carry, key):
        params, stats, opt_state = carry
        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, stats, key
        )
        updates, opt_state = optimizer.update(gradient, opt_state)
        return (optax.apply_updates(params, updates), stats, opt_state), value

    carry = (
        variables["params"],
        variables["batch_stats"],
        optimizer.init(variables["params"]),
    )
    _, losses = jit(lambda c: jax.lax.scan(step, c, jax.random.split(KEY, 40)))(carry)
    assert float(losses[-1]) < 0.2 < float(losses[0])


def test_dropout_drops_whole_maps():
    layer = FCDenseNet103(num_classes=2)
    assert layer.dropout_rate == 0.2
    x = jax.random.normal(KEY, (2, 16, 16, 1))
    variables = jit(lambda x: TINY.init(KEY, x, train=False))(x)

    def new_maps(key):
        _, state = TINY.apply(
            variables,
            x,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: module.path == ("down1",),
        )
        return state["intermediates"]["down1"]["__call__"][0]

    maps = np.asarray(jit(new_maps)(jax.random.key(3)))
    dropped = np.all(maps == 0, axis=(1, 2))
    assert 0 < dropped.mean() < 0.6
    np.testing.assert_array_equal(np.any(maps == 0, axis=(1, 2)), dropped)
