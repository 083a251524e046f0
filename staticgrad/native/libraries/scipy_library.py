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
from functools import cache
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, Final

from staticgrad import config
from staticgrad.forks import AtFork, ProcessLock
from staticgrad.native.lock import LOCK
from staticgrad.records import dataclass

_SYMBOL: Final = "sg_blas_threads"
#: Words of its state: 1 while the others are used; the calls that run now; the number of threads
#: before them; forks under way; then addresses: of the library's functions that get and set its
#: number of threads (0 where it has none), and of the C library's.
_LOCK, _CALLS, _SAVED, _FORKS, _GET, _SET, _YIELD, _AT_FORK, _WORDS = range(9)
#: ``sg_blas_threads(state, change)`` begins a call of the library (0), ends one (1), or installs
#: the handlers of forks (2). A fork waits until no call runs, since locks of OpenBLAS that one of
#: its threads holds would stay locked in the child. C runs the handlers right before and after the
#: fork. A hook in Python would be too early: until the fork another thread could get the
#: interpreter, begin a call, and wait there for the thread that forks.
_TEXT: Final = """
@sg_blas_state = internal global ptr null

define internal void @sg_blas_pause(ptr %state) #0 {
  %yield.at = getelementptr i64, ptr %state, i64 6
  %yield = load ptr, ptr %yield.at, align 8
  %ignored = call i32 %yield()
  ret void
}

define internal void @sg_blas_lock(ptr %state) #0 {
entry:
  br label %try
try:
  %swapped = cmpxchg ptr %state, i64 0, i64 1 acquire monotonic
  %taken = extractvalue { i64, i1 } %swapped, 1
  br i1 %taken, label %done, label %wait
wait:
  call void @sg_blas_pause(ptr %state)
  br label %try
done:
  ret void
}

define internal void @sg_blas_before_fork() #0 {
entry:
  %state = load ptr, ptr @sg_blas_state, align 8
  %forks.at = getelementptr i64, ptr %state, i64 3
  %calls.at = getelementptr i64, ptr %state, i64 1
  %old = atomicrmw add ptr %forks.at, i64 1 seq_cst, align 8
  br label %look
look:
  call void @sg_blas_lock(ptr %state)
  %calls = load i64, ptr %calls.at, align 8
  store atomic i64 0, ptr %state release, align 8
  %is.idle = icmp eq i64 %calls, 0
  br i1 %is.idle, label %done, label %wait
wait:
  call void @sg_blas_pause(ptr %state)
  br label %look
done:
  ret void
}

define internal void @sg_blas_after_fork() #0 {
  %state = load ptr, ptr @sg_blas_state, align 8
  %forks.at = getelementptr i64, ptr %state, i64 3
  %old = atomicrmw sub ptr %forks.at, i64 1 seq_cst, align 8
  ret void
}

define internal void @sg_blas_after_fork_in_child() #0 {
  %state = load ptr, ptr @sg_blas_state, align 8
  %forks.at = getelementptr i64, ptr %state, i64 3
  store i64 0, ptr %forks.at, align 8
  store i64 0, ptr %state, align 8
  ret void
}

define void @sg_blas_threads(ptr %state, i64 %change) #0 {
entry:
  %get.at = getelementptr i64, ptr %state, i64 4
  %get = load ptr, ptr %get.at, align 8
  %set.at = getelementptr i64, ptr %state, i64 5
  %set = load ptr, ptr %set.at, align 8
  %calls.at = getelementptr i64, ptr %state, i64 1
  %saved.at = getelementptr i64, ptr %state, i64 2
  %forks.at = getelementptr i64, ptr %state, i64 3
  %installs = icmp eq i64 %change, 2
  br i1 %installs, label %install, label %lock
install:
  store ptr %state, ptr @sg_blas_state, align 8
  %register.at = getelementptr i64, ptr %state, i64 7
  %register = load ptr, ptr %register.at, align 8
  %failed = call i32 %register(ptr @sg_blas_before_fork, ptr @sg_blas_after_fork,
                               ptr @sg_blas_after_fork_in_child, ptr null)
  br label %done
lock:
  call void @sg_blas_lock(ptr %state)
  %calls = load i64, ptr %calls.at, align 8
  %begins = icmp eq i64 %change, 0
  br i1 %begins, label %begin, label %end
begin:
  %forks = load atomic i64, ptr %forks.at seq_cst, align 8
  %is.forking = icmp ne i64 %forks, 0
  br i1 %is.forking, label %wait, label %enter
wait:
  store atomic i64 0, ptr %state release, align 8
  call void @sg_blas_pause(ptr %state)
  br label %lock
enter:
  %more = add i64 %calls, 1
  store i64 %more, ptr %calls.at, align 8
  %none = icmp eq ptr %get, null
  %is.later = icmp ne i64 %calls, 0
  %stays = or i1 %none, %is.later
  br i1 %stays, label %release, label %lower
lower:
  %before = call i32 %get()
  %before.word = sext i32 %before to i64
  store i64 %before.word, ptr %saved.at, align 8
  %is.one = icmp eq i32 %before, 1
  br i1 %is.one, label %release, label %set.one
set.one:
  call void %set(i32 1)
  br label %release
end:
  %fewer = sub i64 %calls, 1
  store i64 %fewer, ptr %calls.at, align 8
  %go.on = icmp ne i64 %fewer, 0
  %has.none = icmp eq ptr %get, null
  %remains = or i1 %go.on, %has.none
  br i1 %remains, label %release, label %raise
raise:
  %saved.word = load i64, ptr %saved.at, align 8
  %saved = trunc i64 %saved.word to i32
  %was.one = icmp eq i32 %saved, 1
  br i1 %was.one, label %release, label %set.saved
set.saved:
  call void %set(i32 %saved)
  br label %release
release:
  store atomic i64 0, ptr %state release, align 8
  br label %done
done:
  ret void
}
"""


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
        capsule = _module(module).__pyx_capi__.get(name)
        if capsule is not None:
            return _pointer_of(capsule)
    raise KeyError(name)


@cache
def _module(name: str) -> Any:
    """Return a module of ``scipy.linalg`` that is a library, without importing the package.

    The package takes a tenth of a second to import Python code that is not called here. Later
    imports of the module return this object.
    """
    full = f"scipy.linalg.{name}"
    with LOCK:
        package = find_spec("scipy") if "scipy.linalg" not in sys.modules else None
        places = package.submodule_search_locations if package else None
        folders = [str(Path(place) / "linalg") for place in places or ()]
        found = PathFinder.find_spec(full, folders) if folders else None
        if found is None or not isinstance(found.loader, ExtensionFileLoader):
            return import_module(full)
        module = module_from_spec(found)
        found.loader.exec_module(module)
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
    """Functions of SciPy's OpenBLAS; None if it has another BLAS."""
    # A name is looked for in what it links to, too.
    library = ctypes.PyDLL(_module("cython_lapack").__file__)
    for prefix in ("scipy_openblas", "openblas"):
        functions = [getattr(library, f"{prefix}_{name}", None) for name in names]
        if None not in functions:
            return tuple(functions)
    return None


class _NativeGuard(AtFork):
    """The words of ``sg_blas_threads``. Its own handlers, above, reset them in a child."""

    def __init__(self) -> None:
        super().__init__()
        self.words, process = (ctypes.c_int64 * _WORDS)(), ctypes.CDLL(None)
        # glibc has the second only, to which the C compiler's headers lead.
        at_fork = getattr(process, "pthread_atfork", None) or process["__register_atfork"]
        functions = {_YIELD: process.sched_yield, _AT_FORK: at_fork}
        functions.update(zip((_GET, _SET), _threads() or (), strict=False))
        for place, function in functions.items():
            self.words[place] = ctypes.cast(function, ctypes.c_void_p).value or 0

    def is_busy(self) -> bool:
        return any(self.words[place] for place in (_LOCK, _CALLS, _FORKS))


@cache
def core() -> str:
    """The processor whose kernels SciPy's OpenBLAS runs: results have other bits on another.

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
    from staticgrad.native import object_code
    from staticgrad.native.jit import compile_ir

    with LOCK:
        made, _ = object_code(
            _TEXT, _SYMBOL, lambda host: compile_ir([_TEXT], _SYMBOL, host), config.current()
        )
    state = _NativeGuard()
    address = ctypes.addressof(state.words)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(made)(address, 2)
    return ThreadGuard(made, address, state)


class _PythonGuard(AtFork):
    """The same as Python code: threads that call the library, and its number of threads before.

    Calls from Python hold the interpreter, so that no thread forks in the middle of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock, self._callers, self._before = ProcessLock(), set[int](), 1
        none: tuple[Any, Any] = lambda: 1, lambda _: None
        self._get, self._set = _threads() or none

    def change(self, _state: int, change: int) -> None:
        with self._lock.taken:
            if change == 1:
                self._callers.discard(threading.get_ident())
            else:
                self._before = self._before if self._callers else self._get()
                self._callers.add(threading.get_ident())
            self._set(1 if self._callers else self._before)

    def after_fork_in_child(self) -> None:
        if self._callers:
            self._callers &= {threading.get_ident()}
            self._set(1 if self._callers else self._before)

    def is_busy(self) -> bool:
        return bool(self._callers)


@cache
def python_guard() -> ThreadGuard:
    """The same as Python code."""
    change = _PythonGuard().change
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(change)
    return ThreadGuard(ctypes.cast(callback, ctypes.c_void_p).value or 0, 0, callback)
