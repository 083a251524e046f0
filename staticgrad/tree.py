"""``sg.tree``: the module ``staticgrad.language.functions.tree``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import tree as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.tree import (
        flatten as flatten, flatten_func as flatten_func, leaves as leaves, map as map, ravel_pytree
        as ravel_pytree, unflatten as unflatten
    )

sys.modules[__name__] = _module
