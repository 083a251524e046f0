"""Cheap formulas that are recomputed where they are read: shifted ones, and those of sums.

The gradient of a difference of neighbours adds a few formulas of them, each shifted by a place.
Stored as values, they would be written by one kernel and read by another. But a shifted formula is
the formula of its shifted operands. If the operands are in memory anyway, one kernel reads them at
shifted positions, with zero beyond the borders. Results stay bitwise identical.

The sum whose gradient this is runs over fewer elements than the gradient has. It can run over all
of them if it adds -0.0 after its last term, or after the last ones of both its steps, which changes
no bit (``staticgrad.language.ir.summation``). Then one kernel computes both, and reads the array
once.

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

from staticgrad.analysis.cost import instructions
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.forms import Pointwise, Reduce, View
from staticgrad.language.ir.graph import Graph, Node, Symbolic
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
from staticgrad.support.building import within

#: Most instructions that a sum recomputes.
_MOST_INSTRUCTIONS: Final = 12
#: Most arrays that it reads for that: storing an array and reading it moves as much as three.
_MOST_ARRAYS: Final = 2
#: Elements from which storing an array takes noticeable time.
_LEAST_ELEMENTS: Final = 1 << 13


def with_formulas_of_sums(graph: Graph) -> Graph:
    """Return the graph in which sums across rows have copies of such formulas."""
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
    """Return whether a node reduces leading axes only, so that vectors run along its result."""
    form = node.form
    if not isinstance(form, Reduce):
        return False
    rows, rest = decompose(node.args[0].ndim, form.axes)
    return bool(rest) and not rows


def _copied(
    old: Symbolic, new: Symbolic, formula: Mapping[Node, None], made: dict[Node, Node]
) -> Symbolic:
    if old.node not in formula:
        return new
    if old.node not in made:
        node = new.node
        pairs = zip(old.node.args, node.args, strict=True)
        args = tuple([_copied(one, other, formula, made) for one, other in pairs])
        made[old.node] = Node(node.op, args, node.types, node.origin, node.order)
    return made[old.node].values[old.index]


class _Formulas:
    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}

    def of(self, node: Node) -> Mapping[Node, None] | None:
        (value,) = node.args
        first = value.node
        large = hint_product(value.shape) >= _LEAST_ELEMENTS
        if not large or not self._may_be_copied(first, node):
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
        users = [user for each in formula for user in self._users[each, 0]]
        shared = any(user is not node and user not in formula for user in users)
        return formula if shared and (alone or len(arrays) < _MOST_ARRAYS) else None

    def _may_be_copied(self, node: Node, reader: Node) -> bool:
        """Return whether a node is elementwise, in the reader's phase, and not stored anyway: no
        output, and all its users are elementwise or reductions."""
        form = node.form
        if not isinstance(form, Pointwise) or form.indexed or form.sizes or len(node.types) > 1:
            return False
        if not node.args or node.order != reader.order or (node, 0) in self._roots:
            return False
        return all(isinstance(user.form, Pointwise | Reduce) for user in self._users[node, 0])


def _base(value: Symbolic) -> Symbolic:
    while value.node.args and isinstance(value.node.form, View):
        value = value.node.args[0]
    return value


def _elements(value: Symbolic) -> object:
    return product(_base(value).shape)


#: Operations per element of a formula that is computed again, and its nodes, at most: one more
#: array through memory takes about as long.
MOST_FLOPS: Final = 24
MOST_NODES: Final = 16
#: The same for all the pads that it would be computed for: one that is computed once is stored once
#: and read as often.
MOST_TOGETHER: Final = 80
#: Operands that are read from memory for all those pads, at most: each read has ends of its own.
#: The gradient of a stencil of five points would read 25, in five times the time.
MOST_READ: Final = 12


def with_shifted_formulas(graph: Graph) -> Graph:
    """The graph with its pads of cheap formulas as formulas of pads, where those lie in memory."""
    if not graph.has(Pad):
        return graph
    shifting = _Shifting(graph)

    def rewritten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if isinstance(node.op, Pad):
            return shifting.shifted(node)
        return shifting.summed(node) if isinstance(node.op, Sum) else None

    return graph.replace_nodes(rewritten).without_dead_nodes()


class _Shifting:
    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._made: dict[tuple[Pad, int], dict[ValueKey, Symbolic]] = {}
        self._later: dict[Node, set[Node]] = {}
        self._order = {node: number for number, node in enumerate(graph.nodes)}
        #: Of the shape of what is padded: the pads that formulas take the place of.
        self._pads: dict[Shape, list[Node]] = {}
        for node in graph.nodes:
            if isinstance(node.op, Pad) and _is_plain(node) and node.types[0].dtype.is_float:
                self._pads.setdefault(node.args[0].shape, []).append(node)

    def shifted(self, node: Node) -> tuple[Symbolic] | None:
        pad, (value,) = node.op, node.args
        assert isinstance(pad, Pad)
        if any(step != 1 for step in pad.steps):
            return None
        formula = self._formula(value)
        if formula is None:
            return None
        zero = False if value.dtype.is_bool else 0.0 if value.dtype.is_float else 0
        return (self._made_of(formula, node, pad, value, zero),)

    def _made_of(
        self,
        formula: Sequence[Node],
        node: Node,
        pad: Pad,
        value: Symbolic,
        outside: bool | int | float,
        order: int | None = None,
    ) -> Symbolic:
        order = node.order if order is None else order
        made = self._made.setdefault((pad, order), {})
        with within(node.origin, order):
            for each in formula:
                if (each, 0) not in made:
                    args = [_padded(pad, arg, made) for arg in each.args]
                    made[each, 0] = cast(Symbolic, each.op(*args))
            inside, result = _inside(pad, value), made[value.key]
            if inside is None:
                return result
            return cast(Symbolic, where(inside, result, outside))

    def summed(self, node: Node) -> tuple[Symbolic] | None:
        (value,) = node.args
        op = node.op
        assert isinstance(op, Sum)
        if value.shape not in self._pads or not value.dtype.is_float or value.dtype.is_storage:
            return None
        formula = self._formula(value)
        if formula is None or value.ndim - 1 not in op.axes:
            return None
        arrays = _arrays(formula)
        # Terms that are added behind the last ones lie at the end of the outermost axes alone.
        outermost = {axes[0] for axes in decompose(value.ndim, op.axes) if axes}
        for other in self._pads[value.shape]:
            whole = other.types[0].shape
            trimmed = [axis for axis, size in enumerate(value.shape) if size != whole[axis]]
            if not outermost.issuperset(trimmed):
                continue
            padded = self._formula(other.args[0])
            if padded is None or not arrays & _arrays(padded) or self._waits(other, node):
                continue
            pad = Pad(whole, (0,) * value.ndim, (1,) * value.ndim)
            terms = self._made_of(formula, node, pad, value, -0.0, other.order)
            with within(node.origin, other.order):
                total = cast(Symbolic, op(terms))
                return (_of_nothing(total, [value.shape[axis] for axis in op.axes]),)
        return None

    def _waits(self, node: Node, other: Node) -> bool:
        """Return whether a pad, or a value of its shape computed from it, depends on another
        node: then one kernel cannot compute both."""
        behind = self._behind(other)
        return node in behind or any(
            each in behind and each.types[0].shape == node.types[0].shape
            for each in self._behind(node)
        )

    def _behind(self, node: Node) -> set[Node]:
        if node not in self._later:
            found: set[Node] = set()
            waiting = [node]
            while waiting:
                each = waiting.pop()
                users = {
                    user for index in range(len(each.types)) for user in self._users[each, index]
                }
                waiting += users - found
                found |= users
            self._later[node] = found
        return self._later[node]

    def _formula(self, value: Symbolic) -> Sequence[Node] | None:
        # None where a value is none, or where others want it in memory.
        found: dict[Node, None] = {}
        read: set[ValueKey] = set()
        waiting, flops = [value], 0
        while waiting:
            each = waiting.pop()
            if each.node in found or each.ndim == 0 or _is_number(each):
                continue
            if _base(each).node.is_leaf:
                if each.shape != value.shape:  # its axes of one element are not to be padded
                    return None
                read.add(each.key)
                continue
            form = each.node.form
            plain = isinstance(form, Pointwise) and not form.indexed and not form.sizes
            if not (plain and isinstance(each.node.op, Elementwise) and each.shape == value.shape):
                return None
            found[each.node] = None
            flops += each.node.op.flops
            if flops > MOST_FLOPS or len(found) > MOST_NODES:
                return None
            waiting += each.node.args
        if not found or not self._is_read_by_elements(value):
            return None
        pads = len(self._pads.get(value.shape, ()))
        if flops * pads > MOST_TOGETHER or len(read) * pads > MOST_READ:
            return None
        return sorted(found, key=self._order.__getitem__)

    def _is_read_by_elements(self, value: Symbolic) -> bool:
        readers = self._users[value.key]
        elements = all(isinstance(r.form, Pointwise | Reduce) or _is_plain(r) for r in readers)
        return elements and value.key not in self._roots


def _arrays(formula: Sequence[Node]) -> set[Node]:
    args = [arg for node in formula for arg in node.args if arg.ndim and not _is_number(arg)]
    return {base for base in (_base(arg).node for arg in args) if base.is_leaf}


def _of_nothing(total: Symbolic, sizes: Sequence[Size]) -> Symbolic:
    """Return a sum over axes of these sizes: 0.0, not -0.0, where one of them has no element."""
    open_sizes = [size for size in sizes if (bounds(size)[0] or 0) < 1]
    if not open_sizes:
        return total
    tests: list[Value] = [SizeValue(size, I64)() > 0 for size in open_sizes]
    any_there = reduce(lambda one, other: one & other, tests)
    return cast(Symbolic, where(any_there, total, 0.0))


def _is_plain(node: Node) -> bool:
    return isinstance(node.op, Pad) and all(step == 1 for step in node.op.steps)


def _is_number(value: Symbolic) -> bool:
    while not value.node.is_leaf and isinstance(value.node.op, Broadcast | Reshape):
        value = value.node.args[0]
    return value.ndim == 0


def _padded(pad: Pad, arg: Symbolic, made: dict[ValueKey, Symbolic]) -> Symbolic:
    if arg.key not in made:
        if arg.ndim == 0:
            return arg
        if _is_number(arg):
            number = arg
            while number.ndim:
                number = number.node.args[0]
            made[arg.key] = cast(Symbolic, Broadcast(pad.shape, ())(number))
        else:
            made[arg.key] = cast(Symbolic, pad(arg))
    return made[arg.key]


def _inside(pad: Pad, value: Symbolic) -> Value | None:
    # The borders are sizes, not numbers, so that one kernel serves arrays of any length.
    tests: list[Value] = []
    sizes = zip(pad.starts, value.shape, pad.shape, strict=True)
    for axis, (start, size, whole) in enumerate(sizes):
        at = Iota(pad.shape, axis, I64)
        if start != 0:
            tests.append(at() >= SizeValue(start, I64)())
        if start + size != whole:
            tests.append(at() < SizeValue(start + size, I64)())
    return reduce(lambda one, other: one & other, tests) if tests else None
