"""Memory of the kernel language as plain Python: raw addresses through ctypes.

Only lanes that are on touch memory, one element at a time unless the mask is a full prefix.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.native.language.kinds import ELEMENTS, EVERY_COUNT, LANES, Element, bools, vector
from staticgrad.native.plain.lanes import Lanes, Number, coerce, meet

#: Bytes of the smallest vector that is streamed; where it begins is a multiple of them.
_STREAMED: Final = 32


class LaneMask:
    """One on/off bit per lane."""

    __slots__ = ("bits",)

    def __init__(self, bits: NDArray[np.bool_]) -> None:
        self.bits = bits

    def __and__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits & other.bits)

    def __or__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits | other.bits)

    def __xor__(self, other: LaneMask) -> LaneMask:
        return LaneMask(self.bits ^ other.bits)

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self.bits)


class Address:
    """A typed pointer: element type, address, and the owner that keeps scratch alive."""

    __slots__ = ("base", "element", "owner")

    def __init__(self, element: Element, base: int, owner: object = None) -> None:
        self.element = element
        self.base = base
        self.owner = owner

    def __getitem__(self, index: int) -> int:
        if self.element.name != "i64":
            raise TypeError(f"ptr_{self.element.name} is not a record of words")
        return ctypes.c_int64.from_address(self.at(index)).value

    def at(self, index: int) -> int:
        """The address of an element."""
        return self.base + index * self.element.bytes


def _read(pointer: Address, index: int, count: int) -> NDArray[Any]:
    content = ctypes.string_at(pointer.at(index), count * pointer.element.bytes)
    return np.frombuffer(content, pointer.element.numpy)


def _write(pointer: Address, index: int, data: NDArray[Any]) -> None:
    content = data.tobytes()
    ctypes.memmove(pointer.at(index), content, len(content))


def _gather(pointer: Address, places: list[int], mask: LaneMask) -> Lanes:
    kind = vector(pointer.element, mask.lanes)
    data = np.zeros(mask.lanes, pointer.element.numpy)
    for lane in np.flatnonzero(mask.bits):
        data[lane] = _read(pointer, places[lane], 1)[0]
    return Lanes(kind, data)


def _scatter(pointer: Address, places: list[int], value: Lanes, mask: LaneMask) -> None:
    if value.kind != vector(pointer.element, mask.lanes):
        raise TypeError(f"{value.kind.name} stored through ptr_{pointer.element.name}")
    for lane in np.flatnonzero(mask.bits):
        _write(pointer, places[lane], value.data[lane : lane + 1])


def load(pointer: Address, index: int, mask: LaneMask) -> Lanes:
    """Contiguous elements from ``index``; lanes that are off are 0 and read nothing."""
    count = int(mask.bits.sum())
    if not mask.bits[:count].all():
        return _gather(pointer, list(range(index, index + mask.lanes)), mask)
    data = np.zeros(mask.lanes, pointer.element.numpy)
    if count:
        data[:count] = _read(pointer, index, count)
    return Lanes(vector(pointer.element, mask.lanes), data)


def store(pointer: Address, index: int, value: Lanes, mask: LaneMask) -> None:
    """Contiguous elements from ``index``; lanes that are off write nothing."""
    _scatter(pointer, list(range(index, index + mask.lanes)), value, mask)


def _strided(index: int, stride: int, lanes: int) -> list[int]:
    return [index + stride * lane for lane in range(lanes)]


def load_strided(pointer: Address, index: int, stride: int, mask: LaneMask) -> Lanes:
    """Lane l reads element ``index + l * stride``."""
    return _gather(pointer, _strided(index, stride, mask.lanes), mask)


def store_strided(pointer: Address, index: int, stride: int, value: Lanes, mask: LaneMask) -> None:
    """Lane l writes element ``index + l * stride``, in lane order."""
    _scatter(pointer, _strided(index, stride, mask.lanes), value, mask)


def load_at(pointer: Address, index: Lanes, mask: LaneMask) -> Lanes:
    """Lane l reads element ``index[l]``."""
    return _gather(pointer, _places(index, mask), mask)


def store_at(pointer: Address, index: Lanes, value: Lanes, mask: LaneMask) -> None:
    """Lane l writes element ``index[l]``, in lane order: of equal places the last lane stays."""
    _scatter(pointer, _places(index, mask), value, mask)


def _places(index: Lanes, mask: LaneMask) -> list[int]:
    if index.kind != vector("i64", mask.lanes):
        raise TypeError(f"places given as {index.kind.name}")
    return [int(place) for place in index.data]


def _mask(lanes: int) -> Callable[[int], LaneMask]:
    return lambda count: LaneMask(np.arange(lanes) < count)


def mask_of(v: Lanes) -> LaneMask:
    """The lane mask of a bool vector."""
    if v.kind != bools(v.kind.lanes):
        raise TypeError(f"mask_of {v.kind.name}")
    return LaneMask(v.data != 0)


def select_mask(mask: LaneMask, a: Lanes | Number, b: Lanes | Number) -> Lanes:
    """``a`` where the lane is on, else ``b``."""
    kind = meet(a, b)
    if kind.lanes != mask.lanes:
        raise TypeError(f"{kind.name} selected by {mask.lanes} lanes")
    return Lanes(kind, np.where(mask.bits, coerce(kind, a), coerce(kind, b)))


def _whole_load(lanes: int) -> Callable[[Address, int], Lanes]:
    def operation(pointer: Address, index: int) -> Lanes:
        return Lanes(vector(pointer.element, lanes), _read(pointer, index, lanes))

    return operation


def _whole_store(lanes: int) -> Callable[[Address, int, Lanes], None]:
    def operation(pointer: Address, index: int, value: Lanes) -> None:
        if value.kind != vector(pointer.element, lanes):
            raise TypeError(f"{value.kind.name} stored through ptr_{pointer.element.name}")
        _write(pointer, index, value.data)

    return operation


def _transpose(lanes: int) -> Callable[..., None]:
    def operation(
        source: Address, at: int, stride: int, rows: int, columns: int,
        target: Address, to: int, step: int,
    ) -> None:  # fmt: skip
        """target[to + c*step + r] = source[at + r*stride + c], zeros beyond rows by columns."""
        block = np.zeros((lanes, lanes), source.element.numpy)
        kept = min(max(columns, 0), lanes)
        for row in range(min(rows, lanes) if kept else 0):
            block[row, :kept] = _read(source, at + row * stride, kept)
        for column in range(lanes):
            _write(target, to + column * step, block[:, column])

    return operation


def _pointer(element: Element) -> Callable[[int], Address]:
    return lambda word: Address(element, word)


def _scratch(element: Element) -> Callable[[int], Address]:
    def operation(count: int) -> Address:
        owner = np.empty(count, element.numpy)
        return Address(element, owner.ctypes.data, owner)

    return operation


def prefetch(pointer: Address, index: int) -> None:
    """Check the pointer only: plain Python does not prefetch."""
    if not isinstance(pointer, Address):
        raise TypeError("prefetch takes a pointer")


def fits(pointer: Address, index: int, mask: LaneMask) -> bool:
    """Return whether a vector under the mask may be streamed from an element on."""
    return bool(mask.bits.all()) and pointer.at(index) % _STREAMED == 0


def stream(pointer: Address, index: int, value: Lanes) -> None:
    """Stores all lanes."""
    if pointer.at(index) % _STREAMED or value.data.nbytes < _STREAMED:
        raise TypeError("a vector is streamed where it fits")
    store(pointer, index, value, LaneMask(np.ones(len(value.data), np.bool_)))


def settle() -> None:
    """Do nothing: all stores are done."""


def getitem(pointer: Address, index: int) -> int:
    """``t[k]``: a word of an int64 record."""
    return pointer[index]


def address(pointer: Address) -> int:
    """Return the address of a pointer as a word."""
    return pointer.base


def call(function: int, *arguments: Address | int) -> None:
    """Calls the C function at an address."""
    places = [each.base if isinstance(each, Address) else each for each in arguments]
    _prototype(len(places))(function)(*places)


@functools.cache
def _prototype(count: int) -> Any:
    """The type of a C function without result that takes so many words.

    It holds the interpreter: no other thread forks while a library is in the middle of a call.
    """
    return ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * count)


def _vocabulary() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "load": load,
        "store": store,
        "load_strided": load_strided,
        "store_strided": store_strided,
        "load_at": load_at,
        "store_at": store_at,
        "prefetch": prefetch,
        "prefetch_second": prefetch,
        "prefetch_write": prefetch,
        "fits": fits,
        "stream": stream,
        "settle": settle,
        "mask_of": mask_of,
        "select_mask": select_mask,
        "address": address,
        "call": call,
        "getitem": getitem,
        "bool": bool,
    }
    for lanes in EVERY_COUNT:
        found[f"mask{lanes}"] = _mask(lanes)
        found[f"load{lanes}"] = _whole_load(lanes)
        found[f"store{lanes}"] = _whole_store(lanes)
        if lanes in LANES[1:]:
            found[f"transpose{lanes}"] = _transpose(lanes)
    for element in ELEMENTS.values():
        found[f"ptr_{element.name}"] = _pointer(element)
        found[f"local_{element.name}"] = _scratch(element)
    found["local_words"] = found["local_i64"]
    return found


VOCABULARY: Final = _vocabulary()
"""Name -> function, for memory."""
