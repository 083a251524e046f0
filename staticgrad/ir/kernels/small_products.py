"""Which products of matrices are so small that nothing is packed for them.

Their sizes are literal. What packs and multiplies by register tiles takes a hundred times the code,
which is compiled for each way in which factors lie and for each epilogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from staticgrad.ir.kernels.kernel import GEMM_BLOCK
from staticgrad.ir.kernels.stages import panel_columns
from staticgrad.types.dtype import DType

#: Multiplications of a product of literal sizes up to which nothing is packed for it, and its rows.
SMALL_PRODUCT: Final = 4096
SMALL_SIDE: Final = 32
#: Rows whose chains run side by side.
SMALL_ROWS: Final = 4
#: Elements of its second factor up to which they may lie apart.
SMALL_GATHERED: Final = 128


def is_small_product(extents: Iterable[object], across: object, dtypes: Sequence[DType]) -> bool:
    """Whether a product of matrices is one iteration, of whose factors nothing is packed.

    ``extents``: those of i, j and k, which are literal then; ``across``: the elements from a column
    of the second factor to the next. Where they are apart, gathering many takes longer. ``dtypes``:
    those of both factors; what is stored narrow is widened while it is packed.
    """
    i, j, k = extents
    if not (isinstance(i, int) and isinstance(j, int) and isinstance(k, int)):
        return False
    dtype = dtypes[0]
    if any(each.is_storage for each in dtypes):
        return False
    if not 0 < j <= panel_columns(dtype) or not 0 < i <= SMALL_SIDE:
        return False
    single = i <= SMALL_ROWS and j <= dtype.lanes  # a tile would have no more accumulators
    most = GEMM_BLOCK if single else SMALL_PRODUCT // (i * j)
    return 0 < k <= most and (across == 1 or j * k <= SMALL_GATHERED)
