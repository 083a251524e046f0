"""The Columns stage to source: many reductions at a time, a vector of columns with each load.

Sums follow the rules below. Some vectors of columns are taken side by side,
so that memory is read in runs, and sums of one rule together; what is left open meanwhile lies in
local memory. The loops are known here; expressions are written by ``codegen.expressions``.

How rows of columns are reduced, to source: the rules of ``ir/summation.py``, to the bit.

The column rule has groups and blocks of rows; a row of the operand's logical shape that lies across
memory has the lane rule. Sums of one rule go through the rows together, so that what they read, and
where it lies, is found once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from itertools import product
from math import prod
from typing import Final, TypeVar

from staticgrad.codegen.expressions import VECTOR, Lines, Unit, element, number, total
from staticgrad.codegen.extremes import from_key, key_dtype, neutral_key, write_key
from staticgrad.codegen.jammed import Rows, emit_jammed, of_row, scopes_jammed, write_decode
from staticgrad.codegen.lane_steps import LEVELS, Counter, combine, write_fold, write_push
from staticgrad.codegen.prefetching import large
from staticgrad.codegen.stages import Span, base_text, scope_for, write_store
from staticgrad.codegen.transposed import TransposedTiles
from staticgrad.codegen.vectors import may_be_mixed, vectors_jammed, work
from staticgrad.ir.expr import BLOCKS, Access, Expr, postorder
from staticgrad.ir.forms import COMBINERS, Combiner
from staticgrad.ir.kernels.kernel import RUN, Kernel
from staticgrad.ir.kernels.stages import Accumulate, Columns, nested, roots, small
from staticgrad.ir.kernels.together import whole_vectors
from staticgrad.ir.kernels.width import loads_across
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, GROUPS, SHORTEST_GROUP, lanes as sum_lanes
from staticgrad.records import dataclass

#: Vectors of columns side by side: 1 KiB of each row in a run, and of a row's lanes 16 KiB.
SIDE_BY_SIDE: Final = 16
#: Rows that are read side by side, each along all columns of a chunk.
ROWS_TOGETHER: Final = 8
#: Rows of one lane that are added at a time, so that its accumulators are loaded and stored once.
OF_A_LANE: Final = 4


@dataclass(frozen=True)
class Several:
    """Vectors of a row side by side: the lines that compute them, and their names."""

    inside: Lines
    values: tuple[str, ...]


@dataclass(frozen=True)
class ColumnRule(ABC):
    """The reduction of columns over rows; ``value`` (after ``inside``) is a row's vector."""

    stage: Columns
    s: Accumulate
    lanes: int
    inside: Lines
    value: str
    several: tuple[Several, ...]
    tiles: Lines  # what fills the tiles that ``inside`` reads, of a block of rows
    across: int = SIDE_BY_SIDE  # vectors of columns side by side
    together: Several | None = None  # what rows side by side give, where they are read whole

    @property
    def width(self) -> int:
        """Columns side by side."""
        return self.across * self.lanes

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
        """The result of a reduction of no rows."""
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
    def finish(self, out: Lines) -> None:
        """The result of one vector of columns, into its variable."""


class Unrolled(ColumnRule):
    """A few rows, known as the code is written: one after the other, as in one block of a group."""

    def declare(self, out: Lines) -> None:
        return

    def finish(self, out: Lines) -> None:
        name, extents = self.s.name, [int(axis.extent) for axis in self.stage.rows]
        out.add(f"{name} = {self.neutral if prod(extents) else self.nothing}")
        for places in product(*map(range, extents)):
            for axis, place in zip(self.stage.rows, places, strict=True):
                out.add(f"{axis.name} = {place}")
            out.extend(self.combined())


@dataclass(frozen=True)
class Open(ColumnRule):
    """A rule whose columns have one vector that grows while a block of rows goes by."""

    @property
    @abstractmethod
    def place(self) -> str:
        """Local memory of the columns between blocks."""

    @abstractmethod
    def begin(self, at: str) -> str:
        """Return the start value of a block for the columns at an index of the chunk."""

    @property
    def running(self) -> str:
        """The variable of a vector of columns as rows are added."""
        return self.s.name

    def grow(self, out: Lines, name: str, value: str) -> None:
        """A row's vector into the variable of its columns."""
        out.add(f"{name} = {combine(self.combiner, name, value)}")


class Running(Open):
    """Extremes, which come out alike in any order: one running vector."""

    @property
    def running(self) -> str:
        """The variable of the vector, which holds keys if it is of floats."""
        return f"{self.s.name}_r"

    def grow(self, out: Lines, name: str, value: str) -> None:
        out.add(f"{self.s.name}_v = {value}")
        key = write_key(out, f"{self.s.name}_v", self.s)
        out.add(f"{name} = {combine(self.combiner, name, key)}")

    @property
    def place(self) -> str:
        return f"{self.s.name}_t"

    def begin(self, at: str) -> str:
        return f"load{self.lanes}({self.place}, {at})"

    def declare(self, out: Lines) -> None:
        out.add(f"{self.s.name}_t = local_{element(key_dtype(self.s))}({self.width})")

    def accumulate(self, out: Lines) -> None:
        """All rows of the columns from ``chunk`` to ``past``."""
        name, lanes, at = self.s.name, self.lanes, f"({VECTOR} - chunk)"
        clear, block = Lines(), Lines()
        neutral = f"{element(key_dtype(self.s))}x{lanes}({neutral_key(self.s)})"
        clear.add(f"store{lanes}({name}_t, {at}, {neutral})")
        self.for_each_vector(out, clear)
        _through_rows([self], block)
        self.blocks(out, "0", "rows", COLUMN_BLOCK, block)

    def finish(self, out: Lines) -> None:
        out.add(f"{self.running} = load{self.lanes}({self.s.name}_t, {VECTOR} - chunk)")
        out.add(f"{self.s.name} = {from_key(self.s, self.running)}")


class ByGroups(Open):
    """The column rule: groups in order, blocks inside a group by the binary counter."""

    def declare(self, out: Lines) -> None:
        out.add(f"{self.s.name}_t = {self.local}({self.width})")
        out.add(f"{self.s.name}_r = {self.local}({self.width})")
        out.add(f"{self.s.name}_s = {self.local}({LEVELS * self.width})")

    @property
    def place(self) -> str:
        return f"{self.s.name}_r"

    def begin(self, at: str) -> str:
        return self.neutral

    def finish(self, out: Lines) -> None:
        out.add(f"{self.s.name} = load{self.lanes}({self.s.name}_t, {VECTOR} - chunk)")


class ByLanes(ColumnRule):
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
        """Nothing: sums that are alike go through the rows together (``through_lanes``)."""

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


def _through_rows(rules: Sequence[Open], out: Lines) -> None:
    """Write the rows of a block into local memory, for sums that read them together.

    Several whole vectors at a time, so that memory is read in runs, and sums do not wait for each
    other; then what is left.
    """
    lanes, first = rules[0].lanes, rules[0]
    out.add(f"m = mask{lanes}({lanes})")
    if first.together is not None:
        _whole_rows(rules, first.together, out)
        return
    out.add(f"{VECTOR} = chunk")
    for which, several in enumerate(first.several):
        count = len(several.values)
        step = count * lanes
        out.add(f"while {VECTOR} + {step} <= past:")
        for other in range(1, count):
            out.add(f"    {of_row(VECTOR, other)} = {VECTOR} + {other * lanes}")
        values = [rule.several[which].values for rule in rules]
        out.extend(_rows_of_a_block(rules, several.inside, values), 1)
        out.add(f"    {VECTOR} = {VECTOR} + {step}")
    out.add(f"while {VECTOR} < past:")
    out.add(f"    m = mask{lanes}(past - {VECTOR})")
    out.extend(_rows_of_a_block(rules, first.inside, [[rule.value] for rule in rules]), 1)
    out.add(f"    {VECTOR} = {VECTOR} + {lanes}")


def _whole_rows(rules: Sequence[Open], together: Several, out: Lines) -> None:
    """The rows of a block, some at a time, each along all whole vectors of the chunk.

    So memory sends runs of rows, and what has grown so far is loaded and stored once for them.
    """
    first, lanes, count = rules[0], rules[0].lanes, ROWS_TOGETHER
    clear = Lines()
    for rule in rules:
        at = f"{VECTOR} - chunk"
        clear.add(f"store{lanes}({rule.place}, {at}, {rule.begin(f'({at})')})")
    out.add(f"full = chunk + (past - chunk) // {lanes} * {lanes}")
    runs, several, one = Lines(), Lines(), Lines()
    runs.add(f"for {VECTOR} in range(chunk, full, {lanes}):")
    runs.extend(clear, 1)
    runs.add(f"whole = block + (stop - block) // {count} * {count}")
    runs.add(f"for around in range(block, whole, {count}):")
    for other in range(count):
        flat = of_row("row", other)
        several.add(f"{flat} = around + {other}")
        write_decode(several, flat, first.stage.rows, other)
    several.add(f"for {VECTOR} in range(chunk, full, {lanes}):")
    several.extend(_grown(rules, together.inside, [together.values]), 1)
    runs.extend(several, 1)
    one.add(f"for {VECTOR} in range(chunk, full, {lanes}):")
    one.extend(_grown(rules, first.inside, [(rule.value,) for rule in rules]), 1)
    first.for_each_row(runs, "whole", "stop", one)
    out.add("if full > chunk:")
    out.extend(runs, 1)
    out.add("if full < past:")
    out.add(f"    {VECTOR} = full")
    out.add(f"    m = mask{lanes}(past - full)")
    out.extend(_rows_of_a_block(rules, first.inside, [[rule.value] for rule in rules]), 1)


def _grown(rules: Sequence[Open], inside: Lines, values: Sequence[Sequence[str]]) -> Lines:
    """Vectors of rows, one after the other, onto what their columns have grown to."""
    out, lanes = Lines(), rules[0].lanes
    out.extend(inside)
    for rule, own in zip(rules, values, strict=True):
        at = f"({VECTOR} - chunk)"
        out.add(f"{rule.running} = load{lanes}({rule.place}, {at})")
        for value in own:
            rule.grow(out, rule.running, value)
        out.add(f"store{lanes}({rule.place}, {at}, {rule.running})")
    return out


def _rows_of_a_block(
    rules: Sequence[Open], inside: Lines, values: Sequence[Sequence[str]]
) -> Lines:
    """Vectors side by side of each sum, from what they start at to where they are kept."""
    out, body, lanes = Lines(), Lines(), rules[0].lanes
    kept = [
        (rule, of_row(rule.running, other), f"({of_row(VECTOR, other)} - chunk)", value)
        for rule, own in zip(rules, values, strict=True)
        for other, value in enumerate(own)
    ]
    body.extend(inside)
    for rule, name, at, value in kept:
        out.add(f"{name} = {rule.begin(at)}")
        rule.grow(body, name, value)
    for rule in rules:
        out.extend(rule.tiles)
    rules[0].for_each_row(out, "block", "stop", body)
    for rule, name, at, _ in kept:
        out.add(f"store{lanes}({rule.place}, {at}, {name})")
    return out


def through_groups(rules: Sequence[ByGroups], out: Lines) -> None:
    """All rows of the columns from ``chunk`` to ``past``, for sums that read them together."""
    first, lanes = rules[0], rules[0].lanes
    clear, group, block, each = Lines(), Lines(), Lines(), Lines()
    for rule in rules:
        clear.add(f"store{lanes}({rule.s.name}_t, {VECTOR} - chunk, {rule.nothing})")
        each.add(f"{rule.s.name} = load{lanes}({rule.place}, {VECTOR} - chunk)")
    write_push(each, {rule.s.name: rule.counter for rule in rules}, "final")
    each.add("if final == 1:")
    each.add("    if first > 0:")
    for rule in rules:
        older = f"load{lanes}({rule.s.name}_t, {VECTOR} - chunk)"
        each.add(f"        {rule.s.name} = {combine(rule.combiner, older, rule.s.name)}")
    for rule in rules:
        each.add(f"    store{lanes}({rule.s.name}_t, {VECTOR} - chunk, {rule.s.name})")
    first.for_each_vector(out, clear)
    group.add("last = first + group")
    group.add("if last > rows:")
    group.add("    last = rows")
    group.add("blocks = 0")
    _through_rows(rules, block)
    block.add("final = 1 if stop == last else 0")
    first.for_each_vector(block, each)
    block.add("blocks = blocks + 1")
    first.blocks(group, "first", "last", COLUMN_BLOCK, block)
    out.add(f"group = (rows + {GROUPS - 1}) // {GROUPS}")
    out.add(f"if group < {SHORTEST_GROUP}:")
    out.add(f"    group = {SHORTEST_GROUP}")
    out.add("for first in range(0, rows, group):")
    out.extend(group, 1)


def through_lanes(rules: Sequence[ByLanes], out: Lines) -> None:
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


def _rows_of_lanes(rules: Sequence[ByLanes], place: str) -> Lines:
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


#: Vectors of columns whose sums are in registers at a time: as many as there are, then as fit.
ACROSS: Final = (8, 2)
#: Vectors of all sums that go through the rows together, at most, in registers of 512 bits.
HELD: Final = 24
#: Lines of what is summed, helpers included, beyond which loads of a few vectors a row start late.
WAITING: Final = 16
#: Reductions of a kernel that read so, at most.
MOST_WHOLE: Final = 2
#: Operations of what is reduced, loads included, of which rows side by side fit in registers: those
#: of a comparison that finds positions, too.
FEW: Final = 10
_Down = TypeVar("_Down", Unrolled, Running, ByGroups)


def write_columns(kernel: Kernel, stage: Columns, out: Lines, loop: Span, unit: Unit) -> None:
    """Write, for a few vectors of columns each, all rows in the rule's order, then the stores."""
    before, chunk, final = Lines(), Lines(), Lines()
    large = _large_from(kernel, stage, unit)
    width = "width" if large else str(_across(kernel, stage, unit) * kernel.lanes)
    chunk.add(f"past = chunk + {width}")
    chunk.add(f"if past > {loop.stop}:")
    chunk.add(f"    past = {loop.stop}")
    rules: list[ColumnRule] = []
    for sums in _passes(stage, unit):
        rules += _written(kernel, stage, sums, before, chunk, unit)
    for rule in rules:
        rule.finish(final)
    out.extend(before)
    out.add(f"rows = {' * '.join(str(a.extent) for a in stage.rows) or '1'}")
    if large:
        out.add(f"width = {SIDE_BY_SIDE * kernel.lanes}")
        out.add(f"if {large}:")
        out.add(f"    width = {RUN * kernel.lanes}")
    for rule in rules:
        rule.declare(out)
    out.add(f"for chunk in range({loop.start}, {loop.stop}, {width}):")
    stores = scope_for(kernel, [VECTOR], final, final, unit, kernel.lanes)
    stores.vector_refs = frozenset(s.name for s in stage.body)
    for store in stage.stores:
        write_store(stores, store)
    rules[0].for_each_vector(chunk, final)
    out.extend(chunk, 1)


def _passes(stage: Columns, unit: Unit) -> list[tuple[Accumulate, ...]]:
    """The sums that go through the rows together: of one rule, as many as registers hold."""
    found: list[tuple[Accumulate, ...]] = []
    groups: list[Accumulate] = []
    lanes: dict[int, list[Accumulate]] = {}
    for s in stage.body:
        kind = _rule_of(stage, s)
        if kind is ByLanes:
            lanes.setdefault(sum_lanes(s.value.dtype), []).append(s)
        elif kind is ByGroups and not _transposed(stage, s):
            groups.append(s)
        else:
            found.append((s,))
    most = HELD * unit.vector_bits // (2 * 512)  # two vectors of each
    passes = -(-len(groups) // most)
    found += [tuple(groups[n::passes]) for n in range(passes)]
    return found + [tuple(lanes[count]) for count in sorted(lanes)]


def _written(
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    chunk: Lines,
    unit: Unit,
) -> Sequence[ColumnRule]:
    """Sums that go through the rows together, with the lines of a chunk of columns."""
    kind = _rule_of(stage, sums[0])
    if kind is ByLanes:
        in_lanes = _in_lanes(kernel, stage, sums, before, unit)
        through_lanes(in_lanes, chunk)
        return in_lanes
    if kind is ByGroups:
        groups = _down_rows(ByGroups, kernel, stage, sums, before, unit)
        through_groups(groups, chunk)
        return groups
    if kind is Running:
        (running,) = _down_rows(Running, kernel, stage, sums, before, unit)
        running.accumulate(chunk)
        return [running]
    return _down_rows(Unrolled, kernel, stage, sums, before, unit)


def _down_rows(
    kind: type[_Down],
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    unit: Unit,
) -> list[_Down]:
    """Sums of a rule; the first has the lines that compute a row's vectors, of all of them."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    scope = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    is_down = _rule_of(stage, sums[0]) is not Unrolled
    loads = _transposed(stage, sums[0]) if is_down else ()
    transposed = TransposedTiles.of(loads, unit, kernel.lanes, COLUMN_BLOCK) if loads else None
    rows = Lines()
    if transposed is not None:
        transposed.read(scope, "(row - block)")
    scope.emit([root for s in sums for root in roots(s)])
    values, lines = [scope.vector(s.value) for s in sums], work(scope.body, unit)
    mixed = transposed is None and is_down and may_be_mixed(sums)
    whole = _together(kernel, stage, sums[0], before, unit) if _are_whole(kernel, stage) else None
    mixed &= whole is None
    several = _several(kernel, stage, sums, before, unit, lines) if mixed else [()] * len(sums)
    if transposed is not None:
        transposed.declare(before)
        around = frozenset({VECTOR, stage.rows[0].name})
        place = partial(_first_of_block, around)
        transposed.write(rows, unit, place, f"past - {VECTOR}", "stop - block")
    return [
        kind(
            stage,
            s,
            kernel.lanes,
            scope.body,
            value,
            each,
            rows,
            _across(kernel, stage, unit),
            whole,
        )
        for s, value, each in zip(sums, values, several, strict=True)
    ]


def _across(kernel: Kernel, stage: Columns, unit: Unit) -> int:
    """Vectors of columns side by side, at most: where rows are read whole, 4 KiB of each."""
    wide = _are_whole(kernel, stage) or _large_from(kernel, stage, unit)
    return RUN if wide else SIDE_BY_SIDE


def _large_from(kernel: Kernel, stage: Columns, unit: Unit) -> str:
    """Return the condition under which whole rows are read: they exceed the L2 cache.

    A column has as many accumulators as there are lanes, so the accumulators of whole rows do not
    fit in L1.
    """
    if not (stage.in_lanes and stage.rows and _is_simple(kernel, stage)):
        return ""
    if _rule_of(stage, stage.body[0]) is not ByLanes:
        return ""
    along = stage.rows[-1].name
    moves = [a.stride(along) for a in _loads(stage.body[0]) if a.stride(VECTOR) == 1]
    longest = next((move for move in moves if move != 0), 0)
    return f"rows * {longest} > {large(unit) * kernel.lanes}" if longest != 0 else ""


def _are_whole(kernel: Kernel, stage: Columns) -> bool:
    """Return whether rows of a simple reduction are always read whole."""
    if not _is_simple(kernel, stage):
        return False
    s = stage.body[0]
    down = _rule_of(stage, s) in (ByGroups, Running) and not _transposed(stage, s)
    lying = all(access.stride(VECTOR) == 1 for access in _loads(s))
    return down and lying and may_be_mixed([s])


def _is_simple(kernel: Kernel, stage: Columns) -> bool:
    """Return whether the stage is one reduction of loaded values with few operations.

    And of few in a kernel, since each takes up to 224 KiB of the stack.
    """
    several = sum(isinstance(each, Columns) for each, _ in nested(kernel.stages))
    if len(stage.body) > 1 or several > MOST_WHOLE:
        return False
    (s,) = stage.body
    exprs = [*postorder(roots(s))]
    short = len(exprs) <= FEW and not any(e.op in BLOCKS for e in exprs)
    return short and all(map(_is_plain, _loads(s))) and len(_loads(s)) > 0


def _loads(s: Accumulate) -> list[Access]:
    """Return the accesses that a reduction loads."""
    return [e.attribute for e in postorder(roots(s)) if isinstance(e.attribute, Access)]


def _is_plain(access: Access) -> bool:
    """Return whether vectors of an access are contiguous and in bounds, or repeat one element."""
    return access.stride(VECTOR) in (0, 1) and not access.gather and not access.bounded


def _transposed(stage: Columns, s: Accumulate) -> Sequence[Expr]:
    """Return the loads that are contiguous from row to row; blocks of rows are transposed."""
    return tuple(loads_across(roots(s), stage.rows[0].name, VECTOR)) if len(stage.rows) == 1 else ()


def _first_of_block(around: frozenset[str], access: Access) -> str:
    """Return the first element of a block of rows, for an access that is contiguous along them."""
    return total(base_text(access, around), "block")


def _several(
    kernel: Kernel,
    stage: Columns,
    sums: Sequence[Accumulate],
    before: Lines,
    unit: Unit,
    lines: int,
) -> list[tuple[Several, ...]]:
    """Return for each sum the vectors of a row, for several vectors at a time, most first."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    wanted = [root for s in sums for root in roots(s)]
    found: list[list[Several]] = [[] for _ in sums]
    for most in ACROSS:
        held = len(sums) == 1 or most * len(sums) * 512 <= HELD * unit.vector_bits
        if not held or whole_vectors(2 * lines, most) != most:
            continue
        first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
        scopes = vectors_jammed(first, most)
        emit_jammed(scopes, wanted)
        values = [tuple(scope.vector(s.value) for scope in scopes) for s in sums]  # may write, too
        for each, own in zip(found, values, strict=True):
            each.append(Several(first.body, own))
    return [tuple(each) for each in found]


def _together(kernel: Kernel, stage: Columns, s: Accumulate, before: Lines, unit: Unit) -> Several:
    """Return the values of several interleaved rows for one vector of columns."""
    inner = [VECTOR, *(axis.name for axis in stage.rows)]
    first = scope_for(kernel, inner, before, Lines(), unit, kernel.lanes)
    scopes = scopes_jammed(Rows(stage.rows, (), (), ROWS_TOGETHER, left=False), first)
    emit_jammed(scopes, roots(s))
    return Several(first.body, tuple([scope.vector(s.value) for scope in scopes]))


def _in_lanes(
    kernel: Kernel, stage: Columns, sums: Sequence[Accumulate], before: Lines, unit: Unit
) -> list[ByLanes]:
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
        scopes = scopes_jammed(Rows(stage.rows, (), (), OF_A_LANE, left=False), first)
        emit_jammed(scopes, wanted)
        found = [tuple([each.vector(s.value) for each in scopes]) for s in sums]
        several = [Several(first.body, each) for each in found]
    across = _across(kernel, stage, unit)
    return [
        ByLanes(stage, s, kernel.lanes, scope.body, value, (each,), Lines(), across)
        for s, value, each in zip(sums, values, several, strict=True)
    ]


def _rule_of(stage: Columns, s: Accumulate) -> type[ColumnRule]:
    if stage.rows and not stage.in_lanes and small(stage.rows):
        return Unrolled
    if COMBINERS[s.kind].rule == "any":
        return Running
    return ByLanes if stage.in_lanes else ByGroups
