"""Lints of lost digits and of dtypes that nobody asked for.

Long float32 sums and counts, variance as a difference, equality of rounded numbers, and float64
that comes in by one constant.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np

from staticgrad import functions as sg
from staticgrad.extend import Constant, Node, Shape, Symbolic
from staticgrad.extend.dtypes import F32, F64
from staticgrad.extend.reports import skip_moves
from staticgrad.extend.sizes import dim, hint_value
from staticgrad.tools.lints.program import LintedGraph
from staticgrad.tools.lints.table import Seen, hazard

#: float32 holds every whole number up to here.
_WHOLE: Final = 2**24
#: From here on a running sum in float32 loses half of its digits.
_RUNNING: Final = 2**20


def _count(sizes: Shape) -> int:
    """Return the number of elements for literal or hinted sizes; others count as one."""
    return prod(hint_value(size, default=1) for size in sizes)


@hazard(
    "widened-to-float64",
    "a float64 constant, array or input that makes a float32 computation float64",
    ("cast",),
    bad=(
        lambda x: x * np.float64(2.0),
        lambda x: x + np.ones(3),
        lambda x: x * sg.input("scale", (), "float64"),
        lambda x: x / sg.mean(sg.input("counts", ("n", 3), "int64")),
    ),
    good=(
        lambda x: x * 2.0,
        lambda x: x + np.ones(3, "float32"),
        lambda x: x * sg.input("counts", ("n", 3), "int64"),
        lambda x: x.astype("float64") * sg.input("scale", (), "float64"),
        lambda x: sg.sum(x, dtype="float64"),
    ),
)
def _find_widening(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for float32 that is widened to float64 by its operand."""
    if node.types[0].dtype is not F64 or node.args[0].dtype is not F32:
        return None
    for reader in program.readers(node):
        if not _same_place(reader, node) or not reader.op.elementwise:
            continue
        for operand in reader.args:
            if operand.node is not node and operand.dtype is F64 and _is_cause(operand, node):
                what, fix = _cause(operand)
                return Seen(f"float32 becomes float64 here: {what}", fix)
    return None


def _is_cause(operand: Symbolic, cast: Node) -> bool:
    """Return whether ``operand`` widened the operand of ``cast``; parsed text has no columns."""
    if operand.node.op.name == "cast":
        return False
    return cast.origin.resolve().column is not None or (operand.node.is_leaf and operand.ndim > 0)


def _cause(operand: Symbolic) -> tuple[str, str]:
    """Name the float64 operand that widens a float32 value, and how to avoid it."""
    op = operand.node.op
    if isinstance(op, Constant) and op.data.array.ndim == 0:
        number = op.data.array.item()
        return f"np.float64({number:g}) is an array's number", f"a Python number: {number:g}"
    if isinstance(op, Constant):
        return "it meets a float64 array", 'convert the array: array.astype("float32")'
    label = getattr(op, "label", "")
    if label:
        return f"it meets {label!r}, which is float64", "declare both with one dtype"
    line = operand.node.origin.short
    return f"it meets a float64 value, made at {line}", 'convert it: value.astype("float32")'


@hazard(
    "long-float32-sum",
    "float32 sums over 2**24 elements and more, running ones from 2**20 on",
    ("sum", "cumsum"),
    bad=(
        lambda: sg.mean(sg.input("x", (2**12, 2**12), "float32")),
        lambda: sg.sum(sg.input("x", (dim("n", hint=2**25),), "float32")),
        lambda: sg.cumsum(sg.input("x", (2**20,), "float32")),
    ),
    good=(
        lambda x: sg.mean(x),
        lambda: sg.mean(sg.input("x", (2**12, 2**12), "float32"), 0),
        lambda: sg.sum(sg.input("x", (2**12, 2**12), "float32"), dtype="float64"),
        lambda: sg.sum(sg.input("x", (2**12, 2**12), "float64")),
        lambda: sg.cumsum(sg.input("x", (2**19,), "float32")),
    ),
)
def _long_sum(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a float32 sum over very many elements."""
    if node.types[0].dtype is not F32:
        return None
    shape = node.args[0].shape
    op: Any = node.op  # of a class that its name tells, as below
    if op.name == "cumsum":
        count = _count((shape[op.axis],))
        limit, what = _RUNNING, "a running sum over"
    else:
        count = _count(tuple(shape[axis] for axis in op.axes))
        limit, what = _WHOLE, "a sum over"
    if count < limit:
        return None
    return Seen(
        f"{what} {count:,} float32 elements loses digits: float32 has 24 bits",
        'add in float64: sg.sum(x, axis, dtype="float64"); x.astype("float64") for a mean',
    )


@hazard(
    "count-in-float32",
    "whole numbers beyond 2**24 converted to float32",
    ("cast",),
    bad=(
        lambda: sg.sum(sg.input("x", (2**13, 2**13), "float32") > 0).astype("float32"),
        lambda: sg.iota(2**25).astype("float32"),
    ),
    good=(
        lambda x: sg.sum(x > 0).astype("float32"),
        lambda: sg.iota(2**24).astype("float32"),
        lambda: sg.iota(2**25).astype("float64"),
        lambda: sg.input("labels", ("n",), "int64").astype("float32"),
    ),
)
def _big_count(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for an integer converted to float32 that is too large for it."""
    operand = node.args[0]
    if node.types[0].dtype is not F32 or not operand.dtype.is_integer:
        return None
    source = skip_moves(operand).node
    largest = program.range(operand).high
    op: Any = source.op
    if op.name == "sum":
        largest = _count(tuple(source.args[0].shape[axis] for axis in op.axes))
    elif op.name == "iota":
        largest = _count((source.types[0].shape[op.axis],)) - 1
    if not _WHOLE < largest < np.inf:
        return None
    return Seen(
        f"whole numbers up to {largest:,.0f} become float32, which holds them up to {_WHOLE:,}",
        'convert to float64: count.astype("float64")',
    )


#: Ops whose results a mean divides by.
_COUNTS: Final = ("constant", "size")


def _base_of_square(value: Symbolic) -> Symbolic | None:
    """Return x if a value is x * x, for lints; else None."""
    node = skip_moves(value).node
    op: Any = node.op
    if op.name == "integer_pow" and op.exponent == 2:
        return node.args[0]
    same = node.op.name == "mul" and node.args[0].key == node.args[1].key
    return node.args[0] if same else None


def _operand_of_mean(value: Symbolic) -> Symbolic | None:
    """Return x if a value is a mean of x, for lints; else None."""
    node = skip_moves(value).node
    if node.op.name != "div" or (by := skip_moves(node.args[1]).node).op.name not in _COUNTS:
        return None
    if isinstance(by.op, Constant) and by.op.data.array.ndim:
        return None
    total = skip_moves(node.args[0]).node
    return total.args[0] if total.op.name == "sum" else None


@hazard(
    "variance-by-difference",
    "a variance as the mean square less the squared mean",
    ("sub",),
    bad=(
        lambda x: sg.mean(x * x) - sg.mean(x) ** 2,
        lambda x: sg.mean(x**2, 0, keepdims=True) - sg.square(sg.mean(x, 0, keepdims=True)),
    ),
    good=(
        lambda x: sg.var(x),
        lambda x, y: sg.mean(x * x) - sg.mean(y) ** 2,
        lambda x: sg.mean(x * x) - sg.mean(x),
    ),
)
def _lint_variance(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a variance as mean(x * x) - mean(x) ** 2: it cancels."""
    mean_of = _operand_of_mean(node.args[0])
    root = _base_of_square(node.args[1])
    square = None if mean_of is None else _base_of_square(mean_of)
    mean = None if root is None else _operand_of_mean(root)
    if square is None or mean is None or skip_moves(square).key != skip_moves(mean).key:
        return None
    return Seen(
        "mean(x * x) - mean(x) ** 2 cancels: it can be far off, and negative",
        "sg.var(x, axis), which subtracts the mean first",
    )


#: Their results are operands, or rounded to something that is compared exactly.
_EXACT: Final = frozenset(
    {
        *("max", "min", "maximum", "minimum", "at_least", "at_most", "where", "sort", "topk"),
        *("abs", "neg", "sign", "floor", "ceil", "rint", "trunc"),
        *("take", "take_along", "slice", "concat", "pad"),
    }
)


def _is_computed(value: Symbolic) -> bool:
    """Return whether a floating value is a rounded result of arithmetic, for lints."""
    for _ in range(16):
        node = skip_moves(value).node
        if node.is_leaf or (node.op.name == "cast" and not node.args[0].dtype.is_float):
            return False
        if node.op.name not in _EXACT and node.op.name != "cast":
            return node.op.name not in ("size", "iota", "random_bits")
        if node.op.name in ("floor", "ceil", "rint", "trunc", "sign"):
            return False
        value = node.args[1] if node.op.name == "where" else node.args[0]
    return False


@hazard(
    "float-equality",
    "== or != between floats of which one is computed",
    ("eq", "ne"),
    bad=(
        lambda x: sg.where(x * 0.1 == 0.3, 1.0, 0.0),
        lambda x, y: x + y != y * 2.0,
    ),
    good=(
        lambda x: (z := x * 3.0) == z,
        lambda x: sg.isnan(x * 3.0),
        lambda x: (z := x * 3.0) == sg.max(z),
        lambda x: x == 1.0,
        lambda x: x - 1.0 == 0.0,
        lambda x: sg.floor(x / 2.0) == 3.0,
        lambda x, y: sg.isclose(x * 3.0, y),
        lambda x: sg.histogram(x[:, 0])[0],
        lambda x, y: x.astype("int64") == y.astype("int64"),
    ),
)
def _lint_equality(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for == between computed floats."""
    a, b = node.args
    if not a.dtype.is_float or skip_moves(a).key == skip_moves(b).key:
        return None
    computed = [value for value in (a, b) if _is_computed(value)]
    if not computed or all(program.is_internal(node, value) for value in computed):
        return None
    numbers = [program.range(value).number for value in (a, b)]
    if any(number is not None and (number == 0 or abs(number) == np.inf) for number in numbers):
        return None
    readers = [user for user in program.readers(node) if _same_place(user, node)]
    if _is_picked(a, b) or any(user.op.name.startswith("logical_") for user in readers):
        return None  # x == max(x), or isclose
    sign = "==" if node.op.name == "eq" else "!="
    return Seen(
        f"{sign} compares computed floats: equal up to rounding is not equal",
        "sg.isclose(x, y, rtol=..., atol=...), or abs(x - y) <= tolerance",
    )


def _same_place(left: Node, right: Node) -> bool:
    """Return whether one call made both."""
    return left.origin.places[0] == right.origin.places[0]


def _is_picked(a: Symbolic, b: Symbolic) -> bool:
    """Return whether one is picked out of the other: x == max(x)."""
    left, right = skip_moves(a).node, skip_moves(b).node
    for source, part in ((left, right), (right, left)):
        if part.op.name in _EXACT and any(skip_moves(arg).node is source for arg in part.args):
            return True
    return False
