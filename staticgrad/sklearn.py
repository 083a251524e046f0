"""``sg.sklearn``: the module ``staticgrad.interop.sklearn``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import sklearn as _module

if TYPE_CHECKING:
    from staticgrad.interop.sklearn import (
        Classifier as Classifier, Regressor as Regressor
    )

sys.modules[__name__] = _module
