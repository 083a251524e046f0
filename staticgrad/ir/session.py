"""What a function does while it is traced, beside what it gives.

It may update parameters, and arrays that it closes over become constants. Both are noted in the
session of the trace, for whoever traces it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from staticgrad.ir.graph import Parameter, Symbolic
    from staticgrad.types.arrays import Array, ArrayData


class Session:
    """One trace.

    Attributes:
        updates: parameters with their next values, in the order of the program.
        arrays: arrays that became constants, with what the constants hold.
        inside: the functions in it that are building bodies, ``scan`` and so on, outermost first.
    """

    def __init__(self) -> None:
        self.updates: list[tuple[Parameter, Symbolic]] = []
        self.arrays: list[tuple[ref[Array], ArrayData]] = []
        self.inside: list[str] = []

    def note_array(self, source: Any, data: ArrayData) -> None:
        """Remember where a constant comes from, as long as it is there."""
        self.arrays.append((ref(source), data))


_running: Final[ContextVar[Session | None]] = ContextVar("staticgrad_session", default=None)


def running_session() -> Session | None:
    """That of the trace which is running, if one is."""
    return _running.get()


@contextmanager
def body_of_a(name: str) -> Iterator[None]:
    """Inside, the trace which is running, if one is, builds a body of ``name``."""
    noted = _running.get()
    if noted is None:
        yield
        return
    noted.inside.append(name)
    try:
        yield
    finally:
        noted.inside.pop()


@contextmanager
def traced_in(noted: Session) -> Iterator[Session]:
    """Inside, a function is traced."""
    token = _running.set(noted)
    try:
        yield noted
    finally:
        _running.reset(token)
