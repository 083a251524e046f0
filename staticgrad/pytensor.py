"""``sg.pytensor``: the module ``staticgrad.interop.pytensor``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import pytensor as _module

if TYPE_CHECKING:
    from staticgrad.interop.pytensor import (
        function as function, logp as logp, mode as mode, nutpie as nutpie
    )

sys.modules[__name__] = _module
