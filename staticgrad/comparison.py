"""``sg.comparison``: the module ``staticgrad.tools.comparison``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.tools import comparison as _module

if TYPE_CHECKING:
    from staticgrad.tools.comparison import (
        Comparison as Comparison, compare as compare, find_mistakes as find_mistakes
    )

sys.modules[__name__] = _module
