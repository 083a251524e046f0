"""Sparse matrices made of others, of diagonals and of dense ones, by SciPy's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from staticgrad.errors import ArgumentError, RankError, ShapeError
from staticgrad.extend import (
    Array,
    Integer,
    NonNegativeInt,
    Value,
    as_value,
    called_name,
    dtype_of,
    floating,
    is_sparse,
    kind_of,
    known_integer,
    leaf_array,
    promoted_values,
    quote,
    shape_text,
)
from staticgrad.extend.ops import broadcast_to, concatenate, multiply, reshape
from staticgrad.sparse.matrices import (
    Sparse,
    as_sparse,
    assemble_matrix,
    canonical,
    check_mask,
    coo,
    diagonal_size,
    gather_elements,
    integers,
    pair_of,
)


def eye(
    m: NonNegativeInt, n: NonNegativeInt | None = None, k: Integer = 0, dtype: Any = "float64"
) -> Sparse:
    """Ones on a diagonal of a matrix with m rows and n columns (m by default).

    Args:
        m, n: the sizes.
        k: the diagonal: of element [i, i + k].
        dtype: a floating or complex element type.

    >>> sg.sparse.eye(2, 3, 1).toarray()
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    shape = m, m if n is None else n
    rows, columns = _diagonal(shape, k)
    return coo(np.ones(rows.size, dtype_of(dtype).numpy), rows, columns, shape)


def _diagonal(shape: tuple[int, int], k: int) -> tuple[Array, Array]:
    """The places on a diagonal."""
    numbers = np.arange(diagonal_size(shape, k))
    return numbers + max(-k, 0), numbers + max(k, 0)


def diags(diagonals: Any, offsets: Any = 0, shape: Any = None, dtype: Any = None) -> Sparse:
    """A matrix of the elements on its diagonals.

    Args:
        diagonals: a vector for each offset, arrays or values; one number fills its diagonal. For a
            single offset, one vector.
        offsets: integers, 0 for the main diagonal, above 0 for those over it.
        shape: rows and columns; by default of the square matrix that the first diagonal fits.
        dtype: the element type, by default that of the diagonals.

    Raises:
        ArgumentError, ShapeError: another number of diagonals, one of another length, or an offset
            outside of the matrix or given twice.

    >>> sg.sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (3, 3)).toarray()
    array([[ 2., -1.,  0.],
           [-1.,  2., -1.],
           [ 0., -1.,  2.]])
    """
    if known_integer(offsets) is not None:
        is_single = isinstance(diagonals, Value) or np.ndim(leaf_array(diagonals)) == 1
        diagonals, offsets = [diagonals] if is_single else diagonals, [offsets]
    offsets = integers("offsets", offsets).tolist()
    is_list = isinstance(diagonals, list | tuple)
    if not is_list and not (isinstance(diagonals, np.ndarray | Value) and diagonals.ndim):
        raise ArgumentError(f"diags: diagonals={quote(diagonals)} is not a list of vectors")
    vectors = promoted_values([floating(as_value(diagonal)) for diagonal in diagonals])
    vectors = tuple(reshape(v, (1,)) if v.ndim == 0 else v for v in vectors)
    if len(vectors) != len(offsets) or not offsets:
        raise ArgumentError(f"diags: {len(vectors)} diagonals for {len(offsets)} offsets")
    if len({*offsets}) < len(offsets):
        raise ArgumentError(f"diags: an offset is given twice: {quote(offsets)}")
    for diagonal in vectors:
        if diagonal.ndim != 1:
            raise RankError(f"diags: a diagonal is {diagonal.type}, not a vector")
    if shape is None:
        size = vectors[0].shape[0] + abs(offsets[0])
        shape = size, size
    height, width = pair_of("diags", shape)
    pieces = []
    for vector, k in zip(vectors, offsets, strict=True):
        rows, columns = _diagonal((height, width), k)
        if vector.shape[0] not in (1, rows.size) or not (rows.size or k == 0):
            raise ShapeError(
                f"diags: the diagonal {k} of {shape_text((height, width))} has"
                f" {rows.size} elements, not {vector.shape[0]}"
            )
        pieces.append((broadcast_to(vector, (rows.size,)), rows, columns))
    matrix = _join_pieces(pieces, (height, width))
    return matrix if dtype is None else matrix.astype(dtype)


def _join_pieces(pieces: Iterable[tuple[Any, Array, Array]], shape: tuple[int, int]) -> Sparse:
    """Make the matrix of several pieces: elements with their rows and columns."""
    data, rows, columns = zip(*pieces, strict=True)
    return assemble_matrix(
        concatenate(promoted_values(data)), np.concatenate(rows), np.concatenate(columns), shape
    )


def from_dense(x: Any, mask: Any = None) -> Sparse:
    """The elements of a dense matrix at the places of a mask.

    Args:
        x: a matrix [m, n], an array or a value.
        mask: bools of the same shape, known now; by default where an array is not 0.

    Raises:
        ArgumentError: a value without a mask: where it is 0 is known only in a run.
        RankError, ShapeError: no matrix, or a mask of another shape.

    >>> x = sg.input("x", (2, 2), "float64")
    >>> A = sg.sparse.from_dense(x, np.eye(2, dtype=bool))
    >>> sg.evaluate(A.todense(), {"x": [[1.0, 2.0], [3.0, 4.0]]})
    array([[1., 0.],
           [0., 4.]])
    """
    if mask is None and isinstance(x, Value) and not x.computes:
        raise ArgumentError(
            "from_dense: where x is not 0 is known only in a run, a pattern before it",
            hint="sg.sparse.from_dense(x, mask) with an array of bools",
        )
    value = floating(as_value(x))
    if value.ndim != 2:
        raise RankError(f"from_dense: {value.type} is not a matrix")
    places = np.asarray(x) != 0 if mask is None else leaf_array(mask)
    if places.dtype != bool:
        raise ArgumentError(f"from_dense: the mask is of {places.dtype}, not of bools")
    check_mask(places, value.shape)
    rows, columns = np.nonzero(places)
    flat = reshape(value, (value.shape[0] * value.shape[1],))
    return assemble_matrix(
        gather_elements(flat, rows * value.shape[1] + columns), rows, columns, value.shape
    )


def _as_matrix(data: Any) -> Sparse:
    """Convert a sparse or dense matrix to our sparse one."""
    if is_sparse(data):
        return as_sparse(data)
    if isinstance(data, Value):
        raise ArgumentError(
            f"{called_name()}: {quote(data)} is dense",
            hint="sg.sparse.from_dense(x, mask)",
        )
    return from_dense(np.atleast_2d(leaf_array(data)))


# -- blocks ---------------------------------------------------------------------------------------


def block_array(blocks: Any) -> Sparse:
    """A matrix of rows of blocks: sparse matrices, dense arrays, or None for zeros.

    Raises:
        ArgumentError: a row or a column without a block, whose size is not known.
        ShapeError: blocks of a row with other heights, or of a column with other widths.

    >>> one = sg.sparse.eye(2)
    >>> sg.sparse.block_array([[one, None], [2.0 * one, one]]).toarray()
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [2., 0., 1., 0.],
           [0., 2., 0., 1.]])
    """
    rows = [
        [None if block is None else _as_matrix(block) for block in _check_blocks(row)]
        for row in _check_blocks(blocks)
    ]
    if any(len(row) != len(rows[0]) for row in rows):
        raise ShapeError(f"{called_name()}: the rows have different numbers of blocks")
    heights = [_size([block.shape[0] for block in row if block], "height") for row in rows]
    columns = [*zip(*rows, strict=True)]
    widths = [_size([block.shape[1] for block in column if block], "width") for column in columns]
    pieces = [
        (block, sum(heights[:block_row]), sum(widths[:block_column]))
        for block_row, row in enumerate(rows)
        for block_column, block in enumerate(row)
        if block is not None
    ]
    return _place_matrices(pieces, (sum(heights), sum(widths)))


def _size(sizes: Sequence[int], what: str) -> int:
    if not sizes:
        raise ArgumentError(f"{called_name()}: a row or column of None alone has no {what}")
    if len({*sizes}) > 1:
        raise ShapeError(f"{called_name()}: blocks beside each other have {what}s {quote(sizes)}")
    return sizes[0]


def _place_matrices(pieces: Sequence[tuple[Sparse, int, int]], shape: tuple[int, int]) -> Sparse:
    """Join matrices, each placed at its first row and column."""
    parts = []
    for matrix, row, column in pieces:
        rows, columns = (indices.astype(np.int64) for indices in matrix.places())
        parts.append((matrix.values(), rows + row, columns + column))
    return _join_pieces(parts, shape)


def vstack(blocks: Sequence[Any]) -> Sparse:
    """Matrices on top of each other.

    >>> sg.sparse.vstack([sg.sparse.eye(2), [[3.0, 0.0]]]).toarray()
    array([[1., 0.],
           [0., 1.],
           [3., 0.]])
    """
    return block_array([[block] for block in _check_blocks(blocks)])


def hstack(blocks: Sequence[Any]) -> Sparse:
    """Matrices beside each other.

    >>> sg.sparse.hstack([sg.sparse.eye(2), sg.sparse.eye(2, k=1)]).toarray()
    array([[1., 0., 0., 1.],
           [0., 1., 0., 0.]])
    """
    return block_array([[*_check_blocks(blocks)]])


def _check_blocks(blocks: Any) -> Sequence[Any]:
    if not isinstance(blocks, list | tuple) or not blocks:
        description = "an empty one" if isinstance(blocks, list | tuple) else kind_of(blocks)
        raise ArgumentError(f"{called_name()}: takes a list of matrices, not {description}")
    return blocks


def block_diag(mats: Sequence[Any]) -> Sparse:
    """Matrices along the diagonal of a larger one.

    >>> sg.sparse.block_diag([sg.sparse.eye(2), [[3.0, 4.0]]]).toarray()
    array([[1., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 3., 4.]])
    """
    pieces, row, column = [], 0, 0
    for block in map(_as_matrix, _check_blocks(mats)):
        pieces.append((block, row, column))
        row, column = row + block.shape[0], column + block.shape[1]
    return _place_matrices(pieces, (row, column))


def kron(A: Any, B: Any) -> Sparse:
    """The Kronecker product: each element of A times the whole matrix B.

    >>> sg.sparse.kron(sg.sparse.eye(2), [[1.0, 2.0]]).toarray()
    array([[1., 2., 0., 0.],
           [0., 0., 1., 2.]])
    """
    a, b = _as_matrix(A), _as_matrix(B)
    pairs = zip(a.places(), b.places(), b.shape, strict=True)
    rows, columns = (
        (at[:, None].astype(np.int64) * size + others).ravel() for at, others, size in pairs
    )
    left, right = promoted_values((a.values(), b.values()))
    data = reshape(multiply(left[:, None], right[None]), (a.nnz * b.nnz,))
    return assemble_matrix(data, rows, columns, (a.shape[0] * b.shape[0], a.shape[1] * b.shape[1]))


def kronsum(A: Any, B: Any) -> Sparse:
    """The Kronecker sum ``kron(I, A) + kron(B, I)`` of square matrices.

    >>> line = sg.sparse.diags([-1.0, 2.0, -1.0], [-1, 0, 1], (316, 316))
    >>> sg.sparse.kronsum(line, line)  # Poisson's equation on a square
    Sparse(99856 x 99856, 498016 elements of float64)
    """
    a, b = _as_matrix(A), _as_matrix(B)
    for matrix in (a, b):
        if matrix.shape[0] != matrix.shape[1]:
            raise ShapeError(f"kronsum: {shape_text(matrix.shape)} is not square")
    return kron(eye(b.shape[0]), a) + kron(b, eye(a.shape[0]))


# -- triangles ------------------------------------------------------------------------------------


def tril(A: Any, k: Integer = 0) -> Sparse:
    """The elements on and below a diagonal.

    >>> sg.sparse.tril([[1.0, 2.0], [3.0, 4.0]]).toarray()
    array([[1., 0.],
           [3., 4.]])
    """
    return _keep_elements(A, lambda rows, columns: columns - rows <= k)


def triu(A: Any, k: Integer = 0) -> Sparse:
    """The elements on and above a diagonal.

    >>> sg.sparse.triu([[1.0, 2.0], [3.0, 4.0]]).toarray()
    array([[1., 2.],
           [0., 4.]])
    """
    return _keep_elements(A, lambda rows, columns: columns - rows >= k)


def _keep_elements(data: Any, keep: Callable[[Array, Array], Array]) -> Sparse:
    matrix = canonical(_as_matrix(data))
    rows, columns = matrix.places()
    (at,) = np.nonzero(keep(rows, columns))
    return assemble_matrix(
        gather_elements(matrix.values(), at), rows[at], columns[at], matrix.shape
    )
