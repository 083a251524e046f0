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
from staticgrad.native.lock import LOCK
from staticgrad.records import dataclass

_SYMBOL: Final = "sg_blas_threads"
#: ``state``: a lock, the calls that run now, the number of threads before them, and the addresses
#: of the library's functions that tell the number and set it; those are 0 where it has none.
_TEXT: Final = """
define void @sg_blas_threads(ptr %state, i64 %leaves) #0 {
entry:
  %get.place = getelementptr i64, ptr %state, i64 3
  %get = load ptr, ptr %get.place, align 8
  %none = icmp eq ptr %get, null
  br i1 %none, label %done, label %try
try:
  %swapped = cmpxchg ptr %state, i64 0, i64 1 acquire monotonic
  %taken = extractvalue { i64, i1 } %swapped, 1
  br i1 %taken, label %inside, label %try
inside:
  %set.place = getelementptr i64, ptr %state, i64 4
  %set = load ptr, ptr %set.place, align 8
  %calls.place = getelementptr i64, ptr %state, i64 1
  %calls = load i64, ptr %calls.place, align 8
  %saved.place = getelementptr i64, ptr %state, i64 2
  %is.leaving = icmp ne i64 %leaves, 0
  br i1 %is.leaving, label %leave, label %enter
enter:
  %more = add i64 %calls, 1
  store i64 %more, ptr %calls.place, align 8
  %is.first = icmp eq i64 %calls, 0
  br i1 %is.first, label %lower, label %release
lower:
  %before = call i32 %get()
  %before.word = sext i32 %before to i64
  store i64 %before.word, ptr %saved.place, align 8
  %is.one = icmp eq i32 %before, 1
  br i1 %is.one, label %release, label %set.one
set.one:
  call void %set(i32 1)
  br label %release
leave:
  %fewer = sub i64 %calls, 1
  store i64 %fewer, ptr %calls.place, align 8
  %is.last = icmp eq i64 %fewer, 0
  br i1 %is.last, label %raise, label %release
raise:
  %saved.word = load i64, ptr %saved.place, align 8
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
    """A module of ``scipy.linalg`` that is a library, without the package around it.

    The package imports a tenth of a second of Python that nobody here calls. Who imports the module
    later gets this object.
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
    """What a capsule holds."""
    name, pointer = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, name(capsule)))


@cache
def _threads() -> tuple[Any, Any] | None:
    """SciPy's functions that tell and set how many threads its BLAS has; None if there are none."""
    # A name is looked for in what it links to, too.
    library = ctypes.CDLL(_module("cython_lapack").__file__)
    for prefix in ("scipy_openblas", "openblas"):
        get, put = (
            getattr(library, f"{prefix}_{verb}_num_threads", None) for verb in ("get", "set")
        )
        if get is not None and put is not None:
            return get, put
    return None


@cache
def _state() -> Any:
    state, found = (ctypes.c_int64 * 5)(), _threads()
    if found is not None:
        state[3], state[4] = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in found)
    return state


def guard() -> ThreadGuard:
    """What keeps the library to one thread while steps call it."""
    return _native_guard() if config.current().jit else python_guard()


@cache
def _native_guard() -> ThreadGuard:
    from staticgrad.native import object_code
    from staticgrad.native.jit import compile_ir

    with LOCK:
        made, _ = object_code(
            _TEXT, _SYMBOL, lambda host: compile_ir([_TEXT], _SYMBOL, host), config.current()
        )
    return ThreadGuard(made, ctypes.addressof(_state()))


@cache
def python_guard() -> ThreadGuard:
    """The same as Python code."""
    lock, running, found = threading.Lock(), [0, 1], _threads()

    def change(_state: int, leaves: int) -> None:
        if found is None:
            return
        get, put = found
        with lock:
            if not leaves and running[0] == 0:
                running[1] = get()
                put(1)
            running[0] += -1 if leaves else 1
            if running[0] == 0:
                put(running[1])

    callback = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(change)
    return ThreadGuard(ctypes.cast(callback, ctypes.c_void_p).value or 0, 0, callback)
