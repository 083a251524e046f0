"""Linear systems whose matrix is a function, and slopes of functions at a value."""

from staticgrad.programs.linear_systems import leaf, linear, recording, slope, transpose_linear

# fmt: off
__all__ = [
    "leaf", "linear", "recording", "slope", "transpose_linear",
]
# fmt: on
