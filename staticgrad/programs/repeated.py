"""Calls of a traced function that repeat an earlier one: found by element types and shapes alone.

Binding the arguments of a call to a signature takes longer than a short program runs. A call whose
arrays lie in the same dicts, lists and tuples as those of an earlier call, with the same element
types and shapes, runs that program at once. Arrays of other libraries are viewed as NumPy's here,
once. Python numbers may have other values where all of them are inputs of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.python_numbers import Number
from staticgrad.language.trees import registered_leaves, words_of_key
from staticgrad.language.types.arrays import viewer_of
from staticgrad.programs.arguments import CallArguments, is_number
from staticgrad.programs.traced import TracedProgram
from staticgrad.support.records import NamedTuple

#: Calls that are stored, with which the store begins anew.
_MOST: Final = 256
_STATIC: Final = (bool, str, type(None))


class _Stored(NamedTuple):
    """A program by which calls run: the names of numbers by order, and those that all have."""

    traced: TracedProgram
    numbers: tuple[str, ...]
    fixed: Mapping[str, Number]


class PlainArguments:
    """The arguments of one call.

    Attributes:
        key: containers, element types and shapes, types of numbers, and what is static.
        arrays: the arrays in order, as NumPy's.
        numbers: the Python numbers in order.
        is_plain: False if an argument is something else; nothing more is known then.
        has_registered: there are objects of classes that are registered with JAX, which orders
            their arrays.
    """

    __slots__ = ("arrays", "by_name", "has_registered", "is_plain", "key", "numbers", "sources")

    def __init__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.arrays: list[Any] = []
        self.sources: list[Any] = []  # what the arrays are views of, or the arrays
        self.numbers: list[Number] = []
        self.by_name = 0  # how many of the numbers, the last ones, are given by name
        self.has_registered = False
        key: list[Any] = []
        self.is_plain = self._see(args, key)
        if kwargs and self.is_plain:
            positional_count = len(self.numbers)
            for name, argument in kwargs.items():
                key.append(name)
                count = len(self.numbers)
                self.is_plain = self.is_plain and self._see((argument,), key)
                if len(self.numbers) > count and not is_number(argument):
                    self.is_plain = False  # numbers in a container that has a name
            self.by_name = len(self.numbers) - positional_count
        self.key = tuple(key)

    def _see(self, items: Iterable[Any], key: list[Any]) -> bool:
        """Add dtypes, shapes and numbers in a container to a call's key; False if not plain."""
        arrays, sources = self.arrays, self.sources
        for item in items:
            kind = type(item)
            if kind is np.ndarray:
                array = item
            elif kind is tuple or kind is list:
                key += (kind, len(item))
                if not self._see(item, key):
                    return False
                continue
            elif kind is dict:
                key += (kind, tuple(item))
                if not self._see(item.values(), key):
                    return False
                continue
            elif (view := viewer_of(kind)) is not None and (array := view(item)) is not None:
                pass
            elif kind is float or kind is int:
                if not is_number(item):
                    return False
                key.append(kind)
                self.numbers.append(item)
                continue
            elif kind in _STATIC:
                key += (kind, item)
                continue
            elif isinstance(item, np.generic):
                array = item
            elif (words := words_of_key(item)) is not item:
                array = np.asarray(words)
            elif self._see_registered(item, key):
                continue
            else:
                return False
            key += (array.dtype, array.shape)
            arrays.append(array)
            sources.append(item)
        return True

    def _see_registered(self, item: Any, key: list[Any]) -> bool:
        """Add an object of a class that is registered with JAX to a call's key, as ``_see``."""
        structured = registered_leaves(item)
        if structured is None:
            return False
        leaves, structure = structured
        key += (structure, len(leaves))
        self.has_registered = True
        return self._see(leaves, key)

    def exact_key(self) -> tuple[Any, ...]:
        """Return the key of calls with the same numbers."""
        return (*self.key, *map(repr, self.numbers))


class RepeatedCalls:
    """The programs of earlier calls."""

    def __init__(self, static: tuple[str, ...]) -> None:
        """``static`` are the names of arguments that are static whatever they hold."""
        self._static = static
        self._stored: dict[Any, _Stored] = {}

    def find(self, call: PlainArguments) -> tuple[TracedProgram, Mapping[str, Number]] | None:
        """Find the traced program of an earlier call with an equal key, and the call's numbers."""
        if not call.is_plain:
            return None
        stored = self._stored.get(call.key)
        if stored is None:
            stored = self._stored.get(call.exact_key()) if call.numbers else None
            if stored is None:
                return None
        traced, names, fixed = stored
        if traced.describe_change():
            return None
        numbers = fixed
        if names:
            numbers = {**fixed, **dict(zip(names, call.numbers, strict=True))}
        return traced, numbers

    def note(
        self, call: PlainArguments, arguments: CallArguments, traced: TracedProgram, by_name: Any
    ) -> None:
        """Cache the traced program of a call by its dtypes, shapes and containers."""
        sources = call.sources
        if not call.is_plain or len(arguments.arrays) != len(sources):
            return
        keys = []  # the words of typed keys, which are read by each call anew
        for source, words, array in zip(
            sources, call.arrays, arguments.arrays.values(), strict=True
        ):
            if source is array:
                continue
            if words_of_key(source) is source or not np.array_equal(words, array):
                return  # they are in another order
            keys.append(words.tobytes())
        if len({*keys}) < len(keys):
            return  # equal keys, whose order is unknown
        if call.has_registered and len({*map(id, sources)}) < len(sources):
            return  # of an array that comes twice the order is unknown
        if len(self._stored) >= _MOST:
            self._stored.clear()
        numbers = None if self._static else self._names(call, arguments, by_name)
        if not call.numbers:
            self._stored[call.key] = _Stored(traced, (), arguments.numbers)
        elif numbers is not None and traced.takes_all(numbers):
            self._stored[call.key] = _Stored(traced, numbers, arguments.numbers)
        else:
            self._stored[call.exact_key()] = _Stored(traced, (), arguments.numbers)

    def _names(
        self, call: PlainArguments, arguments: CallArguments, by_name: Any
    ) -> tuple[str, ...] | None:
        """Return the parameter names of a call's Python numbers in order; None if uncertain."""
        first = len(call.numbers) - call.by_name
        names = [
            *[*arguments.numbers][:first],
            *[n for n, argument in by_name.items() if is_number(argument)],
        ]
        if len(names) != len(call.numbers):
            return None
        pairs = zip(names, call.numbers, strict=True)
        certain = all(arguments.numbers.get(name) is number for name, number in pairs)
        return tuple(names) if certain else None
