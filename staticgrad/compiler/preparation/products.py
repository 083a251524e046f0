"""Rewrites of products: vectors, transposes, blocks of terms, panels, narrow storage.

**Transposes.** A product that is only read transposed is computed with the factors swapped.

**Blocks of terms.** Such a product is one iteration, which is the work of one thread. Each block of
``GEMM_BLOCK`` terms is a chain of its own, and blocks are added one after the other: so a product
for each block, of which a sum adds up the first ``GROUPS`` in that order, has the same bits. The
terms behind the last whole block are added last.

**Panels.** Where a matrix lies row by row, a tile reads a few columns of each row: lines far apart,
of which rows of a multiple of some hundred bytes take the same few sets of the L1 cache, so that
each tile fetches them again. In panels they lie one behind the other. What stays the same for all
iterations is brought into that order once, before the first one; each element of a product is the
chain that it was.

**Storage dtypes.** Totals in memory are computed wide; products read narrow operands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, cast

from staticgrad.compiler.preparation.loops import Arrangement, with_arranged
from staticgrad.language.ir.forms import Identity, ReshapeForm, Scan, Scatter, ScatterAlong, View
from staticgrad.language.ir.graph import Graph, Node, Symbolic, rebuild
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.known import EVEN
from staticgrad.language.ir.kernels.stages import STREAMED, panel_columns
from staticgrad.language.ir.summation import GROUPS
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import Mul
from staticgrad.language.ops.contract import MatMul, PanelMatMul
from staticgrad.language.ops.convert import Cast, astype
from staticgrad.language.ops.movement import Reshape, Transpose, reshape, swapaxes, transpose
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import TensorType, hint_value
from staticgrad.support.building import within

_IN_MEMORY = Scan | Scatter | ScatterAlong


def widen_accumulation(graph: Graph) -> Graph:
    """Return the graph with its totals of storage dtypes computed in their compute dtypes.

    Their kernels add to elements of the result that they wrote before. Of a storage dtype each of
    those would be rounded on its way, so the total is a value of the compute dtype, and rounded to
    the result once it is whole. Reductions and products of matrices accumulate in registers, and
    are widened where they are lowered.
    """

    def widened(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.form, _IN_MEMORY) or not node.types[0].dtype.is_storage:
            return None
        with within(node.origin, node.order):
            total = node.op(*[wide(arg) for arg in args])
            return (cast(Symbolic, astype(total, node.types[0].dtype)),)

    if not any(t.dtype.is_storage for node in graph.nodes for t in node.types):
        return graph
    return graph.replace_nodes(widened)


def wide(value: Symbolic) -> Symbolic:
    """Return a value of a storage dtype in its compute dtype; other values unchanged."""
    dtype = value.dtype
    return cast(Symbolic, astype(value, dtype.compute)) if dtype.is_storage else value


def is_wide_copy(value: Symbolic) -> bool:
    """Return whether a value is a narrow one widened, or a view of that."""
    node = value.node
    if isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        return is_wide_copy(node.args[0])
    return (
        isinstance(node.op, Cast)
        and value.dtype is not (stored := node.args[0].dtype)
        and (value.dtype is stored.compute)
    )


def narrowest(value: Symbolic) -> Symbolic:
    """Return the narrow value of a wide copy (or the same view of it); else the value."""
    if not is_wide_copy(value):
        return value
    node = value.node
    (copied,) = node.args
    if isinstance(node.op, Cast):
        return copied
    return rebuild(node, (narrowest(copied),)).values[0]


#: Blocks that a product should have, at least, and bytes of a column of the result, at most: more
#: are slower on one thread.
_FEWEST: Final = 2
_MOST_BYTES: Final = 256


def with_product_parts(graph: Graph) -> Graph:
    """Return the graph with products of few rows and columns over many terms as sums of parts."""

    def rewritten(node: Node, op: MatMul, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not _is_long(node, op, args):
            return None
        left, right = args
        a = left if op.transpose_a else swapaxes(left, 0, 1)
        b = swapaxes(right, 0, 1) if op.transpose_b else right
        return (_added_up(a, b),)

    return graph.replace_ops(MatMul, rewritten)


def _is_long(node: Node, op: MatMul, args: tuple[Symbolic, ...]) -> bool:
    if node.types[0].rank != 2:
        return False
    kind = node.types[0]
    terms = args[0].shape[0 if op.transpose_a else 1]
    plain = kind.dtype.is_float and not kind.dtype.is_storage
    if not (plain and isinstance(terms, int)):
        return False
    rows, columns = map(hint_value, kind.shape)
    one = rows * kind.dtype.itemsize <= _MOST_BYTES and columns <= panel_columns(kind.dtype)
    several = _FEWEST <= terms // GEMM_BLOCK <= GROUPS
    return one and several and all(narrowest(arg) is arg for arg in args)


def _added_up(a: Any, b: Any) -> Symbolic:
    terms = a.shape[0]
    assert isinstance(terms, int)
    blocks = terms // GEMM_BLOCK
    whole = blocks * GEMM_BLOCK
    found: Any = Sum((0,))(_product(*(_in_blocks(factor[:whole], blocks) for factor in (a, b))))
    if whole < terms:
        found = found + _product(a[whole:], b[whole:])
    result: Symbolic = found
    return result


def _in_blocks(factor: Any, blocks: int) -> Any:
    return Reshape((blocks, GEMM_BLOCK, factor.shape[1]))(factor)


def _product(a: Any, b: Any) -> Any:
    return MatMul(transpose_a=True)(a, b)


#: Rows, and columns, from which on products are no slower the other way round.
_WIDE: Final = 64


def expand_vector_products(graph: Graph) -> Graph:
    """Return the graph with its vector products as multiplications and sums.

    A product with one column, one row, or one inner index moves far more bytes than a tile of
    registers can reuse. As a multiplication that a sum reads it streams through its matrix once,
    and shares a kernel with what stands before and behind it. The sum follows the lane rule of
    ``ir/summation.py`` along the inner axis, or (``MatMul.down``) the column rule, however its
    operands lie. Where columns times rows are only read transposed, rows times columns are
    computed: their reader walks along memory.
    """
    expanding = _Expanding(graph)
    found = graph.replace_nodes(expanding.expanded)
    return found.without_dead_nodes() if expanding.spared else found  # what nobody reads


class _Expanding:
    def __init__(self, graph: Graph) -> None:
        self.spared = False
        self._graph = graph
        self._outer: dict[Node, tuple[Value, Value]] = {}  # columns times rows, by what they became

    def expanded(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if isinstance(node.op, Transpose):
            return self._transposed(node, args[0])
        if not isinstance(node.op, MatMul):
            return None
        product = node.op
        *_, rows, columns = node.types[0].shape
        inner = args[0].shape[-2 if product.transpose_a else -1]
        lying = args[1].shape[-1 if product.transpose_b else -2]  # a name is 1 by a check alone
        if 1 not in (rows, columns) and (inner, lying) != (1, 1):
            return None
        with within(node.origin, node.order):
            # As [..., rows, inner] and [..., columns, inner], widened behind the views: those of a
            # wide copy would keep it in memory.
            left, right = factors = [*map(narrowest, args)]
            self.spared |= any(x is not arg for x, arg in zip(factors, args, strict=True))
            a = swapaxes(left, -1, -2) if product.transpose_a else left
            b = right if product.transpose_b else swapaxes(right, -1, -2)
            if 1 not in (rows, columns):  # one inner index: nothing to add up
                pair = (a, swapaxes(b, -1, -2))
                found = _as(_multiplied(*pair), node)
                self._outer[found.node] = pair
                return (found,)
            down = product.down and (rows, columns) != (1, 1)
            pair = (swapaxes(a, -1, -2), swapaxes(b, -1, -2)) if down else (a, b)
            terms = _multiplied(*pair)
            total = Sum((terms.ndim - (2 if down else 1),))(terms)
            return (_as(Reshape(node.types[0].shape)(total), node),)

    def _transposed(self, node: Node, product: Symbolic) -> Sequence[Symbolic] | None:
        # Factors of which neither lies across memory would both do so.
        (read,), op = node.args, product.node.op
        last = (*range(read.ndim - 2), read.ndim - 1, read.ndim - 2)
        if cast(Transpose, node.op).perm != last or self._reads[read.key] > 1:
            return None
        found: Value | None = None
        with within(read.node.origin, node.order):
            if product.node in self._outer:
                transposed = [swapaxes(factor, -1, -2) for factor in self._outer[product.node]]
                found = _as(_multiplied(*transposed), node)
            elif isinstance(op, MatMul) and (op.transpose_a or op.transpose_b) and _is_wide(read):
                product_of = MatMul(not op.transpose_b, not op.transpose_a, op.down)
                found = cast(Symbolic, product_of(*product.node.args[::-1]))
        self.spared |= found is not None
        return None if found is None else (cast(Symbolic, found),)

    @cached_property
    def _reads(self) -> Counter[tuple[Node, int]]:
        found = Counter(value.key for value in self._graph.roots)
        found.update(arg.key for node in self._graph.nodes for arg in node.args)
        return found


def _is_wide(product: Symbolic) -> bool:
    return min(map(hint_value, product.shape[-2:])) >= _WIDE


def _multiplied(a: Value, b: Value) -> Value:
    return Mul()(wide(cast(Symbolic, a)), wide(cast(Symbolic, b)))


def _as(value: Value, node: Node) -> Symbolic:
    """Return a value in the dtype of a node's result, rounded once."""
    return cast(Symbolic, astype(value, node.types[0].dtype))


#: Iterations for which that pays: copying the matrix takes the time that some of them gain.
FEWEST_ITERATIONS: Final = 16
#: Rows of an iteration's product up to which it pays: tiles of more rows read a panel that is near.
MOST_ROWS: Final = 64
#: Elements of a matrix: fewer lie in the L1 cache whatever their order, of more the copy is
#: no longer small beside what else a program keeps.
ELEMENTS: Final = range(1 << 14, (1 << 17) + 1)
#: Panels of a matrix, at least.
FEWEST_PANELS: Final = 4
#: The copy takes no more elements than the results of all iterations, divided by this.
PART: Final = 4


def _pays_in_panels(value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
    sizes = [size for size in value.shape if isinstance(size, int)]
    if value.ndim != 2 or value.dtype.is_storage or len(sizes) < 2:
        return False
    inner, columns = sizes
    width = panel_columns(value.dtype)
    whole = columns % width == 0 and columns >= FEWEST_PANELS * width and inner % EVEN != 0
    pays = whole and inner * columns in ELEMENTS
    return pays and all(_is_product(value, node, iterations) for node in readers)


def _in_panels(value: Symbolic) -> Symbolic:
    panels, inner, columns = _panels_type(value.type).shape
    apart = reshape(value, (inner, panels, columns))
    return cast(Symbolic, transpose(apart, (1, 0, 2)))


def _panels_type(kind: TensorType) -> TensorType:
    inner, columns = map(hint_value, kind.shape)
    width = panel_columns(kind.dtype)
    return kind.with_shape((columns // width, inner, width))


#: Panels of a few columns of all rows, one behind the other.
_PANELS: Final = Arrangement(
    FEWEST_ITERATIONS, _pays_in_panels, _in_panels, _panels_type, lambda _: PanelMatMul()
)


def with_panels(graph: Graph) -> Graph:
    """Return the graph whose loops take such matrices in panels; each element is what it was."""
    return with_arranged(graph, _PANELS)


def _is_product(value: Symbolic, node: Node, iterations: int) -> bool:
    op = node.op
    if not isinstance(op, MatMul) or op.transpose_a or op.transpose_b or node.args[0].ndim != 2:
        return False
    rows = hint_value(node.types[0].shape[0])
    whole = STREAMED < rows <= MOST_ROWS and hint_value(value.shape[0]) * PART <= rows * iterations
    return whole and node.args[1].key == value.key != node.args[0].key
