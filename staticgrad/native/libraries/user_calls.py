"""Routines that call functions of users: Python's, inside of a step.

A function of Python's gets copies of its operands and runs with the interpreter's lock; what it
raises is kept, and raised by the run. Those that Numba compiles are in ``compiler/by_numba/calls``.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.errors import CallError
from staticgrad.native.libraries.routines import PythonRoutine, RoutineCode, register
from staticgrad.support.records import dataclass

#: Element type by its name in NumPy, and the number of axes.
Kind = tuple[str, int]


@dataclass(frozen=True)
class UserFunction:
    """A function with the types of operands and results, as a step calls it.

    ``array_of`` makes an array of each result, or raises.
    """

    label: str
    function: Callable[..., Any]
    operands: tuple[Kind, ...]
    results: tuple[Kind, ...]
    array_of: Callable[[Any], NDArray[Any]] = np.asarray

    def arrays(self, record: int) -> Iterator[NDArray[Any]]:
        """Operands and results in memory."""
        kinds = (*self.operands, *self.results)
        return arrays_in(record_words(record, kinds), kinds)


def record_words(record: int, kinds: Sequence[Kind]) -> tuple[int, ...]:
    """The words of a record: pointers first, then the sizes of all axes."""
    count = len(kinds) + sum(rank for _, rank in kinds)
    return tuple((ctypes.c_int64 * count).from_address(record))


def arrays_in(words: Sequence[int], kinds: Sequence[Kind]) -> Iterator[NDArray[Any]]:
    """Arrays in memory, as the words of a record describe them."""
    at = len(kinds)
    for pointer, (dtype, rank) in zip(words, kinds, strict=False):
        shape, at = tuple(words[at : at + rank]), at + rank
        yield memory_at(pointer, prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)


def memory_at(address: int, nbytes: int) -> NDArray[Any]:
    """Bytes in memory."""
    memory: Any = (ctypes.c_char * nbytes).from_address(address) if nbytes else bytearray()
    return np.frombuffer(memory, np.uint8)


#: The functions that routines call, by the routine's name without its family.
user_functions: Final[dict[str, UserFunction]] = {}
_raised: Final[dict[int, BaseException]] = {}
_numbers: Final = itertools.count(1)


def routine(family: str, name: str, function: UserFunction) -> str:
    """The name of the routine that calls a function, ``host`` or ``numba``; ``name`` is its own."""
    kinds = "_".join(f"{dtype}.{rank}" for dtype, rank in (*function.operands, *function.results))
    spec = f"{name}.{kinds}"
    user_functions[spec] = function
    return f"{family}:{spec}"


def store_results(
    label: str,
    returned: Any,
    outs: list[NDArray[Any]],
    array_of: Callable[[Any], NDArray[Any]] = np.asarray,
) -> None:
    """Copy what a user's Python function returned into the result arrays; check shapes and dtypes.

    Raises:
        CallError: another number of results, another shape, or a dtype of another kind.
    """
    results = returned if isinstance(returned, tuple) else (returned,)
    if len(results) != len(outs):
        raise CallError(f"{label} gives {len(results)} results, types= names {len(outs)}")
    for result, out in zip(results, outs, strict=True):
        array = array_of(result)
        fits = array.shape == out.shape and np.can_cast(array.dtype, out.dtype, "same_kind")
        if not fits:
            expected = f"{out.dtype}{list(out.shape)}"
            raise CallError(
                f"{label} gives {array.dtype}{list(array.shape)}, types= says {expected}",
                hint="types=(shape, dtype), a list of them for a tuple of results",
            )
        out[...] = array


def recording(call: Callable[[int, int], None], checks: int = 0) -> PythonRoutine:
    """Make a routine of a Python call; an exception is noted, and ``raised`` returns it.

    ``checks`` is the number of the check words among what ``scratch`` points to.
    """

    def routine(record: int, scratch: int, begin: int, end: int) -> None:
        """Call the user's Python function from a step, and note its exception for the run."""
        try:
            call(record, scratch)
        except BaseException as error:  # the run raises it
            number = next(_numbers)
            _raised[number] = error
            words = ctypes.c_int64.from_address(scratch + 8 * checks).value
            noted = (ctypes.c_int64 * 2).from_address(words)
            noted[0], noted[1] = 0, number

    return routine


def has_error(number: int) -> bool:
    """Return whether a routine noted an error under that number."""
    return number in _raised


def take_error(spec: str, iteration: int, number: int) -> BaseException:
    """Return an error that a routine noted, once."""
    return _raised.pop(number)


def prepared_once(
    kinds: Sequence[Kind],
    prepare: Callable[[list[NDArray[Any]], tuple[int, ...]], Callable[[], object]],
    most: int,
    scratch: int = 0,
) -> RoutineCode:
    """Make a routine that prepares its Python call once for the arrays of each plan and arena.

    ``prepare`` gets the arrays and the addresses of ``scratch``. Calls for so many are kept: those
    of a plan that calls a routine at several places.
    """
    latest: dict[tuple[int, ...], Callable[[], object]] = {}

    def call(record: int, address: int) -> None:
        """Run the call prepared for these addresses; prepare it at first."""
        rooms = tuple((ctypes.c_int64 * scratch).from_address(address))
        words = record_words(record, kinds) + rooms
        run = latest.get(words)
        if run is None:
            if len(latest) >= most:
                latest.clear()
            run = latest[words] = prepare([*arrays_in(words, kinds)], rooms)
        run()

    return code_of(recording(call, scratch))


def code_of(call: PythonRoutine) -> RoutineCode:
    """The code of a routine that is written in Python."""
    callback = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(call)
    return RoutineCode(ctypes.cast(callback, ctypes.c_void_p).value or 0, (), call, callback)


def routine_in_python(spec: UserFunction) -> PythonRoutine:
    """Make the routine that calls a user's Python function on arrays."""

    def call(record: int, _scratch: int) -> None:
        arrays = list(spec.arrays(record))
        operands = [array.copy() for array in arrays[: len(spec.operands)]]
        returned = spec.function(*operands)
        store_results(spec.label, returned, arrays[len(spec.operands) :], spec.array_of)

    return recording(call)


def _make_host(spec: str) -> RoutineCode:
    return code_of(routine_in_python(user_functions[spec]))


def failure(name: str, iteration: int, how: int) -> BaseException:
    """Return the error that a user's function raised, with the name of the function."""
    error = take_error(name, iteration, how)
    if not isinstance(error, CallError):
        error.add_note(f"in {user_functions[name].label}, called by a compiled step")
    return error


register("host", _make_host, failure)
