"""``sg.xp``: the module ``staticgrad.eager.xp``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.eager import xp as _module

if TYPE_CHECKING:
    from staticgrad.eager.xp import *  # noqa: F403

sys.modules[__name__] = _module
