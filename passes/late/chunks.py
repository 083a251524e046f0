"""Compute wide products, and what depends on them row by row, in chunks of rows.

The logits of a model with a large vocabulary take far more memory than the operands of their
product and everything that is computed from them: a loss for each row, gradients of the factors. A
row of them depends on no other row, so a loop over chunks of rows stores the logits of one chunk::

    s = h @ w.T                          for rows of each chunk of h:
    p = softmax(s)               ->          s = rows @ w.T; p = softmax(s); d = ...
    loss, dh, dw = ...                       dh[rows] = d @ w; dw += d.T @ rows

Nothing is computed twice, for the forward and the backward pass are one graph. The sums over rows
(``dw``) are added up chunk by chunk, in the order of the rows. Compare the chunked losses of
Liger-Kernel (Hsu et al., 2024), and AutoChunk (Zhao et al., 2024).

A *row axis* is the axis of a value that has the rows. The region of a product is every value with
a row axis that is computed from the product and on a way to a wide value, and the wide operands of
these. Its results are values that have a row axis, and are not wide, and sums over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from passes.late.base import late_pass
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.forms import (
    Contract,
    GatherAlong,
    Identity,
    Pointwise,
    Reduce,
    ScatterAlong,
)
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, ancestors
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.arithmetic import Add
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import Concat, Slice
from staticgrad.language.ops.loops import NUMBER, Loop
from staticgrad.language.ops.movement import Broadcast, Reshape, Transpose, moveaxis
from staticgrad.language.ops.positions import Iota
from staticgrad.language.types.arrays import TensorType, hint_bytes, product
from staticgrad.support.building import within
from staticgrad.support.records import NamedTuple, replace

#: Bytes from which a product is wide. Less may stay in the caches that all cores share.
WIDE: Final = 1 << 26
#: Rows of a chunk at least. Fewer read the factors, and add to the sums over rows, too often: with
#: 256 rows this takes about a twentieth of the time of the products.
FEWEST_ROWS: Final = 256


class RowAxis(NamedTuple):
    """The axis of a value that has the rows, and how many of its elements belong to each row."""

    axis: int
    elements: int = 1


@late_pass("row-chunks", keeps="close")
def compute_in_chunks(graph: Graph) -> Graph:
    """Rewrite wide products, and what is computed of them row by row, as loops over chunks."""
    for seed in [node for node in graph.nodes if _is_wide_product(node)]:
        if seed not in graph.nodes:
            continue  # a region that was found before has it
        regions = (_Region.find(graph, seed, rows) for rows in _find_rows(graph, seed))
        region = next(filter(None, regions), None)
        if region is not None:
            graph = region.rewrite()
    return graph


def _find_rows(graph: Graph, seed: Node) -> Iterator[RowAxis]:
    """Yield what may be the rows of a product: those of one of its axes, or several at once.

    Where a reshape divides an axis, the rows of a chunk fill one of the axes that it makes.
    """
    sizes = {size for node in graph.nodes if isinstance(node.op, Reshape) for size in node.op.shape}
    for axis, size in enumerate(_literal_sizes(seed.types[0])[:-1]):
        counts = [n for n in sizes if isinstance(n, int) and 1 < n < size and size % n == 0]
        for count in (size, *sorted(counts, reverse=True)):
            yield RowAxis(axis, size // count)


def _is_wide(kind: TensorType) -> bool:
    return hint_bytes(kind) >= WIDE and all(isinstance(size, int) for size in kind.shape)


def _literal_sizes(kind: TensorType) -> tuple[int, ...]:
    """Return the sizes of a wide array, which are literal."""
    return cast(tuple[int, ...], kind.shape)


def _is_wide_product(node: Node) -> bool:
    """Return whether a node multiplies by one matrix to a wide result.

    A second factor of each batch is one of attention: blocks compute it (``fusion/blocks.py``).
    """
    form = node.form
    if not isinstance(form, Contract) or form.panels or node.args[1].ndim != 2:
        return False
    nbytes = hint_bytes(node.types[0])
    return _is_wide(node.types[0]) and nbytes > sum(hint_bytes(arg.type) for arg in node.args) // 2


# -- how rows go through an op ---------------------------------------------------------------------


def _find_reshaped_rows(
    rows: RowAxis, shape: Sequence[Any], new_shape: Sequence[Any]
) -> RowAxis | None:
    """Return where the rows are in the other shape of an array; None if no axis has them alone."""
    if not all(isinstance(size, int) for size in (*shape, *new_shape)):
        return None
    prefix, count = product(shape[: rows.axis]), shape[rows.axis] // rows.elements
    for axis, size in enumerate(new_shape):
        if product(new_shape[:axis]) == prefix and size % count == 0 and size:
            return RowAxis(axis, size // count)
    return None


def _kept_axes(node: Node, place: int) -> Mapping[int, int]:
    """Return axes of an operand -> axes of the result with the same index, if sizes agree."""
    form, op = node.form, node.op
    shape, out = node.args[place].shape, node.types[0].shape
    offset = len(out) - len(shape)
    match form:
        case Pointwise(sizes=(), indexed=False) | Identity():
            pairs = {axis: axis + offset for axis in range(len(shape))}
        case Reduce(axes=axes):
            left = [axis for axis in range(len(shape)) if axis not in axes]
            pairs = {axis: number for number, axis in enumerate(left)}
        case GatherAlong(axis=along) | ScatterAlong(axis=along):
            pairs = {axis: axis for axis in range(len(shape)) if axis != along}
        case Contract():
            pairs = {axis: axis + offset for axis in range(len(shape) - 2)}
            terms = _terms_axis(form, place, len(shape))
            pairs[2 * len(shape) - 3 - terms] = len(out) - 2 + place
        case _:
            pairs = {}
    match op:
        case Broadcast(axes=axes):
            pairs = dict(enumerate(axes))
        case Transpose(perm=perm):
            pairs = {axis: number for number, axis in enumerate(perm)}
        case Slice(starts=starts, steps=steps):
            pairs = {n: n for n, at in enumerate(starts) if at == 0 and steps[n] == 1}
    return {axis: to for axis, to in pairs.items() if shape[axis] == out[to]}


def _terms_axis(form: Contract, place: int, rank: int) -> int:
    """Return the axis of a factor along which a product sums."""
    is_last = form.transpose_b if place else not form.transpose_a
    return rank - 1 if is_last else rank - 2


def _rows_after(node: Node, place: int, rows: RowAxis) -> RowAxis | None:
    """Return where the rows of an operand are in the result; None if they are nowhere."""
    if isinstance(node.op, Reshape):
        return _find_reshaped_rows(rows, node.args[0].shape, node.types[0].shape)
    axis = _kept_axes(node, place).get(rows.axis)
    return None if axis is None else RowAxis(axis, rows.elements)


def _rows_before(node: Node, place: int, rows: RowAxis) -> RowAxis | None:
    """Return where the rows of a result are in an operand; None if all rows read the same."""
    if isinstance(node.op, Reshape):
        return _find_reshaped_rows(rows, node.types[0].shape, node.args[0].shape)
    axes = [axis for axis, to in _kept_axes(node, place).items() if to == rows.axis]
    return RowAxis(axes[0], rows.elements) if axes else None


def _may_compute_rows(node: Node, rows: RowAxis) -> bool:
    """Return whether a node over the rows of its operands computes the same rows of its result.

    Not those of an index along the rows, of a slice that begins behind the first row, or of a
    reshape that mixes them.
    """
    match node.op:
        case Iota(axis=axis):
            return axis != rows.axis
        case Broadcast():
            return True
    if isinstance(node.form, Pointwise) and not node.form.sizes and not node.form.indexed:
        return True
    return any(_rows_before(node, place, rows) is not None for place in range(len(node.args)))


def _summed_rows(node: Node, place: int, rows: RowAxis) -> tuple[RowAxis, ...]:
    """Return the rows of all operands if the node sums over those of one of them; else nothing."""
    form = node.form
    if node.types[0].dtype.is_storage:
        return ()
    if isinstance(form, Reduce) and form.kind == "sum" and rows.axis in form.axes:
        return (rows,)
    if isinstance(form, Contract) and not form.panels:
        axes = [_terms_axis(form, number, arg.ndim) for number, arg in enumerate(node.args)]
        if axes[place] == rows.axis:
            return tuple(RowAxis(axis, rows.elements) for axis in axes)
    return ()


def _with_rows(op: Op, rows: RowAxis, count: int) -> Op:
    """Return an op whose result has so many rows."""
    match op:
        case Reshape(shape=shape) | Broadcast(shape=shape) | Iota(shape=shape):
            return replace(op, shape=_resize(shape, rows, count))
        case Slice(lengths=lengths):
            return replace(op, lengths=_resize(lengths, rows, count))
    return op


def _resize(shape: Sequence[Any], rows: RowAxis, count: int) -> tuple[Any, ...]:
    return (*shape[: rows.axis], rows.elements * count, *shape[rows.axis + 1 :])


_COMPUTED: Final = Pointwise | Identity | Reduce | GatherAlong | ScatterAlong | Contract


def _goes_by_rows(node: Node) -> bool:
    form = node.form
    if isinstance(node.op, Iota):
        return True
    if len(node.types) != 1 or not node.args or getattr(form, "panels", False):
        return False
    return isinstance(form, _COMPUTED) or isinstance(
        node.op, Reshape | Broadcast | Transpose | Slice
    )


# -- the region of a product -----------------------------------------------------------------------


class _NoRegionError(Exception):
    """A value is read in another way than row by row."""


class _Region:
    """The nodes that are computed chunk by chunk, and where their values have ``rows``."""

    def __init__(self, graph: Graph, seeds: Mapping[Node, RowAxis]) -> None:
        self.graph = graph
        self.users = users_of(graph)
        self.origin = next(iter(seeds)).origin
        self.rows: dict[ValueKey, RowAxis] = {(seed, 0): rows for seed, rows in seeds.items()}
        seed = next(iter(seeds))
        self.count = _literal_sizes(seed.types[0])[seeds[seed].axis] // seeds[seed].elements
        self.sums: dict[Node, tuple[RowAxis, ...]] = {}
        self.beside = self._find_nodes_of_wide_values(seeds)
        self._follow_rows()
        self.nodes = self._find_nodes(seeds)
        self.slices: dict[ValueKey, RowAxis] = {}
        self._find_slices()

    @classmethod
    def find(cls, graph: Graph, seed: Node, rows: RowAxis) -> _Region | None:
        """Return the region of a product, and of the wide products that are read beside it."""
        seeds = {seed: rows}
        try:
            while True:
                region = cls(graph, seeds)
                others = {
                    value.node: region.slices[value.key]
                    for value in region.operands()
                    if _is_wide_product(value.node)
                }
                if not others:
                    return region if region.pays() else None
                seeds |= others
        except _NoRegionError:
            return None

    def _find_nodes_of_wide_values(self, seeds: Mapping[Node, RowAxis]) -> set[Node]:
        """Find nodes whose values are wide, or follow row by row from such, without products.

        Of what the seeds are computed from there are none.
        """
        seed_ancestors = set(ancestors([seed.values[0] for seed in seeds]))
        followers: set[Node] = set()
        for node in self.graph.nodes:
            goes_by_rows = _goes_by_rows(node) and not isinstance(node.form, Contract)
            if goes_by_rows and node not in seed_ancestors:
                is_wide = _is_wide(node.types[0])
                if is_wide or any(arg.node in followers for arg in node.args):
                    followers.add(node)
        return followers

    def _follow_rows(self) -> None:
        """Find the values that are computed row by row from the seeds, and the sums over rows."""
        for node in self.graph.nodes:
            if (node, 0) in self.rows or not any(arg.key in self.rows for arg in node.args):
                continue
            if not _goes_by_rows(node):
                continue
            result_rows = {
                _rows_after(node, place, self.rows[arg.key])
                for place, arg in enumerate(node.args)
                if arg.key in self.rows
            }
            if len(result_rows) == 1 and (rows := result_rows.pop()) is not None:
                self.rows[node, 0] = rows
                continue
            summed = {
                _summed_rows(node, place, self.rows[arg.key])
                for place, arg in enumerate(node.args)
                if arg.key in self.rows
            }
            if len(summed) == 1 and (operands := summed.pop()):
                self.sums[node] = operands

    def _find_nodes(self, seeds: Mapping[Node, RowAxis]) -> dict[Node, None]:
        """Find the nodes on the ways from the seeds to wide values and to their readers."""
        wide = {node for node in self.graph.nodes if self._is_wide_row_value(node)}
        roots = {value.key for value in self.graph.roots}
        touching: set[Node] = {*wide}
        for node in wide:
            if (node, 0) in roots:
                raise _NoRegionError
            touching.update(self.users[node, 0])
        descendants: set[Node] = set()
        for node in self.graph.nodes:
            if node in seeds or any(arg.node in descendants for arg in node.args):
                descendants.add(node)
        needed: set[Node] = {*touching}
        read: set[Node] = set()  # by nodes of the region
        for node in reversed(self.graph.nodes):
            if node in needed and node in descendants:
                operands = [arg.node for arg in node.args if arg.node in descendants]
                needed.update(operands)
                read.update(operands)
        self.descendants = descendants
        needed &= descendants
        inside = {node: None for node in self.graph.nodes if node in needed}
        for node in inside:
            is_sum = node in self.sums and node not in read
            if (node, 0) not in self.rows and not is_sum:
                raise _NoRegionError
        return inside

    def _is_wide_row_value(self, node: Node) -> bool:
        return (node, 0) in self.rows and _is_wide(node.types[0])

    def _rows_of_operand(self, node: Node, place: int) -> RowAxis | None:
        if node in self.sums:
            return self.sums[node][place]
        return _rows_before(node, place, self.rows[node, 0])

    def _find_slices(self) -> None:
        """Find the operands that are read slice by slice; compute wide ones in the region."""
        waiting = [*reversed(self.nodes)]
        while waiting:
            node = waiting.pop()
            for place, arg in enumerate(node.args):
                rows = self._rows_of_operand(node, place)
                if arg.node in self.nodes:
                    if self.rows.get(arg.key) != rows:
                        raise _NoRegionError
                    continue
                if rows is None:
                    continue
                if self.slices.setdefault(arg.key, rows) != rows:
                    raise _NoRegionError
                if arg.node in self.beside and _may_compute_rows(arg.node, rows):
                    del self.slices[arg.key]
                    self.rows[arg.key] = rows
                    self.nodes[arg.node] = None
                    waiting.append(arg.node)

    def operands(self) -> Iterator[Symbolic]:
        """Yield the values outside of which the region reads slices."""
        seen = set()
        for node in self.nodes:
            for arg in node.args:
                if arg.key in self.slices and arg.key not in seen:
                    seen.add(arg.key)
                    yield arg

    def invariants(self) -> Iterator[Symbolic]:
        """Yield the values outside that each chunk reads whole, without constants."""
        seen = set()
        for node in self.nodes:
            for arg in node.args:
                inside = arg.node in self.nodes or arg.key in self.slices
                if not inside and not isinstance(arg.node.op, Constant) and arg.key not in seen:
                    seen.add(arg.key)
                    yield arg

    def results(self) -> tuple[list[Node], list[Node]]:
        """Return the nodes that are read outside: sums over rows, and values with rows."""
        roots = {value.key for value in self.graph.roots}
        read = [
            node
            for node in self.graph.nodes
            if node in self.descendants
            and node in self.nodes
            and ((node, 0) in roots or any(n not in self.nodes for n in self.users[node, 0]))
        ]
        return (
            [node for node in read if node in self.sums],
            [node for node in read if node not in self.sums],
        )

    def chunk_rows(self) -> int:
        """Return the rows of a chunk."""
        least = -(-FEWEST_ROWS // max(rows.elements for rows in self.rows.values()))
        divisors = [n for n in range(least, 2 * least + 1) if self.count % n == 0]
        return min(divisors, default=least)

    def pays(self) -> bool:
        """Return whether chunks take fewer bytes, and all slices and results go by rows."""
        _, by_rows = self.results()
        return self.count >= 2 * self.chunk_rows() and not any(
            _is_wide(node.types[0]) for node in by_rows
        )

    # -- the loop ----------------------------------------------------------------------------------

    def rewrite(self) -> Graph:
        """Return the graph with a loop over chunks in the place of the region."""
        sums, by_rows = self.results()
        order = max(node.order for node in self.nodes)
        with within(self.origin, order):
            values = self._loop(sums, by_rows, order)
        replaced = dict(zip((*sums, *by_rows), values, strict=True))
        changed = self.graph.replace_nodes(lambda node, _: replaced.get(node))
        return changed.without_dead_nodes()

    def _loop(self, sums: list[Node], by_rows: list[Node], order: int) -> list[Symbolic]:
        length = self.chunk_rows()
        parts, remainder = divmod(self.count, length)
        arrays, invariants = [*self.operands()], [*self.invariants()]
        origin = self.origin
        number = body_input("i", NUMBER, origin, order)
        totals = [body_input(f"c{n}", node.types[0], origin, order) for n, node in enumerate(sums)]
        rows = [
            body_input(f"x{n}", self._chunk_type(value, length), origin, order)
            for n, value in enumerate(arrays)
        ]
        stay = [
            body_input(f"p{n}", value.type, origin, order) for n, value in enumerate(invariants)
        ]
        inputs = dict(zip([v.key for v in (*arrays, *invariants)], (*rows, *stay), strict=True))
        new = self._compute(length, inputs, order)
        outputs = {f"c{n}": _add(totals[n], new[node, 0]) for n, node in enumerate(sums)}
        outputs |= {f"y{n}": new[node, 0] for n, node in enumerate(by_rows)}
        body = body_of([number, *totals, *rows, *stay], outputs)
        starts = [cast(Symbolic, zeros_like_type(node.types[0])) for node in sums]
        stacks = [self._divide(value, length, parts) for value in arrays]
        results: Any = Loop(body, parts, len(sums), len(arrays))(*starts, *stacks, *invariants)
        results = [*results] if isinstance(results, tuple) else [results]
        joined = [
            self._join(node, stack, length, parts)
            for node, stack in zip(by_rows, results[len(sums) :], strict=True)
        ]
        if not remainder:
            return [*results[: len(sums)], *joined]
        outside = {value.key: self._part(value, length * parts, remainder) for value in arrays}
        outside |= {value.key: value for value in invariants}
        new = self._compute(remainder, outside, order)
        totals = [_add(total, new[node, 0]) for total, node in zip(results, sums, strict=False)]
        return [
            *totals,
            *(
                cast(Symbolic, Concat(self.rows[node, 0].axis)(rows_before, new[node, 0]))
                for node, rows_before in zip(by_rows, joined, strict=True)
            ),
        ]

    def _compute(
        self, count: int, inputs: Mapping[ValueKey, Symbolic], order: int
    ) -> Mapping[ValueKey, Symbolic]:
        """Build the nodes of the region for so many rows."""
        new = dict(inputs)
        for node in self.graph.nodes:
            if node not in self.nodes:
                continue
            args = tuple(new.get(arg.key, arg) for arg in node.args)
            op = node.op if node in self.sums else _with_rows(node.op, self.rows[node, 0], count)
            with within(node.origin, order):
                new[node, 0] = cast(Symbolic, op(*args))
        return new

    def _chunk_type(self, value: Symbolic, count: int) -> TensorType:
        return value.type.with_shape(_resize(value.shape, self.slices[value.key], count))

    def _divide(self, value: Symbolic, length: int, parts: int) -> Symbolic:
        """Return an array as a stack of chunks."""
        axis, elements = self.slices[value.key]
        rows = self._part(value, 0, length * parts)
        shape = (*value.shape[:axis], parts, elements * length, *value.shape[axis + 1 :])
        return cast(Symbolic, moveaxis(Reshape(shape)(rows), axis, 0))

    def _part(self, value: Symbolic, begin: int, count: int) -> Symbolic:
        """Return so many rows of an array."""
        rows = self.slices[value.key]
        shape = _resize(value.shape, rows, count)
        if shape == value.shape:
            return value
        starts = tuple(begin * rows.elements if n == rows.axis else 0 for n in range(value.ndim))
        return cast(Symbolic, Slice(starts, shape, (1,) * value.ndim)(value))

    def _join(self, node: Node, stack: Symbolic, length: int, parts: int) -> Symbolic:
        """Return the chunks of a stack one after the other."""
        rows = self.rows[node, 0]
        shape = _resize(node.types[0].shape, rows, length * parts)
        return cast(Symbolic, Reshape(shape)(moveaxis(stack, 0, rows.axis)))


def _add(a: Symbolic, b: Symbolic) -> Symbolic:
    return cast(Symbolic, Add()(a, b))
