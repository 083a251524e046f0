"""Operations on lanes: halves, horizontal trees, broadcasts, counting, literals, shared gathers.

A horizontal operation is a tree by halving - lane l meets lane l + L/2 - which is what
``ir.summation`` prescribes; no other order is ever used.

**Shared gathers.** A gather finds the place of each lane anew. Where many rows are read at the same
places, each place is taken out of its vector once, and each element is a load by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from staticgrad.native.language import emitter as text
from staticgrad.native.language.emitter import Emitter, Operand
from staticgrad.native.language.kinds import (
    ELEMENTS,
    EVERY_COUNT,
    REAL,
    TRUTH,
    WORD,
    Kind,
    Vector,
    vector,
)
from staticgrad.native.language.operations import (
    FUNCTIONS,
    OPERATORS,
    Emit,
    Operation,
    Rule,
    bit_of,
    choose,
    convert,
    define,
    kind_lanes,
    meet,
    vector_operand,
)

#: Vectors of which lanes are taken in turn, at most.
MOST_IN_TURN: Final = 7


def _half(first: int) -> Emit:
    """Make the operation that returns the lower or upper half of a vector's lanes."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (kind,) = kinds
        if not isinstance(kind, Vector):
            raise TypeError(f"halves of {kind.name}")
        return half(out, kind, str(values[0]), first * (kind.lanes // 2))

    return emit


def half(out: Emitter, kind: Vector, value: str, start: int) -> str:
    """Emit a shuffle that takes half of a vector: lanes ``start`` to ``start + lanes/2``."""
    count = kind.lanes // 2
    if count == 1:
        return out.do(f"extractelement {kind.llvm} {value}, i64 {start}")
    picks = ", ".join(f"i32 {start + lane}" for lane in range(count))
    return out.do(
        f"shufflevector {kind.llvm} {value}, {kind.llvm} poison, <{count} x i32> <{picks}>"
    )


#: How the names of intrinsics tell kinds of 32 and 64 bits.
_LETTERS: Final = {32: "s", 64: "d"}
#: Exponents from which on numbers from 0 to 2 are not all rounded to 0. Below, a processor
#: would take hundreds of cycles to find that out.
_LEAST_EXPONENT: Final = {"f32": -150.0, "f64": -1075.0}


def in_registers(
    out: Emitter,
    kind: Vector,
    values: Sequence[str],
    emit: Callable[[Emitter, Vector, Sequence[str]], str],
    widest: int = 512,
) -> str:
    """Emit an instruction register by register, for vectors of any length.

    ``widest``: the bits of a register.
    """
    bits = kind.element.bits
    if kind.lanes * bits > widest:
        narrow = vector(kind.element, kind.lanes // 2)
        parts = [[half(out, kind, v, at) for v in values] for at in (0, kind.lanes // 2)]
        halves = [in_registers(out, narrow, part, emit, widest) for part in parts]
        return _beside(out, narrow, halves, kind.lanes)
    least = max(kind.lanes, 128 // bits)
    register = vector(kind.element, least)
    if kind.lanes == 1:
        values = [out.splat(register, value) for value in values]
    elif kind.lanes < least:
        values = [_beside(out, kind, [value, "poison"], least) for value in values]
    result = emit(out, register, values)
    return result if kind.lanes == least else _first(out, register, result, kind.lanes)


def _scale(out: Emitter, register: Vector, values: Sequence[str]) -> str:
    """Emit value * 2**n, rounded once (AVX-512 scalef)."""
    (value, n), least, bits = values, register.lanes, register.element.bits
    low = text.constant(register, _LEAST_EXPONENT[register.element.name])
    on = out.do(f"fcmp uge {register.llvm} {n}, {low}")
    if least < 8:
        value, on = choose(out, register, on, value, text.constant(register, 0.0)), "-1"
    else:
        on = out.do(f"bitcast <{least} x i1> {on} to i{least}")
    wide = least * bits
    kinds = [(register.llvm, value), (register.llvm, n), (register.llvm, "zeroinitializer")]
    rounding = [("i32", "4")] if wide == 512 else []  # as the environment says
    name = f"llvm.x86.avx512.mask.scalef.p{_LETTERS[bits]}.{wide}"
    return out.intrinsic(register.llvm, name, [*kinds, (f"i{max(8, least)}", on), *rounding])


def _estimated_root(out: Emitter, register: Vector, values: Sequence[str]) -> str:
    """1 / sqrt(value) to 14 bits."""
    bits = register.element.bits
    name = f"llvm.x86.avx512.rsqrt14.p{_LETTERS[bits]}.{register.lanes * bits}"
    kinds = [(register.llvm, values[0]), (register.llvm, "zeroinitializer")]
    return out.intrinsic(register.llvm, name, [*kinds, (f"i{max(8, register.lanes)}", "-1")])


def _beside(out: Emitter, kind: Vector, pair: Sequence[str], lanes: int) -> str:
    """The first lanes of two vectors, one behind the other."""
    picks = ", ".join(f"i32 {lane}" for lane in range(lanes))
    operands = ", ".join(f"{kind.llvm} {operand}" for operand in pair)
    return out.do(f"shufflevector {operands}, <{lanes} x i32> <{picks}>")


def _first(out: Emitter, kind: Vector, value: str, lanes: int) -> str:
    if lanes == 1:
        return out.do(f"extractelement {kind.llvm} {value}, i64 0")
    return _beside(out, kind, [value, "poison"], lanes)


def _of_registers(emit: Callable[[Emitter, Vector, Sequence[str]], str]) -> Emit:
    """Make an operation of whole AVX-512 registers one of vectors of any length."""

    def emit_all(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        kind = kinds[0]
        if not isinstance(kind, Vector):
            raise TypeError(f"registers of {kind.name}")
        return in_registers(out, kind, [str(value) for value in values], emit)

    return emit_all


def _one_float(kind: Kind) -> Kind | None:
    return kind if isinstance(kind, Vector) and kind.element.kind == "f" else None


def _both_floats(a: Kind, b: Kind) -> Kind | None:
    return a if isinstance(a, Vector) and a.element.kind == "f" and a == b else None


def _half_result(kind: Kind) -> Kind | None:
    if not isinstance(kind, Vector) or kind.lanes == 1:
        return None
    return vector(kind.element, kind.lanes // 2)


def _alike(a: Kind, b: Kind) -> Kind | None:
    return a if isinstance(a, Vector) and a.lanes > 1 and a == b else None


def _in_turn(number: int, count: int, lanes: int) -> list[tuple[int, int]]:
    """Return for each lane of vector ``number`` its source vector and its lane in that."""
    return [divmod(number * lanes + lane, count)[::-1] for lane in range(lanes)]


def _every(number: int, count: int, lanes: int) -> list[tuple[int, int]]:
    """The same of every ``count``-th lane of some one behind the other, ``number`` the first."""
    return [divmod(number + count * lane, lanes) for lane in range(lanes)]


def _choose_lanes(number: int, places: Callable[[int, int, int], list[tuple[int, int]]]) -> Emit:
    """Make an operation that picks lanes of several vectors, two vectors per shuffle."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        """Emit the shuffles that pick lanes of several vectors."""
        kind, lanes, result = kinds[0], kind_lanes(kinds[0]), str(values[0])
        sources = places(number, len(values), lanes)
        for new in range(1, len(values)):
            order = ", ".join(
                f"i32 {lanes + at if of == new else at if of == 0 and new == 1 else lane}"
                for lane, (of, at) in enumerate(sources)
            )
            pair = f"{kind.llvm} {result}, {kind.llvm} {values[new]}"
            result = out.do(f"shufflevector {pair}, <{lanes} x i32> <{order}>")
        return result

    return emit


def _same_vectors(number: int) -> Rule:
    """Return the kind of ``number`` or more equal vectors, where that is the signature."""

    def result(*kinds: Kind) -> Kind | None:
        if not max(number, 1) < len(kinds) <= MOST_IN_TURN:
            return None
        return kinds[0] if all(_alike(kinds[0], kind) is not None for kind in kinds) else None

    return result


def _horizontal(combine: Operation) -> Emit:
    """Make a horizontal reduction: lane l meets lane l + L/2 until one lane is left."""

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        """Emit a horizontal reduction of a vector by halving."""
        kind, value = kinds[0], str(values[0])
        while isinstance(kind, Vector) and kind.lanes > 1:
            upper = half(out, kind, value, kind.lanes // 2)
            lower = half(out, kind, value, 0)
            kind = vector(kind.element, kind.lanes // 2)
            value = str(combine.emit(out, (kind, kind), (lower, upper)))
        return value

    return emit


def _one_lane(kinds: str) -> Rule:
    def result(kind: Kind) -> Kind | None:
        if not isinstance(kind, Vector) or kind.element.kind not in kinds:
            return None
        return vector(kind.element, 1)

    return result


define("scale", _both_floats, _of_registers(_scale))
define("estimated_inverse_root", _one_float, _of_registers(_estimated_root))
define("low", _half_result, _half(0))
define("high", _half_result, _half(1))
for _number in range(MOST_IN_TURN):
    define(f"every{_number}", _same_vectors(_number), _choose_lanes(_number, _every))
    define(f"turn{_number}", _same_vectors(_number), _choose_lanes(_number, _in_turn))
define("hsum", _one_lane("iuf"), _horizontal(OPERATORS["add"]))
define("hprod", _one_lane("iuf"), _horizontal(OPERATORS["mul"]))
define("hmax", _one_lane("biuf"), _horizontal(FUNCTIONS["maximum"]))
define("hmin", _one_lane("biuf"), _horizontal(FUNCTIONS["minimum"]))
define("hor", _one_lane("biu"), _horizontal(OPERATORS["or_"]))
define("hand", _one_lane("biu"), _horizontal(OPERATORS["and_"]))
define("hxor", _one_lane("biu"), _horizontal(OPERATORS["xor"]))


def _truth(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    if kinds[0] is TRUTH:
        return values[0]
    return out.do(f"icmp ne i64 {text.word(values[0])}, 0")


def _some(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    """Emit whether any lane is set: all bits as one integer, without a tree over lanes."""
    (kind,) = kinds
    lanes = kind_lanes(kind)
    bits = bit_of(out, lanes, str(values[0]))
    if lanes == 1:
        return bits
    packed = out.do(f"bitcast <{lanes} x i1> {bits} to i{lanes}")
    any_of_them = out.do(f"icmp ne i{lanes} {packed}, 0")
    out.seldom.add(any_of_them)
    return any_of_them


def _some_result(kind: Kind) -> Kind | None:
    return TRUTH if isinstance(kind, Vector) and kind.element.kind == "b" else None


define("some", _some_result, _some)
define("bool", lambda kind: TRUTH if kind in (WORD, TRUTH) else None, _truth)


def _define_broadcast(lanes: int) -> None:
    """Define ``splatN``: one lane broadcast to N."""

    def result(kind: Kind) -> Kind | None:
        if not isinstance(kind, Vector) or kind.lanes != 1:
            return None
        return vector(kind.element, lanes)

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        kind = result(*kinds)
        if not isinstance(kind, Vector):
            raise TypeError(f"splat of {kinds[0].name}")
        return out.splat(kind, str(values[0]))

    define(f"splat{lanes}", result, emit)


def _define_iota(lanes: int) -> None:
    """Define ``iotaN``: N lanes that count up from a word."""
    kind = vector("i64", lanes)

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        start = out.splat(kind, text.word(values[0]))
        return out.do(f"add {kind.llvm} {start}, {text.lane_numbers(kind)}")

    define(f"iota{lanes}", lambda start: kind if start is WORD else None, emit)


def _define_constructor(kind: Vector) -> None:
    """Define a kind's constructor, such as ``f32x16(word)``, from a number."""

    def result(value: Kind) -> Kind | None:
        allowed: tuple[Kind, ...] = (
            (WORD, REAL, TRUTH) if kind.element.kind in "fs" else (WORD, TRUTH)
        )
        return kind if value in allowed else None

    def emit(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
        (source,), (value,) = kinds, values
        if kind.element.kind != "s" or not isinstance(value, str):
            return vector_operand(out, kind, source, value)
        wide = vector("i64" if source is WORD else "f64", 1)
        number = vector_operand(out, wide, source, value)
        return out.splat(kind, convert(out, wide, vector(kind.element, 1), number))

    define(kind.name, result, emit)


def _like(out: Emitter, kinds: tuple[Kind, ...], values: tuple[Operand, ...]) -> Operand:
    if not isinstance(kinds[0], Vector):
        raise TypeError(f"like needs a vector, not {kinds[0].name}")
    return vector_operand(out, kinds[0], kinds[1], values[1])


define(
    "like", lambda model, value: meet(model, value) if value in (WORD, REAL, TRUTH) else None, _like
)
for _lanes in EVERY_COUNT:
    _define_broadcast(_lanes)
    _define_iota(_lanes)
    for _element in ELEMENTS.values():
        _define_constructor(vector(_element, _lanes))
