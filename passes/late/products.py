"""Rewrites of products: vectors, transposes, blocks of terms, panels, narrow storage.

**Vectors.** A product with one row, one column or one term is a multiplication, and a sum::

    a[m, k] @ v[k, 1]     ->     sum(a * v.T, axis=-1)

**Transposes.** A product that is only read transposed is computed with the factors swapped.

**Blocks of terms (split-K).** A product of few rows and columns over many terms is one iteration,
which one thread runs. Each block of ``GEMM_BLOCK`` terms is a chain of its own, and blocks are
added one after the other. So one product per block, and a sum that adds up the first ``GROUPS`` of
them in this order, give bitwise identical results. The terms behind the last full block are added
last.

**Panels.** In a matrix in C order, a tile reads a few columns of each row: cache lines far apart.
If the row stride is a multiple of some hundred bytes, they map to the same few sets of the L1
cache, and each tile fetches them again. In panels they are contiguous. A loop-invariant matrix is
packed into panels once, before the first iteration; the chain of each element of a product is
unchanged.

**Reshaped products.** Elementwise nodes over a reshaped product are computed in the shape of the
product, so that they are its epilogue; their results are reshaped, which copies nothing. The
gradient of a convolution's filter is one with the step of an optimizer behind it::

    new = w[o, c, h, w] - rate * reshape(y @ patches.T, [o, c, h, w])
        ->     new = reshape(reshape(w, [o, c*h*w]) - rate * (y @ patches.T), [o, c, h, w])

**Storage dtypes.** Totals in memory are computed in the compute dtype; products read narrow
operands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, cast

from passes.late.base import late_pass
from passes.late.loops import Arrangement, arrange_invariants
from staticgrad.analysis.liveness import ValueKey, users_of
from staticgrad.language.ir.copies import rebuild
from staticgrad.language.ir.forms import (
    Identity,
    Pointwise,
    ReshapeForm,
    Scan,
    Scatter,
    ScatterAlong,
    View,
)
from staticgrad.language.ir.graph import Graph, Node, Symbolic
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.language.ir.kernels.known import EVEN
from staticgrad.language.ir.kernels.stages import STREAMED, panel_columns
from staticgrad.language.ir.summation import GROUPS
from staticgrad.language.ir.value import Value
from staticgrad.language.ops.arithmetic import Mul
from staticgrad.language.ops.contract import MatMul, PanelMatMul
from staticgrad.language.ops.convert import Cast, astype
from staticgrad.language.ops.movement import (
    Reshape,
    Transpose,
    last_exchanged,
    reshape,
    transpose,
    transpose_matrices,
)
from staticgrad.language.ops.reduce import Sum
from staticgrad.language.types.arrays import Shape, TensorType, hint_value
from staticgrad.language.types.dtype import BF16, F32, U32
from staticgrad.support.building import within

_IN_MEMORY = Scan | Scatter | ScatterAlong


@late_pass(
    "wide-totals",
    keeps="close",
    required="a narrow total would be rounded at each addition",
)
def widen_accumulation(graph: Graph) -> Graph:
    """Rewrite sums of narrow floats as sums in their wide compute dtype.

    Their kernels (scans and scatters) add to elements of the result in memory. In a storage dtype
    each addition would be rounded, so the total is a value of the compute dtype, and is rounded to
    the result once, when it is complete. Reductions and products of matrices accumulate in
    registers, and are widened in lowering.
    """

    def widen_node(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        if not isinstance(node.form, _IN_MEMORY) or not node.types[0].dtype.is_storage:
            return None
        with within(node.origin, node.order):
            total = node.op(*[wide(arg) for arg in args])
            return (cast(Symbolic, astype(total, node.types[0].dtype)),)

    if not any(t.dtype.is_storage for node in graph.nodes for t in node.types):
        return graph
    return graph.replace_nodes(widen_node)


def wide(value: Symbolic) -> Symbolic:
    """Return a value of a storage dtype in its compute dtype; other values unchanged."""
    dtype = value.dtype
    return cast(Symbolic, astype(value, dtype.compute)) if dtype.is_storage else value


def is_wide_copy(value: Symbolic) -> bool:
    """Return True if a value is a narrow float cast to a wide one, or a view of one."""
    node = value.node
    if isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        return is_wide_copy(node.args[0])
    return (
        isinstance(node.op, Cast)
        and value.dtype is not (stored := node.args[0].dtype)
        and (value.dtype is stored.compute)
    )


def narrowest(value: Symbolic) -> Symbolic:
    """Return the narrow float of which a value is a wide copy or a view of one, or itself."""
    if not is_wide_copy(value):
        return value
    node = value.node
    (copied,) = node.args
    if isinstance(node.op, Cast):
        return copied
    return rebuild(node, (narrowest(copied),)).values[0]


def multiplies_bfloat16(node: Node) -> bool:
    """Return True if both factors of a product are bfloat16 numbers, or wide copies of them.

    Such factors are multiplied in pairs. It depends on the graph alone, not on its groups.
    """
    return all(narrowest(arg).dtype is BF16 for arg in node.args)


def read_unrounded(value: Symbolic) -> Symbolic:
    """Return the input or parameter of which a bfloat16 value is a rounded copy, or itself.

    Products round it while they pack it. The copy of a computed value is stored in its place.
    """
    node, views = value.node, list[Node]()
    while isinstance(node.form, View | ReshapeForm | Identity) and len(node.args) == 1:
        views.append(node)
        node = node.args[0].node
    is_rounded = isinstance(node.op, Cast) and node.types[0].dtype is BF16
    if not (is_rounded and node.args[0].dtype is F32):
        return value
    source = node.args[0].node
    while isinstance(source.form, ReshapeForm | Identity) and len(source.args) == 1:
        source = source.args[0].node
    if not source.is_leaf:
        return value
    (result,) = node.args
    for view in reversed(views):
        (result,) = rebuild(view, (result,)).values
    return result


#: Least blocks of a product, and most bytes of a column of the result: with more, blocks are slower
#: on one thread.
_LEAST_BLOCKS: Final = 2
_MOST_COLUMN_BYTES: Final = 256


@late_pass("split-k", keeps="close")
def split_long_products(graph: Graph) -> Graph:
    """Rewrite products of few rows and columns over many terms as sums of parts (split k)."""

    def split_product(
        node: Node, op: MatMul, args: tuple[Symbolic, ...]
    ) -> Sequence[Symbolic] | None:
        """Rewrite a long product as a sum of blocks of terms, or return None."""
        if not _is_long(node, op, args):
            return None
        left, right = args
        a = left if op.transpose_a else transpose_matrices(left)
        b = transpose_matrices(right) if op.transpose_b else right
        terms = a.shape[0]
        assert isinstance(terms, int)
        blocks = terms // GEMM_BLOCK
        block_terms = blocks * GEMM_BLOCK
        total: Any = Sum((0,))(
            _product(*(_split_blocks(factor[:block_terms], blocks) for factor in (a, b)))
        )
        if block_terms < terms:
            total = total + _product(a[block_terms:], b[block_terms:])
        result: Symbolic = total
        return (result,)

    return graph.replace_ops(MatMul, split_product)


def _is_long(node: Node, op: MatMul, args: tuple[Symbolic, ...]) -> bool:
    """Return True if a product has few rows and columns, and enough blocks of terms to split."""
    if node.types[0].rank != 2:
        return False
    kind = node.types[0]
    terms = args[0].shape[0 if op.transpose_a else 1]
    plain = kind.dtype.is_float and not kind.dtype.is_storage
    if not (plain and isinstance(terms, int)):
        return False
    rows, columns = map(hint_value, kind.shape)
    is_one_iteration = (
        rows * kind.dtype.itemsize <= _MOST_COLUMN_BYTES and columns <= panel_columns(kind.dtype)
    )
    has_blocks = _LEAST_BLOCKS <= terms // GEMM_BLOCK <= GROUPS
    return is_one_iteration and has_blocks and all(narrowest(arg) is arg for arg in args)


def _split_blocks(factor: Any, blocks: int) -> Any:
    return Reshape((blocks, GEMM_BLOCK, factor.shape[1]))(factor)


def _product(a: Any, b: Any) -> Any:
    return MatMul(transpose_a=True)(a, b)


#: Rows, and columns, from which on transposed products are as fast.
_WIDE: Final = 64


@late_pass("vector-products", keeps="close")
def expand_vector_products(graph: Graph) -> Graph:
    """Rewrite matrix-vector and outer products as multiplications and sums.

    A product with one column, one row, or one inner index is bound by memory: a register tile would
    reuse nothing. As a multiplication and a sum it reads its matrix once, and fuses with the nodes
    before and behind it. The sum follows the lane rule of ``ir/summation.py`` along the inner axis,
    or (``MatMul.down``) the column rule, whatever the layout of its operands. If an outer product
    is only read transposed, the transposed one is computed: its reader then reads contiguously.
    """
    expanded = graph.replace_nodes(_ProductExpander(graph).expand)
    # Casts and transposes that are not read any more would keep their operands in memory.
    return graph if expanded is graph else expanded.without_dead_nodes()


class _ProductExpander:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._outer: dict[
            Node, tuple[Value, Value]
        ] = {}  # factors of outer products, by the new node

    def expand(self, node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a product with one row, column or term as a multiplication and a sum."""
        if isinstance(node.op, Transpose):
            return self._compute_transposed(node, args[0])
        if not isinstance(node.op, MatMul) or node.op.factors is not None:
            return None
        product = node.op
        *_, rows, columns = node.types[0].shape
        inner = args[0].shape[-2 if product.transpose_a else -1]
        inner_of_right = args[1].shape[
            -1 if product.transpose_b else -2
        ]  # a name is 1 by a check alone
        if 1 not in (rows, columns) and (inner, inner_of_right) != (1, 1):
            return None
        with within(node.origin, node.order):
            # As [..., rows, inner] and [..., columns, inner], widened after the views: views of a
            # wide copy would keep the copy in memory.
            left, right = map(narrowest, args)
            a = transpose_matrices(left) if product.transpose_a else left
            b = right if product.transpose_b else transpose_matrices(right)
            if 1 not in (rows, columns):  # one inner index: no sum
                pair = (a, transpose_matrices(b))
                product_value = _round_to(_multiply_wide(*pair), node)
                self._outer[product_value.node] = pair
                return (product_value,)
            down = product.down and (rows, columns) != (1, 1)
            pair = (transpose_matrices(a), transpose_matrices(b)) if down else (a, b)
            terms = _multiply_wide(*pair)
            total = Sum((terms.ndim - (2 if down else 1),))(terms)
            return (_round_to(Reshape(node.types[0].shape)(total), node),)

    def _compute_transposed(self, node: Node, product: Symbolic) -> Sequence[Symbolic] | None:
        """Rewrite a transposed product as the product of exchanged factors, or return None."""
        # If neither factor is strided, both would be after the exchange.
        (read,), op = node.args, product.node.op
        if cast(Transpose, node.op).perm != last_exchanged(read.ndim) or self._reads[read.key] > 1:
            return None
        transposed_product: Value | None = None
        with within(read.node.origin, node.order):
            if product.node in self._outer:
                transposed = [transpose_matrices(factor) for factor in self._outer[product.node]]
                transposed_product = _round_to(_multiply_wide(*transposed), node)
            elif (
                isinstance(op, MatMul)
                and op.factors is None
                and (op.transpose_a or op.transpose_b)
                and _is_wide(read)
            ):
                product_of = MatMul(not op.transpose_b, not op.transpose_a, op.down)
                transposed_product = cast(Symbolic, product_of(*product.node.args[::-1]))
        return None if transposed_product is None else (cast(Symbolic, transposed_product),)

    @cached_property
    def _reads(self) -> Counter[tuple[Node, int]]:
        counts = Counter(value.key for value in self._graph.roots)
        counts.update(arg.key for node in self._graph.nodes for arg in node.args)
        return counts


def _is_wide(product: Symbolic) -> bool:
    return min(map(hint_value, product.shape[-2:])) >= _WIDE


def _multiply_wide(a: Value, b: Value) -> Value:
    return Mul()(wide(cast(Symbolic, a)), wide(cast(Symbolic, b)))


def _round_to(value: Value, node: Node) -> Symbolic:
    """Build the node that rounds a value once to the dtype of a node's result."""
    return cast(Symbolic, astype(value, node.types[0].dtype))


@late_pass("reshaped-products")
def flatten_epilogues(graph: Graph) -> Graph:
    """Rewrite elementwise readers of a reshaped product to compute in the shape of the product."""
    flat_shapes: dict[ValueKey, Shape] = {}
    for node in graph.nodes:
        if (shape := _shape_of_product(node, flat_shapes)) is not None:
            flat_shapes[node, 0] = shape
    if all(isinstance(node.op, Reshape) for node, _ in flat_shapes):
        return graph
    _add_operands(graph, flat_shapes)
    flat_values: dict[ValueKey, Symbolic] = {}

    def flatten(node: Node, args: tuple[Symbolic, ...]) -> Sequence[Symbolic] | None:
        """Rewrite a node over a reshaped product, or return None."""
        shape = flat_shapes.get((node, 0))
        if shape is None:
            return None
        if isinstance(node.op, Reshape):
            flat_values[node, 0] = args[0]
            return None
        with within(node.origin, node.order):
            operands = [
                flat_values[old.key]
                if old.key in flat_values
                else Reshape(shape)(new)
                if new.ndim
                else new
                for old, new in zip(node.args, args, strict=True)
            ]
            flat_values[node, 0] = cast(Symbolic, node.op(*operands))
            return (cast(Symbolic, Reshape(node.types[0].shape)(flat_values[node, 0])),)

    return graph.replace_nodes(flatten).without_dead_nodes()


def _shape_of_product(node: Node, flat_shapes: Mapping[ValueKey, Shape]) -> Shape | None:
    """Return the shape of the product that a node reshapes or is computed from, or None."""
    if isinstance(node.op, Reshape):
        (product,) = node.args
        return product.shape if isinstance(product.node.op, MatMul) else None
    shapes = {flat_shapes[arg.key] for arg in node.args if arg.key in flat_shapes}
    return shapes.pop() if len(shapes) == 1 and _reads_own_elements(node, flat_shapes) else None


def _add_operands(graph: Graph, flat_shapes: dict[ValueKey, Shape]) -> None:
    """Add the elementwise nodes that only nodes over reshaped products read."""
    users, roots = users_of(graph), {value.key for value in graph.roots}
    for node in reversed(graph.nodes):
        readers = users[node, 0]
        shapes = {flat_shapes.get((reader, 0)) for reader in readers}
        if len(shapes) == 1 and (node, 0) not in roots and (node, 0) not in flat_shapes:
            shape = shapes.pop()
            if shape is not None and node.types[0].rank and _reads_own_elements(node, {}):
                flat_shapes[node, 0] = shape


def _reads_own_elements(node: Node, flat_shapes: Container[ValueKey]) -> bool:
    """Return whether an elementwise node reads single numbers and whole arrays of its shape."""
    form, shape = node.form, node.types[0].shape
    if not isinstance(form, Pointwise) or form.sizes or form.indexed:
        return False
    return all(
        not arg.ndim
        or (
            arg.shape == shape  # others are repeated along an axis
            and (
                arg.key in flat_shapes
                or not isinstance(arg.node.form, View | ReshapeForm | Identity)
            )
        )
        for arg in node.args
    )


#: Least iterations for which packing pays: it takes the time that some of them gain.
FEWEST_ITERATIONS: Final = 16
#: Rows of an iteration's product up to which it pays: with more rows a tile finds the panel in L1.
#: 65 to 256 rows by panels of 31 x 1024 take 1.8 to 2.0 times as long (Emerald Rapids, 2026-12).
MOST_ROWS: Final = 64
#: Elements of a matrix: fewer are in the L1 cache in any layout; with more, the bytes of the copy
#: matter.
ELEMENTS: Final = range(1 << 14, (1 << 17) + 1)
#: Least panels of a matrix.
FEWEST_PANELS: Final = 4
#: The copy has no more elements than the results of all iterations, divided by this.
PART: Final = 4


def _pays_in_panels(value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
    """Return True if the nodes that pack a loop-invariant matrix before the loop pay."""
    sizes = [size for size in value.shape if isinstance(size, int)]
    if value.ndim != 2 or value.dtype.is_storage or len(sizes) < 2:
        return False
    inner, columns = sizes
    width = panel_columns(value.dtype)
    has_full_panels = (
        columns % width == 0 and columns >= FEWEST_PANELS * width and inner % EVEN != 0
    )
    pays = has_full_panels and inner * columns in ELEMENTS
    return pays and all(_is_product(value, node, iterations) for node in readers)


def _pack_panels(value: Symbolic) -> Symbolic:
    panels, inner, columns = _panels_type(value.type).shape
    split_columns = reshape(value, (inner, panels, columns))
    return cast(Symbolic, transpose(split_columns, (1, 0, 2)))


def _panels_type(kind: TensorType) -> TensorType:
    inner, columns = map(hint_value, kind.shape)
    width = panel_columns(kind.dtype)
    return kind.with_shape((columns // width, inner, width))


#: Panels: a few columns of all rows each, contiguous.
_PANELS: Final = Arrangement(
    FEWEST_ITERATIONS,
    _pays_in_panels,
    _pack_panels,
    _panels_type,
    lambda op: PanelMatMul(op.factors),
)


@late_pass("panels", keeps="close")
def pack_panels(graph: Graph) -> Graph:
    """Rewrite loops to read factors that nodes in front pack into panels; same elements."""
    return arrange_invariants(graph, _PANELS)


def _is_product(value: Symbolic, node: Node, iterations: int) -> bool:
    """Return True if a node multiplies by a matrix with enough rows to pay for its packing."""
    op = node.op
    if not isinstance(op, MatMul) or op.transpose_a or op.transpose_b or node.args[0].ndim != 2:
        return False
    if op.factors not in (None, U32):
        return False
    rows = hint_value(node.types[0].shape[0])
    has_rows = (
        STREAMED < rows <= MOST_ROWS and hint_value(value.shape[0]) * PART <= rows * iterations
    )
    return has_rows and node.args[1].key == value.key != node.args[0].key
