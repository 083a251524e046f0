"""The Columns stage to source: many reductions at a time, a vector of columns with each load.

Sums follow ``ir/summation.py`` to the bit: the column rule (groups and blocks of rows), or, for a
row of the operand's logical shape that lies across memory, the lane rule. Some vectors of columns
are taken side by side, so that memory is read in runs; what is left open meanwhile lies in local
memory. The loops are known here; expressions are written by ``codegen.expressions``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Final

from staticgrad.codegen.abreast import Rows, emit_abreast, of_row, scopes_abreast, write_decode
from staticgrad.codegen.counters import LEVELS, Counter, combine, write_fold, write_push
from staticgrad.codegen.expressions import VECTOR, Lines, Unit, element, number, total
from staticgrad.codegen.extremes import from_key, key_dtype, neutral_key, write_key
from staticgrad.codegen.prefetching import write_next_rows
from staticgrad.codegen.stages import Span, base_text, scope_for, write_store
from staticgrad.codegen.turned import TurnedTiles
from staticgrad.codegen.vectors import may_be_mixed, vectors_abreast, whole_vectors, work
from staticgrad.ir.combiners import COMBINERS, Combiner
from staticgrad.ir.expr import Access
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import Accumulate, Columns, roots, small
from staticgrad.ir.kernel_turned import loads_across
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, GROUPS, SHORTEST_GROUP, lanes as sum_lanes
from staticgrad.records import dataclass

#: Vectors of columns side by side: 1 KiB of each row in a run, and of a row's lanes 16 KiB.
SIDE_BY_SIDE: Final = 16
#: Vectors of columns whose sums are in registers at a time: as many as there are, then as fit.
ACROSS: Final = (8, 2)
#: Lines of what is summed, helpers included, beyond which loads of a few vectors a row start late.
WAITING: Final = 16
#: Rows of one lane that are added at a time, so that its accumulators are loaded and stored once.
OF_A_LANE: Final = 4
#: Rows ahead that are brought near where all columns of a chunk are read of each row in turn.
NEXT_ROWS: Final = 2


def write_columns(kernel: Kernel, stage: Columns, out: Lines, loop: Span, unit: Unit) -> None:
    """For each few vectors of columns: all rows, in the order of the rule; then the stores."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    before, chunk, final = Lines(), Lines(), Lines()
    width = SIDE_BY_SIDE * kernel.lanes
    chunk.add(f"past = chunk + {width}")
    chunk.add(f"if past > {loop.stop}:")
    chunk.add(f"    past = {loop.stop}")
    rules: list[_Rule] = []
    together = [s for s in stage.body if _rule_of(stage, s) is _Lanes]
    for count in sorted({sum_lanes(s.value.dtype) for s in together}):
        alike = [s for s in together if sum_lanes(s.value.dtype) == count]
        found = _in_lanes(kernel, stage, alike, before, unit)
        _through_lanes(found, chunk)
        rules += found
    for s in stage.body if not together else ():  # each goes through the rows by itself
        scope = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
        kind = _rule_of(stage, s)
        turned = _turned(kernel, stage, s, unit) if kind in (_Running, _Groups) else None
        if turned is not None:
            turned.read(scope, "(row - block)")
        scope.emit(roots(s))
        value, lines = scope.vector(s.value), work(scope.body, unit)
        mixed = turned is None and kind in (_Running, _Groups) and may_be_mixed([s])
        several = _several(kernel, stage, s, before, unit, lines) if mixed else ()
        rows = Lines()
        if turned is not None:
            turned.declare(before)
            around = frozenset({VECTOR, stage.rows[0].name})
            place = partial(_first_of_block, around)
            turned.write(rows, unit, place, f"past - {VECTOR}", "stop - block")
        rule = kind(stage, s, kernel.lanes, scope.body, value, several, rows)
        rule.accumulate(chunk)
        rules.append(rule)
    for rule in rules:
        rule.finish(final)
    out.extend(before)
    out.add(f"rows = {' * '.join(str(a.extent) for a in stage.rows) or '1'}")
    for rule in rules:
        rule.declare(out)
    out.add(f"for chunk in range({loop.start}, {loop.stop}, {width}):")
    stores = scope_for(kernel, [VECTOR], final, final, unit, kernel.lanes)
    stores.vector_refs = frozenset(s.name for s in stage.body)
    for store in stage.stores:
        write_store(stores, store)
    rules[0].for_each_vector(chunk, final)
    out.extend(chunk, 1)


def _turned(kernel: Kernel, stage: Columns, s: Accumulate, unit: Unit) -> TurnedTiles | None:
    """Tiles of what lies along memory from row to row, a block of rows each."""
    if len(stage.rows) != 1:
        return None
    loads = tuple(loads_across(roots(s), stage.rows[0].name, VECTOR))
    return TurnedTiles.of(loads, unit, kernel.lanes, COLUMN_BLOCK) if loads else None


def _first_of_block(around: frozenset[str], access: Access) -> str:
    """Where the rows of a block begin, of an access along them."""
    return total(base_text(access, around), "block")


def _several(
    kernel: Kernel, stage: Columns, s: Accumulate, before: Lines, unit: Unit, lines: int
) -> tuple[Several, ...]:
    """What a row gives for several vectors of columns at a time, the most first."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    found = []
    for most in ACROSS:
        count = whole_vectors(2 * lines, most)
        if count != most:
            continue
        first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
        scopes = vectors_abreast(first, count)
        emit_abreast(scopes, roots(s))
        values = tuple(scope.vector(s.value) for scope in scopes)  # may write a line, too
        inside = write_next_rows(kernel, [s], scopes, stage.rows) if lines > WAITING else Lines()
        inside.extend(first.body)
        found.append(Several(inside, values))
    return tuple(found)


def _in_lanes(
    kernel: Kernel, stage: Columns, sums: Sequence[Accumulate], before: Lines, unit: Unit
) -> list[_Lanes]:
    """Sums by the lane rule, of as many lanes each, which go through the rows together.

    The first has the lines that compute a row's vectors, of all of them.
    """
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    wanted = [root for s in sums for root in roots(s)]
    scope = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    scope.emit(wanted)
    values = [scope.vector(s.value) for s in sums]
    first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    several: list[Several] = [Several(Lines(), ())] * len(sums)
    if stage.rows and work(scope.body, unit) <= WAITING:
        scopes = scopes_abreast(Rows(stage.rows, (), (), OF_A_LANE, left=False), first)
        emit_abreast(scopes, wanted)
        found = [tuple([each.vector(s.value) for each in scopes]) for s in sums]
        inside = write_next_rows(kernel, sums, scopes, stage.rows, NEXT_ROWS)
        inside.extend(first.body)
        several = [Several(inside, each) for each in found]
    return [
        _Lanes(stage, s, kernel.lanes, scope.body, value, (each,), Lines())
        for s, value, each in zip(sums, values, several, strict=True)
    ]


def _rule_of(stage: Columns, s: Accumulate) -> type[_Rule]:
    if stage.rows and not stage.in_lanes and small(stage.rows):
        return _Unrolled
    if COMBINERS[s.kind].rule == "any":
        return _Running
    return _Lanes if stage.in_lanes else _Groups


@dataclass(frozen=True)
class Several:
    """Vectors of a row side by side: the lines that compute them, and their names."""

    inside: Lines
    values: tuple[str, ...]


@dataclass(frozen=True)
class _Rule(ABC):
    """How the rows of some columns are reduced: ``value`` (after ``inside``) is a row's vector."""

    stage: Columns
    s: Accumulate
    lanes: int
    inside: Lines
    value: str
    several: tuple[Several, ...]
    tiles: Lines  # what fills the tiles that ``inside`` reads, of a block of rows

    @property
    def width(self) -> int:
        """Columns side by side."""
        return SIDE_BY_SIDE * self.lanes

    @property
    def combiner(self) -> Combiner:
        return COMBINERS[self.s.kind]

    @property
    def local(self) -> str:
        return f"local_{element(self.s.value.dtype)}"

    def full(self, value: float) -> str:
        """A vector of one number."""
        return f"{element(self.s.value.dtype)}x{self.lanes}({number(value)})"

    @property
    def neutral(self) -> str:
        return self.full(self.combiner.identity(self.s.value.dtype))

    @property
    def nothing(self) -> str:
        """The result of no rows."""
        return self.full(self.combiner.empty(self.s.value.dtype))

    @property
    def counter(self) -> Counter:
        """Partial results of the columns, in ``LEVELS`` times their width of local memory."""
        stack, first = f"{self.s.name}_s", f"({VECTOR} - chunk)"
        return Counter(self.combiner, stack, "blocks", self.lanes, self.width, first)

    def for_each_vector(self, out: Lines, body: Lines) -> None:
        """The vectors of the chunk, the last one masked."""
        out.add(f"for {VECTOR} in range(chunk, past, {self.lanes}):")
        out.add(f"    m = mask{self.lanes}(past - {VECTOR})")
        out.extend(body, 1)

    def for_each_row(self, out: Lines, start: str, stop: str, body: Lines) -> None:
        """The rows of the flattened row axes."""
        out.add(f"for row in range({start}, {stop}):")
        inner = Lines()
        write_decode(inner, "row", self.stage.rows)
        inner.extend(body)
        out.extend(inner, 1)

    def through_rows(self, out: Lines, place: str, first: str | None) -> None:
        """The rows of a block, into local memory ``place``; ``first``: what each column starts at.

        None: with what lies there. Several whole vectors at a time, so that memory is read in runs,
        and sums do not wait for each other; then what is left.
        """
        out.add(f"m = mask{self.lanes}({self.lanes})")
        out.add(f"{VECTOR} = chunk")
        for several in self.several:
            count = len(several.values)
            step = count * self.lanes
            out.add(f"while {VECTOR} + {step} <= past:")
            for other in range(1, count):
                out.add(f"    {of_row(VECTOR, other)} = {VECTOR} + {other * self.lanes}")
            out.extend(self._through_rows(place, first, several.inside, several.values), 1)
            out.add(f"    {VECTOR} = {VECTOR} + {step}")
        out.add(f"while {VECTOR} < past:")
        out.add(f"    m = mask{self.lanes}(past - {VECTOR})")
        out.extend(self._through_rows(place, first, self.inside, [self.value]), 1)
        out.add(f"    {VECTOR} = {VECTOR} + {self.lanes}")

    def _through_rows(
        self, place: str, first: str | None, inside: Lines, values: Sequence[str]
    ) -> Lines:
        out, body, lanes = Lines(), Lines(), self.lanes
        names = [of_row(self.running, other) for other in range(len(values))]
        places = [f"({of_row(VECTOR, other)} - chunk)" for other in range(len(values))]
        for name, at in zip(names, places, strict=True):
            out.add(f"{name} = {first or f'load{lanes}({place}, {at})'}")
        body.extend(inside)
        for name, value in zip(names, values, strict=True):
            self.grow(body, name, value)
        out.extend(self.tiles)
        self.for_each_row(out, "block", "stop", body)
        for name, at in zip(names, places, strict=True):
            out.add(f"store{lanes}({place}, {at}, {name})")
        return out

    @property
    def running(self) -> str:
        """The variable of a vector of columns as rows are added."""
        return self.s.name

    def grow(self, out: Lines, name: str, value: str) -> None:
        """A row's vector into the variable of its columns."""
        out.add(f"{name} = {combine(self.combiner, name, value)}")

    def combined(self) -> Lines:
        """A row's vector into the variable of the result."""
        body = Lines()
        body.extend(self.inside)
        body.add(f"{self.s.name} = {combine(self.combiner, self.s.name, self.value)}")
        return body

    def blocks(self, out: Lines, start: str, stop: str, length: int, body: Lines) -> None:
        """Blocks of rows, ``block`` to ``stop``."""
        out.add(f"for block in range({start}, {stop}, {length}):")
        inner = Lines()
        inner.add(f"stop = block + {length}")
        inner.add(f"if stop > {stop}:")
        inner.add(f"    stop = {stop}")
        inner.extend(body)
        out.extend(inner, 1)

    @abstractmethod
    def declare(self, out: Lines) -> None:
        """Local memory."""

    @abstractmethod
    def accumulate(self, out: Lines) -> None:
        """All rows of the columns from ``chunk`` to ``past``."""

    @abstractmethod
    def finish(self, out: Lines) -> None:
        """The result of one vector of columns, into its variable."""


class _Unrolled(_Rule):
    """A few rows, known as the code is written: one after the other, as in one block of a group."""

    def declare(self, out: Lines) -> None:
        return

    def accumulate(self, out: Lines) -> None:
        return

    def finish(self, out: Lines) -> None:
        name, extents = self.s.name, [int(axis.extent) for axis in self.stage.rows]
        out.add(f"{name} = {self.neutral if prod(extents) else self.nothing}")
        for places in product(*map(range, extents)):
            for axis, place in zip(self.stage.rows, places, strict=True):
                out.add(f"{axis.name} = {place}")
            out.extend(self.combined())


class _Running(_Rule):
    """Extremes, which come out alike in any order: one running vector."""

    @property
    def running(self) -> str:
        """The variable of the vector, which holds keys if it is of floats."""
        return f"{self.s.name}_r"

    def grow(self, out: Lines, name: str, value: str) -> None:
        out.add(f"{self.s.name}_v = {value}")
        key = write_key(out, f"{self.s.name}_v", self.s)
        out.add(f"{name} = {combine(self.combiner, name, key)}")

    def declare(self, out: Lines) -> None:
        out.add(f"{self.s.name}_t = local_{element(key_dtype(self.s))}({self.width})")

    def accumulate(self, out: Lines) -> None:
        name, lanes, at = self.s.name, self.lanes, f"({VECTOR} - chunk)"
        clear, block = Lines(), Lines()
        neutral = f"{element(key_dtype(self.s))}x{lanes}({neutral_key(self.s)})"
        clear.add(f"store{lanes}({name}_t, {at}, {neutral})")
        self.for_each_vector(out, clear)
        self.through_rows(block, f"{name}_t", None)
        self.blocks(out, "0", "rows", COLUMN_BLOCK, block)

    def finish(self, out: Lines) -> None:
        out.add(f"{self.running} = load{self.lanes}({self.s.name}_t, {VECTOR} - chunk)")
        out.add(f"{self.s.name} = {from_key(self.s, self.running)}")


class _Groups(_Rule):
    """The column rule: groups in order, blocks inside a group by the binary counter."""

    def declare(self, out: Lines) -> None:
        out.add(f"{self.s.name}_t = {self.local}({self.width})")
        out.add(f"{self.s.name}_r = {self.local}({self.width})")
        out.add(f"{self.s.name}_s = {self.local}({LEVELS * self.width})")
        out.add(f"group = (rows + {GROUPS - 1}) // {GROUPS}")
        out.add(f"if group < {SHORTEST_GROUP}:")
        out.add(f"    group = {SHORTEST_GROUP}")

    def accumulate(self, out: Lines) -> None:
        name, lanes, at = self.s.name, self.lanes, f"({VECTOR} - chunk)"
        clear, group, block, each = Lines(), Lines(), Lines(), Lines()
        clear.add(f"store{lanes}({name}_t, {at}, {self.nothing})")
        self.for_each_vector(out, clear)
        group.add("last = first + group")
        group.add("if last > rows:")
        group.add("    last = rows")
        group.add("blocks = 0")
        self.through_rows(block, f"{name}_r", self.neutral)
        each.add(f"{name} = load{lanes}({name}_r, {at})")
        write_push(each, {name: self.counter}, "final")
        older, to = f"load{lanes}({name}_t, {at})", f"store{lanes}({name}_t, {at}, {name})"
        each.add("if final == 1:")
        each.add("    if first > 0:")
        each.add(f"        {name} = {combine(self.combiner, older, name)}")
        each.add(f"    {to}")
        block.add("final = 1 if stop == last else 0")
        self.for_each_vector(block, each)
        block.add("blocks = blocks + 1")
        self.blocks(group, "first", "last", COLUMN_BLOCK, block)
        out.add("for first in range(0, rows, group):")
        out.extend(group, 1)

    def finish(self, out: Lines) -> None:
        out.add(f"{self.s.name} = load{self.lanes}({self.s.name}_t, {VECTOR} - chunk)")


class _Lanes(_Rule):
    """The lane rule: row r of a block goes to accumulator r modulo their number."""

    @property
    def parts(self) -> int:
        """Accumulators of a column."""
        return sum_lanes(self.s.value.dtype)

    def declare(self, out: Lines) -> None:
        out.add(f"{self.s.name}_a = {self.local}({self.parts * self.width})")
        out.add(f"{self.s.name}_s = {self.local}({LEVELS * self.width})")

    def clear(self, out: Lines) -> None:
        """All accumulators of the chunk as they begin."""
        used = f"(past - chunk + {self.lanes - 1}) // {self.lanes} * {self.lanes * self.parts}"
        out.add(f"for at in range(0, {used}, {self.lanes}):")
        out.add(f"    store{self.lanes}({self.s.name}_a, at, {self.neutral})")

    def add(self, out: Lines, values: Sequence[str]) -> None:
        """Vectors of rows to their accumulator, ``at``, one after the other."""
        sums = f"{self.s.name}_a"
        grown = f"load{self.lanes}({sums}, at)"
        for value in values:
            grown = combine(self.combiner, grown, value)
        out.add(f"store{self.lanes}({sums}, at, {grown})")

    def accumulate(self, out: Lines) -> None:
        """Nothing: sums that are alike go through the rows together (``_through_lanes``)."""

    def halve(self, out: Lines) -> None:
        """The accumulators of a block, halved to one and pushed to the counter."""
        half, name = self.parts // 2, f"{self.s.name}_a"
        out.add(f"first = ({VECTOR} - chunk) * {self.parts}")
        for lane in range(self.parts):
            place = total("first", str(lane * self.lanes))
            out.add(f"{name}{lane} = load{self.lanes}({name}, {place})")
        while half:
            for lane in range(half):
                both = combine(self.combiner, f"{name}{lane}", f"{name}{lane + half}")
                out.add(f"{name}{lane} = {both}")
            half //= 2
        write_push(out, {f"{name}0": self.counter})

    def finish(self, out: Lines) -> None:
        out.add(f"{self.s.name} = {self.nothing}")
        write_fold(out, {self.s.name: self.counter})


def _through_lanes(rules: Sequence[_Lanes], out: Lines) -> None:
    """All rows of the columns from ``chunk`` to ``past``, for sums that read them together."""
    first, lanes = rules[0], rules[0].lanes
    block, rest, halved = Lines(), Lines(), Lines()
    place = f"at = ({VECTOR} - chunk) * {first.parts} + lane"
    for rule in rules:
        rule.clear(block)
        rule.halve(halved)
    block.add("whole = block")
    if first.several[0].values:  # hardware finds no streams of loads under a mask
        block.add(f"if (past - chunk) % {lanes} == 0:")
        block.extend(_rows_of_lanes(rules, place), 1)
    each = Lines()
    each.extend(first.inside)
    each.add(place)
    for rule in rules:
        rule.add(each, [rule.value])
    rest.add(f"lane = (row - block) % {first.parts} * {lanes}")
    first.for_each_vector(rest, each)
    first.for_each_row(block, "whole", "stop", rest)
    first.for_each_vector(block, halved)
    block.add("blocks = blocks + 1")
    out.add("blocks = 0")
    first.blocks(out, "0", "rows", BLOCK, block)


def _rows_of_lanes(rules: Sequence[_Lanes], place: str) -> Lines:
    """Rows of a block while there are a few more for each lane, of vectors that are whole."""
    out, row, each = Lines(), Lines(), Lines()
    first, lanes, step = rules[0], rules[0].lanes, OF_A_LANE * rules[0].parts
    out.add(f"whole = block + (stop - block) // {step} * {step}")
    out.add(f"m = mask{lanes}({lanes})")
    out.add(f"for around in range(block, whole, {step}):")
    out.add(f"    for part in range(0, {first.parts}):")
    row.add(f"lane = part * {lanes}")
    for other in range(OF_A_LANE):
        flat = of_row("row", other)
        row.add(f"{flat} = around + part + {other * first.parts}")
        write_decode(row, flat, first.stage.rows, other)
    each.extend(first.several[0].inside)
    each.add(place)
    for rule in rules:
        rule.add(each, rule.several[0].values)
    row.add(f"for {VECTOR} in range(chunk, past, {lanes}):")
    row.extend(each, 1)
    out.extend(row, 2)
    return out
