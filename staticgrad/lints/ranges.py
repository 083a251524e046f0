"""In which interval a value lies, and whether it can be zero, as far as its formula says.

One walk over the graph, operands first. Intervals speak of real numbers: an exponential is positive
although it can round to 0. Whoever asks decides what is a hazard; nothing here knows a lint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final

from staticgrad.analysis.users import ValueKey
from staticgrad.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.ops.operands import Linear
from staticgrad.types.dim import bounds
from staticgrad.types.tensor import TensorType

_INF: Final = math.inf
#: Larger constants are not read.
_READ: Final = 1 << 16


class Zero(IntEnum):
    """Whether a value can be zero.

    ``CHOSEN``: it is zero where a choice put a zero, through which no gradient flows.
    ``REACHED``: the formula reaches zero smoothly, for ordinary operands: ``x * x`` at 0.
    """

    NEVER = 0
    MAYBE = 1
    CHOSEN = 2
    REACHED = 3


@dataclass(frozen=True)
class Range:
    """``low <= value <= high`` for every element; ``zero`` says whether one can be 0."""

    low: float = -_INF
    high: float = _INF
    zero: Zero = Zero.MAYBE

    @property
    def positive(self) -> bool:
        """At least 0, and never 0."""
        return self.low >= 0 and self.zero is Zero.NEVER

    @property
    def number(self) -> float | None:
        """The one number that every element is, if it is known."""
        return self.low if self.low == self.high else None


ANY: Final = Range()
_POSITIVE: Final = Range(0.0, _INF, Zero.NEVER)
Ranges = Mapping[ValueKey, Range]
_Rule = Callable[[Node, Any], Range]


def ranges_of(graph: Graph) -> dict[ValueKey, Range]:
    """The range of every value of ``graph``."""
    found: dict[ValueKey, Range] = {}
    for node in graph.nodes:
        operands = [found[arg.key] for arg in node.args]
        rule = _RULES.get(node.op.name)
        for value in node.values:
            if node.is_leaf:
                found[value.key] = _of_leaf(node)
            elif node.op.name == "where":
                found[value.key] = _where(node, found)
            elif rule is not None and len(node.types) == 1:
                found[value.key] = _sane(rule(node, operands), value.type)
            elif isinstance(node.op, Linear) and len(operands) >= 1:
                found[value.key] = _moved(node, operands)
            else:
                found[value.key] = _of_type(value.type)
    return found


def peeled(value: Symbolic) -> Symbolic:
    """What is behind reshapes, broadcasts, copies and ``where(abs(x) < inf, x, 0)``."""
    for _ in range(16):
        node = value.node
        if node.op.name in _COPIES:
            value = node.args[0]
        elif _keeps_finite(node):
            value = node.args[1]
        else:
            return value
    return value


def _keeps_finite(node: Node) -> bool:
    """Whether the node puts 0 in the place of what is not finite, as shifts do."""
    if node.op.name != "where" or not _is_zero_constant(node.args[2]):
        return False
    condition = node.args[0].node
    return condition.op.name == "lt" and condition.args[0].node.op.name == "abs"


_COPIES: Final = frozenset({"reshape", "broadcast", "transpose", "stop_gradient", "checkpoint"})


# -- leaves and dtypes ----------------------------------------------------------------------------


def _of_leaf(node: Node) -> Range:
    if not isinstance(node.op, Constant):
        return _of_type(node.types[0])
    array = node.op.data.array
    if not 0 < array.size <= _READ:
        return ANY
    low, high = float(array.min()), float(array.max())
    if math.isnan(low):
        return ANY
    return Range(low, high, Zero.NEVER if (array != 0).all() else Zero.CHOSEN)


def _of_type(kind: TensorType) -> Range:
    if kind.dtype.is_bool:
        return Range(0.0, 1.0, Zero.CHOSEN)
    return Range(0.0) if kind.dtype.kind == "u" else ANY


def _sane(found: Range, kind: TensorType) -> Range:
    """Without NaN; zero is never where the interval lies beside it."""
    if math.isnan(found.low) or math.isnan(found.high):
        found = replace(found, low=-_INF, high=_INF)
    if found.low > 0 or found.high < 0:
        return replace(found, zero=Zero.NEVER)
    return found if kind.dtype.is_float else replace(found, zero=min(found.zero, Zero.CHOSEN))


def _is_zero_constant(value: Symbolic) -> bool:
    op = value.node.op
    return isinstance(op, Constant) and op.data.array.ndim == 0 and op.data.array == 0


def _moved(node: Node, operands: list[Range]) -> Range:
    """Elements of the operand elsewhere; where places stay empty, zeros."""
    source = operands[-1] if node.op.name.startswith("scatter") else operands[0]
    if node.op.name in ("pad", "scatter_add", "scatter_along"):
        return _union(source, Range(0.0, 0.0, Zero.CHOSEN))
    return source


def _union(one: Range, two: Range) -> Range:
    return Range(min(one.low, two.low), max(one.high, two.high), max(one.zero, two.zero))


# -- arithmetic -----------------------------------------------------------------------------------


def _add(node: Node, args: list[Range]) -> Range:
    a, b = args
    both = a.low >= 0 and b.low >= 0
    zero = min(a.zero, b.zero) if both else Zero.MAYBE
    return Range(a.low + b.low, a.high + b.high, zero)


def _sub(node: Node, args: list[Range]) -> Range:
    a, b = args
    if node.args[0].key == node.args[1].key:
        return Range(0.0, 0.0, Zero.REACHED)
    left, right = (peeled(arg).node for arg in node.args)
    if right.op.name == "max" and peeled(right.args[0]).node is left:
        return Range(-_INF, 0.0, Zero.REACHED)
    if right.op.name == "min" and _same_source(left, right):
        return Range(0.0, _INF, Zero.REACHED)
    return Range(a.low - b.high, a.high - b.low)


def _same_source(left: Node, right: Node) -> bool:
    """Whether ``right`` is the smallest element of ``left``, or of what ``left`` is the largest."""
    source = peeled(right.args[0]).node
    return left is source or (left.op.name == "max" and peeled(left.args[0]).node is source)


def _mul(node: Node, args: list[Range]) -> Range:
    a, b = args
    if node.args[0].key == node.args[1].key:
        return _squared(a)
    zero = max(a.zero, b.zero) if a.zero and b.zero else a.zero or b.zero
    corners = [_times(p, q) for p in (a.low, a.high) for q in (b.low, b.high)]
    return Range(min(corners), max(corners), Zero(zero))


def _times(p: float, q: float) -> float:
    return 0.0 if p == 0 or q == 0 else p * q


def _squared(a: Range) -> Range:
    ends = (_times(a.low, a.low), _times(a.high, a.high))
    low = 0.0 if a.low <= 0 <= a.high else min(ends)
    zero = Zero.REACHED if a.zero is Zero.MAYBE else a.zero
    return Range(low, max(ends), zero)


def _div(node: Node, args: list[Range]) -> Range:
    a, b = args
    if b.low < 0:
        return Range(zero=a.zero)
    return Range(0.0 if a.low >= 0 else -_INF, 0.0 if a.high <= 0 else _INF, a.zero)


def _integer_pow(node: Node, args: list[Range]) -> Range:
    (a,) = args
    exponent: int = node.op.exponent  # type: ignore[attr-defined]
    if exponent > 0 and exponent % 2 == 0:
        return _squared(a)
    if a.positive or (exponent < 0 and exponent % 2 == 0):
        return _POSITIVE
    return Range(0.0, _INF, a.zero) if a.low >= 0 and exponent > 0 else ANY


def _neg(node: Node, args: list[Range]) -> Range:
    return Range(-args[0].high, -args[0].low, args[0].zero)


def _abs(node: Node, args: list[Range]) -> Range:
    a = args[0]
    low = 0.0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    zero = Zero.REACHED if a.zero is Zero.MAYBE else a.zero
    return Range(low, max(abs(a.low), abs(a.high)), zero)


# -- functions ------------------------------------------------------------------------------------


def _same(node: Node, args: list[Range]) -> Range:
    return args[0]


def _root(node: Node, args: list[Range]) -> Range:
    a = args[0]
    return Range(0.0, _INF, a.zero if a.low >= 0 else Zero.MAYBE)


def _exp(node: Node, args: list[Range]) -> Range:
    return Range(0.0, 1.0 if args[0].high <= 0 else _INF, Zero.NEVER)


def _log(node: Node, args: list[Range]) -> Range:
    return Range(0.0 if args[0].low >= 1 else -_INF, 0.0 if args[0].high <= 1 else _INF)


def _of_one_sign(node: Node, args: list[Range]) -> Range:
    """Odd and increasing, 0 at 0: log1p, expm1, sinh, asinh, atan, cbrt."""
    a = args[0]
    return Range(0.0 if a.low >= 0 else -_INF, 0.0 if a.high <= 0 else _INF, a.zero)


def _step(node: Node, args: list[Range]) -> Range:
    """Whole numbers nearby: 0 in the place of what is small."""
    a = args[0]
    low = a.low if math.isinf(a.low) else math.floor(a.low)
    high = a.high if math.isinf(a.high) else math.ceil(a.high)
    return Range(low, high, max(a.zero, Zero.CHOSEN))


def _within(low: float, high: float, zero: Zero = Zero.MAYBE) -> _Rule:
    return lambda node, args: Range(low, high, zero)


def _size(node: Node, args: list[Range]) -> Range:
    """Sizes count as at least 1: of no elements nothing is asked here."""
    low, high = bounds(node.op.dim)  # type: ignore[attr-defined]
    return Range(max(1.0, float(low or 1)), _INF if high is None else float(high), Zero.NEVER)


# -- choices and reductions -----------------------------------------------------------------------


def _maximum(node: Node, args: list[Range]) -> Range:
    a, b = args
    low = max(a.low, b.low)
    zero = Zero.NEVER if low > 0 or a.positive or b.positive else max(a.zero, b.zero)
    if low == 0 and zero is Zero.MAYBE:
        zero = Zero.CHOSEN
    return Range(low, max(a.high, b.high), zero)


def _minimum(node: Node, args: list[Range]) -> Range:
    a, b = args
    low, high = min(a.low, b.low), min(a.high, b.high)
    return Range(low, high, max(a.zero, b.zero))


_OPPOSITE: Final = {"gt": "le", "ge": "lt", "lt": "ge", "le": "gt", "eq": "ne", "ne": "eq"}


def _refined(kept: Range, relation: str, number: float) -> Range:
    """``kept``, where its elements stand in ``relation`` to ``number``."""
    low, high, zero = kept.low, kept.high, kept.zero
    if relation in ("gt", "ge"):
        low = max(low, number)
    if relation in ("lt", "le"):
        high = min(high, number)
    if relation == "eq":
        low = high = number
        zero = Zero.CHOSEN if number == 0 else Zero.NEVER
    strict = relation in ("gt", "lt", "ne") and number == 0
    beside = (relation == "gt" and number > 0) or (relation == "lt" and number < 0)
    return Range(low, high, Zero.NEVER if strict or beside or low > 0 or high < 0 else zero)


def _where(node: Node, found: Ranges) -> Range:
    condition, *branches = node.args
    kept = [found[branch.key] for branch in branches]
    relation = condition.node.op.name
    understood = False
    if relation in _OPPOSITE:
        left, right = condition.node.args
        number = found[right.key].number
        for k, name in enumerate((relation, _OPPOSITE[relation])):
            if number is not None and branches[k].key == left.key:
                kept[k], understood = _refined(kept[k], name, number), True
    one, two = kept
    joined = _union(one, two)
    if not understood and (one.number or two.number):
        # Another number stands where this value was not wanted.
        return replace(joined, zero=min(joined.zero, Zero.MAYBE))
    return joined


def _sum(node: Node, args: list[Range]) -> Range:
    a = args[0]
    low = a.low if a.low >= 0 else -_INF
    one_sign = a.low >= 0 or a.high <= 0
    return Range(low, 0.0 if a.high <= 0 else _INF, a.zero if one_sign else Zero.MAYBE)


def _extreme(node: Node, args: list[Range]) -> Range:
    a = args[0]
    return a if a.low >= 0 or a.high <= 0 else replace(a, zero=Zero.MAYBE)


def _concat(node: Node, args: list[Range]) -> Range:
    joined = args[0]
    for each in args[1:]:
        joined = _union(joined, each)
    return joined


def _matmul(node: Node, args: list[Range]) -> Range:
    a, b = args
    one, two = (peeled(arg).node for arg in node.args)
    if one is two and len(node.types[0].shape) == 0:
        return _sum(node, [_squared(a)])
    return _sum(node, [_mul(node, [a, b])]) if one is not two else ANY


_RULES: Final[dict[str, _Rule]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": _neg, "abs": _abs,
    "integer_pow": _integer_pow, "sqrt": _root, "hypot": _within(0.0, _INF, Zero.REACHED),
    "exp": _exp, "exp2": _exp, "cosh": _within(1.0, _INF), "sigmoid": _within(0.0, 1.0, Zero.NEVER),
    "tanh": _within(-1.0, 1.0), "erf": _within(-1.0, 1.0), "sin": _within(-1.0, 1.0),
    "cos": _within(-1.0, 1.0), "erfc": _within(0.0, 2.0, Zero.NEVER),
    "log": _log, "log2": _log, "log10": _log,
    "log1p": _of_one_sign, "expm1": _of_one_sign, "sinh": _of_one_sign, "asinh": _of_one_sign,
    "atan": _of_one_sign, "cbrt": _of_one_sign, "sign": _within(-1.0, 1.0),
    "cast": _same, "stop_gradient": _same, "checkpoint": _same, "size": _size,
    "floor": _step, "rint": _step, "trunc": _step,
    "maximum": _maximum, "at_least": _maximum, "minimum": _minimum, "at_most": _minimum,
    "sum": _sum, "cumsum": _sum, "max": _extreme, "min": _extreme, "concat": _concat,
    "matmul": _matmul,
}  # fmt: skip
