"""Powers and exponentials of matrices."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from staticgrad.functions.linalg.matrices import as_matrices, identity_like, matrices, squares
from staticgrad.functions.linalg.solutions import inv, solve
from staticgrad.functions.matrix_norms import norm_of_matrices
from staticgrad.ir.functional import functions
from staticgrad.ir.kinds import AnyValue
from staticgrad.ops.elementwise import Operand
from staticgrad.ops.operands import integer

#: Coefficients of the numerator of the Padé approximant of degree 13, of x⁰ first.
_PADE: Final = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
#: The norm up to which the approximant is exact to the last places of float64.
_THETA: Final = 5.371920351148152
_MOST_SQUARINGS: Final = 16


def expm(a: Operand[AnyValue], *, max_squarings: int = _MOST_SQUARINGS) -> AnyValue:
    """The exponentials of square matrices: Padé approximation of a / 2**s, squared s times.

    Higham, The scaling and squaring method for the matrix exponential revisited, 2005. How often a
    matrix is squared follows from its 1-norm in the run; the graph holds ``max_squarings``
    products, of which those that are not needed change nothing.

    Args:
        a: matrices [..., n, n] of float32 or float64.
        max_squarings: enough for norms up to 5.4 * 2**max_squarings; those beyond give NaN.

    Returns:
        The exponentials, of a's shape.

    >>> sg.evaluate(sg.linalg.expm([[0.0, 1.0], [0.0, 0.0]])).round(6)
    array([[1., 1.],
           [0., 1.]])
    """
    value = squares("expm", matrices("expm", a))
    if value.shape[-1] == 0:
        return value
    size = functions.stop_gradient(norm_of_matrices("expm", value, 1, True))
    wanted = functions.ceil(functions.log2(functions.maximum(size / _THETA, 1.0)))
    count = functions.minimum(wanted, float(max_squarings))
    found = _approximated(value * functions.exp2(-count))
    for number in range(max_squarings):
        found = functions.where(count > float(number), found @ found, found)
    nan = np.full((), math.nan, value.dtype.numpy)
    return functions.where(wanted <= float(max_squarings), found, nan)


def _approximated(a: Any) -> Any:
    """The approximant: (V - U)⁻¹ (V + U), with U the odd and V the even powers."""
    b, unit = _PADE, identity_like(a)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = a @ (odd + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * unit)
    even = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    even = even + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * unit
    return solve(even - odd, even + odd, errors="nan")


def matrix_power(a: Operand[AnyValue], n: int) -> AnyValue:
    """The n-th power of square matrices, by repeated squaring; of the inverse where n is negative.

    Args:
        a: matrices [..., k, k].
        n: an integer; 0 gives the identity.

    Raises:
        LinearAlgebraError: in the run, a singular matrix and a negative n.

    >>> sg.evaluate(sg.linalg.matrix_power([[1, 1], [0, 1]], 5))
    array([[1, 5],
           [0, 1]])
    """
    power = integer("matrix_power", "n", n)
    value = squares("matrix_power", as_matrices("matrix_power", a))
    if power == 0:
        return identity_like(value)
    if power < 0:
        value, power = inv(value), -power
    found: AnyValue | None = None
    while True:
        power, bit = divmod(power, 2)
        if bit:
            found = value if found is None else found @ value
        if not power:
            assert found is not None
            return found
        value = value @ value
