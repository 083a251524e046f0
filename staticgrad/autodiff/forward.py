"""Forward mode: products of the Jacobian with tangents, as new nodes of the graph.

Walks from the targets to the outputs, each node once, producers before users, and calls each op's
``jvp``. An op without one is pushed forward by transposing its VJP: that is linear in the
cotangent, so its own gradient, with the tangents as seeds, is the tangent of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import reduce
from typing import Any

from staticgrad.autodiff.cone import Cone, ValueKey, cone_between, disconnected_error
from staticgrad.autodiff.reverse import (
    Formula,
    fitting,
    or_zeros,
    stable_formulas,
    transpose_linear,
    versions_of,
    with_versions,
)
from staticgrad.autodiff.structure import (
    by_stored,
    check_floating,
    fit_to_type,
    leaves,
    pair_leaves,
)
from staticgrad.errors import DisconnectedError, GradientError, OpDefinitionError
from staticgrad.errors.wording import quote
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.cotangent import (
    check_share,
    in_dtype_of,
    resolve,
    rounds_between,
    shares_of,
    widen_cotangent,
)
from staticgrad.language.trees import check_whole, flatten, unflatten
from staticgrad.support.building import within

_GIVES = "jvp gives a tangent {} for a result {}"


@public
def jvp(y: Any, x: Any, tangent: Any, allow_disconnected: bool = False) -> Any:
    """Forward mode: the tangents of ``y`` when ``x`` moves along ``tangent``."""
    outputs = leaves(y, "jvp takes values to differentiate")
    check_whole(x)
    x = by_stored(x, outputs)
    primals = leaves(x, "jvp takes values to differentiate by")
    check_floating(outputs, "of")
    check_floating(primals, "by")
    if not (outputs and primals):
        raise GradientError("there is nothing to differentiate: no value is given")
    pairs = list(pair_leaves(x, tangent, "tangent"))
    cone = cone_between(outputs, with_versions(primals))
    with in_graphs(), within(order=cone.order + 1):
        directions = [
            pair
            for value, direction in pairs
            for pair in _along_versions(outputs, value, fit_to_type(value, direction, "tangent"))
        ]
        read = [value for value, _ in directions]
        formulas = stable_formulas(cone, outputs, read)
        pushes = [_push_formula(formula, directions) for formula in formulas]
        is_real = len(flatten((y, x), keep_complex=True)[0]) == len(outputs) + len(primals)
        if is_real and not allow_disconnected:  # of a complex value, one part may have no path
            _check_paths(cone, list(zip(formulas, pushes, strict=True)), outputs, directions)
        tangents = _sum_tangents(formulas, pushes, len(outputs))
        tangent_leaves = [
            or_zeros(tangent, value) for tangent, value in zip(tangents, outputs, strict=True)
        ]
        return unflatten(flatten(y)[1], tangent_leaves)


def _along_versions(
    outputs: Sequence[Symbolic], value: Symbolic, direction: Any
) -> list[tuple[Symbolic, Any]]:
    """Pair a primal, or each version of an updated parameter that is read, with its tangent."""
    versions = versions_of(value)
    pairs = [(version, direction) for version in (value, *versions)]
    if not versions:
        return pairs
    read = [pair for pair in pairs if any(t is not None for t in push_forward(outputs, [pair]))]
    return read or pairs[:1]


def _sum_tangents(formulas: Sequence[Formula], pushes: Sequence[_Push], count: int) -> list[Any]:
    """Sum the tangents that several formulas of a forward-mode derivative give each output."""
    tangents = []
    for index in range(count):
        keys = [formula.outputs[index].key for formula in formulas]
        parts = [push.tangents.get(key) for push, key in zip(pushes, keys, strict=True)]
        present = [part for part in parts if part is not None]
        tangents.append(reduce(add, present) if present else None)
    return tangents


def push_forward(
    outputs: Sequence[Symbolic], directions: Sequence[tuple[Symbolic, Any]]
) -> list[Any]:
    """Return the tangent of each output (None: no path), for primals with tangents."""
    primals = [value for value, _ in directions]
    formulas = stable_formulas(cone_between(outputs, primals), outputs, primals)
    return _sum_tangents(
        formulas, [_push_formula(formula, directions) for formula in formulas], len(outputs)
    )


def _push_formula(formula: Formula, directions: Sequence[tuple[Symbolic, Any]]) -> _Push:
    """Push tangents forward through one stable formula of the outputs."""
    push = _Push(formula.cone, formula.outputs)
    for value, direction in directions:
        if value.key in formula.targets:
            with within(value.node.origin):
                push.add(formula.targets[value.key].key, direction)
    push.run()
    return push


def _check_paths(
    cone: Cone,
    done: Sequence[tuple[Formula, _Push]],
    outputs: Sequence[Symbolic],
    directions: Sequence[tuple[Symbolic, Any]],
) -> None:
    """Check that tangents reach every output and leave every primal, in the formula as written."""
    if len(done) == 1:
        ((formula, push),) = done
        try:
            return push.check(formula.outputs, list(formula.targets.values()))
        except DisconnectedError:
            if not formula.changed:
                raise
    primals = [value for value, _ in directions]
    written = Formula(cone, tuple(outputs), {value.key: value for value in primals}, False)
    return _push_formula(written, directions).check(outputs, primals)


class _Push:
    """One forward sweep: the tangents so far, and the operands whose rule gave none."""

    def __init__(self, cone: Cone, outputs: Iterable[Symbolic]) -> None:
        self.cone = cone
        self.read = {arg.key for node in cone.nodes for arg in node.args}
        self.read.update(output.key for output in outputs)
        self.tangents: dict[ValueKey, Any] = {}
        self.blocked: set[tuple[ValueKey, Node]] = set()

    def add(self, key: ValueKey, tangent: Any) -> None:
        """Add to the tangent of a value: a primal may also depend on other primals."""
        previous = self.tangents.get(key)
        self.tangents[key] = tangent if previous is None else add(previous, tangent)

    def run(self) -> None:
        """Compute the tangent of every active value of the cone in forward mode, in topological
        order.
        """
        for node in self.cone.nodes:
            tangents = [self.tangents.get(arg.key) for arg in node.args]
            if all(tangent is None for tangent in tangents):
                continue
            with within(node.origin):
                results = _push_node(node, tangents, self.read)
                if all(tangent is None for tangent in results):
                    self.blocked.update((arg.key, node) for arg in node.args)
                for value, tangent in zip(node.values, results, strict=True):
                    if tangent is not None and value.key in self.cone.active:
                        self.add(value.key, fitting(tangent, value, node, _GIVES))

    def check(self, outputs: Sequence[Symbolic], primals: Sequence[Symbolic]) -> None:
        """Refuse an output without a tangent, and a primal that no output depends on."""
        for y in outputs:
            if y.key not in self.tangents:
                raise disconnected_error(y, primals[0], self.blocked)
        used = {y.key for y in outputs}
        for node in reversed(self.cone.nodes):
            if any(value.key in used for value in node.values):
                used.update(arg.key for arg in node.args if (arg.key, node) not in self.blocked)
        for value in primals:
            if value.key not in used:
                raise disconnected_error(outputs[-1], value, self.blocked)


def _push_node(node: Node, tangents: Sequence[Any], read: Collection[ValueKey]) -> tuple[Any, ...]:
    """Apply an op's jvp rule: the tangent (None: zero) of each result from those of the operands.

    An op without a rule gives those that are ``read`` alone: others may have no derivative.
    """
    op = node.op
    if not op.differentiable:
        return (None,) * len(node.types)
    rule = getattr(op, "jvp", None)
    if rule is None:
        return _push_by_transposing(node, tangents, read)
    single = len(node.types) == 1
    values, args = node.values, node.args
    is_sum = sum(tangent is not None for tangent in tangents) > 1  # whose terms are added up
    is_narrow = any(arg.type.dtype.is_storage for arg in args)
    if is_narrow and rounds_between(op, is_sum):
        tangents, values, args = (
            tuple(map(widen_cotangent, operands)) for operands in (tangents, values, args)
        )
    rule_result = rule(tangents, values[0] if single else values, *args)
    results = (rule_result,) if single else rule_result
    if not isinstance(results, tuple) or len(results) != len(node.types):
        raise OpDefinitionError(
            f"{op.name}: jvp gives {quote(results)}, not a tuple of {len(node.types)} tangents",
            at=node.origin,
        )
    for result, value in zip(results, node.values, strict=True):
        check_share(op, "jvp", result, value)
    return tuple(
        [in_dtype_of(tangent, kind) for tangent, kind in zip(results, node.types, strict=True)]
    )


def _push_by_transposing(
    node: Node, tangents: Sequence[Any], read: Collection[ValueKey]
) -> tuple[Any, ...]:
    """Get the jvp of a node by transposing its vjp rule, which is linear in the cotangents."""

    def apply_vjp(cts: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Apply the vjp rule of the node to symbolic cotangents, as a function to be transposed."""
        needed = tuple(tangent is not None for tangent in tangents)
        contributions = shares_of(node.op, cts, node.values, node.args, needed)
        return [
            (resolve(fitting(share, arg, node)), tangent)
            for share, arg, tangent in zip(contributions, node.args, tangents, strict=True)
            if share is not None and tangent is not None
        ]

    needs_tangent = (value.dtype.is_float and value.key in read for value in node.values)
    kinds = [v.type if want else None for v, want in zip(node.values, needs_tangent, strict=True)]
    if all(kind is None for kind in kinds):
        return (None,) * len(kinds)
    return transpose_linear(apply_vjp, kinds)
