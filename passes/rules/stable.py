"""Stabilisation: the same function by a formula that does not overflow, cancel, or meet inf - inf,
and that has the derivatives which the function has.

Written by hand, log(softmax(x)) is -inf where softmax underflows. Each rule here gives values at
least as close to the true ones, and finite ones where those are finite. Derivatives are taken of
what the rules give (``staticgrad.autodiff.reverse``), so that the right sides here have stable
derivatives of every order, and no rule mends what differentiation made of an unstable formula.
The square of a length is smooth where the length is 0 and has a kink.

Wherever two rules overlap they meet in one form, whichever is applied first: a formula has the same
value and derivatives in every spelling. ``tests/passes/test_confluence.py`` tries all overlaps.

Sources: Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA J. Numer. Anal. 41 (2021); Maechler, "Accurately computing log(1 - exp(-|a|))" (2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np

from passes.rewrite import Match, Rule, holds, holes, number_of, rule, some
from passes.rewrite.rule import name_term
from staticgrad import functions as sg
from staticgrad.functions.exponential_sums import (
    constant_shift,
    finite_or_zero,
    log_one_plus_exp,
    log_sum_exp,
    shares,
)
from staticgrad.language.ir.forms import Identity, Pointwise, ReshapeForm, View
from staticgrad.language.ir.graph import Symbolic
from staticgrad.language.ir.ranges import ANY, Range
from staticgrad.language.ops.arithmetic import Div, FlatPower, IntegerPow, Neg, Sub, flat_root
from staticgrad.language.ops.indexing import Slice, Take, TakeAlong
from staticgrad.language.ops.marks import StopGradient
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.reduce import Max, Sum
from staticgrad.language.ops.selection import Where
from staticgrad.language.ops.transcendental import Erf, Exp, Sigmoid
from staticgrad.language.types.dim import bounds

x, y, c = holes("x y c")
stable = partial(rule, kind="stable", dtypes="f")

#: What stands between the largest element and its use as a shift.
_CARRYING: Final = (Reshape, Broadcast, StopGradient)
#: What a logarithm may be taken below of.
_MOVING: Final = (Reshape, Transpose, Slice, Take, TakeAlong)
#: Forms of which a kernel computes each element from elements of the operands.
_PER_ELEMENT: Final = (Pointwise, View, Identity, ReshapeForm)
#: Two ways to write -abs(x), which neither overflows exp nor makes 1 - sigmoid cancel.
_BELOW_ZERO: Final[tuple[Any, ...]] = (-abs(x), sg.where(x > 0.0, -x, x))
_LOG_OF_TWO: Final = math.log(2.0)


def positive(value: Symbolic) -> bool:
    """Return True if the exact elements of a value are positive, before rounding."""
    pending = [value]
    for _ in range(16):
        if not pending:
            return True
        operand = pending.pop()
        number = number_of(operand)
        if number is None and operand.node.op.positive == "kept":
            pending += operand.node.args
        elif operand.node.op.positive != "always" and not (number is not None and number > 0):
            return False
    return False


def _may_be_positive(match: Match) -> bool:
    """Return whether x may be positive; -abs(x) is excluded."""
    return not any(holds(pattern, match.x) for pattern in _BELOW_ZERO)


def _stores_nothing(match: Match) -> bool:
    """Return True if ``x`` of 1 - sigmoid(x) need not be stored to be read again.

    The derivative s * (1 - s) of a sigmoid reads its result, which a backward pass stores. The
    formula sigmoid(-x) would have ``x`` stored beside it, unless ``x`` is computed element by
    element from inputs or parameters. The error of either is below an ulp of 1; the relative error
    of 1 - s is eps / 4 * (1 + exp(x)), and 1 - s is 0 from x = 17 on in float32, 37 in float64.
    What the user writes in one order of differentiation stays stable. Of -abs(x) the difference
    has all digits, and so has its derivative.
    """
    root = match.root.node
    if not _may_be_positive(match):
        return False
    return root.order == root.args[1].node.order or _is_elementwise_of_leaves(match.x)


def _is_elementwise_of_leaves(value: Symbolic) -> bool:
    """Return True if a value is computed elementwise from inputs, parameters or constants."""
    pending = [value]
    for _ in range(16):
        if not pending:
            return True
        node = pending.pop().node
        if not node.is_leaf and not isinstance(node.form, _PER_ELEMENT):
            return False
        pending += node.args
    return False


def _minus(value: Symbolic) -> Any:
    return value.node.args[0] if isinstance(value.node.op, Neg) else -value


# -- logarithms of differences -------------------------------------------------------------------


def _log_one_minus_exp(match: Match) -> Any:
    """log(1 - exp(x)) from whichever of expm1(x) and exp(x) is the smaller; Maechler's formula."""
    near = match.x > -_LOG_OF_TWO
    by_difference = sg.log(-sg.expm1(sg.where(near, match.x, -1.0)))
    return sg.where(near, by_difference, sg.log1p(-sg.exp(sg.where(near, -1.0, match.x))))


def _is_whole(match: Match) -> bool:
    """Return whether x is not one of the two ranges made by the formula above."""
    return not isinstance(match.x.node.op, Where)


def _is_a_product(match: Match) -> bool:
    """Return True if y is positive, and exp(x) * y is not a part of a sigmoid."""
    y = match.y.node
    if isinstance(y.op, Sigmoid):
        exponent, argument = match.x, y.args[0]
        below = [v.node.args[0].key for v in (exponent, argument) if isinstance(v.node.op, Neg)]
        return exponent.key not in below and argument.key not in below
    return positive(match.y)


# -- sums of exponentials ------------------------------------------------------------------------


def _top(match: Match) -> Any:
    """The largest element of the sum, to be taken off x: then no exponential overflows.

    What is taken off is added again, so that no derivative depends on which number it is.
    """
    top = sg.max(match.x, match.op("sum").axes, keepdims=True)
    return finite_or_zero(sg.stop_gradient(top))


def _is_plain(match: Match) -> bool:
    """Return whether there are elements, and the largest one is not subtracted already."""
    below = match.x.node
    if any((bounds(match.x.shape[axis])[0] or 0) < 1 for axis in match.op("sum").axes):
        return False
    return not isinstance(below.op, Sub) or not _holds_max(below.args[1])


def _holds_max(value: Symbolic) -> bool:
    """Return True if a value is a maximum, through views, selects and marks."""
    node = value.node
    for _ in range(8):
        if isinstance(node.op, Max):
            return True
        if isinstance(node.op, Where):
            node = node.args[1].node
        elif isinstance(node.op, _CARRYING):
            node = node.args[0].node
        else:
            return False
    return False


def _log_sum_exp(match: Match) -> Any:
    log_sum = log_sum_exp(match.x, _top(match), match.op("sum").axes)
    return sg.reshape(log_sum, match.root.shape)


def _softmax(match: Match) -> Any:
    return shares(match.x, _top(match), match.op("sum").axes)


def _is_softmax(match: Match) -> bool:
    """Return whether each element is divided by the sum over its own row."""
    axes = match.op("sum").axes
    row_shape = tuple(1 if k in axes else size for k, size in enumerate(match.x.shape))
    sum_shape = match["whole" if "whole" in match else "sum"].shape
    everything = len(axes) == match.x.ndim and all(size == 1 for size in sum_shape)
    return _is_plain(match) and (everything or sum_shape == row_shape)


# -- what is moved before its logarithm is taken -------------------------------------------------


def _log_below(match: Match) -> Any:
    """The logarithms moved, instead of the logarithms of what has been moved."""
    indices = (match.y,) if "y" in match else ()
    return match.op("move")(sg.log(match.x), *indices)


def _has_stable_log(match: Match) -> bool:
    """Return whether x is a ratio of exponentials or a sigmoid, moved or not."""
    node = match.x.node
    while isinstance(node.op, _MOVING):
        node = node.args[0].node
    ratio = isinstance(node.op, Div) and isinstance(node.args[0].node.op, Exp)
    return isinstance(node.op, Sigmoid) or (ratio and positive(node.args[1]))


def _log_of(move: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An example: the logarithm of a ratio of exponentials that is moved first."""
    return lambda x: sg.log(move(sg.exp(sg.tanh(x)) / (4.0 * sg.cosh(sg.tanh(x)))))


def _less_log_sum_exp(match: Match) -> Any:
    """x - (log(sum) + y) as (x - y) - log(sum): what is large in both goes first."""
    logs, shape = match.logs.shape, match["outer"].shape if "outer" in match else match.logs.shape
    if not _holds_max(match.y) or (shape != logs and any(n != 1 for n in (*shape, *logs))):
        return None
    return (match.x - match.y) - match.logs


def _logsumexp(x: Any, axes: tuple[int, ...]) -> Any:
    return log_sum_exp(x, constant_shift(x, axes), axes)


def _less_rows(x: Any) -> Any:
    return x - (_logsumexp(x, (x.ndim - 1,)) if x.ndim else x)


def _less_all(x: Any) -> Any:
    return x - sg.reshape(_logsumexp(x, (*range(x.ndim),)), ())


def _less(x: Any, axis: int | None) -> Any:
    """An example: x less the logarithm of the sum of its exponentials, without ``logsumexp``."""
    top = sg.max(x, axis, keepdims=True)
    log_sum = sg.log(sg.sum(sg.exp(x - top), axis, keepdims=True)) + top
    return x - (sg.reshape(log_sum, ()) if axis is None else log_sum)


# -- powers of lengths ---------------------------------------------------------------------------


def _of_length(match: Match) -> Any:
    """A power of a length, or the product of two, as a power of what it is a root of."""
    root = match.op("root").exponent
    exponent = root + match.op("other").exponent if "other" in match else root * _exponent(match)
    if not exponent.is_integer():
        return FlatPower(exponent)(match.x) if exponent > 0 else None
    return match.x if exponent == 1 else IntegerPow(int(exponent))(match.x)


def _exponent(match: Match) -> int:
    """The exponent of what is raised to a power, or multiplied by itself."""
    exponent: int = match.op("power").exponent if "power" in match else 2
    return exponent


def _half_power(match: Match, square: Any) -> Any:
    """The even power of what ``square`` is the square of."""
    half = _exponent(match) // 2
    return square if half == 1 else IntegerPow(half)(square)


def _is_even(match: Match) -> bool:
    return _exponent(match) % 2 == 0


def _of_magnitude(match: Match) -> Any:
    return IntegerPow(_exponent(match))(match.x)


def _of_hypot(match: Match) -> Any:
    infinite = sg.logical_or(sg.isinf(match.x), sg.isinf(match.y))
    square = sg.where(infinite, math.inf, match.x * match.x + match.y * match.y)
    return _half_power(match, square)


def _of_root(match: Match) -> Any:
    return _half_power(match, match.x) if _range(match.x, 8).low >= 0 else None


def _range(value: Symbolic, depth: int) -> Range:
    node = value.node
    has_range = depth and not node.is_leaf and len(node.types) == 1
    value_range = (
        node.op.value_range(lambda v: _range(v, depth - 1), *node.args) if has_range else None
    )
    return value_range or ANY


_LENGTH, _OTHER = (some(FlatPower, x, name=name) for name in ("root", "other"))
#: Name, what is multiplied by itself, what stands for its powers, a condition, and an example.
_LENGTHS: Final[tuple[Any, ...]] = (
    ("length", (_LENGTH, _OTHER), _of_length, None, lambda x: flat_root(x * x)),
    ("magnitude", (abs(x), abs(x)), _of_magnitude, _is_even, sg.abs),
    ("hypot", (sg.hypot(x, y), sg.hypot(x, y)), _of_hypot, _is_even, sg.hypot),
    ("root", (sg.sqrt(x), sg.sqrt(x)), _of_root, _is_even, lambda x: sg.sqrt(x * x)),
)


def _powers_of_lengths() -> Iterator[Rule]:
    """Yield rules that rewrite squares of lengths (abs, hypot, sqrt), which have a kink at 0."""
    for name, (base, factor), replacement, where, example in _LENGTHS:
        for kind, pattern, power in (
            ("power", some(IntegerPow, base, name="power"), lambda v: v**2),
            ("square", base * factor, lambda v: v * v),
        ):
            examples = (_power_of(example, power),)
            yield stable(f"{kind}-of-{name}", pattern, replacement, where=where, examples=examples)


def _power_of(of: Callable[..., Any], power: Callable[[Any], Any]) -> Callable[..., Any]:
    """An example: a power of a function, with the function's own parameters."""
    return (lambda x, y: power(of(x, y))) if of is sg.hypot else (lambda x: power(of(x)))


_MOVES: Final = (
    ("reshaped", some(Reshape, x, name="move"), lambda v: v.reshape(-1)),
    ("transposed", some(Transpose, x, name="move"), lambda v: v.T),
    ("part", some(Slice, x, name="move"), lambda v: v[:1]),
    ("taken", some(Take, x, y, name="move"), lambda v: Take(0)(v, np.arange(0, v.size, 18))),
    ("picked", some(TakeAlong, x, y, name="move"),
     lambda v: TakeAlong(0)(v.reshape(-1), np.arange(0, v.size, 2))),
)  # fmt: skip
_SUM = some(Sum, sg.exp(x), name="sum")
_KEPT = some(Reshape, _SUM, name="whole")
_RAISED = some(Reshape, some(Sum, sg.exp(x - y)))
_LOGS = name_term(sg.log(_RAISED), "logs")
_LOGSUMEXP = name_term(sg.where(_RAISED == 0.0, -math.inf, sg.log(_RAISED)), "logs")

RULES: Final[tuple[Rule, ...]] = (
    stable("log-of-exp", sg.log(sg.exp(x)), x),
    stable("log-one-plus-exp", sg.log(1.0 + sg.exp(x)), lambda m: log_one_plus_exp(m.x),
           examples=(lambda x: sg.log(1.0 + sg.exp(x)),)),
    stable("log-one-plus", sg.log(1.0 + x), sg.log1p(x)),
    stable("log-one-minus", sg.log(1.0 - x), sg.log1p(-x),
           where=lambda m: not isinstance(m.x.node.op, Erf)),  # one-minus-erf sees to that
    stable("log1p-of-exp", sg.log1p(sg.exp(x)), lambda m: log_one_plus_exp(m.x),
           where=_may_be_positive, examples=(lambda x: sg.log1p(sg.exp(x)),)),
    stable("exp-minus-one", sg.exp(x) - 1.0, sg.expm1(x)),
    stable("one-minus-exp", 1.0 - sg.exp(x), -sg.expm1(x)),
    stable("one-minus-erf", 1.0 - sg.erf(x), sg.erfc(x)),
    stable("log-one-minus-exp", sg.log(-sg.expm1(x)), _log_one_minus_exp, where=_is_whole,
           examples=(lambda x: sg.log(-sg.expm1(x)),)),
    stable("log1p-minus-exp", sg.log1p(-sg.exp(x)), _log_one_minus_exp, where=_is_whole,
           examples=(lambda x: sg.log1p(-sg.exp(x)),)),
    stable("one-minus-sigmoid", 1.0 - sg.sigmoid(x), lambda m: sg.sigmoid(_minus(m.x)),
           where=_stores_nothing, examples=(lambda x: 1.0 - sg.sigmoid(x),)),
    stable("sigmoid-by-hand", 1.0 / (1.0 + sg.exp(x)), lambda m: sg.sigmoid(_minus(m.x)),
           where=_may_be_positive, examples=(lambda x: 1.0 / (1.0 + sg.exp(x)),)),
    stable("sigmoid-by-power", (1.0 + sg.exp(x)) ** -1, lambda m: sg.sigmoid(_minus(m.x)),
           where=_may_be_positive, examples=(lambda x: (1.0 + sg.exp(x)) ** -1,)),
    stable("over-one-plus-exp", c / (1.0 + sg.exp(x)), lambda m: m.c * sg.sigmoid(_minus(m.x)),
           where=_may_be_positive, examples=(lambda x, y: y / (1.0 + sg.exp(x)),)),
    stable("exp-times-sigmoid", sg.exp(x) * sg.sigmoid(-x), sg.sigmoid(x)),
    stable("exp-of-minus-times-sigmoid", sg.exp(-x) * sg.sigmoid(x), sg.sigmoid(-x)),
    stable("multiple-of-exp-times-sigmoid", (c * sg.exp(x)) * sg.sigmoid(-x), c * sg.sigmoid(x)),
    stable("multiple-of-exp-of-minus-times-sigmoid", (c * sg.exp(-x)) * sg.sigmoid(x),
           c * sg.sigmoid(-x)),
    stable("log-sigmoid", sg.log(sg.sigmoid(x)), lambda m: -log_one_plus_exp(_minus(m.x)),
           examples=(lambda x: sg.log(sg.sigmoid(x)),)),
    stable("log1p-minus-sigmoid", sg.log1p(-sg.sigmoid(x)), lambda m: -log_one_plus_exp(m.x),
           examples=(lambda x: sg.log1p(-sg.sigmoid(x)),)),
    stable("log-of-ratio", sg.log(sg.exp(x) / y), x - sg.log(y),
           where=lambda m: positive(m.y),
           examples=(lambda x, y: sg.log(sg.exp(x) / sg.cosh(sg.tanh(y))),)),
    stable("log-of-product", sg.log(sg.exp(x) * y), x + sg.log(y), where=_is_a_product,
           examples=(lambda x, y: sg.log(sg.exp(x) * sg.cosh(sg.tanh(y))),)),
    stable("log-sum-exp", sg.log(_SUM), _log_sum_exp, where=_is_plain,
           examples=(lambda x: sg.log(sg.exp(x).sum(-1)),)),
    stable("log-sum-exp-kept", sg.log(_KEPT), _log_sum_exp, where=_is_plain,
           examples=(lambda x: sg.log(sg.exp(x).sum(-1, keepdims=True)),)),
    stable("less-log-sum-exp", x - (_LOGS + y), _less_log_sum_exp,
           examples=(lambda x: _less(x, -1),)),
    stable("less-logsumexp", x - (_LOGSUMEXP + y), _less_log_sum_exp,
           examples=(_less_rows,)),
    stable("less-log-sum-exp-of-all", x - some(Reshape, _LOGS + y, name="outer"),
           _less_log_sum_exp, examples=(lambda x: _less(x, None),)),
    stable("less-logsumexp-of-all", x - some(Reshape, _LOGSUMEXP + y, name="outer"),
           _less_log_sum_exp, examples=(_less_all,)),
    stable("softmax-by-hand", sg.exp(x) / _SUM, _softmax, where=_is_softmax,
           examples=(lambda x: sg.exp(x) / sg.exp(x).sum(),)),
    stable("softmax-by-hand-kept", sg.exp(x) / _KEPT, _softmax, where=_is_softmax,
           examples=(lambda x: sg.exp(x) / sg.exp(x).sum(-1, keepdims=True),)),
    *(stable(f"log-of-{name}", sg.log(pattern), _log_below, where=_has_stable_log,
             examples=(_log_of(move),))
      for name, pattern, move in _MOVES),
    stable("x-times-sigmoid", x * sg.sigmoid(x),
           sg.where(x == math.inf, x, sg.where(x == -math.inf, 0.0, x) * sg.sigmoid(x)),
           where=lambda m: not positive(m.x)),
    *_powers_of_lengths(),
)  # fmt: skip
