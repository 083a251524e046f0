"""Which elements hold, and choices by conditions, as NumPy's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, DTypeError
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ir.value import Value
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.indexing import TakeAlong, within
from staticgrad.ops.movement import expand_dims, reshape
from staticgrad.ops.operands import as_value, as_values, promoted_values
from staticgrad.types.dtype import BOOL, F64


def isposinf(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is infinite and positive, as bool.

    >>> sg.evaluate(sg.isposinf([-sg.inf, sg.inf]))
    array([False,  True])
    """
    return _equals("isposinf", x, math.inf)


def isneginf(x: Operand[AnyValue]) -> AnyValue:
    """Whether x is infinite and negative, as bool.

    >>> sg.evaluate(sg.isneginf([-sg.inf, sg.inf]))
    array([ True, False])
    """
    return _equals("isneginf", x, -math.inf)


def _equals(op: str, x: Operand[AnyValue], what: float) -> AnyValue:
    value = as_value(op, x)
    if not value.dtype.is_float:
        return functions.not_equal(value, value)
    return functions.equal(value, what)


def isclose(
    x: Operand[AnyValue],
    y: Operand[AnyValue],
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> AnyValue:
    """Whether abs(x - y) <= atol + rtol * abs(y), or both are equal; with ``equal_nan`` both NaN.

    Args:
        x, y: numbers, which broadcast.
        rtol, atol: how far apart they may be.
        equal_nan: whether NaN is close to NaN.

    >>> sg.evaluate(sg.isclose([1.0, 1.1], 1.0))
    array([ True, False])
    """
    left, right = promoted_values("isclose", (x, y))
    if not left.dtype.is_float:
        left, right = (functions.astype(v, F64) for v in (left, right))
    absolute, both = functions.absolute, functions.logical_and
    near = both(absolute(left - right) <= atol + rtol * absolute(right), absolute(right) < np.inf)
    found = functions.logical_or(near, functions.equal(left, right))
    if equal_nan:
        nan = both(functions.isnan(left), functions.isnan(right))
        found = functions.logical_or(found, nan)
    return found


def allclose(
    x: Operand[AnyValue],
    y: Operand[AnyValue],
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> AnyValue:
    """Whether all elements are close, as a 0-d bool; see ``isclose``.

    Args:
        x, y, rtol, atol, equal_nan: as for ``isclose``.

    >>> sg.evaluate(sg.allclose([1.0, 1.0], 1.0))
    array(True)
    """
    return functions.all(isclose(x, y, rtol, atol, equal_nan))


def array_equal(x: Operand[AnyValue], y: Operand[AnyValue], equal_nan: bool = False) -> AnyValue:
    """Whether x and y have the same shape and elements, as a 0-d bool.

    Shapes are compared where the graph is built: named sizes that may differ are different.

    Args:
        x, y: numbers or bools.
        equal_nan: whether NaN equals NaN.

    >>> sg.evaluate(sg.array_equal([1, 2], [1, 2]))
    array(True)
    """
    left, right = promoted_values("array_equal", (x, y))
    if left.shape != right.shape:
        return functions.full((), False, like=left)
    return _all_equal(left, right, equal_nan)


def array_equiv(x: Operand[AnyValue], y: Operand[AnyValue]) -> AnyValue:
    """Whether x and y, broadcast against each other, have the same elements.

    Returns:
        A 0-d bool.

    >>> sg.evaluate(sg.array_equiv([[1, 1], [1, 1]], 1))
    array(True)
    """
    left, right = promoted_values("array_equiv", (x, y))
    return _all_equal(left, right, False)


def _all_equal(left: AnyValue, right: AnyValue, equal_nan: bool) -> AnyValue:
    same = functions.equal(left, right)
    if equal_nan and left.dtype.is_float:
        nan = functions.logical_and(functions.isnan(left), functions.isnan(right))
        same = functions.logical_or(same, nan)
    return functions.all(same)


def select(
    condlist: Sequence[Operand[AnyValue]],
    choicelist: Sequence[Operand[AnyValue]],
    default: Operand[AnyValue] = 0,
) -> AnyValue:
    """Per element the choice of the first condition that holds, else ``default``; all broadcast.

    Args:
        condlist: bools, which broadcast.
        choicelist: a value for each.
        default: where none holds.

    Raises:
        ArgumentError: no condition, or not one choice per condition.

    >>> sg.evaluate(sg.select([[True, False]], [[1.0, 2.0]], 9.0))
    array([1., 9.])
    """
    if not condlist or len(condlist) != len(choicelist):
        raise ArgumentError(f"select: {len(condlist)} conditions, {len(choicelist)} choices")
    choices = promoted_values("select", [*choicelist, default])
    found: Any = choices[-1]
    for k in reversed(range(len(condlist))):
        found = functions.where(condlist[k], choices[k], found)
    return found


def choose(
    a: Operand[AnyValue], choices: Sequence[Operand[AnyValue]] | AnyValue, *, mode: str = "raise"
) -> AnyValue:
    """Per element ``choices[a]``; all broadcast.

    Args:
        a: integers.
        choices: values, or one with the choices along its first axis.
        mode: of an element of a that is no choice, ``"raise"`` in the run that meets it; ``"wrap"``
            it round; ``"clip"`` it to the first or the last.

    Returns:
        Elements of the choices, in the shape that all have together.

    >>> sg.evaluate(sg.choose([0, 1, 0], [[1, 2, 3], [10, 20, 30]]))
    array([ 1, 20,  3])
    """
    given = functions.unstack(choices) if isinstance(choices, Value) else choices
    if not len(given):
        raise ArgumentError("choose: there is no choice")
    values = as_values("choose", a, *given)
    which, values = values[0], values[1:]
    if not which.dtype.is_integer:
        raise DTypeError(f"choose: a holds integers, not {which.dtype.numpy}")
    which = within("choose", which, len(values), mode)
    options = promoted_values("choose", values)
    if mode == "raise":
        alike = functions.broadcast_arrays(which, *options)
        which, together = alike[0], functions.stack(alike[1:], -1)
        found = TakeAlong(together.ndim - 1, wrap=False)(together, expand_dims(which, -1))
        return reshape(found, which.shape)
    last = options[-1]
    for number in reversed(range(len(options) - 1)):
        last = functions.where(which <= number, options[number], last)
    return last


def piecewise(
    x: Operand[AnyValue],
    condlist: Sequence[Operand[AnyValue]],
    funclist: Sequence[Operand[AnyValue] | Callable[..., Operand[AnyValue]]],
    *args: Any,
    **kw: Any,
) -> AnyValue:
    """Per element the value of the last function whose condition holds, in the dtype of x.

    Every function is applied to all of x; a number is a constant. One function more than conditions
    stands for where none holds, else that is 0.

    Args:
        x: a value.
        condlist: conditions, which broadcast with x.
        funclist: functions of x, values or numbers.
        args, kw: handed to every function, after x.

    Raises:
        ArgumentError: too few or too many functions.

    >>> import numpy as np, staticgrad as sg
    >>> x = np.array([-2.0, 3.0])
    >>> sg.evaluate(sg.piecewise(x, [x < 0], [lambda x: -x, lambda x: 10 * x]))
    array([ 2., 30.])
    """
    value = as_value("piecewise", x)
    if len(funclist) - len(condlist) not in (0, 1):
        raise ArgumentError(f"piecewise: {len(condlist)} conditions, {len(funclist)} functions")
    pieces = [f(value, *args, **kw) if callable(f) else f for f in funclist]
    rest = pieces.pop() if len(pieces) > len(condlist) else 0
    kind = value.dtype.numpy
    rest = functions.astype(as_values("piecewise", value, rest)[1], kind)
    found = functions.broadcast_arrays(value, rest)[1]
    for condition, piece in zip(condlist, pieces, strict=True):
        _, condition, piece = as_values("piecewise", value, condition, piece)
        holds = functions.astype(condition, BOOL)
        chosen = functions.astype(piece, kind)
        found = functions.where(holds, chosen, found)
    return found
