"""``sg.sparse``: the module ``staticgrad.language.functions.sparse``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import sparse as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.sparse import (
        Factorized as Factorized, Sparse as Sparse, SparsityPattern as SparsityPattern, block_array
        as block_array, block_diag as block_diag, coo as coo, csr as csr, diags as diags, eye as
        eye, factorized as factorized, from_dense as from_dense, hstack as hstack, kron as kron,
        kronsum as kronsum, normalized_adjacency as normalized_adjacency, softmax as softmax, splu
        as splu, spsolve as spsolve, tril as tril, triu as triu, vstack as vstack
    )

sys.modules[__name__] = _module
