"""Gradients of minima and maxima by label: sums of the chosen rows, in place of one-hot products.

The gradient of ``min`` over an axis is zero everywhere but at the smallest elements. What it is
multiplied by and summed over, as in k-means, reads one row of many::

    %1 = gt(%x, broadcast(%min))                 %1 = index of the smallest element of each row
    %2 = where(%1, 0.0, broadcast(%g))       ->  %2 = scatter_add{size=k}(%g * %a, %1)
    %3 = matmul{transpose_a=True}(%2, %a)

Elements that equal the smallest one share its gradient. So the index is the sum of the indices of
such elements, which is right where there is one in each row. A branch takes the rows by label if
that holds everywhere, and multiplies as before if it does not, or if there is a NaN.

Zeros of derivatives are not multiplied: what is infinite or NaN in a row that is not chosen makes
no result NaN. Sums add up the same terms in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final, cast

from passes.late.base import late_pass
from passes.rewrite import number_of
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild, rebuild_all
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ops.arithmetic import Add, Div, Mul, Neg, Sub
from staticgrad.language.ops.basic import where
from staticgrad.language.ops.contract import MatMul
from staticgrad.language.ops.convert import Cast, astype, size_value
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import ScatterIntoAxis, Take
from staticgrad.language.ops.logic import Gt, LogicalNot, Lt, greater, logical_or
from staticgrad.language.ops.loops import Branch
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.reduce import Extreme, Max, Sum
from staticgrad.language.ops.selection import Where
from staticgrad.language.types.arrays import Shape, hint_product, hint_value, product
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import F32, I32, I64, DType
from staticgrad.support.building import here, within
from staticgrad.support.records import dataclass, replace
from staticgrad.support.traversal import operands_first, reach

#: Elements of a row from which on labels pay: sums over the differences of 10,000 points of two
#: numbers and 8 centroids take 1.1 to 1.3 times as long without them (Zen 4, 2026-12).
_LONG_ROW: Final = 8
#: Multiplications of a product that a label replaces, at least. K-means of 10,000 points takes
#: without labels 1.4 times as long for 10 centroids of 16 numbers, 1.1 for 16 of 16, 32 of 8 and 64
#: of 4; for 16 of 10, 32 of 5, 8 of 20 and 8 of 2 it takes 0.9, 0.9, 0.8 and 0.7 of the time.
_MANY_OF_A_ROW: Final = 256
#: Columns of a product that are computed together; fewer take as long.
_COLUMNS: Final = 8
#: Multiplications of a whole product or sum, at least: a branch takes about a microsecond.
_MANY: Final = 1 << 15
#: The role of an axis along which labels are positions.
_LABEL: Final = -1


@late_pass("one-hot-products", keeps="close")
def sum_by_label(graph: Graph) -> Graph:
    """Rewrite products with gradients of minima and maxima as sums of rows by their labels."""
    if not graph.has(Extreme):
        return graph
    rewriter = _Rewriter(graph)
    if not rewriter.consumers:
        return graph
    return graph.replace_nodes(rewriter.rewrite).without_dead_nodes()


# -- arrays with one element of each row ----------------------------------------------------------


#: A value, as its node and its index, and the roles of its axes.
_Place = tuple[Node, int, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class _Entries:
    """An array of zeros with some elements, whose positions along one axis are labels.

    ``elements`` has the axes of ``labels``, and behind them axes of its own.
    """

    labels: Symbolic
    elements: Symbolic
    layout: _Layout

    def select(self, dense: Symbolic, roles: Sequence[int], stored: Set[object]) -> Symbolic:
        """Return the elements of another array at the places of the entries.

        Its axes have these roles. The result broadcasts to the shape of ``elements``. What is
        computed element by element is so of selected elements, but for what ``stored`` contains.
        """
        below: dict[_Place, list[_Place]] = {}

        def operands(place: _Place) -> list[_Place]:
            node, index, of_axes = place
            value = node.values[index]
            of_operands = None
            if value.key not in stored and self._has_label(value, of_axes):
                of_operands = _operand_roles(node, of_axes)
            below[place] = [
                (*arg.key, tuple(of_arg))
                for arg, of_arg in zip(node.args, of_operands or (), strict=False)
            ]
            return below[place]

        selected: dict[_Place, Symbolic] = {}
        top = (*dense.key, tuple(roles))
        for place in operands_first([top], operands):
            node, index, of_axes = place
            value = node.values[index]
            args = [selected[operand] for operand in below[place]]
            if args:
                is_view = not isinstance(node.op, Elementwise)
                selected[place] = args[0] if is_view else cast(Symbolic, node.op(*args))
            elif self._has_label(value, of_axes):
                selected[place] = self._gather(value, of_axes)
            else:
                selected[place] = _place_axes(value, of_axes, self.elements.ndim)
        return selected[top]

    @staticmethod
    def _has_label(value: Symbolic, roles: Sequence[int]) -> bool:
        """Return whether positions along an axis of an array are labels."""
        pairs = zip(roles, value.shape, strict=True)
        return any(role == _LABEL and not _is_one(size) for role, size in pairs)

    def _gather(self, dense: Symbolic, roles: Sequence[int]) -> Symbolic:
        """Return the elements of an array in memory at the places of the entries."""
        count = self.labels.ndim
        outer = [axis for axis, role in enumerate(roles) if role < count]
        inner = sorted(set(range(dense.ndim)) - set(outer), key=lambda axis: roles[axis])
        matrix = _transpose(dense, (*outer, *inner))
        inner_sizes = [dense.shape[axis] for axis in inner]
        rows = _reshape(matrix, (product(dense.shape[axis] for axis in outer), *inner_sizes))
        places = self._places([roles[axis] for axis in outer], [dense.shape[a] for a in outer])
        selected: Any = Take(0, inside=True)(rows, places)
        sizes: list[Size] = [1] * self.elements.ndim
        sizes[:count] = self.labels.shape
        for axis in inner:
            sizes[roles[axis]] = dense.shape[axis]
        return _reshape(selected, tuple(sizes))

    def _places(self, roles: Sequence[int], sizes: Sequence[Size]) -> Symbolic:
        """Return the positions of the entries in an array whose axes have these roles, flat."""
        places: Any = None
        for role, size in zip(roles, sizes, strict=True):
            shape = self.labels.shape
            along: Any = self.labels if role == _LABEL else Iota(shape, role, I64)()
            if _is_one(size):
                continue
            places = along if places is None else places * _as_number(size) + along
        return cast(Symbolic, places)

    def to_dense(self) -> Symbolic:
        """Return the array: rows that are added up by label, or sums of those without one."""
        count, elements = self.labels.ndim, self.elements
        roles, sizes = self.layout.roles, self.layout.sizes
        hidden = tuple(axis for axis in range(elements.ndim) if axis not in roles)
        if _LABEL in roles:
            hidden = tuple(axis for axis in hidden if axis >= count)
        total = cast(Symbolic, Sum(hidden)(elements)) if hidden else elements
        remaining = [axis for axis in range(elements.ndim) if axis not in hidden]
        if _LABEL not in roles:
            order = [remaining.index(role) for role in roles]
            return _reshape(_transpose(total, order), self.layout.shape)
        outer = [axis for axis, role in enumerate(roles) if role < count]
        inner = [axis for axis in range(len(roles)) if axis not in outer]
        inner.sort(key=lambda axis: roles[axis])
        outer_sizes = [sizes[axis] for axis in outer]
        places = self._places([roles[axis] for axis in outer], outer_sizes)
        number = product(self.labels.shape)
        rows = _reshape(total, (number, *total.shape[count:]))
        scatter = ScatterIntoAxis(0, product(outer_sizes), inside=True)
        sums = cast(Symbolic, scatter(rows, _reshape(places, (number,))))
        axes = [*outer, *inner]
        arrays = _reshape(sums, tuple([sizes[axis] for axis in axes]))
        arrays = _transpose(arrays, [axes.index(axis) for axis in range(len(axes))])
        return _reshape(arrays, self.layout.shape)

    def multiply(self, op: MatMul, position: int, dense: Symbolic, layout: _Layout) -> _Entries:
        """Return a product with another array, of which ``position`` is this one."""
        rank = self.elements.ndim
        column: Any = _reshape(self.elements, (*self.elements.shape, 1))
        wider = _Entries(self.labels, column, self.layout)
        of_dense = self.layout.of_factor(op, position, dense.shape, rank)
        factor: Any = wider.select(_reshape(dense, of_dense.sizes), of_dense.roles, set())
        return _Entries(self.labels, column * factor, layout)


@dataclass(frozen=True)
class _Layout:
    """The axes of an array of entries, each of one or several axes that are merged.

    The role of an axis is the axis of the elements that it is, or ``_LABEL``.
    """

    axes: tuple[tuple[int, ...], ...]
    parts: tuple[Shape, ...]

    @property
    def roles(self) -> tuple[int, ...]:
        """The roles of the axes before they are merged."""
        return tuple([role for axis in self.axes for role in axis])

    @property
    def sizes(self) -> Shape:
        """The sizes of the axes before they are merged."""
        return tuple([size for part in self.parts for size in part])

    @property
    def shape(self) -> Shape:
        return tuple([product(part) for part in self.parts])

    def choose(self, axes: Iterable[int]) -> _Layout:
        """Return the layout of some of the axes, in this order."""
        order = [*axes]
        return _Layout(tuple(self.axes[a] for a in order), tuple(self.parts[a] for a in order))

    def broadcast(self, op: Broadcast, rank: int) -> _Layout:
        """Return the layout behind a broadcast of entries whose elements have ``rank`` axes."""
        axes: list[tuple[int, ...]] = []
        parts: list[Shape] = []
        for axis, size in enumerate(op.shape):
            if axis in op.axes:
                axes.append(self.axes[op.axes.index(axis)])
                parts.append(self.parts[op.axes.index(axis)])
            else:
                axes.append((rank,))
                parts.append((size,))
                rank += 1
        return _Layout(tuple(axes), tuple(parts))

    def merge(self, shape: Shape) -> _Layout | None:
        """Return the layout behind a reshape, if that merges whole axes."""
        axes: list[tuple[int, ...]] = []
        parts: list[Shape] = []
        remaining = [*zip(self.axes, self.parts, strict=True)]
        for size in shape:
            axis: tuple[int, ...] = ()
            part: Shape = ()
            while remaining and (not part or product(part) != size):
                of_axis, of_part = remaining.pop(0)
                axis, part = (*axis, *of_axis), (*part, *of_part)
            if product(part) != size or not part:
                return None
            axes.append(axis)
            parts.append(part)
        return None if remaining else _Layout(tuple(axes), tuple(parts))

    def of_operand(self, shape: Shape) -> _Layout:
        """Return the layout of an array that broadcasts to this one."""
        axes = self.axes[len(self.axes) - len(shape) :]
        parts = self.parts[len(self.axes) - len(shape) :]
        pairs = [*zip(shape, axes, parts, strict=True)]
        return _Layout(axes, tuple((1,) * len(a) if _is_one(n) else part for n, a, part in pairs))

    def of_factor(self, op: MatMul, position: int, shape: Shape, rank: int) -> _Layout:
        """Return the layout of the other factor of a product; the role of its free axis is rank."""
        free, inner = _matrix_axes(op, 1 - position, len(shape))
        _, contracted = _matrix_axes(op, position, len(self.axes))
        axes: list[tuple[int, ...]] = []
        parts: list[Shape] = []
        for axis, size in enumerate(shape):
            source = contracted if axis == inner else axis + len(self.axes) - len(shape)
            if axis == free or _is_one(size):
                axes.append((rank,) if axis == free else (0,))
                parts.append((size,))
            else:
                axes.append(self.axes[source])
                parts.append(self.parts[source])
        return _Layout(tuple(axes), tuple(parts))

    def multiply(self, op: MatMul, position: int, out: Shape, rank: int) -> _Layout:
        """Return the layout of a product with another array, whose free axis gets the role rank."""
        free, _ = _matrix_axes(op, position, len(self.axes))
        axes = [*self.axes[:-2], self.axes[free]]
        parts = [*self.parts[:-2], self.parts[free]]
        place = len(axes) - position
        axes.insert(place, (rank,))
        parts.insert(place, (out[place],))
        return _Layout(tuple(axes), tuple(parts))


def _matrix_axes(op: MatMul, position: int, rank: int) -> tuple[int, int]:
    """Return the axis of a factor that its product has, and the one that is summed over."""
    transposed = (op.transpose_a, op.transpose_b)[position]
    rows, inner = (rank - 2, rank - 1) if position == 0 else (rank - 1, rank - 2)
    return (inner, rows) if transposed else (rows, inner)


def _operand_roles(node: Node, roles: Sequence[int]) -> list[Sequence[int]] | None:
    """Return the roles of the axes of a node's operands, if it is elementwise or a view."""
    op = node.op
    if len(node.types) != 1 or not node.args:
        return None
    if isinstance(op, Elementwise):
        form = node.form
        if not isinstance(form, Pointwise) or form.indexed or form.sizes:
            return None
        return [roles[len(roles) - arg.ndim :] for arg in node.args]
    if isinstance(op, Broadcast):
        return [[roles[axis] for axis in op.axes]]
    if isinstance(op, Transpose):
        below = [0] * len(roles)
        for axis, source in enumerate(op.perm):
            below[source] = roles[axis]
        return [below]
    if isinstance(op, Reshape):
        (x,) = node.args
        sizes = [
            (size, role) for size, role in zip(op.shape, roles, strict=True) if not _is_one(size)
        ]
        if [size for size, _ in sizes] != [size for size in x.shape if not _is_one(size)]:
            return None
        remaining = iter(sizes)
        return [[0 if _is_one(size) else next(remaining)[1] for size in x.shape]]
    return None


def _place_axes(x: Symbolic, roles: Sequence[int], rank: int) -> Symbolic:
    """Return an array with its long axes at the places that are their roles, among ``rank``."""
    if x.ndim == 0:
        return x
    long_axes = [axis for axis, size in enumerate(x.shape) if not _is_one(size)]
    order = sorted(long_axes, key=lambda axis: roles[axis])
    sizes: list[Size] = [1] * rank
    for axis in order:
        sizes[roles[axis]] = x.shape[axis]
    others = [axis for axis in range(x.ndim) if axis not in long_axes]
    return _reshape(_transpose(x, [*others, *order]), tuple(sizes))


def _transpose(x: Symbolic, perm: Sequence[int]) -> Symbolic:
    return x if [*perm] == [*range(x.ndim)] else cast(Symbolic, Transpose(tuple(perm))(x))


def _reshape(x: Symbolic, shape: Shape) -> Symbolic:
    return x if x.shape == shape else cast(Symbolic, Reshape(shape)(x))


def _repeat(x: Symbolic, shape: Shape) -> Symbolic:
    """Return an array repeated to a shape that it broadcasts to."""
    axes = tuple(range(len(shape) - x.ndim, len(shape)))
    return x if x.shape == shape else cast(Symbolic, Broadcast(shape, axes)(x))


def _as_number(size: Size) -> Any:
    return size if isinstance(size, int) else size_value(size, I64)


def _is_one(size: Size) -> bool:
    return isinstance(size, int) and size == 1


# -- gradients of minima and maxima ---------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Choice:
    """A minimum or maximum over one axis, and the mask of elements that it did not choose."""

    node: Node
    mask: Node

    @property
    def layout(self) -> _Layout:
        """The layout of gradients of it."""
        (axis,) = cast(Extreme, self.node.op).axes
        (source,) = self.node.args
        roles = [*range(axis), _LABEL, *range(axis, source.ndim - 1)]
        return _Layout(tuple((role,) for role in roles), tuple((n,) for n in source.shape))


@dataclass(frozen=True, eq=False)
class _Labels:
    """The indices of what was chosen, and whether several elements of a row were."""

    values: Symbolic
    tie: Symbolic
    #: The array that was chosen from.
    source: Symbolic


@dataclass(frozen=True, eq=False)
class _Term:
    """A gradient of one choice, of which an array is the sum."""

    choice: _Choice
    layout: _Layout
    #: The number of axes of the elements.
    rank: int


class _Rewriter:
    """Rewrites products and sums of gradients of minima and maxima, if nothing else reads these."""

    def __init__(self, graph: Graph) -> None:
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        self._args: dict[Node, tuple[Symbolic, ...]] = {}
        self._labels: dict[Node, _Labels] = {}
        #: The node that counts the elements that a mask leaves -> their choice.
        self._counts: dict[Node, _Choice] = {}
        #: Gradients, and what is computed of them -> the gradients that they are sums of.
        self._terms: dict[Node, list[_Term]] = {}
        #: Products and sums of gradients -> the position of the gradient.
        self.consumers: dict[Node, int] = {}
        for node in graph.nodes:
            if isinstance(node.op, Gt | Lt):
                self._add_choice(node)
        if self._counts:
            self._choose_consumers(graph)

    def _add_choice(self, mask: Node) -> None:
        """Note a mask of the elements that a minimum or maximum did not choose, if it is one."""
        x, repeated = mask.args
        if not isinstance(repeated.node.op, Broadcast):
            return
        node = repeated.node.args[0].node
        expected = Lt if isinstance(node.op, Max) else Gt
        if not (isinstance(node.op, Extreme) and isinstance(mask.op, expected)):
            return
        (source,) = node.args
        if not (_is_same(source, x) and len(node.op.axes) == 1 and x.ndim > 1):
            return
        axes = tuple(axis for axis in range(x.ndim) if axis not in node.op.axes)
        if repeated.node.op.axes != axes or _row_length(node) < _LONG_ROW:
            return
        for chosen in self._users[mask, 0]:
            if isinstance(chosen.op, LogicalNot):
                for number in self._users[chosen, 0]:
                    for count in self._users[number, 0]:
                        is_sum = isinstance(count.op, Sum) and count.op.axes == node.op.axes
                        if isinstance(number.op, Cast) and is_sum:
                            self._counts[count] = _Choice(node, mask)
                            return

    def _choose_consumers(self, graph: Graph) -> None:
        """Find what reads gradients; leave out choices whose gradients something else reads."""
        refused: set[_Choice] = set()
        while True:
            choices = {c.mask: c for c in self._counts.values() if c not in refused}
            self._terms.clear()
            self.consumers.clear()
            for node in graph.nodes:
                terms = self._terms_of(node, choices)
                if terms is not None:
                    self._terms[node] = terms
                elif (position := self._position_in_consumer(node)) is not None:
                    self.consumers[node] = position
            newly_refused = {
                term.choice
                for node, terms in self._terms.items()
                if (node, 0) in self._roots
                or any(
                    user not in self._terms and user not in self.consumers
                    for user in self._users[node, 0]
                )
                for term in terms
            }
            paying = {
                term.choice
                for node, position in self.consumers.items()
                for term in self._terms[node.args[position].node]
                if self._replaces_many(node, term)
            }
            for terms in self._terms.values():
                if not any(term.choice in paying for term in terms):
                    newly_refused.update(term.choice for term in terms)
            if not newly_refused:
                return
            refused |= newly_refused

    def _replaces_many(self, node: Node, term: _Term) -> bool:
        """Return whether labels replace many multiplications of a product or sum."""
        labels = term.choice.node.types[0]
        position = self.consumers[node]
        gradient = node.args[position]
        if isinstance(node.op, MatMul):
            _, inner = _matrix_axes(node.op, position, gradient.ndim)
            elements = hint_product((*node.types[0].shape, gradient.shape[inner]))
            row = _row_length(term.choice.node)
            work = elements // row * (-(-row // _COLUMNS) * _COLUMNS)
            return work >= max(_MANY, _MANY_OF_A_ROW * hint_product(labels.shape))
        return term.rank > labels.rank and hint_product(gradient.shape) >= _MANY

    def _terms_of(self, node: Node, choices: dict[Node, _Choice]) -> list[_Term] | None:
        """Return the gradients that a node's result is a sum of; None if it is something else."""
        op = node.op
        if len(node.types) != 1 or not _adds_in_place(node.types[0].dtype):
            return None
        shape = node.types[0].shape
        sparse = [arg.node in self._terms for arg in node.args]
        if isinstance(op, Where):
            mask, zeros, _ = node.args
            is_zero = number_of(zeros) == 0 and node.order > 0  # of a user they are numbers
            if mask.node in choices and is_zero and not sparse[2]:
                choice = choices[mask.node]
                if mask.shape == shape:
                    return [_Term(choice, choice.layout, len(choice.layout.axes) - 1)]
            zero = 1 if sparse[2] else 2
            if sum(sparse) != 1 or sparse[0] or number_of(node.args[zero]) != 0:
                return None
            return self._terms_in_place(node.args[3 - zero], shape)
        if not any(sparse):
            return None
        first = node.args[0]
        if isinstance(op, Add | Sub) and all(sparse):
            if not all(arg.shape == shape for arg in node.args):
                return None
            return [term for arg in node.args for term in self._terms[arg.node]]
        if isinstance(op, Neg | Cast) or (isinstance(op, Div) and sparse == [True, False]):
            return self._terms_in_place(first, shape)
        if isinstance(op, Mul) and sum(sparse) == 1:
            return self._terms_in_place(node.args[sparse.index(True)], shape)
        if isinstance(op, Broadcast):
            if any(n != shape[a] for n, a in zip(first.shape, op.axes, strict=True)):
                return None
            new_axes = len(shape) - first.ndim
            return [
                _Term(t.choice, t.layout.broadcast(op, t.rank), t.rank + new_axes)
                for t in self._terms[first.node]
            ]
        if isinstance(op, Transpose):
            return [
                _Term(t.choice, t.layout.choose(op.perm), t.rank) for t in self._terms[first.node]
            ]
        if isinstance(op, Reshape):
            terms = []
            for term in self._terms[first.node]:
                layout = term.layout.merge(shape)
                if layout is None:
                    return None
                terms.append(_Term(term.choice, layout, term.rank))
            return terms
        return None

    def _terms_in_place(self, arg: Symbolic, shape: Shape) -> list[_Term] | None:
        return self._terms[arg.node] if arg.shape == shape else None

    def _position_in_consumer(self, node: Node) -> int | None:
        """Return which operand of a product or sum is a gradient; None if none can be by label."""
        op = node.op
        sparse = [arg.node in self._terms for arg in node.args]
        if isinstance(op, Sum):
            return 0 if sparse[0] else None
        if not isinstance(op, MatMul) or sum(sparse) != 1:
            return None
        position = sparse.index(True)
        x, dense = node.args[position], node.args[1 - position]
        _, inner = _matrix_axes(op, position, x.ndim)
        if x.shape[:-2] != node.types[0].shape[:-2]:
            return None
        for term in self._terms[x.node]:
            labels = term.choice.node.types[0].rank
            if any(role >= labels for role in term.layout.axes[inner]):
                return None
        return position if dense.dtype is x.dtype else None

    # -- the graph that is built

    def rewrite(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a product or sum as a branch: by labels, or of the gradient as it was."""
        self._args[node] = args
        if node in self._counts:
            choice = self._counts[node]
            with within(node.origin, choice.node.order):
                self._labels[choice.mask], count = _find_labels(choice, node, args)
            return (count,)
        if node not in self.consumers:
            return None
        terms = self._terms[node.args[self.consumers[node]].node]
        found_labels = [self._labels.get(term.choice.mask) for term in terms]
        with within(node.origin, node.order):
            is_tie: Any = None
            for labels in found_labels:
                if labels is None:
                    return None  # the gradient does not hang on the number of ties
                is_tie = labels.tie if is_tie is None else logical_or(is_tie, labels.tie)
            index: Any = astype(is_tie, I64)
            result = self._result_by_label(node)
            first = index.node.serial
            computed = _nodes_since(result.node, first)
            dense_nodes = self._find_dense_nodes(node)
            reads = [arg for n in computed for arg in n.args if arg.node.serial <= first]
            for n in dense_nodes:
                new_args = zip(n.args, self._args[n], strict=True)
                reads += [new for old, new in new_args if old.node not in dense_nodes]
            operands = {arg.key: arg for arg in reads if not isinstance(arg.node.op, Constant)}
            cases = (
                _build_body(computed, result, operands),
                self._build_dense_body(node, dense_nodes, operands),
            )
            return (cast(Symbolic, Branch(cases)(index, *operands.values())),)

    def _result_by_label(self, node: Node) -> Symbolic:
        """Compute a product or sum of gradients by labels."""
        op, position = node.op, self.consumers[node]
        stored = {labels.source.key for labels in self._labels.values()}
        results = []
        for entries in self._find_entries(node.args[position].node, stored):
            if isinstance(op, MatMul):
                dense = self._args[node][1 - position]
                rank = entries.elements.ndim
                layout = entries.layout.multiply(op, position, node.types[0].shape, rank)
                entries = entries.multiply(op, position, dense, layout)
            else:
                axes = cast(Sum, op).axes
                remaining = [a for a in range(len(entries.layout.axes)) if a not in axes]
                entries = replace(entries, layout=entries.layout.choose(remaining))
            results.append(entries.to_dense())
        total: Any = results[0]
        for result in results[1:]:
            total = total + result
        return cast(Symbolic, total)

    def _find_entries(self, top: Node, stored: Set[object]) -> list[_Entries]:
        """Return the entries of a gradient, or of what is computed of gradients."""
        entries: dict[Node, list[_Entries]] = {}
        for node in operands_first([top], self._gradients_read):
            terms = self._terms[node]
            below = [e for read in self._gradients_read(node) for e in entries[read]]
            if below:
                entries[node] = [
                    self._apply(node, position, of_term, term, stored)
                    for position, (of_term, term) in enumerate(zip(below, terms, strict=True))
                ]
            else:
                (term,) = terms
                labels = self._labels[term.choice.mask].values
                start = _Entries(labels, labels, term.layout)
                chosen = start.select(self._args[node][2], term.layout.roles, stored)
                entries[node] = [replace(start, elements=_repeat(chosen, labels.shape))]
        return entries[top]

    def _gradients_read(self, node: Node) -> list[Node]:
        return [arg.node for arg in node.args if arg.node in self._terms]

    def _apply(
        self, node: Node, position: int, entries: _Entries, term: _Term, stored: Set[object]
    ) -> _Entries:
        """Apply an op to the entries of one term of its operands, the one at ``position``."""
        op, elements = node.op, entries.elements
        if isinstance(op, Broadcast):
            sizes = dict(zip(term.layout.roles, term.layout.sizes, strict=True))
            new_sizes = [sizes[role] for role in range(elements.ndim, term.rank)]
            columns = _reshape(elements, (*elements.shape, *[1] * len(new_sizes)))
            elements = _repeat(columns, (*elements.shape, *new_sizes))
        elif isinstance(op, Neg | Cast):
            elements = cast(Symbolic, op(elements))
        elif isinstance(op, Mul | Div | Where):
            operands = [
                elements if old.node in self._terms else self._select_operand(entries, new, stored)
                for old, new in zip(node.args, self._args[node], strict=True)
            ]
            elements = _repeat(cast(Symbolic, op(*operands)), elements.shape)
        elif isinstance(op, Sub) and position >= len(self._terms[node.args[0].node]):
            elements = cast(Symbolic, Neg()(elements))
        return _Entries(entries.labels, elements, term.layout)

    @staticmethod
    def _select_operand(entries: _Entries, dense: Symbolic, stored: Set[object]) -> Symbolic:
        """Return the elements of an operand at the places of entries."""
        layout = entries.layout.of_operand(dense.shape)
        return entries.select(_reshape(dense, layout.sizes), layout.roles, stored)

    def _find_dense_nodes(self, node: Node) -> dict[Node, None]:
        """Return what computes a product or sum as before, but for what is in memory."""
        terms = self._terms[node.args[self.consumers[node]].node]
        sources = [term.choice.node.args[0] for term in terms]
        stored = {source.node for source in sources}
        least = min(hint_product(source.shape) for source in sources)

        def operands(inner: Node) -> list[Node]:
            return [
                arg.node
                for arg in inner.args
                if arg.node not in stored
                and (
                    arg.node in self._terms
                    or (
                        len(arg.node.types) == 1
                        and bool(arg.node.args)
                        and hint_product(arg.shape) >= least
                        and _operand_roles(arg.node, range(arg.ndim)) is not None
                    )
                )
            ]

        nodes = sorted(reach([node], operands), key=lambda n: n.serial)
        return dict.fromkeys(nodes)

    def _build_dense_body(
        self, node: Node, dense_nodes: Mapping[Node, None], operands: Mapping[Any, Symbolic]
    ) -> Graph:
        """Build the body that computes a product or sum as before."""
        inputs = _new_inputs(operands)
        new: dict[Any, Symbolic] = {}
        for inner in dense_nodes:
            for old, arg in zip(inner.args, self._args[inner], strict=True):
                if old.node not in dense_nodes:
                    new[old.key] = inputs.get(arg.key, arg)
        rebuild_all(dense_nodes, new, order=node.order)
        return body_of(inputs.values(), {"y0": new[node, 0]})


def _adds_in_place(dtype: DType) -> bool:
    """Return whether sums of this type are added up in it: narrow floats are summed in float32."""
    return dtype.is_float and dtype.itemsize >= F32.itemsize


def _is_same(x: Symbolic, y: Symbolic) -> bool:
    """Return whether two values are the same, or computed once more of the same operands."""
    if x.key == y.key:
        return True
    same_operands = [arg.key for arg in x.node.args] == [arg.key for arg in y.node.args]
    return x.index == y.index and x.node.op == y.node.op and bool(x.node.args) and same_operands


def _row_length(extreme: Node) -> int:
    """Return the number of elements of which a minimum or maximum chooses one."""
    (axis,) = cast(Extreme, extreme.op).axes
    return hint_value(extreme.args[0].shape[axis])


def _find_labels(
    choice: _Choice, node: Node, args: tuple[Symbolic, ...]
) -> tuple[_Labels, Symbolic]:
    """Return the index of each chosen element, and how many there are of each row.

    All of it has the derivative order of the choice, and is computed in its kernel.
    """
    order = choice.node.order
    number = args[0].node
    chosen = number.args[0].node
    mask = chosen.args[0].node
    source, repeated = mask.args
    (axis,) = cast(Extreme, choice.node.op).axes
    value = rebuild(repeated.node, repeated.node.args, order=order).values[0]
    lost: Any = rebuild(mask, (source, value), order=order).values[0]
    is_chosen = rebuild(chosen, (lost,), order=order).values[0]
    counted = rebuild(number, (is_chosen,), order=order).values[0]
    count = rebuild(node, (counted,), order=order).values[0]
    dtype = I64 if source.dtype.itemsize == 8 else I32
    places = Iota(source.shape, axis, dtype)()
    label: Any = Sum((axis,))(cast(Any, where(lost, 0, places)))
    most: Any = Max(tuple(range(count.ndim)), neutral=True)(count)
    return _Labels(astype(label, I64), greater(most, 1.5), source), count


def _nodes_since(top: Node, first: int) -> list[Node]:
    """Return the nodes behind ``top`` that were made later than a serial number, in order."""
    nodes = reach([top], lambda n: [arg.node for arg in n.args if arg.node.serial > first])
    return sorted(nodes, key=lambda n: n.serial)


def _new_inputs(operands: Mapping[Any, Symbolic]) -> dict[Any, Symbolic]:
    return {
        key: body_input(f"p{number}", value.type, *here())
        for number, (key, value) in enumerate(operands.items())
    }


def _build_body(
    computed: Iterable[Node], result: Symbolic, operands: Mapping[Any, Symbolic]
) -> Graph:
    """Build the body that computes a result by these nodes."""
    inputs = _new_inputs(operands)
    new = dict(inputs)
    rebuild_all(computed, new)
    return body_of(inputs.values(), {"y0": new.get(result.key, result)})
