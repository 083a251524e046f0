"""A group of rows to its kernel: a loop over the row for each stage, and numbers between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.analysis.kernel_costs import instructions
from staticgrad.fusion.groups import Group, Groups, Home, Key, Source, Walk
from staticgrad.fusion.row_values import is_per_row, outer_shape
from staticgrad.fusion.walks import computes, gather_walks, operand_walks, walk_of
from staticgrad.ir import expr as ex
from staticgrad.ir.expr import Access, Expr
from staticgrad.ir.forms import GatherAlong, Pointwise, ScatterAlong
from staticgrad.ir.graph import Node
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Ahead,
    Axis,
    ColumnAccumulate,
    Keep,
    Map,
    Scalar,
    Stage,
    Statement,
    Store,
)
from staticgrad.ir.kernels.strips import may_take_strips
from staticgrad.ir.rounded import element
from staticgrad.lowering.operands import VECTOR, LoweredStep, Lowering, loops_over, vector_axis
from staticgrad.lowering.row_lookups import checked_place, one_hot
from staticgrad.lowering.row_stages import RowPoint, row_plan
from staticgrad.native.machine import current
from staticgrad.records import replace
from staticgrad.types.dtype import DType
from staticgrad.types.tensor import Shape, hint_product

#: Rows side by side where some stage has a long operation, and where none has.
_JAMMED: Final = 4
_JAMMED_SHORT: Final = 2
#: Operations from which on one is long: those of vector math.
_LONG_OPERATION: Final = 16
#: Part of the second cache that a strip of rows takes at most. What is computed once per row is
#: worth a vector from so many instructions on, and from that part of a row's own: below, rows had
#: better stay in the first cache from stage to stage.
_STRIP: Final = 1 / 4
_WORTH_STRIPS: Final = 8
_PART_OF_ROW: Final = 1 / 4
#: Part of it that rows which are worked on together take at most.
_TOGETHER: Final = 1 / 8
#: Rows side by side are worth their code from so many rows on, a multiple of those side by side.
_ROUNDS: Final = 8
#: Where so many bytes lie between a row and the next ones, nearer memory is brought near.
_FAR: Final = 20 << 10
_BYTES_AHEAD: Final = 2 << 10
#: Bytes of a row that is read, and stored, as a stream of its own, which hardware follows: several
#: of these side by side take longer. Of 512 float32 a layer norm's gradient took 1.5 times as long,
#: of 1,024 a softmax 1.3 times (Zen 3).
_LONG_ROW: Final = 2 << 10


def lower_rows(groups: Groups, group: Group) -> LoweredStep:
    """The kernel that computes a group of rows."""
    return _RowLowering(groups, group).lowered()


class _RowLowering(Lowering):
    """The state of lowering a group of rows; ``memo`` holds the values of one context."""

    def lowered(self) -> LoweredStep:
        """The kernel of the group."""
        group = self.group
        self.plan = row_plan(self.groups, group)
        self.shape = group.domain
        self.places: dict[Node, Expr] = {}
        self.picked: dict[tuple[object, object], Expr] = {}  # what is kept of a place of an operand
        results = {key: f"r{n}" for n, key in enumerate(group.reductions)}
        numbers = [node for node in group.nodes if node in self.plan.numbers]
        self.names: dict[Key, str] = results
        for node in numbers:
            self.names[Home(node)] = f"r{len(self.names)}"
        self.targets = {key: self._target(key) for key in group.stored}
        rank, row = len(group.domain), group.row
        walks = [*operand_walks(self.groups, group), *self.targets.values()]
        apart = [axis for axis in range(rank - row) if axis not in group.summed]
        segments = [apart, group.summed, range(rank - row, rank)]
        self.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
        axes, self.vector = vector_axis(self, 2)
        jammed = rows_jammed(self) if axes else 1
        stages: list[Stage] = []
        maps: dict[int, Map] = {}
        for number in range(-1, self.plan.stages):
            body = self._body(RowPoint(number, False))
            if body:
                maps[number] = Map(self.vector, body)
                stages.append(maps[number])
            body = self._body(RowPoint(number, True))
            if body:
                stages.append(Scalar(body))
        grouped = len(self.loops.flat(1))
        strip = self._strip(stages, axes, grouped)
        near, ahead = self._ahead(axes, jammed)
        if strip:  # each strip brings the next one near, where the rows are in the cache
            near, ahead = max(maps), Ahead(axes[-1].name, strip)
        if near in maps:
            at = stages.index(maps[near])
            stages[at] = replace(maps[near], ahead=ahead)
        return self.finish(stages, axes, jammed=jammed, grouped=grouped, in_strips=strip > 0)

    def _strip(self, stages: Sequence[Stage], axes: Sequence[Axis], grouped: int) -> int:
        """Rows of a strip, or 0: what is computed once per row must be worth a vector of it, and a
        strip must stay in the cache."""
        if not axes:
            return 0
        operands = tuple(self.operands.values())
        kernel = Kernel(operands, (), tuple(axes), tuple(stages), grouped=grouped)
        shape = self.group.domain
        vectors = hint_product(shape[len(shape) - self.group.row :]) / kernel.lanes
        work = {True: 0.0, False: 0.0}
        for point, nodes in self.plan.nodes.items():
            work[point.per_row] += sum(map(instructions, nodes))
        if work[True] < max(_WORTH_STRIPS, _PART_OF_ROW * vectors * work[False]):
            return 0
        rows = hint_product(outer_shape(self.group.domain, self.group.row))
        nbytes = kernel.lanes * _row_bytes(self) * len(_streams(self))
        fits = rows >= _ROUNDS * kernel.lanes and nbytes <= _STRIP * current().l2
        return kernel.lanes if fits and may_take_strips(kernel) else 0

    def _target(self, key: Key) -> Walk:
        """Where a value is stored: the whole of a buffer, element by element or row by row."""
        shape, group = self.groups.value_type(key).shape, self.group
        if is_per_row(shape, group.domain, group.row):
            shape = outer_shape(group.domain, group.row)
        return self.store_walk(key, shape)

    # -- one context ------------------------------------------------------------------------------

    def _body(self, context: RowPoint) -> tuple[Statement, ...]:
        """What is computed in a context, and what becomes of it."""
        plan, group, self.memo, self.loads = self.plan, self.group, {}, {}
        nodes = plan.nodes.get(context, ())
        self.present = {*nodes}
        body: list[Statement] = []
        waiting = dict.fromkeys(plan.checks.get(context, ()))  # some look at what is computed here
        for node in nodes:
            if node in waiting:
                del waiting[node]
                body += self._looked_up(node)
            self.shape = node.types[0].shape
            self.memo[Home(node)] = self._computed(node)
        body += [statement for node in waiting for statement in self._looked_up(node)]
        self.shape = self.group.domain
        if not context.per_row:
            body += [self._kept_store(node) for node in nodes if self._is_kept_apart(node)]
            for key in plan.results.get(context.stage, ()):
                reduction = self.group.reductions[key]
                value = self.widened(reduction.source)
                body.append(Accumulate(self.names[key], reduction.kind, value))
            body += [self._column(key) for key in plan.columns.get(context.stage, ())]
        else:
            known = [node for node in nodes if Home(node) in self.names]
            sources = [self.groups.sources[node, 0] for node in known]
            body += [Keep(self.names[s.base], self.widened(s)) for s in sources]
        for key in plan.stores.get(context, ()):
            dtype = self.groups.value_type(key).dtype
            access, streamed = self.access(self.targets[key], dtype, "out"), key in group.streamed
            body.append(self.stored(access, self._result(key), streamed and not context.per_row))
        return tuple(body)

    def _looked_up(self, node: Node) -> Sequence[Statement]:
        """The check of a place in the row, which is known from then on.

        What is picked there and is not computed in this context is read at once, and kept.
        """
        self.shape = node.args[1].type.shape
        place = self.places[node] = checked_place(self, node)
        check = self.checks[-1]
        if isinstance(node.form, ScatterAlong) or node in self.present:
            return [check]
        loads = [load for load in self._picks(node, place) if load.op == "load" and load.args]
        return [check, *map(self._kept_pick, loads)]

    def _picks(self, node: Node, place: Expr) -> Iterator[Expr]:
        """The loads at its place that a picked element is computed from."""
        self.shape = node.types[0].shape
        data = self.groups.source(node.args[0])
        if not computes(self.groups, self.group, data):
            yield self._picked(node)
            return
        waiting, seen = [data], {data.base}
        while waiting:
            source = waiting.pop()
            if not computes(self.groups, self.group, source):
                yield self._again(source, place)
            elif not self._is_number(source):
                below = map(self.groups.source, source.base.node.args)
                fresh = [each for each in below if not each.inline and each.base not in seen]
                seen.update(each.base for each in fresh)
                waiting += fresh

    def _is_number(self, source: Source) -> bool:
        """Whether a value of the group is one of the row, which is not computed again."""
        shape = source.base.node.types[0].shape
        is_result = source.base in self.group.reductions
        return is_result or is_per_row(shape, self.group.domain, self.group.row)

    def _kept_pick(self, loaded: Expr) -> Keep:
        dtype, number = loaded.dtype, len(self.names) + len(self.picked)
        name = f"r{number}"
        self.picked[loaded.attribute, loaded.args[0].attribute] = ex.ref(name, dtype.compute)
        return Keep(name, loaded.cast(dtype.compute))

    def _at_place(self, access: Access, dtype: DType, place: Expr) -> Expr:
        """The element of an operand at a place of the row, or what is kept of it."""
        kept = self.picked.get((access, place.attribute))
        return ex.load(access, dtype, place) if kept is None else kept.cast(dtype)

    def _computed(self, node: Node) -> Expr:
        """One element of a node."""
        if isinstance(node.form, ScatterAlong):
            return one_hot(self, node, self.places[node])
        if isinstance(node.form, GatherAlong):
            return self._picked(node)
        return self.scalar(node)

    def _picked(self, node: Node) -> Expr:
        """The element of a row at a place; one of the group is computed there once more."""
        data, place = self.groups.source(node.args[0]), self.places[node]
        if computes(self.groups, self.group, data):
            return self._again(data, place)
        walk, _, stride = gather_walks(self.groups, node)
        dtype = node.types[0].dtype
        return self._at_place(self.access(walk, dtype, gather=(stride,)), dtype, place)

    def _again(self, source: Source, place: Expr) -> Expr:
        """An element at another place of the row."""
        node, group = source.base.node, self.group
        own = computes(self.groups, group, source)
        if source.uniform or (own and self._is_number(source)):
            return self.value(source)
        dtype = source.type.dtype
        if own or source.inline:
            form = node.form
            assert isinstance(form, Pointwise)
            args = [self._again(self.groups.source(arg), place) for arg in node.args]
            wide = [arg.cast(arg.dtype.compute) if arg.dtype.is_storage else arg for arg in args]
            sizes = [self.size(s) for s in form.sizes]
            positions = self._positions_at(node.types[0].shape, place) if form.indexed else []
            return element(form.scalar, dtype, *wide, *sizes, *positions)
        access = self.access(walk_of(group, source), dtype)
        moves = [move for move in access.strides if move[0] != VECTOR]
        if len(moves) == len(access.strides):
            return ex.load(access, dtype)
        along = (access.stride(VECTOR),)
        return self._at_place(Access(access.operand, tuple(moves), along), dtype, place)

    def _positions_at(self, shape: Shape, place: Expr) -> Sequence[Expr]:
        """The position along each axis of an element at a place of the row, its last axis."""
        own = self.positions(shape)
        return own if shape[-1:] in ((), (1,)) else [*own[:-1], place]

    def _column(self, key: Key) -> ColumnAccumulate:
        reduction = self.group.columns[key]
        value = self.widened(reduction.source)
        partials = self.operand(key, 0, value.dtype, "out")
        self.writes[key] = None
        scratch = self.scratch_operand(key.node, value.dtype)
        return ColumnAccumulate(reduction.kind, value, partials, scratch)

    def own(self, source: Source) -> Expr:
        """A value of the group: computed in this context, or what an earlier one left."""
        return self._result(source.base)

    def _result(self, key: Key) -> Expr:
        if key not in self.memo:
            dtype = self.groups.value_type(key).dtype
            if key in self.names:
                self.memo[key] = ex.ref(self.names[key], dtype.compute).cast(dtype)
            else:
                self.memo[key] = ex.load(self._place(key.node), dtype)
        return self.memo[key]

    def walk(self, source: Source) -> Walk:
        """How a source moves over the domain, where it is read for a node of the present shape."""
        return walk_of(self.group, source, self.shape)

    # -- what a row keeps -------------------------------------------------------------------------

    def _is_kept_apart(self, node: Node) -> bool:
        """Whether a row keeps a value that is no result, or not yet one."""
        return node in self.plan.kept and self.plan.kept[node] != Home(node)

    def _kept_store(self, node: Node) -> Store:
        return Store(self._place(node), self.memo[Home(node)])

    def _place(self, node: Node) -> Access:
        """Where the row keeps a value of its elements."""
        key, dtype = self.plan.kept[node], node.types[0].dtype
        if key is not None:
            return self.access(self.targets[key], dtype, "out")
        return Access(self.scratch_operand(node, dtype), ((VECTOR, 1),))

    # -- rows side by side, and memory ahead ------------------------------------------------------

    def _ahead(self, axes: Sequence[Axis], jammed: int) -> tuple[int, Ahead]:
        """The stage that brings memory near, and what."""
        work = {
            number: sum(map(instructions, self.plan.nodes.get(RowPoint(number, False), ())))
            for number in range(self.plan.stages)
        }
        ahead = memory_ahead(self, axes, jammed)
        return max(work, key=work.__getitem__) if ahead.axis != VECTOR else 0, ahead


def rows_jammed(low: Lowering, shared: bool = False) -> int:
    """How many rows stand side by side: what waits for memory or for a sum fills the time.

    ``shared``: they read a row that is the same for all.
    """
    group = low.group
    if _row_bytes(low) >= _LONG_ROW and not shared:
        return 1
    long = any(node.op.flops >= _LONG_OPERATION for node in group.nodes)
    count = _JAMMED if long or shared else _JAMMED_SHORT
    rows = hint_product(outer_shape(group.domain, group.row))
    nbytes = _row_bytes(low) * len(_streams(low))
    while count > 1 and (count * nbytes > _TOGETHER * current().l2 or rows < _ROUNDS * count):
        count //= 2
    return count


def memory_ahead(low: Lowering, axes: Sequence[Axis], jammed: int) -> Ahead:
    """What is brought near: the next rows, or what follows in these."""
    return _lines_ahead(axes, jammed * _row_bytes(low), jammed, _itemsize(low))


def _lines_ahead(axes: Sequence[Axis], nbytes: int, rows: int, width: int) -> Ahead:
    """So many rows ahead, unless those take too many bytes: then further along the row."""
    if axes and nbytes <= _FAR:
        return Ahead(axes[-1].name, rows)
    return Ahead(VECTOR, _BYTES_AHEAD // width)


def _row_bytes(low: Lowering) -> int:
    group = low.group
    return _itemsize(low) * hint_product(group.domain[len(group.domain) - group.row :])


def _itemsize(low: Lowering) -> int:
    return max([low.groups.value_type(key).dtype.itemsize for key in _streams(low)], default=4)


def _streams(low: Lowering) -> Sequence[Key]:
    """The buffers that are walked along the row."""
    first = len(low.group.domain) - low.group.row
    moving = [w.base for w in low.loops.strides if any(step != 0 for step in w.strides[first:])]
    return [*dict.fromkeys(moving)]
