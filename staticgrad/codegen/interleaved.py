"""Accesses that lie between each other to source: rows of a few elements, with a row in each lane.

Loads of every second element from two places are two loads of whole vectors, of which the even and
the odd lanes are taken; of every s-th element from several places, a square of memory transposed in
registers. Stores are the same the other way round. Gathered lane by lane, each would touch as many
lines of memory as there are lanes. Where rows follow each other without a gap, and all lanes are
on, whole vectors are read, and their lanes dealt out: in turn to two, three, five or seven vectors,
and those of each again, until a vector has one element of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, element, total
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernels.stages import Map, Store, roots
from staticgrad.ir.kernels.width import PLACES
from staticgrad.records import NamedTuple, dataclass

#: The longest run of which each element has its place in transposed squares.
LONGEST: Final = 32
#: Runs of a stage beyond which a function that kernels share transposes their squares: LLVM takes
#: three seconds for a kernel in which the lines of 140 squares stand.
MANY: Final = 8
#: Whole vectors, of which every other lane is taken, make up for two places; squares for more, and
#: so many for rows of up to so many elements. Of rows that are farther apart than those, whole
#: vectors are often two lines of memory, of which elements that are gathered touch one.
_PLACES: Final = ((LONGEST, PLACES), (4 * LONGEST, PLACES + 1))
_FARTHEST: Final = 8
#: Rows whose elements are dealt out, at most, and shuffles for each vector: squares take no more.
#: Of shorter rows much of a square is empty.
DEALT: Final = 18
_SHUFFLES: Final = 5
_SHORT: Final = 8
_PRIMES: Final = (2, 3, 5, 7)


class _Step(NamedTuple):
    """The pattern of interleaved accesses, without the start element of each."""

    operand: str
    strides: tuple[tuple[str, str | int], ...]
    others: tuple[Position, ...]
    step: int


@dataclass(frozen=True)
class _InterleavedRun:
    """Accesses to neighbours, by the element from which each starts; ``access`` is the first.

    ``many``: the stage has many runs that are transposed.
    """

    access: Access
    step: int
    starts: tuple[int, ...]
    many: bool = False

    @property
    def factors(self) -> tuple[int, ...]:
        """Among how many the lanes of neighbouring rows are dealt, one time after another."""
        if self.pairs or self.step > DEALT or self.starts != (*range(self.step),):
            return ()
        left, found = self.step, []
        for prime in _PRIMES:
            while left % prime == 0:
                found.append(prime)
                left //= prime
        few = sum(found) - len(found) <= _SHUFFLES or self.step < _SHORT
        return tuple(found) if left == 1 and few else ()

    def is_dealt(self, scope: Scope) -> bool:
        """Return whether whole vectors are read or written; this needs mask registers."""
        return bool(self.factors and scope.unit.has_masks)

    @property
    def pairs(self) -> bool:
        """Whether every element of the memory is taken, in turn."""
        return self.step == 2

    def on(self, lanes: int, number: int) -> str:
        """The mask of one of the vectors that have all elements of some rows."""
        return f"mask{lanes}({self.step} * left{f' - {number * lanes}' if number else ''})"


@dataclass(frozen=True)
class Interleaved:
    """The runs of a stage.

    ``loads`` write lines for all loads of a run when the first is needed, by each of them;
    ``waiting`` are the stores of runs, by identity, ``last`` those with which a run is complete.
    """

    loads: Mapping[Expr, Callable[[Scope], None]] = field(default_factory=dict)
    waiting: frozenset[int] = frozenset()
    last: Mapping[int, Callable[[Scope], None]] = field(default_factory=dict)


def interleaved(stage: Map) -> Interleaved:
    """The runs of a stage's loads and stores."""
    exprs = list(postorder(root for statement in stage.body for root in roots(statement)))
    loads = [e for e in exprs if isinstance(e.attribute, Access)]
    stores = [s for s in stage.body if isinstance(s, Store)]
    if not any(_placed(access) for access in (*_accesses(loads), *(s.access for s in stores))):
        return Interleaved()
    return Interleaved(_load_runs(loads, stores), *_store_runs(stores, loads))


def _accesses(loads: Iterable[Expr]) -> Iterator[Access]:
    for expr in loads:
        assert isinstance(expr.attribute, Access)
        yield expr.attribute


def _placed(access: Access) -> tuple[_Step, int] | None:
    """The step of an access along vectors, and where it starts, if both are literal."""
    if access.gather or access.bounded or access.stride(VECTOR) == 0:
        return None
    moving = [p for p in access.positions if p.step(VECTOR) != 0]
    own = dict(access.strides).get(VECTOR, 0)
    if not moving and isinstance(own, int) and own >= 2:  # a place that starts at 0
        around = tuple(move for move in access.strides if move[0] != VECTOR)
        return _Step(access.operand, around, access.positions, own), 0
    if len(moving) != 1 or len(moving[0].terms) != 1 or moving[0].stride != 1:
        return None
    step, start = moving[0].step(VECTOR), moving[0].start
    if not isinstance(step, int) or step < 2 or not isinstance(start, int):
        return None
    others = tuple(p for p in access.positions if p is not moving[0])
    return _Step(access.operand, access.strides, others, step), start


def _runs(starts: Iterable[int], step: int) -> Iterator[list[int]]:
    """Neighbouring starts within a step, where it pays to take them together."""
    few = next((places for length, places in _PLACES if step <= length), _FARTHEST)
    run: list[int] = []
    for start in [*sorted(starts), None]:
        if run and (start is None or start != run[-1] + 1 or len(run) == min(step, LONGEST)):
            if len(run) >= few or step == len(run) == 2:
                yield run
            run = []
        if start is not None:
            run.append(start)


def _load_runs(loads: list[Expr], stores: list[Store]) -> dict[Expr, Callable[[Scope], None]]:
    stored = {store.access.operand for store in stores}
    found: dict[_Step, dict[int, list[Expr]]] = {}
    for expr, access in zip(loads, _accesses(loads), strict=True):
        placed = _placed(access)
        if placed is not None and access.operand not in stored:
            found.setdefault(placed[0], {}).setdefault(placed[1], []).append(expr)
    runs = [(step, starts) for step, places in found.items() for starts in _runs(places, step.step)]
    many = sum(step.step > 2 for step, _ in runs) > MANY
    made: dict[Expr, Callable[[Scope], None]] = {}
    for step, starts in runs:
        exprs = [found[step][start] for start in starts]
        (access, *_) = _accesses(exprs[0])
        run = _InterleavedRun(access, step.step, tuple(starts), many)
        made |= {expr: partial(_write_loads, run, exprs) for alike in exprs for expr in alike}
    return made


def _store_runs(
    stores: list[Store], loads: list[Expr]
) -> tuple[frozenset[int], dict[int, Callable[[Scope], None]]]:
    read = {access.operand for access in _accesses(loads)}
    placed = [(store, _placed(store.access)) for store in stores]
    waiting: set[int] = set()
    last: dict[int, Callable[[Scope], None]] = {}
    for step in dict.fromkeys(place[0] for _, place in placed if place is not None):
        mine = {place[1]: s for s, place in placed if place is not None and place[0] == step}
        every = [s for s in stores if s.access.operand == step.operand]
        alike = all(place is None or place[0].step == step.step for _, place in placed)
        if len(_distinct(every)) < len(every) or not alike or step.operand in read:
            continue
        for starts in _runs(mine, step.step):
            members = [mine[start] for start in starts]
            if any(store.combine for store in members):
                continue
            run = _InterleavedRun(members[0].access, step.step, tuple(starts))
            waiting |= {id(store) for store in members}
            final = max(members, key=lambda s: [id(other) for other in stores].index(id(s)))
            last[id(final)] = partial(_write_stores, run, members)
    return frozenset(waiting), last


def _distinct(stores: Iterable[Store]) -> set[tuple[_Step, int]]:
    """The places of stores that have one; each is stored to once where there are as many."""
    found = (_placed(store.access) for store in stores)
    return {place for place in found if place is not None}


def _write_loads(run: _InterleavedRun, exprs: list[list[Expr]], scope: Scope) -> None:
    """Lines that load all places of a run, each into a vector."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    names = [scope.unit.fresh("v") for _ in run.starts]
    lines.counted = True
    if run.is_dealt(scope):
        rows = [scope.unit.fresh("v") for _ in names]
        for number, name in enumerate(rows):
            there = total(place, str(number * lanes))
            lines.add(f"{name} = load({access.operand}, {there}, {run.on(lanes, number)})")
        names = _dealt(scope, rows, run.factors)
    elif run.pairs:
        halves = [scope.unit.fresh("v") for _ in names]
        for number, name in enumerate(halves):
            there = total(place, str(number * lanes))
            lines.add(f"{name} = load({access.operand}, {there}, {run.on(lanes, number)})")
        for word, name in zip(("even", "odd"), names, strict=True):
            lines.add(f"{name} = {word}({', '.join(halves)})")
    else:
        _write_squares(run, exprs[0][0], names, scope)
    for name, alike in zip(names, exprs, strict=True):
        scope.names |= dict.fromkeys(alike, name)


def _write_squares(run: _InterleavedRun, model: Expr, names: list[str], scope: Scope) -> None:
    """Lines that load the places of a run by squares of memory, which are transposed."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    tile = _tile(scope, model, -(-len(names) // lanes))
    for first in range(0, len(names), lanes):
        size = f"{run.step}, left, {len(names) - first}"
        there, to = total(place, str(first)), f"{tile}, {first * lanes}"
        if run.many:
            name = _square(scope, model)
            lines.add(f"{name}({access.operand}, {there}, {size}, {to})")
        else:
            lines.add(f"transpose{lanes}({access.operand}, {there}, {size}, {to}, {lanes})")
    for number, name in enumerate(names):
        lines.add(f"{name} = load{lanes}({tile}, {number * lanes})")


def _write_stores(run: _InterleavedRun, stores: list[Store], scope: Scope) -> None:
    """Lines that store all places of a run, each from a vector."""
    lines, access, lanes = scope.body, scope.access(run.access), scope.lanes
    place = scope.place(access, (), vector=True)
    values = [scope.vector(store.value) for store in stores]
    lines.counted = True
    if run.is_dealt(scope):
        for number, value in enumerate(_in_turn(scope, values, run.factors)):
            there, on = total(place, str(number * lanes)), run.on(lanes, number)
            lines.add(f"store({access.operand}, {there}, {value}, {on})")
        return
    if run.pairs:
        for number, word in enumerate(("zip_low", "zip_high")):
            there, value = total(place, str(number * lanes)), f"{word}({', '.join(values)})"
            lines.add(f"store({access.operand}, {there}, {value}, {run.on(lanes, number)})")
        return
    tile, back = (_tile(scope, stores[0].value, n) for n in (-(-len(values) // lanes), 1))
    for number, value in enumerate(values):
        lines.add(f"store{lanes}({tile}, {number * lanes}, {value})")
    row = f"{tile}_r"
    for first in range(0, len(values), lanes):
        size = f"{lanes}, {min(lanes, len(values) - first)}, {lanes}"
        lines.add(f"transpose{lanes}({tile}, {first * lanes}, {size}, {back}, 0, {lanes})")
        lines.add(f"for {row} in range(0, {lanes} if left > {lanes} else left):")
        there, value = total(place, str(first), f"{row} * {run.step}"), f"{row} * {lanes}"
        mask = f"mask{lanes}({len(values) - first})"
        lines.add(f"    store({access.operand}, {there}, load{lanes}({back}, {value}), {mask})")


def _dealt(scope: Scope, vectors: Sequence[str], factors: Sequence[int]) -> list[str]:
    """Vectors of one element of each row, from all elements one behind the other."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    found = [""] * len(vectors)
    for number in range(first):
        stream = []
        for at in range(0, len(vectors), first):
            stream.append(scope.unit.fresh("v"))
            taken = ", ".join(vectors[at : at + first])
            scope.body.add(f"{stream[-1]} = every{number}({taken})")
        found[number::first] = _dealt(scope, stream, rest)
    return found


def _in_turn(scope: Scope, vectors: Sequence[str], factors: Sequence[int]) -> list[str]:
    """The inverse: all elements one behind the other, from vectors of one of each row."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    streams = [_in_turn(scope, vectors[number::first], rest) for number in range(first)]
    found = []
    for together in zip(*streams, strict=True):
        for number in range(first):
            found.append(scope.unit.fresh("v"))
            scope.body.add(f"{found[-1]} = turn{number}({', '.join(together)})")
    return found


def _square(scope: Scope, model: Expr) -> str:
    """The name of the function that transposes a square of memory into another one."""
    lanes = scope.lanes
    name = f"shared_square{lanes}_{element(model.dtype)}"
    scope.unit.helpers[name] = f"""\
def {name}(p, at, stride, high, wide, q, to):
    transpose{lanes}(p, at, stride, high, wide, q, to, {lanes})"""
    return name


def _tile(scope: Scope, model: Expr, squares: int) -> str:
    """Local memory for squares of elements."""
    name = scope.unit.fresh("f")
    size = squares * scope.lanes * scope.lanes
    scope.before.add(f"{name} = local_{element(model.dtype)}({size})")
    return name


def write_left(out: Lines, body: Lines, count: str, deeper: int) -> None:
    """Write the number of active lanes, for bodies that read it."""
    if body.counted:
        out.add(f"{'    ' * deeper}left = {count}")
