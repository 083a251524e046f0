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
        Sparse as Sparse, SparsityPattern as SparsityPattern, coo as coo, csr as csr,
        normalized_adjacency as normalized_adjacency, softmax as softmax
    )

sys.modules[__name__] = _module
