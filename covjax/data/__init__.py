"""Pictures, labels, patients and splits; NumPy only, never jax."""

from covjax.data.imageset import ImageSet
from covjax.data.loading import Splits, load, load_whole

__all__ = ["ImageSet", "Splits", "load", "load_whole"]
