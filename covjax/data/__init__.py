"""Pictures, labels, patients and splits; NumPy only, never jax."""

from covjax.data.imageset import ImageSet
from covjax.data.loading import Splits, load

__all__ = ["ImageSet", "Splits", "load"]
