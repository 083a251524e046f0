"""A graph evaluated with 800 digits and unlimited exponents: the true values of its formulas."""

import mpmath
import numpy as np

from staticgrad.language.ir.graph import Constant, Input

_context = mpmath.MPContext()
_context.dps = 800


def _each(function):
    return np.vectorize(function, otypes=[object])


_FUNCTIONS = {
    "exp": _each(_context.exp),
    "log": _each(lambda x: _context.nan if x < 0 else _context.log(x) if x else -_context.inf),
    "log1p": _each(
        lambda x: _context.nan if x < -1 else _context.log(1 + x) if x > -1 else -_context.inf
    ),
    "expm1": _each(lambda x: _context.exp(x) - 1),
    "sigmoid": _each(lambda x: 1 / (1 + _context.exp(-x))),
    "erf": _each(_context.erf),
    "erfc": _each(_context.erfc),
    "tanh": _each(_context.tanh),
    "cosh": _each(_context.cosh),
    "sinh": _each(_context.sinh),
    "cast": lambda x: x,
    "abs": _each(abs),
    "sqrt": _each(lambda x: _context.nan if x < 0 else _context.sqrt(x)),
    "hypot": _each(_context.hypot),
    "neg": _each(lambda x: -x),
    "maximum": _each(max),
    "minimum": _each(min),
    "sign": _each(_context.sign),
    "stop_gradient": lambda x: x,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _each(lambda x, y: x / y if y else _context.nan),
    "lt": _each(lambda x, y: x < y),
    "gt": _each(lambda x, y: x > y),
    "le": _each(lambda x, y: x <= y),
    "ge": _each(lambda x, y: x >= y),
    "eq": _each(lambda x, y: x == y),
    "ne": _each(lambda x, y: x != y),
    "logical_not": _each(lambda x: not x),
    "logical_and": _each(lambda x, y: x and y),
    "logical_or": _each(lambda x, y: x or y),
    "where": lambda condition, x, y: np.where(condition.astype(bool), x, y),
}


def true_values(graph, feeds):
    """The first output in float64, each operation on the way with all digits.

    Raises:
        KeyError: an op that is not among those of the formulas tested here.
    """
    values = {}
    with np.errstate(all="ignore"):
        _fill(values, graph, feeds)
    (value,) = graph.outputs.values()
    return np.array(values[value.key].tolist(), "float64")


def _fill(values, graph, feeds):
    """The value of every node."""
    for node in graph.nodes:
        if isinstance(node.op, Input):
            value = _exact(feeds[node.op.label])
        elif isinstance(node.op, Constant):
            value = _exact(node.op.data.array)
        else:
            args = [values[arg.key] for arg in node.args]
            value = _apply_op(node.op, args)
        values[(node, 0)] = np.asarray(value, object)


def _apply_op(op, args):
    if op.name in _FUNCTIONS:
        return _FUNCTIONS[op.name](*args)
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
        return _each(lambda x: _context.power(x, op.exponent) if x else _at_zero(op))(args[0])
    raise KeyError(op.name)


def _at_zero(op):
    """The power of a length of 0: the slope is 0, and its derivatives are not known."""
    return _context.mpf(0) if op.exponent > -1 else _context.nan


def _assemble_elements(op, args):
    """Each element of the result is one of the operand, or 0: the positions tell which."""
    places = np.arange(1.0, args[0].size + 1).reshape(args[0].shape)
    positions = op.reference(places, *(indices.astype("int64") for indices in args[1:]))
    elements = np.concatenate([[_context.mpf(0)], args[0].reshape(-1)])
    return elements[positions.astype("int64")]


def _exact(array):
    return _each(lambda x: _context.mpf(float(x)))(np.asarray(array))
