"""Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."""

from staticgrad.functions.aggregate import (
    all, max as amax, min as amin, any, argmax, argmin, max, mean, min, reduce_and, reduce_or,
    reduce_xor, std, sum, var
)
from staticgrad.functions.arrange import (
    array_split, diag, diagflat, dsplit, hsplit, meshgrid, pad, repeat, roll, rot90, split,
    tile, trace, vsplit
)
from staticgrad.functions.bounded import (
    argwhere, compress, dynamic_slice, dynamic_update_slice, extract, flatnonzero, intersect1d,
    nonzero, segment_max, segment_min, segment_prod, segment_sum, setdiff1d, setxor1d, union1d,
    unique
)
from staticgrad.functions.checkpoints.marks import (
    checkpoint, checkpoint_name
)
from staticgrad.functions.coefficients import (
    poly, polyadd, polyder, polyfit, polyint, polymul, polysub, roots
)
from staticgrad.functions.complex_numbers import (
    abs_square, angle, complex, imag, iscomplex, isreal, real
)
from staticgrad.functions.creation import (
    arange, constant, eye, full, full_like, geomspace, identity, input, linspace, logspace,
    one_hot, ones, ones_like, parameter, tri, tril, triu, vander, zeros, zeros_like
)
from staticgrad.functions.curves import (
    cumlogsumexp, cummax, cummin, cumulative_prod, cumulative_sum, diff, ediff1d, gradient,
    cumlogsumexp as logcumsumexp, trapezoid, unwrap
)
from staticgrad.functions.elementwise import (
    allclose, array_equal, array_equiv, choose, copy, deg2rad, rad2deg as degrees, divmod, fabs,
    float_power, fmax, fmin, heaviside, isclose, isneginf, isposinf, logaddexp2, nan_to_num,
    piecewise, rad2deg, deg2rad as radians, round, select, sinc
)
from staticgrad.functions.filters import (
    convolve, correlate, interp, polyval, resize, sliding_window_view
)
from staticgrad.functions.index_arrays import (
    diag_indices, fromfunction, indices, ix_, mask_indices, ravel_multi_index, tril_indices,
    tril_indices_from, triu_indices, triu_indices_from, unravel_index
)
from staticgrad.functions.indexing import (
    append, at, atleast_1d, atleast_2d, atleast_3d, block, column_stack, dstack, fliplr, flipud,
    delete, getitem, hstack, insert, matrix_transpose, rollaxis, unstack, vstack
)
from staticgrad.functions.kinks import (
    conventions
)
from staticgrad.functions.loops import (
    associative_scan, cond, fori_loop, map_slices as map, scan, switch, while_loop
)
from staticgrad.functions.missing_values import (
    nanargmax, nanargmin, nancumprod, nancumsum, nanmax, nanmean, nanmin, nanprod, nanstd,
    nansum, nanvar
)
from staticgrad.functions.products import (
    cross, dot, einsum, inner, kron, matvec, outer, tensordot, vdot, vecdot, vecmat
)
from staticgrad.functions.statistics import (
    argpartition, average, bincount, corrcoef, count_nonzero, cov, digitize, histogram,
    histogram2d, histogram_bin_edges, histogramdd, isin, lexsort, median, nanmedian,
    nanpercentile, nanquantile, norm, partition, percentile, prod, ptp, quantile
)
from staticgrad.functions.substitution import (
    replace, vectorize
)
from staticgrad.functions.tapers import (
    bartlett, blackman, hamming, hanning, kaiser
)
from staticgrad.functions.whole_numbers import (
    bitwise_count, frexp, gcd, lcm, ldexp, modf, nextafter, spacing
)
from staticgrad.language.ir.graph import (
    Graph
)
from staticgrad.language.ir.nodes import (
    Parameter
)
from staticgrad.language.ir.value import (
    Value
)
from staticgrad.language.ops.arithmetic import (
    absolute as abs, absolute, add, ceil, conj, conj as conjugate, divide, trunc as fix, floor,
    floor_divide, fmod, isfinite, isinf, isnan, left_shift, remainder as mod, multiply,
    negative, positive, power as pow, power, reciprocal, remainder, right_shift, rint, sign,
    signbit, square, subtract, trunc
)
from staticgrad.language.ops.contract import (
    matmul
)
from staticgrad.language.ops.convert import (
    astype, size_value
)
from staticgrad.language.ops.custom import (
    custom_jvp, custom_vjp, host_call, numba_call
)
from staticgrad.language.ops.indexing import (
    concatenate as concat, concatenate, diagonal, flip, scatter_add, stack, take,
    take_along_axis
)
from staticgrad.language.ops.logic import (
    bitwise_and, bitwise_or, bitwise_xor, equal, greater, greater_equal, invert, less,
    less_equal, logical_and, logical_not, logical_or, logical_xor, not_equal
)
from staticgrad.language.ops.marks import (
    stop_gradient
)
from staticgrad.language.ops.movement import (
    broadcast_arrays, broadcast_to, expand_dims, moveaxis, ravel, reshape, squeeze, swapaxes,
    transpose
)
from staticgrad.language.ops.positions import (
    iota
)
from staticgrad.language.ops.scans import (
    cumprod, cumsum, linear_scan
)
from staticgrad.language.ops.selection import (
    clip, copysign, maximum, minimum, where
)
from staticgrad.language.ops.sorting import (
    argsort, searchsorted, sort, topk
)
from staticgrad.language.ops.special import (
    i0
)
from staticgrad.language.ops.transcendental import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cbrt, cos, cosh, erf, erfc, exp,
    exp2, expm1, hypot, log, log10, log1p, log2, logaddexp, sigmoid, sin, sinh, sqrt, tan, tanh,
    xlogy
)
from staticgrad.programs.along_axes import (
    apply_along_axis, apply_over_axes
)
from staticgrad.programs.transformed import (
    vmap
)

__all__ = [
    "Graph", "Parameter", "Value", "abs", "abs_square", "absolute", "add", "all", "allclose",
    "amax", "amin", "angle", "any", "append", "apply_along_axis", "apply_over_axes", "arange",
    "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax",
    "argmin", "argpartition", "argsort", "argwhere", "array_equal", "array_equiv",
    "array_split", "associative_scan", "astype", "at", "atleast_1d", "atleast_2d", "atleast_3d",
    "average", "bartlett", "bincount", "bitwise_and", "bitwise_count", "bitwise_or",
    "bitwise_xor", "blackman", "block", "broadcast_arrays", "broadcast_to", "cbrt", "ceil",
    "checkpoint", "checkpoint_name", "choose", "clip", "column_stack", "complex", "compress",
    "concat", "concatenate", "cond", "conj", "conjugate", "constant", "conventions", "convolve",
    "copy", "copysign", "corrcoef", "correlate", "cos", "cosh", "count_nonzero", "cov", "cross",
    "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "cumulative_prod",
    "cumulative_sum", "custom_jvp", "custom_vjp", "deg2rad", "degrees", "delete", "diag",
    "diag_indices", "diagflat", "diagonal", "diff", "digitize", "divide", "divmod", "dot",
    "dsplit", "dstack", "dynamic_slice", "dynamic_update_slice", "ediff1d", "einsum", "equal",
    "erf", "erfc", "exp", "exp2", "expand_dims", "expm1", "extract", "eye", "fabs", "fix",
    "flatnonzero", "flip", "fliplr", "flipud", "float_power", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "fori_loop", "frexp", "fromfunction", "full", "full_like", "gcd",
    "geomspace", "getitem", "gradient", "greater", "greater_equal", "hamming", "hanning",
    "heaviside", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "host_call",
    "hsplit", "hstack", "hypot", "i0", "identity", "imag", "indices", "inner", "input",
    "insert", "interp", "intersect1d", "invert", "iota", "isclose", "iscomplex", "isfinite",
    "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "ix_", "kaiser", "kron", "lcm",
    "ldexp", "left_shift", "less", "less_equal", "lexsort", "linear_scan", "linspace", "log",
    "log10", "log1p", "log2", "logaddexp", "logaddexp2", "logcumsumexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logspace", "map", "mask_indices", "matmul",
    "matrix_transpose", "matvec", "max", "maximum", "mean", "median", "meshgrid", "min",
    "minimum", "mod", "modf", "moveaxis", "multiply", "nan_to_num", "nanargmax", "nanargmin",
    "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile",
    "nanprod", "nanquantile", "nanstd", "nansum", "nanvar", "negative", "nextafter", "nonzero",
    "norm", "not_equal", "numba_call", "one_hot", "ones", "ones_like", "outer", "pad",
    "parameter", "partition", "percentile", "piecewise", "poly", "polyadd", "polyder",
    "polyfit", "polyint", "polymul", "polysub", "polyval", "positive", "pow", "power", "prod",
    "ptp", "quantile", "rad2deg", "radians", "ravel", "ravel_multi_index", "real", "reciprocal",
    "reduce_and", "reduce_or", "reduce_xor", "remainder", "repeat", "replace", "reshape",
    "resize", "right_shift", "rint", "roll", "rollaxis", "roots", "rot90", "round", "scan",
    "scatter_add", "searchsorted", "segment_max", "segment_min", "segment_prod", "segment_sum",
    "select", "setdiff1d", "setxor1d", "sigmoid", "sign", "signbit", "sin", "sinc", "sinh",
    "size_value", "sliding_window_view", "sort", "spacing", "split", "sqrt", "square",
    "squeeze", "stack", "std", "stop_gradient", "subtract", "sum", "swapaxes", "switch", "take",
    "take_along_axis", "tan", "tanh", "tensordot", "tile", "topk", "trace", "transpose",
    "trapezoid", "tri", "tril", "tril_indices", "tril_indices_from", "triu", "triu_indices",
    "triu_indices_from", "trunc", "union1d", "unique", "unravel_index", "unstack", "unwrap",
    "vander", "var", "vdot", "vecdot", "vecmat", "vectorize", "vmap", "vsplit", "vstack",
    "where", "while_loop", "xlogy", "zeros", "zeros_like"
]
