"""What the nodes of a block are to it, and what of them lies where while its kernel runs.

The domain of a block is outer axes and a square of rows and columns, as queries and keys. A value
is *wide*, with an element for each place of the square, or it has one per row. Products are those
that make something wide (``scores``), those of its rows (``over_rows``) and those of its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import copysign
from typing import Final

from staticgrad.fusion.diagonals import chosen
from staticgrad.fusion.groups import Group, Groups, Home, Key
from staticgrad.ir.forms import Contract
from staticgrad.ir.graph import Node, Symbolic
from staticgrad.records import NamedTuple, dataclass

#: Rows of a tile, and of one whose columns end with its rows: half of the last ones are zeros.
TILE, CUT_TILE = 32, 16
#: Operations per element up to which a value is computed again where a later stage reads it.
_CHEAP: Final = 1


class Slot(NamedTuple):
    """A part of the scratch, called after a node; ``whole``: it holds the rows of all tiles."""

    node: Node
    whole: bool


class RowStage(NamedTuple):
    """One walk along a row: nodes in order, what is reduced, what is kept for later stages.

    ``known`` are the reductions whose results it may read. ``ends``: it ends where its tile does.
    """

    nodes: tuple[Node, ...]
    reductions: tuple[Key, ...]
    kept: tuple[Key, ...]
    known: tuple[Key, ...]
    ends: bool


@dataclass(frozen=True, eq=False)
class Roles:
    """The parts of a block.

    ``inside``: all that it computes. ``epilogues``: of each product of queries and keys the nodes
    that its kernel computes with it. ``elementwise``: all nodes that are no products. ``reach``:
    how far behind a row columns may lie that masks allow, where all further ones are forbidden.
    ``short``: products that leave those out; ``beyond``: of reductions that do, the number there.
    ``wanted``: values that somebody reads there, whoever computes them.
    """

    scores: tuple[Node, ...]
    over_rows: tuple[Node, ...]
    over_columns: tuple[Node, ...]
    elementwise: tuple[Node, ...]
    wide: frozenset[Key]
    per_row: frozenset[Key]
    inside: frozenset[Key]
    epilogues: Mapping[Node, tuple[Node, ...]]
    stages: tuple[RowStage, ...]
    row_nodes: tuple[Node, ...]
    slots: Mapping[Key, Slot]
    reach: int
    short: frozenset[Node]
    beyond: Mapping[Key, bool | int | float]
    wanted: frozenset[Key]

    @property
    def tile(self) -> int:
        """Rows of a tile."""
        return CUT_TILE if self.beyond or self.short else TILE

    @property
    def tile_end(self) -> int:
        """The first column, counted from the first row of a tile, that no product reads of it."""
        return self.tile * ((self.tile - 1 + self.reach) // self.tile + 1)

    @property
    def products(self) -> tuple[Node, ...]:
        """All products."""
        return (*self.scores, *self.over_rows, *self.over_columns)


def roles_of(groups: Groups, group: Group) -> Roles:
    """The parts of a block, a function of the group alone."""
    return _RolesReader(groups, group).roles()


class _RolesReader:
    """One walk over the nodes of a block, which are in the order of the graph."""

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
        if self._skips():
            self.beyond = {key: literal for key, (_, literal) in choices.items()}
        self.wanted = self._wanted_beyond()

    def _in_order(self) -> list[Node]:
        """The nodes, and those of the reductions, each after those that it reads."""
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

    def _skips(self) -> bool:
        """Whether every row has an allowed column, every column an allowed row, or nearly so."""
        rows, columns = self.group.domain[-2:]
        more = columns - rows
        return self.reach >= 0 and isinstance(more, int) and more <= self.reach + 1

    def _is_left_out(self, product: Node) -> bool:
        """Whether a product may leave out what masks forbid, as zeros."""
        first = self.groups.source(product.args[0])
        number = self.beyond.get(first.base)
        return first.type.dtype.is_float and number is not None and _is_zero(number)

    def _joins(self, key: Key) -> bool:
        """Whether a reduction may join what masks forbid to its result afterwards."""
        reduction = self.group.reductions[key]
        number = self.beyond.get(reduction.source.base)
        if number is None:
            return False
        return reduction.kind in ("max", "min") or (reduction.kind == "sum" and _is_zero(number))

    def _wanted_beyond(self) -> set[Key]:
        """The values over queries and keys that somebody reads where masks forbid it."""
        products = [*self.over_rows, *self.over_columns]
        found = {self.groups.source(n.args[0]).base for n in products if not self._is_left_out(n)}
        found |= {key for key in self.wide if key in self.stored - self.group.trimmed}
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
        """All parts, once it is known which values are kept."""
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
        return Roles(
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
            self._slots(first, stages),
            self.reach,
            frozenset(short),
            {
                key: self.beyond[self.group.reductions[key].source.base]
                for stage in stages
                if stage.ends
                for key in stage.reductions
            },
            frozenset(self.wanted),
        )

    def _epilogue(self, product: Node) -> tuple[Node, ...]:
        """The nodes that follow a product one by one, each read by the next one alone."""
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
        """Whether ``user`` needs of what the block computes nothing but ``node``."""
        if user not in self.position or self.wide.get(Home(user)) != 0:
            return False
        if Home(user) in self.beyond:  # what is thrown away may be left out before
            return False
        if isinstance(user.form, Contract):
            return False
        bases = self._operands_of(user)
        return all(base == Home(node) or not self._computes(base) for base in bases)

    def _operands_of(self, node: Node) -> Sequence[Key]:
        """What the operands of a node are read from."""
        found = self._operands.get(node)
        if found is None:
            found = [base for arg in node.args for base in self._bases(arg)]
            self._operands[node] = found
        return found

    def _bases(self, value: Symbolic) -> Iterator[Key]:
        """What a value is read from, those behind inline values too."""
        waiting = [self.groups.source(value)]
        while waiting:
            source = waiting.pop()
            if source.inline:
                waiting += [self.groups.source(arg) for arg in source.base.node.args]
            else:
                yield source.base

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
        """What must be stored: for others, for products, and for later walks."""
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
        """Whether a value is as quickly computed again by who reads it later."""
        if key.node.op.flops > _CHEAP:
            return False
        bases = self._operands_of(key.node)
        return all(base not in self.wide or base in self.kept for base in bases)

    def _last_levels(self) -> dict[Key, int]:
        """The last walk in which nodes or reductions read a value."""
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
        """The nodes that a walk computes, in order, of values that it does not find stored."""
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

    def _slots(self, first: Sequence[Key], stages: Sequence[RowStage]) -> dict[Key, Slot]:
        """Where in scratch the kept values lie: in the place of one that nobody reads any more."""
        whole = {self.groups.source(node.args[0]).base for node in self.over_columns}
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
        """The number of the last stage that reads each kept value; products of rows come last."""
        found = dict.fromkeys(self.kept, 0)
        for number, stage in enumerate(stages, 1):
            reads = [base for node in stage.nodes for base in self._operands_of(node)]
            reads += [self.group.reductions[key].source.base for key in stage.reductions]
            found |= {key: number for key in reads if key in found}
        for node in self.over_rows:
            found[self.groups.source(node.args[0]).base] = len(stages) + 1
        return found


def _is_zero(number: float) -> bool:
    return number == 0 and copysign(1.0, number) > 0
