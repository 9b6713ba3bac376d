"""covjax: the networks of COVID-19 chest imaging in JAX, with their controls."""

import os
from importlib.metadata import version

__version__ = "0.1.0"


def _products_stay_alone() -> None:
    """Has XLA's CPU library take matrix products, but nothing that follows them.

    With jaxlib 0.10.1 a 1x1 convolution and the average pooling behind it become one
    call of that library, which writes outside its memory where the map is odd, 9x9 for
    one: "free(): invalid size". With "dot" in place of "individual_dot" sums of
    products are wrong, as in jax#39103 (tests/test_jax_versions.py has both cases).
    DenseNet-121, 64 px, batch 16, seconds a step: 0.18 so, 0.18 with XLA's default,
    0.21 without the library. XLA reads this before its first program; a choice of the
    user's own stays. Later versions may not know the flag and would stop at it.
    """
    name, flags = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS")
    if version("jaxlib").startswith(("0.10.", "0.11.")) and name not in (flags or ""):
        added = f"{name}=individual_dot"
        os.environ["XLA_FLAGS"] = " ".join(filter(None, (flags, added)))


_products_stay_alone()
