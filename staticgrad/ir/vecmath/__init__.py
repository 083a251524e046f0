"""The vector-math blocks: exp, log, sin, ... as branch-free scalar expressions.

``expand`` gives a block's definition over plain primitives, for f32 and f64, over the full range,
with the special values of NumPy; ``ULP`` its largest error. One definition serves every renderer and
the interpreter, so their bits agree; ``fma`` stands only where a block says so. Knows numbers, not
kernels: nothing here loads, loops or branches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from staticgrad.ir.dtype import F32, F64, DType
from staticgrad.ir.expr import BLOCKS, Expr
from staticgrad.ir.vecmath.error_function import erf
from staticgrad.ir.vecmath.exponential import exp, expm1, tanh
from staticgrad.ir.vecmath.logarithm import log, log1p
from staticgrad.ir.vecmath.power import pow_
from staticgrad.ir.vecmath.trigonometric import cos, sin

UNARY: Final[Mapping[str, Callable[[Expr], Expr]]] = MappingProxyType(
    {"exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "sin": sin, "cos": cos, "tanh": tanh, "erf": erf}
)

#: (block, dtype) -> the largest distance from the true value, in units of the last place of the
#: result's binade (of the denormal spacing, for denormal results).
ULP: Final[Mapping[tuple[str, DType], float]] = MappingProxyType({("exp", F32): 1.0})


def expand(op: str, *args: Expr) -> Expr:
    """The definition of the block ``op`` over its operands, in plain primitives.

    Raises:
        KeyError: ``op`` is no block. TypeError: wrong operand count.
    """
    return pow_(*args) if op == "pow" else UNARY[op](*args)
