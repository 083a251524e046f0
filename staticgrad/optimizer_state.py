"""What optimizers keep from step to step: parameters that are zero at first.

``Optimizer.updates`` makes them anew at each call. ``Optimizer.minimize`` finds those again that it
made before, for a function may be traced several times. The eager twin keeps arrays instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from staticgrad.functions import parameter
from staticgrad.ir.graph import Parameter

#: From an owner (or None), a name, a shape and an element type: a state that is zero at first.
Maker = Callable[[Any, str, Any, Any], Any]


def slot(p: Parameter, name: str) -> Parameter:
    """State of one parameter, zero at first: of its shape, in the dtype in which it is computed."""
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


_states: Final[WeakKeyDictionary[object, dict[Any, Parameter]]] = WeakKeyDictionary()


def states_kept_by(optimizer: object) -> AbstractContextManager[None]:
    """Within, what an optimizer keeps is what it kept before."""
    return states_made_by(_Kept(_states.setdefault(optimizer, {})))


def state_of(owner: Parameter | None, name: str, shape: Any, dtype: Any) -> Parameter:
    """The state of that name."""
    made: Parameter = _maker.get()(owner, name, shape, dtype)
    return made


_maker: Final[ContextVar[Maker]] = ContextVar("optimizer_state", default=_parameter_of_zeros)
