"""Which of two modes a parameter is read in: it is a value of a graph, and it has a present array.

With values of a graph, or alone, a parameter is a value of the graph. Where another operand
computes at once it is its present array, a leaf of the tape; inside of ``eager_mode`` it is that
alone, too, and operations without operands compute at once. What builds graphs for itself
(tracing, differentiation, passes) does so ``in_graphs``, wherever it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from staticgrad.blocks import Block, Nested

#: The kind that operations without operands give here; None: values of a graph.
_computing: Final = Nested[Any]("staticgrad_computing", None)
#: What stands for a tensor among values of a graph, where a graph is built to compute at once.
_holding: Final[ContextVar[Callable[[Any], Any] | None]] = ContextVar(
    "staticgrad_holding", default=None
)
#: The class of parameters, which stands above this file, once it is defined.
_parameters: Final[list[type]] = []


def register_parameters(kind: type) -> None:
    """Say which class that of parameters is."""
    _parameters[:] = [kind]


def computing_kind() -> Any:
    """The kind of value that computes at once, where nothing but parameters says what is meant."""
    return _computing.innermost()


class computing(Block[Any]):  # noqa: N801 - a block, written as one
    """Inside, parameters alone are values of ``kind``; of None, values of a graph."""

    def __init__(self, kind: Any) -> None:
        super().__init__(_computing, kind)


def in_graphs() -> computing:
    """Inside, operations build graphs, also within ``eager_mode``."""
    return computing(None)


@contextmanager
def holding(hold: Callable[[Any], Any] | None) -> Iterator[None]:
    """Inside, ``hold`` gives what stands for what computes at once beside values of a graph."""
    token = _holding.set(hold)
    try:
        yield
    finally:
        _holding.reset(token)


def is_holding() -> bool:
    """Whether what computes at once may stand beside values of a graph."""
    return _holding.get() is not None


def held(value: Any) -> Any:
    """What stands for ``value`` beside values of a graph, where that may be; else ``value``."""
    hold = _holding.get()
    return hold(value) if hold is not None and getattr(value, "computes", False) else value


#: Classes of arguments that are read alike beside every kind of value.
_WEAK: Final = frozenset({bool, int, float, str, tuple, type(None)})


def beside_arrays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> computing | None:
    """Return the block in which arrays are taken as values of the kind of the others.

    None: there are no arrays beside values, or arrays are of that kind anyway.
    """
    kind, arrays = None, False
    for arg in (*args, *kwargs.values()) if kwargs else args:
        of = arg.__class__
        if of in _WEAK:
            continue
        computes = getattr(of, "computes", None)
        if computes:
            kind = arg.kind
        elif computes is None:
            arrays = True
        elif of not in _parameters:
            return None if computing_kind() is None else in_graphs()
    if not arrays or kind is None or kind is computing_kind():
        return None
    return computing(kind)


def _beside_graphs(args: tuple[Any, ...], hold: Callable[[Any], Any]) -> tuple[Any, ...]:
    computes = [getattr(arg.__class__, "computes", None) for arg in args]
    kinds = zip(args, computes, strict=True)
    if not any(does is False and arg.__class__ not in _parameters for arg, does in kinds):
        return args
    return tuple([hold(arg) if does else arg for arg, does in zip(args, computes, strict=True)])


def present(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """``args``, with the present arrays of parameters that stand among what computes at once."""
    hold = _holding.get()
    if hold is not None:
        args = _beside_graphs(args, hold)
    for arg in args:
        if arg.__class__ in _parameters:
            break
    else:
        return args
    kind = computing_kind()
    for arg in args:
        computes = getattr(arg.__class__, "computes", None)
        if computes:
            kind = arg.kind
        elif computes is False and arg.__class__ not in _parameters:
            return args  # a value of a graph
    if kind is None:
        return args
    return tuple([kind.lift(arg) if arg.__class__ in _parameters else arg for arg in args])
