"""The kernel language as plain Python: vectors are small NumPy arrays, one element per lane.

The same source that is compiled runs on these classes when the jit is off, and gives the same
bytes (any NaN equals any NaN). Arithmetic and conversions stand here, memory in
:mod:`memory`. Mixing kinds is an error here too, so that debugging finds what compiling would.

a * b + c rounded once, of small arrays, for kernels that run as plain Python.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.narrow_floats import STORED, narrowed
from staticgrad.native.language.kinds import (
    ELEMENTS,
    EVERY_COUNT,
    Element,
    Vector,
    bools,
    literal_value,
    vector,
)

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
    found = total.astype(np.float32)
    if np.count_nonzero(open_to_doubt):
        found[open_to_doubt] = _by_c(a[open_to_doubt], b[open_to_doubt], c[open_to_doubt])
    return found


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


Number = int | float | bool


class Lanes:
    """A vector: its kind and one value per lane (bools are bytes 0/1)."""

    __slots__ = ("data", "kind")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: Vector, data: Array) -> None:
        self.kind = kind
        self.data = data

    def __bool__(self) -> bool:
        raise TypeError("a vector has no truth value; use word(hor(v)) or select")

    def __neg__(self) -> Lanes:
        _require(self.kind, "iuf")
        return Lanes(self.kind, np.negative(self.data))

    def __invert__(self) -> Lanes:
        _require(self.kind, "biu")
        is_bool = self.kind.element.kind == "b"
        return Lanes(self.kind, self.data ^ 1 if is_bool else np.invert(self.data))


def _operand(value: object) -> Lanes | Number:
    if isinstance(value, Lanes | int | float):
        return value
    raise TypeError(f"{type(value).__name__} is not part of the kernel language")


def _require(kind: Vector, families: str) -> None:
    if kind.element.kind not in families:
        raise TypeError(f"not an operation on {kind.name}")


def meet(*operands: Lanes | Number) -> Vector:
    """Return the one kind of the operands, to which numbers adapt; TypeError if they differ."""
    kinds = [operand.kind for operand in operands if isinstance(operand, Lanes)]
    if not kinds or any(kind is not kinds[0] for kind in kinds[1:]):
        raise TypeError(f"operands of kinds {sorted({kind.name for kind in kinds})}")
    return kinds[0]


def coerce(kind: Vector, value: Lanes | Number) -> Array:
    """The lanes of a vector, or a number converted to the kind and broadcast."""
    if isinstance(value, Lanes):
        return value.data
    if kind.element.kind not in "fs" and isinstance(value, float):
        raise TypeError(f"a float literal does not go with {kind.name}")
    return np.full(kind.lanes, literal_value(kind.element, value))


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


def _binary(families: str, function: Callable[..., Array], *, reflected: bool) -> Any:
    def operation(self: Lanes, other: Lanes | Number) -> Lanes:
        kind = meet(self, other)
        _require(kind, families)
        pair = self.data, coerce(kind, other)
        return Lanes(kind, function(*pair[::-1] if reflected else pair))

    return operation


def _comparison(function: Callable[..., Array]) -> Any:
    def operation(self: Lanes, other: object) -> Lanes:
        given = _operand(other)
        kind = meet(self, given)
        _require(kind, "biuf")
        return Lanes(bools(kind.lanes), function(self.data, coerce(kind, given)).view(np.uint8))

    return operation


#: Operators by Python's names, with the families of elements that they take.
_OPERATORS: Final[dict[str, tuple[str, Callable[..., Array]]]] = {
    "add": ("iuf", np.add),
    "sub": ("iuf", np.subtract),
    "mul": ("iuf", np.multiply),
    "truediv": ("f", np.divide),
    "and": ("biu", np.bitwise_and),
    "or": ("biu", np.bitwise_or),
    "xor": ("biu", np.bitwise_xor),
    "lshift": ("iu", _shift_left),
    "rshift": ("iu", _shift_right),
}
for _name, _taken in _OPERATORS.items():
    setattr(Lanes, f"__{_name}__", _binary(*_taken, reflected=False))
    setattr(Lanes, f"__r{_name}__", _binary(*_taken, reflected=True))
for _name, _compare in (
    *(("eq", np.equal), ("ne", np.not_equal), ("lt", np.less), ("le", np.less_equal)),
    *(("gt", np.greater), ("ge", np.greater_equal)),
):
    setattr(Lanes, f"__{_name}__", _comparison(_compare))


def _family(families: str, function: Callable[..., Array]) -> Callable[..., Lanes]:
    def operation(*operands: Lanes | Number) -> Lanes:
        kind = meet(*operands)
        _require(kind, families)
        return Lanes(kind, function(*(coerce(kind, operand) for operand in operands)))

    return operation


def _on_floats(function: Callable[[Array], Array]) -> Callable[..., Lanes]:
    """Integers are whole already."""
    return _family("iuf", lambda a: function(a) if a.dtype.kind == "f" else a)


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


def select(condition: Lanes, a: Lanes | Number, b: Lanes | Number) -> Lanes:
    """``a`` where the condition holds, else ``b``."""
    kind = meet(a, b)
    if condition.kind != bools(kind.lanes):
        raise TypeError(f"select of {kind.name} by {condition.kind.name}")
    return Lanes(kind, np.where(condition.data != 0, coerce(kind, a), coerce(kind, b)))


def low(v: Lanes) -> Lanes:
    """The first half of the lanes."""
    return _half(v, 0)


def high(v: Lanes) -> Lanes:
    """The second half of the lanes."""
    return _half(v, 1)


def _every(number: int) -> Callable[..., Lanes]:
    def operation(*vectors: Lanes) -> Lanes:
        return Lanes(vectors[0].kind, _behind(number, vectors).ravel()[number :: len(vectors)])

    return operation


def _in_turn(number: int) -> Callable[..., Lanes]:
    def operation(*vectors: Lanes) -> Lanes:
        count = vectors[0].kind.lanes
        both = _behind(number, vectors).T.ravel()
        return Lanes(vectors[0].kind, both[number * count : (number + 1) * count])

    return operation


def _behind(number: int, vectors: Sequence[Lanes]) -> np.ndarray:
    """The lanes of several vectors, a row each."""
    kinds = {vector.kind for vector in vectors}
    if len(kinds) > 1 or vectors[0].kind.lanes == 1 or not max(number, 1) < len(vectors):
        raise TypeError("lanes in turn are those of several vectors of one kind")
    return np.stack([vector.data for vector in vectors])


def _half(v: Lanes, part: int) -> Lanes:
    if v.kind.lanes == 1:
        raise TypeError("one lane has no halves")
    count = v.kind.lanes // 2
    return Lanes(vector(v.kind.element, count), v.data[part * count : (part + 1) * count])


def _horizontal(combine: Callable[[Lanes, Lanes], Lanes]) -> Callable[[Lanes], Lanes]:
    def operation(v: Lanes) -> Lanes:
        while v.kind.lanes > 1:
            v = combine(low(v), high(v))
        return v

    return operation


def _float_to_signed(data: Array, bits: int) -> Array:
    """Truncation; NaN and out of range give the smallest integer."""
    whole = np.trunc(data)
    edge = 2.0 ** (bits - 1)
    inside = (whole >= -edge) & (whole < edge)
    truncated = np.where(inside, whole, np.zeros_like(whole)).astype(f"i{bits // 8}")
    return np.where(inside, truncated, np.iinfo(truncated.dtype).min)


def _float_to_integer(data: Array, element: Element) -> Array:
    if element.name == "u64":
        edge = data.dtype.type(2.0**63)
        large = data >= edge
        whole = _float_to_signed(np.where(large, data - edge, data), 64).view(np.uint64)
        return np.where(large, whole ^ np.uint64(1 << 63), whole)
    return _float_to_signed(data, 64 if element.name in ("i64", "u32") else 32)


def convert(v: Lanes, element: Element) -> Lanes:
    """The value in another element type, as ``numpy.ndarray.astype`` on x86-64."""
    kind = vector(element, v.kind.lanes)
    if v.kind.element.kind == "s":
        v = Lanes(vector("f32", kind.lanes), STORED[v.kind.element.name].widen(v.data))
    if element.kind == "s":
        return Lanes(kind, narrowed(element.name, v.data))
    if element.kind == "b":
        return Lanes(kind, (v.data != 0).view(np.uint8))
    if v.kind.element.kind == "f" and element.kind != "f":
        return Lanes(kind, _float_to_integer(v.data, element).astype(element.numpy))
    return Lanes(kind, v.data.astype(element.numpy))


def _bitcast(element: Element) -> Callable[[Lanes], Lanes]:
    def operation(v: Lanes) -> Lanes:
        if v.kind.element.bits != element.bits or v.kind.element.kind == "b":
            raise TypeError(f"bits of {v.kind.name} as {element.name}")
        return Lanes(vector(element, v.kind.lanes), v.data.view(element.numpy))

    return operation


def _constructor(kind: Vector) -> Callable[[Number], Lanes]:
    return lambda value: Lanes(kind, coerce(kind, value))


def _broadcast(lanes: int) -> Callable[[Lanes], Lanes]:
    def operation(v: Lanes) -> Lanes:
        if v.kind.lanes != 1:
            raise TypeError(f"splat of {v.kind.name}")
        return Lanes(vector(v.kind.element, lanes), np.repeat(v.data, lanes))

    return operation


def _counting(lanes: int) -> Callable[[int], Lanes]:
    steps = np.arange(lanes, dtype=np.int64)
    return lambda start: Lanes(vector("i64", lanes), np.full(lanes, start, np.int64) + steps)


def like(model: Lanes, value: Number) -> Lanes:
    """A literal in the kind of another vector."""
    return Lanes(model.kind, coerce(model.kind, value))


def word(v: Lanes) -> int:
    """The integer of a one-lane vector as a plain number."""
    if v.kind.lanes != 1 or v.kind.element.kind not in "biu":
        raise TypeError(f"word of {v.kind.name}")
    return int(v.data.astype(np.int64)[0])


def real(v: Lanes) -> float:
    """The float of a one-lane vector as a plain number."""
    if v.kind.lanes != 1 or v.kind.element.kind != "f":
        raise TypeError(f"real of {v.kind.name}")
    return float(v.data[0])


def window(position: Lanes, *words: int) -> Lanes:
    """52 bits of constant words, most significant first, from a bit position on."""
    if position.kind.element.name != "u64":
        raise TypeError(f"a window at {position.kind.name}")
    content = b"".join(word.to_bytes(8, "big") for word in words)
    found = np.zeros_like(position.data)
    for lane, at in enumerate(position.data.tolist()):
        start = min(at >> 3, len(content) - 8)
        whole = int.from_bytes(content[start : start + 8], "big") << (at & 7)
        found[lane] = (whole & (2**64 - 1)) >> 12
    return Lanes(position.kind, found)


def some(v: Lanes) -> bool:
    """Return whether any lane of a bool vector is true."""
    _require(v.kind, "b")
    return bool(v.data.any())


def _vocabulary() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "absolute": _family("iuf", np.absolute),
        "sqrt": _family("f", np.sqrt),
        "floor": _on_floats(np.floor),
        "ceil": _on_floats(np.ceil),
        "trunc": _on_floats(np.trunc),
        "rint": _on_floats(np.rint),
        "fma": _family("f", fma),
        "fmod": _family("f", np.fmod),
        "scale": _family("f", _scale),
        "estimated_inverse_root": _family("f", _estimated_inverse_root),
        "maximum": _family("biuf", _maximum),
        "minimum": _family("biuf", _minimum),
        "floor_divide": _family("iu", _floor_divide),
        "remainder": _family("iu", _remainder),
        "select": select,
        "low": low,
        "high": high,
        "like": like,
        "word": word,
        "real": real,
        "some": some,
        "window": window,
    }
    found["hsum"] = _horizontal(_family("iuf", np.add))
    found["hprod"] = _horizontal(_family("iuf", np.multiply))
    found["hmax"] = _horizontal(found["maximum"])
    found["hmin"] = _horizontal(found["minimum"])
    found["hor"] = _horizontal(_family("biu", np.bitwise_or))
    found["hand"] = _horizontal(_family("biu", np.bitwise_and))
    for element in ELEMENTS.values():
        found[f"cast_{element.name}"] = functools.partial(convert, element=element)
        if element.kind != "b":
            found[f"bitcast_{element.name}"] = _bitcast(element)
        for lanes in EVERY_COUNT:
            kind = vector(element, lanes)
            found[kind.name] = _constructor(kind)
    for number in range(7):
        found[f"every{number}"] = _every(number)
        found[f"turn{number}"] = _in_turn(number)
    for lanes in EVERY_COUNT:
        found[f"splat{lanes}"] = _broadcast(lanes)
        found[f"iota{lanes}"] = _counting(lanes)
    return found


VOCABULARY: Final = _vocabulary()
"""Name -> function, for everything but memory."""
