"""The floating-point environment of the calling thread: rounding, denormals, traps.

The driver sets the default one around native code by itself. This is for the arithmetic that NumPy
and Python do on a program's behalf: feeds that are converted, constants that are folded, kernels
that run as plain Python. It goes by the C library; where that is unknown, nothing is changed.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_Room: Final = ctypes.c_char * 64  # for any C library's fenv_t


@contextmanager
def default_environment() -> Iterator[None]:
    """Run a block in the default floating-point environment: round to nearest, keep denormals."""
    library_and_default = _library()
    if library_and_default is None:
        yield
        return
    library, default = library_and_default
    saved = _Room()
    library.fegetenv(saved)
    try:
        library.fesetenv(default)  # inside: an interrupt may come right behind it
        yield
    finally:
        library.fesetenv(saved)


@functools.cache
def _library() -> tuple[Any, ctypes.c_void_p] | None:
    """Return the C library (fegetenv, fesetenv) and its default floating-point environment."""
    try:
        library = ctypes.PyDLL(None)
        library.fegetenv.argtypes = library.fesetenv.argtypes = (ctypes.c_void_p,)
        if sys.platform == "darwin":
            place = ctypes.addressof(ctypes.c_char.in_dll(library, "_FE_DFL_ENV"))
            return library, ctypes.c_void_p(place)
    except (AttributeError, OSError, ValueError):
        return None
    return (library, ctypes.c_void_p(-1)) if sys.platform == "linux" else None
