"""One model, run both ways: define-by-run by eager mode, define-then-run by the compiler.

``model`` says what is trained, ``ways`` how, ``agreement`` whether both compute the same;
``stopwatch`` and ``measure`` time and weigh them, ``report`` is what was found, ``page`` and
``table`` show it. A model of your own is a function that returns a ``Model``:
``staticgrad compare --model path.py:function``, or ``compare(model)`` in Python.
"""

from staticgrad.comparison.loading import model
from staticgrad.comparison.measure import compare
from staticgrad.comparison.model import Model
from staticgrad.comparison.report import Comparison

__all__ = ["Comparison", "Model", "compare", "model"]


def __dir__() -> list[str]:
    return sorted(__all__)
