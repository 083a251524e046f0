"""The processor as it describes itself: what a stored choice of targets depends on.

On x86-64 it is asked by the instruction ``cpuid``, as LLVM does, so that emulators and containers
answer for what they run on; on aarch64 the register with its model is read, and the system asked
what programs may use (Linux's "ARM64 CPU Feature Registers" and "ARM64 ELF hwcaps").
"""

from __future__ import annotations

import ctypes
import functools
import platform
import struct
from typing import Final

from staticgrad.errors import OutOfMemory
from staticgrad.native.system.pages import library, load_code

#: ``void f(uint32 leaf, uint32 part, uint32 results[4])`` by the instruction ``cpuid``.
_CPUID: Final = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")
#: ``uint32 f()``: the parts of registers that the system saves, by ``xgetbv``.
_XGETBV: Final = bytes.fromhex("31c9 0f01d0 c3")
#: Leaves and parts of them with the processor's model and features; those that are described
#: begin from either number.
_LEAVES: Final = ((1, 0), (7, 0), (7, 1), (0xD, 1), (0x14, 0), (0x19, 0), (0x24, 0))
_EXTENDED: Final = 0x80000000
_EXTENDED_LEAVES: Final = tuple((_EXTENDED + leaf, 0) for leaf in (1, 2, 3, 4, 8))
_SAVED: Final = 1 << 27  # of leaf 1: the system lets programs ask what it saves
#: Of leaf 1: the number of the core that answers.
_CORE: Final = 0xFF000000


#: ``uint64 f()`` of aarch64: the register MIDR_EL1, which Linux answers for.
_MODEL: Final = bytes.fromhex("000038d5 c0035fd6")
#: Entries of the auxiliary vector with the features that programs may use: AT_HWCAP and its
#: second and third word.
_FEATURES: Final = (16, 26, 29)
_MODEL_IS_READABLE: Final = 1 << 11  # of the first: HWCAP_CPUID


@functools.cache
def processor() -> bytes | None:
    """Return the processor's model and features; None if unknown."""
    if struct.calcsize("P") != 8:
        return None
    describe = _DESCRIPTIONS.get(platform.machine())
    try:
        return None if describe is None else describe()
    except (AttributeError, OSError, OutOfMemory):
        return None


def _describe_aarch64() -> bytes | None:
    """Return the model and the features of an aarch64 as Linux answers; None if it does not."""
    ask = library().getauxval
    ask.restype = ctypes.c_uint64
    words = [ask(ctypes.c_uint64(entry)) for entry in _FEATURES]
    if not words[0] & _MODEL_IS_READABLE:
        return None
    model = ctypes.CFUNCTYPE(ctypes.c_uint64)(load_code(_MODEL))()
    return struct.pack(f"<{1 + len(words)}Q", model, *words)


def _describe_x86() -> bytes:
    """Return the model and the features as CPUID gives them."""
    base = load_code(_CPUID + _XGETBV)
    number, results = ctypes.c_uint32, (ctypes.c_uint32 * 4)()
    ask = ctypes.CFUNCTYPE(None, number, number, ctypes.c_void_p)(base)

    def answer(leaf: int, part: int = 0) -> list[int]:
        ask(leaf, part, ctypes.addressof(results))
        return [*results]

    registers = [*answer(0)]
    leaves = [entry for entry in _LEAVES if entry[0] <= registers[0]]
    last = answer(_EXTENDED)[0]
    for leaf, part in (*leaves, *(entry for entry in _EXTENDED_LEAVES if entry[0] <= last)):
        words = answer(leaf, part)
        if leaf == 1:
            words[1] &= ~_CORE
            if words[2] & _SAVED:
                registers.append(ctypes.CFUNCTYPE(number)(base + len(_CPUID))())
        registers += words
    return struct.pack(f"<{len(registers)}I", *registers)


_DESCRIPTIONS: Final = {
    "x86_64": _describe_x86,
    "AMD64": _describe_x86,
    "aarch64": _describe_aarch64,
}
