"""What a function does while it is traced, beside what it gives.

It may update parameters, and arrays that it closes over become constants. Both are noted in the
session of the trace, for whoever traces it. Where a function runs at once instead, its session
notes what it updates, so that all is written at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from staticgrad.ir.graph import Node, Parameter
    from staticgrad.types.arrays import Array, ArrayData


class Session:
    """One trace, or one run at once.

    Attributes:
        computes: whether it runs at once: values are tensors then.
        updates: parameters with their next values, in the order of the program.
        arrays: arrays that became constants, with what the constants hold.
        inside: the functions in it that are building bodies, ``scan`` and so on, outermost first.
        present: of a run at once: the tensors of parameters, by what holds their arrays.
        born: optimizers that were made in it.
        drawn: parameters made in it whose first values no seed of its own says.
        kept: parameters made in it which an optimizer from outside keeps, for other traces too.
        given: of a run at once: the tensors for which inputs stand in next values. What writes
            these computes them, as a graph, when the run ends.
        due: of a run at once: the steps of optimizers whose gradients are computed when it ends.
    """

    def __init__(self, computes: bool = False) -> None:
        self.computes = computes
        self.given: dict[Node, Any] = {}
        self.due: list[Any] = []
        self.updates: list[tuple[Parameter, Any]] = []
        self.arrays: list[tuple[ref[Array], ArrayData]] = []
        self.inside: list[str] = []
        self.present: dict[object, Any] = {}
        self.born: list[object] = []
        self.drawn: list[Parameter] = []
        self.kept: set[Node] = set()

    def taken_back(self, parameter: Parameter) -> Any:
        """The next value that a parameter has so far, which is no update any more; None: no one."""
        for place, (updated, value) in enumerate(self.updates):
            if updated.node is parameter.node:
                del self.updates[place]
                return value
        return None

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
    """Inside, a function is traced, or runs at once."""
    token = _running.set(noted)
    try:
        yield noted
    finally:
        _running.reset(token)
