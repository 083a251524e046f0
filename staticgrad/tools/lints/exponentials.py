"""Lints of exponentials and probabilities that no rule of ``passes.rules.stable`` mends.

They look at the graph as every level compiles it: behind the stabilising rules. What is still
written as a ratio of unshifted exponentials, or as the logarithm of a probability, overflows or
gives -inf.
"""

from __future__ import annotations

from typing import Final

from staticgrad import functions as sg, nn
from staticgrad.extend import Node, Symbolic
from staticgrad.extend.reports import skip_moves
from staticgrad.tools.lints.program import LintedGraph, Shield
from staticgrad.tools.lints.table import Seen, hazard

#: Ops whose result holds the operand's elements, or some of them multiplied and added.
_PICKING: Final = frozenset({"take", "take_along", "slice", "sum", "concat", "max", "min"})
_STEPS: Final = 12
#: Exponentials from here on are infinite in float32; in float64 from 709 on.
_LARGE: Final = 88.0


def _exponential(value: Symbolic) -> Node | None:
    """Find the exponential below factors and masks of a value, for lints."""
    pending = [value]
    for _ in range(_STEPS):
        if not pending:
            return None
        node = skip_moves(pending.pop()).node
        if node.op.name in ("exp", "exp2"):
            return node
        if node.op.name == "mul":
            pending += node.args
        elif node.op.name == "where":
            pending += node.args[1:]
    return None


@hazard(
    "unshifted-softmax",
    "a softmax or log-sum-exp by hand, without taking the largest element off",
    ("sum",),
    bad=(
        lambda x: (2.0 * sg.exp(x)) / sg.exp(x).sum(-1, keepdims=True),
        lambda x, y: (sg.exp(x) * (y > 0)).sum(-1) / (1.0 + sg.exp(x).sum(-1)),
        lambda x: sg.log(1.0 + sg.exp(x).sum(-1)),
    ),
    good=(
        lambda x: nn.softmax(x),
        lambda x: sg.exp(x) / sg.exp(x).sum(-1, keepdims=True),
        lambda x: sg.log(sg.exp(x).sum(-1)),
        lambda x: nn.logsumexp(x),
        lambda x: sg.exp(x).sum(-1),
        lambda x: sg.exp(-(x * x)) / sg.exp(-(x * x)).sum(-1, keepdims=True),
        lambda x: sg.exp(x - x.max(-1, keepdims=True)) / sg.exp(x - x.max()).sum(),
    ),
    where="stabilized",
)
def _find_unshifted(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for a log or quotient of a sum of exp without a shift."""
    grown = _exponential(node.args[0])
    if grown is None or program.range(grown.args[0]).high <= _LARGE:
        return None
    use = _find_use_of_sum(program, node)
    if use is None or program.guard(grown, grown.args[0]) is not Shield.NONE:
        return None
    return Seen(
        f"the sum of exp(x) in {use} overflows where x is large",
        "sg.nn.softmax(x, axis), sg.nn.logsumexp(x, axis), or exp of x less its largest element",
    )


def _find_use_of_sum(program: LintedGraph, node: Node) -> str | None:
    """Return how a sum of exponentials is used: as a divisor, or under a logarithm."""
    pending = [node]
    for _ in range(_STEPS):
        if not pending:
            return None
        user = pending.pop()
        for reader in program.readers(user):
            if reader.op.name == "div" and reader.args[1].node is user:
                return "a divisor"
            if reader.op.name in ("log", "log2", "log10", "log1p"):
                return "a logarithm"
            if reader.op.name in ("reshape", "broadcast", "transpose", "add"):
                pending.append(reader)
    return None


def _probability(value: Symbolic) -> str:
    """Return ``softmax`` or ``sigmoid`` if a value is such a probability, for lints."""
    pending = [value]
    for _ in range(_STEPS):
        if not pending:
            return ""
        node = skip_moves(pending.pop(0)).node
        if node.op.name == "sigmoid":
            return "sigmoid"
        if node.op.name == "div" and _is_share(node):
            return "softmax"
        if node.op.name == "mul":
            pending += node.args
        elif node.op.name == "where":
            pending += node.args[1:]
        elif node.op.name in _PICKING or node.op.name == "neg":
            pending.append(node.args[0])
    return ""


def _is_share(node: Node) -> bool:
    """Return whether a quotient is an exponential over a sum of exponentials."""
    divisor = skip_moves(node.args[1]).node
    return (
        _exponential(node.args[0]) is not None
        and divisor.op.name == "sum"
        and _exponential(divisor.args[0]) is not None
    )


@hazard(
    "log-of-probability",
    "the logarithm of a softmax or sigmoid that no rule turns into a stable formula",
    ("log", "log2", "log10", "log1p"),
    bad=(
        lambda x, y: -sg.log((nn.softmax(x) * y).sum(-1)).mean(),
        lambda x: sg.log2(sg.sigmoid(x)),
        lambda x: sg.log(1.0 - nn.softmax(x)[:, 0]),
    ),
    good=(
        lambda x: sg.log(nn.softmax(x)),
        lambda x: -sg.log(nn.softmax(x)[:, 0]).mean(),
        lambda x: sg.log(sg.sigmoid(x)),
        lambda x: sg.log(1.0 - sg.sigmoid(x)),
        lambda x: sg.log(nn.softmax(x)[:, 0] + 1e-9),
        lambda x: sg.log(sg.maximum(nn.softmax(x)[:, 0], 1e-9)),
        lambda x: nn.log_softmax(x)[:, 0],
    ),
    where="stabilized",
)
def _log_of_probability(program: LintedGraph, node: Node) -> Seen | None:
    """Return the lint's finding for the logarithm of a softmax or sigmoid."""
    operand = node.args[0]
    if node.op.name == "log1p" and operand.node.op.name != "neg":
        return None
    kind = _probability(operand)
    if not kind or program.guard(node, operand) is not Shield.NONE:
        return None
    fix = {
        "softmax": "sg.nn.cross_entropy(logits, labels), or pick from sg.nn.log_softmax(logits)",
        "sigmoid": "sg.nn.binary_cross_entropy_with_logits(logits, targets)",
    }[kind]
    return Seen(f"{node.op.name} of a {kind}: -inf, and a NaN gradient, where it rounds to 0", fix)
