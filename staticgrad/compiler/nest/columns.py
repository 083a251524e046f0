"""Reductions across rows (sums of columns): beside other stages, or as a separate stage.

A sum along a row ends with the lanes of one accumulator added to each other. A sum of columns, over
the rows of a matrix, does not: each lane is the accumulator of one column, and a row of the matrix
is added at a time::

    s = sum(x, axis=0)     ->     for each vector of columns j:
                                      s[j..] = 0
                                      for each row i:
                                          s[j..] += x[i, j..]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.directives import ACROSS, HELD, work
from staticgrad.compiler.nest.records import (
    Name,
    Offset,
    PerCopy,
    UnsupportedError,
    Word,
    copies_of,
    pick,
    place_at,
)
from staticgrad.compiler.nest.sums import (
    LEVELS,
    WIDEST_BITS,
    RowSums,
    in_blocks,
    is_by_key,
    key_dtype,
    levels_at,
)
from staticgrad.compiler.nest.transposed import LoadedTiles
from staticgrad.compiler.nest.values import Values, operation, stored_operands
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import BLOCKS, Access, postorder
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.directives import Interleave
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.legality import may_be_mixed
from staticgrad.language.ir.kernels.stages import (
    LANES,
    Accumulate,
    ColumnAccumulate,
    Columns,
    Extent,
    Map,
    roots,
    small,
)
from staticgrad.language.ir.kernels.width import loads_across
from staticgrad.language.ir.summation import (
    BLOCK,
    COLUMN_BLOCK,
    GROUPS,
    SHORTEST_GROUP,
    lanes as sum_lanes,
)

#: Vectors of columns that go through rows together: of lane rules, whose accumulators are to stay
#: in L1; of simple reductions, and of lane rules over more than L2, which read long runs of rows.
_SIDE_BY_SIDE: Final = 16
_RUN: Final = 64
#: Rows that are added at a time, of one accumulator of a lane rule, and of a column rule.
_OF_A_LANE: Final = 4
_ROWS_TOGETHER: Final = 8
#: Operations beyond which rows are added one by one; of a simple reduction, at most.
_WAITING: Final = 16
_FEW: Final = 10
_COLUMN_LEVELS: Final = 24
#: Bits of the narrowest vector of columns.
_NARROWEST_BITS: Final = 128


class ColumnSums:
    """The reductions of columns of a kernel."""

    def __init__(self, nest: NestWriter, sums: RowSums) -> None:
        self.nest, self.sums = nest, sums
        #: By scratch the accumulators that are variables instead, one for each vector of a row.
        self.accumulators_by_scratch: dict[str, list[Name]] = {}

    def groups(self, begin: Any, end: Any) -> None:
        """Write the loop over groups of rows, whose columns are summed by the column rule."""
        k, b, lanes = self.nest.kernel, self.nest.b, self.nest.kernel.lanes
        rows = k.axes[len(k.axes) - k.grouped :]
        outer_axes = k.axes[: len(k.axes) - k.grouped]
        total = self.nest.positions(rows)
        height = self.height(total)
        groups = (total + (height - 1)) // height if outer_axes else None
        columns: dict[Extent, list[ColumnAccumulate]] = {}
        too_long = set[Extent]()  # rows with a sum whose vectors are not written out
        for stage in k.stages:
            if isinstance(stage, Map):
                for s in stage.body:
                    if isinstance(s, ColumnAccumulate):
                        columns.setdefault(stage.axis.extent, []).append(s)
                        if not self.nest.is_written_out(stage):
                            too_long.add(stage.axis.extent)
        widths = {
            extent: (self.nest.number(extent) + (lanes - 1)) // lanes * lanes for extent in columns
        }
        scratch = frozenset(s.scratch for accumulates in columns.values() for s in accumulates)
        written = stored_operands(k.stages) | scratch
        written |= {s.partials for accumulates in columns.values() for s in accumulates}
        with b.loop(begin, end, 1, written, "g") as group:
            number: Any = group
            if groups is not None:
                number = group % groups
                self.nest.decode(outer_axes, group // groups)
            first = number * height
            last = b.least(first + height, total)
            pushed = b.variable("n", "copy", 0)
            with b.loop(first, last, COLUMN_BLOCK, written, "k") as block:
                past = b.least(block + COLUMN_BLOCK, last)
                for extent, sums in columns.items():
                    if extent not in too_long:
                        count = -(-self.nest.facts_of(extent).most // lanes)
                        for s in sums:
                            kind = f"{element(s.value.dtype)}x{lanes}"
                            neutral = COMBINERS[s.kind].identity(s.value.dtype)
                            accumulators = [b.variable("a", kind, neutral) for _ in range(count)]
                            self.accumulators_by_scratch[s.scratch] = accumulators
                        continue
                    with b.loop(0, self.nest.number(extent), lanes, scratch, "j") as j:
                        for s in sums:
                            neutral = self.neutral(s, lanes)
                            at = b.pointer(self.nest.pointer(s.scratch), Offset(((j, 1),)))
                            b.do(f"store{lanes}", *at, neutral, stores=s.scratch)
                self.nest.rows(rows, block, past)
                final = b.op("choose_eq", past, last, 1, 0) if columns else 0
                for extent, sums in columns.items():
                    self.push_columns(extent, sums, widths[extent], group, pushed, final)
                b.assign(pushed, "add", pushed, 1)

    def push_columns(
        self, extent: Extent, sums: Sequence[Any], width: Any, group: Any, pushed: Any, final: Any
    ) -> None:
        """Push column sums of a block of rows; with the last block, store those of the group."""
        b, lanes, stop = self.nest.b, self.nest.kernel.lanes, self.nest.number(extent)

        def push(vectors: Sequence[tuple[Any, Name, Word]]) -> None:
            """Push vectors of column sums to their counters, and store the final ones."""
            terms = [
                (s.kind, vector, self.nest.pointer(s.scratch), lanes, partial(self.level, width, j))
                for s, vector, j in vectors
            ]
            self.sums.push(terms, pushed, final)
            with b.branch("eq", final, 1):
                for s, vector, j in vectors:
                    at = b.pointer(self.nest.pointer(s.partials), place_at((group, stop), (j, 1)))
                    b.do("store", *at, vector, b.op(f"mask{lanes}", stop - j), stores=s.partials)

        if all(s.scratch in self.accumulators_by_scratch for s in sums):
            push(
                [
                    (s, vector, n * lanes)
                    for s in sums
                    for n, vector in enumerate(self.accumulators_by_scratch[s.scratch])
                ]
            )
            return
        written = frozenset(x for s in sums for x in (s.scratch, s.partials))
        with b.loop(0, stop, lanes, written, "j") as j:
            vectors = []
            for s in sums:
                at = b.pointer(self.nest.pointer(s.scratch), Offset(((j, 1),)))
                vectors.append((s, b.variable("x", f"load{lanes}", *at), j))
            push(vectors)

    @staticmethod
    def level(width: Word, j: Word, level: Name) -> Offset:
        """The place of a level of the counters of some columns, behind their accumulators."""
        return place_at((level, width), (width, 1), (j, 1))

    def column(self, s: ColumnAccumulate, values: Values) -> None:
        """Add a vector of each row to the accumulators of its columns, row after row."""
        b, lanes = self.nest.b, self.nest.kernel.lanes
        value, combine = values.vec(s.value), operation(COMBINERS[s.kind].combine)
        index, accumulators = self.nest.index(LANES), self.accumulators_by_scratch.get(s.scratch)
        at = b.pointer(self.nest.pointer(s.scratch), self.nest.place_of(index))
        accumulator: Name | None = None
        if accumulators is not None:
            assert isinstance(index, int)
            grown = accumulator = accumulators[index // lanes]
        else:
            grown = b.load(s.scratch, f"load{lanes}", *at)
        for copy in range(values.copies):
            more = b.op(combine, grown, pick(value, copy))
            if copy and self.nest.on is not None:
                more = b.op("select_mask", self.nest.on[copy - 1], more, grown)
            grown = more
        if accumulator is not None:
            b.assign(accumulator, "copy", grown)
        else:
            b.do(f"store{lanes}", *at, grown, stores=s.scratch)

    def height(self, rows: Any) -> Any:
        """Rows of a group."""
        rows_per_group = (rows + (GROUPS - 1)) // GROUPS
        return self.nest.b.op(
            "choose_lt", rows_per_group, SHORTEST_GROUP, SHORTEST_GROUP, rows_per_group
        )

    def neutral(self, s: Accumulate | ColumnAccumulate, lanes: int) -> Any:
        """A vector of what changes no result."""
        dtype = s.value.dtype
        return self.nest.b.op(f"{element(dtype)}x{lanes}", COMBINERS[s.kind].identity(dtype))

    def write(self, stage: Columns, start: Any, stop: Any) -> None:
        """Write a reduction over rows: vectors of columns, each down all rows, then the stores."""
        if self.nest.copies > 1:
            raise UnsupportedError("columns of rows side by side")
        in_registers = self.held_vectors(stage)
        if stage.in_lanes or (not in_registers and self.is_read_by_rows(stage)):
            self.by_rows(stage, start, stop)
            return
        b, stop = (
            self.nest.b,
            self.nest.not_before(start, stop, self.nest.facts_of(stage.axis.extent)),
        )
        lanes, mixed = self.nest.kernel.lanes, may_be_mixed([*stage.body, *stage.stores])
        count = self.nest.directive_value(Interleave, "factor", 1, stage, "j") if mixed else 1
        if not small(stage.rows) and self.tiles_of(stage) is not None:
            count = 1
        total = self.nest.positions(stage.rows)
        written = frozenset(s.access.operand for s in stage.stores)

        def body(values: Values) -> None:
            """Reduce vectors of columns down all rows, and store the results."""
            for sums in self.passes(stage):
                if small(stage.rows):
                    self.nest.refs |= self.unroll_rows(stage, sums, values)
                elif in_blocks(sums[0]):
                    self.nest.refs |= self.sum_down_rows(stage, sums, total, values)
                else:
                    self.nest.refs |= self.extremes(stage, sums, total, values)
            self.nest.vector_refs |= {s.name for s in stage.body}
            for store in stage.stores:
                store_values = Values(self.nest, values.lanes, True, values.offsets, values.mask)
                store_values.store(store)

        def all_in_one_pass(index: Word, lanes: int, vectors: int, columns: Word) -> None:
            """Write vectors of columns that go down all rows together; none follows them."""
            self.nest.at[LANES] = index
            offsets = tuple(range(0, vectors * lanes, lanes))
            left = [columns - offset for offset in offsets]
            left = [min(count, lanes) if type(count) is int else count for count in left]
            masks = PerCopy(b.op(f"mask{lanes}", count) for count in left)
            body(Values(self.nest, lanes, True, offsets, masks))

        facts = self.nest.facts_of(stage.axis.extent)
        if in_registers:
            with b.branch("eq", stop - start, facts.most):
                all_in_one_pass(start, *in_registers, facts.most)
            with b.otherwise():
                self.nest.vectors(start, stop, lanes, 1, Known(""), True, written, body)
            return
        vectors = -(-facts.most // lanes)
        if not (facts.fixed and 1 < vectors <= count and facts.most < count * lanes):
            self.nest.vectors(start, stop, lanes, count, Known(""), False, written, body)
            return
        with b.loop(start, stop, vectors * lanes, written, "j") as index:
            all_in_one_pass(index, lanes, vectors, stop - index)

    def held_vectors(self, stage: Columns) -> tuple[int, int] | None:
        """Return the lanes and the count of the vectors of all columns, if they are read by rows
        and their accumulators stay in registers.

        A row that is narrower than a vector has as few lanes as hold it: memory gives no more.
        """
        facts, machine = self.nest.facts_of(stage.axis.extent), self.nest.machine
        if stage.in_lanes or not (facts.fixed and facts.most and self.is_read_by_rows(stage)):
            return None
        registers = HELD if machine.has_mask_registers else HELD // 2
        lanes, bits = self.nest.kernel.lanes, key_dtype(stage.body[0]).bits
        vectors = -(-facts.most // lanes)
        if vectors > ACROSS[0] or vectors * lanes * bits > registers * machine.vector_bits:
            return None
        while lanes // 2 >= facts.most and lanes * bits > _NARROWEST_BITS:
            lanes //= 2
        return lanes, vectors

    def passes(self, stage: Columns) -> list[Sequence[Accumulate]]:
        """Yield the column reductions that share a pass over rows: as many as registers hold."""
        if small(stage.rows):
            return [stage.body]
        trees = [s for s in stage.body if in_blocks(s)]
        most = HELD * self.nest.machine.vector_bits // (2 * WIDEST_BITS)  # two vectors of each
        count = -(-len(trees) // most)
        others = [(s,) for s in stage.body if not in_blocks(s)]
        return [*others, *(trees[n::count] for n in range(count))]

    def unroll_rows(
        self, stage: Columns, sums: Sequence[Accumulate], values: Values
    ) -> dict[str, Any]:
        """Reduce columns over a few rows, unrolled."""
        extents = [int(axis.extent) for axis in stage.rows]
        results: dict[str, Any] = {}
        for s in sums:
            dtype = s.value.dtype
            empty = COMBINERS[s.kind].empty(dtype)
            empty_vector = self.nest.b.op(f"{element(dtype)}x{values.lanes}", empty)
            results[s.name] = self.neutral(s, values.lanes) if prod(extents) else empty_vector
        for places in np.ndindex(*extents):
            for axis, place in zip(stage.rows, places, strict=True):
                self.nest.at[axis.name] = int(place)
            row = Values(self.nest, values.lanes, True, values.offsets, values.mask)
            for s in sums:
                combine = operation(COMBINERS[s.kind].combine)
                results[s.name] = self.nest.b.op(combine, results[s.name], row.vec(s.value))
        return results

    def extremes(
        self, stage: Columns, sums: Sequence[Accumulate], total: Any, values: Values
    ) -> dict[str, Any]:
        """Reduce columns to maxima or minima, whose bits do not depend on the order of rows."""
        b, lanes, count = self.nest.b, values.lanes, values.copies
        accumulators: dict[str, Any] = {}
        for s in sums:
            kind = f"{element(key_dtype(s))}x{lanes}", self.sums.neutral_key(s)
            accumulators[s.name] = copies_of(b.variable("a", *kind) for _ in range(count))
        tiles = self.tiles_of(stage)
        with b.loop(0, total, COLUMN_BLOCK, prefix="k") as block:
            past = b.least(block + COLUMN_BLOCK, total)
            for row_values in self.rows_of_block(stage, values, tiles, block, past):
                for s in sums:
                    value = self.sums.key(s, row_values.vec(s.value))
                    accumulator = accumulators[s.name]
                    b.assign(accumulator, operation(COMBINERS[s.kind].combine), accumulator, value)
        return {s.name: self.sums.from_key(s, accumulators[s.name]) for s in sums}

    def rows_of_block(
        self, stage: Columns, values: Values, tiles: LoadedTiles | None, block: Any, past: Any
    ) -> Iterator[Values]:
        """Write the loop over a block's rows for column sums; yield the values of a row, once."""
        b, lanes = self.nest.b, values.lanes
        if tiles is not None:
            self.nest.at[stage.rows[0].name] = block
            width = lanes if values.left is None else values.left
            tiles.load(self.nest, width, past - block)
        with b.loop(block, past, prefix="r") as row:
            self.nest.decode(stage.rows, row)
            row_values = Values(self.nest, lanes, True, values.offsets, values.mask)
            if tiles is not None:
                row_values.runs = dict.fromkeys(tiles.loads, row - block)
                row_values.load_run = tiles.read
            yield row_values

    def tiles_of(self, stage: Columns) -> LoadedTiles | None:
        """The loads that are contiguous from row to row, whose blocks are transposed."""
        if len(stage.rows) > 1 or len(stage.body) > 1:
            return None
        row = stage.rows[0].name
        loads = tuple(loads_across(roots(stage.body[0]), row, LANES))
        return LoadedTiles.of(self.nest, loads, COLUMN_BLOCK) if loads else None

    def sum_down_rows(
        self, stage: Columns, sums: Sequence[Accumulate], total: Any, values: Values
    ) -> dict[str, Any]:
        """Sum columns over all rows by the column rule: groups in order, blocks in a counter."""
        b, lanes, count = self.nest.b, values.lanes, values.copies
        height = self.height(total)

        def begin(s: Accumulate, prefix: str, value: Any) -> Any:
            kind = f"{element(s.value.dtype)}x{lanes}"
            return copies_of(b.variable(prefix, kind, value) for _ in range(count))

        results = {s.name: begin(s, "r", COMBINERS[s.kind].empty(s.value.dtype)) for s in sums}
        stacks = {
            s.name: copies_of(
                b.local(element(s.value.dtype), _COLUMN_LEVELS * lanes) for _ in range(count)
            )
            for s in sums
        }
        tiles = self.tiles_of(stage)
        with b.loop(0, total, height, prefix="g") as first:
            last = b.least(first + height, total)
            pushed = b.variable("n", "copy", 0)
            accumulators = {
                s.name: begin(s, "a", COMBINERS[s.kind].identity(s.value.dtype)) for s in sums
            }
            with b.loop(first, last, COLUMN_BLOCK, prefix="k") as block:
                past = b.least(block + COLUMN_BLOCK, last)
                for s in sums:
                    identity = COMBINERS[s.kind].identity(s.value.dtype)
                    b.assign(accumulators[s.name], f"{element(s.value.dtype)}x{lanes}", identity)
                for row_values in self.rows_of_block(stage, values, tiles, block, past):
                    for s in sums:
                        accumulator = accumulators[s.name]
                        b.assign(
                            accumulator,
                            operation(COMBINERS[s.kind].combine),
                            accumulator,
                            row_values.vec(s.value),
                        )
                final = b.op("choose_eq", past, last, 1, 0)
                terms = [
                    (
                        s.kind,
                        accumulators[s.name],
                        stacks[s.name],
                        lanes,
                        partial(levels_at, step=lanes),
                    )
                    for s in sums
                ]
                self.sums.push(terms, pushed, final)
                b.assign(pushed, "add", pushed, 1)
            is_first = b.op(f"mask{lanes}", b.op("choose_eq", first, 0, lanes, 0))
            for s in sums:
                joined = b.op(
                    operation(COMBINERS[s.kind].combine), results[s.name], accumulators[s.name]
                )
                b.assign(results[s.name], "select_mask", is_first, accumulators[s.name], joined)
        return results

    def is_read_by_rows(self, stage: Columns) -> bool:
        """Return True if column sums read rows whole: one reduction of loads, few operations."""
        if len(stage.body) > 1 or small(stage.rows) or not may_be_mixed(stage.body):
            return False
        exprs = [*postorder(roots(stage.body[0]))]
        loads = [e.attribute for e in exprs if isinstance(e.attribute, Access)]
        if len(exprs) > _FEW or any(e.op in BLOCKS for e in exprs) or not loads:
            return False
        return all(a.stride(LANES) == 1 and not (a.gather or a.bounded_positions) for a in loads)

    def by_rows(self, stage: Columns, start: Any, stop: Any) -> None:
        """Reduce chunks of columns row after row, with the accumulators in local memory.

        A row that lies across memory has the lane rule: row r of a block goes to the accumulator
        r modulo their number. Else groups and blocks of rows follow the column rule.
        """
        b, lanes = self.nest.b, self.nest.kernel.lanes
        total = self.nest.positions(stage.rows)
        by_parts: dict[int, list[Accumulate]] = {}
        for s in stage.body:
            parts = sum_lanes(s.value.dtype) if stage.in_lanes else 1
            by_parts.setdefault(parts, []).append(s)
        is_alone = len(stage.body) == 1 and len(self.nest.kernel.stages) == 1
        most = (_RUN if is_alone or not stage.in_lanes else _SIDE_BY_SIDE) * lanes
        width: Any = most
        if stage.in_lanes and is_alone:
            size = total * self.nest.number(stage.axis.extent)
            large = 2 * self.nest.machine.l2 // stage.body[0].value.dtype.itemsize
            width = b.op("choose_gt", size, large, most, _SIDE_BY_SIDE * lanes)
        written = frozenset(s.access.operand for s in stage.stores)
        results = {s.name: b.local(element(key_dtype(s)), most) for s in stage.body}
        rooms = {
            s.name: (
                b.local(element(key_dtype(s)), parts * most),
                b.local(element(key_dtype(s)), LEVELS * most),
            )
            for parts, sums in by_parts.items()
            for s in sums
        }
        with b.loop(start, stop, width, written, "h") as chunk:
            past = b.least(chunk + width, stop)

            def place(
                j: Word, step: int = 1, *more: tuple[Word, Word], chunk: Name = chunk
            ) -> Offset:
                return place_at((j, step), (chunk, -step), *more)

            with b.loop(chunk, past, lanes, prefix="j") as j:
                for s in stage.body:
                    at = b.pointer(results[s.name], place(j))
                    b.do(f"store{lanes}", *at, self.begins(s, COMBINERS[s.kind].empty))
            for parts, sums in by_parts.items():
                height = total if parts > 1 else self.height(total)
                with b.loop(0, total, height, prefix="g") as first:
                    last = b.least(first + height, total)
                    self.group_by_rows(
                        stage, sums, parts, (chunk, past), (first, last), most, rooms, results
                    )

            def body(values: Values) -> None:
                """Store the reduced columns of a chunk."""
                j = self.nest.index(LANES)
                for s in stage.body:
                    at = b.pointer(results[s.name], place(j))
                    key = b.variable("x", f"load{lanes}", *at)
                    self.nest.refs[s.name] = self.sums.from_key(s, key)
                    self.nest.vector_refs.add(s.name)
                for store in stage.stores:
                    values.store(store)

            self.nest.vectors(chunk, past, lanes, 1, Known(""), False, written, body)

    def begins(self, s: Accumulate, of: Any) -> Any:
        """A vector of an identity, or of the result over no elements, or of its key."""
        value = self.sums.neutral_key(s) if is_by_key(s) else of(s.value.dtype)
        return self.nest.b.op(f"{element(key_dtype(s))}x{self.nest.kernel.lanes}", value)

    def group_by_rows(
        self,
        stage: Columns,
        sums: Sequence[Accumulate],
        parts: int,
        columns: tuple[Any, Any],
        rows: tuple[Any, Any],
        most: int,
        rooms: Mapping[str, tuple[Name, Name]],
        results: Mapping[str, Name],
    ) -> None:
        """Sum a group of rows into column accumulators: its blocks, each pushed to a counter."""
        b, lanes, (chunk, past), (first, last) = self.nest.b, self.nest.kernel.lanes, columns, rows
        together = _OF_A_LANE if parts > 1 else _ROWS_TOGETHER
        exprs = [*postorder([s.value for s in sums])]
        if len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS) > _WAITING:
            together = 1
        pushed = b.variable("n", "copy", 0)

        def add(numbers: Any, copies: int, lane: Any) -> None:
            """Add some rows, interleaved, to the column accumulators of one lane."""
            self.nest.copies = copies
            self.nest.decode(stage.rows, numbers)

            def body(values: Values) -> None:
                """Add interleaved rows to their column accumulators in local memory."""
                j = self.nest.index(LANES)
                for s in sums:
                    combine = operation(COMBINERS[s.kind].combine)
                    value = self.sums.key(s, values.vec(s.value))
                    room = place_at((j, parts), (chunk, -parts), (lane, 1))
                    at = b.pointer(rooms[s.name][0], room)
                    grown: Any = b.variable("x", f"load{lanes}", *at)
                    for copy in range(copies):
                        b.assign(grown, combine, grown, pick(value, copy))
                    b.do(f"store{lanes}", *at, grown)

            self.nest.vectors(chunk, past, lanes, 1, Known(""), False, frozenset(), body)
            self.nest.copies = 1

        with b.loop(first, last, BLOCK if parts > 1 else COLUMN_BLOCK, prefix="k") as block:
            end = b.least(block + (BLOCK if parts > 1 else COLUMN_BLOCK), last)
            used = (past - chunk + (lanes - 1)) // lanes * lanes
            with b.loop(0, used * parts, lanes, prefix="i") as at:
                for s in sums:
                    neutral = self.begins(s, COMBINERS[s.kind].identity)
                    b.do(f"store{lanes}", rooms[s.name][0], Offset(((at, 1),)), neutral)
            interleaved_end: Word = block
            if together > 1:
                step = parts * together
                interleaved_end = block + (end - block) // step * step
                loops = (
                    b.loop(block, interleaved_end, step, prefix="r"),
                    b.loop(0, parts, prefix="r"),
                )
                with loops[0] as around, loops[1] as part:
                    row = around + part
                    more = [row + parts * n for n in range(1, together)]
                    add(PerCopy((row, *more)), together, part * lanes)
            with b.loop(interleaved_end, end, prefix="r") as row:
                lane = (row - block) % parts
                add(row, 1, lane * lanes)
            final = b.op("choose_eq", end, last, 1, 0)
            with b.loop(chunk, past, lanes, prefix="j") as j:
                terms = []
                for s in sums:
                    accumulator = self.combine_by_halving(s, rooms[s.name][0], parts, j, chunk)

                    def level_at(level: Name, j: Name = j) -> Offset:
                        return Offset(((level, most), (j, 1), (chunk, -1)))

                    terms.append((s.kind, accumulator, rooms[s.name][1], lanes, level_at))
                self.sums.push(terms, pushed, final)
                with b.branch("eq", final, 1):
                    for s, (_, accumulator, *_) in zip(sums, terms, strict=True):
                        into = b.pointer(results[s.name], Offset(((j, 1), (chunk, -1))))
                        with b.branch("gt", first, 0):
                            older = b.variable("x", f"load{lanes}", *into)
                            b.assign(
                                accumulator,
                                operation(COMBINERS[s.kind].combine),
                                older,
                                accumulator,
                            )
                        b.do(f"store{lanes}", *into, accumulator)
            b.assign(pushed, "add", pushed, 1)

    def combine_by_halving(
        self, s: Accumulate, room: Name, parts: int, j: Name, chunk: Name
    ) -> Name:
        """Combine the lane accumulators of a block's columns pairwise, in a tree."""
        b, lanes = self.nest.b, self.nest.kernel.lanes
        place = Offset(((j, parts), (chunk, -parts)))
        pointer, offset = b.pointer(room, place)
        accumulators = [
            b.variable("x", f"load{lanes}", pointer, Offset(offset.terms, part * lanes))
            for part in range(parts)
        ]
        combine, half = operation(COMBINERS[s.kind].combine), parts // 2
        while half:
            for part in range(half):
                b.assign(accumulators[part], combine, accumulators[part], accumulators[part + half])
            half //= 2
        total: Name = accumulators[0]
        return total
