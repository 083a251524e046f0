"""``sg.onnx``: the module ``staticgrad.interop.onnx``.

Written by ``python -m tests.exports`` from the tables of ``staticgrad/exports.py``.
"""

# ruff: noqa: I001
# fmt: off
import sys
from typing import TYPE_CHECKING

from staticgrad.interop import onnx as _module

if TYPE_CHECKING:
    from staticgrad.interop.onnx import (
        OnnxModel as OnnxModel, export as export, load as load
    )

sys.modules[__name__] = _module
