"""Bounds on how far results of ``sg.jax.lower`` are from those of the evaluator, by op.

A unit is the last place of the op's element type: of each element, or of the largest element of the
result, since a sum has the error of its terms. A test compares all samples of all ops with them.
"""

from __future__ import annotations

from typing import Final

from staticgrad.extend import NamedTuple, op_class
from staticgrad.language.ops.linalg import LinearAlgebra

#: Op -> units; ops that are not here have ``OTHERS``.
UNITS: Final[dict[str, int]] = {
    "complex_eigh": 64, "complex_qr": 128, "complex_svd": 256, "cosh": 16, "digamma": 128,
    "eig": 64, "eigh": 256, "eigvalsh": 256, "erfcx": 16, "exp2": 64, "gamma": 1024,
    "gammaln": 64, "log_ndtr": 256, "logaddexp": 16, "lu": 64, "ndtr": 64, "qr": 128, "sinh": 16,
    "svd": 64,
}  # fmt: skip
OTHERS: Final = 8
#: Ops whose units are those of the largest element, beside all of linear algebra.
OF_LARGEST: Final = frozenset([
    "conv", "conv_filter", "conv_image", "cumsum", "fft", "linear_scan", "matmul", "panel_matmul",
    "sampled_product", "sparse_product", "sum", "window_sum",
])  # fmt: skip
#: Ops whose units are those of 1 where results are smaller: functions with zeros in between.
OF_ONE: Final = frozenset(["digamma", "gammaln"])


class Accuracy(NamedTuple):
    """The greatest difference of an op's results: ``units`` in the last place, and ``of`` what.

    That is "each element", "1 or each element" (the larger one) or "the largest element".
    """

    units: int
    of: str


def bound_of(name: str) -> Accuracy:
    """Return the bound of an op."""
    of = "1 or each element" if name in OF_ONE else "each element"
    if name in OF_LARGEST or issubclass(op_class(name), LinearAlgebra):
        of = "the largest element"
    return Accuracy(UNITS.get(name, OTHERS), of)
