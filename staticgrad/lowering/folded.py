"""Elementwise groups over short inner axes: vectors run over several rows of elements.

Where all operands of a group lie in memory as its domain does, its axes are one. One operand that
is broadcast, along rows or across them, keeps the last two apart, and rows shorter than a vector
leave most of its lanes empty. Here what does not lie as the domain is first spread out in scratch,
some hundred rows at a time: once for a few rows where it is the same in all of them, else for each
row. Then the rows are one run of elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from staticgrad.fusion.groups import Group, Groups, Home, Key, ScratchBuffer, Walk
from staticgrad.fusion.walks import operand_walks
from staticgrad.ir.expr import Access, Expr, Position, load
from staticgrad.ir.kernels.stages import Axis, Map, Mode, Stage, Store
from staticgrad.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over
from staticgrad.native.machine import current
from staticgrad.types.dim import Size
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import hint_value

#: Rows of an iteration, at most, and of one run of vectors: as many as a vector has lanes.
_ROWS: Final = 128
_RUN: Final = 16
#: Operands that are spread out, at most.
MOST_SPREAD: Final = 4
#: Instructions beside those of a body, for each short row, where masks are vectors that are made
#: anew, and where they have registers; and for one that is spread out.
_OVERHEAD: Final = (20, 6)
_SPREADING: Final = 11
#: The same for a row that waits for the end of the one before, which is stored over its operand.
_WAITING: Final = 40
#: Vectors of a row up to which that takes a large part of its time.
_LONGEST_WAITING: Final = 3
#: What is gained is this part of a row's time, at least.
_WORTH_IT: Final = 0.05
#: Elements from which on there is something to gain.
_FEWEST: Final = 1 << 10


def lower_folded(groups: Groups, group: Group) -> LoweredStep | None:
    """The kernel of a group whose short inner axis folds into the one before; else None."""
    plain = not (group.reductions or group.keeps_axes or group.checked or group.regions)
    if group.kind != "map" or not plain or not may_fold(group):
        return None
    return _Folding(groups, group).lowered()


def may_fold(group: Group) -> bool:
    """Whether the last of several axes is short, whatever the operands are."""
    if len(group.domain) < 2 or not group.nodes:
        return False
    return isinstance(group.domain[-1], int)


def lies_in_place(groups: Groups, group: Group) -> bool:
    """Whether a result will probably be stored over an operand, which nobody reads any more."""
    results = [groups.value_type(key) for key in group.stored if _is_between(groups, key)]
    wanted = {(kind.size, kind.dtype.itemsize) for kind in results}
    for base in dict.fromkeys([read.source.base for read in groups.reads(group)]) if wanted else ():
        home, kind = groups.home(base), groups.value_type(base)
        if home is None or home is group or not _is_between(groups, base):
            continue
        if (kind.size, kind.dtype.itemsize) in wanted and _is_read_last(groups, group, base):
            return True
    return False


def _is_between(groups: Groups, key: Key) -> bool:
    """Whether a value is no result of the program, whose bytes nothing else takes."""
    return isinstance(key, Home) and key not in groups.roots and key not in groups.kept


def _is_read_last(groups: Groups, group: Group, base: Key) -> bool:
    """Whether no later group reads a value, or a view of it."""
    waiting = [base.node]
    while waiting:
        node = waiting.pop()
        for user in [user for n in range(len(node.types)) for user in groups.users[node, n]]:
            reader = groups.home(Home(user))
            if reader is None:
                waiting.append(user)
            elif reader.level > group.level:
                return False
    return True


class _Folding(Lowering):
    """The state of lowering such a group.

    Attributes:
        row, inner: the loops that are folded, and their extents ``rows`` and ``length``.
        chunk, run, within: loops over chunks of rows, over runs of a chunk, over rows of either.
        spread: by what is spread out, its scratch.
    """

    def lowered(self) -> LoweredStep | None:
        """The kernel of the group, if that takes less time."""
        group = self.group
        stores = [(k, self.store_walk(k, self.groups.value_type(k).shape)) for k in group.stored]
        walks = [*operand_walks(self.groups, group), *(walk for _, walk in stores)]
        self.loops = loops_over(group.domain, [range(len(group.domain))], walks, merge=True)
        names, extents = self.loops.names[0], self.loops.extents[0]
        if len(names) < 2 or not isinstance(extents[-1], int):
            return None
        self.row, self.inner, self.rows, self.length = *names[-2:], extents[-2], extents[-1]
        if not self._is_worth_it([walk for _, walk in stores]):
            return None
        self.chunk, self.run, self.within = (f"i{len(names) + n}" for n in range(3))
        self.height = min(_ROWS, -(-hint_value(self.rows) // _RUN) * _RUN)
        self.spread = {
            walk: ScratchBuffer(group.nodes[0], number)
            for number, walk in enumerate(w for w in self.loops.strides if self._is_spread(w))
        }
        for node in group.nodes:
            self.memo[Home(node)] = self.scalar(node)
        body = tuple(
            Store(self.access(walk, self.groups.value_type(key).dtype, "out"), self.memo[key])
            for key, walk in stores
        )
        axes = [Axis(name, self.extent(extent)) for name, extent in self.loops.flat(0)[:-2]]
        count = (self.rows + (self.height - 1)) // self.height
        axes.append(Axis(self.chunk, self.extent(count)))
        runs = Axis(self.run, self.height // _RUN)
        flat = Map(Axis(VECTOR, _RUN * self.length), body, (runs,))
        return self.finish([*self._spreading(), flat], axes)

    # -- what an operand is ----------------------------------------------------------------------

    @property
    def lanes(self) -> int:
        """Lanes of a vector of the narrowest elements."""
        dtypes = [self._dtype(walk) for walk in self.loops.strides]
        return max((d.lanes for d in dtypes if not d.is_bool), default=1)

    def _steps(self, walk: Walk) -> tuple[Size, Size]:
        """How a walk moves along rows, and inside of one."""
        moves = dict(self.loops.strides[walk])
        return moves.get(self.row, 0), moves.get(self.inner, 0)

    def _is_flat(self, walk: Walk) -> bool:
        """Whether rows lie behind each other, as in the domain."""
        return self._steps(walk) == (self.length, 1)

    def _is_spread(self, walk: Walk) -> bool:
        return not self._is_flat(walk) and self._steps(walk) != (0, 0)

    def _is_worth_it(self, stored: Sequence[Walk]) -> bool:
        """Whether vectors are that empty, compared with what is spread out for each row."""
        walks = [*self.loops.strides]
        if not all(map(self._is_flat, stored)):
            return False
        lanes = self.lanes
        spread = [walk for walk in walks if self._is_spread(walk)]
        rows = hint_value(self.rows)
        few = rows < 2 * _RUN or rows * self.length < _FEWEST
        if few or len(spread) > MOST_SPREAD or _RUN % lanes or self.length % lanes == 0:
            return False
        vectors = -(-self.length // lanes)
        waits = lies_in_place(self.groups, self.group)
        if vectors > (_LONGEST_WAITING if waits else 1):
            return False
        work = len(walks) + self.group.instructions
        each = sum(self._steps(walk)[0] != 0 for walk in spread)
        row = vectors * work + (_WAITING if waits else _OVERHEAD[current().has_mask_registers])
        return _SPREADING * each * vectors + work * self.length / lanes < (1 - _WORTH_IT) * row

    # -- spreading out ---------------------------------------------------------------------------

    def _spreading(self) -> list[Stage]:
        """The stages that spread operands out: over the rows of a run, or over all of a chunk."""
        alike = [walk for walk in self.spread if self._steps(walk)[0] == 0]
        numbers = [walk for walk in self.spread if self._steps(walk)[1] == 0]
        each = [walk for walk in self.spread if walk not in (*alike, *numbers)]
        whole = -(-self.length // self.lanes) * self.lanes  # the next row is written over the rest
        stages: list[Stage] = []
        for walks, height, length in (
            (alike, _RUN, self.length),
            (numbers, self.height, whole),
            (each, self.height, self.length),
        ):
            if walks:
                body = tuple(Store(self._row_of(walk), self._origin(walk)) for walk in walks)
                rows = (Axis(self.within, height),)
                stages.append(Map(Axis(VECTOR, length), body, rows))
        return stages

    def _dtype(self, walk: Walk) -> DType:
        return self.groups.value_type(walk.base).dtype

    def _room(self, walk: Walk) -> str:
        """The scratch in which an operand is spread out."""
        key = self.spread[walk]
        self.scratch[key] = self.operand(key, 0, self._dtype(walk), "scratch")
        return self.scratch[key]

    def _row_of(self, walk: Walk) -> Access:
        return Access(self._room(walk), ((self.within, self.length), (VECTOR, 1)))

    def _origin(self, walk: Walk) -> Expr:
        """The element of an operand in a row of the chunk."""
        name = self.operand(walk.base, walk.offset, self._dtype(walk), "in")
        self.reads[walk.base] = None
        along, across = self._steps(walk)
        strides = self._outer(walk)
        if across != 0:
            strides = (*strides, (VECTOR, self.argument(across)))
        positions: tuple[Position, ...] = ()
        if along != 0:
            terms = ((self.chunk, self.height), (self.within, 1))
            stride, rows = self.argument(along), self.extent(self.rows)
            positions = (Position(terms, 0, stride, rows),)
        return load(Access(name, strides, (), positions), self._dtype(walk))

    def _outer(self, walk: Walk) -> tuple[tuple[str, str | int], ...]:
        moves = self.loops.strides[walk]
        folded = (self.row, self.inner)
        return tuple((axis, self.argument(step)) for axis, step in moves if axis not in folded)

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """An access along a walk in the run of elements."""
        if walk in self.spread:
            alike = self._steps(walk)[0] == 0
            runs = () if alike else ((self.run, _RUN * self.length),)
            return Access(self._room(walk), (*runs, (VECTOR, 1)))
        name = self.operand(walk.base, walk.offset, dtype, mode)
        (self.reads if mode == "in" else self.writes)[walk.base] = None
        if not self._is_flat(walk):
            return Access(name, self._outer(walk))
        size = self.length
        terms = ((self.chunk, self.height * size), (self.run, _RUN * size), (VECTOR, 1))
        place = Position(terms, 0, 1, self.extent(self.rows * size))
        return Access(name, self._outer(walk), (), (place,))
