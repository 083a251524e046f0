"""Sums across rows of cheap formulas, which compute the formulas themselves.

A formula that a sum across rows alone wants, and shares a part with others, would be stored for it
by the kernel of that part. Where it is cheap, and reads one or two arrays of what is there anyway,
the sum gets nodes of its own for it: no array is stored and read, and the same operations run over
the same operands, so no byte changes. (The gradient of a batch norm sums two products of its
normalized input, each of which is computed of two arrays.) Where rows are reduced as well, the sum
rather belongs into the kernel of those rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from staticgrad.analysis.kernel_costs import instructions
from staticgrad.analysis.users import ValueKey, users_of
from staticgrad.ir.forms import Pointwise, Reduce, View
from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.summation import decompose
from staticgrad.types.tensor import hint_product, product

#: Instructions that a sum computes for itself, at most.
_MOST_INSTRUCTIONS: Final = 12
#: Arrays that it reads for that, at most: storing one and reading it again moves as much as three.
_MOST_ARRAYS: Final = 2
#: Elements of an array from which on it takes time to store it.
_LEAST_ELEMENTS: Final = 1 << 13


def with_formulas_of_sums(graph: Graph) -> Graph:
    """The graph, its sums across rows with such formulas to themselves."""
    if not any(_sums_across(node) for node in graph.nodes):
        return graph
    formulas = _Formulas(graph)

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        formula = formulas.of(node) if _sums_across(node) else None
        if formula is None:
            return None
        made: dict[Node, Node] = {}
        copied = _copied(node.args[0], args[0], formula, made)
        return Node(node.op, (copied,), node.types, node.origin, node.order).values

    found = graph.replace_nodes(rewritten)
    return graph if found is graph else found.without_dead_nodes()


def _sums_across(node: Node) -> bool:
    """Whether a node reduces leading axes alone, so that vectors run over what it gives."""
    form = node.form
    if not isinstance(form, Reduce):
        return False
    rows, rest = decompose(node.args[0].ndim, form.axes)
    return bool(rest) and not rows


def _copied(
    old: Symbolic, new: Symbolic, formula: Mapping[Node, None], made: dict[Node, Node]
) -> Symbolic:
    """A value of a formula by nodes of its own; ``new`` is what it is in the new graph."""
    if old.node not in formula:
        return new
    if old.node not in made:
        node = new.node
        pairs = zip(old.node.args, node.args, strict=True)
        args = tuple([_copied(one, other, formula, made) for one, other in pairs])
        made[old.node] = Node(node.op, args, node.types, node.origin, node.order)
    return made[old.node].values[old.index]


class _Formulas:
    """Asks about the formulas of one graph."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._parts: dict[Node, Node] = {}  # of elementwise nodes that read each other: the way up
        self._by_rows: set[Node] = set()  # the first nodes of those parts where rows are reduced
        for node in graph.nodes:
            if isinstance(node.form, Pointwise):
                for arg in node.args:
                    if self._reads_element(node, arg):
                        self._join(node, arg.node)
        for node in graph.nodes:
            for arg in node.args:
                if self._is_by_rows(node, arg):
                    read = arg.node if isinstance(node.form, Reduce) else node
                    self._by_rows.add(self._first(read))

    def of(self, node: Node) -> Mapping[Node, None] | None:
        """The nodes that a sum had better compute itself; None where there are none."""
        (value,) = node.args
        first = value.node
        large = hint_product(value.shape) >= _LEAST_ELEMENTS
        if not large or not self._may_be_copied(first, node):
            return None
        if self._first(first) in self._by_rows:
            return None
        formula: dict[Node, None] = {first: None}
        arrays: dict[ValueKey, None] = {}
        waiting = [first]
        while waiting:
            for arg in waiting.pop().args:
                if arg.shape == value.shape and self._may_be_copied(arg.node, node):
                    if arg.node not in formula:
                        formula[arg.node] = None
                        waiting.append(arg.node)
                elif _elements(arg) == product(value.shape):
                    arrays[_base(arg).key] = None
            if sum(map(instructions, formula)) > _MOST_INSTRUCTIONS or len(arrays) > _MOST_ARRAYS:
                return None
        alone = tuple(self._users[first, 0]) == (node,)
        shared = any(user is not node and user not in formula for user in self._all_users(formula))
        return formula if shared and (alone or len(arrays) < _MOST_ARRAYS) else None

    def _all_users(self, formula: Mapping[Node, None]) -> list[Node]:
        return [user for node in formula for user in self._users[node, 0]]

    def _may_be_copied(self, node: Node, reader: Node) -> bool:
        """Whether a node is elementwise, of the reader's phase, and no array that is there anyway:
        for who does not read it by elements."""
        form = node.form
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or len(node.types) > 1:
            return False
        if not node.args or node.order != reader.order or (node, 0) in self._roots:
            return False
        return all(isinstance(user.form, Pointwise | Reduce) for user in self._users[node, 0])

    # -- what is one kernel with rows that are reduced ---------------------------------------------

    def _reads_element(self, node: Node, arg: Symbolic) -> bool:
        """Whether two nodes are elementwise over the same domain, in one phase."""
        alike = arg.shape == node.types[0].shape and arg.node.order == node.order
        return alike and isinstance(arg.node.form, Pointwise)

    def _is_by_rows(self, node: Node, arg: Symbolic) -> bool:
        """Whether a node reduces rows, or reads one element for each."""
        if isinstance(node.form, Reduce):
            return arg.ndim > 0 and not _sums_across(node)
        if not isinstance(node.form, Pointwise) or arg.ndim == 0:
            return False
        base = _base(arg)
        narrow = arg is not base and base.ndim > 0 and arg.shape[-1] != 1
        return narrow and (base.shape[-1] == 1 or base.shape[-1] != arg.shape[-1])

    def _first(self, node: Node) -> Node:
        while (up := self._parts.get(node, node)) is not node:
            self._parts[node] = self._parts.get(up, up)
            node = up
        return node

    def _join(self, one: Node, other: Node) -> None:
        self._parts[self._first(one)] = self._first(other)


def _base(value: Symbolic) -> Symbolic:
    """What a view is of."""
    while value.node.args and isinstance(value.node.form, View):
        value = value.node.args[0]
    return value


def _elements(value: Symbolic) -> object:
    """How many elements lie behind a value."""
    return product(_base(value).shape)
