"""The one block of memory that a compiled step works in.

It is allocated once and replaced when a plan needs more; the old block is freed first, so that the
two never stand side by side. The plan says which buffer lies where in it.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad.errors import OutOfMemory
from staticgrad.storage.parameter import ALIGNMENT, aligned_bytes

#: NumPy's C interface: the pointer to the data is the first field after the object's header.
_DATA: Final = object.__basicsize__
_word: Final = ctypes.c_size_t.from_address


def address_as_asked(array: npt.NDArray[Any]) -> int:
    """Where an array's first element is. (``array.ctypes`` leaves cycles to the collector.)"""
    address: int = array.__array_interface__["data"][0]
    return address


def address_as_laid_out(array: npt.NDArray[Any]) -> int:
    """The same, read from the array's own field: a tenth of the time."""
    return _word(id(array) + _DATA).value


def _layout_is_known() -> bool:
    """Whether reading the field gives what NumPy says, on this interpreter."""
    if sys.implementation.name != "cpython":
        return False
    block = np.empty((4, 6), np.uint8)
    views = (block, block[1:, 2:], block[::-1], block.T, block[:0])
    return all(address_as_laid_out(view) == address_as_asked(view) for view in views)


#: Where an array's first element is, the quicker way that is known to be right.
address_of: Final = address_as_laid_out if _layout_is_known() else address_as_asked


class Arena:
    """Bytes from ``base`` on, 64-byte aligned; ``words`` are the same bytes as i64.

    ``capacity`` is what is allocated; a step uses exactly the ``peak_bytes`` of its plan.
    """

    def __init__(self) -> None:
        self._free()
        self.reserve(0)

    def reserve(self, nbytes: int) -> None:
        """Make room for ``nbytes``; what the arena held is lost where it has to grow.

        Raises:
            OutOfMemory: the system gives no such block. The arena is empty then, and a later step
                that needs less runs.
        """
        if nbytes <= self.capacity:
            return
        self._free()
        try:
            self._take(nbytes)
        except (MemoryError, ValueError, OverflowError):
            raise OutOfMemory(
                f"the step needs an arena of {nbytes} bytes, which the system does not give",
                hint="run it on smaller feeds; nothing was run and no parameter has changed",
            ) from None

    @classmethod
    def over(cls, block: npt.NDArray[np.uint8]) -> Arena:
        """An arena of exactly these bytes, which start on a 64-byte border; it cannot grow."""
        arena = cls.__new__(cls)
        arena._block, arena.words = block, block.data.cast("q")
        arena.base, arena.capacity = address_of(block), block.size
        return arena

    def array(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The bytes from ``offset`` on as an array; to be dropped before the arena may grow."""
        return np.ndarray(shape, dtype, self._block, offset)

    def _free(self) -> None:
        self._block = np.empty(0, np.uint8)
        self.words = self._block.data.cast("q")
        self.capacity = -1

    def _take(self, nbytes: int) -> None:
        self._block = aligned_bytes(-(-max(nbytes, ALIGNMENT) // ALIGNMENT) * ALIGNMENT)
        self.words = self._block.data.cast("q")
        self.base = address_of(self._block)
        self.capacity = nbytes
