"""Lints of what is infinite at a point: roots, logarithms, quotients, arcs; ``where`` behind them.

A finite result can have the gradient NaN: the root's derivative is infinite at 0, and what it is
multiplied with there is 0. Which points a formula reaches is asked of its range, never guessed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from staticgrad import functions as sg, nn
from staticgrad.extend import Node, Symbolic
from staticgrad.extend.reports import Zero, skip_moves
from staticgrad.tools.lints.program import LintedGraph, Shield
from staticgrad.tools.lints.table import Seen, hazard

_LOGARITHMS: Final = ("log", "log2", "log10")
_ARCS: Final = ("acos", "asin", "atanh")
#: Below this, exp does not overflow in any dtype.
_MODEST: Final = 88.0


def exponent(program: LintedGraph, node: Node) -> float | None:
    """Return the literal exponent of a power, or None."""
    if node.op.name == "sqrt":
        return 0.5
    if node.op.name == "cbrt":
        return 1.0 / 3.0
    if node.op.name == "integer_pow":
        power: Any = node.op
        return float(power.exponent)
    return program.range(node.args[1]).number if node.op.name == "pow" else None


def divisor(program: LintedGraph, node: Node) -> Symbolic | None:
    """Return the node's divisor, from a quotient or a negative power."""
    if node.op.name == "div":
        return node.args[1]
    power = exponent(program, node)
    return node.args[0] if power is not None and power < 0 else None


@hazard(
    "sqrt-at-zero",
    "a root of something that can be 0, where its derivative is infinite",
    ("sqrt", "cbrt", "pow"),
    bad=(
        lambda x, y: sg.sqrt(x * x + y * y),
        lambda x: sg.sqrt(sg.var(x, 0)),
        lambda x: sg.sqrt((x**2).sum(-1)),
        lambda x: abs(x) ** 0.5,
        lambda x: sg.power(x * x, 0.25),
    ),
    good=(
        lambda x, y: sg.hypot(x, y),
        lambda x: sg.norm(x, axis=-1),
        lambda x: sg.std(x),
        lambda x: sg.sqrt(x * x + 1e-6),
        lambda x: sg.sqrt(sg.exp(x)),
        lambda x: sg.sqrt(sg.maximum(x * x, 1e-6)),
        lambda x: sg.where(x > 0, sg.sqrt(x), 0.0),
        lambda x: sg.where(x * x > 0, sg.sqrt(x * x), 0.0),
        lambda x: sg.sqrt(sg.stop_gradient(x * x)),
        lambda x: sg.sqrt(sg.sum(x > 0).astype("float32")),
        lambda x: nn.layer_norm(x),
    ),
)
def _lint_root(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a root at 0, where its derivative is infinite."""
    operand = node.args[0]
    power = exponent(program, node)
    if power is None or not 0 < power < 1 or program.range(operand).zero is not Zero.REACHED:
        return None
    if not program.takes_gradient(node, operand) or program.guard(node, operand) is not Shield.NONE:
        return None
    name = node.op.name if node.op.name != "pow" else f"x ** {power:g}"
    return Seen(
        f"{name}: the operand can be 0, where the derivative is infinite and the gradient NaN",
        _instead_of_root(skip_moves(operand).node),
    )


def _instead_of_root(below: Node) -> str:
    """Suggest what to write instead of a root of a sum of squares, a sum or a mean."""
    if below.op.name == "add":
        return "sg.hypot(x, y), or add a small number: sg.sqrt(x * x + y * y + 1e-12)"
    if below.op.name == "sum":
        return "sg.norm(x, axis=...), or add a small number: sg.sqrt(sg.sum(x * x) + 1e-12)"
    if below.op.name == "div":
        return "sg.std(x) of a variance, or add a small number: sg.sqrt(sg.mean(x * x) + 1e-12)"
    return "the absolute value of x if that is meant, or add a small number below the root"


@hazard(
    "log-at-zero",
    "a logarithm of something that can be 0",
    _LOGARITHMS,
    bad=(
        lambda x: sg.log(nn.relu(x)),
        lambda x: sg.log(abs(x)),
        lambda x: sg.log10((x * x).sum(0)),
    ),
    good=(
        lambda x: sg.log(x),
        lambda x: sg.log(nn.relu(x) + 1e-9),
        lambda x: sg.log1p(nn.relu(x)),
        lambda x: sg.log(sg.maximum(abs(x), 1e-9)),
        lambda x: sg.where(abs(x) > 0, sg.log(abs(x)), 0.0),
        lambda x: sg.log(sg.where(x > 0, x, 1.0)),
        lambda x: nn.logsumexp(x),
    ),
)
def _lint_logarithm(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a logarithm whose operand can be 0."""
    operand = node.args[0]
    if program.range(operand).zero < Zero.CHOSEN or program.guard(node, operand) is not Shield.NONE:
        return None
    return Seen(
        f"{node.op.name}: the operand can be 0, where the logarithm is -inf",
        "sg.log(x + 1e-12); of counts sg.log1p(x); p log p is sg.xlogy(p, p)",
    )


@hazard(
    "division-by-zero",
    "a division by a count, norm, range or sum that can be 0",
    ("div", "integer_pow", "pow"),
    bad=(
        lambda x, y: (x * (y > 0)).sum() / sg.sum(y > 0).astype("float32"),
        lambda x, y: sg.average(x, weights=nn.relu(y)),
        lambda x: x / sg.norm(x, axis=-1, keepdims=True),
        lambda x: (x - sg.min(x)) / (sg.max(x) - sg.min(x)),
        lambda x: 1.0 / nn.relu(x),
        lambda x: sg.reciprocal(abs(x)),
        lambda x: sg.exp(x) / sg.where(x > 0, sg.exp(x), 0.0).sum(-1, keepdims=True),
    ),
    good=(
        lambda x, y: x / y,
        lambda x: x / (abs(x) + 1.0),
        lambda x: x / sg.maximum(sg.norm(x, axis=-1, keepdims=True), 1e-9),
        lambda x: sg.where(x * x > 0, 1.0 / (x * x), 0.0),
        lambda x: 1.0 / sg.where(abs(x) > 0, abs(x), 1.0),
        lambda x: sg.mean(x),
        lambda x: sg.nanmean(x, axis=0),
        lambda x: nn.softmax(x),
    ),
)
def _lint_division(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a division by a value that can be 0."""
    by = divisor(program, node)
    if by is None or program.range(by).zero < Zero.CHOSEN:
        return None
    if program.guard(node, by) is not Shield.NONE or program.is_internal(node, by):
        return None
    return Seen(
        "division: what it divides by can be 0",
        "keep it away from 0: x / sg.maximum(n, 1e-12), or x / sg.where(n > 0, n, 1.0)",
    )


@hazard(
    "arc-at-one",
    "arccos, arcsin or arctanh of what is clipped to -1 and 1, where the derivative is infinite",
    _ARCS,
    bad=(
        lambda x: sg.arccos(sg.clip(x, -1.0, 1.0)),
        lambda x: sg.arcsin(sg.minimum(sg.maximum(x, -1.0), 1.0)),
        lambda x: sg.arccos(x),
    ),
    good=(
        lambda x: sg.arccos(sg.clip(x, -0.999, 0.999)),
        lambda x: sg.arctan2(x, 2.0),
        lambda x: sg.arcsin(sg.stop_gradient(x)),
    ),
)
def _lint_arc(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for an arc function at 1 or -1, where its slope is infinite."""
    operand = node.args[0]
    bounds = program.range(operand)
    if bounds.number is not None or not program.takes_gradient(node, operand):
        return None
    reaches = bounds.low == -1.0 or bounds.high == 1.0
    open_ended = bounds.low < -1.0 and bounds.high > 1.0
    if not (reaches or open_ended) or program.guard(node, operand) is not Shield.NONE:
        return None
    return Seen(
        f"{node.op.name}: the derivative is infinite at 1 and -1",
        "an angle: sg.arctan2(sine, cosine); else clip inside: sg.clip(x, -1 + 1e-6, 1 - 1e-6)",
        "warning" if reaches else "note",
    )


@hazard(
    "where-gradient",
    "a where that drops an infinity only behind a sum, product or broadcast: its gradient is NaN",
    ("sqrt", "cbrt", "pow", "integer_pow", "div", "exp", *_LOGARITHMS, *_ARCS),
    bad=(
        lambda x: sg.where((x * x).sum() > 0, (x / sg.sqrt((x * x).sum())).sum(), 0.0),
        lambda x: sg.where(x.sum(-1) > 0, sg.log(x).sum(-1), 0.0),
        lambda x: sg.where((r := sg.sqrt((x * x).sum(-1, keepdims=True))) > 0, x / r, 0.0),
        lambda x: sg.where(x[:, :1] < 80.0, sg.exp(x) @ np.ones((3, 1), "float32"), 0.0),
    ),
    good=(
        lambda x: sg.where(x > 0, sg.sqrt(x), 0.0),
        lambda x: sg.where(x > 0, 1.0 / x, 0.0).sum(),
        lambda x: sg.where((s := x.sum(-1, keepdims=True)) > 0, x / s, 0.0),
        lambda x: sg.where(x > 0, sg.log(sg.where(x > 0, x, 1.0)), 0.0).sum(-1),
        lambda x: sg.where(x.sum(-1) > 0, sg.log(sg.where(x > 0, x, 1.0)).sum(-1), 0.0),
        lambda x: sg.where(x.sum(-1) > 0, sg.exp(-(x * x)).sum(-1), 0.0),
        lambda x: nn.log_softmax(x),
        lambda x: sg.nanvar(x, axis=0),
        lambda x: sg.norm(x, axis=-1),
        lambda x: nn.elu(x),
    ),
)
def _lint_masked_infinity(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for an infinite branch of ``where``: its gradient is NaN."""
    name = node.op.name
    if name == "exp":
        operand, infinite = node.args[0], program.range(node.args[0]).high > _MODEST
    elif (by := divisor(program, node)) is not None:
        operand, infinite = by, program.range(by).zero > Zero.NEVER
    else:
        power = exponent(program, node)
        if power is not None and not 0 < power < 1:
            return None
        operand, infinite = node.args[0], program.range(node.args[0]).zero > Zero.NEVER
    if not infinite or not any(program.takes_gradient(node, arg) for arg in node.args):
        return None
    if program.guard(node, operand) is not Shield.FORWARD or program.is_internal(node, operand):
        return None
    return Seen(
        f"{name}: the where behind it keeps an infinity from the result, not from the gradient",
        "choose before as well: sg.where(ok, f(sg.where(ok, x, 1.0)), 0.0)",
    )
