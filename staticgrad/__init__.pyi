"""Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``."""

import passes as passes
import staticgrad.backends as backends
import staticgrad.checkpoint_policies as checkpoint_policies
import staticgrad.comparison as comparison
import staticgrad.distributed as distributed
import staticgrad.eager as eager
import staticgrad.errors as errors
import staticgrad.extend as extend
import staticgrad.fft as fft
import staticgrad.implicit as implicit
import staticgrad.interpolate as interpolate
import staticgrad.jax as jax
import staticgrad.linalg as linalg
import staticgrad.ndimage as ndimage
import staticgrad.nn as nn
import staticgrad.numba as numba
import staticgrad.ode as ode
import staticgrad.onnx as onnx
import staticgrad.optim as optim
import staticgrad.pytensor as pytensor
import staticgrad.random as random
import staticgrad.scipy as scipy
import staticgrad.sklearn as sklearn
import staticgrad.sparse as sparse
import staticgrad.special as special
import staticgrad.stats as stats
import staticgrad.testing as testing
import staticgrad.torch as torch
import staticgrad.train as train
import staticgrad.tree as tree
import staticgrad.xp as xp
from staticgrad.analysis.evaluate import (
    evaluate
)
from staticgrad.analysis.planning.planner import (
    plan_abstract
)
from staticgrad.compiler.compiling.compiler import (
    Compiled, compile
)
from staticgrad.compiler.compiling.mixed_precision import (
    precision
)
from staticgrad.compiler.compiling.quantization import (
    quantize
)
from staticgrad.compiler.compiling.tradeoffs import (
    tradeoff
)
from staticgrad.eager.at_once import (
    eager_mode
)
from staticgrad.errors import (
    BudgetInfeasible, StaticgradError
)
from staticgrad.errors.wording import (
    StaticgradWarning
)
from staticgrad.functions import (
    arccos as acos, arccosh as acosh, arcsin as asin, arcsinh as asinh, arctan2 as atan2, arctan
    as atan, round as around, arctanh as atanh, invert as bitwise_invert, left_shift as
    bitwise_left_shift, invert as bitwise_not, right_shift as bitwise_right_shift, zeros as
    empty, zeros_like as empty_like, transpose as permute_dims, vstack as row_stack, divide as
    true_divide
)
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
from staticgrad.functions.standard import (
    asarray as array, asarray, can_cast, e, finfo, iinfo, inf, isdtype, nan, ndim, newaxis, pi,
    result_type, shape, size
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
from staticgrad.language.ir.parser import (
    parse
)
from staticgrad.language.ir.printer import (
    same_graph
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
from staticgrad.language.scopes import (
    scope
)
from staticgrad.language.types.dim import (
    dim
)
from staticgrad.language.types.dtype import (
    BF16 as bfloat16, BOOL as bool_, C128 as complex128, C64 as complex64, F16 as float16, F32
    as float32, F64 as float64, I16 as int16, I32 as int32, I64 as int64, I8 as int8, U16 as
    uint16, U32 as uint32, U64 as uint64, U8 as uint8
)
from staticgrad.programs.along_axes import (
    apply_along_axis, apply_over_axes
)
from staticgrad.programs.derivatives import (
    grad, jvp, linearize, value_and_grad, vjp
)
from staticgrad.programs.function import (
    function
)
from staticgrad.programs.sparse import (
    hessian, hvp, jacobian, sparse_hessian, sparse_jacobian
)
from staticgrad.programs.spellings import (
    elementwise_grad, eval_shape, hessian_vector_product, jacfwd, jacrev, multigrad_dict
)
from staticgrad.programs.transformed import (
    vmap
)
from staticgrad.saving import (
    load, save
)
from staticgrad.support.options import (
    options, show_config
)
from staticgrad.tools.lints import (
    lint
)

__all__ = [
    "BudgetInfeasible", "Compiled", "Graph", "Parameter", "StaticgradError",
    "StaticgradWarning", "Value", "abs", "abs_square", "absolute", "acos", "acosh", "add",
    "all", "allclose", "amax", "amin", "angle", "any", "append", "apply_along_axis",
    "apply_over_axes", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "argmax", "argmin", "argpartition", "argsort", "argwhere", "around", "array",
    "array_equal", "array_equiv", "array_split", "asarray", "asin", "asinh", "associative_scan",
    "astype", "at", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d",
    "average", "backends", "bartlett", "bfloat16", "bincount", "bitwise_and", "bitwise_count",
    "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "blackman", "block", "bool_", "broadcast_arrays", "broadcast_to", "can_cast",
    "cbrt", "ceil", "checkpoint", "checkpoint_name", "checkpoint_policies", "choose", "clip",
    "column_stack", "comparison", "compile", "complex", "complex128", "complex64", "compress",
    "concat", "concatenate", "cond", "conj", "conjugate", "constant", "conventions", "convolve",
    "copy", "copysign", "corrcoef", "correlate", "cos", "cosh", "count_nonzero", "cov", "cross",
    "cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "cumulative_prod",
    "cumulative_sum", "custom_jvp", "custom_vjp", "deg2rad", "degrees", "delete", "diag",
    "diag_indices", "diagflat", "diagonal", "diff", "digitize", "dim", "distributed", "divide",
    "divmod", "dot", "dsplit", "dstack", "dynamic_slice", "dynamic_update_slice", "e", "eager",
    "eager_mode", "ediff1d", "einsum", "elementwise_grad", "empty", "empty_like", "equal",
    "erf", "erfc", "errors", "eval_shape", "evaluate", "exp", "exp2", "expand_dims", "expm1",
    "extend", "extract", "eye", "fabs", "fft", "finfo", "fix", "flatnonzero", "flip", "fliplr",
    "flipud", "float16", "float32", "float64", "float_power", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "fori_loop", "frexp", "fromfunction", "full", "full_like", "function",
    "gcd", "geomspace", "getitem", "grad", "gradient", "greater", "greater_equal", "hamming",
    "hanning", "heaviside", "hessian", "hessian_vector_product", "histogram", "histogram2d",
    "histogram_bin_edges", "histogramdd", "host_call", "hsplit", "hstack", "hvp", "hypot", "i0",
    "identity", "iinfo", "imag", "implicit", "indices", "inf", "inner", "input", "insert",
    "int16", "int32", "int64", "int8", "interp", "interpolate", "intersect1d", "invert", "iota",
    "isclose", "iscomplex", "isdtype", "isfinite", "isin", "isinf", "isnan", "isneginf",
    "isposinf", "isreal", "ix_", "jacfwd", "jacobian", "jacrev", "jax", "jvp", "kaiser", "kron",
    "lcm", "ldexp", "left_shift", "less", "less_equal", "lexsort", "linalg", "linear_scan",
    "linearize", "linspace", "lint", "load", "log", "log10", "log1p", "log2", "logaddexp",
    "logaddexp2", "logcumsumexp", "logical_and", "logical_not", "logical_or", "logical_xor",
    "logspace", "map", "mask_indices", "matmul", "matrix_transpose", "matvec", "max", "maximum",
    "mean", "median", "meshgrid", "min", "minimum", "mod", "modf", "moveaxis", "multigrad_dict",
    "multiply", "nan", "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum",
    "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile", "nanprod", "nanquantile",
    "nanstd", "nansum", "nanvar", "ndim", "ndimage", "negative", "newaxis", "nextafter", "nn",
    "nonzero", "norm", "not_equal", "numba", "numba_call", "ode", "one_hot", "ones",
    "ones_like", "onnx", "optim", "options", "outer", "pad", "parameter", "parse", "partition",
    "passes", "percentile", "permute_dims", "pi", "piecewise", "plan_abstract", "poly",
    "polyadd", "polyder", "polyfit", "polyint", "polymul", "polysub", "polyval", "positive",
    "pow", "power", "precision", "prod", "ptp", "pytensor", "quantile", "quantize", "rad2deg",
    "radians", "random", "ravel", "ravel_multi_index", "real", "reciprocal", "reduce_and",
    "reduce_or", "reduce_xor", "remainder", "repeat", "replace", "reshape", "resize",
    "result_type", "right_shift", "rint", "roll", "rollaxis", "roots", "rot90", "round",
    "row_stack", "same_graph", "save", "scan", "scatter_add", "scipy", "scope", "searchsorted",
    "segment_max", "segment_min", "segment_prod", "segment_sum", "select", "setdiff1d",
    "setxor1d", "shape", "show_config", "sigmoid", "sign", "signbit", "sin", "sinc", "sinh",
    "size", "size_value", "sklearn", "sliding_window_view", "sort", "spacing", "sparse",
    "sparse_hessian", "sparse_jacobian", "special", "split", "sqrt", "square", "squeeze",
    "stack", "stats", "std", "stop_gradient", "subtract", "sum", "swapaxes", "switch", "take",
    "take_along_axis", "tan", "tanh", "tensordot", "testing", "tile", "topk", "torch", "trace",
    "tradeoff", "train", "transpose", "trapezoid", "tree", "tri", "tril", "tril_indices",
    "tril_indices_from", "triu", "triu_indices", "triu_indices_from", "true_divide", "trunc",
    "uint16", "uint32", "uint64", "uint8", "union1d", "unique", "unravel_index", "unstack",
    "unwrap", "value_and_grad", "vander", "var", "vdot", "vecdot", "vecmat", "vectorize", "vjp",
    "vmap", "vsplit", "vstack", "where", "while_loop", "xlogy", "xp", "zeros", "zeros_like"
]
__version__: str
