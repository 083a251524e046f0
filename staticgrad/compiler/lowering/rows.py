"""Groups of rows, and look-ups with one index in each row, to kernels.

Stage s is a loop over the row; numbers that are computed once per row stand between s and s + 1. An
element belongs to the first stage after all row results that it depends on. Later stages recompute
it, or, if that takes longer than a load, read it from memory of the row: the place of a result of
the row with its dtype that is not written yet, if there is one, else scratch.

A look-up checks the index of a row, and reads or sets the element there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.cost import instructions
from staticgrad.compiler.fusion.groups import Group, GroupValues, Home, Key, Source, Walk
from staticgrad.compiler.fusion.walks import (
    computes,
    gather_walks,
    is_per_row,
    operand_walks,
    outer_shape,
    walk_of,
)
from staticgrad.compiler.lowering.operands import (
    VECTOR,
    LoweredStep,
    Lowering,
    loops_over,
    vector_axis,
)
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.forms import GatherAlong, Pointwise, ScatterAlong
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import Directives, Interleave, Prefetch, Strips
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import may_take_strips
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    ColumnAccumulate,
    Keep,
    Map,
    Scalar,
    Stage,
    Statement,
    Store,
)
from staticgrad.language.ir.rounded import element
from staticgrad.language.types.arrays import hint_product
from staticgrad.language.types.dtype import DType
from staticgrad.native.machine import current
from staticgrad.support.records import NamedTuple

#: Instructions from which on it is quicker to read a value of an element again than to compute it.
_WORTH_KEEPING: Final = 5
_LOAD: Final = 1


class RowPoint(NamedTuple):
    """A point of the row kernel: in the loop of a stage, or once per row behind it.

    Points compare by their order. What needs no stage is computed per row behind stage -1.
    """

    stage: int
    per_row: bool

    @property
    def next(self) -> int:
        """The first stage that may read values computed here."""
        return self.stage + self.per_row


#: Behind the first stage, which brings the row near.
_FIRST: Final = RowPoint(0, True)
#: Behind all stages.
_END: Final = RowPoint(1 << 30, True)


class _Stay(NamedTuple):
    """A value that lies in memory from the point that writes it to the last that reads it."""

    node: Node
    first: RowPoint
    last: RowPoint


class RowPlan:
    """The nodes, kept values, reductions and stores of each stage of a group of rows.

    One walk forwards finds when values are known, and one backwards where they are needed. Stages
    are counted from 0.

    Attributes:
        stages: how many there are.
        nodes: at each point those that are computed there, in the order of the graph.
        kept: elements that the row keeps in memory, each with the result in whose place, or None:
            only the first point that needs one computes it.
        numbers: nodes of one element per row that later points read.
        results, columns: of each stage the reductions, and the sums over rows.
        stores: what is stored at each point.
        checks: the look-ups whose places are checked there, and whose elements are read.
    """

    def __init__(self, groups: GroupValues, group: Group) -> None:
        self._groups, self._group = groups, group
        self._own = {Home(node) for node in group.nodes}
        #: The point at which a value is known first: of an element its stage, else behind one.
        self._home: dict[Key, RowPoint] = {}
        self._waiting = dict(group.reductions)
        self._find_homes()
        self._checked = {
            node: self._picked_at(node) if picks else self._checked_at(node)
            for node in group.nodes
            if (picks := isinstance(node.form, GatherAlong)) or isinstance(node.form, ScatterAlong)
        }
        self._effort = self._efforts()
        self._needs: dict[Node, set[RowPoint]] = {node: set() for node in group.nodes}
        self.stages = 1 + max([point.stage for point in self._home.values()], default=-1)
        self.results: dict[int, list[Key]] = {}
        self.columns: dict[int, list[Key]] = {}
        self.stores: dict[RowPoint, list[Key]] = {}
        self.checks: dict[RowPoint, list[Node]] = {}
        self.numbers: list[Node] = []
        self.kept: dict[Node, Key | None] = {}
        self.nodes: dict[RowPoint, list[Node]] = {}
        self._place()

    def _place(self) -> None:
        for key, reduction in self._group.reductions.items():
            stage = self._home[key].stage
            self.results.setdefault(stage, []).append(key)
            self._need(reduction.source, RowPoint(stage, False))
        self._stored = {key: self._home[key] for key in self._group.stored}
        for key, point in self._stored.items():
            self.stores.setdefault(point, []).append(key)
            if key in self._own:
                self._needs[key.node].add(point)
        for key, reduction in self._group.columns.items():
            known = self._known(reduction.source)
            stage = 0 if known is None else known.next
            self.columns.setdefault(stage, []).append(key)
            self._need(reduction.source, RowPoint(stage, False))
        for node in reversed(self._group.nodes):
            for point in self._computed_at(node):
                self.nodes.setdefault(point, []).append(node)
                self._need_operands(node, point)
        for found in self.nodes.values():
            found.reverse()
        self.kept = self._in_results(self.kept, self.nodes)
        for node, point in self._checked.items():
            self.checks.setdefault(point, []).append(node)

    def _need_operands(self, node: Node, point: RowPoint) -> None:
        sources = [self._groups.source(arg) for arg in node.args]
        if node in self._checked:
            self._need(sources.pop(), self._checked[node])
        if not isinstance(node.form, GatherAlong):
            for source in sources:
                self._need(source, point)
            return
        seen = {source.base for source in sources}
        for source in sources:  # an element computed again
            if source.base in self._own and not self._is_per_row(source.base.node):
                below = [self._groups.source(arg) for arg in source.base.node.args]
                sources += [each for each in below if each.base not in seen]
                seen.update(each.base for each in below)
            else:
                self._need(source, point)

    # -- when values are known --------------------------------------------------------------------

    def _find_homes(self) -> None:
        for node in self._group.nodes:
            sources = [self._groups.source(arg) for arg in node.args]
            for base in [source.base for source in sources]:
                if base in self._waiting:
                    self._find_result(base)
            before = [self._known(source) for source in sources]
            known = max([each for each in before if each is not None], default=RowPoint(-1, True))
            per_row = self._is_per_row(node)
            if per_row and not known.per_row:  # it picks an element, which is computed again
                known = RowPoint(known.stage - 1, True)
            self._home[Home(node)] = known if per_row else RowPoint(known.next, False)
        for key in [*self._waiting]:
            self._find_result(key)

    def _checked_at(self, node: Node) -> RowPoint:
        known = self._known(self._groups.source(node.args[1]))
        return RowPoint(-1, True) if known is None else known

    def _picked_at(self, node: Node) -> RowPoint:
        """Return the point at which an element of the row is read: once its index is known and
        the row was read, so that a result may be written over the row from then on."""
        return min(self._home[Home(node)], max(self._checked_at(node), _FIRST))

    def _find_result(self, key: Key) -> None:
        known = self._known(self._waiting.pop(key).source)
        self._home[key] = RowPoint(0 if known is None else known.next, True)

    def _known(self, source: Source) -> RowPoint | None:
        return None if source.inline else self._home.get(source.base)

    def _is_per_row(self, node: Node) -> bool:
        return is_per_row(node.types[0].shape, self._group.domain, self._group.row)

    # -- what is kept -----------------------------------------------------------------------------

    def _efforts(self) -> dict[Node, int]:
        found: dict[Node, int] = {}
        for node in self._group.nodes:
            if self._is_per_row(node):
                continue
            effort = instructions(node)
            for arg in node.args:
                source = self._groups.source(arg)
                if source.base in self._own and source.base.node in found:
                    below = found[source.base.node]
                    effort += below if below < _WORTH_KEEPING else _LOAD
                elif not source.inline and source.base not in self._home:
                    effort += _LOAD
            found[node] = effort
        return found

    def _need(self, source: Source, point: RowPoint) -> None:
        if not source.inline and source.base in self._own:
            self._needs[source.base.node].add(point)

    def _computed_at(self, node: Node) -> Iterator[RowPoint]:
        needs, home = self._needs[node], self._home[Home(node)]
        if self._is_per_row(node):
            if any(each > home for each in needs):
                self.numbers.append(node)
            if needs:
                yield home
            return
        first = min(needs, default=None)
        stored = self._stored.get(Home(node)) == first and first is not None
        worth = self._effort[node] >= (2 * _LOAD if stored else _WORTH_KEEPING)
        if first is not None and len(needs) > 1 and worth:
            again = Home(node) not in self._group.streamed  # what is streamed is not read again
            self.kept[node] = Home(node) if stored and again else None
            yield first
        else:
            yield from sorted(needs)

    def _in_results(
        self, kept: Mapping[Node, Key | None], nodes: Mapping[RowPoint, Sequence[Node]]
    ) -> dict[Node, Key | None]:
        # Where one value is read for the last time the next one may be written, if it is computed
        # from the first, so that no lane writes before it has read.
        found = dict(kept)
        there = {
            key: [_Stay(key.node, point, _END)]
            for key, point in self._stored.items()
            if key in self._own and not point.per_row and key not in self._group.streamed
        }

        def apart(one: _Stay, other: _Stay) -> bool:
            if one.last == other.first:
                return self._reads_from(other.node, one.node, set(nodes[one.last]))
            return one.last < other.first

        for node in [node for node, place in kept.items() if place is None]:
            stay = _Stay(node, min(self._needs[node]), max(self._needs[node]))
            for key, others in there.items():
                same = key.node.types[0] == node.types[0]
                if same and all(apart(stay, each) or apart(each, stay) for each in others):
                    found[node] = key
                    others.append(stay)
                    break
        return found

    def _reads_from(self, reader: Node, node: Node, inside: set[Node]) -> bool:
        waiting, seen = [reader], {reader}
        while waiting:
            for arg in waiting.pop().args:
                below = self._groups.source(arg).base.node
                if below is node:
                    return True
                if below in inside and below not in seen:
                    seen.add(below)
                    waiting.append(below)
        return False


#: Rows side by side where some stage has a long operation, and where none has.
_JAMMED: Final = 4
_JAMMED_SHORT: Final = 2
#: Operations from which on one is long: those of vector math.
_LONG_OPERATION: Final = 16
#: Part of L2 that a strip of rows takes at most. What is computed once per row is
#: worth a vector from so many instructions on, and from that part of a row's own: below, rows had
#: better stay in the first cache from stage to stage.
_STRIP: Final = 1 / 4
_WORTH_STRIPS: Final = 8
_PART_OF_ROW: Final = 1 / 4
#: Part of it that rows which are worked on together take at most.
_TOGETHER: Final = 1 / 8
#: Rows side by side are worth their code from so many rows on, a multiple of those side by side.
_ROUNDS: Final = 8
#: Where so many bytes lie between a row and the next ones, nearer memory is prefetched.
_FAR: Final = 20 << 10
_BYTES_AHEAD: Final = 2 << 10
#: Bytes of a row that is read, and stored, as a stream of its own, which hardware follows: several
#: of these side by side take longer. Of 512 float32 a layer norm's gradient took 1.5 times as long,
#: of 1,024 a softmax 1.3 times (Zen 3).
_LONG_ROW: Final = 2 << 10


class RowLowering(Lowering):
    """The state of lowering a group of rows; ``memo`` holds the values of one context."""

    def lowered(self) -> LoweredStep:
        group = self.group
        self.plan = RowPlan(self.groups, group)
        self.kept_picks: dict[
            tuple[object, object], Expr
        ] = {}  # what is kept of a place of an operand
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
        grouped = len(self.loops.segments[1])
        strip = self._strip(stages, axes, grouped)
        near, ahead = 0, memory_ahead(self, axes, jammed)
        if ahead.axis != VECTOR:  # the stage with most work
            near = max(range(self.plan.stages), key=lambda n: self._work(RowPoint(n, False)))
        if strip:  # each strip brings the next one near, where the rows are in the cache
            near, ahead = max(maps), Prefetch(axes[-1].name, strip)
        if near in maps:
            self.under(ahead, maps[near])
        strips = (Strips(),) if strip else ()
        directives = (*interleaving(jammed), *strips)
        return self.finish(stages, axes, grouped=grouped, directives=directives)

    def _strip(self, stages: Sequence[Stage], axes: Sequence[Axis], grouped: int) -> int:
        """Return the rows of a strip; 0 if the work per row is too small for a vector of rows,
        or a strip does not fit in the cache."""
        if not axes:
            return 0
        operands = tuple(self.operands.values())
        kernel = Kernel(operands, (), tuple(axes), tuple(stages), grouped=grouped)
        shape = self.group.domain
        vectors = hint_product(shape[len(shape) - self.group.row :]) / kernel.lanes
        work = {True: 0.0, False: 0.0}
        for point in self.plan.nodes:
            work[point.per_row] += self._work(point)
        if work[True] < max(_WORTH_STRIPS, _PART_OF_ROW * vectors * work[False]):
            return 0
        rows = hint_product(outer_shape(self.group.domain, self.group.row))
        nbytes = kernel.lanes * _row_bytes(self) * len(_streams(self))
        fits = rows >= _ROUNDS * kernel.lanes and nbytes <= _STRIP * current().l2
        return kernel.lanes if fits and may_take_strips(kernel) else 0

    def _work(self, point: RowPoint) -> int:
        return sum(map(instructions, self.plan.nodes.get(point, ())))

    def _target(self, key: Key) -> Walk:
        shape, group = self.groups.value_type(key).shape, self.group
        if is_per_row(shape, group.domain, group.row):
            shape = outer_shape(group.domain, group.row)
        return self.store_walk(key, shape)

    # -- one context ------------------------------------------------------------------------------

    def _body(self, context: RowPoint) -> tuple[Statement, ...]:
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
            self.memo[Home(node)] = self.computed(node)
        body += [statement for node in waiting for statement in self._looked_up(node)]
        self.shape = self.group.domain
        if not context.per_row:
            body += [
                Store(self._place(node), self.memo[Home(node)])
                for node in nodes
                if self.plan.kept.get(node, Home(node)) != Home(node)
            ]
            for key in plan.results.get(context.stage, ()):
                reduction = self.group.reductions[key]
                value = self.widened(reduction.source)
                body.append(Accumulate(self.names[key], reduction.kind, value))
            for key in plan.columns.get(context.stage, ()):
                value = self.widened(group.columns[key].source)
                partials = self.operand(key, 0, value.dtype, "out")
                scratch = self.scratch_operand(key.node, value.dtype)
                body.append(ColumnAccumulate(group.columns[key].kind, value, partials, scratch))
        else:
            known = [node for node in nodes if Home(node) in self.names]
            sources = [self.groups.sources[node, 0] for node in known]
            body += [Keep(self.names[s.base], self.widened(s)) for s in sources]
        for key in plan.stores.get(context, ()):
            dtype = self.groups.value_type(key).dtype
            access, streamed = self.access(self.targets[key], dtype, "out"), key in group.streamed
            body.append(self.stored(access, self.own(key), streamed and not context.per_row))
        return tuple(body)

    def _looked_up(self, node: Node) -> Sequence[Statement]:
        # What is picked there and is not computed in this context is read at once, and kept.
        self.shape = node.args[1].type.shape
        place = self.indices[node] = self.looked_up(node)
        check = self.checks[-1]
        if isinstance(node.form, ScatterAlong) or node in self.present:
            return [check]
        loads = [load for load in self._picks(node, place) if load.op == "load" and load.args]
        return [check, *map(self._kept_pick, loads)]

    def _picks(self, node: Node, place: Expr) -> Iterator[Expr]:
        self.shape = node.types[0].shape
        data = self.groups.source(node.args[0])
        if not computes(self.groups, self.group, data):
            yield self.picked(node, place)
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
        shape = source.base.node.types[0].shape
        is_result = source.base in self.group.reductions
        return is_result or is_per_row(shape, self.group.domain, self.group.row)

    def _kept_pick(self, loaded: Expr) -> Keep:
        dtype, number = loaded.dtype, len(self.names) + len(self.kept_picks)
        name = f"r{number}"
        self.kept_picks[loaded.attribute, loaded.args[0].attribute] = ex.ref(name, dtype.compute)
        return Keep(name, loaded.cast(dtype.compute))

    def _at_place(self, access: Access, dtype: DType, place: Expr) -> Expr:
        kept = self.kept_picks.get((access, place.attribute))
        return ex.load(access, dtype, place) if kept is None else kept.cast(dtype)

    def picked(self, node: Node, index: Expr) -> Expr:
        data = self.groups.source(node.args[0])
        if computes(self.groups, self.group, data):
            return self._again(data, index)
        walk, _, stride = gather_walks(self.groups, node)
        dtype = node.types[0].dtype
        return self._at_place(self.access(walk, dtype, gather=(stride,)), dtype, index)

    def _again(self, source: Source, place: Expr) -> Expr:
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
            shape = node.types[0].shape
            positions = self.positions(shape) if form.indexed else []
            if positions and shape[-1:] not in ((), (1,)):
                positions[-1] = place
            return element(form.scalar, dtype, *wide, *sizes, *positions)
        access = self.access(walk_of(group, source), dtype)
        moves = [move for move in access.strides if move[0] != VECTOR]
        if len(moves) == len(access.strides):
            return ex.load(access, dtype)
        along = (dict(access.strides)[VECTOR],)
        return self._at_place(Access(access.operand, tuple(moves), along), dtype, place)

    def own(self, key: Key) -> Expr:
        if key not in self.memo:
            dtype = self.groups.value_type(key).dtype
            if key in self.names:
                self.memo[key] = ex.ref(self.names[key], dtype.compute).cast(dtype)
            else:
                self.memo[key] = ex.load(self._place(key.node), dtype)
        return self.memo[key]

    # -- what a row keeps -------------------------------------------------------------------------

    def _place(self, node: Node) -> Access:
        key, dtype = self.plan.kept[node], node.types[0].dtype
        if key is not None:
            return self.access(self.targets[key], dtype, "out")
        return Access(self.scratch_operand(node, dtype), ((VECTOR, 1),))


def rows_jammed(low: Lowering, shared: bool = False) -> int:
    """Return the number of interleaved rows, which hide the latency of memory and sums.

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


def interleaving(rows: int) -> Directives:
    """Return the directive that interleaves so many rows."""
    return (Interleave("o", rows),) if rows > 1 else ()


def memory_ahead(low: Lowering, axes: Sequence[Axis], jammed: int) -> Prefetch:
    """Return what to prefetch: the next rows, or later parts of these."""
    if axes and jammed * _row_bytes(low) <= _FAR:
        return Prefetch(axes[-1].name, jammed)
    return Prefetch(VECTOR, _BYTES_AHEAD // _itemsize(low))


def _row_bytes(low: Lowering) -> int:
    group = low.group
    return _itemsize(low) * hint_product(group.domain[len(group.domain) - group.row :])


def _itemsize(low: Lowering) -> int:
    return max([low.groups.value_type(key).dtype.itemsize for key in _streams(low)], default=4)


def _streams(low: Lowering) -> Sequence[Key]:
    first = len(low.group.domain) - low.group.row
    moving = [w.base for w in low.loops.strides if any(step != 0 for step in w.strides[first:])]
    return [*dict.fromkeys(moving)]
