"""The floating-point control register of x86-64, read and written by four bytes of machine code."""

import ctypes
import mmap
import platform
from contextlib import contextmanager

import pytest

STATES = {
    "flush to zero": 0x9F80,
    "denormals are zero": 0x1FC0,
    "both": 0x9FC0,
    "round up": 0x5F80,
    "round down": 0x3F80,
    "truncate": 0x7F80,
    "flags raised": 0x1FBF,
}
only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is x86-64's")


class _Register:
    def __init__(self):
        code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(bytes.fromhex("0fae1fc3 0fae17c3"))  # stmxcsr [rdi]; ret. ldmxcsr [rdi]; ret
        start = ctypes.addressof(ctypes.c_char.from_buffer(code))
        function = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
        self._code, self._store, self._load = code, function(start), function(start + 4)
        self._word = ctypes.c_uint32()

    def get(self):
        self._store(ctypes.addressof(self._word))
        return self._word.value

    def set(self, value):
        self._word.value = value
        self._load(ctypes.addressof(self._word))


_register = []


def register():
    if not _register:
        _register.append(_Register())
    return _register[0]


@contextmanager
def state(value):
    """The caller has set up ``value``, and finds it again: the flags of exceptions aside."""
    mxcsr = register()
    outer = mxcsr.get()
    mxcsr.set(value)
    try:
        yield
        actual = mxcsr.get()
    finally:
        mxcsr.set(outer)
    assert actual & ~0x3F == value & ~0x3F, f"left {actual:#x} where {value:#x} was"
