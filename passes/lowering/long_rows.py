"""Pieces of long rows to their kernel: an iteration for each piece; the last one is shorter."""

from __future__ import annotations

from collections.abc import Sequence

from passes.fusion.groups import Group, Groups, Home, Key, Walk
from passes.fusion.walks import operand_walks
from passes.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over, vector_axis
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Position
from staticgrad.ir.kernel_stages import (
    Accumulate,
    Axis,
    Keep,
    Map,
    Mode,
    Scalar,
    Statement,
    Store,
)
from staticgrad.types.dim import Size
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import c_strides


def lower_pieces(groups: Groups, group: Group) -> LoweredStep:
    """The kernel that computes a group whose rows are taken in pieces."""
    return _PieceLowering(groups, group).lowered()


class _PieceLowering(Lowering):
    """The state of lowering such a group; ``piece`` is the loop over the pieces of a row."""

    piece = ""

    def lowered(self) -> LoweredStep:
        """The kernel of the group."""
        group, rank = self.group, len(self.group.domain)
        stored = [key for key in group.stored if key not in group.reductions]
        stores = [(k, self.store_walk(k, self.groups.value_type(k).shape)) for k in stored]
        results = {key: self._result(key) for key in group.reductions}
        walks = [*operand_walks(self.groups, group), *(walk for _, walk in stores)]
        segments = [range(rank - 1), [rank - 1]]
        self.loops = loops_over(group.domain, segments, [*walks, *results.values()], merge=True)
        axes, _ = vector_axis(self, 1)
        self.piece = f"i{sum(map(len, self.loops.names))}"
        for node in group.nodes:
            self.memo[Home(node)] = self.scalar(node)
        body: list[Statement] = [
            Store(self.access(walk, self.groups.value_type(key).dtype, "out"), self.memo[key])
            for key, walk in stores
        ]
        names = {key: f"r{n}" for n, key in enumerate(group.reductions)}
        body += [
            Accumulate(names[key], each.kind, self.widened(each.source))
            for key, each in group.reductions.items()
        ]
        finals = [self._final(key, walk, names[key]) for key, walk in results.items()]
        left, length = f"r{len(names)}", self.extent(group.domain[-1])
        rest = ex.size(str(length)) - ex.index(self.piece) * group.pieces
        stages = (
            Scalar((Keep(left, rest),)),
            Map(Axis(VECTOR, group.pieces, past=left), tuple(body)),
            Scalar(tuple(finals)),
        )
        *_, pieces = self.groups.value_type(next(iter(results))).shape
        return self.finish(stages, [*axes, Axis(self.piece, self.extent(pieces))])

    def _result(self, key: Key) -> Walk:
        """How the results of pieces move over the rows."""
        *outer, _ = c_strides(self.groups.value_type(key).shape)
        return Walk(key, 0, (*outer, 0))

    def _final(self, key: Key, walk: Walk, name: str) -> Store:
        """The store of what a piece comes to."""
        dtype = self.groups.value_type(key).dtype
        access = super().access(walk, dtype, "out")
        access = Access(access.operand, (*access.strides, (self.piece, 1)))
        return Store(access, ex.ref(name, dtype))

    def access(
        self, walk: Walk, dtype: DType, mode: Mode = "in", gather: Sequence[Size] = ()
    ) -> Access:
        """An access along a walk; along the row it is moved by pieces and inside of them."""
        found = super().access(walk, dtype, mode, gather)
        step = found.stride(VECTOR)
        if step == 0:
            return found
        strides = tuple(move for move in found.strides if move[0] != VECTOR)
        terms = ((self.piece, self.group.pieces), (VECTOR, 1))
        length = self.extent(self.group.domain[-1])
        place = Position(terms, 0, step, length, within=True)
        return Access(found.operand, strides, found.gather, (*found.positions, place))
