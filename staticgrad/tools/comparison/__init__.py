"""One program, run both ways: define-by-run by eager mode, define-then-run by the compiler.

``programs`` says what is run, ``ways`` how, ``agreement`` whether both compute the same;
``measure`` times and weighs them, ``report`` is what was found, ``page`` and
``table`` show it.
"""

from typing import TYPE_CHECKING, NoReturn

from staticgrad.support.errors.hints import no_such_name
from staticgrad.support.errors.tracebacks import boundary
from staticgrad.tools.comparison.measure import compare
from staticgrad.tools.comparison.report import Comparison

__all__ = ["Comparison", "compare"]


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:

    @boundary
    def __getattr__(name: str) -> NoReturn:
        raise no_such_name("sg.comparison", name)
