"""Blocks: products with the rows between them as one group, whose values stay in the cache.

The scores of attention are as many as queries times keys, far more than what goes in and comes out.
A *block* computes them for one matrix of each operand at a time: the products that make something
over queries and keys, all that follows over them and their rows, the products of the results. It is
made where a value over queries and keys then needs no memory, where no path leads out of the block
and back, and where what it keeps of one matrix fits into the cache.

**Roles.** The domain of a block is outer axes and a square of rows and columns, as queries and
keys. A value is *wide*, with an element for each place of the square, or it has one per row.
Products are those that make something wide (``scores``), those of its rows (``over_rows``) and
those of its columns.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from math import copysign
from typing import Final

from staticgrad.compiler.fusion.engine import Engine
from staticgrad.compiler.fusion.groups import (
    Group,
    Groups,
    Home,
    Key,
    Read,
    Roles,
    RowStage,
    Slot,
    meets_elements,
)
from staticgrad.compiler.fusion.windows import chosen
from staticgrad.language.ir.forms import Contract, Pointwise, Reduce
from staticgrad.language.ir.graph import Node, Symbolic
from staticgrad.language.types.arrays import Shape, c_strides, hint_value
from staticgrad.support.records import replace

#: Operations per element up to which a value is computed again where a later stage reads it.
_CHEAP: Final = 1


def roles_of(groups: Groups, group: Group) -> Roles:
    """The parts of a block."""
    return _RolesReader(groups, group).roles()


class _RolesReader:
    def __init__(self, groups: Groups, group: Group) -> None:
        self.groups, self.group = groups, group
        self.stored = frozenset(group.stored)
        self._operands: dict[Node, Sequence[Key]] = {}  # as far as they were asked
        self.position = {node: k for k, node in enumerate(self._in_order())}
        self.scores: list[Node] = []
        self.over_rows: list[Node] = []
        self.over_columns: list[Node] = []
        self.elementwise: list[Node] = []
        self.wide: dict[Key, int] = {}  # with the walk along the row after which it is known
        self.per_row: dict[Key, int] = {}
        for node in self.position:
            self._place(node)
        self.kept: list[Key] = []
        choices = {
            key: choice
            for key in map(Home, self.elementwise)
            if key in self.wide and (choice := chosen(groups, key.node))
        }
        self.reach = max([reach for reach, _ in choices.values()], default=-1)
        self.beyond: dict[Key, bool | int | float] = {}  # what masks leave of values
        rows, columns = group.domain[-2:]
        more = columns - rows
        if self.reach >= 0 and isinstance(more, int) and more <= self.reach + 1:
            self.beyond = {key: literal for key, (_, literal) in choices.items()}
        self.wanted = self._wanted_beyond()

    def _in_order(self) -> list[Node]:
        nodes = dict.fromkeys([*self.group.nodes, *(k.node for k in self.group.reductions)])
        found: dict[Node, None] = {}
        waiting = [*reversed(nodes)]
        while waiting:
            node = waiting[-1]
            bases = self._operands_of(node)
            before = [b.node for b in bases if b.node in nodes and b.node not in found]
            if before and node not in found:
                waiting += before
                continue
            waiting.pop()
            found[node] = None
        return [*found]

    # -- masks -------------------------------------------------------------------------------------

    def _is_left_out(self, product: Node) -> bool:
        """Return whether a product may skip masked elements because they are zeros."""
        first = self.groups.source(product.args[0])
        number = self.beyond.get(first.base)
        return first.type.dtype.is_float and number is not None and _is_zero(number)

    def _joins(self, key: Key) -> bool:
        """Return whether masked elements may be added to the result of a reduction afterwards."""
        reduction = self.group.reductions[key]
        number = self.beyond.get(reduction.source.base)
        if number is None:
            return False
        return reduction.kind in ("max", "min") or (reduction.kind == "sum" and _is_zero(number))

    def _wanted_beyond(self) -> set[Key]:
        products = [*self.over_rows, *self.over_columns]
        found = {self.groups.source(n.args[0]).base for n in products if not self._is_left_out(n)}
        found |= {key for key in self.wide if key in self.stored}
        found |= {r.source.base for k, r in self.group.reductions.items() if not self._joins(k)}
        for node in reversed([*self.position]):
            if Home(node) not in found or isinstance(node.form, Contract):
                continue
            if Home(node) in self.group.reductions:
                continue
            if Home(node) in self.beyond:
                args = [arg for k, arg in enumerate(node.args) if k != 1]
                found |= {base for arg in args for base in self._bases(arg)}
            else:
                found.update(self._operands_of(node))
        return found

    def _place(self, node: Node) -> None:
        key = Home(node)
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
            found = self.wide if node.types[0].shape == self.group.domain else self.per_row
            found[key] = self._level(bases)

    def _level(self, bases: Iterable[Key]) -> int:
        known = [self.wide.get(base, self.per_row.get(base, 0)) for base in bases]
        return max(known, default=0)

    # -- what is kept ------------------------------------------------------------------------------

    def roles(self) -> Roles:
        epilogues = {node: self._epilogue(node) for node in self.scores}
        first = [Home(chain[-1] if chain else node) for node, chain in epilogues.items()]
        inside_products = {node for chain in epilogues.values() for node in chain}
        self.kept += first
        stages = self._stages(inside_products)
        products = [*self.scores, *self.over_rows, *self.over_columns]
        inside = {*self.wide, *self.per_row, *(Home(node) for node in products)}
        short = [n for n in (*self.over_rows, *self.over_columns) if self._is_left_out(n)]
        if self.beyond:
            pairs = zip(self.scores, first, strict=True)
            short += [node for node, key in pairs if key not in self.wanted]
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
            tuple([node for node in self.elementwise if Home(node) in self.per_row]),
            self._slots(first, stages, carried=False),
            self.reach,
            frozenset(short),
            {
                key: self.beyond[self.group.reductions[key].source.base]
                for stage in stages
                if stage.ends
                for key in stage.reductions
            },
            frozenset(self.wanted),
            carried=False,
        )
        if not self.over_columns or _bytes(self.groups, self.group, roles) <= _MOST_WHOLE:
            return roles
        return replace(roles, slots=self._slots(first, stages, carried=True), carried=True)

    def _epilogue(self, product: Node) -> tuple[Node, ...]:
        chain: list[Node] = []
        node = product
        while Home(node) not in self.stored:
            users = self.groups.users[node, 0]
            if len(users) != 1 or not self._follows(node, users[0]):
                break
            node = users[0]
            chain.append(node)
        return tuple(chain)

    def _follows(self, node: Node, user: Node) -> bool:
        """Return whether ``node`` is the only value of the block that ``user`` reads."""
        if user not in self.position or self.wide.get(Home(user)) != 0:
            return False
        if Home(user) in self.beyond:  # what is thrown away may be left out before
            return False
        if isinstance(user.form, Contract) or user.op.flops > _MOST_FLOPS:
            return False
        bases = self._operands_of(user)
        return all(base == Home(node) or not self._computes(base) for base in bases)

    def _operands_of(self, node: Node) -> Sequence[Key]:
        found = self._operands.get(node)
        if found is None:
            found = [base for arg in node.args for base in self._bases(arg)]
            self._operands[node] = found
        return found

    def _bases(self, value: Symbolic) -> Iterator[Key]:
        yield from (each.base for each in self.groups.behind([self.groups.source(value)]))

    def _computes(self, base: Key) -> bool:
        return base in self.wide or base in self.per_row

    def _stages(self, done: set[Node]) -> tuple[RowStage, ...]:
        """The walks along a row; each keeps what later ones read and would not compute again."""
        self._find_kept(done)
        last = max([*self.wide.values()], default=0)
        reduced = {key: self.per_row[key] - 1 for key in self.group.reductions}
        found = []
        for level in range(last + 1):
            reductions = tuple([key for key, at in reduced.items() if at == level])
            kept = [k for k in self.kept if self.wide[k] == level and k.node not in done]
            kept = [k for k in kept if not isinstance(k.node.form, Contract)]
            bases = [self.group.reductions[key].source.base for key in reductions]
            wanted = [base for base in bases if self._computes(base)]
            nodes = self._needed([*wanted, *kept], level, done)
            if reductions or kept:
                known = tuple([key for key, at in reduced.items() if at < level])
                ends = bool(self.beyond) and all(map(self._joins, reductions))
                ends = ends and self.wanted.isdisjoint(kept)
                found.append(RowStage(nodes, reductions, tuple(kept), known, ends))
        return tuple(found)

    def _find_kept(self, done: set[Node]) -> None:
        products = [*self.over_rows, *self.over_columns]
        wanted = {self.groups.source(node.args[0]).base for node in products}
        last = self._last_levels()
        for key in self.wide:
            if key in self.kept or key.node in done or key.node in self.scores:
                continue
            later = last.get(key, 0) > self.wide[key] and not self._is_cheap(key)
            if key in self.stored or key in wanted or later:
                self.kept.append(key)

    def _is_cheap(self, key: Key) -> bool:
        """Return whether recomputing a value costs no more than reading it."""
        if key.node.op.flops > _CHEAP:
            return False
        bases = self._operands_of(key.node)
        return all(base not in self.wide or base in self.kept for base in bases)

    def _last_levels(self) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for node in self.elementwise:
            level = self.wide.get(Home(node), 0)
            for base in self._operands_of(node):
                found[base] = max(found.get(base, 0), level)
        for result, reduction in self.group.reductions.items():
            base = reduction.source.base
            found[base] = max(found.get(base, 0), self.per_row[result] - 1)
        return found

    def _needed(self, wanted: Sequence[Key], level: int, done: set[Node]) -> tuple[Node, ...]:
        found: set[Node] = set()
        waiting = [key.node for key in wanted]
        kept = {*self.kept}
        while waiting:
            node = waiting.pop()
            key = Home(node)
            stays = key in kept and (self.wide[key] < level or node in done)
            if node in found or stays or isinstance(node.form, Contract):
                continue
            if key in self.group.reductions:
                continue
            found.add(node)
            waiting += [b.node for b in self._operands_of(node) if self._computes(b)]
        return tuple(sorted(found, key=self.position.__getitem__))

    # -- scratch -----------------------------------------------------------------------------------

    def _slots(
        self, first: Sequence[Key], stages: Sequence[RowStage], carried: bool
    ) -> dict[Key, Slot]:
        summed = [] if carried else self.over_columns
        whole = {self.groups.source(node.args[0]).base for node in summed}
        last = self._last_reads(stages)
        slots: dict[Key, Slot] = {}
        free: list[tuple[Slot, object]] = []
        alive: list[Key] = []
        for number, kept in enumerate([first, *(stage.kept for stage in stages)]):
            for key in kept:
                if key in self.stored:
                    continue
                ends = [
                    k for k in alive if last[k] < number or (last[k], key) == (number, kept[-1])
                ]
                for old in ends:
                    alive.remove(old)
                    free.append((slots[old], self.groups.value_type(old).dtype))
                dtype = self.groups.value_type(key).dtype
                if key in whole:
                    slots[key] = Slot(key.node, True)
                    continue
                fitting = [entry for entry in free if entry[1] is dtype and not entry[0].whole]
                if fitting:
                    free.remove(fitting[-1])
                slots[key] = fitting[-1][0] if fitting else Slot(key.node, False)
                alive.append(key)
        return slots

    def _last_reads(self, stages: Sequence[RowStage]) -> dict[Key, int]:
        found = dict.fromkeys(self.kept, 0)
        for number, stage in enumerate(stages, 1):
            reads = [base for node in stage.nodes for base in self._operands_of(node)]
            reads += [self.group.reductions[key].source.base for key in stage.reductions]
            found |= {key: number for key in reads if key in found}
        for node in (*self.over_rows, *self.over_columns):
            found[self.groups.source(node.args[0]).base] = len(stages) + 1
        return found


def _is_zero(number: float) -> bool:
    return number == 0 and copysign(1.0, number) > 0


#: Rows and columns of a square, at least, as far as hints tell: smaller ones fill no tile.
_LEAST: Final = 16

#: Operations that a block computes again, at most, and those of one of them per element.
_MOST_AGAIN: Final = 4
_MOST_FLOPS: Final = 8
#: Bytes of scratch at most. With half of it in an L2 of 512 KiB, attention took 1.23 of the time.
_MOST_SCRATCH: Final = 3 << 18
#: The same with whole matrices. Beyond it, sums over columns go on from tile to tile, which takes
#: 0.97 to 1.04 of the time of a step where both fit (GPT, widths 64 to 512, contexts 64 to 256).
_MOST_WHOLE: Final = 3 << 18


def _bytes(groups: Groups, block: Group, roles: Roles) -> int:
    """Return the bytes of scratch for values over the square, as far as hints tell."""
    rows, columns = map(hint_value, block.domain[-2:])
    each = {slot: groups.value_type(key).dtype.itemsize for key, slot in roles.slots.items()}
    elements = {slot: columns * (rows if slot.whole else roles.tile) for slot in each}
    return sum(each[slot] * count for slot, count in elements.items())


def blocked(engine: Engine, seed: Group) -> tuple[int, ...]:
    """Make a block of a product and what shares its square of queries and keys."""
    return _Blocking(engine).grown(seed) if _starts(engine.now, seed) else ()


def _starts(groups: Groups, group: Group) -> bool:
    large = all(hint_value(size) >= _LEAST for size in group.domain[-2:])
    if group.kind != "gemm" or len(group.domain) < 3 or group.parts is not None or not large:
        return False
    second = groups.source(_product(group).args[1])
    return any(stride != 0 for stride in second.layout.strides[:-2])


def _product(group: Group) -> Node:
    return next(node for node in group.nodes if isinstance(node.form, Contract))


class _Blocking:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    # -- growing ----------------------------------------------------------------------------------

    def grown(self, seed: Group) -> tuple[int, ...]:
        members = self._members(seed)
        fewer = [each for each in members if not self._sums_rows(seed, each)]
        for joined, again in (self._with_again(seed, members), (members, ()), (fewer, ())):
            block = self._together(seed, joined, again)
            if block is not None and self._fits(block):
                self.engine.merge(joined, block)
                self.engine.again.update(again)
                self._forget(again, block)
                return (block.number,)
        return ()

    def _fits(self, block: Group) -> bool:
        roles = roles_of(self.engine.now, block)
        return _bytes(self.engine.now, block, roles) <= _MOST_SCRATCH

    # -- what a block computes again ---------------------------------------------------------------

    def _with_again(
        self, seed: Group, members: Sequence[Group]
    ) -> tuple[Sequence[Group], Sequence[Node]]:
        # The values are computed again, as are the weights of attention in its gradient.
        square = _Square(self.engine.now, seed)
        numbers = {each.number for each in members}
        reads = [read.source.base for each in members for read in self.engine.now.reads(each)]
        outside = dict.fromkeys([b for b in reads if self.engine.owners.get(b) not in numbers])
        found, again = [*members], dict[Node, None]()
        for owner in dict.fromkeys(map(self.engine.owners.get, outside)):
            for key in self.engine.groups[owner].stored if owner in self.engine.groups else ():
                nodes = square.cone(key, outside) if key not in outside else None
                for group in self._products_of(key, seed, square) if nodes else ():
                    both, more = [*found, group], {**again, **dict.fromkeys(nodes or ())}
                    fits = square.reads_fit(both, more)
                    if fits and self.engine.order.closed([each.number for each in both]):
                        found, again = both, more
        found.sort(key=lambda each: self.engine.order.place(each.number))
        return found, [*again]

    def _products_of(self, key: Key, seed: Group, square: _Square) -> Iterator[Group]:
        for number in sorted(self.engine.readers.get(key, ())):
            group = self.engine.groups[number]
            if group.phase == seed.phase and group.kind == "gemm" and square.takes(group):
                yield group

    def _forget(self, again: Sequence[Node], block: Group) -> None:
        for key in map(Home, again):
            self.engine.readers[key].discard(block.number)
            owner = self.engine.groups.get(self.engine.owners.get(key) or 0)
            if owner is None or owner.kind != "block" or key not in owner.stored:
                continue
            if not self.engine.is_needed(key, {owner.number}):
                kept = tuple([each for each in owner.stored if each != key])
                less = replace(owner, stored=kept)
                if self._fits(less):
                    self.engine.change([owner], [less], ordered=True)

    def _members(self, seed: Group) -> list[Group]:
        """The seed and what may be in one block with it, in order."""
        square = _Square(self.engine.now, seed)
        members = {seed.number: seed}
        refused: set[int] = set()
        while True:
            near = [n for n in self._near(members) if n not in members and n not in refused]
            found = min(near, key=self.engine.order.place, default=None)
            if found is None:
                break
            candidate = self.engine.groups[found]
            together = [*members.values(), candidate]
            if (
                candidate.phase == seed.phase
                and self.engine.updated.isdisjoint(candidate.nodes)
                and square.takes(candidate)
                and square.reads_fit(together)
                and self.engine.order.closed([*members, found])
            ):
                members[found] = candidate
                refused.clear()
            else:
                refused.add(found)
        return sorted(members.values(), key=lambda each: self.engine.order.place(each.number))

    def _near(self, members: Mapping[int, Group]) -> set[int]:
        found: set[int] = set()
        for group in members.values():
            for key in group.stored:
                found |= self.engine.readers.get(key, set())
            for read in self.engine.now.reads(group):
                owner = self.engine.owners.get(read.source.base)
                if owner is not None:
                    found.add(owner)
        return found

    def _sums_rows(self, seed: Group, group: Group) -> bool:
        if group.kind != "gemm" or group is seed:
            return False
        form = _product(group).form
        assert isinstance(form, Contract)
        return form.transpose_a and group.nodes[0].types[0].shape != seed.domain

    def _together(
        self, seed: Group, members: Sequence[Group], again: Sequence[Node]
    ) -> Group | None:
        numbers = {each.number for each in members}
        stored = dict.fromkeys(key for each in members for key in each.stored)
        needed = tuple([key for key in stored if self.engine.is_needed(key, numbers)])
        spared = [
            key for key in stored if key not in needed and _is_wide(self.engine.now, key, seed)
        ]
        if not spared or not any(each.reductions for each in members):
            return None
        nodes = {*again, *(node for each in members for node in each.nodes)}
        parts = [seed, *(each for each in members if each is not seed)]
        changes = {"kind": "block", "row": 1, "stored": needed}
        return self.engine.in_one(parts, numbers, nodes=self.engine.in_order(nodes), **changes)


class _Square:
    """The groups that fit into a block over the domain of a product."""

    def __init__(self, groups: Groups, seed: Group) -> None:
        self.groups, self.domain = groups, seed.domain
        self.rows, self.scores = seed.domain[:-1], Home(_product(seed))

    def takes(self, group: Group) -> bool:
        if group.windowed or group.checked or group.copied or group.columns or group.regions:
            return False
        if group.indexed and not self._asks_for_places(group):
            return False
        if group.kind == "gemm":
            scores = group.domain == self.domain and _starts(self.groups, group)
            source = self.groups.source(_product(group).args[0])
            return scores or (len(group.nodes) == 1 and meets_elements(source, self.domain))
        if group.kind not in ("map", "rows") or group.transfers:
            return False
        if group.domain == self.domain:
            return group.row <= 1
        return self._is_per_row(group.domain) and not group.reductions

    def _asks_for_places(self, group: Group) -> bool:
        """Return whether positions are asked for along rows and columns alone."""
        pointwise = [
            (node, form) for node in group.nodes if isinstance(form := node.form, Pointwise)
        ]
        behind = [each for node, _ in pointwise for each in map(self.groups.source, node.args)]
        inline = [each.base.node for each in behind if each.inline and not each.uniform]
        asking = [*inline, *(node for node, form in pointwise if form.indexed)]
        return all(node.types[0].rank <= 2 for node in asking)

    def cone(self, key: Key, known: Container[Key]) -> list[Node] | None:
        found: dict[Node, None] = {}
        waiting = [key.node]
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found[node] = None
            form = node.form
            if not isinstance(form, Pointwise) or form.indexed or len(found) > _MOST_AGAIN:
                return None
            if node.types[0].shape != self.domain or node.op.flops > _MOST_FLOPS:
                return None
            for source in map(self.groups.source, node.args):
                if source.inline or source.base in known:
                    continue
                if not meets_elements(source, self.domain):
                    return None
                waiting.append(source.base.node)
        return [*found]

    def _is_per_row(self, shape: Shape) -> bool:
        return shape in (self.rows, (*self.rows, 1))

    def reads_fit(
        self,
        members: Sequence[Group],
        again: Iterable[Node] = (),
    ) -> bool:
        """Return whether members read only rows of each other and of recomputed values.

        Where columns are as many as those of a factor, a product of rows has the shape of scores.
        """
        owned = {key for each in members for key in (*map(Home, each.nodes), *each.reductions)}
        owned.update(map(Home, again))
        products = [_product(each) for each in members if each.kind == "gemm"]
        results = {Home(p) for p in products if self.groups.source(p.args[0]).base in owned}
        if self.scores in results:
            return False
        for each in members:
            for read in self.groups.reads(each):
                base = read.source.base
                if base in owned and (base in results or not self._fits(read)):
                    return False
        return True

    def _fits(self, read: Read) -> bool:
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
        wanted = (*c_strides(self.rows), 0)
        return source.layout.offset == 0 and all(
            extent == 1 or stride == want
            for extent, stride, want in zip((*self.rows, 2), strides, wanted, strict=True)
        )


def _is_wide(groups: Groups, key: Key, seed: Group) -> bool:
    return groups.value_type(key).shape == seed.domain
