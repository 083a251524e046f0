"""Expressions to lines of source: every distinct sub-expression becomes one named line.

A value is *uniform* if it is the same for all lanes: then it is computed once, as a vector of one
lane, before the loops it does not depend on, and broadcast where a vector reads it. The target
language is the kernel vocabulary of ``staticgrad.native``; nothing here knows stages.

The last elements of rows that are added onto memory: whole vectors, each half as wide.

A scatter's rows go to a few places, so a row is often added to what an earlier one has just stored.
A processor hands a store on to a load of the same bytes at once. One under a mask it hands on to
nobody: the load waits until the store has reached the cache, 30 cycles for each short row.

Square roots of vectors by products, to source: the bits of the processor's root, sooner.

A processor takes twenty-four cycles for the roots of eight float64, twelve for those of sixteen
float32, and in that time does thirty other operations. From an estimate of 1 / sqrt(x) to 14 bits,
Goldschmidt's iteration doubles the digits of g = sqrt(x) and h = 1 / (2 sqrt(x)) together; then
g + (x - g g) h, where x - g g has no rounding, is the rounded root (Markstein 1990; Cornea,
Harrison and Tang 1999, "Correctness proofs outline for Newton-Raphson based floating-point divide
and square root algorithms"). No root of a number lies in the middle of two numbers, and those that
come near to one are few. Vectors that have a negative number, one that is not finite or a very
small one go the processor's way.

Quotients by a number that a loop's vectors share, to source: the bits of a division, sooner.

A processor divides a vector in ten to sixteen cycles, and in that time does twenty other
operations. With r = 1/s rounded, q = x r and x - q s without rounding, q + (x - q s) r is the
rounded quotient, provided that nothing over- or underflows on the way (Markstein 1990; Brisebarre,
Muller and Raina 2004, "Accelerating correctly rounded floating-point division when the divisor is
known in advance"). Vectors in which something may, and divisors of unusual size, are divided.

A loop that has enough else to do for a vector while the processor divides is quicker without the
ten operations and the branch of each such quotient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

import numpy as np

from staticgrad.codegen.block_functions import (
    Lines as Lines,
    element as element,
    function_name,
    function_text,
    number as number,
    operation as operation,
    position_source as position_source,
    primitive as primitive,
    scaled as scaled,
    total as total,
)
from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.expr import BLOCKS, LEAVES, Expr
from staticgrad.ir.kernels.stages import Map
from staticgrad.native.machine import Machine
from staticgrad.records import NamedTuple, dataclass
from staticgrad.types.dtype import F32, F64, DType

#: Iterations that take 14 bits to more than a format has.
ITERATIONS: Final = {F32: 1, F64: 2}
#: Powers of two from which on no residual of a root is denormal.
LEAST: Final = {F32: -100, F64: -900}


def root_name(dtype: DType) -> str:
    """The name of the function that takes roots."""
    return f"root_{dtype.code}"


def root_text(dtype: DType) -> str:
    """``root(x)``: the rounded square root of the lanes of x."""
    ends = np.asarray([2.0 ** LEAST[dtype], np.inf], dtype.numpy)
    first, end = (int(pattern) for pattern in ends.view(dtype.unsigned.numpy))
    step = "    r = fma(-g, h, 0.5)\n    g = fma(g, r, g)\n    h = fma(h, r, h)\n"
    return f"""\
def {root_name(dtype)}(x):
    least = like(x, {2.0 ** LEAST[dtype]})
    y = estimated_inverse_root(select(x < least, least, x))
    g = x * y
    h = y * 0.5
{step * ITERATIONS[dtype]}    found = fma(fma(-g, g, x), h, g)
    usual = bitcast_{dtype.unsigned.code}(x) - {first} < {end - first}
    if some(~usual & (x != 0.0)):
        found = sqrt(x)
    return found"""


#: Powers of two between which a divisor, and then a dividend, lies for the short way. A dividend
#: is as far above the least normal number as a format has digits, and a quotient is normal.
DIVISORS: Final = {F32: 24, F64: 100}
DIVIDENDS: Final = {F32: 100, F64: 900}
#: Quotients of a vector, and other operations for each of them, from which on a processor divides
#: beside the rest. One quotient alone was measured as fast either way, and those of eight float64,
#: which take half as long again, by products.
_SEVERAL: Final = 2
_BESIDE: Final = 16


def quotient_name(dtype: DType) -> str:
    """The name of the function that divides."""
    return f"quotient_{dtype.code}"


def _fields(dtype: DType, most: int) -> tuple[int, int]:
    """The patterns of a format's powers of two to minus ``most`` and to ``most``, as integers."""
    powers = np.asarray([2.0**-most, 2.0**most], dtype.numpy).view(dtype.unsigned.numpy)
    return int(powers[0]), int(powers[1])


def quotient_text(dtype: DType) -> str:
    """``quotient(x, s, r, span)``: x / s, where r is 1 / s, and ``span`` what ``span_of`` gives."""
    first, _ = _fields(dtype, DIVIDENDS[dtype])
    return f"""\
def {quotient_name(dtype)}(x, s, r, span):
    q = x * r
    found = fma(fma(-q, s, x), r, q)
    field = bitcast_{dtype.unsigned.code}(x)
    size = (field & {(1 << (dtype.bits - 1)) - 1}) - {first}
    size = select(field == 0, like(field, 0), size)
    if some(size >= span):
        found = x / s
    return found"""


def is_power_of_two(divisor: object) -> bool:
    """Return whether a literal is a power of two: compilers multiply by its inverse."""
    return isinstance(divisor, float) and abs(math.frexp(divisor)[0]) == 0.5


def divides_beside(divisors: Sequence[Expr], work: int) -> bool:
    """Return whether a loop has enough other work to hide divisions by each of ``divisors``.

    ``work``: the operations of a vector.
    """
    if len(divisors) < _SEVERAL or any(divisor.dtype != F32 for divisor in divisors):
        return False
    return work >= (_BESIDE + 1) * len(divisors)


VECTOR = "j"


class Fragment(NamedTuple):
    """Source of vectors: lines before the loops around them, lines inside, and their names."""

    before: list[str]
    body: list[str]
    names: list[str]


_NO_LINES: Final = Fragment([], [], [])


@dataclass
class Unit:
    """State shared by all stages of one kernel's source: helper functions and the name counter.

    ``helpers`` are the functions that the kernel calls, in order of need; ``once`` are lines before
    the loop over iterations. ``spread`` has the lanes of values that were broadcast: another stage
    may read the same with others. ``machine`` is what the code is written for; no result depends
    on it. ``known`` is what holds of integer arguments. No two values of a kernel have one name,
    for a name has one type in the language of the backends.
    """

    helpers: dict[str, str] = field(default_factory=dict)
    named: int = 0
    machine: Machine = Machine()
    once: Lines = field(default_factory=lambda: Lines(1))
    spread: dict[str, int] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)
    write_map: Callable[[Map], list[str]] = field(repr=False, default=lambda _: [])
    write_vectors: Callable[..., Fragment] = field(repr=False, default=lambda *_: _NO_LINES)

    @property
    def vector_bits(self) -> int:
        """The width of a register."""
        return self.machine.vector_bits

    @property
    def has_masks(self) -> bool:
        """True if masks have registers of their own."""
        return self.machine.has_mask_registers

    def told(self, extent: str | int) -> Known:
        """Return the known facts about a number given as source (an argument or a literal)."""
        text = str(extent)
        if text.isdecimal():
            return known_of(text, [int(text)])
        return self.known.get(text, Known(text))

    def fresh(self, prefix: str) -> str:
        """A name that no other value of the kernel has."""
        self.named += 1
        return f"{prefix}{self.named - 1}"

    def helper(self, op: str, dtype: DType) -> str:
        """The name of the function for a block, defined on first use."""
        name = function_name(op, dtype)
        if name not in self.helpers:
            self.helpers[name] = function_text(op, dtype, self.has_masks)
        return name

    def work(self, expr: Expr) -> int:
        """The operations of an expression, without those of its operands."""
        if expr.op not in BLOCKS:
            return int(expr.op not in LEAVES)
        return self.helpers[self.helper(expr.op, expr.dtype)].count("\n")
