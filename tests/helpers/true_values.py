"""A graph evaluated with 800 digits and unlimited exponents: the true values of its formulas."""

from functools import lru_cache

import mpmath
import numpy as np

from staticgrad.language.ir.graph import Constant, Input

context = mpmath.MPContext()
context.dps = 800
_ROOT_TWO = context.sqrt(2)


def _each(function):
    """Return the function of arrays of numbers; NaN outside of its domain and at its poles."""

    @lru_cache(2048)  # differences move few of the elements
    def of_numbers(*numbers):
        try:
            value = function(*numbers)
        except (ValueError, ZeroDivisionError):
            return context.nan
        return context.nan if isinstance(value, context.mpc) else value

    return np.errstate(all="ignore")(np.vectorize(of_numbers, otypes=[object]))


def _ndtr(x):
    return context.erfc(-x / _ROOT_TWO) / 2


def _positive(function):
    """Return the function over positive operands alone."""
    return lambda *numbers: function(*numbers) if min(numbers) > 0 else context.nan


FUNCTIONS = {
    "exp": context.exp,
    "exp2": lambda x: context.mpf(2) ** x,
    "expm1": context.expm1,
    "log": context.log,
    "log2": lambda x: context.log(x) / context.log(2),
    "log10": lambda x: context.log(x) / context.log(10),
    "log1p": context.log1p,
    "logaddexp": lambda x, y: max(x, y) + context.log1p(context.exp(-abs(x - y))),
    "sigmoid": lambda x: 1 / (1 + context.exp(-x)),
    "logit": lambda p: context.log(p / (1 - p)),
    "erf": context.erf,
    "erfc": context.erfc,
    "erfcx": lambda x: context.exp(x * x) * context.erfc(x),
    "ndtr": _ndtr,
    "log_ndtr": lambda x: context.log(_ndtr(x)) if x < 0 else context.log1p(-_ndtr(-x)),
    "sin": context.sin,
    "cos": context.cos,
    "tan": context.tan,
    "asin": context.asin,
    "acos": context.acos,
    "atan": context.atan,
    "atan2": context.atan2,
    "multiply_add": lambda x, y, z: x * y + z,
    "sinh": context.sinh,
    "cosh": context.cosh,
    "tanh": context.tanh,
    "asinh": context.asinh,
    "acosh": context.acosh,
    "atanh": context.atanh,
    "gamma": _positive(context.gamma),
    "gammaln": _positive(context.loggamma),
    "digamma": _positive(context.digamma),
    "betaln": _positive(lambda a, b: context.log(context.beta(a, b))),
    "i0": lambda x: context.besseli(0, x),
    "i1": lambda x: context.besseli(1, x),
    "i0e": lambda x: context.besseli(0, x) * context.exp(-abs(x)),
    "i1e": lambda x: context.besseli(1, x) * context.exp(-abs(x)),
    "xlogy": lambda x, y: x * context.log(y),
    "xlog1py": lambda x, y: x * context.log1p(y),
    "entr": lambda x: -x * context.log(x),
    "rel_entr": _positive(lambda x, y: x * context.log(x / y)),
    "kl_div": _positive(lambda x, y: x * context.log(x / y) - x + y),
    "cast": lambda x: x,
    "abs": abs,
    "sqrt": context.sqrt,
    "cbrt": lambda x: context.sign(x) * context.cbrt(abs(x)),
    "hypot": context.hypot,
    "neg": lambda x: -x,
    "maximum": max,
    "minimum": min,
    "at_least": max,
    "at_most": min,
    "relu": lambda x: max(x, context.mpf(0)),
    "sign": context.sign,
    "stop_gradient": lambda x: x,
    "checkpoint": lambda x: x,
    "checkpoint_name": lambda x: x,
    "again": lambda x: x,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "fmod": lambda x, y: x - y * (context.floor(x / y) if x / y > 0 else context.ceil(x / y)),
    "remainder": lambda x, y: x - y * context.floor(x / y),
    "lt": lambda x, y: x < y,
    "gt": lambda x, y: x > y,
    "le": lambda x, y: x <= y,
    "ge": lambda x, y: x >= y,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "logical_not": lambda x: not x,
    "logical_and": lambda x, y: x and y,
    "logical_or": lambda x, y: x or y,
    "where": lambda condition, x, y: x if condition else y,
}
_ON_ARRAYS = {name: _each(function) for name, function in FUNCTIONS.items()}


def true_values(graph, feeds):
    """The first output in float64, each operation on the way with all digits.

    Raises:
        KeyError: an op that is not among those of the formulas tested here.
    """
    return np.array(exact_values(graph, feeds).tolist(), "float64")


def exact_values(graph, feeds):
    """The first output with all digits; feeds are arrays of floats, or of numbers with digits."""
    values = {}
    _fill(values, graph, feeds)
    (value,) = graph.outputs.values()
    return values[value.key]


def _fill(values, graph, feeds):
    """The value of every node."""
    for node in graph.nodes:
        if isinstance(node.op, Input):
            value = exact(feeds[node.op.label])
        elif isinstance(node.op, Constant):
            value = exact(node.op.data.array)
        else:
            args = [values[arg.key] for arg in node.args]
            value = apply_op(node.op, args)
        values[(node, 0)] = np.asarray(value, object)


def apply_op(op, args):
    """The result of an op over arrays of numbers with all digits."""
    if op.name in _ON_ARRAYS:
        return _ON_ARRAYS[op.name](*args)
    if op.name in ("sum", "max"):
        return getattr(np, op.name)(args[0], axis=op.axes)
    if op.name in ("broadcast", "reshape", "transpose", "slice"):
        return op.reference(*args)
    if op.name in ("take", "take_along"):
        return op.reference(args[0], args[1].astype("int64"))
    if op.name in ("scatter_add", "scatter_along", "pad"):
        return _assemble_elements(op, args)
    if op.name == "integer_pow":
        return _each(lambda x: x**op.exponent)(args[0])
    if op.name == "flat_power":
        return _each(lambda x: context.power(x, op.exponent) if x else _at_zero(op))(args[0])
    raise KeyError(op.name)


def _at_zero(op):
    """The power of a length of 0: the slope is 0, and its derivatives are not known."""
    return context.mpf(0) if op.exponent > -1 else context.nan


def _assemble_elements(op, args):
    """Each element of the result is one of the operand, or 0: the positions tell which."""
    places = np.arange(1.0, args[0].size + 1).reshape(args[0].shape)
    positions = op.reference(places, *(indices.astype("int64") for indices in args[1:]))
    elements = np.concatenate([[context.mpf(0)], args[0].reshape(-1)])
    return elements[positions.astype("int64")]


def exact(array):
    """The numbers of an array with all digits."""
    return np.vectorize(context.convert, otypes=[object])(np.asarray(array, object))
