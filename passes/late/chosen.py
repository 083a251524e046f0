"""Choose rows first: selections move to the operands, and zeros behind what multiplies them.

``take(a @ b, i)`` computes every row of a product and reads some. It is ``take(a, i) @ b``::

    %1 = matmul(%a, %b)            %1 = take{axis=0}(%a, %i)
    %2 = take{axis=0}(%1, %i)  ->  %2 = matmul(%1, %b)

A selection (``take`` or ``slice``) moves below elementwise work, reductions of other axes, matrix
products (rows of the left factor, columns of the right one, batches) and joins, where nothing else
reads what is not selected, and where at most half of the elements are left. The gradient of a
selection is an array of zeros with some rows in it (``scatter_add`` or ``pad``). Products with it,
sums of it and multiplications by it are computed of the rows that are there (in derivatives alone:
zeros that a user writes are numbers, and 0 * inf is NaN)::

    %1 = scatter_add{size=n}(%g, %i)          %1 = take{axis=0}(%a, %i)
    %2 = matmul{transpose_a=True}(%a, %1) ->  %2 = matmul{transpose_a=True}(%1, %g)

Indices are checked as before: the same ``take`` or ``scatter_add`` stays in the program, on another
array of the same axis. An element has the same terms in the same order, but two kinds of results
may differ in their last digits: sums over rows that were zero, and products with so few rows that
they are computed as products with a vector or in parts (``vector-products``, ``split-k``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final, cast

from passes.late.base import late_pass
from passes.rewrite import is_number, number_of
from staticgrad.analysis.liveness import users_of
from staticgrad.language.ir.forms import Pointwise
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.arithmetic import Div, Mul, Neg
from staticgrad.language.ops.contract import MatMul, sums_down
from staticgrad.language.ops.convert import Cast
from staticgrad.language.ops.elementwise import Elementwise
from staticgrad.language.ops.indexing import Concat, Pad, ScatterIntoAxis, Slice, Take
from staticgrad.language.ops.logic import Ne
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose
from staticgrad.language.ops.reduce import Reduction, Sum
from staticgrad.language.ops.selection import Where
from staticgrad.language.types.arrays import Shape, hint_value, product as sizes_product
from staticgrad.language.types.dim import Size
from staticgrad.support.building import within
from staticgrad.support.records import dataclass, replace
from staticgrad.support.traversal import operands_first

#: Rows are few if they are at most this part of an array. Of more, as of all but the border of an
#: image, choosing them first saves less than the kernels that they are computed in may cost.
_FEW: Final = 0.5


# -- parts of an axis -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Range:
    """Equally spaced indices of an axis."""

    start: Size
    length: Size
    step: int

    @property
    def key(self) -> object:
        return self.start, self.length, self.step

    def with_indices(self, indices: Mapping[object, Symbolic]) -> _Range:
        """Return the part itself."""
        return self

    def select(self, x: Symbolic, axis: int) -> Symbolic:
        """Return the part of ``x`` along an axis."""
        starts: list[Size] = [0] * x.ndim
        lengths, steps = [*x.shape], [1] * x.ndim
        starts[axis], lengths[axis], steps[axis] = self.start, self.length, self.step
        return cast(Symbolic, Slice(tuple(starts), tuple(lengths), tuple(steps))(x))

    def put_back(self, x: Symbolic, axis: int, size: Size) -> Symbolic:
        """Return zeros with ``x`` in its place along an axis."""
        starts: list[Size] = [0] * x.ndim
        shape, steps = [*x.shape], [1] * x.ndim
        shape[axis], starts[axis], steps[axis] = size, self.start, self.step
        return cast(Symbolic, Pad(tuple(shape), tuple(starts), tuple(steps))(x))


@dataclass(frozen=True, eq=False)
class _Indices:
    """Indices of an axis in a vector."""

    value: Symbolic
    length: Size
    inside: bool

    @property
    def key(self) -> object:
        return self.value.key, self.inside

    def with_indices(self, indices: Mapping[object, Symbolic]) -> _Indices:
        """Return the part with a vector of indices of the graph that is built."""
        return replace(self, value=indices[self.value.key])

    def select(self, x: Symbolic, axis: int) -> Symbolic:
        """Return the part of ``x`` along an axis."""
        return cast(Symbolic, Take(axis, self.inside)(x, self.value))

    def put_back(self, x: Symbolic, axis: int, size: Size) -> Symbolic:
        """Return zeros to which the parts of ``x`` are added along an axis."""
        return cast(Symbolic, ScatterIntoAxis(axis, size, inside=self.inside)(x, self.value))


@dataclass(frozen=True, eq=False)
class _Merged:
    """A part of one of several axes that are reshaped to one axis."""

    sizes: Shape
    place: int
    part: _Part

    @property
    def key(self) -> object:
        return self.sizes, self.place, self.part.key

    @property
    def length(self) -> Size:
        return sizes_product(_replace(self.sizes, self.place, self.part.length))

    def with_indices(self, indices: Mapping[object, Symbolic]) -> _Merged:
        """Return the part with a vector of indices of the graph that is built."""
        return replace(self, part=self.part.with_indices(indices))

    def select(self, x: Symbolic, axis: int) -> Symbolic:
        """Return the part of ``x`` along an axis."""
        leading, trailing = x.shape[:axis], x.shape[axis + 1 :]
        selected = self.part.select(
            _reshape(x, (*leading, *self.sizes, *trailing)), axis + self.place
        )
        return _reshape(selected, (*leading, self.length, *trailing))

    def put_back(self, x: Symbolic, axis: int, size: Size) -> Symbolic:
        """Return zeros with ``x`` in its place along an axis."""
        leading, trailing = x.shape[:axis], x.shape[axis + 1 :]
        sizes = _replace(self.sizes, self.place, self.part.length)
        parts = _reshape(x, (*leading, *sizes, *trailing))
        with_zeros = self.part.put_back(parts, axis + self.place, self.sizes[self.place])
        return _reshape(with_zeros, (*leading, size, *trailing))


_Part = _Range | _Indices | _Merged
#: Axis -> which part of it.
_Parts = Mapping[int, _Part]


def _select(x: Symbolic, parts: _Parts) -> Symbolic:
    """Return the parts of ``x``; regular ones first, which are free."""
    for axis in sorted(parts, key=lambda axis: (not isinstance(parts[axis], _Range), axis)):
        x = parts[axis].select(x, axis)
    return x


def _put_back(x: Symbolic, parts: _Parts, shape: Shape) -> Symbolic:
    """Return zeros of this shape with ``x`` in the places of the parts."""
    for axis, part in parts.items():
        x = part.put_back(x, axis, shape[axis])
    return x


def _parts_of_selection(node: Node) -> dict[int, _Part]:
    """Return which part of its operand a selection reads."""
    op, args = node.op, node.args
    if isinstance(op, Take):
        return {op.axis: _Indices(args[1], sizes_product(args[1].shape), op.inside)}
    assert isinstance(op, Slice)
    cuts = zip(op.starts, op.lengths, op.steps, args[0].shape, strict=True)
    return {
        axis: _Range(start, length, step)
        for axis, (start, length, step, size) in enumerate(cuts)
        if not (start == 0 and step == 1 and length == size)
    }


def _flatten_indices(indices: Symbolic) -> Symbolic:
    return indices if indices.ndim == 1 else _reshape(indices, (sizes_product(indices.shape),))


def _reshape(x: Symbolic, shape: Shape) -> Symbolic:
    """Return ``x`` in another shape, straight from what it is a reshape of."""
    if isinstance(x.node.op, Reshape):
        x = x.node.args[0]
    return x if x.shape == shape else cast(Symbolic, Reshape(shape)(x))


def _replace(sizes: Shape, place: int, size: Size) -> Shape:
    return (*sizes[:place], size, *sizes[place + 1 :])


def _is_one(size: Size) -> bool:
    return isinstance(size, int) and size == 1


# -- selections -----------------------------------------------------------------------------------


@late_pass("chosen-first", keeps="close")
def choose_first(graph: Graph) -> Graph:
    """Rewrite selections of results as results of selections, and products with zeros."""
    if graph.has((ScatterIntoAxis, Pad)):
        rewritten = graph.replace_nodes(_leave_out_zeros)
        graph = graph if rewritten is graph else rewritten.without_dead_nodes()
    if not graph.has((Take, Slice)):
        return graph
    moving = _Mover(graph)
    if not moving.moves:
        return graph
    return graph.replace_nodes(moving.rewrite).without_dead_nodes()


@dataclass(frozen=True, eq=False)
class _Demand:
    """The parts of a value that its readers need, of axes of ``shape`` if it is reshaped to it."""

    parts: _Parts
    shape: Shape | None = None

    @property
    def key(self) -> object:
        return self.shape, *[(axis, type(p), p.key) for axis, p in sorted(self.parts.items())]

    def is_few(self, shape: Shape) -> bool:
        """Return whether the parts are a small part of a value of this shape, and not empty."""
        sizes = self.shape or shape
        is_empty = any(part.length == 0 for part in self.parts.values())
        return bool(self.parts) and not is_empty and _are_few(self.parts, sizes)

    def select(self, x: Symbolic) -> Symbolic:
        """Return the parts of ``x``; regular ones first, which are free."""
        x = x if self.shape is None else _reshape(x, self.shape)
        return _select(x, self.parts)

    def with_indices(self, indices: Mapping[object, Symbolic]) -> _Demand:
        """Return the demand with the vectors of indices of the graph that is built."""
        parts = {axis: part.with_indices(indices) for axis, part in self.parts.items()}
        return _Demand(parts, self.shape)


class _Mover:
    """Moves the selections of a graph below the nodes of which nothing else is read.

    From the last node to the first one, what all readers of a value need of it is compared. A value
    of which all need the same parts is not computed; its parts are, from parts of its operands.
    """

    def __init__(self, graph: Graph) -> None:
        self._args: dict[Node, tuple[Symbolic, ...]] = {}
        self._selected: dict[object, Symbolic] = {}
        #: Parts of a node's result -> the parts of its operands.
        self._below: dict[Node, list[_Demand]] = {}
        self._demands: dict[Node, _Demand] = {}
        computing = _computing_chains(graph)
        users = users_of(graph)
        roots = {value.key for value in graph.roots}
        for node in reversed(graph.nodes):
            if node in computing and (node, 0) not in roots:
                demand = self._common_demand(node, users[node, 0])
                below = None if demand is None else _demands_of_operands(node, demand)
                if demand is not None and below is not None:
                    self._demands[node], self._below[node] = demand, below
        self.moves = bool(self._demands)

    def _common_demand(self, node: Node, users: Sequence[Node]) -> _Demand | None:
        """Return what all readers of a node's result need of it; None if it is not the same."""
        demands: dict[object, _Demand] = {}
        for user in users:
            for position, arg in enumerate(user.args):
                if arg.node is not node:
                    continue
                if isinstance(user.op, Take | Slice) and position == 0:
                    demand = _Demand(_parts_of_selection(user))
                elif user in self._below:
                    demand = self._below[user][position]
                else:
                    return None
                demands[demand.key] = demand
                if len(demands) > 1 or not demand.is_few(node.types[0].shape):
                    return None
        return next(iter(demands.values()), None)

    def rewrite(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a selection of a computed value; None for other nodes."""
        if node in self._demands:
            self._args[node] = args
        if not isinstance(node.op, Take | Slice):
            return None
        if node.args[0].node not in self._demands:
            return self._gather_once(node, args)
        indices: dict[object, Symbolic] = {}
        with within(node.origin, node.order):
            if isinstance(node.op, Take):
                indices[node.args[1].key] = _flatten_indices(args[1])
            selected = self._select_below(node.args[0].node, indices, node.order)
            return (_reshape(selected, node.types[0].shape),)

    def _select_below(self, top: Node, indices: Mapping[object, Symbolic], order: int) -> Symbolic:
        """Compute the parts of a value that are needed, from parts of what is not moved below."""

        def select_moved(node: Node) -> list[Node]:
            return [
                arg.node
                for arg, demand in zip(node.args, self._below[node], strict=True)
                if arg.node in self._demands and demand.parts
            ]

        parts_of_node: dict[Node, Symbolic] = {}
        for node in operands_first([top], select_moved):
            key = (node, self._demands[node].key)
            if key not in self._selected:
                args = []
                with within(node.origin, max(node.order, order)):
                    for old, new, demand in zip(
                        node.args, self._args[node], self._below[node], strict=True
                    ):
                        if old.node in parts_of_node and demand.parts:
                            args.append(parts_of_node[old.node])
                        else:
                            args.append(self._select_once(new, demand.with_indices(indices)))
                    self._selected[key] = _apply(node, args, self._demands[node])
            parts_of_node[node] = self._selected[key]
        return parts_of_node[top]

    def _select_once(self, x: Symbolic, demand: _Demand) -> Symbolic:
        """Return the parts of a value, gathered once for all that read them."""
        key = (x.key, demand.key)
        if key not in self._selected:
            self._selected[key] = demand.select(x) if demand.parts else x
        return self._selected[key]

    def _gather_once(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Return what is gathered already where a selection that moved reads the same rows."""
        if not isinstance(node.op, Take) or args[1].ndim != 1:
            return None
        parts = {node.op.axis: _Indices(args[1], args[1].shape[0], node.op.inside)}
        key = (args[0].key, _Demand(parts).key)
        if key in self._selected:
            return (self._selected[key],)
        if all(a.key == b.key for a, b in zip(args, node.args, strict=True)):
            self._selected[key] = Symbolic(node)
        return None


def _computing_chains(graph: Graph) -> set[Node]:
    """Return the nodes that compute, or move what others compute, below which selections move."""
    nodes: set[Node] = set()
    for node in graph.nodes:
        if node.is_leaf or len(node.types) != 1:
            continue
        if isinstance(node.op, Elementwise):
            form = node.form
            if isinstance(form, Pointwise) and not form.indexed and not form.sizes:
                nodes.add(node)
        elif isinstance(node.op, Reduction | MatMul) or (
            isinstance(node.op, Concat | Broadcast | Transpose | Reshape)
            and any(arg.node in nodes for arg in node.args)
        ):
            nodes.add(node)
    return nodes


def _demands_of_operands(node: Node, demand: _Demand) -> list[_Demand] | None:
    """Return what the needed parts of a node's result need of its operands; None if it stays."""
    op, shape = node.op, node.types[0].shape
    if demand.shape is not None:
        if isinstance(op, Reshape):
            return [demand]
        is_even = isinstance(op, Elementwise) and all(
            arg.ndim == 0 or arg.shape == shape for arg in node.args
        )
        if not is_even:
            return None
        nothing = _Demand({})
        below = [demand if arg.ndim else nothing for arg in node.args]
        return below if _gathers_less(node, demand, below) else None
    parts = operand_parts(node, demand.parts)
    if parts is None:
        return [_Demand(demand.parts, shape)] if isinstance(op, Reshape) else None
    below = [_Demand(of_arg) for of_arg in parts]
    return below if _gathers_less(node, demand, below) else None


def _gathers_less(node: Node, demand: _Demand, below: Sequence[_Demand]) -> bool:
    """Return whether no more elements are gathered of the operands than the result has."""
    sizes = demand.shape or node.types[0].shape
    for axis, part in demand.parts.items():
        if isinstance(part, _Range):
            continue
        gathered = sum(any(p.key == part.key for p in d.parts.values()) for d in below)
        if isinstance(node.op, Elementwise) and (
            gathered * hint_value(part.length) > hint_value(sizes[axis])
        ):
            return False
        if isinstance(node.op, Reduction) and node.args[0].ndim - 1 in below[0].parts:
            return False  # each row would gather single elements
    return True


def operand_parts(node: Node, parts: _Parts) -> list[_Parts] | None:
    """Return for each operand of a node its parts that ``parts`` of the result depend on.

    None if they are no parts of the operands' axes.
    """
    op, shape = node.op, node.types[0].shape
    if isinstance(op, Elementwise):
        return [_parts_of_operand(arg, shape, parts) for arg in node.args]
    if isinstance(op, Reduction):
        remaining = [axis for axis in range(node.args[0].ndim) if axis not in op.axes]
        return [{remaining[axis]: part for axis, part in parts.items()}]
    if isinstance(op, Transpose):
        return [{op.perm[axis]: part for axis, part in parts.items()}]
    if isinstance(op, Broadcast):
        (x,) = node.args
        places = {axis: k for k, axis in enumerate(op.axes) if x.shape[k] == shape[axis]}
        return [{places[axis]: part for axis, part in parts.items() if axis in places}]
    if isinstance(op, Concat):
        return None if op.axis in parts else [parts] * len(node.args)
    if isinstance(op, Reshape):
        return _parts_before_reshape(node.args[0].shape, shape, parts)
    assert isinstance(op, MatMul)
    return _factor_parts(op, node.args, shape, parts)


def _parts_of_operand(arg: Symbolic, shape: Shape, parts: _Parts) -> _Parts:
    """Return the parts of an operand that broadcasts to ``shape``."""
    new_axes = len(shape) - arg.ndim
    return {
        axis - new_axes: part
        for axis, part in parts.items()
        if axis >= new_axes and arg.shape[axis - new_axes] == shape[axis]
    }


def _parts_before_reshape(source_shape: Shape, shape: Shape, parts: _Parts) -> list[_Parts] | None:
    """Return the parts of a reshape's operand, of axes that it keeps or splits."""
    below: dict[int, _Part] = {}
    if 0 in (*source_shape, *shape):
        return None
    for axis, part in parts.items():
        group = None
        for place, size in enumerate(source_shape):
            leading = sizes_product(source_shape[:place])
            for first in range(axis + 1):
                if sizes_product(shape[:first]) != leading:
                    continue
                for end in range(axis + 1, len(shape) + 1):
                    if sizes_product(shape[first:end]) == size:
                        group = place, first, end
                        break
            if group:
                break
        if group is None or group[0] in below:
            return None
        place, first, end = group
        sizes = shape[first:end]
        others = [size for k, size in enumerate(sizes) if first + k != axis]
        is_axis = all(map(_is_one, others))
        below[place] = part if is_axis else _Merged(sizes, axis - first, part)
    return [below]


def _factor_parts(
    op: MatMul, args: Sequence[Symbolic], shape: Shape, parts: _Parts
) -> list[_Parts] | None:
    """Return the parts of the factors that parts of a product of this shape depend on."""
    rank = len(shape)
    below: list[dict[int, _Part]] = [{}, {}]
    a, b = args
    for axis, part in parts.items():
        if axis == rank - 2:
            below[0][a.ndim - (1 if op.transpose_a else 2)] = part
        elif axis == rank - 1:
            below[1][b.ndim - (2 if op.transpose_b else 1)] = part
        else:
            for of_arg, arg in zip(below, args, strict=True):
                of_arg.update(_parts_of_operand(arg, shape, {axis: part}))
    return list(below)


def _apply(node: Node, args: Sequence[Symbolic], demand: _Demand) -> Symbolic:
    """Apply a node's op to the selected operands."""
    op, parts = node.op, demand.parts
    if isinstance(op, Reshape) and demand.shape is not None:
        return args[0]
    if isinstance(op, Broadcast | Reshape):
        shape = tuple([parts[k].length if k in parts else size for k, size in enumerate(op.shape)])
        if isinstance(op, Reshape):
            return _reshape(args[0], shape)  # also of a value that is selected in this shape
        return cast(Symbolic, Broadcast(shape, op.axes)(args[0]))
    if isinstance(op, MatMul):
        return multiply(op, *args)
    return cast(Symbolic, op(*args))


def multiply(op: MatMul, a: Symbolic, b: Symbolic) -> Symbolic:
    """Return a product as ``op`` has it, of factors with fewer rows, columns or terms.

    One row of each matrix of a batch, times one matrix, is a row of one product. A product with a
    vector reads its matrix in the order of memory.
    """
    rows = a.shape[-1 if op.transpose_a else -2]
    columns = b.shape[-2 if op.transpose_b else -1]
    inner = a.shape[-2 if op.transpose_a else -1]
    if _is_one(rows) and a.ndim > 2 and b.ndim == 2:
        batch = a.shape[:-2]
        matrix = _reshape(a, (sizes_product(batch), inner))
        return _reshape(multiply(MatMul(False, op.transpose_b), matrix, b), (*batch, 1, columns))
    down = op.down
    if _is_one(rows) != _is_one(columns):
        down = (
            sums_down(b, op.transpose_b, columns)
            if _is_one(rows)
            else sums_down(a, not op.transpose_a, rows)
        )
    return cast(Symbolic, replace(op, down=down)(a, b))


# -- arrays of zeros with some rows ---------------------------------------------------------------


def _rows_between_zeros(value: Symbolic) -> tuple[Symbolic, dict[int, _Part]] | None:
    """Return the rows of an array that is zero elsewhere, and where they are in it."""
    node = value.node
    op = node.op
    if isinstance(op, Reshape):
        below = _rows_between_zeros(node.args[0])
        return None if below is None else _reshaped_rows(*below, node.args[0].shape, value.shape)
    parts: dict[int, _Part] = {}
    rows = node.args[0] if node.args else value
    if isinstance(op, ScatterIntoAxis) and op.parts == 1:
        indices = _flatten_indices(node.args[1])
        parts = {op.axis: _Indices(indices, indices.shape[0], op.inside)}
        rows = _reshape(rows, _replace(value.shape, op.axis, indices.shape[0]))
    elif isinstance(op, Pad):
        places = zip(op.starts, rows.shape, op.steps, value.shape, strict=True)
        parts = {
            axis: _Range(start, length, step)
            for axis, (start, length, step, size) in enumerate(places)
            if length != size
        }
    return (rows, parts) if parts and _are_few(parts, value.shape) else None


def _are_few(parts: _Parts, shape: Shape) -> bool:
    """Return whether parts of some axes are a small part of an array."""
    count = prod(hint_value(part.length) for part in parts.values())
    return count <= _FEW * prod(hint_value(shape[axis]) for axis in parts)


def _reshaped_rows(
    rows: Symbolic, parts: _Parts, source_shape: Shape, shape: Shape
) -> tuple[Symbolic, dict[int, _Part]] | None:
    """Return rows between zeros of an array that is reshaped: its axes are merged or kept."""
    merged: dict[int, _Part] = {}
    for axis, part in parts.items():
        below = _parts_before_reshape(shape, source_shape, {axis: part})
        if below is None or merged.keys() & below[0].keys():
            return None
        merged.update(below[0])
    new_shape = tuple([merged[k].length if k in merged else size for k, size in enumerate(shape)])
    return _reshape(rows, new_shape), merged


def _leave_out_zeros(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
    """Rewrite a product, sum or multiplication of an array that is mostly zeros."""
    op = node.op
    if not node.types[0].dtype.is_float:
        return None
    if isinstance(op, Where):
        return (args[1],) if _is_zero_outside(*args) else None
    if not isinstance(op, Sum if node.order == 0 else MatMul | Mul | Div | Neg | Sum):
        return None
    for position, arg in enumerate(args[:1] if isinstance(op, Div) else args):
        if isinstance(arg.node.op, ScatterIntoAxis | Pad | Reshape):
            with within(node.origin, node.order):
                some_rows = _rows_between_zeros(arg)
                if some_rows is not None:
                    result = _of_rows(op, args, position, *some_rows, node.types[0].shape)
                    return None if result is None else (result,)
                result = _of_reshaped_rows(node, args, position)
                if result is not None:
                    return (result,)
    return None


def _is_zero_outside(mask: Symbolic, value: Symbolic, second: Symbolic) -> bool:
    """Return whether a mask of the places of some rows chooses between them and zeros.

    Gradients choose so: ``where(scatter_add(1, i) != 0, scatter_add(x, i), 0)``.
    """
    if number_of(second) != 0 or value.shape != mask.shape:
        return False
    while isinstance(mask.node.op, Reshape | Cast) or (
        isinstance(mask.node.op, Ne) and is_number(mask.node.args[1], 0.0)
    ):
        mask = mask.node.args[0]
    while isinstance(value.node.op, Reshape):
        value = value.node.args[0]
    places, rows = mask.node, value.node
    if not (isinstance(rows.op, ScatterIntoAxis | Pad) and mask.shape == value.shape):
        return False
    same_indices = [a.key for a in places.args[1:]] == [a.key for a in rows.args[1:]]
    number = number_of(places.args[0]) if places.args else None
    return places.op == rows.op and same_indices and number is not None and number > 0


def _of_reshaped_rows(node: Node, args: tuple[Symbolic, ...], position: int) -> Symbolic | None:
    """Compute a multiplication of an array that is mostly zeros before it is reshaped."""
    arg, shape = args[position], node.types[0].shape
    if isinstance(node.op, MatMul | Sum) or not isinstance(arg.node.op, Reshape):
        return None
    (source,) = arg.node.args
    some_rows = _rows_between_zeros(source)
    if some_rows is None or not all(second.ndim == 0 or second.shape == shape for second in args):
        return None
    operands = tuple(
        [second if second.ndim == 0 else _reshape(second, source.shape) for second in args]
    )
    result = _of_rows(node.op, operands, position, *some_rows, source.shape)
    return None if result is None else _reshape(result, shape)


def _of_rows(
    op: Op,
    args: tuple[Symbolic, ...],
    position: int,
    rows: Symbolic,
    parts: _Parts,
    shape: Shape,
) -> Symbolic | None:
    """Compute an op of the rows of one operand, and put the results between zeros."""
    if isinstance(op, Sum):
        remaining = [axis for axis in range(args[0].ndim) if axis not in op.axes]
        left = {remaining.index(axis): p for axis, p in parts.items() if axis in remaining}
        return _put_back(cast(Symbolic, op(rows)), left, shape)
    if isinstance(op, MatMul):
        return _product_of_rows(op, args, position, rows, parts, shape)
    if args[position].shape != shape:
        return None
    operands = [_select(arg, _parts_of_operand(arg, shape, parts)) for arg in args]
    operands[position] = rows
    return _put_back(cast(Symbolic, op(*operands)), parts, shape)


def _product_of_rows(
    op: MatMul,
    args: tuple[Symbolic, ...],
    position: int,
    rows: Symbolic,
    parts: _Parts,
    shape: Shape,
) -> Symbolic:
    """Multiply the rows of one factor with those of the other one that meet them."""
    factor, second = args[position], args[1 - position]
    transposed = (op.transpose_a, op.transpose_b)
    inner = factor.ndim - (1 if transposed[position] == (position == 1) else 2)
    inner_of_other = second.ndim - (1 if transposed[1 - position] == (position == 0) else 2)
    rank = len(shape)
    of_other: dict[int, _Part] = {}
    of_result: dict[int, _Part] = {}
    for axis, part in parts.items():
        if axis == inner:
            of_other[inner_of_other] = part
        elif axis >= factor.ndim - 2:
            of_result[rank - 2 + position] = part
        else:
            in_result = axis + rank - factor.ndim
            of_result[in_result] = part
            of_other.update(_parts_of_operand(second, shape, {in_result: part}))
    factors = [rows, _select(second, of_other)]
    product = multiply(op, *(factors if position == 0 else factors[::-1]))
    return _put_back(product, of_result, shape)
