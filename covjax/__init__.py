"""covjax: the networks of COVID-19 chest imaging in JAX, with their controls."""

import os
from importlib.metadata import version

__version__ = "0.1.0"


def _fuse_products_alone() -> None:
    """Has XLA's CPU library take matrix products, but not what follows them.

    With jaxlib 0.10.1 a 1x1 convolution and the average pooling behind it become one
    call of that library, which writes outside its memory where the map is odd, 9x9 for
    one: "free(): invalid size" (tests/test_jax_versions.py has the case). In 0.10.2
    the same kind of fusion gave wrong sums (jax#39103). DenseNet-121, 64 px, batch 16:
    0.170 s a step so, 0.176 s with XLA's default. XLA reads this before its first
    program; a choice of the user's own stays. Later versions may not know the flag and
    would stop at it.
    """
    name, flags = "--xla_cpu_experimental_ynn_fusion_type", os.environ.get("XLA_FLAGS")
    if version("jaxlib").startswith(("0.10.", "0.11.")) and name not in (flags or ""):
        os.environ["XLA_FLAGS"] = " ".join(filter(None, (flags, f"{name}=dot")))


_fuse_products_alone()
