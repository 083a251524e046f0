"""Whether the process may still have memory that LLVM is going to ask for.

Where LLVM gets no memory for code it ends the process, so that is asked before. What is asked for
is address space, which limits (``ulimit -v``) and systems that promise no more than they have
refuse; it is given back untouched. A container that is killed when it touches too much cannot be
foreseen so.
"""

from __future__ import annotations

import mmap
from typing import Final

from staticgrad.errors import OutOfMemory

MIB: Final = 1 << 20
#: What it takes, with a margin of several times, to compile a kernel, for which LLVM asks for some
#: 6 MiB, and to load one that is compiled.
COMPILE, LOAD = 64 * MIB, 32 * MIB
#: What loading takes: llvmlite's library is 160 MiB, Numba's modules 60, and both then compile.
LLVM, NUMBA = 192 * MIB + COMPILE, 96 * MIB + COMPILE


def is_there(nbytes: int) -> bool:
    """Whether the system would give so much now."""
    try:
        mmap.mmap(-1, nbytes).close()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def require(nbytes: int, purpose: str) -> None:
    """Raises OutOfMemory where the system would not give so much for ``purpose``."""
    if not is_there(nbytes):
        raise too_little(f"{purpose} may take {nbytes // MIB} MiB, which the system does not give")


def too_little(text: str) -> OutOfMemory:
    """The error, which says what helps."""
    return OutOfMemory(
        text, hint="allow the process more address space (ulimit -v); nothing was compiled or run"
    )
