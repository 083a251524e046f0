"""Lower groups of rows, and gathers and scatters with one index in each row, to kernels.

Stage s is a loop over the row; scalars of the row are computed between s and s + 1. An element
belongs to the first stage after all row results that it depends on. Later stages recompute it. If
that takes longer than a load, the element is materialized in memory instead: in the buffer of a
result with the same dtype that is not written yet, if there is one, else in scratch.

A gather or scatter checks the index of the row, and reads or sets the element there. Running sums
and products are written before the first stage, as materialized elements.

A softmax has three loops over a row: its result is stored twice, so that ``exp`` is computed once
for each element::

    map j: n1 { %0 = load p0[i0*n1 + j]; @r0 = max %0 }
    map j: n1 {
      %1 = load p0[i0*n1 + j]
      %2 = sub %1, @r0
      %3 = exp %2
      store p1[i0*n1 + j] = %3
      @r1 = sum %3
    }
    map j: n1 {
      %4 = load p1[i0*n1 + j]
      %5 = div %4, @r1
      store p1[i0*n1 + j] = %5
    }
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.cycles import instructions
from staticgrad.compiler.fusion.groups import (
    Group,
    GroupValues,
    Key,
    ResultBuffer,
    ScratchBuffer,
    Source,
    Walk,
)
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
    interleaving,
    loops_over,
    vector_axis,
)
from staticgrad.compiler.lowering.scans import interleaved_rows, scan_loop
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.forms import GatherAlong, Pointwise, Scan, ScatterAlong
from staticgrad.language.ir.graph import Node
from staticgrad.language.ir.kernels.directives import Prefetch, Strips
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import may_take_strips
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    ColumnAccumulate,
    Keep,
    Loop,
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
from staticgrad.support.traversal import reach

#: Instructions of an element, at least, so that loading it is quicker than computing it again.
_WORTH_KEEPING: Final = 5
_LOAD: Final = 1


class RowPoint(NamedTuple):
    """A point of the row kernel: in the loop of a stage, or once per row after it.

    Points compare by their order. Scalars that need no stage are computed after stage -1.
    """

    stage: int
    per_row: bool

    @property
    def next(self) -> int:
        """The first stage that may read values computed here."""
        return self.stage + self.per_row


#: Before the first stage.
_BEFORE: Final = RowPoint(-1, True)
#: After the first stage, which loads the row into the cache.
_FIRST: Final = RowPoint(0, True)
#: After all stages.
_END: Final = RowPoint(1 << 30, True)


class _LiveRange(NamedTuple):
    """The live range of a materialized value: from the point that writes it to its last read."""

    node: Node
    first: RowPoint
    last: RowPoint


class RowPlan:
    """The nodes, materialized values, reductions and stores of each stage of a group of rows.

    A forward pass finds where values become available, a backward pass where they are used. Stages
    are counted from 0.

    Attributes:
        stages: the number of stages.
        nodes: the nodes computed at each point, in the order of the graph.
        materialized: elements stored in memory by the first point that needs them, each with the
            result whose buffer is used, or None for scratch.
        row_scalars: nodes with one element per row that later points read.
        results, columns: the reductions of each stage, and its sums over rows.
        stores: the values stored at each point.
        checks: the gathers and scatters whose index is checked at each point.
        scans: running sums and products of operands in memory, written before all stages.
    """

    def __init__(self, groups: GroupValues, group: Group) -> None:
        self._groups, self._group = groups, group
        self._computed = {ResultBuffer(node) for node in group.nodes}
        #: The first point at which a value is available: a stage for elements, else after one.
        self._available_at: dict[Key, RowPoint] = {}
        self._pending_reductions = dict(group.reductions)
        self.scans = [node for node in group.nodes if isinstance(node.form, Scan)]
        self._find_availability()
        self._check_points = {
            node: self._gather_point(node) if picks else self._check_point(node)
            for node in group.nodes
            if (picks := isinstance(node.form, GatherAlong)) or isinstance(node.form, ScatterAlong)
        }
        self._cost = self._compute_costs()
        self._uses: dict[Node, set[RowPoint]] = {node: set() for node in group.nodes}
        self.stages = 1 + max([point.stage for point in self._available_at.values()], default=-1)
        self.results: dict[int, list[Key]] = {}
        self.columns: dict[int, list[Key]] = {}
        self.stores: dict[RowPoint, list[Key]] = {}
        self.checks: dict[RowPoint, list[Node]] = {}
        self.row_scalars: list[Node] = []
        self.materialized: dict[Node, Key | None] = {}
        self.nodes: dict[RowPoint, list[Node]] = {}
        self._assign_points()

    def _assign_points(self) -> None:
        """Assign each node, store, check and reduction of a row kernel to a stage."""
        for key, reduction in self._group.reductions.items():
            stage = self._available_at[key].stage
            self.results.setdefault(stage, []).append(key)
            self._add_use(reduction.source, RowPoint(stage, False))
        scanned = {ResultBuffer(node) for node in self.scans}
        self._store_points = {
            key: self._available_at[key] for key in self._group.stored if key not in scanned
        }
        for key, point in self._store_points.items():
            self.stores.setdefault(point, []).append(key)
            if key in self._computed:
                self._uses[key.node].add(point)
        for key, reduction in self._group.columns.items():
            available = self._availability(reduction.source)
            stage = 0 if available is None else available.next
            self.columns.setdefault(stage, []).append(key)
            self._add_use(reduction.source, RowPoint(stage, False))
        # readers before what they read, so that all uses of a node are known when it is reached
        for node in reversed(self._group.nodes):
            if node in self.scans:
                key = ResultBuffer(node)
                self.materialized[node] = key if key in self._group.stored else None
                continue
            for point in self._compute_points(node):
                self.nodes.setdefault(point, []).append(node)
                self._add_operand_uses(node, point)
        for nodes_at_point in self.nodes.values():
            nodes_at_point.reverse()
        self.materialized = self._reuse_result_buffers(self.materialized, self.nodes)
        for node, point in self._check_points.items():
            self.checks.setdefault(point, []).append(node)

    def _add_operand_uses(self, node: Node, point: RowPoint) -> None:
        """Record that a node's operands are used at a stage of a row kernel."""
        sources = [self._groups.source(arg) for arg in node.args]
        if node in self._check_points:
            self._add_use(sources.pop(), self._check_points[node])
        if not isinstance(node.form, GatherAlong):
            for source in sources:
                self._add_use(source, point)
            return
        visited = {source.base for source in sources}
        for source in sources:  # operands of an element that is recomputed at the index
            if source.base in self._computed and not self._is_per_row(source.base.node):
                operands = [self._groups.source(arg) for arg in source.base.node.args]
                sources += [operand for operand in operands if operand.base not in visited]
                visited.update(operand.base for operand in operands)
            else:
                self._add_use(source, point)

    # -- where values are available ----------------------------------------------------------------

    def _find_availability(self) -> None:
        """Find after which reduction of a row each node can be computed."""
        for node in self._group.nodes:
            if node in self.scans:
                self._available_at[ResultBuffer(node)] = _BEFORE
                continue
            sources = [self._groups.source(arg) for arg in node.args]
            for base in [source.base for source in sources]:
                if base in self._pending_reductions:
                    self._resolve_reduction(base)
            operand_points = [self._availability(source) for source in sources]
            available = max(
                [point for point in operand_points if point is not None], default=RowPoint(-1, True)
            )
            per_row = self._is_per_row(node)
            if per_row and not available.per_row:  # it gathers an element, which is recomputed
                available = RowPoint(available.stage - 1, True)
            self._available_at[ResultBuffer(node)] = (
                available if per_row else RowPoint(available.next, False)
            )
        for key in [*self._pending_reductions]:
            self._resolve_reduction(key)

    def _check_point(self, node: Node) -> RowPoint:
        available = self._availability(self._groups.source(node.args[1]))
        return RowPoint(-1, True) if available is None else available

    def _gather_point(self, node: Node) -> RowPoint:
        """Return the point at which an element of the row is gathered.

        It follows the index and the first stage, so that a result may overwrite the row later.
        """
        return min(self._available_at[ResultBuffer(node)], max(self._check_point(node), _FIRST))

    def _resolve_reduction(self, key: Key) -> None:
        available = self._availability(self._pending_reductions.pop(key).source)
        self._available_at[key] = RowPoint(0 if available is None else available.next, True)

    def _availability(self, source: Source) -> RowPoint | None:
        return None if source.inline else self._available_at.get(source.base)

    def _is_per_row(self, node: Node) -> bool:
        return is_per_row(node.types[0].shape, self._group.domain, self._group.row)

    # -- materialized values -----------------------------------------------------------------------

    def _compute_costs(self) -> dict[Node, int]:
        """Estimate what it takes to recompute each elementwise node in a later stage of its row."""
        costs: dict[Node, int] = {}
        for node in self._group.nodes:
            if self._is_per_row(node) or node in self.scans:
                continue
            effort = instructions(node)
            for arg in node.args:
                source = self._groups.source(arg)
                if source.base in self._computed and source.base.node in costs:
                    operand_cost = costs[source.base.node]
                    # a costly operand will be in memory: it is loaded
                    effort += operand_cost if operand_cost < _WORTH_KEEPING else _LOAD
                elif not source.inline and source.base not in self._available_at:
                    effort += _LOAD
            costs[node] = effort
        return costs

    def _add_use(self, source: Source, point: RowPoint) -> None:
        if not source.inline and source.base in self._computed:
            self._uses[source.base.node].add(point)

    def _compute_points(self, node: Node) -> Iterator[RowPoint]:
        """Yield the stages that compute a row's node: one and a scratch store, or each use's."""
        needs, available = self._uses[node], self._available_at[ResultBuffer(node)]
        if self._is_per_row(node):
            if any(point > available for point in needs):
                self.row_scalars.append(node)
            if needs:
                yield available
            return
        first = min(needs, default=None)
        stored = self._store_points.get(ResultBuffer(node)) == first and first is not None
        worth = self._cost[node] >= (2 * _LOAD if stored else _WORTH_KEEPING)
        # A store and a load are cheaper than the same operations in each stage that needs them.
        # Where the value is a result anyway, only the load is extra.
        if first is not None and len(needs) > 1 and worth:
            is_readable = (
                ResultBuffer(node) not in self._group.streamed
            )  # streamed values are not read again
            self.materialized[node] = ResultBuffer(node) if stored and is_readable else None
            yield first
        else:
            yield from sorted(needs)

    def _reuse_result_buffers(
        self, materialized: Mapping[Node, Key | None], nodes: Mapping[RowPoint, Sequence[Node]]
    ) -> dict[Node, Key | None]:
        """Store a row's temporaries in result buffers that are not live at the same time."""
        # At the point of a value's last read another one may be written to the same memory if it is
        # computed from the first value: then no lane writes before it has read.
        placement = dict(materialized)
        live_ranges = {
            key: [_LiveRange(key.node, point, _END)]
            for key, point in self._store_points.items()
            if key in self._computed and not point.per_row and key not in self._group.streamed
        }

        def are_disjoint(earlier: _LiveRange, later: _LiveRange) -> bool:
            if earlier.last == later.first:
                return self._depends_on(later.node, earlier.node, set(nodes[earlier.last]))
            return earlier.last < later.first

        # A result of the same type that is written later has room for what is read before.
        for node in [node for node, buffer in materialized.items() if buffer is None]:
            first = _BEFORE if node in self.scans else min(self._uses[node])
            live_range = _LiveRange(node, first, max(self._uses[node]))
            for key, occupants in live_ranges.items():
                same = key.node.types[0] == node.types[0]
                if same and all(
                    are_disjoint(live_range, occupant) or are_disjoint(occupant, live_range)
                    for occupant in occupants
                ):
                    placement[node] = key
                    occupants.append(live_range)
                    break
        return placement

    def _depends_on(self, reader: Node, node: Node, inside: set[Node]) -> bool:
        """Return True if a node of a row kernel reads another, directly or through ``inside``."""

        def operands(reader: Node) -> list[Node]:
            return [self._groups.source(arg).base.node for arg in reader.args]

        readers = reach([reader], lambda member: [o for o in operands(member) if o in inside])
        return any(node in operands(member) for member in readers)


#: Interleaved rows if some stage has a long operation, and if none has.
_JAMMED: Final = 4
_JAMMED_SHORT: Final = 2
#: Operations of a long op, at least: those of vector math.
_LONG_OPERATION: Final = 16
#: Part of L2 that a strip of rows takes, at most. Computing the scalars of several rows in a vector
#: pays from this many instructions on, and from this part of the instructions for the elements.
#: Below, it is better that a row stays in L1 from stage to stage.
_STRIP_SHARE: Final = 1 / 4
_WORTH_STRIPS: Final = 8
_PART_OF_ROW: Final = 1 / 4
#: Part of L2 that interleaved rows take, at most.
_INTERLEAVED_SHARE: Final = 1 / 8
#: Interleaving pays from this many rows on, as a multiple of the interleaved rows.
_FEWEST_ROUNDS: Final = 8
#: Bytes of the interleaved rows, at most, to prefetch the next rows instead of later elements.
_NEAR_BYTES: Final = 20 << 10
_BYTES_AHEAD: Final = 2 << 10
#: Bytes of a row, at least, that the hardware prefetcher follows as one stream: interleaving such
#: rows takes longer. A layer norm's gradient over 512 float32 took 1.5 times as long, a softmax
#: over 1,024 1.3 times (Zen 3).
_LONG_ROW: Final = 2 << 10


class RowLowering(Lowering):
    """The state of lowering a group of rows; ``memo`` holds the values of one context."""

    def lower(self) -> LoweredStep:
        """Lower a group of row operations (softmax, normalization): passes over a row as stages."""
        group = self.group
        self.plan = RowPlan(self.groups, group)
        self.gathered: dict[
            tuple[object, object], Expr
        ] = {}  # the register of each gathered element, by access and index
        results = {key: f"r{n}" for n, key in enumerate(group.reductions)}
        row_scalars = [node for node in group.nodes if node in self.plan.row_scalars]
        self.names: dict[Key, str] = results
        for node in row_scalars:
            self.names[ResultBuffer(node)] = f"r{len(self.names)}"
        self.targets = {key: self._target(key) for key in group.stored}
        rank, row = len(group.domain), group.row
        walks = [*operand_walks(self.groups, group), *self.targets.values()]
        outer = [axis for axis in range(rank - row) if axis not in group.summed]
        segments = [outer, group.summed, range(rank - row, rank)]
        self.loops = loops_over(group.domain, segments, walks, merge=not group.indexed)
        axes, self.vector = vector_axis(self, 2)
        jammed = count_interleaved_rows(self) if axes else 1
        if axes and self.plan.scans:
            jammed = interleaved_rows(outer_shape(group.domain, row))
        # Stage -1 has the scalars that need no pass over the row.
        stages: list[Stage] = [self._scan_loop(node) for node in self.plan.scans]
        maps: dict[int, Map] = {}
        for number in range(-1, self.plan.stages):
            body = self._stage_statements(RowPoint(number, False))
            if body:
                maps[number] = Map(self.vector, body)
                stages.append(maps[number])
            body = self._stage_statements(RowPoint(number, True))
            if body:
                stages.append(Scalar(body))
        grouped = len(self.loops.segments[1])
        strip = self._choose_strip_height(stages, axes, grouped)
        prefetching, ahead = 0, choose_prefetch(self, axes, jammed)
        if ahead.axis != VECTOR:  # prefetch in the stage with most work
            prefetching = max(range(self.plan.stages), key=lambda n: self._work(RowPoint(n, False)))
        if strip:  # each strip prefetches the next one in its last stage, whose rows are cached
            prefetching, ahead = max(maps), Prefetch(axes[-1].name, strip)
        if prefetching in maps:
            self.annotate(ahead, maps[prefetching])
        strips = (Strips(),) if strip else ()
        directives = (*interleaving(jammed), *strips)
        return self.finish(stages, axes, grouped=grouped, directives=directives)

    def _scan_loop(self, node: Node) -> Loop:
        """Return the loop that writes the running sum or product of a row."""
        ((label, extent),) = self.loops.segments[2]
        number = self.plan.scans.index(node)
        along = Axis(f"i{int(self.loops.next[1:]) + number}", self.extent(extent))
        self.memo, self.loads, self.rename[label] = {}, {}, along.name
        key, name = self.plan.materialized[node], f"r{len(self.names)}"
        self.names[ScratchBuffer(node, 0)] = name
        dtype = node.types[0].dtype
        if key is None:
            result = Access(self.scratch_operand(node, dtype), ((along.name, 1),))
        else:
            result = self.access(self.targets[key], dtype, "out")
        loop = scan_loop(self, node, along, result, (f"s{number}", name))
        self.rename[label] = VECTOR
        return loop

    def _choose_strip_height(
        self, stages: Sequence[Stage], axes: Sequence[Axis], grouped: int
    ) -> int:
        """Return how many rows of a row kernel a strip has, so that column sums run over strips.

        It is 0 if the work per row is too small for a vector of rows, or if a strip does not fit in
        the cache.
        """
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
        fits = rows >= _FEWEST_ROUNDS * kernel.lanes and nbytes <= _STRIP_SHARE * current().l2
        return kernel.lanes if fits and may_take_strips(kernel) else 0

    def _work(self, point: RowPoint) -> int:
        return sum(map(instructions, self.plan.nodes.get(point, ())))

    def _target(self, key: Key) -> Walk:
        shape, group = self.groups.value_type(key).shape, self.group
        if is_per_row(shape, group.domain, group.row):
            shape = outer_shape(group.domain, group.row)
        return self.store_walk(key, shape)

    # -- one context ------------------------------------------------------------------------------

    def _stage_statements(self, context: RowPoint) -> tuple[Statement, ...]:
        """Return the statements of one stage of a row kernel: checks, stores and reductions."""
        plan, group, self.memo, self.loads = self.plan, self.group, {}, {}
        nodes = plan.nodes.get(context, ())
        self.present = {*nodes}
        body: list[Statement] = []
        pending_checks = dict.fromkeys(
            plan.checks.get(context, ())
        )  # some indices are computed here
        for node in nodes:
            if node in pending_checks:
                del pending_checks[node]
                body += self._emit_check(node)
            self.shape = node.types[0].shape
            self.memo[ResultBuffer(node)] = self.emit_node(node)
        body += [statement for node in pending_checks for statement in self._emit_check(node)]
        self.shape = self.group.domain
        if not context.per_row:
            body += [
                Store(self._materialized_access(node), self.memo[ResultBuffer(node)])
                for node in nodes
                if self.plan.materialized.get(node, ResultBuffer(node)) != ResultBuffer(node)
            ]
            for key in plan.results.get(context.stage, ()):
                reduction = self.group.reductions[key]
                value = self.wide_value(reduction.source)
                body.append(Accumulate(self.names[key], reduction.kind, value))
            for key in plan.columns.get(context.stage, ()):
                value = self.wide_value(group.columns[key].source)
                partials = self.operand(key, 0, value.dtype, "out")
                scratch = self.scratch_operand(key.node, value.dtype)
                body.append(ColumnAccumulate(group.columns[key].kind, value, partials, scratch))
        else:
            row_nodes = [node for node in nodes if ResultBuffer(node) in self.names]
            sources = [self.groups.sources[node, 0] for node in row_nodes]
            body += [Keep(self.names[s.base], self.wide_value(s)) for s in sources]
        for key in plan.stores.get(context, ()):
            dtype = self.groups.value_type(key).dtype
            access, streamed = self.access(self.targets[key], dtype, "out"), key in group.streamed
            body.append(
                self.store_element(access, self.get_element(key), streamed and not context.per_row)
            )
        return tuple(body)

    def _emit_check(self, node: Node) -> Sequence[Statement]:
        """Return the bounds check of a row's index, and loads of elements that later stages use."""
        # An element that is gathered but not used in this context is loaded now into a register.
        self.shape = node.args[1].type.shape
        earlier = len(self.checks)
        index = self.indices[node] = self.check_row_index(node)
        checks = self.checks[earlier:]  # none of an index that is known to be inside
        if isinstance(node.form, ScatterAlong) or node in self.present:
            return checks
        loads = [
            load for load in self._gather_loads(node, index) if load.op == "load" and load.args
        ]
        return [*checks, *map(self._keep_gathered, loads)]

    def _gather_loads(self, node: Node, index: Expr) -> Iterator[Expr]:
        """Yield the loads that a gather makes at a row's index, also in recomputed operands."""
        self.shape = node.types[0].shape
        data = self.groups.source(node.args[0])
        if not computes(self.groups, self.group, data):
            yield self.gather_element(node, index)
            return
        to_visit, visited = [data], {data.base}
        while to_visit:
            source = to_visit.pop()
            if not computes(self.groups, self.group, source):
                yield self._recompute_at(source, index)
            elif not self._is_number(source):
                operands = map(self.groups.source, source.base.node.args)
                fresh = [
                    operand
                    for operand in operands
                    if not operand.inline and operand.base not in visited
                ]
                visited.update(operand.base for operand in fresh)
                to_visit += fresh

    def _is_number(self, source: Source) -> bool:
        shape = source.base.node.types[0].shape
        is_result = source.base in self.group.reductions
        return is_result or is_per_row(shape, self.group.domain, self.group.row)

    def _keep_gathered(self, loaded: Expr) -> Keep:
        dtype, number = loaded.dtype, len(self.names) + len(self.gathered)
        name = f"r{number}"
        self.gathered[loaded.attribute, loaded.args[0].attribute] = ex.ref(name, dtype.compute)
        return Keep(name, loaded.cast(dtype.compute))

    def _load_at(self, access: Access, dtype: DType, index: Expr) -> Expr:
        register = self.gathered.get((access, index.attribute))
        return ex.load(access, dtype, index) if register is None else register.cast(dtype)

    def gather_element(self, node: Node, index: Expr) -> Expr:
        data = self.groups.source(node.args[0])
        if computes(self.groups, self.group, data):
            return self._recompute_at(data, index)
        walk, _, stride = gather_walks(self.groups, node)
        dtype = node.types[0].dtype
        return self._load_at(self.access(walk, dtype, gather=(stride,)), dtype, index)

    def _recompute_at(self, source: Source, index: Expr) -> Expr:
        """Return an elementwise source recomputed at the index of a gather, not at this lane."""
        node, group = source.base.node, self.group
        is_computed = computes(self.groups, group, source)
        if source.uniform or (is_computed and self._is_number(source)):
            return self.value(source)
        dtype = source.type.dtype
        if is_computed or source.inline:
            form = node.form
            assert isinstance(form, Pointwise)
            args = [self._recompute_at(self.groups.source(arg), index) for arg in node.args]
            wide = [arg.cast(arg.dtype.compute) if arg.dtype.is_storage else arg for arg in args]
            sizes = [self.size(s) for s in form.sizes]
            shape = node.types[0].shape
            positions = self.positions(shape) if form.indexed else []
            if positions and shape[-1:] not in ((), (1,)):
                positions[-1] = index
            return element(form.scalar, dtype, *wide, *sizes, *positions)
        access = self.access(walk_of(group, source), dtype)
        moves = [move for move in access.strides if move[0] != VECTOR]
        if len(moves) == len(access.strides):
            return ex.load(access, dtype)
        along = (dict(access.strides)[VECTOR],)
        return self._load_at(Access(access.operand, tuple(moves), along), dtype, index)

    def get_element(self, key: Key) -> Expr:
        """Return a value of an earlier stage of the row: its register or a load from scratch."""
        if key not in self.memo:
            dtype = self.groups.value_type(key).dtype
            if key in self.names:
                self.memo[key] = ex.ref(self.names[key], dtype.compute).cast(dtype)
            else:
                self.memo[key] = ex.load(self._materialized_access(key.node), dtype)
        return self.memo[key]

    # -- materialized values -----------------------------------------------------------------------

    def _materialized_access(self, node: Node) -> Access:
        key, dtype = self.plan.materialized[node], node.types[0].dtype
        if key is not None:
            return self.access(self.targets[key], dtype, "out")
        return Access(self.scratch_operand(node, dtype), ((VECTOR, 1),))


def count_interleaved_rows(low: Lowering, shared: bool = False) -> int:
    """Choose how many rows to interleave, to hide the latency of memory and sums.

    ``shared``: all rows read the same operand.
    """
    group = low.group
    if _row_bytes(low) >= _LONG_ROW and not shared:
        return 1
    long = any(node.op.flops >= _LONG_OPERATION for node in group.nodes)
    count = _JAMMED if long or shared else _JAMMED_SHORT
    rows = hint_product(outer_shape(group.domain, group.row))
    nbytes = _row_bytes(low) * len(_streams(low))
    while count > 1 and (
        count * nbytes > _INTERLEAVED_SHARE * current().l2 or rows < _FEWEST_ROUNDS * count
    ):
        count //= 2
    return count


def choose_prefetch(low: Lowering, axes: Sequence[Axis], jammed: int) -> Prefetch:
    """Return what to prefetch: the next rows, or later elements of the same rows."""
    if axes and jammed * _row_bytes(low) <= _NEAR_BYTES:
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
