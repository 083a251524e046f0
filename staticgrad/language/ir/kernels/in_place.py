"""Results of a kernel that may be written over its operands.

**What is to be shown.** A kernel runs its outer iterations in any order and in parallel. A result
may take the bytes of an operand if no iteration reads an element of the operand after any iteration
has stored there, itself included.

**The premise.** No two iterations store to one element: a kernel whose bytes depend on the last
writer would be wrong with any operands. Where stores have ends, that holds of all that they could
reach.

**The rule.** All stores to the result land at one access. Each load of the operand either

* is *at the element that is stored*: in the stage of the first store, at its very access, and
  evaluated no later than it. Each loop of the stage moves the access, so what a lane reads no other
  lane and no other iteration stores to; or
* lies *in the row that is stored*: in a stage before that of the first store, and within the box of
  elements that the store reaches in one iteration. By the premise the boxes of two iterations share
  no element that is stored to, and the own iteration has not begun to store.

A box is how an access moves along the outer loops, and the extents and strides of all that moves it
inside of an iteration. A checked index is one of its extent, so a gather is one more move. An
access that moves like the store, or along fewer of its inner loops, is within its box. Where there
is one iteration, every place lies in its row.

A row may read what it has stored again. It then reads the result, not the operand.

**Products** evaluate their stores once for each element, when its sum is complete. What they
multiply, and what feeds that, is read until the last sum, so no result takes its bytes. Iterations
are tiles or rows, so of a kernel with a product the first case alone is a pair.

**Rows that are written out** have a store for each of their elements: accesses of one stage that
differ in a literal start alone. Where the loops of the stage move them farther than those starts
lie apart, all stores of an iteration land at different elements, and the first of the two cases
holds for each store by itself: a load is at the access of one of them, and evaluated no later. A
stage without loops that stores at several accesses stores a short row, each element once.

**Scatters onto a copy** store by an index in a later stage than that which copies a whole array:
the copy alone is the first store.

**Other stages** (loops, sorts) behind those that this knows may store what they like: by the
premise no other iteration stores there. They read no operand whose bytes a result takes.

**Sums over columns** take no bytes, and give none: what they read is read in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from staticgrad.language.ir.expr import Access, Expr, Position, unvisited_postorder
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Check,
    Columns,
    Extent,
    Gemm,
    Map,
    Operand,
    Scalar,
    Search,
    Stage,
    Store,
    loops_of,
    operands_read,
    parts,
    roots,
    statements,
)
from staticgrad.support.caches import cached_property
from staticgrad.support.records import dataclass, replace


@dataclass(frozen=True)
class _Load:
    """A load of an operand: in which stage it is evaluated, and for which of all statements."""

    expr: Expr
    stage: int
    place: int

    @property
    def access(self) -> Access:
        assert isinstance(self.expr.attribute, Access)
        return self.expr.attribute


#: An operand with all its loads.
_Loaded = tuple[str, Sequence[_Load]]


@dataclass(frozen=True)
class _Box:
    """The elements that an access may reach in one outer iteration.

    ``outer`` are its moves along outer loops, ``inner`` extents and strides of the others, and
    ``positions`` the same of each position.
    """

    outer: frozenset[tuple[str, Extent]]
    inner: Counter[tuple[Extent, Extent]]
    positions: Counter[tuple[object, ...]]

    def holds(self, box: _Box) -> bool:
        """Return whether this box contains every element of another box."""
        alike = self.outer == box.outer and self.positions == box.positions
        return alike and box.inner <= self.inner


def in_place_pairs(
    axes: Sequence[Axis], stages: Sequence[Stage], operands: Sequence[Operand]
) -> Iterator[tuple[str, str]]:
    """Return pairs (out, in) of kernel operands that may share a buffer, whatever the iteration
    order.
    """
    plain = [*takewhile(lambda stage: isinstance(stage, Map | Scalar | Gemm | Columns), stages)]
    read_later = operands_read(stages[len(plain) :])
    if plain:
        pairs = _Kernel(axes, plain, operands).pairs()
        yield from (pair for pair in pairs if pair[1] not in read_later)


def copied_operands(stage: Stage) -> tuple[str, str] | None:
    """Return the operands (out, in) of a stage that copies elements to equal places; else None."""
    if not isinstance(stage, Map) or stage.rows or len(stage.body) > 1:
        return None
    (store,) = stage.body
    if not isinstance(store, Store) or store.combine or store.access.gather:
        return None
    read = store.value.attribute
    if not isinstance(read, Access) or not _is_at(read, store.access):
        return None
    return store.access.operand, read.operand


class _Kernel:
    def __init__(
        self, axes: Sequence[Axis], stages: Sequence[Stage], operands: Sequence[Operand]
    ) -> None:
        self.outer = {axis.name for axis in axes}
        self.multiplies = any(isinstance(stage, Gemm) for stage in stages)
        self.one_row = len(stages) > 1 and all(axis.extent == 1 for axis in axes)
        self.stages = stages
        self.operands = {operand.name: operand for operand in operands}
        self.loads: dict[str, list[_Load]] = {}
        self.stores: dict[str, list[tuple[Store, int, int]]] = {}  # with stage and place of each
        self.checked: dict[str, Extent] = {}
        self.unknown: set[str] = set()  # operands that are read at places that nothing here says
        self.in_columns: set[str] = set()  # results of sums over columns
        for number, stage in enumerate(stages):
            self._read(number, stage)

    def _read(self, number: int, stage: Stage) -> None:
        """Collect the loads, stores and index checks of one kernel stage, for the in-place
        analysis.
        """
        if isinstance(stage, Gemm):
            self.unknown |= {access.operand for access, _ in stage.reads} | operands_read(stage.fed)
        elif isinstance(stage, Columns):
            self.unknown |= operands_read([stage])
            self.in_columns |= {store.access.operand for store in stage.stores}
        visited: set[int] = set()
        first = sum(len(statements(earlier)) for earlier in self.stages[:number])
        for place, statement in enumerate(statements(stage), first):
            for expr in unvisited_postorder(roots(statement), visited):
                if isinstance(expr.attribute, Access):
                    load = _Load(expr, number, place)
                    self.loads.setdefault(load.access.operand, []).append(load)
            if isinstance(statement, Store):
                written = self.stores.setdefault(statement.access.operand, [])
                written.append((statement, number, place))
            elif isinstance(statement, Check):
                self.checked[statement.name] = statement.extent
            elif isinstance(statement, Search):
                self.unknown.add(statement.operand)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield each pair of a kernel's output and input that may be the same buffer."""
        for out, stores in self.stores.items():
            if out in self.in_columns or self.operands[out].mode == "scratch":
                continue
            plain = [entry for entry in stores if not entry[0].access.gather]
            if len(plain) < len(stores):  # a copy of the whole, of which a later stage writes parts
                if not plain or max(n for _, n, _ in plain) >= min(
                    n for store, n, _ in stores if store.access.gather
                ):
                    continue
                stores = plain
            places: dict[Access, int] = {}
            for store, _, place in stores:
                places.setdefault(store.access, place)
            stage = stores[0][1]
            alone = len(places) == 1
            of_width = self._readable.get(self.operands[out].dtype.itemsize)
            if of_width is None or not (alone or self._are_apart(stores)):
                continue
            candidates = self._kept_by_one if alone else _kept_by_several
            yield from ((out, name) for name in candidates(of_width, places, stage))

    @cached_property
    def _readable(self) -> Mapping[int, Sequence[_Loaded]]:
        """Return the operands that only plain loads read, with these loads, by element width."""
        loads_by_width: dict[int, list[_Loaded]] = {}
        for name, loads in self.loads.items():
            operand = self.operands[name]
            if operand.mode == "in" and name not in self.unknown:
                loads_by_width.setdefault(operand.dtype.itemsize, []).append((name, loads))
        return loads_by_width

    def _kept_by_one(
        self, loaded: Iterable[_Loaded], places: Mapping[Access, int], stage: int
    ) -> Iterator[str]:
        """Return the inputs of which no element is loaded after its store, for stores at one
        access.
        """
        ((stored, place),) = places.items()
        box, once = self._box(stored, stage), self._stored_once(stored, stage)

        def comes_before(load: _Load) -> bool:
            """Return whether a load is at the stored element, or earlier in the same row."""
            if load.stage == stage:
                return once and load.place <= place and _is_at(load.access, stored)
            if load.stage > stage or self.multiplies:  # iterations of a product are tiles
                return False
            return self.one_row or self._is_inside(load, box)

        return (name for name, loads in loaded if all(map(comes_before, loads)))

    def _are_apart(self, stores: Sequence[tuple[Store, int, int]]) -> bool:
        """Return whether a stage's stores to one operand write disjoint elements."""
        (first, stage, _), *others = stores
        kind = self.stages[stage]
        if not isinstance(kind, Map | Scalar) or any(n != stage for _, n, _ in others):
            return False
        accesses = [store.access for store, _, _ in stores]
        if any(store.combine for store, _, _ in stores) or any(
            a.bounded_positions for a in accesses
        ):
            return False
        if isinstance(kind, Scalar):  # a store for each element of a short row
            return len({*accesses}) == len(accesses)
        if len({_without_starts(access) for access in accesses}) > 1:
            return False
        starts = [
            sum(_literal(p.start) * _literal(p.stride) for p in access.positions)
            for access in accesses
        ]
        moves = [
            (abs(_literal(first.access.stride(axis.name))), axis.extent)
            for axis in parts(self.stages[stage])[-1][1]
            if axis.extent not in (0, 1)
        ]
        run = 1 + max(starts) - min(starts)  # how far starts, then faster loops, reach
        for number, (step, extent) in enumerate(sorted(moves, key=lambda move: move[0])):
            if step < run or (isinstance(extent, str) and number < len(moves) - 1):
                return False
            run += step * (_literal(extent) - 1)
        return True

    def _is_inside(self, load: _Load, box: _Box) -> bool:
        access = load.access
        indices = load.expr.args[: len(access.gather)]
        is_checked = all(i.op == "ref" and i.attribute in self.checked for i in indices)
        return is_checked and box.holds(self._box(access, load.stage, indices))

    def _stored_once(self, stored: Access, stage: int) -> bool:
        """Return whether a store writes each element once, whatever the loop order: no strides
        overlap.
        """
        loops = {
            a.name: a.extent for a in parts(self.stages[stage])[-1][1] if a.extent not in (0, 1)
        }
        if not all(stored.stride(name) for name in loops):
            return False
        for position in stored.positions:
            run = 1  # how far the faster loops of the position reach
            steps = [(step, loops[name]) for name, step in position.terms if name in loops]
            if len(steps) > 1:
                for step, extent in sorted(steps, key=lambda move: abs(_literal(move[0]))):
                    if abs(_literal(step)) < run or isinstance(extent, str):
                        return False
                    run += abs(_literal(step)) * (extent - 1)
        return True

    def _box(self, access: Access, stage: int, indices: Sequence[Expr] = ()) -> _Box:
        """Describe the elements that an access touches as a box: outer strides, inner loops,
        positions.
        """
        extents = {axis.name: axis.extent for axis in loops_of(self.stages[stage])}
        inner = Counter(self._inner(access.strides, extents))
        gathers = zip(indices, access.gather, strict=True) if indices else ()
        inner.update((self.checked[str(i.attribute)], stride) for i, stride in gathers)
        positions = (
            (
                self._outer(p.terms),
                tuple(sorted(self._inner(p.terms, extents), key=repr)),
                p.start,
                p.stride,
                p.extent,
                p.within,
            )
            for p in access.positions
        )
        return _Box(self._outer(access.strides), inner, Counter(positions))

    def _outer(self, moves: Sequence[tuple[str, Extent]]) -> frozenset[tuple[str, Extent]]:
        return frozenset(move for move in moves if move[0] in self.outer)

    def _inner(
        self, moves: Sequence[tuple[str, Extent]], extents: Mapping[str, Extent]
    ) -> list[tuple[Extent, Extent]]:
        return [(extents[axis], step) for axis, step in moves if axis not in self.outer]


def _kept_by_several(
    loaded: Iterable[_Loaded], places: Mapping[Access, int], stage: int
) -> Iterator[str]:
    """Return the inputs not loaded after they are stored over, for several disjoint stores."""

    def is_at_one(load: _Load) -> bool:
        return load.stage == stage and any(
            _is_at(load.access, at) and load.place <= place for at, place in places.items()
        )

    return (name for name, loads in loaded if all(map(is_at_one, loads)))


def _is_at(access: Access, stored: Access) -> bool:
    return (access.strides, access.positions) == (
        stored.strides,
        stored.positions,
    ) and not access.gather


def _without_starts(access: Access) -> Access:
    """The access without its literal starts, and without positions that are nothing else."""
    without = (
        replace(p, start=0) if isinstance(p.start, int) and isinstance(p.stride, int) else p
        for p in access.positions
    )
    return replace(access, positions=tuple(p for p in without if p != Position(())))


def _literal(number: Extent | tuple[Extent, ...]) -> int:
    """A literal; 0, which proves nothing, for a size."""
    return number if isinstance(number, int) else 0
