"""``sg.distributed``: the module ``staticgrad.interop.distributed``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import distributed as _module

if TYPE_CHECKING:
    from staticgrad.interop.distributed import (
        Job as Job, broadcast as broadcast, check_equal as check_equal, mean as mean, start as start
    )

sys.modules[__name__] = _module
