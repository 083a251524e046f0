"""The kernel language as plain Python: vectors are small NumPy arrays, one element per lane.

The same source that is compiled runs on these classes when the jit is off, and gives the same
bytes (any NaN equals any NaN). Which kinds a function takes, and the kind that it gives, is asked
from the definition that the compiler has (``language.operations``), so that what would not compile
is an error here too; how its elements are computed is written once more, with NumPy.

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

Array = NDArray[Any]
#: The C library's name and type for each floating dtype.
_NAMES: Final = {"f": ("fmaf", ctypes.c_float), "d": ("fma", ctypes.c_double)}
#: The bits that float64 has and float32 has not, and those of what is midway between two of these.
_FURTHER, _MIDWAY = np.uint64((1 << 29) - 1), np.uint64(1 << 28)
_LEAST_NORMAL: Final = 2.0**-126


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c for vectors of float32 or of float64, rounded once.

    The product of two float32 numbers is exact in float64. Their sum with a third is rounded there,
    and to float32 after that: as if it were rounded once, unless the first rounding gives what is
    midway between two float32 numbers. There the C library decides, which takes a call for each
    element; and where results are denormal, whose middles lie elsewhere.
    """
    if a.dtype.char == "d":
        return _by_c(a, b, c)
    total = a.astype(np.float64)
    total *= b
    total += c
    size = abs(total)
    open_to_doubt = (total.view(np.uint64) & _FURTHER) == _MIDWAY
    open_to_doubt |= (size < _LEAST_NORMAL) & (size > 0)
    rounded = total.astype(np.float32)
    if np.count_nonzero(open_to_doubt):
        rounded[open_to_doubt] = _by_c(a[open_to_doubt], b[open_to_doubt], c[open_to_doubt])
    return rounded


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


def _by_c(a: Array, b: Array, c: Array) -> Array:
    values = map(_function(a.dtype.char), a.tolist(), b.tolist(), c.tolist())
    return np.fromiter(values, a.dtype, len(a))


@functools.cache
def _function(code: str) -> Any:
    name, real = _NAMES[code]
    function = getattr(ctypes.CDLL(None), name)
    function.restype = real
    function.argtypes = (real, real, real)
    return function


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


def _amount(a: Array, b: Array) -> tuple[Array, Array]:
    bits = a.dtype.itemsize * 8
    inside = b.view(f"u{a.dtype.itemsize}") < bits
    return inside, np.where(inside, b, np.zeros_like(b))


def _shift_left(a: Array, b: Array) -> Array:
    inside, amount = _amount(a, b)
    return np.where(inside, np.left_shift(a, amount), np.zeros_like(a))


def _shift_right(a: Array, b: Array) -> Array:
    inside, amount = _amount(a, b)
    fill = np.where(a < 0, np.full_like(a, -1), np.zeros_like(a)) if a.dtype.kind == "i" else 0
    return np.where(inside, np.right_shift(a, amount), fill).astype(a.dtype)


def _invert(result: Vector, v: Lanes) -> Lanes:
    return Lanes(result, v.data ^ 1 if result.element.kind == "b" else np.invert(v.data))


def _maximum(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.asarray(np.maximum(a, b))
    zeros = np.where(a == 0, a + b, a)
    larger = np.where(a > b, a, np.where(b > a, b, zeros))
    return np.where((a != a) | (b != b), a + b, larger)


def _minimum(a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.asarray(np.minimum(a, b))
    return -_maximum(-a, -b)


def _scale(a: Array, n: Array) -> Array:
    """a * 2**n; a NaN of n comes with one of a."""
    return np.asarray(np.ldexp(a, np.nan_to_num(n).astype(np.int32)))


def _estimated_inverse_root(a: Array) -> Array:
    """1 / sqrt(a), here as near as the format allows."""
    with np.errstate(all="ignore"):
        return np.asarray(1.0 / np.sqrt(a), a.dtype)


def _floor_divide(a: Array, b: Array) -> Array:
    return np.asarray(np.where(b == 0, 0, np.floor_divide(a, b))).astype(a.dtype)


def _remainder(a: Array, b: Array) -> Array:
    return np.asarray(np.where(b == 0, 0, np.remainder(a, b))).astype(a.dtype)


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


def _float_to_signed(data: Array, bits: int) -> Array:
    """Truncation; NaN and out of range give the smallest integer."""
    integers = np.trunc(data)
    edge = 2.0 ** (bits - 1)
    inside = (integers >= -edge) & (integers < edge)
    truncated = np.where(inside, integers, np.zeros_like(integers)).astype(f"i{bits // 8}")
    return np.where(inside, truncated, np.iinfo(truncated.dtype).min)


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
        if element.name == "u64":
            edge = data.dtype.type(2.0**63)
            large = data >= edge
            integers = _float_to_signed(np.where(large, data - edge, data), 64).view(np.uint64)
            data = np.where(large, integers ^ np.uint64(1 << 63), integers)
        else:
            data = _float_to_signed(data, 64 if element.name in ("i64", "u32") else 32)
    return Lanes(result, data.astype(element.numpy))


def _mask_bits(_: Kind, mask: LaneMask) -> int:
    bits = np.packbits(mask.bits, bitorder="little").tobytes()
    return int.from_bytes(bits, "little", signed=len(mask.bits) == 64)


def _counting(result: Vector, start: int) -> Lanes:
    steps = np.arange(result.lanes, dtype=np.int64)
    return Lanes(result, np.full(result.lanes, start, np.int64) + steps)


def _window(result: Vector, position: Lanes, *words: int) -> Lanes:
    """Extract 52 bits of constant words in plain Python, high bits first, from a position."""
    content = b"".join(word.to_bytes(8, "big") for word in words)
    bits = np.zeros_like(position.data)
    for lane, at in enumerate(position.data.tolist()):
        start = min(at >> 3, len(content) - 8)
        chunk = int.from_bytes(content[start : start + 8], "big") << (at & 7)
        bits[lane] = (chunk & (2**64 - 1)) >> 12
    return Lanes(result, bits)


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
    "add": _lanewise(np.add),
    "sub": _lanewise(np.subtract),
    "mul": _lanewise(np.multiply),
    "truediv": _lanewise(np.divide),
    "neg": _lanewise(np.negative),
    "and_": _lanewise(np.bitwise_and),
    "or_": _lanewise(np.bitwise_or),
    "xor": _lanewise(np.bitwise_xor),
    "invert": _invert,
    "lshift": _lanewise(_shift_left),
    "rshift": _lanewise(_shift_right),
    "eq": _lanewise(np.equal),
    "ne": _lanewise(np.not_equal),
    "lt": _lanewise(np.less),
    "le": _lanewise(np.less_equal),
    "gt": _lanewise(np.greater),
    "ge": _lanewise(np.greater_equal),
}


def _functions() -> dict[str, Callable[..., Any]]:
    """Return the plain-Python function of each operation of the kernel language."""
    functions: dict[str, Callable[..., Any]] = {
        "absolute": _lanewise(np.absolute),
        "sqrt": _lanewise(np.sqrt),
        "floor": _of_floats(np.floor),
        "ceil": _of_floats(np.ceil),
        "trunc": _of_floats(np.trunc),
        "rint": _of_floats(np.rint),
        "fma": _lanewise(fma),
        "fma_flushed": _lanewise(fma_flushed),
        "dot2_bf16": _lanewise(_dot2_bf16),
        "flush_subnormals": lambda _: 0,
        "restore_subnormals": lambda *_: None,
        "fmod": _lanewise(np.fmod),
        "scale": _lanewise(_scale),
        "estimated_inverse_root": _lanewise(_estimated_inverse_root),
        "maximum": _lanewise(_maximum),
        "minimum": _lanewise(_minimum),
        "floor_divide": _lanewise(_floor_divide),
        "remainder": _lanewise(_remainder),
        "select": _select,
        "select_mask": _select,
        "low": lambda kind, v: Lanes(kind, v.data[: kind.lanes]),
        "high": lambda kind, v: Lanes(kind, v.data[kind.lanes :]),
        "like": lambda kind, _, value: Lanes(kind, coerce(kind, value)),
        "word": lambda _, v: int(v.data.astype(np.int64)[0]),
        "real": lambda _, v: float(v.data[0]),
        "some": lambda _, v: bool(v.data.any()),
        "bool": lambda _, value: bool(value),
        "window": _window,
        "hsum": _horizontal(np.add),
        "hprod": _horizontal(np.multiply),
        "hmax": _horizontal(_maximum),
        "hmin": _horizontal(_minimum),
        "hor": _horizontal(np.bitwise_or),
        "hand": _horizontal(np.bitwise_and),
        "hxor": _horizontal(np.bitwise_xor),
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
