"""``sg.random``: the module ``staticgrad.language.functions.random``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.language.functions import random as _module

if TYPE_CHECKING:
    from staticgrad.language.functions.random import (
        Generator as Generator
    )

sys.modules[__name__] = _module
