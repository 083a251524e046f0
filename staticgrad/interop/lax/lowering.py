"""Graphs of ours as functions of ``jax.numpy``: a row per op.

A row takes the op, whose sizes are integers, and arrays of JAX. The result is cast to the type that
the op infers, as far as JAX has 64 bits. An op without a row is one coded error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from staticgrad.analysis.binding import bind_sizes, name_feeds
from staticgrad.analysis.evaluate import at_sizes
from staticgrad.language.ir.graph import Graph
from staticgrad.language.ir.nodes import Node
from staticgrad.support.errors import ExportError
from staticgrad.support.optional import jax

_NAMES: Final = """
    abs:abs acos:arccos acosh:arccosh add:add asin:arcsin asinh:arcsinh atan:arctan atan2:arctan2
    atanh:arctanh at_least:maximum at_most:minimum bit_and:bitwise_and bit_not:invert
    bit_or:bitwise_or bit_xor:bitwise_xor cbrt:cbrt ceil:ceil cos:cos cosh:cosh div:divide eq:equal
    exp:exp exp2:exp2 expm1:expm1 floor:floor floor_divide:floor_divide fmod:fmod ge:greater_equal
    gt:greater hypot:hypot le:less_equal left_shift:left_shift log:log log10:log10 log1p:log1p
    log2:log2 logaddexp:logaddexp logical_and:logical_and logical_not:logical_not
    logical_or:logical_or logical_xor:logical_xor lt:less maximum:maximum minimum:minimum
    mul:multiply ne:not_equal neg:negative pow:power remainder:remainder right_shift:right_shift
    rint:rint sign:sign signbit:signbit sin:sin sinh:sinh sqrt:sqrt sub:subtract tan:tan tanh:tanh
    trunc:trunc where:where
"""
_SPECIAL: Final = """
    betainc betaln digamma entr erf erfc erfinv:erfinv gamma gammainc gammaincc gammaln i0 i0e i1
    i1e kl_div log_ndtr logit ndtr ndtri rel_entr sigmoid:expit xlog1py xlogy zeta
"""

Row = Callable[..., Any]
#: Op -> its function of the op and its operands.
ROWS: Final[dict[str, Row]] = {}


def _named(space: Callable[[], Any], names: str) -> None:
    for entry in names.split():
        op, _, name = entry.partition(":")
        ROWS[op] = lambda _, *args, name=name or op: getattr(space(), name)(*args)


_named(lambda: jax.numpy, _NAMES)
_named(lambda: jax.scipy.special, _SPECIAL)
ROWS.update(
    {
        "again": lambda op, x: x,
        "checkpoint": lambda op, x: x,
        "checkpoint_name": lambda op, x: x,
        "recomputed": lambda op, x, *_: x,
        "custom_jvp": lambda op, x, *_: x,
        "custom_vjp": lambda op, x, *_: x,
        "stop_gradient": lambda op, x: jax.lax.stop_gradient(x),
        "relu": lambda op, x: jax.numpy.maximum(x, 0),
        "constant": lambda op: jax.numpy.asarray(op.reference()),
        "cast": lambda op, x: x,
        "bitcast": lambda op, x: jax.lax.bitcast_convert_type(x, op.dtype.numpy),
        "size": lambda op: jax.numpy.asarray(op.reference()),
        "iota": lambda op: jax.numpy.asarray(op.reference()),
        "integer_pow": lambda op, x: x**op.exponent,
        "concat": lambda op, *xs: jax.numpy.concatenate(xs, op.axis),
        "reshape": lambda op, x: x.reshape(op.shape),
        "transpose": lambda op, x: x.transpose(op.perm),
        "sum": lambda op, x: x.sum(op.axes),
        "max": lambda op, x: x.max(op.axes, initial=_border(x, op, least=True)),
        "min": lambda op, x: x.min(op.axes, initial=_border(x, op, least=False)),
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
        "cholesky": lambda op, a: jax.lax.linalg.cholesky(a, symmetrize_input=False),
    }
)


def row(*names: str) -> Callable[[Row], Row]:
    """Make a function the row of ops."""

    def registered(function: Row) -> Row:
        ROWS.update(dict.fromkeys(names, function))
        return function

    return registered


def _border(x: Any, op: Any, least: bool) -> Any:
    """What a reduction of nothing gives; None where there is something."""
    if x.size:
        return None
    if x.dtype.kind == "b":
        return not least
    limits = (-np.inf, np.inf) if np.issubdtype(x.dtype, np.inexact) else None
    whole = limits or (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)
    return whole[0] if least else whole[1]


@row("sparse_product")
def _sparse_product(op: Any, data: Any, x: Any, *pattern: Any) -> Any:
    starts, places, rows, starts_t, *_ = pattern
    count = (starts_t if op.transposed else starts).shape[0] - 1
    rows, places = (places, rows) if op.transposed else (rows, places)
    terms = data[..., None] * x[..., places, :]
    zeros = jax.numpy.zeros((*terms.shape[:-2], count, x.shape[-1]), x.dtype)
    return zeros.at[..., rows, :].add(terms)


@row("sampled_product")
def _sampled_product(op: Any, u: Any, v: Any, *pattern: Any) -> Any:
    _, places, rows, *_ = pattern
    return (u[..., rows, :] * v[..., places, :]).sum(-1)


@row("floor_divide", "remainder", "fmod")
def _divided(op: Any, x: Any, y: Any) -> Any:
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
    return zeros.at[_positions(op.starts, x.shape, op.steps)].set(x)


def _positions(starts: Any, lengths: Any, steps: Any) -> Any:
    each = zip(starts, lengths, steps, strict=True)
    return np.ix_(*[start + step * np.arange(length) for start, length, step in each])


@row("scatter_add")
def _scatter_add(op: Any, x: Any, indices: Any) -> Any:
    before, after = x.shape[: op.axis], x.shape[op.axis + indices.ndim :]
    rows = x.reshape(*before, -1, *after) if x.size else x.reshape(*before, indices.size, *after)
    zeros = jax.numpy.zeros((*before, op.size, *after), x.dtype)
    return zeros.at[(*(slice(None),) * op.axis, indices.reshape(-1))].add(rows)


@row("scatter_along")
def _scatter_along(op: Any, x: Any, indices: Any) -> Any:
    grid = [*np.ix_(*map(np.arange, x.shape))]
    grid[op.axis] = indices
    shape = (*x.shape[: op.axis], op.size, *x.shape[op.axis + 1 :])
    return jax.numpy.zeros(shape, x.dtype).at[tuple(grid)].add(x)


@row("linear_scan")
def _linear_scan(op: Any, a: Any, b: Any) -> Any:
    if not b.shape[op.axis]:
        return b
    factors, terms = (jax.numpy.moveaxis(each, op.axis, 0) for each in (a, b))

    def step(last: Any, each: Any) -> Any:
        now = each[0] * last + each[1]
        return now, now

    rest = jax.lax.scan(step, terms[0], (factors[1:], terms[1:]))[1]
    return jax.numpy.moveaxis(jax.numpy.concatenate([terms[:1], rest]), 0, op.axis)


@row("triangular_solve")
def _triangular_solve(op: Any, a: Any, b: Any) -> Any:
    return jax.scipy.linalg.solve_triangular(
        a, b, trans=int(op.transposed), lower=op.lower, unit_diagonal=op.unit
    )


@row("conv")
def _conv(op: Any, x: Any, w: Any) -> Any:
    w = op.taps_of(w) if op.tiles else w
    return _convolved(op, x, w, x.shape[2:], op.extents)


def _convolved(op: Any, x: Any, w: Any, image: Any, windows: Any) -> Any:
    each = zip(image, w.shape[2:], windows, op.strides, op.dilation, op.before, strict=True)
    around = [(before, (n - 1) * s + (k - 1) * d + 1 - size - before)
              for size, k, n, s, d, before in each]  # fmt: skip
    return jax.lax.conv_general_dilated(
        x, w, op.strides, around, rhs_dilation=op.dilation, feature_group_count=op.groups
    )


@row("conv_image")
def _conv_image(op: Any, y: Any, w: Any) -> Any:
    if op.tiles:
        raise ExportError("conv_image of filters in tiles is not supported")
    x = jax.ShapeDtypeStruct((y.shape[0], op.groups * w.shape[1], *op.extents), y.dtype)
    f = lambda x: _convolved(op, x, w, op.extents, y.shape[2:])  # noqa: E731
    return jax.linear_transpose(f, x)(y)[0]


@row("conv_filter")
def _conv_filter(op: Any, x: Any, y: Any) -> Any:
    if op.parts or op.tiles:
        raise ExportError("conv_filter in parts is not supported")
    w = jax.ShapeDtypeStruct((y.shape[1], x.shape[1] // op.groups, *op.extents), x.dtype)
    f = lambda w: _convolved(op, x, w, x.shape[2:], y.shape[2:])  # noqa: E731
    return jax.linear_transpose(f, w)(y)[0]


class Lowered:
    """One run of a graph in JAX: sizes, and how a node is computed."""

    def __init__(self, feeds: Mapping[str, Any], stored: Mapping[str, Any], sizes: Any) -> None:
        self.feeds, self.stored, self.sizes = feeds, stored, sizes

    def compute(self, graph: Graph, known: dict[Any, Any]) -> None:
        """Add every value of a graph to what is known; the inputs of a body are known before."""
        for node in graph.nodes:
            if (node, 0) not in known:
                results = self._results(node, [known[each.key] for each in node.args])
                for place, each in enumerate(results):
                    known[node, place] = each

    def _results(self, node: Node, args: Sequence[Any]) -> Sequence[Any]:
        op: Any = at_sizes(node.op, self.sizes)
        if op.name == "input":
            results: Any = self.feeds[op.label]
        elif op.name == "parameter":
            results = jax.numpy.asarray(self.stored[node.values[0].name])
        elif op.name in _BODIES:
            results = _BODIES[op.name](self, op, args)
        elif op.name in ROWS:
            results = ROWS[op.name](op, *args)
        else:
            raise ExportError(
                f"jax.lower: {op.name} has no row",
                hint="staticgrad.interop.lax.lowering.row(name) makes a function its row",
                at=node.origin,
            )
        results = results if isinstance(results, tuple) else (results,)
        dtypes = [jax.dtypes.canonicalize_dtype(each.dtype.numpy) for each in node.types]
        return [each.astype(d) for each, d in zip(results, dtypes, strict=True)]

    def body(self, body: Graph, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return the outputs of a body."""
        known = dict(zip((value.key for value in body.inputs), arrays, strict=True))
        self.compute(body, known)
        return tuple(known[value.key] for value in body.outputs.values())


def _loop(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    if op.logged:
        raise ExportError("jax.lower: a loop that logs its carries is not supported")
    first, second = op.carries, op.carries + op.slices
    carry, rows, rest = arrays[:first], arrays[first:second], arrays[second:]

    def step(carry: Any, each: Any) -> Any:
        number, slices = each
        found = run.body(op.body, [number, *carry, *slices, *rest])
        return found[:first], found[first:]

    numbers = jax.numpy.arange(op.iterations)
    last, stacked = jax.lax.scan(step, tuple(carry), (numbers, tuple(rows)), reverse=op.reverse)
    return *last, *stacked


def _while(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    carry, rest = tuple(arrays[: op.carries]), arrays[op.carries :]

    def test(state: Any) -> Any:
        goes = run.body(op.test, [state[0], *state[1], *rest])[0]
        return goes if op.most is None else goes & (state[0] < op.most)

    def body(state: Any) -> Any:
        return state[0] + 1, run.body(op.body, [state[0], *state[1], *rest])

    done, last = jax.lax.while_loop(test, body, (jax.numpy.asarray(0), carry))
    return *last, done


def _branch(run: Lowered, op: Any, arrays: Sequence[Any]) -> Any:
    cases = [lambda *given, case=case: run.body(case, given) for case in op.cases]
    return jax.lax.switch(arrays[0].astype("int32"), cases, *arrays[1:])


_BODIES: Final = {"loop": _loop, "while": _while, "branch": _branch}


def _array(feed: Any) -> Any:
    if isinstance(feed, np.ndarray) and not feed.dtype.isnative:
        feed = feed.astype(feed.dtype.newbyteorder("="))
    return jax.numpy.asarray(feed)


def lowered(graph: Graph) -> Callable[..., Any]:
    """Return a graph as a pure function of arrays of JAX."""
    if graph.complex_outputs or any(value.node.op.is_complex for value in graph.inputs):  # type: ignore[attr-defined]
        raise ExportError("jax.lower: complex values are not supported")
    stores = {each.name: each for each in graph.parameters}

    def run(feeds: Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Any:
        given = {name: _array(each) for name, each in name_feeds(graph, feeds).items()}
        stored = {name: each.value for name, each in stores.items()} | dict(parameters or {})
        sizes = bind_sizes(graph, {name: each.shape for name, each in given.items()}, None)
        known: dict[Any, Any] = {}
        Lowered(given, stored, sizes).compute(graph, known)
        outputs = {name: known[value.key] for name, value in graph.outputs.items()}
        if not graph.updates:
            return outputs
        moved = {each.name: known[value.key] for each, value in graph.updates}
        return outputs, {name: moved.get(name, stored[name]) for name in stores}

    return run
