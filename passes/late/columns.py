"""Recompute cheap formulas in their readers: shifted ones, and those of sums across rows.

The gradient of a difference of neighbours adds a few formulas of them, each shifted by one element.
Stored as values, they would be written by one kernel and read by another. But a shifted formula is
the formula of its shifted operands. If the operands are in memory anyway, one kernel reads them at
shifted indices, with zero beyond the borders. Results stay bitwise identical.

The sum whose gradient this is has fewer terms than the gradient has elements. It can run over as
many if it adds -0.0 after its last term, or after the last ones of both its steps, which changes no
bit (``staticgrad.language.ir.summation``). Then one kernel computes both, and reads the array once.

Sums across rows of cheap formulas compute the formulas themselves. A formula that only a sum across
rows reads, and that shares a part with other values, would be stored for the sum by the kernel of
that part. If it is cheap, and reads one or two arrays that are in memory anyway, the sum gets
copies of its nodes: no array is stored and read, and the same operations run over the same
operands, so results stay bitwise identical. (The gradient of a batch norm sums two products of its
normalized input, each computed from two arrays.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.cycles import instructions
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import Pointwise, Reduce, View
from staticgrad.language.ir.graph import Graph, Node, Symbolic, replace_traced
from staticgrad.language.ir.summation import decompose
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.convert import SizeValue
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Pad
from staticgrad.language.ops.movement import Broadcast, Reshape
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.ops.selection import where
from staticgrad.language.types.arrays import Shape, hint_product, product
from staticgrad.language.types.dim import Size, bounds
from staticgrad.language.types.dtype import I64
from staticgrad.support import fuses
from staticgrad.support.building import within
from staticgrad.support.config import limits
from staticgrad.support.traversal import reach

#: Most instructions that a sum recomputes.
_MOST_INSTRUCTIONS: Final = 12
#: Most arrays that it reads for them: storing and reading the formula moves the bytes of three.
_MOST_ARRAYS: Final = 2


@late_pass("recomputed-formulas", priced=True)
def copy_formulas_of_sums(graph: Graph) -> Graph:
    """Rewrite each sum across rows to read a copy of its cheap formula's nodes."""
    if not any(_sums_across(node) for node in graph.nodes):
        return graph
    formulas = _Formulas(graph)

    def copy_formula(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        formula = formulas.find_formula(node) if _sums_across(node) else None
        if formula is None:
            return None
        copies: dict[Node, Node] = {}
        copied = _copy_nodes(node.args[0], args[0], formula, copies)
        return rebuild(node, (copied,)).values

    rewritten_graph = replace_traced(graph, copy_formula)
    return graph if rewritten_graph is graph else rewritten_graph.without_dead_nodes()


def _sums_across(node: Node) -> bool:
    """Return whether a node reduces leading axes only, so that vectors run along its result."""
    form = node.form
    if not isinstance(form, Reduce):
        return False
    rows, columns = decompose(node.args[0].ndim, form.axes)
    return bool(columns) and not rows


def _copy_nodes(
    old: Symbolic, new: Symbolic, formula: Mapping[Node, None], copies: dict[Node, Node]
) -> Symbolic:
    """Copy the nodes of an elementwise formula into the graph, for one reader."""
    if old.node not in formula:
        return new
    if old.node not in copies:
        node = new.node
        pairs = zip(old.node.args, node.args, strict=True)
        args = tuple([_copy_nodes(old_arg, new_arg, formula, copies) for old_arg, new_arg in pairs])
        copies[old.node] = rebuild(node, args)
    return copies[old.node].values[old.index]


class _Formulas:
    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}

    def find_formula(self, node: Node) -> Mapping[Node, None] | None:
        """Find the nodes of a cheap formula that this pass may copy for a sum, or None."""
        (value,) = node.args
        first = value.node
        large = hint_product(value.shape) >= limits().stored_formula
        if not large or not self._may_be_copied(first, node):
            return None

        def is_inside(arg: Symbolic) -> bool:
            return arg.shape == value.shape and self._may_be_copied(arg.node, node)

        formula: dict[Node, None] = {}
        arrays: set[ValueKey] = set()
        for member in reach([first], lambda n: [a.node for a in n.args if is_inside(a)]):
            formula[member] = None
            bases = [_base_of_views(arg) for arg in member.args if not is_inside(arg)]
            arrays |= {base.key for base in bases if product(base.shape) == product(value.shape)}
            if sum(map(instructions, formula)) > _MOST_INSTRUCTIONS or len(arrays) > _MOST_ARRAYS:
                return None
        has_one_reader = tuple(self._users[first, 0]) == (node,)
        users = [user for member in formula for user in self._users[member, 0]]
        shared = any(user is not node and user not in formula for user in users)
        return formula if shared and (has_one_reader or len(arrays) < _MOST_ARRAYS) else None

    def _may_be_copied(self, node: Node, reader: Node) -> bool:
        """Return True if this pass may copy a node: elementwise, in its reader's phase, not stored.

        It is not an output, and all its users are elementwise or reductions.
        """
        form = node.form
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or len(node.types) > 1:
            return False
        if not node.args or node.order != reader.order or (node, 0) in self._roots:
            return False
        return all(isinstance(user.form, Pointwise | Reduce) for user in self._users[node, 0])


def _base_of_views(value: Symbolic) -> Symbolic:
    while value.node.args and isinstance(value.node.form, View):
        value = value.node.args[0]
    return value


@late_pass("shifted-formulas", keeps="close")
def shift_formulas(graph: Graph) -> Graph:
    """Rewrite pads of cheap formulas as formulas of padded operands (shifted stencils)."""
    if not graph.has(Pad):
        return graph
    shifting = _FormulaShifter(graph)

    def rewrite(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if isinstance(node.op, Pad):
            return shifting.shift_pad(node)
        return shifting.extend_sum(node) if isinstance(node.op, Sum) else None

    return graph.replace_nodes(rewrite).without_dead_nodes()


class _FormulaShifter:
    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._padded_values: dict[tuple[Pad, int], dict[ValueKey, Symbolic]] = {}
        self._dependents: dict[Node, set[Node]] = {}
        self._order = {node: number for number, node in enumerate(graph.nodes)}
        #: By the shape of the padded value: the pads that formulas replace.
        self._pads: dict[Shape, list[Node]] = {}
        for node in graph.nodes:
            if isinstance(node.op, Pad) and _is_plain(node) and node.types[0].dtype.is_float:
                self._pads.setdefault(node.args[0].shape, []).append(node)

    def shift_pad(self, node: Node) -> tuple[Symbolic] | None:
        """Rewrite a pad of a cheap formula as the formula of padded operands; None if not."""
        pad, (value,) = node.op, node.args
        assert isinstance(pad, Pad)
        if any(step != 1 for step in pad.steps):
            return None
        formula = self._find_shiftable(value)
        if formula is None:
            return None
        zero = False if value.dtype.is_bool else 0.0 if value.dtype.is_float else 0
        return (self._build_formula(formula, node, pad, value, zero),)

    def _build_formula(
        self,
        formula: Sequence[Node],
        node: Node,
        pad: Pad,
        value: Symbolic,
        outside: bool | int | float,
        order: int | None = None,
    ) -> Symbolic:
        """Build the nodes of a formula over padded operands, with ``outside`` in the border."""
        order = node.order if order is None else order
        padded_values = self._padded_values.setdefault((pad, order), {})
        with within(node.origin, order):
            for member in formula:
                if (member, 0) not in padded_values:
                    args = [_pad_operand(pad, arg, padded_values) for arg in member.args]
                    padded_values[member, 0] = cast(Symbolic, member.op(*args))
            inside, result = _inside_test(pad, value), padded_values[value.key]
            if inside is None:
                return result
            return cast(Symbolic, where(inside, result, outside))

    def extend_sum(self, node: Node) -> tuple[Symbolic] | None:
        """Rewrite a sum over a formula as one over a pad's shape, to share a kernel; or None."""
        (value,) = node.args
        op = node.op
        assert isinstance(op, Sum)
        if value.shape not in self._pads or not value.dtype.is_float or value.dtype.is_storage:
            return None
        formula = self._find_shiftable(value)
        if formula is None or value.ndim - 1 not in op.axes:
            return None
        arrays = _leaves_read(formula)
        # Terms may be added only behind the last ones: at the end of the outermost axes.
        outermost = {axes[0] for axes in decompose(value.ndim, op.axes) if axes}
        for pad_node in self._pads[value.shape]:
            padded_shape = pad_node.types[0].shape
            trimmed = [axis for axis, size in enumerate(value.shape) if size != padded_shape[axis]]
            if not outermost.issuperset(trimmed):
                continue
            padded = self._find_shiftable(pad_node.args[0])
            if padded is None or not arrays & _leaves_read(padded) or self._depends(pad_node, node):
                continue
            pad = Pad(padded_shape, (0,) * value.ndim, (1,) * value.ndim)
            terms = self._build_formula(formula, node, pad, value, -0.0, pad_node.order)
            with within(node.origin, pad_node.order):
                total = cast(Symbolic, op(terms))
                return (_fix_empty_sum(total, [value.shape[axis] for axis in op.axes]),)
        return None

    def _depends(self, node: Node, reader: Node) -> bool:
        """Return True if a pad, or a value of its shape computed from it, depends on another node.

        Then one kernel cannot compute both.
        """
        dependents = self._dependents_of(reader)
        return node in dependents or any(
            dependent in dependents and dependent.types[0].shape == node.types[0].shape
            for dependent in self._dependents_of(node)
        )

    def _dependents_of(self, node: Node) -> set[Node]:
        """Return all nodes that depend on a node, cached."""
        if node not in self._dependents:
            self._dependents[node] = {*reach(self._readers_of(node), self._readers_of)}
        return self._dependents[node]

    def _readers_of(self, node: Node) -> list[Node]:
        return [user for index in range(len(node.types)) for user in self._users[node, index]]

    def _find_shiftable(self, value: Symbolic) -> Sequence[Node] | None:
        """Find the nodes of a cheap formula that this pass may shift, or None."""
        # Return the nodes of a formula in order; None if the value is not a cheap one, or if
        # another reader needs it in memory.
        formula: dict[Node, None] = {}
        read: set[ValueKey] = set()
        pending = [value]
        while pending:
            operand = pending.pop()
            if operand.node in formula or operand.ndim == 0 or _is_number(operand):
                continue
            if _base_of_views(operand).node.is_leaf:
                if operand.shape != value.shape:  # its axes of one element are not to be padded
                    return None
                read.add(operand.key)
                continue
            form = operand.node.form
            plain = isinstance(form, Pointwise) and not form.indexed and not form.sizes
            if not (
                plain and isinstance(operand.node.op, Elementwise) and operand.shape == value.shape
            ):
                return None
            formula[operand.node] = None
            if len(formula) > fuses.FORMULA_NODES:
                return None
            pending += operand.node.args
        if not formula or not self._is_read_by_elements(value):
            return None
        pads = len(self._pads.get(value.shape, ()))
        flops = sum(node.op.flops for node in formula)
        if flops * pads > limits().formula_flops or len(read) * pads > limits().formula_reads:
            return None
        return sorted(formula, key=self._order.__getitem__)

    def _is_read_by_elements(self, value: Symbolic) -> bool:
        readers = self._users[value.key]
        elements = all(isinstance(r.form, Pointwise | Reduce) or _is_plain(r) for r in readers)
        return elements and value.key not in self._roots


def _leaves_read(formula: Sequence[Node]) -> set[Node]:
    args = [arg for node in formula for arg in node.args if arg.ndim and not _is_number(arg)]
    return {base for base in (_base_of_views(arg).node for arg in args) if base.is_leaf}


def _fix_empty_sum(total: Symbolic, sizes: Sequence[Size]) -> Symbolic:
    """Rewrite a sum to give 0.0 in place of -0.0 if one of the summed sizes is 0."""
    open_sizes = [size for size in sizes if (bounds(size)[0] or 0) < 1]
    if not open_sizes:
        return total
    tests: list[Value] = [SizeValue(size, I64)() > 0 for size in open_sizes]
    has_elements = reduce(lambda a, b: a & b, tests)
    return cast(Symbolic, where(has_elements, total, 0.0))


def _is_plain(node: Node) -> bool:
    return isinstance(node.op, Pad) and all(step == 1 for step in node.op.steps)


def _is_number(value: Symbolic) -> bool:
    while not value.node.is_leaf and isinstance(value.node.op, Broadcast | Reshape):
        value = value.node.args[0]
    return value.ndim == 0


def _pad_operand(pad: Pad, arg: Symbolic, padded_values: dict[ValueKey, Symbolic]) -> Symbolic:
    """Build the pad node of an operand of a shifted formula; a number is broadcast instead."""
    if arg.key not in padded_values:
        if arg.ndim == 0:
            return arg
        if _is_number(arg):
            number = arg
            while number.ndim:
                number = number.node.args[0]
            padded_values[arg.key] = cast(Symbolic, Broadcast(pad.shape, ())(number))
        else:
            padded_values[arg.key] = cast(Symbolic, pad(arg))
    return padded_values[arg.key]


def _inside_test(pad: Pad, value: Symbolic) -> Value | None:
    """Build the graph's condition that an index is inside of a padded value; None if always."""
    # The borders are sizes, not literals, so that one kernel serves arrays of any length.
    tests: list[Value] = []
    sizes = zip(pad.starts, value.shape, pad.shape, strict=True)
    for axis, (start, size, padded_size) in enumerate(sizes):
        at = Iota(pad.shape, axis, I64)
        if start != 0:
            tests.append(at() >= SizeValue(start, I64)())
        if start + size != padded_size:
            tests.append(at() < SizeValue(start + size, I64)())
    return reduce(lambda a, b: a & b, tests) if tests else None
