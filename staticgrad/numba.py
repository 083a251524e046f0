"""``sg.numba``: the module ``staticgrad.interop.numba``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import numba as _module

if TYPE_CHECKING:
    from staticgrad.interop.numba import (
        function as function
    )

sys.modules[__name__] = _module
