"""Checks that the process may still allocate the memory that LLVM will need.

LLVM ends the process if it gets no memory for code, so this is checked before. The check allocates
address space, which limits (``ulimit -v``) and systems without overcommit refuse, and frees it
untouched. It cannot foresee that a container is killed when it touches too much memory. For stacks,
on which kernels store packed panels, the limits are read.
"""

from __future__ import annotations

import mmap
import resource
import threading
from typing import Final

from staticgrad.errors import OutOfMemory

MIB: Final = 1 << 20
#: What it takes, with a margin of several times, to compile a kernel, for which LLVM asks for some
#: 6 MiB, and to load one that is compiled.
COMPILE, LOAD = 64 * MIB, 32 * MIB
#: What loading llvmlite takes, whose library is 160 MiB, and which then compiles.
LLVM = 192 * MIB + COMPILE
#: What a thread that runs kernels may need: each product keeps up to 256 KiB of panels.
STACK = MIB


def is_there(nbytes: int) -> bool:
    """Return whether the system would allocate so many bytes now."""
    try:
        mmap.mmap(-1, nbytes).close()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def require(nbytes: int, purpose: str) -> None:
    """Raises OutOfMemory where the system would not give so much for ``purpose``."""
    if not is_there(nbytes):
        raise too_little(f"{purpose} may take {nbytes // MIB} MiB, which the system does not give")


def require_stack() -> None:
    """Refuse to run kernels on threads with too small a stack: raise OutOfMemory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    least = min((size for size in (limit, threading.stack_size()) if size > 0), default=STACK)
    if least < STACK:
        raise OutOfMemory(
            f"threads have stacks of {least // 1024} KiB, and kernels may take {STACK // 1024}",
            hint="threading.stack_size(1 << 20) or more, ulimit -s 1024 or more",
        )


def too_little(text: str) -> OutOfMemory:
    """Return the error, with a hint."""
    return OutOfMemory(
        text, hint="allow the process more address space (ulimit -v); nothing was compiled or run"
    )
