"""The measured calls: one for each op of the registry, over any namespace that spells like NumPy.

``CASES`` has one or more for each op; ``WITHOUT_WORK`` names those that no kernel computes,
``IN_WORKLOADS`` those that whole programs measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

Array = np.ndarray
Draw = Callable[[np.random.Generator, tuple[int, ...], str], Array]
Layout = Literal["contiguous", "transposed", "strided", "broadcast"]
LAYOUTS: Final[tuple[Layout, ...]] = ("contiguous", "transposed", "strided", "broadcast")
FLOATS: Final = ("float32", "float64")
INTEGERS: Final = ("int32", "int64")
BOOL: Final = ("bool",)
#: Leaves, sizes and marks: nothing is computed for them.
WITHOUT_WORK: Final = frozenset(
    (
        *("input", "parameter", "constant", "size", "stop_gradient", "checkpoint"),
        *("custom_jvp", "custom_vjp"),
        *("again", "checkpoint_name", "recomputed"),
    )
)

#: Ops over images, matrices, bodies and functions of users, whose operands are not of two axes of
#: any size: programs of ``benchmarks.workloads`` have them.
IN_WORKLOADS: Final = frozenset(
    (
        *("conv", "conv_filter", "conv_image", "fold", "unfold"),
        *("window_max", "window_place", "window_put", "window_sum", "window_take"),
        *("cholesky", "eigh", "eigvalsh", "lu", "lu_solve", "qr", "svd", "svdvals"),
        *("triangular_solve", "tridiagonal_solve"),
        *("branch", "loop", "multiply_add", "panel_matmul", "while"),
        *("call.host", "call.numba", "rank_mean"),
    )
)


def normal(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers of both signs; among integers and bools each as often."""
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(dtype)
    if dtype.startswith("int"):
        return random.integers(-100, 100, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)


def positive(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers from 1/2 to 3; integers from 1 to 4."""
    if dtype.startswith("int"):
        return random.integers(1, 5, shape).astype(dtype)
    return random.uniform(0.5, 3.0, shape).astype(dtype)


def small(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers within (0, 1)."""
    return random.uniform(0.05, 0.95, shape).astype(dtype)


def above_one(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Numbers from 1.05 to 4."""
    return random.uniform(1.05, 4.0, shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    """A call of an op.

    Args:
        op: its name in the registry.
        call: takes a namespace and the operands, which have two axes.
        operands: how each is drawn.
        dtypes: of the operands.
        smooth: whether it has a gradient by its first operand.
        name: by which it is shown, where an op has several cases.
        missing: libraries that have no such function.
        only: layouts; all where an operand may lie in any.
        as_drawn: the operands that are contiguous in every layout.
    """

    op: str
    call: Callable[..., Any]
    operands: tuple[Draw, ...] = (normal,)
    dtypes: tuple[str, ...] = FLOATS
    smooth: bool = True
    name: str = ""
    missing: frozenset[str] = frozenset()
    only: tuple[Layout, ...] = LAYOUTS
    as_drawn: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """The name that is shown."""
        return self.name or self.op


def _call_named(function: str) -> Callable[..., Any]:
    return lambda space, *operands: getattr(space, function)(*operands)


def _maps(names: str, *operands: Draw, **more: Any) -> list[Case]:
    """Cases of functions of equal names, or ``op=function`` where they differ."""
    pairs = [entry.partition("=") for entry in names.split()]
    return [
        Case(op, _call_named(name or op), operands or (normal,), **more) for op, _, name in pairs
    ]


def _special(name: str) -> Callable[..., Any]:
    return lambda space, x: space.special(name)(x)


def _activation(name: str) -> Callable[..., Any]:
    return lambda space, x: space.activation(name)(x)


def _of_two(name: str) -> Callable[..., Any]:
    return lambda space, x, y: space.special(name)(x, y)


def _indices(random: np.random.Generator, shape: tuple[int, ...], _: str) -> Array:
    """One position along the last axis for each column."""
    return random.integers(0, shape[1], shape[1])


def _places(random: np.random.Generator, shape: tuple[int, ...], _: str) -> Array:
    """A position along the last axis for each element."""
    return random.integers(0, shape[1], shape)


def _sorted_row(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    return np.sort(normal(random, (shape[1],), dtype))


def _square(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """A matrix with as many rows as the other one has columns, and 64 columns."""
    return normal(random, (shape[1], 64), dtype)


def _reductions() -> list[Case]:
    entries = []
    for op in ("sum", "max", "min"):
        for name, axis in (("rows", 1), ("columns", 0), ("all", None)):
            entries.append(
                Case(
                    op, lambda space, x, f=op, a=axis: space.reduce_axis(f, x, a),
                    name=f"{op} {name}", dtypes=(*FLOATS, *INTEGERS),
                )
            )  # fmt: skip
    entries += [_by_rows("max", name, BOOL) for name in ("any", "all", "count_nonzero")]
    return entries + [_by_rows("min", name, (*FLOATS, "int32")) for name in ("argmax", "argmin")]


def _by_rows(op: str, function: str, dtypes: tuple[str, ...]) -> Case:
    """A function along rows that has no gradient."""

    def call(space: Any, x: Any) -> Any:
        return space.reduce_axis(function, x, 1)

    return Case(op, call, dtypes=dtypes, smooth=False, name=function)


def _comparisons() -> list[Case]:
    names = "eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal"
    return _maps(names, normal, normal, dtypes=(*FLOATS, *INTEGERS), smooth=False)


def _integers() -> list[Case]:
    names = "bit_and=bitwise_and bit_or=bitwise_or bit_xor=bitwise_xor"
    entries = _maps(names, normal, normal, dtypes=INTEGERS, smooth=False)
    entries += _maps("bit_not=invert", dtypes=INTEGERS, smooth=False)
    shifts = "left_shift=bitwise_left_shift right_shift=bitwise_right_shift"
    entries += _maps(shifts, normal, positive, dtypes=INTEGERS, smooth=False)
    logical = "logical_and logical_or logical_xor"
    entries += _maps(logical, normal, normal, dtypes=BOOL, smooth=False)
    return entries + _maps("logical_not", dtypes=BOOL, smooth=False)


def _moves() -> list[Case]:
    dtypes = (*FLOATS, *INTEGERS, *BOOL)
    return [
        Case("broadcast", lambda s, x: s.copy(s.broadcast_to(x[:1], x.shape)), dtypes=dtypes),
        Case(
            "transpose", lambda s, x: s.copy(s.transpose_matrix(x)), dtypes=dtypes,
            only=("contiguous",),
        ),
        Case(
            "reshape", lambda s, x: s.copy(s.reshape(s.transpose_matrix(x), (-1,))), dtypes=dtypes,
            only=("contiguous",),
        ),
        Case("slice", lambda s, x: s.copy(x[1:, 1:]), dtypes=dtypes),
        Case("concat", lambda s, x: s.concatenate([x, x], 1), dtypes=dtypes),
        Case("pad", lambda s, x: s.pad_border(x), dtypes=FLOATS),
        Case("cast", lambda s, x: s.cast(x, "float64"), dtypes=("float32", "int32", "bool")),
        Case("cast", lambda s, x: s.cast(x, "int32"), dtypes=FLOATS, smooth=False, name="to int"),
        Case("where", lambda s, x, y: s.where(x > y, x, y), (normal, normal), (*FLOATS, "int32")),
        Case("take", lambda s, x, i: s.take_columns(x, i), (normal, _indices), (*FLOATS, "int32")),
        Case("take_along", lambda s, x, i: s.along(x, i), (normal, _places), FLOATS),
        Case("scatter_add", lambda s, x, i: s.scatter_columns(x, i), (normal, _indices), FLOATS),
        Case(
            "scatter_extreme", lambda s, x, i: s.scatter_max(x, i), (normal, _indices), FLOATS
        ),
        Case("index_copy", lambda s, x, i: s.write_columns(x, i), (normal, _indices), FLOATS),
        Case(
            "scatter_along", lambda s, x, i: s.scatter_along(x, i), (normal, _places), FLOATS
        ),
        Case("sort", lambda s, x: s.sort_rows(x), dtypes=(*FLOATS, "int32")),
        Case("topk", lambda s, x: s.topk(x), dtypes=FLOATS, missing=frozenset({"numpy"})),
        Case(
            "searchsorted", lambda s, x, row: s.searchsorted(row, s.flat(x)),
            (normal, _sorted_row), FLOATS, smooth=False,
        ),
        Case("iota", lambda s, x: s.positions(x), smooth=False, only=("contiguous",)),
        Case("random_bits", lambda s, x: s.random(x), smooth=False, only=("contiguous",)),
        Case("matmul", lambda s, x, w: s.matmul(x, w), (normal, _square), as_drawn=(1,)),
    ]  # fmt: skip


def _scans() -> list[Case]:
    entries = []
    for op in ("cumsum", "cumprod"):
        for axis in (1, 0):
            name = f"{op} {'rows' if axis else 'columns'}"
            call = lambda space, x, f=op, a=axis: getattr(space, f)(x, a)  # noqa: E731
            entries.append(Case(op, call, (small,), name=name))
    scan = Case(
        "linear_scan", lambda space, x, y: space.linear_scan(x, y), (small, normal),
        missing=frozenset({"numpy", "torch", "jax"}),
    )  # fmt: skip
    return [*entries, scan]


def _special_functions() -> list[Case]:
    """Those of ``sg.special`` that have ops of their own; by parameters they have no derivative."""
    entries = [Case(name, _special(name), (normal,)) for name in ("erfcx", "ndtr", "log_ndtr")]
    entries += [Case(name, _special(name), (normal,)) for name in ("i0", "i0e", "i1", "i1e")]
    entries += [Case(name, _special(name), (small,)) for name in ("erfinv", "logit")]
    entries += [
        Case(name, _special(name), (positive,)) for name in ("gamma", "gammaln", "digamma", "entr")
    ]
    no_torch = frozenset({"torch"})
    entries += [
        Case("polygamma", lambda s, x: s.special("polygamma")(1, x), (positive,)),
        Case("xlog1py", _of_two("xlog1py"), (positive, positive)),
        Case("gammainc", _of_two("gammainc"), (positive, positive), smooth=False),
        Case("gammaincc", _of_two("gammaincc"), (positive, positive), smooth=False),
        Case("zeta", _of_two("zeta"), (above_one, positive), smooth=False),
        Case(
            "betainc",
            lambda s, a, b, x: s.special("betainc")(a, b, x),
            (positive, positive, small),
            smooth=False,
            missing=no_torch,
        ),
    ]
    for name in ("rel_entr", "kl_div", "betaln"):
        entries.append(Case(name, _of_two(name), (positive, positive), missing=no_torch))
    return entries


def cases() -> Sequence[Case]:
    """Every case."""
    entries = _maps("abs neg=negative exp exp2 expm1 sin cos tan tanh sinh cosh asinh=arcsinh")
    entries += _maps("atan=arctan cbrt")
    entries += _maps("ceil floor trunc rint sign", smooth=False)
    entries += _maps("sqrt log log2 log10 log1p", positive)
    entries += _maps("asin=arcsin acos=arccos atanh=arctanh", small)
    entries += _maps("acosh=arccosh", above_one)
    entries += _maps("signbit", smooth=False)
    for name, draw in (("erf", normal), ("erfc", normal), ("ndtri", small)):
        entries.append(Case(name, _special(name), (draw,)))
    for name in ("sigmoid", "relu"):
        entries.append(Case(name, _activation(name), (normal,)))
    entries += _special_functions()
    entries += _maps("add sub=subtract mul=multiply", normal, normal, dtypes=(*FLOATS, *INTEGERS))
    entries += _maps("maximum minimum", normal, normal, dtypes=(*FLOATS, *INTEGERS))
    entries += _maps("div=divide", normal, positive)
    entries += _maps("atan2=arctan2 hypot logaddexp", normal, positive)
    entries += _maps("pow=power", positive, normal)
    entries += _maps("fmod remainder", positive, positive)
    entries += _maps("floor_divide", positive, positive, smooth=False)
    entries += [
        Case(
            "floor_divide",
            _call_named("floor_divide"),
            (positive, positive),
            INTEGERS,
            False,
            "i//",
        ),
        Case("remainder", _call_named("remainder"), (positive, positive), INTEGERS, False, "i%"),
        Case("xlogy", lambda s, x, y: s.special("xlogy")(x, y), (positive, positive)),
        Case("integer_pow", lambda s, x: x**3),
        Case("int_pow", _call_named("power"), (positive, positive), ("int64",), smooth=False),
        Case("at_least", lambda s, x: s.clip_range(x, 0.0, None)),
        Case("at_most", lambda s, x: s.clip_range(x, None, 0.5)),
    ]
    return [*entries, *_comparisons(), *_integers(), *_reductions(), *_scans(), *_moves()]


CASES: Final = tuple(cases())
