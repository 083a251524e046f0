"""Blocks: one group of two products and the rows between them, whose values stay in the cache.

Attention has queries times keys scores, far more elements than its operands and results. A *block*
computes them for one matrix of each operand at a time: the products whose results are over queries
and keys, everything over these and their rows, and the products that read the results. A block is
built if a value over queries and keys then need not be stored, if the block is convex (no path
leaves it and comes back), and if its scratch is not too large. Compare FlashAttention (T. Dao et
al., 2022).

::

    s = q @ k.T                          for each tile of rows of q:
    p = softmax(s, axis=-1)      ->          s = tile @ k.T; p = softmax(s)    # scratch, in L2
    y = p @ v                                store the rows of y: p @ v

**Roles.** The domain of a block is outer axes and a square of rows and columns, queries and keys. A
value is *wide*, with an element for each index of the square, or it has one element per row.
A product has a wide result (``scores``), or sums over the columns of a wide operand
(``over_rows``), or over its rows (``over_columns``).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from math import copysign
from typing import Final

from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import (
    Group,
    Groups,
    Key,
    PartialBuffer,
    Read,
    ResultBuffer,
    Roles,
    RowStage,
    Slot,
    Source,
    meets_elements,
)
from staticgrad.compiler.fusion.windows import find_mask
from staticgrad.language.ir.forms import Contract, Pointwise, Reduce
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.types.arrays import Shape, c_strides, hint_value
from staticgrad.support.config import limits
from staticgrad.support.records import replace
from staticgrad.support.traversal import operands_first, reach

#: Operations per element up to which a value is recomputed in a later stage that reads it.
_CHEAP: Final = 1


def roles_of(groups: Groups, group: Group) -> Roles:
    """Return the parts of a block."""
    return _RolesReader(groups, group).roles()


class _RolesReader:
    def __init__(self, groups: Groups, group: Group) -> None:
        self.groups, self.group = groups, group
        self.stored = frozenset(group.stored)
        self._operands: dict[Node, Sequence[Key]] = {}  # a cache
        self.position = {node: k for k, node in enumerate(self._sort_nodes())}
        self.scores: list[Node] = []
        self.over_rows: list[Node] = []
        self.over_columns: list[Node] = []
        self.elementwise: list[Node] = []
        self.wide: dict[Key, int] = {}  # with the stage that computes it
        self.per_row: dict[Key, int] = {}
        for node in self.position:
            self._add_role(node)
        self.saved: list[Key] = []
        self.saved_in: dict[Key, int] = {}  # the stage that saves each
        choices = {
            key: choice
            for key in map(ResultBuffer, self.elementwise)
            if key in self.wide and (choice := find_mask(groups, key.node))
        }
        self.reach = max([reach for reach, _ in choices.values()], default=-1)
        self.mask_values: dict[Key, bool | int | float] = {}  # the literals of masked elements
        rows, columns = group.domain[-2:]
        extra = columns - rows
        if self.reach >= 0 and isinstance(extra, int) and extra <= self.reach + 1:
            self.mask_values = {key: literal for key, (_, literal) in choices.items()}
        self.masked_reads = self._find_masked_reads()

    def _sort_nodes(self) -> list[Node]:
        """Sort the nodes of a block (attention) topologically, its reductions with them."""
        nodes = dict.fromkeys([*self.group.nodes, *(k.node for k in self.group.reductions)])

        def operands(node: Node) -> list[Node]:
            return [b.node for b in reversed(self._operands_of(node)) if b.node in nodes]

        return [*operands_first(nodes, operands)]

    # -- masks -------------------------------------------------------------------------------------

    def _skips_masked(self, product: Node) -> bool:
        """Return whether a product may skip masked elements because they are zeros."""
        first = self.groups.source(product.args[0])
        number = self.mask_values.get(first.base)
        return first.type.dtype.is_float and number is not None and _is_zero(number)

    def _can_add_masked(self, key: Key) -> bool:
        """Return whether masked elements may be added to the result of a reduction afterwards."""
        reduction = self.group.reductions[key]
        number = self.mask_values.get(reduction.source.base)
        if number is None:
            return False
        return reduction.kind in ("max", "min") or (reduction.kind == "sum" and _is_zero(number))

    def _find_masked_reads(self) -> set[Key]:
        """Find the values of a block whose elements beyond the causal mask are read."""
        products = [*self.over_rows, *self.over_columns]
        read = {self.groups.source(n.args[0]).base for n in products if not self._skips_masked(n)}
        read |= {key for key in self.wide if key in self.stored}
        read |= {
            r.source.base for k, r in self.group.reductions.items() if not self._can_add_masked(k)
        }
        for node in reversed([*self.position]):
            if ResultBuffer(node) not in read or isinstance(node.form, Contract):
                continue
            if ResultBuffer(node) in self.group.reductions:
                continue
            if ResultBuffer(node) in self.mask_values:
                args = [arg for k, arg in enumerate(node.args) if k != 1]
                read |= {base for arg in args for base in self._bases(arg)}
            else:
                read.update(self._operands_of(node))
        return read

    def _add_role(self, node: Node) -> None:
        """Classify a node of a block: product, row reduction, or elementwise at a level."""
        key = ResultBuffer(node)
        bases = [self.groups.source(arg).base for arg in node.args]
        reduction = self.group.reductions.get(key)
        if reduction is not None:
            self.per_row[key] = self._level([reduction.source.base]) + 1
        elif isinstance(node.form, Contract):
            if bases[0] not in self.wide:
                self.scores.append(node)
                self.wide[key] = 0
            else:
                (self.over_columns if node.form.transpose_a else self.over_rows).append(node)
        else:
            self.elementwise.append(node)
            levels = self.wide if node.types[0].shape == self.group.domain else self.per_row
            levels[key] = self._level(bases)

    def _level(self, bases: Iterable[Key]) -> int:
        levels = [self.wide.get(base, self.per_row.get(base, 0)) for base in bases]
        return max(levels, default=0)

    # -- stages, and the values that are saved between them ----------------------------------------

    def roles(self) -> Roles:
        """Return the roles of a block's nodes: products, epilogues, row stages, scratch slots."""
        epilogues = {node: self._epilogue(node) for node in self.scores}
        first = [ResultBuffer(chain[-1] if chain else node) for node, chain in epilogues.items()]
        inside_products = {node for chain in epilogues.values() for node in chain}
        self.saved += first
        stages = self._stages(inside_products)
        products = [*self.scores, *self.over_rows, *self.over_columns]
        inside = {*self.wide, *self.per_row, *(ResultBuffer(node) for node in products)}
        short = [n for n in (*self.over_rows, *self.over_columns) if self._skips_masked(n)]
        if self.mask_values:
            pairs = zip(self.scores, first, strict=True)
            short += [node for node, key in pairs if key not in self.masked_reads]
        roles = Roles(
            tuple(self.scores),
            tuple(self.over_rows),
            tuple(self.over_columns),
            tuple(self.elementwise),
            frozenset(self.wide),
            frozenset(self.per_row),
            frozenset(inside),
            epilogues,
            stages,
            tuple([node for node in self.elementwise if ResultBuffer(node) in self.per_row]),
            self._assign_slots(first, stages, inside_products, carried=False),
            self.reach,
            frozenset(short),
            {
                key: self.mask_values[self.group.reductions[key].source.base]
                for stage in stages
                if stage.ends
                for key in stage.reductions
            },
            frozenset(self.masked_reads),
            carried=False,
        )
        if not self.over_columns or _bytes(self.groups, self.group, roles) <= _MOST_MATRIX_SCRATCH:
            return roles
        return replace(
            roles,
            slots=self._assign_slots(first, stages, inside_products, carried=True),
            carried=True,
        )

    def _epilogue(self, product: Node) -> tuple[Node, ...]:
        """Return the elementwise nodes that follow a product of a block and may be its epilogue."""
        chain: list[Node] = []
        node = product
        while ResultBuffer(node) not in self.stored:
            users = self.groups.users[node, 0]
            if len(users) != 1 or not self._is_epilogue_of(node, users[0]):
                break
            node = users[0]
            chain.append(node)
        return tuple(chain)

    def _is_epilogue_of(self, node: Node, user: Node) -> bool:
        """Return True if a node can be a product's epilogue: it reads nothing else of the block."""
        if user not in self.position or self.wide.get(ResultBuffer(user)) != 0:
            return False
        if ResultBuffer(user) in self.mask_values:  # what a mask discards need not be computed
            return False
        if isinstance(user.form, Contract) or user.op.flops > _MOST_FLOPS:
            return False
        bases = self._operands_of(user)
        return all(base == ResultBuffer(node) or not self._computes(base) for base in bases)

    def _operands_of(self, node: Node) -> Sequence[Key]:
        bases = self._operands.get(node)
        if bases is None:
            bases = [base for arg in node.args for base in self._bases(arg)]
            self._operands[node] = bases
        return bases

    def _bases(self, value: Symbolic) -> Iterator[Key]:
        yield from (
            source.base for source in self.groups.expand_inline([self.groups.source(value)])
        )

    def _computes(self, base: Key) -> bool:
        return base in self.wide or base in self.per_row

    def _stages(self, done: set[Node]) -> tuple[RowStage, ...]:
        """Return a block's loops over a row, with the values that each saves for later ones."""
        self._find_saved(done)
        last = max([*self.wide.values()], default=0)
        reduced = {key: self.per_row[key] - 1 for key in self.group.reductions}
        stages = []
        for level in range(last + 1):
            reductions = tuple([key for key, at in reduced.items() if at == level])
            live_out = [k for k in self.saved if self.saved_in[k] == level and k.node not in done]
            live_out = [k for k in live_out if not isinstance(k.node.form, Contract)]
            bases = [self.group.reductions[key].source.base for key in reductions]
            sources = [base for base in bases if self._computes(base)]
            nodes = self._find_needed([*sources, *live_out], level, done)
            if reductions or live_out:
                available = tuple([key for key, at in reduced.items() if at < level])
                ends = bool(self.mask_values) and all(map(self._can_add_masked, reductions))
                ends = ends and self.masked_reads.isdisjoint(live_out)
                stages.append(RowStage(nodes, reductions, tuple(live_out), available, ends))
        return tuple(stages)

    def _find_saved(self, done: set[Node]) -> None:
        """Choose the values of a block that are saved in scratch because later stages read them."""
        products = [*self.over_rows, *self.over_columns]
        product_operands = {self.groups.source(node.args[0]).base for node in products}
        last: dict[Key, int] = {}  # the last level of the row loops that reads each value
        for node in self.elementwise:
            level = self.wide.get(ResultBuffer(node), 0)
            for base in self._operands_of(node):
                last[base] = max(last.get(base, 0), level)
        for result, reduction in self.group.reductions.items():
            base = reduction.source.base
            last[base] = max(last.get(base, 0), self.per_row[result] - 1)
        for key in self.wide:
            if key in self.saved or key.node in done or key.node in self.scores:
                continue
            later = last.get(key, 0) > self.wide[key] and not self._is_cheap(key)
            if key in self.stored or key in product_operands or later:
                self.saved.append(key)
        self.saved_in = {key: self.wide[key] for key in self.saved}
        for key in self.saved:
            # A product's operand is recomputed in the last stage that reads what it is made of, if
            # that is cheap: then it takes their scratch.
            later = last.get(key, 0) > self.wide[key]
            if key in product_operands and key not in self.stored and not later:
                read = self._cheap_operands(key)
                self.saved_in[key] = max(
                    self.wide[key], min([last.get(base, 0) for base in read], default=0)
                )

    def _cheap_operands(self, key: Key) -> list[Key]:
        """Return the saved values from which a value is cheap to recompute; none if it is not."""
        operands: list[Key] = []
        flops, pending = 0, [key.node]
        while pending:
            node = pending.pop()
            flops += node.op.flops
            if isinstance(node.form, Contract) or flops > _MOST_FLOPS:
                return []
            for base in self._operands_of(node):
                if base in self.saved:
                    operands.append(base)
                elif base in self.wide:
                    pending.append(base.node)
        return operands

    def _is_cheap(self, key: Key) -> bool:
        """Return whether recomputing a value costs no more than reading it."""
        if key.node.op.flops > _CHEAP:
            return False
        bases = self._operands_of(key.node)
        return all(base not in self.wide or base in self.saved for base in bases)

    def _find_needed(self, targets: Sequence[Key], level: int, done: set[Node]) -> tuple[Node, ...]:
        """Return the nodes that a block's row stage computes for its targets, in order."""
        saved = {*self.saved}

        def is_computed(node: Node) -> bool:
            key = ResultBuffer(node)
            is_saved = key in saved and (self.saved_in[key] < level or node in done)
            return not (is_saved or isinstance(node.form, Contract) or key in self.group.reductions)

        def operands(node: Node) -> Iterator[Node]:
            keys = filter(self._computes, self._operands_of(node))
            return filter(is_computed, [key.node for key in keys])

        needed = reach(filter(is_computed, [key.node for key in targets]), operands)
        return tuple(sorted(needed, key=self.position.__getitem__))

    # -- scratch -----------------------------------------------------------------------------------

    def _assign_slots(
        self,
        first: Sequence[Key],
        stages: Sequence[RowStage],
        done: set[Node],
        carried: bool,
    ) -> dict[Key, Slot]:
        """Assign scratch slots to a block's saved values, one slot to disjoint live ranges."""
        summed = [] if carried else self.over_columns
        summed_operands = {self.groups.source(node.args[0]).base for node in summed}
        last = dict.fromkeys(self.saved, 0)  # the last stage that reads each saved value
        for number, stage in enumerate(stages, 1):
            reads = [base for node in stage.nodes for base in self._operands_of(node)]
            reads += [self.group.reductions[key].source.base for key in stage.reductions]
            last |= {key: number for key in reads if key in last}
        for node in (*self.over_rows, *self.over_columns):
            last[self.groups.source(node.args[0]).base] = len(stages) + 1
        slots: dict[Key, Slot] = {}
        free: list[tuple[Slot, object]] = []
        alive: list[Key] = []
        for number, live_out in enumerate([first, *(stage.live_out for stage in stages)]):
            for key in live_out:
                if key in self.stored:
                    continue
                # A value replaces one that it, or a value stored before it, is the last to read.
                computed = self._find_needed([key], self.saved_in[key], done) if number else ()
                loaded = {base for node in computed for base in self._operands_of(node)}
                ends = [
                    k
                    for k in alive
                    if last[k] < number
                    or (last[k] == number and (k in loaded or key == live_out[-1]))
                ]
                for old in ends:
                    alive.remove(old)
                    free.append((slots[old], self.groups.value_type(old).dtype))
                dtype = self.groups.value_type(key).dtype
                if key in summed_operands:
                    slots[key] = Slot(key.node, True)
                    continue
                fitting = [entry for entry in free if entry[1] is dtype and not entry[0].all_tiles]
                if fitting:
                    free.remove(fitting[-1])
                slots[key] = fitting[-1][0] if fitting else Slot(key.node, False)
                alive.append(key)
        return slots


def _is_zero(number: float) -> bool:
    return number == 0 and copysign(1.0, number) > 0


#: Nodes that a block recomputes, at most, and operations per element of one of them, or of an
#: operand of a product that is recomputed in a later stage, in the scratch of its operands.
_MOST_RECOMPUTED: Final = 4
_MOST_FLOPS: Final = 8
#: Bytes of scratch for whole matrices, at most. If they need more, sums over columns continue from
#: tile to tile, which takes 0.97 to 1.04 of the time of a step where both fit (GPT, widths 64 to
#: 512, contexts 64 to 256).
_MOST_MATRIX_SCRATCH: Final = 3 << 18


def _bytes(groups: Groups, block: Group, roles: Roles) -> int:
    """Return the bytes of scratch for values over the square, sizes at their hints."""
    rows, columns = map(hint_value, block.domain[-2:])
    itemsizes = {slot: groups.value_type(key).dtype.itemsize for key, slot in roles.slots.items()}
    elements = {slot: columns * (rows if slot.all_tiles else roles.tile) for slot in itemsizes}
    return sum(itemsizes[slot] * count for slot, count in elements.items())


def build_block(engine: Engine, seed: Group) -> tuple[int, ...]:
    """Merge a product and the groups over the same square of queries and keys into a block."""
    return _BlockBuilder(engine).grow(seed) if _starts(engine.state, seed) else ()


def _starts(groups: Groups, group: Group) -> bool:
    large = all(hint_value(size) >= limits().square_rows for size in group.domain[-2:])
    if group.kind != "gemm" or len(group.domain) < 3 or group.cut is not None or not large:
        return False
    second = groups.source(_product(group).args[1])
    return any(stride != 0 for stride in second.layout.strides[:-2])


def _product(group: Group) -> Node:
    return next(node for node in group.nodes if isinstance(node.form, Contract))


class _BlockBuilder:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # -- growing ----------------------------------------------------------------------------------

    def grow(self, seed: Group) -> tuple[int, ...]:
        """Grow a block (attention) from a product: merge its groups, or return () if none fits."""
        members = self._find_members(seed)
        fewer = [group for group in members if not self._sums_rows(seed, group)]
        for joined, recomputed in (self._add_recomputed(seed, members), (members, ()), (fewer, ())):
            block = self._build_block(seed, joined, recomputed)
            if block is not None:
                self.engine.merge(joined, block)
                self.engine.recomputed.update(recomputed)
                self._drop_recomputed(recomputed, block)
                return (block.number,)
        return ()

    # -- recomputed values -------------------------------------------------------------------------

    def _add_recomputed(
        self, seed: Group, members: Sequence[Group]
    ) -> tuple[Sequence[Group], Sequence[Node]]:
        """Add groups to a block that read another block's values, and recompute these values."""
        # A block may read values of another block by recomputing them, such as the weights of
        # attention in its gradient.
        square = _Square(self.engine.state, seed)
        numbers = {group.number for group in members}
        reads = [read.source.base for group in members for read in self.engine.state.reads(group)]
        outside = dict.fromkeys([b for b in reads if self.engine.owners.get(b) not in numbers])
        block_groups, recomputed = [*members], dict[Node, None]()
        for owner in dict.fromkeys(map(self.engine.owners.get, outside)):
            for key in self.engine.groups[owner].stored if owner in self.engine.groups else ():
                nodes = square.find_cone(key, outside) if key not in outside else None
                for group in self._products_of(key, seed, square) if nodes else ():
                    larger, more = (
                        [*block_groups, group],
                        {**recomputed, **dict.fromkeys(nodes or ())},
                    )
                    fits = square.reads_fit(larger, more)
                    if fits and self.engine.order.is_convex([group.number for group in larger]):
                        block_groups, recomputed = larger, more
        block_groups.sort(key=lambda group: self.engine.order.index_of(group.number))
        return block_groups, [*recomputed]

    def _products_of(self, key: Key, seed: Group, square: _Square) -> Iterator[Group]:
        for number in sorted(self.engine.readers.get(key, ())):
            group = self.engine.groups[number]
            if group.phase == seed.phase and group.kind == "gemm" and square.accepts(group):
                yield group

    def _drop_recomputed(self, recomputed: Sequence[Node], block: Group) -> None:
        """Stop storing values in earlier blocks that a later block recomputes."""
        for key in map(ResultBuffer, recomputed):
            self.engine.readers[key].discard(block.number)
            owner = self.engine.groups.get(self.engine.owners.get(key) or 0)
            if owner is None or owner.kind != "block" or key not in owner.stored:
                continue
            if not self.engine.is_needed(key, {owner.number}):
                remaining = tuple([k for k in owner.stored if k != key])
                self.engine.change([owner], [replace(owner, stored=remaining)], ordered=True)

    def _find_members(self, seed: Group) -> list[Group]:
        """Return a product's group and the groups that may be in one block with it, in order."""
        square = _Square(self.engine.state, seed)
        members = {seed.number: seed}
        refused: set[int] = set()
        while True:
            neighbours: set[int] = set()  # the groups that read, or are read by, members
            for group in members.values():
                for key in group.stored:
                    neighbours |= self.engine.readers.get(key, set())
                for read in self.engine.state.reads(group):
                    owner = self.engine.owners.get(read.source.base)
                    if owner is not None:
                        neighbours.add(owner)
            near = neighbours - members.keys() - refused
            nearest = min(near, key=self.engine.order.index_of, default=None)
            if nearest is None:
                break
            candidate = self.engine.groups[nearest]
            together = [*members.values(), candidate]
            if (
                candidate.phase == seed.phase
                and self.engine.update_nodes.isdisjoint(candidate.nodes)
                and square.accepts(candidate)
                and square.reads_fit(together)
                and self.engine.order.is_convex([*members, nearest])
            ):
                members[nearest] = candidate
                refused.clear()
            else:
                refused.add(nearest)
        return sorted(members.values(), key=lambda group: self.engine.order.index_of(group.number))

    def _sums_rows(self, seed: Group, group: Group) -> bool:
        if group.kind != "gemm" or group is seed:
            return False
        form = _product(group).form
        assert isinstance(form, Contract)
        return form.transpose_a and group.nodes[0].types[0].shape != seed.domain

    def _build_block(
        self, seed: Group, members: Sequence[Group], recomputed: Sequence[Node]
    ) -> Group | None:
        """Build the block of several groups; None if it would spare no buffer."""
        numbers = {group.number for group in members}
        stored = dict.fromkeys(key for group in members for key in group.stored)
        needed = tuple([key for key in stored if self.engine.is_needed(key, numbers)])
        spared = [
            key for key in stored if key not in needed and _is_wide(self.engine.state, key, seed)
        ]
        if not spared or not any(group.reductions for group in members):
            return None
        nodes = {*recomputed, *(node for group in members for node in group.nodes)}
        parts = [seed, *(group for group in members if group is not seed)]
        changes = {"kind": "block", "row": 1, "stored": needed}
        return self.engine.combine_groups(
            parts, numbers, nodes=self.engine.sort_nodes(nodes), **changes
        )


class _Square:
    """The groups that fit into a block over the domain of a product."""

    def __init__(self, groups: Groups, seed: Group) -> None:
        self.groups, self.domain = groups, seed.domain
        self.rows, self.scores = seed.domain[:-1], ResultBuffer(_product(seed))

    def accepts(self, group: Group) -> bool:
        """Return True if a group's form allows it in a block: product, row operation or map."""
        if group.windowed or group.checked or group.copied or group.columns or group.regions:
            return False
        if group.indexed and not self._has_row_indices_only(group):
            return False
        if group.kind == "gemm":
            scores = group.domain == self.domain and _starts(self.groups, group)
            source = self.groups.source(_product(group).args[0])
            return scores or (len(group.nodes) == 1 and meets_elements(source, self.domain))
        if group.kind not in ("map", "rows") or group.transfers:
            return False
        if group.domain == self.domain:
            in_one_step = not any(isinstance(key, PartialBuffer) for key in group.reductions)
            return group.row <= 1 and in_one_step
        return self._is_per_row(group.domain) and not group.reductions

    def _has_row_indices_only(self, group: Group) -> bool:
        """Return True if a group uses loop indices along rows and columns only."""
        pointwise = [
            (node, form) for node in group.nodes if isinstance(form := node.form, Pointwise)
        ]
        sources = [source for node, _ in pointwise for source in map(self.groups.source, node.args)]
        inline = [source.base.node for source in sources if source.inline and not source.uniform]
        asking = [*inline, *(node for node, form in pointwise if form.indexed)]
        return all(node.types[0].rank <= 2 for node in asking)

    def find_cone(self, key: Key, available: Container[Key]) -> list[Node] | None:
        """Return the pointwise nodes that recompute a value for a block; None if too many."""

        def computed_sources(node: Node) -> list[Source]:
            sources = map(self.groups.source, node.args)
            return [s for s in sources if not s.inline and s.base not in available]

        cone: list[Node] = []
        for node in reach([key.node], lambda n: [s.base.node for s in computed_sources(n)]):
            cone.append(node)
            form = node.form
            if not isinstance(form, Pointwise) or form.indexed or len(cone) > _MOST_RECOMPUTED:
                return None
            if node.types[0].shape != self.domain or node.op.flops > _MOST_FLOPS:
                return None
            if not all(meets_elements(source, self.domain) for source in computed_sources(node)):
                return None
        return cone

    def _is_per_row(self, shape: Shape) -> bool:
        return shape in (self.rows, (*self.rows, 1))

    def reads_fit(
        self,
        members: Sequence[Group],
        recomputed: Iterable[Node] = (),
    ) -> bool:
        """Return True if members of a block read only each other's rows, or recomputed values.

        The shapes do not decide it: if a factor has as many columns as there are keys, its product
        with rows has the shape of scores.
        """
        owned = {
            key for group in members for key in (*map(ResultBuffer, group.nodes), *group.reductions)
        }
        owned.update(map(ResultBuffer, recomputed))
        products = [_product(group) for group in members if group.kind == "gemm"]
        results = {ResultBuffer(p) for p in products if self.groups.source(p.args[0]).base in owned}
        if self.scores in results:
            return False
        for group in members:
            for read in self.groups.reads(group):
                base = read.source.base
                if base in owned and (base in results or not self._fits(read)):
                    return False
        return True

    def _fits(self, read: Read) -> bool:
        """Return True if a read inside of a block reads the row that the reader computes."""
        node, source = read.reader, read.source
        if isinstance(node.form, Contract):
            second = self.groups.source(node.args[1])
            return meets_elements(source, self.domain) and source.base != second.base
        if isinstance(node.form, Reduce):
            return meets_elements(source, self.domain)
        shape = node.types[0].shape
        if shape == self.domain and meets_elements(source, self.domain):
            return True
        strides = source.layout.broadcast(source.type.shape, shape)
        strides = (*strides[: len(self.rows)], 0) if shape != self.domain else strides
        row_strides = (*c_strides(self.rows), 0)
        return source.layout.offset == 0 and all(
            extent == 1 or stride == want
            for extent, stride, want in zip((*self.rows, 2), strides, row_strides, strict=True)
        )


def _is_wide(groups: Groups, key: Key, seed: Group) -> bool:
    return groups.value_type(key).shape == seed.domain
