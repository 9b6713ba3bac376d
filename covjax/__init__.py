"""covjax: the networks of COVID-19 chest imaging in JAX, with their controls."""

__version__ = "0.1.0"
