"""Reverse mode: products of cotangents with the Jacobian, as new nodes of the graph.

Walks from the outputs back to the targets, each node once, users before
producers, and calls each op's VJP. The new nodes are ordinary: they have the forward node's
line, their ``order`` is one above what was differentiated, and they can be differentiated again.
The walk is that of ``ops/sweep.py``.

Stable formulas: the same functions, rewritten before they are differentiated. A formula that
overflows can have its value mended by a rewrite, but not its derivatives once they are taken: of
log(1 + exp(x)) at 800 the first is 1 / inf * inf. So the ``stable`` rewrite rules are applied to
the formula first, and derivatives are taken of what they give; ``stabilize`` makes the same of the
forward pass, so that ``cse`` merges the two. A gradient of a gradient meets stable formulas again.
No gradient depends on who else is asked for: a target that a rule would have looked through is
differentiated by in a formula of its own.

Equal nodes: a formula that was written twice is differentiated once. The cotangents of all copies
are added to those of the first, whose rule is called with the sum: of mean(a @ b) + max(a @ b) the
gradients of a and b are one product each. A copy that is a target has a slope of its own.

Gram products: of a.T @ a with the cotangent g both shares are products of a, and their sum is the
one product a @ (g + g.T).

Recomputation for ``sg.checkpoint(f, policy=...)``: clones that a gradient reads instead.

A mark behind each result of the function says where it begins and what is saved of it
(``ops.marks.Recomputed``). What lies in between is a region. The rule of a node in a region gets,
for operands and results that are not saved, clones of the nodes that computed them, of the order of
the gradient. Unread clones are dropped with other dead nodes.

A nested region is recomputed twice: the outer one recomputes the inputs of the inner one, and
from them the inner one computes what its gradient reads. Regions nest as recursive checkpoints do.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import reduce
from typing import Any

import numpy as np

from passes.clones import Clones
from passes.equals import duplicates
from passes.failures import attempt
from passes.rewrite import Rewritten, Rule, rewrite_nodes
from passes.rules import STABILIZING, STABLE, below_derivatives
from staticgrad.autodiff.cone import Cone, ValueKey, cone_between, disconnected_error, value_name
from staticgrad.autodiff.structure import (
    by_stored,
    check_floating,
    fit_to_type,
    leaves,
    not_a_value,
    pair_leaves,
)
from staticgrad.errors import ArgumentError, GradientError, OpDefinitionError
from staticgrad.errors.tracebacks import called_name
from staticgrad.language.calls.arguments import public
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import BodyOp, Node, Parameter, ParameterLeaf, Symbolic, ancestors
from staticgrad.language.ir.nodes import running_session
from staticgrad.language.ir.pairs import SymbolicComplex
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import add
from staticgrad.language.ops.cotangent import (
    TRANSPOSES,
    ZERO,
    in_dtype_of,
    resolve,
    rule_name,
    shares_of,
    widen_cotangent,
    zeros_like_type,
)
from staticgrad.language.ops.marks import region_behind
from staticgrad.language.ops.movement import reshape, swapaxes
from staticgrad.language.ops.sweep import Sweep
from staticgrad.language.trees import check_whole, flatten, map_leaves, pairs_in
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import equal
from staticgrad.support.building import current, within
from staticgrad.support.caches import collection_paused
from staticgrad.support.records import dataclass
from staticgrad.support.traversal import reach

_Key = tuple[Node, int]
#: Where a region begins, and what is saved of it.
_Ends = tuple[frozenset[_Key], frozenset[_Key]]


class _Region:
    """The nodes between the marks of one function and its inputs."""

    def __init__(self, ends: _Ends, order: int) -> None:
        self.begins, self.saved = ends
        self.nodes: set[Node] = set()
        self.parent: _Region | None = None
        self.clones = Clones(order, self._runs_again, self._outside)

    def reach(self, result: Symbolic) -> None:
        """Add the nodes that a result depends on to a checkpoint region, up to where the region
        begins.
        """

        def select_missing(values: Iterable[Symbolic]) -> list[Node]:
            nodes = [value.node for value in values if value.key not in self.begins]
            return [node for node in nodes if node not in self.nodes and not node.is_leaf]

        self.nodes |= {*reach(select_missing([result]), lambda node: select_missing(node.args))}

    def leave_begins(self) -> None:
        """Remove from a recomputed region the nodes that its starting values are computed from.

        Stable formulas may read that in the place of what the region begins at.
        """
        oldest = min((node.serial for node in self.nodes), default=0)
        begin_values = [Symbolic(*key) for key in self.begins]
        self.nodes.difference_update(ancestors(begin_values, oldest=oldest))

    def read(self, value: Symbolic, node: Node | None = None) -> Symbolic:
        """Return the value that the backward pass reads instead: a recomputed clone, or the marked
        value.

        What is made over marked values is not merged with equal nodes that ran first: the loop
        that stacks carries stays apart from the loop that it repeats. A saved loop keeps its
        carries: for the derivative rule of such a ``node``, values have no mark.
        """
        below = self.clones.behind_marks(value)
        if self._runs_again(below):
            return self.clones.clone_of(below)
        if node is not None and self._keeps(node):
            return value if self.parent is None else self.parent.read(value, node)
        return self.clones.mark(below if self.parent is None else self.parent.read(below, node))

    def _keeps(self, node: Node) -> bool:
        """Return whether a node is a saved loop or branch."""
        return isinstance(node.op, BodyOp) and all(value.key in self.saved for value in node.values)

    def _runs_again(self, value: Symbolic) -> bool:
        key = value.key
        return value.node in self.nodes and key not in self.begins and key not in self.saved

    def _outside(self, value: Symbolic) -> Symbolic:
        return value if self.parent is None else self.parent.read(value)


class Regions:
    """The regions among some nodes, as a gradient of the present order sees them."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        order = current().order
        self._region_of: dict[Node, _Region] = {}
        regions: dict[_Ends, _Region] = {}
        marks: dict[Node, _Region] = {}
        for node in nodes:
            ends = region_behind(node)
            if ends is None:
                continue
            keys: _Ends = tuple(frozenset(arg.key for arg in values) for values in ends)  # type: ignore[assignment]
            if keys not in regions:
                regions[keys] = _Region(keys, order)
            marks[node] = regions[keys]
            regions[keys].reach(node.args[0])
        for region in regions.values():
            region.leave_begins()
        for region in sorted(regions.values(), key=lambda region: -len(region.nodes)):
            for node in region.nodes:
                inner = marks.get(node)
                if inner is not None and inner is not region:
                    inner.parent = region
                self._region_of[node] = region

    def values_for_rule(self, node: Node) -> tuple[tuple[Symbolic, ...], tuple[Symbolic, ...]]:
        """Return the results and operands that a node's derivative rule reads, recomputed if
        unsaved.
        """
        region = self._region_of.get(node)
        if region is None:
            return node.values, node.args
        outs, args = (
            tuple([region.read(value, node) for value in values])
            for values in (node.values, node.args)
        )
        return outs, args


@dataclass(frozen=True)
class Formula:
    """One formula to differentiate.

    Attributes:
        cone: what lies between the targets and the outputs.
        outputs: what stands for the outputs, in their order.
        targets: for some of the values to differentiate by, what stands for them.
        changed: whether it is another formula than the one that was written.
    """

    cone: Cone
    outputs: tuple[Symbolic, ...]
    targets: Mapping[ValueKey, Symbolic]
    changed: bool = True


def stable_formulas(
    cone: Cone, outputs: Sequence[Symbolic], targets: Sequence[Symbolic]
) -> list[Formula]:
    """Return numerically stable formulas to differentiate ``outputs`` by, each with its targets."""
    rewritten = _stabilize_cone(cone, targets)
    if rewritten is None:
        return [Formula(cone, tuple(outputs), {t.key: t for t in targets}, False)]
    target_by_key = {target.key: target for target in targets}
    surviving = {key: target for key, target in target_by_key.items() if rewritten.keeps(target)}
    formulas = [_formula(outputs, surviving, rewritten)] if surviving else []
    for key, target in target_by_key.items():
        if key not in surviving:  # something in the middle: there it stays what it is
            target_cone, single = cone_between(outputs, [target]), {key: target}
            rewritten = _rewrite_cone(
                target_cone, below_derivatives(target_cone.nodes), (target.node,)
            )
            plain = Formula(target_cone, tuple(outputs), single)
            formulas.append(plain if rewritten is None else _formula(outputs, single, rewritten))
    return formulas


def _stabilize_cone(cone: Cone, targets: Sequence[Symbolic]) -> Rewritten | None:
    """Rewrite the formulas of a cone into their numerically stable forms before differentiation.

    A target that is a reshape stays one of what is read, unless a stable formula is behind it: its
    gradients shall depend on it when they are differentiated by it again.
    """
    rules = below_derivatives(cone.nodes)
    rewritten = _rewrite_cone(cone, rules)
    if rewritten is None:
        return None
    merged = {t.node for t in targets if t.node.op.copies and not rewritten.keeps(t)}
    if not merged:
        return rewritten
    again = _rewrite_cone(cone, rules, merged)
    hits = {} if again is None else again.hits
    chosen = [r.name for r in rules if r in STABLE or r not in STABILIZING]
    return (
        again if all(rewritten.hits.get(name) == hits.get(name) for name in chosen) else rewritten
    )


def _rewrite_cone(
    cone: Cone, rules: Sequence[Rule], protected: Collection[Node] = ()
) -> Rewritten | None:
    """Rewrite the formulas of a cone except at nodes ``protected``; None if nothing changes."""
    return attempt(
        "stabilize", lambda: rewrite_nodes(cone.nodes, rules, protected, cone.beside), None
    )


def _formula(
    outputs: Sequence[Symbolic], targets: Mapping[ValueKey, Symbolic], rewritten: Rewritten
) -> Formula:
    ends = tuple(rewritten.value(y) for y in outputs)
    starts = {key: rewritten.value(target) for key, target in targets.items()}
    return Formula(cone_between(ends, starts.values()), ends, starts)


@public
def grad(
    y: Any,
    wrt: Any,
    seed: Any = None,
    allow_disconnected: bool = False,
    holomorphic: bool = False,
    together: Sequence[tuple[Symbolic, Symbolic]] = (),
) -> Any:
    """The gradient of ``y`` with respect to each value in ``wrt``, as ``sg.grad`` says.

    ``together``: the parts of complex values among ``wrt``, of which one may have no path.

    Raises:
        GradientError: ``y`` is not floating, or not one element and has no seed; the seed does not
            fit; ``wrt`` holds something without gradient; an op on the way has no rule.
        DisconnectedError: no differentiable path leads to a wanted value.
    """
    if isinstance(y, SymbolicComplex):
        y = real_loss(y, holomorphic)
    _check_output(y, seed)
    check_whole(wrt)
    wrt = by_stored(wrt, leaves(y))
    wrt_values = leaves(wrt)
    seeded_outputs = [(y, np.ones([1] * len(y.shape)) if seed is None else seed)]
    together = [*together, *_pairs(wrt)]
    gradients = _differentiate_outputs(
        seeded_outputs, "seed", wrt_values, allow_disconnected, together
    )
    return map_leaves(lambda value: gradients[value.key], wrt, conjugate=True)


def real_loss(y: Any, holomorphic: bool) -> Any:
    """Return the real part of a complex loss, which is what a holomorphic gradient differentiates.

    Raises:
        GradientError: nobody has said that it is one.
    """
    if not holomorphic:
        raise GradientError(
            f"{called_name()}: the loss is {y.type}: complex numbers have no order to descend in",
            hint="a real loss: abs(z), z.real, sg.abs_square(z).sum()\n"
            "the complex derivative of a holomorphic function: holomorphic=True",
        )
    return y.real


def _pairs(tree: Any) -> list[tuple[Symbolic, Symbolic]]:
    values, shape = flatten(tree)
    return pairs_in(shape, values)


@public
def vjp(
    y: Any,
    x: Any,
    ct: Any,
    allow_disconnected: bool = False,
    together: Sequence[tuple[Symbolic, Symbolic]] = (),
) -> Any:
    """Reverse mode: the cotangents of ``x``, given those of ``y``, as ``sg.vjp`` says."""
    outputs = leaves(y, "vjp takes values to differentiate")
    check_floating(outputs, "of")
    check_whole(x)
    x = by_stored(x, outputs)
    wrt_values = leaves(x, "vjp takes values to differentiate by")
    seeded_outputs = list(pair_leaves(y, ct, "cotangent"))
    together = [*together, *_pairs(x)]
    gradients = _differentiate_outputs(
        seeded_outputs, "cotangent", wrt_values, allow_disconnected, together
    )
    return map_leaves(lambda value: gradients[value.key], x, conjugate=True)


def versions_of(value: Symbolic) -> list[Symbolic]:
    """Return what reads of a parameter after updates have; nothing of another value."""
    noted = running_session() if isinstance(value, Parameter) else None
    return [] if noted is None else noted.versions.get(value.node, [])


def with_versions(values: Sequence[Symbolic]) -> list[Symbolic]:
    """Return values, parameters with what they stand for after updates."""
    return [*values, *(version for value in values for version in versions_of(value))]


def _sum_over_versions(
    gradients: Mapping[ValueKey, Any], wrt_values: Sequence[Symbolic]
) -> dict[ValueKey, Any]:
    """Give an updated parameter the sum of the gradients of its versions."""
    summed = dict(gradients)
    for value in wrt_values:
        versions = versions_of(value)
        if versions:
            keys = dict.fromkeys(version.key for version in (value, *versions))
            parts = [gradients[key] for key in keys if gradients.get(key) is not None]
            summed[value.key] = reduce(add, parts) if parts else None
    return summed


@collection_paused()
def _differentiate_outputs(
    seeded_outputs: Sequence[tuple[Symbolic, Any]],
    role: str,
    wrt_values: Sequence[Symbolic],
    allow_disconnected: bool,
    together: Sequence[tuple[Symbolic, Symbolic]],
) -> dict[ValueKey, Value]:
    """Run reverse mode from outputs with cotangents to the gradient of every value in
    ``wrt_values``.
    """
    if not allow_disconnected:
        check_floating(wrt_values, "by")
    outputs = [y for y, _ in seeded_outputs]
    if not outputs:
        raise GradientError("there is nothing to differentiate: no value is given")
    targets = with_versions([value for value in wrt_values if value.dtype.is_float])
    cone = cone_between(outputs, targets)
    with in_graphs(), within(order=cone.order + 1):
        seeds = [fit_to_type(y, ct, role) for y, ct in seeded_outputs]
        gradients = _sum_over_versions(_sweep_formulas(cone, outputs, seeds, targets), wrt_values)
        reached = {
            part.key for pair in together for part in pair if any(p.key in gradients for p in pair)
        }
        missing = [v for v in wrt_values if gradients.get(v.key) is None and v.key not in reached]
        if missing and not allow_disconnected:
            _check_paths(cone, list(zip(outputs, seeds, strict=True)), missing)
        return {value.key: or_zeros(gradients.get(value.key), value) for value in wrt_values}


def _sweep_formulas(
    cone: Cone, outputs: Sequence[Symbolic], seeds: Sequence[Any], targets: Sequence[Symbolic]
) -> dict[ValueKey, Any]:
    """Sweep cotangents back through the stable formulas; None for a target without a path."""
    cotangents: dict[ValueKey, Any] = {}
    for formula in stable_formulas(cone, outputs, targets):
        seeded_outputs, same = (
            list(zip(formula.outputs, seeds, strict=True)),
            _find_duplicates(formula.cone),
        )
        merged = {*same, *same.values()}
        merged.update(_transposed_in_gram_products(formula.cone))
        asked = {target.key: target.node in merged for target in formula.targets.values()}
        formula_cotangents: dict[ValueKey, Any] = {}
        # One of several equals has a part of their slope, and one operand a part of a product's.
        for in_merged in sorted(set(asked.values())):
            keys = {key for key, is_merged in asked.items() if is_merged is in_merged}
            formula_cotangents |= _GraphSweep(formula.cone, keys, {} if in_merged else same).run(
                seeded_outputs
            )
        cotangents |= {
            key: formula_cotangents.get(target.key) for key, target in formula.targets.items()
        }
    return cotangents


def _transposed_in_gram_products(cone: Cone) -> Iterator[Node]:
    """Yield the transposed operands of Gram products, whose cotangent the other operand gets."""
    for node in cone.nodes:
        if node.op.is_gram(node.args):
            keys = {arg.key for arg in node.args}
            for arg in node.args:
                if any(below.key in keys for below in arg.node.args):
                    yield arg.node


def _find_duplicates(cone: Cone) -> dict[Node, Node]:
    """Map duplicate nodes of a cone (equal op, operands and order) to the first one.

    A region that runs again keeps its nodes: they are apart from what ran before.
    """
    if any(region_behind(node) is not None for node in cone.nodes):
        return {}
    read = {arg.node for node in cone.nodes for arg in node.args if arg.node.is_leaf}
    constants = sorted(read.difference(cone.nodes), key=lambda node: node.serial)
    same = duplicates([*constants, *cone.nodes], border=True)
    return {node: first for node, first in same.items() if not node.is_leaf}


def gradients_or_none(y: Symbolic, wrt_values: Sequence[Symbolic]) -> list[Value | None]:
    """Return the gradient of each value, or None where no differentiable path leads to it."""
    _check_output(y, None)
    targets = with_versions(wrt_values)
    cone = cone_between([y], targets)
    with in_graphs(), within(order=cone.order + 1):
        seed = fit_to_type(y, np.ones([1] * len(y.shape)), "seed")
        gradients = _sum_over_versions(_sweep_formulas(cone, [y], [seed], targets), wrt_values)
    return [gradients.get(value.key) for value in wrt_values]


def gradients_of_free_parameters(loss: Any, excluded: Container[Node]) -> dict[Parameter, Any]:
    """Return the gradients of all parameters that a loss depends on, but not ``excluded`` ones."""
    nodes = set(ancestors([loss]) if isinstance(loss, Symbolic) else [])
    read = {node for node in nodes if isinstance(node.op, ParameterLeaf)}
    noted = running_session()
    for node, versions in noted.versions.items() if noted is not None else ():
        if any(version.node in nodes for version in versions):
            read.add(node)
    free = [node for node in read if node not in excluded]
    ps = [Parameter(node) for node in sorted(free, key=lambda node: node.serial)]
    floating = [p for p in ps if p.dtype.is_float]
    pairs = zip(floating, gradients_or_none(loss, floating), strict=True)
    gradients = {p: slope for p, slope in pairs if slope is not None}
    if not gradients:
        raise ArgumentError(
            "minimize: the loss depends on no parameter that is free",
            hint='sg.parameter("w", array), outside of the function, makes one\n'
            "one that this call has updated before is not free\n"
            "one of integers or bools has no gradient",
        )
    return gradients


def pull_back_stably(
    seeded_outputs: Sequence[tuple[Symbolic, Any]], targets: Sequence[Symbolic]
) -> list[Any]:
    """Pull cotangents back as ``pull_back`` does, through formulas that are stable already."""
    outputs = [y for y, _ in seeded_outputs]
    cotangents = _sweep_formulas(
        cone_between(outputs, targets), outputs, [ct for _, ct in seeded_outputs], targets
    )
    return [cotangents.get(target.key) for target in targets]


def _check_paths(
    cone: Cone, seeded_outputs: Sequence[tuple[Symbolic, Any]], missing: Sequence[Symbolic]
) -> None:
    """Refuse a value to differentiate by that has no differentiable path to the outputs as written.

    If only the stable formula has no path, the value does not matter: its gradient is zero.
    """
    sweep = _GraphSweep(cone, {value.key for value in missing})
    cotangents = sweep.run(seeded_outputs)
    for value in missing:
        if cotangents.get(value.key) is None:
            raise disconnected_error(seeded_outputs[-1][0], value, sweep.ends)


def pull_back(
    seeded_outputs: Sequence[tuple[Symbolic, Symbolic]], targets: Sequence[Symbolic]
) -> list[Symbolic | None]:
    """Return the cotangent of each target (None: no path), for outputs with cotangents."""
    cone = cone_between([y for y, _ in seeded_outputs], targets)
    cotangents = _GraphSweep(cone, {target.key for target in targets}).run(seeded_outputs)
    return [cotangents.get(target.key) for target in targets]


def transpose_linear(
    linear: Callable[[Sequence[Any]], Sequence[tuple[Any, Any]]], kinds: Sequence[TensorType | None]
) -> tuple[Any, ...]:
    """Transpose a linear function: the cotangent of each operand; None for operands without a type.

    ``linear`` gives results with their cotangents, for operands of these types. Nothing of the
    results reads the operands but a rule that is not linear on paper, hence they are zeros.
    """
    stand_ins = [None if kind is None else zeros_like_type(kind) for kind in kinds]
    targets: Any = [stand_in for stand_in in stand_ins if stand_in is not None]
    seeded_results = linear(stand_ins)
    cotangents = iter(
        pull_back(seeded_results, targets) if seeded_results and targets else [None] * len(targets)
    )
    return tuple(None if stand_in is None else next(cotangents) for stand_in in stand_ins)


def _transpose_push(
    push: Callable[[tuple[Any, ...]], Any], args: Sequence[Symbolic], ct: Symbolic
) -> tuple[Any, ...]:
    kinds = [arg.type if arg.dtype.is_float else None for arg in args]
    return transpose_linear(lambda tangents: [(push(tuple(tangents)), ct)], kinds)


TRANSPOSES[Symbolic] = _transpose_push


class _GraphSweep(Sweep[Node, ValueKey]):
    """The backward walk over a cone, and the cotangents of the targets."""

    def __init__(
        self, cone: Cone, asked: set[ValueKey], same: Mapping[Node, Node] | None = None
    ) -> None:
        super().__init__()
        self.cone, self.asked, self.same = cone, asked, same or {}
        self.regions = Regions(cone.nodes)
        bodies = {type(node.op): node.op for node in cone.nodes if isinstance(node.op, BodyOp)}
        self.loops = tuple(bodies.values())  # one of each kind
        self.ends: set[tuple[ValueKey, Node]] = set()

    def run(self, seeded_outputs: Iterable[tuple[Symbolic, Symbolic]]) -> dict[ValueKey, Any]:
        seeds = ((y.key, seed) for y, seed in seeded_outputs if y.key in self.cone.active)
        self.through(seeds, reversed(self.cone.nodes))
        return self.cotangents

    def visit(self, node: Node) -> None:
        """Visit a node in reverse order; a duplicate hands its cotangent to the node it repeats."""
        first = self.same.get(node)
        if first is None:
            with within(node.origin):
                super().visit(node)
            return
        for key, of_first in zip(self.results(node), self.results(first), strict=True):
            ct = self.take_cotangent(key)
            if ct is not None:
                self.add(of_first, ct)

    def results(self, node: Node) -> list[ValueKey]:
        return [(node, index) for index in range(len(node.types))]

    def operands(self, node: Node) -> list[ValueKey]:
        return [arg.key for arg in node.args]

    def needs_grad(self, key: ValueKey | None) -> bool:
        return key in self.cone.active

    def shares(self, node: Node, cts: Sequence[Any], needed: tuple[bool, ...]) -> tuple[Any, ...]:
        """Apply the op's vjp rule to the cotangents of a node, with unsaved values recomputed.

        Sums over all iterations of a loop are those of blocks of iterations.
        """
        outs, args = self.regions.values_for_rule(node)
        if all(needed) and node.op.is_gram(node.args, self.asked):
            gram_cotangent = widen_cotangent(resolve(cts[0]))
            cts, needed = [gram_cotangent + swapaxes(gram_cotangent, -1, -2)], (False, True)
        contributions = shares_of(node.op, cts, outs, args, needed)
        for op in self.loops:
            contributions = tuple(map(op.summed_in_blocks, contributions))
        return contributions

    def fitting(self, share: Any, key: ValueKey, node: Node) -> Any:
        return fitting(share, Symbolic(*key), node)

    def note_blocked(self, key: ValueKey, node: Node) -> None:
        self.ends.add((key, node))

    def take_cotangent(self, key: ValueKey | None) -> Any:
        """Remove and return a value's pending cotangent, unresolved: it does not depend on other
        targets.
        """
        assert key is not None
        ct = self.pending.pop(key, None)
        if ct is None:
            return None
        node, index = key
        ct = in_dtype_of(ct, node.types[index])
        if key in self.asked:
            self.cotangents[key] = resolve(ct)
        return ct


def fitting(
    share: Any, arg: Symbolic, node: Node, what: str = "vjp gives a cotangent {} for an operand {}"
) -> Any:
    """Return a cotangent contribution with the type of its operand; sizes equal by a guard are
    renamed.
    """
    if isinstance(share, float) and share == ZERO:  # a rule that hands on an unused cotangent
        return zeros_like_type(arg.type)
    if share.type == arg.type:
        return share
    fits = share.type.dtype is arg.dtype and len(share.type.shape) == arg.ndim
    sizes = zip(share.type.shape, arg.shape, strict=False)
    if not fits or not all(equal(a, b, f"sizes {a} and {b} must agree") for a, b in sizes):
        raise OpDefinitionError(
            f"{rule_name(node.op)}: {what.format(share.type, arg.type)}", at=node.origin
        )
    return reshape(resolve(share), arg.shape)


def or_zeros(derivative: Value | None, value: Symbolic) -> Value:
    """Return ``derivative``, or zeros of the type of ``value`` if it is None."""
    if derivative is not None:
        return derivative
    with within(value.node.origin):
        return zeros_like_type(value.type)


def _check_output(y: Any, seed: Any) -> None:
    """Refuse to differentiate what is not floating-point, or not scalar and has no seed."""
    if not isinstance(y, Symbolic):
        raise not_a_value(y)
    check_floating([y], "of")
    if seed is None and any(size != 1 for size in y.shape):
        raise GradientError(
            f"{value_name(y)} is {y.type}, not one element: its gradient needs a seed",
            hint="the loss comes first, then what to differentiate by: sg.grad(loss, w)"
            if y.node.is_leaf
            else "reduce it first, y.sum(), or pass seed= with the cotangent of y",
            related=[("of", str(y.type), y.node.origin)],
        )
