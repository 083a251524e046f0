"""Execution modes: how parameters are read, and which kind of value operations give.

With values of a graph, or alone, a parameter is a value of the graph. Beside an eager tensor it is
its present array, a leaf of the tape. Inside ``eager_mode`` it is always that, and operations
without operands run eagerly, too. Code that builds graphs for itself (tracing, differentiation,
passes) does so ``in_graphs``, wherever it is called.

In a function that is traced, a parameter may have been updated: what the trace is ``reading`` of it
is its latest value there. The sessions of traces are beside the parameters (``nodes.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from staticgrad.support.contexts import Block, Nested

#: The kind that operations without operands give here; None: values of a graph.
_computing: Final = Nested[Any]("staticgrad_computing", None)
#: What stands for a tensor among values of a graph, where a graph is built to compute at once.
_holding: Final = Nested[Callable[[Any], Any] | None]("staticgrad_holding", None)
#: What gives the value that a parameter has among values of a graph, in a trace.
_reading: Final = Nested[Callable[[Any], Any] | None]("staticgrad_reading", None)
#: Whether what is built is run at once, and then dropped.
_at_once: Final = Nested[bool]("staticgrad_at_once", False)
#: The classes of parameters, which stand above this file, once they are defined.
_parameters: Final[list[type]] = []


def register_parameters(kind: type) -> None:
    """Say that a class is one of parameters."""
    _parameters.append(kind)


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


def holding(hold: Callable[[Any], Any] | None) -> Block[Any]:
    """Inside, ``hold`` gives what stands for what computes at once beside values of a graph."""
    return Block(_holding, hold)


def is_holding() -> bool:
    """Return whether eager tensors may be operands together with values of a graph."""
    return _holding.innermost() is not None


def at_once() -> Block[Any]:
    """Inside, a function of arrays alone builds what it computes when it returns."""
    return Block(_at_once, True)


def is_at_once() -> bool:
    """Return whether the graph that is being built is run when the function returns."""
    return _at_once.innermost()


def as_graph_value(value: Any) -> Any:
    """Return the graph value that stands for ``value`` where allowed; else ``value``."""
    hold = _holding.innermost()
    return hold(value) if hold is not None and getattr(value, "computes", False) else value


def reading(read: Callable[[Any], Any] | None) -> Block[Any]:
    """Inside, ``read`` gives the value of a parameter among values of a graph; None: its own."""
    return Block(_reading, read)


#: Classes of arguments that are read alike beside every kind of value.
_WEAK: Final = frozenset({bool, int, float, str, tuple, type(None)})
#: The class of values of a graph, parameters aside, once it is defined.
GRAPH_VALUES: Final[set[type]] = set()
#: It and classes of plain data: arguments that are the same in every mode. Where all arguments are
#: of these, as in nearly all calls, ``present`` returns them unchanged and ``beside_arrays`` None.
SETTLED: Final[set[type]] = {*_WEAK}


def register_graph_values(kind: type) -> None:
    """Say that a class is that of values of a graph, parameters aside."""
    GRAPH_VALUES.add(kind)
    SETTLED.add(kind)


def beside_arrays(args: tuple[Any, ...], kwargs: dict[str, Any]) -> computing | None:
    """Return the context in which NumPy arrays become values of the kind of the other operands.

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


def are_plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a call computes at once: no operand is a value, and no graph is being built.

    Operands in containers count. In a traced function, in bodies of loops
    and branches, in derivative rules and in ``eager_mode`` arrays are constants of what is built.
    """
    for arg in args:
        if hasattr(arg.__class__, "computes"):
            return False
    if _reading.all() or _computing.all() or is_holding():
        return False
    return not any(map(_holds_values, (*args, *kwargs.values())))


def _holds_values(arg: Any) -> bool:
    of = arg.__class__
    if of is list or of is tuple:
        return any(map(_holds_values, arg))
    if of is dict:
        return any(map(_holds_values, arg.values()))
    return hasattr(of, "computes")


def present(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Replace parameters in the arguments of an eager computation by their current arrays."""
    hold = _holding.innermost()
    if hold is not None:
        pairs = [(arg, getattr(arg.__class__, "computes", None)) for arg in args]
        if any(does is False and arg.__class__ not in _parameters for arg, does in pairs):
            args = tuple([hold(arg) if does else arg for arg, does in pairs])
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
            kind = None  # a value of a graph
            break
    if kind is None:
        read = _reading.innermost()
        if read is None:
            return args
        return tuple([read(arg) if arg.__class__ in _parameters else arg for arg in args])
    return tuple([kind.lift(arg) if arg.__class__ in _parameters else arg for arg in args])
