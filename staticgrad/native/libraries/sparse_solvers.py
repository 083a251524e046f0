"""Routines that solve sparse systems by SuperLU, SciPy's, called by a step for whole arrays.

The evaluator calls the same function, so both are bitwise identical. A matrix is factored once for
several solutions that follow each other: those of a system, of its transpose, and of further
right-hand sides. SuperLU counts its memory by thread and loses what another thread frees, so only
the main thread stores factors; others factor again. Factors are outside of a program's arena.

X. S. Li, An overview of SuperLU, 2005.
"""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.errors import LinearAlgebraError
from staticgrad.native.libraries import scipy_library
from staticgrad.native.libraries.routines import RoutineCode, register
from staticgrad.native.libraries.user_calls import Kind, prepared_once, take_error
from staticgrad.support.caches import BoundedCache
from staticgrad.support.records import NamedTuple

Array = NDArray[Any]
#: Calls whose arrays are kept, about a kilobyte each.
_MOST_KEPT: Final = 1024
#: Bytes of factors from which on the longest unused ones are dropped; the latest two always stay.
_FACTORS: Final = 256 << 20
_CHANGE: Final = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


class _Factors(NamedTuple):
    """The factors of a matrix, None if it is singular, and copies of what they were made of."""

    lu: Any
    data: Array
    rows: Array
    places: Array

    def are_of(self, data: Array, rows: Array, places: Array) -> bool:
        """Return whether the matrix is the same, bit by bit."""
        pairs = ((self.data, data), (self.rows, rows), (self.places, places))
        return all(
            stored.shape == array.shape and np.array_equal(_bits(stored), _bits(array))
            for stored, array in pairs
        )


_factors: Final[BoundedCache[Any, _Factors]] = BoundedCache(_FACTORS)


def _bits(array: Array) -> Array:
    """The bytes of an array as integers: NaN is equal to itself, and 0 is not -0."""
    return array.view(np.int32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit the BLAS that SuperLU calls to one thread: bits of results depend on the number."""
    change = _CHANGE(scipy_library.python_guard().function)
    change(0, 0)
    try:
        yield
    finally:
        change(0, 1)


def _find_factors(data: Array, rows: Array, places: Array, n: int, ordering: str) -> _Factors:
    """Return SuperLU's factors of a sparse matrix, cached from earlier calls."""
    if threading.current_thread() is not threading.main_thread():
        return _Factors(_factorize(data, rows, places, n, ordering), data, rows, places)
    key = n, ordering, data.dtype.char, data.size, zlib.crc32(data.data)
    factors = _factors.get(key)
    if factors is None or not factors.are_of(data, rows, places):
        lu = _factorize(data, rows, places, n, ordering)
        factors = _Factors(lu, data.copy(), rows.copy(), places.copy())
        entry_bytes = data.itemsize + 4
        nbytes = entry_bytes * (0 if lu is None else lu.nnz) + data.size * (entry_bytes + 4)
        _factors.store(key, factors, nbytes)
    return factors


def _factorize(data: Array, rows: Array, places: Array, n: int, ordering: str) -> Any:
    """Factor a sparse matrix by SuperLU; None if it is singular or not finite."""
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    inside = (rows >= 0) & (rows < n) & (places >= 0) & (places < n)
    if not inside.all():
        data, rows, places = data[inside], rows[inside], places[inside]
    if not np.isfinite(data).all():
        return None
    matrix = coo_array((data, (rows, places)), shape=(n, n)).tocsc()
    for name in ("indices", "indptr"):
        setattr(matrix, name, getattr(matrix, name).astype(np.int32, copy=False))
    try:
        with _one_thread():
            return splu(matrix, permc_spec=ordering)
    except RuntimeError:  # "Factor is exactly singular"
        return None


def solve(
    data: Array,
    b: Array,
    rows: Array,
    places: Array,
    transposed: bool,
    ordering: str,
    errors: str,
) -> Array:
    """Solve ``A @ x = b`` or ``A.T @ x = b`` by SuperLU, for matrices and columns [..., n, k].

    Axes in front are a batch of the data [..., elements], of b or of both.

    Raises:
        LinearAlgebraError: a singular matrix, where ``errors`` is "raise".
    """
    batch = data.shape[:-1] or b.shape[:-2]
    n, k = b.shape[-2:]
    out = np.empty((*batch, n, k), b.dtype)
    if not out.size:
        return out
    for number, at in enumerate(np.ndindex(*batch)):
        elements = np.ascontiguousarray(data[at] if data.ndim > 1 else data)
        columns = b[at] if b.ndim > 2 else b
        lu = _find_factors(elements, rows, places, n, ordering).lu
        if lu is not None:
            with _one_thread():
                out[at] = lu.solve(columns, "T" if transposed else "N")
        elif errors == "raise":
            raise LinearAlgebraError(
                f"spsolve: matrix {number} is singular, or has elements that are not finite",
                hint='errors="nan" gives NaN as its solution',
            )
        else:
            out[at] = np.nan
    return out


def solution(operands: list[Array], transposed: bool, ordering: str, errors: str) -> Array:
    """``solve`` of the operands of an op: data, b and the six vectors of a pattern."""
    data, b, _, places, rows, *_ = operands
    return solve(data, b, rows, places, transposed, ordering, errors)


def _write_solution(
    operands: list[Array], out: Array, transposed: bool, ordering: str, errors: str
) -> None:
    out[...] = solution(operands, transposed, ordering, errors)


def _make_routine(spec: str) -> RoutineCode:
    """Make a sparse solver's routine, from its name (``SparseSolve.form``)."""
    ordering, trans, errors, dtype, data_rank, b_rank, index_dtype = spec.split(".")
    is_complex = dtype.startswith("complex")
    real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    ranks = [int(data_rank), int(b_rank)]
    ranks.append(max(ranks[0] + 1, ranks[1]))
    first, second, last = ((real, rank + is_complex) for rank in ranks)
    kinds: list[Kind] = [first, second, *[(index_dtype, 1)] * 6, last]

    def prepare(arrays: list[Array], _: tuple[int, ...]) -> Callable[[], object]:
        if is_complex:
            for at in (0, 1, -1):
                arrays[at] = arrays[at].view(dtype)[..., 0]
        *operands, out = arrays
        return partial(_write_solution, operands, out, trans == "T", ordering, errors)

    return prepared_once(kinds, prepare, _MOST_KEPT)


register("superlu", _make_routine, take_error)
