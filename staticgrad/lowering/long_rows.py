"""Pieces of long rows to their kernel: an iteration for each piece; the last one is shorter."""

from __future__ import annotations

from dataclasses import replace

from staticgrad.fusion.groups import Group, Groups, Home, Key, Walk
from staticgrad.fusion.walks import operand_walks
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr, Position, postorder
from staticgrad.ir.forms import Assemble
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Extent,
    Keep,
    Map,
    Scalar,
    Statement,
    Store,
)
from staticgrad.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over, vector_axis
from staticgrad.lowering.windows.parts import windowed
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
        self._known: dict[Expr, Expr] = {}
        stored = [key for key in group.stored if key not in group.reductions]
        stores = [(k, self.store_walk(k, self.groups.value_type(k).shape)) for k in stored]
        results = {key: self._result(key) for key in group.reductions}
        walks = [*operand_walks(self.groups, group), *(walk for _, walk in stores)]
        segments = [range(rank - 1), [rank - 1]]
        merge = not group.indexed
        self.loops = loops_over(group.domain, segments, [*walks, *results.values()], merge)
        axes, _ = vector_axis(self, 1)
        self.piece = f"i{sum(map(len, self.loops.names))}"
        for node in group.nodes:
            assembled = isinstance(node.form, Assemble)
            self.memo[Home(node)] = windowed(self, node) if assembled else self.scalar(node)
        body: list[Statement] = []
        for key, walk in stores:
            access = self.access(walk, self.groups.value_type(key).dtype, "out")
            body.append(Store(self._moved(access), self._in_piece(self.memo[key])))
        names = {key: f"r{n}" for n, key in enumerate(group.reductions)}
        for key, each in group.reductions.items():
            value = self._in_piece(self.widened(each.source))
            body.append(Accumulate(names[key], each.kind, value))
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
        access = self.access(walk, dtype, "out")
        access = Access(access.operand, (*access.strides, (self.piece, 1)))
        return Store(access, ex.ref(name, dtype))

    # -- from places in a row to places in its pieces ----------------------------------------------

    def _in_piece(self, root: Expr) -> Expr:
        """An expression of an element of the row as one of an element of a piece."""
        for expr in postorder([root]):
            if expr in self._known:
                continue
            args, attribute = tuple([self._known[arg] for arg in expr.args]), expr.attribute
            made = expr
            if expr.op == "index" and attribute == VECTOR:
                made = ex.index(self.piece) * self.group.pieces + expr
            elif isinstance(attribute, Access):
                made = Expr(expr.op, expr.dtype, args, self._moved(attribute))
            elif args != expr.args:
                made = Expr(expr.op, expr.dtype, args, attribute)
            self._known[expr] = made
        return self._known[root]

    def _moved(self, access: Access) -> Access:
        """An access of which what moves along the row is moved by pieces and inside of them."""
        positions = [replace(each, terms=self._terms(each.terms)) for each in access.positions]
        strides = tuple([move for move in access.strides if move[0] != VECTOR])
        step = dict(access.strides).get(VECTOR, 0)
        if step != 0:
            length = self.extent(self.group.domain[-1])
            place = Position(self._terms(((VECTOR, 1),)), 0, step, length, within=True)
            positions.append(place)
        return replace(access, strides=strides, positions=tuple(positions))

    def _terms(self, terms: tuple[tuple[str, Extent], ...]) -> tuple[tuple[str, Extent], ...]:
        found: list[tuple[str, Extent]] = []
        for axis, step in terms:
            if axis == VECTOR:
                size = step if isinstance(step, int) else self.arguments[step]
                far = size * self.group.pieces
                found.append((self.piece, far if isinstance(far, int) else self.argument(far)))
            found.append((axis, step))
        return tuple(found)
