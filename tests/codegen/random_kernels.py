"""Random kernels of several stages, by number: maps, scalars, columns, checks, searches, groups.

All loops are rows times columns: operands lie along (i0, j), (i0,), (j,) or nothing, in C order,
so that every place is stored to by one outer iteration. Values and results are shared at random
between statements and stages, over all dtypes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from staticgrad.errors import VerifyError
from staticgrad.language.ir.expr import (
    ARITHMETIC,
    BITWISE,
    COMPARE,
    DIVISION,
    EXTREMA,
    PRIMITIVES,
    Access,
    Expr,
    Position,
    describe_type_error,
    index,
    literal,
    load,
    ref,
    size,
)
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.directives import (
    Interleave,
    Prefetch,
    Stream,
    Strips,
    of_stages,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.legality import legal_ones, may_take_strips
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
    Check,
    ColumnAccumulate,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Operand,
    Scalar,
    Search,
    Store,
    nested_stages,
)
from staticgrad.language.ir.kernels.verify import verify_kernel
from staticgrad.language.types.dtype import (
    ALL_DTYPES,
    BF16,
    BOOL,
    F32,
    F64,
    I8,
    I32,
    I64,
    U8,
    U32,
    DType,
)

#: n0 rows of n1 columns; each row of a column's rows is one of n2.
ROWS, COLUMNS, DEEP = "n0", "n1", "n2"
#: More elements than rows of columns have, and twice as many.
APART, FAR = "n3", "n4"
#: Elements of a row whose columns have up to four each.
WIDE = "n5"
_BLOCKS = ("exp", "log1p", "tanh")
_FLOATING = ("sqrt", "floor", "ceil", "trunc", "rint", "fma", "c_fmod")
_OPS = (*ARITHMETIC, *_FLOATING, *DIVISION, *EXTREMA, *BITWISE, *COMPARE, *_BLOCKS)
_COMMON = (F32, F32, F32, F64, F64, I64, I32, U8, BOOL)


def kinds_of_numbers():
    """The kinds of reductions that take any number: one from outside may take bools alone."""
    return [kind for kind, combiner in COMBINERS.items() if set("iuf") <= set(combiner.kinds)]


@dataclass
class _Maker:
    """One kernel under construction."""

    random: Random
    grouped: bool = False
    streamed: list = field(default_factory=list)
    beside: list = field(default_factory=list)  # stages and directives for them
    operands: list[Operand] = field(default_factory=list)
    refs: list[Expr] = field(default_factory=list)
    stored: list[tuple[Access, DType]] = field(default_factory=list)
    shared: list[Expr] = field(default_factory=list)
    named: int = 0
    checks: str = ""
    limits: bool = False

    def fresh(self, letter):
        self.named += 1
        return f"{letter}{self.named - 1}"

    def dtype(self):
        return self.random.choice(_COMMON if self.random.random() < 0.8 else ALL_DTYPES)

    def operand(self, dtype, mode):
        name = f"p{len(self.operands)}"
        self.operands.append(Operand(name, dtype, mode))
        return name

    def load(self, loops):
        """An element of a new operand."""
        dtype = self.dtype()
        name = self.operand(dtype, "in")
        if self.random.random() < 0.7:
            return load(self.access(name, loops), dtype)
        outer = tuple(axis for axis in loops if axis != "j" and self.random.random() < 0.7)
        inner = ("j",) if "j" in loops and self.random.random() < 0.8 else ()
        shared = tuple(axis for axis in outer if self.random.random() < 0.3)
        down = tuple(axis for axis in outer if axis not in shared)
        extent = self.random.choice((ROWS, DEEP, 2))
        positions = [self.position(down, COLUMNS, extent), self.position((*shared, *inner), 1)]
        fill = literal(self.random.choice((-1, 0, 3)), dtype)
        access = Access(name, (), (), tuple(positions))
        return load(access, dtype, fill=fill if self.random.random() < 0.6 else None)

    def position(self, loops, stride, extent=COLUMNS):
        """A position that some loops move, between its ends."""
        steps = [self.random.choice((1, 1, 1, 2, 3, -1, -2, DEEP)) for _ in loops]
        start = self.random.choice((0, 0, 1, -1, -3, 5, DEEP))
        return Position(tuple(zip(loops, steps, strict=True)), start, stride, extent)

    def access(self, name, loops):
        """A place in a new operand: along some of the loops, in C order."""
        strides = []
        if "i0" in loops and self.random.random() < 0.7:
            strides.append(("i0", COLUMNS if "j" in loops else 1))
        rows = ("i1", "i2", "i5", "i6")
        inner = (row for row in rows if row in loops and self.random.random() < 0.8)
        strides += [(row, COLUMNS) for row in inner]
        if "j" in loops and self.random.random() < 0.8:
            strides.append(("j", 1))
        return Access(name, tuple(strides))

    def leaf(self, loops):
        kind = self.random.random()
        if kind < 0.15:
            dtype = self.dtype()
            return literal(self.random.choice((0, 1, 2, 3)), dtype)
        if kind < 0.25:
            return index(self.random.choice(loops)) if loops else size(COLUMNS)
        if kind < 0.5 and self.refs:
            return self.random.choice(self.refs)
        readable = [(a, d) for a, d in self.stored if {axis for axis, _ in a.moves} <= {*loops}]
        if kind < 0.65 and readable:
            access, dtype = self.random.choice(readable)
            return load(access, dtype)
        return self.load(loops)

    def value(self, loops, checked):
        """A value over some leaves, which may be shared within the stage."""
        pool = [*checked, self.leaf(loops), *self.shared[-3:]]
        for _ in range(self.random.randrange(5)):
            pool.append(self._grow_expression(pool, loops))
        self.shared.append(pool[-1])
        return pool[-1]

    def _grow_expression(self, pool, loops):
        for _ in range(20):
            op = self.random.choice(_OPS)
            first = self.random.choice(pool)
            args = [first]
            while len(args) < PRIMITIVES[op].operands:
                operand = self.random.choice([*pool, self.leaf(())] if len(pool) < 3 else pool)
                args.append(operand.cast(first.dtype))
            expression = Expr(op, BOOL if op in COMPARE else first.dtype, tuple(args))
            if not describe_type_error(expression):
                return expression
        return self.random.choice(pool).cast(self.dtype())

    def number(self, value):
        """The same as what is computed with, and 0 or 1 for a bool."""
        return value.cast(I32 if value.dtype is BOOL else value.dtype.compute)

    def accumulation(self, loops, checked, kind):
        value = self.value(loops, checked)
        if value.dtype.kind not in COMBINERS[kind].kinds or value.dtype.is_storage:
            value = self.number(value)
        return Accumulate(self.fresh("r"), kind, value)

    def store(self, loops, value, where=None):
        strides = []
        if "i0" in loops:
            strides.append(("i0", COLUMNS if "j" in loops else 1))
        positions = ()
        if "j" in loops and self.random.random() < 0.2:
            start, extent = self.random.choice(((-1, 5), (1, COLUMNS), (0, DEEP)))
            positions = (Position((("j", 1),), start, 1, extent),)
        elif "j" in loops:
            strides.append(("j", 1))
        number = value.dtype is not BOOL and not value.dtype.is_storage
        add = self.random.random() < 0.15 and number
        mode = "inout" if add else self.random.choice(("out", "out", "scratch"))
        if mode == "scratch" and "j" in loops and not positions and self.random.random() < 0.7:
            strides = strides[-1:]  # of each row the same memory
        access = Access(self.operand(value.dtype, mode), tuple(strides), (), positions)
        self.stored.append((access, value.dtype))
        streamed = mode == "out" and strides[-1:] == [("j", 1)] and value.dtype.itemsize >= 4
        kind = ("sum", "max", "min")[self.named % 3] if add else ""
        if streamed and self.named % 3 == 0:
            self.streamed.append(access.operand)
        return Store(access, value, (), kind)

    def lookups(self, loops):
        """A check or a search now and then, and what reads by it."""
        if self.random.random() < 0.6:
            return [], []
        name = self.fresh("c")
        if "j" in loops and self.random.random() < 0.4:
            expected = self.number(self.value(loops, []))
            sought = self.operand(expected.dtype, "in")
            right = self.random.random() < 0.5
            return [Search(name, expected, sought, 1, DEEP, right)], [ref(name, I64)]
        self.checks = self.checks or self.operand(I64, "check")
        moving = "j" in loops and self.random.random() < 0.7
        around = tuple(axis for axis in loops if moving or axis != "j")
        strides = dict.fromkeys(loops, COLUMNS) | {"i0": COLUMNS if moving else 1, "j": 1}
        place = tuple((axis, strides[axis]) for axis in around)
        at = load(Access(self.operand(I64, "in"), place), I64)
        position = literal(0, I64)
        for axis in around:
            step = size(COLUMNS) if (axis, moving) == ("i0", True) else literal(1, I64)
            position = position + index(axis) * step
        check = Check(name, at, DEEP, position, self.checks, self.random.random() < 0.5)
        dtype = self.dtype()
        gathered = Access(self.operand(dtype, "in"), (), (1,))
        return [check], [ref(name, I64), load(gathered, dtype, ref(name, I64))]

    def map(self, outer):
        extent = self.random.choice((None, None, DEEP, 2))
        rows = () if extent is None else (Axis("i2", extent),)
        loops = (*outer, *(axis.name for axis in rows), "j")
        body, checked = self.lookups(loops)
        if not rows and self.random.random() < 0.25:
            checked = [*checked, *self.neighbours(loops)]
        results = []
        for _ in range(self.random.randrange(1, 4)):
            if self.grouped and not rows and self.random.random() < 0.4:
                body.append(self.column(loops, checked))
            elif self.random.random() < 0.5 and not rows:
                kind = self.random.choice(kinds_of_numbers())
                accumulate = self.accumulation(loops, checked, kind)
                if (
                    COMBINERS[kind].is_ordered(accumulate.value.dtype)
                    and self.random.random() < 0.2
                ):
                    accumulate = replace(accumulate, blocks=True)
                results.append(accumulate)
                body.append(results[-1])
            else:
                body.append(self.store(loops, self.value(loops, checked)))
        if not rows and self.random.random() < 0.2:
            body += self.side_by_side(loops, checked)
        axis = self.limit_loop(Axis("j", COLUMNS)) if not rows else Axis("j", COLUMNS)
        if axis.past:  # what lies behind in a scratch is anything
            scratches = {o.name for o in self.operands if o.mode == "scratch"}
            self.stored = [pair for pair in self.stored if pair[0].operand not in scratches]
        self.refs += [ref(s.name, s.value.dtype) for s in results]
        stage = Map(axis, tuple(body), rows)
        if self.random.random() < 0.3:
            ahead = Prefetch(self.random.choice(loops), self.random.choice((1, 4, 512)))
            self.beside.append((stage, ahead))
        return stage

    def limit_loop(self, axis, first=False):
        """The loop, or now and then one that ends (and begins) at a number that was kept."""
        names = [str(r.attribute) for r in self.refs if r.dtype is I64]
        names = [name for name in names if name[0] in "rs"]
        if not (self.limits and names and self.random.random() < 0.5):
            return axis
        begin = self.random.choice(names) if first and self.random.random() < 0.5 else ""
        return replace(axis, past=self.random.choice(names), first=begin)

    def neighbours(self, loops):
        """Loads of places that lie between each other, by a literal step."""
        dtype, step = self.dtype(), self.random.choice((2, 3, 4))
        places = self.interleaved_accesses(
            "in", dtype, step, loops, bool(self.random.getrandbits(1))
        )
        return [load(place, dtype) for place in places]

    def side_by_side(self, loops, checked):
        """Stores to all places of a step, or all but the last."""
        dtype, step = self.dtype(), self.random.choice((2, 3, 4))
        places = self.interleaved_accesses("out", dtype, step, loops, True)
        return [Store(place, self.value(loops, checked).cast(dtype)) for place in places]

    def interleaved_accesses(self, mode, dtype, step, loops, rows):
        name = self.operand(dtype, mode)
        strides = (("i0", WIDE),) if rows and "i0" in loops else ()
        starts = range(self.random.choice((step, step, step - 1)))
        return [Access(name, strides, (), (Position((("j", step),), at),)) for at in starts]

    def column(self, loops, checked):
        accumulate = self.accumulation(loops, checked, self.random.choice(kinds_of_numbers()))
        dtype = accumulate.value.dtype
        partials, scratch = self.operand(dtype, "out"), self.operand(dtype, "scratch")
        return ColumnAccumulate(accumulate.kind, accumulate.value, partials, scratch)

    def scalar(self, outer):
        body, checked = self.lookups(outer)
        for _ in range(self.random.randrange(1, 3)):
            value = self.value(outer, checked)
            if self.random.random() < 0.4:
                body.append(Keep(self.fresh("r"), value))
                self.refs.append(ref(f"r{self.named - 1}", value.dtype))
            else:
                body.append(self.store(outer, value))
        self.refs += checked[:1]
        return Scalar(tuple(body))

    def gemm(self, outer):
        i = self.axes(Axis("i", self.random.choice((ROWS, DEEP, DEEP, 1, 3))), Axis("i3", 2))
        j = self.axes(Axis("j", self.random.choice((COLUMNS, COLUMNS, 5))), Axis("i2", 2))
        k = self.axes(Axis("k", self.random.choice((DEEP, DEEP, 3))), Axis("i4", 4))
        dtype = self.random.choice((F32, F32, F64, I32, I64))
        i, j = (axes if len(axes) > 1 else (self.limit_loop(*axes),) for axes in (i, j))
        k = k if len(k) > 1 else (self.limit_loop(*k, first=True),)
        a, b = (
            self.factor(dtype, (*outer, *(axis.name for axis in axes)))
            for axes in ((*i, *k), (*k, *j))
        )
        outer_refs, self.refs = self.refs, [*self.refs, ref("acc", dtype)]
        loops = (*outer, *(axis.name for axis in (*i, *j)))
        stores = []
        for _ in range(self.random.randrange(1, 3)):
            value = self.value(loops, [ref("acc", dtype)])
            strides = dict.fromkeys(loops, j[-1].extent) | {"i3": FAR, "i2": APART, "j": 1}
            access = Access(
                self.operand(value.dtype, self.random.choice(("out", "inout"))),
                tuple((axis, strides[axis]) for axis in loops),
            )
            add = self.operands[-1].mode == "inout" and value.dtype is not BOOL
            self.operands[-1] = replace(self.operands[-1], mode="inout" if add else "out")
            stores.append(Store(access, value, (), "sum" if add else ""))
        self.refs = outer_refs
        onto = None
        if len(k) == 1 and k[0].extent == 3 and len(self.operands) % 3:
            strides = dict.fromkeys(loops, j[-1].extent) | {"i3": FAR, "i2": APART, "j": 1}
            is_updated = len(self.operands) % 3 == 2
            name = self.operand(dtype, "inout" if is_updated else "in")
            onto = Access(name, tuple((axis, strides[axis]) for axis in loops))
            if is_updated:
                stores = [*stores[: len(stores) % 2], Store(onto, ref("acc", dtype))]
        converted = {
            F32: (BF16, U32)[len(self.operands) // 4 % 2],
            I32: (U8, I8)[len(self.operands) // 4 % 2],
        }
        factors = converted.get(dtype) if len(self.operands) % 4 == 1 else None
        return Gemm(i, j, k, a, b, tuple(stores), (), onto, factors)

    def loop(self, outer):
        """A few stages, and what they carry from iteration to iteration."""
        axis = Axis("i6" if "i5" in outer else "i5", self.random.choice((DEEP, DEEP, 0, 3)))
        axis = self.limit_loop(axis)
        many = range(self.random.randrange(3))
        first = [Carry(self.fresh("s"), self.value(outer, [])) for _ in many]
        going = ""
        if self.limits and self.random.random() < 0.4:
            going = self.fresh("s")
            first.append(Carry(going, self.value(outer, []).cast(BOOL)))
        self.shared.clear()
        carried = [ref(carry.name, carry.value.dtype) for carry in first]
        loop_refs = [*self.refs, *carried]
        self.refs = [*loop_refs]
        loops = (*outer, axis.name)
        kinds = self.inner_stages()
        if "i5" not in outer:
            kinds.append(self.loop)
        stages = []
        for _ in range(self.random.randrange(1, 4)):
            stages.append(self.random.choice(kinds)(loops))
            self.shared.clear()
        following = [
            Carry(carry.name, self.value(loops, []).cast(carry.value.dtype)) for carry in first
        ]
        self.shared.clear()
        self.refs = loop_refs
        return Loop(axis, tuple(first), tuple(stages), tuple(following), going=going)

    def inner_stages(self):
        """Makers of the stages of a loop, beside loops."""
        return [self.map, self.map, self.scalar, self.columns, self.gemm, self.recurrence]

    def recurrence(self, outer):
        """A row that is made of that of the iteration before."""
        dtype = self.random.choice((F32, F64, I32))
        name, axis = self.operand(dtype, "out"), outer[-1]
        around = (("i0", COLUMNS),) if "i0" in outer else ()
        previous = Position(((axis, 1),), -1, COLUMNS, DEEP)
        earlier = load(Access(name, (*around, ("j", 1)), (), (previous,)), dtype)
        added = self.value((*outer, "j"), []).cast(dtype)
        current = Access(name, (*around, (axis, COLUMNS), ("j", 1)))
        return Map(Axis("j", COLUMNS), (Store(current, earlier + added),))

    def axes(self, inner, around):
        return (around, inner) if self.random.random() < 0.4 else (inner,)

    def factor(self, dtype, loops):
        """A window with ends, a place that each loop moves by a number, or a row stored before."""
        rows = [
            access
            for access, stored in self.stored
            if stored is dtype and {axis for axis, _ in access.moves} == {"j"} and "j" in loops
        ]
        if rows and self.random.random() < 0.5:
            return self.random.choice(rows)
        name = self.operand(dtype, "in")
        axes = tuple(axis for axis in loops if self.random.random() < 0.9)
        if self.random.random() < 0.5:
            steps = tuple((axis, self.random.choice((0, 1, 1, 2, COLUMNS))) for axis in axes)
            start = self.random.choice((0, 0, 2))
            return Access(name, (), (), (Position(steps, start),)) if start else Access(name, steps)
        down = tuple(axis for axis in axes if self.random.random() < 0.5)
        extent = self.random.choice((ROWS, DEEP, 2))
        along = tuple(axis for axis in axes if axis not in down)
        ends = (self.position(down, COLUMNS, extent), self.position(along, 1))
        return Access(name, (), (), ends)

    def columns(self, outer):
        in_lanes = self.random.random() < 0.4
        kinds = [k for k in kinds_of_numbers() if COMBINERS[k].rule == "tree" or not in_lanes]
        loops = (*outer, "i1", "j")
        body = tuple(
            self.accumulation(loops, [], self.random.choice(kinds))
            for _ in range(self.random.randrange(1, 3))
        )
        self.shared.clear()
        outer_refs = self.refs
        self.refs = [*outer_refs, *(ref(s.name, s.value.dtype) for s in body)]
        loops = (*outer, "j")
        stores = [self.store(loops, self.value(loops, [ref(s.name, s.value.dtype)])) for s in body]
        self.refs = outer_refs
        rows = self.random.choice((DEEP, DEEP, 3))
        return Columns(Axis("j", COLUMNS), (Axis("i1", rows),), body, tuple(stores), in_lanes)


class _OfLanes(_Maker):
    """Rows that are lanes: scalars and loops of them, which read nothing that is stored."""

    def leaf(self, loops):
        self.stored.clear()
        return super().leaf(loops)

    def inner_stages(self):
        return [self.scalar]


class _OfSquares(_Maker):
    """A map whose rows lie across memory in some of its operands."""

    def access(self, name, loops):
        if {"i0", "j"} <= {*loops} and self.random.random() < 0.5:
            return Access(name, (("i0", 1), ("j", ROWS)))
        return super().access(name, loops)


class _OfChoices(_Maker):
    """Elements chosen by conditions, many of which are elements with ends."""

    def condition(self, loops):
        """A bool between the ends of one axis, or its opposite."""
        place = self.position((self.random.choice(loops),), 1)
        condition = load(Access(self.operand(BOOL, "in"), (), (), (place,)), BOOL)
        return Expr("not", BOOL, (condition,)) if self.random.random() < 0.3 else condition

    def _grow_expression(self, pool, loops):
        if self.random.random() < 0.5:
            return super()._grow_expression(pool, loops)
        chosen, instead = (self.random.choice([*pool, self.load(loops)]) for _ in range(2))
        condition = self.condition(loops)
        expression = Expr("select", chosen.dtype, (condition, chosen, instead.cast(chosen.dtype)))
        return chosen if describe_type_error(expression) else expression


def random_lanes(seed):
    """A kernel whose rows are lanes."""

    def make(random):
        maker = _OfLanes(random)
        stages = []
        for _ in range(random.choice((1, 2, 3))):
            maker.shared.clear()
            stages.append(random.choice((maker.scalar, maker.loop))(("j",)))
        return maker, (Axis("j", COLUMNS),), stages

    return _first_of_kind("lanes", seed, make)


def random_squares(seed):
    """A kernel whose rows are taken together where they lie across memory."""

    def make(random):
        maker, loops = _OfSquares(random), ("i0", "j")
        body = []
        for _ in range(random.choice((1, 2, 3))):
            value = maker.value(loops, [])
            body.append(Store(maker.access(maker.operand(value.dtype, "out"), loops), value))
        return maker, (Axis("i0", ROWS),), [Map(Axis("j", COLUMNS), tuple(body))]

    return _first_of_kind("squares", seed, make)


def random_choices(seed):
    """A kernel of maps of elements that conditions choose."""

    def make(random):
        maker = _OfChoices(random)
        stages = [maker.map(("i0",)) for _ in range(random.choice((1, 2)))]
        return maker, (Axis("i0", ROWS),), stages

    return _first_of_kind("", seed, make)


def _first_of_kind(kind, seed, make):
    """The first kernel of a kind that is sound, of those that ``make`` draws for a number."""
    sizes = (ROWS, COLUMNS, DEEP, APART, FAR, WIDE)
    drawn = (make(Random(f"{kind} {seed} {attempt}")) for attempt in count())
    kernels = (
        _without_idle(Kernel(tuple(maker.operands), sizes, axes, tuple(stages)))
        for maker, axes, stages in drawn
    )
    return next(kernel for kernel in kernels if _is_sound(kernel) and kind in ("", kernel.outer))


def _is_sound(kernel):
    try:
        verify_kernel(kernel)
    except VerifyError:
        return False
    return True


def random_kernel(seed):
    """The kernel of a number: rows one by one or in groups, products, elements."""
    random = Random(seed)
    outer = ("i0",) if random.random() < 0.85 else ()
    maker = _Maker(random, bool(outer) and random.random() < 0.4)
    stages = []
    jammed = random.choice((1, 1, 2, 3, 4)) if outer else 1
    maker.limits = jammed == 1 and not maker.grouped
    kinds = [maker.map, maker.map, maker.map, maker.scalar]
    if jammed == 1:
        kinds += [maker.columns, *((maker.gemm, maker.loop) * (not maker.grouped))]
    for _ in range(random.choice((1, 2, 2, 3, 3, 4))):
        kind = random.choice(kinds)
        maker.shared.clear()
        stages.append(kind(outer))
    axes = (Axis("i0", ROWS),) if outer else ()
    kernel = Kernel(
        tuple(maker.operands), (ROWS, COLUMNS, DEEP, APART, FAR, WIDE), axes, tuple(stages)
    )
    rows = (Interleave("o", jammed),) if jammed > 1 else ()
    directives = (*rows, *of_stages(stages, maker.beside))
    kernel = _without_idle(replace(kernel, grouped=int(maker.grouped), directives=directives))
    streams = legal_ones(kernel, map(Stream, dict.fromkeys(maker.streamed)))
    kernel = replace(kernel, directives=(*directives, *streams))
    alone = bool(axes) and kernel.outer in ("axes", "squares") and jammed == 1
    alone &= not any(isinstance(stage, Gemm) for stage, _ in nested_stages(kernel.stages))
    if alone and random.random() < 0.3:
        return kernel
    strips = may_take_strips(kernel) and random.random() < 0.8
    return replace(kernel, directives=(*kernel.directives, Strips())) if strips else kernel


#: Kind of kernels -> the kernel of a number.
KINDS = {
    "rows": random_kernel, "lanes": random_lanes, "squares": random_squares,
    "choices": random_choices,
}  # fmt: skip


def _without_idle(kernel):
    """The kernel without operands that no statement came to use."""
    text = str(kernel).partition("{")[2]
    used = tuple(o for o in kernel.operands if _names(text, o.name))
    return replace(kernel, operands=used)


def _names(text, name):
    return any(f"{name}{end}" in text for end in ("[", "\n", " "))
