"""The networks: the table `MODELS` of names, and `create_model`.

The table is in `covjax.models.table`. It is read at its first use, because it
imports jax, for which ``python -m covjax.models --help`` should not wait.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from covjax.models.table import MODELS, Entry, create_model

__all__ = ["MODELS", "Entry", "create_model"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'covjax.models' has no attribute {name!r}")
    from covjax.models import table

    return getattr(table, name)
