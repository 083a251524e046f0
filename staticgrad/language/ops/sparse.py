"""Products of sparse matrices with a fixed pattern and dense rows, and their transposes.

A pattern is six vectors of integers, ``starts, places, rows, starts_t, places_t, order``: those of
CSR, the row of each element, and the same matrix by columns, where ``order`` names the elements. So
each op is the derivative of the others, whatever is differentiated, and nothing is sorted in a run.

    sparse_product(data, x)              A @ x
    sparse_product{transposed}(data, x)  A.T @ x
    sampled_product(u, v)                (u @ v.T) at the elements of the pattern
    sparse_solve(data, b)                x with A @ x = b

Of complex operands the products are those of their parts (``complex_readings.py``); a solution has
an op of its own over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from staticgrad.errors import DTypeError, RankError, ShapeError
from staticgrad.language.ir.forms import CallForm, Form
from staticgrad.language.ir.op import Array, Op, lift_all
from staticgrad.language.ir.pairs import Complex, join_parts, pair
from staticgrad.language.ops.arithmetic import conj
from staticgrad.language.ops.basic import sum_over
from staticgrad.language.ops.batch_axis import in_front, merge_batch, split_batch
from staticgrad.language.ops.elementwise import quiet
from staticgrad.language.ops.operands import promoted_values, shape_text
from staticgrad.language.types import dim as dims
from staticgrad.language.types.arrays import Shape, TensorType, as_parts, of_parts, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import F32, F64, I32, I64, DType, complex_of

_REALS: Final = {F32: "f32", F64: "f64"}
_WHOLES: Final = {I32: "i32", I64: "i64"}
#: Rows of a product, and elements of a sampled one, that one iteration takes: long enough to hide
#: the start of an iteration, short enough to share a matrix between threads.
_ROWS: Final = 128
_ELEMENTS: Final = 1024
#: Multiplications and additions of a factorization, for each element of a matrix: a rough estimate,
#: since they depend on the fill. Poisson's equation on 316 x 316 points takes 10^3.
_FACTOR: Final = 1000
#: How many operands a pattern is.
PATTERN: Final = 6


class PatternOp(Op):
    """An op of two floating operands and a pattern; axes in front are a batch, or none."""

    exact = True

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        operands = lift_all(args)
        return *promoted_values(operands[:2]), *operands[2:]

    def check_pattern(self, *types: TensorType) -> tuple[DType, Size, Size, Size]:
        """Check a sparse matrix's operands; return the dtype, rows, columns and element count."""
        (a, b), pattern = types[:2], types[2:]
        if len(pattern) != PATTERN or any(p.rank != 1 or p.dtype not in _WHOLES for p in pattern):
            raise RankError(f"{self.name}: a pattern is {PATTERN} vectors of int32 or int64")
        if any(p.dtype is not pattern[0].dtype for p in pattern):
            raise DTypeError(f"{self.name}: the vectors of a pattern are of one dtype")
        if a.dtype not in _REALS or a.dtype is not b.dtype:
            raise DTypeError(
                f"{self.name}: takes float32 or float64, not {a.dtype.numpy} and {b.dtype.numpy}",
                hint="A.astype('float32'), x.astype('float32')",
            )
        starts, places, *others = (p.shape[0] for p in pattern)
        for length in (others[0], *others[2:]):
            text = f"{self.name}: patterns of {places} and {length} elements"
            if not dims.equal(places, length, text):
                raise ShapeError(text)
        return a.dtype, starts - 1, others[1] - 1, places

    def check_shape(self, what: str, shape: Shape, expected: Shape) -> None:
        """Refuse a dense operand of a sparse product whose last axes do not fit."""
        text = (
            f"{self.name}: {what} is {shape_text(shape)}, its last axes are {shape_text(expected)}"
        )
        last = shape[len(shape) - len(expected) :] if len(shape) >= len(expected) else None
        if last is None or not all(
            dims.equal(size, expected_size, text)
            for size, expected_size in zip(last, expected, strict=True)
        ):
            raise ShapeError(text)

    def batch(self, a: Shape, b: Shape) -> Shape:
        """Return the axes in front: of one operand, or the same ones of both."""
        if a and b and a != b:
            raise ShapeError(f"{self.name}: batches {shape_text(a)} and {shape_text(b)} differ")
        return a or b

    def call_form(
        self, kind: str, types: Sequence[TensorType], sizes: tuple[Size, ...], chunk: int, axes: int
    ) -> Form:
        """Return the library call of a sparse product; an iteration takes ``chunk`` rows or
        elements.
        """
        out, a, _, pattern, *_ = types
        name = f"sparse:{kind}.{_REALS[a.dtype]}.{_WHOLES[pattern.dtype]}"
        batch = out.shape[: out.rank - axes]
        parts = -(-sizes[-1] // chunk)
        count, k = types[4].shape[0], sizes[2]
        flops = 2 * count * k // dims.maximum(parts, 1)
        return CallForm(name, (*sizes, chunk), total=product((*batch, parts)), flops=flops)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Batch a sparse product: one more batch axis, for the operands that have it."""
        if any(over[2:]):
            return None
        batches = [
            a.ndim - has - rank for a, has, rank in zip(args, over, self.ranks, strict=False)
        ]
        need = [bool(has or rank) for has, rank in zip(over, batches, strict=False)]
        operands = [
            in_front(size, [a], [has])[0] if needs_axis else a
            for a, has, needs_axis in zip(args, over, need, strict=False)
        ]
        return self(*operands, *args[2:])

    ranks = (1, 2)  # axes of the operands behind the batch


class SparseProduct(PatternOp, name="sparse_product"):
    """A @ x, or with ``transposed`` A.T @ x, where A has ``data`` at the elements of a pattern.

    ``data`` is [..., elements], x [..., columns, k].
    """

    transposed: bool = False

    def infer(self, data: TensorType, x: TensorType, *pattern: TensorType) -> TensorType:
        """Infer the type of a sparse-dense product."""
        dtype, rows, columns, count = self.check_pattern(data, x, *pattern)
        if self.transposed:
            rows, columns = columns, rows
        if x.rank < 2:
            raise RankError(f"sparse_product: {x} is not a matrix")
        self.check_shape("data", data.shape, (count,))
        self.check_shape("x", x.shape, (columns, x.shape[-1]))
        batch = self.batch(data.shape[:-1], x.shape[:-2])
        return TensorType(dtype, (*batch, rows, x.shape[-1]))

    @quiet
    def reference(self, data: Array, x: Array, *pattern: Array) -> Any:
        """Compute a sparse-dense product by NumPy, row by row in order."""
        starts, places, _, starts_t, places_t, order = pattern
        numbers = np.arange(places.size)
        if self.transposed:
            starts, places, numbers = starts_t, places_t, order
        low, high = np.maximum(starts[:-1], 0), np.minimum(starts[1:], places.size)
        lengths = np.maximum(high - low, 0)
        rows = np.repeat(np.arange(low.size), lengths)
        at = np.arange(rows.size) - np.repeat(np.cumsum(lengths) - lengths - low, lengths)
        inside = (places[at] >= 0) & (places[at] < x.shape[-2])
        inside &= (numbers[at] >= 0) & (numbers[at] < data.shape[-1])
        at, rows = at[inside], rows[inside]
        terms = data[..., numbers[at], None] * x[..., places[at], :]
        out = np.zeros((*terms.shape[:-2], low.size, x.shape[-1]), data.dtype)
        at_rows: Any = (..., rows, slice(None))
        np.add.at(out, at_rows, terms)  # in the order of the elements
        return out

    def form(self, out: TensorType, *types: TensorType) -> Form:
        data, x, *_ = types
        rows, inner, k, count = out.shape[-2], x.shape[-2], x.shape[-1], data.shape[-1]
        steps = (count if data.rank > 1 else 0, inner * k if x.rank > 2 else 0, rows * k)
        kind = "transposed" if self.transposed else "product"
        sizes = (rows, inner, k, count, *steps, rows)
        return self.call_form(kind, (out, *types), sizes, _ROWS, 2)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a sparse product: a sampled product for data, the transpose for x."""
        data, x, *pattern = args
        by_data = by_x = None
        if needed[0]:
            pair = (x, ct) if self.transposed else (ct, x)
            by_data = _sum_batch(SampledProduct()(*pair, *pattern), data.ndim)
        if needed[1]:
            by_x = _sum_batch(SparseProduct(not self.transposed)(data, ct, *pattern), x.ndim)
        return by_data, by_x, *(None,) * PATTERN

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        return _linear_in_each(self, tangents, args)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Further columns, if x has vectors and data no batch; else a further axis of the batch."""
        data, x, *pattern = args
        if not over[0] and data.ndim == 1 and x.ndim == 3 and x.shape[-1] == 1:
            return split_batch(self(data, merge_batch(x, 2), *pattern), 1, size, 1)
        return super().batching_rule(size, args, over)


class SampledProduct(PatternOp, name="sampled_product"):
    """The elements of u @ v.T at those of a pattern: [..., elements] of [..., rows, k] and
    [..., columns, k].
    """

    ranks = (2, 2)

    def infer(self, u: TensorType, v: TensorType, *pattern: TensorType) -> TensorType:
        dtype, rows, columns, count = self.check_pattern(u, v, *pattern)
        if u.rank < 2 or v.rank < 2:
            raise RankError(f"sampled_product: {u} and {v} are not matrices")
        self.check_shape("u", u.shape, (rows, u.shape[-1]))
        self.check_shape("v", v.shape, (columns, u.shape[-1]))
        return TensorType(dtype, (*self.batch(u.shape[:-2], v.shape[:-2]), count))

    @quiet
    def reference(self, u: Array, v: Array, *pattern: Array) -> Any:
        """Compute a sampled product by NumPy: dot products at the pattern's elements."""
        _, places, rows, *_ = pattern
        inside = (rows >= 0) & (rows < u.shape[-2]) & (places >= 0) & (places < v.shape[-2])
        terms = u[..., rows[inside], :] * v[..., places[inside], :]
        k = u.shape[-1]
        lanes = 1 if k == 1 else 64 // u.itemsize  # of a vector of 512 bits
        total = np.zeros((*terms.shape[:-1], lanes), u.dtype)
        for c in range(0, k, lanes):  # as the kernel: by vectors, whose lanes are joined by halving
            part = terms[..., c : c + lanes]
            total = total + np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, lanes - part.shape[-1])])
        while lanes > 1:
            lanes //= 2
            total = total[..., :lanes] + total[..., lanes:]
        out = np.zeros((*terms.shape[:-2], rows.size), u.dtype)
        out[..., inside] = total[..., 0]
        return out

    def form(self, out: TensorType, *types: TensorType) -> Form:
        u, v, *_ = types
        rows, inner, k, count = u.shape[-2], v.shape[-2], v.shape[-1], out.shape[-1]
        steps = (rows * k if u.rank > 2 else 0, inner * k if v.rank > 2 else 0, count)
        sizes = (rows, inner, k, count, *steps, count)
        return self.call_form("sampled", (out, *types), sizes, _ELEMENTS, 1)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a sampled product: products with the cotangent as a sparse matrix."""
        u, v, *pattern = args
        by_u = _sum_batch(SparseProduct()(ct, v, *pattern), u.ndim) if needed[0] else None
        by_v = _sum_batch(SparseProduct(True)(ct, u, *pattern), v.ndim) if needed[1] else None
        return by_u, by_v, *(None,) * PATTERN

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        return _linear_in_each(self, tangents, args)


class SparseSolve(PatternOp, name="sparse_solve"):
    """X with A @ X = b, or with ``transposed`` A.T @ X = b, by SuperLU.

    ``data`` is [..., elements], b [..., n, k]. ``ordering`` is SuperLU's of columns; with
    ``errors="nan"`` a singular matrix gives NaN. Derivative: the transposed system is solved for
    the cotangent, and its products with the solution are taken at the pattern.
    """

    kink = "singular matrices have no gradient"
    transposed: bool = False
    errors: str = "raise"
    ordering: str = "COLAMD"

    def infer(self, data: TensorType, b: TensorType, *pattern: TensorType) -> TensorType:
        """Infer the type of a sparse system's solution."""
        dtype, rows, columns, count = self.check_pattern(data, b, *pattern)
        text = f"{self.name}: [{rows}, {columns}] is not square"
        if not dims.equal(rows, columns, text):
            raise ShapeError(text)
        if b.rank < 2:
            raise RankError(f"{self.name}: {b} is not a matrix")
        self.check_shape("data", data.shape, (count,))
        self.check_shape("b", b.shape, (rows, b.shape[-1]))
        batch = self.batch(data.shape[:-1], b.shape[:-2])
        return TensorType(dtype, (*batch, rows, b.shape[-1]))

    @quiet
    def reference(self, *arrays: Array) -> Any:
        from staticgrad.native.libraries import sparse_solvers

        operands = [*map(np.ascontiguousarray, arrays)]
        return sparse_solvers.solution(operands, self.transposed, self.ordering, self.errors)

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return self.solve_form(out.dtype.numpy.name, (out, *types), 0)

    def solve_form(self, dtype: str, types: Sequence[TensorType], parts: int) -> Form:
        """Return the library call of a sparse solve, for operands with further axes."""
        out, data, b, pattern, *_ = types
        words = (self.ordering, "T" if self.transposed else "N", self.errors, dtype)
        index_dtype = pattern.dtype.numpy.name
        name = ".".join(map(str, (*words, data.rank - parts, b.rank - parts, index_dtype)))
        sizes = tuple(size for kind in (*types[1:], out) for size in kind.shape)
        flops = _FACTOR * types[4].shape[0]
        return CallForm(f"superlu:{name}", sizes, checks=True, flops=flops, alone=True)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a sparse solve by the adjoint system: y for b, -y x^T at the pattern."""
        data, b, *pattern = args
        adjoint = SparseSolve(not self.transposed, "nan", self.ordering)
        y = conj(adjoint(data, conj(ct), *pattern))
        by_data = None
        if needed[0]:
            pair = (conj(out), y) if self.transposed else (y, conj(out))
            by_data = -_sum_batch(SampledProduct()(*pair, *pattern), data.ndim)
        return by_data, _sum_batch(y, b.ndim) if needed[1] else None, *(None,) * PATTERN

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        """Push tangents through a sparse solve: the solution for db - dA x."""
        (by_data, by_b), (data, _), pattern = tangents[:2], args[:2], args[2:]
        right = by_b
        if by_data is not None:
            matrix_term = SparseProduct(self.transposed)(by_data, out, *pattern)
            right = -matrix_term if by_b is None else by_b - matrix_term
        return SparseSolve(self.transposed, "nan", self.ordering)(data, right, *pattern)

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """Further columns of one matrix; else a further axis of the batch."""
        data, b, *pattern = args
        if not over[0] and data.ndim == 1 and b.ndim == 3:
            k = b.shape[-1]
            return split_batch(self(data, merge_batch(b, 2), *pattern), 1, size, k)
        return super().batching_rule(size, args, over)


class ComplexSparseSolve(SparseSolve, name="complex_sparse_solve"):
    """The same of complex elements, whose parts are along a last axis of 2."""

    def prepare(self, *args: Any) -> tuple[Any, ...]:
        return lift_all(args)

    def infer(self, data: TensorType, b: TensorType, *pattern: TensorType) -> TensorType:
        for operand in (data, b):
            if not operand.rank or operand.shape[-1] != 2:
                raise DTypeError(f"{self.name}: {operand} has no last axis of 2")
        out = super().infer(data.with_shape(data.shape[:-1]), b.with_shape(b.shape[:-1]), *pattern)
        return out.with_shape((*out.shape, 2))

    def reference(self, *arrays: Array) -> Any:
        data, b, *pattern = arrays
        operands = (of_parts(np.ascontiguousarray(array)) for array in (data, b))
        return as_parts(super().reference(*operands, *pattern))

    def form(self, out: TensorType, *types: TensorType) -> Form:
        return self.solve_form(complex_of(out.dtype).numpy.name, (out, *types), 1)

    def cotangents(
        self, ct: Any, out: Any, args: Sequence[Any], needed: Sequence[bool]
    ) -> tuple[Any, ...]:
        """Differentiate a sparse solve of complex matrices, over stored pairs."""
        of_values = SparseSolve(self.transposed, self.errors, self.ordering)
        operands = [_as_complex(args[0]), _as_complex(args[1]), *args[2:]]
        return tuple(
            map(
                join_parts,
                of_values.cotangents(_as_complex(ct), _as_complex(out), operands, needed),
            )
        )

    def jvp(self, tangents: Sequence[Any], out: Any, *args: Any) -> Any:
        of_values = SparseSolve(self.transposed, self.errors, self.ordering)
        complex_tangents = [
            None if tangent is None else _as_complex(tangent) for tangent in tangents[:2]
        ]
        operands = [_as_complex(args[0]), _as_complex(args[1]), *args[2:]]
        return join_parts(of_values.jvp(complex_tangents, _as_complex(out), *operands))

    def batching_rule(self, size: Size, args: Sequence[Any], over: Sequence[bool]) -> Any:
        """By the rule over complex values: the axis of parts stays the last one."""
        operands = [_as_complex(args[0]), _as_complex(args[1]), *args[2:]]
        of_values = SparseSolve(self.transposed, self.errors, self.ordering)
        solution = of_values.batching_rule(size, operands, over)
        return None if solution is None else join_parts(solution)


def _as_complex(value: Any) -> Any:
    """The complex value whose parts are along the last axis of a real one."""
    return value.kind.complex_kind.of(value)


def _of_pairs(op: Any, data: Any, b: Any, *pattern: Any) -> Any:
    """The op over pairs; a real operand has imaginary parts of 0."""
    pairs = [x if isinstance(x, Complex) else pair(x, None) for x in (data, b)]
    solution = ComplexSparseSolve(op.transposed, op.errors, op.ordering)(
        *map(join_parts, pairs), *pattern
    )
    return _as_complex(solution)


Complex.readings[SparseSolve] = _of_pairs


def _linear_in_each(op: PatternOp, tangents: Sequence[Any], args: Sequence[Any]) -> Any:
    (by_a, by_b), (a, b), pattern = tangents[:2], args[:2], args[2:]
    from_a = None if by_a is None else op(by_a, b, *pattern)
    from_b = None if by_b is None else op(a, by_b, *pattern)
    return from_b if from_a is None else from_a if from_b is None else from_a + from_b


def _sum_batch(x: Any, rank: int) -> Any:
    """x over the batch axes that an operand of this rank does not have."""
    return sum_over(x, tuple(range(x.ndim - rank)))
