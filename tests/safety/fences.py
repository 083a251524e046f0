"""Memory between two pages that nobody may touch, for tests of what kernels read and write.

``Fences`` takes the place of every allocation that kernels see: the arena, outputs, parameters and
constants. With ``at_end`` the last byte lies before a forbidden page, else the first byte behind
one. Feeds and constants cannot be written at all. An access outside ends the process, so tests run
in a child (``child.py``). As a program it makes one access, so that a test sees it end:

    python -m tests.safety.fences end|start inside|outside|write
"""

import ctypes
import mmap
import sys
from contextlib import contextmanager

import numpy as np

from staticgrad.compiler.runtime import arena, feeds
from staticgrad.language.storage import parameter
from staticgrad.language.types import arrays as constant
from tests.safety.child import say

PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def fenced_bytes(count, at_end):
    """``count`` bytes whose end (or start) is the border of a page that cannot be accessed.

    They are filled with 0xA5, not with the zeros of fresh pages.
    """
    return _map_fenced_pages(count, at_end)[0]


def _map_fenced_pages(count, at_end):
    """The bytes, with the address and the number of their pages."""
    pages = max(1, -(-count // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    all_bytes = np.frombuffer(memory, np.uint8)
    all_bytes[:] = 0xA5
    base = all_bytes.ctypes.data
    for fence in (base, base + (pages + 1) * PAGE):
        _protect(fence, PAGE, 0)
    start = (pages + 1) * PAGE - count if at_end else PAGE
    return all_bytes[start : start + count], base + PAGE, pages


def _protect(address, size, access):
    if _libc.mprotect(address, size, access):
        raise OSError(ctypes.get_errno(), "mprotect")


def fence_array(data, at_end, *, writeable=False):
    """A C-contiguous copy of an array between fences; a write to it ends the process, too."""
    source = np.asarray(data)
    raw, first, pages = _map_fenced_pages(source.nbytes, at_end)
    place = raw.view(source.dtype).reshape(source.shape)
    place[...] = source
    if not writeable:
        _protect(first, pages * PAGE, mmap.PROT_READ)
        place.flags.writeable = False
    return place


@contextmanager
def fences(at_end):
    """Within it, whatever kernels see of new programs and runs is fenced."""

    def fenced_block(count, zero=False):
        block = fenced_bytes(count, at_end)
        if zero:
            block[:] = 0
        return block

    doors = [(module, "aligned_bytes", fenced_block) for module in (parameter, arena, feeds)]
    doors.append((constant.ArrayData, "__init__", _fenced_constant(at_end)))
    originals = [getattr(owner, name) for owner, name, _ in doors]
    for owner, name, new in doors:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for (owner, name, _), old in zip(doors, originals, strict=True):
            setattr(owner, name, old)


def _fenced_constant(at_end):
    honest = constant.ArrayData.__init__

    def init(self, data, dtype=None):
        honest(self, data, dtype)
        self.array = fence_array(self.array, at_end)

    return init


def access(side, what):
    """Read or write one byte at the end, or at the start, of fenced memory."""
    at_end = side == "end"
    say(f"now {what}")
    memory = fence_array(np.full(5000, 0xA5, np.uint8), at_end)
    place = memory.ctypes.data + (4999 if at_end else 0)
    place += (1 if at_end else -1) * (what == "outside")
    byte = ctypes.c_uint8.from_address(place)
    if what == "write":
        byte.value = 0
    say(hex(byte.value))


if __name__ == "__main__":
    access(*sys.argv[1:])
