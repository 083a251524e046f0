"""The arena of a compiled step, the parameters that it updates, and runs with bound feeds.

It is allocated once and replaced when a plan needs more; the old block is freed first, so that the
two never stand side by side. The plan says which buffer lies where in it.
"""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from staticgrad.errors import FeedError, OutOfMemory
from staticgrad.language.types.arrays import ALIGNMENT, aligned_bytes
from staticgrad.native.entry import callables as native_entry
from staticgrad.native.entry.words import BoundWord

#: NumPy's C interface: the pointer to the data is the first field after the object's header.
_DATA: Final = object.__basicsize__
_word: Final = ctypes.c_size_t.from_address


def address_as_asked(array: npt.NDArray[Any]) -> int:
    """Return the address of an array. (``array.ctypes`` leaves cycles to the collector.)"""
    address: int = array.__array_interface__["data"][0]
    return address


def address_as_laid_out(array: npt.NDArray[Any]) -> int:
    """The same, read from the array's own field: a tenth of the time."""
    return _word(id(array) + _DATA).value


def _layout_is_known() -> bool:
    """Return whether the field holds the address that NumPy reports, on this interpreter."""
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
        """Reserve ``nbytes`` in the arena; growing it discards its contents.

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


class WrittenMemory:
    """Ranges of bytes that no feed may lie in."""

    def __init__(self, arrays: Iterable[npt.NDArray[Any]]) -> None:
        """``arrays`` do not overlap."""
        ranges = sorted((address_of(a), address_of(a) + a.nbytes) for a in arrays if a.nbytes)
        self._starts = [start for start, _ in ranges]
        self._ends = [end for _, end in ranges]

    def __bool__(self) -> bool:
        return bool(self._ends)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(address, end) of each range, in order."""
        return zip(self._starts, self._ends, strict=True)

    def refuse(self, name: str, first: int, end: int) -> None:
        """Raise an error if a feed overlaps the memory of a parameter that the run updates.

        Raises:
            FeedError: it does.
        """
        at = bisect_left(self._starts, end) - 1
        if at >= 0 and self._ends[at] > first < end:
            raise FeedError(
                f"feed {name!r} shares memory with a parameter that the step updates",
                hint="feed a copy: parameter.value is one",
            )


Array = npt.NDArray[Any]
T = TypeVar("T")
#: What cannot change, nor share memory with an array.
_NUMBERS: Final = (int, float, np.float32, np.float64)


class HasName(Protocol):
    """An input or output of a program."""

    @property
    def name(self) -> str: ...


class NativeEntry(Protocol):
    """The part of a program's native entry that runs read; its class is in a higher layer."""

    @property
    def inputs(self) -> Sequence[HasName]: ...
    @property
    def outputs(self) -> Sequence[HasName]: ...
    @property
    def head(self) -> npt.NDArray[np.int64]: ...


class Addressed(Protocol):
    """The address of the words of a table."""

    @property
    def address(self) -> int: ...


class RunsBound(Protocol):
    """A program's executor, whose class is above this file."""

    def run_bound(self, feeds: Mapping[str, Any], out: object, whose: BoundRun[Any]) -> Any: ...


class BoundRun(Generic[T]):
    """``call()`` is ``f.run(feeds, out)`` of the program and the objects that were bound.

    It reads what the arrays hold when it is called. They may change in all that they are, too:
    each call looks at that, as ``run`` does.
    """

    __slots__ = ("_enter", "_executor", "_feeds", "_output_arrays", "_words")

    def __init__(
        self, executor: RunsBound, feeds: Mapping[str, Any], output_arrays: Mapping[str, Any] | None
    ) -> None:
        """``feeds`` by input name; ``output_arrays``: arrays by output name."""
        self._executor, self._feeds = executor, dict(feeds)
        self._output_arrays = None if output_arrays is None else dict(output_arrays)
        self._words: _BoundWords | None = None
        self._enter: Callable[[], Any] = _no_entry

    def __call__(self) -> T:
        """The results; see ``Compiled.run`` for what it raises."""
        results: T | None = self._enter()
        if results is not None:
            return results
        results_of_plan: T = self._executor.run_bound(self._feeds, self._output_arrays, self)
        return results_of_plan

    def note(self, entry: NativeEntry, record: Addressed, results: Mapping[str, Array]) -> None:
        """A run has gone well, and the entry may run the same again; while that is closed."""
        if self._words is None:
            self._words = _BoundWords(entry, self._feeds, self._output_arrays or {})
            self._enter = native_entry.with_bound(self._words.words)
        if self._output_arrays:
            self._words.note(record, results)


class _BoundWords:
    """The words of ``BoundWord``, and what they point to."""

    def __init__(
        self, entry: NativeEntry, feeds: Mapping[str, Any], output_arrays: Mapping[str, Any]
    ) -> None:
        self._feeds = [feeds[port.name] for port in entry.inputs]
        self._output_arrays = [output_arrays.get(port.name) for port in entry.outputs]
        self._names = [port.name for port in entry.outputs]
        self._objects = _word_array([id(feed) for feed in self._feeds])
        self._arrays = _word_array(
            [0 if array is None else id(array) for array in self._output_arrays]
        )
        self._feed_addresses = _word_array([0] * len(self._feeds))
        self._result_addresses = _word_array([0] * len(self._output_arrays))
        self._entry = entry
        self.words = np.zeros(len(BoundWord), np.int64)
        for word, pointed in (
            (BoundWord.HEAD, entry.head),
            (BoundWord.FEEDS_AT, self._objects),
            (BoundWord.RESULTS_AT, self._arrays),
            (BoundWord.FEED_ADDRESSES_AT, self._feed_addresses),
            (BoundWord.RESULT_ADDRESSES_AT, self._result_addresses),
        ):
            self.words[word] = address_of(pointed)
        self.words[BoundWord.GIVEN] = int(any(array is not None for array in self._output_arrays))

    def note(self, record: Addressed, results: Mapping[str, Array]) -> None:
        """Record the addresses of checked feeds and results, with the record's shapes."""
        self.words[BoundWord.RECORD] = 0
        for number, feed in enumerate(self._feeds):
            # 0: a number lies in no array, and -1: nothing does
            address = 0 if type(feed) in _NUMBERS else -1
            self._feed_addresses[number] = address_of(feed) if type(feed) is np.ndarray else address
        for number, name in enumerate(self._names):
            self._result_addresses[number] = address_of(results[name])
        self.words[BoundWord.RECORD] = record.address


def _word_array(words: list[int]) -> npt.NDArray[np.int64]:
    return np.array([*words, 0], np.int64)


def _no_entry() -> None:
    """Do nothing: there is no run in native code."""
