"""Running a kernel source every way over arrays, and comparing bytes."""

import ctypes
from typing import Literal

import numpy as np
import pytest

from staticgrad import native
from staticgrad.backends import source_of
from staticgrad.compiler import by_numba
from staticgrad.native import jit, loader
from staticgrad.native.language.kinds import ELEMENTS
from staticgrad.native.undisturbed import run_uninterrupted
from staticgrad.support.options import options

#: Elements for storage as NumPy's numbers; kernels hold them as bits.
_NUMBERS = {"f16": np.dtype(np.float16)}
Mode = Literal["vector", "numba", "python"]
#: Calls a kernel at an address: (record, own words, begin, end).
ENTRY = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
#: The readers of a source in the kernel language.
SOURCES = ("vector", "python")
#: Who runs a kernel: LLVM IR of its source, plain loops by Numba, its source as plain Python.
MODES = ("vector", "numba", "python")
#: And the exported file, in which it is plain loops, too.
READERS = (*MODES, "file")
#: Readers that take seconds for a kernel.
BY_NUMBA = ("numba", "file")
#: Who runs a kernel, where Numba takes seconds for a kernel.
LONG_BY_NUMBA = ("vector", pytest.param("numba", marks=pytest.mark.exhaustive), "python")


def number_dtype(name):
    """The NumPy dtype of the numbers that an element holds."""
    return _NUMBERS.get(name, ELEMENTS[name].numpy)


def call(source, arrays, words, begin, end, *, private=(), mode="vector"):
    """Run a kernel once; the record is the arrays' addresses, then words; ``private`` the worker's.

    ``source`` is what ``source_for`` returns for the mode.
    """
    with options(jit=mode != "python"):
        record = np.array([*(a.ctypes.data for a in arrays), *words], np.int64)
        code = (by_numba.compile_text if mode == "numba" else native.kernel)(source)
        entry = code.python or ENTRY(code.address)
        block = np.array([a.ctypes.data for a in private], np.int64)
        entry(record.ctypes.data, block.ctypes.data, begin, end)


def source_for(kernel, mode, host=None, directives=None):
    """Return the source of a kernel that a mode runs."""
    return by_numba.source(kernel) if mode == "numba" else source_of(kernel, host, directives)


def run_table(table, first, last):
    """Runs rows of a table through the driver, as a worker without words of its own."""
    block = np.array(native.Head(table.ctypes.data), np.int64)
    native.driver()(block.ctypes.data, first, last)


def canonical(array):
    """The bytes of an array with every NaN the same."""
    copy = array.copy()
    if copy.dtype.kind == "f":
        copy[np.isnan(copy)] = np.nan
    return copy.tobytes()


def assert_same(actual, expected, what):
    """Equal bytes, any NaN equal to any NaN; shows the first element that differs."""
    assert actual.dtype == expected.dtype, what
    if canonical(actual) != canonical(expected):
        size = actual.dtype.itemsize
        rows = zip(
            np.frombuffer(canonical(actual), f"V{size}"),
            np.frombuffer(canonical(expected), f"V{size}"),
            strict=True,
        )
        at = next(index for index, (a, b) in enumerate(rows) if a.tobytes() != b.tobytes())
        raise AssertionError(f"{what}: element {at} is {actual[at]!r}, wanted {expected[at]!r}")


def assembly(source, on=None):
    """The machine code of a kernel's source as assembly text."""
    on = on or loader.host()
    text = jit.module_text(native.SourceText(source), on)
    with jit.compiler(on) as compiler:
        return run_uninterrupted(lambda: str(compiler.machine.emit_assembly(compiler.module(text))))
