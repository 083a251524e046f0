"""The floating-point environment of this thread as one word: MXCSR of x86-64, FPCR of aarch64.

In the word of aarch64, the flags of exceptions (FPSR) are the upper half.
"""

import ctypes
import mmap
import platform
from contextlib import contextmanager

import pytest

X86 = {
    "flush to zero": 0x9F80,
    "denormals are zero": 0x1FC0,
    "both": 0x9FC0,
    "round up": 0x5F80,
    "round down": 0x3F80,
    "truncate": 0x7F80,
    "flags raised": 0x1FBF,
}
ARM = {
    "flush to zero": 1 << 24,
    "quiet NaNs": 1 << 25,
    "round up": 1 << 22,
    "round down": 2 << 22,
    "truncate": 3 << 22,
    "flags raised": 0x1F << 32,
}
MACHINE = platform.machine()
STATES = ARM if MACHINE == "aarch64" else X86
#: The default environment, and the flags of exceptions, which computations raise.
DEFAULT = 0 if MACHINE == "aarch64" else 0x1F80
FLAGS = 0x9F << 32 if MACHINE == "aarch64" else 0x3F
only_with_control_words = pytest.mark.skipif(
    MACHINE not in ("x86_64", "aarch64"), reason="the environment of this processor is unknown"
)


class _X86Register:
    """MXCSR, by four bytes of machine code."""

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


class _ArmRegister:
    """FPCR and FPSR, which are the ``fenv_t`` of the C library."""

    def __init__(self):
        self._library, self._word = ctypes.PyDLL(None), ctypes.c_uint64()

    def get(self):
        self._library.fegetenv(ctypes.byref(self._word))
        return self._word.value

    def set(self, value):
        self._word.value = value
        self._library.fesetenv(ctypes.byref(self._word))


_register = []


def register():
    if not _register:
        _register.append(_ArmRegister() if MACHINE == "aarch64" else _X86Register())
    return _register[0]


@contextmanager
def state(value):
    """The caller has set up ``value``, and finds it again: the flags of exceptions aside."""
    word = register()
    outer = word.get()
    word.set(value)
    try:
        yield
        actual = word.get()
    finally:
        word.set(outer)
    assert actual & ~FLAGS == value & ~FLAGS, f"left {actual:#x} where {value:#x} was"
