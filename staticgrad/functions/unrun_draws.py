"""Draws that nothing runs: values of a generator outside of a function, in no graph.

Outside of a traced function a draw is a value of a graph. A program written as for JAX or NumPy
passes it on as if it were numbers, and computes nothing. That is said when a function is called
again and again with its own results of drawn values (``warn_of_steps``), and at the interpreter's
end of a generator whose draws were never part of a graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from staticgrad.errors import UnrunDrawWarning, warn
from staticgrad.language.ir.nodes import Symbolic, ancestors
from staticgrad.language.ir.op import Input, ParameterLeaf
from staticgrad.support.building import user_frame
from staticgrad.support.exits import at_exit

_CURE: Final = (
    "numbers are the result of a function, params = sg.function(lambda:"
    " rng.normal(shape=(3,)))(), or params = sg.tree.map(sg.evaluate, params)"
)
#: A generator -> the file and line of its first draw outside of a function.
_FIRST_DRAWS: Final[WeakKeyDictionary[Any, tuple[str, int]]] = WeakKeyDictionary()


def note_draw(generator: Any) -> None:
    """Remember where a generator draws values of a graph outside of a traced function."""
    if generator in _FIRST_DRAWS:
        return
    if not _FIRST_DRAWS:
        at_exit(_warn_at_exit)
    frame = user_frame()
    _FIRST_DRAWS[generator] = frame.f_code.co_filename, frame.f_lineno


def _warn_at_exit() -> None:
    """Warn of each generator whose draws were in no graph, at the line of its first draw."""
    for generator, (filename, line) in list(_FIRST_DRAWS.items()):
        if not generator.step.store.in_graph:
            warnings.warn_explicit(
                f"[{UnrunDrawWarning.code}] nothing has run what was drawn here: outside of a"
                f" function a draw is a value of a graph, without numbers; {_CURE}",
                UnrunDrawWarning,
                filename,
                line,
            )


def warn_of_steps(name: str, values: Iterable[Symbolic]) -> None:
    """Warn if what a function is called with, its own results, depends on draws alone.

    Values that depend on an input, or whose draws are in a graph, are parts of a program.
    """
    leaves = [node for node in ancestors(values) if node.is_leaf]
    if any(isinstance(node.op, Input) for node in leaves):
        return
    stores = [node.op.store for node in leaves if isinstance(node.op, ParameterLeaf)]
    if any(store.counts_runs and not store.in_graph for store in stores):
        warn(
            UnrunDrawWarning,
            f"{name} computes nothing here: its arguments began as draws outside of a function,"
            f" which are values of a graph, and so are its results; {_CURE}",
        )
