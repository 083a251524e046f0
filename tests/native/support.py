"""Running a kernel source every way over arrays, and comparing bytes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from staticgrad import native
from staticgrad.config import options

Array = NDArray[np.generic]
Mode = Literal["vector", "numba", "python"]
MODES: tuple[Mode, ...] = ("vector", "numba", "python")


def call(
    source: str,
    arrays: Sequence[Array],
    words: Sequence[int],
    begin: int,
    end: int,
    *,
    mode: Mode = "vector",
) -> None:
    """Runs a kernel once through the driver; the record is the arrays' addresses, then words."""
    backend: native.Backend = "auto" if mode == "python" else mode
    with options(jit=mode != "python"):
        record = np.array([*(a.ctypes.data for a in arrays), *words], np.int64)
        address = native.kernel(source, backend=backend).address
        table = np.array([[address, record.ctypes.data, begin, end]], np.int64)
        native.run(table.ctypes.data, 0, 1)


def canonical(array: Array) -> bytes:
    """The bytes of an array with every NaN the same."""
    copy = array.copy()
    if copy.dtype.kind == "f":
        copy[np.isnan(copy)] = np.nan
    return copy.tobytes()


def assert_same(found: Array, wanted: Array, what: str) -> None:
    """Equal bytes, any NaN equal to any NaN; shows the first element that differs."""
    assert found.dtype == wanted.dtype, what
    if canonical(found) != canonical(wanted):
        size = found.dtype.itemsize
        rows = zip(
            np.frombuffer(canonical(found), f"V{size}"),
            np.frombuffer(canonical(wanted), f"V{size}"),
            strict=True,
        )
        at = next(index for index, (a, b) in enumerate(rows) if a.tobytes() != b.tobytes())
        raise AssertionError(f"{what}: element {at} is {found[at]!r}, wanted {wanted[at]!r}")
