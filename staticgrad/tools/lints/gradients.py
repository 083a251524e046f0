"""Lints of gradients that are zero whatever the data: nothing will be learned there.

``sg.grad`` refuses a gradient without any path; these are about paths that exist and carry zeros,
and about parameters whose only way to a loss is a step function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from staticgrad import functions as sg, nn
from staticgrad.extend import Node, Value
from staticgrad.extend.gradients import grad
from staticgrad.tools.lints.program import LintedGraph
from staticgrad.tools.lints.table import Seen, hazard


@hazard(
    "zero-factor",
    "a product with the constant 0, or with a gradient that is zero everywhere",
    ("mul",),
    bad=(
        lambda x: x + 0.0 * sg.exp(x),
        lambda x: x * np.zeros(3, "float32"),
        lambda x, y: 0.1 * grad(y.sum(), x, allow_disconnected=True),
    ),
    good=(
        lambda x: x * 2.0,
        lambda x: x * np.array([0.0, 1.0, 0.0], "float32"),
        lambda x: x * sg.input("weight", (), "float32"),
        lambda x: x + sg.zeros_like(x),
        lambda x: 0.1 * grad((x * x).sum(), x),
    ),
)
def _constant_factor(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a product with 0, through which no gradient flows."""
    a, b = node.args
    if not node.types[0].dtype.is_float:
        return None
    for zero, factor in ((a, b), (b, a)):
        if program.range(zero).number != 0 or zero.key in program.moving:
            continue
        if zero.node.order:
            return Seen(
                "the gradient here is zero everywhere",
                "no path carries it: look for floor, comparisons and stop_gradient before the loss",
            )
        if factor.key in program.moving:
            return Seen(
                "a product with 0: its gradient is zero, and a NaN or infinity gives NaN",
                "leave the term out; where zeros are wanted: sg.zeros_like(x)",
                "warning" if zero.ndim else "note",
            )
    return None


@hazard(
    "constant-condition",
    "a where whose condition is the same constant everywhere",
    ("where",),
    bad=(
        lambda x, y: sg.where(True, x, y),
        lambda x, y: sg.where(np.zeros(3, bool), x, y),
    ),
    good=(
        lambda x, y: sg.where(x > 0, x, y),
        lambda x: sg.where(np.array([True, False, True]), x, 0.0),
        lambda x: nn.relu(x),
    ),
)
def _constant_condition(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a ``where`` with a constant condition."""
    number = program.range(node.args[0]).number
    if number is None:
        return None
    dropped = node.args[2 if number else 1]
    if dropped.key not in program.moving:
        return None
    return Seen(
        f"where: the condition is {bool(number)} everywhere, so one branch never takes a gradient",
        "drop the where, or make the condition depend on data",
    )


@hazard(
    "unreached-parameter",
    "a parameter whose every path to the loss goes through a step function or comparison",
    ("parameter",),
    bad=(
        lambda: _with_weight(lambda x, w: sg.floor(x * w)),
        lambda: _with_weight(lambda x, w: sg.where(x > w, x, 0.0)),
    ),
    good=(
        lambda: _with_weight(lambda x, w: sg.floor(x) * w),
        lambda: _with_weight(lambda x, w: sg.where(x > w, x * w, 0.0)),
        lambda: _with_weight(lambda x, w: sg.stop_gradient(x * w)),
        lambda: sg.argmax(sg.parameter("v", np.ones(3, "float32")) * 2.0),
    ),
)
def _find_unreached(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a parameter that no gradient reaches."""
    if not node.types[0].dtype.is_float or program.has_gradients:
        return None
    outputs = program.graph.outputs.values()
    if not any(value.ndim == 0 and value.key in program.moving for value in outputs):
        return None
    if not program.users[(node, 0)]:
        return None
    step = _where_paths_end(program, node)
    if step is None:
        return None
    label = getattr(node.op, "label", "a parameter")
    return Seen(
        f"no gradient can reach parameter {label!r}: {step.op.name} carries none",
        "a smooth function in its place, or mark what is constant with sg.stop_gradient on purpose",
        at=step.origin,
    )


def _where_paths_end(program: LintedGraph, leaf: Node) -> Node | None:
    """Return the first op that stops the gradient if no path from a leaf to an output passes it.

    None too where the user stopped it on purpose.
    """
    outputs = {value.key for value in program.graph.outputs.values()}
    ends: Node | None = None
    pending, seen = [leaf], {leaf}
    while pending:
        node = pending.pop()
        if any(value.key in outputs and value.dtype.is_float for value in node.values):
            return None
        for reader in program.readers(node):
            if reader in seen:
                continue
            seen.add(reader)
            if reader.op.name == "stop_gradient":
                return None
            if reader.op.differentiable and any(t.dtype.is_float for t in reader.types):
                pending.append(reader)
            elif ends is None or reader.serial < ends.serial:
                ends = reader
    return ends


def _with_weight(way: Callable[[Value, Value], Value]) -> Value:
    """A loss of x with a parameter, on the way ``way``."""
    x = sg.input("x", ("n", 3), "float32")
    w = sg.parameter("w", np.ones(3, "float32"))
    return sg.mean(x * x + way(x, w))
