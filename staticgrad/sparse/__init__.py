"""Sparse matrices whose pattern is fixed while their elements are values. Public as ``sg.sparse``.

A ``Sparse`` has the pattern of a CSR matrix, known when the graph is built, and ``data``: an array,
a parameter or any computed vector. Products with dense operands read each element once and each
dense row where it is needed; derivatives are products with the same pattern. Names and meanings are
those of ``scipy.sparse``, of its arrays: ``A * B`` is elementwise.

    >>> A = sg.sparse.csr([1.0, 2.0, 3.0], [0, 2, 1], [0, 2, 3], (2, 3))
    >>> x = sg.input("x", (3,), "float64")
    >>> sg.evaluate(A @ x, {"x": [1.0, 10.0, 100.0]})
    array([201.,  30.])
"""

from __future__ import annotations

from staticgrad.extend import namespace, present
from staticgrad.sparse.building import (
    block_array as block_array,
    block_diag as block_diag,
    diags as diags,
    eye as eye,
    from_dense as from_dense,
    hstack as hstack,
    kron as kron,
    kronsum as kronsum,
    tril as tril,
    triu as triu,
    vstack as vstack,
)
from staticgrad.sparse.graphs import (
    normalized_adjacency as normalized_adjacency,
    softmax as softmax,
)
from staticgrad.sparse.matrices import (
    Sparse as Sparse,
    SparsityPattern as SparsityPattern,
    coo as coo,
    csr as csr,
)
from staticgrad.sparse.solving import (
    Factorized as Factorized,
    factorized as factorized,
    splu as splu,
    spsolve as spsolve,
)

__all__ = [
    "Factorized", "Sparse", "SparsityPattern", "block_array", "block_diag", "coo", "csr", "diags",
    "eye", "factorized", "from_dense", "hstack", "kron", "kronsum", "normalized_adjacency",
    "softmax", "splu", "spsolve", "tril", "triu", "vstack",
]  # fmt: skip

namespace(
    globals(),
    operands=present,
    instead={
        **dict.fromkeys(
            ("csr_array", "csr_matrix", "csc_array", "csc_matrix", "bsr_array", "dia_array"),
            "sg.sparse.csr(matrix) takes matrices of SciPy",
        ),
        "coo_array": "sg.sparse.coo(data, rows, columns, shape)",
        "coo_matrix": "sg.sparse.coo(data, rows, columns, shape)",
        "eye_array": "sg.sparse.eye(m, n, k)",
        "identity": "sg.sparse.eye(n)",
        "diags_array": "sg.sparse.diags(diagonals, offsets, shape)",
        "bmat": "sg.sparse.block_array(blocks)",
        "cg": "sg.linalg.cg",
        "gmres": "sg.linalg.gmres",
    },
)
