"""What optimizers keep from step to step: parameters that are zero at first.

``Optimizer.updates`` makes them anew at each call. ``Optimizer.minimize`` finds those again that it
made before, for a function may be traced several times. The eager twin keeps arrays instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from staticgrad.errors import SavedFileError
from staticgrad.errors.wording import listed
from staticgrad.functions import parameter
from staticgrad.ir.graph import Parameter
from staticgrad.ir.session import running_session
from staticgrad.storage.parameter import write_all

#: From an owner (or None), a name, a shape and an element type: a state that is zero at first.
Maker = Callable[[Any, str, Any, Any], Any]


def slot(p: Parameter, name: str) -> Parameter:
    """State of one parameter, zero at first: for optimizers of your own.

    Args:
        p: the parameter.
        name: what it is called behind the parameter's name.

    Returns:
        A parameter of its shape, in the dtype in which it is computed.

    Raises:
        ArgumentError: an empty name.

    >>> import numpy as np, staticgrad as sg
    >>> slot(sg.parameter("w", np.ones(3, "float16")), "momentum")
    <w.momentum: f32[3]>
    """
    return state_of(p, name, p.shape, p.dtype.compute.numpy)


@contextmanager
def states_made_by(maker: Maker) -> Iterator[None]:
    """Within, ``maker`` makes (or finds again) what optimizers keep from step to step.

    It is given the parameter that the state belongs to (None: the optimizer as a whole), the name,
    shape and element type. So the same rules serve tensors, which have no graph to put it in.
    """
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


def _parameter_of_zeros(p: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
    return parameter(name if p is None else f"{p.name}.{name}", np.zeros(shape, dtype))


class _Kept:
    """Makes state, or finds again what it made before."""

    def __init__(self, known: dict[Any, Any], maker: Maker = _parameter_of_zeros) -> None:
        self._known, self._maker = known, maker

    def __call__(self, owner: Any, name: str, shape: Any, dtype: Any) -> Any:
        key = (owner.node if isinstance(owner, Parameter) else owner, name)
        if key not in self._known:
            self._known[key] = self._maker(owner, name, shape, dtype)
        return self._known[key]


@contextmanager
def states_made_once() -> Iterator[None]:
    """Within, what is asked for twice by one name is made once."""
    maker = _maker.get()
    if isinstance(maker, _Kept):
        yield
        return
    with states_made_by(_Kept({}, maker)):
        yield


class _Memory:
    """What one optimizer keeps: states that were made, and loaded ones that none was made for."""

    def __init__(self) -> None:
        self.made: dict[Any, Parameter] = {}
        self.loaded: dict[str, Any] = {}

    def make(self, owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
        """A state of zeros, or of what was loaded.

        Raises:
            SavedFileError: other states were loaded, but none of that name, shape and type.
        """
        made = _parameter_of_zeros(owner, name, shape, dtype)
        if not self.loaded:
            return made
        given = self.loaded.get(made.name)
        if given is None:
            raise SavedFileError(
                f"of the state {made.name!r} nothing was loaded",
                hint=f"the file has {listed(sorted(self.loaded))}",
            )
        if given.shape != made.value.shape or given.dtype != made.value.dtype:
            raise SavedFileError(
                f"the state {made.name!r} is {made.type}, {given.dtype.name}{[*given.shape]} in"
                " the file"
            )
        made.value = self.loaded.pop(made.name)
        return made


_memories: Final[WeakKeyDictionary[object, _Memory]] = WeakKeyDictionary()


def states_kept_by(optimizer: object) -> AbstractContextManager[None]:
    """Within, what an optimizer keeps is what it kept before."""
    memory = _memories.setdefault(optimizer, _Memory())
    noted = running_session()

    def make(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
        made = memory.make(owner, name, shape, dtype)
        if noted is not None and not any(each is optimizer for each in noted.born):
            noted.kept.add(made.node)
        return made

    return states_made_by(_Kept(memory.made, make))


def kept_states(optimizer: object) -> dict[str, Any]:
    """The arrays of all that an optimizer keeps, by name."""
    memory = _memories.get(optimizer, _Memory())
    return {**memory.loaded, **{p.name: p.value for p in memory.made.values()}}


def keep_states(optimizer: object, states: Mapping[str, Any]) -> None:
    """Let an optimizer keep these states: now, or when it makes them. All of them or none.

    Raises:
        SavedFileError: it keeps one that is not among them, or that is of another shape or type.
    """
    memory = _memories.setdefault(optimizer, _Memory())
    waiting = dict(states)
    pairs = []
    for p in memory.made.values():
        given = waiting.pop(p.name, None)
        own = p.value
        if given is None or given.shape != own.shape or given.dtype != own.dtype:
            inside = "nothing" if given is None else f"{given.dtype.name}{[*given.shape]}"
            raise SavedFileError(f"the state {p.name!r} is {p.type} here, {inside} in the file")
        pairs.append((p.store, given))
    write_all(pairs)
    memory.loaded = waiting


def state_of(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
    """The state of that name."""
    made: Parameter = _maker.get()(owner, name, shape, dtype)
    return made


_maker: Final[ContextVar[Maker]] = ContextVar("optimizer_state", default=_parameter_of_zeros)
