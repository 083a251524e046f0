"""Graphs of ours as functions of ``jax.numpy``: a row per op.

A row takes the op, whose sizes are integers, and arrays of JAX. The result is cast to the type that
the op infers, as far as JAX has 64 bits; operands of 16 bits are widened before, and the result is
rounded once. JAX differentiates a row, or our rule does: that of a function with a rule of the
user's, of an op whose derivative JAX does not have (``RULED``), and of an op without a row. The
latter is computed by NumPy in a ``pure_callback``, unless it is in ``REFUSED``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from itertools import product
from typing import Any, Final

import numpy as np

from staticgrad.errors import ExportError, StaticgradError
from staticgrad.extend import (
    COMBINERS,
    Elementwise,
    Graph,
    Node,
    Op,
    TensorType,
    as_dtype,
    convert_array,
    op_class,
)
from staticgrad.extend.building import Session, in_graphs, traced_in
from staticgrad.extend.dtypes import U32
from staticgrad.extend.functions import input as graph_input
from staticgrad.extend.gradients import push_forward
from staticgrad.extend.optional import jax
from staticgrad.extend.parameters import has_parts
from staticgrad.extend.programs import (
    Function,
    at_sizes,
    bind_sizes,
    input_label,
    name_feeds,
    traced_call,
)
from staticgrad.extend.trees import flatten, map_leaves
from staticgrad.jax.lax.reading import literal_shape
from staticgrad.language.ir.rounded import round_results
from staticgrad.language.ops.linalg import LinearAlgebra
from staticgrad.language.ops.philox import encrypt
from staticgrad.language.ops.windows import each_tap, last, place_dtype

#: Ops that NumPy computes by several functions, or by one of another name -> ``jax.numpy``'s.
_NAMES: Final = """
    at_least:maximum at_most:minimum bit_and:bitwise_and bit_not:invert bit_or:bitwise_or
    bit_xor:bitwise_xor ceil floor logical_and logical_not logical_or logical_xor maximum minimum
    where
"""
_SPECIAL: Final = """
    entr erf erfc erfcx erfinv gamma gammaln i0e i1e log_ndtr logit ndtr ndtri
    sigmoid:expit xlog1py xlogy
"""

Row = Callable[..., Any]
#: Op -> its function of the op and its operands. Ops with a ufunc, ``Elementwise.numpy``, need no
#: row: ``jax.numpy`` has the function of the same name.
ROWS: Final[dict[str, Row]] = {}


def _add_rows(space: Callable[[], Any], names: str) -> None:
    for entry in names.split():
        op, _, name = entry.partition(":")
        ROWS[op] = lambda _, *args, name=name or op: getattr(space(), name)(*args)


_add_rows(lambda: jax.numpy, _NAMES)
_add_rows(lambda: jax.scipy.special, _SPECIAL)
ROWS.update(
    {
        "again": lambda op, x: x,
        "checkpoint": lambda op, x: x,
        "checkpoint_name": lambda op, x: x,
        "recomputed": lambda op, x, *_: x,
        "custom_jvp": lambda op, x, *_: x,
        "stop_gradient": lambda op, x: jax.lax.stop_gradient(x),
        "relu": lambda op, x: jax.numpy.maximum(x, 0),
        "constant": lambda op: jax.numpy.asarray(op.reference()),
        "bitcast": lambda op, x: jax.lax.bitcast_convert_type(x, op.dtype.numpy),
        "size": lambda op: jax.numpy.asarray(op.reference()),
        "iota": lambda op: jax.numpy.asarray(op.reference()),
        "integer_pow": lambda op, x: x**op.exponent,
        "concat": lambda op, *xs: jax.numpy.concatenate(xs, op.axis),
        "reshape": lambda op, x: x.reshape(op.shape),
        "transpose": lambda op, x: x.transpose(op.perm),
        "sum": lambda op, x: x.sum(op.axes),
        "max": lambda op, x: x.max(op.axes, initial=_reduce_empty(x, op, least=True)),
        "min": lambda op, x: x.min(op.axes, initial=_reduce_empty(x, op, least=False)),
        "matmul": lambda op, a, b: jax.numpy.matmul(
            a.swapaxes(-1, -2) if op.transpose_a else a, b.swapaxes(-1, -2) if op.transpose_b else b
        ),
        "cumsum": lambda op, x: jax.numpy.cumsum(x, op.axis),
        "cumprod": lambda op, x: jax.numpy.cumprod(x, op.axis),
        "take": lambda op, x, i: jax.numpy.take(x, i, op.axis),
        "take_along": lambda op, x, i: jax.numpy.take_along_axis(x, i, op.axis),
        "searchsorted": lambda op, x, v: jax.numpy.searchsorted(
            x, v, "right" if op.right else "left"
        ),
        "panel_matmul": lambda op, a, b: (
            a @ b.swapaxes(0, 1).reshape(b.shape[1], b.shape[0] * b.shape[2])
        ),
        "digamma": lambda op, x: jax.numpy.where(
            x == 0, -jax.numpy.copysign(np.inf, x), jax.scipy.special.digamma(x)
        ),
        "i0": lambda op, x: jax.numpy.where(abs(x) == np.inf, np.inf, jax.scipy.special.i0(x)),
        "i1": lambda op, x: jax.numpy.where(abs(x) == np.inf, x, jax.scipy.special.i1(x)),
        "rint": lambda op, x: jax.numpy.rint(x) if x.dtype.kind == "f" else x,
        "trunc": lambda op, x: jax.numpy.trunc(x) if x.dtype.kind == "f" else x,
    }
)
#: Ops of several processes, which are not those of a mesh of JAX.
_RANKS: Final = ("rank_gather", "rank_mean", "rank_part", "rank_scatter")
#: Op that has no row -> why.
REFUSED: Final[dict[str, str]] = dict.fromkeys(
    _RANKS, "exchanges arrays between processes: shard_map and jax.lax.pmean do that in JAX"
) | {"multiply_add": "is an op of kernels alone, which rounds a product and a sum once"}
#: Ops with a row whose derivative is our rule.
RULED: Final = frozenset(["custom_jvp", "flat_power"])


def row(*names: str) -> Callable[[Row], Row]:
    """Register a function of ``jax.numpy`` as the lowering of ops."""

    def register_row(function: Row) -> Row:
        ROWS.update(dict.fromkeys(names, function))
        return function

    return register_row


def _reduce_empty(x: Any, op: Any, least: bool) -> Any:
    """Lower a reduction of an empty array to its neutral element; None for other arrays."""
    if x.size:
        return None
    if x.dtype.kind == "b":
        return not least
    limits = (-np.inf, np.inf) if np.issubdtype(x.dtype, np.inexact) else None
    extremes = limits or (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    return extremes[0] if least else extremes[1]


@row("cast")
def _cast(op: Any, x: Any) -> Any:
    """Lower a dtype conversion to JAX: floats out of range give the smallest integer."""
    if x.dtype.kind != "f" or not op.dtype.is_integer:
        return x
    bits = 64 if op.dtype.code in ("i64", "u32", "u64") else 32
    if not jax.config.jax_enable_x64:
        bits = 32
    limit, truncated = 2.0 ** (bits - 1), jax.numpy.trunc(x)
    fits = (truncated >= -limit) & (truncated < limit)
    signed = jax.numpy.where(fits, truncated, 0).astype(f"int{bits}")
    signed = jax.numpy.where(fits, signed, np.array(-(2 ** (bits - 1)), f"int{bits}"))
    if op.dtype.code != "u64" or bits == 32:
        return signed
    large = x >= limit
    low = _cast(_TO_INT64, jax.numpy.where(large, x - limit, x))
    return jax.numpy.where(large, low ^ np.int64(-(2**63)), low)


class _TO_INT64:  # noqa: N801 - what the row reads of an op
    dtype = as_dtype("int64")


@row("int_pow")
def _int_pow(op: Any, x: Any, y: Any) -> Any:
    """Lower an integer power to JAX by repeated squaring."""
    exponent, power, square = jax.numpy.maximum(y, 0), jax.numpy.ones_like(x), x
    for _ in range(8 * x.dtype.itemsize):
        power = jax.numpy.where(exponent & 1 == 1, power * square, power)
        exponent, square = exponent >> 1, square * square
    if x.dtype.kind == "u":
        return power
    sign = jax.numpy.where(y & 1 == 1, x, x * x)
    unit = (x == 1) | (x == -1)
    return jax.numpy.where(y < 0, jax.numpy.where(unit, sign, 0), power)


@row("flat_power")
def _flat_power(op: Any, x: Any) -> Any:
    """Lower a power with a constant exponent to JAX; small halves of integers need no ``pow``."""
    halves = 2.0 * op.exponent
    exponent = np.asarray(op.exponent, x.dtype)
    integer_part, half = divmod(abs(int(halves)), 2) if halves.is_integer() else (0, 0)
    if halves.is_integer() and integer_part < 8:
        power = x**integer_part * jax.numpy.sqrt(x) if half else x**integer_part
        power = power if op.exponent > 0 else 1 / power
    else:
        power = jax.numpy.power(x, exponent)
    at_zero = 0.0 if op.exponent > -1 else math.nan
    return power if op.exponent > 0 else jax.numpy.where(x == 0, at_zero, power)


@row("floor_divide", "remainder", "fmod")
def _divide(op: Any, x: Any, y: Any) -> Any:
    function = getattr(jax.numpy, op.name)
    if np.issubdtype(x.dtype, np.inexact):
        return function(x, y)
    by_zero = y == 0  # of integers it gives 0
    return jax.numpy.where(by_zero, 0, function(x, jax.numpy.where(by_zero, 1, y)))


@row("broadcast")
def _broadcast(op: Any, x: Any) -> Any:
    shape: Any = op.shape
    wide = [1] * len(shape)
    for size, axis in zip(x.shape, op.axes, strict=True):
        wide[axis] = size
    return jax.numpy.broadcast_to(x.reshape(wide), shape)


@row("slice")
def _slice(op: Any, x: Any) -> Any:
    return x[_positions(op.starts, op.lengths, op.steps)]


@row("pad")
def _pad(op: Any, x: Any) -> Any:
    zeros = jax.numpy.zeros(op.shape, x.dtype)
    at = zeros.at[_positions(op.starts, x.shape, op.steps)]
    return at.set(x, unique_indices=True)


def _positions(starts: Any, lengths: Any, steps: Any) -> Any:
    axes = zip(starts, lengths, steps, strict=True)
    return np.ix_(*[start + step * np.arange(length) for start, length, step in axes])


@row("scatter_add")
def _scatter_add(op: Any, x: Any, indices: Any) -> Any:
    """Lower a scatter-add along an axis to ``jax.numpy``'s indexed update."""
    outer_shape, inner_shape = x.shape[: op.axis], x.shape[op.axis + indices.ndim :]
    rows = (
        x.reshape(*outer_shape, -1, *inner_shape)
        if x.size
        else x.reshape(*outer_shape, indices.size, *inner_shape)
    )
    axes: tuple[int, ...] = (op.size,)
    places: tuple[Any, ...] = (indices.reshape(-1),)
    if op.parts > 1:  # equal parts of the indices, each with a sum of its own
        axes = (op.parts, op.size)
        places = (np.arange(indices.size) // -(-indices.size // op.parts), *places)
    zeros = jax.numpy.zeros((*outer_shape, *axes, *inner_shape), x.dtype)
    return zeros.at[(*(slice(None),) * op.axis, *places)].add(rows)


@row("scatter_along")
def _scatter_along(op: Any, x: Any, indices: Any) -> Any:
    grid = [*np.ix_(*map(np.arange, x.shape))]
    grid[op.axis] = indices
    shape = (*x.shape[: op.axis], op.size, *x.shape[op.axis + 1 :])
    return jax.numpy.zeros(shape, x.dtype).at[tuple(grid)].add(x)


@row("linear_scan")
def _linear_scan(op: Any, a: Any, b: Any) -> Any:
    """Lower a linear recurrence y = a y' + b along an axis to ``jax.lax.scan``."""
    if not b.shape[op.axis]:
        return b
    factors, terms = (jax.numpy.moveaxis(operand, op.axis, 0) for operand in (a, b))

    def step(last: Any, pair: Any) -> Any:
        now = pair[0] * last + pair[1]
        return now, now

    later = jax.lax.scan(step, terms[0], (factors[1:], terms[1:]))[1]
    return jax.numpy.moveaxis(jax.numpy.concatenate([terms[:1], later]), 0, op.axis)


@row("scatter_extreme")
def _scatter_extreme(op: Any, x: Any, indices: Any) -> Any:
    """Lower a scatter of maxima or minima to ``jax.numpy``'s indexed update."""
    outer_shape, inner_shape = x.shape[: op.axis], x.shape[op.axis + indices.ndim :]
    dtype = as_dtype(x.dtype)
    least = convert_array(np.asarray(COMBINERS[op.kind].empty(dtype)), dtype)
    narrow = x.dtype == bool
    x, least = (x.astype("int8"), least.astype("int8")) if narrow else (x, least)
    rows = x.reshape(*outer_shape, indices.size, *inner_shape)
    filled = jax.numpy.full((*outer_shape, op.size, *inner_shape), least)
    at = filled.at[(*(slice(None),) * op.axis, indices.reshape(-1))]
    result = at.max(rows) if op.kind == "max" else at.min(rows)
    return result.astype(bool) if narrow else result


@row("index_copy")
def _index_copy(op: Any, x: Any, indices: Any, base: Any) -> Any:
    """Lower written entries to ``jax.numpy``'s indexed update, in which no place occurs twice."""
    numpy, size = jax.numpy, base.shape[op.axis]
    outer_shape, inner_shape = x.shape[: op.axis], x.shape[op.axis + indices.ndim :]
    flat = indices.reshape(-1).astype("int64" if jax.config.jax_enable_x64 else "int32")
    places = numpy.where(flat < 0, flat + size, flat)
    if not op.has_distinct_places(indices) and size:
        number = numpy.arange(places.size)
        last = numpy.full(size, -1).at[places].max(number)
        places = numpy.where(last[places] == number, places, size)  # those beyond are dropped
    rows = x.reshape(*outer_shape, places.size, *inner_shape)
    at = base.at[(*(slice(None),) * op.axis, places)]
    return at.set(rows, mode="drop") if size else base


@row("sort")
def _sort(op: Any, x: Any) -> Any:
    places = _order(op, x, op.descending)
    if op.descending:  # NaN comes last all the same
        nan = jax.numpy.take_along_axis(x != x, places, op.axis)
        last = jax.numpy.argsort(nan, op.axis, stable=True)
        places = jax.numpy.take_along_axis(places, last, op.axis)
    return jax.numpy.take_along_axis(x, places, op.axis), places


@row("topk")
def _topk(op: Any, x: Any) -> Any:
    places = _order(op, x, not op.smallest)
    places = places[(*(slice(None),) * op.axis, slice(op.result_size(x.shape[op.axis])))]
    return jax.numpy.take_along_axis(x, places, op.axis), places


@row("order_statistic")
def _order_statistic(op: Any, x: Any, places: Any) -> Any:
    inside = jax.numpy.clip(places, 0, x.shape[op.axis] - 1)
    chosen = jax.numpy.take_along_axis(_order(op, x, False), inside, op.axis)
    return jax.numpy.take_along_axis(x, chosen, op.axis), chosen


def _order(op: Any, x: Any, descending: bool) -> Any:
    """Return the positions along the axis in order; descending, NaN comes first."""
    if descending:
        mirrored = jax.numpy.argsort(jax.numpy.flip(x, op.axis), op.axis, stable=True)
        return x.shape[op.axis] - 1 - jax.numpy.flip(mirrored, op.axis)
    return jax.numpy.argsort(x, op.axis, stable=True)


@row("random_bits")
def _random_bits(op: Any, key: Any, step: Any) -> Any:
    """Lower counter-based random bits to uint64 arithmetic of JAX."""
    if not jax.config.jax_enable_x64:
        raise ExportError(
            "random numbers have keys of 64 bits",
            hint='jax.config.update("jax_enable_x64", True)',
        )
    shape, draw_shape = op.shape, op.shape[op.keys :]
    count = math.prod(draw_shape)
    begin = np.uint64(op.rank * count)
    position = (begin + jax.numpy.arange(count, dtype="uint64")).reshape(draw_shape)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    high = position >> half | np.uint64(op.stream << 16)
    counter = [position & low, high, step & low, step >> half]
    words = encrypt([jax.numpy.broadcast_to(c, shape) for c in counter], key)
    first, second = words[2 * op.half : 2 * op.half + 2]
    return first if op.dtype is U32 else first | second << half


# -- windows --------------------------------------------------------------------------------------


def _gather_taps(op: Any, x: Any, fill: Any) -> list[Any]:
    """Gather the element of every window at each tap in JAX, ``fill`` outside of the image."""
    lead, image = x.shape[: x.ndim - op.count], x.shape[x.ndim - op.count :]
    read = {tap: (i, w) for tap, i, w in each_tap(op.axes(image, op.extents))}
    taps = []
    for tap in product(*map(range, op.taps)):
        elements = jax.numpy.full((*lead, *op.extents), fill, x.dtype)
        if tap in read:
            inside, windows = read[tap]
            elements = elements.at[last(windows)].set(x[last(inside)], unique_indices=True)
        taps.append(elements)
    return taps


@row("window_sum")
def _window_sum(op: Any, x: Any) -> Any:
    return reduce(lambda a, b: a + b, _gather_taps(op, x, 0))


@row("unfold")
def _unfold_windows(op: Any, x: Any) -> Any:
    lead = x.shape[: x.ndim - op.count]
    stacked = jax.numpy.stack(_gather_taps(op, x, 0), len(lead))
    return stacked.reshape(*lead, *op.taps, *op.extents)


def _least(x: Any) -> Any:
    return COMBINERS["max"].identity(as_dtype(x.dtype))


@row("window_max")
def _window_max(op: Any, x: Any) -> Any:
    def larger(first: Any, second: Any) -> Any:
        wins = ~(second <= first) & (first == first)
        return jax.numpy.where(wins, second, first)

    return reduce(larger, _gather_taps(op, x, _least(x)))


@row("window_place")
def _window_place(op: Any, x: Any) -> Any:
    inside = jax.numpy.stack(_gather_taps(op, jax.numpy.ones(x.shape, "int8"), 0)) == 1
    stacked = jax.numpy.stack(_gather_taps(op, x, _least(x)))
    largest = stacked.max(0)
    chosen = (stacked == largest) | (stacked != stacked)
    return jax.numpy.argmax(chosen & inside, 0).astype(place_dtype(op.taps).numpy)


@row("window_take")
def _window_take(op: Any, x: Any, places: Any) -> Any:
    out = jax.numpy.zeros(places.shape, x.dtype)
    for place, elements in enumerate(_gather_taps(op, x, 0)):
        out = jax.numpy.where(places == place, elements, out)
    return out


def _add_taps(
    op: Any, lead: Any, windows: Any, dtype: Any, values_of_tap: Callable[[Any], Any]
) -> Any:
    """Add the contribution of each tap to the windows' elements of an image, in JAX."""
    out = jax.numpy.zeros((*lead, *op.extents), dtype)
    for tap, image, read in each_tap(op.axes(op.extents, windows)):
        out = out.at[last(image)].add(values_of_tap(tap)[last(read)])
    return out


@row("fold")
def _fold_windows(op: Any, y: Any) -> Any:
    lead = y.ndim - 2 * op.count
    taps_first = jax.numpy.moveaxis(y, range(lead, lead + op.count), range(op.count))
    windows = y.shape[lead + op.count :]
    return _add_taps(op, y.shape[:lead], windows, y.dtype, lambda tap: taps_first[tap])


@row("window_put")
def _window_put(op: Any, y: Any, places: Any) -> Any:
    """Lower the gradient of a max-pooling to JAX: each cotangent to its window's maximum."""
    lead = y.ndim - op.count

    def values_of_tap(tap: Any) -> Any:
        place = int(np.ravel_multi_index(tap, op.taps))
        return jax.numpy.where(places == place, y, jax.numpy.zeros((), y.dtype))

    return _add_taps(op, y.shape[:lead], y.shape[lead:], y.dtype, values_of_tap)


# -- sparse products ------------------------------------------------------------------------------


def _rows(x: Any, places: Any) -> Any:
    """Return rows of matrices, of zeros for places outside."""
    inside = (places >= 0) & (places < x.shape[-2])
    if not x.shape[-2]:
        return jax.numpy.zeros((*x.shape[:-2], places.shape[0], x.shape[-1]), x.dtype)
    read = jax.numpy.take(x, jax.numpy.where(inside, places, 0), axis=-2)
    return jax.numpy.where(inside[:, None], read, 0)


@row("sparse_product")
def _sparse_product(op: Any, data: Any, x: Any, *pattern: Any) -> Any:
    starts, places, rows, starts_t, *_ = pattern
    at, to, count = (rows, places, starts_t) if op.transposed else (places, rows, starts)
    terms = data[..., :, None] * _rows(x, at)
    zeros = jax.numpy.zeros((*terms.shape[:-2], count.shape[0] - 1, terms.shape[-1]), terms.dtype)
    to = jax.numpy.where(to < 0, zeros.shape[-2], to)
    return zeros.at[..., to, :].add(terms, mode="drop")


@row("sampled_product")
def _sampled_product(op: Any, u: Any, v: Any, *pattern: Any) -> Any:
    _, places, rows, *_ = pattern
    return (_rows(u, rows) * _rows(v, places)).sum(-1)


@row("sparse_solve", "complex_sparse_solve")
def _sparse_solve(op: Any, data: Any, b: Any, *pattern: Any) -> Any:
    """Lower a sparse solve to JAX: SuperLU on the host; JAX differentiates the product."""
    parts = op.name.startswith("complex")
    data, b = map(_join_parts, (data, b)) if parts else (data, b)
    batch = np.broadcast_shapes(data.shape[:-1], b.shape[:-2])
    b = jax.numpy.broadcast_to(b, (*batch, *b.shape[-2:]))

    def solve_on_host(b: Any, transposed: bool) -> Any:
        errors = "nan" if transposed else op.errors
        solve_op = type(op)(op.transposed is not transposed, errors, op.ordering)
        operands = map(_parts, (data, b)) if parts else (data, b)
        (solution,) = _evaluate_on_host(solve_op, *operands, *pattern)
        return _join_parts(solution) if parts else solution

    kind: Any = op_class("sparse_product")
    product = kind(op.transposed)
    solution = jax.lax.custom_linear_solve(
        lambda x: _sparse_product(product, data, x, *pattern),
        b, lambda _, b: solve_on_host(b, False), lambda _, b: solve_on_host(b, True),
    )  # fmt: skip
    return _parts(solution) if parts else solution


# -- linear algebra and Fourier transforms --------------------------------------------------------


def _join_parts(x: Any) -> Any:
    """Return the complex array whose parts are the last axis."""
    return jax.lax.complex(x[..., 0], x[..., 1])


def _parts(z: Any) -> Any:
    return jax.numpy.stack([z.real, z.imag], -1)


def matrices(name: str) -> Callable[[Row], Row]:
    """Register a function of matrices as the JAX lowering of a real op and its complex form."""

    def register_rows(function: Row) -> Row:
        """Register the JAX lowering of a matrix op for real arrays and for pairs of parts."""

        def of_parts(op: Any, *operands: Any) -> Any:
            """Lower the complex form of a matrix op: join both parts, call, split again."""
            outputs = function(
                op, *[_join_parts(x) if x.dtype.kind == "f" else x for x in operands]
            )
            single = not isinstance(outputs, tuple)
            results = (outputs,) if single else outputs
            results = tuple([_parts(y) if y.dtype.kind == "c" else y for y in results])
            return results[0] if single else results

        ROWS[name] = function
        ROWS[f"complex_{name}"] = of_parts
        return function

    return register_rows


def _adjoint(x: Any) -> Any:
    return x.swapaxes(-1, -2).conj()


def _hermitian(x: Any) -> Any:
    """Return the matrix that the lower triangle of x says."""
    strict = jax.numpy.tril(x, -1)
    diagonal = x * np.eye(x.shape[-1], dtype=x.dtype)
    return strict + diagonal.real.astype(x.dtype) + _adjoint(strict)


@matrices("cholesky")
def _cholesky(op: Any, a: Any) -> Any:
    return jax.lax.linalg.cholesky(_hermitian(a), symmetrize_input=False)


@matrices("triangular_solve")
def _triangular_solve(op: Any, a: Any, b: Any) -> Any:
    return jax.lax.linalg.triangular_solve(
        a, b, left_side=True, lower=op.lower, transpose_a=op.transposed, conjugate_a=op.transposed,
        unit_diagonal=op.unit,
    )  # fmt: skip


@matrices("tridiagonal_solve")
def _tridiagonal_solve(op: Any, lower: Any, diagonal: Any, upper: Any, b: Any) -> Any:
    if not b.size:
        return b
    b_transposed = b.swapaxes(-1, -2)
    lower, upper = lower.at[..., 0].set(0), upper.at[..., -1].set(0)
    return jax.lax.linalg.tridiagonal_solve(lower, diagonal, upper, b_transposed).swapaxes(-1, -2)


@matrices("lu")
def _lu(op: Any, x: Any) -> Any:
    packed, pivots, permutation = jax.lax.linalg.lu(x.swapaxes(-1, -2))
    exchanged = pivots != np.arange(pivots.shape[-1])
    return packed.swapaxes(-1, -2), permutation, exchanged.sum(-1)


@matrices("lu_solve")
def _lu_solve(op: Any, lu: Any, permutation: Any, b: Any) -> Any:
    """Lower a solve by LU factors to two triangular solves of JAX."""

    def solve_triangle(b: Any, lower: bool) -> Any:
        return jax.lax.linalg.triangular_solve(
            lu, b, left_side=True, lower=lower, transpose_a=op.transposed,
            conjugate_a=op.transposed, unit_diagonal=not lower,
        )  # fmt: skip

    if op.transposed:
        ordered = jax.numpy.take_along_axis(b, permutation[..., None], -2)
        return solve_triangle(solve_triangle(ordered, lower=False), lower=True)
    back = jax.numpy.argsort(permutation, -1)
    solution = solve_triangle(solve_triangle(b, lower=True), lower=False)
    return jax.numpy.take_along_axis(solution, back[..., None], -2)


@matrices("qr")
def _qr(op: Any, x: Any) -> Any:
    return tuple(jax.numpy.linalg.qr(x, "complete" if op.complete else "reduced"))


@matrices("eigh")
def _eigh(op: Any, x: Any) -> Any:
    values, vectors = jax.numpy.linalg.eigh(_hermitian(x), symmetrize_input=False)
    return values, _adjoint(vectors)


@matrices("eigvalsh")
def _eigvalsh(op: Any, x: Any) -> Any:
    return jax.numpy.linalg.eigvalsh(_hermitian(x), symmetrize_input=False)


@matrices("svd")
def _svd(op: Any, x: Any) -> Any:
    return tuple(jax.numpy.linalg.svd(x, full_matrices=op.full))


@matrices("svdvals")
def _svdvals(op: Any, x: Any) -> Any:
    return jax.numpy.linalg.svd(x, compute_uv=False)


@row("sylvester")
def _sylvester(op: Any, a: Any, b: Any, q: Any) -> Any:
    """Lower a Sylvester equation to JAX: LAPACK on the host; JAX differentiates the equation."""

    def solve_on_host(q: Any, transposed: bool) -> Any:
        pair = [x.swapaxes(-1, -2) if transposed else x for x in (a, b)]
        return _evaluate_on_host(op, *pair, q)[0]

    return jax.lax.custom_linear_solve(
        lambda x: a @ x + x @ b,
        q,
        lambda _, q: solve_on_host(q, False),
        lambda _, q: solve_on_host(q, True),
    )


@row("fft")
def _fft(op: Any, x: Any) -> Any:
    """Lower a Fourier transform (r2c, c2c or c2r) to ``jax.numpy.fft``."""
    space, axes = jax.numpy.fft, op.axes
    norm = ("backward", "ortho", "forward")[op.norm if op.forward else 2 - op.norm]
    if op.kind == "r2c":
        norm = ("backward", "ortho", "forward")[op.norm]
        spectrum = space.rfftn(x, axes=axes, norm=norm)
        return _parts(spectrum if op.forward else spectrum.conj())
    z = _join_parts(x)
    if op.kind == "c2c":
        return _parts((space.fftn if op.forward else space.ifftn)(z, axes=axes, norm=norm))
    norm = ("forward", "ortho", "backward")[op.norm]
    sizes = [*(z.shape[axis] for axis in axes[:-1]), op.last]
    return space.irfftn(z.conj() if op.forward else z, sizes, axes, norm)


@row("conv")
def _conv(op: Any, x: Any, w: Any) -> Any:
    if x.dtype.kind != "f":
        return _evaluate_on_host(op, x, w)
    w = op.taps_of(w) if op.tiles else w
    return _convolve(op, x, w, x.shape[2:], op.extents)


def _convolve(op: Any, x: Any, w: Any, image: Any, windows: Any) -> Any:
    axes = zip(image, w.shape[2:], windows, op.strides, op.dilation, op.before, strict=True)
    around = [(low, (n - 1) * s + (k - 1) * d + 1 - size - low)
              for size, k, n, s, d, low in axes]  # fmt: skip
    return jax.lax.conv_general_dilated(
        x, w, op.strides, around, rhs_dilation=op.dilation, feature_group_count=op.groups
    )


@row("conv_image")
def _conv_image(op: Any, y: Any, w: Any) -> Any:
    if y.dtype.kind != "f":  # XLA's transposed convolutions of integers are wrong
        return _evaluate_on_host(op, y, w)
    x = jax.ShapeDtypeStruct((y.shape[0], op.groups * w.shape[1], *op.extents), y.dtype)
    f = lambda x: _convolve(op, x, w, op.extents, y.shape[2:])  # noqa: E731
    return jax.linear_transpose(f, x)(y)[0]


@row("conv_filter")
def _conv_filter(op: Any, x: Any, y: Any) -> Any:
    if x.dtype.kind != "f":
        return _evaluate_on_host(op, x, y)
    w = jax.ShapeDtypeStruct((y.shape[1], x.shape[1] // op.groups, *op.extents), x.dtype)
    f = lambda w: _convolve(op, x, w, x.shape[2:], y.shape[2:])  # noqa: E731
    return jax.linear_transpose(f, w)(y)[0]


# -- derivatives by our rules, and what NumPy computes --------------------------------------------


def _types_of(arrays: Sequence[Any]) -> tuple[TensorType, ...]:
    return tuple([TensorType(as_dtype(array.dtype), array.shape) for array in arrays])


def _evaluate_on_host(op: Op, *arrays: Any) -> tuple[Any, ...]:
    """Lower an op without a JAX counterpart to a host callback that evaluates it with NumPy."""
    if isinstance(op, Elementwise):  # batches are axes in front
        rank = max(array.ndim for array in arrays)
        arrays = tuple(
            [array.reshape(*(1,) * (rank - array.ndim), *array.shape) for array in arrays]
        )
    types = [*_types_of(arrays)]
    if not jax.config.jax_enable_x64 and op.name in _WIDE:
        types = [operand_type.with_dtype(as_dtype("float64")) for operand_type in types]
    inferred: Any = op.infer(*types)
    outs = inferred if isinstance(inferred, tuple) else (inferred,)
    run = round_results(op.reference, op, types, outs)
    dtypes = [jax.dtypes.canonicalize_dtype(out_type.dtype.numpy) for out_type in outs]

    def host(*host_arrays: Any) -> tuple[Any, ...]:
        operands = [np.asarray(x, t.dtype.numpy) for x, t in zip(host_arrays, types, strict=True)]
        with np.errstate(all="ignore"):
            results = run(*operands)
        results = results if isinstance(results, tuple) else (results,)
        return tuple([np.asarray(x, dtype) for x, dtype in zip(results, dtypes, strict=True)])

    structs = tuple([
        jax.ShapeDtypeStruct(out_type.shape, dtype)
        for out_type, dtype in zip(outs, dtypes, strict=True)
    ])  # fmt: skip
    method = "sequential"
    if isinstance(op, Elementwise):
        method = "expand_dims"
    elif isinstance(op, LinearAlgebra):
        method = "broadcast_all"
    return tuple(jax.pure_callback(host, structs, *arrays, vmap_method=method))


#: Ops whose operands are float64 always.
_WIDE: Final = ("special", "special_of_order")


@cache
def _tangents(op: Op, types: tuple[TensorType, ...], has_tangent: tuple[bool, ...]) -> Any:
    """Return a graph of the tangents of an op's results (None: zero), and the node of these."""
    with traced_in(Session()), in_graphs():
        inputs: list[Any] = [graph_input(f"x{k}", t.shape, t.dtype) for k, t in enumerate(types)]
        results: Any = op(*inputs)
        outs = list(results) if isinstance(results, tuple) else [results]
        directions = [
            (inputs[k], graph_input(f"t{k}", types[k].shape, types[k].dtype))
            for k, is_moving in enumerate(has_tangent)
            if is_moving
        ]
        pushed = push_forward(outs, directions)
        outputs = {str(k): tangent for k, tangent in enumerate(pushed) if tangent is not None}
        graph = (
            Graph(outputs, inputs=[*inputs, *(tangent for _, tangent in directions)])
            if outputs
            else None
        )
    return graph, outs[0].node


@cache
def _cotangents(op: Any, types: tuple[TensorType, ...]) -> Graph | None:
    """Return a graph of the cotangents of the operands of ``custom_vjp`` but the first."""
    with traced_in(Session()), in_graphs():
        inputs = [graph_input(f"x{k}", t.shape, t.dtype) for k, t in enumerate(types)]
        ct = graph_input("ct", types[0].shape, types[0].dtype)
        _, *shares = op.vjp(ct, inputs[0], *inputs)
        outputs = {str(k): share for k, share in enumerate(shares, 1) if share is not None}
        return Graph(outputs, inputs=[*inputs, ct]) if outputs else None


def _run_graph(graph: Graph, feeds: Mapping[str, Any], values: dict[Any, Any]) -> dict[int, Any]:
    """Return the outputs of a graph by number."""
    Lowered(feeds, {}, {}).compute(graph, values)
    return {int(name): values[value.key] for name, value in graph.outputs.items()}


def _zero(of: Any) -> Any:
    if np.issubdtype(of.dtype, np.inexact) or of.dtype.kind == "V":
        return jax.numpy.zeros(of.shape, of.dtype)
    return np.zeros(of.shape, jax.dtypes.float0)


def _attach_rule(
    op: Op, types: Sequence[TensorType], value: Callable[..., Any], arrays: Sequence[Any]
) -> Any:
    """Give ``value(*arrays)`` in JAX the derivative rule of our op."""

    @jax.custom_jvp  # type: ignore[untyped-decorator]
    def call(*arrays: Any) -> tuple[Any, ...]:
        results = value(*arrays)
        return results if isinstance(results, tuple) else (results,)

    def push(primals: Any, tangents: Any) -> Any:
        """Apply the op's tangent graph as the rule of ``jax.custom_jvp``."""
        outs = call(*primals)
        still = jax.custom_derivatives.SymbolicZero
        has_tangent = [
            operand_type.dtype.is_float and not isinstance(tangent, still)
            for operand_type, tangent in zip(types, tangents, strict=True)
        ]
        shapes = zip(types, primals, strict=True)
        graph, node = _tangents(
            op, tuple([t.with_shape(x.shape) for t, x in shapes]), tuple(has_tangent)
        )
        tangents_by_result: dict[int, Any] = {}
        if graph is not None:
            feeds = {f"x{k}": primal for k, primal in enumerate(primals)}
            feeds |= {f"t{k}": tangent for k, tangent in enumerate(tangents) if has_tangent[k]}
            tangents_by_result = _run_graph(
                graph, feeds, {(node, k): out for k, out in enumerate(outs)}
            )
        return outs, tuple([tangents_by_result.get(k, _zero(out)) for k, out in enumerate(outs)])

    call.defjvp(push, symbolic_zeros=True)
    return call(*arrays)


def _custom_vjp(op: Op, types: Sequence[TensorType], arrays: Sequence[Any]) -> Any:
    """Lower ``custom_vjp`` to JAX: the first of ``arrays``, with the user's rule for the others."""

    @jax.custom_vjp  # type: ignore[untyped-decorator]
    def call(*arrays: Any) -> Any:
        return arrays[0]

    def backward(arrays: Any, ct: Any) -> Any:
        """Run the user's backward graph as the rule of ``jax.custom_vjp``."""
        shapes = zip(types, arrays, strict=True)
        graph = _cotangents(op, tuple([t.with_shape(x.shape) for t, x in shapes]))
        cotangents: dict[int, Any] = {}
        if graph is not None:
            feeds = {f"x{k}": array for k, array in enumerate(arrays)} | {"ct": ct}
            cotangents = _run_graph(graph, feeds, {})
        return tuple([cotangents.get(k, _zero(array)) for k, array in enumerate(arrays)])

    call.defvjp(lambda *arrays: (arrays[0], arrays), backward)
    return call(*arrays)


# -- graphs ---------------------------------------------------------------------------------------


def _widen_storage(x: Any) -> Any:
    return x.astype("float32") if as_dtype(x.dtype).is_storage else x


class Lowered:
    """One run of a graph in JAX: sizes, and how a node is computed."""

    def __init__(self, feeds: Mapping[str, Any], stored: Mapping[str, Any], sizes: Any) -> None:
        self.feeds, self.stored, self.sizes = feeds, stored, sizes

    def compute(self, graph: Graph, values: dict[Any, Any]) -> None:
        """Add every value of a graph to what is known; the inputs of a body are known before."""
        for node in graph.nodes:
            if (node, 0) not in values:
                results = self._results(node, [values[arg.key] for arg in node.args])
                for place, result in enumerate(results):
                    values[node, place] = result

    def _results(self, node: Node, args: Sequence[Any]) -> Sequence[Any]:
        """Lower one node of a graph to JAX arrays of its dtypes."""
        op: Any = at_sizes(node.op, self.sizes)
        try:
            results = self._compute_op(op, node, args)
        except StaticgradError as error:
            if error.headline.startswith("jax.lower: "):
                raise
            raise _refusal(node, error.headline, error.hint) from error
        results = results if isinstance(results, tuple) else (results,)
        dtypes = [jax.dtypes.canonicalize_dtype(kind.dtype.numpy) for kind in node.types]
        return [result.astype(d) for result, d in zip(results, dtypes, strict=True)]

    def _compute_op(self, op: Any, node: Node, args: Sequence[Any]) -> Any:
        """Choose the JAX lowering of a node: feed, parameter, loop, custom rule or table row."""
        name = op.name
        if name == "input":
            return _stored_form(self.feeds[op.label], op)
        if name == "parameter":
            return _stored_form(self.stored[node.values[0].name], op)
        if name in BODIES:
            return BODIES[name](self, op, args)
        types = [value.type for value in node.args]
        if name == "custom_vjp":
            return _custom_vjp(op, types, args)
        if name in REFUSED and not (name in _RANKS and op.ranks == 1):
            raise ExportError(REFUSED[name])
        if name in RULED:
            return _attach_rule(op, types, lambda *arrays: _by_row(op, arrays), args)
        if _find_row(op) is not None:
            return _by_row(op, args)
        return _attach_rule(op, types, lambda *arrays: _evaluate_on_host(op, *arrays), args)

    def body(self, body: Graph, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs of a body."""
        values = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        self.compute(body, values)
        return tuple(values[value.key] for value in body.outputs.values())


#: Ops that read the bits of operands.
EXACT: Final = frozenset(["bitcast"])


def _find_row(op: Any) -> Row | None:
    """Return the row of an op, or the function of ``jax.numpy`` that has the name of its ufunc."""
    name = getattr(getattr(op, "numpy", None), "__name__", "")
    if op.name in ROWS or not name or getattr(np, name, None) is not op.numpy:
        return ROWS.get(op.name)
    function = getattr(jax.numpy, name, None)
    return function and (lambda _, *args: function(*args))


def _by_row(op: Any, args: Sequence[Any]) -> Any:
    row = _find_row(op)
    assert row is not None
    return row(op, *(args if op.name in EXACT else map(_widen_storage, args)))


def _stored_form(data: Any, leaf: Any) -> Any:
    """Return an input or parameter as its op has it: of complex numbers both parts."""
    array = jax.numpy.asarray(data)
    if has_parts(leaf) and np.issubdtype(array.dtype, np.complexfloating):
        return _parts(array)
    return array


def _refusal(node: Node, what: str, hint: str) -> ExportError:
    return ExportError(f"jax.lower: {node.op.name}: {what}", hint=hint, at=node.origin)


def _lower_loop(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    """Lower a loop to ``jax.lax.scan``, with stacked outputs and logged carries."""
    first, second = op.carries, op.carries + op.slices
    carry, rows, invariants = arrays[:first], arrays[first:second], arrays[second:]

    def step(carry: Any, numbered_slices: Any) -> Any:
        number, slices = numbered_slices
        results = run.body(op.body, [number, *carry, *slices, *invariants])
        return results[:first], (results[first:], [carry[place] for place in op.logged])

    numbers = jax.numpy.arange(op.iterations)
    last, (stacked, logged_states) = jax.lax.scan(
        step, tuple(carry), (numbers, tuple(rows)), reverse=op.reverse
    )
    ends = [*last]
    for place, states in zip(op.logged, logged_states, strict=True):
        end = last[place][None]
        ends[place] = jax.numpy.concatenate([end, states] if op.reverse else [states, end])
    return *ends, *stacked


def _lower_while(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    """Lower a while loop to ``jax.lax.while_loop``; also return the number of iterations."""
    carry, invariants = tuple(arrays[: op.carries]), arrays[op.carries :]

    def test(state: Any) -> Any:
        goes = run.body(op.test, [state[0], *state[1], *invariants])[0]
        return goes if op.most is None else goes & (state[0] < op.most)

    def body(state: Any) -> Any:
        return state[0] + 1, run.body(op.body, [state[0], *state[1], *invariants])

    done, last = jax.lax.while_loop(test, body, (jax.numpy.asarray(0), carry))
    return *last, done


def _branch(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    cases = [lambda *operands, case=case: run.body(case, operands) for case in op.cases]
    return jax.lax.switch(arrays[0].astype("int32"), cases, *arrays[1:])


#: Ops with bodies.
BODIES: Final[dict[str, Any]] = {"loop": _lower_loop, "while": _lower_while, "branch": _branch}


def _array(feed: Any) -> Any:
    if isinstance(feed, np.ndarray) and not feed.dtype.isnative:
        feed = feed.astype(feed.dtype.newbyteorder("="))
    return jax.numpy.asarray(feed)


def lower_graph(graph: Graph) -> Callable[..., Any]:
    """Return a graph as a pure function of arrays of JAX."""
    stores = {store.name: store for store in graph.parameters}

    def run(feeds: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Any:
        """Evaluate the lowered graph on JAX arrays; return outputs, and updates if any."""
        feed_arrays = {name: _array(feed) for name, feed in name_feeds(graph, feeds).items()}
        stored = {name: store.value for name, store in stores.items()} | dict(parameters or {})
        shapes = {name: feed_arrays[name].shape for name in map(input_label, graph.inputs)}
        sizes = bind_sizes(graph, shapes, None)
        values: dict[Any, Any] = {}
        Lowered(feed_arrays, stored, sizes).compute(graph, values)
        outputs = {
            name: _join_parts(values[value.key])
            if name in graph.complex_outputs
            else values[value.key]
            for name, value in graph.outputs.items()
        }
        if not graph.updates:
            return outputs
        updated = {store.name: values[value.key] for store, value in graph.updates}
        for store, _ in graph.updates:
            if has_parts(store.store):
                updated[store.name] = _join_parts(updated[store.name])
        return outputs, {name: updated.get(name, stored[name]) for name in stores}

    return run


def lowered_function(f: Function[..., Any]) -> Callable[..., Any]:
    """Return a function of arrays as one of JAX, as ``sg.jax.lower`` describes it."""
    runs: dict[int, tuple[Any, Callable[..., Any]]] = {}

    def run(*args: Any, parameters: Any = None, **kwargs: Any) -> Any:
        """Call the traced function of arrays on arrays of JAX, by its lowered graph."""
        traced, arguments = traced_call(f, *map_leaves(_empty, (args, kwargs)))
        arrays = [leaf for leaf in flatten((args, kwargs))[0] if is_array(leaf)]
        feeds, numbers = traced.feeds(
            dict(zip(arguments.arrays, arrays, strict=True)), arguments.numbers
        )
        if traced.graph is None:
            return traced.results({}, numbers)
        entry = runs.setdefault(id(traced), (traced, lower_graph(traced.graph)))
        returned = entry[1](feeds, parameters)
        outputs, *updated = returned if traced.graph.updates else (returned,)
        results = traced.results(outputs, numbers)
        return (results, *updated) if updated else results

    return run


def _empty(leaf: Any) -> Any:
    """Return an array of NumPy in the type of one of JAX, without memory; others unchanged."""
    if not is_array(leaf):
        return leaf
    return np.broadcast_to(np.zeros((), leaf.dtype), literal_shape(leaf))


def is_array(leaf: Any) -> bool:
    """Return whether a leaf is an array of numbers of JAX or NumPy, also one that JAX traces."""
    is_one = isinstance(leaf, jax.Array | np.ndarray | np.generic)
    return is_one and isinstance(leaf.dtype, np.dtype)  # typed keys have a dtype of JAX
