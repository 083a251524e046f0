"""Execution modes: how parameters are read, and the sessions of traced functions.

With values of a graph, or alone, a parameter is a value of the graph. Beside an eager tensor it is
its present array, a leaf of the tape. Inside ``eager_mode`` it is always that, and operations
without operands run eagerly, too. Code that builds graphs for itself (tracing, differentiation,
passes) does so ``in_graphs``, wherever it is called.

A traced function may update parameters, and arrays that it closes over become constants. The
session of the trace records both. An update is the value of every later read in the same session:
in a graph the read is another value (static single assignment); in a function that runs eagerly
updates that are pending are written before the parameter is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from staticgrad.language.ir.functional import functions
from staticgrad.support.contexts import Block, Nested

if TYPE_CHECKING:
    from staticgrad.language.ir.nodes import Node, Parameter
    from staticgrad.language.types.arrays import Array, ArrayData

#: The kind that operations without operands give here; None: values of a graph.
_computing: Final = Nested[Any]("staticgrad_computing", None)
#: What stands for a tensor among values of a graph, where a graph is built to compute at once.
_holding: Final = Nested[Callable[[Any], Any] | None]("staticgrad_holding", None)
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


def held(value: Any) -> Any:
    """Return the graph value that stands for ``value`` where allowed; else ``value``."""
    hold = _holding.innermost()
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


def present(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """``args``, with the present arrays of parameters that stand among what computes at once."""
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
    noted = _running.innermost()
    kind = computing_kind()
    for arg in args:
        computes = getattr(arg.__class__, "computes", None)
        if computes:
            kind = arg.kind
        elif computes is False and arg.__class__ not in _parameters:
            kind = None  # a value of a graph
            break
    if kind is None:
        if noted is None or noted.computes:
            return args
        read: Callable[[Any], Any] = noted.read
        return tuple([read(arg) if arg.__class__ in _parameters else arg for arg in args])
    return tuple([kind.lift(arg) if arg.__class__ in _parameters else arg for arg in args])


class Session:
    """One trace, or one run at once.

    Attributes:
        computes: whether it runs at once: values are tensors then.
        updates: parameters with their latest values, in the order of the program.
        pending: the same by node; of a run at once, those that are not written yet.
        versions: of a trace: the values that reads after updates have, by parameter.
        steppers: the optimizers that have stepped a parameter, of each that has been updated.
        arrays: arrays that became constants, with what the constants hold.
        inside: the functions in it that are building bodies, ``scan`` and so on, outermost first.
        present: of a run at once: the tensors of parameters, by what holds their arrays.
        born: optimizers that were made in it.
        drawn: parameters made in it whose first values no seed of its own says.
        kept: parameters made in it which an optimizer from outside keeps, for other traces too.
        given: of a run at once: the tensors for which inputs stand in next values. What writes
            these computes them, as a graph, when the run ends.
        due: of a run at once: the steps of optimizers whose gradients are computed when they are
            written, at the first read of an updated parameter or at the end.
        settle: of a run at once: writes what is pending.
        read_stores: of a run at once: what holds the arrays of the parameters that it read.
        inputs: the values or tensors of the function's arrays; None if these are not known.
        draws: whether it drew random numbers that differ between the ranks of a job.
    """

    def __init__(self, computes: bool = False) -> None:
        self.computes = computes
        self.inputs: Sequence[Any] | None = None
        self.draws = False
        self.given: dict[Node, Any] = {}
        self.due: list[Any] = []
        self.updates: list[tuple[Parameter, Any]] = []
        self.pending: dict[Node, Any] = {}
        self.versions: dict[Node, list[Any]] = {}
        self.steppers: dict[Node, list[object]] = {}
        self.settle: Callable[[], None] | None = None
        self.read_stores: dict[Any, None] = {}
        self.arrays: list[tuple[ref[Array], ArrayData]] = []
        self.inside: list[str] = []
        self.present: dict[object, Any] = {}
        self.born: list[object] = []
        self.drawn: list[Parameter] = []
        self.kept: set[Node] = set()

    def update(self, parameter: Parameter, value: Any) -> None:
        """Let every later read of a parameter have this value."""
        if self.is_pending(parameter):
            if self.settle is not None:
                self.settle()
            self.updates = [pair for pair in self.updates if pair[0].node is not parameter.node]
        self.updates.append((parameter, value))
        self.pending[parameter.node] = value
        self.steppers.setdefault(parameter.node, [])
        if not self.computes:
            latest = functions.stop_gradient(value)
            self.versions.setdefault(parameter.node, []).append(latest)

    def step(self, optimizer: object, updates: Mapping[Parameter, Any]) -> None:
        """Let every later read of these parameters have the values after an optimizer's step."""
        for parameter, value in updates.items():
            self.steppers.setdefault(parameter.node, []).append(optimizer)
            parameter.update(value)

    def is_pending(self, parameter: Parameter) -> bool:
        """Return whether an update of a parameter has been recorded, and is not written."""
        return parameter.node in self.pending

    def read(self, parameter: Any) -> Any:
        """Return the value of a graph that a parameter stands for at this point of a trace.

        An update passes no gradient on, as on a tape: a gradient by the parameter is the sum of
        those by all of its values.
        """
        if parameter.dtype.is_complex:  # whose parts are those of the stored one
            versions = self.versions.get(parameter.stored.node)
            return parameter.of(versions[-1]) if versions else parameter
        versions = self.versions.get(parameter.node)
        return versions[-1] if versions else parameter.node.values[0]

    def settled(self, parameter: Parameter) -> None:
        """Write what is pending in a run at once before a parameter is read or set."""
        if self.settle is not None and self.is_pending(parameter):
            self.settle()

    def updated_by_others(self, optimizer: object) -> set[Node]:
        """Return the parameters that have been updated, but not by this optimizer."""
        steppers = self.steppers.items()
        return {node for node, each in steppers if all(one is not optimizer for one in each)}

    def note_array(self, source: Any, data: ArrayData) -> None:
        """Remember where a constant comes from, as long as it is there."""
        self.arrays.append((ref(source), data))


_running: Final = Nested[Session | None]("staticgrad_session", None)


def running_session() -> Session | None:
    """That of the trace which is running, if one is."""
    return _running.innermost()


@contextmanager
def body_of_a(name: str) -> Iterator[None]:
    """Inside, the trace which is running, if one is, builds a body of ``name``."""
    noted = _running.innermost()
    if noted is None:
        yield
        return
    noted.inside.append(name)
    try:
        yield
    finally:
        noted.inside.pop()


def traced_in(noted: Session) -> Block[Any]:
    """Inside, a function is traced, or runs at once."""
    return Block(_running, noted)
