"""The reference implementations, each as a fixture that gives its module.

Tests skip where a reference is not installed, and fail where it must be: CI sets
COVJAX_REQUIRE_PARITY=1.
"""

import importlib
import os
import warnings

import pytest

# torchvision's own compiled operators do not load without CUDA; they are not used
# here, but importing torchvision.models asks for their names (stack.md, section 11)
TORCHVISION_OPERATORS = ("nms", "qnms")
_keep: list = []


def reference(name: str):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, not ours
            return importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("COVJAX_REQUIRE_PARITY") == "1":
            pytest.fail(f"COVJAX_REQUIRE_PARITY=1 and no {name}: {error}")
        pytest.skip(f"no {name} to compare with: {error}")


@pytest.fixture(scope="session")
def torch():
    return reference("torch")


@pytest.fixture(scope="session")
def torchvision(torch):
    if not _keep:
        library = torch.library.Library("torchvision", "DEF")
        for name in TORCHVISION_OPERATORS:
            library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        _keep.append(library)
    return reference("torchvision")


@pytest.fixture(scope="session")
def timm(torchvision):
    return reference("timm")


@pytest.fixture(scope="session")
def keras(torch):
    # on torch: tests/conftest.py makes jax stricter than Keras' jax code is
    os.environ["KERAS_BACKEND"] = "torch"
    return reference("keras")
