"""One vector of a row into its accumulators: lanes of a tree, keys of an extreme, a found position.

Most vectors of a row have no element that is looked for, so the least or largest position at which
something holds is compared only where it holds in some lane.

Binary counters of partial results to source: the counter rule of ``ir/summation.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from staticgrad.codegen.expressions import VECTOR, Lines, Scope, element, number, operation, total
from staticgrad.codegen.extremes import key_dtype, neutral_key, write_key
from staticgrad.ir.expr import Expr
from staticgrad.ir.forms import COMBINERS, Combiner
from staticgrad.ir.kernels.stages import Accumulate, Statement, is_first, is_found, roots
from staticgrad.ir.summation import lanes as sum_lanes
from staticgrad.records import dataclass

#: Levels of a counter: enough for 2**40 blocks.
LEVELS: Final = 40


def combine(combiner: Combiner, a: str, b: str) -> str:
    """a and b combined, as source."""
    return operation(combiner.combine, [a, b])


@dataclass(frozen=True)
class Counter:
    """A binary counter of partial results: ``pushed`` of them so far, a vector a level.

    Levels are ``step`` elements apart in ``stack``, from the element ``first`` on (source text).
    """

    combiner: Combiner
    stack: str
    pushed: str
    lanes: int
    step: int | str
    first: str = "0"

    def load(self) -> str:
        """The partial result at ``level``."""
        return f"load{self.lanes}({self.stack}, {self.place})"

    @property
    def place(self) -> str:
        return total(f"level * {self.step}", self.first)


def write_push(out: Lines, counters: Mapping[str, Counter], last: str = "") -> None:
    """Add block results to binary counters: merge neighbours of equal height as they arrive.

    ``counters`` are those of the results by name; as many were pushed into each so far. ``last`` is
    a word, 1 with the last results: they become those of all, from the most recent to the oldest.
    """
    first = next(iter(counters.values()))
    merged = [
        f"    {value} = {combine(counter.combiner, counter.load(), value)}"
        for value, counter in counters.items()
    ]
    out.add("level = 0")
    out.add(f"bits = {first.pushed}")
    if last:
        out.add(f"while bits % 2 + bits * {last} > 0:")
        out.add("    if bits % 2 == 1:")
    else:
        out.add("while bits % 2 == 1:")
    out.lines += [f"    {line}" if last else line for line in merged]
    out.add("    bits = bits // 2")
    out.add("    level = level + 1")
    for value, counter in counters.items():
        out.add(f"store{counter.lanes}({counter.stack}, {counter.place}, {value})")


def write_fold(out: Lines, counters: Mapping[str, Counter]) -> None:
    """What is left in counters, combined from the most recent to the oldest, by name.

    A name that has a value before keeps it where nothing was pushed.
    """
    first = next(iter(counters.values()))
    out.add("level = 0")
    out.add("found = 0")
    out.add(f"bits = {first.pushed}")
    out.add("while bits > 0:")
    out.add("    if bits % 2 == 1:")
    out.add("        if found == 0:")
    for result, counter in counters.items():
        out.add(f"            {result} = {counter.load()}")
    out.add("            found = 1")
    out.add("        else:")
    for result, counter in counters.items():
        out.add(f"            {result} = {combine(counter.combiner, counter.load(), result)}")
    out.add("    bits = bits // 2")
    out.add("    level = level + 1")


#: Bits of the widest registers.
WIDEST_REGISTER: Final = 512


def in_blocks(statement: Accumulate) -> bool:
    """Whether blocks of a row are reduced apart and combined by the counter rule."""
    return COMBINERS[statement.kind].rule == "tree"


def accumulator(statement: Accumulate, lanes: int) -> str:
    """What the lanes of a row begin with."""
    code = element(key_dtype(statement))
    return f"{code}x{_width(statement, lanes)}({neutral_key(statement)})"


def _width(statement: Accumulate, lanes: int) -> int:
    """Lanes of an accumulator: sums have as many as their tree says, whatever the loop's; extremes,
    which have no order, as many as fill a register."""
    dtype = statement.value.dtype
    if not in_blocks(statement) and lanes * dtype.bits <= WIDEST_REGISTER:
        return lanes
    return min(sum_lanes(dtype), lanes)


def horizontal(statement: Accumulate) -> str:
    """The lanes of a row joined to one."""
    return f"{COMBINERS[statement.kind].horizontal}({statement.name}_a)"


def nothing_added(statement: Accumulate) -> str:
    """The result over no elements."""
    dtype = statement.value.dtype
    return f"{element(dtype)}x1({number(COMBINERS[statement.kind].empty(dtype))})"


def counter_of(statement: Accumulate) -> Counter:
    """The counter of a row's blocks."""
    pushed = f"{statement.name}_n" if statement.blocks else "blocks"
    return Counter(COMBINERS[statement.kind], f"{statement.name}_s", pushed, 1, 1)


def needed(statement: Statement) -> tuple[Expr, ...]:
    """What is computed of a statement for every vector: of a position only whether it is one."""
    if isinstance(statement, Accumulate) and is_found(statement):
        return statement.value.args[::2]
    return roots(statement)


def write_lane_step(scope: Scope, statement: Accumulate, row: tuple[str, str]) -> None:
    """Fold one vector of values into the accumulator lanes of a row, or push each of them.

    ``row``: where its loop begins and ends, as source.
    """
    scope.emit(needed(statement))
    if is_found(statement):
        holds, _, other = statement.value.args
        if scope.is_vector(holds) and not scope.is_vector(other):
            _write_found(scope, statement, row)
            return
    scope.emit(roots(statement))
    _write_joined(scope, statement, scope.vector(statement.value), scope.body)


def _write_found(scope: Scope, statement: Accumulate, row: tuple[str, str]) -> None:
    """Join positions where some lane has one, and in the first vector, for what stands for none.

    Where that lies among the positions, or on their other side, all lanes count.
    """
    holds, _, other = statement.value.args
    name, at, (start, stop), each = statement.name, scope.position(VECTOR), row, Lines()
    scope.body.add(f"{name}_f = select_mask({scope.mask}, {scope.vector(holds)}, False)")
    value = f"select({name}_f, iota{scope.lanes}({at}), {scope.vector(other)})"
    _write_joined(scope, statement, value, each)
    none, hits = f"word({scope.one(other)})", f"word(cast_i64(hor({name}_f)))"
    counts = f"{none} > {start}"
    if is_first(statement):
        counts = f"{none} < {stop}"
        each.add(f"{name}_d = 0 if {counts} else {hits}")
    scope.body.add(f"if {hits} != 0 or {at} == {start} or {counts}:")
    scope.body.extend(each, 1)


def _write_joined(scope: Scope, statement: Accumulate, value: str, out: Lines) -> None:
    combiner, name = COMBINERS[statement.kind], statement.name
    neutral = number(combiner.identity(statement.value.dtype))
    out.add(f"{name}_v = select_mask({scope.mask}, {value}, {neutral})")
    if statement.blocks:
        _write_pushes(scope, statement)
        return
    parts = [write_key(out, f"{name}_v", statement)]
    if _width(statement, scope.lanes) < scope.lanes:
        parts = [f"low({parts[0]})", f"high({parts[0]})"]
    for part in parts:
        out.add(f"{name}_a = {combine(combiner, f'{name}_a', part)}")


def _write_pushes(scope: Scope, statement: Accumulate) -> None:
    """Add the lanes of a vector to the counter, as many as it has: behind the end they are neutral,
    which changes no bit."""
    name, each = statement.name, Lines()
    each.add(f"{name}_b = load1({name}_l, {name}_k)")
    write_push(each, {f"{name}_b": counter_of(statement)})
    each.add(f"{name}_n = {name}_n + 1")
    scope.body.add(f"store{scope.lanes}({name}_l, 0, {name}_v)")
    scope.body.add(f"for {name}_k in range(0, {scope.lanes}):")
    scope.body.extend(each, 1)
