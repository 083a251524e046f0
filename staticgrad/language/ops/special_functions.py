"""Special functions that SciPy computes: two ops, and the table of their derivatives.

A step calls the function for whole arrays (``native/libraries/special_functions.py``); the
reference is the same function, so both are bitwise identical. Operands and results are float64. A
row of ``RULES`` gives the partial derivatives; those by orders and parameters are refused.

The rows stand beside the public functions that they are of (``functions/bessel.py`` and others):
``scipy_function`` declares both at once, ``declare`` a row that no public function has alone, as
one of several results::

    declare("airy_ai", "z", lambda out, z: call("airy_aip", z))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import ArgumentError, GradientError
from staticgrad.language.calls.functional import load_functions
from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.op import Array
from staticgrad.language.ir.ranges import Range, RangeOf
from staticgrad.language.ops.cotangent import Cotangent, Partial, times
from staticgrad.language.ops.elementwise import Elementwise, broadcast
from staticgrad.language.ops.special import refuse_by
from staticgrad.language.types.arrays import TensorType, product
from staticgrad.language.types.dtype import F64, DType
from staticgrad.support.records import NamedTuple

#: From the result and the operands, the partial derivative by each operand that has one: a tuple,
#: or the derivative alone where it is one.
Rule = Callable[..., Any]


class Declaration(NamedTuple):
    """The operands of a function, its partial derivatives, and the operands that have one."""

    operands: tuple[str, ...]
    partials: Rule
    by: tuple[str, ...]


#: Function -> its row; the modules of public functions declare them.
RULES: Final[dict[str, Declaration]] = {}


class SpecialFunction(Elementwise, name="special"):
    """A function of ``scipy.special`` in float64, by its row of ``RULES``."""

    elementwise = False  # no kernel computes it
    exact = True
    kinds = "f"
    has_poles = True
    flops = 300
    kink = "at poles and where domains end derivatives are infinite or NaN"
    function: str

    def operand_dtype(self, common: DType) -> DType:
        return F64

    def infer(self, *types: TensorType) -> TensorType:
        operands = row(self.function).operands
        if len(types) != len(operands):
            raise ArgumentError(
                f"{self.function}: takes {len(operands)} operands, got {len(types)}"
            )
        self.met_dtype(*types)
        return TensorType(F64, broadcast(self.function, [kind.shape for kind in types]))

    def met_dtype(self, *types: TensorType) -> DType:
        for kind in types:
            if kind.dtype is not F64:
                raise self.refuse(kind.dtype)
        return F64

    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries.special_functions import write_function

        out = np.empty(np.broadcast_shapes(*(array.shape for array in arrays)))
        write_function(self.function, [*arrays], out)
        return out

    def form(self, out: TensorType, *types: TensorType) -> Form:
        kinds = (*types, out)
        name = ".".join(["special:" + self.function, *(str(kind.rank) for kind in kinds)])
        sizes = tuple(size for kind in kinds for size in kind.shape)
        return CallForm(name, sizes, checks=True, flops=self.flops * product(out.shape), alone=True)

    def value_range(self, of: RangeOf, *args: Any) -> Range | None:
        return None

    def partials(self, out: Any, *args: Any) -> tuple[Partial, ...]:
        operands, rule, by = row(self.function)
        partials = rule(out, *args)
        values = iter(partials if isinstance(partials, tuple) else (partials,))
        return tuple([next(values) if operand in by else None for operand in operands])


class SpecialOfOrder(SpecialFunction, name="special_of_order"):
    """The same by some operands, mostly the last: orders and degrees carry no gradient."""

    kink = "at poles and where domains end derivatives are infinite or NaN"
    function: str

    def pullback(
        self, ct: Any, needed: Sequence[bool], out: Any, *args: Any
    ) -> tuple[Cotangent | None, ...]:
        self._refuse(needed)
        partials = self.partials(out, *args) if any(needed) else (None,) * len(args)
        return tuple(
            times(ct, partial) if want and partial is not None else None
            for partial, want in zip(partials, needed, strict=True)
        )

    def pushforward(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        self._refuse([tangent is not None for tangent in tangents])
        return super().pushforward(tangents, out, *args)

    def _refuse(self, asked: Sequence[bool]) -> None:
        operands, _, by = row(self.function)
        public = self.function.removesuffix("_slope").removesuffix("_by_a")
        for operand, is_asked in zip(operands, asked, strict=True):
            refuse_by(public, operand, is_asked and operand not in by)


def row(function: str) -> Declaration:
    """Return the row of a function."""
    if function not in RULES:
        load_functions()  # and with them the files that declare rows
    return RULES[function]


def call(function: str, *operands: Any) -> Any:
    """Return a function of ``RULES`` of operands, in float64."""
    names, _, by = row(function)
    return (SpecialFunction if by == names else SpecialOfOrder)(function)(*operands)


def declare(function: str, operands: str, partials: Rule, by: str = "") -> None:
    """Add the row of a function, with derivatives by the operands ``by``, by default all."""
    names = tuple(operands.split())
    RULES[function] = Declaration(names, partials, tuple(by.split()) or names)


def slope_of(derivative: str) -> Rule:
    """Return the rule of a derivative that is another function of the same operands."""
    return lambda out, *args: call(derivative, *args)


def no_further(of: str) -> Rule:
    """Return the rule of a derivative that is not differentiated again, of a public function."""

    def rule(out: Any, *args: Any) -> Any:
        raise GradientError(
            f"{of}: there is no second derivative here",
            hint="sg.stop_gradient(slope) where it is not to be differentiated",
        )

    return rule


def declare_with_slope(
    function: str, operands: str, second: Callable[..., Any], unit: float = 1.0
) -> None:
    """Add the rows of a function and of its derivative ``function_slope`` by the last operand.

    Args:
        second: the derivative of ``function_slope`` from value, derivative and operands.
        unit: the unit of the last operand, in which SciPy's derivative is not.
    """
    by = operands.split()[-1]
    slope = f"{function}_slope"
    first = slope_of(slope) if unit == 1.0 else lambda out, *args: unit * call(slope, *args)
    declare(function, operands, first, by=by)
    declare(slope, operands, lambda out, *args: second(call(function, *args), out, *args), by=by)
