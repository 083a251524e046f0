"""Group the nodes of a graph that share a kernel; concatenations are copied row by row.

A group is a set of nodes over one iteration domain. The nodes of a softmax over (rows, columns)
become one group, whose kernel reads a row of ``x`` and stores a row of ``y``::

    graph                          kernel
    m = max(x, axis=-1)            for each row:
    e = exp(x - m)                     m = max of x over the columns
    s = sum(e, axis=-1)        ->      s = sum of exp(x - m) over the columns
    y = e / s                          store y = exp(x - m) / s

A value is either *inline* (a literal, a size, an index), so each reader computes it again, or it
has a *home*, the group that computes it. It is stored only if another group reads it: ``m``, ``e``
and ``s`` are not. Views share the bytes of their base.

The graph of groups has no cycle. Each group has a level, one more than the highest level of the
groups that it reads. A node joins a group only if all other groups that the node reads have a lower
level, so no path leaves a group and comes back to it. All nodes of a group have the same *phase* (0
forward, 1 first derivatives, ...), because a memory policy recomputes forward kernels alone.
``merging`` then merges a backward group into a forward one where that stores fewer bytes.

**Concatenations.** One kernel per operand would write parts of rows with gaps between them: each
cache line would be fetched and written back once for every operand that has elements in it. One
kernel for all operands writes every line completely, and once. Columns of one element are written
together by one loop over the rows; those that are computed, by merging their kernels (``sinking``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.analysis.liveness import ValueKey, phases_of, users_of
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Cluster,
    GroupKind,
    GroupReduction,
    Groups,
    Key,
    PartialBuffer,
    ResultBuffer,
    Source,
    TargetRegion,
    Transfer,
    meets_elements,
    needs_home,
    root_of,
)
from staticgrad.compiler.fusion.legality import breaks_rows, find_form_conflict
from staticgrad.compiler.fusion.updates import separate_updates
from staticgrad.compiler.fusion.walks import is_one_hot, looks_up_positions
from staticgrad.compiler.fusion.windows import is_window
from staticgrad.language.ir import forms
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.kernels.width import SHORT_STRIDE
from staticgrad.language.ir.summation import decompose
from staticgrad.language.types.arrays import Shape, TensorType, hint_product
from staticgrad.support import fuses
from staticgrad.support.config import limits
from staticgrad.support.traversal import reach

#: Parts that one kernel copies, at most: each is a loop.
_MOST_PARTS: Final = 8
#: Parts of one element of each row that one kernel copies, at most: it reads as many arrays. 30 of
#: 226,000 elements take 24.6 ms alone, 21.1 in eights and 13.1 together (Zen 4, 2026-12).
_MOST_COLUMNS: Final = 32


def _is_column(part: Source, axis: int) -> bool:
    """Return True if a part of a concatenation has one element of each row."""
    shape = part.type.shape
    is_one_each = all(isinstance(size, int) and size == 1 for size in shape[axis:])
    return is_one_each and hint_product(shape[:axis]) >= limits().copied_rows


def _fills_rows(part: Source, axis: int) -> bool:
    """Return True if a part of a concatenation is copied in rows that are long and contiguous."""
    # There are many rows outside the axis, and each is contiguous in memory or one number.
    shape = part.type.shape
    if hint_product(shape[:axis]) < limits().copied_rows:
        return False
    if hint_product(shape[axis:]) < limits().copied_row or _is_column(part, axis):
        return False  # a row of one element has no loop whose elements a vector could store
    if part.inline:
        return part.uniform
    last = part.layout.strides[-1]
    return isinstance(last, int) and 0 <= last <= SHORT_STRIDE


#: Nodes that are visited to find what reads a value in the end, at most.
_CHAIN: Final = 8
#: Operations that compute a number for which a product waits, at most.
_MOST_NUMBERS: Final = 64


def _is_of_product(node: Node) -> bool:
    """Return True if a value is a matrix product, or a function of one alone."""
    while isinstance(node.form, forms.Pointwise):
        operands = [arg.node for arg in node.args if arg.type.rank]
        if len(operands) != 1:
            return False
        (node,) = operands
    return isinstance(node.form, forms.Contract)


def group(graph: Graph, fuse: bool = True) -> Groups:
    """Return the groups of a graph, each of one phase. Near-linear in the nodes.

    With ``fuse`` off every node that computes something has a group of its own.
    """
    return _GroupBuilder(graph, fuse).groups()


class _GroupBuilder:
    """One pass over the nodes of a graph in order, which builds its clusters."""

    def __init__(self, graph: Graph, fuse: bool) -> None:
        self.graph = graph
        self._sources: dict[ValueKey, Source] = {}
        self._homes: dict[Key, Cluster] = {}
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        #: The index of each node. Creation order differs where passes have rebuilt nodes.
        self._position = {node: k for k, node in enumerate(graph.nodes)}
        self._fuse = fuse
        self._clusters: list[Cluster] = []
        self._types: dict[Key, TensorType] = {}
        self._retained: set[Key] = set()
        #: Copies of values in C order, by the buffer, shape and layout that they are copied from.
        self._copies: dict[tuple[Key, Shape, Strided], ResultBuffer] = {}
        #: C order of the shape of each type of the graph, by its identity.
        self._contiguous: dict[int, Strided] = {}
        phases = phases_of(graph)
        self._last_phase = max(phases.values(), default=0)
        self._phases = separate_updates(graph, phases, self._users)
        for node in graph.nodes:
            self._place_node(node)

    def groups(self) -> Groups:
        """Return the fusion groups of the graph, with owners, sources and users of their values."""
        clusters = [cluster for cluster in self._clusters if cluster.merged_into is None]
        self._make_last_writer_owner(clusters)
        return Groups(
            owners={key: root_of(cluster).number for key, cluster in self._homes.items()},
            sources=self._sources,
            types=self._types,
            graph=self.graph,
            by_number={cluster.number: cluster.freeze(self._position) for cluster in clusters},
            retained=self._retained,
            phases=self._phases,
            users=self._users,
            roots=self._roots,
            fused=self._fuse,
        )

    def _make_last_writer_owner(self, clusters: Iterable[Cluster]) -> None:
        """Make the last cluster that writes a part of a buffer the owner of the buffer."""
        # The last writer is that of the highest level, then of the highest number, so that clusters
        # which store parts of several values have one order for all of these values.
        writers: dict[Key, list[Cluster]] = {}
        for cluster in clusters:
            for target in cluster.targets():
                writers.setdefault(target, []).append(cluster)
        for target, writing in writers.items():
            home = root_of(self._homes[target])
            last = max(writing, key=lambda cluster: cluster.write_order)
            if home in writing and home is not last:
                if target in home.stored:
                    del home.stored[target]
                    last.stored[target] = None
                self._homes[target] = last

    # -- homes ------------------------------------------------------------------------------------

    def _home(self, key: Key) -> Cluster | None:
        cluster = self._homes.get(key)
        if cluster is not None and cluster.merged_into is not None:
            cluster = self._homes[key] = root_of(cluster)
        return cluster

    def _read_only_by(
        self, cluster: Cluster, reader: Node, merge_target: Cluster | None = None
    ) -> bool:
        """Return True if only one node, or the cluster to merge with, reads a cluster's values."""
        # This is linear in the graph, since the number of nodes of a cluster is bounded.
        return _is_free(cluster) and all(
            user is reader
            or (
                ((home := self._home(ResultBuffer(user))) and home in (cluster, merge_target))
                and ResultBuffer(user) not in home.reductions
            )
            for node in reversed(cluster.nodes)
            for user in self._users[node, 0]
        )

    def _may_run_later(self, cluster: Cluster, late: Sequence[Source]) -> bool:
        """Return True if a cluster may run after ``late`` sources that it will read.

        These must be single numbers, such as a learning rate or the condition of an update, and no
        node outside that was placed before may read the cluster. Long computations must not come
        between it and its readers. Those that a product waits for depend on single numbers alone,
        as the bias corrections of Adam do: its factors are live until then.
        """
        is_product = cluster.kind in ANCHORED
        if not (_is_free(cluster) or (is_product and _has_no_fixed_place(cluster))):
            return False
        if any(source.type.shape for source in late):
            return False
        if is_product and not all(_depends_on_numbers(source.base.node) for source in late):
            return False
        users = (user for node in cluster.nodes for user in self._users[node, 0])
        return all(
            (user, 0) not in self._sources or self._home(ResultBuffer(user)) is cluster
            for user in users
        )

    def _in_memory(self, source: Source) -> Source:
        if needs_home(source) and self._home(source.base) is None:
            self._give_home(source.base)
        cluster = self._home(source.base)
        if cluster is not None:
            cluster.stored[source.base] = None
        return Source(source.base, source.type, source.layout, source.direct)

    def _give_home(self, key: Key) -> None:
        """Give an inline value that is read from memory a kernel of its own."""
        node = key.node
        cluster = self._new_cluster("map", node.types[0].shape, self._phases[node], [])
        cluster.add(node)
        cluster.indexed = not self._sources[node, 0].uniform
        self._homes[key] = cluster

    def _set_sources(
        self, node: Node, cluster: Cluster | None, depth: int = 0, uniform: bool = False
    ) -> None:
        """Record how a node's results are read: contiguous, from a cluster or inline."""
        for index, kind in enumerate(node.types):
            layout = self._contiguous.get(id(kind))
            if layout is None:
                layout = self._contiguous[id(kind)] = Strided.contiguous(kind.shape)
            key = ResultBuffer(node, index)
            self._sources[key] = Source(key, kind, layout, True, depth, uniform)
            if cluster is not None:
                self._homes[key] = cluster

    def _new_cluster(
        self, kind: GroupKind, domain: Shape, phase: int, reads: Sequence[Source]
    ) -> Cluster:
        level = 1
        for source in reads:
            if not source.depth and (home := self._home(source.base)) and home.level >= level:
                level = home.level + 1
        cluster = Cluster(len(self._clusters), kind, domain, level, phase)
        self._clusters.append(cluster)
        return cluster

    def _level(self, source: Source) -> int:
        cluster = None if source.inline else self._home(source.base)
        return 0 if cluster is None else cluster.level

    def _operands_in_memory(self, args: Sequence[Source], uniform: int = 0) -> list[Source]:
        """Return operands in memory; the first ``uniform`` of them may be literals instead."""
        return [
            arg if arg.uniform and k < uniform else self._in_memory(arg)
            for k, arg in enumerate(args)
        ]

    def _start_cluster(
        self, kind: GroupKind, node: Node, domain: Shape, reads: Sequence[Source]
    ) -> Cluster:
        cluster = self._new_cluster(kind, domain, self._phases[node], reads)
        cluster.add(node)
        self._set_sources(node, cluster)
        return cluster

    def _start_copy(
        self,
        source: Source,
        target: Key,
        layout: Strided,
        phase: int,
    ) -> Cluster:
        """Start a copy cluster that writes a source to a part of a target buffer."""
        if not source.uniform:
            source = self._in_memory(source)
        cluster = self._new_cluster("copy", source.type.shape, phase, [source])
        cluster.transfers = [Transfer(target, source.type.dtype, layout, source)]
        return cluster

    def _fill_target(
        self, target: Key, target_type: TensorType, phase: int, fill: float
    ) -> Cluster:
        cluster = self._new_cluster("copy", target_type.shape, phase, [])
        layout = Strided.contiguous(target_type.shape)
        cluster.transfers = [Transfer(target, target_type.dtype, layout, None, fill)]
        return cluster

    # -- the walk ---------------------------------------------------------------------------------

    def _place_node(self, node: Node) -> None:
        """Add a node to a cluster by its form: pointwise, view, reduction, gather, ..."""
        form = node.form
        args = [self._sources[arg.node, arg.index] for arg in node.args]
        match form:
            case forms.Leaf():
                inline = isinstance(node.op, Constant) and node.types[0].rank == 0
                self._set_sources(node, None, depth=1 if inline else 0, uniform=inline)
            case forms.Pointwise():
                self._place_pointwise(node, form, args)
            case forms.View() | forms.Identity() | forms.ReshapeForm():
                self._place_movement(node, form, args[0])
            case forms.Reduce():
                self._place_reduce(node, form, args[0])
            case forms.Gather() | forms.GatherAlong() | forms.SearchForm():
                in_memory = args[1:] if looks_up_positions(node, args[0]) else args
                cluster = self._start_cluster(
                    "map", node, node.types[0].shape, self._operands_in_memory(in_memory)
                )
                cluster.indexed = not isinstance(
                    form, forms.SearchForm
                )  # the error of a failing index contains its position
                cluster.checked = True
            case forms.Scatter() | forms.ScatterOnto() | forms.ScatterAlong() | forms.Scan():
                self._place_in_order(node, args)
            case forms.Assemble():
                self._place_assemble(node, form, args)
            case _:
                self._place_whole(node, args)

    def _place_whole(self, node: Node, args: Sequence[Source]) -> None:
        """Start a cluster with a node (product, sort, call) whose operands must be in memory."""
        form, domain = node.form, node.types[0].shape
        kind: GroupKind = "body"
        if isinstance(form, forms.Contract):
            kind = "gemm"
        elif isinstance(form, forms.SortForm):
            kind, domain = "sort", args[0].type.shape
        elif isinstance(form, forms.WINDOWED):
            kind = "windows"
        elif isinstance(form, forms.CallForm):
            kind = "call"
        cluster = self._start_cluster(kind, node, domain, self._operands_in_memory(args))
        if kind in ("body", "call"):
            cluster.stored |= {ResultBuffer(node, index): None for index in range(len(node.types))}

    def _alias(self, node: Node, arg: Source, layout: Strided) -> None:
        source = arg if arg.uniform else self._in_memory(arg)
        self._sources[node, 0] = Source(
            source.base, node.types[0], layout, False, source.depth, source.uniform
        )

    def _place_movement(
        self, node: Node, form: forms.View | forms.Identity | forms.ReshapeForm, arg: Source
    ) -> None:
        """Record a view, reshape or identity as another layout of its operand, or as a copy."""
        if isinstance(form, forms.Identity):  # the operand itself: it still fuses with readers
            self._sources[node, 0] = arg
            if form.materialized:
                self._retained.add(arg.base)
            return
        if isinstance(form, forms.View):
            self._alias(node, arg, arg.layout.apply_view(form, node.types[0].rank))
            return
        shape = node.types[0].shape
        layout = arg.layout.reshape(arg.type.shape, shape)
        if layout is None:
            # Reshapes of one layout share a copy.
            first_copy = self._copies.setdefault(
                (arg.base, arg.type.shape, arg.layout), ResultBuffer(node)
            )
            if first_copy.node is node or arg.inline:
                operand_layout = Strided.contiguous(arg.type.shape)
                self._set_sources(
                    node,
                    self._start_copy(arg, ResultBuffer(node), operand_layout, self._phases[node]),
                )
            else:
                self._alias(
                    node, self._sources[first_copy], Strided.contiguous(node.types[0].shape)
                )
        else:
            self._alias(node, arg, layout)

    def _place_pointwise(self, node: Node, form: forms.Pointwise, args: Sequence[Source]) -> None:
        """Add a pointwise node to a cluster of its operands, or inline it in its readers."""
        depth, uniform, indexed = 1, not form.indexed, form.indexed
        for arg in args:
            if arg.depth >= depth:
                depth = arg.depth + 1
            if not arg.uniform:
                uniform = False
                indexed = indexed or arg.depth > 0
        inline = uniform or not args or self._is_large_mask(node, args)
        if inline and depth <= fuses.SCALAR_DEPTH:
            self._set_sources(node, None, depth, uniform)
            return
        domain, phase = node.types[0].shape, self._phases[node]
        homes = [self._aligned_home(a, domain) if self._fuse else None for a in args]
        candidates = [g for g in dict.fromkeys(homes) if g is not None and g.accepts(phase, domain)]
        cluster = None
        if candidates:
            cluster = self._find_joinable(node, candidates, [*zip(args, homes, strict=True)])
        if cluster is None or (indexed and (cluster.row > 1 or cluster.kind == "windows")):
            cluster = self._new_cluster("map", domain, phase, args)
        for absorbed in map(root_of, candidates):  # if it stores an output, that is stored later
            if absorbed is not cluster and self._read_only_by(absorbed, node, cluster):
                self._merge(cluster, absorbed)
        for arg, home in zip(args, homes, strict=True):
            if not arg.depth and (home is None or root_of(home) is not cluster):
                self._in_memory(arg)
        cluster.add(node)
        cluster.indexed |= indexed
        self._set_sources(node, cluster)

    def _is_large_mask(self, node: Node, args: Sequence[Source]) -> bool:
        """Return True if a node is a large attention mask, which is recomputed instead of stored.

        Each reader recomputes it: stored, its size is the square of the context length.
        """
        kind, users = node.types[0], self._users[node, 0]
        if (
            not kind.dtype.is_bool
            or kind.rank != 2
            or hint_product(kind.shape) < limits().mask_elements
        ):
            return False
        inside = all(isinstance(u.form, forms.Pointwise) and u.types[0].rank > 2 for u in users)
        inside &= (node, 0) not in self._roots and all(arg.inline for arg in args)
        return inside and any(_is_of_product(arg.node) for user in users for arg in user.args)

    def _find_joinable(
        self, node: Node, candidates: list[Cluster], args: Sequence[tuple[Source, Cluster | None]]
    ) -> Cluster | None:
        """Return the latest cluster of a node's operands that it may join without a cycle."""
        if any(g.kind in ANCHORED for g in candidates) and self._is_summed(node):
            # A tile of a product cannot sum: its kernel would store the elements.
            candidates = [g for g in candidates if g.kind not in ANCHORED]
        if not candidates:
            return None
        # The latest cluster, which may read what earlier ones compute. Of one level a product,
        # whose epilogue the node becomes.
        best = max(candidates, key=lambda g: (g.level, g.kind == "gemm" and len(g.nodes)))
        for candidate in candidates:
            if candidate is not best and candidate.level == best.level:
                best = self._merge(best, candidate) or best
        outside = [arg for arg, home in args if home is None or root_of(home) is not best]
        late = [source for source in outside if self._level(source) >= best.level]
        if late and self._may_run_later(best, late):
            best.level = 1 + max(map(self._level, late))
            return best
        return None if late else best

    def _is_summed(self, node: Node) -> bool:
        """Return True if only reductions read a value, or elements that only they read."""
        shape = node.types[0].shape

        def list_users(value: Node) -> list[Node]:
            return [u for u in self._users[value, 0] if not isinstance(u.form, forms.Reduce)]

        for count, value in enumerate(reach([node], list_users)):
            maps = isinstance(value.form, forms.Pointwise) and value.types[0].shape == shape
            if value is not node and not maps:
                return False
            if count > _CHAIN or (value, 0) in self._roots or not self._users[value, 0]:
                return False
        return True

    def _aligned_home(self, source: Source, domain: Shape) -> Cluster | None:
        if not meets_elements(source, domain):
            return None
        home = self._home(source.base)
        if home is None or source.base in home.reductions or home.stores_parts_of(source.base):
            return None
        return home

    def _merge(self, first: Cluster, second: Cluster) -> Cluster | None:
        """Merge two clusters if their forms allow it and no path leaves one and comes back."""
        if find_form_conflict(first, second) is not None:
            return None
        if second.kind in ANCHORED:
            first, second = second, first
        first.absorb(second)
        return first

    def _place_reduce(self, node: Node, form: forms.Reduce, arg: Source) -> None:
        """Add a reduction to its operand's cluster: over trailing axes first, then over others."""
        target, rank = ResultBuffer(node), arg.type.rank
        row_axes, outer_axes = decompose(rank, form.axes)
        if row_axes and outer_axes:  # first the rows, then their results
            outer = arg.type.shape[: rank - len(row_axes)]
            partial = PartialBuffer(node)
            dtype = node.types[0].dtype.compute
            self._types[partial] = TensorType(dtype, outer)
            self._add_reduction(node, partial, form.kind, arg, len(row_axes))
            axes = [*(a for a in range(len(outer)) if a not in outer_axes), *outer_axes]
            kind = TensorType(dtype, tuple(outer[a] for a in axes))
            outer_layout = Strided.contiguous(outer)
            layout = Strided(0, tuple(outer_layout.strides[a] for a in axes))
            arg = self._in_memory(Source(partial, kind, layout, direct=False))
            row_axes, outer_axes = outer_axes, ()
        self._add_reduction(node, target, form.kind, arg, len(row_axes), outer_axes)
        self._set_sources(node, self._home(target))

    def _add_reduction(
        self,
        node: Node,
        target: Key,
        kind: str,
        arg: Source,
        row: int,
        columns: tuple[int, ...] = (),
    ) -> None:
        """Add a reduction along rows or columns to the cluster that computes its operand."""
        positions = arg.inline and not arg.uniform
        if positions and row > 1:  # the row's axes may be merged: then no axis has an index
            arg, positions = self._in_memory(arg), False
        cluster = self._aligned_home(arg, arg.type.shape) if self._fuse else None
        phase = self._phases[node]
        if cluster is None or cluster.phase != phase or not self._may_reduce(cluster, node, row):
            reads = arg if arg.inline else self._in_memory(arg)
            cluster = self._new_cluster("map", arg.type.shape, phase, [reads])
        if not row:
            cluster.kind, cluster.summed = "columns", columns
        cluster.row = row
        cluster.indexed |= positions
        cluster.reductions[target] = GroupReduction(arg, kind)
        self._homes[target] = cluster

    def _may_reduce(self, cluster: Cluster, node: Node, row: int) -> bool:
        """Return whether a cluster may reduce its elements: along a row, or by columns for 0."""
        if not row:  # then it stores nothing else
            inner = self._roots.isdisjoint(map(ResultBuffer, cluster.nodes))
            return inner and self._read_only_by(cluster, node)
        fits = cluster.kind == "map" and cluster.row in (0, row) and not breaks_rows(cluster, row)
        return fits and not (cluster.keeps_axes and row > 1)

    def _place_in_order(self, node: Node, args: Sequence[Source]) -> None:
        """Start a cluster for a sequential node: a scan, or a scatter (into a filled buffer)."""
        kind, form = node.types[0], node.form
        if isinstance(form, forms.Scan):  # it computes what follows from positions alone
            reads = [arg if arg.inline else self._in_memory(arg) for arg in args]
        else:
            reads = self._operands_in_memory(args, 1)
        if self._fuse and is_one_hot(node, self._users[node, 0]):
            cluster = self._start_cluster("map", node, kind.shape, reads)
            cluster.indexed = cluster.checked = True
            return
        step: GroupKind = "scan" if isinstance(form, forms.Scan) else "scatter"
        if step == "scatter" and not isinstance(form, forms.ScatterOnto):
            fill = form.combiner.empty(kind.dtype) if isinstance(form, forms.Scatter) else 0
            cleared = self._fill_target(ResultBuffer(node), kind, self._phases[node], fill)
            self._homes[ResultBuffer(node)] = cleared
            reads.append(Source(ResultBuffer(node), kind, Strided.contiguous(kind.shape)))
        cluster = self._start_cluster(step, node, args[0].type.shape, reads)
        cluster.indexed = any(arg.inline and not arg.uniform for arg in reads)
        cluster.stored[ResultBuffer(node)] = None

    def _place_assemble(self, node: Node, form: forms.Assemble, args: Sequence[Source]) -> None:
        """Group a concatenation: each part's cluster stores it in place, or a copy does."""
        target, kind, phase = ResultBuffer(node), node.types[0], self._phases[node]
        layouts = [Strided.contiguous(kind.shape).region(region) for region in form.regions]
        homes = [self._home_of_part(*part, phase) for part in zip(args, layouts, strict=True)]
        if is_window(node, self._users) and (form.fill is not None or None in homes):
            reads = self._operands_in_memory(args, len(args))
            self._start_cluster("map", node, kind.shape, reads).windowed = True
            return
        writers: list[Cluster] = []
        if form.fill is not None:
            writers.append(self._fill_target(target, kind, phase, form.fill))
            writers[0].level = 0  # before all others
        copied = [k for k, home in enumerate(homes) if home is None]
        for parts, row in self._rows_of_parts(form.regions, args, copied):
            cluster = self._start_copy(args[parts[0]], target, layouts[parts[0]], phase)
            cluster.transfers += [
                Transfer(target, kind.dtype, layouts[k], args[k]) for k in parts[1:]
            ]
            cluster.row = row if len(parts) > 1 else 0
            writers.append(cluster)
        for k, home in enumerate(homes):
            if home is not None:
                self._store_part(home, node.args[k], TargetRegion(target, layouts[k]))
                writers.append(home)
        self._set_sources(node, max(writers, key=lambda cluster: cluster.level))

    def _rows_of_parts(
        self, regions: Sequence[forms.Region], args: Sequence[Source], copied: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], int]]:
        """Yield the parts of a concatenation to copy together, and the axes of their rows."""
        # Only inputs are copied together: a kernel that copies computed values runs after the last
        # of them, and all of them are alive until then.
        axis = None  # the one along which the parts follow each other
        if self._fuse and all(step == 1 for region in regions for step in region.steps):
            starts = [*zip(*(region.starts for region in regions), strict=True)]
            differing = [k for k, along in enumerate(starts) if any(s != along[0] for s in along)]
            axis = differing[0] if len(differing) == 1 else None
        inputs = [k for k in copied if self._level(args[k]) == 0]
        rows = [] if axis is None else [k for k in inputs if _fills_rows(args[k], axis)]
        rank = args[0].type.rank
        runs = [rows[first : first + _MOST_PARTS] for first in range(0, len(rows), _MOST_PARTS)]
        yield from ((run, rank - (axis or 0)) for run in runs)
        columns = [] if axis is None else [k for k in inputs if _is_column(args[k], axis)]
        runs = [columns[k : k + _MOST_COLUMNS] for k in range(0, len(columns), _MOST_COLUMNS)]
        yield from ((run, 0) for run in runs)
        together = {*rows, *columns}
        yield from (([k], 0) for k in copied if k not in together)

    def _home_of_part(self, source: Source, layout: Strided, phase: int) -> Cluster | None:
        """Return the cluster that may store a part directly into the assembled buffer, or None.

        Only clusters of the last phase do: earlier ones may be recomputed.
        """
        home = self._home(source.base) if self._fuse and phase == self._last_phase else None
        return home if home is not None and home.may_store(source, layout, phase) else None

    def _store_part(self, home: Cluster, value: Symbolic, region: TargetRegion) -> None:
        home.store_part(base := self._sources[value.key].base, value.shape, region)
        # The part's cluster has no use for a buffer of its own where the assembled one is the only
        # reader.
        while value.key not in self._roots and len(self._users[value.key]) == 1:
            if value.key == base:
                home.stored.pop(base, None)
                return
            value = value.node.args[0]


def _is_free(cluster: Cluster) -> bool:
    """Return whether a cluster is a map whose position in the order nothing fixes yet."""
    return cluster.kind == "map" and _has_no_fixed_place(cluster)


def _has_no_fixed_place(cluster: Cluster) -> bool:
    """Return whether nothing fixes the position of a cluster in the order yet."""
    return not (cluster.reductions or cluster.stored or cluster.checked or cluster.regions)


def _depends_on_numbers(node: Node) -> bool:
    """Return whether a few operations on single numbers compute a node."""
    for count, visited in enumerate(reach([node], lambda n: [arg.node for arg in n.args])):
        if count > _MOST_NUMBERS or any(kind.shape for kind in visited.types):
            return False
    return True
