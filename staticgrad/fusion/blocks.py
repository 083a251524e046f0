"""Products with the rows between them as one group, so that what lies between stays in the cache.

The scores of attention are as many as queries times keys, far more than what goes in and comes out.
A *block* computes them for one matrix of each operand at a time: the products that make something
over queries and keys, all that follows over them and their rows, the products of the results. It is
made where a value over queries and keys then needs no memory, where no path leads out of the block
and back, and where what it keeps of one matrix fits into the cache.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

from staticgrad.analysis.users import ValueKey
from staticgrad.fusion.block_roles import roles_of
from staticgrad.fusion.groups import Group, Groups, Home, Key, Read, Source, meets_elements
from staticgrad.fusion.precedence import Precedence
from staticgrad.fusion.regrouping import Regrouping
from staticgrad.fusion.trimming import with_trimmed
from staticgrad.ir.forms import Contract, Pointwise, Reduce
from staticgrad.ir.graph import Node
from staticgrad.records import replace
from staticgrad.types.tensor import Shape, c_strides, hint_value

#: Rows and columns of a square, at least, as far as hints tell: smaller ones fill no tile.
_LEAST: Final = 16

#: Operations that a block computes again, at most, and those of one of them per element.
_MOST_AGAIN: Final = 4
_MOST_FLOPS: Final = 8
#: Bytes of scratch at most. Half of it in a second cache of 512 KiB took 1.23 of attention's time.
_MOST_SCRATCH: Final = 3 << 18


def blocked(groups: Groups) -> Groups:
    """The groups, those of one phase that share a square of queries and keys as one."""
    if not groups.fused or not any(_starts(groups, each) for each in groups.all):
        return groups
    return _Blocking(groups).result()


def _starts(groups: Groups, group: Group) -> bool:
    """Whether a group is a product of many matrices with as many others."""
    large = all(hint_value(size) >= _LEAST for size in group.domain[-2:])
    if group.kind != "gemm" or len(group.domain) < 3 or group.parts is not None or not large:
        return False
    second = groups.source(_product(group).args[1])
    return any(stride != 0 for stride in second.layout.strides[:-2])


def _product(group: Group) -> Node:
    return next(node for node in group.nodes if isinstance(node.form, Contract))


class _Blocking(Regrouping):
    """Groups while some of them become blocks."""

    def __init__(self, groups: Groups) -> None:
        super().__init__(groups)
        self._reads: dict[int, Sequence[Read]] = {
            number: groups.reads(each) for number, each in self._groups.items()
        }
        self._readers: dict[Key, set[int]] = {}
        for number, reads in self._reads.items():
            for read in reads:
                self._readers.setdefault(read.source.base, set()).add(number)
        self._roots = {groups.sources[key].base for key in groups.roots}
        self._updated = {value.node for _, value in groups.graph.updates}
        self._order = Precedence(self._groups, self._edges(self._reads), self._place)

    def result(self) -> Groups:
        """The groups after all blocks are made."""
        for number in self._order.as_given:
            group = self._groups.get(number)
            if group is not None and _starts(self._before, group):
                self._grow(group)
        if not self._into:
            return self._before
        sources = self._with_inline_masks()
        owners = {
            key: self._final(number)
            for key, number in self._owners.items()
            if self._final(number) in self._groups
        }
        by_number = dict(self._levelled())
        return with_trimmed(
            replace(
                self._before, by_number=by_number, owners=owners, sources=sources, known_reads={}
            )
        )

    def _with_inline_masks(self) -> Mapping[ValueKey, Source]:
        """How values are read: what positions alone decide, and blocks alone read, inline.

        Its groups end with that.
        """
        sources = dict(self._before.sources)
        for number, group in [*self._groups.items()]:
            readers = {self._final(r) for key in group.stored for r in self._readers.get(key, ())}
            blocks = all(self._groups[r].kind == "block" for r in readers)
            if not (readers and blocks and self._is_of_positions(group)):
                continue
            for node in group.nodes:
                own = sources[node, 0]
                depth = 1 + max(
                    [sources[arg.node, arg.index].depth for arg in node.args], default=0
                )
                sources[node, 0] = own._replace(depth=depth)
            del self._groups[number]
        return sources

    def _is_of_positions(self, group: Group) -> bool:
        """Whether a group computes small things from positions in a square and nothing else."""
        if group.kind != "map" or group.reductions or group.checked or group.windowed:
            return False
        if group.regions:
            return False
        if self._roots.union(self._before.kept).intersection(group.stored):
            return False
        for node in group.nodes:
            shape, args = node.types[0].shape, [self._before.source(arg) for arg in node.args]
            if any(size != 1 for size in shape[:-2]) or node.op.flops > 1:
                return False
            if not all(a.inline or (a.direct and a.base.node in group.nodes) for a in args):
                return False
        numbers = {self._final(n) for key in group.stored for n in self._readers[key]}
        read = (read.source for number in numbers for read in self._reads[number])
        return all(source.direct for source in read if source.base in group.stored)

    def _levelled(self) -> Iterator[tuple[int, Group]]:
        """The groups, each of a higher level than all that come before it."""
        levels: dict[int, int] = {}
        found: dict[int, Group] = {}
        for number in self._order.all():
            if number not in self._groups:
                levels[number] = 0
                continue
            group = self._groups[number]
            below = max([levels[each] for each in self._order.before(number)], default=-1)
            level = levels[number] = max(group.level, below + 1)
            found[number] = group if level == group.level else replace(group, level=level)
        yield from sorted(found.items())

    # -- growing ----------------------------------------------------------------------------------

    def _grow(self, seed: Group) -> None:
        """Make a block round a product of queries and keys, if that spares memory."""
        members = self._members(seed)
        fewer = [each for each in members if not self._sums_rows(seed, each)]
        for chosen, again in (self._with_again(seed, members), (members, ()), (fewer, ())):
            block = self._together(seed, chosen, again)
            if block is not None and self._fits(block):
                self._make(block, chosen)
                self._forget(again, number=block.number)
                return

    def _fits(self, block: Group) -> bool:
        """Whether what a block keeps of one matrix stays in the cache, sizes at their hints."""
        rows, columns = map(hint_value, block.domain[-2:])
        roles = roles_of(self._before, block)
        slots = {slot: key for key, slot in roles.slots.items()}
        elements = {slot: columns * (rows if slot.whole else roles.tile) for slot in slots}
        dtypes = {slot: self._before.value_type(key).dtype for slot, key in slots.items()}
        return sum(dtypes[slot].itemsize * n for slot, n in elements.items()) <= _MOST_SCRATCH

    # -- what a block computes again ---------------------------------------------------------------

    def _with_again(
        self, seed: Group, members: Sequence[Group]
    ) -> tuple[Sequence[Group], Sequence[Node]]:
        """The members and products of what an earlier phase computes of values that they read.

        The values are computed again, as are the weights of attention in its gradient.
        """
        square = _Square(self._before, seed)
        numbers = {each.number for each in members}
        reads = [read.source.base for number in numbers for read in self._reads[number]]
        outside = dict.fromkeys([b for b in reads if self._owner(b) not in numbers])
        found, again = [*members], dict[Node, None]()
        for owner in dict.fromkeys(map(self._owner, outside)):
            for key in self._groups[owner].stored if owner in self._groups else ():
                nodes = square.cone(key, outside) if key not in outside else None
                for group in self._products_of(key, seed, square) if nodes else ():
                    both, more = [*found, group], {**again, **dict.fromkeys(nodes or ())}
                    fits = square.reads_fit(both, self._reads, more)
                    if fits and self._order.closed([each.number for each in both]):
                        found, again = both, more
        found.sort(key=lambda each: self._order.place(each.number))
        return found, [*again]

    def _products_of(self, key: Key, seed: Group, square: _Square) -> Iterator[Group]:
        """The groups that multiply a value over queries and keys, in the phase of a block."""
        for number in sorted({self._final(each) for each in self._readers.get(key, ())}):
            group = self._groups[number]
            if group.phase == seed.phase and group.kind == "gemm" and square.takes(group):
                yield group

    def _forget(self, again: Sequence[Node], number: int) -> None:
        """What a block computes again need not be stored for it."""
        for node in again:
            key = Home(node)
            readers = self._readers.get(key, set())
            readers -= {each for each in readers if self._final(each) == number}
            owner = self._groups.get(self._owner(key) or 0)
            if owner is None or owner.kind != "block" or key not in owner.stored:
                continue
            if not self._is_needed(key, {owner.number}):
                kept = tuple([each for each in owner.stored if each != key])
                less = replace(owner, stored=kept)
                if self._fits(less):
                    self._groups[owner.number] = less

    def _members(self, seed: Group) -> list[Group]:
        """The seed and what may be in one block with it, in order."""
        square = _Square(self._before, seed)
        members = {seed.number: seed}
        refused: set[int] = set()
        while True:
            near = [n for n in self._near(members) if n not in members and n not in refused]
            found = min(near, key=self._order.place, default=None)
            if found is None:
                break
            candidate = self._groups[found]
            together = [*members.values(), candidate]
            if (
                candidate.phase == seed.phase
                and self._updated.isdisjoint(candidate.nodes)
                and square.takes(candidate)
                and square.reads_fit(together, self._reads)
                and self._order.closed([*members, found])
            ):
                members[found] = candidate
                refused.clear()
            else:
                refused.add(found)
        return sorted(members.values(), key=lambda each: self._order.place(each.number))

    def _near(self, members: Mapping[int, Group]) -> set[int]:
        """The groups that read what members compute, or compute what they read."""
        found: set[int] = set()
        for number, group in members.items():
            for key in group.stored:
                found |= {self._final(reader) for reader in self._readers.get(key, ())}
            for read in self._reads[number]:
                owner = self._before.owners.get(read.source.base)
                if owner is not None:
                    found.add(self._final(owner))
        return found

    def _sums_rows(self, seed: Group, group: Group) -> bool:
        """Whether a group multiplies columns over all rows."""
        if group.kind != "gemm" or group is seed:
            return False
        form = _product(group).form
        assert isinstance(form, Contract)
        return form.transpose_a and group.nodes[0].types[0].shape != seed.domain

    def _together(
        self, seed: Group, members: Sequence[Group], again: Sequence[Node]
    ) -> Group | None:
        """The block of these groups; None if it has no rows, or no value then needs no memory."""
        numbers = {each.number for each in members}
        stored = dict.fromkeys(key for each in members for key in each.stored)
        needed = tuple([key for key in stored if self._is_needed(key, numbers)])
        spared = [key for key in stored if key not in needed and _is_wide(self._before, key, seed)]
        reductions = {key: each for group in members for key, each in group.reductions.items()}
        if not spared or not reductions:
            return None
        nodes = {*again, *(node for each in members for node in each.nodes)}
        return replace(
            seed,
            kind="block",
            level=max(each.level for each in members),
            nodes=tuple(sorted(nodes, key=self._position.__getitem__)),
            row=1,
            reductions=reductions,
            stored=needed,
            instructions=sum(each.instructions for each in members),
        )

    def _is_needed(self, key: Key, numbers: set[int]) -> bool:
        """Whether somebody outside these groups needs a value in memory."""
        if key in self._roots or key in self._before.kept:
            return True
        return any(self._final(each) not in numbers for each in self._readers.get(key, ()))

    def _make(self, block: Group, members: Sequence[Group]) -> None:
        number = block.number
        reads = [read for each in members for read in self._reads[each.number]]
        one, *later = [each.number for each in members]
        for next_ in later:  # in their order: from one to the next no path leads over a third
            one, other = (next_, one) if next_ == number else (one, next_)
            self._order.merge(one, other)
        for each in members:
            if each.number != number:
                self._into[each.number] = number
                del self._groups[each.number], self._reads[each.number]
        self._reads[number] = reads
        self._groups[number] = block


class _Square:
    """What fits into a block over the domain of a product."""

    def __init__(self, groups: Groups, seed: Group) -> None:
        self.groups, self.domain = groups, seed.domain
        self.rows, self.scores = seed.domain[:-1], Home(_product(seed))

    def takes(self, group: Group) -> bool:
        """Whether a group is one of the forms that a block holds."""
        if group.keeps_axes or group.checked or group.copied or group.columns or group.regions:
            return False
        if group.kind == "gemm":
            scores = group.domain == self.domain and _starts(self.groups, group)
            return scores or self._multiplies(group)
        if group.kind not in ("map", "rows") or group.transfer is not None:
            return False
        if group.domain == self.domain:
            return group.row <= 1
        return self._is_per_row(group.domain) and not group.reductions

    def cone(self, key: Key, known: Container[Key]) -> list[Node] | None:
        """The nodes that make a value of what is known, if they are few and quickly computed."""
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

    def _multiplies(self, group: Group) -> bool:
        """Whether a group is a product of what lies in the square, and nothing else."""
        source = self.groups.source(_product(group).args[0])
        return len(group.nodes) == 1 and meets_elements(source, self.domain)

    def _is_per_row(self, shape: Shape) -> bool:
        return shape in (self.rows, (*self.rows, 1))

    def reads_fit(
        self,
        members: Sequence[Group],
        reads: Mapping[int, Sequence[Read]],
        again: Iterable[Node] = (),
    ) -> bool:
        """Whether members read of each other what their rows hold, and of what is computed again.

        Where columns are as many as those of a factor, a product of rows has the shape of scores.
        """
        owned = {key for each in members for key in (*map(Home, each.nodes), *each.reductions)}
        owned.update(map(Home, again))
        results = {Home(_product(each)) for each in members if self._is_result(each, owned)}
        if self.scores in results:
            return False
        for each in members:
            for read in reads[each.number]:
                base = read.source.base
                if base in owned and (base in results or not self._fits(read)):
                    return False
        return True

    def _is_result(self, group: Group, owned: set[Key]) -> bool:
        return group.kind == "gemm" and self.groups.source(_product(group).args[0]).base in owned

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
