"""How products are cut into iterations: chunks of rows times groups of panels of columns."""

from __future__ import annotations

from typing import Final

from staticgrad.ir.kernels.stages import LANES, Gemm, gemm_tile, panel_columns
from staticgrad.types.dim import Size, maximum, minimum
from staticgrad.types.dtype import DType
from staticgrad.types.kept_sizes import kept_by_sizes

#: Rows of C per iteration of a product of matrices, at most, and panels of columns, at most.
CHUNK: Final = 128
PANELS: Final = 4
#: Rows where columns are many panels, which are packed anew for each chunk.
TALL: Final = 224
MANY_PANELS: Final = 24
#: Iterations of such a product, if it has the panels: who is last keeps others waiting for one.
FEWEST: Final = 12
#: Rows up to which the second factor is read in the order in which it lies; and where it is
#: transposed first, or has so few terms that it is near.
STREAMED: Final = 8
LONE: Final = 2


def gemm_iterations(stage: Gemm, dtype: DType, rows: Size, columns: Size) -> Size:
    """Chunks of rows times groups of panels of a product with so many rows and columns.

    The bits of an element do not depend on it. Where rows are packed, several panels are to read
    them, as long as workers have enough to share; where they are few, each panel is an iteration.
    Where they are so few that the other factor is read as it lies, iterations take long runs of it.
    """
    if stage.plain:
        return _iterations(rows, columns, dtype, streamed_rows(stage))
    _, chunk, panel = gemm_tile(stage, dtype)
    return ((rows + (chunk - 1)) // chunk) * ((columns + (panel - 1)) // panel)


def streamed_rows(stage: Gemm) -> int:
    """Rows up to which the second factor of a product of matrices is read as it lies."""
    return STREAMED if stage.b.stride(LANES) == 1 else LONE


@kept_by_sizes
def _iterations(rows: Size, columns: Size, dtype: DType, streamed: int) -> Size:
    width = panel_columns(dtype)
    many = minimum(columns // (MANY_PANELS * width), 1)
    chunk, panels = CHUNK + (TALL - CHUNK) * many, (columns + (width - 1)) // width
    chunks = (rows + (chunk - 1)) // chunk
    shared = minimum(chunks, chunks * panels // FEWEST)
    wanted = maximum(shared, PANELS * (streamed + 1 - rows))
    group = maximum(minimum(wanted, PANELS), 1)
    return chunks * ((panels + (group - 1)) // group)
