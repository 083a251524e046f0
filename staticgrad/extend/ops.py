"""Functions that apply one op, in the form that other functions call.

``sg.exp`` also reads NumPy's options, and returns an array if all its operands are arrays. The
``exp`` of this module takes what ``as_value`` takes and returns a value; its error messages name
the public function that was called.
"""

from staticgrad.language.ops.arithmetic import (
    absolute,
    add,
    ceil,
    conj,
    divide,
    flat_root,
    floor,
    floor_divide,
    fmod,
    isfinite,
    isinf,
    isnan,
    left_shift,
    multiply,
    negative,
    positive,
    power,
    reciprocal,
    remainder,
    right_shift,
    rint,
    sign,
    signbit,
    square,
    subtract,
    trunc,
)
from staticgrad.language.ops.complex_readings import abs_squared
from staticgrad.language.ops.contract import matmul
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.indexing import (
    concatenate,
    diagonal,
    flip,
    part,
    scatter_add,
    stack,
    take,
    take_along_axis,
    with_zeros,
)
from staticgrad.language.ops.limits import reached_end
from staticgrad.language.ops.logic import (
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    invert,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
)
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import (
    broadcast_arrays,
    broadcast_to,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    swapaxes,
    transpose,
)
from staticgrad.language.ops.positions import iota
from staticgrad.language.ops.scans import cumprod, cumsum, linear_scan
from staticgrad.language.ops.selection import clip, copysign, maximum, minimum, where
from staticgrad.language.ops.sorting import argsort, searchsorted, sort, topk
from staticgrad.language.ops.transcendental import (
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    cbrt,
    cos,
    cosh,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    hypot,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    sigmoid,
    sin,
    sinh,
    sqrt,
    tan,
    tanh,
    xlogy,
)

# fmt: off
__all__ = [
    # Public as ``sg.NAME``
    "absolute", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "argsort", "astype", "bitwise_and", "bitwise_or", "bitwise_xor", "broadcast_arrays",
    "broadcast_to", "cbrt", "ceil", "clip", "concatenate", "conj", "copysign", "cos", "cosh",
    "cumprod", "cumsum", "diagonal", "divide", "equal", "erf", "erfc", "exp", "exp2",
    "expand_dims", "expm1", "flip", "floor", "floor_divide", "fmod", "greater", "greater_equal",
    "hypot", "invert", "iota", "isfinite", "isinf", "isnan", "left_shift", "less", "less_equal",
    "linear_scan", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "matmul", "maximum", "minimum", "moveaxis", "multiply",
    "negative", "not_equal", "positive", "power", "ravel", "reciprocal", "remainder", "reshape",
    "right_shift", "rint", "scatter_add", "searchsorted", "sigmoid", "sign", "signbit", "sin",
    "sinh", "size_value", "sort", "sqrt", "square", "squeeze", "stack", "stop_gradient",
    "subtract", "swapaxes", "take", "take_along_axis", "tan", "tanh", "topk", "transpose",
    "trunc", "where", "xlogy",
    # Parts that functions share
    "abs_squared", "flat_root", "part", "reached_end", "with_zeros",
]
# fmt: on
