"""The value kinds of the kernel language: vectors, pointers, lane masks, words.

A kernel is Python source over these kinds (see :mod:`staticgrad.native.language.operations` for its
operations). This file holds their names, widths and the spelling in LLVM IR; both readings,
compiled and plain NumPy, share it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.support.caches import cached_property
from staticgrad.support.narrow_floats import narrow_numbers
from staticgrad.support.records import dataclass

LANES: Final = (1, 2, 4, 8, 16)
#: Lanes of whole registers of narrow elements.
WIDE: Final = (32, 64)
EVERY_COUNT: Final = (*LANES, *WIDE)


@dataclass(frozen=True)
class Element:
    """A lane's type.

    ``name`` (``f32``), ``kind`` one of b, i, u, f, s, ``bits`` in memory, ``llvm`` the LLVM scalar
    type, ``digits`` the bits of the largest run of whole numbers from 0 on that it holds. A bool is
    a byte 0/1 in registers too: wide masks miscompile. An element of kind s is for storage: the
    bits of a float, to be moved, chosen and converted, without arithmetic or order.
    """

    name: str
    kind: str
    bits: int
    llvm: str
    digits: int

    @cached_property
    def bytes(self) -> int:
        """Bytes in memory."""
        return self.bits // 8

    @cached_property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype; bool is stored as a byte, a storage type as its bits."""
        return np.dtype(f"u{self.bytes}" if self.kind in "bs" else f"{self.kind}{self.bytes}")

    @property
    def is_signed(self) -> bool:
        """True for a signed integer."""
        return self.kind == "i"


_INTEGERS: Final = (8, 16, 32, 64)
_TABLE: Final = (
    Element("b8", "b", 8, "i8", 1),
    *(Element(f"i{bits}", "i", bits, f"i{bits}", bits - 1) for bits in _INTEGERS),
    *(Element(f"u{bits}", "u", bits, f"i{bits}", bits) for bits in _INTEGERS),
    Element("f16", "s", 16, "i16", 11),
    Element("bf16", "s", 16, "i16", 8),
    Element("f32", "f", 32, "float", 24),
    Element("f64", "f", 64, "double", 53),
)
ELEMENTS: Final = {element.name: element for element in _TABLE}
"""Every element type by name."""


class _Interned(type):
    """Makes equal kinds one object, so that they are compared, and looked up, by identity."""

    _instances: ClassVar[dict[tuple[Any, ...], Any]] = {}

    def __call__(cls, *args: Any) -> Any:
        instance = cls._instances.get((cls, *args))
        return instance or cls._instances.setdefault((cls, *args), super().__call__(*args))


@dataclass(frozen=True, eq=False)
class Vector(metaclass=_Interned):
    """``lanes`` values of one element type. One lane is an LLVM scalar."""

    element: Element
    lanes: int

    @cached_property
    def name(self) -> str:
        """The name in the source and in messages."""
        return f"{self.element.name}x{self.lanes}"

    @cached_property
    def llvm(self) -> str:
        """The LLVM type."""
        scalar = self.element.llvm
        return scalar if self.lanes == 1 else f"<{self.lanes} x {scalar}>"


@dataclass(frozen=True, eq=False)
class Pointer(metaclass=_Interned):
    """An address of elements; no alignment is promised."""

    element: Element

    @property
    def name(self) -> str:
        """The name in the source and in messages."""
        return f"ptr_{self.element.name}"

    @property
    def llvm(self) -> str:
        """The LLVM type."""
        return "ptr"


@dataclass(frozen=True, eq=False)
class Mask(metaclass=_Interned):
    """One on/off bit per lane, made from a remaining count or a bool vector."""

    lanes: int

    @property
    def name(self) -> str:
        """The name in the source and in messages."""
        return f"mask{self.lanes}"

    @property
    def llvm(self) -> str:
        """The LLVM type."""
        return "i1" if self.lanes == 1 else f"<{self.lanes} x i1>"


@dataclass(frozen=True, eq=False)
class Scalar(metaclass=_Interned):
    """A plain Python number of the source: an index word, a float literal, a truth, a range."""

    name: str
    llvm: str


WORD: Final = Scalar("word", "i64")
REAL: Final = Scalar("real", "double")
TRUTH: Final = Scalar("truth", "i1")
NOTHING: Final = Scalar("nothing", "void")

Kind = Vector | Pointer | Mask | Scalar

VECTORS: Final = {
    (element.name, lanes): Vector(element, lanes)
    for element in ELEMENTS.values()
    for lanes in EVERY_COUNT
}
"""Every vector kind."""


def literal_value(element: Element, value: int | float | bool) -> NDArray[Any]:
    """Convert a Python number to an element type, as a 0-d array: the one rule for literals.

    Floats round to nearest, an integer in one step; integers wrap modulo the width; b8 is
    ``value != 0``; what is for storage becomes the bits of the nearest number.
    """
    if element.kind == "s":
        return narrow_numbers(element.name, literal_value(ELEMENTS["f64"], value))
    if element.kind == "b":
        return np.array(1 if value else 0, np.uint8)
    if element.kind != "f":
        wrapped = int(value) & ((1 << element.bits) - 1)
        return np.array(wrapped, f"u{element.bytes}").view(element.numpy)
    with np.errstate(over="ignore"):
        if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
            exact = np.array(value, np.int64 if value < 1 << 63 else np.uint64)
            return np.asarray(exact.astype(element.numpy))
        return np.asarray(np.array(value, np.float64).astype(element.numpy))


def vector(element: Element | str, lanes: int) -> Vector:
    """The vector kind of an element (or its name) and a lane count."""
    name = element if isinstance(element, str) else element.name
    return VECTORS[name, lanes]


def bools(lanes: int) -> Vector:
    """The kind of a comparison's result."""
    return VECTORS["b8", lanes]
