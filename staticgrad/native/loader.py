"""Loads compiled objects into the process and gives the addresses of their entries.

One LLVM execution engine, which owns a target machine of its own, takes all objects. Objects are
read before they are handed over: an entry that is missing or a symbol that nobody defines is an
error here, where LLVM would end the process. Needs llvmlite, never Numba.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from staticgrad.errors import CompileError
from staticgrad.native import elf, headroom, target as targets
from staticgrad.native.lock import LOCK
from staticgrad.native.target import Target
from staticgrad.native.undisturbed import undisturbed

LIBRARY_SYMBOLS: Final = frozenset(
    {"memset", "memcpy", "memmove", "fmod", "fmodf", "_GLOBAL_OFFSET_TABLE_"}
)
"""What compiled code may call outside itself: the C library's."""

_ONE_ARGUMENT: Final = (
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp exp2 expm1 log log2 log10 "
    "log1p sqrt cbrt floor ceil trunc round rint nearbyint erf erfc lgamma tgamma"
)
MATH_SYMBOLS: Final = frozenset(
    name + width
    for name in (*_ONE_ARGUMENT.split(), "atan2", "pow", "hypot", "copysign", "fma", "ldexp")
    for width in ("", "f")
)
"""What a user's own scalar code may call too, where the process has it: the C math library's."""

_engines: dict[str, Any] = {}
_addresses: dict[str, int] = {}


def _engine(target: Target) -> Any:
    found = _engines.get(target.key)
    if found is None:
        llvm = targets.binding()
        host = llvm.parse_assembly(f'target triple = "{target.triple}"\n')
        found = _engines[target.key] = llvm.create_mcjit_compiler(host, targets.machine(target))
    return found


def check(code: bytes, symbol: str) -> None:
    """Raises CompileError unless the object defines ``symbol`` and wants only library symbols."""
    try:
        found = elf.symbols(code)
    except ValueError as error:
        raise CompileError(f"a compiled kernel is {error}") from error
    if symbol not in found.functions:
        raise CompileError(f"a compiled kernel has no entry {symbol}")
    wanted = found.undefined - LIBRARY_SYMBOLS
    strange = sorted(name for name in wanted if not (name in MATH_SYMBOLS and _present(name)))
    if strange:
        raise CompileError(f"a compiled kernel calls {', '.join(strange)}, which nobody defines")


def _present(name: str) -> bool:
    return hasattr(ctypes.CDLL(None), name)


def _link(code: bytes, symbol: str, target: Target) -> int:
    engine = _engine(target)
    engine.add_object_file(targets.binding().ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(symbol))


def load(code: bytes, symbol: str, target: Target) -> int:
    """The address of ``symbol`` after loading the ELF object ``code``; once per symbol and target.

    Raises CompileError for an object without the entry or with unknown external symbols.
    """
    name = f"{target.key}|{symbol}"
    with LOCK:
        known = _addresses.get(name)
        if known is not None:
            return known
        check(code, symbol)
        headroom.require(headroom.LOAD, "loading a kernel")
        address = undisturbed(lambda: _link(code, symbol, target))
        if not address:
            raise CompileError(f"{symbol} could not be loaded")
        _addresses[name] = address
        return address
