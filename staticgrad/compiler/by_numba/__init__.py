"""The lowering to Numba: a kernel as plain loops that a person would write, and its machine code.

``backend="numba"`` is this folder, as another package would register one: ``compile_kernel`` takes
a ``Kernel`` and gives ``Code``. Exported files have kernels in the same form, with the functions
that they call (``prelude``). Importing the package imports no Numba; compiling does.
"""

from __future__ import annotations

import sys
import time
from typing import Final, Literal

from staticgrad import native
from staticgrad.compiler.by_numba.kernels import may_fail, source
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.support import config

__all__ = ["as_text", "compile_kernel", "compile_text", "may_fail", "source"]

#: Bytes that Numba's modules take, with a margin.
_MODULES: Final = 96 << 20


def compile_kernel(kernel: Kernel) -> native.Code:
    """Compile a kernel's plain loops by Numba, or load what Numba keeps on disk.

    Raises CompileError when Numba does not take it, OutOfMemory where there is too little memory to
    compile it.
    """
    return compile_text(source(kernel))


def compile_text(text: str) -> native.Code:
    """Compile a text of plain loops, whose last function is the entry; raises as for a kernel."""
    from staticgrad.native import headroom
    from staticgrad.native.undisturbed import run_uninterrupted

    with native.compiling():
        start, settings = time.perf_counter(), config.current()
        modules = 0 if "numba" in sys.modules else _MODULES
        headroom.require(headroom.COMPILE + modules, "compiling a kernel by Numba")
        from staticgrad.compiler.by_numba import loops

        code = run_uninterrupted(lambda: loops.compile_entry(text, settings))
    return native.Code(
        code.native_name, code.address, text, "numba", "disk" if code.cache_hits else "compiled",
        time.perf_counter() - start, code, fails=may_fail(text),
    )  # fmt: skip


def as_text(text: str, form: Literal["llvm", "asm"]) -> str:
    """Return the LLVM IR or the assembly that Numba makes of a text of plain loops."""
    from staticgrad.native.undisturbed import run_uninterrupted

    with native.compiling():
        from staticgrad.compiler.by_numba import loops

        return run_uninterrupted(lambda: loops.as_text(text, config.current(), form))
