"""The primitives of JAX as functions of staticgrad, a row each.

The signature of a function is the row: operands come first, and parameters have JAX's names. A
parameter that a row does not have says nothing about the result (``SILENT``), or has its default.
``out`` is not JAX's: the type of the result there (``LaxType``; of several results a tuple).
``primitive``, the name; ``op``, the record of the primitive. A row with several results gives a
tuple.

Results are cast to JAX's element type, and their shapes are compared with JAX's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, product
from math import inf, prod
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

import staticgrad.functions as sg
from staticgrad import fft, linalg, nn, special
from staticgrad.bridges.elements import COMPARISONS, ELEMENTS, make_rows
from staticgrad.bridges.operands import ForeignType, cast
from staticgrad.bridges.tables import OperatorRow, OperatorTable, unsupported_variant
from staticgrad.extend import as_dtype
from staticgrad.language.ops.convert import Bitcast
from staticgrad.linalg.decompositions import reflect_column
from staticgrad.linalg.structured import order_of
from staticgrad.programs.derivatives import vjp

LaxType: TypeAlias = ForeignType

#: Parameters that say where, how or in which order XLA computes, never what.
SILENT: Final = frozenset(
    [
        "sharding",
        "out_sharding",
        "precision",
        "preferred_element_type",
        "indices_are_sorted",
        "unique_indices",
        "accuracy",
        "weak_type",
        "operand_out_sharding",
        "name",
        "name_stack",
        "donated_invars",
        "ctx_mesh",
        "in_shardings",
        "out_shardings",
        "in_layouts",
        "out_layouts",
        "inline",
        "keep_unused",
        "compiler_options_kvs",
        "backend",
        "is_stable",
        "implementation",
        "algorithm",
        "lhs_shape",
        "rhs_shape",
        "operand_shape",
        "updates_shape",
        "ordered",
        "unroll",
        "input_dtype",
        "dtype",
        "shape",
        "memory_space",
        "_split_transpose",
        "prevent_cse",
        "policy",
        "differentiated",
        "update_consts",
        "key_operands",
    ]
)


def numbers(values: Any, dtype: str) -> Any:
    """Return a constant of this element type."""
    return sg.constant(np.asarray(values).astype(as_dtype(dtype).numpy))


_ELEMENTS: Final[dict[str, Callable[..., Any]]] = {
    **ELEMENTS,
    **COMPARISONS,
    **make_rows(
        sg,
        unary="abs cbrt conj imag log2 real stop_gradient zeros_like is_finite=isfinite not=invert",
        binary="complex and=bitwise_and max=maximum min=minimum or=bitwise_or xor=bitwise_xor",
    ),
    **make_rows(
        special,
        unary="bessel_i0e=i0e bessel_i1e=i1e erf_inv=erfinv",
        binary="zeta",
    ),
    **make_rows(nn, unary="logistic=sigmoid"),
    "add": lambda x, y: x + y,
    "add_any": lambda x, y: x + y,
    "copy": lambda x: x,
    "copy_p": lambda x: x,
    "name": lambda x: x,
    "pow": lambda x, y: sg.power(x, cast(y, x.dtype.name) if x.dtype.is_float else y),
    "pvary": lambda x: x,
    "regularized_incomplete_beta": lambda a, b, x: special.betainc(a, b, x),
    "sub": lambda x, y: x - y,
}

_REASONS: Final[dict[str, str]] = {
    "it calls Python": """io_callback ffi_call""",
    "it is for several devices": """all_gather all_gather_invariant all_to_all axis_index pbroadcast
        pgather ppermute psum_scatter ragged_all_to_all reduce_scatter shard_map shard_alike psend
        precv""",
    "it writes into mutable arrays": """new_ref get swap addupdate freeze run_state empty_ref
        free_ref""",
    "it is not written yet": """approx_top_k cholesky_update geqp3 hessenberg igamma_grad_a mulhi
        ragged_dot ragged_dot_general random_gamma_grad reduce_window rng_bit_generator rng_uniform
        scaled_dot select_and_scatter tridiagonal linear_call from_edtype to_edtype custom_lin
        custom_partitioning inspect_sharding check""",
}
#: Primitives that JAX defines by a loop that draws, and differentiates by a rule.
SAMPLERS: Final = ("random_gamma",)
#: Primitive that has no row -> why.
REFUSED: Final[dict[str, str]] = {
    name: why for why, names in _REASONS.items() for name in names.split()
}


def make_table(rows: Mapping[str, Callable[..., Any]]) -> OperatorTable:
    """Return a table of functions of JAX's primitives."""
    return OperatorTable(
        "JAX",
        {name: OperatorRow(function) for name, function in rows.items()},
        decorator="staticgrad.jax.lax.primitives.primitive",
        word="parameter",
        silent=SILENT,
        refused=REFUSED,
        name_argument="primitive",
    )


#: Primitive -> its row.
PRIMITIVES: Final = make_table(_ELEMENTS)
#: Registers a function as the row of primitives of JAX.
primitive = PRIMITIVES.row


@primitive("pure_callback")
def _pure_callback(*operands: Any, callback: Callable[..., Any], out: Any) -> Any:
    types = [
        (result_type.shape, result_type.dtype)
        for result_type in ([out] if isinstance(out, ForeignType) else out)
    ]
    return sg.host_call(callback, *operands, types=types)


# -- elementwise ----------------------------------------------------------------------------------


@primitive("div")
def _div(x: Any, y: Any) -> Any:
    """Divide as ``lax.div``: integers truncate, and division by zero gives -1."""
    if x.dtype.is_float or x.dtype.is_complex:
        return x / y
    quotient = sg.where(y == 0, sg.full_like(x, -1), x // sg.where(y == 0, sg.ones_like(y), y))
    if not _is_signed(x):
        return quotient
    inexact = (quotient * y != x) & ((x < 0) != (y < 0)) & (y != 0)
    return quotient + cast(inexact, x.dtype.name)


@primitive("rem")
def _rem(x: Any, y: Any) -> Any:
    if x.dtype.is_float:
        return sg.fmod(x, y)
    remainder = sg.fmod(x, sg.where(y == 0, sg.ones_like(y), y))
    return sg.where(y == 0, x, remainder)


@sg.custom_jvp(name="jax.one_minus_square")
def _subtract_square(x: Any) -> Any:
    return (1 - x) * (1 + x)  # accurate where x is near 1


@_subtract_square.rule
def _push_square(tangents: Any, out: Any, x: Any) -> Any:
    return -2 * x * tangents[0]  # that of the product is 0 where x is small


@primitive("one_minus_square")
def _one_minus_square(x: Any) -> Any:
    return _subtract_square(x)


@primitive("polynomial")
def _polynomial(x: Any, *coefficients: Any, out: LaxType) -> Any:
    """Evaluate a polynomial by Horner's rule; the constant coefficient comes first."""
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return sg.broadcast_to(value, out.shape)


@primitive("integer_pow")
def _integer_pow(x: Any, *, y: int) -> Any:
    return x**y


@primitive("round")
def _round_to_integer(x: Any, *, rounding_method: int) -> Any:
    if int(rounding_method) == 1:
        return sg.rint(x)
    truncated = sg.trunc(x)
    return truncated + sg.where(sg.abs(x - truncated) >= 0.5, sg.sign(x), 0.0)


@primitive("clamp")
def _clamp(low: Any, x: Any, high: Any) -> Any:
    raised = sg.where(x < low, low, x)
    return sg.where(raised > high, high, raised)


@primitive("select_n")
def _select_n(which: Any, *cases: Any) -> Any:
    """Select among cases by a boolean or an index (``lax.select_n``)."""
    if len(cases) == 1:
        return cases[0]
    if which.dtype.name == "bool":
        return sg.where(which, cases[1], cases[0])
    picked = cases[-1]
    for place in reversed(range(len(cases) - 1)):
        picked = sg.where(which <= place, cases[place], picked)
    return picked


@primitive("convert_element_type")
def _convert(x: Any, *, new_dtype: str) -> Any:
    """Convert the dtype as XLA: floats saturate to integers and NaN becomes 0."""
    if x.dtype.is_complex and not new_dtype.startswith("complex"):
        x = sg.real(x)
    if new_dtype == "bool":
        return sg.not_equal(x, 0) if x.dtype.name != "bool" else x
    if x.dtype.is_float and "int" in new_dtype:  # XLA saturates, and NaN is 0
        limits = np.iinfo(new_dtype)
        inside = sg.where(sg.isnan(x), 0.0, sg.clip(x, float(limits.min), float(limits.max)))
        above, below = x >= float(limits.max), x <= float(limits.min)
        integers = cast(sg.where(above | below, 0.0, inside), new_dtype)
        integers = sg.where(above, numbers(limits.max, new_dtype), integers)
        return sg.where(below, numbers(limits.min, new_dtype), integers)
    return cast(x, new_dtype)


@primitive("bitcast_convert_type")
def _bitcast(x: Any, *, new_dtype: str) -> Any:
    if x.dtype.name == new_dtype:
        return x
    if as_dtype(new_dtype).bits != x.dtype.bits or "16" in x.dtype.name + new_dtype:
        raise unsupported_variant(f"a conversion of {x.dtype.name} by bits to {new_dtype}")
    return Bitcast(as_dtype(new_dtype))(x)


@primitive("reduce_precision")
def _reduce_precision(x: Any, *, exponent_bits: int, mantissa_bits: int) -> Any:
    narrow = {(8, 23): "float32", (11, 52): "float64", (5, 10): "float16", (8, 7): "bfloat16"}
    if (exponent_bits, mantissa_bits) not in narrow:
        raise unsupported_variant(f"a float of {exponent_bits} and {mantissa_bits} bits")
    to = narrow[exponent_bits, mantissa_bits]
    return x if as_dtype(to).bits >= x.dtype.bits else cast(cast(x, to), x.dtype.name)


def _is_signed(x: Any) -> bool:
    return bool(x.dtype.numpy.kind == "i")


def _bits(x: Any) -> int:
    return int(x.dtype.bits)


@primitive("shift_left")
def _shift_left(x: Any, y: Any) -> Any:
    inside = _within(y, _bits(x))
    return sg.where(inside, sg.left_shift(x, sg.where(inside, y, sg.zeros_like(y))), 0)


@primitive("shift_right_logical")
def _shift_right_logical(x: Any, y: Any) -> Any:
    unsigned = f"uint{_bits(x)}"
    inside = _within(y, _bits(x))
    shift = cast(sg.where(inside, y, sg.zeros_like(y)), unsigned)
    return cast(sg.where(inside, sg.right_shift(cast(x, unsigned), shift), 0), x.dtype.name)


@primitive("shift_right_arithmetic")
def _shift_right_arithmetic(x: Any, y: Any) -> Any:
    inside = _within(y, _bits(x))
    if not _is_signed(x):
        return sg.where(inside, sg.right_shift(x, sg.where(inside, y, sg.zeros_like(y))), 0)
    return sg.right_shift(x, sg.where(inside, y, sg.full_like(y, _bits(x) - 1)))


def _within(y: Any, bits: int) -> Any:
    return (y >= 0) & (y < bits) if _is_signed(y) else y < bits


@primitive("population_count")
def _population_count(x: Any) -> Any:
    low_bit = numbers(1, x.dtype.name)
    total = sg.bitwise_and(x, low_bit)
    for k in range(1, _bits(x)):
        total = total + sg.bitwise_and(_shift_right_logical(x, numbers(k, x.dtype.name)), low_bit)
    return total


@primitive("clz")
def _clz(x: Any) -> Any:
    y = x
    k = 1
    while k < _bits(x):
        y = sg.bitwise_or(y, _shift_right_logical(y, numbers(k, x.dtype.name)))
        k *= 2
    return _bits(x) - _population_count(y)


@primitive("eq_to", "le_to", "lt_to")
def _total_order(x: Any, y: Any, *, primitive: str) -> Any:
    """Compare in the total order of ``lax``, in which NaN is the largest."""
    if x.dtype.is_float:  # NaN is the largest, and equal to itself
        x_last, y_last = sg.isnan(x), sg.isnan(y)
        equal = (x == y) | (x_last & y_last)
        less = (x < y) | (y_last & ~x_last)
    else:
        equal, less = x == y, x < y
    return {"eq_to": equal, "lt_to": less, "le_to": equal | less}[primitive]


@primitive("nextafter")
def _nextafter(x: Any, y: Any) -> Any:
    """Compute the next float towards ``y`` from the bits of ``x`` (``lax.nextafter``)."""
    if "16" in x.dtype.name:
        raise unsupported_variant(f"nextafter of {x.dtype.name}")
    integer_type = as_dtype(f"int{_bits(x)}")
    bits = Bitcast(integer_type)(sg.where(x == 0, sg.zeros_like(x), x))
    away = (y > x) == (x > 0)
    neighbour = Bitcast(x.dtype)(bits + cast(sg.where(away, 1, -1), integer_type.name))
    least = Bitcast(x.dtype)(numbers(1, integer_type.name))
    neighbour = sg.where(x == 0, sg.where(y > 0, least, -least), neighbour)
    return sg.where(sg.isnan(x) | sg.isnan(y), np.nan, sg.where(x == y, y, neighbour))


@primitive("polygamma")
def _polygamma(order: Any, x: Any) -> Any:
    """Compute JAX's polygamma from digamma and the Hurwitz zeta function."""
    return sg.where(
        order == 0,
        special.digamma(x),
        sg.where(sg.fmod(order, 2.0) == 0, -1.0, 1.0)
        * sg.exp(special.gammaln(order + 1.0))
        * special.zeta(order + 1.0, x),
    )


# -- shapes ---------------------------------------------------------------------------------------


@primitive("broadcast_in_dim")
def _broadcast_in_dim(x: Any, *, shape: Any, broadcast_dimensions: Any) -> Any:
    wide: list[Any] = [1] * len(shape)
    for size, axis in zip(x.shape, broadcast_dimensions, strict=True):
        wide[axis] = size
    return sg.broadcast_to(sg.reshape(x, tuple(wide)), tuple(shape))


@primitive("reshape")
def _reshape(x: Any, *, new_sizes: Any, dimensions: Any = None) -> Any:
    x = x if dimensions is None else sg.transpose(x, tuple(dimensions))
    return sg.reshape(x, tuple(new_sizes))


@primitive("squeeze")
def _squeeze(x: Any, *, dimensions: Any) -> Any:
    return sg.squeeze(x, tuple(dimensions)) if dimensions else x


@primitive("expand_dims")
def _expand_dims(x: Any, *, dimensions: Any) -> Any:
    return sg.expand_dims(x, tuple(dimensions))


@primitive("transpose")
def _transpose(x: Any, *, permutation: Any) -> Any:
    return sg.transpose(x, tuple(permutation)) if permutation else x


@primitive("rev")
def _rev(x: Any, *, dimensions: Any) -> Any:
    return sg.flip(x, tuple(dimensions)) if dimensions else x


@primitive("tile")
def _tile(x: Any, *, reps: Any) -> Any:
    return sg.tile(x, tuple(reps))


@primitive("concatenate")
def _concatenate(*operands: Any, dimension: int) -> Any:
    return sg.concatenate(operands, dimension) if len(operands) > 1 else operands[0]


@primitive("stack")
def _stack(*operands: Any, axis: int) -> Any:
    return sg.stack(operands, axis)


@primitive("unstack")
def _unstack(x: Any, *, axis: int) -> Any:
    return tuple(sg.unstack(x, axis=axis))


@primitive("split")
def _split(x: Any, *, sizes: Any, axis: int) -> Any:
    ends = [*accumulate(sizes)]
    leading = (slice(None),) * axis
    return tuple(x[(*leading, slice(e - n, e))] for e, n in zip(ends, sizes, strict=True))


@primitive("slice")
def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any = None) -> Any:
    steps = strides or (1,) * x.ndim
    key = tuple(map(slice, start_indices, limit_indices, steps))
    return x[key] if key else x


@primitive("pad")
def _pad(x: Any, filling: Any, *, padding_config: Any) -> Any:
    """Pad as ``lax.pad``: borders, elements between neighbours, and negative widths that crop."""
    for axis, (_, _, inside) in enumerate(padding_config):
        if inside:
            size = x.shape[axis]
            between = sg.broadcast_to(filling, (*x.shape[: axis + 1], inside, *x.shape[axis + 1 :]))
            wide = sg.concatenate([sg.expand_dims(x, axis + 1), between], axis + 1)
            flat = (*x.shape[:axis], size * (inside + 1), *x.shape[axis + 1 :])
            spaced = sg.reshape(wide, flat)
            last = max(size * (inside + 1) - inside, 0) if isinstance(size, int) else -inside
            x = spaced[(*(slice(None),) * axis, slice(0, last))]
    widths = [(max(low, 0), max(high, 0)) for low, high, _ in padding_config]
    if any(map(any, widths)):
        x = _add_borders(x, filling, widths)
    cut = tuple(
        slice(-low if low < 0 else 0, high if high < 0 else None) for low, high, _ in padding_config
    )
    return x[cut] if any(low < 0 or high < 0 for low, high, _ in padding_config) else x


def _add_borders(x: Any, filling: Any, widths: Any) -> Any:
    """Concatenate borders of the filling value to an array, for ``lax.pad``."""
    for axis, (low, high) in enumerate(widths):
        parts = [
            sg.broadcast_to(filling, (*x.shape[:axis], n, *x.shape[axis + 1 :])) if n else None
            for n in (low, high)
        ]
        joined = [part for part in (parts[0], x, parts[1]) if part is not None]
        x = sg.concatenate(joined, axis) if len(joined) > 1 else x
    return x


@primitive("iota")
def _iota(*, dtype: str, shape: Any, dimension: int) -> Any:
    return cast(sg.iota(tuple(shape), dimension, "int64"), dtype)


@primitive("empty", "empty2")
def _empty(*, out: LaxType) -> Any:
    return sg.zeros(tuple(out.shape), out.dtype)


# -- reductions -----------------------------------------------------------------------------------


@primitive("reduce_sum")
def _reduce_sum(x: Any, *, axes: Any) -> Any:
    return sg.sum(x, tuple(axes)) if axes else x


@primitive("reduce_prod")
def _reduce_prod(x: Any, *, axes: Any) -> Any:
    return sg.prod(x, tuple(axes)) if axes else x


@primitive("reduce_max", "reduce_min")
def _reduce_extreme(x: Any, *, axes: Any, primitive: str) -> Any:
    if not axes:
        return x
    is_bool = x.dtype.name == "bool"
    x = cast(x, "int8") if is_bool else x
    reduced = (sg.max if primitive == "reduce_max" else sg.min)(x, tuple(axes))
    return cast(reduced, "bool") if is_bool else reduced


@primitive("reduce_and", "reduce_or", "reduce_xor")
def _reduce_bits(x: Any, *, axes: Any, primitive: str) -> Any:
    """Reduce bools and integers by and, or, xor (JAX's bitwise reductions)."""
    return getattr(sg, primitive)(x, tuple(axes))


@primitive("psum", "psum_invariant", "pmax", "pmin")
def _reduce_named_axes(
    *operands: Any, axes: Any, axis_index_groups: Any = None, primitive: str
) -> tuple[Any, ...]:
    """Reduce over axes that had a name under ``jax.vmap``; of a mesh they have it still."""
    if not all(isinstance(axis, int) for axis in axes):
        raise unsupported_variant(f"axes {axes} of several devices")
    reductions: dict[str, Any] = {"pmax": sg.max, "pmin": sg.min}
    reduce_axes = reductions.get(primitive, sg.sum)
    return tuple([reduce_axes(x, tuple(axes)) if axes else x for x in operands])


@primitive("argmax", "argmin")
def _arg_extreme(x: Any, *, axes: Any, index_dtype: str, primitive: str) -> Any:
    x = cast(x, "int8") if x.dtype.name == "bool" else x
    return cast((sg.argmax if primitive == "argmax" else sg.argmin)(x, axes[0]), index_dtype)


_SCANS: Final = {
    "cumsum": lambda x, axis: sg.cumsum(x, axis),
    "cumprod": lambda x, axis: sg.cumprod(x, axis),
    "cummax": lambda x, axis: sg.cummax(x, axis),
    "cummin": lambda x, axis: sg.cummin(x, axis),
    "cumlogsumexp": lambda x, axis: sg.cumlogsumexp(x, axis),
}


@primitive(*_SCANS)
def _cumulative(x: Any, *, axis: int, reverse: bool, primitive: str) -> Any:
    if reverse:
        return sg.flip(_SCANS[primitive](sg.flip(x, axis), axis), axis)
    return _SCANS[primitive](x, axis)


@primitive("sort")
def _sort(*operands: Any, dimension: int, num_keys: int) -> Any:
    """Sort several operands by the first ``num_keys`` of them (``lax.sort``)."""
    if len(operands) == 1:
        return (sg.sort(operands[0], dimension),)
    keys = [
        cast(operand, "int8") if operand.dtype.name == "bool" else operand for operand in operands
    ]
    keys = keys[:num_keys]
    order = (
        sg.argsort(keys[0], dimension)
        if num_keys == 1
        else sg.lexsort(tuple(reversed(keys)), dimension)
    )
    return tuple(sg.take_along_axis(operand, order, dimension) for operand in operands)


@primitive("top_k")
def _top_k(x: Any, *, k: Any, axis: int = -1) -> Any:
    values, places = sg.topk(x, k, axis)
    return values, places


# -- products -------------------------------------------------------------------------------------


@primitive("dot_general")
def _dot_general(x: Any, y: Any, *, dimension_numbers: Any, out: LaxType) -> Any:
    """Compute ``lax.dot_general`` by one batched matrix product."""
    (x_sum, y_sum), (x_batch, y_batch) = dimension_numbers
    if out.dtype != "bool":
        x, y = cast(x, out.dtype), cast(y, out.dtype)
    x_free = [k for k in range(x.ndim) if k not in (*x_sum, *x_batch)]
    y_free = [k for k in range(y.ndim) if k not in (*y_sum, *y_batch)]
    batch = [x.shape[k] for k in x_batch]
    rows, columns = [x.shape[k] for k in x_free], [y.shape[k] for k in y_free]
    summed = prod([x.shape[k] for k in x_sum], start=1)
    x = sg.transpose(x, (*x_batch, *x_free, *x_sum)) if x.ndim else x
    y = sg.transpose(y, (*y_batch, *y_sum, *y_free)) if y.ndim else y
    x = sg.reshape(x, (*batch, prod(rows, start=1), summed))
    y = sg.reshape(y, (*batch, summed, prod(columns, start=1)))
    return sg.reshape(sg.matmul(x, y), (*batch, *rows, *columns))


@primitive("conv_general_dilated")
def _conv(
    x: Any, w: Any, *, window_strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any,
    dimension_numbers: Any, feature_group_count: int, batch_group_count: int, out: LaxType,
) -> Any:  # fmt: skip
    """Compute ``lax.conv_general_dilated`` with its dimension numbers and groups."""
    x_axes, w_axes, y_axes = dimension_numbers
    x = sg.transpose(cast(x, out.dtype), tuple(x_axes))
    w = sg.transpose(cast(w, out.dtype), tuple(w_axes))
    nothing = numbers(0, out.dtype)
    config = [(0, 0, 0), (0, 0, 0)]
    config += [(min(a, 0), min(b, 0), d - 1)
               for (a, b), d in zip(padding, lhs_dilation, strict=True)]  # fmt: skip
    if batch_group_count > 1:  # groups of the batch are groups of channels
        n, c, *image = x.shape
        x = sg.reshape(x, (batch_group_count, n // batch_group_count, c, *image))
        x = sg.moveaxis(x, 0, 1)
        x = sg.reshape(x, (n // batch_group_count, batch_group_count * c, *image))
        feature_group_count = batch_group_count
    around = [(max(a, 0), max(b, 0)) for a, b in padding]
    x = _pad(x, nothing, padding_config=config)
    options: dict[str, Any] = {
        "stride": tuple(window_strides), "dilation": tuple(rhs_dilation), "padding": tuple(around),
    }  # fmt: skip
    if not window_strides:
        y = sg.matmul(x, sg.transpose(w, (1, 0)))
    else:
        y = nn.conv(x, w, groups=feature_group_count, **options)
    order = sorted(range(len(y_axes)), key=lambda k: y_axes[k])
    return sg.transpose(y, tuple(order))


# -- parts by index -------------------------------------------------------------------------------


@primitive("dynamic_slice")
def _dynamic_slice(x: Any, *starts: Any, slice_sizes: Any) -> Any:
    return sg.dynamic_slice(x, [sg.maximum(start, 0) for start in starts], slice_sizes)


@primitive("dynamic_update_slice")
def _dynamic_update_slice(x: Any, update: Any, *starts: Any) -> Any:
    return sg.dynamic_update_slice(x, update, [sg.maximum(start, 0) for start in starts])


def _clamp_starts(start: Any, last: Any) -> Any:
    """Starts between 0 and ``last``, as int64."""
    return sg.minimum(sg.maximum(cast(start, "int64"), 0), last)


class _Places(NamedTuple):
    """Positions in an array that was flattened, and which of them are inside of it."""

    flat: Any
    inside: Any


def _places(
    shape: Any, indices: Any, window: Any, numbers_of: Any, mode: str, out_shape: Any
) -> _Places:
    """The places in an array of ``shape`` of each element of a gather's result.

    ``numbers_of``: offset axes of the result, axes that the window lacks, the axes that an index
    names, and batching axes of the array and of the indices.
    """
    offset, missing, named, batching, index_batching = numbers_of
    rank = len(out_shape)
    batch_axes = [k for k in range(rank) if k not in offset]

    def over_batch(value: Any) -> Any:
        wide: list[Any] = [1] * rank
        for axis in batch_axes:
            wide[axis] = out_shape[axis]
        return sg.reshape(value, tuple(wide))

    at: dict[int, Any] = {}
    inside: Any = None
    for column, axis in enumerate(named):
        start = cast(indices[..., column], "int64")
        last = shape[axis] - window[axis]
        if mode == "clip":
            start = _clamp_starts(start, last)
        elif mode == "fill":
            valid = (start >= 0) & (start <= last)
            inside = valid if inside is None else inside & valid
            start = sg.where(valid, start, 0)
        at[axis] = over_batch(start)
    for axis, column in zip(batching, index_batching, strict=True):
        at[axis] = over_batch(sg.iota(indices.shape[:-1], column, "int64"))
    windowed = [k for k in range(len(shape)) if k not in missing and k not in batching]
    for axis, result_axis in zip(windowed, offset, strict=True):
        if window[axis] == 1:
            continue
        steps: list[Any] = [1] * rank
        steps[result_axis] = window[axis]
        window_positions = sg.iota(tuple(steps), result_axis, "int64") if rank else 0
        at[axis] = window_positions + at.get(axis, 0)
    flat: Any = sg.zeros((1,) * rank, "int64")
    for axis, size in enumerate(shape):
        flat = flat * size + at.get(axis, 0)
    positions = sg.broadcast_to(flat, tuple(out_shape))
    if inside is not None:
        inside = sg.broadcast_to(over_batch(inside), tuple(out_shape))
    return _Places(positions, inside)


def _fillings(dtype: str) -> Any:
    if dtype.startswith(("float", "bfloat", "complex")):
        return np.nan
    if dtype == "bool":
        return True
    limits = np.iinfo(dtype)
    return limits.min if limits.min else limits.max


@primitive("gather")
def _gather(
    x: Any, indices: Any, *, dimension_numbers: Any, slice_sizes: Any, mode: str,
    fill_value: Any = None, out: LaxType,
) -> Any:  # fmt: skip
    """Gather windows at indices as ``lax.gather``; one full axis is a ``take``."""
    offset, collapsed, named, batching, index_batching = dimension_numbers
    mode = "clip" if mode == "promise" else mode  # XLA clips; JAX's gradients of scatter need it
    is_full_window = all(
        slice_sizes[k] == x.shape[k] for k in range(x.ndim) if k not in (*collapsed, *batching)
    )
    if is_full_window and len(named) == 1 and tuple(collapsed) == tuple(named) and not batching:
        (axis,) = named
        start = cast(indices[..., 0], "int64")
        end = axis + start.ndim
        expected = [k for k in range(len(out.shape)) if not axis <= k < end]
        if list(offset) == expected:  # rows of an axis
            last = x.shape[axis] - 1
            valid = (start >= 0) & (start <= last)
            start = _clamp_starts(start, last) if mode == "clip" else start
            if mode != "fill":
                return sg.take(x, start, axis)
            rows = sg.take(x, sg.where(valid, start, 0), axis)
            wide = (*(1,) * axis, *start.shape, *(1,) * (x.ndim - axis - 1))
            filling = _fillings(out.dtype) if fill_value is None else fill_value
            return sg.where(sg.reshape(valid, wide), rows, numbers(filling, out.dtype))
    parts = offset, collapsed, named, batching, index_batching
    places = _places(x.shape, indices, slice_sizes, parts, mode, out.shape)
    y = sg.take(sg.reshape(x, (-1,)), places.flat, 0)
    if places.inside is None:
        return y
    filling = _fillings(out.dtype) if fill_value is None else fill_value
    return sg.where(places.inside, y, numbers(filling, out.dtype))


_WRITES: Final = {
    "scatter": "set", "scatter_add": "add", "scatter-add": "add", "scatter_mul": "multiply",
    "scatter_sub": "subtract", "scatter-sub": "subtract", "scatter_min": "min",
    "scatter_max": "max", "scatter-min": "min", "scatter-max": "max", "scatter-mul": "multiply",
    "scatter-set": "set",
}  # fmt: skip


@primitive(*_WRITES)
def _scatter(
    x: Any, indices: Any, updates: Any, *, dimension_numbers: Any, mode: str, primitive: str,
    update_jaxpr: Any = None,
) -> Any:  # fmt: skip
    """Scatter windows of updates at indices as ``lax.scatter`` and its reductions."""
    offset, missing, named, batching, index_batching = dimension_numbers
    window: list[Any] = [1] * x.ndim
    windowed = [k for k in range(x.ndim) if k not in missing and k not in batching]
    for axis, update_axis in zip(windowed, offset, strict=True):
        window[axis] = updates.shape[update_axis]
    if prod(indices.shape[:-1]) == 1 and not batching:
        return _scatter_window(x, indices, sg.reshape(updates, window), named, mode, primitive)
    parts = offset, missing, named, batching, index_batching
    places = _places(x.shape, indices, window, parts, mode, updates.shape)
    flat, values = sg.reshape(x, (-1,)), sg.reshape(updates, (-1,))
    at = sg.reshape(places.flat, (-1,))
    if places.inside is not None:  # what is outside goes to one more element
        at = sg.where(sg.reshape(places.inside, (-1,)), at, flat.shape[0])
        flat = sg.concatenate([flat, sg.zeros((1,), x.dtype)])
    target = flat.at[at]
    write = _WRITES[primitive]
    written = target.add(-values) if write == "subtract" else getattr(target, write)(values)
    if places.inside is not None:
        written = written[:-1]
    return sg.reshape(written, x.shape)


def _scatter_window(
    x: Any, indices: Any, update: Any, named: Any, mode: str, primitive: str
) -> Any:
    """Scatter one window, which starts at the only index of the axes ``named``."""
    write = _WRITES[primitive]
    starts: list[Any] = [0] * x.ndim
    inside: Any = None
    for column, axis in enumerate(named):
        start = sg.reshape(cast(indices[..., column], "int64"), ())
        starts[axis] = sg.maximum(start, 0)
        if mode == "fill":
            valid = (start >= 0) & (start <= x.shape[axis] - update.shape[axis])
            inside = valid if inside is None else inside & valid
    if write == "set":
        written = sg.dynamic_update_slice(x, update, starts)
    else:
        combine, neutral = _combination(write, x.dtype)
        others = sg.full(x.shape, neutral, x.dtype)
        written = combine(x, sg.dynamic_update_slice(others, update, starts))
    return written if inside is None else sg.where(inside, written, x)


def _combination(write: str, dtype: Any) -> Any:
    """Return the function that a scatter combines elements by, and what changes no element."""
    if write in ("add", "subtract"):
        return getattr(sg, write), -0.0 if dtype.is_float and write == "add" else 0
    if write == "multiply":
        return sg.multiply, 1
    return (sg.minimum if write == "min" else sg.maximum), _lowest(dtype, write == "min")


# -- windows --------------------------------------------------------------------------------------


def _window_elements(
    x: Any, filling: float, dimensions: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> tuple[Any, list[Any]]:
    """The elements of each window: for each tap an array of all windows."""
    config = [(a, b, d - 1) for (a, b), d in zip(padding, base, strict=True)]
    x = _pad(x, numbers(filling, x.dtype.name), padding_config=config)
    counts = [
        (size - (n - 1) * d - 1) // step + 1
        for size, n, d, step in zip(x.shape, dimensions, dilation, strides, strict=True)
    ]
    taps = []
    for tap in product(*map(range, dimensions)):
        key = tuple(
            slice(t * d, t * d + (count - 1) * step + 1, step)
            for t, d, count, step in zip(tap, dilation, counts, strides, strict=True)
        )
        taps.append(x[key])
    return x, taps


def _lowest(dtype: Any, largest: bool) -> Any:
    if dtype.is_float:
        return inf if largest else -inf
    limits = np.iinfo(dtype.numpy)
    return limits.max if largest else limits.min


@primitive("reduce_window_sum", "reduce_window_max", "reduce_window_min")
def _reduce_window(
    x: Any, *, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
    window_dilation: Any, primitive: str,
) -> Any:  # fmt: skip
    """Reduce windows as ``lax.reduce_window``: by pooling, or tap by tap."""
    pooled = _reduce_by_pooling(x, window_dimensions, window_strides, padding, base_dilation,
                     window_dilation, primitive)  # fmt: skip
    if pooled is not None:
        return pooled
    kind = primitive.removeprefix("reduce_window_")
    filling = 0 if kind == "sum" else _lowest(x.dtype, kind == "min")
    combine = {"sum": sg.add, "max": sg.maximum, "min": sg.minimum}[kind]
    geometry = window_dimensions, window_strides, padding, base_dilation, window_dilation
    _, taps = _window_elements(x, filling, *geometry)
    y = taps[0]
    for tap in taps[1:]:
        y = combine(y, tap)
    return y


def _reduce_by_pooling(
    x: Any, dimensions: Any, strides: Any, padding: Any, base: Any, dilation: Any, primitive: str
) -> Any:
    """The reduction as a pooling of images, or None."""
    axes = [k for k in range(x.ndim) if dimensions[k] > 1 or strides[k] > 1 or any(padding[k])]
    plain = x.dtype.is_float and not any(d > 1 for d in base)
    if not axes or not plain or len(axes) > 3 or any(min(padding[k]) < 0 for k in axes):
        return None
    others = [k for k in range(x.ndim) if k not in axes]
    order = (*others, *axes)
    image = sg.transpose(x, order)
    image = sg.reshape(image, (1, prod([x.shape[k] for k in others]), *(x.shape[k] for k in axes)))
    options: dict[str, Any] = {
        "stride": tuple(strides[k] for k in axes),
        "padding": tuple(tuple(padding[k]) for k in axes),
    }
    taps = tuple(dimensions[k] for k in axes)
    if primitive == "reduce_window_sum":
        if any(dilation[k] > 1 for k in axes):
            return None
        y = nn.avg_pool(image, taps, **options) * float(prod(taps))
    else:
        options["dilation"] = tuple(dilation[k] for k in axes)
        y = nn.max_pool(-image if primitive == "reduce_window_min" else image, taps, **options)
        y = -y if primitive == "reduce_window_min" else y
    y = sg.reshape(y, (*(x.shape[k] for k in others), *y.shape[2:]))
    return sg.transpose(y, tuple(int(k) for k in np.argsort(order)))


@primitive("select_and_gather_add")
def _select_and_gather_add(
    tangents: Any, x: Any, *, select_prim: Any, window_dimensions: Any, window_strides: Any,
    padding: Any, base_dilation: Any, window_dilation: Any,
) -> Any:  # fmt: skip
    """Take the tangent at the extreme of each window (a primitive of JAX's pooling derivative)."""
    geometry = window_dimensions, window_strides, padding, base_dilation, window_dilation
    first = str(select_prim) == "ge"
    _, taps = _window_elements(x, _lowest(x.dtype, not first), *geometry)
    _, slopes = _window_elements(tangents, 0, *geometry)
    better = operator.ge if first else operator.le
    best, slope = taps[0], slopes[0]
    for candidate, candidate_slope in zip(taps[1:], slopes[1:], strict=True):
        stays = better(best, candidate)
        best, slope = sg.where(stays, best, candidate), sg.where(stays, slope, candidate_slope)
    return slope


@primitive("select_and_scatter_add")
def _select_and_scatter_add(
    source: Any, x: Any, *, select_prim: Any, window_dimensions: Any, window_strides: Any,
    padding: Any,
) -> Any:  # fmt: skip
    """Add cotangents to the extremes of windows (JAX's gradient of max-pooling)."""
    name = "reduce_window_max" if str(select_prim) == "ge" else "reduce_window_min"
    ones = (1,) * x.ndim

    def reduce_windows(x: Any) -> Any:
        return _reduce_window(
            x, window_dimensions=window_dimensions, window_strides=window_strides, padding=padding,
            base_dilation=ones, window_dilation=ones, primitive=name,
        )  # fmt: skip

    return vjp(reduce_windows, x, source)[1]


# -- linear algebra and Fourier transforms --------------------------------------------------------


def _symmetric(x: Any, lower: bool = True) -> Any:
    """The matrix that one triangle of x says; its gradient goes to both triangles alike."""
    part = sg.tril(x) if lower else sg.triu(x)
    same = sg.conj(sg.swapaxes(part, -1, -2))
    symmetric = (x + sg.conj(sg.swapaxes(x, -1, -2))) * 0.5
    read = part + (sg.triu(same, 1) if lower else sg.tril(same, -1))
    return symmetric + sg.stop_gradient(read - symmetric)


@primitive("cholesky")
def _cholesky(x: Any, *, symmetrize_input: bool = False) -> Any:
    return linalg.cholesky(_symmetric(x), errors="nan")


@primitive("triangular_solve")
def _triangular_solve(
    a: Any, b: Any, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool,
    unit_diagonal: bool,
) -> Any:  # fmt: skip
    """Solve triangular equations as ``lax.linalg.triangular_solve``."""
    if conjugate_a and not transpose_a:
        a = sg.conj(a)
    trans: Any = (2 if conjugate_a else 1) if transpose_a else 0
    options: dict[str, Any] = {"unit_diagonal": unit_diagonal, "errors": "nan"}
    if left_side:
        return linalg.solve_triangular(a, b, trans, lower, **options)
    # x op(a) = b, that is op(a)ᵀ xᵀ = bᵀ
    if trans == 2:
        a, trans = sg.conj(a), 1
    solution = linalg.solve_triangular(a, sg.swapaxes(b, -1, -2), 1 - trans, lower, **options)
    return sg.swapaxes(solution, -1, -2)


@primitive("lu")
def _lu(a: Any, *, pivot_size: Any = None, out: Any) -> Any:
    """Factor by LU as ``lax.linalg.lu``: packed factors, pivots and permutation."""
    p, lower, upper = linalg.lu(a, p_indices=True)
    m, n = a.shape[-2:]
    k = min(m, n)
    below = sg.tril(lower, -1)
    if k < n:
        below = sg.concatenate([below, sg.zeros((*a.shape[:-2], m, n - k), a.dtype)], -1)
    if k < m:
        upper = sg.concatenate([upper, sg.zeros((*a.shape[:-2], m - k, n), a.dtype)], -2)
    permutation = sg.argsort(p, -1)
    return below + upper, _pivots(permutation, m, k), permutation


def _pivots(permutation: Any, m: Any, k: Any) -> Any:
    """Convert a permutation to LAPACK's pivots: the row exchanged with each of the first k."""
    place = sg.iota(permutation.shape, -1, "int64")

    def exchange_rows(order: Any, step: Any) -> Any:
        number, row = step
        row = sg.expand_dims(row, -1)
        at = sg.expand_dims(sg.argmax(cast(order == row, "int8"), -1), -1)
        leaving = sg.take(order, number, -1)
        exchanged = sg.where(place == at, sg.expand_dims(leaving, -1), order)
        return sg.where(place == number, row, exchanged), at[..., 0]

    steps = sg.iota((k,), 0, "int64"), sg.moveaxis(permutation[..., :k], -1, 0)
    return sg.moveaxis(sg.scan(exchange_rows, place, steps)[1], 0, -1)


@primitive("lu_pivots_to_permutation")
def _permutation(pivots: Any, *, permutation_size: int) -> Any:
    return order_of(pivots, permutation_size)


@primitive("geqrf")
def _geqrf(a: Any) -> Any:
    """Factor by QR as LAPACK's ``geqrf``: R above the vectors of reflections, and their factors."""
    m, n = a.shape[-2:]
    count = min(m, n)
    place, column = sg.iota((m,), 0, "int64"), sg.iota((n,), 0, "int64")
    number = sg.iota((count,), 0, "int64")

    def reflect(k: Any, carry: Any) -> Any:
        packed, factors = carry
        reflection = reflect_column(sg.take(packed, k, -1), k)
        product = sg.matmul(sg.conj(sg.expand_dims(reflection.vector, -2)), packed)
        factor = sg.expand_dims(sg.conj(reflection.factor), -1)
        updated = packed - factor * sg.expand_dims(reflection.vector, -1) * product
        packed = sg.where(column > k, updated, packed)
        below = sg.where(place > k, reflection.vector, sg.take(packed, k, -1))
        stored = sg.where(place == k, reflection.first, below)
        packed = sg.where(column == k, sg.expand_dims(stored, -1), packed)
        return packed, sg.where(number == k, reflection.factor, factors)

    factors = sg.zeros((*a.shape[:-2], count), a.dtype)
    return tuple(sg.fori_loop(0, count, reflect, (a, factors)))


@primitive("ormqr")
def _ormqr(a: Any, taus: Any, c: Any, *, left: bool, transpose: bool) -> Any:
    """Multiply by the Q of ``geqrf``, or by its adjoint, as I - V T Vᴴ (Schreiber, Van Loan)."""
    m, count = a.shape[-2], taus.shape[-1]
    vectors = sg.tril(a[..., :count], -1) + sg.eye(m, count, dtype=a.dtype)
    adjoint = sg.conj(sg.swapaxes(vectors, -1, -2))
    diagonal = sg.expand_dims(taus, -1) * sg.eye(count, dtype=a.dtype)
    # T⁻¹ = diag(1 / tau) + triu(Vᴴ V, 1), without a division by factors that are 0
    matrix = sg.eye(count, dtype=a.dtype) + sg.matmul(
        diagonal, sg.triu(sg.matmul(adjoint, vectors), 1)
    )
    triangle = linalg.solve_triangular(matrix, diagonal, 0, False, unit_diagonal=True)
    if transpose:
        triangle = sg.conj(sg.swapaxes(triangle, -1, -2))
    if left:
        return c - sg.matmul(vectors, sg.matmul(triangle, sg.matmul(adjoint, c)))
    return c - sg.matmul(sg.matmul(sg.matmul(c, vectors), triangle), adjoint)


@primitive("householder_product")
def _householder_product(a: Any, taus: Any) -> Any:
    rows, columns = a.shape[-2:]
    identity = sg.eye(rows, columns, dtype=a.dtype)
    unit_columns = sg.broadcast_to(identity, tuple(a.shape))
    return _ormqr(a, taus, unit_columns, left=True, transpose=False)


@primitive("schur")
def _schur(
    a: Any, *, compute_schur_vectors: bool, sort_eig_vals: bool = False, select_callable: Any = None
) -> Any:
    """Compute the Schur form as ``lax.linalg.schur``: it and, if asked for, its vectors."""
    if sort_eig_vals or select_callable is not None:
        raise unsupported_variant("schur with sorted eigenvalues")
    factors = linalg.schur(a, errors="nan")
    return tuple(factors) if compute_schur_vectors else (factors[0],)


@primitive("qr")
def _qr(a: Any, *, full_matrices: bool, pivoting: bool = False, use_magma: Any = None) -> Any:
    if pivoting:
        raise unsupported_variant("qr with pivoting=True")
    return tuple(linalg.qr(a, "complete" if full_matrices else "reduced"))


@primitive("eigh")
def _eigh(
    a: Any, *, lower: bool, sort_eigenvalues: bool = True, subset_by_index: Any = None
) -> Any:
    if subset_by_index is not None and tuple(subset_by_index) != (0, a.shape[-1]):
        raise unsupported_variant("a subset of the eigenvalues")
    values, vectors = linalg.eigh(_symmetric(a, lower), "L" if lower else "U", errors="nan")
    return vectors, values


@primitive("eig")
def _eig(
    a: Any, *, compute_left_eigenvectors: bool, compute_right_eigenvectors: bool, out: Any
) -> Any:
    """Compute eigenvalues and vectors as ``lax.linalg.eig``: vectors have norm 1."""
    if not (compute_left_eigenvectors or compute_right_eigenvectors):
        return (linalg.eigvals(a, errors="nan"),)
    values, right = linalg.eig(a, errors="nan")
    if not compute_left_eigenvectors:
        return values, right
    # aᴴ u = conj(w) u: the columns of the inverse of vᴴ, with norm 1
    left = sg.conj(sg.swapaxes(linalg.inv(right), -1, -2))
    left = left / linalg.norm(left, axis=-2, keepdims=True)
    return (values, left, right) if compute_right_eigenvectors else (values, left)


@primitive("svd")
def _svd(
    a: Any, *, full_matrices: bool, compute_uv: bool = True, subset_by_index: Any = None
) -> Any:
    """Compute the singular value decomposition as ``lax.linalg.svd``: s, u, vh."""
    if subset_by_index is not None:
        raise unsupported_variant("a subset of the singular values")
    if not compute_uv:
        return (linalg.svdvals(a, errors="nan"),)
    u, s, vh = linalg.svd(a, full_matrices, errors="nan")
    return s, u, vh


@primitive("tridiagonal_solve")
def _tridiagonal_solve(lower: Any, middle: Any, upper: Any, b: Any) -> Any:
    return linalg.solve_tridiagonal(lower[..., 1:], middle, upper[..., :-1], b)


@primitive("symmetric_product")
def _symmetric_product(
    a: Any, c: Any, *, alpha: float, beta: float, symmetrize_output: bool = False
) -> Any:
    return alpha * sg.matmul(a, sg.swapaxes(a, -1, -2)) + beta * c


@primitive("fft")
def _fft(x: Any, *, fft_type: int, fft_lengths: Any) -> Any:
    axes = tuple(range(-len(fft_lengths), 0))
    kind = int(fft_type)
    if kind < 2:
        return (fft.fftn, fft.ifftn)[kind](x, axes=axes)
    return (fft.rfftn, fft.irfftn)[kind - 2](x, tuple(fft_lengths), axes=axes)


# -- random numbers -------------------------------------------------------------------------------

_ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))


@primitive("threefry2x32")
def threefry(k1: Any, k2: Any, x1: Any, x2: Any) -> tuple[Any, Any]:
    """Compute 20 rounds of Threefry-2x32 (Salmon et al., 2011) on two words, as JAX does."""
    keys = k1, k2, sg.bitwise_xor(sg.bitwise_xor(k1, k2), numbers(0x1BD11BDA, "uint32"))
    x1, x2 = x1 + k1, x2 + k2
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x1 = x1 + x2
            left = sg.left_shift(x2, numbers(rotation, "uint32"))
            right = sg.right_shift(x2, numbers(32 - rotation, "uint32"))
            x2 = sg.bitwise_xor(sg.bitwise_or(left, right), x1)
        x1 = x1 + keys[(group + 1) % 3]
        x2 = x2 + keys[(group + 2) % 3] + numbers(group + 1, "uint32")
    return x1, x2


def _random_words(key: Any, shape: Sequence[Any]) -> tuple[Any, Any]:
    """Draw two Threefry words for each element of an array of ``shape``, from each JAX key."""
    flat: Any = sg.zeros((1,) * len(shape), "uint64")
    for axis, size in enumerate(shape):
        flat = flat * np.uint64(size) + sg.iota(tuple(shape), axis, "uint64")
    high, low = cast(flat >> np.uint64(32), "uint32"), cast(flat, "uint32")
    wide = (*key.shape[:-1], *(1,) * len(shape))
    halves = [sg.reshape(key[..., k], wide) for k in (0, 1)]
    return threefry(halves[0], halves[1], high, low)


def _check_generator(impl: str, partitionable: bool) -> None:
    if impl != "threefry2x32":
        raise unsupported_variant(f"the generator {impl!r}")
    if not partitionable:
        raise unsupported_variant("jax_threefry_partitionable=False")


@primitive("random_wrap", "random_unwrap")
def _random_wrap(key: Any, *, impl: str = "threefry2x32") -> Any:
    if impl != "threefry2x32":
        raise unsupported_variant(f"the generator {impl!r}")
    return key


@primitive("random_seed")
def _random_seed(seed: Any, *, impl: str) -> Any:
    """Make a JAX key from a seed of 32 or 64 bits (``random_seed``)."""
    _random_wrap(seed, impl=impl)
    if _bits(seed) == 64:
        low = cast(sg.bitwise_and(cast(seed, "uint64"), np.uint64(0xFFFFFFFF)), "uint32")
        high = cast(cast(seed, "uint64") >> np.uint64(32), "uint32")
    else:
        low = cast(seed, "uint32")
        high = sg.zeros_like(low)
    return sg.stack([high, low], -1)


@primitive("random_split")
def _random_split(key: Any, *, shape: Any, impl: str, partitionable: bool) -> Any:
    _check_generator(impl, partitionable)
    return sg.stack(_random_words(key, shape), -1)


@primitive("random_fold_in")
def _random_fold_in(key: Any, data: Any, *, impl: str) -> Any:
    _random_wrap(key, impl=impl)
    number = cast(data, "uint32")
    first, second = threefry(key[..., 0], key[..., 1], sg.zeros_like(number), number)
    return sg.stack([first, second], -1)


@primitive("random_bits")
def _random_bits(key: Any, *, bit_width: int, shape: Any, impl: str, partitionable: bool) -> Any:
    _check_generator(impl, partitionable)
    high, low = _random_words(key, shape)
    if bit_width == 64:
        return sg.bitwise_or(cast(high, "uint64") << np.uint64(32), cast(low, "uint64"))
    mixed = sg.bitwise_xor(high, low)
    return mixed if bit_width == 32 else cast(mixed, f"uint{bit_width}")


# -- what has no result ---------------------------------------------------------------------------


@primitive("optimization_barrier")
def _barrier(*operands: Any) -> Any:
    return operands


@primitive("device_put", "sharding_constraint", "reshard", "layout_constraint")
def _pass_through(*operands: Any, **_: Any) -> Any:
    return operands if len(operands) > 1 else operands[0]


@primitive("platform_index")
def _platform_index(*, platforms: Any, **_: Any) -> Any:
    for place, names in enumerate(platforms):
        if names is None or "cpu" in names:
            return numbers(place, "int32")
    raise unsupported_variant("a function without a case for CPUs")


@primitive("dce_sink", "create_token", "after_all")
def _nothing(*_: Any) -> Any:
    return ()


@primitive("debug_callback", "debug_print")
def _omit_callback(*_: Any, **__: Any) -> Any:
    return ()  # JAX drops them, too, where a program does not need to run them
