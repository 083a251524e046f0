"""The first walk of fusion: groups of nodes that share a kernel, and joins copied row by row.

A group is a set of nodes over one iteration domain. A value is either *inline* (a literal, a size,
a position: rebuilt in each reader) or has a *home*, the group that computes it, and is stored only
if somebody outside that group reads it. Views share the bytes of their base.

Why groups never form a cycle: a group has a level, one more than the highest level it reads. A
node joins a group only if all it reads from elsewhere has a lower level, so no path can leave a
group and come back. A group holds nodes of one *phase* (0 forward, 1 what needs a gradient), so
that the memory policy may run forward kernels again; ``merging`` then joins a backward group to a
forward one where that stores fewer bytes.

**Joins.** A kernel for each would write parts of rows with gaps between them: lines of memory come
and go once for each part that they hold something of. One for all writes every line whole, and
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from staticgrad.analysis.layout import Strided
from staticgrad.analysis.liveness import ValueKey, phases_of, users_of
from staticgrad.compiler.fusion.groups import (
    ANCHORED,
    Draft,
    GroupKind,
    GroupReduction,
    Groups,
    Home,
    Key,
    Partial,
    Source,
    TargetRegion,
    Transfer,
    meets_elements,
    needs_home,
    root_of,
)
from staticgrad.compiler.fusion.legality import breaks_rows, kept_apart
from staticgrad.compiler.fusion.walks import is_one_hot
from staticgrad.compiler.fusion.windows import is_window
from staticgrad.language.ir import forms
from staticgrad.language.ir.graph import Constant, Graph, Node, Symbolic
from staticgrad.language.ir.kernels.width import SHORT_STRIDE
from staticgrad.language.ir.summation import decompose
from staticgrad.language.types.arrays import Shape, TensorType, hint_product

#: Parts that one kernel copies, at most: each is a loop.
_MOST: Final = 8
#: Rows from which on there is something to gain, and elements of a part that fill vectors.
_ROWS: Final = 16
_FILLED: Final = 16


def _fills_rows(part: Source, axis: int) -> bool:
    # It has many rows before an axis, each a run of memory or one number.
    shape = part.type.shape
    if hint_product(shape[:axis]) < _ROWS or hint_product(shape[axis:]) < _FILLED:
        return False
    if part.inline:
        return part.uniform
    last = part.layout.strides[-1]
    return isinstance(last, int) and 0 <= last <= SHORT_STRIDE


#: Nodes that are looked at for what reads a value in the end, at most.
_CHAIN: Final = 8
#: Scalars of scalars stay inline up to this depth; deeper ones get a kernel.
MAX_INLINE_DEPTH: Final = 3


def _is_of_product(node: Node) -> bool:
    """Return whether a value is a product, or a function of one alone."""
    while isinstance(node.form, forms.Pointwise):
        behind = [arg.node for arg in node.args if arg.type.rank]
        if len(behind) != 1:
            return False
        (node,) = behind
    return isinstance(node.form, forms.Contract)


#: Elements of a mask from which on its readers compute it: with fewer it is a small part of what
#: they read.
LEAST_MASK: Final = 1 << 18


def group(graph: Graph, fuse: bool = True) -> Groups:
    """The groups of a graph, each of one phase. Near-linear in the nodes.

    With ``fuse`` off every node that computes something gets a group of its own.
    """
    return _Walk(graph, fuse).groups()


class _Walk:
    """The walk over the graph, which alone writes its drafts."""

    def __init__(self, graph: Graph, fuse: bool) -> None:
        self.graph = graph
        self._sources: dict[ValueKey, Source] = {}
        self._homes: dict[Key, Draft] = {}
        self._users = users_of(graph)
        self._roots = {value.key for value in graph.roots}
        #: Where each node stands. Creation order is another one where passes have rebuilt nodes.
        self._position = {node: k for k, node in enumerate(graph.nodes)}
        self._fuse = fuse
        self._drafts: list[Draft] = []
        self._types: dict[Key, TensorType] = {}
        self._kept: set[Key] = set()
        #: Copies of values in C order, by what they are read of.
        self._copies: dict[tuple[Key, Shape, Strided], Home] = {}
        self._phases = phases_of(graph)
        self._last_phase = max(self._phases.values(), default=0)
        for node in graph.nodes:
            self._place(node)

    def groups(self) -> Groups:
        drafts = [draft for draft in self._drafts if draft.merged_into is None]
        self._let_the_last_own(drafts)
        return Groups(
            owners={key: root_of(draft).number for key, draft in self._homes.items()},
            sources=self._sources,
            types=self._types,
            graph=self.graph,
            by_number={draft.number: draft.frozen(self._position) for draft in drafts},
            kept=self._kept,
            phases=self._phases,
            users=self._users,
            roots=self._roots,
            fused=self._fuse,
        )

    def _let_the_last_own(self, drafts: Iterable[Draft]) -> None:
        # Of equal levels that is the one of the highest number, so that drafts which store parts of
        # several values come in one order for all of them.
        writers: dict[Key, list[Draft]] = {}
        for draft in drafts:
            for target in draft.targets():
                writers.setdefault(target, []).append(draft)
        for target, several in writers.items():
            home, last = root_of(self._homes[target]), max(several, key=lambda each: each.last)
            if home in several and home is not last:
                if target in home.stored:
                    del home.stored[target]
                    last.stored[target] = None
                self._homes[target] = last

    # -- homes ------------------------------------------------------------------------------------

    def _home(self, key: Key) -> Draft | None:
        draft = self._homes.get(key)
        if draft is not None and draft.merged_into is not None:
            draft = self._homes[key] = root_of(draft)
        return draft

    def _read_only_by(self, draft: Draft, reader: Node, other: Draft | None = None) -> bool:
        # This is linear in the graph, for a draft has no more nodes than a kernel may.
        return _is_free(draft) and all(
            user is reader
            or (
                ((home := self._home(Home(user))) and home in (draft, other))
                and Home(user) not in home.reductions
            )
            for node in reversed(draft.nodes)
            for user in self._users[node, 0]
        )

    def _may_wait(self, draft: Draft, late: Sequence[Source]) -> bool:
        """Return whether a draft may come behind what it reads ``late``.

        That are single numbers, as a rate or the condition of an update, and nobody who has a place
        reads the draft: what takes long had better not come between it and its readers.
        """
        if not _is_free(draft) or any(each.type.shape for each in late):
            return False
        users = (user for node in draft.nodes for user in self._users[node, 0])
        return all(
            (user, 0) not in self._sources or self._home(Home(user)) is draft for user in users
        )

    def _in_memory(self, source: Source) -> Source:
        if needs_home(source) and self._home(source.base) is None:
            self._give_home(source.base)
        draft = self._home(source.base)
        if draft is not None:
            draft.stored[source.base] = None
        return Source(source.base, source.type, source.layout, source.direct)

    def _give_home(self, key: Key) -> None:
        """An inline value that somebody must read from memory gets a kernel of its own."""
        node = key.node
        draft = self._new("map", node.types[0].shape, self._phases[node], [])
        draft.add(node)
        draft.indexed = not self._sources[node, 0].uniform
        self._homes[key] = draft

    def _own(self, node: Node, draft: Draft | None, depth: int = 0, uniform: bool = False) -> None:
        for index, kind in enumerate(node.types):
            key, layout = Home(node, index), Strided.contiguous(kind.shape)
            self._sources[key] = Source(key, kind, layout, True, depth, uniform)
            if draft is not None:
                self._homes[key] = draft

    def _new(self, kind: GroupKind, domain: Shape, phase: int, reads: Sequence[Source]) -> Draft:
        level = 1 + max([self._level(s) for s in reads], default=0)
        draft = Draft(len(self._drafts), kind, domain, level, phase)
        self._drafts.append(draft)
        return draft

    def _level(self, source: Source) -> int:
        draft = None if source.inline else self._home(source.base)
        return 0 if draft is None else draft.level

    def _there(self, args: Sequence[Source], uniform: int = 0) -> list[Source]:
        """Operands in memory; the first of them, ``uniform``, may be numbers instead."""
        return [
            arg if arg.uniform and k < uniform else self._in_memory(arg)
            for k, arg in enumerate(args)
        ]

    def _anchor(self, kind: GroupKind, node: Node, domain: Shape, reads: Sequence[Source]) -> Draft:
        draft = self._new(kind, domain, self._phases[node], reads)
        draft.add(node)
        self._own(node, draft)
        return draft

    def _copy(
        self,
        source: Source,
        target: Key,
        layout: Strided,
        phase: int,
    ) -> Draft:
        if not source.uniform:
            source = self._in_memory(source)
        draft = self._new("copy", source.type.shape, phase, [source])
        draft.transfers = [Transfer(target, source.type.dtype, layout, source)]
        return draft

    def _cleared(self, target: Key, target_type: TensorType, phase: int, fill: float) -> Draft:
        draft = self._new("copy", target_type.shape, phase, [])
        whole = Strided.contiguous(target_type.shape)
        draft.transfers = [Transfer(target, target_type.dtype, whole, None, fill)]
        return draft

    # -- the walk ---------------------------------------------------------------------------------

    def _place(self, node: Node) -> None:
        form = node.form
        args = [self._sources[arg.node, arg.index] for arg in node.args]
        match form:
            case forms.Leaf():
                inline = isinstance(node.op, Constant) and node.types[0].rank == 0
                self._own(node, None, depth=1 if inline else 0, uniform=inline)
            case forms.Pointwise():
                self._place_pointwise(node, form, args)
            case forms.View() | forms.Identity() | forms.ReshapeForm():
                self._place_movement(node, form, args[0])
            case forms.Reduce():
                self._place_reduce(node, form, args[0])
            case forms.Gather() | forms.GatherAlong() | forms.SearchForm():
                draft = self._anchor("map", node, node.types[0].shape, self._there(args))
                draft.indexed = not isinstance(
                    form, forms.SearchForm
                )  # a failing index tells its place
                draft.checked = True
            case forms.Scatter() | forms.ScatterAlong() | forms.Scan():
                self._place_in_order(node, args)
            case forms.Assemble():
                self._place_assemble(node, form, args)
            case _:
                self._place_whole(node, args)

    def _place_whole(self, node: Node, args: Sequence[Source]) -> None:
        """A step that begins with this node."""
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
        draft = self._anchor(kind, node, domain, self._there(args))
        if kind in ("body", "call"):
            draft.stored |= {Home(node, each): None for each in range(len(node.types))}

    def _alias(self, node: Node, arg: Source, layout: Strided) -> None:
        source = arg if arg.uniform else self._in_memory(arg)
        self._sources[node, 0] = Source(
            source.base, node.types[0], layout, False, source.depth, source.uniform
        )

    def _place_movement(
        self, node: Node, form: forms.View | forms.Identity | forms.ReshapeForm, arg: Source
    ) -> None:
        if isinstance(form, forms.Identity):  # the operand itself: it still fuses with readers
            self._sources[node, 0] = arg
            if form.kept:
                self._kept.add(arg.base)
            return
        if isinstance(form, forms.View):
            self._alias(node, arg, arg.layout.viewed(form, node.types[0].rank))
            return
        shape = node.types[0].shape
        layout = arg.layout.reshaped(arg.type.shape, shape)
        if layout is None:
            known = self._copies.setdefault((arg.base, arg.type.shape, arg.layout), Home(node))
            if known.node is node or arg.inline:
                whole = Strided.contiguous(arg.type.shape)
                self._own(node, self._copy(arg, Home(node), whole, self._phases[node]))
            else:
                self._alias(node, self._sources[known], Strided.contiguous(node.types[0].shape))
        else:
            self._alias(node, arg, layout)

    def _place_pointwise(self, node: Node, form: forms.Pointwise, args: Sequence[Source]) -> None:
        depth, uniform, indexed = 1, not form.indexed, form.indexed
        for arg in args:
            depth = max(depth, arg.depth + 1)
            uniform &= arg.uniform
            indexed |= arg.depth > 0 and not arg.uniform
        inline = uniform or not args or self._is_large_mask(node, args)
        if inline and depth <= MAX_INLINE_DEPTH:
            self._own(node, None, depth, uniform)
            return
        domain, phase = node.types[0].shape, self._phases[node]
        homes = [self._aligned_home(a, domain) if self._fuse else None for a in args]
        able = [g for g in dict.fromkeys(homes) if g is not None and g.accepts(phase, domain)]
        draft = self._joinable(node, able, [*zip(args, homes, strict=True)])
        if draft is None or (indexed and (draft.row > 1 or draft.kind == "windows")):
            draft = self._new("map", domain, phase, args)
        for other in map(root_of, able):  # a later kernel stores what is an output of it
            if other is not draft and self._read_only_by(other, node, draft):
                self._merge(draft, other)
        for arg, home in zip(args, homes, strict=True):
            if not arg.inline and (home is None or root_of(home) is not draft):
                self._in_memory(arg)
        draft.add(node)
        draft.indexed |= indexed
        self._own(node, draft)

    def _is_large_mask(self, node: Node, args: Sequence[Source]) -> bool:
        """Return whether a node is a large mask of positions for products of queries and keys.

        Each reader computes it again: as bytes it is the square of a context.
        """
        kind, users = node.types[0], self._users[node, 0]
        if not kind.dtype.is_bool or kind.rank != 2 or hint_product(kind.shape) < LEAST_MASK:
            return False
        inside = all(isinstance(u.form, forms.Pointwise) and u.types[0].rank > 2 for u in users)
        inside &= (node, 0) not in self._roots and all(arg.inline for arg in args)
        return inside and any(_is_of_product(arg.node) for user in users for arg in user.args)

    def _joinable(
        self, node: Node, able: list[Draft], args: Sequence[tuple[Source, Draft | None]]
    ) -> Draft | None:
        """The draft that ``node`` may join without a cycle: the latest of its operands."""
        if any(g.kind in ANCHORED for g in able) and self._is_summed(node):
            able = [g for g in able if g.kind not in ANCHORED]  # a tile cannot sum: it would store
        if not able:
            return None
        best = max(able, key=lambda g: (g.level, g.kind == "gemm" and len(g.nodes)))
        for other in able:
            if other is not best and other.level == best.level:
                best = self._merge(best, other) or best
        outside = [arg for arg, home in args if home is None or root_of(home) is not best]
        late = [each for each in outside if self._level(each) >= best.level]
        if late and self._may_wait(best, late):
            best.level = 1 + max(map(self._level, late))
            return best
        return None if late else best

    def _is_summed(self, node: Node) -> bool:
        """Return whether only reductions read a value, or elements that only they read."""
        waiting, seen = [node], {node}
        while waiting:
            value = waiting.pop()
            users = self._users[value, 0]
            if (value, 0) in self._roots or not users:
                return False
            for user in users:
                if isinstance(user.form, forms.Reduce) or user in seen:
                    continue
                alike = user.types[0].shape == value.types[0].shape
                if not (isinstance(user.form, forms.Pointwise) and alike) or len(seen) > _CHAIN:
                    return False
                seen.add(user)
                waiting.append(user)
        return True

    def _aligned_home(self, source: Source, domain: Shape) -> Draft | None:
        if not meets_elements(source, domain):
            return None
        home = self._home(source.base)
        if home is None or source.base in home.reductions or home.stores_parts_of(source.base):
            return None
        return home

    def _merge(self, draft: Draft, other: Draft) -> Draft | None:
        """Put two drafts together if their forms allow; no path may lead from one out and back."""
        if kept_apart(draft, other) is not None:
            return None
        if other.kind in ANCHORED:
            draft, other = other, draft
        draft.absorb(other)
        return draft

    def _place_reduce(self, node: Node, form: forms.Reduce, arg: Source) -> None:
        target, rank = Home(node), arg.type.rank
        row_axes, rest_axes = decompose(rank, form.axes)
        if row_axes and rest_axes:  # the rows first, then what they come to
            outer = arg.type.shape[: rank - len(row_axes)]
            partial = Partial(node)
            dtype = node.types[0].dtype.compute
            self._types[partial] = TensorType(dtype, outer)
            self._reduce(node, partial, form.kind, arg, len(row_axes))
            axes = [*(a for a in range(len(outer)) if a not in rest_axes), *rest_axes]
            kind = TensorType(dtype, tuple(outer[a] for a in axes))
            whole = Strided.contiguous(outer)
            layout = Strided(0, tuple(whole.strides[a] for a in axes))
            arg = self._in_memory(Source(partial, kind, layout, direct=False))
            row_axes, rest_axes = rest_axes, ()
        self._reduce(node, target, form.kind, arg, len(row_axes), rest_axes)
        self._own(node, self._home(target))

    def _reduce(
        self,
        node: Node,
        target: Key,
        kind: str,
        arg: Source,
        row: int,
        columns: tuple[int, ...] = (),
    ) -> None:
        positions = arg.inline and not arg.uniform
        if positions and row > 1:  # the row's axes may merge, and then nobody knows positions
            arg, positions = self._in_memory(arg), False
        draft = self._aligned_home(arg, arg.type.shape) if self._fuse else None
        phase = self._phases[node]
        if draft is None or draft.phase != phase or not self._may_reduce(draft, node, row):
            reads = arg if arg.inline else self._in_memory(arg)
            draft = self._new("map", arg.type.shape, phase, [reads])
        if not row:
            draft.kind, draft.summed = "columns", columns
        draft.row = row
        draft.indexed |= positions
        draft.reductions[target] = GroupReduction(arg, kind)
        self._homes[target] = draft

    def _may_reduce(self, draft: Draft, node: Node, row: int) -> bool:
        """Return whether a draft may reduce its elements: along a row, or by columns for 0."""
        if not row:  # then it stores nothing else
            inner = self._roots.isdisjoint(map(Home, draft.nodes))
            return inner and self._read_only_by(draft, node)
        fits = draft.kind == "map" and draft.row in (0, row) and not breaks_rows(draft, row)
        return fits and not (draft.keeps_axes and row > 1)

    def _place_in_order(self, node: Node, args: Sequence[Source]) -> None:
        """A step of its own: a running total, or one that adds to what a fill wrote before."""
        kind, form, reads = node.types[0], node.form, self._there(args, 1)
        if self._fuse and is_one_hot(node, self._users[node, 0]):
            draft = self._anchor("map", node, kind.shape, reads)
            draft.indexed = draft.checked = True
            return
        step: GroupKind = "scan" if isinstance(form, forms.Scan) else "scatter"
        if step == "scatter":
            fill = form.combiner.empty(kind.dtype) if isinstance(form, forms.Scatter) else 0
            cleared = self._cleared(Home(node), kind, self._phases[node], fill)
            self._homes[Home(node)] = cleared
            reads.append(Source(Home(node), kind, Strided.contiguous(kind.shape)))
        draft = self._anchor(step, node, args[0].type.shape, reads)
        draft.stored[Home(node)] = None

    def _place_assemble(self, node: Node, form: forms.Assemble, args: Sequence[Source]) -> None:
        target, kind, phase = Home(node), node.types[0], self._phases[node]
        lies = [Strided.contiguous(kind.shape).region(region) for region in form.regions]
        homes = [self._home_of_part(*each, phase) for each in zip(args, lies, strict=True)]
        if is_window(node, self._users) and (form.fill is not None or None in homes):
            reads = self._there(args, len(args))
            self._anchor("map", node, kind.shape, reads).windowed = True
            return
        writers: list[Draft] = []
        if form.fill is not None:
            writers.append(self._cleared(target, kind, phase, form.fill))
            writers[0].level = 0  # before all others
        copied = [k for k, home in enumerate(homes) if home is None]
        for several, row in self._rows_of_parts(form.regions, args, copied):
            draft = self._copy(args[several[0]], target, lies[several[0]], phase)
            draft.transfers += [Transfer(target, kind.dtype, lies[k], args[k]) for k in several[1:]]
            draft.row = row if len(several) > 1 else 0
            writers.append(draft)
        for k, home in enumerate(homes):
            if home is not None:
                self._store_part(home, node.args[k], TargetRegion(target, lies[k]))
                writers.append(home)
        self._own(node, max(writers, key=lambda draft: draft.level))

    def _rows_of_parts(
        self, regions: Sequence[forms.Region], args: Sequence[Source], copied: Sequence[int]
    ) -> Iterator[tuple[Sequence[int], int]]:
        # Only what was there before the program began: copies of other values would wait for the
        # last of them, and those would lie in memory as long.
        axis = None
        if self._fuse and all(step == 1 for region in regions for step in region.steps):
            starts = [*zip(*(region.starts for region in regions), strict=True)]
            apart = [k for k, each in enumerate(starts) if any(s != each[0] for s in each)]
            axis = apart[0] if len(apart) == 1 else None  # along which they follow each other
        there = [k for k in copied if self._level(args[k]) == 0]
        rows = [] if axis is None else [k for k in there if _fills_rows(args[k], axis)]
        rank = args[0].type.rank
        runs = [rows[first : first + _MOST] for first in range(0, len(rows), _MOST)]
        yield from ((several, rank - (axis or 0)) for several in runs)
        yield from (([k], 0) for k in copied if k not in rows)

    def _home_of_part(self, source: Source, layout: Strided, phase: int) -> Draft | None:
        """The draft that may store a part where it lies; of the last phase, which runs once."""
        home = self._home(source.base) if self._fuse and phase == self._last_phase else None
        return home if home is not None and home.may_store(source, layout, phase) else None

    def _store_part(self, home: Draft, value: Symbolic, region: TargetRegion) -> None:
        home.store_part(base := self._sources[value.key].base, value.shape, region)
        while value.key not in self._roots and len(self._users[value.key]) == 1:
            if value.key == base:
                home.stored.pop(base, None)
                return
            value = value.node.args[0]


def _is_free(draft: Draft) -> bool:
    """Return whether a draft is a map that nothing holds where it is."""
    held = draft.reductions or draft.stored or draft.checked or draft.regions
    return draft.kind == "map" and not held
