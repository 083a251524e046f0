"""``sg.scipy``: the module ``staticgrad.interop.scipy``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import scipy as _module

if TYPE_CHECKING:
    from staticgrad.interop.scipy import (
        hessian_operator as hessian_operator, jacobian_operator as jacobian_operator, least_squares
        as least_squares, minimize as minimize, ravel as ravel, root as root
    )

sys.modules[__name__] = _module
