"""Substitution: values of a graph built once more over other values and other sizes.

Bodies of loops and branches are closed: what they read of outside are operands of the loop, and a
body is copied only where a named size in it is another, or where its lines get a scope. The rest is
as ``copies.py`` says.

A named size of the replaced types may become another size. It is replaced throughout, in types, in
attributes of ops and in bodies, so all that reads it outside of what is replaced must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from staticgrad.errors import SizeGuardError, StaticgradError
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import Key, NodeCopies, rebuild, same_values
from staticgrad.language.ir.graph import (
    Graph,
    Input,
    Node,
    ParameterLeaf,
    Symbolic,
    guards_of,
)
from staticgrad.language.ir.nodes import ModuleCall, describe
from staticgrad.language.ir.op import Op, map_attributes, result_types
from staticgrad.language.types.arrays import TensorType
from staticgrad.language.types.dim import (
    Dim,
    Named,
    Size,
    Sizes,
    at_least,
    bounds,
    divide_exactly,
    equal,
    named_sizes,
    substitute_size,
)
from staticgrad.support.building import within
from staticgrad.support.source import Location
from staticgrad.support.traversal import reach


def substitute_type(kind: TensorType, sizes: Sizes) -> TensorType:
    """Return a type with other sizes in place of named ones."""
    shape = tuple([substitute_size(extent, sizes) for extent in kind.shape])
    return kind if shape == kind.shape else kind.with_shape(shape)


# -- sizes of replaced types ----------------------------------------------------------------------


class SizeSolver:
    """The named sizes of replaced types, as the types that take their places have them."""

    def __init__(self, fixed: Iterable[Named] = ()) -> None:
        """Solve for all named sizes but ``fixed`` ones, which stay as they are."""
        self._fixed = {*fixed}
        self.sizes: dict[Named, Size] = {named: Dim({(named,): 1}) for named in self._fixed}

    def solve(self, pairs: Sequence[tuple[TensorType, TensorType]]) -> None:
        """Find the sizes by pairs of a replaced type and another of its rank.

        The first number is preferred to the first named size. Sums and multiples of one unknown
        size are solved once all sizes that are axes of their own have a value. What has no solution
        stays.
        """
        axes = [axis for old, new in pairs for axis in zip(old.shape, new.shape, strict=True)]
        for extent, size in axes:
            named = _single_name(extent)
            if named is None or named in self._fixed:
                continue
            earlier = self.sizes.get(named)
            if earlier is None or (isinstance(size, int) and not isinstance(earlier, int)):
                self.sizes[named] = size
        for extent, size in axes:
            unknown = [named for named in named_sizes(extent) if named not in self.sizes]
            if len({*unknown}) == 1:
                solution = _solve_linear(extent, unknown[0], size, self.sizes)
                if solution is not None:
                    self.sizes[unknown[0]] = solution

    def changes(self) -> dict[Named, Size]:
        """Return the sizes that become others; check the bounds that they were declared with.

        Raises:
            SizeGuardError: a size that is outside of the bounds, or may be.
        """
        changed = {n: size for n, size in self.sizes.items() if not _is_itself(n, size)}
        for named, size in changed.items():
            broken = _broken_bound(named, size)
            if broken:
                raise SizeGuardError(
                    f"size {named.name!r} becomes {size}, and is declared with {broken}",
                    hint=f"declare the other one so, too: sg.dim(name, {broken})"
                    if isinstance(size, Dim)
                    else "",
                )
        return changed


def _single_name(size: Size) -> Named | None:
    """Return the named size that a size is, if it is nothing else."""
    if isinstance(size, int) or len(size.terms) != 1:
        return None
    ((monomial, factor),) = size.terms
    is_name = factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Named)
    return monomial[0] if is_name else None  # type: ignore[return-value]


def _is_itself(named: Named, size: Size) -> bool:
    return _single_name(size) == named


def _solve_linear(extent: Size, unknown: Named, size: Size, sizes: Sizes) -> Size | None:
    """Solve ``extent == size`` for one named size in which the extent is linear."""
    at_zero = substitute_size(extent, {**sizes, unknown: 0})
    slope = substitute_size(extent, {**sizes, unknown: 1}) - at_zero
    at_two = substitute_size(extent, {**sizes, unknown: 2})
    if slope == 0 or at_two - at_zero != 2 * slope:
        return None
    return divide_exactly(size - at_zero, slope)


def _broken_bound(named: Named, size: Size) -> str:
    """Return a bound of a named size that another one may not meet, as it was declared."""
    low, high = bounds(size)
    if named.min and (low is None or low < named.min):
        return f"min={named.min}"
    if named.max is not None and (high is None or high > named.max):
        return f"max={named.max}"
    if named.multiple_of > 1 and size % named.multiple_of != 0:
        return f"multiple_of={named.multiple_of}"
    return ""


# -- copies of nodes ------------------------------------------------------------------------------


class Substitution(NodeCopies):
    """Copies of the nodes that depend on replaced values or sizes, and of updates of modules."""

    def __init__(
        self,
        new: Mapping[Key, Symbolic],
        sizes: Sizes,
        relocate: Callable[[Location], Location] | None = None,
    ) -> None:
        """``new`` has the replaced values, ``sizes`` the sizes that change.

        With ``relocate`` every node is copied, to the line that it gives for the node's.
        """
        super().__init__(new)
        self._sizes, self._relocate = sizes, relocate
        self._bodies: dict[Graph, Graph] = {}
        self._calls: dict[ModuleCall, ModuleCall] = {}
        self._calls_behind: set[ModuleCall] = set()

    def apply(self, roots: Sequence[Symbolic]) -> list[Symbolic]:
        """Return the values over what replaces the others.

        The updates of modules that were called to build them are made by the copies, too.

        Raises:
            StaticgradError: of an op that does not take the other sizes.
            SizeGuardError: sizes on whose equality the nodes depend differ.
        """
        nodes = self._collect_nodes(roots)
        if self._sizes:
            check_guards(nodes, self._sizes)
        calls = self._changed_calls(nodes)
        for node in nodes:
            self._copy_node(node, not calls.isdisjoint(node.calls))
        for old, new in self._calls.items():
            new.updates = [(p, self.value(value)) for p, value in old.updates]
        return [self.value(root) for root in roots]

    def _further_roots(self, node: Node) -> Sequence[Symbolic]:
        """Return the updates of modules that were called to build a node."""
        calls = [call for call in node.calls if call not in self._calls_behind]
        self._calls_behind.update(calls)
        return [value for call in calls for _, value in call.updates]

    def _changed_calls(self, nodes: Sequence[Node]) -> set[ModuleCall]:
        """Return the calls of modules of which a node is copied: their others are copied, too.

        Else a graph would make the updates of the original call and those of the copy.
        """
        changed: set[ModuleCall] = set()
        count = -1
        while count < len(changed) and any(node.calls for node in nodes):
            count = len(changed)
            copied = {node for node, _ in self._new}
            for node in nodes:
                if (
                    any(arg.node in copied for arg in node.args)
                    or not changed.isdisjoint(node.calls)
                    or (self._sizes and self.op(node.op) is not node.op)
                ):
                    copied.add(node)
                    changed.update(node.calls)
        return changed

    def _copy_node(self, node: Node, always: bool = False) -> None:
        """Copy a node if it reads what changed, or a size that does, or ``always``."""
        if isinstance(node.op, Input | ParameterLeaf):
            return
        args = self._operands(node)
        op = self.op(node.op) if self._sizes or self._relocate else node.op
        same = op is node.op and same_values(args, node.args)
        if same and not always and self._relocate is None:
            return
        origin = self._relocate(node.origin) if self._relocate else node.origin
        types = _infer(op, args, origin, node.order) if self._sizes else node.types
        copy = rebuild(node, args, op=op, types=types, origin=origin)
        copy.verified = bool(self._sizes) or (node.verified and op is node.op)
        copy.calls = tuple([self._calls.setdefault(call, ModuleCall()) for call in node.calls])
        self._add_copy(node, copy)

    def op(self, op: Op) -> Op:
        """Return an op over the other sizes; its bodies, too."""
        return map_attributes(op, self._change_attribute)

    def _change_attribute(self, leaf: Any) -> Any:
        """Return a size or a body over the other sizes; what has none as it is."""
        if isinstance(leaf, Dim):
            size = substitute_size(leaf, self._sizes)
            return leaf if size == leaf else size
        if isinstance(leaf, Graph):
            if leaf not in self._bodies:
                self._bodies[leaf] = self._body(leaf)
            return self._bodies[leaf]
        return leaf

    def _body(self, body: Graph) -> Graph:
        """Return a body over the other sizes, its nodes at their new lines."""
        mentioned = self._sizes.keys() & {*body.sizes.values()}
        if not mentioned and self._relocate is None:
            return body
        inputs = [
            body_input(
                value.node.label,
                substitute_type(value.type, self._sizes),
                value.node.origin,
                value.node.order,
            )
            for value in body.inputs
        ]
        new = {old.key: value for old, value in zip(body.inputs, inputs, strict=True)}
        inner = Substitution(new, self._sizes, self._relocate)
        outputs = inner.apply([*body.outputs.values()])
        return body_of(inputs, dict(zip(body.outputs, outputs, strict=True)))


def substitute_op(op: Op, sizes: Sizes) -> Op:
    """Return an op with other sizes in place of named ones."""
    return Substitution({}, sizes).op(op) if sizes else op


def _infer(
    op: Op, args: Sequence[Symbolic], origin: Location, order: int
) -> tuple[TensorType, ...]:
    """Infer the types of a copy; an error has the line of the node."""
    with within(origin, order):
        try:
            inferred = result_types(op, [arg.type for arg in args])
        except StaticgradError as error:
            raise error.with_related([describe(arg, k) for k, arg in enumerate(args)]) from None
    return (inferred,) if isinstance(inferred, TensorType) else inferred


def check_guards(nodes: Iterable[Node], sizes: Sizes) -> None:
    """Check the conditions on sizes under which nodes hold, with the sizes that change.

    Conditions that a run has to check are derived anew from the copies of the nodes. An axis of
    one element would be repeated instead, so a size that must equal another may not become 1.

    Raises:
        SizeGuardError: a condition that does not hold, or not by the copies.
    """
    for guard, node in guards_of(nodes):
        left, right = substitute_size(guard.left, sizes), substitute_size(guard.right, sizes)
        if (left, right) == (guard.left, guard.right):
            continue
        if guard.relation == "==":
            holds = equal(left, right, guard.text) and (left == right or 1 not in (left, right))
        else:
            holds = at_least(left, right, guard.text)
        if not holds:
            names = {*named_sizes(guard.left), *named_sizes(guard.right)}
            raise SizeGuardError(
                guard.text,
                details=[
                    f"{named.name} becomes {sizes[named]}"
                    for named in sorted(names, key=lambda named: named.name)
                    if named in sizes
                ],
                at=node.origin,
            )


def inputs_behind(roots: Sequence[Symbolic], replaced: Iterable[Key]) -> list[Node]:
    """Return the inputs that values read otherwise than through replaced values."""
    stop = {*replaced}

    def select_unreplaced(values: Iterable[Symbolic]) -> list[Node]:
        return [value.node for value in values if value.key not in stop]

    nodes = reach(select_unreplaced(roots), lambda node: select_unreplaced(node.args))
    return [node for node in nodes if isinstance(node.op, Input)]
