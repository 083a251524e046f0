"""Compute wide products, and what depends on them row by row, in chunks of rows.

The logits of a model with a large vocabulary take far more memory than the operands of their
product and everything that is computed from them: a loss for each row, gradients of the factors. A
row of them depends on no other row, so a loop over chunks of rows stores the logits of one chunk::

    s = h @ w.T                          for rows of each chunk of h:
    p = softmax(s)               ->          s = rows @ w.T; p = softmax(s); d = ...
    loss, dh, dw = ...                       dh[rows] = d @ w; dw += d.T @ rows

Nothing is computed twice, for the forward and the backward pass are one graph. The reductions over
rows (``dw``) are accumulated chunk by chunk, in the order of the rows. Where these sums and a chunk
take nearly the memory of the product, as of a few hundred tokens, only a memory budget tries the
loop. Compare the chunked losses of Liger-Kernel (Hsu et al., 2024), and AutoChunk (Zhao et al.,
2024).

Rows that read a reduction over all rows need a loop of their own. To normalize the columns of a
product, a first loop finds their means, a second one their variances, a third one the gradients,
and each computes the product again, as far as this takes no longer than storing it::

    s = a @ b.T                          for rows of each chunk of a:
    m = mean(s, axis=0)          ->          m += sum(rows @ b.T, axis=0) / n
    v = sum((s - m) ** 2, axis=0)        for rows of each chunk of a:
                                             v += sum((rows @ b.T - m) ** 2, axis=0)

A sum of exponentials less their maximum needs no loop behind that of the maximum: a chunk's sum is
less the maximum of the chunk, and both sums are shifted to the larger maximum where they are added
(``passes.late.exponentials``). So loops over chunks of *columns* of logits compute that product
twice, and store neither logits nor a sum of the size of the matrix; a memory budget may ask for it.

A *row axis* is the axis of a value that has the rows. The region of a product is every value with
a row axis that is computed from the product and on a way to a wide value, and the wide operands of
these. Its results are values that have a row axis, and are not wide, and reductions over it. The
*level* of a value is the number of loops that are complete before its own begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import field
from math import prod
from typing import Any, Final, cast

from passes.late.base import late_pass
from passes.late.exponentials import (
    ShiftedSum,
    find_shifted_sum,
    finite_or_zero,
    shift_again,
    sum_less_maximum,
)
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.bodies import body_input, body_of
from staticgrad.language.ir.copies import rebuild_all
from staticgrad.language.ir.forms import (
    COMBINERS,
    Contract,
    GatherAlong,
    Identity,
    Pointwise,
    Reduce,
    Scan,
    ScatterAlong,
    SortForm,
)
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic, ancestors
from staticgrad.language.ir.op import Op
from staticgrad.language.ops.arithmetic import Add, Sub
from staticgrad.language.ops.convert import astype, size_value
from staticgrad.language.ops.cotangent import zeros_like_type
from staticgrad.language.ops.indexing import Concat, ScatterIntoAlong, Slice, Take, TakeAlong
from staticgrad.language.ops.logic import BitAnd, BitOr, BitXor, equal
from staticgrad.language.ops.loops import NUMBER, Loop
from staticgrad.language.ops.movement import (
    Broadcast,
    Reshape,
    Transpose,
    broadcast_to,
    expand_dims,
    moveaxis,
    reshape,
)
from staticgrad.language.ops.positions import Iota
from staticgrad.language.ops.reduce import Extreme, Sum
from staticgrad.language.ops.selection import Maximum, Minimum, where
from staticgrad.language.types.arrays import TensorType, hint_value, product
from staticgrad.language.types.dim import Size, divide_exactly
from staticgrad.language.types.dtype import I64
from staticgrad.support.building import within
from staticgrad.support.caches import cached_on_first, cached_property
from staticgrad.support.config import limits
from staticgrad.support.records import NamedTuple, dataclass, replace
from staticgrad.support.traversal import reach

#: A named size without a hint, where the bytes of a product are estimated.
OPEN_SIZE: Final = 1024
#: The chunks of a product, at least, where they have more than twice the fewest rows.
LEAST_CHUNKS: Final = 8


class RowAxis(NamedTuple):
    """The axis of a value that has the rows, and how many of its elements belong to each row."""

    axis: int
    elements: Size = 1


#: A node as a loop computes it: of the rows of one axis; a reduction over rows has none.
Item = tuple[Node, RowAxis | None]
#: A value outside as a loop reads it: the rows of one axis, or all of it.
Operand = tuple[ValueKey, RowAxis | None]


def has_wide_products(graph: Graph) -> bool:
    """Return whether a graph has products that one of the passes below could divide."""
    return any(map(_is_wide_product, graph.nodes))


@late_pass("row-chunks", keeps="close")
def compute_in_chunks(graph: Graph) -> Graph:
    """Rewrite wide products, and what is computed of them row by row, as loops over chunks."""
    return _rewrite_regions(
        graph, lambda region: region.is_cheap, lambda region: region.flops_again
    )


@late_pass("recomputed-products", keeps="close")
def compute_products_again(graph: Graph) -> Graph:
    """Do the same at any price in products that are computed again, for the fewest bytes.

    A memory budget tries it.
    """
    return _rewrite_regions(
        graph, lambda region: region.saves_memory, lambda region: region.bytes_stored
    )


def _rewrite_regions(
    graph: Graph, is_chosen: Callable[[_Region], bool], price: Callable[[_Region], float]
) -> Graph:
    """Rewrite each wide product by the region of least price of those that are chosen."""
    for seed in [node for node in graph.nodes if _is_wide_product(node)]:
        if seed not in graph.nodes:
            continue  # a region that was found before has it
        regions = filter(is_chosen, _find_regions(graph, seed))
        region = _cheapest(regions, price)
        if region is None:
            distributed = _distribute_products(graph)
            if distributed is not graph and seed in distributed.nodes:
                regions = filter(is_chosen, _find_regions(distributed, seed, is_distributed=True))
                region = _cheapest(regions, price)
        if region is not None:
            graph = region.rewrite()
    return graph


def _cheapest(regions: Iterable[_Region], price: Callable[[_Region], float]) -> _Region | None:
    best: _Region | None = None
    for region in regions:
        if best is None or price(region) < price(best):
            best = region
        if not price(best):
            break
    return best


def _distribute_products(graph: Graph) -> Graph:
    """Rewrite products and sums of ``x + y.T``, both wide, as those of each.

    The gradient of a product of a matrix with itself is one. Its rows need rows and columns of what
    is computed from the product; without the sum, rows do.
    """
    users = users_of(graph)
    sums = {
        node
        for node in graph.nodes
        if isinstance(node.op, Add | Sub)
        and _bytes(node.types[0]) >= limits().wide_product
        and all(arg.type == node.types[0] for arg in node.args)
        and len({isinstance(arg.node.op, Transpose) for arg in node.args}) > 1
        and all(map(_is_linear, users[node, 0]))
    }

    def distribute(node: Node, args: tuple[Symbolic, ...]) -> Symbolic | None:
        for place, arg in enumerate(args):
            if arg.node in sums and _is_linear(node):
                op: Any = node.op
                with within(node.origin, node.order):
                    terms = [op(*args[:place], term, *args[place + 1 :]) for term in arg.node.args]
                    return cast(Symbolic, arg.node.op(*terms))
        return None

    return graph.replace_nodes(distribute).without_dead_nodes() if sums else graph


def _is_linear(node: Node) -> bool:
    """Return whether a node is a product, or a sum over axes."""
    form = node.form
    return isinstance(form, Contract) or (isinstance(form, Reduce) and form.kind == "sum")


def _find_regions(graph: Graph, seed: Node, *, is_distributed: bool = False) -> Iterator[_Region]:
    """Yield the regions of a product, one for what may be its rows, that have chunks."""
    for rows in _find_rows(graph, seed):
        region = _Region.find(graph, seed, rows)
        if region is not None:
            region.is_distributed = is_distributed
            yield region


def _find_rows(graph: Graph, seed: Node) -> Iterator[RowAxis]:
    """Yield what may be the rows of a product: those of one of its axes, or several at once.

    Where a reshape divides an axis, the rows of a chunk fill one of the axes that it makes.
    """
    sizes = {size for node in graph.nodes if isinstance(node.op, Reshape) for size in node.op.shape}
    for axis, size in enumerate(seed.types[0].shape):
        yield RowAxis(axis)
        if isinstance(size, int):
            counts = [n for n in sizes if isinstance(n, int) and 1 < n < size and size % n == 0]
            yield from (RowAxis(axis, size // count) for count in sorted(counts, reverse=True))


@cached_on_first(1)
def _elements(kind: TensorType) -> int:
    return prod([hint_value(size, OPEN_SIZE) for size in kind.shape])


def _bytes(kind: TensorType) -> int:
    return _elements(kind) * kind.dtype.itemsize


def _is_wide_product(node: Node) -> bool:
    """Return whether a node multiplies by one matrix to a wide result.

    A second factor of each batch is one of attention: blocks compute it (``fusion/blocks.py``).
    """
    form = node.form
    if not isinstance(form, Contract) or form.panels or node.args[1].ndim != 2:
        return False
    nbytes = _bytes(node.types[0])
    return (
        nbytes >= limits().wide_product and nbytes > sum(_bytes(arg.type) for arg in node.args) // 2
    )


def _count_flops(product: Node) -> int:
    inner = product.args[0].shape[
        _terms_axis(cast(Contract, product.form), 0, product.args[0].ndim)
    ]
    return 2 * hint_value(inner, OPEN_SIZE) * _elements(product.types[0])


# -- how rows go through an op ---------------------------------------------------------------------


def _find_reshaped_rows(
    rows: RowAxis, shape: Sequence[Size], new_shape: Sequence[Size]
) -> RowAxis | None:
    """Return where the rows are in the other shape of an array; None if no axis has them alone."""
    prefix, count = product(shape[: rows.axis]), divide_exactly(shape[rows.axis], rows.elements)
    if count is None or count == 0:
        return None
    for axis, size in enumerate(new_shape):
        elements = divide_exactly(size, count)
        if product(new_shape[:axis]) == prefix and elements is not None and size != 0:
            return RowAxis(axis, elements)
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
        case GatherAlong(axis=along) | ScatterAlong(axis=along) | Scan(axis=along):
            pairs = {axis: axis for axis in range(len(shape)) if axis != along}
        case SortForm(axis=along):
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

    Not those of a slice that begins behind the first row, or of a reshape that mixes them.
    """
    if isinstance(node.op, Iota | Broadcast) or _scatters_one_row(node, rows):
        return True
    if isinstance(node.form, Pointwise) and not node.form.sizes and not node.form.indexed:
        return True
    return any(_rows_before(node, place, rows) is not None for place in range(len(node.args)))


def _scatters_one_row(node: Node, rows: RowAxis | None) -> bool:
    """Return whether a node writes an element along the rows, at one row for each other index."""
    op = node.op
    if not isinstance(op, ScatterIntoAlong) or rows is None:
        return False
    return op.axis == rows.axis and node.args[0].shape[op.axis] == 1


def _takes_one_row(node: Node, rows: RowAxis | None) -> bool:
    """Return whether a node reads an element along the rows, of one row for each other index."""
    op = node.op
    if not isinstance(op, TakeAlong) or rows is None:
        return False
    return op.axis == rows.axis and node.types[0].shape[op.axis] == 1


def _reduced_rows(node: Node, place: int, rows: RowAxis) -> tuple[RowAxis | None, ...]:
    """Return the rows of all operands if the node reduces over those of one; else nothing."""
    form = node.form
    if place == 0 and _takes_one_row(node, rows):
        return (rows, None)
    if isinstance(form, Reduce) and rows.axis in form.axes:
        is_rounded = form.kind == "sum" and node.types[0].dtype.is_storage
        return () if is_rounded else (rows,)
    if isinstance(form, Contract) and not form.panels and not node.types[0].dtype.is_storage:
        axes = [_terms_axis(form, number, arg.ndim) for number, arg in enumerate(node.args)]
        if axes[place] == rows.axis:
            return tuple(RowAxis(axis, rows.elements) for axis in axes)
    return ()


def _with_rows(op: Op, rows: RowAxis, count: Size) -> Op:
    """Return an op whose result has so many rows."""
    match op:
        case Reshape(shape=shape) | Broadcast(shape=shape) | Iota(shape=shape):
            return replace(op, shape=_resize(shape, rows, count))
        case Slice(lengths=lengths):
            return replace(op, lengths=_resize(lengths, rows, count))
    return op


def _resize(shape: Sequence[Size], rows: RowAxis, count: Size) -> tuple[Size, ...]:
    return (*shape[: rows.axis], rows.elements * count, *shape[rows.axis + 1 :])


_COMPUTED: Final = (
    Pointwise | Identity | Reduce | GatherAlong | ScatterAlong | Contract | Scan | SortForm
)


def _goes_by_rows(node: Node) -> bool:
    form = node.form
    if isinstance(node.op, Iota):
        return True
    if not node.args or getattr(form, "panels", False):
        return False
    return isinstance(form, _COMPUTED) or isinstance(
        node.op, Reshape | Broadcast | Transpose | Slice
    )


#: Kind of reduction -> the op that combines the results of two chunks.
_COMBINING: Final[Mapping[str, Callable[..., Any]]] = {
    "sum": Add(), "max": Maximum(), "min": Minimum(), "and": BitAnd(), "or": BitOr(),
    "xor": BitXor(),
}  # fmt: skip


def _kind_of_reduction(node: Node) -> str:
    return node.form.kind if isinstance(node.form, Reduce) else "sum"


def _combine(
    first: Mapping[Node, Symbolic],
    second: Mapping[Node, Symbolic],
    shifted: Mapping[Node, ShiftedSum],
) -> dict[Node, Symbolic]:
    """Combine the results of reductions over two chunks of rows."""
    combined = {
        node: cast(Symbolic, _COMBINING[_kind_of_reduction(node)](first[node], second[node]))
        for node in first
        if node not in shifted
    }
    for node in [node for node in first if node in shifted]:
        largest = shifted[node].maximum
        shift = finite_or_zero(combined[largest])
        terms = [shift_again(chunk[largest], chunk[node], shift) for chunk in (first, second)]
        combined[node] = cast(Symbolic, Add()(*terms))
    return combined


def _neutral(node: Node) -> Symbolic:
    """Return the result of a reduction over no rows."""
    kind = node.types[0]
    if (name := _kind_of_reduction(node)) == "sum":
        return cast(Symbolic, zeros_like_type(kind))
    number = Symbolic.lift(COMBINERS[name].identity(kind.dtype), kind.dtype)
    return cast(Symbolic, broadcast_to(number, kind.shape))


# -- the region of a product -----------------------------------------------------------------------


class _NoRegionError(Exception):
    """A value is read in another way than row by row."""


class _WideResultsError(Exception):
    """Products of wide values have to be stored, since more than a loop reads them."""

    def __init__(self, nodes: set[Node]) -> None:
        self.nodes = nodes


@dataclass(frozen=True)
class _LoopOfChunks:
    """One loop: what it computes of each chunk, and reads; all are ordered sets.

    ``reductions``: those over rows, which are complete behind the loop; ``by_rows``: nodes that
    are read outside of it, chunks of which it stacks.
    """

    reductions: list[Node] = field(default_factory=list)
    by_rows: list[Node] = field(default_factory=list)
    items: dict[Item, None] = field(default_factory=dict)
    operands: dict[Operand, Symbolic] = field(default_factory=dict)


class _Region:
    """The nodes that are computed chunk by chunk, and where their values have ``rows``."""

    def __init__(
        self, graph: Graph, seeds: Mapping[Node, RowAxis], results: AbstractSet[Node]
    ) -> None:
        """``results``: products of wide values that are stored though they may be wide."""
        self.graph = graph
        self.users = users_of(graph)
        self.seed = next(iter(seeds))
        self.is_distributed = False
        self.seeds, self.wide_results = seeds, results
        self._wide_elements, self._wide_bytes = _elements(self.seed.types[0]), limits().wide_product
        self.rows: dict[Node, RowAxis] = {**seeds}
        self.count = cast(Size, divide_exactly(*_sizes_of_rows(self.seed, seeds[self.seed])))
        self.reduced: dict[Node, tuple[RowAxis | None, ...]] = {}
        #: Reductions that are sums of exponentials, each computed with the maximum it is less.
        self.shifted: dict[Node, ShiftedSum] = {}
        self.levels: dict[Node, int] = dict.fromkeys(seeds, 0)
        self._follow_rows()
        if self.shifted:
            self.users = self._find_users()
        self.inside = self._find_nodes()
        self.loops = self._find_loops()

    @classmethod
    def find(cls, graph: Graph, seed: Node, rows: RowAxis) -> _Region | None:
        """Return the region of a product, and of the wide products that are read beside it."""
        seeds, results = {seed: rows}, set[Node]()
        try:
            while True:
                try:
                    region = cls(graph, seeds, results)
                except _WideResultsError as error:
                    results |= error.nodes
                    continue
                others = {
                    value.node: rows_of_value
                    for loop in region.loops
                    for (_, rows_of_value), value in loop.operands.items()
                    if rows_of_value is not None and _is_wide_product(value.node)
                }
                if not others:
                    return region if region.pays() else None
                seeds |= others
        except _NoRegionError:
            return None

    def _is_wide(self, node: Node) -> bool:
        """Return whether a value has as many elements as the product, or bytes; no result has."""
        if node in self.wide_results:
            return False
        return any(
            _elements(kind) >= self._wide_elements or _bytes(kind) >= self._wide_bytes
            for kind in node.types
        )

    @cached_property
    def beside(self) -> set[Node]:
        """The nodes whose values are wide, or follow row by row from such, without products.

        No seed is computed from them.
        """
        seed_ancestors = set(ancestors([seed.values[0] for seed in self.seeds]))
        followers: set[Node] = set()
        for node in self.graph.nodes:
            follows = self._is_wide(node) or not followers.isdisjoint([a.node for a in node.args])
            if (
                follows
                and node not in seed_ancestors
                and _goes_by_rows(node)
                and not isinstance(node.form, Contract)
            ):
                followers.add(node)
        return followers

    def _follow_rows(self) -> None:
        """Find the values that are computed row by row from the seeds, and reductions over rows.

        Other nodes that depend on them are outside. What reads a reduction or one of these has a
        higher level.
        """
        for node in self.graph.nodes:
            operands = [arg.node for arg in node.args]
            if node in self.levels or self.levels.keys().isdisjoint(operands):
                continue
            ways = [
                (place, self.rows[arg.node])
                for place, arg in enumerate(node.args)
                if arg.node in self.rows and arg.node not in self.wide_results
            ]
            is_row_by_row = False
            if ways and _goes_by_rows(node):
                results = {_rows_after(node, *way) for way in ways}
                reduced = {_reduced_rows(node, *way) for way in ways}
                if len(results) == 1 and (rows := results.pop()) is not None:
                    self.rows[node] = rows
                    is_row_by_row = True
                elif len(reduced) == 1 and (rows_of_operands := reduced.pop()):
                    self.reduced[node] = rows_of_operands
                    is_row_by_row = True
                    if (level := self._find_level_of_maximum(node)) is not None:
                        self.levels[node] = level
                        continue
            self.levels[node] = max(
                self.levels[arg.node] + (is_row_by_row and arg.node not in self.rows)
                for arg in node.args
                if arg.node in self.levels
            )

    def _find_level_of_maximum(self, total: Node) -> int | None:
        """Return the level of the maximum that a sum of exponentials is computed with, or None."""
        shifted = find_shifted_sum(total)
        if shifted is None or shifted.maximum not in self.reduced:
            return None
        level = self.levels[shifted.maximum]
        if self.levels[shifted.shift.node] != level:
            return None  # the shift reads more than the maximum
        self.shifted[total] = shifted
        self.reduced[total] = (self.rows[shifted.x.node],)
        return level

    def _operands_of(self, node: Node) -> Sequence[Symbolic]:
        """Return what a node reads, as the loops compute it."""
        return (self.shifted[node].x,) if node in self.shifted else node.args

    def _find_users(self) -> dict[ValueKey, list[Node]]:
        """Return the nodes that read each value, as the loops compute them, and are needed."""
        values = [value for node in self.graph.nodes for value in node.values]
        users: dict[ValueKey, list[Node]] = {value.key: [] for value in values}
        needed = {value.node for value in self.graph.roots}
        for node in reversed(self.graph.nodes):
            if node not in needed:
                continue
            operands = self._operands_of(node)
            for value in operands:
                users[value.key].append(node)
            needed.update(value.node for value in operands)
            if node in self.shifted:
                needed.update((self.shifted[node].maximum, self.shifted[node].shift.node))
        return users

    def _find_nodes(self) -> dict[Node, None]:
        """Find the nodes on the ways from the seeds to wide values and to their readers."""
        roots = {value.node for value in self.graph.roots}
        needed: set[Node] = set()
        for node in self.rows:
            readers = self._readers(node)
            if self._is_wide(node) and (readers or node in roots):
                if node in roots or not all(n in self.rows or n in self.reduced for n in readers):
                    raise _WideResultsError(self._find_results(node))
                needed.update((node, *readers))
        for node in reversed(self.graph.nodes):
            if node in needed:
                needed.update(n.node for n in self._operands_of(node) if n.node in self.levels)
        for node in self.rows:
            source = node.args[0].node if isinstance(node.op, Transpose) else None
            if source in needed and len(self._readers(source)) == 1 and not self._is_wide(node):
                needed.add(node)  # chunks of it are stacked in the place of what it transposes
        return {
            node: None
            for node in self.graph.nodes
            if node in needed and (node in self.rows or node in self.reduced)
        }

    def _find_results(self, node: Node) -> set[Node]:
        """Return products of wide values that a wide node is computed from, all but the seeds.

        They are taken behind a transpose that alone reads them. There is no region if the node is
        computed from a seed without such a product.
        """
        results: set[Node] = set()

        def rows_of(node: Node) -> list[Node]:
            is_product = isinstance(node.form, Contract)
            return [] if is_product else [a.node for a in node.args if a.node in self.rows]

        for source in reach([node], rows_of):
            if source in self.seeds:
                raise _NoRegionError
            if isinstance(source.form, Contract):
                result, readers = source, self._readers(source)
                while len(readers) == 1 and isinstance(readers[0].op, Transpose):
                    result, readers = readers[0], self._readers(readers[0])
                results.add(result)
        return results

    def _readers(self, node: Node) -> list[Node]:
        return [user for index in range(len(node.types)) for user in self.users[node, index]]

    def _rows_of_operand(self, item: Item, place: int) -> RowAxis | None:
        node, rows = item
        if rows is None:
            return self.reduced[node][place]
        if _scatters_one_row(node, rows):
            return None
        return _rows_before(node, place, rows)

    def _find_loops(self) -> list[_LoopOfChunks]:
        """Find what each loop computes, the last loop first."""
        roots = {value.node for value in self.graph.roots}
        stacked = {
            node
            for node in self.inside
            if node in self.rows
            and (node in roots or any(n not in self.inside for n in self._readers(node)))
        }
        loops = []
        for level in range(max(self.levels[node] for node in self.inside), -1, -1):
            loop = _LoopOfChunks()
            nodes = [node for node in self.inside if self.levels[node] == level]
            loop.reductions.extend(node for node in nodes if node in self.reduced)
            loop.by_rows.extend(node for node in nodes if node in stacked)
            self._close(loop, level, stacked)
            loops.append(loop)
        loops.reverse()
        return loops

    def _close(self, loop: _LoopOfChunks, level: int, stacked: set[Node]) -> None:
        """Add what the results of a loop are computed from.

        Narrow values of earlier loops are read, and ``stacked`` there.
        """
        waiting: list[Item] = [(node, None) for node in loop.reductions]
        waiting += [(node, self.rows[node]) for node in loop.by_rows]
        while waiting:
            item = waiting.pop()
            if item in loop.items:
                continue
            loop.items[item] = None
            for place, arg in enumerate(self._operands_of(item[0])):
                if isinstance(arg.node.op, Constant):
                    continue
                rows = self._rows_of_operand(item, place)
                inside = arg.node in self.inside and arg.node in self.rows
                if inside and (self.levels[arg.node] == level or self._is_wide(arg.node)):
                    if self.rows[arg.node] != rows:
                        raise _NoRegionError
                    waiting.append((arg.node, rows))
                    continue
                if inside:
                    stacked.add(arg.node)
                elif arg.node in self.beside and rows and _may_compute_rows(arg.node, rows):
                    waiting.append((arg.node, rows))
                    continue
                loop.operands[arg.key, rows] = arg

    def _products_again(self) -> Iterator[Node]:
        """Yield the products that are computed again, once for each time."""
        for level, loop in enumerate(self.loops):
            for node, _ in loop.items:
                if isinstance(node.form, Contract) and self.levels[node] < level:
                    yield node
        if self.is_distributed:
            yield self.seed  # instead of one product of a sum there are two

    @property
    def flops_again(self) -> int:
        """The operations of products that are computed again."""
        return sum(map(_count_flops, self._products_again()))

    @property
    def is_cheap(self) -> bool:
        """Return whether loops are worth their time without a budget.

        Products that are computed again take no longer than storing them, and chunks with the sums
        over rows, which each chunk reads and writes, at most a share of its memory.
        """
        nbytes = sum(_bytes(node.types[0]) for node in self._products_again())
        return self.flops_again <= limits().byte_flops * nbytes and self.saves_memory

    @property
    def saves_memory(self) -> bool:
        """Return whether what is stored takes at most a share of the bytes of the product."""
        return self.bytes_stored <= limits().chunk_share * _bytes(self.seed.types[0])

    @property
    def bytes_stored(self) -> int:
        """The bytes of a chunk of the product, and of results that would not be there otherwise.

        These are reductions over rows, stacks of chunks that are read, and those to which the rows
        that fill no chunk are joined.
        """
        wide, rows = _bytes(self.seed.types[0]), hint_value(self.count, OPEN_SIZE)
        results = {node for loop in self.loops for node in loop.by_rows}
        if divide_exactly(self.count, self.chunk_rows()) is not None:
            results -= {value.node for value in self.graph.roots}
        results.update(node for loop in self.loops for node in loop.reductions)
        return wide * self.chunk_rows() // rows + sum(_bytes(node.types[0]) for node in results)

    def chunk_rows(self) -> int:
        """Return the rows of a chunk: of those that fill it to the last one, the fewest.

        A chunk of more than twice the fewest rows is a small part of a wide product.
        """
        least = -(
            -limits().chunk_rows // max(hint_value(rows.elements) for rows in self.rows.values())
        )
        if not isinstance(self.count, int):
            return least
        row = max(_bytes(self.seed.types[0]) // max(self.count, 1), 1)
        most = min(max(2 * least, limits().wide_product // LEAST_CHUNKS // row), self.count // 2)
        return next((n for n in range(least, most + 1) if self.count % n == 0), least)

    def pays(self) -> bool:
        """Return whether chunks take fewer bytes."""
        results = [node for loop in self.loops for node in loop.by_rows]
        has_chunks = hint_value(self.count, OPEN_SIZE) >= 2 * self.chunk_rows()
        return has_chunks and not any(map(self._is_wide, results))

    # -- the loops ---------------------------------------------------------------------------------

    def rewrite(self) -> Graph:
        """Return the graph with loops over chunks in the place of the region."""
        new: dict[ValueKey, Symbolic] = {}
        for level, loop in enumerate(self.loops):
            order = max(node.order for node, _ in loop.items)
            with within(self.seed.origin, order):
                new |= _LoopWriter(self, loop, new).results()
            for node in self.graph.nodes:
                if self.levels.get(node) != level:
                    continue
                if node not in self.inside:
                    rebuild_all([node], new)
                elif node in self.shifted:
                    with within(node.origin, node.order):
                        new[node, 0] = self._shift_total(node, new)
        changed = self.graph.replace_nodes(
            lambda node, _: [new[value.key] for value in node.values] if (node, 0) in new else None
        )
        return changed.without_dead_nodes()

    def _shift_total(self, total: Node, new: Mapping[ValueKey, Symbolic]) -> Symbolic:
        """Return a sum of exponentials by its own shift, of that which a loop has computed."""
        shifted = self.shifted[total]
        shift = reshape(new.get(shifted.shift.key, shifted.shift), total.types[0].shape)
        return shift_again(new[shifted.maximum, 0], new[total, 0], shift)


def _sizes_of_rows(node: Node, rows: RowAxis) -> tuple[Size, Size]:
    return node.types[0].shape[rows.axis], rows.elements


class _LoopWriter:
    """Builds one loop over chunks. The rows that fill no chunk are computed before, as the first.

    ``new``: values of the graph that earlier loops have changed.
    """

    def __init__(
        self, region: _Region, loop: _LoopOfChunks, new: Mapping[ValueKey, Symbolic]
    ) -> None:
        self.region, self.loop, self.new = region, loop, new
        self.nodes = [node for node in region.graph.nodes if any(n is node for n, _ in loop.items)]
        self.length = region.chunk_rows()
        self.parts: Size = region.count // self.length
        self.remainder: Size = region.count - self.parts * self.length
        self.order = max(node.order for node, _ in loop.items)
        self.values = {
            operand: new.get(value.key, value) for operand, value in loop.operands.items()
        }
        self._check_indices()

    def _check_indices(self) -> None:
        """Replace the indices along the rows by positions that are checked before the loop."""
        for node, rows in self.loop.items:
            if _takes_one_row(node, self.region.reduced.get(node, (None,))[0]):
                size = node.args[0].shape[cast(TakeAlong, node.op).axis]
            elif _scatters_one_row(node, rows):
                size = node.types[0].shape[cast(ScatterIntoAlong, node.op).axis]
            else:
                continue
            key = node.args[1].key, None
            if key in self.values:
                self.values[key] = _check_positions(self.values[key], size, node.op)

    def results(self) -> dict[ValueKey, Symbolic]:
        """Build the loop; return its results by what they replace."""
        origin, order = self.region.seed.origin, self.order
        sliced = [operand for operand in self.values if operand[1] is not None]
        stay = [operand for operand in self.values if operand[1] is None]
        number = body_input("i", NUMBER, origin, order)
        totals = [
            body_input(f"c{n}", node.types[0], origin, order)
            for n, node in enumerate(self.loop.reductions)
        ]
        inputs = {
            operand: body_input(f"x{n}", self._chunk_type(operand), origin, order)
            for n, operand in enumerate(sliced)
        }
        inputs |= {
            operand: body_input(f"p{n}", self.values[operand].type, origin, order)
            for n, operand in enumerate(stay)
        }
        computed = self._compute(self.length, inputs, self._position(number))
        combined = _combine(
            dict(zip(self.loop.reductions, totals, strict=True)),
            {node: computed[node, 0] for node in self.loop.reductions},
            self.region.shifted,
        )
        outputs = {f"c{n}": combined[node] for n, node in enumerate(self.loop.reductions)}
        by_rows = [value for node in self.loop.by_rows for value in node.values]
        outputs |= {f"y{n}": computed[value.key] for n, value in enumerate(by_rows)}
        body = body_of([number, *totals, *inputs.values()], outputs)
        first = self._compute_first()
        starts = [first[node, 0] if first else _neutral(node) for node in self.loop.reductions]
        stacks = [self._divide(operand) for operand in sliced]
        invariants = [self.values[operand] for operand in stay]
        results: Any = Loop(body, self.parts, len(starts), len(stacks))(
            *starts, *stacks, *invariants
        )
        results = [*results] if isinstance(results, tuple) else [results]
        values = {(node, 0): results[n] for n, node in enumerate(self.loop.reductions)}
        for value, stack in zip(by_rows, results[len(starts) :], strict=True):
            joined = self._join(value, stack)
            if first:
                axis = self.region.rows[value.node].axis
                joined = cast(Symbolic, Concat(axis)(first[value.key], joined))
            values[value.key] = joined
        return values

    def _compute_first(self) -> Mapping[ValueKey, Symbolic]:
        """Compute the rows that fill no chunk, which are the first ones; nothing if none are."""
        if self.remainder == 0:
            return {}
        inputs = {
            operand: value if operand[1] is None else self._part(operand, 0, self.remainder)
            for operand, value in self.values.items()
        }
        return self._compute(self.remainder, inputs, None)

    def _position(self, number: Symbolic) -> Symbolic:
        """Return the number of the first row of a chunk."""
        return cast(Symbolic, number * self.length + _number(self.remainder))

    def _compute(
        self, count: Size, inputs: Mapping[Operand, Symbolic], position: Symbolic | None
    ) -> Mapping[ValueKey, Symbolic]:
        """Build the nodes of the loop for so many rows, from the row at ``position`` on."""
        by_item: dict[tuple[Item, int], Symbolic] = {}
        for node in self.nodes:
            for item in [item for item in self.loop.items if item[0] is node]:
                args = []
                for place, arg in enumerate(self.region._operands_of(node)):
                    rows = self.region._rows_of_operand(item, place)
                    outside = inputs.get((arg.key, rows), arg)
                    args.append(by_item.get(((arg.node, rows), arg.index), outside))
                if node in self.region.shifted:
                    args.append(by_item[(self.region.shifted[node].maximum, None), 0])
                with within(node.origin, self.order):
                    results = self._compute_item(item, args, count, position)
                by_item |= {(item, n): result for n, result in enumerate(results)}
        return {(item[0], n): value for (item, n), value in by_item.items()}

    def _compute_item(
        self, item: Item, args: Sequence[Any], count: Size, position: Symbolic | None
    ) -> Sequence[Symbolic]:
        node, rows = item
        op: Any = node.op
        if node in self.region.shifted:
            x, largest = args
            return [sum_less_maximum(x, largest, op.axes)]
        if rows is None:
            reduced = self.region.reduced[node][0]
            if reduced is not None and _takes_one_row(node, reduced):
                chosen = _equals_position(args[1], reduced, args[0].shape, position)
                return [cast(Symbolic, _sum_along(where(chosen, args[0], -0.0), reduced.axis))]
            if isinstance(op, Extreme) and not isinstance(count, int):
                op = replace(op, neutral=True)  # the rows may be none
        elif isinstance(op, Iota) and op.axis == rows.axis and position is not None:
            integers = replace(op, shape=_resize(op.shape, rows, count), dtype=I64)
            shifted = integers() + position * _number(rows.elements)
            return [cast(Symbolic, astype(shifted, op.dtype))]
        elif _scatters_one_row(node, rows):
            shape = _resize(node.types[0].shape, rows, count)
            chosen = _equals_position(args[1], rows, shape, position)
            return [cast(Symbolic, where(chosen, args[0], 0.0))]
        else:
            op = _with_rows(op, rows, count)
        results = op(*args)
        return [*results] if isinstance(results, tuple) else [results]

    def _chunk_type(self, operand: Operand) -> TensorType:
        rows = cast(RowAxis, operand[1])
        kind = self.values[operand].type
        return kind.with_shape(_resize(kind.shape, rows, self.length))

    def _divide(self, operand: Operand) -> Symbolic:
        """Return an array as a stack of chunks."""
        axis, elements = cast(RowAxis, operand[1])
        rows = self._part(operand, self.remainder, self.parts * self.length)
        shape = (*rows.shape[:axis], self.parts, elements * self.length, *rows.shape[axis + 1 :])
        return cast(Symbolic, moveaxis(Reshape(shape)(rows), axis, 0))

    def _part(self, operand: Operand, begin: Size, count: Size) -> Symbolic:
        """Return so many rows of an array."""
        value, rows = self.values[operand], cast(RowAxis, operand[1])
        shape = _resize(value.shape, rows, count)
        if shape == value.shape:
            return value
        starts = tuple(begin * rows.elements if n == rows.axis else 0 for n in range(value.ndim))
        return cast(Symbolic, Slice(starts, shape, (1,) * value.ndim)(value))

    def _join(self, value: Symbolic, stack: Symbolic) -> Symbolic:
        """Return the chunks of a stack one after the other."""
        rows = self.region.rows[value.node]
        shape = _resize(value.shape, rows, self.parts * self.length)
        return cast(Symbolic, Reshape(shape)(moveaxis(stack, 0, rows.axis)))


def _number(size: Size) -> Any:
    return size if isinstance(size, int) else size_value(size, I64)


def _check_positions(indices: Symbolic, size: Size, op: Any) -> Symbolic:
    """Return indices as positions from 0 on; those outside of an axis of this size raise."""
    if op.inside:
        return cast(Symbolic, astype(indices, I64))
    positions = Iota((size,), 0, I64)()
    if op.wrap:
        return cast(Symbolic, Take(0)(positions, indices))
    flat = Reshape((product(indices.shape),))(indices)
    return cast(Symbolic, Reshape(indices.shape)(TakeAlong(0, wrap=False)(positions, flat)))


def _equals_position(
    indices: Symbolic, rows: RowAxis, shape: Sequence[Size], position: Symbolic | None
) -> Any:
    """Return where an index along the rows is that of the row."""
    if position is not None:
        indices = cast(Symbolic, indices - position * _number(rows.elements))
    return equal(indices, Iota(tuple(shape), rows.axis, I64)())


def _sum_along(x: Any, axis: int) -> Any:
    return expand_dims(Sum((axis,))(x), axis)
