"""Scalar expressions: the arithmetic of one element, typed, and the typing rules of its primitives.

An ``Expr`` is an immutable DAG over about fifty typed primitives. An op defines once what it does
to one element (``Op.scalar``); every renderer and the interpreter read that. Every literal has a
dtype, nothing promotes by itself, and kernels contain no tensor op.

    >>> from staticgrad.language.types.dtype import F32
    >>> x = literal(2.0, F32)
    >>> (x * x + 1).dtype
    sg.float32

The vector-math primitives (``exp``, ``log``, ...) are blocks: ``vecmath`` defines each as
an Expr over the plain primitives, with its error in ULP.

``describe_type_error`` checks one node and nothing below it, so that a parser and a verifier that
walk a DAG once both stay linear. ``verify_kernel`` checks the loops, arguments and results around
an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NoReturn

import numpy as np

from staticgrad.errors import OpDefinitionError
from staticgrad.language.types.arrays import convert_array
from staticgrad.language.types.dtype import BOOL, I64, U64, DType
from staticgrad.support.records import dataclass


@dataclass(frozen=True)
class Primitive:
    """The operands and the result of a scalar primitive. Its meaning: ``support.primitives``.

    Attributes:
        operands: their number. They share one dtype, which is the result's, unless noted.
        takes: the kinds of that dtype, of "biuf". A storage dtype is computed in another, so that
            only choices take one.
    """

    operands: int
    takes: str = "biuf"


def _primitives(takes: str, operands: int, names: str) -> dict[str, Primitive]:
    return dict.fromkeys(names.split(), Primitive(operands, takes))


ARITHMETIC: Final = (
    _primitives("iuf", 2, "add sub mul")
    | _primitives("f", 2, "div")
    | _primitives("iuf", 1, "neg abs")
)
EXTREMA: Final = _primitives("biuf", 2, "maximum minimum")  # NaN wins; -0 < +0
#: ``shr`` is arithmetic if signed.
BITWISE: Final = (
    _primitives("biu", 2, "and or xor")
    | _primitives("biu", 1, "not")
    | _primitives("iu", 2, "shl shr")
)
COMPARE: Final = _primitives("biuf", 2, "eq ne lt le gt ge")  # result: bool
#: As NumPy: rounded down, the remainder with the divisor's sign; 0 for a zero divisor.
DIVISION: Final = _primitives("iu", 2, "floor_divide remainder")
BLOCKS: Final = (
    _primitives(
        "f",
        1,
        "exp expm1 log log1p sin cos tanh erf exp2 log2 log10 cbrt atan asin acos erfc tan ndtri"
        " erfinv erfcx ndtr gammaln digamma trigamma i0e i1e gamma logit sinh cosh",
    )
    | _primitives("f", 2, "pow fmod floor_quotient zeta gammainc gammaincc betaln atan2")
    | _primitives("f", 3, "betainc")
    | _primitives("iu", 2, "int_pow")
)
#: (bool, a, b): a where it holds, else b; of ``rarely`` a kernel computes a only where it must.
CHOICES: Final = _primitives("biuf", 3, "select rarely")
LEAVES: Final = ("literal", "load", "index", "size", "ref")
#: ``scale`` and ``window`` stand in blocks alone: see ``vecmath.layout.scale_gradually``.
PRIMITIVES: Final = (
    ARITHMETIC
    | EXTREMA
    | BITWISE
    | COMPARE
    | DIVISION
    | BLOCKS
    | CHOICES
    | _primitives("f", 1, "sqrt floor ceil trunc rint")
    | _primitives("f", 2, "c_fmod scale")
    | _primitives("f", 3, "fma")
    | _primitives("biuf", 1, "cast bitcast window")
    | dict.fromkeys(LEAVES, Primitive(0))
)
#: How Python writes primitives that are operators.
SIGNS: Final = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
_TAKES: Final = {
    "f": "floating dtypes", "iu": "integers", "iuf": "numbers", "biu": "integers and bools"
}  # fmt: skip

Number = bool | int | float


#: A stride: an integer argument's name or a literal, or the product of several.
Stride = str | int | tuple[str | int, ...]


def factors(stride: Stride) -> tuple[str | int, ...]:
    """Return the names and literals whose product is a stride."""
    return stride if isinstance(stride, tuple) else (stride,)


@dataclass(frozen=True)
class Position:
    """A position along one axis of an operand: start + the sum of step * loop over ``terms``.

    It moves an access by ``stride`` elements each. Within an ``extent`` only [0, extent) are
    elements: a load elsewhere gives its fill, a store elsewhere is left out. Steps, start, stride
    and extent are integer arguments' names or literals, of any sign but for the extent. ``within``:
    the kernel guarantees that it is inside, since the loops that move it end in time.
    """

    terms: tuple[tuple[str, str | int], ...]
    start: str | int = 0
    stride: str | int = 1
    extent: str | int | None = None
    within: bool = False

    @property
    def has_ends(self) -> bool:
        """True if it may lie outside of its extent."""
        return self.extent is not None and not self.within

    def step(self, axis: str) -> str | int:
        """The step along ``axis``; 0 when the position does not vary along it."""
        return dict(self.terms).get(axis, 0)


@dataclass(frozen=True)
class Access:
    """The elements of an operand that a load or store accesses.

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
    def moves(self) -> tuple[tuple[str, Stride], ...]:
        """Every loop that moves it, with its stride."""
        inside = ((axis, self.stride(axis)) for p in self.positions for axis, _ in p.terms)
        return (*self.strides, *inside)

    @property
    def bounded_positions(self) -> tuple[Position, ...]:
        """The positions that have ends."""
        return tuple(p for p in self.positions if p.has_ends)

    def stride(self, axis: str) -> Stride:
        """Return the stride of a memory access along ``axis``; 0 when it does not vary."""
        for name, stride in self.strides:
            if name == axis:
                return stride
        for position in self.positions:
            for name, step in position.terms:
                if name == axis:
                    return _product(step, position.stride)
        return 0


def _product(step: str | int, stride: str | int) -> Stride:
    """Multiply a step and a stride; a product with a symbol stays a pair."""
    if isinstance(step, int) and isinstance(stride, int):
        return step * stride
    if 0 in (step, stride):
        return 0
    if 1 in (step, stride):
        return stride if step == 1 else step
    return step, stride


Attribute = None | Number | str | Access


def _no_number(what: str, instead: str) -> OpDefinitionError:
    return OpDefinitionError(f"{what} of an element that a kernel will compute", hint=instead)


def _unary(op: str) -> Callable[[Expr], Expr]:
    return lambda self: apply(op, self)


def _binary(op: str) -> Callable[[Expr, Expr | Number], Expr]:
    return lambda self, operand: apply(op, self, self._lift(operand))


def _operator(op: str) -> tuple[Callable[[Expr, Expr | Number], Expr], ...]:
    """An operator, and what it does where the number stands first."""
    return _binary(op), lambda self, operand: apply(op, self._lift(operand), self)


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
        raise _no_number("bool()", "select(condition, a, b) of staticgrad.language.ir.expr chooses")

    def __float__(self) -> NoReturn:
        raise _no_number("float()", "for a function of math, its method: x.sin(), x.exp()")

    __int__ = __index__ = __float__

    def _lift(self, operand: Expr | Number) -> Expr:
        return operand if isinstance(operand, Expr) else literal(operand, self.dtype)

    __add__, __radd__ = _operator("add")
    __sub__, __rsub__ = _operator("sub")
    __mul__, __rmul__ = _operator("mul")
    __truediv__, __rtruediv__ = _operator("div")
    __and__, __or__, __xor__ = _binary("and"), _binary("or"), _binary("xor")
    __lshift__, __rshift__ = _binary("shl"), _binary("shr")
    __neg__, __invert__ = _unary("neg"), _unary("not")

    def __abs__(self) -> Expr:
        """Return abs(x) also for -x, bit for bit: both sides of a sigmoid share one exponential."""
        negated = self.op == "neg" and self.dtype.is_float
        return apply("abs", self.args[0] if negated else self)

    # Comparisons give bool. `==` is a method so that an Expr keeps identity equality and its hash.
    eq, ne = _binary("eq"), _binary("ne")
    __lt__, __le__, __gt__, __ge__ = _binary("lt"), _binary("le"), _binary("gt"), _binary("ge")

    maximum, minimum = _binary("maximum"), _binary("minimum")
    floor_divide, remainder = _binary("floor_divide"), _binary("remainder")
    sqrt, floor, ceil, trunc = _unary("sqrt"), _unary("floor"), _unary("ceil"), _unary("trunc")
    rint = _unary("rint")  # ties to even
    exp, expm1, exp2 = _unary("exp"), _unary("expm1"), _unary("exp2")
    log, log1p, log2, log10 = _unary("log"), _unary("log1p"), _unary("log2"), _unary("log10")
    sin, cos, tan, tanh = _unary("sin"), _unary("cos"), _unary("tan"), _unary("tanh")
    asin, acos, atan = _unary("asin"), _unary("acos"), _unary("atan")
    atan2 = _binary("atan2")  # self is the ordinate
    erf, erfc, cbrt, ndtri = _unary("erf"), _unary("erfc"), _unary("cbrt"), _unary("ndtri")
    pow = _binary("pow")
    fmod = _binary("fmod")  # with the sign of self, as C's; exact
    floor_quotient = _binary("floor_quotient")  # of floats, as NumPy's

    def fma(self, factor: Expr | Number, addend: Expr | Number) -> Expr:
        """self * factor + addend, rounded once; only inside named blocks, never by contraction."""
        return apply("fma", self, self._lift(factor), self._lift(addend))

    def cast(self, dtype: DType) -> Expr:
        """Convert a NumPy scalar as x86-64 does: an integer of NaN or out of range is INT_MIN.

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
    """The primitive ``op`` over ``args``, checked."""
    expr = Expr(op, BOOL if op in COMPARE else args[-1].dtype, args)
    if wrong := mistyped_operands(expr):
        raise TypeError(wrong)
    return expr


def mistyped_operands(expr: Expr) -> str:
    """Return the type error of a scalar expression's operands or result; empty if none."""
    op, args, primitive = expr.op, expr.args, PRIMITIVES[expr.op]
    if len(args) != primitive.operands:
        count = primitive.operands
        return f"{op} takes {count} operand{'s' * (count != 1)}, got {len(args)}"
    dtype = args[-1].dtype
    is_choice = op in CHOICES
    listed = ", ".join(arg.dtype.code for arg in args)
    if is_choice and args[0].dtype is not BOOL:
        return f"{op} of {listed}: the condition is not a bool"
    if any(arg.dtype is not dtype for arg in (args[1:] if is_choice else args)):
        return f"{op} of {listed}: dtypes differ"
    if dtype.is_storage and not is_choice:
        return f"{op} of {dtype.code}: it is computed in {dtype.compute.code}"
    if dtype.kind not in primitive.takes:
        return f"{op} of {dtype.code}: takes {_TAKES[primitive.takes]} only"
    result = BOOL if op in COMPARE else dtype
    if result is expr.dtype:
        return ""
    return f"{op} of {listed} gives {result.code}, not {expr.dtype.code}"


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
    """Build ``select(condition, unusual, usual)`` for a rare condition: vectors may branch past it.

    Inside a named block, a kernel goes through what only the unusual values need if the condition
    holds in some lane, once for all of them; what they share with other values is computed always.
    No usual value may be made from a result of this call.
    """
    pairs = zip(unusual, usual, strict=True)
    return tuple(apply("rarely", condition, a, b) for a, b in pairs)


def window(position: Expr, words: Iterable[int]) -> Expr:
    """Extract 52 bits of a constant given as u64 words, most significant first, from ``position``.

    A position whose byte is past the last word reads from the start of that word, at the same bit.
    Only inside named blocks.
    """
    if position.dtype is not U64:
        raise TypeError(f"a window's position is u64, not {position.dtype.code}")
    return Expr("window", U64, (position,), "".join(f"{word:016x}" for word in words))


def words_of(digits: str) -> list[int]:
    """The u64 words of a window's attribute."""
    return [int(digits[at : at + 16], 16) for at in range(0, len(digits), 16)]


def postorder(roots: Iterable[Expr], visited: Iterable[int] = ()) -> Iterator[Expr]:
    """Every distinct sub-expression once, operands before users; iterative.

    Expressions with ids in ``visited``, and those that only they need, are left out.
    """
    return unvisited_postorder(roots, set(visited))


def unvisited_postorder(roots: Iterable[Expr], visited: set[int]) -> Iterator[Expr]:
    """Yield scalar expressions in postorder, operands first, without those whose ids are
    ``visited``.

    Walks over a kernel's statements that share ``visited`` take the time of one walk over all.
    """
    stack = [*reversed([*roots])]
    while stack:
        node = stack[-1]
        if id(node) in visited:
            stack.pop()
            continue
        for arg in node.args:
            if id(arg) in visited:
                continue
            if arg.args:
                stack.append(arg)
                break
            visited.add(id(arg))
            yield arg
        else:
            stack.pop()
            visited.add(id(node))
            yield node


def describe_type_error(expr: Expr) -> str:
    """Check one scalar expression's operands, dtype and attribute; return the error or ''."""
    if expr.op not in PRIMITIVES:
        return f"{expr.op!r} is not a primitive"
    if expr.op == "load":
        access = expr.attribute
        if not isinstance(access, Access):
            return "a load without an access"
        if len(expr.args) != len(access.gather) + 1 or not access.bounded_positions:
            return mistyped_indices(access, expr.args)
        fill = expr.args[-1]
        if fill.op != "literal" or fill.dtype is not expr.dtype:
            return f"the fill of {expr.dtype.code} is not a literal of it"
        return mistyped_indices(access, expr.args[:-1])
    if expr.op == "literal":
        is_valid = _holds(expr.dtype, expr.attribute)
        return "" if is_valid else f"{expr.attribute!r} is not an {expr.dtype.code}"
    if expr.op in LEAVES:
        if expr.args:
            return f"{expr.op} takes 0 operands, got {len(expr.args)}"
        if not isinstance(expr.attribute, str):
            return f"{expr.op} takes a name, not {expr.attribute!r}"
        wrong = expr.op != "ref" and expr.dtype is not I64
        return f"{expr.op} gives i64, not {expr.dtype.code}" if wrong else ""
    if expr.op not in ("cast", "bitcast", "window"):
        return mistyped_operands(expr)
    if len(expr.args) != 1:
        return f"{expr.op} takes 1 operand, got {len(expr.args)}"
    if expr.op in ("cast", "bitcast"):
        source = expr.args[0].dtype
        if expr.op == "bitcast" and source.is_bool:
            return "bitcast of bool: takes numbers only"
        if expr.op == "cast" or source.bits == expr.dtype.bits:
            return ""
        return f"bitcast of {source.code} to {expr.dtype.code}: widths differ"
    is_valid = isinstance(expr.attribute, str) and expr.args[0].dtype is expr.dtype is U64
    return "" if is_valid else "a window takes a u64 and its words"


def mistyped_indices(access: Access, indices: tuple[Expr, ...]) -> str:
    """Return what is wrong with the gather (or scatter) indices of an access."""
    if len(indices) != len(access.gather):
        count_text = f"{len(indices)} ind{'ex' if len(indices) == 1 else 'ices'}"
        return f"{len(access.gather)} gather strides for {count_text}"
    wrong = next((index.dtype for index in indices if index.dtype is not I64), None)
    return "" if wrong is None else f"a gather index is {wrong.code}, not i64"


def _holds(dtype: DType, value: object) -> bool:
    """Return whether a literal's value is representable in its dtype, in canonical form."""
    if dtype.is_float or dtype.is_bool:
        return isinstance(value, float if dtype.is_float else bool)
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    low = -(2 ** (dtype.bits - 1)) if dtype.kind == "i" else 0
    return bool(low <= value < low + 2**dtype.bits)
