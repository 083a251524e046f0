"""ELF objects: the symbols in them, and their placement in memory.

Only 64-bit little-endian relocatable ELF is read, which is what the compiler writes. An object is
placed as a linker would place it: its sections in new pages, the addresses of what it calls in a
table behind its constants, its relocations applied; calls of what is more than 2 GiB away go by a
jump behind its code. Pages are writable until the code is complete,
then executable or read-only. They are freed when nothing refers to the object any more.

Relocations are those of x86-64. Objects of other processors are loaded by LLVM (``loader``).
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from weakref import finalize

from staticgrad.errors import CompileError
from staticgrad.native.system.pages import allocate_pages, free_pages, protect_pages
from staticgrad.support.records import NamedTuple, dataclass

# The ELF format: System V Application Binary Interface, chapters 4 and 5, and its AMD64 supplement.
# These are class 64, little-endian, version 1.
_HEADER: Final = b"\x7fELF\x02\x01\x01"
# SHT_SYMTAB, SHT_RELA and SHT_NOBITS; SHF_WRITE, SHF_ALLOC and SHF_EXECINSTR; STT_FUNC and
# STB_GLOBAL; bytes of a section header.
_SYMBOL_TABLE, _RELOCATIONS, _NO_BITS = 2, 4, 8
_WRITABLE, _ALLOCATED, _EXECUTABLE = 1, 2, 4
_FUNCTION: Final = 2
_GLOBAL: Final = 1
_SECTION_BYTES: Final = 64
#: Relocations of x86-64: a whole address; the distance to a place; that to an entry of the table.
#: R_X86_64_64 and R_X86_64_PLT32; R_X86_64_PC32 is a distance; R_X86_64_GOTPCREL, GOTPCRELX and
#: REX_GOTPCRELX are distances to an entry of the table (GOT).
_ADDRESS, _CALL = 1, 4
_DISTANCES: Final = frozenset({2, 4})
_ENTRIES: Final = frozenset({9, 41, 42})
# EM_X86_64
_X86_64: Final = 62
#: ``jmp [rip + distance]``: its first bytes, and the room for one.
_JUMP: Final = b"\xff\x25"
_JUMP_BYTES: Final = 8


@dataclass(frozen=True)
class Symbols:
    """The names an object defines as functions, which of them others see, and those it leaves
    undefined."""

    functions: frozenset[str]
    undefined: frozenset[str]
    entries: frozenset[str] = frozenset()


class _Section(NamedTuple):
    """A header of the section table."""

    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class _Symbol(NamedTuple):
    """A symbol: its name, kind and binding, the number of its section (0: undefined), its place."""

    name: str
    info: int
    section: int
    value: int


def symbols(elf: bytes) -> Symbols:
    """Return the symbols of an ELF object; raise ValueError for other bytes."""
    functions, undefined, entries = set(), set(), set()
    for symbol in _parse_elf(elf)[1]:
        if symbol.section == 0 and symbol.name:
            undefined.add(symbol.name)
        elif symbol.info & 15 == _FUNCTION:
            functions.add(symbol.name)
            if symbol.info >> 4 == _GLOBAL:
                entries.add(symbol.name)
    return Symbols(frozenset(functions), frozenset(undefined), frozenset(entries))


def _parse_elf(elf: bytes) -> tuple[list[_Section], list[_Symbol]]:
    """Parse the sections and symbols of an ELF object; raise ValueError for other bytes."""
    if not elf.startswith(_HEADER):
        raise ValueError("not a 64-bit little-endian ELF object")
    try:
        # e_shoff and e_shnum of the file header
        (table,) = struct.unpack_from("<Q", elf, 40)
        (count,) = struct.unpack_from("<H", elf, 60)
        sections = [
            _Section(*struct.unpack_from("<IIQQQQIIQQ", elf, table + _SECTION_BYTES * index))
            for index in range(count)
        ]
        return sections, [*_symbols(elf, sections)]
    except (struct.error, IndexError, ValueError) as error:
        raise ValueError("a truncated ELF object") from error


def _symbols(elf: bytes, sections: list[_Section]) -> Iterator[_Symbol]:
    """Yield the symbols in the symbol tables of an ELF object."""
    for section in sections:
        if section.kind != _SYMBOL_TABLE:
            continue
        names = sections[section.link].offset
        table = elf[section.offset : section.offset + section.size]
        for name_at, info, _, home, value, _ in struct.iter_unpack("<IBBHQQ", table):
            start = names + name_at
            name = elf[start : elf.index(b"\0", start)].decode("ascii")
            yield _Symbol(name, info, home, value)


class LoadedObject:
    """A loaded object, whose code may run as long as something refers to this.

    Attributes:
        functions: the addresses of its functions by name.
        needs: what its code calls, jumps through or reads.
    """

    def __init__(self, functions: Mapping[str, int], pages: tuple[int, int] | None = None) -> None:
        """``pages``: the address and bytes of its own pages."""
        self.functions = functions
        self.needs: list[object] = []
        if pages is not None:
            finalize(self, free_pages, *pages).atexit = False


class LoadedFunction(NamedTuple):
    """The address of a function, and the object that has to be referred to while it may run."""

    address: int
    code: LoadedObject


def load_object(elf: bytes, address_of: Callable[[str], int]) -> LoadedObject:
    """Place an ELF object of x86-64 in memory, relocated.

    ``address_of`` returns the address of a symbol that the object does not define.

    Raises:
        ValueError: the bytes are no such object.
        CompileError: a relocation or symbol of another kind than the compiler writes.
        OutOfMemory: the system gives no memory, or does not let code run in it.
    """
    sections, names = _parse_elf(elf)
    # e_machine
    if struct.unpack_from("<H", elf, 18) != (_X86_64,):
        raise CompileError("a compiled kernel is for another processor")
    image = _Image(elf, sections, names, address_of)
    for section in sections:
        if section.kind == _RELOCATIONS and section.info in image.offsets:
            table = elf[section.offset : section.offset + section.size]
            for offset, info, addend in struct.iter_unpack("<QQq", table):
                image.relocate(section.info, offset, info, addend)
    base = image.protect_pages()
    functions = {
        symbol.name: base + image.offsets[symbol.section] + symbol.value
        for symbol in names
        if symbol.info == _GLOBAL << 4 | _FUNCTION and symbol.section in image.offsets
    }
    return LoadedObject(functions, (base, image.nbytes))


class _Image:
    """The pages of an object: code and jumps, constants and the table of addresses, then data.

    ``offsets`` has the place of each section by its number, ``nbytes`` are those of all pages.
    """

    def __init__(
        self,
        elf: bytes,
        sections: list[_Section],
        names: list[_Symbol],
        address_of: Callable[[str], int],
    ) -> None:
        self._names, self._address_of = names, address_of
        self.offsets: dict[int, int] = {}
        self._entries: dict[int, int] = {}
        self._jumps: dict[int, int] = {}
        self._borders: list[tuple[int, int]] = []  # where pages end, and their protection
        end = 0
        for flags, protection in (
            (_EXECUTABLE, mmap.PROT_READ | mmap.PROT_EXEC),
            (0, mmap.PROT_READ),
            (_WRITABLE, mmap.PROT_READ | mmap.PROT_WRITE),
        ):
            for number, section in enumerate(sections):
                if section.flags & 7 == flags | _ALLOCATED:
                    alignment = max(section.alignment, 1)
                    self.offsets[number] = end = -(-end // alignment) * alignment
                    end += section.size
            if flags == _EXECUTABLE:
                self._next_jump = end = -(-end // _JUMP_BYTES) * _JUMP_BYTES
                end += _JUMP_BYTES * sum(symbol.section == 0 for symbol in names)
            elif flags == 0:
                self._next_entry = end = -(-end // 8) * 8
                end += 8 * len(names)  # an entry for each symbol at most
            end = -(-end // mmap.PAGESIZE) * mmap.PAGESIZE
            self._borders.append((end, protection))
        self.nbytes = end
        self._base = allocate_pages(end)
        self._bytes = (ctypes.c_char * end).from_address(self._base)
        for number, offset in self.offsets.items():
            section = sections[number]
            if section.kind != _NO_BITS:
                content = elf[section.offset : section.offset + section.size]
                ctypes.memmove(self._base + offset, content, len(content))

    def relocate(self, section: int, offset: int, info: int, addend: int) -> None:
        """Apply one relocation of an ELF object to a section."""
        kind, symbol = info & 0xFFFFFFFF, info >> 32
        at = self.offsets[section] + offset
        if kind == _ADDRESS:
            struct.pack_into("<Q", self._bytes, at, self._symbol_address(symbol) + addend)
            return
        if kind in _ENTRIES:
            target = self._base + self._entry(symbol)
        elif kind in _DISTANCES:
            target = self._symbol_address(symbol)
        else:
            raise CompileError(f"a compiled kernel has a relocation of kind {kind}")
        distance = target + addend - (self._base + at)
        if not -(1 << 31) <= distance < 1 << 31:
            if kind != _CALL or self._names[symbol].section != 0:
                raise CompileError("a compiled kernel reads what is too far away")
            distance = self._jump_stub(symbol) + addend - at
        struct.pack_into("<i", self._bytes, at, distance)

    def _symbol_address(self, number: int) -> int:
        """Return the address that a relocation's symbol has."""
        symbol = self._names[number]
        if symbol.section == 0:
            return self._address_of(symbol.name)
        if symbol.section not in self.offsets:
            raise CompileError(f"a compiled kernel has the symbol {symbol.name!r} outside of it")
        return self._base + self.offsets[symbol.section] + symbol.value

    def _entry(self, number: int) -> int:
        """Return the place of a symbol's address in the table."""
        if number not in self._entries:
            struct.pack_into("<Q", self._bytes, self._next_entry, self._symbol_address(number))
            self._entries[number] = self._next_entry
            self._next_entry += 8
        return self._entries[number]

    def _jump_stub(self, number: int) -> int:
        """Return the address of a jump stub to a symbol that is out of reach."""
        if number not in self._jumps:
            at = self._jumps[number] = self._next_jump
            self._next_jump += _JUMP_BYTES
            distance = self._entry(number) - (at + 6)
            struct.pack_into("<2si", self._bytes, at, _JUMP, distance)
        return self._jumps[number]

    def protect_pages(self) -> int:
        """Protect the pages of a loaded object (code, constants, data); return its address."""
        start = 0
        for end, protection in self._borders:
            if end > start and not protection & mmap.PROT_WRITE:
                protect_pages(self._base + start, end - start, protection)
            start = end
        return self._base
