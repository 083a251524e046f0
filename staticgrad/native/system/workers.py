"""The C functions and system calls that the pool's threads need.

macOS has other calls to wait at an address, and no affinity: a process has no workers there.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

from staticgrad.native.system.pages import library

#: The number of Linux's futex by the name of the processor.
FUTEX: Final = {"x86_64": 202, "aarch64": 98}
_WAKE_PRIVATE: Final = 129
_EVERYBODY: Final = 2**31 - 1
#: Words of the pool -> the C functions whose addresses they hold.
C_FUNCTIONS: Final = {
    "create": "pthread_create",
    "mask": "pthread_sigmask",
    "syscall": "syscall",
    "yield": "sched_yield",
    "clock": "clock_gettime",
    "getcpu": "sched_getcpu",
    "getaffinity": "sched_getaffinity",
    "setaffinity": "sched_setaffinity",
}


def are_possible() -> bool:
    """Return whether this system can have workers."""
    return sys.platform == "linux" and os.uname().machine in FUTEX


class ThreadLibrary:
    """The C functions that start, wake and join threads."""

    def __init__(self) -> None:
        self._library = library()
        self._library.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]

    def addresses(self) -> dict[str, int]:
        """Return the address of each C function by the pool's word for it."""
        functions = {word: getattr(self._library, name) for word, name in C_FUNCTIONS.items()}
        return {
            word: ctypes.cast(function, ctypes.c_void_p).value or 0
            for word, function in functions.items()
        }

    def wake_all(self, place: int) -> None:
        """Wake all threads that wait for the 32-bit word at an address to change."""
        number = FUTEX[os.uname().machine]
        word = ctypes.c_void_p(place)
        self._library.syscall(number, word, _WAKE_PRIVATE, _EVERYBODY, None, None, 0)

    def join(self, thread: int) -> None:
        """Wait until a thread of pthread_create has ended."""
        self._library.pthread_join(thread, None)
