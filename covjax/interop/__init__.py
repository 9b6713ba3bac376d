"""Weights of other libraries in, portable programs out."""
