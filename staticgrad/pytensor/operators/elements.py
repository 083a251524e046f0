"""Rows of functions of elements: scalar Ops, and ``Elemwise`` over them."""

from __future__ import annotations

import functools
import operator as python
from collections.abc import Callable
from math import log
from typing import Any, Final

import numpy as np

import staticgrad.functions as sg
from staticgrad import nn, special
from staticgrad.bridges.elements import COMPARISONS, ELEMENTS, make_rows
from staticgrad.bridges.tables import OperatorRow
from staticgrad.extend import broadcast_shapes
from staticgrad.pytensor.operators.registry import (
    SCALARS,
    PyTensorOp,
    PyTensorType,
    apply_row,
    operator,
    scalar,
    shape_of,
    size,
    value,
)


def _reduce_pairs(f: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """Return a function of two operands as one of any number."""
    return lambda *xs: functools.reduce(f, xs)


#: Operands are cast to the element type of the result.
_RESULT: Final[dict[str, Callable[..., Any]]] = {
    **make_rows(
        sg,
        unary="""
            Sign=sign Ceil=ceil Floor=floor Trunc=trunc RoundHalfToEven=rint Log=log Log2=log2
            Log10=log10 Log1p=log1p Exp=exp Exp2=exp2 Expm1=expm1 Sqrt=sqrt Sqr=square Cos=cos
            ArcCos=arccos Sin=sin ArcSin=arcsin Tan=tan ArcTan=arctan Cosh=cosh ArcCosh=arccosh
            Sinh=sinh ArcSinh=arcsinh Tanh=tanh ArcTanh=arctanh Deg2Rad=deg2rad Rad2Deg=rad2deg
            Conj=conj Erf=erf Erfc=erfc Invert=invert
        """,
        binary="ArcTan2=arctan2 Mod=mod IntDiv=floor_divide Pow=power",
    ),
    **make_rows(
        special,
        unary="""
            Erfcx=erfcx Erfinv=erfinv Erfcinv=erfcinv NdtriExp=ndtri_exp Gamma=gamma
            GammaLn=gammaln Psi=digamma J0=j0 J1=j1 I0=i0 I1=i1
        """,
        binary="""
            Owens_t=owens_t GammaInc=gammainc GammaIncC=gammaincc GammaIncInv=gammaincinv
            GammaIncCInv=gammainccinv Jv=jv Iv=iv Ive=ive Kv=kv Kve=kve
        """,
    ),
    **make_rows(nn, unary="Sigmoid=sigmoid Softplus=softplus"),
    "Neg": ELEMENTS["neg"],
    "Sub": python.sub,
    "TrueDiv": python.truediv,
    "Identity": lambda x: x,
    "Reciprocal": lambda x: 1.0 / x,
    "OR": _reduce_pairs(sg.bitwise_or),
    "XOR": _reduce_pairs(sg.bitwise_xor),
    "AND": _reduce_pairs(sg.bitwise_and),
    "MulWithoutZeros": lambda x, y: sg.where(x == 0, y, sg.where(y == 0, x, x * y)),
    "TriGamma": lambda x: special.polygamma(1, x),
    "BetaInc": lambda a, b, x: special.betainc(a, b, x),
    "BetaIncInv": lambda a, b, y: special.betaincinv(a, b, y),
    "Hyp2F1": lambda a, b, c, x: special.hyp2f1(a, b, c, x),
    # of PyTensor 3.0 and 3.1
    "GammaL": lambda k, x: special.gammainc(k, x) * special.gamma(k),
    "GammaU": lambda k, x: special.gammaincc(k, x) * special.gamma(k),
    "XlogX": lambda x: x * sg.log(sg.where(x == 0, 1, x)),
    "XlogY0": lambda x, y: x * sg.log(sg.where(x == 0, 1, y)),
}
SCALARS.update({name: OperatorRow(function, "result") for name, function in _RESULT.items()})
#: Operands are promoted together; results are truth values.
_COMPARISONS: Final = {"EQ": "eq", "NEQ": "ne", "LT": "lt", "LE": "le", "GT": "gt", "GE": "ge"}
SCALARS.update(
    {name: OperatorRow(COMPARISONS[ours], "common") for name, ours in _COMPARISONS.items()}
)


@scalar("Add")
def _add(*xs: Any, out: PyTensorType) -> Any:
    return functools.reduce(sg.logical_or if out.dtype == "bool" else python.add, xs)


@scalar("Mul")
def _mul(*xs: Any, out: PyTensorType) -> Any:
    return functools.reduce(sg.logical_and if out.dtype == "bool" else python.mul, xs)


@scalar("Maximum")
def _maximum(*xs: Any, out: PyTensorType) -> Any:
    return functools.reduce(sg.logical_or if out.dtype == "bool" else sg.maximum, xs)


@scalar("Minimum")
def _minimum(*xs: Any, out: PyTensorType) -> Any:
    return functools.reduce(sg.logical_and if out.dtype == "bool" else sg.minimum, xs)


@scalar("Abs", operands="")
def _abs(x: Any) -> Any:
    return sg.abs(value(x))


@scalar("Real", operands="")
def _real(x: Any) -> Any:
    return sg.real(value(x))


@scalar("Imag", operands="")
def _imag(x: Any) -> Any:
    return sg.imag(value(x))


@scalar("Angle", operands="")
def _angle(x: Any) -> Any:
    return sg.angle(value(x))


@scalar("Complex", operands="")
def _complex(real: Any, imaginary: Any, *, out: PyTensorType) -> Any:
    part = "float32" if out.dtype == "complex64" else "float64"
    return sg.complex(value(real, part), value(imaginary, part))


@scalar("ComplexFromPolar", operands="")
def _complex_of_polar(radius: Any, angle: Any, *, out: PyTensorType) -> Any:
    part = "float32" if out.dtype == "complex64" else "float64"
    r, phi = value(radius, part), value(angle, part)
    return sg.complex(r * sg.cos(phi), r * sg.sin(phi))


@scalar("IsNan", "IsInf", operands="")
def _is_special(x: Any, *, op: PyTensorOp) -> Any:
    x = value(x)
    if not (x.dtype.is_float or x.dtype.is_complex):
        return sg.full_like(x, False, "bool")
    return sg.isnan(x) if op.name == "IsNan" else sg.isinf(x)


@scalar("Switch", operands="")
def _switch(which: Any, a: Any, b: Any, *, out: PyTensorType) -> Any:
    return sg.where(value(which, "bool"), value(a, out.dtype), value(b, out.dtype))


@scalar("Cast", operands="")
def _cast(x: Any, *, out: PyTensorType) -> Any:
    return value(x, out.dtype)


@scalar("Second", operands="")
def _second(x: Any, y: Any, *, out: PyTensorType) -> Any:
    return sg.broadcast_to(value(y, out.dtype), _common_shape(x, y))


@scalar("Clip")
def _clip(x: Any, low: Any, high: Any) -> Any:
    return sg.where(x < low, low, sg.where(x > high, high, x))


@scalar("Log1mexp")
def _log1mexp(x: Any) -> Any:
    """Compute log(1 - exp(x)) of x below 0, by the form that is accurate on its side of log 0.5."""
    is_near_0 = x > log(0.5)
    return sg.where(
        is_near_0,
        sg.log(-sg.expm1(sg.where(is_near_0, x, -1.0))),
        sg.log1p(-sg.exp(sg.where(is_near_0, -1.0, x))),
    )


@scalar("RoundHalfAwayFromZero")
def _round_half_away(x: Any) -> Any:
    truncated = sg.trunc(x)
    return truncated + sg.where(sg.abs(x - truncated) >= 0.5, sg.sign(x), 0)


@scalar("PolyGamma", operands="")
def _polygamma(n: Any, x: Any, *, out: PyTensorType) -> Any:
    order: Any = size(n, "the order of polygamma")
    return special.polygamma(order, value(x, out.dtype))


@scalar("Composite", "ScalarInnerGraphOp", operands="")
def _composite(*xs: Any, fgraph: Any) -> Any:
    return tuple(fgraph.run(xs))


def _common_shape(*xs: Any) -> Any:
    return broadcast_shapes([shape_of(x) for x in xs])


@operator("Elemwise", batched=True)
def _elementwise(*xs: Any, scalar_op: PyTensorOp, out: Any) -> Any:
    kinds = out if isinstance(out[0], tuple) else (out,)
    results = apply_row(scalar_op, xs, kinds)
    if len(results) > 1 or "fgraph" in scalar_op.attributes:
        shape = _common_shape(*xs)
        results = tuple([
            sg.broadcast_to(value(x, kind.dtype), shape)
            for x, kind in zip(results, kinds, strict=True)
        ])  # fmt: skip
    return results


@scalar("ScalarLoop", operands="")
def _loop_over_elements(steps: Any, *operands: Any, fgraph: Any, is_while: bool, **_: Any) -> Any:
    """Repeat a scalar graph until every element has ended; those that have are unchanged."""
    count = len(fgraph.results) - is_while
    shape = _common_shape(steps, *operands)
    carry = tuple([
        sg.broadcast_to(value(x, kind.dtype), shape)
        for x, kind in zip(operands[:count], fgraph.inputs, strict=False)
    ])  # fmt: skip
    fixed = [
        value(x, kind.dtype)
        for x, kind in zip(operands[count:], fgraph.inputs[count:], strict=True)
    ]
    steps = sg.broadcast_to(value(steps, "int64"), shape)
    ended = sg.broadcast_to(sg.constant(np.False_), shape)

    def goes_on(state: Any) -> Any:
        step_number, ended, _ = state
        return sg.any((step_number < steps) & ~ended)

    def step(state: Any) -> Any:
        step_number, ended, carry = state
        results = fgraph.run([*carry, *fixed])
        goes = (step_number < steps) & ~ended
        new = tuple([
            sg.where(goes, value(result, old.dtype.name), old)
            for result, old in zip(results, carry, strict=False)
        ])  # fmt: skip
        if is_while:
            ended = ended | (goes & sg.broadcast_to(value(results[-1], "bool"), shape))
        return step_number + 1, ended, new

    first = sg.constant(np.int64(0))
    _, ended, carry = sg.while_loop(goes_on, step, (first, ended, carry))
    return (*carry, ended) if is_while else carry
