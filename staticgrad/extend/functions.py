"""Functions composed of ops, in the form that other functions call."""

from staticgrad.language.functions.aggregate import all, any, max, mean, min, std, sum, var
from staticgrad.language.functions.complex_numbers import abs_square, imag, real
from staticgrad.language.functions.creation import (
    arange,
    constant,
    eye,
    full,
    full_like,
    input,
    ones,
    ones_like,
    parameter,
    zeros,
    zeros_like,
)

# fmt: off
__all__ = [
    "abs_square", "all", "any", "arange", "constant", "eye", "full", "full_like", "imag",
    "input", "max", "mean", "min", "ones", "ones_like", "parameter", "real", "std", "sum",
    "var", "zeros", "zeros_like",
]
# fmt: on
