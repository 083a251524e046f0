"""Matrices that every iteration of a loop multiplies by, in panels, as the tiles of its products
read.

Where a matrix lies row by row, a tile reads a few columns of each row: lines far apart, of which
rows of a multiple of some hundred bytes take the same few places of the nearest cache, so that each
tile fetches them again. In panels they lie one behind the other. What stays the same for all
iterations is brought into that order once, before the first one; each element of a product is the
chain that it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from staticgrad.ir.graph import Graph, Node, Symbolic
from staticgrad.ir.kernels.product_iterations import STREAMED
from staticgrad.ir.kernels.stages import panel_columns
from staticgrad.ir.known import EVEN
from staticgrad.ir.op import Op
from staticgrad.ops.contract import MatMul, PanelMatMul
from staticgrad.ops.movement import reshape, transpose
from staticgrad.preparation.invariants import Arrangement, with_arranged
from staticgrad.types.tensor import TensorType, hint_value

#: Iterations for which that pays: copying the matrix takes the time that some of them gain.
FEWEST_ITERATIONS: Final = 16
#: Rows of an iteration's product up to which it pays: tiles of more rows read a panel that is near.
MOST_ROWS: Final = 64
#: Elements of a matrix: fewer lie in the nearest cache whatever their order, of more the copy is
#: no longer small beside what else a program keeps.
ELEMENTS: Final = range(1 << 14, (1 << 17) + 1)
#: Panels of a matrix, at least.
FEWEST_PANELS: Final = 4
#: The copy takes no more elements than the results of all iterations, divided by this.
PART: Final = 4


def with_panels(graph: Graph) -> Graph:
    """The graph whose loops take such matrices in panels; each element is what it was."""
    return with_arranged(graph, _InPanels())


class _InPanels(Arrangement):
    """Panels of a few columns of all rows, one behind the other."""

    fewest_iterations = FEWEST_ITERATIONS

    def pays(self, value: Symbolic, readers: Sequence[Node], iterations: int) -> bool:
        sizes = [size for size in value.shape if isinstance(size, int)]
        if value.ndim != 2 or value.dtype.is_storage or len(sizes) < 2:
            return False
        inner, columns = sizes
        width = panel_columns(value.dtype)
        whole = columns % width == 0 and columns >= FEWEST_PANELS * width and inner % EVEN != 0
        pays = whole and inner * columns in ELEMENTS
        return pays and all(_is_product(value, node, iterations) for node in readers)

    def arranged(self, value: Symbolic) -> Symbolic:
        panels, inner, columns = self.stored(value.type).shape
        apart = reshape(value, (inner, panels, columns))
        return cast(Symbolic, transpose(apart, (1, 0, 2)))

    def stored(self, kind: TensorType) -> TensorType:
        inner, columns = map(hint_value, kind.shape)
        width = panel_columns(kind.dtype)
        return kind.with_shape((columns // width, inner, width))

    def product(self, op: MatMul) -> Op:
        return PanelMatMul()


def _is_product(value: Symbolic, node: Node, iterations: int) -> bool:
    """Whether a node multiplies rows by a matrix as it lies: not so few that they stream it."""
    op = node.op
    if not isinstance(op, MatMul) or op.transpose_a or op.transpose_b or node.args[0].ndim != 2:
        return False
    rows = hint_value(node.types[0].shape[0])
    whole = STREAMED < rows <= MOST_ROWS and hint_value(value.shape[0]) * PART <= rows * iterations
    return whole and node.args[1].key == value.key != node.args[0].key
