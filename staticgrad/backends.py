"""``sg.backends``: the module ``staticgrad.compiler.backends``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.compiler import backends as _module

if TYPE_CHECKING:
    from staticgrad.compiler.backends import (
        Backend as Backend, Code as Code, backend_names as backend_names, begin as begin, compiled
        as compiled, prepare as prepare, register as register, render as render, source_of as
        source_of
    )

sys.modules[__name__] = _module
