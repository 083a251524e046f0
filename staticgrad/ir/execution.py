"""The mode in which a parameter is read: as a value of a graph, or as its current array.

With values of a graph, or alone, a parameter is a value of the graph. Where another operand
computes at once it is its present array, a leaf of the tape; inside of ``eager_mode`` it is that
alone, too, and operations without operands compute at once. What builds graphs for itself
(tracing, differentiation, passes) does so ``in_graphs``, wherever it is called.

The side effects of a function while it is traced.

It may update parameters, and arrays that it closes over become constants. Both are noted in the
session of the trace, for whoever traces it. Where a function runs at once instead, its session
notes what it updates, so that all is written at the end.

The facts about its integer arguments that a kernel may rely on, for all sizes of the program.

Kernels are generic in every size. What holds of a size in every step that runs a kernel is known
before it is compiled: a row of a multiple of some vectors has no end to mask, one of a single block
no counter of blocks, and products that are never flat need no code for such. ``verify_schedule``
proves it of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from math import gcd
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from staticgrad.blocks import Block, Nested
from staticgrad.ir.kernels.stages import LONE
from staticgrad.ir.summation import BLOCK
from staticgrad.records import dataclass
from staticgrad.types.dim import Dim, Size, bounds

if TYPE_CHECKING:
    from staticgrad.ir.graph import Node, Parameter
    from staticgrad.types.arrays import Array, ArrayData

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
        """Remove and return the pending next value of a parameter; None if it has none."""
        for place, (updated, value) in enumerate(self.updates):
            if updated.node is parameter.node:
                del self.updates[place]
                return value
        return None

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


#: The largest multiple that is told: four vectors of the narrowest lanes that are written apart.
LARGEST: Final = 64
#: The largest bound that is told: no code depends on that of what is longer.
BOUND: Final = 64
#: Elements of which rows may be a multiple apart that lie in the same lines of a cache.
EVEN: Final = 1024


@dataclass(frozen=True)
class Known:
    """The facts that hold for the argument ``name``.

    It is a multiple of ``multiple``, a power of two; ``short``: it is from 1 to ``BLOCK``;
    ``many``: it is 0, or more than ``LONE``; ``most``: it is no more than that, unless 0;
    ``uneven``: it is not a multiple of ``EVEN``.
    """

    name: str
    multiple: int = 1
    short: bool = False
    many: bool = False
    most: int = 0
    uneven: bool = False

    @property
    def is_nothing(self) -> bool:
        """True if it contains no fact."""
        return self.multiple == 1 and not (self.short or self.many or self.most or self.uneven)

    def holds(self, size: Size) -> bool:
        """Return whether the facts hold for a size, for all values of the names in it."""
        own = known_of(self.name, [size])
        bounded = not self.most or 0 < own.most <= self.most
        return (
            bounded
            and own.multiple % self.multiple == 0
            and own.short >= self.short
            and own.many >= self.many
            and own.uneven >= self.uneven
        )


def known_of(name: str, sizes: Iterable[Size]) -> Known:
    """Return all facts that hold for every one of some sizes."""
    multiple, short, many, longest, uneven = LARGEST, True, True, 0, True
    for size in sizes:
        low, high = bounds(size)
        step = gcd(*(number for _, number in size.terms)) if isinstance(size, Dim) else size
        multiple = gcd(multiple, step)
        short &= low is not None and low >= 1 and high is not None and high <= BLOCK
        many &= (low is not None and low > LONE) or not 0 < step <= LONE
        longest = max(longest, 1, BOUND + 1 if high is None else high)
        uneven &= not isinstance(size, Dim) and size % EVEN != 0
    return Known(name, multiple, short, many, longest if longest <= BOUND else 0, uneven)
