"""Reads the symbol table of a relocatable ELF object: what it defines, what it wants.

LLVM's loader ends the process on an unresolved symbol, so objects are checked here first. Only
64-bit little-endian ELF, which is what the compiler writes.
"""

from __future__ import annotations

import struct
from typing import Final

from staticgrad.records import dataclass

_HEADER: Final = b"\x7fELF\x02\x01\x01"
_SYMBOL_TABLE: Final = 2
_FUNCTION: Final = 2
_SYMBOL_BYTES: Final = 24
_SECTION_BYTES: Final = 64


@dataclass(frozen=True)
class Symbols:
    """The names an object defines as functions, and those it leaves undefined."""

    functions: frozenset[str]
    undefined: frozenset[str]


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
    return Symbols(frozenset(functions), frozenset(undefined))
