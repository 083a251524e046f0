"""Kernels to nests: stages become loops, under directives that say how the loops run.

Sums follow ``ir/summation.py`` to the bit: lanes inside of a block, blocks joined by a binary
counter, groups of rows in their order.

``y = 2 * x + 1`` on a machine with vectors of 16 floats, without prefetches::

    kernel(p0: in f32, p1: out f32; n0) {      def kernel(t, own, begin, end):
      map j: n0 {                                  ...
        %0: f32 = load p0[j]                       for j6 in range(begin, v5, 16):
        %1: f32 = mul %0, f32(2.0)         ->          v7 = load16(p0, j6)
        %2: f32 = add %1, f32(1.0)                     v8 = v7 * 2.0
        store p1[j] = %2                               v9 = v8 + 1.0
      }                                                store16(p1, j6, v9)
    }                                              if v5 < end:  # the same under a mask
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack, nullcontext
from functools import partial
from itertools import groupby
from typing import Final

from staticgrad.compiler.nest.block_functions import element
from staticgrad.compiler.nest.columns import ColumnSums
from staticgrad.compiler.nest.directives import defaults, work
from staticgrad.compiler.nest.interior import Interior, interior
from staticgrad.compiler.nest.products.looped import write_product
from staticgrad.compiler.nest.products.methods import write_gemm
from staticgrad.compiler.nest.records import (
    Apply,
    Block,
    Function,
    If,
    Let,
    Name,
    Nest,
    Offset,
    PerCopy,
    UnsupportedError,
    Value,
    Word,
    Words,
    copies_of,
    pick,
    words_of,
)
from staticgrad.compiler.nest.runs import load_run, store_at_last
from staticgrad.compiler.nest.sorting import Sorting
from staticgrad.compiler.nest.sums import RowSums
from staticgrad.compiler.nest.transposed import TransposedRows
from staticgrad.compiler.nest.values import Values, stored_operands
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import BLOCKS, LEAVES, Access, postorder
from staticgrad.language.ir.kernels.directives import (
    Directives,
    Interleave,
    Prefetch,
    Strips,
    Vector,
    whole_vectors,
)
from staticgrad.language.ir.kernels.interleaving import runs_of
from staticgrad.language.ir.kernels.kernel import LANE_VECTORS, Kernel
from staticgrad.language.ir.kernels.known import Known
from staticgrad.language.ir.kernels.legality import half_registers, may_be_mixed, with_directives
from staticgrad.language.ir.kernels.stages import (
    LANES,
    Accumulate,
    Axis,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Gemm,
    Keep,
    Loop,
    Map,
    Scalar,
    Search,
    Sort,
    Stage,
    Statement,
    Store,
    is_found,
    may_leave,
    nested_stages,
    roots,
    statements,
)
from staticgrad.language.ir.summation import COLUMN_BLOCK
from staticgrad.native.machine import Machine
from staticgrad.support.records import replace

PARAMETERS: Final = ("t", "own", "begin", "end")
#: Rows of so many times a prefetch's distance are fetched along themselves, others row by row.
_LONG: Final = 8
#: Expressions of a stored value from which on such values are computed in turn.
_LONG_VALUES: Final = 16
#: Operations of a body that is written for vectors inside of ends, too, at most.
_LONGEST: Final = 160
#: Operations of all vectors of a row that are written one after the other, at most.
_WRITTEN_OUT: Final = 64
#: Operations of vectors of rows side by side, at most.
_LANES_ROOM: Final = 500


def lower(kernel: Kernel, machine: Machine, directives: Directives | None = None) -> Nest:
    """Lower a kernel to a loop nest under directives; None: the defaults.

    Raises:
        UnsupportedError: no nest can be made of this kernel.
        IllegalDirectiveError: a directive is not legal.
    """
    if directives is None:
        return KernelLowering(kernel, machine, defaults(kernel, machine)).nest()
    return KernelLowering(with_directives(kernel, directives), machine, directives).nest()


class KernelLowering(NestWriter):
    """The loops of one kernel's stages, on their way to a nest."""

    def __init__(self, kernel: Kernel, machine: Machine, directives: Directives) -> None:
        super().__init__(kernel, machine, directives)
        self.sums = RowSums(self)
        self.column_sums = ColumnSums(self, self.sums)
        self.in_strips = Strips() in directives
        self.addresses: dict[str, Name] = {}

    def nest(self) -> Nest:
        """Write the loop nest of the whole kernel: arguments, outer loops and stages."""
        k, b = self.kernel, self.b
        t, private_table, begin, end = parameters = tuple(
            [Name(n, 0, builder=b) for n in PARAMETERS]
        )
        self.table = t
        b.reserved |= {*PARAMETERS, *k.arguments, *(o.name for o in k.operands)}
        shared = private = 0
        for o in k.operands:
            source, number = (private_table, private) if o.is_own else (t, shared)
            private, shared = private + o.is_own, shared + (not o.is_own)
            word = b.op("getitem", source, number)
            self.addresses[o.name] = word
            self.pointers[o.name] = b.define(o.name, f"ptr_{element(o.dtype)}", word)
        for number, argument in enumerate(k.arguments):
            fact = self.facts.get(argument)
            if fact is not None and fact.fixed:
                self.words[argument] = fact.most
            else:
                self.words[argument] = b.define(argument, "getitem", t, shared + number)
        if k.outer == "elements":
            (stage,) = k.stages
            self.stage(stage, begin, end)
        elif k.outer == "groups":
            self.column_sums.groups(begin, end)
        elif k.outer == "lanes":
            self.write_rows_as_lanes(begin, end)
        elif k.outer == "squares":
            TransposedRows(self).write(begin, end)
        elif k.outer == "tiles" and isinstance(k.stages[0], Gemm) and k.stages[0].plain:
            write_gemm(self, k.stages[0], begin, end)
        elif k.outer == "tiles":
            with b.loop(begin, end, 1, stored_operands(k.stages), "o") as turn:
                self.at["o"] = turn
                self.stage(k.stages[0])
        else:
            self.rows(k.axes, begin, end)
        if self.streamed:
            b.do("settle")
        body = tuple(b.blocks[0].out)
        if k.outer != "tiles":
            body = _with_loads_guarded(body, Apply("lt", (begin, end)))
        return Nest(Function("kernel", parameters, body), self.functions)

    # -- rows

    def rows(self, axes: Sequence[Axis], start: Word, stop: Word) -> None:
        """All stages, for the rows along ``axes`` from one number to another."""
        if self.in_strips:
            self.strips(axes[0], start, stop)
        else:
            self.some_rows(axes, start, stop, self.kernel.stages)

    def some_rows(
        self,
        axes: Sequence[Axis],
        start: Word,
        stop: Word,
        stages: Sequence[Stage],
        prologue: Callable[[Words], None] = lambda numbers: None,
        epilogue: Callable[[Words], None] = lambda numbers: None,
        together: int = 0,
    ) -> None:
        """Write stages for all rows along ``axes``, between a prologue and an epilogue per row.

        ``together``: the rows that run at a time, of which there is a multiple; 0: as directed.
        """
        k = self.kernel
        count = together or self.directive_value(Interleave, "factor", 1, axis="o")
        sizes = {name: self.elements_per_row(name) for name in k.own_rows} if count > 1 else {}

        def inside(numbers: Words, copies: int) -> None:
            """Write the stages of one row, or of several interleaved copies."""
            pointers, words = self.pointers, self.words
            if copies > 1:
                shared = {name: self.pointer(name) for name in sizes}
                self.pointers = pointers | {
                    name: PerCopy(self.shift_pointer(shared[name], size, n) for n in range(copies))
                    for name, size in sizes.items()
                }
            self.decode(axes, numbers)
            self.at["o"] = numbers
            self.turn = None if copies > 1 or isinstance(numbers, PerCopy) else (numbers, stop)
            prologue(numbers)
            for stage in k.stages:
                if any(stage is selected for selected in stages):
                    self.stage(stage)
            epilogue(numbers)
            self.pointers, self.words = pointers, words

        self.unroll_and_jam(start, stop, count, stages, inside, together > 0)

    def unroll_and_jam(
        self,
        start: Word,
        stop: Word,
        count: int,
        stages: Sequence[Stage],
        inside: Callable[[Words, int], None],
        no_remainder: bool = False,
    ) -> None:
        """Write a loop of which ``count`` iterations are interleaved (unroll-and-jam).

        Where that changes nothing, the last iteration runs again to fill them; else a remainder
        loop runs the others one by one (``no_remainder``: the count is a multiple).
        """
        b, every = self.b, [s for stage, _ in nested_stages(stages) for s in statements(stage)]
        columns = any(isinstance(s, ColumnAccumulate) for s in every)
        adds = any(isinstance(s, Store) and s.combine for s in every)
        written, outer, on = stored_operands(stages), self.copies, self.on
        checks = any(isinstance(s, Check) for s in every)
        if no_remainder:
            parts: list[tuple[Word, Word, int, Word | None]] = [(start, stop, count, None)]
        elif count > 1 and (adds or checks or (columns and not self.machine.has_mask_registers)):
            middle = start + (stop - start) // count * count
            parts = [(start, middle, count, None), (middle, stop, 1, None)]
        else:
            parts = [(start, stop, count, stop if count > 1 else None)]
        for first, end, copies, last in parts:
            with b.loop(first, end, copies, written, "o") as number:
                self.copies, self.on = max(copies, outer), None
                numbers: Words = number
                if copies > 1:
                    next_numbers = [number + n for n in range(1, copies)]
                    if last is not None:
                        final = last - 1
                        if columns:
                            lanes = self.kernel.lanes
                            counts = [
                                b.op("choose_lt", iteration, last, lanes, 0)
                                for iteration in next_numbers
                            ]
                            self.on = [b.op(f"mask{lanes}", lane_count) for lane_count in counts]
                        next_numbers = [
                            b.op("choose_lt", iteration, last, iteration, final)
                            for iteration in next_numbers
                        ]
                    numbers = PerCopy((number, *next_numbers))
                inside(numbers, copies)
            self.copies, self.on = outer, on

    def strips(self, row: Axis, start: Word, stop: Word) -> None:
        """Write rows in strips: vectors of rows run each stage before any of them runs the next.

        Stages of scalars are vectors along the rows. Numbers that other stages read lie in local
        memory meanwhile, one for each row. Short rows of a fixed length run in strips of several
        vectors, so that these need not wait for each other; others, and the last ones, in strips
        of one vector.
        """
        b, k, lanes = self.b, self.kernel, self.kernel.lanes
        runs = [[*run] for _, run in groupby(k.stages, key=lambda s: isinstance(s, Scalar))]
        exprs_by_name = {s.name: s.value for stages in runs for s in _results(stages)}
        passed = {
            name
            for n, stages in enumerate(runs)
            for name in _read(stages)
            if any(s.name == name for earlier in runs[:n] for s in _results(earlier))
        }
        together: int = self.directive_value(Interleave, "factor", 1, axis="o")
        maps = [s for s in k.stages if isinstance(s, Map)]
        parts: list[tuple[Word, Word, int]] = [(start, stop, 0)]
        if together > 1 and all(map(self.is_written_out, maps)):
            middle = start + (stop - start) // COLUMN_BLOCK * COLUMN_BLOCK
            parts = [(start, middle, COLUMN_BLOCK), (middle, stop, 0)]
        room = {
            name: b.local(element(exprs_by_name[name].dtype), max(lanes, parts[0][2]))
            for name in sorted(passed)
        }
        for first, end, strip_height in parts:
            with b.loop(first, end, strip_height or lanes, stored_operands(k.stages), "s") as strip:
                past = strip + strip_height if strip_height else b.least(strip + lanes, end)
                for stages in runs:
                    if not isinstance(stages[0], Scalar):
                        self.write_strip_rows(row, strip, past, stages, room, strip_height > 0)
                        continue
                    vectors = (
                        b.loop(strip, past, lanes, stored_operands(stages), "s")
                        if strip_height
                        else None
                    )
                    with vectors or nullcontext(strip) as number:
                        mask = None if strip_height else b.op(f"mask{lanes}", past - strip)
                        self.write_strip_scalars(row, number, strip, stages, room, mask)

    def write_strip_scalars(
        self,
        row: Axis,
        number: Name,
        strip: Name,
        stages: Sequence[Stage],
        room: dict[str, Name],
        mask: Name | None,
    ) -> None:
        """Write the per-row scalars of a strip as vectors, one row of the strip in each lane."""
        b, lanes, result_names = self.b, self.kernel.lanes, {s.name for s in _results(stages)}
        read = [name for name in room if name in _read(stages) and name not in result_names]
        offset = self.strip_offset(number, strip)
        self.at[row.name] = number
        for name in read:
            self.refs[name] = b.load("", f"load{lanes}", room[name], offset)
        self.vector_refs |= {*read, *result_names}
        for stage in stages:
            assert isinstance(stage, Scalar)
            self.scalar(stage, Values(self, lanes, True, mask=mask, axis=row.name))
        for name in room:
            if name in result_names:
                b.do(f"store{lanes}", room[name], offset, pick(self.refs[name], 0))
        self.vector_refs -= {*read, *result_names}

    def write_strip_rows(
        self,
        row: Axis,
        strip: Name,
        past: Word,
        stages: Sequence[Stage],
        room: dict[str, Name],
        is_full: bool,
    ) -> None:
        """Write the maps of a strip, row by row; ``is_full``: all rows of the strip exist."""
        b, lanes = self.b, self.kernel.lanes
        result_names = {s.name for s in _results(stages)}
        read = [name for name in room if name in _read(stages) and name not in result_names]
        is_joined = is_full and self.machine.has_mask_registers
        across = self.sums_across(stages) if is_joined else {}

        def place(number: Word) -> Offset:
            return self.place_of(number - strip)

        def load_scalars(numbers: Words) -> None:
            for name in read:
                places = map(place, words_of(numbers))
                loads = (b.load("", "load1", room[name], offset) for offset in places)
                self.refs[name] = copies_of(loads)

        def store_scalars(numbers: Words) -> None:
            """Store the row results that later stages of a strip read as vectors."""
            for name in room:
                if name in across:
                    vector = self.sums.join_across(across[name], self.refs[name])
                    first = place(words_of(numbers)[0])
                    b.do(f"store{lanes}", room[name], first, vector)
                elif name in result_names:
                    for copy, n in enumerate(words_of(numbers)):
                        b.do("store1", room[name], place(n), pick(self.refs[name], copy))

        together: int = self.directive_value(Interleave, "factor", 1, axis="o") if is_full else 0
        self.sums.across = frozenset(across)
        every = lanes if is_joined else together
        self.some_rows([row], strip, past, stages, load_scalars, store_scalars, every)
        self.sums.across = frozenset()

    def sums_across(self, stages: Sequence[Stage]) -> dict[str, Accumulate]:
        """Return the sums by name whose rows in a strip are reduced together in one tree.

        An accumulator of each row fills a register, and no stage reads the result of a row.
        """
        read = _read(stages)
        return {
            s.name: s
            for s in _results(stages)
            if isinstance(s, Accumulate)
            and s.name not in read
            and not s.blocks
            and self.sums.width(s) == self.kernel.lanes
            and self.kernel.lanes * s.value.dtype.bits == self.machine.vector_bits
        }

    def is_written_out(self, stage: Map) -> bool:
        """Return True if a map's vectors are unrolled: fixed row length and a short body."""
        facts = self.facts_of(stage.axis.extent)
        if not facts.fixed or stage.rows or stage.axis.limits or interior(stage):
            return False
        exprs = [*postorder([root for s in stage.body for root in roots(s)])]
        lines = len(stage.body) + len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        return lines * -(-facts.most // self.kernel.lanes) <= _WRITTEN_OUT

    def strip_offset(self, number: Name, strip: Name) -> Offset:
        """The place of a row of a strip, which is read anew in each iteration of a loop."""
        return Offset(((number, 0),)) if number is strip else self.place_of(number - strip)

    def write_rows_as_lanes(self, start: Word, stop: Word) -> None:
        """Write all stages with a row in each vector lane, for some interleaved vectors of rows."""
        k = self.kernel
        exprs = k.distinct_exprs
        total = len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        count = max(1, whole_vectors(total, LANE_VECTORS, _LANES_ROOM))
        self.vectors(
            start, stop, k.lanes, count, Known(""), False, stored_operands(k.stages),
            lambda values: self.lane_stages(k.stages, values),
        )  # fmt: skip

    def lane_stages(self, stages: Sequence[Stage], values: Values) -> None:
        for stage in stages:
            self.around = values
            if not isinstance(stage, Scalar | Loop):
                raise UnsupportedError("rows as lanes of this stage")
            self.stage(stage)
        self.around = None

    around: Values | None = None

    def shift_pointer(self, pointer: Name, size: Word, times: int) -> Name:
        """Return a pointer advanced by a multiple of a size."""
        if times == 0:
            return pointer
        place = self.place_of(size * times) if isinstance(size, int) else Offset(((size, times),))
        shifted: Name = self.b.op("at", pointer, place)
        shifted.at = pointer, place
        return shifted

    def elements_per_row(self, operand: str) -> Word:
        """Return how many elements of a scratch operand each row has for itself."""
        largest: Word | None = None
        for axes, access in self.kernel.own_rows[operand]:
            size: Word = 1
            for axis, stride in access.strides:
                size = size + self.farthest(axes[axis], stride, 1)
            for p in access.positions:
                last = self.number(p.start)
                if p.extent is not None:
                    last = self.number(p.extent) - 1
                else:
                    for axis, step in p.terms:
                        last = last + self.farthest(axes[axis], step, 1)
                size = size + last * self.number(p.stride)
            largest = (
                size if largest is None else self.b.word("choose_gt", largest, size, largest, size)
            )
        assert largest is not None
        return largest

    def farthest(self, axis: Axis, stride: Extent, less: int) -> Word:
        """Return by how much the last position along a loop moves an access."""
        last = self.number(axis.extent) - less
        return last * self.number(stride)

    # -- stages

    def stage(self, stage: Stage, start: Word = 0, stop: Word | None = None) -> None:
        """Write a stage of the kernel for the current rows, its loop from ``start`` to ``stop``."""
        if isinstance(stage, Map):
            facts = Known("")
            if stop is None:
                start, stop = self.span(stage.axis)
                facts = facts if stage.axis.past else self.facts_of(stage.axis.extent)
                if pair := self.kernel.copied_pair(stage):
                    out, into = (self.addresses[name] for name in pair)
                    stop, facts = self.b.op("choose_eq", out, into, 0, stop), Known("")
            if any(axis.limits for axis in stage.rows):
                raise UnsupportedError("inner loops that end early")
            self.map(stage, start, stop, facts)
        elif isinstance(stage, Columns):
            stop = self.number(stage.axis.extent) if stop is None else stop
            self.column_sums.write(stage, start, stop)
        elif isinstance(stage, Scalar):
            self.scalar(stage, self.scope())
        elif isinstance(stage, Loop):
            self.loop(stage)
        elif isinstance(stage, Sort):
            Sorting(self, stage).write()
        else:
            write_product(self, stage)

    def scope(self) -> Values:
        """Values outside of vector loops: of one lane, or of the rows that are lanes."""
        a = self.around
        return Values(self) if a is None else Values(self, a.lanes, True, a.offsets, a.mask)

    def loop(self, stage: Loop) -> None:
        """Write a sequential loop of stages with its carried values in variables."""
        b = self.b
        start, stop = self.span(stage.axis)
        together = self.directive_value(Interleave, "factor", 1, stage, stage.axis.name)
        if together > 1:
            stop = self.not_before(start, stop, Known(""))
        values, limits = self.scope(), _limits(self.kernel)
        first = [values.result(c.value, c.name in limits) for c in stage.first]
        for carry, value in zip(stage.first, first, strict=True):
            variables = (
                b.variable("c", "copy", pick(value, copy)) for copy in range(values.copies)
            )
            self.refs[carry.name] = copies_of(variables)
            if values.vector and carry.name not in limits:
                self.vector_refs.add(carry.name)

        def inside(numbers: Words, copies: int) -> None:
            """Write an iteration of the loop: exit test, stages and next carried values."""
            self.at[stage.axis.name] = numbers
            if stage.going:
                going = b.op("word", self.refs[stage.going])
                if type(going) is PerCopy:
                    raise UnsupportedError("rows side by side that end apart")
                with b.branch("eq", going, 0):
                    b.do("break")
            around = self.around
            for inner in stage.stages:
                self.around = around
                self.stage(inner)
            self.around = around
            values = self.scope()
            following = [values.result(c.value, c.name in limits) for c in stage.following]
            following = [b.op("copy", value) for value in following]
            for carry, value in zip(stage.following, following, strict=True):
                b.assign(self.refs[carry.name], "copy", value)

        self.unroll_and_jam(start, stop, together, stage.stages, inside)

    def scalar(self, stage: Scalar, values: Values) -> None:
        """Write the statements of a scalar stage, once per row."""
        limits = _limits(self.kernel)
        for s in stage.body:
            if isinstance(s, Store):
                values.store(s)
            elif isinstance(s, Keep):
                self.refs[s.name] = values.result(s.value, s.name in limits)
                if values.vector and s.name not in limits:
                    self.vector_refs.add(s.name)
            elif isinstance(s, Check):
                values.check(s)
            elif isinstance(s, Search):
                values.search(s)
            else:
                raise UnsupportedError(f"a statement {type(s).__name__}")

    # -- maps

    def map(self, stage: Map, start: Word, stop: Word, facts: Known) -> None:
        """Write the vector loop of a map with its reductions."""
        if self.kernel.outer != "elements":
            stop = self.not_before(start, stop, facts)
        lanes, sums = self.kernel.lanes, [s for s in stage.body if isinstance(s, Accumulate)]
        half = half_registers(self.kernel, stage)
        if half and type(start) is int and facts.short and 0 < facts.most <= half:
            lanes = half  # processors take half the time for half registers
        runs = runs_of(stage)
        running: dict[str, Value] = {}
        leaves = [f"{s.name} found" for s in sums] if may_leave(stage) else []

        def body(values: Values) -> Word | None:
            """Write a map's statements for one vector; return the test that ends the loop early."""
            values.runs, values.load_run = runs.loads, load_run
            self.prefetch(stage, values)
            if values.copies == 1:
                self.interleave_values(stage, values)
            for s in stage.body:
                if s in still or store_at_last(values, runs, s):
                    continue
                if isinstance(s, Accumulate) and is_found(s):
                    self.sums.position(s, values, running, start, stop)
                else:
                    self.statement(s, values, running)
            if leaves and all(name in running for name in leaves):
                done = 0
                for name in leaves:
                    for copy in range(self.copies):
                        done = done + pick(running[name], copy)
                return self.b.word("choose_eq", done, len(leaves) * self.copies, 1, 0)
            return None

        with ExitStack() as stack:
            written = stored_operands([stage])
            for axis in stage.rows:
                loop = self.b.loop(0, self.number(axis.extent), stored=written)
                self.at[axis.name] = stack.enter_context(loop)
            count = self.directive_value(Interleave, "factor", 1, stage, "j")
            mixed = self.copies == 1 and may_be_mixed(stage.body)
            if not mixed or runs.loads or runs.waiting or any(s.blocks for s in sums):
                count = 1
            masked = self.directive_value(Vector, "tail", "peel", stage) == "mask"
            short = type(start) is int and facts.short
            facts = replace(facts, fixed=facts.fixed and self.is_written_out(stage))

            adds = self.adds_contiguous_rows(stage)
            middle = self.interior(stage)
            still = [
                s for s in stage.body if isinstance(s, Check) and self.is_loop_invariant(s, written)
            ]
            for s in still:
                self.scope().check(s)

            def vectors(first: Word, last: Word, part_facts: Known) -> None:
                self.vectors(
                    first, last, lanes, count, part_facts, masked, written, body, adds, middle
                )

            for name in leaves:
                running[name] = self.sums.per_copy(partial(self.b.variable, "d", "copy", 0))
            self.sums.write_reductions(sums, running, vectors, start, stop, facts, short, written)

    def is_loop_invariant(self, s: Check, written: Set[str]) -> bool:
        """Return True if a checked index is loop-invariant in a map that writes operands."""
        along = Values(self, self.kernel.lanes, True)
        for e in postorder(roots(s)):
            if along.varies_itself(e) or (e.op == "ref" and e.attribute not in self.refs):
                return False
            if isinstance(e.attribute, Access) and e.attribute.operand in written:
                return False
        return True

    def interior(self, stage: Map) -> Interior | None:
        """Return the mask-free middle of a map, if its body is short enough to be written twice."""
        middle = interior(stage)
        if not middle:
            return None
        exprs = [*postorder([root for s in stage.body for root in roots(s)])]
        lines = len(stage.body) + len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        extent, masks = stage.axis.extent, self.machine.has_mask_registers
        no_remainder = isinstance(extent, int) and extent % self.kernel.lanes == 0
        if len(middle.columns) == 1 and not middle.tests and masks and not no_remainder:
            return None  # vectors have a mask of their own: that of the window joins it
        return middle if lines <= _LONGEST else None

    def peel_ends(
        self,
        start: Word,
        stop: Word,
        lanes: int,
        no_remainder: bool,
        written: frozenset[str],
        body: Callable[[Values], Word | None],
        middle: Interior,
    ) -> None:
        """Peel the vectors of a loop that may cross a bound, at both ends, from the middle.

        ``no_remainder``: the last one has all lanes.
        """
        b = self.b
        self.at[LANES] = start
        inner, outer = Values(self, lanes, True).middle(middle, start, stop)
        distance = inner - start + (lanes - 1)
        low = start + distance // lanes * lanes
        length = b.op("choose_gt", outer, low, outer - low, 0)
        high = low + length // lanes * lanes
        with b.loop(0, 2, 1, written, "e") as part:
            first = b.op("choose_eq", part, 0, start, high)
            last = b.op("choose_eq", part, 0, b.least(low, stop), stop)
            with b.loop(first, last, lanes, written, "j") as index:
                self.at[LANES] = index
                left = None if no_remainder else stop - index
                mask = None if left is None else b.op(f"mask{lanes}", left)
                body(Values(self, lanes, True, mask=mask, left=left))
            first = b.op("choose_eq", part, 0, low, high)
            with b.loop(first, high, lanes, written, "j") as index:
                self.at[LANES] = index
                body(Values(self, lanes, True, inside=middle))

    def adds_contiguous_rows(self, stage: Map) -> bool:
        """Return True if rows are added to contiguous memory, where masked stores would stall.

        A processor forwards a store to a load of the same bytes at once, but no store under a mask.
        """
        stores = [s for s in stage.body if isinstance(s, Store)]
        if not self.kernel.serial or stage.rows or stage.axis.extent == 1 or not stores:
            return False
        if not all(s.combine and s.access.stride(LANES) == 1 for s in stores):
            return False
        indices = [*postorder([index for s in stores for index in s.indices])]
        loads = [e.attribute for e in indices if isinstance(e.attribute, Access)]
        along = any(e.op == "index" and e.attribute == LANES for e in indices)
        indices_vary = any(access.stride(LANES) != 0 for access in loads) or along
        return not indices_vary and not any(s.access.bounded_positions for s in stores)

    def interleave_values(self, stage: Map, values: Values) -> None:
        """Interleave the operations of long, equal stored values, for instruction parallelism.

        A processor finds independent instructions only among the next few hundred.
        """
        stores = [s for s in stage.body if isinstance(s, Store)]
        if len(stores) < 2 or len(stores) < len(stage.body):
            return
        if len([*postorder(roots(stores[0]))]) < _LONG_VALUES:
            return
        for without in ((), LEAVES):  # one may have a number where others load
            orders = [[e for e in postorder(roots(s)) if e.op not in without] for s in stores]
            ops = [e.op for e in orders[0]]
            if all([e.op for e in order] == ops for order in orders):
                for alike in zip(*orders, strict=True):
                    values.emit(alike)
                return

    def statement(self, s: Statement, values: Values, running: dict[str, Value]) -> None:
        """Write one statement of a map for a vector: store, reduction, check or search."""
        if isinstance(s, Store):
            values.store(s)
        elif isinstance(s, Accumulate):
            self.sums.accumulate(s, values, running)
        elif isinstance(s, ColumnAccumulate):
            self.column_sums.column(s, values)
        elif isinstance(s, Check):
            values.check(s)
        elif isinstance(s, Search):
            values.search(s)
        else:
            raise UnsupportedError(f"a statement {type(s).__name__}")

    def vectors(
        self,
        start: Word,
        stop: Word,
        lanes: int,
        count: int,
        facts: Known,
        masked: bool,
        written: frozenset[str],
        body: Callable[[Values], Word | None],
        narrower: bool = False,
        middle: Interior | None = None,
    ) -> None:
        """Write a vector loop: ``count`` whole vectors at a time, then the remainder.

        With ``narrower`` the remainder runs in vectors of half the lanes, a quarter and so on
        instead of under a mask.
        """
        b, from_zero = self.b, type(start) is int and start == 0
        multiple = facts.multiple if from_zero else 1

        def write_vector(index: Word, left: Word | None, loops: bool = True) -> None:
            self.at[LANES] = index
            mask = None if left is None else b.op(f"mask{lanes}", left)
            done = body(Values(self, lanes, True, mask=mask, left=left, is_last=not loops))
            if loops and done is not None:
                with b.branch("eq", done, 1):
                    b.do("break")

        if from_zero and facts.short and 0 < facts.most <= lanes:  # one vector
            write_vector(0, None if multiple % lanes == 0 else stop, False)
            return
        if from_zero and facts.fixed:
            for first in range(0, facts.most, lanes):
                left = facts.most - first
                write_vector(first, None if left >= lanes else left, False)
            return
        step = lanes * count
        if middle and self.copies == 1:
            self.peel_ends(start, stop, lanes, multiple % lanes == 0, written, body, middle)
            return
        if type(stop) is int and from_zero and stop < step:
            masked = True
        if masked:
            with b.loop(start, stop, lanes, written, "j") as index:
                write_vector(index, None if multiple % lanes == 0 else stop - index)
            return
        exact = multiple % step == 0
        end = stop if exact else start + (stop - start) // step * step
        with b.loop(start, end, step, written, "j") as index:
            self.at[LANES] = index
            done = body(Values(self, lanes, True, tuple(range(0, step, lanes))))
            if done is not None:
                with b.branch("eq", done, 1):
                    b.do("break")
        if exact:
            return
        if narrower:
            at: Name = b.variable("j", "copy", end)
            while lanes > 1 and multiple % lanes:
                lanes //= 2
                with b.branch("le", at + lanes, stop):
                    self.at[LANES] = at
                    body(Values(self, lanes, True))
                    b.assign(at, "add", at, lanes)
            return
        if count == 1:
            with b.branch("lt", end, stop):
                write_vector(end, stop - end, False)
            return
        with b.loop(end, stop, lanes, written, "j") as index:
            no_remainder = multiple % lanes == 0
            write_vector(index, None if no_remainder else stop - index)

    # -- prefetches

    def prefetch_next(self, stage: Map, values: Values) -> None:
        """Prefetch the next vectors of rows that run a vector each before any runs the next."""
        self.write_prefetches(stage, values, [Prefetch(LANES, self.kernel.lanes)])

    def prefetch(self, stage: Map, values: Values) -> None:
        """Write prefetches of what a map accesses later, each cache line once."""
        of = self.numbers[id(stage)], -1
        ahead = [d for d in self.directives if isinstance(d, Prefetch) and d.stage in of]
        if values.is_last:
            ahead = [d for d in ahead if d.axis != LANES]
        if ahead:
            self.write_prefetches(stage, values, ahead)

    def write_prefetches(self, stage: Map, values: Values, ahead: Sequence[Prefetch]) -> None:
        """Write prefetches at the distances of directives, for loads and stores of a map."""
        scratch = {o.name for o in self.kernel.operands if o.mode == "scratch"}
        touched: list[tuple[str, Access]] = [
            ("prefetch_write", s.access)
            for s in stage.body
            if isinstance(s, Store) and s.access.operand not in self.streamed
        ]
        loads = postorder([root for s in stage.body for root in roots(s)])
        word = "prefetch_second" if self.in_strips else "prefetch"
        touched += [(word, e.attribute) for e in loads if isinstance(e.attribute, Access)]
        done: dict[tuple[str, Offset, int], None] = {}
        for d in ahead:
            for word, access in touched:
                if access.stride(LANES) != 1 or access.gather or access.operand in scratch:
                    continue
                far = self.far(stage, access, d)
                if type(far) is int and far == 0:
                    continue
                size = self.kernel.operand(access.operand).dtype.itemsize
                for copy in range(values.copies):
                    place = values.place(access, (), copy)
                    for first in range(0, values.lanes, self.machine.line // size):
                        prefetch_place = self.shift_place(place, far, first)
                        key = (access.operand, prefetch_place, copy if self.copies > 1 else 0)
                        if key not in done:
                            done[key] = None
                            pointer = pick(self.pointers[access.operand], copy)
                            self.b.do(word, *self.b.pointer(pointer, prefetch_place))

    def far(self, stage: Map, access: Access, d: Prefetch) -> Word:
        """Return the prefetch distance of an access in elements; 0 if it is not prefetched."""
        if d.axis != "*":
            return self.number_of(access.stride(d.axis)) * d.distance
        b, axis, extent = self.b, (*self.kernel.axes, *stage.rows)[-1], stage.axis.extent
        stride = self.number_of(access.stride(axis.name))
        if type(stride) is int and stride == 0:
            return 0
        if isinstance(extent, int):
            if extent >= _LONG * d.distance:
                return d.distance
            return stride * (d.distance // max(extent, 1) + 1)
        length, most = self.number(extent), _LONG * d.distance
        rows = b.quotient(d.distance, b.op("choose_lt", length, 1, 1, length)) + 1
        rows = b.word("choose_ge", length, most, 0, rows)
        if not stage.rows and self.kernel.interleaved_rows == 1 and self.turn is not None:
            number, end = self.turn  # rows behind may be another worker's, which is writing them
            rows = b.word("choose_lt", number + rows, end, rows, 0)
        return stride * rows + b.word("choose_ge", length, most, d.distance, 0)

    turn: tuple[Word, Word] | None = None


def _with_loads_guarded(body: Block, test: Apply) -> Block:
    """Return the statements, from the first load before all loops on under a test: a call without
    iterations touches no memory, which may be that of nothing."""
    for at, s in enumerate(body):
        if isinstance(s, Let) and s.value.name.startswith("load"):
            return (*body[:at], If(test, body[at:]))
    return body


def _results(stages: Sequence[Stage]) -> list[Accumulate | Keep]:
    """The statements of stages that give a number a name."""
    every = [s for stage in stages for s in statements(stage)]
    return [s for s in every if isinstance(s, Accumulate | Keep)]


def _read(stages: Sequence[Stage]) -> set[str]:
    """The names that stages read."""
    every = postorder(root for stage in stages for s in statements(stage) for root in roots(s))
    return {str(e.attribute) for e in every if e.op == "ref"}


def _limits(kernel: Kernel) -> set[str]:
    """The names of the numbers at which loops begin and end."""
    loops = (stage.axis for stage, _ in nested_stages(kernel.stages) if isinstance(stage, Loop))
    return {name for axis in loops for name in axis.limits}
