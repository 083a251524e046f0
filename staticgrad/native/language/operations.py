"""The kernel language's operations, conversions and calls of C functions, as LLVM IR.

An :class:`Operation` is found by name: the functions a kernel's source calls (``load``, ``f32x16``,
``fma``) and Python's operators (``add`` for ``+``). Memory operations are in
:mod:`memory_operations`. The same operations over NumPy lanes are in :mod:`lanes`.

**Conversions.** A float outside the target integer's range, or NaN, gives what NumPy gives on
x86-64 (the hardware's "indefinite" integer, narrowed), never LLVM's poison.

**Calls of C functions** are how routines reach libraries. The arguments are pointers and int64
words, as the C function takes them; a word stands for an ``int``, too, in the calling conventions
of the processors that kernels are compiled for. Nobody knows what a call reads and writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from math import inf
from types import FunctionType
from typing import Final

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import (
    ELEMENTS,
    NOTHING,
    REAL,
    TRUTH,
    WORD,
    Element,
    Kind,
    Mask,
    Pointer,
    Scalar,
    Vector,
    bools,
    vector,
)
from staticgrad.support.narrow_floats import SPARE
from staticgrad.support.records import dataclass

#: The flag of code that takes any number of arguments: ``inspect.CO_VARARGS``.
_VARARGS: Final = 0x04

Rule = Callable[..., Kind | None]
Emit = Callable[[Emitter, tuple[Kind, ...], tuple[Operand, ...]], Operand]


@dataclass(frozen=True)
class Operation:
    """One operation: ``result`` types it (None: not for these kinds), ``emit`` writes it."""

    name: str
    result: Rule
    emit: Emit
    _results: dict[tuple[Kind, ...], Kind | None] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def of(self, kinds: tuple[Kind, ...]) -> Kind | None:
        """The kind it gives for operands of these kinds; None when it does not take them."""
        try:
            return self._results[kinds]
        except KeyError:
            return self._results.setdefault(kinds, self._of(kinds))

    def _of(self, kinds: tuple[Kind, ...]) -> Kind | None:
        fewest, most = self._arity
        return self.result(*kinds) if fewest <= len(kinds) <= most else None

    @property
    def _arity(self) -> tuple[int, float]:
        """The number of operands that the rule takes: at least, and at most."""
        assert isinstance(self.result, FunctionType)
        code, optional = self.result.__code__, len(self.result.__defaults__ or ())
        if code.co_flags & _VARARGS:
            return max(code.co_argcount, 1), inf
        return code.co_argcount - optional, code.co_argcount

    def refusal(self, kinds: tuple[Kind, ...]) -> str:
        """Return the error message for operands of unsupported kinds."""
        return f"{self.name} does not take ({', '.join(kind.name for kind in kinds)})"


#: A lane mask of more than one lane that is on throughout.
ALL_ON: Final = "splat (i1 true)"
FUNCTIONS: Final[dict[str, Operation]] = {}
OPERATORS: Final[dict[str, Operation]] = {}


def define(name: str, result: Rule, emit: Emit) -> None:
    """Adds a function of the kernel language."""
    FUNCTIONS[name] = Operation(name, result, emit)


def vector_operand(out: Emitter, kind: Vector, operand_kind: Kind, value: Operand) -> str:
    """Convert an operand to a vector of ``kind``: itself, a literal, or a word broadcast."""
    if isinstance(operand_kind, Vector):
        return str(value)
    if not isinstance(value, str):
        return text.constant(kind, value)
    element = kind.element
    if element.kind == "s":
        raise TypeError(f"a number computed at run time is not an operand of {kind.name}")
    if operand_kind is TRUTH:
        verb = "uitofp" if element.kind == "f" else "zext"
        scalar = out.do(f"{verb} i1 {value} to {element.llvm}")
    elif element.kind == "f":
        source = "i64" if operand_kind is WORD else "double"
        scalar = _real_of(out, element.llvm, source, value)
    elif element.kind == "b":
        set_bit = out.do(f"icmp ne i64 {value}, 0")
        scalar = out.do(f"zext i1 {set_bit} to i8")
    else:
        wide = element.llvm == WORD.llvm
        scalar = value if wide else out.do(f"trunc {WORD.llvm} {value} to {element.llvm}")
    return out.splat(kind, scalar)


def _real_of(out: Emitter, target: str, source: str, value: str) -> str:
    if source == target:
        return value
    verb = "sitofp" if source == "i64" else "fptrunc"
    return out.do(f"{verb} {source} {value} to {target}")


def meet(*kinds: Kind) -> Vector | None:
    """Return the common vector kind of operands (literals adapt to it); None if they differ."""
    first = kinds[0]
    if isinstance(first, Vector) and kinds.count(first) == len(kinds):
        return first
    vectors = {kind for kind in kinds if isinstance(kind, Vector)}
    literals = [kind for kind in kinds if not isinstance(kind, Vector)]
    if len(vectors) != 1 or any(kind not in (WORD, REAL, TRUTH) for kind in literals):
        return None
    (kind,) = vectors
    if kind.element.kind != "f" and REAL in literals:
        return None
    return kind


def _same(kinds: str) -> Rule:
    def result(*operands: Kind) -> Kind | None:
        kind = meet(*operands)
        return kind if kind is not None and kind.element.kind in kinds else None

    return result


def _unify(
    out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]
) -> tuple[Vector, list[str]]:
    """Convert the operands of an operation to their common vector kind."""
    first = kinds[0]
    if isinstance(first, Vector) and kinds.count(first) == len(kinds):  # as usual
        return first, [str(value) for value in values]
    kind = meet(*kinds)
    if kind is None:
        raise TypeError(f"operands of different kinds: {', '.join(k.name for k in kinds)}")
    pairs = zip(kinds, values, strict=True)
    return kind, [vector_operand(out, kind, source, value) for source, value in pairs]


def _lanewise(write: Callable[..., str]) -> Emit:
    """Make an emitter of equal vectors an operation: literals and words adapt."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        kind, operands = _unify(out, kinds, values)
        return write(out, kind, *operands)

    return emit


def _arithmetic(real: str, integer: str) -> Emit:
    """Make + - or *: one instruction per kind; integers wrap; also on words."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        """Emit + - or * of two operands, as words or lane by lane."""
        if kinds[0] is WORD and kinds[1] is WORD:
            folded = _fold_words(integer, *values)
            if folded is not None:
                return folded
            left, right = values
            return out.do(f"{integer} i64 {text.word(left)}, {text.word(right)}")
        kind, (a, b) = _unify(out, kinds, values)
        verb = real if kind.element.kind == "f" else integer
        return out.do(f"{verb} {kind.llvm} {a}, {b}")

    return emit


_WORD_MEANINGS: Final = {"add": int.__add__, "sub": int.__sub__, "mul": int.__mul__}


def _fold_words(verb: str, a: Operand, b: Operand) -> Operand | None:
    """Fold the sum, difference or product of two words where no instruction is needed."""
    if not isinstance(a, str) and not isinstance(b, str):
        exact = _WORD_MEANINGS[verb](int(a), int(b))
        return (exact + 2**63) % 2**64 - 2**63
    if verb == "mul":
        nothing = a in (0, 1) or b in (0, 1)
        return (b if a == 1 else a if b == 1 else 0) if nothing else None
    if b == 0:
        return a
    return b if a == 0 and verb == "add" else None


def _word_or(rule: Rule, kind: Scalar = WORD) -> Rule:
    def result(*operands: Kind) -> Kind | None:
        if operands[0] is WORD and operands[-1] is WORD:
            return kind
        return rule(*operands)

    return result


def _exponent(number: Operand) -> int | None:
    """n, where a number is the literal 2**n."""
    is_power = isinstance(number, int) and number > 0 and number & (number - 1) == 0
    return int(number).bit_length() - 1 if is_power else None


def _quotient(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Divide words, by a shift for powers of two: words are never negative here."""
    (dividend, by), shift = map(text.word, values), _exponent(values[1])
    return out.do(
        f"sdiv i64 {dividend}, {by}" if shift is None else f"ashr i64 {dividend}, {shift}"
    )


def _remainder(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """The same."""
    (dividend, by), shift = map(text.word, values), _exponent(values[1])
    if shift is None:
        return out.do(f"srem i64 {dividend}, {by}")
    return out.do(f"and i64 {dividend}, {(1 << shift) - 1}")


def _words(*operands: Kind) -> Kind | None:
    return WORD if all(operand is WORD for operand in operands) else None


def _negate(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    (kind,) = kinds
    if isinstance(kind, Vector) and kind.element.kind == "f":
        return out.do(f"fneg {kind.llvm} {values[0]}")
    zero = "0" if kind is WORD or kind_lanes(kind) == 1 else "zeroinitializer"
    return out.do(f"sub {kind.llvm} {zero}, {values[0]}")


def kind_lanes(kind: Kind) -> int:
    """The lane count of a vector or mask; 1 of anything else."""
    return kind.lanes if isinstance(kind, Vector | Mask) else 1


def _bits(kind: Vector) -> str:
    """The type of an i1 per lane."""
    return "i1" if kind.lanes == 1 else f"<{kind.lanes} x i1>"


def byte_of(out: Emitter, lanes: int, bit: str) -> str:
    """An i1 result widened to a byte 0/1 per lane."""
    kind = bools(lanes)
    byte = out.do(f"zext {_bits(kind)} {bit} to {kind.llvm}")
    out.bits[byte] = bit
    return byte


def bit_of(out: Emitter, lanes: int, byte: str) -> str:
    """The i1 per lane of a byte 0/1."""
    bits = out.bits.get(byte)
    if bits is not None:
        return bits
    zero = "0" if lanes == 1 else "zeroinitializer"
    return out.do(f"icmp ne {bools(lanes).llvm} {byte}, {zero}")


def _comparison(real: str, stem: str) -> Emit:
    """Make a comparison of words or lanes, by its float and integer predicates."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        if kinds[0] is WORD and kinds[1] is WORD:
            left, right = map(text.word, values)
            signed = stem if stem in ("eq", "ne") else f"s{stem}"
            return out.do(f"icmp {signed} i64 {left}, {right}")
        kind, (a, b) = _unify(out, kinds, values)
        return byte_of(out, kind.lanes, compare(out, kind, (real, stem), a, b))

    return emit


def compare(out: Emitter, kind: Vector, predicate: tuple[str, str], a: str, b: str) -> str:
    """Emit a comparison as an i1 per lane; ``predicate`` is e.g. ("olt", "lt")."""
    real, stem = predicate
    if kind.element.kind == "f":
        return out.do(f"fcmp {real} {kind.llvm} {a}, {b}")
    if stem not in ("eq", "ne"):
        stem = ("s" if kind.element.is_signed else "u") + stem
    return out.do(f"icmp {stem} {kind.llvm} {a}, {b}")


def _comparison_result(*operands: Kind) -> Kind | None:
    if all(operand is WORD for operand in operands):
        return TRUTH
    kind = _same("biuf")(*operands)
    return bools(kind.lanes) if isinstance(kind, Vector) else None


def _bitwise(verb: str) -> Emit:
    """Make a bitwise operation of masks, bools or integers."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        """Emit a bitwise and, or, xor; bools combine as bits where their bits are at hand."""
        if isinstance(kinds[0], Mask):
            if verb == "and" and ALL_ON in values:
                return values[1] if values[0] == ALL_ON else values[0]
            return out.combine(f"{verb} {kinds[0].llvm} {values[0]}, {values[1]}")
        kind, (a, b) = _unify(out, kinds, values)
        bits = [out.bits[value] for value in (a, b) if value in out.bits]
        if len(bits) == 2:
            combined = out.combine(f"{verb} {_bits(kind)} {bits[0]}, {bits[1]}")
            return byte_of(out, kind.lanes, combined)
        return out.do(f"{verb} {kind.llvm} {a}, {b}")

    return emit


def _bitwise_result(*operands: Kind) -> Kind | None:
    if isinstance(operands[0], Mask) and operands[0] == operands[1]:
        return operands[0]
    return _same("biu")(*operands)


def _invert(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit the bitwise complement; of a bool its negation."""
    (kind,) = kinds
    if not isinstance(kind, Vector):
        raise TypeError(f"~ needs a vector, not {kind.name}")
    bit = out.bits.get(str(values[0]))
    if bit is not None:
        on = "true" if kind.lanes == 1 else ALL_ON
        return byte_of(out, kind.lanes, out.combine(f"xor {_bits(kind)} {bit}, {on}"))
    ones = text.constant(kind, 1 if kind.element.kind == "b" else -1)
    return out.do(f"xor {kind.llvm} {values[0]}, {ones}")


def _instruction(verb: str) -> Emit:
    return _lanewise(lambda out, kind, a, b: out.do(f"{verb} {kind.llvm} {a}, {b}"))


@_lanewise
def _shift_left(out: Emitter, kind: Vector, a: str, b: str) -> str:
    inside = _amount_fits(out, kind, b)
    shifted = out.do(f"shl {kind.llvm} {a}, {b}")
    return choose(out, kind, inside, shifted, text.constant(kind, 0))


@_lanewise
def _shift_right(out: Emitter, kind: Vector, a: str, b: str) -> str:
    inside = _amount_fits(out, kind, b)
    if kind.element.is_signed:
        amount = choose(out, kind, inside, b, text.constant(kind, kind.element.bits - 1))
        return out.do(f"ashr {kind.llvm} {a}, {amount}")
    shifted = out.do(f"lshr {kind.llvm} {a}, {b}")
    return choose(out, kind, inside, shifted, text.constant(kind, 0))


def _amount_fits(out: Emitter, kind: Vector, amount: str) -> str:
    return out.do(f"icmp ult {kind.llvm} {amount}, {text.constant(kind, kind.element.bits)}")


def choose(out: Emitter, kind: Vector, bit: str, a: str, b: str) -> str:
    """``a`` where the i1 is set, else ``b``."""
    if bit == ALL_ON:
        return a
    return out.do(f"select {_bits(kind)} {bit}, {kind.llvm} {a}, {kind.llvm} {b}")


def _operator(name: str, result: Rule, emit: Emit) -> None:
    OPERATORS[name] = Operation(name, result, emit)


_operator("add", _word_or(_same("iuf")), _arithmetic("fadd", "add"))
_operator("sub", _word_or(_same("iuf")), _arithmetic("fsub", "sub"))
_operator("mul", _word_or(_same("iuf")), _arithmetic("fmul", "mul"))
_operator("truediv", _same("f"), _instruction("fdiv"))
_operator("floordiv", _words, _quotient)
_operator("mod", _words, _remainder)
_operator("neg", _word_or(_same("iuf")), _negate)
_operator("and_", _bitwise_result, _bitwise("and"))
_operator("or_", _bitwise_result, _bitwise("or"))
_operator("xor", _bitwise_result, _bitwise("xor"))
_operator("invert", _same("biu"), _invert)
_operator("lshift", _same("iu"), _shift_left)
_operator("rshift", _same("iu"), _shift_right)
PREDICATES: Final = {
    "eq": ("oeq", "eq"),
    "ne": ("une", "ne"),
    "lt": ("olt", "lt"),
    "le": ("ole", "le"),
    "gt": ("ogt", "gt"),
    "ge": ("oge", "ge"),
}
for _name, _predicate in PREDICATES.items():
    _operator(_name, _comparison_result, _comparison(*_predicate))


def _unary(intrinsic: str, integers: str) -> Emit:
    """Make a unary operation by a float intrinsic; integers pass, or go through ``integers``."""

    @_lanewise
    def emit(out: Emitter, kind: Vector, a: str) -> str:
        """Emit a unary LLVM intrinsic lane by lane."""
        if kind.element.kind == "f":
            name = f"llvm.{intrinsic}.{text.suffix(kind)}"
            return out.intrinsic(kind.llvm, name, [(kind.llvm, a)])
        if integers and kind.element.is_signed:
            name = f"llvm.{integers}.{text.suffix(kind)}"
            return out.intrinsic(kind.llvm, name, [(kind.llvm, a), ("i1", "false")])
        return a

    return emit


def _extremum(stem: str, real: str) -> Emit:
    """Make min or max, by the LLVM intrinsic for floats or for integers."""

    @_lanewise
    def emit(out: Emitter, kind: Vector, a: str, b: str) -> str:
        element = kind.element
        sign = "s" if element.is_signed else "u"
        family = real if element.kind == "f" else sign + stem
        name = f"llvm.{family}.{text.suffix(kind)}"
        return out.intrinsic(kind.llvm, name, [(kind.llvm, a), (kind.llvm, b)])

    return emit


@_lanewise
def _fma(out: Emitter, kind: Vector, *operands: str) -> str:
    name = f"llvm.fma.{text.suffix(kind)}"
    return out.intrinsic(kind.llvm, name, [(kind.llvm, value) for value in operands])


def _integer_division(remainder: bool) -> Emit:
    """Make floor division or its remainder as in NumPy: 0 for a zero divisor, MIN // -1 = MIN."""

    @_lanewise
    def emit(out: Emitter, kind: Vector, a: str, b: str) -> str:
        """Emit integer floor division or remainder, without LLVM's undefined cases."""
        zero, unit = text.constant(kind, 0), text.constant(kind, 1)
        by_zero = out.do(f"icmp eq {kind.llvm} {b}, {zero}")
        safe = choose(out, kind, by_zero, unit, b)
        if not kind.element.is_signed:
            verb = "urem" if remainder else "udiv"
            return choose(out, kind, by_zero, zero, out.do(f"{verb} {kind.llvm} {a}, {safe}"))
        by_minus = out.do(f"icmp eq {kind.llvm} {b}, {text.constant(kind, -1)}")
        safe = choose(out, kind, by_minus, unit, safe)
        modulo = out.do(f"srem {kind.llvm} {a}, {safe}")
        signs = out.do(f"xor {kind.llvm} {modulo}, {b}")
        signs_differ = out.do(f"icmp slt {kind.llvm} {signs}, {zero}")
        inexact = out.do(f"icmp ne {kind.llvm} {modulo}, {zero}")
        off = out.do(f"and {_bits(kind)} {signs_differ}, {inexact}")
        if remainder:
            result = choose(out, kind, off, out.do(f"add {kind.llvm} {modulo}, {b}"), modulo)
        else:
            quotient = out.do(f"sdiv {kind.llvm} {a}, {safe}")
            lower = out.do(f"sub {kind.llvm} {quotient}, {unit}")
            result = choose(out, kind, off, lower, quotient)
            negated = out.do(f"sub {kind.llvm} {zero}, {a}")
            result = choose(out, kind, by_minus, negated, result)
        return choose(out, kind, by_zero, zero, result)

    return emit


def _select_result(condition: Kind, *operands: Kind) -> Kind | None:
    kind = meet(*operands)
    if kind is None or condition != bools(kind.lanes):
        return None
    return kind


def _select(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    kind, (a, b) = _unify(out, kinds[1:], values[1:])
    return choose(out, kind, bit_of(out, kind.lanes, str(values[0])), a, b)


def _mask_selected(mask: Kind, *operands: Kind) -> Kind | None:
    kind = meet(*operands)
    return kind if kind is not None and mask == Mask(kind.lanes) else None


def _select_mask(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    kind, (a, b) = _unify(out, kinds[1:], values[1:])
    if kind.element.kind == "b" and (a, b) == tuple(text.constant(kind, c) for c in (1, 0)):
        return byte_of(out, kind.lanes, str(values[0]))  # the mask itself is looked at, not bytes
    return choose(out, kind, str(values[0]), a, b)


define("absolute", _same("iuf"), _unary("fabs", "abs"))
define("sqrt", _same("f"), _unary("sqrt", ""))
define("floor", _same("iuf"), _unary("floor", ""))
define("ceil", _same("iuf"), _unary("ceil", ""))
define("trunc", _same("iuf"), _unary("trunc", ""))
define("rint", _same("iuf"), _unary("roundeven", ""))
define("fma", _same("f"), _fma)
define("fmod", _same("f"), _instruction("frem"))
define("maximum", _same("biuf"), _extremum("max", "maximum"))
define("minimum", _same("biuf"), _extremum("min", "minimum"))
define("floor_divide", _same("iu"), _integer_division(False))
define("remainder", _same("iu"), _integer_division(True))
define("select", _select_result, _select)
define("select_mask", _mask_selected, _select_mask)


def _float_to_signed(out: Emitter, source: Vector, value: str, bits: int) -> str:
    """Emit float to signed integer: NaN and out of range give the smallest, as in hardware."""
    target = vector(f"i{bits}", source.lanes)
    edge = 2.0 ** (bits - 1)
    below = text.constant(source, edge)
    # a format with more digits holds -edge - 0.5, which still truncates to -edge
    loose = source.element.digits > bits
    least = text.constant(source, -edge - 1.0 if loose else -edge)
    above = compare(out, source, ("ogt" if loose else "oge", "ge"), value, least)
    under = compare(out, source, ("olt", "lt"), value, below)
    mask = "i1" if source.lanes == 1 else f"<{source.lanes} x i1>"
    inside = out.do(f"and {mask} {above}, {under}")
    safe = choose(out, source, inside, value, text.constant(source, 0.0))
    truncated = out.do(f"fptosi {source.llvm} {safe} to {target.llvm}")
    return choose(out, target, inside, truncated, text.constant(target, -(1 << (bits - 1))))


#: The intrinsics that truncate f32 to i32, by the bits of a register.
_TRUNCATE: Final = {128: "llvm.x86.sse2.cvttps2dq", 256: "llvm.x86.avx.cvtt.ps2dq.256"}


def choice(lanes: Sequence[int]) -> str:
    """Return the lanes that a shuffle takes from its two vectors, as a constant."""
    return f"<{len(lanes)} x i32> <{', '.join(f'i32 {lane}' for lane in lanes)}>"


def _truncate_registers(out: Emitter, source: Vector, value: str) -> str:
    """Emit f32 to i32 by the instruction of x86-64, for one register or several."""
    lanes, bits, target = source.lanes, source.lanes * 32, vector("i32", source.lanes)
    if bits > out.target.vector_bits:
        narrow, pair = vector("f32", lanes // 2), f"{source.llvm} {value}, {source.llvm} poison"
        halves = []
        for first in (0, narrow.lanes):
            picks = choice(range(first, first + narrow.lanes))
            part = out.do(f"shufflevector {pair}, {picks}")
            halves.append(_truncate_registers(out, narrow, part))
        operands = ", ".join(f"<{narrow.lanes} x i32> {part}" for part in halves)
        return out.do(f"shufflevector {operands}, {choice(range(lanes))}")
    if bits < 512:
        return out.intrinsic(target.llvm, _TRUNCATE[bits], [(source.llvm, value)])
    kinds = [(source.llvm, value), (target.llvm, "zeroinitializer"), ("i16", "-1"), ("i32", "4")]
    return out.intrinsic(target.llvm, "llvm.x86.avx512.mask.cvttps2dq.512", kinds)


def _float_to_u64(out: Emitter, source: Vector, value: str) -> str:
    """Emit float to u64: below 2**63 as i64; above, the difference as i64 plus 2**63 (wrapping)."""
    target = vector("i64", source.lanes)
    edge = text.constant(source, 2.0**63)
    large = compare(out, source, ("oge", "ge"), value, edge)
    excess = out.do(f"fsub {source.llvm} {value}, {edge}")
    reduced = choose(out, source, large, excess, value)
    truncated = _float_to_signed(out, source, reduced, 64)
    flipped = out.do(f"xor {target.llvm} {truncated}, {text.constant(target, -(1 << 63))}")
    return choose(out, target, large, flipped, truncated)


def _from_float(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    """Emit the conversion of a float vector to another float or an integer type."""
    element = target.element
    if element.kind == "f":
        verb = "fpext" if element.digits > source.element.digits else "fptrunc"
        return out.do(f"{verb} {source.llvm} {value} to {target.llvm}")
    if element.name == "u64":
        return _float_to_u64(out, source, value)
    wide = 64 if element.name in ("i64", "u32") else 32
    if wide == 32 and source.element.name == "f32" and source.lanes >= 4 and out.target.is_x86:
        truncated = _truncate_registers(out, source, value)
    else:
        truncated = _float_to_signed(out, source, value, wide)
    integer = vector(f"i{wide}", source.lanes)
    if integer.llvm == target.llvm:
        return truncated
    return out.do(f"trunc {integer.llvm} {truncated} to {target.llvm}")


def _from_integer(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    """Emit the conversion of an integer vector to a float or another integer type."""
    element = target.element
    signed = source.element.is_signed
    if element.kind == "f":
        verb = "sitofp" if signed else "uitofp"
    elif element.bits > source.element.bits:
        verb = "sext" if signed else "zext"
    elif element.bits < source.element.bits:
        verb = "trunc"
    else:
        return value
    return out.do(f"{verb} {source.llvm} {value} to {target.llvm}")


def _odd_f32(out: Emitter, source: Vector, value: str) -> str:
    """Emit f64 to f32, rounding to odd. See :mod:`narrow_floats`."""
    single, double = vector("f32", source.lanes), vector("f64", source.lanes)
    if source.element.digits <= single.element.digits:
        return convert(out, source, single, value)
    if source.element.digits > double.element.digits:
        value = _fit_double(out, source, value)
    wide = convert(out, source, double, value)
    nearest = convert(out, double, single, wide)
    back = convert(out, single, double, nearest)
    mask = "i1" if source.lanes == 1 else f"<{source.lanes} x i1>"
    pattern = vector("i32", source.lanes)
    bits = out.do(f"bitcast {single.llvm} {nearest} to {pattern.llvm}")
    sizes = [
        out.intrinsic(double.llvm, f"llvm.fabs.{text.suffix(double)}", [(double.llvm, value)])
        for value in (back, wide)
    ]
    beyond = compare(out, double, ("ogt", "gt"), sizes[0], sizes[1])
    steps = (text.constant(pattern, step) for step in (-1, 1))
    stepped = out.do(f"add {pattern.llvm} {bits}, {choose(out, pattern, beyond, *steps)}")
    inexact = compare(out, double, ("une", "ne"), back, wide)
    last = out.do(f"and {pattern.llvm} {bits}, {text.constant(pattern, 1)}")
    even = compare(out, pattern, ("oeq", "eq"), last, text.constant(pattern, 0))
    moves = out.do(f"and {mask} {inexact}, {even}")
    odd = choose(out, pattern, moves, stepped, bits)
    return out.do(f"bitcast {pattern.llvm} {odd} to {single.llvm}")


def _fit_double(out: Emitter, source: Vector, value: str) -> str:
    """Emit a 64-bit integer that f64 represents, with a sticky bit for the bits that do not fit."""
    spare = (1 << SPARE) - 1
    low_bits = out.do(f"and {source.llvm} {value}, {text.constant(source, spare)}")
    lost = compare(out, source, ("une", "ne"), low_bits, text.constant(source, 0))
    sticky = choose(out, source, lost, text.constant(source, spare + 1), text.constant(source, 0))
    high_bits = out.do(f"and {source.llvm} {value}, {text.constant(source, ~spare)}")
    marked = out.do(f"or {source.llvm} {high_bits}, {sticky}")
    edge = 1 << 53
    offset = text.constant(source, edge if source.element.is_signed else 0)
    above = out.do(f"add {source.llvm} {value}, {offset}")
    limit = text.constant(source, 2 * edge if source.element.is_signed else edge)
    large = out.do(f"icmp uge {source.llvm} {above}, {limit}")
    return choose(out, source, large, marked, value)


def _half(lanes: int) -> str:
    return "half" if lanes == 1 else f"<{lanes} x half>"


def _widen_f16(out: Emitter, kind: Vector, value: str) -> str:
    """One instruction of every processor that kernels are compiled for (F16C; aarch64)."""
    read = out.do(f"bitcast {kind.llvm} {value} to {_half(kind.lanes)}")
    return out.do(f"fpext {_half(kind.lanes)} {read} to {vector('f32', kind.lanes).llvm}")


def _narrow_f16(out: Emitter, kind: Vector, value: str) -> str:
    single, half = vector("f32", kind.lanes).llvm, _half(kind.lanes)
    rounded = out.do(f"fptrunc {single} {value} to {half}")
    return out.do(f"bitcast {half} {rounded} to {kind.llvm}")


def _widen_bf16(out: Emitter, kind: Vector, value: str) -> str:
    """The upper half of an f32's bits."""
    word = vector("u32", kind.lanes)
    wide = out.do(f"zext {kind.llvm} {value} to {word.llvm}")
    bits = out.do(f"shl {word.llvm} {wide}, {text.constant(word, 16)}")
    return out.do(f"bitcast {word.llvm} {bits} to {vector('f32', kind.lanes).llvm}")


def _narrow_bf16(out: Emitter, kind: Vector, value: str) -> str:
    """Emit f32 to bfloat16, rounding to nearest even by integer arithmetic."""
    single, word = vector("f32", kind.lanes), vector("u32", kind.lanes)
    sixteen = text.constant(word, 16)
    bits = out.do(f"bitcast {single.llvm} {value} to {word.llvm}")
    upper = out.do(f"lshr {word.llvm} {bits}, {sixteen}")
    odd = out.do(f"and {word.llvm} {upper}, {text.constant(word, 1)}")
    step = out.do(f"add {word.llvm} {odd}, {text.constant(word, 0x7FFF)}")
    biased = out.do(f"add {word.llvm} {bits}, {step}")
    rounded = out.do(f"lshr {word.llvm} {biased}, {sixteen}")
    quiet = out.do(f"or {word.llvm} {upper}, {text.constant(word, 0x40)}")
    number = compare(out, single, ("ord", "eq"), value, value)
    chosen = choose(out, word, number, rounded, quiet)
    return out.do(f"trunc {word.llvm} {chosen} to {kind.llvm}")


WIDEN: Final = {"f16": _widen_f16, "bf16": _widen_bf16}
"""Element for storage -> its bits as f32."""
NARROW: Final = {"f16": _narrow_f16, "bf16": _narrow_bf16}
"""Element for storage -> its bits of an f32, rounded to nearest, to even between two."""


def convert(out: Emitter, source: Vector, target: Vector, value: str) -> str:
    """Emit ``value`` of kind ``source`` as ``target``, lane by lane, as ``ndarray.astype``."""
    if source == target:
        return value
    if source.element.kind == "s":
        wide = vector("f32", source.lanes)
        return convert(out, wide, target, WIDEN[source.element.name](out, source, value))
    if target.element.kind == "s":
        return NARROW[target.element.name](out, target, _odd_f32(out, source, value))
    if target.element.kind == "b":
        zero = text.constant(source, 0)
        return byte_of(out, source.lanes, compare(out, source, ("une", "ne"), value, zero))
    if source.element.kind == "f":
        return _from_float(out, source, target, value)
    return _from_integer(out, source, target, value)


def _define_cast(element: Element) -> None:
    """Define ``cast_T``: conversion of a vector's lanes to an element type."""

    def result(kind: Kind) -> Kind | None:
        return vector(element, kind.lanes) if isinstance(kind, Vector) else None

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (kind,) = kinds
        if not isinstance(kind, Vector):
            raise TypeError(f"cast of {kind.name}")
        return convert(out, kind, vector(element, kind.lanes), str(values[0]))

    define(f"cast_{element.name}", result, emit)


def _define_bitcast(element: Element) -> None:
    """Define ``bitcast_T``: a vector's bits as another element type of equal width."""

    def result(kind: Kind) -> Kind | None:
        if not isinstance(kind, Vector) or kind.element.bits != element.bits:
            return None
        return vector(element, kind.lanes) if kind.element.kind != "b" else None

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (kind,) = kinds
        target = result(kind)
        if target is None or target.llvm == kind.llvm:
            return values[0]
        return out.do(f"bitcast {kind.llvm} {values[0]} to {target.llvm}")

    define(f"bitcast_{element.name}", result, emit)


for _element in ELEMENTS.values():
    _define_cast(_element)
    if _element.kind != "b":
        _define_bitcast(_element)


def _call_result(address: Kind, *arguments: Kind) -> Kind | None:
    are_words = all(kind is WORD or isinstance(kind, Pointer) for kind in arguments)
    return NOTHING if address is WORD and are_words else None


def _call(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit a call of a C function at an address, with words and pointers."""
    function = out.do(f"inttoptr i64 {text.word(values[0])} to ptr")
    passed = ", ".join(
        f"i64 {text.word(value)}" if kind is WORD else f"ptr {value}"
        for kind, value in zip(kinds[1:], values[1:], strict=True)
    )
    out.effect(f"call void {function}({passed})")
    return ""


define("call", _call_result, _call)
