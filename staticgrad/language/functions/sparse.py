"""Sparse matrices whose pattern is fixed while their elements are values. Public as ``sg.sparse``.

A ``Sparse`` has the pattern of a CSR matrix, known when the graph is built, and ``data``: an array,
a parameter or any computed vector. Products with dense operands read each element once and each
dense row where it is needed; derivatives are products with the same pattern.

    >>> A = sg.sparse.csr([1.0, 2.0, 3.0], [0, 2, 1], [0, 2, 3], (2, 3))
    >>> x = sg.input("x", (3,), "float64")
    >>> sg.evaluate(A @ x, {"x": [1.0, 10.0, 100.0]})
    array([201.,  30.])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np

from staticgrad.language.functions import aggregate, complex_numbers, creation
from staticgrad.language.functions.trees import Contents, ObjectParts, parts
from staticgrad.language.ir.calls import namespace
from staticgrad.language.ir.kinds import binding_kind
from staticgrad.language.ir.op import Array, Constant
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import add, divide, multiply, negative, subtract
from staticgrad.language.ops.convert import astype
from staticgrad.language.ops.indexing import ScatterExtreme, concatenate, scatter_add, take
from staticgrad.language.ops.marks import stop_gradient
from staticgrad.language.ops.movement import broadcast_to, expand_dims, reshape, squeeze, transpose
from staticgrad.language.ops.operands import (
    as_value,
    check_equal,
    dtype_of,
    leaf_array,
    promoted_values,
    shape_text,
)
from staticgrad.language.ops.selection import where
from staticgrad.language.ops.sparse import SampledProduct, SparseProduct
from staticgrad.language.ops.transcendental import exp
from staticgrad.language.types.arrays import ArrayData, is_sparse
from staticgrad.language.types.dtype import F64
from staticgrad.support.errors import (
    ArgumentError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
)
from staticgrad.support.errors.tracebacks import bounded
from staticgrad.support.errors.wording import kind_of, shown

__all__ = ["SparsityPattern", "Sparse", "coo", "csr", "normalized_adjacency", "softmax"]

_ALSO: Final = (
    "sg.sparse.csr(matrix) takes matrices of SciPy\n"
    "sg.sparse.coo(data, rows, columns, shape) takes the place of each element"
)


@bounded
class SparsityPattern:
    """The elements of a sparse matrix that are stored, in CSR order; equal by content.

    A place may be stored several times, and the places of a row in any order.

    Args:
        indices: the column of each element.
        indptr: where each row begins among the elements, and the number of elements at the end.
        shape: rows and columns.

    Raises:
        RankError, ShapeError, DTypeError, IndexOutOfRange, ArgumentError: no such pattern.
    """

    def __init__(self, indices: Any, indptr: Any, shape: Any) -> None:
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise RankError(f"sparse: shape={shown(shape)} is not a pair of rows and columns")
        rows, columns = (_size(size) for size in shape)
        places, starts = _integers("indices", indices), _integers("indptr", indptr)
        if starts.size != rows + 1:
            raise ShapeError(
                f"sparse: indptr has {starts.size} elements, not {rows + 1}: one a row and the end"
            )
        if starts[0] != 0 or starts[-1] != places.size:
            raise ArgumentError(
                f"sparse: indptr goes from {starts[0]} to {starts[-1]}, not from 0 to"
                f" {places.size}, the number of indices"
            )
        if np.any(starts[1:] < starts[:-1]):
            row = int(np.argmax(starts[1:] < starts[:-1]))
            raise ArgumentError(f"sparse: indptr decreases behind row {row}: it must not")
        _check_range("column", places, columns)
        whole = np.int32 if max(rows, columns, places.size) < 2**31 else np.int64
        self.shape = rows, columns
        self.starts, self.places = ArrayData(starts.astype(whole)), ArrayData(places.astype(whole))

    @property
    def nnz(self) -> int:
        """The number of stored elements."""
        return int(self.places.array.size)

    @cached_property
    def vectors(self) -> tuple[ArrayData, ...]:
        """What ops take of the pattern (``ops/sparse.py``): by rows and by columns."""
        from scipy.sparse import csr_array

        starts, places = self.starts.array, self.places.array
        counted = (np.arange(self.nnz, dtype=places.dtype), places, starts)
        by_columns = csr_array(counted, shape=self.shape).tocsc()
        others = (by_columns.indptr, by_columns.indices, by_columns.data)
        whole = (ArrayData(np.asarray(each, places.dtype)) for each in (self.rows, *others))
        return self.starts, self.places, *whole

    @cached_property
    def rows(self) -> Array:
        """The row of each element."""
        starts = self.starts.array
        return np.repeat(np.arange(self.shape[0], dtype=starts.dtype), np.diff(starts))

    def values(self, kind: type[Any]) -> tuple[Any, ...]:
        """The vectors as values of a kind."""
        return tuple(kind.bind(Constant(each), ()) for each in self.vectors)

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, SparsityPattern)
            and (self.shape, self.starts, self.places) == (other.shape, other.starts, other.places)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.nnz))

    def __getstate__(self) -> Any:
        return {name: getattr(self, name) for name in ("shape", "starts", "places")}

    def __repr__(self) -> str:
        return f"SparsityPattern({self.shape[0]} x {self.shape[1]}, {self.nnz} elements)"


def _size(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise ArgumentError(f"sparse: the shape has {shown(size)}, not a size")
    return int(size)


def _integers(what: str, data: Any) -> Array:
    found = leaf_array(data, of="sparse")
    if found.ndim != 1:
        raise RankError(f"sparse: {what} has {found.ndim} axes, not one")
    if found.dtype.kind not in "iu" and found.size:
        raise DTypeError(f"sparse: {what} is of {found.dtype}, not of integers")
    return found.astype(np.int64)


def _check_range(what: str, places: Array, size: int) -> None:
    outside = (places < 0) | (places >= size)
    if outside.any():
        at = int(np.argmax(outside))
        raise IndexOutOfRange(
            f"sparse: element {at} is in {what} {places[at]}, and there are {size}",
            hint="places count from 0; negative ones are not read from the end",
        )


@bounded
class Sparse:
    """A matrix of a fixed pattern with the elements ``data``: a tree whose only leaf is the data.

    ``csr`` and ``coo`` make one. ``A @ x`` and ``x @ A`` take vectors, matrices and batches of
    them, and so does ``sg.matmul``; ``A.T`` is free. ``A * s`` takes what broadcasts to its shape.

    Attributes:
        data: the elements in CSR order (of ``A.T``: in that of A), an array or a value.
        pattern: their places.
    """

    __array_ufunc__ = None  # NumPy leaves operators to this class
    __array_priority__ = 2000.0

    def __init__(self, data: Any, pattern: SparsityPattern, transposed: bool = False) -> None:
        if isinstance(data, Value) and data.dtype.is_complex:
            raise _complex_elements(data.dtype)
        if not isinstance(data, Value):
            self._constant = ArrayData(_elements(data))
            data = self._constant.array
        if len(data.shape) != 1:
            raise RankError(f"sparse: the data is {shape_text(data.shape)}, not a vector")
        text = f"sparse: {data.shape[0]} numbers for a pattern of {pattern.nnz} elements"
        check_equal(text, data.shape[0], pattern.nnz)
        self.data, self.pattern, self._transposed = data, pattern, transposed

    def tree_contents(self) -> Contents:
        """The data as the only leaf."""
        static = {"pattern": self.pattern, "_transposed": self._transposed}
        return Contents({"data": self.data}, static)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.pattern.shape
        return (columns, rows) if self._transposed else (rows, columns)

    ndim = 2
    has_slices = False  # its data has one element for each place of the pattern

    @property
    def nnz(self) -> int:
        """The number of stored elements."""
        return self.pattern.nnz

    @property
    def dtype(self) -> Any:
        """The element type of the data."""
        return dtype_of(self.data.dtype, of="sparse")

    @property
    def T(self) -> Sparse:  # noqa: N802 - NumPy's name
        """The transposed matrix, with the same data."""
        return self._with(self.data, not self._transposed)

    def transpose(self) -> Sparse:
        """The transposed matrix, with the same data."""
        return self.T

    def _with(self, data: Any, transposed: bool | None = None) -> Sparse:
        found = Sparse.__new__(Sparse)
        found.data, found.pattern = data, self.pattern
        found._transposed = self._transposed if transposed is None else transposed
        if data is self.data and "_constant" in vars(self):
            found._constant = self._constant
        return found

    def with_data(self, data: Any) -> Sparse:
        """A matrix of the same pattern with other elements, in the order of ``data``."""
        return Sparse(data, self.pattern, self._transposed)

    def apply(self, function: Callable[[Any], Any]) -> Sparse:
        """The matrix with ``function`` applied to the vector of its stored elements."""
        return self.with_data(function(self.values()))

    def astype(self, dtype: Any) -> Sparse:
        """The matrix in another element type."""
        if isinstance(self.data, Value):
            return self.with_data(astype(self.data, dtype))
        return self.with_data(self.data.astype(dtype_of(dtype).numpy))

    def values(self, kind: type[Any] | None = None) -> Any:
        """The data as a value, an array as a constant."""
        if isinstance(self.data, Value):
            return as_value(self.data, kind, of="sparse")
        kept = vars(self).get("_constant")
        if kept is None or kept.array is not self.data:
            kept = self._constant = ArrayData(_elements(self.data))
        return (kind or binding_kind(())).bind(Constant(kept), ())

    def places(self) -> tuple[Array, Array]:
        """The row and the column of each element, in the order of ``data``."""
        rows, columns = self.pattern.rows, self.pattern.places.array
        return (columns, rows) if self._transposed else (rows, columns)

    # -- products ---------------------------------------------------------------------------------

    def __matmul__(self, other: Any) -> Any:
        return _product(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _product(other, self)

    def _times(self, x: Any) -> Any:
        """The product with dense rows [..., n, k]."""
        if x.dtype.is_complex:
            return complex_numbers.complex(self._times(x.real), self._times(x.imag))
        data, x = promoted_values((self.values(binding_kind((self.data, x))), x))
        return SparseProduct(self._transposed)(data, x, *self.pattern.values(binding_kind((x,))))

    def sampled(self, u: Any, v: Any) -> Sparse:
        """The matrix with the elements of ``u @ v`` at its pattern: u [rows, k], v [k, columns]."""
        u, v = promoted_values((u, v))
        if u.ndim != 2 or v.ndim != 2:
            raise RankError(f"sampled: {u.type} @ {v.type} is not a product of matrices")
        pair = (transpose(v), u) if self._transposed else (u, transpose(v))
        return self._with(SampledProduct()(*pair, *self.pattern.values(binding_kind((u,)))))

    # -- elementwise ------------------------------------------------------------------------------

    def __mul__(self, other: Any) -> Sparse:
        return self._scaled(other, multiply)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Sparse:
        return self._scaled(other, divide)

    def _scaled(self, other: Any, function: Callable[[Any, Any], Any]) -> Sparse:
        if is_sparse(other):
            raise ArgumentError("sparse: two sparse matrices are not multiplied elementwise")
        factor = as_value(other) if np.ndim(other) or isinstance(other, Value) else other
        if isinstance(factor, Value) and factor.ndim:
            factor = broadcast_to(factor, self.shape)[self.places()]
        return self._with(function(self.values(binding_kind((self.data, factor))), factor))

    def __neg__(self) -> Sparse:
        return self._with(negative(self.values()))

    def __add__(self, other: Any) -> Sparse:
        return self._sum(other, add)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Sparse:
        return self._sum(other, subtract)

    def _sum(self, other: Any, function: Callable[[Any, Any], Any]) -> Sparse:
        """A sum of the same pattern, or over the places of both."""
        if not is_sparse(other):
            raise ArgumentError(
                f"sparse: a sparse matrix is added to another one, not to {kind_of(other)}",
                hint="A.todense() + x",
            )
        other = _as_sparse(other)
        if self.shape != other.shape:
            text = f"{shape_text(self.shape)} and {shape_text(other.shape)}"
            raise ShapeError(f"sparse: the shapes {text} differ")
        kind = binding_kind((self.data, other.data))
        one, two = self.values(kind), other.values(kind)
        if self._transposed == other._transposed and self.pattern == other.pattern:
            return self._with(function(one, two))
        two = negative(two) if function is subtract else two
        (r, c), (r2, c2) = self.places(), other.places()
        data = concatenate([one, two])
        return coo(data, np.concatenate([r, r2]), np.concatenate([c, c2]), self.shape)

    # -- reductions and dense forms ---------------------------------------------------------------

    def sum(self, axis: int | None = None) -> Any:
        """The sum of all elements, or of each column (``axis=0``) or row (1), as a dense value."""
        if axis is None:
            return aggregate.sum(self.values())
        if axis not in (0, 1, -1, -2):
            raise ArgumentError(f"sum: axis={shown(axis)} is neither 0 nor 1")
        matrix = self.T if axis in (0, -2) else self
        data = self.values()
        ones = creation.ones((matrix.shape[1],), data.dtype, like=data)
        return _product(matrix, ones)

    def diagonal(self) -> Any:
        """The elements on the main diagonal, a vector; 0 where none is stored."""
        rows, columns = self.places()
        (at,) = np.nonzero(rows == columns)
        return scatter_add(self.values()[at], rows[at], min(self.shape))

    def todense(self) -> Any:
        """The whole matrix as a dense value."""
        rows, columns = self.shape
        at, others = (each.astype(np.int64) for each in self.places())
        flat = scatter_add(self.values(), at * columns + others, rows * columns)
        return reshape(flat, self.shape)

    def tocsr(self) -> Any:
        """The matrix as a ``scipy.sparse.csr_array``, where its data is an array or a tensor."""
        from scipy.sparse import csr_array

        parts = (np.asarray(self.data), self.pattern.places.array, self.pattern.starts.array)
        found = csr_array(parts, shape=self.pattern.shape)
        return found.T.tocsr() if self._transposed else found

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Sparse({rows} x {columns}, {self.nnz} elements of {self.dtype.numpy})"


parts.register(Sparse, lambda matrix: ObjectParts(lambda: matrix.tree_contents().parts))


def _complex_elements(dtype: Any) -> DTypeError:
    return DTypeError(
        f"sparse: the elements are of {dtype}, not of float32 or float64",
        hint="two matrices of one pattern: A.with_data(z.real) and A.with_data(z.imag)",
    )


def _elements(data: Any) -> Array:
    """Numbers of a matrix as an array; integers become float64, as in ``sg.linalg``."""
    found = leaf_array(data, of="sparse")
    if found.dtype.kind == "c":
        raise _complex_elements(found.dtype)
    if found.dtype.kind in "biu":
        return found.astype(F64.numpy)
    return found


def _as_sparse(data: Any) -> Sparse:
    """A matrix of SciPy as one of ours."""
    if isinstance(data, Sparse):
        return data
    if getattr(data, "ndim", 0) != 2:
        raise RankError(f"sparse: {kind_of(data)} of {getattr(data, 'ndim', 0)} axes, not a matrix")
    found = data.tocsr()
    return Sparse(found.data, SparsityPattern(found.indices, found.indptr, found.shape))


def csr(data: Any, indices: Any = None, indptr: Any = None, shape: Any = None) -> Sparse:
    """A sparse matrix from its elements row by row, or from one of SciPy.

    Args:
        data: the elements, an array or a value; or a matrix of ``scipy.sparse`` alone, whose
            duplicate places (COO) are added up.
        indices: the column of each element; a row may have them in any order, and several times.
        indptr: where each row begins among the elements, and their number at the end.
        shape: rows and columns.

    Raises:
        ArgumentError, DTypeError, IndexOutOfRange, RankError, ShapeError: no pattern of this shape.

    >>> sg.evaluate(sg.sparse.csr([1.0, 2.0], [1, 0], [0, 1, 1, 2], (3, 2)).todense())
    array([[0., 1.],
           [0., 0.],
           [2., 0.]])
    """
    if indices is None and indptr is None and is_sparse(data):
        return _as_sparse(data)
    if indices is None or indptr is None or shape is None:
        raise ArgumentError("csr: takes data, indices, indptr and shape", hint=_ALSO)
    return Sparse(data, SparsityPattern(indices, indptr, shape))


def coo(data: Any, rows: Any, columns: Any, shape: Any) -> Sparse:
    """A sparse matrix from the row and the column of each element; equal places are added up.

    Args:
        data: the elements, an array or a value.
        rows, columns: integers, one for each element.
        shape: rows and columns of the matrix.

    Returns:
        The matrix. Its ``data`` has one element for each place, by rows and then by columns.

    Raises:
        ArgumentError, DTypeError, IndexOutOfRange, RankError, ShapeError: no matrix of this shape.

    >>> A = sg.sparse.coo([1.0, 2.0, 4.0], [1, 0, 1], [0, 1, 0], (2, 2))
    >>> A.data
    array([2., 5.])
    """
    at, across = _integers("rows", rows), _integers("columns", columns)
    if at.size != across.size:
        raise ShapeError(f"coo: {at.size} rows and {across.size} columns")
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise RankError(f"coo: shape={shown(shape)} is not a pair of rows and columns")
    height, width = (_size(size) for size in shape)
    _check_range("row", at, height)
    _check_range("column", across, width)
    size = data.shape[0] if isinstance(data, Value) and data.ndim else np.size(data)
    text = f"coo: {size} numbers at {at.size} places"
    check_equal(text, size, at.size)
    flat, group = np.unique(at * width + across, return_inverse=True)
    rows_of = flat // max(width, 1)
    starts = np.searchsorted(rows_of, np.arange(height + 1))
    pattern = SparsityPattern(flat - rows_of * width, starts, (height, width))
    if not isinstance(data, Value):
        found = np.zeros(flat.size, (array := _elements(data)).dtype)
        np.add.at(found, group, array)
        return Sparse(found, pattern)
    if flat.size < group.size:
        return Sparse(scatter_add(data, group, flat.size), pattern)
    return Sparse(take(data, np.argsort(group)), pattern)


def _product(a: Any, b: Any) -> Any:
    """a @ b where one of them is sparse; see ``sg.matmul``."""
    if is_sparse(a) and is_sparse(b):
        raise ArgumentError(
            "matmul: the product of two sparse matrices has another pattern",
            hint="A @ (B @ x) multiplies by both; A @ B.todense() is dense",
        )
    if is_sparse(a):
        matrix, x = _as_sparse(a), as_value(b)
        _check_product(
            x, f"{shape_text(matrix.shape)} @ {shape_text(x.shape)}", max(-2, -x.ndim), matrix
        )
        if x.ndim > 1:
            return matrix._times(x)
        return squeeze(matrix._times(expand_dims(x, 1)), 1)
    matrix, x = _as_sparse(b).T, as_value(a)
    _check_product(x, f"{shape_text(x.shape)} @ {shape_text(matrix.shape[::-1])}", -1, matrix)
    if x.ndim == 1:
        return squeeze(matrix._times(expand_dims(x, 1)), 1)
    rows = reshape(x, (-1, x.shape[-1])) if x.ndim > 2 else x
    found = transpose(matrix._times(transpose(rows)))
    return reshape(found, (*x.shape[:-1], matrix.shape[0]))


def _check_product(x: Any, product: str, axis: int, matrix: Sparse) -> None:
    """Refuse a dense operand whose ``axis`` is not as long as rows of the matrix."""
    if x.ndim == 0:
        raise RankError("matmul: a scalar is not a matrix", hint="multiply with *")
    columns = matrix.shape[1]
    text = f"matmul: {product}: the sizes {columns} and {x.shape[axis]} differ"
    check_equal(text, x.shape[axis], columns, x)


def softmax(A: Sparse) -> Sparse:
    """The softmax of each row over its stored elements, as graph attention takes it.

    Args:
        A: a sparse matrix; what is not stored counts as minus infinity.

    >>> A = sg.sparse.csr([0.0, 0.0, 5.0], [0, 1, 1], [0, 2, 3], (2, 2))
    >>> sg.evaluate(sg.sparse.softmax(A).todense())
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    matrix = _checked("softmax", A)
    rows, _ = matrix.places()
    data = matrix.values()
    most = stop_gradient(ScatterExtreme("max", 0, matrix.shape[0])(data, rows))
    powers = exp(data - take(most, rows))
    total = matrix._with(powers).sum(1)
    return matrix._with(powers / take(total, rows))


def normalized_adjacency(A: Any, self_loops: bool = True) -> Sparse:
    """``D^-1/2 (A + I) D^-1/2``, where D has the row sums of ``A + I``: what ``GraphConv`` takes.

    Kipf and Welling, Semi-supervised classification with graph convolutional networks, 2017.

    Args:
        A: a square sparse matrix, of SciPy too; row i has weights of the neighbours of node i.
        self_loops: add the identity first. Rows whose sum is 0 stay 0.

    >>> A = sg.sparse.coo([1.0, 1.0], [0, 1], [1, 0], (2, 2))
    >>> sg.sparse.normalized_adjacency(A).tocsr().toarray().round(3)
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    matrix = _checked("normalized_adjacency", A)
    n = matrix.shape[0]
    if matrix.shape[1] != n:
        raise ShapeError(f"normalized_adjacency: {shape_text(matrix.shape)} is not square")
    if not isinstance(matrix.data, Value):  # known now: nothing is left to the run
        from scipy.sparse import eye_array

        found = matrix.tocsr()
        found = (
            found + eye_array(n, dtype=found.dtype, format="csr") if self_loops else found
        ).tocoo()
        sums = np.bincount(found.row, found.data, n).astype(found.dtype)
        scale = np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
        data = found.data * scale[found.row] * scale[found.col]
        return coo(data, found.row, found.col, (n, n))
    if self_loops:
        ones = np.ones(n, matrix.dtype.numpy)
        matrix = matrix + Sparse(ones, SparsityPattern(np.arange(n), np.arange(n + 1), (n, n)))
    sums = matrix.sum(1)
    positive = sums > 0.0
    scale = where(positive, where(positive, sums, 1.0) ** -0.5, 0.0)
    return matrix * expand_dims(scale, 1) * scale


def _checked(name: str, matrix: Any) -> Sparse:
    if not is_sparse(matrix):
        raise ArgumentError(f"{name}: A is {kind_of(matrix)}, not a sparse matrix", hint=_ALSO)
    return _as_sparse(matrix)


namespace(globals())
