"""Pages of memory for machine code, and the functions of the C library."""

from __future__ import annotations

import ctypes
import functools
import mmap
from typing import Any

from staticgrad.errors import OutOfMemory


def allocate_pages(nbytes: int) -> int:
    """Return the address of new pages, which are zero; raise OutOfMemory if there are none."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    address = library().mmap(None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if address in (None, ctypes.c_size_t(-1).value):
        raise OutOfMemory("the system gives no memory for compiled code")
    return int(address)


def free_pages(address: int, nbytes: int) -> None:
    """Give pages back to the system; nothing may read or run them from now on."""
    library().munmap(address, nbytes)


def load_code(code: bytes) -> int:
    """Return the address of machine code of x86-64 in new pages.

    Other processors would have to empty their caches of instructions first.

    Raises:
        OutOfMemory: the system gives no memory, or does not let code run in it.
    """
    base = allocate_pages(len(code))
    ctypes.memmove(base, code, len(code))
    protect_pages(base, len(code), mmap.PROT_READ | mmap.PROT_EXEC)
    return base


def protect_pages(address: int, nbytes: int, protection: int) -> None:
    """Set what may be done with pages (mmap's PROT_ constants); raise OutOfMemory if refused."""
    if library().mprotect(address, nbytes, protection):
        raise OutOfMemory("the system does not let compiled code run (mprotect)")


@functools.cache
def library() -> Any:
    """Return the C library with the types of mmap, munmap and mprotect."""
    library = ctypes.CDLL(None, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    library.mmap.argtypes = (address, size, number, number, number, ctypes.c_long)
    library.mmap.restype = address
    library.munmap.argtypes = (address, size)
    library.mprotect.argtypes = (address, size, number)
    return library


def function_address(name: str) -> int:
    """Return the address of a function of the C library or another one that is loaded; 0: none."""
    function = getattr(library(), name, None)
    return 0 if function is None else int(ctypes.cast(function, ctypes.c_void_p).value or 0)
