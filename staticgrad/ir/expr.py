"""Scalar expressions: one element's arithmetic, typed, for every renderer.

An ``Expr`` is an immutable DAG over about fifty typed primitives. An op says once what it does to
one element (``Op.scalar``); both renderers and the interpreter read that. Every literal carries
its dtype, nothing promotes by itself, and no tensor op survives below this line.

    >>> from staticgrad.types.dtype import F32
    >>> x = literal(2.0, F32)
    >>> (x * x + 1).dtype
    sg.float32

The vector-math primitives (``exp``, ``log``, ...) are blocks: ``vecmath`` defines each as
an Expr over the plain primitives, with its error in ULP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NoReturn

import numpy as np

from staticgrad.errors import OpDefinitionError
from staticgrad.records import dataclass
from staticgrad.types.arrays import convert_array
from staticgrad.types.dtype import BOOL, I64, U64, DType

#: Primitive -> number of operands. They share one dtype, which is the result's, unless noted.
ARITHMETIC: Final = {"add": 2, "sub": 2, "mul": 2, "div": 2, "neg": 1, "abs": 1}
FLOATING: Final = {"sqrt": 1, "floor": 1, "ceil": 1, "trunc": 1, "rint": 1, "fma": 3, "c_fmod": 2}
#: As NumPy: rounded down, the remainder with the divisor's sign; 0 for a zero divisor.
DIVISION: Final = {"floor_divide": 2, "remainder": 2}
EXTREMA: Final = {"maximum": 2, "minimum": 2}  # NaN wins; -0 < +0
#: ``shr`` is arithmetic if signed.
BITWISE: Final = {"and": 2, "or": 2, "xor": 2, "not": 1, "shl": 2, "shr": 2}
COMPARE: Final = {"eq": 2, "ne": 2, "lt": 2, "le": 2, "gt": 2, "ge": 2}  # result: bool
BLOCKS: Final = {
    "exp": 1, "expm1": 1, "log": 1, "log1p": 1, "sin": 1, "cos": 1, "tanh": 1, "erf": 1, "pow": 2,
    "exp2": 1, "log2": 1, "log10": 1, "cbrt": 1, "atan": 1, "asin": 1, "acos": 1, "erfc": 1,
    "tan": 1, "fmod": 2, "floor_quotient": 2, "ndtri": 1, "erfinv": 1, "erfcx": 1, "ndtr": 1,
    "gammaln": 1, "digamma": 1, "trigamma": 1, "i0e": 1, "i1e": 1, "lambertw": 1, "zeta": 2,
    "gamma": 1, "gammainc": 2, "gammaincc": 2, "betainc": 3, "betaln": 2, "int_pow": 2, "logit": 1,
    "atan2": 2, "sinh": 1, "cosh": 1,
}  # fmt: skip
#: The blocks that take integers; the others take floats.
INTEGER_BLOCKS: Final = frozenset(("int_pow",))
TAKES_FLOATS: Final = FLOATING.keys() | BLOCKS.keys() - INTEGER_BLOCKS | {"scale"}
TAKES_INTEGERS: Final = DIVISION.keys() | INTEGER_BLOCKS
#: (bool, a, b): a where it holds, else b; of ``rarely`` a kernel computes a only where it must.
CHOICES: Final = {"select": 3, "rarely": 3}
#: ``scale`` and ``window`` stand in blocks alone: see ``vecmath.layout.scale_gradually``.
SPECIAL: Final = CHOICES | {"cast": 1, "bitcast": 1, "window": 1, "scale": 2}
LEAVES: Final = ("literal", "load", "index", "size", "ref")
PRIMITIVES: Final = (
    ARITHMETIC
    | FLOATING
    | DIVISION
    | EXTREMA
    | BITWISE
    | COMPARE
    | BLOCKS
    | SPECIAL
    | dict.fromkeys(LEAVES, 0)
)

Number = bool | int | float


@dataclass(frozen=True)
class Position:
    """A position along one axis of an operand: start + the sum of step * loop over ``terms``.

    It moves an access by ``stride`` elements each. Within an ``extent`` only [0, extent) are
    elements: a load elsewhere gives its fill, a store elsewhere is left out. Steps, start, stride
    and extent are integer arguments' names or literals, of any sign but for the extent. ``within``:
    whoever wrote the kernel knows that it is inside, since the loops that move it end in time.
    """

    terms: tuple[tuple[str, str | int], ...]
    start: str | int = 0
    stride: str | int = 1
    extent: str | int | None = None
    within: bool = False

    @property
    def has_ends(self) -> bool:
        """Whether it may lie outside of its extent."""
        return self.extent is not None and not self.within

    def step(self, axis: str) -> str | int:
        """The step along ``axis``; 0 when the position does not vary along it."""
        return dict(self.terms).get(axis, 0)


@dataclass(frozen=True)
class Access:
    """Where a load or store lands in an operand, in elements.

    ``operand`` names a kernel operand; ``strides`` pairs a loop axis with an integer argument's
    name or a literal; axes not named do not move it. ``gather`` holds one stride per gather index;
    a load's (or store's) own operands are those indices, i64. ``positions`` are along axes that
    several loops move, or that have ends. No loop moves an access twice.
    """

    operand: str
    strides: tuple[tuple[str, str | int], ...] = ()
    gather: tuple[str | int, ...] = ()
    positions: tuple[Position, ...] = ()

    @property
    def moves(self) -> tuple[tuple[str, str | int], ...]:
        """Every loop that moves it, with its stride."""
        inside = ((axis, self.stride(axis)) for p in self.positions for axis, _ in p.terms)
        return (*self.strides, *inside)

    @property
    def bounded(self) -> tuple[Position, ...]:
        """The positions that have ends."""
        return tuple(p for p in self.positions if p.has_ends)

    def stride(self, axis: str) -> str | int:
        """The stride along ``axis``; 0 when the operand does not vary along it.

        That of a step and a stride that are both arguments is their product as text, ``n0 * n1``.
        """
        for name, stride in self.strides:
            if name == axis:
                return stride
        for position in self.positions:
            for name, step in position.terms:
                if name == axis:
                    return _product(step, position.stride)
        return 0


def _product(step: str | int, stride: str | int) -> str | int:
    if isinstance(step, int) and isinstance(stride, int):
        return step * stride
    if 0 in (step, stride):
        return 0
    if 1 in (step, stride):
        return stride if step == 1 else step
    return f"{step} * {stride}"


Attribute = None | Number | str | Access


def _no_number(what: str, instead: str) -> OpDefinitionError:
    return OpDefinitionError(f"{what} of an element that a kernel will compute", hint=instead)


class Expr:
    """One scalar value: a primitive over other scalars.

    ``attribute`` is the value of a literal, the Access of a load, the axis of an index (i64), the
    integer argument of a size (i64), the name of an earlier stage's result for a ref, the words of
    a window in hexadecimal.
    """

    __slots__ = ("args", "attribute", "dtype", "op")

    def __init__(
        self, op: str, dtype: DType, args: tuple[Expr, ...] = (), attribute: Attribute = None
    ) -> None:
        self.op, self.dtype, self.args, self.attribute = op, dtype, args, attribute

    def __bool__(self) -> NoReturn:
        raise _no_number("bool()", "select(condition, a, b) of staticgrad.ir.expr chooses")

    def __float__(self) -> NoReturn:
        raise _no_number("float()", "for a function of math, its method: x.sin(), x.exp()")

    __int__ = __index__ = __float__

    def _lift(self, other: Expr | Number) -> Expr:
        return other if isinstance(other, Expr) else literal(other, self.dtype)

    def __add__(self, other: Expr | Number) -> Expr:
        return apply("add", self, self._lift(other))

    def __radd__(self, other: Number) -> Expr:
        return self._lift(other) + self

    def __sub__(self, other: Expr | Number) -> Expr:
        return apply("sub", self, self._lift(other))

    def __rsub__(self, other: Number) -> Expr:
        return self._lift(other) - self

    def __mul__(self, other: Expr | Number) -> Expr:
        return apply("mul", self, self._lift(other))

    def __rmul__(self, other: Number) -> Expr:
        return self._lift(other) * self

    def __truediv__(self, other: Expr | Number) -> Expr:
        return apply("div", self, self._lift(other))

    def __rtruediv__(self, other: Number) -> Expr:
        return self._lift(other) / self

    def __neg__(self) -> Expr:
        return apply("neg", self)

    def __abs__(self) -> Expr:
        """Of -x that of x, to the bit: both sides of a sigmoid take one exponential."""
        negated = self.op == "neg" and self.dtype.is_float
        return apply("abs", self.args[0] if negated else self)

    def __and__(self, other: Expr | Number) -> Expr:
        return apply("and", self, self._lift(other))

    def __or__(self, other: Expr | Number) -> Expr:
        return apply("or", self, self._lift(other))

    def __xor__(self, other: Expr | Number) -> Expr:
        return apply("xor", self, self._lift(other))

    def __invert__(self) -> Expr:
        return apply("not", self)

    def __lshift__(self, other: Expr | Number) -> Expr:
        return apply("shl", self, self._lift(other))

    def __rshift__(self, other: Expr | Number) -> Expr:
        return apply("shr", self, self._lift(other))

    # Comparisons give bool. `==` is a method so that an Expr keeps identity equality and its hash.
    def eq(self, other: Expr | Number) -> Expr:
        return apply("eq", self, self._lift(other))

    def ne(self, other: Expr | Number) -> Expr:
        return apply("ne", self, self._lift(other))

    def __lt__(self, other: Expr | Number) -> Expr:
        return apply("lt", self, self._lift(other))

    def __le__(self, other: Expr | Number) -> Expr:
        return apply("le", self, self._lift(other))

    def __gt__(self, other: Expr | Number) -> Expr:
        return apply("gt", self, self._lift(other))

    def __ge__(self, other: Expr | Number) -> Expr:
        return apply("ge", self, self._lift(other))

    def maximum(self, other: Expr | Number) -> Expr:
        return apply("maximum", self, self._lift(other))

    def minimum(self, other: Expr | Number) -> Expr:
        return apply("minimum", self, self._lift(other))

    def sqrt(self) -> Expr:
        return apply("sqrt", self)

    def floor(self) -> Expr:
        return apply("floor", self)

    def ceil(self) -> Expr:
        return apply("ceil", self)

    def trunc(self) -> Expr:
        return apply("trunc", self)

    def rint(self) -> Expr:
        """Nearest integer, ties to even."""
        return apply("rint", self)

    def fma(self, factor: Expr | Number, addend: Expr | Number) -> Expr:
        """self * factor + addend, rounded once; only inside named blocks, never by contraction."""
        return apply("fma", self, self._lift(factor), self._lift(addend))

    def fmod(self, divisor: Expr | Number) -> Expr:
        """The remainder of a floating division with the sign of self (C's), exact."""
        return apply("fmod", self, self._lift(divisor))

    def floor_quotient(self, divisor: Expr | Number) -> Expr:
        """The quotient of floats rounded down, as NumPy's."""
        return apply("floor_quotient", self, self._lift(divisor))

    def floor_divide(self, divisor: Expr | Number) -> Expr:
        """The quotient of integers, rounded down; 0 for a zero divisor. INT_MIN / -1 wraps."""
        return apply("floor_divide", self, self._lift(divisor))

    def remainder(self, divisor: Expr | Number) -> Expr:
        """What ``floor_divide`` leaves, with the divisor's sign; 0 for a zero divisor."""
        return apply("remainder", self, self._lift(divisor))

    def exp(self) -> Expr:
        return apply("exp", self)

    def expm1(self) -> Expr:
        return apply("expm1", self)

    def log(self) -> Expr:
        return apply("log", self)

    def log1p(self) -> Expr:
        return apply("log1p", self)

    def sin(self) -> Expr:
        return apply("sin", self)

    def cos(self) -> Expr:
        return apply("cos", self)

    def tan(self) -> Expr:
        return apply("tan", self)

    def tanh(self) -> Expr:
        return apply("tanh", self)

    def erf(self) -> Expr:
        return apply("erf", self)

    def pow(self, exponent: Expr | Number) -> Expr:
        return apply("pow", self, self._lift(exponent))

    def exp2(self) -> Expr:
        return apply("exp2", self)

    def log2(self) -> Expr:
        return apply("log2", self)

    def log10(self) -> Expr:
        return apply("log10", self)

    def cbrt(self) -> Expr:
        return apply("cbrt", self)

    def atan(self) -> Expr:
        return apply("atan", self)

    def atan2(self, across: Expr) -> Expr:
        """The angle of the point whose ordinate self is."""
        return apply("atan2", self, across)

    def asin(self) -> Expr:
        return apply("asin", self)

    def acos(self) -> Expr:
        return apply("acos", self)

    def erfc(self) -> Expr:
        return apply("erfc", self)

    def ndtri(self) -> Expr:
        """The quantile of the standard normal distribution at self."""
        return apply("ndtri", self)

    def cast(self, dtype: DType) -> Expr:
        """NumPy's conversion on x86-64: an integer of NaN or out of range is INT_MIN.

        A value of a storage dtype that goes to its compute dtype and back is not converted.
        """
        if dtype is self.dtype:
            return self
        if self.op == "cast" and dtype.is_storage and self.dtype is dtype.compute:
            (source,) = self.args
            if source.dtype is dtype:
                return source
        if self.op == "literal" and self.dtype.is_storage and dtype is self.dtype.compute:
            return Expr("literal", dtype, (), self.attribute)
        return Expr("cast", dtype, (self,))

    def bitcast(self, dtype: DType) -> Expr:
        """The same bits read as ``dtype`` of equal width."""
        if dtype.bits != self.dtype.bits:
            raise TypeError(f"bitcast of {self.dtype.code} to {dtype.code}: widths differ")
        return self if dtype is self.dtype else Expr("bitcast", dtype, (self,))

    def __repr__(self) -> str:
        inner = ", ".join(
            [
                *(a.op for a in self.args),
                *([repr(self.attribute)] if self.attribute is not None else []),
            ]
        )
        return f"{self.op}({inner}): {self.dtype.code}"


def apply(op: str, *args: Expr) -> Expr:
    """The primitive ``op`` over ``args``, checked.

    Raises:
        TypeError: wrong operand count or dtypes; nothing promotes by itself down here.
    """
    if len(args) != PRIMITIVES[op]:
        raise TypeError(f"{op} takes {PRIMITIVES[op]} operands, got {len(args)}")
    dtype = args[-1].dtype
    compared = args[1:] if op in CHOICES else args
    if any(a.dtype is not dtype for a in compared):
        raise TypeError(f"{op} of {', '.join(a.dtype.code for a in args)}: dtypes differ")
    if dtype.is_storage and op not in CHOICES:
        raise TypeError(f"{op} of {dtype.code}: computed in {dtype.compute.code}")
    if op in TAKES_FLOATS and not dtype.is_float:
        raise TypeError(f"{op} of {dtype.code}: takes floating dtypes only")
    if op in TAKES_INTEGERS and not dtype.is_integer:
        raise TypeError(f"{op} of {dtype.code}: takes integers only")
    return Expr(op, BOOL if op in COMPARE else dtype, args)


def literal(value: Number, dtype: DType) -> Expr:
    """A constant of ``dtype``; the value is rounded or wrapped to it here, once."""
    with np.errstate(all="ignore"):
        exact = convert_array(np.asarray(value), dtype)[()].item()
    return Expr("literal", dtype, (), exact)


def load(access: Access, dtype: DType, *indices: Expr, fill: Expr | None = None) -> Expr:
    """The element of an operand at ``access``; ``indices`` are its gather indices (i64).

    ``fill`` is the value beyond the ends of a position, a literal; 0 if it is not given.
    """
    return Expr("load", dtype, indices if fill is None else (*indices, fill), access)


def index(axis: str) -> Expr:
    """The position along a loop axis, i64."""
    return Expr("index", I64, (), axis)


def size(argument: str) -> Expr:
    """The value of an integer argument, i64."""
    return Expr("size", I64, (), argument)


def ref(name: str, dtype: DType) -> Expr:
    """The result ``name`` of an earlier stage."""
    return Expr("ref", dtype, (), name)


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    """a where the condition holds, else b."""
    return apply("select", condition, a, b)


def rarely(condition: Expr, unusual: Iterable[Expr], usual: Iterable[Expr]) -> tuple[Expr, ...]:
    """Pairwise ``select(condition, unusual, usual)``, for a condition that hardly ever holds.

    Inside a named block, a kernel goes through what only the unusual values need if the condition
    holds in some lane, once for all of them; what they share with other values is computed always.
    No usual value may be made from a result of this call.
    """
    pairs = zip(unusual, usual, strict=True)
    return tuple(apply("rarely", condition, a, b) for a, b in pairs)


def window(position: Expr, words: Iterable[int]) -> Expr:
    """52 bits of a constant, given as u64 words, most significant first, from ``position`` on.

    A position whose byte is past the last word reads from the start of that word, at the same bit.
    Only inside named blocks.

    Raises:
        TypeError: a position that is no u64.
    """
    if position.dtype is not U64:
        raise TypeError(f"a window's position is u64, not {position.dtype.code}")
    return Expr("window", U64, (position,), "".join(f"{word:016x}" for word in words))


def words_of(digits: str) -> list[int]:
    """The u64 words of a window's attribute."""
    return [int(digits[at : at + 16], 16) for at in range(0, len(digits), 16)]


def postorder(roots: Iterable[Expr], known: Iterable[int] = ()) -> Iterator[Expr]:
    """Every distinct sub-expression once, operands before users; iterative.

    Those whose ids are ``known`` are left out, and what only they need.
    """
    return not_met(roots, set(known))


def not_met(roots: Iterable[Expr], met: set[int]) -> Iterator[Expr]:
    """The same without those whose ids are among ``met``, to which those that are given are added.

    Walks over a kernel's statements that share ``met`` take the time of one walk over all of them.
    """
    stack = [*reversed([*roots])]
    while stack:
        node = stack[-1]
        if id(node) in met:
            stack.pop()
            continue
        for arg in node.args:
            if id(arg) in met:
                continue
            if arg.args:
                stack.append(arg)
                break
            met.add(id(arg))
            yield arg
        else:
            stack.pop()
            met.add(id(node))
            yield node
