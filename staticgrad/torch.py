"""``sg.torch``: the module ``staticgrad.interop.torch``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import torch as _module

if TYPE_CHECKING:
    from staticgrad.interop.torch import (
        backend as backend, explain as explain, function as function, module as module, step as step
    )

sys.modules[__name__] = _module
