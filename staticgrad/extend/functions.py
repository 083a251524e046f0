"""Functions composed of ops, in the form that other functions call."""

from staticgrad.language.functions.aggregate import all, any, max, mean, min, std, sum, var
from staticgrad.language.functions.arrange import pad
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
from staticgrad.language.functions.nn import log_softmax, logsumexp, relu, softmax, softplus

# fmt: off
__all__ = [
    "abs_square", "all", "any", "arange", "constant", "eye", "full", "full_like", "imag",
    "input", "log_softmax", "logsumexp", "max", "mean", "min", "ones", "ones_like", "pad",
    "parameter", "real", "relu", "softmax", "softplus", "std", "sum", "var", "zeros",
    "zeros_like",
]
# fmt: on
