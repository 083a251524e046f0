"""Groups whose rows are shorter than two vectors: a row in each lane, all its elements written out.

The vector axis is one around the row. Each element of the row is a place of its own, whose loads
and stores lie between those of its neighbours; reductions are expressions of them, in the order of
``ir/summation.py``, and what reads their results are expressions of those. A kernel that took such
rows one at a time would leave most lanes empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Final

from passes.fusion.groups import Group, Groups, Home, Key, Source, Walk
from passes.fusion.row_values import is_per_row, outer_shape
from passes.fusion.walks import operand_walks, walk_of
from passes.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over
from staticgrad.ir import expr as ex
from staticgrad.ir.combiners import COMBINERS
from staticgrad.ir.expr import Expr
from staticgrad.ir.graph import Node
from staticgrad.ir.kernel_stages import Axis, Map, Store
from staticgrad.ir.summation import in_lanes, lanes
from staticgrad.types.tensor import Shape, hint_value

#: Elements of an axis from which on vectors along it are mostly full.
FILLED: Final = 16
#: Where in the row: a position along each of its loops; None is for what the row has once.
_Place = tuple[int, ...] | None


def lower_short_rows(groups: Groups, group: Group) -> LoweredStep:
    """The kernel of a group whose rows are short, of one stage or of several."""
    return _ShortRows(groups, group).lowered()


class _ShortRows(Lowering):
    """The state of lowering; ``memo`` holds the values of one place."""

    def lowered(self) -> LoweredStep:
        """The kernel of the group."""
        group, rank, row = self.group, len(self.group.domain), self.group.row
        self.shape = group.domain
        self.memos: dict[_Place, dict[object, Expr]] = {}
        self.results: dict[Key, Expr] = {}
        stored = group.stored
        if group.kind == "map":  # its reductions are what it is for
            stored = tuple(dict.fromkeys([*stored, *group.reductions]))
        targets = {key: self.store_walk(key, self._stored_shape(key)) for key in stored}
        walks = [*operand_walks(self.groups, group), *targets.values()]
        segments = [range(rank - row), range(rank - row, rank)]
        self.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
        axes, vector = around_vector(self)
        extents = [range(int(extent)) for extent in self.loops.extents[1]]
        self.places: list[_Place] = [*product(*extents)]
        for node in group.nodes:
            self._evaluate(node)
        body: list[Store] = []
        for place in (*self.places, None):
            kept = [key for key in stored if self._once(key) == (place is None)]
            body += [self._store(key, targets[key], place) for key in kept]
        return self.finish([Map(vector, tuple(body))], axes)

    # -- values -----------------------------------------------------------------------------------

    def _evaluate(self, node: Node) -> None:
        """Give a node its expression, at every place where it has one."""
        once = self._once(Home(node))
        self.shape = node.types[0].shape if once else self.group.domain
        for place in [None] if once else self.places:
            self._go_to(place)
            self.memo[Home(node)] = self.scalar(node)

    def _once(self, key: Key) -> bool:
        """Whether the row has a value once, not for each of its elements."""
        if key in self.group.reductions:
            return True
        return self.group.kind == "rows" and self._is_per_row(self.groups.value_type(key).shape)

    def _is_per_row(self, shape: Shape) -> bool:
        return is_per_row(shape, self.group.domain, self.group.row)

    def _go_to(self, place: _Place) -> None:
        names = self.loops.names[1]
        self.place = {} if place is None else dict(zip(names, place, strict=True))
        self.memo = self.memos.setdefault(place, {})

    def own(self, source: Source) -> Expr:
        """A value of the group, at this place or of the whole row."""
        return self._value(source.base)

    def _value(self, key: Key) -> Expr:
        if key in self.group.reductions:
            if key not in self.results:
                self.results[key] = self._reduced(key)
            return self.results[key]
        return self.memos[None][key] if self._once(key) else self.memo[key]

    def _reduced(self, key: Key) -> Expr:
        """A reduction of the row, in the dtype of its result."""
        shape, memo, place = self.shape, self.memo, self.place
        reduction, terms = self.group.reductions[key], []
        self.shape = self.group.domain
        for each in self.places:
            self._go_to(each)
            terms.append(self.widened(reduction.source))
        self.shape, self.memo, self.place = shape, memo, place
        return combined(reduction.kind, terms).cast(self.groups.value_type(key).dtype)

    def walk(self, source: Source) -> Walk:
        """How a source moves over the domain, where it is read for a node of the present shape."""
        return walk_of(self.group, source, self.shape)

    # -- results ----------------------------------------------------------------------------------

    def _stored_shape(self, key: Key) -> Shape:
        domain = self.group.domain
        return outer_shape(domain, self.group.row) if self._once(key) else domain

    def _store(self, key: Key, target: Walk, place: _Place) -> Store:
        self._go_to(place)
        value = self._value(key)
        return Store(self.access(target, self.groups.value_type(key).dtype, "out"), value)


def around_vector(low: Lowering) -> tuple[list[Axis], Axis]:
    """The loops around, and the one along whose vectors rows lie: the last, if it fills one."""
    loops = low.loops.flat(0)
    fills = [min(hint_value(extent), FILLED) for _, extent in loops]
    chosen = max(range(len(loops)), key=lambda n: (fills[n], n))
    low.rename[loops[chosen][0]] = VECTOR
    axes = [Axis(name, low.extent(e)) for n, (name, e) in enumerate(loops) if n != chosen]
    return axes, Axis(VECTOR, low.extent(loops[chosen][1]))


def combined(kind: str, terms: Sequence[Expr]) -> Expr:
    """The terms of a row as one, as the lane rule adds a row of no more than a block."""
    return in_lanes(terms, lanes(terms[0].dtype), partial(ex.apply, COMBINERS[kind].combine))
