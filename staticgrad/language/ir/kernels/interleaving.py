"""Interleaved accesses of a map: rows of a few elements, of which each vector has one element.

A *run* is a set of loads, or of stores, of neighbouring elements of every ``step`` elements along
the vectors of a map. Whole vectors of memory are read or written for a run, and their lanes are
dealt out, or squares of memory are transposed in registers. Gathered lane by lane, each access
would touch as many lines of memory as there are lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from staticgrad.language.ir.expr import Access, Expr, Position, postorder
from staticgrad.language.ir.kernels.stages import Map, Store, roots
from staticgrad.language.ir.kernels.width import PLACES
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import NamedTuple

#: The longest run of which each element has its place in transposed squares.
LONGEST: Final = 32
#: Runs of a stage beyond which one function transposes squares: 140 of them take LLVM 3 s.
MANY: Final = 8
#: Elements of a run, at least, by the step: whole vectors for two, squares for more. Where rows are
#: farther apart, whole vectors are often two lines of memory, and a gathered element touches one.
_PLACES: Final = ((LONGEST, PLACES), (4 * LONGEST, PLACES + 1))
_FARTHEST: Final = 8
#: Rows whose elements are dealt out, at most, and shuffles for each vector: squares take no more.
DEALT: Final = 18
_SHUFFLES: Final = 5
_SHORT: Final = 8
_PRIMES: Final = (2, 3, 5, 7)


class Pattern(NamedTuple):
    """The pattern of interleaved accesses, without the start element of each."""

    operand: str
    strides: tuple[tuple[str, str | int], ...]
    others: tuple[Position, ...]
    step: int


class Run(NamedTuple):
    """Accesses to ``size`` neighbours of every ``step`` elements; ``access`` is the first one.

    ``loads`` has the expressions of each element, or ``stores`` its store. ``many``: the stage has
    many runs.
    """

    access: Access
    step: int
    size: int
    loads: tuple[tuple[Expr, ...], ...] = ()
    stores: tuple[Store, ...] = ()
    many: bool = False

    @property
    def dtype(self) -> DType:
        """The element type of the memory."""
        return self.loads[0][0].dtype if self.loads else self.stores[0].value.dtype

    @property
    def is_pair(self) -> bool:
        """True if every element of the memory is taken, in turn by two accesses."""
        return self.step == 2

    @property
    def factors(self) -> tuple[int, ...]:
        """Return the prime factors by which a vector shuffle deinterleaves a run; empty if it does
        not pay.
        """
        if self.is_pair or self.size != self.step or self.step > DEALT:
            return ()
        left, primes = self.step, list[int]()
        for prime in _PRIMES:
            while left % prime == 0:
                primes.append(prime)
                left //= prime
        # A factor p takes p - 1 shuffles for each vector.
        few = sum(primes) - len(primes) <= _SHUFFLES or self.step < _SHORT
        return tuple(primes) if left == 1 and few else ()


class StageRuns(NamedTuple):
    """The runs of a stage: by each load, and by the last store of each; ``waiting`` stores."""

    loads: dict[Expr, Run]
    last: dict[int, Run]
    waiting: frozenset[int]


def runs_of(stage: Map) -> StageRuns:
    """Return the runs of a stage's loads and stores."""
    exprs = [*postorder([root for statement in stage.body for root in roots(statement)])]
    read = [(e, e.attribute) for e in exprs if isinstance(e.attribute, Access)]
    stores = [s for s in stage.body if isinstance(s, Store)]
    axis = stage.axis.name
    return StageRuns(_load_runs(read, stores, axis), *_store_runs(stores, read, axis))


def _find_pattern(access: Access, axis: str) -> tuple[Pattern, int] | None:
    """Return the interleaving pattern of an access along an axis, and its start, if both are
    literal.
    """
    if access.gather or access.bounded_positions:
        return None
    moving = [p for p in access.positions if p.step(axis) != 0]
    stride = dict(access.strides).get(axis, 0)
    if not moving and isinstance(stride, int) and stride >= 2:  # a place that starts at 0
        around = tuple(move for move in access.strides if move[0] != axis)
        return Pattern(access.operand, around, access.positions, stride), 0
    if len(moving) != 1 or len(moving[0].terms) != 1 or moving[0].stride != 1:
        return None
    step, start = moving[0].step(axis), moving[0].start
    if not isinstance(step, int) or step < 2 or not isinstance(start, int):
        return None
    others = tuple(p for p in access.positions if p is not moving[0])
    return Pattern(access.operand, access.strides, others, step), start


def _neighbours(starts: Iterable[int], step: int) -> Iterator[list[int]]:
    """Group adjacent starts of interleaved accesses where one run of vector loads pays."""
    few = next((places for length, places in _PLACES if step <= length), _FARTHEST)
    run: list[int] = []
    for start in [*sorted(starts), None]:
        if run and (start is None or start != run[-1] + 1 or len(run) == min(step, LONGEST)):
            if len(run) >= few or step == len(run) == 2:
                yield run
            run = []
        if start is not None:
            run.append(start)


def _load_runs(
    read: Sequence[tuple[Expr, Access]], stores: Sequence[Store], axis: str
) -> dict[Expr, Run]:
    """Group the loads of a map into runs that one interleaved vector load reads."""
    stored = {store.access.operand for store in stores}
    by_pattern: dict[Pattern, dict[int, list[tuple[Expr, Access]]]] = {}
    for expr, access in read:
        place = _find_pattern(access, axis)
        # A run loads its elements at once, before any store of the iteration.
        if place is not None and access.operand not in stored:
            by_pattern.setdefault(place[0], {}).setdefault(place[1], []).append((expr, access))
    runs = [
        (p, starts) for p, places in by_pattern.items() for starts in _neighbours(places, p.step)
    ]
    many = sum(pattern.step > 2 for pattern, _ in runs) > MANY
    runs_by_expr: dict[Expr, Run] = {}
    for pattern, starts in runs:
        exprs = tuple([tuple([e for e, _ in by_pattern[pattern][start]]) for start in starts])
        access = by_pattern[pattern][starts[0]][0][1]
        run = Run(access, pattern.step, len(starts), exprs, (), many)
        runs_by_expr |= {e: run for alike in exprs for e in alike}
    return runs_by_expr


def _store_runs(
    stores: Sequence[Store], read: Sequence[tuple[Expr, Access]], axis: str
) -> tuple[dict[int, Run], frozenset[int]]:
    """Group the stores of a map into runs that one interleaved vector store writes."""
    loaded = {access.operand for _, access in read}
    patterns = [(store, _find_pattern(store.access, axis)) for store in stores]
    waiting: set[int] = set()
    last: dict[int, Run] = {}
    for step in dict.fromkeys(place[0] for _, place in patterns if place is not None):
        starts_of = {place[1]: s for s, place in patterns if place is not None and place[0] == step}
        every = [place for s, place in patterns if s.access.operand == step.operand]
        # Stores of a run wait for its last one: none may be overwritten, or read, meanwhile.
        is_distinct = len({place for place in every if place is not None}) == len(every)
        alike = all(place is None or place[0].step == step.step for _, place in patterns)
        if not is_distinct or not alike or step.operand in loaded:
            continue
        for starts in _neighbours(starts_of, step.step):
            members = tuple([starts_of[start] for start in starts])
            if any(store.combine for store in members):
                continue
            waiting |= {id(store) for store in members}
            final = max(members, key=lambda s: [id(store) for store in stores].index(id(s)))
            run = Run(members[0].access, step.step, len(starts), (), members)
            last[id(final)] = run
    return last, frozenset(waiting)
