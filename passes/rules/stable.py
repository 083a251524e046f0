"""Stabilisation: the same function by a formula that does not overflow, cancel, or meet inf - inf.

Written by hand, log(softmax(x)) is -inf where softmax underflows, and its gradient NaN. Each rule
here gives values at least as close to the true ones, and finite ones where those are finite. The
rules on products and ratios mend what differentiation makes of such formulas: c / p * p is c, for a
p that is positive whatever it rounds to.

Sources: Blanchard, Higham and Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA J. Numer. Anal. 41 (2021); Maechler, "Accurately computing log(1 - exp(-|a|))" (2012).
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Final

from passes.rewrite import Match, Rule, holds, holes, number_of, rule, some
from passes.rewrite.terms import named
from staticgrad import ops as sg
from staticgrad.ir.dim import bounds
from staticgrad.ir.graph import Symbolic
from staticgrad.ir.value import FUNCTIONS
from staticgrad.ops.arithmetic import Add, Div, Mul, Sub
from staticgrad.ops.convert import StopGradient
from staticgrad.ops.exponentials import finite_or_zero, log_sum_exp, shares
from staticgrad.ops.hyperbolic import Cosh
from staticgrad.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.ops.reduce import Max, Sum
from staticgrad.ops.selection import Where
from staticgrad.ops.special import Exp2
from staticgrad.ops.transcendental import Exp, Sigmoid

x, y, z, c, p, r, e = holes("x y z c p r e")
stable = partial(rule, kind="stable", dtypes="f")

#: Positive for every finite operand, and so is a ratio, product or sum of such.
_POSITIVE: Final = (Exp, Exp2, Sigmoid, Cosh)
_KEEPING: Final = (Div, Mul, Add, Sum, Max, Broadcast, Reshape, Transpose)
#: What stands between the largest element and its use as a shift.
_CARRYING: Final = (Reshape, Broadcast, StopGradient)
#: Two ways to write what cannot overflow exp: -abs(x).
_BELOW_ZERO: Final[tuple[Any, ...]] = (-abs(x), sg.where(x > 0.0, -x, x))


def positive(value: Symbolic) -> bool:
    """Whether the true elements of ``value`` are positive, whatever they round to."""
    pending = [value]
    for _ in range(16):
        if not pending:
            return True
        each = pending.pop()
        number = number_of(each)
        if isinstance(each.node.op, _KEEPING) and number is None:
            pending += each.node.args
        elif not isinstance(each.node.op, _POSITIVE) and not (number is not None and number > 0):
            return False
    return False


def _below_zero(value: Symbolic) -> bool:
    return any(holds(pattern, value) for pattern in _BELOW_ZERO)


# -- log of a sum of exponentials ----------------------------------------------------------------


def _top(match: Match) -> Any:
    """The largest element of the sum, to be taken off x: then no exponential overflows."""
    return finite_or_zero(sg.max(match.x, match.op("sum").axes, keepdims=True))


def _is_plain(match: Match) -> bool:
    """Whether there are elements, and nobody has taken the largest one off already."""
    below = match.x.node
    if any((bounds(match.x.shape[axis])[0] or 0) < 1 for axis in match.op("sum").axes):
        return False
    return not isinstance(below.op, Sub) or not _holds_max(below.args[1])


def _holds_max(value: Symbolic) -> bool:
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
    found = log_sum_exp(match.x, _top(match), match.op("sum").axes)
    return sg.reshape(found, match.root.shape)


def _softmax_of(match: Match) -> Any:
    """c / sum(exp(x)) * exp(x), the gradient of the above: c times the softmax."""
    share = shares(match.x, _top(match), match.op("sum").axes)
    spread = match.op("spread")
    c = FUNCTIONS["broadcast_to"](match.c, match.ratio.shape)
    return spread(c) * share


def _sum_of_shares(match: Match) -> Any:
    """sum(c / r) as sum(c) / r, for the r = sum(exp(x)) of the same axes: a ratio to be mended."""
    outer, inner = match.op("outer"), match.op("sum")
    kept = tuple(1 if k in inner.axes else size for k, size in enumerate(match.x.shape))
    whole = match["whole" if "whole" in match else "sum"].shape
    if outer.axes != inner.axes or match.c.shape != match.x.shape or not _is_plain(match):
        return None
    if whole != kept and (whole or len(inner.axes) != match.x.ndim):
        return None
    return outer(match.c) / match["sum"]


def _negative_shares(match: Match) -> Any:
    found = _sum_of_shares(match)
    return None if found is None else -match.op("outer")(match.c) / match["sum"]


def _total(value: Any) -> Any:
    """The sum of all elements."""
    return Sum(tuple(range(value.ndim)))(value)


_RATIO = named(c / some(Sum, sg.exp(x), name="sum"), "ratio")
_WHOLE = some(Sum, sg.exp(x), name="sum")
_KEPT = some(Reshape, _WHOLE, name="whole")

RULES: Final[tuple[Rule, ...]] = (
    stable("log-of-exp", sg.log(sg.exp(x)), x),
    stable("log-one-plus-exp", sg.log(1.0 + sg.exp(x)), lambda m: sg.nn.softplus(m.x),
           examples=(lambda x: sg.log(1.0 + sg.exp(x)),)),
    stable("log-one-plus", sg.log(1.0 + x), sg.log1p(x)),
    stable("log-one-minus", sg.log(1.0 - x), sg.log1p(-x)),
    stable("log1p-of-exp", sg.log1p(sg.exp(x)), lambda m: sg.nn.softplus(m.x),
           where=lambda m: not _below_zero(m.x), examples=(lambda x: sg.log1p(sg.exp(x)),)),
    stable("exp-minus-one", sg.exp(x) - 1.0, sg.expm1(x)),
    stable("one-minus-exp", 1.0 - sg.exp(x), -sg.expm1(x)),
    stable("one-minus-erf", 1.0 - sg.erf(x), sg.erfc(x)),
    stable("one-minus-sigmoid", 1.0 - sg.sigmoid(x), sg.sigmoid(-x)),
    stable("sigmoid-by-hand", 1.0 / (1.0 + sg.exp(x)), sg.sigmoid(-x)),
    stable("log-sigmoid", sg.log(sg.sigmoid(x)), lambda m: -sg.nn.softplus(-m.x),
           examples=(lambda x: sg.log(sg.sigmoid(x)),)),
    stable("log-of-ratio", sg.log(sg.exp(x) / y), x - sg.log(y),
           where=lambda m: positive(m.y),
           examples=(lambda x, y: sg.log(sg.exp(x) / sg.cosh(sg.tanh(y))),)),
    stable("log-sum-exp", sg.log(some(Sum, sg.exp(x), name="sum")), _log_sum_exp, where=_is_plain,
           examples=(lambda x: sg.log(sg.exp(x).sum(-1)),)),
    stable("log-sum-exp-kept", sg.log(some(Reshape, some(Sum, sg.exp(x), name="sum"))),
           _log_sum_exp, where=_is_plain,
           examples=(lambda x: sg.log(sg.exp(x).sum(-1, keepdims=True)),)),
    stable("x-times-sigmoid", x * sg.sigmoid(x), sg.where(x > -math.inf, x, 0.0) * sg.sigmoid(x)),
    # What differentiation makes of these, once the rules above have been there.
    stable("gradient-of-log-sum-exp", some(Broadcast, _RATIO, name="spread") * sg.exp(x),
           _softmax_of, where=_is_plain,
           examples=(lambda x, y: Broadcast(x.shape, tuple(range(x.ndim - 1)))(
               y.sum(-1) / sg.exp(x).sum(-1)) * sg.exp(x),)),
    stable("ratio-times-divisor", (c / p) * p, c, where=lambda m: positive(m.p),
           examples=(lambda x, y: x / sg.sigmoid(y) * sg.sigmoid(y),)),
    stable("ratio-times-multiple", (c / p) * (p * z), c * z, where=lambda m: positive(m.p),
           examples=(lambda x, y: (x / sg.exp(y)) * (sg.exp(y) * (x + 1.0)),)),
    stable("ratio-of-ratio-times-divisor", ((c / p) / r) * p, c / r,
           where=lambda m: positive(m.p),
           examples=(lambda x, y: x / sg.sigmoid(y) / (x + 2.0) * sg.sigmoid(y),)),
    stable("share-times-whole", ((c / (e / r)) / r) * e, c,
           where=lambda m: positive(m.e) and positive(m.r),
           examples=(lambda x, y: x / (sg.exp(y) / sg.exp(x)) / sg.exp(x) * sg.exp(y),)),
    stable("shares-times-whole", ((c / (e / r)) / r + z) * e, c + z * e,
           where=lambda m: positive(m.e) and positive(m.r),
           examples=(lambda x, y: (x / (sg.exp(y) / sg.exp(x)) / sg.exp(x) + x) * sg.exp(y),)),
    stable("gradient-of-softplus", (c / (1.0 + sg.exp(x))) * sg.exp(x), c * sg.sigmoid(x)),
    stable("gradient-of-sigmoid-by-hand", ((c / (1.0 + sg.exp(x))) * z) * sg.exp(x),
           (c * sg.sigmoid(x)) * z),
    stable("gradient-of-x-times-sigmoid", (c * x) * (sg.sigmoid(x) * sg.sigmoid(-x)),
           (c * sg.where(abs(x) < math.inf, x, 0.0)) * (sg.sigmoid(x) * sg.sigmoid(-x))),
    stable("gradient-of-softplus-negated",
           -(c / (1.0 + sg.exp(x))) * sg.exp(x), -(c * sg.sigmoid(x))),
    stable("gradient-of-sigmoid-by-hand-negated",
           -((c / (1.0 + sg.exp(x))) * z) * sg.exp(x), -((c * sg.sigmoid(x)) * z)),
    stable("sum-of-shares", some(Sum, c / _WHOLE, name="outer"), _sum_of_shares,
           examples=(lambda x, y: _total(y / _total(sg.exp(x))),)),
    stable("sum-of-shares-kept", some(Sum, c / _KEPT, name="outer"), _sum_of_shares,
           examples=(lambda x, y: (y / sg.exp(x).sum(-1, keepdims=True)).sum(-1),)),
    stable("sum-of-negative-shares", some(Sum, -(c / _WHOLE), name="outer"), _negative_shares,
           examples=(lambda x, y: _total(-(y / _total(sg.exp(x)))),)),
    stable("sum-of-negative-shares-kept", some(Sum, -(c / _KEPT), name="outer"),
           _negative_shares,
           examples=(lambda x, y: (-(y / sg.exp(x).sum(-1, keepdims=True))).sum(-1),)),
)  # fmt: skip
