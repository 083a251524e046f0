"""Accesses that lie between each other: rows of a few elements, with a row in each lane.

Loads of every s-th element from neighbouring places read whole vectors, whose lanes are dealt out;
where those have gaps, squares of memory that are transposed in registers. Stores are the same the
other way round. Gathered lane by lane, each access would touch as many lines as there are lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from staticgrad.codegen.block_functions import element
from staticgrad.codegen.expressions import VECTOR
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.kernels.stages import Map, Statement, Store, roots
from staticgrad.ir.kernels.width import PLACES
from staticgrad.nest.records import Each, Name, Offset, pick
from staticgrad.nest.values import Values
from staticgrad.records import NamedTuple

#: The longest run of which each element has its place in transposed squares.
LONGEST: Final = 32
#: StageRuns of a stage beyond which one function transposes squares: 140 of them take LLVM 3 s.
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
    def factors(self) -> tuple[int, ...]:
        """Among how many vectors lanes are dealt, one time after another; empty: they are not."""
        if self.size != self.step or self.step > DEALT:
            return ()
        left, found = self.step, list[int]()
        for prime in _PRIMES:
            while left % prime == 0:
                found.append(prime)
                left //= prime
        few = sum(found) - len(found) <= _SHUFFLES or self.step < _SHORT
        return tuple(found) if left == 1 and few else ()


class StageRuns(NamedTuple):
    """The runs of a stage: by each load, and by the last store of each; ``waiting`` stores."""

    loads: dict[Expr, Run]
    last: dict[int, Run]
    waiting: frozenset[int]


def runs_of(stage: Map) -> StageRuns:
    """Return the runs of a stage's loads and stores."""
    exprs = [*postorder([root for statement in stage.body for root in roots(statement)])]
    loads = [e for e in exprs if isinstance(e.attribute, Access)]
    stores = [s for s in stage.body if isinstance(s, Store)]
    return StageRuns(_load_runs(loads, stores), *_store_runs(stores, loads))


def _placed(access: Any) -> tuple[Pattern, int] | None:
    """The step of an access along vectors, and where it starts, if both are literal."""
    if access.gather or access.bounded:
        return None
    moving = [p for p in access.positions if p.step(VECTOR) != 0]
    own = dict(access.strides).get(VECTOR, 0)
    if not moving and isinstance(own, int) and own >= 2:  # a place that starts at 0
        around = tuple(move for move in access.strides if move[0] != VECTOR)
        return Pattern(access.operand, around, access.positions, own), 0
    if len(moving) != 1 or len(moving[0].terms) != 1 or moving[0].stride != 1:
        return None
    step, start = moving[0].step(VECTOR), moving[0].start
    if not isinstance(step, int) or step < 2 or not isinstance(start, int):
        return None
    others = tuple(p for p in access.positions if p is not moving[0])
    return Pattern(access.operand, access.strides, others, step), start


def _neighbours(starts: Iterable[int], step: int) -> Iterator[list[int]]:
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


def _load_runs(loads: list[Expr], stores: list[Store]) -> dict[Expr, Run]:
    stored = {store.access.operand for store in stores}
    placed: dict[Pattern, dict[int, list[Expr]]] = {}
    for expr in loads:
        place = _placed(expr.attribute)
        if place is not None and place[0].operand not in stored:
            placed.setdefault(place[0], {}).setdefault(place[1], []).append(expr)
    runs = [(s, starts) for s, places in placed.items() for starts in _neighbours(places, s.step)]
    many = sum(step.step > 2 for step, _ in runs) > MANY
    made: dict[Expr, Run] = {}
    for step, starts in runs:
        exprs = tuple([tuple(placed[step][start]) for start in starts])
        access: Any = exprs[0][0].attribute
        run = Run(access, step.step, len(starts), exprs, (), many)
        made |= {e: run for alike in exprs for e in alike}
    return made


def _store_runs(stores: list[Store], loads: list[Expr]) -> tuple[dict[int, Run], frozenset[int]]:
    read = {e.attribute.operand for e in loads if isinstance(e.attribute, Access)}
    placed = [(store, _placed(store.access)) for store in stores]
    waiting: set[int] = set()
    last: dict[int, Run] = {}
    for step in dict.fromkeys(place[0] for _, place in placed if place is not None):
        starts_of = {place[1]: s for s, place in placed if place is not None and place[0] == step}
        every = [place for s, place in placed if s.access.operand == step.operand]
        apart = len({place for place in every if place is not None}) == len(every)
        alike = all(place is None or place[0].step == step.step for _, place in placed)
        if not apart or not alike or step.operand in read:
            continue
        for starts in _neighbours(starts_of, step.step):
            members = tuple([starts_of[start] for start in starts])
            if any(store.combine for store in members):
                continue
            waiting |= {id(store) for store in members}
            final = max(members, key=lambda s: [id(other) for other in stores].index(id(s)))
            run = Run(members[0].access, step.step, len(starts), (), members)
            last[id(final)] = run
    return last, frozenset(waiting)


def load_run(values: Values, run: Run) -> None:
    """Load all places of a run, each into a vector."""
    found = [_loaded(values, run, copy) for copy in range(values.copies)]
    for number, alike in enumerate(run.loads):
        each = [names[number] for names in found]
        for e in alike:
            values.names[e] = each[0] if all(n is each[0] for n in each) else Each(each)
            values.moving.add(e)


def _dealt(values: Values, run: Run) -> tuple[int, ...]:
    if run.step == run.size == 2:
        return (2,)
    return run.factors if values.nest.machine.has_mask_registers else ()


def _vector(values: Values, run: Run, copy: int, number: int) -> tuple[Any, ...]:
    """The pointer and place of one of the whole vectors of a run, and its mask if it has one."""
    nest, lanes = values.nest, values.lanes
    pointer = pick(nest.pointers[run.access.operand], copy)
    place = values.place(run.access, (), copy)
    at = nest.b.pointer(pointer, Offset(place.terms, place.constant + number * lanes))
    if values.mask is None:
        return at
    count = nest.difference(nest.product(values.left, run.step), number * lanes)
    return (*at, nest.b.op(f"mask{lanes}", count))


def _loaded(values: Values, run: Run, copy: int) -> list[Name]:
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    factors = _dealt(values, run)
    if factors:
        word = f"load{lanes}" if values.mask is None else "load"
        rows = [b.load(operand, word, *_vector(values, run, copy, n)) for n in range(run.size)]
        return _deal(values, rows, factors)
    code = element(run.loads[0][0].dtype)
    tile = b.local(code, -(-run.size // lanes) * lanes * lanes)
    pointer, place = values.nest.pointers[operand], values.place(run.access, (), copy)
    rows_left = lanes if values.mask is None else values.left
    for first in range(0, run.size, lanes):
        at = b.pointer(pick(pointer, copy), Offset(place.terms, place.constant + first))
        size = (run.step, rows_left, run.size - first, tile, first * lanes)
        if run.many:
            b.do(_square(values, code), *at, *size)
        else:
            b.do(f"transpose{lanes}", *at, *size, lanes)
    return [
        b.variable("x", f"load{lanes}", tile, Offset((), number * lanes))
        for number in range(run.size)
    ]


def _square(values: Values, code: str) -> str:
    """The function that transposes a square of memory into another one."""
    lanes = values.lanes
    name = f"shared_square{lanes}_{code}"
    values.nest.functions[name] = f"""\
def {name}(p, at, stride, high, wide, q, to):
    transpose{lanes}(p, at, stride, high, wide, q, to, {lanes})"""
    return name


def _deal(values: Values, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """Vectors of one element of each row, from all elements one behind the other."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    found: list[Any] = [None] * len(vectors)
    for number in range(first):
        stream = [
            values.nest.b.op(f"every{number}", *vectors[at : at + first])
            for at in range(0, len(vectors), first)
        ]
        found[number::first] = _deal(values, stream, rest)
    return found


def _merge(values: Values, vectors: Sequence[Name], factors: Sequence[int]) -> list[Name]:
    """The inverse: all elements one behind the other, from vectors of one of each row."""
    if not factors:
        return list(vectors)
    first, *rest = factors
    streams = [_merge(values, vectors[number::first], rest) for number in range(first)]
    return [
        values.nest.b.op(f"turn{number}", *together)
        for together in zip(*streams, strict=True)
        for number in range(first)
    ]


def store_run(values: Values, run: Run) -> None:
    """Store all places of a run, each from a vector."""
    b, lanes, operand = values.nest.b, values.lanes, run.access.operand
    vectors = [values.vec(store.value) for store in run.stores]
    factors = _dealt(values, run)
    for copy in range(values.copies):
        own = [pick(vector, copy) for vector in vectors]
        if factors:
            word = f"store{lanes}" if values.mask is None else "store"
            for number, value in enumerate(_merge(values, own, factors)):
                pointer, place, *mask = _vector(values, run, copy, number)
                b.do(word, pointer, place, value, *mask, stores=operand)
            continue
        code = element(run.stores[0].value.dtype)
        tile, back = (b.local(code, n * lanes * lanes) for n in (-(-run.size // lanes), 1))
        for number, value in enumerate(own):
            b.do(f"store{lanes}", tile, Offset((), number * lanes), value)
        pointer, place = (
            pick(values.nest.pointers[operand], copy),
            values.place(run.access, (), copy),
        )
        rows = lanes if values.mask is None else b.least(values.left, lanes)
        for first in range(0, run.size, lanes):
            size = (lanes, min(lanes, run.size - first), lanes, back, 0, lanes)
            b.do(f"transpose{lanes}", tile, Offset((), first * lanes), *size)
            with b.loop(0, rows, stored=frozenset({operand})) as row:
                terms = (*place.terms, (row, run.step))
                at = b.pointer(pointer, Offset(terms, place.constant + first))
                value = b.variable("x", f"load{lanes}", back, Offset(((row, lanes),)))
                mask = b.op(f"mask{lanes}", run.size - first)
                b.do("store", *at, value, mask, stores=operand)


def store_at_last(values: Values, runs: StageRuns, s: Statement) -> bool:
    """Write a store of a run, all of them with the last one; return whether it is one."""
    if id(s) not in runs.waiting:
        return False
    values.emit(roots(s))
    if id(s) in runs.last:
        store_run(values, runs.last[id(s)])
    return True
