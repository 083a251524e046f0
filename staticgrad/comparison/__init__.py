"""One program, run both ways: define-by-run by eager mode, define-then-run by the compiler.

``programs`` says what is run, ``ways`` how, ``agreement`` whether both compute the same;
``measure`` times and weighs them, ``report`` is what was found, ``page`` and
``table`` show it.
"""

from staticgrad.comparison.debugging import find_mistakes
from staticgrad.comparison.measure import compare
from staticgrad.comparison.report import Comparison
from staticgrad.extend import namespace

__all__ = ["Comparison", "compare", "find_mistakes"]


namespace(globals())
