"""Keras' side, on the JAX backend: its applications by its own compiled step."""

import os
from typing import Any

import jax
import numpy as np

from benchmarks.side import LEARNING_RATE, MOMENTUM, Case, normalised
from covjax.interop.files import keras_layer
from covjax.interop.keras import from_keras
from covjax.interop.keras_names import KERAS

SAME = {"padding": "SAME", "epsilon": 1e-3}
# covjax's name: (Keras' class, arguments that give covjax's network its conventions)
APPLICATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "densenet121": ("DenseNet121", {}),
    "densenet169": ("DenseNet169", {}),
    "densenet201": ("DenseNet201", {}),
    "efficientnet_b0": ("EfficientNetB0", {}),
    "inception_resnet_v2": ("InceptionResNetV2", {}),
    "inception_v3": ("InceptionV3", {"aux_heads": False, "count_include_pad": False}),
    "mobilenet_v1": ("MobileNet", {}),
    "mobilenet_v2": ("MobileNetV2", SAME),
    "xception": ("Xception", {}),
}


class KerasSide:
    """`train_on_batch` of a compiled model, or its jitted inference.

    Pictures lie on the device. `variables` are the network's weights as covjax's, or
    None where Keras' network has other layers (EfficientNet normalises inside).
    """

    def __init__(self, case: Case):
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        self.case = case
        mixed = case.precision == "bfloat16"
        keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
        self.network = getattr(keras.applications, APPLICATIONS[case.model][0])(
            weights=None,
            classes=case.classes,
            input_shape=case.shape,
            classifier_activation=None,
        )
        randomize(self.network)
        self.network.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE, MOMENTUM),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
        )
        self.variables = self.as_covjax() if case.model in KERAS else None
        self.weights = (
            [v.value for v in self.network.trainable_variables],
            [v.value for v in self.network.non_trainable_variables],
        )
        self.x = jax.device_put(normalised(case.pictures(case.batch)))
        self.y = jax.device_put(case.labels())
        self.call = jax.jit(
            lambda weights, x: self.network.stateless_call(*weights, x, training=False)
        )
        trained = sum(np.prod(v.shape) for v in self.network.trainable_variables)
        self.facts = {"parameters": int(trained)}

    def as_covjax(self) -> Any:
        """The network's weights as covjax's variables."""
        tensors: dict[str, np.ndarray] = {}
        for layer in self.network.layers:
            tensors |= keras_layer(layer.name, [np.asarray(w) for w in layer.weights])
        return from_keras(self.case.model, tensors, self.case.shapes())

    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """See `Side`."""
        return np.asarray(self.call(self.weights, normalised(pictures))[0], np.float32)

    def steps(self, count: int) -> None:
        """See `Side`."""
        result: Any = None
        for _ in range(count):
            if self.case.mode == "train":
                result = self.network.train_on_batch(self.x, self.y)
            else:
                result = self.call(self.weights, self.x)
        jax.block_until_ready(result)


def randomize(network: Any) -> None:
    """Weights that keep the signal's size; nothing stays at a neutral 0 or 1."""
    rng = np.random.default_rng(0)
    values = []
    for weight in network.weights:
        shape = weight.shape
        if "kernel" in weight.name:
            fan_in = np.prod(shape[:2] if shape[-1] == 1 else shape[:-1])
            kernel = rng.standard_normal(shape, np.float32)
            values.append(kernel * np.float32((2 / fan_in) ** 0.5))
        elif weight.name == "count" or weight.dtype != "float32":
            values.append(np.asarray(weight))
        else:
            low = (
                0.7 if weight.name in ("gamma", "moving_variance", "variance") else -0.2
            )
            values.append(rng.uniform(low, low + 0.5, shape).astype(np.float32))
    network.set_weights(values)
