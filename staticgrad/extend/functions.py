"""Functions composed of ops, in the form that other functions call."""

from staticgrad.functions.aggregate import all, any, max, mean, min, std, sum, var
from staticgrad.functions.complex_numbers import abs_square, imag, real
from staticgrad.functions.creation import (
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
from staticgrad.functions.exponential_sums import (
    constant_shift,
    largest,
    log_of_sum,
    log_one_plus_exp,
    log_sum_exp,
    shares,
)
from staticgrad.functions.operand_kinds import by_all_operands
from staticgrad.functions.quantized import (
    convolve_integers,
    multiply_integers,
    quantize_by_range,
    round_to_integers,
)
from staticgrad.functions.rowwise import rowwise
from staticgrad.functions.variants import name_function

# fmt: off
__all__ = [
    "abs_square", "all", "any", "arange", "by_all_operands", "constant", "constant_shift",
    "convolve_integers", "eye", "full", "full_like", "imag", "input", "largest", "log_of_sum",
    "log_one_plus_exp", "log_sum_exp", "max", "mean", "min", "multiply_integers", "name_function",
    "ones", "ones_like", "parameter", "quantize_by_range", "real", "round_to_integers", "rowwise",
    "shares", "std", "sum", "var", "zeros", "zeros_like",
]
# fmt: on
