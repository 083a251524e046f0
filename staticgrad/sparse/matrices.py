"""The pattern of a sparse matrix, the matrix, and its operations: products, sums, parts of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, wraps
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from staticgrad.errors import (
    ArgumentError,
    DTypeError,
    IndexOutOfRange,
    RankError,
    ShapeError,
    SymbolicValueError,
)
from staticgrad.extend import (
    Array,
    Constant,
    Value,
    are_plain,
    as_value,
    binding_kind,
    check_equal,
    computed_at_once,
    dtype_of,
    is_sparse,
    kind_of,
    known_integer,
    leaf_array,
    make_boundaries,
    promoted_values,
    quote,
    shape_text,
)
from staticgrad.extend.dtypes import F64
from staticgrad.extend.functions import imag, real
from staticgrad.extend.ops import (
    absolute,
    add,
    arcsin,
    arcsinh,
    arctan,
    arctanh,
    astype,
    broadcast_to,
    ceil,
    concatenate,
    conj,
    divide,
    expand_dims,
    expm1,
    floor,
    log1p,
    multiply,
    negative,
    reshape,
    rint,
    scatter_add,
    sign,
    sin,
    sinh,
    sqrt,
    squeeze,
    subtract,
    take,
    tan,
    tanh,
    transpose,
    trunc,
)
from staticgrad.extend.parameters import ArrayData
from staticgrad.extend.trees import Contents, ObjectParts, parts
from staticgrad.functions import aggregate, creation
from staticgrad.functions.elementwise import deg2rad, rad2deg
from staticgrad.language.ops.sparse import SampledProduct, SparseProduct

_ALSO: Final = (
    "sg.sparse.csr(matrix) takes matrices of SciPy and arrays of NumPy of two axes\n"
    "sg.sparse.coo(data, rows, columns, shape) takes the place of each element"
)


Method = TypeVar("Method", bound=Callable[..., Any])


def _compute_at_once(method: Method) -> Method:
    """Make a sparse method compute at once if the matrix and all operands are arrays."""

    @wraps(method)
    def compute(*args: Any, **kwargs: Any) -> Any:
        data = [arg.data for arg in args if isinstance(arg, Sparse)]
        if not are_plain((*args, *data), kwargs):
            return method(*args, **kwargs)
        return computed_at_once(lambda args, kwargs: method(*args, **kwargs), args, kwargs)

    return compute  # type: ignore[return-value]


@make_boundaries
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
        rows, columns = pair_of("sparse", shape)
        places, starts = integers("indices", indices), integers("indptr", indptr)
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
        index_dtype = np.int32 if max(rows, columns, places.size) < 2**31 else np.int64
        self.shape = rows, columns
        self.starts, self.places = (
            ArrayData(starts.astype(index_dtype)),
            ArrayData(places.astype(index_dtype)),
        )

    @property
    def nnz(self) -> int:
        """The number of stored elements."""
        return int(self.places.array.size)

    @cached_property
    def vectors(self) -> tuple[ArrayData, ...]:
        """Return the pattern by rows and by columns, as the ops of ``ops/sparse.py`` take it."""
        from scipy.sparse import csr_array

        starts, places = self.starts.array, self.places.array
        counted = (np.arange(self.nnz, dtype=places.dtype), places, starts)
        by_columns = csr_array(counted, shape=self.shape).tocsc()
        others = (by_columns.indptr, by_columns.indices, by_columns.data)
        index_vectors = (
            ArrayData(np.asarray(vector, places.dtype)) for vector in (self.rows, *others)
        )
        return self.starts, self.places, *index_vectors

    @cached_property
    def rows(self) -> Array:
        """The row of each element."""
        starts = self.starts.array
        return np.repeat(np.arange(self.shape[0], dtype=starts.dtype), np.diff(starts))

    @cached_property
    def flat(self) -> Array:
        """The row-major index of each element in the matrix."""
        return self.rows.astype(np.int64) * self.shape[1] + self.places.array

    @property
    def is_sorted(self) -> bool:
        """Return whether the columns of each row ascend, each once."""
        return bool((np.diff(self.flat) > 0).all())

    @cached_property
    def has_duplicates(self) -> bool:
        """Return whether an index pair is stored several times."""
        return np.unique(self.flat).size < self.nnz

    def values(self, kind: type[Any]) -> tuple[Any, ...]:
        """The vectors as values of a kind, or of that of its parts."""
        kind = getattr(kind, "part_kind", kind)
        return tuple(kind.bind(Constant(vector), ()) for vector in self.vectors)

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


class RunPattern:
    """The pattern of a sparse matrix that each run gives: vectors of integers that are values.

    Products and sums need no more; what needs the places now is refused.
    """

    is_of_run = True

    def __init__(self, opened: OpenMatrix) -> None:
        starts = concatenate([opened.row_starts, opened.end])
        starts_t = concatenate([opened.column_starts, opened.end])
        self.shape = opened.row_starts.shape[0], opened.column_starts.shape[0]
        self.nnz, self.has_duplicates = opened.columns.shape[0], opened.has_duplicates
        self._values = (
            starts, opened.columns, opened.row_of_each, starts_t, opened.rows, opened.order,
        )  # fmt: skip

    def values(self, kind: type[Any]) -> tuple[Any, ...]:
        """The vectors as the ops of ``ops/sparse.py`` take them."""
        return self._values

    def _refuse(self) -> Any:
        raise SymbolicValueError(
            "sparse: the places of the elements are known only in a run",
            hint="A @ x, x @ A, A.T, A * number, A.sum(axis), A.apply(f) need no places",
        )

    starts = places = rows = flat = vectors = property(_refuse)

    def __repr__(self) -> str:
        return f"RunPattern({self.shape[0]} x {self.shape[1]}, {self.nnz} elements)"


class _MatrixParts(NamedTuple):
    data: Any
    row_starts: Any
    columns: Any
    row_of_each: Any
    column_starts: Any
    rows: Any
    order: Any
    end: Any
    is_transposed: bool
    has_duplicates: bool


class OpenMatrix(_MatrixParts):
    """The parts of a sparse matrix with its pattern, as inputs of a traced function.

    Rows, columns and elements are the sizes of its vectors: both vectors of starts are without
    their last number, ``end``. Made of values it is the matrix.
    """

    __slots__ = ()

    def __new__(cls, *parts: Any) -> Any:
        opened = super().__new__(cls, *parts)
        if not isinstance(opened.columns, Value):
            return opened
        return Sparse.of_run(opened.data, RunPattern(opened), opened.is_transposed)


def pair_of(name: str, shape: Any) -> tuple[int, int]:
    """Read the shape of a matrix."""
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise RankError(f"{name}: shape={quote(shape)} is not a pair of rows and columns")
    rows, columns = map(_size, shape)
    return rows, columns


def _size(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 0:
        raise ArgumentError(f"sparse: the shape has {quote(size)}, not a size")
    return int(size)


def integers(what: str, data: Any) -> Array:
    """Read a vector of integers."""
    vector = leaf_array(data, of="sparse")
    if vector.ndim != 1:
        raise RankError(f"sparse: {what} has {vector.ndim} axes, not one")
    if vector.dtype.kind not in "iu" and vector.size:
        raise DTypeError(f"sparse: {what} is of {vector.dtype}, not of integers")
    return vector.astype(np.int64)


def _check_range(what: str, places: Array, size: int) -> None:
    """Refuse indices of a sparse matrix outside of its rows or columns."""
    outside = (places < 0) | (places >= size)
    if outside.any():
        position = int(np.argmax(outside))
        raise IndexOutOfRange(
            f"sparse: element {position} is in {what} {places[position]}, and there are {size}",
            hint="places count from 0; negative ones are not read from the end",
        )


def unary(function: Callable[[Any], Any]) -> Callable[[Sparse], Sparse]:
    """A method that applies a function that keeps 0 to the elements."""

    def apply_function(self: Sparse) -> Sparse:
        matrix = canonical(self)
        return matrix._replace_data(function(matrix.values()))

    apply_function.__name__ = function.__name__
    apply_function.__qualname__ = f"Sparse.{function.__name__}"
    apply_function.__doc__ = f"The matrix of ``{function.__name__}`` of each element."
    return _compute_at_once(apply_function)


@make_boundaries
class Sparse:
    """A matrix of a fixed pattern with the elements ``data``: a tree whose only leaf is the data.

    ``csr`` and ``coo`` make one. ``A @ x`` and ``x @ A`` take vectors, matrices and batches of
    them, and so does ``sg.matmul``; ``A.T`` is free. ``A * s`` takes what broadcasts to its shape.
    Operators and methods are those of SciPy's sparse arrays; what they give of arrays alone is
    computed when they are called. ``A[i]`` is a dense vector, ``A[i, j]`` a number, and a part
    whose rows and columns are slices or vectors of indices is a sparse matrix.

    Attributes:
        data: the elements in CSR order (of ``A.T``: in that of A), an array or a value.
        pattern: their places.
    """

    __array_ufunc__ = None  # NumPy leaves operators to this class
    __array_priority__ = 2000.0

    def __init__(self, data: Any, pattern: SparsityPattern, transposed: bool = False) -> None:
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

    def open_pattern(self) -> Any:
        """Return its parts with those of its pattern, for functions of matrices of any pattern."""
        starts, columns, row_of_each, starts_t, rows, order = (
            vector.array for vector in self.pattern.vectors
        )
        has_duplicates = not self.pattern.is_sorted and self.pattern.has_duplicates
        return OpenMatrix(
            self.data, starts[:-1], columns, row_of_each, starts_t[:-1], rows, order, starts[-1:],
            self._transposed, has_duplicates,
        )  # fmt: skip

    @staticmethod
    def of_run(data: Any, pattern: RunPattern, transposed: bool) -> Sparse:
        """Return a matrix whose pattern a run gives."""
        matrix = Sparse.__new__(Sparse)
        as_pattern: Any = pattern
        matrix.data, matrix.pattern, matrix._transposed = data, as_pattern, transposed
        return matrix

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
        return self._replace_data(self.data, not self._transposed)

    @property
    def is_transposed(self) -> bool:
        """Return whether the matrix is the transpose of the one with this pattern."""
        return self._transposed

    def transpose(self) -> Sparse:
        """The transposed matrix, with the same data."""
        return self.T

    @property
    def H(self) -> Sparse:  # noqa: N802 - SciPy's name
        """The conjugate transposed matrix."""
        return self.T.conj()

    def _replace_data(self, data: Any, transposed: bool | None = None) -> Sparse:
        matrix = Sparse.__new__(Sparse)
        matrix.data, matrix.pattern = data, self.pattern
        matrix._transposed = self._transposed if transposed is None else transposed
        if data is self.data and "_constant" in vars(self):
            matrix._constant = self._constant
        return matrix

    def with_data(self, data: Any) -> Sparse:
        """A matrix of the same pattern with other elements, in the order of ``data``."""
        return Sparse(data, self.pattern, self._transposed)

    @_compute_at_once
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
        cached = vars(self).get("_constant")
        if cached is None or cached.array is not self.data:
            cached = self._constant = ArrayData(_elements(self.data))
        kind = kind or binding_kind(())
        if cached.array.dtype.kind == "c":
            return kind.lift(cached.array)
        return getattr(kind, "part_kind", kind).bind(Constant(cached), ())

    def places(self) -> tuple[Array, Array]:
        """The row and the column of each element, in the order of ``data``."""
        rows, columns = self.pattern.rows, self.pattern.places.array
        return (columns, rows) if self._transposed else (rows, columns)

    def nonzero(self) -> tuple[Array, Array]:
        """The rows and the columns of the stored elements, each place once, by rows."""
        rows, columns = self.places()
        flat = np.unique(rows.astype(np.int64) * self.shape[1] + columns)
        width = max(self.shape[1], 1)
        return flat // width, flat % width

    # -- products ---------------------------------------------------------------------------------

    @_compute_at_once
    def __matmul__(self, other: Any) -> Any:
        return _multiply(self, other)

    @_compute_at_once
    def __rmatmul__(self, other: Any) -> Any:
        return _multiply(other, self)

    def dot(self, other: Any) -> Any:
        """The product, ``A @ other``."""
        return self @ other

    def _multiply_dense(self, x: Any) -> Any:
        """The product with dense rows [..., n, k]."""
        data, x = promoted_values((self.values(binding_kind((self.data, x))), x))
        return SparseProduct(self._transposed)(data, x, *self.pattern.values(binding_kind((x,))))

    @_compute_at_once
    def sampled(self, u: Any, v: Any) -> Sparse:
        """The matrix with the elements of ``u @ v`` at its pattern: u [rows, k], v [k, columns]."""
        u, v = promoted_values((u, v))
        if u.ndim != 2 or v.ndim != 2:
            raise RankError(f"sampled: {u.type} @ {v.type} is not a product of matrices")
        pair = (transpose(v), u) if self._transposed else (u, transpose(v))
        return self._replace_data(SampledProduct()(*pair, *self.pattern.values(binding_kind((u,)))))

    # -- elementwise ------------------------------------------------------------------------------

    def __mul__(self, other: Any) -> Sparse:
        return self._scale(other, multiply)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Sparse:
        return self._scale(other, divide)

    @_compute_at_once
    def _scale(self, operand: Any, function: Callable[[Any, Any], Any]) -> Sparse:
        """Multiply or divide a sparse matrix elementwise by an operand."""
        if is_sparse(operand):
            if function is divide:
                raise ArgumentError(
                    "sparse: a quotient of two sparse matrices is 0 / 0 where neither is stored",
                    hint="A * B.apply(sg.reciprocal) where B is stored; A.todense() / B.todense()",
                )
            return self._multiply_sparse(as_sparse(operand))
        factor = as_value(operand) if np.ndim(operand) or isinstance(operand, Value) else operand
        if isinstance(factor, Value) and factor.ndim:
            factor = self._gather_factor(factor)
        return self._replace_data(function(self.values(binding_kind((self.data, factor))), factor))

    def _gather_factor(self, factor: Any) -> Any:
        """Gather a broadcast factor at the stored elements of a sparse matrix."""
        broadcast_to(factor, self.shape)  # refuses other shapes
        rows, columns = self.places()
        height, width = (1, *factor.shape)[-2:]
        flat = reshape(factor, (height * width,))
        if height == width == 1:
            return reshape(flat, ())
        if height == 1:
            return gather_elements(flat, columns)
        return gather_elements(
            flat, rows if width == 1 else rows.astype(np.int64) * width + columns
        )

    def _multiply_sparse(self, matrix: Sparse) -> Sparse:
        """Multiply sparse matrices elementwise: the intersection of both patterns."""
        _check_shapes(self, matrix)
        a, b = canonical(self), canonical(matrix)
        kind = binding_kind((a.data, b.data))
        if a._transposed == b._transposed and a.pattern == b.pattern:
            return a._replace_data(multiply(a.values(kind), b.values(kind)))
        left, right = _flat(a), _flat(b)
        positions, first, second = np.intersect1d(
            left, right, assume_unique=True, return_indices=True
        )
        data = multiply(
            gather_elements(a.values(kind), first), gather_elements(b.values(kind), second)
        )
        width = max(self.shape[1], 1)
        return assemble_matrix(data, positions // width, positions % width, self.shape)

    def multiply(self, other: Any) -> Sparse:
        """The elementwise product, ``A * other``."""
        return self * other

    @_compute_at_once
    def __pow__(self, exponent: Any) -> Sparse:
        """Elementwise powers; ``exponent`` is a number above 0."""
        if not isinstance(exponent, int | float | np.number) or not exponent > 0:
            raise ArgumentError(
                f"sparse: the exponent {quote(exponent)} is not a number above 0",
                hint="A.apply(lambda x: x ** e) takes powers of stored elements alone",
            )
        matrix = canonical(self)
        return matrix._replace_data(matrix.values() ** exponent)

    def power(self, n: Any) -> Sparse:
        """Elementwise powers, ``A ** n``."""
        return self**n

    @_compute_at_once
    def __neg__(self) -> Sparse:
        return self._replace_data(negative(self.values()))

    def __add__(self, other: Any) -> Any:
        return self._combine(other, add)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._combine(other, subtract)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    __abs__ = unary(absolute)
    abs = __abs__
    arcsin = unary(arcsin)
    arcsinh = unary(arcsinh)
    arctan = unary(arctan)
    arctanh = unary(arctanh)
    ceil = unary(ceil)
    deg2rad = unary(deg2rad)
    expm1 = unary(expm1)
    floor = unary(floor)
    log1p = unary(log1p)
    rad2deg = unary(rad2deg)
    rint = unary(rint)
    sign = unary(sign)
    sin = unary(sin)
    sinh = unary(sinh)
    sqrt = unary(sqrt)
    tan = unary(tan)
    tanh = unary(tanh)
    trunc = unary(trunc)
    conj = conjugate = unary(conj)
    real = property(unary(real))
    imag = property(unary(imag))

    # -- parts ------------------------------------------------------------------------------------

    @_compute_at_once
    def __getitem__(self, key: Any) -> Any:
        """A part of the matrix, by indices that are known now.

        Returns:
            A number for two integers, a dense vector for one; the dense elements at two arrays of
            indices, or at a mask of the matrix's shape; else a sparse matrix.

        Raises:
            ArgumentError: indices that are known only in a run.
            IndexOutOfRange, RankError: indices outside of the matrix, or of more than two axes.
        """
        key = known_index(key)
        if isinstance(key, np.ndarray) and key.dtype == bool and key.ndim == 2:
            check_mask(key, self.shape)
            return self._gather(*np.nonzero(key))
        pair = key if isinstance(key, tuple) else (key,)
        pair = tuple(map(known_index, pair))
        ellipses = [number for number, index in enumerate(pair) if index is Ellipsis]
        if len(pair) - len(ellipses) > 2 or len(ellipses) > 1:
            raise RankError(f"sparse: {len(pair)} indices, and a matrix has 2 axes")
        at = ellipses[0] if ellipses else len(pair)
        full_slices = (slice(None),) * (2 - len(pair) + len(ellipses))
        pair = (*pair[:at], *full_slices, *pair[at + 1 :])
        sliced = [isinstance(index, slice) for index in pair]
        read = [
            read_index(index, size, what)
            for index, size, what in zip(pair, self.shape, ("row", "column"), strict=True)
        ]
        rows, columns = read
        if any(sliced) and max(rows.ndim, columns.ndim) > 1:
            raise RankError(
                "sparse: indices of 2 axes beside a slice", hint="A[np.ix_(rows, columns)]"
            )
        is_grid = rows.ndim == columns.ndim == 2 and rows.shape[1] == columns.shape[0] == 1
        if not any(sliced) and not is_grid:
            rows, columns = broadcast_indices(rows, columns)
            return reshape(self._gather(rows.ravel(), columns.ravel()), rows.shape)
        part = self._submatrix(rows.ravel(), columns.ravel())
        if rows.ndim and columns.ndim:
            return part
        return reshape(part.todense(), (part.shape[0] * part.shape[1],))

    def __iter__(self) -> Iterator[Any]:
        """The rows, as dense vectors."""
        return (self[row] for row in range(self.shape[0]))

    def _submatrix(self, rows: Array, columns: Array) -> Sparse:
        """Select rows and columns of a sparse matrix, which may repeat."""
        height, width = self.shape
        row_indices, column_indices = self.places()
        elements, row_indices = pick_elements(row_indices, rows, height)
        others, column_indices = pick_elements(column_indices[elements], columns, width)
        shape = rows.size, columns.size
        return assemble_matrix(
            gather_elements(self.values(), elements[others]),
            row_indices[others],
            column_indices,
            shape,
        )

    def _gather(self, rows: Array, columns: Array) -> Any:
        """Gather elements of a sparse matrix at index pairs; 0 where none is stored."""
        matrix = canonical(self)
        flat = _flat(matrix)
        order = np.argsort(flat, kind="stable")
        targets = rows.astype(np.int64) * self.shape[1] + columns
        place = np.searchsorted(flat[order], targets)
        inside = place < flat.size
        inside[inside] = flat[order][place[inside]] == targets[inside]
        (to,) = np.nonzero(inside)
        return sum_groups(gather_elements(matrix.values(), order[place[to]]), to, targets.size)

    @_compute_at_once
    def _combine(self, operand: Any, function: Callable[[Any, Any], Any]) -> Any:
        """Add or subtract sparse matrices: the union of patterns; dense with a dense one."""
        if not is_sparse(operand):
            if known_integer(operand) == 0:
                return self  # as sum([A, B]) begins
            if getattr(operand, "ndim", 0) == 2:
                return function(self.todense(), operand)
            raise ArgumentError(
                f"sparse: a sparse matrix is added to another matrix, not to {kind_of(operand)}",
                hint="A.todense() + x",
            )
        operand = as_sparse(operand)
        _check_shapes(self, operand)
        kind = binding_kind((self.data, operand.data))
        a, b = self.values(kind), operand.values(kind)
        if self._transposed == operand._transposed and self.pattern == operand.pattern:
            return self._replace_data(function(a, b))
        b = negative(b) if function is subtract else b
        (r, c), (r2, c2) = self.places(), operand.places()
        data = concatenate([a, b])
        return coo(data, np.concatenate([r, r2]), np.concatenate([c, c2]), self.shape)

    # -- reductions and dense forms ---------------------------------------------------------------

    @_compute_at_once
    def sum(self, axis: int | None = None) -> Any:
        """The sum of all elements, or of each column (``axis=0``) or row (1), as a dense value."""
        if axis is None:
            return aggregate.sum(self.values())
        if known_integer(axis) not in (0, 1, -1, -2):
            raise ArgumentError(f"sum: axis={quote(axis)} is neither 0 nor 1")
        matrix = self.T if axis in (0, -2) else self
        data = self.values()
        ones = creation.ones((matrix.shape[1],), data.dtype.real, like=data)
        return _multiply(matrix, ones)

    @_compute_at_once
    def mean(self, axis: int | None = None) -> Any:
        """The mean of all places, or of each column (``axis=0``) or row (1); others count as 0."""
        rows, columns = self.shape
        total = self.sum(axis)
        count = rows * columns if axis is None else rows if axis in (0, -2) else columns
        return total / float(count)

    @_compute_at_once
    def trace(self, offset: int = 0) -> Any:
        """The sum of a diagonal."""
        return aggregate.sum(self.diagonal(offset))

    @_compute_at_once
    def diagonal(self, k: int = 0) -> Any:
        """The elements on a diagonal, a vector; 0 where none is stored.

        Args:
            k: which one: of element [i, i + k].
        """
        rows, columns = self.places()
        (stored,) = np.nonzero(columns - rows == k)
        size = diagonal_size(self.shape, k)
        return sum_groups(
            gather_elements(self.values(), stored), (rows if k >= 0 else columns)[stored], size
        )

    @_compute_at_once
    def todense(self) -> Any:
        """The whole matrix as a dense value."""
        rows, columns = self.shape
        rows_of, columns_of = (places.astype(np.int64) for places in self.places())
        flat = sum_groups(self.values(), rows_of * columns + columns_of, rows * columns)
        return reshape(flat, self.shape)

    def toarray(self) -> Any:
        """The whole matrix as a dense value, SciPy's name of ``todense``."""
        return self.todense()

    def tocsr(self) -> Any:
        """The matrix as a ``scipy.sparse.csr_array``, where its data is an array or a tensor."""
        from scipy.sparse import csr_array

        parts = (np.asarray(self.data), self.pattern.places.array, self.pattern.starts.array)
        array = csr_array(parts, shape=self.pattern.shape)
        return array.T.tocsr() if self._transposed else array

    def tocoo(self) -> Any:
        """The matrix as a ``scipy.sparse.coo_array``, as ``tocsr``."""
        return self.tocsr().tocoo()

    def tocsc(self) -> Any:
        """The matrix as a ``scipy.sparse.csc_array``, as ``tocsr``."""
        return self.tocsr().tocsc()

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"Sparse({rows} x {columns}, {self.nnz} elements of {self.dtype.numpy})"


parts.register(Sparse, lambda matrix: ObjectParts(lambda: matrix.tree_contents().parts))


def _elements(data: Any) -> Array:
    """Numbers of a matrix as an array; integers become float64, as in ``sg.linalg``."""
    array = leaf_array(data, of="sparse")
    if array.dtype.kind in "biu":
        return array.astype(F64.numpy)
    return array


def as_sparse(data: Any) -> Sparse:
    """A matrix of SciPy as one of ours."""
    if isinstance(data, Sparse):
        return data
    if getattr(data, "ndim", 0) != 2:
        raise RankError(f"sparse: {kind_of(data)} of {getattr(data, 'ndim', 0)} axes, not a matrix")
    csr = data.tocsr()
    return Sparse(csr.data, SparsityPattern(csr.indices, csr.indptr, csr.shape))


def csr(data: Any, indices: Any = None, indptr: Any = None, shape: Any = None) -> Sparse:
    """A sparse matrix from its elements row by row, or from one of SciPy or NumPy.

    Args:
        data: the elements, an array or a value; or alone a matrix of ``scipy.sparse``, whose
            duplicate places (COO) are added up, or an array of NumPy of two axes, whose zeros are
            left out.
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
    if indices is None and indptr is None and shape is None:
        if is_sparse(data):
            return as_sparse(data)
        if isinstance(data, np.ndarray) and data.ndim == 2:
            rows, columns = np.nonzero(data)
            return coo(data[rows, columns], rows, columns, data.shape)
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
    row_indices, column_indices = integers("rows", rows), integers("columns", columns)
    if row_indices.size != column_indices.size:
        raise ShapeError(f"coo: {row_indices.size} rows and {column_indices.size} columns")
    height, width = pair_of("coo", shape)
    _check_range("row", row_indices, height)
    _check_range("column", column_indices, width)
    size = data.shape[0] if isinstance(data, Value) and data.ndim else np.size(data)
    text = f"coo: {size} numbers at {row_indices.size} places"
    check_equal(text, size, row_indices.size)
    flat, group = np.unique(row_indices * width + column_indices, return_inverse=True)
    rows_of = flat // max(width, 1)
    starts = np.searchsorted(rows_of, np.arange(height + 1))
    pattern = SparsityPattern(flat - rows_of * width, starts, (height, width))
    if not isinstance(data, Value):
        sums = np.zeros(flat.size, (array := _elements(data)).dtype)
        np.add.at(sums, group, array)
        return Sparse(sums, pattern)
    if flat.size < group.size:
        return Sparse(sum_groups(data, group, flat.size), pattern)
    return Sparse(reorder_elements(data, np.argsort(group)), pattern)


def reorder_elements(data: Any, order: Array) -> Any:
    """Return the elements in another order; the same value if the order is unchanged."""
    same = order.size == data.shape[0] and np.array_equal(order, np.arange(order.size))
    return data if same else gather_elements(data, order)


def gather_elements(data: Any, indices: Array) -> Any:
    """Return the elements of a vector at indices known when the graph is built."""
    return take(data, _constant(data, indices))


def sum_groups(data: Any, groups: Array, size: int) -> Any:
    """Sum elements by group, of groups known when the graph is built."""
    return scatter_add(data, _constant(data, groups), size)


def _constant(data: Any, indices: Array) -> Any:
    """Indices that the package has computed, beside a value: in 32 bits where they fit."""
    kind = binding_kind((data,))
    small = not indices.size or int(indices.max()) < 2**31
    array = ArrayData(indices.astype(np.int32 if small else np.int64))
    return getattr(kind, "part_kind", kind).bind(Constant(array), ())


def assemble_matrix(data: Any, rows: Array, columns: Array, shape: tuple[int, int]) -> Sparse:
    """Make the matrix of a value and the indices of its elements; duplicates are not summed."""
    order = np.lexsort((columns, rows))
    starts = np.searchsorted(rows[order], np.arange(shape[0] + 1))
    pattern = SparsityPattern(columns[order], starts, shape)
    return Sparse(reorder_elements(data, order), pattern)


def canonical(matrix: Sparse) -> Sparse:
    """The same matrix, each of whose places is stored once."""
    if not matrix.pattern.has_duplicates:
        return matrix
    return coo(matrix.values(), *matrix.places(), matrix.shape)


def _flat(matrix: Sparse) -> Array:
    rows, columns = matrix.places()
    return rows.astype(np.int64) * matrix.shape[1] + columns


def pick_elements(keys: Array, targets: Array, size: int) -> tuple[Array, Array]:
    """Return the elements whose key is one of ``targets``, for each of these, and its number.

    ``keys`` has an integer below ``size`` for each element. Elements of equal keys stay in order.
    """
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange(size + 1))
    counts = np.diff(starts)[targets]
    offsets = np.cumsum(counts) - counts
    positions = np.arange(counts.sum()) + np.repeat(starts[:-1][targets] - offsets, counts)
    return order[positions], np.repeat(np.arange(targets.size), counts)


def diagonal_size(shape: tuple[int, int], k: int) -> int:
    """The number of places on a diagonal."""
    return max(min(shape[0] + min(k, 0), shape[1] - max(k, 0)), 0)


def _check_shapes(a: Sparse, b: Sparse) -> None:
    if a.shape != b.shape:
        text = f"{shape_text(a.shape)} and {shape_text(b.shape)}"
        raise ShapeError(f"sparse: the shapes {text} differ")


# -- indices --------------------------------------------------------------------------------------


def known_index(key: Any) -> Any:
    """An index as a tuple, a slice, Ellipsis or an array."""
    if isinstance(key, tuple | slice) or key is Ellipsis:
        parts_of_key = (key.start, key.stop, key.step) if isinstance(key, slice) else ()
        if any(isinstance(bound, Value) for bound in parts_of_key):
            raise _unknown_index(key)
        return key
    if isinstance(key, Value) and not key.computes:
        raise _unknown_index(key)
    if is_sparse(key):
        raise ArgumentError("sparse: a sparse matrix is no index", hint="A * (B != 0)")
    if key is None:
        raise RankError("sparse: None adds no axis: a sparse matrix has 2")
    array = np.asarray(key)
    if array.dtype.kind not in "biu" and array.size:
        raise DTypeError(f"sparse: an index is of {array.dtype}, not of integers or bools")
    return array if array.dtype.kind == "b" else array.astype(np.int64)


def _unknown_index(key: Any) -> ArgumentError:
    return ArgumentError(
        f"sparse: the index {quote(key)} is known only in a run, a pattern before it",
        hint="A.todense()[i] reads a dense matrix",
    )


def read_index(key: Any, size: int, what: str) -> Array:
    """The indices along an axis, from 0, that a slice, integers or a mask name."""
    if isinstance(key, slice):
        return np.arange(size)[key]
    if key.dtype == bool:
        check_mask(key, (size,))
        return np.nonzero(key)[0]
    outside = (key < -size) | (key >= size)
    if outside.any():
        first = key[outside].ravel()[0]
        raise IndexOutOfRange(f"sparse: {what} {first} is outside of a matrix of {size} {what}s")
    if key.ndim > 2:
        raise RankError(f"sparse: indices of {key.ndim} axes pick {what}s of a matrix")
    indices: Array = np.where(key < 0, key + size, key)
    return indices


def check_mask(mask: Array, shape: tuple[int, ...]) -> None:
    """Refuse a mask of another shape."""
    if mask.shape != shape:
        text = f"{shape_text(mask.shape)}, not {shape_text(shape)}"
        raise ShapeError(f"sparse: a mask is {text}")


def broadcast_indices(rows: Array, columns: Array) -> tuple[Array, Array]:
    """The indices of places, of one shape."""
    try:
        rows, columns = np.broadcast_arrays(rows, columns)
    except ValueError:
        text = f"{shape_text(rows.shape)} and {shape_text(columns.shape)}"
        raise ShapeError(
            f"sparse: indices {text} do not broadcast", hint="A[np.ix_(rows, columns)]"
        ) from None
    return rows, columns


def _multiply(a: Any, b: Any) -> Any:
    """Multiply a @ b where one matrix is sparse; see ``sg.matmul``."""
    if is_sparse(a) and is_sparse(b):
        return _sparse_product(as_sparse(a), as_sparse(b))
    if is_sparse(a):
        matrix, x = as_sparse(a), as_value(b)
        _check_product(
            x, f"{shape_text(matrix.shape)} @ {shape_text(x.shape)}", max(-2, -x.ndim), matrix
        )
        if x.ndim > 1:
            return matrix._multiply_dense(x)
        return squeeze(matrix._multiply_dense(expand_dims(x, 1)), 1)
    matrix, x = as_sparse(b).T, as_value(a)
    _check_product(x, f"{shape_text(x.shape)} @ {shape_text(matrix.shape[::-1])}", -1, matrix)
    if x.ndim == 1:
        return squeeze(matrix._multiply_dense(expand_dims(x, 1)), 1)
    rows = reshape(x, (-1, x.shape[-1])) if x.ndim > 2 else x
    product = transpose(matrix._multiply_dense(transpose(rows)))
    return reshape(product, (*x.shape[:-1], matrix.shape[0]))


def _sparse_product(a: Sparse, b: Sparse) -> Sparse:
    """Multiply two sparse matrices: a term for each pair of elements that meet.

    The pairs are found now: 16 bytes for each in the program.
    """
    if a.shape[1] != b.shape[0]:
        text = f"{shape_text(a.shape)} @ {shape_text(b.shape)}"
        raise ShapeError(f"matmul: {text}: the sizes {a.shape[1]} and {b.shape[0]} differ")
    (row_indices, inner), (others, column_indices) = a.places(), b.places()
    second, first = pick_elements(others, inner, b.shape[0])
    kind = binding_kind((a.data, b.data))
    terms = multiply(
        gather_elements(a.values(kind), first), gather_elements(b.values(kind), second)
    )
    return coo(terms, row_indices[first], column_indices[second], (a.shape[0], b.shape[1]))


def _check_product(x: Any, product: str, axis: int, matrix: Sparse) -> None:
    """Refuse a dense operand whose ``axis`` is not as long as rows of the matrix."""
    if x.ndim == 0:
        raise RankError("matmul: a scalar is not a matrix", hint="multiply with *")
    columns = matrix.shape[1]
    text = f"matmul: {product}: the sizes {columns} and {x.shape[axis]} differ"
    check_equal(text, x.shape[axis], columns, x)


def check_sparse(name: str, matrix: Any) -> Sparse:
    """Return a sparse matrix, or refuse an argument that is none."""
    if not is_sparse(matrix):
        raise ArgumentError(f"{name}: A is {kind_of(matrix)}, not a sparse matrix", hint=_ALSO)
    return as_sparse(matrix)
