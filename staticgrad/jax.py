"""``sg.jax``: the module ``staticgrad.interop.jax``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import jax as _module

if TYPE_CHECKING:
    from staticgrad.interop.jax import (
        function as function, lower as lower, trace as trace
    )

sys.modules[__name__] = _module
