"""Loads compiled objects into the process and gives the addresses of their entries.

One LLVM execution engine, which owns a target machine of its own, takes all objects. Objects are
read before they are handed over: an entry that is missing or a symbol that nobody defines is an
error here, where LLVM would end the process. What an object defines and wants is in its ELF symbol
table; only 64-bit little-endian ELF is read, which is what the compiler writes. Needs llvmlite,
never Numba.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable
from typing import Any, Final

from staticgrad.errors import CompileError
from staticgrad.native import headroom, target as targets
from staticgrad.native.constants import SHARED
from staticgrad.native.lock import LOCK
from staticgrad.native.target import Target
from staticgrad.native.undisturbed import undisturbed
from staticgrad.records import dataclass

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

_HEADER: Final = b"\x7fELF\x02\x01\x01"
_SYMBOL_TABLE: Final = 2
_FUNCTION: Final = 2
_GLOBAL: Final = 1
_SYMBOL_BYTES: Final = 24
_SECTION_BYTES: Final = 64

_engines: dict[str, Any] = {}
_addresses: dict[str, int] = {}


@dataclass(frozen=True)
class Symbols:
    """The names an object defines as functions, which of them others see, and those it leaves
    undefined."""

    functions: frozenset[str]
    undefined: frozenset[str]
    entries: frozenset[str] = frozenset()


def symbols(elf: bytes) -> Symbols:
    """The symbols of an ELF object; raises ValueError when the bytes are no such object."""
    if not elf.startswith(_HEADER):
        raise ValueError("not a 64-bit little-endian ELF object")
    try:
        return _read(elf)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("a truncated ELF object") from error


def _read(elf: bytes) -> Symbols:
    (table_offset,) = struct.unpack_from("<Q", elf, 40)
    (count,) = struct.unpack_from("<H", elf, 60)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", elf, table_offset + _SECTION_BYTES * index)
        for index in range(count)
    ]
    functions: set[str] = set()
    undefined: set[str] = set()
    entries: set[str] = set()
    for section in sections:
        if section[1] != _SYMBOL_TABLE:
            continue
        names = sections[section[6]][4]
        for index in range(1, section[5] // _SYMBOL_BYTES):
            offset = section[4] + _SYMBOL_BYTES * index
            name_at, info, _, home = struct.unpack_from("<IBBH", elf, offset)
            start = names + name_at
            name = elf[start : elf.index(b"\0", start)].decode("ascii")
            if home == 0 and name:
                undefined.add(name)
            elif info & 15 == _FUNCTION:
                functions.add(name)
                if info >> 4 == _GLOBAL:
                    entries.add(name)
    return Symbols(frozenset(functions), frozenset(undefined), frozenset(entries))


def _engine(target: Target) -> Any:
    found = _engines.get(target.key)
    if found is None:
        llvm = targets.binding()
        host = llvm.parse_assembly(f'target triple = "{target.triple}"\n')
        # Sections of one object refer to each other over 2 GB at most, or LLVM ends the process.
        # llvmlite's memory manager places them side by side; LLVM's takes a page here and one there
        # in a process that has filled the space in between.
        machine = targets.machine(target)
        found = _engines[target.key] = llvm.create_mcjit_compiler(host, machine, use_lmm=True)
    return found


def is_loaded(symbol: str, target: Target) -> bool:
    """Whether an object with that entry has been loaded."""
    return f"{target.key}|{symbol}" in _addresses


def missing(code: bytes, target: Target) -> list[str]:
    """The functions shared by kernels that an object calls and nobody has loaded yet."""
    try:
        wanted = symbols(code).undefined
    except ValueError:
        return []  # ``check`` says so
    shared = sorted(name for name in wanted if name.startswith(SHARED))
    return [name for name in shared if not is_loaded(name, target)]


def check(code: bytes, symbol: str, target: Target) -> Symbols:
    """The symbols of an object that may be loaded.

    Raises CompileError unless the object defines ``symbol`` and wants only library symbols, and
    functions that are loaded.
    """
    try:
        found = symbols(code)
    except ValueError as error:
        raise CompileError(f"a compiled kernel is {error}") from error
    if symbol not in found.functions:
        raise CompileError(f"a compiled kernel has no entry {symbol}")
    wanted = {
        name for name in found.undefined - LIBRARY_SYMBOLS if not is_loaded(name, target)
    }  # asked by name: a process may have loaded thousands
    strange = sorted(name for name in wanted if not (name in MATH_SYMBOLS and _present(name)))
    if strange:
        raise CompileError(f"a compiled kernel calls {', '.join(strange)}, which nobody defines")
    return found


def _present(name: str) -> bool:
    return hasattr(ctypes.CDLL(None), name)


def _link(code: bytes, names: Iterable[str], target: Target) -> dict[str, int]:
    engine = _engine(target)
    engine.add_object_file(targets.binding().ObjectFileRef.from_data(code))
    engine.finalize_object()
    return {name: int(engine.get_function_address(name)) for name in names}


def address(symbol: str, target: Target) -> int:
    """The address of an entry that has been loaded."""
    return _addresses[f"{target.key}|{symbol}"]


def load(code: bytes, symbol: str, target: Target) -> int:
    """The address of ``symbol`` after loading the ELF object ``code``; once per symbol and target.

    All that the object defines for others is loaded with it.

    Raises CompileError for an object without the entry or with unknown external symbols.
    """
    name = f"{target.key}|{symbol}"
    with LOCK:
        known = _addresses.get(name)
        if known is not None:
            return known
        entries = sorted(check(code, symbol, target).entries)
        headroom.require(headroom.LOAD, "loading a kernel")
        headroom.require_stack()
        found = undisturbed(lambda: _link(code, entries, target))
        if not found.get(symbol):
            raise CompileError(f"{symbol} could not be loaded")
        for each, place in found.items():
            _addresses.setdefault(f"{target.key}|{each}", place)
        return _addresses[name]
