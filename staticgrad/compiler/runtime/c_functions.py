"""C functions of a compiled program, for Numba and other languages: addresses, and errors.

Native code runs the calls (``native.entry.c_calls``). Here is what a program gives it: contexts,
each an executor with an arena of its own, and the function of Python that runs a call where native
code does not apply.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from operator import not_
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from staticgrad import native
from staticgrad.analysis.binding import concrete_shape, fed_type
from staticgrad.compiler.runtime.arena import address_of
from staticgrad.compiler.runtime.executor import Executor
from staticgrad.compiler.runtime.feeds import Port
from staticgrad.errors import (
    ArgumentError,
    BudgetInfeasible,
    FeedError,
    IndexOutOfRange,
    LinearAlgebraError,
    OutOfMemory,
    OutputArrayError,
)
from staticgrad.language.ir.graph import Graph
from staticgrad.native.entry import c_calls, callables
from staticgrad.native.entry.failures import note_error, take_error
from staticgrad.native.entry.words import (
    CallFrameWord,
    ProgramWord,
    Request,
    Status,
)
from staticgrad.support.forks import ProcessLock
from staticgrad.support.records import NamedTuple

Words = npt.NDArray[np.int64]
#: Contexts of a program: threads beyond it wait for each other.
MOST_CONTEXTS: Final = 64
#: Named sizes whose shapes a program has ready for ``arrays``; Python computes others anew.
MOST_SHAPES: Final = 64
#: An error of a run -> the status of a call; the first class that fits.
STATUSES: Final = (
    (IndexOutOfRange, Status.INDEX),
    (LinearAlgebraError, Status.MATRIX),
    (FeedError, Status.SIZES),
    (OutOfMemory, Status.MEMORY),
    (BudgetInfeasible, Status.MEMORY),
    (OutputArrayError, Status.OVERLAP),
    (Exception, Status.FAILED),
    (BaseException, Status.INTERRUPTED),
)
_I64: Final = ctypes.c_int64


class CSignature(NamedTuple):
    """A signature of C functions.

    Attributes:
        text: the type in C.
        function: the name of its code.
        arguments: their types, of which the last is the program.
        requirement: what a program must be to have it.
        result: the type of the result.
        has_failed: whether a result says that the call has failed; for int64_t it is a status.
    """

    text: str
    function: str
    arguments: tuple[Any, ...]
    requirement: str = ""
    result: Any = ctypes.c_int64
    has_failed: Callable[[Any], bool] = bool


_DOUBLES: Final = ctypes.POINTER(ctypes.c_double)
_ARRAYS: Final = ctypes.POINTER(ctypes.c_void_p)
_DATA: Final = ctypes.c_void_p
#: The signatures by name.
SIGNATURES: Final[Mapping[str, CSignature]] = {
    "arrays": CSignature(
        "int64_t (void *const *inputs, void *const *results, const int64_t *sizes,"
        " void *user_data)",
        "call_arrays",
        (_ARRAYS, _ARRAYS, ctypes.POINTER(_I64), _DATA),
    ),
    "density": CSignature(
        "int64_t (uint64_t n, const double *x, double *gradient, double *value, void *user_data)",
        "call_density",
        (ctypes.c_uint64, _DOUBLES, _DOUBLES, _DOUBLES, _DATA),
        "one input f64[n], and two results: a number f64[] and its gradient f64[n]",
    ),
    "integrand": CSignature(
        "double (int n, double *x, void *user_data)",
        "call_integrand",
        (ctypes.c_int, _DOUBLES, _DATA),
        "one input f64[n] and one result f64[]",
        ctypes.c_double,
        math.isnan,
    ),
    "filter": CSignature(
        "int (double *x, intptr_t n, double *result, void *user_data)",
        "call_filter",
        (_DOUBLES, ctypes.c_ssize_t, _DOUBLES, _DATA),
        "one input f64[n] and one result f64[]",
        ctypes.c_int,
        not_,
    ),
    "map": CSignature(
        "int64_t (uint64_t n, uint64_t m, const double *x, double *result, void *user_data)",
        "call_map",
        (ctypes.c_uint64, ctypes.c_uint64, _DOUBLES, _DOUBLES, _DATA),
        "one input f64[n] and one result f64[m]",
    ),
}


class CFunction:
    """A compiled program as a function of C, of one of the signatures of ``Compiled.c_function``.

    The program lives as long as this object does.

    Attributes:
        address: that of the function.
        user_data: the address that is its last argument, the same at each call.
        signature: its type in C.
    """

    def __init__(
        self, program: object, address: int, user_data: int, signature: CSignature
    ) -> None:
        self._program, self.address, self.user_data = program, address, user_data
        self._parts, self.signature = signature, signature.text

    @property
    def ctypes(self) -> Any:
        """The function for ctypes, whose calls raise the errors of runs.

        ``scipy.LowLevelCallable(f.ctypes, ctypes.c_void_p(f.user_data))`` takes it, too.
        """
        kind = ctypes.CFUNCTYPE(self._parts.result, *self._parts.arguments)
        f = kind(self.address)
        f.errcheck = self._raise_error
        f.program = self  # type: ignore[attr-defined]  # which lives as long
        return f

    def _raise_error(self, result: Any, function: Any, arguments: Any) -> Any:
        """Raise the error of a call by ctypes, if its result says that it has failed."""
        error = take_error()
        if error is not None and self._parts.has_failed(result):
            raise error
        return result

    def __repr__(self) -> str:
        return f"<C function {self.signature} at {self.address:#x}, user_data {self.user_data:#x}>"


class CFunctionPair(NamedTuple):
    """A density and a map of two programs, for a library that gives both the same last argument.

    Attributes:
        density, map: the functions, which keep their programs alive.
        user_data: the words at the address that is the last argument of both.
    """

    density: CFunction
    map: CFunction
    user_data: Words


def pair_functions(density: CFunction, expansion: CFunction) -> CFunctionPair:
    """Return the functions ``"density"`` and ``"map"`` of two programs with one ``user_data``."""
    words = np.array([density.user_data, expansion.user_data], np.int64)
    first, second = (
        CFunction(f, _code(code), address_of(words), SIGNATURES[name])
        for f, code, name in (
            (density, "call_first_density", "density"),
            (expansion, "call_second_map", "map"),
        )
    )
    return CFunctionPair(first, second, words)


def status_of(error: BaseException) -> Status:
    """Note an error for ``take_error`` and return its status."""
    note_error(error)
    return next(status for kind, status in STATUSES if isinstance(error, kind))


@functools.cache
def _set_in_order() -> Callable[[int, int, int], int]:
    """Return the native function that sets a word for threads without the interpreter lock."""
    address = native.address_of(c_calls.codes()["set_in_order"])
    # PyDLL's kind of function: it does not release the interpreter lock
    function: Callable[[int, int, int], int] = ctypes.PYFUNCTYPE(_I64, _I64, _I64, _I64)(address)
    return function


def _code(name: str) -> int:
    return native.address_of(c_calls.codes()[name])


#: Words of all programs that were ever called so: their addresses stand in code of others.
_words_of_process: Final[list[Words]] = []


class CProgram:
    """The words, contexts and shapes by which C functions run one compiled program.

    Attributes:
        data: the address of its words (``ProgramWord``), which stays valid when it is gone.
    """

    def __init__(self, graph: Graph, executor: Executor, sizes: Mapping[str, int]) -> None:
        """``executor`` runs the program; ``sizes`` are fixed."""
        self._graph, self._fixed = graph, dict(sizes)
        self.sizes = tuple([name for name in graph.sizes if name not in self._fixed])
        self._inputs, self._outputs = executor.ports
        self._lock = ProcessLock()
        self._executors: list[Executor] = []
        self._arrays_of_words: list[Words] = []  # what words point to
        self._noted: set[tuple[int, ...]] = set()
        self._words = np.zeros(ProgramWord.FIRST_CONTEXT + MOST_CONTEXTS, np.int64)
        _words_of_process.append(self._words)
        self.data = address_of(self._words)
        self._answer = self._take_call
        ranks = self._keep([port.rank for port in self._inputs])
        self._is_locked = executor.has_parameters
        for word, value in (
            (ProgramWord.CALLS_AT, address_of(callables.calls())),
            (ProgramWord.IN_PYTHON, id(self._answer)),
            (ProgramWord.LOCKED, int(self._is_locked)),
            (ProgramWord.CALL, _code("call_program")),
            (ProgramWord.EXTENTS, _code("find_extents")),
            (ProgramWord.FEEDS, len(self._inputs)),
            (ProgramWord.RESULTS, len(self._outputs)),
            (ProgramWord.AXES, sum(port.rank for port in self._inputs)),
            (ProgramWord.RANKS_AT, ranks),
            (ProgramWord.SIZES, len(self.sizes)),
            (ProgramWord.VALUE, int(bool(self._outputs) and self._outputs[0].rank > 0)),
        ):
            self._words[word] = value
        self._add_context(
            executor.with_entry() if self._is_locked else self._copy_unlocked(executor)
        )

    def function(self, program: object, name: str) -> CFunction:
        """Return the C function of a signature, which keeps ``program`` alive.

        Raises:
            ArgumentError: the program is not what it wants.
        """
        signature = SIGNATURES[name]
        if signature.requirement and not self._fits(name):
            ports = [(port.dtype.name, port.rank) for port in (*self._inputs, *self._outputs)]
            texts = [f"{dtype} of {rank} axes" for dtype, rank in ports]
            count = len(self._inputs)
            raise ArgumentError(
                f"c_function({name!r}) takes a program of {signature.requirement}; this one has the"
                f" inputs {', '.join(texts[:count]) or 'none'} and the results"
                f" {', '.join(texts[count:])}",
                hint='f.c_function("arrays") takes any program',
            )
        return CFunction(program, _code(signature.function), self.data, signature)

    def _fits(self, name: str) -> bool:
        """Return whether a program of vectors of float64 has a signature."""
        ranks = [port.rank for port in self._inputs], [port.rank for port in self._outputs]
        if any(port.dtype != np.float64 for port in (*self._inputs, *self._outputs)):
            return False
        if name != "density":
            return ranks == ([1], [int(name == "map")])
        (x,) = self._graph.inputs[:1] or (None,)
        shapes = [kind.shape for kind in self._graph.output_types.values()]
        return (
            ranks[0] == [1] and sorted(ranks[1]) == [0, 1] and x is not None and x.shape in shapes
        )

    def retire(self) -> None:
        """Refuse calls from now on, and wait for those in other threads: the program is gone."""
        self._words[ProgramWord.GONE] = 1
        for executor in self._executors:
            if (entry := executor.native_entry) is not None:
                entry.close()

    # -- contexts ---------------------------------------------------------------------------------

    def _copy_unlocked(self, executor: Executor) -> Executor:
        return executor.without_lock(_set_in_order())

    def _add_context(self, executor: Executor) -> None:
        """Add an executor, and let native code use its entry."""
        self._executors.append(executor)
        entry = executor.native_entry
        if entry is not None:
            _words_of_process.append(entry.head)  # a call may be about to look at it
            number = int(self._words[ProgramWord.CONTEXTS])
            self._words[ProgramWord.FIRST_CONTEXT + number] = address_of(entry.head)
            at = self.data + 8 * ProgramWord.CONTEXTS
            _set_in_order()(at, number + 1, at)

    def _choose_executor(self, shapes: tuple[tuple[int, ...], ...]) -> Executor:
        """Return an executor that is free: at best one that has not run at these shapes."""
        with self._lock.mutex:
            if self._is_locked:
                return self._executors[0]
            free = [executor for executor in self._executors if not executor.is_busy]
            if not free and len(self._executors) < MOST_CONTEXTS:
                self._add_context(self._copy_unlocked(self._executors[0]))
                free = self._executors[-1:]
            new = [executor for executor in free if not executor.has_run(shapes)]
            return (new or free or self._executors)[0]

    # -- calls in Python --------------------------------------------------------------------------

    def _take_call(self, frame: int) -> int:
        """Do what a frame (``CallFrameWord``) requests; return a status."""
        try:
            request = _word(frame, CallFrameWord.REQUEST)
            if request == Request.SHAPES:
                self._find_shapes(frame)
            elif request == Request.EXTENTS:
                shapes = self._shapes_of_call(frame)
                extents = [n for shape in self._executors[0].shapes(shapes) for n in shape]
                _write(_word(frame, CallFrameWord.RESULTS_AT), extents)
            else:
                self._run(frame)
        except BaseException as error:
            return status_of(error)
        return Status.DONE

    def _run(self, frame: int) -> None:
        """Run a call over its arrays in an executor, whose native entry has its sizes then."""
        shapes = self._shapes_of_call(frame)
        feeds = _arrays(_word(frame, CallFrameWord.FEEDS_AT), self._inputs, shapes)
        for feed in feeds.values():
            feed.flags.writeable = False
        result_shapes = self._executors[0].shapes(shapes)
        results_at = _word(frame, CallFrameWord.RESULTS_AT)
        results = _arrays(results_at, self._outputs, result_shapes)
        self._choose_executor(shapes).run(feeds, results)

    def _shapes_of_call(self, frame: int) -> tuple[tuple[int, ...], ...]:
        shapes_at = _word(frame, CallFrameWord.SHAPES_AT)
        return tuple(
            [
                tuple([_word(_word(shapes_at, number), axis) for axis in range(port.rank)])
                for number, port in enumerate(self._inputs)
            ]
        )

    def _find_shapes(self, frame: int) -> None:
        """Write the extents of all inputs at the sizes of a call, and note them."""
        sizes_at = _word(frame, CallFrameWord.SIZES_AT)
        values = [_word(sizes_at, number) for number in range(len(self.sizes))]
        sizes = {**self._fixed, **dict(zip(self.sizes, values, strict=True))}
        shapes = [concrete_shape(fed_type(value).shape, sizes) for value in self._graph.inputs]
        extents = [n for shape in shapes for n in shape]
        _write(_word(frame, CallFrameWord.SHAPES_AT), extents)
        with self._lock.mutex:
            if len(self._noted) < MOST_SHAPES and (key := tuple(values)) not in self._noted:
                self._noted.add(key)
                self._note_shapes(values, shapes)

    def _note_shapes(self, sizes: Sequence[int], shapes: Sequence[tuple[int, ...]]) -> None:
        """Let native code find the shapes of the inputs at these sizes."""
        addresses = [self._keep(list(shape)) for shape in shapes]
        head = [int(self._words[ProgramWord.SHAPES]), self._keep(addresses)]
        at = self.data + 8 * ProgramWord.SHAPES
        _set_in_order()(at, self._keep([*head, *sizes]), at)

    def _keep(self, words: list[int]) -> int:
        """Return the address of some words, which live as long as this does."""
        self._arrays_of_words.append(np.array([*words, 0], np.int64))
        return address_of(self._arrays_of_words[-1])


def _word(address: int, number: int) -> int:
    return int(_I64.from_address(address + 8 * number).value)


def _write(address: int, words: Sequence[int]) -> None:
    for number, word in enumerate(words):
        _I64.from_address(address + 8 * number).value = word


def _arrays(
    addresses: int, ports: Sequence[Port], shapes: Sequence[tuple[int, ...]]
) -> dict[str, npt.NDArray[Any]]:
    """View the memory of a caller as arrays, by name."""
    arrays = {}
    for number, (port, shape) in enumerate(zip(ports, shapes, strict=True)):
        array = np.empty(shape, port.dtype)
        if array.nbytes:
            memory: Any = (ctypes.c_char * array.nbytes).from_address(_word(addresses, number))
            array = np.frombuffer(memory, port.dtype).reshape(shape)
        arrays[port.name] = array
    return arrays
