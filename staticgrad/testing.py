"""``sg.testing``: the module ``staticgrad.tools.testing``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.tools import testing as _module

if TYPE_CHECKING:
    from staticgrad.tools.testing import (
        CheckError as CheckError, assert_same_graph as assert_same_graph, check_gradients as
        check_gradients, check_grads as check_grads, check_op as check_op
    )

sys.modules[__name__] = _module
