"""How products are cut into iterations: chunks of rows times groups of panels of columns."""

from __future__ import annotations

from typing import Final

from staticgrad.ir.kernels.stages import LANES, Gemm, gemm_tile, panel_columns
from staticgrad.types.dim import Size, maximum, minimum
from staticgrad.types.dtype import DType
from staticgrad.types.kept_sizes import kept_by_sizes

#: Rows of C per iteration of a product of matrices, at most, and panels of columns, at most.
CHUNK: Final = 112
PANELS: Final = 4
#: Rows where columns are many panels, which are packed anew for each chunk, and a second cache of
#: 2 MB has the chunk's rows: of so many bytes each, or packed a run of k at a time.
TALL: Final = 224
MANY_PANELS: Final = 24
SHORT_ROW: Final = 4096
#: Iterations of such a product, if it has the panels: who is last keeps others waiting for one.
FEWEST: Final = 12
#: Rows up to which the second factor is read in the order in which it lies; and where it is turned
#: first, or has so few terms that it is near.
STREAMED: Final = 8
LONE: Final = 2


def gemm_iterations(stage: Gemm, dtype: DType, rows: Size, columns: Size, terms: Size) -> Size:
    """Chunks of rows times groups of panels of a product with so many rows, columns and terms.

    The bits of an element do not depend on it. Where rows are packed, several panels are to read
    them, as long as workers have enough to share; where they are few, each panel is an iteration.
    Where they are so few that the other factor is read as it lies, iterations take long runs of it.
    """
    if stage.plain:
        across = stage.a.stride("i") == 1 != stage.a.stride("k")
        return _iterations(rows, columns, terms, dtype, streamed_rows(stage), across)
    _, chunk, panel = gemm_tile(stage, dtype)
    return ((rows + (chunk - 1)) // chunk) * ((columns + (panel - 1)) // panel)


def streamed_rows(stage: Gemm) -> int:
    """Rows up to which the second factor of a product of matrices is read as it lies."""
    return STREAMED if stage.b.stride(LANES) == 1 else LONE


@kept_by_sizes
def _iterations(
    rows: Size, columns: Size, terms: Size, dtype: DType, streamed: int, across: bool
) -> Size:
    width = panel_columns(dtype)
    chunk, panels = _chunk(columns, terms, dtype, across), (columns + (width - 1)) // width
    chunks = (rows + (chunk - 1)) // chunk
    shared = minimum(chunks, chunks * panels // FEWEST)
    wanted = maximum(shared, PANELS * (streamed + 1 - rows))
    group = maximum(minimum(wanted, PANELS), 1)
    return chunks * ((panels + (group - 1)) // group)


def _chunk(columns: Size, terms: Size, dtype: DType, across: bool) -> Size:
    """Rows of an iteration at most: ``CHUNK``, or ``TALL``."""
    many = minimum(columns // (MANY_PANELS * panel_columns(dtype)), 1)
    if across:
        return CHUNK + (TALL - CHUNK) * many
    longest = SHORT_ROW // dtype.itemsize
    is_long = minimum(terms // (longest + 1), 1)
    packed = 1 - minimum(terms % longest, 1)
    return CHUNK + (TALL - CHUNK) * many * maximum(1 - is_long, packed)
