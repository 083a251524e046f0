"""Kernels to nests: stages become loops, under directives that say how the loops run.

Sums follow ``ir/summation.py`` to the bit: lanes inside of a block, blocks joined by a binary
counter, groups of rows in their order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import groupby
from math import prod
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from staticgrad.codegen.block_functions import element
from staticgrad.codegen.lines import VECTOR, Fragment, Lines, Unit
from staticgrad.codegen.products.gemm import write_gemm
from staticgrad.codegen.products.looped import write_product
from staticgrad.codegen.sorting import write_sort
from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.expr import BLOCKS, LEAVES, Access, Expr, Position, postorder
from staticgrad.ir.forms import COMBINERS
from staticgrad.ir.kernels.interleaving import runs_of
from staticgrad.ir.kernels.kernel import LANE_VECTORS, Kernel
from staticgrad.ir.kernels.stages import (
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
    Order,
    Scalar,
    Search,
    Sort,
    Stage,
    Store,
    is_first,
    is_found,
    may_leave,
    nested,
    roots,
    small,
    statements,
)
from staticgrad.ir.kernels.together import whole_vectors
from staticgrad.ir.kernels.width import WIDEST, half_registers, loads_across
from staticgrad.ir.summation import BLOCK, COLUMN_BLOCK, GROUPS, SHORTEST_GROUP, lanes as sum_lanes
from staticgrad.native.machine import Machine
from staticgrad.nest.directives import (
    HELD,
    Directives,
    Interleave,
    Prefetch,
    Stream,
    Vector,
    checked,
    defaults,
    may_be_mixed,
    work,
)
from staticgrad.nest.records import (
    Apply,
    Builder,
    Each,
    Name,
    Nest,
    Offset,
    Text,
    UnsupportedError,
    pick,
)
from staticgrad.nest.runs import load_run, store_at_last
from staticgrad.nest.text import print_block
from staticgrad.nest.transposed import LoadedTiles, TransposedRows
from staticgrad.nest.values import Values, operation
from staticgrad.types.dtype import DType

PARAMETERS: Final = ("t", "own", "begin", "end")
#: Rows of so many times a prefetch's distance are fetched along themselves, others row by row.
_LONG: Final = 8
#: The numbers of names in source of others begin there.
_TEXT_NAMES: Final = 10000
#: A function, for it hardly ever runs.
_NOTE: Final = "outlined_note"
_NOTE_TEXT: Final = f"""\
def {_NOTE}(words, position, index):
    if words[0] < 0 or position < words[0]:
        store1(words, 0, i64x1(position))
        store1(words, 1, i64x1(index))"""
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_IDENTIFIER: Final = re.compile(r"[a-z_]\w*")
#: Bytes of a line of the caches.
_LINE: Final = 64
#: Bits of the widest registers.
_WIDEST: Final = 512
#: Expressions of a stored value from which on such values are computed in turn.
_LONG_VALUES: Final = 16
#: Operations of a body that is written for vectors inside of ends, too, at most.
_LONGEST: Final = 96
_LONGEST_WITH_MASKS: Final = 32
#: Operations of vectors of rows side by side, at most.
_LANES_ROOM: Final = 500
#: Vectors of columns that go through rows together: of lane rules, and of simple reductions.
_SIDE_BY_SIDE: Final = 16
_RUN: Final = 64
#: Rows that are added at a time, of one accumulator of a lane rule, and of a column rule.
_OF_A_LANE: Final = 4
_ROWS_TOGETHER: Final = 8
#: Operations beyond which rows are added one by one; of a simple reduction, at most.
_WAITING: Final = 16
_FEW: Final = 10
#: Levels of a binary counter: enough for 2**40 blocks, and of rows of columns.
LEVELS: Final = 40
_COLUMN_LEVELS: Final = 24


def lower(kernel: Kernel, machine: Machine, directives: Directives | None = None) -> Nest:
    """Return the nest of a kernel under directives; None: those that it has by default.

    Raises:
        UnsupportedError: no nest can be made of this kernel.
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
        self.unit = Unit(self.functions, machine=machine, known={k.name: k for k in kernel.known})
        self.unit.named = _TEXT_NAMES
        self.known: Mapping[str, Known] = {each.name: each for each in kernel.known}
        self.streamed = {d.operand for d in directives if isinstance(d, Stream)}

    def nest(self) -> Nest:
        """The whole kernel."""
        k, b = self.kernel, self.b
        t, own, begin, end = parameters = tuple([Name(n, 0) for n in PARAMETERS])
        b.reserved |= {*PARAMETERS, *k.arguments, *(o.name for o in k.operands)}
        listed = k.listed.names if k.listed else ()
        shared = private = 0
        for o in k.operands:
            source, number = (own, private) if o.is_own else (t, shared)
            private, shared = private + o.is_own, shared + (not o.is_own)
            word = b.op("getitem", source, number)
            if o.name not in listed:
                self.pointers[o.name] = b.named(o.name, f"ptr_{element(o.dtype)}", word)
        for number, argument in enumerate(k.arguments):
            if argument not in listed:
                self.words[argument] = b.named(argument, "getitem", t, shared + number)
        if k.outer == "lanes":
            (stage,) = k.stages
            self.stage(stage, 0, begin, end)
        elif k.outer == "groups":
            self.groups(begin, end)
        elif k.in_lanes:
            self.rows_as_lanes(begin, end)
        elif k.in_tiles:
            TransposedRows(self).write(begin, end)
        elif k.outer == "tiles":
            with b.loop(begin, end, 1, stored(k.stages), "o") as turn:
                self.at["o"] = turn
                self.stage(k.stages[0], 0)
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
        """The function that notes an index that does not fit, if it is the first."""
        self.functions[_NOTE] = _NOTE_TEXT
        return _NOTE

    # -- rows

    def rows(self, axes: Sequence[Axis], start: Any, stop: Any) -> None:
        """All stages, for the rows along ``axes`` from one number to another."""
        if self.kernel.in_strips:
            self.strips(axes[0], start, stop)
        else:
            self.some_rows(axes, start, stop, self.kernel.stages)

    def some_rows(
        self,
        axes: Sequence[Axis],
        start: Any,
        stop: Any,
        stages: Sequence[Stage],
        before: Callable[[Any], None] = lambda numbers: None,
        behind: Callable[[Any], None] = lambda numbers: None,
    ) -> None:
        """Some stages, for the rows along ``axes``, with something before and behind them."""
        k = self.kernel
        count = self.chosen(Interleave, "factor", 1, axis="o")
        sizes = {name: self.own_size(name) for name in k.own_rows} if count > 1 else {}

        def inside(numbers: Any, copies: int) -> None:
            pointers, words = self.pointers, self.words
            if copies > 1:
                self.pointers = pointers | {
                    name: Each(self.derived(pointers[name], size, n) for n in range(copies))
                    for name, size in sizes.items()
                }
            if k.listed is not None:
                self.listed(numbers)
            self.decode(axes, numbers)
            self.at["o"] = numbers
            self.turn = (numbers, stop) if copies == 1 else None
            before(numbers)
            for number, stage in enumerate(k.stages):
                if any(stage is each for each in stages):
                    self.stage(stage, number)
            behind(numbers)
            self.pointers, self.words = pointers, words

        self.jammed(start, stop, count, stages, inside, self.most_rows(start))

    def most_rows(self, start: Any) -> Callable[[Any], Any]:
        """Where rows side by side end: they share checks only if few elements are chosen from."""
        extents = [self.number(c.extent) for c in self.kernel.checks_alike]

        def least(whole: Any) -> Any:
            for extent in extents:
                if type(extent) is Name:
                    whole = self.b.op("choose_gt", extent, WIDEST, start, whole)
            return whole

        return least

    def jammed(
        self,
        start: Any,
        stop: Any,
        count: int,
        stages: Sequence[Stage],
        inside: Callable[[Any, int], None],
        most: Callable[[Any], Any] = lambda whole: whole,
    ) -> None:
        """A loop of ``count`` iterations at a time. Where that changes nothing, the last iteration
        runs again to fill them; else what is left runs one by one."""
        b, every = self.b, [s for stage, _ in nested(stages) for s in statements(stage)]
        columns = any(isinstance(s, ColumnAccumulate) for s in every)
        adds = any(isinstance(s, Store) and s.combine for s in every)
        written, outer, on = stored(stages), self.copies, self.on
        checks = any(isinstance(s, Check) for s in every)
        if count > 1 and (adds or checks or (columns and not self.machine.has_mask_registers)):
            whole = most(self.sum(start, self.multiple(self.difference(stop, start), count)))
            parts: list[tuple[Any, Any, int, Any]]
            parts = [(start, whole, count, None), (whole, stop, 1, None)]
        else:
            parts = [(start, stop, count, stop if count > 1 else None)]
        for first, end, copies, last in parts:
            with b.loop(first, end, copies, written, "o") as number:
                self.copies, self.on = max(copies, outer), None
                numbers: Any = number
                if copies > 1:
                    behind = [b.op("add", number, n) for n in range(1, copies)]
                    if last is not None:
                        final = self.difference(last, 1)
                        if columns:
                            lanes = self.kernel.lanes
                            counts = [b.op("choose_lt", each, last, lanes, 0) for each in behind]
                            self.on = [b.op(f"mask{lanes}", each) for each in counts]
                        behind = [b.op("choose_lt", each, last, each, final) for each in behind]
                    numbers = Each((number, *behind))
                inside(numbers, copies)
            self.copies, self.on = outer, on

    def listed(self, number: Any) -> None:
        """The operands and arguments of an iteration, from its row of the table."""
        b, listed = self.b, self.kernel.listed
        assert listed is not None
        dtypes = {operand.name: operand.dtype for operand in self.kernel.operands}
        entry = self.product(number, len(listed.names))
        pointers, words = dict(self.pointers), dict(self.words)
        for place, name in enumerate(listed.names):
            word = b.op("getitem", pointers[listed.table], self.sum(entry, place))
            if name in dtypes:
                pointers[name] = b.op(f"ptr_{element(dtypes[name])}", word)
            else:
                words[name] = word
        self.pointers, self.words = pointers, words

    def strips(self, row: Axis, start: Any, stop: Any) -> None:
        """Rows in strips: a vector of rows runs each stage before any of them runs the next.

        Stages of scalars are vectors along the rows. Numbers that other stages read lie in local
        memory meanwhile, one for each row.
        """
        b, k, lanes = self.b, self.kernel, self.kernel.lanes
        runs = [[*run] for _, run in groupby(k.stages, key=lambda s: isinstance(s, Scalar))]
        given = {s.name: s.value for stages in runs for s in _results(stages)}
        passed = {
            name
            for n, stages in enumerate(runs)
            for name in _read(stages)
            if any(s.name == name for earlier in runs[:n] for s in _results(earlier))
        }
        room = {name: b.local(element(given[name].dtype), lanes) for name in sorted(passed)}
        with b.loop(start, stop, lanes, stored(k.stages), "s") as strip:
            past = b.least(b.op("add", strip, lanes), stop)
            for stages in runs:
                made = {s.name for s in _results(stages)}
                read = [name for name in room if name in _read(stages) and name not in made]
                if isinstance(stages[0], Scalar):
                    self.at[row.name] = strip
                    mask = b.op(f"mask{lanes}", self.difference(past, strip))
                    for name in read:
                        self.refs[name] = b.load(
                            "", f"load{lanes}", room[name], self.here(strip, 0)
                        )
                    self.vector_refs |= {*read, *made}
                    for stage in stages:
                        assert isinstance(stage, Scalar)
                        around = Values(self, lanes, True, mask=mask, axis=row.name)
                        self.scalar(stage, around)
                    for name in room:
                        if name in made:
                            b.do(f"store{lanes}", room[name], self.here(strip, 0), self.refs[name])
                    self.vector_refs -= {*read, *made}
                    continue

                def place(number: Any) -> Offset:
                    return self.place_of(self.difference(number, strip))

                def before(numbers: Any, read: Sequence[str] = read) -> None:
                    for name in read:
                        each = numbers if type(numbers) is Each else [numbers]
                        found = [b.load("", "load1", room[name], place(n)) for n in each]
                        self.refs[name] = Each(found) if len(found) > 1 else found[0]

                def behind(numbers: Any, made: Set[str] = made) -> None:
                    for name in room:
                        if name in made:
                            each = numbers if type(numbers) is Each else [numbers]
                            for copy, n in enumerate(each):
                                b.do("store1", room[name], place(n), pick(self.refs[name], copy))

                self.some_rows([row], strip, past, stages, before, behind)

    def here(self, moving: Name, constant: int) -> Offset:
        """A constant place that is read anew in each iteration of a loop."""
        return Offset(((moving, 0),), constant)

    def rows_as_lanes(self, start: Any, stop: Any) -> None:
        """Rows are the lanes of vectors: all stages, for some vectors of rows side by side."""
        k = self.kernel
        exprs = [*postorder(k.expressions)]
        total = len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        count = max(1, whole_vectors(total, LANE_VECTORS, _LANES_ROOM))
        self.vectors(
            start, stop, k.lanes, count, Known(""), False, stored(k.stages),
            lambda values: self.lane_stages(k.stages, values),
        )  # fmt: skip

    def lane_stages(self, stages: Sequence[Stage], values: Values) -> None:
        for number, stage in enumerate(stages):
            self.around = values
            if not isinstance(stage, Scalar | Loop):
                raise UnsupportedError("rows as lanes of this stage")
            self.stage(stage, number)
        self.around = None

    around: Values | None = None

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
            told = self.told(stage.axis.extent) if stop is None else Known("")
            if stop is None:
                stop = self.number(stage.axis.extent)
            if stage.axis.past:
                stop, told = self.limit(stage.axis, stage.axis.past), Known("")
            if stage.axis.first:
                start = self.limit(stage.axis, stage.axis.first)
                start = self.b.op("choose_lt", start, 0, 0, start)
            if any(axis.limits for axis in stage.rows):
                raise UnsupportedError("inner loops that end early")
            self.map(stage, number, start, stop, told)
        elif isinstance(stage, Columns):
            stop = self.number(stage.axis.extent) if stop is None else stop
            self.columns(stage, number, start, stop)
        elif isinstance(stage, Scalar):
            self.scalar(stage, self.scope())
        elif isinstance(stage, Loop):
            self.loop(stage)
        else:
            self.written_as_text(stage)

    def written_as_text(self, stage: Gemm | Sort) -> None:
        """A product or a sort, whose source others write."""
        unit, lines, b = self.unit, Lines(), self.b
        unit.write_map, unit.write_vectors = self.text_of_map, self.text_of_vectors
        if isinstance(stage, Gemm):
            write = write_gemm if stage.plain and self.kernel.outer == "tiles" else write_product
            write(self.kernel, stage, lines, unit)
        else:
            write_sort(self.kernel, stage, lines, unit)
        once, unit.once.lines = [line[4:] for line in unit.once.lines], []
        used = set(_IDENTIFIER.findall("\n".join([*once, *lines.lines])))
        held = {**self.pointers, **self.words, **self.at, **self.refs}
        own = {VECTOR, *(axis.name for axis in (stage.loops if isinstance(stage, Gemm) else ()))}
        bound: dict[str, Name | int] = {}
        for name, value in held.items():
            if name in used and name not in own:
                if type(value) is Each:
                    raise UnsupportedError("products of rows side by side")
                bound[name] = value
        if once:
            root = {name: value for name, value in bound.items() if name in self.b.reserved}
            b.blocks[0].out.append(Text(tuple(once), tuple(root.items())))
        b.text(lines.lines, bound, stored([stage]))

    @contextmanager
    def over_names(self) -> Iterator[Builder]:
        """A builder of its own, over the names of a product's or a sort's source."""
        held = self.b, self.at, self.refs, self.pointers, self.words, self.vector_refs
        self.b = Builder()
        self.b.count = held[0].count
        self.at = _Texts()
        self.refs = _Texts()
        self.pointers = {name: Name(name, 0) for name in held[3]}
        self.words = {name: Name(name, 0) for name in held[4]}
        self.vector_refs = set()
        yield self.b
        held[0].count = self.b.count
        self.b, self.at, self.refs, self.pointers, self.words, self.vector_refs = held

    def text_of_map(self, stage: Map) -> list[str]:
        """The source of a map that a product runs."""
        with self.over_names() as b:
            self.map(stage, -1, 0, self.number(stage.axis.extent), self.told(stage.axis.extent))
            return print_block(tuple(b.blocks[0].out))

    def text_of_vectors(
        self,
        wanted: Sequence[Store | Expr],
        inner: Sequence[str],
        lanes: int,
        mask: str = "m",
        called: Mapping[str, str] = _NOTHING,
    ) -> Fragment:
        """The source of stores, or of the vectors of expressions, inside of loops over ``inner``.

        ``called``: the names of results that are vectors there.
        """
        with self.over_names() as b, b.inside() as block:
            self.at |= {axis: Name(axis, 1) for axis in inner}
            self.refs |= {name: Name(text, 1) for name, text in called.items()}
            self.vector_refs |= {*called}
            values = Values(self, lanes, True, mask=Name(mask, 1))
            values.expect([r for e in wanted for r in (roots(e) if isinstance(e, Store) else (e,))])
            names = list[str]()
            for e in wanted:
                if isinstance(e, Store):
                    values.store(e)
                else:
                    names.append(str(values.vec(e)))
            return Fragment(print_block(tuple(b.blocks[0].out)), print_block(tuple(block)), names)

    def scope(self) -> Values:
        """Values outside of vector loops: of one lane, or of the rows that are lanes."""
        a = self.around
        return Values(self) if a is None else Values(self, a.lanes, True, a.offsets, a.mask)

    def limit(self, axis: Axis, name: str) -> Any:
        """Where a loop ends (or begins) that does so at a number of the row."""
        kept = self.refs[name]
        if type(kept) is Each:
            raise UnsupportedError("rows side by side that end apart")
        return self.b.least(self.b.op("word", kept), self.number(axis.extent))

    def loop(self, stage: Loop) -> None:
        """A loop of stages, with what it carries from iteration to iteration."""
        b = self.b
        start, stop = 0, self.number(stage.axis.extent)
        if stage.axis.past:
            stop = self.limit(stage.axis, stage.axis.past)
        if stage.axis.first:
            start = self.limit(stage.axis, stage.axis.first)
            start = b.op("choose_lt", start, 0, 0, start)
        values, limits = self.scope(), _limits(self.kernel)
        first = [values.result(c.value, c.name in limits) for c in stage.first]
        for carry, value in zip(stage.first, first, strict=True):
            copies = max(values.copies, 1)
            own = [b.variable("c", "copy", pick(value, copy)) for copy in range(copies)]
            self.refs[carry.name] = own[0] if copies == 1 else Each(own)
            if values.vector and carry.name not in limits:
                self.vector_refs.add(carry.name)

        def inside(numbers: Any, copies: int) -> None:
            self.at[stage.axis.name] = numbers
            if stage.going:
                going = b.op("word", self.refs[stage.going])
                if type(going) is Each:
                    raise UnsupportedError("rows side by side that end apart")
                with b.branch("eq", going, 0):
                    b.do("break")
            around = self.around
            for number, inner in enumerate(stage.stages):
                self.around = around
                self.stage(inner, number)
            self.around = around
            values = self.scope()
            following = [values.result(c.value, c.name in limits) for c in stage.following]
            following = [b.op("copy", value) for value in following]
            for carry, value in zip(stage.following, following, strict=True):
                b.assign(self.refs[carry.name], "copy", value)

        self.jammed(start, stop, stage.jammed, stage.stages, inside)

    def scalar(self, stage: Scalar, values: Values) -> None:
        """Statements once per row."""
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
        half = half_registers(stage, self.kernel.operands, lanes)
        if half and type(start) is int and told.short and 0 < told.most <= half:
            lanes = half  # processors take half the time for half registers
        wanted = [root for s in stage.body for root in roots(s)]
        runs = runs_of(stage)
        running: dict[str, Any] = {}
        leaves = [f"{s.name} found" for s in sums] if may_leave(stage) else []

        def body(values: Values) -> Any:
            values.expect(wanted)
            values.runs, values.load_run = runs.loads, load_run
            self.prefetch(stage, number, values)
            if values.copies == 1:
                self.in_turn(stage, values)
            for s in stage.body:
                if s in still or store_at_last(values, runs, s):
                    continue
                if isinstance(s, Accumulate) and is_found(s):
                    self.position(s, values, running, start, stop)
                else:
                    self.statement(s, values, running)
            if leaves and all(name in running for name in leaves):
                done = 0
                for name in leaves:
                    for copy in range(self.copies):
                        done = self.sum(done, pick(running[name], copy))
                return self.b.op("choose_eq", done, len(leaves) * self.copies, 1, 0)
            return None

        with ExitStack() as stack:
            written = stored([stage])
            for axis in stage.rows:
                loop = self.b.loop(0, self.number(axis.extent), stored=written)
                self.at[axis.name] = stack.enter_context(loop)
            count = self.chosen(Interleave, "factor", 1, number, "j")
            mixed = self.copies == 1 and may_be_mixed(stage.body)
            if not mixed or runs.loads or runs.waiting or any(s.blocks for s in sums):
                count = 1
            masked = self.chosen(Vector, "tail", "peel", number) == "mask"
            short = type(start) is int and told.short

            adds = self.adds_rows(stage)
            windows = self.windows(stage)
            still = [
                s for s in stage.body if isinstance(s, Check) and self.stands_still(s, written)
            ]
            for s in still:
                self.scope().check(s)

            def vectors(first: Any, last: Any, known: Known) -> None:
                self.vectors(first, last, lanes, count, known, masked, written, body, adds, windows)

            for name in leaves:
                running[name] = self.per_copy(partial(self.b.variable, "d", "copy", 0))
            self.reduced(sums, running, vectors, start, stop, told, short, written)

    def stands_still(self, s: Check, written: Set[str]) -> bool:
        """Return whether an index is the same for all vectors of a map that writes operands."""
        along = Values(self, self.kernel.lanes, True)
        for e in postorder(roots(s)):
            if along.moves_itself(e) or (e.op == "ref" and e.attribute not in self.refs):
                return False
            if isinstance(e.attribute, Access) and e.attribute.operand in written:
                return False
        return True

    def windows(self, stage: Map) -> list[Position]:
        """The positions whose ends vectors cross, if the body is short enough to be written twice
        more: vectors that cross none need no masks."""
        exprs = [*postorder([root for s in stage.body for root in roots(s)])]
        accesses = [e.attribute for e in exprs if isinstance(e.attribute, Access)]
        accesses += [s.access for s in stage.body if isinstance(s, Store)]
        found = dict.fromkeys(p for a in accesses for p in a.bounded if p.step(VECTOR) == 1)
        lines = len(stage.body) + len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS)
        most = _LONGEST_WITH_MASKS if self.machine.has_mask_registers else _LONGEST
        return [*found] if lines <= most else []

    def peeled(
        self,
        start: Any,
        stop: Any,
        lanes: int,
        written: frozenset[str],
        body: Callable[[Values], Any],
        windows: Sequence[Position],
    ) -> None:
        """Vectors that may cross an end, those that do not, and those that may again."""
        b, inner, outer = self.b, start, stop
        self.at[VECTOR] = start
        values = Values(self, lanes, True)
        for first, end in map(values.window, windows):
            inner = b.op("choose_lt", inner, first, first, inner)
            outer = b.least(outer, end)
        behind = self.sum(self.difference(inner, start), lanes - 1)
        low = self.sum(start, self.multiple(behind, lanes))
        length = b.op("choose_gt", outer, low, self.difference(outer, low), 0)
        high = self.sum(low, self.multiple(length, lanes))
        with b.loop(0, 2, 1, written, "e") as part:
            first = b.op("choose_eq", part, 0, start, high)
            last = b.op("choose_eq", part, 0, b.least(low, stop), stop)
            with b.loop(first, last, lanes, written, "j") as index:
                self.at[VECTOR] = index
                left = self.difference(stop, index)
                body(Values(self, lanes, True, mask=b.op(f"mask{lanes}", left), left=left))
            first = b.op("choose_eq", part, 0, low, high)
            with b.loop(first, high, lanes, written, "j") as index:
                self.at[VECTOR] = index
                body(Values(self, lanes, True, inside=True))

    def adds_rows(self, stage: Map) -> bool:
        """Return whether each row of a map is added to contiguous elements of memory: a processor
        forwards a store to a load of the same bytes at once, but no store under a mask."""
        stores = [s for s in stage.body if isinstance(s, Store)]
        if not self.kernel.serial or stage.rows or stage.axis.extent == 1 or not stores:
            return False
        if not all(s.combine and s.access.stride(VECTOR) == 1 for s in stores):
            return False
        indices = [*postorder([index for s in stores for index in s.indices])]
        loads = [e.attribute for e in indices if isinstance(e.attribute, Access)]
        along = any(e.op == "index" and e.attribute == VECTOR for e in indices)
        moved = any(access.stride(VECTOR) != 0 for access in loads) or along
        return not moved and not any(s.access.bounded for s in stores)

    def in_turn(self, stage: Map, values: Values) -> None:
        """Compute stored values that are long and alike one operation of each in turn: a processor
        finds what does not wait among the next few hundred instructions."""
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

    def statement(self, s: Any, values: Values, running: dict[str, Any]) -> None:
        if isinstance(s, Store):
            values.store(s)
        elif isinstance(s, Accumulate):
            self.accumulate(s, values, running)
        elif isinstance(s, ColumnAccumulate):
            self.column(s, values)
        elif isinstance(s, Check):
            values.check(s)
        elif isinstance(s, Search):
            values.search(s)
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
        body: Callable[[Values], Any],
        narrower: bool = False,
        windows: Sequence[Position] = (),
    ) -> None:
        """Vectors from ``start`` to ``stop``: whole ones, ``count`` at a time, and the rest; if
        ``narrower``, in vectors of half the lanes, a quarter and so on instead of under a mask."""
        b, from_zero = self.b, type(start) is int and start == 0
        multiple = told.multiple if from_zero else 1

        def one(index: Any, left: Any, loops: bool = True) -> None:
            self.at[VECTOR] = index
            mask = None if left is None else b.op(f"mask{lanes}", left)
            done = body(Values(self, lanes, True, mask=mask, left=left))
            if loops and done is not None:
                with b.branch("eq", done, 1):
                    b.do("break")

        if from_zero and told.short and 0 < told.most <= lanes:  # one vector
            one(0, None if multiple % lanes == 0 else stop, False)
            return
        step = lanes * count
        if windows and self.copies == 1:
            self.peeled(start, stop, lanes, written, body, windows)
            return
        if type(stop) is int and from_zero and stop < step:
            masked = True
        if masked:
            with b.loop(start, stop, lanes, written, "j") as index:
                one(index, None if multiple % lanes == 0 else self.difference(stop, index))
            return
        exact = multiple % step == 0
        end = stop if exact else self.sum(start, self.multiple(self.difference(stop, start), step))
        with b.loop(start, end, step, written, "j") as index:
            self.at[VECTOR] = index
            done = body(Values(self, lanes, True, tuple(range(0, step, lanes))))
            if done is not None:
                with b.branch("eq", done, 1):
                    b.do("break")
        if exact:
            return
        if narrower:
            at: Any = b.variable("j", "copy", end)
            while lanes > 1 and multiple % lanes:
                lanes //= 2
                with b.branch("le", b.op("add", at, lanes), stop):
                    self.at[VECTOR] = at
                    body(Values(self, lanes, True))
                    b.assign(at, "add", at, lanes)
            return
        if count == 1:
            with b.branch("lt", end, stop):
                one(end, self.difference(stop, end), False)
            return
        with b.loop(end, stop, lanes, written, "j") as index:
            whole = multiple % lanes == 0
            one(index, None if whole else self.difference(stop, index))

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
        identity = self.neutral_key(s)
        kind = f"{element(key_dtype(s))}x{self.width(s)}"
        return self.per_copy(lambda: self.b.variable("a", kind, identity))

    def neutral_key(self, s: Accumulate) -> Any:
        """The identity of a reduction as an accumulator holds it."""
        dtype, identity = s.value.dtype, COMBINERS[s.kind].identity(s.value.dtype)
        if not is_by_key(s):
            return identity
        bits = int(np.asarray(identity, dtype.numpy).view(dtype.signed.numpy))
        return bits ^ ((1 << (dtype.bits - 1)) - 1) if bits < 0 else bits

    def accumulate(self, s: Accumulate, values: Values, running: dict[str, Any]) -> None:
        """One vector of each row, or some of a row in their order, into its accumulator."""
        b, combiner = self.b, COMBINERS[s.kind]
        value, own = values.vec(s.value), running[s.name]
        if values.mask is not None:
            value = b.op("select_mask", values.mask, value, combiner.identity(s.value.dtype))
        if s.blocks:
            self.push_lanes(s, value, own)
            return
        parts = self.parts(s, self.key(s, value))
        for copy in range(values.copies):
            for part in parts:
                held = pick(own, copy)
                b.assign(held, operation(combiner.combine), held, pick(part, copy))

    def parts(self, s: Accumulate, value: Any) -> list[Any]:
        """A vector, or its halves where an accumulator has half of its lanes."""
        if self.width(s) == self.kernel.lanes:
            return [value]
        return [self.b.op(half, value) for half in ("low", "high")]

    def position(
        self, s: Accumulate, values: Values, running: dict[str, Any], start: Any, stop: Any
    ) -> None:
        """The least or largest position at which something holds.

        Positions are compared where some lane has one, and in the first vector, for what stands
        for none; where that lies among the positions, or on their other side, always.
        """
        b, (holds, _, other) = self.b, s.value.args
        values.emit([holds, other])
        if holds not in values.moving or other in values.moving:
            self.accumulate(s, values, running)
            return
        flags = values.vec(holds)
        if values.mask is not None:
            flags = b.op("select_mask", values.mask, flags, False)
        combine, first = operation(COMBINERS[s.kind].combine), f"{s.name} found"
        for copy in range(values.copies):
            own, at = pick(flags, copy), pick(values.position(), copy)
            none = pick(values.word(other), copy)
            hits = b.op("word", b.op("cast_i64", b.op("hor", own)))
            outside = ("choose_lt", none, stop) if is_first(s) else ("choose_gt", none, start)
            counts = b.op(*outside, 1, 0)
            begins = b.op("choose_eq", at, start, 1, 0)
            held = pick(running[s.name], copy)
            with b.branch("gt", self.sum(self.sum(hits, begins), counts), 0, rare=True):
                where = b.op(
                    "select", own, b.op(f"iota{values.lanes}", at), pick(values.vec(other), copy)
                )
                if values.mask is not None:
                    identity = COMBINERS[s.kind].identity(s.value.dtype)
                    where = b.op("select_mask", values.mask, where, identity)
                for part in self.parts(s, where):
                    b.assign(held, combine, held, part)
                if first in running:
                    b.assign(pick(running[first], copy), *outside, 0, hits)

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
        return self.from_key(s, self.b.op(COMBINERS[s.kind].horizontal, held))

    def from_key(self, s: Accumulate, found: Any) -> Any:
        """What a key stands for."""
        if not is_by_key(s):
            return found
        b = self.b
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

    def prefetch_next(self, stage: Map, values: Values) -> None:
        """Prefetch the next vectors of rows that run a vector each before any runs the next."""
        self.prefetched(stage, values, [Prefetch(VECTOR, self.kernel.lanes)])

    def prefetch(self, stage: Map, number: int, values: Values) -> None:
        """Prefetch what is touched further on, each line of memory once."""
        ahead = [d for d in self.directives if isinstance(d, Prefetch) and d.stage in (number, -1)]
        if ahead:
            self.prefetched(stage, values, ahead)

    def prefetched(self, stage: Map, values: Values, ahead: Sequence[Prefetch]) -> None:
        scratch = {o.name for o in self.kernel.operands if o.mode == "scratch"}
        touched: list[tuple[str, Access]] = [
            ("prefetch_write", s.access)
            for s in stage.body
            if isinstance(s, Store) and s.access.operand not in self.streamed
        ]
        loads = postorder([root for s in stage.body for root in roots(s)])
        word = "prefetch_second" if self.kernel.in_strips else "prefetch"
        touched += [(word, e.attribute) for e in loads if isinstance(e.attribute, Access)]
        done: dict[Any, None] = {}
        for d in ahead:
            for word, access in touched:
                if access.stride(VECTOR) != 1 or access.gather or access.operand in scratch:
                    continue
                far = self.far(stage, access, d)
                if type(far) is int and far == 0:
                    continue
                size = self.kernel.operand(access.operand).dtype.itemsize
                for copy in range(values.copies):
                    place = values.place(access, (), copy)
                    for first in range(0, values.lanes, _LINE // size):
                        moved = self.moved(place, far, first)
                        key = (access.operand, moved, copy if self.copies > 1 else 0)
                        if key not in done:
                            done[key] = None
                            pointer = pick(self.pointers[access.operand], copy)
                            self.b.do(word, *self.b.pointer(pointer, moved))

    def far(self, stage: Map, access: Access, d: Prefetch) -> Any:
        """How far ahead, in elements, an access is prefetched; 0: it is not."""
        if d.axis != "*":
            return self.product(self.number_of(access.stride(d.axis)), d.distance)
        b, axis, extent = self.b, (*self.kernel.axes, *stage.rows)[-1], stage.axis.extent
        stride = self.number_of(access.stride(axis.name))
        if type(stride) is int and stride == 0:
            return 0
        if isinstance(extent, int):
            if extent >= _LONG * d.distance:
                return d.distance
            return self.product(stride, d.distance // max(extent, 1) + 1)
        length, most = self.number(extent), _LONG * d.distance
        rows = self.sum(b.quotient(d.distance, b.op("choose_lt", length, 1, 1, length)), 1)
        rows = b.op("choose_ge", length, most, 0, rows)
        if not stage.rows and self.kernel.jammed == 1 and self.turn is not None:
            number, end = self.turn  # rows behind may be another worker's, which is writing them
            rows = b.op("choose_lt", b.op("add", number, rows), end, rows, 0)
        return self.sum(self.product(stride, rows), b.op("choose_ge", length, most, d.distance, 0))

    turn: tuple[Any, Any] | None = None

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
        if self.copies > 1:
            raise UnsupportedError("columns of rows side by side")
        if stage.in_lanes or self.is_read_by_rows(stage):
            self.by_rows(stage, start, stop)
            return
        lanes, mixed = self.kernel.lanes, may_be_mixed([*stage.body, *stage.stores])
        count = self.chosen(Interleave, "factor", 1, number, "j") if mixed else 1
        if not small(stage.rows) and self.tiles_of(stage) is not None:
            count = 1
        total: Any = 1
        for axis in stage.rows:
            total = self.product(total, self.number(axis.extent))
        written = frozenset(s.access.operand for s in stage.stores)

        def body(values: Values) -> None:
            for sums in self.passes(stage):
                if small(stage.rows):
                    self.refs |= self.unrolled(stage, sums, values)
                elif in_blocks(sums[0]):
                    self.refs |= self.down(stage, sums, total, values)
                else:
                    self.refs |= self.extremes(stage, sums, total, values)
            self.vector_refs |= {s.name for s in stage.body}
            for store in stage.stores:
                behind = Values(self, values.lanes, True, values.offsets, values.mask)
                behind.store(store)

        self.vectors(start, stop, lanes, count, Known(""), False, written, body)

    def passes(self, stage: Columns) -> list[Sequence[Accumulate]]:
        """The reductions that go through the rows together: as many as registers hold."""
        if small(stage.rows):
            return [stage.body]
        trees = [s for s in stage.body if in_blocks(s)]
        most = HELD * self.machine.vector_bits // (2 * _WIDEST)  # two vectors of each
        count = -(-len(trees) // most)
        others = [(s,) for s in stage.body if not in_blocks(s)]
        return [*others, *(trees[n::count] for n in range(count))]

    def unrolled(
        self, stage: Columns, sums: Sequence[Accumulate], values: Values
    ) -> dict[str, Any]:
        """A few rows, one after the other."""
        extents = [int(axis.extent) for axis in stage.rows]
        results: dict[str, Any] = {}
        for s in sums:
            dtype = s.value.dtype
            empty = COMBINERS[s.kind].empty(dtype)
            none = self.b.op(f"{element(dtype)}x{values.lanes}", empty)
            results[s.name] = self.neutral(s, values.lanes) if prod(extents) else none
        for places in np.ndindex(*extents):
            for axis, place in zip(stage.rows, places, strict=True):
                self.at[axis.name] = int(place)
            row = Values(self, values.lanes, True, values.offsets, values.mask)
            for s in sums:
                combine = operation(COMBINERS[s.kind].combine)
                results[s.name] = self.b.op(combine, results[s.name], row.vec(s.value))
        return results

    def extremes(
        self, stage: Columns, sums: Sequence[Accumulate], total: Any, values: Values
    ) -> dict[str, Any]:
        """All rows one after the other: every order gives the same bits."""
        b, lanes, count = self.b, values.lanes, values.copies
        held: dict[str, Any] = {}
        for s in sums:
            kind = f"{element(key_dtype(s))}x{lanes}", self.neutral_key(s)
            own = [b.variable("a", *kind) for _ in range(count)]
            held[s.name] = own[0] if count == 1 else Each(own)
        tiles = self.tiles_of(stage)
        with b.loop(0, total, COLUMN_BLOCK, prefix="k") as block:
            past = b.least(b.op("add", block, COLUMN_BLOCK), total)
            for each in self.rows_of_block(stage, values, tiles, block, past):
                for s in sums:
                    value = self.key(s, each.vec(s.value))
                    own = held[s.name]
                    b.assign(own, operation(COMBINERS[s.kind].combine), own, value)
        return {s.name: self.from_key(s, held[s.name]) for s in sums}

    def rows_of_block(
        self, stage: Columns, values: Values, tiles: LoadedTiles | None, block: Any, past: Any
    ) -> Iterator[Values]:
        """The loop over rows of a block; yield the values of a row, once."""
        b, lanes = self.b, values.lanes
        if tiles is not None:
            self.at[stage.rows[0].name] = block
            width = lanes if values.left is None else values.left
            tiles.load(self, width, self.difference(past, block))
        with b.loop(block, past, prefix="r") as row:
            self.decode(stage.rows, row)
            each = Values(self, lanes, True, values.offsets, values.mask)
            if tiles is not None:
                each.runs = dict.fromkeys(tiles.loads, self.difference(row, block))
                each.load_run = tiles.read
            yield each

    def tiles_of(self, stage: Columns) -> LoadedTiles | None:
        """The loads that are contiguous from row to row, whose blocks are transposed."""
        if len(stage.rows) > 1 or len(stage.body) > 1:
            return None
        row = stage.rows[0].name
        loads = tuple(loads_across(roots(stage.body[0]), row, VECTOR))
        return LoadedTiles.of(self, loads, COLUMN_BLOCK) if loads else None

    def down(
        self, stage: Columns, sums: Sequence[Accumulate], total: Any, values: Values
    ) -> dict[str, Any]:
        """All rows by the column rule: groups in their order, blocks by the counter rule."""
        b, lanes, count = self.b, values.lanes, values.copies
        height = self.height(total)

        def for_each(make: Callable[[], Any]) -> Any:
            return make() if count == 1 else Each(make() for _ in range(count))

        def begin(s: Accumulate, prefix: str, value: Any) -> Any:
            kind = f"{element(s.value.dtype)}x{lanes}"
            return for_each(lambda: b.variable(prefix, kind, value))

        results = {s.name: begin(s, "r", COMBINERS[s.kind].empty(s.value.dtype)) for s in sums}
        stacks = {
            s.name: for_each(partial(b.local, element(s.value.dtype), _COLUMN_LEVELS * lanes))
            for s in sums
        }
        tiles = self.tiles_of(stage)
        with b.loop(0, total, height, prefix="g") as first:
            last = b.least(b.op("add", first, height), total)
            pushed = b.variable("n", "copy", 0)
            held = {s.name: begin(s, "a", COMBINERS[s.kind].identity(s.value.dtype)) for s in sums}
            with b.loop(first, last, COLUMN_BLOCK, prefix="k") as block:
                past = b.least(b.op("add", block, COLUMN_BLOCK), last)
                for s in sums:
                    identity = COMBINERS[s.kind].identity(s.value.dtype)
                    b.assign(held[s.name], f"{element(s.value.dtype)}x{lanes}", identity)
                for each in self.rows_of_block(stage, values, tiles, block, past):
                    for s in sums:
                        own = held[s.name]
                        b.assign(own, operation(COMBINERS[s.kind].combine), own, each.vec(s.value))
                final = b.op("choose_eq", past, last, 1, 0)
                terms = [
                    (s.kind, held[s.name], stacks[s.name], lanes, partial(_levels, step=lanes))
                    for s in sums
                ]
                self.push(terms, pushed, final)
                b.assign(pushed, "add", pushed, 1)
            is_first = b.op(f"mask{lanes}", b.op("choose_eq", first, 0, lanes, 0))
            for s in sums:
                joined = b.op(operation(COMBINERS[s.kind].combine), results[s.name], held[s.name])
                b.assign(results[s.name], "select_mask", is_first, held[s.name], joined)
        return results

    def is_read_by_rows(self, stage: Columns) -> bool:
        """Return whether rows are read whole: one reduction of plain loads and few operations."""
        if len(stage.body) > 1 or small(stage.rows) or not may_be_mixed(stage.body):
            return False
        exprs = [*postorder(roots(stage.body[0]))]
        loads = [e.attribute for e in exprs if isinstance(e.attribute, Access)]
        if len(exprs) > _FEW or any(e.op in BLOCKS for e in exprs) or not loads:
            return False
        return all(a.stride(VECTOR) == 1 and not (a.gather or a.bounded) for a in loads)

    def by_rows(self, stage: Columns, start: Any, stop: Any) -> None:
        """Chunks of columns, row after row: what grows meanwhile lies in local memory.

        A row that lies across memory has the lane rule: row r of a block goes to the accumulator
        r modulo their number. Else groups and blocks of rows follow the column rule.
        """
        b, lanes = self.b, self.kernel.lanes
        total: Any = 1
        for axis in stage.rows:
            total = self.product(total, self.number(axis.extent))
        by_parts: dict[int, list[Accumulate]] = {}
        for s in stage.body:
            parts = sum_lanes(s.value.dtype) if stage.in_lanes else 1
            by_parts.setdefault(parts, []).append(s)
        width = (_SIDE_BY_SIDE if stage.in_lanes else _RUN) * lanes
        written = frozenset(s.access.operand for s in stage.stores)
        results = {s.name: b.local(element(key_dtype(s)), width) for s in stage.body}
        rooms = {
            s.name: (
                b.local(element(key_dtype(s)), parts * width),
                b.local(element(key_dtype(s)), LEVELS * width),
            )
            for parts, sums in by_parts.items()
            for s in sums
        }
        with b.loop(start, stop, width, written, "h") as chunk:
            past = b.least(b.op("add", chunk, width), stop)

            def place(j: Name, step: int = 1, *more: Any, chunk: Name = chunk) -> Offset:
                return Offset(((j, step), (chunk, -step), *more))

            with b.loop(chunk, past, lanes, prefix="j") as j:
                for s in stage.body:
                    at = b.pointer(results[s.name], place(j))
                    b.do(f"store{lanes}", *at, self.begins(s, COMBINERS[s.kind].empty))
            for parts, sums in by_parts.items():
                height = total if parts > 1 else self.height(total)
                with b.loop(0, total, height, prefix="g") as first:
                    last = b.least(b.op("add", first, height), total)
                    self.group_by_rows(
                        stage, sums, parts, (chunk, past), (first, last), rooms, results
                    )

            def body(values: Values) -> None:
                j = self.at[VECTOR]
                for s in stage.body:
                    at = b.pointer(results[s.name], place(j))
                    found = b.variable("x", f"load{lanes}", *at)
                    self.refs[s.name] = self.from_key(s, found)
                    self.vector_refs.add(s.name)
                for store in stage.stores:
                    values.store(store)

            self.vectors(chunk, past, lanes, 1, Known(""), False, written, body)

    def begins(self, s: Accumulate, of: Any) -> Any:
        """A vector of an identity, or of the result over no elements, or of its key."""
        value = self.neutral_key(s) if is_by_key(s) else of(s.value.dtype)
        return self.b.op(f"{element(key_dtype(s))}x{self.kernel.lanes}", value)

    def group_by_rows(
        self,
        stage: Columns,
        sums: Sequence[Accumulate],
        parts: int,
        columns: tuple[Any, Any],
        rows: tuple[Any, Any],
        rooms: Mapping[str, tuple[Name, Name]],
        results: Mapping[str, Name],
    ) -> None:
        """A group of rows: its blocks, each added up and pushed to a counter."""
        b, lanes, (chunk, past), (first, last) = self.b, self.kernel.lanes, columns, rows
        together = _OF_A_LANE if parts > 1 else _ROWS_TOGETHER
        exprs = [*postorder([s.value for s in sums])]
        if len(exprs) + sum(work(e) for e in exprs if e.op in BLOCKS) > _WAITING:
            together = 1
        pushed = b.variable("n", "copy", 0)

        def add(numbers: Any, copies: int, lane: Any) -> None:
            self.copies = copies
            self.decode(stage.rows, numbers)

            def body(values: Values) -> None:
                j = self.at[VECTOR]
                for s in sums:
                    combine = operation(COMBINERS[s.kind].combine)
                    value = self.key(s, values.vec(s.value))
                    room = Offset(((j, parts), (chunk, -parts), (lane, 1)))
                    at = b.pointer(rooms[s.name][0], room)
                    grown: Any = b.variable("x", f"load{lanes}", *at)
                    for copy in range(copies):
                        b.assign(grown, combine, grown, pick(value, copy))
                    b.do(f"store{lanes}", *at, grown)

            self.vectors(chunk, past, lanes, 1, Known(""), False, frozenset(), body)
            self.copies = 1

        with b.loop(first, last, BLOCK if parts > 1 else COLUMN_BLOCK, prefix="k") as block:
            end = b.least(b.op("add", block, BLOCK if parts > 1 else COLUMN_BLOCK), last)
            used = self.multiple(self.sum(self.difference(past, chunk), lanes - 1), lanes)
            with b.loop(0, self.product(used, parts), lanes, prefix="i") as at:
                for s in sums:
                    neutral = self.begins(s, COMBINERS[s.kind].identity)
                    b.do(f"store{lanes}", rooms[s.name][0], Offset(((at, 1),)), neutral)
            whole = block
            if together > 1:
                step = parts * together
                whole = b.op("add", block, self.multiple(self.difference(end, block), step))
                turns = b.loop(block, whole, step, prefix="r"), b.loop(0, parts, prefix="r")
                with turns[0] as around, turns[1] as part:
                    row = b.op("add", around, part)
                    more = [b.op("add", row, parts * n) for n in range(1, together)]
                    add(Each((row, *more)), together, b.op("mul", part, lanes))
            with b.loop(whole, end, prefix="r") as row:
                lane = b.op("mod", b.op("sub", row, block), parts)
                add(row, 1, b.op("mul", lane, lanes))
            final = b.op("choose_eq", end, last, 1, 0)
            with b.loop(chunk, past, lanes, prefix="j") as j:
                terms = []
                for s in sums:
                    own = self.halved(s, rooms[s.name][0], parts, j, chunk)

                    def level_at(level: Name, j: Name = j) -> Offset:
                        size = (_SIDE_BY_SIDE if stage.in_lanes else _RUN) * lanes
                        return Offset(((level, size), (j, 1), (chunk, -1)))

                    terms.append((s.kind, own, rooms[s.name][1], lanes, level_at))
                self.push(terms, pushed, final)
                with b.branch("eq", final, 1):
                    for s, (_, own, *_) in zip(sums, terms, strict=True):
                        into = b.pointer(results[s.name], Offset(((j, 1), (chunk, -1))))
                        with b.branch("gt", first, 0):
                            older = b.variable("x", f"load{lanes}", *into)
                            b.assign(own, operation(COMBINERS[s.kind].combine), older, own)
                        b.do(f"store{lanes}", *into, own)
            b.assign(pushed, "add", pushed, 1)

    def halved(self, s: Accumulate, room: Name, parts: int, j: Name, chunk: Name) -> Name:
        """The accumulators of a block's columns, joined by halving."""
        b, lanes = self.b, self.kernel.lanes
        place = Offset(((j, parts), (chunk, -parts)))
        pointer, rest = b.pointer(room, place)
        found = [
            b.variable("x", f"load{lanes}", pointer, Offset(rest.terms, part * lanes))
            for part in range(parts)
        ]
        combine, half = operation(COMBINERS[s.kind].combine), parts // 2
        while half:
            for part in range(half):
                b.assign(found[part], combine, found[part], found[part + half])
            half //= 2
        own: Name = found[0]
        return own


def in_blocks(s: Accumulate) -> bool:
    """Return whether blocks of a row are reduced apart and combined by the counter rule."""
    return COMBINERS[s.kind].rule == "tree"


def is_by_key(s: Accumulate) -> bool:
    """Return whether an extreme of floats is found by integers that are ordered as they are.

    To join two floats so that NaN wins and -0 is below +0 takes several instructions, each of
    which waits for the one before: 14 cycles for every vector of a row. The bits of a float, those
    of negative ones inverted, are such an integer; a NaN becomes the one that wins.
    """
    return s.value.dtype.is_float and COMBINERS[s.kind].combine in ("maximum", "minimum")


def key_dtype(s: Accumulate) -> DType:
    """The element type of accumulators: of keys, or of the values themselves."""
    return s.value.dtype.signed if is_by_key(s) else s.value.dtype


class _Texts(dict[str, Any]):
    """Names of a source by themselves."""

    def __missing__(self, name: str) -> Name:
        return Name(name, 0)


def _levels(level: Name, step: int = 1) -> Offset:
    """The place of a level of a counter."""
    return Offset(((level, step),))


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
    loops = (stage.axis for stage, _ in nested(kernel.stages) if isinstance(stage, Loop))
    return {name for axis in loops for name in axis.limits}


def stored(stages: Sequence[Stage]) -> frozenset[str]:
    """The operands that stages store to."""
    every = [s for stage, _ in nested(stages) for s in statements(stage)]
    orders = {s.scratch for s in every if isinstance(s, Order)}
    found = orders | {s.access.operand for s in every if isinstance(s, Store)}
    found |= {s.scratch for s in every if isinstance(s, ColumnAccumulate)}
    return frozenset(found | {s.operand for s in every if isinstance(s, Check)})
