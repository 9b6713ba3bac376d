"""Keras applications' own files, read into covjax: equal logits.

Random weights; half of the networks travel in Keras' older format. Keras' VGG is the
same names and axes at 140 M parameters: tests/interop checks its names.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import witness

from covjax.interop.weights import load_pretrained
from covjax.models import create_model

# covjax name: (Keras class, picture size, file, arguments for Keras' conventions)
NETWORKS = {
    "densenet121": ("DenseNet121", 45, "h5", {}),
    "inception_resnet_v2": ("InceptionResNetV2", 96, "keras", {}),
    "inception_v3": (
        "InceptionV3",
        96,
        "h5",
        {"aux_heads": False, "count_include_pad": False},
    ),
    # Keras pads v1 on two sides alone, which is "SAME" where sizes are even
    "mobilenet_v1": ("MobileNet", 64, "keras", {}),
    "mobilenet_v2": (
        "MobileNetV2",
        46,
        "keras",
        {"padding": "SAME", "epsilon": 1e-3},
    ),
    "xception": ("Xception", 75, "h5", {}),
}
NORMALISATION = {
    "densenet121": {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
}


def randomize(network):
    rng = np.random.default_rng(0)
    weights = []
    for weight in network.weights:
        shape = weight.shape
        if "kernel" in weight.name:
            fan_in = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
            weights.append(rng.normal(0, (2 / fan_in) ** 0.5, shape))
        else:
            low = 0.7 if weight.name in ("gamma", "moving_variance") else -0.2
            weights.append(rng.uniform(low, low + 0.5, shape))
    network.set_weights(weights)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore")  # Keras' and torch's own
def test_keras_files(keras, tmp_path, name):
    maker, size, suffix, kwargs = NETWORKS[name]
    network = getattr(keras.applications, maker)(
        weights=None,
        classes=5,
        input_shape=(size, size, 3),
        classifier_activation=None,
    )
    randomize(network)
    path = tmp_path / f"network.{suffix}"
    network.save(path)

    x = witness.pictures(size)
    model = create_model(name, num_classes=5, **kwargs)
    template = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.asarray(x), train=False)
    )
    variables = load_pretrained(
        str(path),
        name,
        {k: template[k] for k in ("params", "batch_stats")},
        channels=3,
        new_head=False,
        **NORMALISATION.get(name, {"mean": (0.5,), "std": (0.5,)}),
    )
    ours = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)
    theirs = keras.ops.convert_to_numpy(network(x, training=False))
    assert witness.error(ours, theirs) <= witness.TOLERANCE
