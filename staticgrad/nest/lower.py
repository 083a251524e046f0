"""Kernels to nests: stages become loops, under directives that say how the loops run.

Sums follow ``ir/summation.py`` to the bit: lanes inside of a block, blocks joined by a binary
counter, groups of rows in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from staticgrad.codegen.expressions import VECTOR, element
from staticgrad.codegen.extremes import is_by_key, key_dtype
from staticgrad.codegen.jammed import adds_to_columns
from staticgrad.codegen.lane_steps import LEVELS, in_blocks
from staticgrad.codegen.lookups import NOTE, NOTE_TEXT
from staticgrad.codegen.vectors import may_be_mixed
from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.expr import Access, postorder
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.found import is_found
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    ColumnAccumulate,
    Columns,
    Extent,
    Keep,
    Map,
    Scalar,
    Stage,
    Store,
    roots,
    small,
    statements,
)
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, GROUPS, SHORTEST_GROUP, lanes as sum_lanes
from staticgrad.native.machine import Machine
from staticgrad.nest.directives import (
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Vector,
    checked,
    defaults,
)
from staticgrad.nest.records import (
    Apply,
    Builder,
    Each,
    Name,
    Nest,
    Offset,
    UnsupportedError,
    pick,
)
from staticgrad.nest.values import Values, operation

PARAMETERS: Final = ("t", "own", "begin", "end")
#: Bytes of a line of the caches.
_LINE: Final = 64
#: Bits of the widest registers.
_WIDEST: Final = 512
#: Levels of a binary counter of rows of columns.
_COLUMN_LEVELS: Final = 24


def lower(kernel: Kernel, machine: Machine, directives: Directives | None = None) -> Nest:
    """Return the nest of a kernel under directives; None: those that it has by default.

    Raises:
        UnsupportedError: the nest does not cover this kernel yet.
        IllegalDirectiveError: a directive is not legal.
    """
    chosen = defaults(kernel, machine) if directives is None else checked(kernel, directives)
    return KernelLowering(kernel, machine, chosen).nest()


class KernelLowering:
    """One kernel on its way to a nest.

    ``words``: the arguments; ``at``: the positions along loops; ``pointers``: the operands;
    ``refs``: the results of statements, of which ``vector_refs`` are vectors. ``copies``: the rows
    side by side.
    """

    def __init__(self, kernel: Kernel, machine: Machine, directives: Directives) -> None:
        self.kernel, self.machine, self.directives = kernel, machine, directives
        self.b = Builder()
        self.words: dict[str, Name] = {}
        self.at: dict[str, Any] = {}
        self.pointers: dict[str, Any] = {}
        self.refs: dict[str, Any] = {}
        self.vector_refs: set[str] = set()
        self.functions: dict[str, str] = {}
        self.copies = 1
        self.on: Any = None
        self.known: Mapping[str, Known] = {each.name: each for each in kernel.known}
        self.streamed = {d.operand for d in directives if isinstance(d, Stream)}

    def nest(self) -> Nest:
        """The whole kernel."""
        k, b = self.kernel, self.b
        for is_it, reason in (
            (k.in_lanes, "rows as lanes"),
            (k.in_tiles, "transposed tiles"),
            (k.listed is not None, "operands from a table"),
            (k.in_strips, "strips"),
            (bool(k.checks_alike), "lookups that rows share"),
            (k.serial, "rows in their order"),
            (k.outer == "tiles", "products"),
        ):
            if is_it:
                raise UnsupportedError(reason)
        t, own, begin, end = parameters = tuple([Name(n, 0) for n in PARAMETERS])
        b.reserved |= {*PARAMETERS, *k.arguments, *(o.name for o in k.operands)}
        shared = private = 0
        for o in k.operands:
            source, number = (own, private) if o.is_own else (t, shared)
            private, shared = private + o.is_own, shared + (not o.is_own)
            word = b.op("getitem", source, number)
            self.pointers[o.name] = b.named(o.name, f"ptr_{element(o.dtype)}", word)
        for number, argument in enumerate(k.arguments):
            self.words[argument] = b.named(argument, "getitem", t, shared + number)
        if k.outer == "lanes":
            (stage,) = k.stages
            self.stage(stage, 0, begin, end)
        elif k.outer == "groups":
            self.groups(begin, end)
        else:
            self.rows(k.axes, begin, end)
        if self.streamed:
            b.do("settle")
        return Nest(parameters, tuple(b.blocks[0].out), self.functions)

    # -- words

    def number(self, extent: Extent) -> Any:
        """An argument or a literal."""
        return extent if isinstance(extent, int) else self.words[extent]

    def sum(self, a: Any, b: Any) -> Any:
        """a + b of words."""
        if type(a) is int and type(b) is int:
            return a + b
        if a == 0 and type(a) is int:
            return b
        return a if type(b) is int and b == 0 else self.b.op("add", a, b)

    def difference(self, a: Any, b: Any) -> Any:
        """a - b of words."""
        if type(a) is int and type(b) is int:
            return a - b
        return a if type(b) is int and b == 0 else self.b.op("sub", a, b)

    def product(self, a: Any, b: Any) -> Any:
        """a * b of words."""
        if type(a) is int:
            a, b = b, a
        if type(b) is int:
            if type(a) is int:
                return a * b
            if b in (0, 1):
                return a if b else 0
        return self.b.op("mul", a, b)

    def multiple(self, a: Any, step: int) -> Any:
        """The largest multiple of ``step`` up to a word."""
        if type(a) is int:
            return a // step * step
        return self.b.op("mul", self.b.op("floordiv", a, step), step)

    def place_word(self, place: Offset) -> Any:
        """A place as a word."""
        found: Any = 0
        for a, b in place.terms:
            found = self.sum(found, self.product(a, b))
        return self.sum(found, place.constant)

    def place_of(self, word: Any) -> Offset:
        """A word as a place."""
        return Offset((), word) if type(word) is int else Offset(((word, 1),))

    def told(self, extent: Extent) -> Known:
        """What is known of an extent."""
        if isinstance(extent, int):
            return known_of(str(extent), [extent])
        return self.known.get(extent, Known(extent))

    def note(self) -> str:
        """The function that notes an index that does not fit."""
        self.functions[NOTE] = NOTE_TEXT
        return NOTE

    # -- rows

    def rows(self, axes: Sequence[Axis], start: Any, stop: Any) -> None:
        """All stages, for the rows along ``axes`` from one number to another."""
        k = self.kernel
        count = self.chosen(Interleave, "factor", 1, axis="o")
        every = [s for stage in k.stages for s in statements(stage)]
        adds, columns = (
            any(isinstance(s, Store) and s.combine for s in every),
            adds_to_columns(k.stages),
        )
        again = not adds and (self.machine.has_mask_registers or not columns)
        if count == 1 or again:
            self.turns(axes, start, stop, count, stop if count > 1 else None, columns)
            return
        whole = self.sum(start, self.multiple(self.difference(stop, start), count))
        self.turns(axes, start, whole, count, None, columns)
        self.turns(axes, whole, stop, 1, None, columns)

    def turns(
        self, axes: Sequence[Axis], start: Any, stop: Any, count: int, last: Any, columns: bool
    ) -> None:
        """``count`` rows at a time; with ``last``, the last row runs again to fill a turn."""
        b, k = self.b, self.kernel
        sizes = {name: self.own_size(name) for name in k.own_rows} if count > 1 else {}
        with b.loop(start, stop, count, stored=stored(k.stages), prefix="o") as row:
            self.copies, self.on, pointers = count, None, self.pointers
            numbers: Any = row
            if count > 1:
                behind = [b.op("add", row, n) for n in range(1, count)]
                if last is not None:
                    final = b.op("sub", last, 1)
                    if columns:
                        lanes = k.lanes
                        counts = [b.op("choose_lt", each, last, lanes, 0) for each in behind]
                        self.on = [b.op(f"mask{lanes}", each) for each in counts]
                    behind = [b.op("choose_lt", each, last, each, final) for each in behind]
                numbers = Each((row, *behind))
                own = {
                    name: Each(self.derived(pointers[name], size, n) for n in range(count))
                    for name, size in sizes.items()
                }
                self.pointers = pointers | own
            self.decode(axes, numbers)
            for number, stage in enumerate(k.stages):
                self.stage(stage, number)
        self.copies, self.pointers, self.on = 1, pointers, None

    def derived(self, pointer: Name, size: Any, times: int) -> Name:
        """A pointer so many times a size further on."""
        if times == 0:
            return pointer
        place = Offset((), size * times) if type(size) is int else Offset(((size, times),))
        found: Name = self.b.op("at", pointer, place)
        found.at = pointer, place
        return found

    def own_size(self, operand: str) -> Any:
        """The elements of a scratch operand that each row has for itself."""
        found: Any = None
        for axes, access in self.kernel.own_rows[operand]:
            size: Any = 1
            for axis, stride in access.strides:
                size = self.sum(size, self.farthest(axes[axis], stride, 1))
            for p in access.positions:
                last = self.number(p.start)
                if p.extent is not None:
                    last = self.difference(self.number(p.extent), 1)
                else:
                    for axis, step in p.terms:
                        last = self.sum(last, self.farthest(axes[axis], step, 1))
                size = self.sum(size, self.product(last, self.number(p.stride)))
            found = size if found is None else self.b.op("choose_gt", found, size, found, size)
        return found

    def farthest(self, axis: Axis, stride: Extent, less: int) -> Any:
        """How far the last position along a loop moves an access."""
        last = self.difference(self.number(axis.extent), less)
        return self.product(last, self.number(stride))

    def decode(self, axes: Sequence[Axis], flat: Any) -> None:
        """The positions along axes, given their flat number in C order."""
        rest = flat
        for axis in reversed(axes[1:]):
            extent = self.number(axis.extent)
            self.at[axis.name] = self.b.op("mod", rest, extent)
            rest = self.b.op("floordiv", rest, extent)
        if axes:
            self.at[axes[0].name] = rest

    # -- stages

    def stage(self, stage: Stage, number: int, start: Any = 0, stop: Any = None) -> None:
        """One stage, for the rows that are there; its loop from ``start`` to ``stop``."""
        if isinstance(stage, Map):
            if stage.axis.first or any(axis.limits for axis in stage.rows):
                raise UnsupportedError("a loop that begins late")
            told = self.told(stage.axis.extent) if stop is None else Known("")
            if stop is None:
                stop = self.number(stage.axis.extent)
            if stage.axis.past:
                stop, told = self.limit(stage.axis), Known("")
            self.map(stage, number, start, stop, told)
        elif isinstance(stage, Columns):
            stop = self.number(stage.axis.extent) if stop is None else stop
            self.columns(stage, number, start, stop)
        elif isinstance(stage, Scalar):
            self.scalar(stage)
        else:
            raise UnsupportedError(f"a stage {type(stage).__name__}")

    def limit(self, axis: Axis) -> Any:
        """Where a loop ends that stops at a number of the row."""
        kept = self.refs[axis.past]
        if type(kept) is Each:
            raise UnsupportedError("rows side by side that end apart")
        return self.b.least(self.b.op("word", kept), self.number(axis.extent))

    def scalar(self, stage: Scalar) -> None:
        """Statements once per row."""
        values = Values(self)
        for s in stage.body:
            if isinstance(s, Store):
                values.store(s)
            elif isinstance(s, Keep):
                self.refs[s.name] = values.one(s.value)
            elif isinstance(s, Check):
                values.check(s)
            else:
                raise UnsupportedError(f"a statement {type(s).__name__}")

    # -- maps

    def chosen(self, kind: Any, field: str, default: Any, stage: int = -1, axis: str = "") -> Any:
        """The value of a directive, of a stage or of all of them."""
        found = default
        for d in self.directives:
            if isinstance(d, kind) and getattr(d, "axis", "") == axis:
                if getattr(d, "stage", -1) == stage:
                    return getattr(d, field)
                if getattr(d, "stage", -1) == -1:
                    found = getattr(d, field)
        return found

    def map(self, stage: Map, number: int, start: Any, stop: Any, told: Known) -> None:
        """The vector loop of a Map, and what is accumulated over it."""
        lanes, sums = self.kernel.lanes, [s for s in stage.body if isinstance(s, Accumulate)]
        if any(map(is_found, sums)):
            raise UnsupportedError("the position of an element that is looked for")
        wanted = [root for s in stage.body for root in roots(s)]
        running: dict[str, Any] = {}

        def body(values: Values) -> None:
            values.expect(wanted)
            self.prefetch(stage, number, values)
            for s in stage.body:
                self.statement(s, values, running)

        with ExitStack() as stack:
            written = stored([stage])
            for axis in stage.rows:
                loop = self.b.loop(0, self.number(axis.extent), stored=written)
                self.at[axis.name] = stack.enter_context(loop)
            count = self.chosen(Interleave, "factor", 1, number, "j")
            mixed = self.copies == 1 and may_be_mixed(stage.body)
            if not mixed or any(s.blocks for s in sums):
                count = 1
            masked = self.chosen(Vector, "tail", "peel", number) == "mask"
            short = type(start) is int and told.short

            def vectors(first: Any, last: Any, known: Known) -> None:
                self.vectors(first, last, lanes, count, known, masked, written, body)

            self.reduced(sums, running, vectors, start, stop, told, short, written)

    def statement(self, s: Any, values: Values, running: dict[str, Any]) -> None:
        if isinstance(s, Store):
            values.store(s)
        elif isinstance(s, Accumulate):
            self.accumulate(s, values, running)
        elif isinstance(s, ColumnAccumulate):
            self.column(s, values)
        elif isinstance(s, Check):
            values.check(s)
        else:
            raise UnsupportedError(f"a statement {type(s).__name__}")

    def vectors(
        self,
        start: Any,
        stop: Any,
        lanes: int,
        count: int,
        told: Known,
        masked: bool,
        written: frozenset[str],
        body: Callable[[Values], None],
    ) -> None:
        """Vectors from ``start`` to ``stop``: whole ones, ``count`` at a time, and the rest."""
        b, from_zero = self.b, type(start) is int and start == 0
        multiple = told.multiple if from_zero else 1

        def one(index: Any, mask: Any) -> None:
            self.at[VECTOR] = index
            body(Values(self, lanes, True, mask=mask))

        if from_zero and told.short and 0 < told.most <= lanes:  # one vector
            one(0, None if multiple % lanes == 0 else b.op(f"mask{lanes}", stop))
            return
        step = lanes * count
        if type(stop) is int and from_zero and stop < step:
            masked = True
        if masked:
            with b.loop(start, stop, lanes, written, "j") as index:
                left = None if multiple % lanes == 0 else self.difference(stop, index)
                one(index, None if left is None else b.op(f"mask{lanes}", left))
            return
        exact = multiple % step == 0
        end = stop if exact else self.sum(start, self.multiple(self.difference(stop, start), step))
        with b.loop(start, end, step, written, "j") as index:
            self.at[VECTOR] = index
            body(Values(self, lanes, True, tuple(range(0, step, lanes))))
        if exact:
            return
        if count == 1:
            with b.branch("lt", end, stop):
                one(end, b.op(f"mask{lanes}", self.difference(stop, end)))
            return
        with b.loop(end, stop, lanes, written, "j") as index:
            whole = multiple % lanes == 0
            one(index, None if whole else b.op(f"mask{lanes}", self.difference(stop, index)))

    # -- sums along rows

    def reduced(
        self,
        sums: Sequence[Accumulate],
        running: dict[str, Any],
        vectors: Callable[[Any, Any, Known], None],
        start: Any,
        stop: Any,
        told: Known,
        short: bool,
        written: frozenset[str],
    ) -> None:
        """The loop over vectors, with accumulators; in blocks where a row may have several."""
        trees = [s for s in sums if in_blocks(s) and not s.blocks]
        for s in sums:
            if s not in trees or short:
                running[s.name] = self.begin_counter(s) if s.blocks else self.accumulator(s)
        if not trees or short:
            vectors(start, stop, told)
        else:
            self.in_blocks(trees, running, vectors, start, stop, written)
        for s in sums:
            if s.blocks:
                self.refs[s.name] = self.end_counter(s, running[s.name])
            elif s not in trees or short:
                self.refs[s.name] = self.joined(s, running[s.name])

    def in_blocks(
        self,
        trees: Sequence[Accumulate],
        running: dict[str, Any],
        vectors: Callable[[Any, Any, Known], None],
        start: Any,
        stop: Any,
        written: frozenset[str],
    ) -> None:
        """Blocks of a row, each summed by itself and joined by the counter rule."""
        b = self.b
        results = {s.name: self.per_copy(partial(b.variable, "r", *self.nothing(s))) for s in trees}
        stacks = {s.name: self.stack(s, LEVELS) for s in trees}
        pushed = b.variable("n", "copy", 0)
        length = self.difference(stop, start)
        with b.loop(start, stop, BLOCK, written, "k") as block:
            last = b.least(b.op("add", block, BLOCK), stop)
            for s in trees:
                running[s.name] = self.accumulator(s)
            vectors(block, last, Known(""))
            for s in trees:
                b.assign(results[s.name], "copy", self.joined(s, running[s.name]))
            with b.branch("gt", length, BLOCK):
                final = b.op("choose_eq", last, stop, 1, 0)
                terms = [(s.kind, results[s.name], stacks[s.name], 1, _levels) for s in trees]
                self.push(terms, pushed, final)
                b.assign(pushed, "add", pushed, 1)
        self.refs |= results

    def per_copy(self, make: Callable[[], Any]) -> Any:
        """A variable for each of the rows side by side."""
        return make() if self.copies == 1 else Each(make() for _ in range(self.copies))

    def stack(self, s: Accumulate, count: int) -> Any:
        """Scratch for partial results, of each row."""
        code = element(s.value.dtype)
        return self.per_copy(lambda: self.b.local(code, count))

    def nothing(self, s: Accumulate) -> tuple[str, Any]:
        """The result over no elements."""
        dtype = s.value.dtype
        return f"{element(dtype)}x1", COMBINERS[s.kind].empty(dtype)

    def width(self, s: Accumulate) -> int:
        """Lanes of an accumulator: those of its tree, or a register for extremes."""
        dtype, lanes = s.value.dtype, self.kernel.lanes
        if not in_blocks(s) and lanes * dtype.bits <= _WIDEST:
            return lanes
        return min(sum_lanes(dtype), lanes)

    def accumulator(self, s: Accumulate) -> Any:
        """What the lanes of a row begin with: a variable of each row."""
        dtype, identity = s.value.dtype, COMBINERS[s.kind].identity(s.value.dtype)
        if is_by_key(s):
            bits = int(np.asarray(identity, dtype.numpy).view(dtype.signed.numpy))
            identity = bits ^ ((1 << (dtype.bits - 1)) - 1) if bits < 0 else bits
        kind = f"{element(key_dtype(s))}x{self.width(s)}"
        return self.per_copy(lambda: self.b.variable("a", kind, identity))

    def accumulate(self, s: Accumulate, values: Values, running: dict[str, Any]) -> None:
        """One vector of each row, or some of a row in their order, into its accumulator."""
        b, combiner = self.b, COMBINERS[s.kind]
        value, own = values.vec(s.value), running[s.name]
        if values.mask is not None:
            value = b.op("select_mask", values.mask, value, combiner.identity(s.value.dtype))
        if s.blocks:
            self.push_lanes(s, value, own)
            return
        parts = [self.key(s, value)]
        if self.width(s) < self.kernel.lanes:
            parts = [b.op(half, parts[0]) for half in ("low", "high")]
        for copy in range(values.copies):
            for part in parts:
                held = pick(own, copy)
                b.assign(held, operation(combiner.combine), held, pick(part, copy))

    def key(self, s: Accumulate, value: Any) -> Any:
        """Floats as integers that are ordered as they are, for extremes."""
        if not is_by_key(s):
            return value
        b, ints = self.b, s.value.dtype.signed
        most = (1 << (ints.bits - 1)) - 1
        winner = most if COMBINERS[s.kind].combine == "maximum" else -most - 1
        bits = b.op(f"bitcast_{ints.code}", value)
        sign = b.op("and_", b.op("rshift", bits, ints.bits - 1), most)
        return b.op("select", b.op("eq", value, value), b.op("xor", bits, sign), winner)

    def joined(self, s: Accumulate, held: Any) -> Any:
        """The lanes of a row joined by halving."""
        b = self.b
        found = b.op(COMBINERS[s.kind].horizontal, held)
        if not is_by_key(s):
            return found
        ints = s.value.dtype.signed
        sign = b.op("and_", b.op("rshift", found, ints.bits - 1), (1 << (ints.bits - 1)) - 1)
        return b.op(f"bitcast_{s.value.dtype.code}", b.op("xor", found, sign))

    # -- binary counters

    def begin_counter(self, s: Accumulate) -> Any:
        """A counter whose terms are the elements of a row: its stack, room for a vector, count."""
        code, lanes = element(s.value.dtype), self.kernel.lanes
        room = self.per_copy(lambda: self.b.local(code, lanes))
        return self.stack(s, LEVELS), room, self.b.variable("n", "copy", 0)

    def push_lanes(self, s: Accumulate, value: Any, counter: Any) -> None:
        """Push each lane of a vector; neutral ones behind the last change no bit."""
        b, lanes = self.b, self.kernel.lanes
        stack, room, pushed = counter
        for copy in range(self.copies):
            b.do(f"store{lanes}", pick(room, copy), Offset(()), pick(value, copy))
        with b.loop(0, lanes) as lane:
            terms = [
                b.variable("x", "load1", pick(room, copy), Offset(((lane, 1),)))
                for copy in range(self.copies)
            ]
            term = terms[0] if self.copies == 1 else Each(terms)
            self.push([(s.kind, term, stack, 1, _levels)], pushed, 0)
            b.assign(pushed, "add", pushed, 1)

    def end_counter(self, s: Accumulate, counter: Any) -> Any:
        """All that is left in a counter, joined: a neutral term is pushed behind the last one."""
        b, (stack, _, pushed) = self.b, counter
        code, dtype = element(s.value.dtype), s.value.dtype
        found = self.per_copy(
            lambda: b.variable("r", f"{code}x1", COMBINERS[s.kind].identity(dtype))
        )
        empty = COMBINERS[s.kind].empty(dtype)
        with b.branch("eq", pushed, 0):
            b.assign(found, f"{code}x1", empty)
        with b.branch("gt", pushed, 0):
            self.push([(s.kind, found, stack, 1, _levels)], pushed, 1)
        return found

    def push(self, terms: Sequence[tuple[str, Any, Any, int, Any]], pushed: Any, last: Any) -> None:
        """Push terms to their counters; with ``last`` (a word, 1) they become the sum of all.

        ``terms``: the kind, the variable, the stack, the lanes, the place of a level. Results of
        equal height are joined as they meet, older + newer.
        """
        b = self.b
        level, bits = b.variable("n", "copy", 0), b.variable("n", "copy", pushed)
        odd = b.variable("n", "mod", bits, 2)
        go = b.variable("n", "copy", odd)

        def more() -> None:
            b.assign(odd, "mod", bits, 2)
            if type(last) is int:
                b.assign(go, "copy", odd) if not last else b.assign(go, "copy", bits)
            else:
                b.assign(go, "add", b.op("mul", bits, last), odd)

        more()
        with b.repeat(Apply("gt", (go, 0))):
            with b.branch("eq", odd, 1):
                for kind, term, stack, lanes, place in terms:
                    for copy in range(len(term) if type(term) is Each else 1):
                        own = pick(term, copy)
                        older = b.load("", f"load{lanes}", pick(stack, copy), place(level))
                        b.assign(own, operation(COMBINERS[kind].combine), older, own)
            b.assign(bits, "floordiv", bits, 2)
            b.assign(level, "add", level, 1)
            more()
        for _, term, stack, lanes, place in terms:
            for copy in range(len(term) if type(term) is Each else 1):
                b.do(f"store{lanes}", pick(stack, copy), place(level), pick(term, copy))

    # -- prefetches

    def prefetch(self, stage: Map, number: int, values: Values) -> None:
        """Prefetch what is touched further on, each line of memory once."""
        ahead = [d for d in self.directives if isinstance(d, Prefetch) and d.stage in (number, -1)]
        if not ahead:
            return
        scratch = {o.name for o in self.kernel.operands if o.mode == "scratch"}
        touched: list[tuple[str, Access]] = [
            ("prefetch_write", s.access)
            for s in stage.body
            if isinstance(s, Store) and s.access.operand not in self.streamed
        ]
        loads = postorder([root for s in stage.body for root in roots(s)])
        touched += [("prefetch", e.attribute) for e in loads if isinstance(e.attribute, Access)]
        done: dict[Any, None] = {}
        for d in ahead:
            for word, access in touched:
                if access.stride(VECTOR) != 1 or access.gather or access.operand in scratch:
                    continue
                stride = self.number_of(access.stride(d.axis))
                if type(stride) is int and stride == 0:
                    continue
                size = self.kernel.operand(access.operand).dtype.itemsize
                far = self.product(stride, d.distance)
                for copy in range(values.copies):
                    place = values.place(access, (), copy)
                    for first in range(0, values.lanes, _LINE // size):
                        moved = self.moved(place, far, first)
                        key = (access.operand, moved, copy if self.copies > 1 else 0)
                        if key not in done:
                            done[key] = None
                            pointer = pick(self.pointers[access.operand], copy)
                            self.b.do(word, *self.b.pointer(pointer, moved))

    def number_of(self, stride: str | int) -> Any:
        """A stride, or the product of two that stands for one."""
        if isinstance(stride, int):
            return stride
        found: Any = 1
        for part in stride.split(" * "):
            literal = part.removeprefix("-").isdecimal()
            found = self.product(found, int(part) if literal else self.words[part])
        return found

    def moved(self, place: Offset, far: Any, first: int) -> Offset:
        """A place so far on."""
        if type(far) is int:
            return Offset(place.terms, place.constant + far + first)
        return Offset((*place.terms, (far, 1)), place.constant + first)

    # -- groups of rows whose columns are summed

    def groups(self, begin: Any, end: Any) -> None:
        """Rows in groups; columns are summed over the rows of a group by the column rule."""
        k, b, lanes = self.kernel, self.b, self.kernel.lanes
        rows = k.axes[len(k.axes) - k.grouped :]
        apart = k.axes[: len(k.axes) - k.grouped]
        total = self.number(rows[0].extent)
        for axis in rows[1:]:
            total = self.product(total, self.number(axis.extent))
        height = self.height(total)
        groups = (
            b.op("floordiv", self.sum(total, b.op("sub", height, 1)), height) if apart else None
        )
        columns: dict[Extent, list[ColumnAccumulate]] = {}
        for stage in k.stages:
            if isinstance(stage, Map):
                for s in stage.body:
                    if isinstance(s, ColumnAccumulate):
                        columns.setdefault(stage.axis.extent, []).append(s)
        widths = {
            extent: self.multiple(self.sum(self.number(extent), lanes - 1), lanes)
            for extent in columns
        }
        scratch = frozenset(s.scratch for each in columns.values() for s in each)
        written = stored(k.stages) | scratch
        written |= {s.partials for each in columns.values() for s in each}
        with b.loop(begin, end, 1, written, "g") as group:
            number: Any = group
            if groups is not None:
                number = b.op("mod", group, groups)
                self.decode(apart, b.op("floordiv", group, groups))
            first = b.op("mul", number, height)
            last = b.least(b.op("add", first, height), total)
            pushed = b.variable("n", "copy", 0)
            with b.loop(first, last, COLUMN_BLOCK, written, "k") as block:
                past = b.least(b.op("add", block, COLUMN_BLOCK), last)
                for extent, sums in columns.items():
                    with b.loop(0, self.number(extent), lanes, scratch, "j") as j:
                        for s in sums:
                            neutral = self.neutral(s, lanes)
                            at = b.pointer(self.pointers[s.scratch], Offset(((j, 1),)))
                            b.do(f"store{lanes}", *at, neutral, stores=s.scratch)
                self.rows(rows, block, past)
                final = b.op("choose_eq", past, last, 1, 0) if columns else 0
                for extent, sums in columns.items():
                    self.push_columns(extent, sums, widths[extent], group, pushed, final)
                b.assign(pushed, "add", pushed, 1)

    def push_columns(
        self, extent: Extent, sums: Sequence[Any], width: Any, group: Any, pushed: Any, final: Any
    ) -> None:
        """Push the sums of a block of rows; with the last block, store those of the group."""
        b, lanes = self.b, self.kernel.lanes
        written = frozenset(x for s in sums for x in (s.scratch, s.partials))
        with b.loop(0, self.number(extent), lanes, written, "j") as j:
            terms = []
            for s in sums:
                pointer = self.pointers[s.scratch]
                own = b.variable("x", f"load{lanes}", *b.pointer(pointer, Offset(((j, 1),))))

                def level_at(level: Name, j: Name = j) -> Offset:
                    behind = ((width, 1),) if type(width) is Name else ()
                    constant = width if type(width) is int else 0
                    return Offset(((level, width), *behind, (j, 1)), constant)

                terms.append((s.kind, own, pointer, lanes, level_at))
            self.push(terms, pushed, final)
            with b.branch("eq", final, 1):
                stop = self.number(extent)
                mask = b.op(f"mask{lanes}", self.difference(stop, j))
                for s, (_, own, *_) in zip(sums, terms, strict=True):
                    row = self.product(group, stop)
                    at = b.pointer(self.pointers[s.partials], Offset(((row, 1), (j, 1))))
                    b.do("store", *at, own, mask, stores=s.partials)

    def column(self, s: ColumnAccumulate, values: Values) -> None:
        """A vector of each row into the accumulators of its columns, row after row."""
        b, lanes = self.b, self.kernel.lanes
        value, combine = values.vec(s.value), operation(COMBINERS[s.kind].combine)
        index = self.at[VECTOR]
        place = Offset((), index) if type(index) is int else Offset(((index, 1),))
        at = b.pointer(self.pointers[s.scratch], place)
        grown = b.load(s.scratch, f"load{lanes}", *at)
        for copy in range(values.copies):
            more = b.op(combine, grown, pick(value, copy))
            if copy and self.on is not None:
                more = b.op("select_mask", self.on[copy - 1], more, grown)
            grown = more
        b.do(f"store{lanes}", *at, grown, stores=s.scratch)

    # -- columns

    def height(self, rows: Any) -> Any:
        """Rows of a group."""
        each = self.b.op("floordiv", self.sum(rows, GROUPS - 1), GROUPS)
        return self.b.op("choose_lt", each, SHORTEST_GROUP, SHORTEST_GROUP, each)

    def neutral(self, s: Accumulate | ColumnAccumulate, lanes: int) -> Any:
        """A vector of what changes no result."""
        dtype = s.value.dtype
        return self.b.op(f"{element(dtype)}x{lanes}", COMBINERS[s.kind].identity(dtype))

    def columns(self, stage: Columns, number: int, start: Any, stop: Any) -> None:
        """Vectors of columns, each down all its rows, then the stores."""
        if stage.in_lanes or not stage.rows:
            raise UnsupportedError("a row that lies across memory")
        if self.copies > 1:
            raise UnsupportedError("columns of rows side by side")
        lanes, mixed = self.kernel.lanes, may_be_mixed([*stage.body, *stage.stores])
        count = self.chosen(Interleave, "factor", 1, number, "j") if mixed else 1
        total: Any = 1
        for axis in stage.rows:
            total = self.product(total, self.number(axis.extent))
        written = frozenset(s.access.operand for s in stage.stores)

        def body(values: Values) -> None:
            down = self.unrolled if small(stage.rows) else self.down
            for s in stage.body:
                self.vector_refs.add(s.name)
            self.refs |= down(stage, total, values)
            for store in stage.stores:
                behind = Values(self, values.lanes, True, values.offsets, values.mask)
                behind.store(store)

        self.vectors(start, stop, lanes, count, Known(""), False, written, body)

    def unrolled(self, stage: Columns, total: int, values: Values) -> dict[str, Any]:
        """A few rows, one after the other."""
        extents = [int(axis.extent) for axis in stage.rows]
        results: dict[str, Any] = {}
        for s in stage.body:
            dtype = s.value.dtype
            empty = COMBINERS[s.kind].empty(dtype)
            none = self.b.op(f"{element(dtype)}x{values.lanes}", empty)
            results[s.name] = self.neutral(s, values.lanes) if prod(extents) else none
        for places in np.ndindex(*extents):
            for axis, place in zip(stage.rows, places, strict=True):
                self.at[axis.name] = int(place)
            row = Values(self, values.lanes, True, values.offsets, values.mask)
            for s in stage.body:
                combine = operation(COMBINERS[s.kind].combine)
                results[s.name] = self.b.op(combine, results[s.name], row.vec(s.value))
        return results

    def down(self, stage: Columns, total: Any, values: Values) -> dict[str, Any]:
        """All rows by the column rule: groups in their order, blocks by the counter rule."""
        b, lanes, count = self.b, values.lanes, values.copies
        height = self.height(total)

        def for_each(make: Callable[[], Any]) -> Any:
            return make() if count == 1 else Each(make() for _ in range(count))

        def begin(s: Accumulate, prefix: str, value: Any) -> Any:
            kind = f"{element(s.value.dtype)}x{lanes}"
            return for_each(lambda: b.variable(prefix, kind, value))

        results = {
            s.name: begin(s, "r", COMBINERS[s.kind].empty(s.value.dtype)) for s in stage.body
        }
        stacks = {
            s.name: for_each(partial(b.local, element(s.value.dtype), _COLUMN_LEVELS * lanes))
            for s in stage.body
        }
        with b.loop(0, total, height, prefix="g") as first:
            last = b.least(b.op("add", first, height), total)
            pushed = b.variable("n", "copy", 0)
            sums = {
                s.name: begin(s, "a", COMBINERS[s.kind].identity(s.value.dtype)) for s in stage.body
            }
            with b.loop(first, last, COLUMN_BLOCK, prefix="k") as block:
                past = b.least(b.op("add", block, COLUMN_BLOCK), last)
                for s in stage.body:
                    identity = COMBINERS[s.kind].identity(s.value.dtype)
                    b.assign(sums[s.name], f"{element(s.value.dtype)}x{lanes}", identity)
                with b.loop(block, past, prefix="r") as row:
                    self.decode(stage.rows, row)
                    each = Values(self, lanes, True, values.offsets, values.mask)
                    for s in stage.body:
                        own = sums[s.name]
                        b.assign(own, operation(COMBINERS[s.kind].combine), own, each.vec(s.value))
                final = b.op("choose_eq", past, last, 1, 0)
                terms = [
                    (s.kind, sums[s.name], stacks[s.name], lanes, partial(_levels, step=lanes))
                    for s in stage.body
                ]
                self.push(terms, pushed, final)
                b.assign(pushed, "add", pushed, 1)
            is_first = b.op(f"mask{lanes}", b.op("choose_eq", first, 0, lanes, 0))
            for s in stage.body:
                joined = b.op(operation(COMBINERS[s.kind].combine), results[s.name], sums[s.name])
                b.assign(results[s.name], "select_mask", is_first, sums[s.name], joined)
        return results


def _levels(level: Name, step: int = 1) -> Offset:
    """The place of a level of a counter."""
    return Offset(((level, step),))


def stored(stages: Sequence[Stage]) -> frozenset[str]:
    """The operands that stages store to."""
    every = [s for stage in stages for s in statements(stage)]
    found = {s.access.operand for s in every if isinstance(s, Store)}
    found |= {s.scratch for s in every if isinstance(s, ColumnAccumulate)}
    return frozenset(found | {s.operand for s in every if isinstance(s, Check)})
