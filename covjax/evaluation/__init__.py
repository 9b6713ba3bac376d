"""Measures with intervals, controls, explanation and the report."""
