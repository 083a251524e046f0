"""One model, run both ways: define-by-run by the eager twin, define-then-run by the compiler.

``models`` says what is trained, ``ways`` how, ``measure`` has the stop-watch and the scales,
``report`` is what was found, ``page`` and ``table`` show it. A model of your own is a function that
returns a ``Model``: ``staticgrad compare --model path.py:function``.
"""

from staticgrad.comparison.measure import compare as compare
from staticgrad.comparison.models import Model as Model, model as model
from staticgrad.comparison.report import Comparison as Comparison

__all__ = ["Comparison", "Model", "compare", "model"]
