"""LAPACK and BLAS as SciPy has them: addresses of their functions, and one thread while they run.

SciPy exports its functions for Cython; nothing is linked, and two of its modules are loaded by the
first program that calls one. All arguments are pointers, as Fortran passes them. SciPy's wheels
bring an OpenBLAS of their own, which splits work by the number of its threads, and results have
other bits then. So it works on one thread while one of our steps calls it, and with its former
number afterwards: ``guard`` counts the calls that run now. Elsewhere (Accelerate, MKL) the number
of threads is the library's.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from enum import IntEnum
from functools import cache
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from staticgrad.native import address_of
from staticgrad.native.lock import LOCK
from staticgrad.native.source import PythonSource, RuntimeCode
from staticgrad.native.table.control_code import at, store_word
from staticgrad.support import config
from staticgrad.support.forks import AtFork, ProcessLock
from staticgrad.support.records import dataclass

if TYPE_CHECKING:
    from staticgrad.native.language.typed import (
        call,
        called0,
        called4,
        code_of_after_fork,
        code_of_after_fork_in_child,
        code_of_before_fork,
        fetch_add,
        load_acquire,
        load_in_order,
        ptr_i64,
        root,
        status0,
        store_release,
        swap_if,
    )


class GuardWord(IntEnum):
    """Words of the guard's state, functions by their addresses."""

    LOCK = 0  # 1 while the others are used
    CALLS = 1  # that run now
    SAVED = 2  # the number of threads before them
    FORKS = 3  # under way
    GET_THREADS = 4  # of the library, 0 where it has none
    SET_THREADS = 5
    YIELD = 6
    AT_FORK = 7


def word_at(state: int, number: int) -> int:
    """Return a word of the state."""
    return at(ptr_i64(state), number)


def take(state: int) -> None:
    """Take the lock of the state."""
    while not swap_if(state, 0, 1):
        called0(word_at(state, GuardWord.YIELD))


def give(state: int) -> None:
    """Give the lock back."""
    store_release(state, 0)


def pause_of(state: int) -> None:
    """Let another thread have the lock."""
    give(state)
    called0(word_at(state, GuardWord.YIELD))
    take(state)


def before_fork() -> None:
    """Hold back BLAS calls before a fork, and wait until none runs.

    Locks of OpenBLAS that one of its threads holds would stay locked in the child. C runs the
    handlers right before and after the fork. A hook in Python would be too early: until the fork
    another thread could get the interpreter, begin a call, and wait there for the thread that
    forks.
    """
    state = load_acquire(root())
    fetch_add(state + 8 * GuardWord.FORKS, 1)
    take(state)
    while word_at(state, GuardWord.CALLS) != 0:
        pause_of(state)
    give(state)


def after_fork() -> None:
    """Count that a fork is over, in the parent."""
    fetch_add(load_acquire(root()) + 8 * GuardWord.FORKS, -1)


def after_fork_in_child() -> None:
    """Count that no fork is under way, in the child, and give the lock back."""
    state = load_acquire(root())
    store_release(state + 8 * GuardWord.FORKS, 0)
    give(state)


def guard_call(state: int, change: int) -> None:
    """Begin (0) or end (1) a BLAS call on one thread, or install the handlers of forks (2)."""
    if change == 2:
        store_release(root(), state)
        prepare = code_of_before_fork()
        in_parent = code_of_after_fork()
        in_child = code_of_after_fork_in_child()
        called4(word_at(state, GuardWord.AT_FORK), prepare, in_parent, in_child, 0)
        return
    take(state)
    words = ptr_i64(state)
    if change == 0:
        while load_in_order(state + 8 * GuardWord.FORKS) != 0:
            pause_of(state)
        calls = at(words, GuardWord.CALLS)
        store_word(words, GuardWord.CALLS, calls + 1)
        if calls == 0 and at(words, GuardWord.GET_THREADS) != 0:
            threads = status0(at(words, GuardWord.GET_THREADS))
            store_word(words, GuardWord.SAVED, threads)
            if threads != 1:
                call(at(words, GuardWord.SET_THREADS), 1)
    else:
        calls = at(words, GuardWord.CALLS)
        store_word(words, GuardWord.CALLS, calls - 1)
        saved = at(words, GuardWord.SAVED)
        if calls == 1 and saved != 1 and at(words, GuardWord.GET_THREADS) != 0:
            call(at(words, GuardWord.SET_THREADS), saved)
    give(state)


@dataclass(frozen=True)
class ThreadGuard:
    """``function(state, leaves)``: called with 0 before the library, with 1 after it."""

    function: int
    state: int
    keep: object = None


@cache
def address(name: str) -> int:
    """The address of a function of LAPACK or BLAS, ``dpotrf``, which takes pointers alone."""
    for module in ("cython_lapack", "cython_blas"):
        capsule = _load_module(module).__pyx_capi__.get(name)
        if capsule is not None:
            return _pointer_of(capsule)
    raise KeyError(name)


@cache
def _load_module(name: str) -> Any:
    """Load a compiled module of ``scipy.linalg`` without importing the package.

    The package takes a tenth of a second to import Python code that is not called here. Later
    imports of the module return this object.
    """
    full = f"scipy.linalg.{name}"
    with LOCK:
        package = find_spec("scipy") if "scipy.linalg" not in sys.modules else None
        places = package.submodule_search_locations if package else None
        folders = [str(Path(place) / "linalg") for place in places or ()]
        spec = PathFinder.find_spec(full, folders) if folders else None
        if spec is None or not isinstance(spec.loader, ExtensionFileLoader):
            return import_module(full)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        # It enters itself there; but an import would then leave it out of its package.
        sys.modules.pop(full, None)
        return module


def _pointer_of(capsule: object) -> int:
    """Return the pointer in a capsule."""
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, name(capsule)))


def _blas_functions(*names: str) -> tuple[Any, ...] | None:
    """Look up functions of SciPy's OpenBLAS by ctypes; None for another BLAS."""
    # A name is looked for in what it links to, too.
    library = ctypes.PyDLL(_load_module("cython_lapack").__file__)
    for prefix in ("scipy_openblas", "openblas"):
        functions = [getattr(library, f"{prefix}_{name}", None) for name in names]
        if None not in functions:
            return tuple(functions)
    return None


class _NativeGuard(AtFork):
    """The words of ``sg_blas_threads``. Its own handlers, above, reset them in a child."""

    def __init__(self) -> None:
        super().__init__()
        self.words, process = (ctypes.c_int64 * len(GuardWord))(), ctypes.CDLL(None)
        # glibc has the second only, to which the C compiler's headers lead.
        at_fork = getattr(process, "pthread_atfork", None) or process["__register_atfork"]
        functions = {GuardWord.YIELD: process.sched_yield, GuardWord.AT_FORK: at_fork}
        thread_words = GuardWord.GET_THREADS, GuardWord.SET_THREADS
        functions.update(zip(thread_words, _threads() or (), strict=False))
        for place, function in functions.items():
            self.words[place] = ctypes.cast(function, ctypes.c_void_p).value or 0

    def is_busy(self) -> bool:
        busy = GuardWord.LOCK, GuardWord.CALLS, GuardWord.FORKS
        return any(self.words[word] for word in busy)


@cache
def core() -> str:
    """Return the processor core whose kernels OpenBLAS uses: bits of results depend on it.

    The environment variable OPENBLAS_CORETYPE selects it. "unknown" if it is not OpenBLAS.
    """
    functions = _blas_functions("get_corename")
    if functions is None:
        return "unknown"
    (name,) = functions
    name.restype = ctypes.c_char_p
    return str(name().decode())


@cache
def _threads() -> tuple[Any, ...] | None:
    """Return SciPy's functions that get and set its BLAS's number of threads, or None."""
    return _blas_functions("get_num_threads", "set_num_threads")


def guard() -> ThreadGuard:
    """Return the guard that limits the library to one thread while steps call it."""
    return _native_guard() if config.current().jit else python_guard()


@cache
def _native_guard() -> ThreadGuard:
    """Compile the guard that sets OpenBLAS to one thread while native code calls it."""
    handlers = {
        handler.__name__: RuntimeCode(f"sg_blas_{handler.__name__}", PythonSource(handler))
        for handler in (before_fork, after_fork, after_fork_in_child)
    }
    with LOCK:
        function = address_of(RuntimeCode("sg_blas_threads", PythonSource(guard_call), handlers))
    state = _NativeGuard()
    address = ctypes.addressof(state.words)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(function)(address, 2)
    return ThreadGuard(function, address, state)


class _PythonGuard(AtFork):
    """The same as Python code: threads that call the library, and its number of threads before.

    Calls from Python hold the interpreter, so that no thread forks in the middle of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._callers, self._threads_before = ProcessLock(), set[int](), 1
        none: tuple[Any, Any] = lambda: 1, lambda _: None
        self._get, self._set = _threads() or none

    def change(self, _state: int, change: int) -> None:
        """Set OpenBLAS to one thread for the first caller, and restore it after the last."""
        with self._lock.mutex:
            if change == 1:
                self._callers.discard(threading.get_ident())
            else:
                self._threads_before = self._threads_before if self._callers else self._get()
                self._callers.add(threading.get_ident())
            self._set(1 if self._callers else self._threads_before)

    def after_fork_in_child(self) -> None:
        if self._callers:
            self._callers &= {threading.get_ident()}
            self._set(1 if self._callers else self._threads_before)

    def is_busy(self) -> bool:
        return bool(self._callers)


@cache
def python_guard() -> ThreadGuard:
    """The same as Python code."""
    change = _PythonGuard().change
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(change)
    return ThreadGuard(ctypes.cast(callback, ctypes.c_void_p).value or 0, 0, callback)
