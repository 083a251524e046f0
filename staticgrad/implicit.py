"""``sg.implicit``: the module ``staticgrad.programs.implicit``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.programs import implicit as _module

if TYPE_CHECKING:
    from staticgrad.programs.implicit import (
        argmin as argmin, fixed_point as fixed_point, root as root
    )

sys.modules[__name__] = _module
