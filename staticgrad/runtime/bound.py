"""Runs of one program with feeds, and perhaps arrays for results, that are bound once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from staticgrad.native.entry import callables as native_entry
from staticgrad.native.entry.words import BoundWord
from staticgrad.runtime.arena import address_of

if TYPE_CHECKING:
    from staticgrad.runtime.entry import Entry, TableRecord
    from staticgrad.runtime.executor import Executor

Array = npt.NDArray[Any]
T = TypeVar("T")
#: What cannot change, nor share memory with an array.
_NUMBERS: Final = (int, float, np.float32, np.float64)


class BoundRun(Generic[T]):
    """``call()`` is ``f.run(feeds, out)`` of the program and the objects that were bound.

    It reads what the arrays hold when it is called. They may change in all that they are, too:
    each call looks at that, as ``run`` does.
    """

    __slots__ = ("_enter", "_executor", "_feeds", "_given", "_words")

    def __init__(
        self, executor: Executor, feeds: Mapping[str, Any], given: Mapping[str, Any] | None
    ) -> None:
        """``feeds`` by input name; ``given``: arrays by output name."""
        self._executor, self._feeds = executor, dict(feeds)
        self._given = None if given is None else dict(given)
        self._words: _BoundWords | None = None
        self._enter: Callable[[], Any] = _no_entry

    def __call__(self) -> T:
        """The results; see ``Compiled.run`` for what it raises."""
        results: T | None = self._enter()
        if results is not None:
            return results
        found: T = self._executor.run_bound(self._feeds, self._given, self)
        return found

    def note(self, entry: Entry, record: TableRecord, results: Mapping[str, Array]) -> None:
        """A run has gone well, and the entry may run the same again; while that is closed."""
        if self._words is None:
            self._words = _BoundWords(entry, self._feeds, self._given or {})
            self._enter = native_entry.with_bound(self._words.words)
        if self._given:
            self._words.note(record, results)


class _BoundWords:
    """The words of ``BoundWord``, and what they point to."""

    def __init__(self, entry: Entry, feeds: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._feeds = [feeds[each.name] for each in entry.inputs]
        self._given = [given.get(each.name) for each in entry.outputs]
        self._names = [each.name for each in entry.outputs]
        self._objects = _filled([id(feed) for feed in self._feeds])
        self._arrays = _filled([0 if array is None else id(array) for array in self._given])
        self._feed_addresses = _filled([0] * len(self._feeds))
        self._result_addresses = _filled([0] * len(self._given))
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
        self.words[BoundWord.GIVEN] = int(any(array is not None for array in self._given))

    def note(self, record: TableRecord, results: Mapping[str, Array]) -> None:
        """The arrays, where they are now, do not meet; their shapes are those of the record."""
        self.words[BoundWord.RECORD] = 0
        for number, feed in enumerate(self._feeds):
            # 0: a number lies in no array, and -1: nothing does
            other = 0 if type(feed) in _NUMBERS else -1
            self._feed_addresses[number] = address_of(feed) if type(feed) is np.ndarray else other
        for number, name in enumerate(self._names):
            self._result_addresses[number] = address_of(results[name])
        self.words[BoundWord.RECORD] = record.address


def _filled(words: list[int]) -> npt.NDArray[np.int64]:
    return np.array([*words, 0], np.int64)


def _no_entry() -> None:
    """No run in native code."""
