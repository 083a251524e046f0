"""The kernel language as plain Python: vectors are small NumPy arrays, one element per lane.

The same source that is compiled runs on these classes when the jit is off, and gives the same
bytes (any NaN equals any NaN). Which kinds a function takes, and the kind that it gives, is asked
from the definition that the compiler has (``language.operations``), so that what would not compile
is an error here too; how elements are computed is said in ``support.primitives``, with NumPy.

Memory is raw addresses through ctypes. Only lanes that are on touch memory, one element at a time
unless the mask is a full prefix.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.native.language.kinds import (
    ELEMENTS,
    EVERY_COUNT,
    LANES,
    REAL,
    TRUTH,
    WORD,
    Element,
    Kind,
    Mask,
    Pointer,
    Vector,
    literal_value,
    vector,
)
from staticgrad.native.language.operations import FUNCTIONS, OPERATORS, Operation
from staticgrad.native.language.translation import REGISTERED as REGISTERED
from staticgrad.support.narrow_floats import STORED, narrow_numbers
from staticgrad.support.primitives import (
    MEANING,
    float_to_integer,
    fma_float32,
    scale,
    window,
)

Array = NDArray[Any]
#: The least normal number of float32.
_LEAST_NORMAL: Final = 2.0**-126


def fma(a: Array, b: Array, c: Array) -> Array:
    """Return a * b + c for vectors of float32 or of float64, rounded once.

    For the few lanes of a vector of float64, calls of the C library take a fourth of the time of
    the formulas over arrays of any length (``primitives.fma``).
    """
    if a.dtype == np.float32:
        return fma_float32(a, b, c)
    values = map(_c_fma(), a.tolist(), b.tolist(), c.tolist())
    return np.fromiter(values, a.dtype, len(a))


@functools.cache
def _c_fma() -> Any:
    function = ctypes.CDLL(None).fma
    function.restype = ctypes.c_double
    function.argtypes = (ctypes.c_double,) * 3
    return function


def fma_flushed(a: Array, b: Array, c: Array) -> Array:
    """a * b + c for vectors of float32, rounded once to 24 digits; what is below 2**-126 is zero.

    Subnormal operands are zero, too. A result of at most 2**-126 is computed again from larger
    operands, whose result has all digits.
    """
    a, b, c = (_zero_where(abs(operand) < _LEAST_NORMAL, operand) for operand in (a, b, c))
    large = np.float32(2.0**32)
    with np.errstate(all="ignore"):
        result = fma(a, b, c)
        enlarged = fma(a * large, b * large, c * large * large)
    is_tiny = (abs(result) <= _LEAST_NORMAL) & (abs(enlarged) < _LEAST_NORMAL * 2.0**64)
    return _zero_where(is_tiny, result)


def _zero_where(condition: Array, numbers: Array) -> Array:
    """Return numbers, or zeros of their sign where a condition holds."""
    return np.where(condition, np.copysign(np.float32(0), numbers), numbers)


def _dot2_bf16(acc: Array, a: Array, b: Array) -> Array:
    """Two products of bfloat16 numbers, which are the halves of words, the high ones first."""
    high, low = np.uint32(0xFFFF0000), np.uint32(16)
    acc = fma_flushed((a & high).view(np.float32), (b & high).view(np.float32), acc)
    return fma_flushed((a << low).view(np.float32), (b << low).view(np.float32), acc)


#: Bytes of the smallest vector that is streamed; where it begins is a multiple of them.
_STREAMED: Final = 32
_NUMBERS: Final[dict[type, Kind]] = {bool: TRUTH, int: WORD, float: REAL}


class Lanes:
    """A vector: its kind and one value per lane (bools are bytes 0/1)."""

    __slots__ = ("data", "kind")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: Vector, data: Array) -> None:
        self.kind = kind
        self.data = data

    def __bool__(self) -> bool:
        raise TypeError("a vector has no truth value; use word(hor(v)) or select")


class LaneMask:
    """One on/off bit per lane."""

    __slots__ = ("bits", "kind")

    def __init__(self, bits: NDArray[np.bool_]) -> None:
        self.kind = Mask(len(bits))
        self.bits = bits

    def __and__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits & other.bits)

    def __or__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits | other.bits)

    def __xor__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits ^ other.bits)


class Address:
    """A typed pointer: its kind, address, and the owner that keeps scratch alive."""

    __slots__ = ("base", "element", "kind", "owner")

    def __init__(self, element: Element, base: int, owner: object = None) -> None:
        self.kind = Pointer(element)
        self.element = element
        self.base = base
        self.owner = owner

    def __getitem__(self, index: int) -> int:
        if self.element.name != "i64":
            raise TypeError(f"{self.kind.name} is not a record of words")
        return ctypes.c_int64.from_address(self.at(index)).value

    def at(self, index: int) -> int:
        """The address of an element."""
        return self.base + index * self.element.bytes


Number = int | float | bool
_KINDED: Final = frozenset[type]({Lanes, LaneMask, Address})


def _number_kind(value: Any) -> Kind:
    kind = _NUMBERS.get(type(value))
    if kind is None:
        raise TypeError(f"{type(value).__name__} is not part of the kernel language")
    return kind


def _bind_result_kind(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a plain-Python operation of the kernel language the kind of its result."""
    result_of = operation.of

    def run(*operands: Any) -> Any:
        kinds = tuple([x.kind if type(x) in _KINDED else _number_kind(x) for x in operands])
        result = result_of(kinds)
        if result is None:
            raise TypeError(operation.refusal(kinds))
        return function(result, *operands)

    return run


def coerce(kind: Vector, value: Lanes | Number) -> Array:
    """The lanes of a vector, or a number converted to the kind and broadcast."""
    if isinstance(value, Lanes):
        return value.data
    return np.full(kind.lanes, literal_value(kind.element, value))


def _dot4_u8_i8(acc: Array, a: Array, b: Array) -> Array:
    """The sum of products of the bytes of words: unsigned ones of a, signed ones of b."""
    unsigned, signed = (
        np.ascontiguousarray(words)[:, None].view(kind).astype(np.int32)
        for words, kind in ((a, np.uint8), (b, np.int8))
    )
    with np.errstate(over="ignore"):
        return acc + (unsigned * signed).sum(1, dtype=np.int32)


def _lanewise(function: Callable[..., Any]) -> Callable[..., Lanes]:
    """Make a NumPy function a lane-by-lane operation of the kernel language in plain Python."""

    def run(result: Vector, *operands: Lanes | Number) -> Lanes:
        kind = next(operand.kind for operand in operands if isinstance(operand, Lanes))
        data = function(*[coerce(kind, operand) for operand in operands])
        return Lanes(result, data.view(np.uint8) if data.dtype.kind == "b" else data)

    return run


def _of_floats(function: Callable[[Array], Any]) -> Callable[..., Lanes]:
    """Integers are whole already."""
    return _lanewise(lambda a: function(a) if a.dtype.kind == "f" else a)


def _invert(result: Vector, v: Lanes) -> Lanes:
    return Lanes(result, v.data ^ 1 if result.element.kind == "b" else np.invert(v.data))


def _estimated_inverse_root(a: Array) -> Array:
    """1 / sqrt(a), here as near as the format allows."""
    with np.errstate(all="ignore"):
        return np.asarray(1.0 / np.sqrt(a), a.dtype)


def _select(result: Vector, condition: Lanes | LaneMask, a: Any, b: Any) -> Lanes:
    chosen = condition.data != 0 if isinstance(condition, Lanes) else condition.bits
    return Lanes(result, np.where(chosen, coerce(result, a), coerce(result, b)))


def _every(number: int) -> Callable[..., Lanes]:
    def run(result: Vector, *vectors: Lanes) -> Lanes:
        lanes = np.concatenate([vector.data for vector in vectors])
        return Lanes(result, lanes[number :: len(vectors)])

    return run


def _in_turn(number: int) -> Callable[..., Lanes]:
    def run(result: Vector, *vectors: Lanes) -> Lanes:
        lanes = np.stack([vector.data for vector in vectors]).T.ravel()
        return Lanes(result, lanes[number * result.lanes : (number + 1) * result.lanes])

    return run


def _horizontal(combine: Callable[[Array, Array], Array]) -> Callable[[Vector, Lanes], Lanes]:
    """Make a horizontal reduction of the kernel language in plain Python, by halving."""

    def run(result: Vector, v: Lanes) -> Lanes:
        data = v.data
        while len(data) > 1:
            half = len(data) // 2
            data = combine(data[:half], data[half:])
        return Lanes(result, data)

    return run


def _convert(result: Vector, v: Lanes) -> Lanes:
    """Convert lanes to another element type in plain Python, as ``astype`` does on x86-64."""
    source, element, data = v.kind.element, result.element, v.data
    if source.kind == "s":
        source, data = ELEMENTS["f32"], STORED[source.name].widen(data)
    if element.kind == "s":
        return Lanes(result, narrow_numbers(element.name, data))
    if element.kind == "b":
        return Lanes(result, (data != 0).view(np.uint8))
    if source.kind == "f" and element.kind != "f":
        data = float_to_integer(data, element.numpy)
    return Lanes(result, data.astype(element.numpy))


def _mask_bits(_: Kind, mask: LaneMask) -> int:
    bits = np.packbits(mask.bits, bitorder="little").tobytes()
    return int.from_bytes(bits, "little", signed=len(mask.bits) == 64)


def _counting(result: Vector, start: int) -> Lanes:
    steps = np.arange(result.lanes, dtype=np.int64)
    return Lanes(result, np.full(result.lanes, start, np.int64) + steps)


# -- memory ---------------------------------------------------------------------------------------


def _read(pointer: Address, index: int, count: int) -> Array:
    content = ctypes.string_at(pointer.at(index), count * pointer.element.bytes)
    return np.frombuffer(content, pointer.element.numpy)


def _write(pointer: Address, index: int, data: Array) -> None:
    content = data.tobytes()
    ctypes.memmove(pointer.at(index), content, len(content))


def _gather(result: Vector, pointer: Address, places: list[int], mask: LaneMask) -> Lanes:
    data = np.zeros(result.lanes, pointer.element.numpy)
    for lane in np.flatnonzero(mask.bits):
        data[lane] = _read(pointer, places[lane], 1)[0]
    return Lanes(result, data)


def _scatter(pointer: Address, places: list[int], value: Lanes, mask: LaneMask) -> None:
    for lane in np.flatnonzero(mask.bits):
        _write(pointer, places[lane], value.data[lane : lane + 1])


def _strided_indices(index: int, stride: int, lanes: int) -> list[int]:
    return [index + stride * lane for lane in range(lanes)]


def _load(result: Vector, pointer: Address, index: int, mask: LaneMask) -> Lanes:
    """Load lanes under a mask in plain Python; off lanes read nothing and are 0."""
    count = int(mask.bits.sum())
    if not mask.bits[:count].all():
        return _gather(result, pointer, _strided_indices(index, 1, result.lanes), mask)
    data = np.zeros(result.lanes, pointer.element.numpy)
    if count:
        data[:count] = _read(pointer, index, count)
    return Lanes(result, data)


def _load_strided(
    result: Vector, pointer: Address, index: int, stride: int, mask: LaneMask
) -> Lanes:
    return _gather(result, pointer, _strided_indices(index, stride, result.lanes), mask)


def _store_strided(
    _: Kind, pointer: Address, index: int, stride: int, value: Lanes, mask: LaneMask
) -> None:
    _scatter(pointer, _strided_indices(index, stride, len(mask.bits)), value, mask)


def _transpose(
    _: Kind, source: Address, at: int, stride: int, rows: int, columns: int,
    target: Address, to: int, step: int, lanes: int,
) -> None:  # fmt: skip
    """Transpose a tile in plain Python: target[to + c*step + r] = source[at + r*stride + c], else
    0.
    """
    block = np.zeros((lanes, lanes), source.element.numpy)
    valid = min(max(columns, 0), lanes)
    for row in range(min(rows, lanes) if valid else 0):
        block[row, :valid] = _read(source, at + row * stride, valid)
    for column in range(lanes):
        _write(target, to + column * step, block[:, column])


def _scratch(result: Pointer, count: int) -> Address:
    owner = np.empty(count, result.element.numpy)
    return Address(result.element, owner.ctypes.data, owner)


def _fits(_: Kind, pointer: Address, index: int, mask: LaneMask) -> bool:
    return bool(mask.bits.all()) and pointer.at(index) % _STREAMED == 0


def _stream(_: Kind, pointer: Address, index: int, value: Lanes) -> None:
    if pointer.at(index) % _STREAMED:
        raise TypeError("a vector is streamed where it fits")
    _write(pointer, index, value.data)


def _call(_: Kind, function: int, *arguments: Address | int) -> None:
    """Calls the C function at an address."""
    places = [
        argument.base if isinstance(argument, Address) else argument for argument in arguments
    ]
    _prototype(len(places))(function)(*places)


@functools.cache
def _prototype(count: int) -> Any:
    """The type of a C function without result that takes so many words.

    It holds the interpreter: no other thread forks while a library is in the middle of a call.
    """
    return ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * count)


#: Operators by Python's names.
_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "add": _lanewise(MEANING["add"]),
    "sub": _lanewise(MEANING["sub"]),
    "mul": _lanewise(MEANING["mul"]),
    "truediv": _lanewise(MEANING["div"]),
    "neg": _lanewise(MEANING["neg"]),
    "and_": _lanewise(MEANING["and"]),
    "or_": _lanewise(MEANING["or"]),
    "xor": _lanewise(MEANING["xor"]),
    "invert": _invert,
    "lshift": _lanewise(MEANING["shl"]),
    "rshift": _lanewise(MEANING["shr"]),
    "eq": _lanewise(MEANING["eq"]),
    "ne": _lanewise(MEANING["ne"]),
    "lt": _lanewise(MEANING["lt"]),
    "le": _lanewise(MEANING["le"]),
    "gt": _lanewise(MEANING["gt"]),
    "ge": _lanewise(MEANING["ge"]),
}


def _functions() -> dict[str, Callable[..., Any]]:
    """Return the plain-Python function of each operation of the kernel language."""
    functions: dict[str, Callable[..., Any]] = {
        "absolute": _lanewise(MEANING["abs"]),
        "sqrt": _lanewise(MEANING["sqrt"]),
        "floor": _of_floats(MEANING["floor"]),
        "ceil": _of_floats(MEANING["ceil"]),
        "trunc": _of_floats(MEANING["trunc"]),
        "rint": _of_floats(MEANING["rint"]),
        "fma": _lanewise(fma),
        "fma_flushed": _lanewise(fma_flushed),
        "dot2_bf16": _lanewise(_dot2_bf16),
        "dot4_u8_i8": _lanewise(_dot4_u8_i8),
        "flush_subnormals": lambda _: 0,
        "restore_subnormals": lambda *_: None,
        "fmod": _lanewise(MEANING["c_fmod"]),
        "scale": _lanewise(scale),
        "estimated_inverse_root": _lanewise(_estimated_inverse_root),
        "maximum": _lanewise(MEANING["maximum"]),
        "minimum": _lanewise(MEANING["minimum"]),
        "floor_divide": _lanewise(MEANING["floor_divide"]),
        "remainder": _lanewise(MEANING["remainder"]),
        "select": _select,
        "select_mask": _select,
        "low": lambda kind, v: Lanes(kind, v.data[: kind.lanes]),
        "high": lambda kind, v: Lanes(kind, v.data[kind.lanes :]),
        "like": lambda kind, _, value: Lanes(kind, coerce(kind, value)),
        "word": lambda _, v: int(v.data.astype(np.int64)[0]),
        "real": lambda _, v: float(v.data[0]),
        "some": lambda _, v: bool(v.data.any()),
        "bool": lambda _, value: bool(value),
        "window": lambda kind, position, *words: Lanes(kind, window(position.data, words)),
        "hsum": _horizontal(MEANING["add"]),
        "hprod": _horizontal(MEANING["mul"]),
        "hmax": _horizontal(MEANING["maximum"]),
        "hmin": _horizontal(MEANING["minimum"]),
        "hor": _horizontal(MEANING["or"]),
        "hand": _horizontal(MEANING["and"]),
        "hxor": _horizontal(MEANING["xor"]),
        "mask_of": lambda _, v: LaneMask(v.data != 0),
        "mask_bits": _mask_bits,
        "load": _load,
        "store": lambda _, p, i, v, m: _scatter(p, _strided_indices(i, 1, len(m.bits)), v, m),
        "load_strided": _load_strided,
        "store_strided": _store_strided,
        "load_at": lambda kind, p, places, m: _gather(kind, p, places.data.tolist(), m),
        "store_at": lambda _, p, places, v, m: _scatter(p, places.data.tolist(), v, m),
        "prefetch": lambda *_: None,
        "prefetch_second": lambda *_: None,
        "prefetch_write": lambda *_: None,
        "fits": _fits,
        "stream": _stream,
        "settle": lambda _: None,
        "address": lambda _, pointer: pointer.base,
        "call": _call,
        "getitem": lambda _, pointer, index: pointer[index],
        "local_words": _scratch,
    }
    for element in ELEMENTS.values():
        functions[f"cast_{element.name}"] = _convert
        if element.kind != "b":
            functions[f"bitcast_{element.name}"] = lambda kind, v: Lanes(
                kind, v.data.view(kind.element.numpy)
            )
        functions[f"ptr_{element.name}"] = lambda kind, word: Address(kind.element, word)
        functions[f"local_{element.name}"] = _scratch
        for lanes in EVERY_COUNT:
            functions[vector(element, lanes).name] = lambda kind, value: Lanes(
                kind, coerce(kind, value)
            )
    for number in range(7):
        functions[f"every{number}"] = _every(number)
        functions[f"turn{number}"] = _in_turn(number)
    for lanes in EVERY_COUNT:
        functions[f"splat{lanes}"] = lambda kind, v: Lanes(kind, np.repeat(v.data, kind.lanes))
        functions[f"iota{lanes}"] = _counting
        functions[f"mask{lanes}"] = lambda kind, count: LaneMask(np.arange(kind.lanes) < count)
        functions[f"load{lanes}"] = lambda kind, p, i: Lanes(kind, _read(p, i, kind.lanes))
        functions[f"store{lanes}"] = lambda _, p, i, v: _write(p, i, v.data)
        if lanes in LANES[1:]:
            functions[f"transpose{lanes}"] = functools.partial(_transpose, lanes=lanes)
    return functions


for _name, _meaning in _OPERATORS.items():
    _run = _bind_result_kind(OPERATORS[_name], _meaning)
    setattr(Lanes, f"__{_name.rstrip('_')}__", lambda *operands, run=_run: run(*operands))
    setattr(Lanes, f"__r{_name.rstrip('_')}__", lambda a, b, run=_run: run(b, a))
VOCABULARY: Final = {
    n: _bind_result_kind(FUNCTIONS[n], function) for n, function in _functions().items()
}
"""Name -> function."""
