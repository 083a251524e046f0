"""Functions of elements that PyTorch and JAX call by one name, and mean the same by.

A table of another library names our functions:
``make_rows(sg, unary="exp acos=arccos", binary="fmod")`` has the rows ``exp``, ``acos``, which is
``sg.arccos``, and ``fmod`` of two operands. An operator that computes something else has a row of
its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import staticgrad.functions as sg
from staticgrad import special


def make_rows(home: Any, unary: str = "", binary: str = "") -> dict[str, Callable[..., Any]]:
    """Return rows of functions of ``home``, of one operand and of two.

    Args:
        home: a module or a namespace; it is asked for a function when its row is called.
        unary: functions of one operand by name, ``theirs=ours`` where the names differ.
        binary: the same of two operands.
    """
    rows = {}
    for make_row, names in ((_make_unary, unary), (_make_binary, binary)):
        for entry in names.split():
            theirs, _, ours = entry.partition("=")
            rows[theirs] = make_row(home, ours or theirs)
    return rows


def _make_unary(home: Any, name: str) -> Callable[..., Any]:
    return lambda x: getattr(home, name)(x)


def _make_binary(home: Any, name: str) -> Callable[..., Any]:
    return lambda x, y: getattr(home, name)(x, y)


#: Each by its name; the tables of both libraries have these rows.
ELEMENTS: Final[dict[str, Callable[..., Any]]] = {
    **make_rows(
        sg,
        unary="""
            ceil cos cosh erf erfc exp exp2 expm1 floor log log1p sign sin sinh sqrt square tan tanh
            acos=arccos acosh=arccosh asin=arcsin asinh=arcsinh atan=arctan atanh=arctanh
        """,
        binary="atan2=arctan2",
    ),
    **make_rows(
        special, unary="digamma lgamma=gammaln", binary="igamma=gammainc igammac=gammaincc"
    ),
    "mul": lambda x, y: x * y,
    "neg": lambda x: -x,
    "rsqrt": lambda x: 1.0 / sg.sqrt(x),
}
#: Comparisons by the names of both.
COMPARISONS: Final = make_rows(
    sg, binary="eq=equal ge=greater_equal gt=greater le=less_equal lt=less ne=not_equal"
)
