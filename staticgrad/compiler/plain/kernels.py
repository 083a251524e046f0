"""A kernel as one function of plain loops, in the order of sums that the graph fixes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from staticgrad.compiler.plain.expressions import (
    Functions,
    Indented,
    Scalars,
    bare,
    literal,
    operation,
    storable,
    widened,
)
from staticgrad.language.ir.expr import Access, Expr, Position, factors, postorder
from staticgrad.language.ir.forms import COMBINERS, Combiner
from staticgrad.language.ir.kernels.chain_parts import PART, ChainPart, left_in, record_words
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Carry,
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
    Statement,
    Store,
    chunk_count,
    gemm_chunk,
    group_panels,
    high_from,
    nested,
    panel_count,
    roots,
    statements,
    streamed_rows,
)
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import dataclass

#: Columns of a panel, and rows of a tile, of a product; columns that are summed together. They
#: fit into L1 with the row that is read.
PANEL: Final = 64
TILE: Final = 96
STRIP: Final = 256
#: Terms of a sum for which a tile of a factor is copied at a time, where it is not read in place.
DEPTH: Final = 256
#: Rows of a table of column sums: the block, the result, and a level for each power of two.
LEVELS: Final = 40
#: The decorator of the loops of an entry that notes their failures.
_INNER: Final = "@inner"


class KernelWriter:
    """Writes one kernel as a function ``name`` of its operands' arrays and its integer arguments.

    ``names`` are the variables of operands, ``shifts`` their offsets there; operands of one name
    are one array. ``apart``: no two arrays overlap of which one is written. What only holds values
    within an iteration is allocated by the function where sums need it.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        names: Mapping[str, str],
        shifts: Mapping[str, int],
        functions: Functions,
        apart: bool = False,
    ) -> None:
        self.kernel, self.name, self.functions = kernel, name, functions
        self._names, self._shifts, self._count = names, shifts, [0]
        self._lines, self._first = Indented(), Indented()
        if apart:
            self._first.add(f"{functions.helper('restrict')}()")
        self._refs: dict[str, str] = {}
        self._from_zero: set[str] = set()  # loops whose positions Numba sees to be no negative ones
        self._tables: dict[str, str] = {}
        self._rooms = 0
        self._after_row: list[str] = []
        self._after_group: list[tuple[str, ...]] = []
        self._stored = {
            self._names[s.access.operand]
            for stage, _ in nested(kernel.stages)
            for s in statements(stage)
            if isinstance(s, Store)
        }

    @property
    def operands(self) -> list[str]:
        """The operands whose arrays the function takes, each array once."""
        own: dict[str, str] = {}
        for operand in self.kernel.operands:
            if operand.name not in self._own_scratch:
                own.setdefault(self._names[operand.name], operand.name)
        return [*own.values()]

    @property
    def _own_scratch(self) -> set[str]:
        """The operands in whose place the function has arrays of its own."""
        every = (s for stage, _ in nested(self.kernel.stages) for s in statements(stage))
        return {s.scratch for s in every if isinstance(s, ColumnAccumulate | Order)}

    def text(self) -> str:
        """The function without a comment."""
        self._write()
        takes = [*(self._names[name] for name in self.operands), *self.kernel.arguments]
        head = f"@jit\ndef {self.name}({', '.join(takes)}):"
        return "\n".join([head, *self._first.text, *self._lines.text])

    def _write(self) -> None:
        """Write the loops of the kernel."""
        kernel = self.kernel
        apart = kernel.axes[: len(kernel.axes) - kernel.grouped]
        if kernel.grouped:
            self._groups(apart, kernel.axes[len(apart) :])
        else:
            self._outer(apart)
            self._stages(kernel.stages)

    # -- loops ------------------------------------------------------------------------------------

    def _span(self, axis: Axis) -> tuple[str, str]:
        """The first position of a loop, and the one behind its last."""
        first, past = "0", str(axis.extent)
        if axis.first:
            first = f"max(0, {self._refs[axis.first]})"
        if axis.past:
            past = f"min({past}, {self._refs[axis.past]})"
        return first, past

    def _open(self, axis: Axis) -> None:
        first, past = self._span(axis)
        self._lines.open(
            f"for {axis.name} in range({past if first == '0' else f'{first}, {past}'}):"
        )
        if first == "0":
            self._from_zero.add(axis.name)

    def _outer(self, axes: Sequence[Axis]) -> None:
        """Open the loops over outer iterations."""
        for axis in axes:
            self._open(axis)

    def _outer_groups(self, apart: Sequence[Axis], count: str) -> str:
        """Open the loops over groups of so many rows; return the number of a group of them all."""
        self._outer(apart)
        length = self.functions.helper("group_length")
        self._lines.add(f"length = {length}({count})", f"groups = ({count} + length - 1) // length")
        self._lines.open("for group in range(groups):")
        return f"({flat(apart)}) * groups + group" if apart else "group"

    def _close(self, count: int) -> None:
        self._lines.depth -= count

    def _groups(self, apart: Sequence[Axis], rows: Sequence[Axis]) -> None:
        """Write a loop over groups of rows; the sums of a group are stored after its last row."""
        lines, count = self._lines, product(axis.extent for axis in rows)
        number = self._outer_groups(apart, count)
        lines.add("first = group * length", f"past = min({count}, first + length)")
        lines.open("for row in range(first, past):")
        self._decode("row", rows)
        self._stages(self.kernel.stages)
        lines.add(*self._after_row)
        self._close(1)
        for result, partials, extent, start in self._after_group:
            lines.open(f"for j in range({extent}):")
            lines.add(f"{partials}[at(({number}) * {extent} + j)] = {result}")
            if start:
                lines.add(f"{result} = {start}")
            self._close(1)
        self._close(1)

    def _decode(self, flat_name: str, axes: Sequence[Axis]) -> None:
        """The positions of several loops of one that runs over all of them."""
        if not axes or [axis.name for axis in axes] == [flat_name]:
            return
        rest = flat_name
        for number, axis in enumerate(reversed(axes)):
            if number == len(axes) - 1:
                self._lines.add(f"{axis.name} = {rest}")
            else:
                self._lines.add(f"{axis.name} = {rest} % {axis.extent}")
                inner = product(a.extent for a in axes[len(axes) - 1 - number :])
                rest = f"{flat_name} // ({inner})" if " " in inner else f"{flat_name} // {inner}"

    # -- memory -----------------------------------------------------------------------------------

    def _place(self, access: Access, indices: Sequence[str]) -> str:
        """The element of an array, in brackets."""
        terms = [scaled(axis, stride) for axis, stride in access.strides]
        terms += [scaled(i, stride) for i, stride in zip(indices, access.gather, strict=True)]
        terms += [scaled(_along(each), each.stride) for each in access.positions]
        place = total(*terms, str(self._shifts[access.operand]))
        return place if place.isdigit() or place in self._from_zero else f"at({bare(place)})"

    def _array(self, operand: str, offset: str = "0") -> str:
        """The array of an operand, from an offset on."""
        offset = total(offset, str(self._shifts[operand]))
        return self._names[operand] + ("" if offset == "0" else f"[{offset} :]")

    def _inside(self, access: Access) -> str:
        """The condition that all positions that have ends are between them."""
        return " and ".join(f"0 <= {_along(p)} < {p.extent}" for p in access.bounded)

    def _leaf(self, expr: Expr, args: Sequence[str]) -> str:
        access = expr.attribute
        if not isinstance(access, Access):
            return self._refs[str(access)] if expr.op == "ref" else str(access)
        many = len(access.gather)
        text = f"{self._names[access.operand]}[{self._place(access, args[:many])}]"
        if not access.bounded:
            return text
        fill = args[many] if len(args) > many else literal(0, expr.dtype)
        return f"({text} if {self._inside(access)} else {fill})"

    # -- statements -------------------------------------------------------------------------------

    def _scalars(self, body: Iterable[Statement] = ()) -> Scalars:
        found = Scalars(self._lines, self.functions, self._leaf, self._count)
        found.announce([root for statement in body for root in roots(statement)])
        return found

    def _statement(self, s: Statement, scalars: Scalars) -> None:
        match s:
            case Store():
                self._store(s, scalars)
            case Keep(name=name, value=value):
                (text,) = scalars.values([value])
                self._lines.add(f"{self._ref(name)} = {bare(text)}")
            case Check():
                index, position = scalars.name(s.index), scalars.values([s.position])[0]
                call = self.functions.helper("checked")
                words = self._names[s.operand]
                name = self._ref(s.name)
                self._lines.add(
                    f"{name} = {call}({index}, {s.extent}, {s.wrap}, {bare(position)}, {words})"
                )
            case Search():
                (sought,) = scalars.values([s.value])
                call = self.functions.helper("search")
                array = self._array(s.operand)
                name = self._ref(s.name)
                self._lines.add(
                    f"{name} = {call}({array}, {s.stride}, {s.extent}, {bare(sought)}, {s.right})"
                )

    def _ref(self, name: str) -> str:
        """The variable of a result."""
        self._refs[name] = name
        return name

    def _store(self, s: Store, scalars: Scalars) -> None:
        *indices, value = scalars.values(roots(s))
        array = f"{self._names[s.access.operand]}[{self._place(s.access, indices)}]"
        inside = self._inside(s.access)
        if inside:
            self._lines.open(f"if {inside}:")
        if s.combine:
            value = self._joined(COMBINERS[s.combine], array, value, s.value.dtype)
        self._lines.add(f"{array} = {bare(value)}")
        self._close(bool(inside))

    def _joined(self, combiner: Combiner, a: str, b: str, dtype: DType) -> str:
        """Two elements combined."""
        return bare(operation(combiner.combine, (a, b), dtype, self.functions))

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self, stages: Iterable[Stage]) -> None:
        for stage in stages:
            match stage:
                case Map():
                    self._map(stage)
                case Scalar(body=body):
                    scalars = self._scalars(body)
                    for statement in body:
                        self._statement(statement, scalars)
                case Columns():
                    self._columns(stage)
                case Gemm():
                    self._gemm(stage)
                case Sort():
                    self._sort(stage)
                case Loop():
                    self._loop(stage)

    def _hoist(
        self,
        body: Sequence[Statement],
        axes: Collection[str],
        scalars: Scalars,
        own: Iterable[str] = (),
    ) -> None:
        """Name loop-invariant expressions before a loop; its ``own`` results are not invariant."""
        own = {*own, *(s.name for s in body if isinstance(s, Check | Search | Keep | Accumulate))}
        moved: set[int] = set()
        for expr in postorder(root for s in body for root in roots(s)):
            access = expr.attribute
            differs = any(id(arg) in moved for arg in expr.args)
            if isinstance(access, Access):
                stored = self._names[access.operand] in self._stored
                differs |= stored or _differs(access, axes)
            elif expr.op == "ref":
                differs |= access in own
            elif expr.op == "index":
                differs |= access in axes
            if differs:
                moved.add(id(expr))
                for arg in expr.args:
                    if id(arg) not in moved and (arg.args or isinstance(arg.attribute, Access)):
                        scalars.name(arg)
        for s in body:
            for root in roots(s):
                if id(root) not in moved and (root.args or isinstance(root.attribute, Access)):
                    scalars.name(root)

    def _map(self, stage: Map) -> None:
        lines, every = self._lines, stage.body
        names = {axis.name for axis in stage.loops}
        scalars = self._scalars(every)
        still = [s for s in every if isinstance(s, Check) and not _moves(s, names, every)]
        for check in still:
            self._statement(check, scalars)
        body = [s for s in every if s not in still]
        summed = [s for s in body if isinstance(s, Accumulate)]
        for s in summed:
            self._begin(s)
        terms = [s for s in summed if self._in_blocks(s)]
        one_block = not terms or self._is_short(stage.axis)
        for number, axis in enumerate(stage.rows):
            self._hoist(body, {a.name for a in stage.loops[number:]}, scalars)
            self._open(axis)
        self._hoist(body, {stage.axis.name}, scalars)
        past = self._span(stage.axis)[1]
        if one_block:
            self._open(stage.axis)
        else:
            start = f"{stage.axis.name}0"
            self._from_zero.discard(stage.axis.name)
            lines.open(f"for {start} in range(0, {past}, {BLOCK}):")
            lines.open(f"for {stage.axis.name} in range({start}, min({start} + {BLOCK}, {past})):")
        for statement in body:
            if isinstance(statement, Accumulate):
                self._accumulate(statement, stage.axis.name, one_block, scalars)
            elif isinstance(statement, ColumnAccumulate):
                self._accumulate_column(statement, stage.axis, scalars)
            else:
                self._statement(statement, scalars)
        self._close(1)
        for s in terms:
            count = past if one_block else f"min({BLOCK}, {past} - {start})"
            total_text = f"{self.functions.helper('lane_sum')}(terms_{s.name}, {count})"
            if one_block:
                lines.add(f"{s.name} = {total_text}")
            else:
                block = f"{start} // {BLOCK}"
                lines.add(
                    f"{self.functions.helper('add_block')}(levels_{s.name}, {block}, {total_text})"
                )
        if not one_block:
            self._close(1)
        for s in summed:
            if s.blocks and self._is_ordered(s):
                lines.add(f"{s.name} = {self.functions.helper('fold')}(levels_{s.name}, {past})")
            elif s in terms and not one_block:
                blocks = f"({past} + {BLOCK - 1}) // {BLOCK}"
                lines.add(f"{s.name} = {self.functions.helper('fold')}(levels_{s.name}, {blocks})")
            elif not self._is_ordered(s):
                self._end_extreme(s, past)
        self._close(len(stage.rows))

    def _is_ordered(self, s: Accumulate | ColumnAccumulate) -> bool:
        return COMBINERS[s.kind].is_ordered(s.value.dtype)

    def _in_blocks(self, s: Accumulate) -> bool:
        """Return whether the terms are collected and summed a block at a time."""
        return self._is_ordered(s) and not s.blocks

    def _is_short(self, axis: Axis) -> bool:
        """Return whether a row is at most one block."""
        if isinstance(axis.extent, int):
            return axis.extent <= BLOCK
        return any(known.name == axis.extent and known.short for known in self.kernel.known)

    def _begin(self, s: Accumulate) -> None:
        """Write the initial value of a reduction; arrays are allocated once, before all loops."""
        dtype, name = s.value.dtype, self._ref(s.name)
        if self._is_ordered(s):
            if not s.blocks:
                self._first.add(f"terms_{name} = np.empty({BLOCK}, {storable(dtype)})")
            self._first.add(f"levels_{name} = np.empty({LEVELS}, {storable(dtype)})")
        else:
            self._lines.add(f"{name} = {literal(COMBINERS[s.kind].identity(dtype), dtype)}")

    def _end_extreme(self, s: Accumulate, past: str) -> None:
        combiner, dtype = COMBINERS[s.kind], s.value.dtype
        if combiner.empty(dtype) != combiner.identity(dtype):
            self._lines.open(f"if {past} <= 0:")
            self._lines.add(f"{s.name} = {literal(combiner.empty(dtype), dtype)}")
            self._close(1)

    def _accumulate(self, s: Accumulate, along: str, one_block: bool, scalars: Scalars) -> None:
        (value,) = scalars.values([s.value])
        if not self._is_ordered(s):
            joined = self._joined(COMBINERS[s.kind], s.name, value, s.value.dtype)
            self._lines.add(f"{s.name} = {joined}")
        elif s.blocks:
            call = self.functions.helper("add_block")
            self._lines.add(f"{call}(levels_{s.name}, {along}, {bare(value)})")
        else:
            place = along if one_block else f"at({along} - {along}0)"
            self._lines.add(f"terms_{s.name}[{place}] = {bare(value)}")

    def _accumulate_column(self, s: ColumnAccumulate, axis: Axis, scalars: Scalars) -> None:
        (value,) = scalars.values([s.value])
        dtype, combiner = s.value.dtype, COMBINERS[s.kind]
        sums, extent, kind = f"sums_{s.partials}", str(axis.extent), storable(dtype)
        partials = self._array(s.partials)
        if self._is_ordered(s):
            call = self.functions.helper("end_row")
            self._first.add(f"{sums} = np.empty(({LEVELS}, {extent}), {kind})")
            self._first.add(f"{sums}[0] = {literal(-0.0, dtype)}")
            self._lines.add(f"{sums}[0, {axis.name}] += {bare(value)}")
            self._after_row.append(f"{call}({sums}, {extent}, row - first, past - first)")
            self._after_group.append((f"{sums}[1, j]", partials, extent, ""))
        else:
            start = literal(combiner.identity(dtype), dtype)
            self._first.add(f"{sums} = np.full({extent}, {kind}({start}))")
            place = f"{sums}[{axis.name}]"
            self._lines.add(f"{place} = {self._joined(combiner, place, value, dtype)}")
            self._after_group.append((f"{sums}[j]", partials, extent, start))

    def _columns(self, stage: Columns) -> None:
        """Sums over rows, of a strip of columns at a time."""
        lines, j = self._lines, stage.axis.name
        helper = self.functions.helper
        count = product(axis.extent for axis in stage.rows)
        begin, end = self._span(stage.axis)
        lines.open(f"for {j}0 in range({begin}, {end}, {STRIP}):")
        lines.add(f"width = min({STRIP}, {end} - {j}0)")
        for s in stage.body:
            dtype = s.value.dtype
            lanes = dtype.lanes if self._is_ordered(s) and stage.in_lanes else 1
            self._first.add(
                f"sums_{s.name} = np.empty(({lanes + LEVELS}, {STRIP}), {storable(dtype)})"
            )
            identity = literal(COMBINERS[s.kind].identity(dtype), dtype)
            lines.add(f"sums_{s.name}[:{lanes}, :width] = {identity}")
        scalars = self._scalars(stage.body)
        lines.add("term = 0")
        for axis in stage.rows:
            self._open(axis)
        self._hoist(stage.body, {j}, scalars)
        self._from_zero.discard(j)
        lines.open(f"for {j} in range({j}0, {j}0 + width):")
        for s in stage.body:
            (value,) = scalars.values([s.value])
            lane = "0"
            if self._is_ordered(s) and stage.in_lanes:
                lane = f"at(term % {s.value.dtype.lanes})"
            place = f"sums_{s.name}[{lane}, at({j} - {j}0)]"
            if self._is_ordered(s):
                lines.add(f"{place} += {bare(value)}")
            else:
                lines.add(
                    f"{place} = {self._joined(COMBINERS[s.kind], place, value, s.value.dtype)}"
                )
        self._close(1)
        for s in stage.body:
            if self._is_ordered(s):
                call = helper("end_row_of_lanes" if stage.in_lanes else "end_row_of_groups")
                lines.add(f"{call}(sums_{s.name}, width, term, {count})")
        lines.add("term += 1")
        self._close(len(stage.rows))
        scalars = self._scalars(stage.stores)
        for s in stage.body:
            result = 1 if self._is_ordered(s) and not stage.in_lanes else 0
            self._refs[s.name] = f"sums_{s.name}[{result}, at({j} - {j}0)]"
            empty, dtype = COMBINERS[s.kind].empty(s.value.dtype), s.value.dtype
            if str(empty) != str(COMBINERS[s.kind].identity(dtype)):
                lines.open(f"if {count} == 0:")
                lines.add(f"sums_{s.name}[{result}, :width] = {literal(empty, dtype)}")
                self._close(1)
        self._hoist(stage.stores, {j}, scalars, [s.name for s in stage.body])
        lines.open(f"for {j} in range({j}0, {j}0 + width):")
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(2)

    def _sort(self, stage: Sort) -> None:
        lines, order = self._lines, stage.order
        scalars = self._scalars([order])
        name = f"keys_{order.name}"
        self._first.add(f"{name} = np.empty({stage.axis.extent}, {storable(order.key.dtype)})")
        self._hoist([order], {stage.axis.name}, scalars)
        self._open(stage.axis)
        (key,) = scalars.values([order.key])
        lines.add(f"{name}[{stage.axis.name}] = {bare(key)}")
        self._close(1)
        lines.add(f'order_{order.name} = np.argsort({name}, kind="mergesort")')
        scalars = self._scalars(stage.stores)
        self._open(stage.kept)
        self._refs[order.name] = f"order_{order.name}[{stage.kept.name}]"
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(1)

    def _loop(self, stage: Loop) -> None:
        lines = self._lines
        self._carry(stage.first)
        self._open(stage.axis)
        if stage.going:
            lines.open(f"if not {self._refs[stage.going]}:")
            lines.add("break")
            self._close(1)
        self._stages(stage.stages)
        self._carry(stage.following)
        self._close(1)

    def _carry(self, carries: Sequence[Carry]) -> None:
        if not carries:
            return
        texts = self._scalars(carries).values([carry.value for carry in carries])
        names = ", ".join(carry.name for carry in carries)
        self._refs |= {carry.name: carry.name for carry in carries}
        self._lines.add(f"{names} = {', '.join(map(bare, texts))}")

    # -- products ---------------------------------------------------------------------------------

    def _gemm(self, stage: Gemm) -> None:
        """A panel of columns and a tile of rows at a time, by functions of the file."""
        lines, add, fed = self._lines, self.functions.helper, stage.fed
        dtype = self.kernel.operand(stage.a.operand).dtype.compute
        (row0, rows), (column0, columns) = self._part(stage)
        inner = stage.k[1:] if fed else stage.k
        first, past = self._terms(stage, inner)
        part = self._flat_span(inner) != (first, past)
        a_i, b_j = self._offsets(stage.a, stage.i), self._offsets(stage.b, stage.j)
        a_k, b_k = (self._offsets(access, inner) for access in (stage.a, stage.b))
        loops = stage.i + stage.j + inner
        (a, a_i), (b, b_k) = self._from(stage.a, loops, a_i), self._from(stage.b, loops, b_k)
        kind, terms = (
            storable(dtype),
            self._table([axis.extent for axis in inner], [1] * len(inner)),
        )
        sums, room = f"sums{self._rooms}", f"room{self._rooms}"
        self._rooms += 1
        start, (begin, end) = first, self._flat_span(inner)
        all_rows, all_columns = (  # of the longest iteration
            f"({product(axis.extent for axis in axes)} + {n - 1}) // {n}"
            for axes, n in ((stage.i, TILE), (stage.j, PANEL))
        )
        several = f" * ({all_rows}) * ({all_columns})" if fed else ""
        self._first.add(f"{sums} = np.empty({2 * TILE * PANEL}{several}, {kind})")
        copies_a, copies_b = self._is_copied(stage.a), self._is_copied(stage.b)
        if dtype.is_float or copies_b:
            self._first.add(f"{room} = np.empty({PANEL} * len({terms}), {kind})")
        place = sums
        if fed:
            lines.add(f"{sums}[:] = 0")
            self._open(stage.k[0])
            self._stages(fed)
            start, begin = f"{stage.k[0].name} * {past}", "0"
            end = product([self._span(stage.k[0])[1], past])
            number = f"column0 // {PANEL} * ({all_rows}) + row0 // {TILE}"
            place = f"{sums}[({number}) * {2 * TILE * PANEL} :]"
        last_row, last_column = f"min(row0 + {TILE}, {rows})", f"min(column0 + {PANEL}, {columns})"
        lines.open(f"for column0 in range({column0}, {columns}, {PANEL}):")
        limits = f"[{first}:{past}]" if part or inner[0].limits else ""
        if copies_b:
            self._copy(
                stage.b, (inner, first, past), (stage.j, "column0", last_column), room, PANEL
            )
            b, b_k, b_j = room, self._table([f"len({terms})"], [PANEL]), self._table([PANEL], [1])
            lines.add(f"columns = {b_j}[: {last_column} - column0]", f"panel = {room}, {PANEL}")
            limits = f"[: {past} - {first}]" if limits else ""
        else:
            lines.add(f"columns = {b_j}[column0 : {last_column}]")
            if dtype.is_float:
                count = rows if row0 == "0" else f"{rows} - {row0}"
                lines.add(f"panel = {add('pack')}({b}, {b_k}{limits}, columns, {room}, {count})")
        b_k += limits
        lines.open(f"for row0 in range({row0}, {rows}, {TILE}):")
        panel = "panel"
        if copies_a:
            room_a = f"room{self._rooms}"
            self._rooms += 1
            self._first.add(f"{room_a} = np.empty({TILE * DEPTH}, {kind})")
            lines.open(f"for term0 in range({first}, max({past}, {first} + 1), {DEPTH}):")
            lines.add(f"term1 = max(term0, min(term0 + {DEPTH}, {past}))")
            span = (stage.i, "row0", last_row), (inner, "term0", "term1")
            self._copy(stage.a, *span, room_a, DEPTH)
            a, a_i = room_a, f"{self._table([TILE], [DEPTH])}[: {last_row} - row0]"
            a_k = f"{self._table([DEPTH], [1])}[: term1 - term0]"
            passed = "term0" if first == "0" else f"(term0 - {first})"
            b_k = f"{b_k}[{passed} :][: term1 - term0]"
            panel = f"(panel[0][{passed} * panel[1] :], panel[1])"
            start = total(start, passed)
        else:
            a_i, a_k = f"{a_i}[row0 : {last_row}]", f"{a_k}[{first}:{past}]" if limits else a_k
        tile = (stage.i, f"row0, {last_row}"), (stage.j, f"column0, {last_column}")
        if part:
            self._move_chains(stage, tile, sums, is_back=True)
        if stage.onto is not None:
            self._go_on(stage.onto, tile, sums)
            # So few terms are one block, and are taken for those behind its first.
            start, end = f"{start} + 1", f"{end} + 1"
        factors = f"{a}, {a_i}, {a_k}, {b}, {b_k}, columns"
        if dtype.is_float:
            lines.add(f"{add('multiply')}({factors}, {panel}, {place}, {start}, {begin}, {end})")
        else:
            passed = f"{start} - {begin}" if begin != "0" else start
            lines.add(f"{add('multiply_integers')}({factors}, {place}, {passed})")
        self._close(int(copies_a))
        if fed:
            self._close(3)
            lines.open(f"for column0 in range({column0}, {columns}, {PANEL}):")
            lines.open(f"for row0 in range({row0}, {rows}, {TILE}):")
            lines.add(f"tile = {place}")
        else:
            lines.add(f"tile = {sums}")
            if part:
                self._move_chains(stage, tile, sums, is_back=False)
        self._store_tile(stage, *tile)
        self._close(2)

    def _store_tile(
        self, stage: Gemm, rows: tuple[Sequence[Axis], str], columns: tuple[Sequence[Axis], str]
    ) -> None:
        """Write loops over the sums of a tile, with the stores of a product."""
        self._from_zero -= {axis.name for axis in stage.i + stage.j}
        row = self._flat_loop("r", *rows)
        scalars = self._scalars(stage.stores)
        self._refs["acc"] = f"tile[at(({row} - row0) * {PANEL} + (c - column0))]"
        self._hoist(stage.stores, {axis.name for axis in stage.j}, scalars, ["acc"])
        column = self._flat_loop("c", *columns)
        self._refs["acc"] = f"tile[at(({row} - row0) * {PANEL} + ({column} - column0))]"
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(2)

    def _terms(self, stage: Gemm, inner: Sequence[Axis]) -> tuple[str, str]:
        """Return the first term of a product's sums that is computed, and one behind the last."""
        return self._flat_span(inner)

    def _part(self, stage: Gemm) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return the rows and columns of a product that are computed, each from one to another."""
        return self._flat_span(stage.i), self._flat_span(stage.j)

    def _move_chains(
        self, stage: Gemm, tile: tuple[tuple[Sequence[Axis], str], ...], sums: str, is_back: bool
    ) -> None:
        """Write loops that move the sums of terms so far to where results belong, or back."""
        left, lines = left_in(self.kernel), self._lines
        assert left is not None
        lines.open("if first_term > 0:" if is_back else f"if past_term < {stage.k[0].extent}:")
        row, column = (self._flat_loop("", axes, span) for axes, span in tile)
        self._from_zero -= {row, column}
        place = f"{sums}[at(({row} - row0) * {PANEL} + ({column} - column0))]"
        result = f"{self._names[left.operand]}[{self._place(left, ())}]"
        lines.add(f"{place} = {result}" if is_back else f"{result} = {place}")
        self._close(2)
        if not is_back:
            lines.add("continue")
        self._close(1)

    def _go_on(self, onto: Access, tile: tuple[tuple[Sequence[Axis], str], ...], sums: str) -> None:
        """Write loops that begin the sums of a tile with the elements of an access."""
        row, column = (self._flat_loop(name, *each) for name, each in zip("rc", tile, strict=True))
        self._from_zero -= {row, column}
        place = f"{sums}[at(({row} - row0) * {PANEL} + ({column} - column0))]"
        self._lines.add(f"{place} = {self._names[onto.operand]}[{self._place(onto, ())}]")
        self._close(2)

    def _is_copied(self, factor: Access) -> bool:
        """Return whether a factor's elements are not numbers in memory: zeros beyond ends, or
        elements for storage."""
        return bool(factor.bounded) or self.kernel.operand(factor.operand).dtype.is_storage

    def _copy(
        self,
        factor: Access,
        rows: tuple[Sequence[Axis], str, str],
        columns: tuple[Sequence[Axis], str, str],
        room: str,
        step: int,
    ) -> None:
        """Write loops that copy a part of a factor, as numbers, into rows of ``step`` elements.

        ``rows`` and ``columns``: loops, flattened, with their first iteration and the one behind
        the last.
        """
        lines, dtype = self._lines, self.kernel.operand(factor.operand).dtype
        (row_axes, row0, row1), (column_axes, column0, column1) = rows, columns
        inside = {axis.name for axis in (*row_axes, *column_axes)}
        base = total(self._base(factor, inside), str(self._shifts[factor.operand]))
        starts = [(base, *(self._offsets(factor, axes) for axes in (row_axes, column_axes)))]
        for each in factor.bounded:
            steps = tuple(term for term in each.terms if term[0] not in inside)
            tables = (
                self._table([a.extent for a in axes], [each.step(a.name) for a in axes])
                for axes in (row_axes, column_axes)
            )
            starts.append((_along(replace(each, terms=steps)), *tables))
        lines.open(f"for r in range({row0}, {row1}):")
        places = []
        for start, by_row, by_column in starts:
            self._count[0] += 1
            name = f"v{self._count[0] - 1}"
            lines.add(f"{name} = {total(f'{by_row}[at(r)]', start)}")
            places.append(f"{name} + {by_column}[at(c)]")
        lines.open(f"for c in range({column0}, {column1}):")
        value = f"{self._names[factor.operand]}[at({places[0]})]"
        value = widened(value, dtype, self.functions) if dtype.is_storage else value
        if factor.bounded:
            ends = zip(places[1:], factor.bounded, strict=True)
            condition = " and ".join(f"0 <= {place} < {p.extent}" for place, p in ends)
            value = f"{value} if {condition} else {literal(0, dtype.compute)}"
        lines.add(f"{room}[at((r - {row0}) * {step} + (c - {column0}))] = {value}")
        self._close(2)

    def _flat_span(self, axes: Sequence[Axis]) -> tuple[str, str]:
        """The first iteration of several loops as one, and the one behind the last."""
        first, past = self._span(axes[0])
        rest = [axis.extent for axis in axes[1:]]
        return ("0" if first == "0" else product([first, *rest])), product([past, *rest])

    def _flat_loop(self, name: str, axes: Sequence[Axis], span: str) -> str:
        """Open a loop that runs over all of several; return its variable."""
        if len(axes) == 1:
            name = axes[0].name
        self._lines.open(f"for {name} in range({span}):")
        self._decode(name, axes)
        return name

    def _offsets(self, access: Access, axes: Sequence[Axis]) -> str:
        """The variable that has the offsets of a factor's elements along loops."""
        return self._table(
            [axis.extent for axis in axes],
            [" * ".join(map(str, factors(access.stride(axis.name)))) for axis in axes],
        )

    def _table(self, extents: Iterable[Extent], strides: Iterable[Extent]) -> str:
        """Return the variable of a table: a position that loops move, in all their iterations."""
        sizes, steps = (
            "".join(f"{each}, " for each in listed).rstrip() for listed in (extents, strides)
        )
        text = f"{self.functions.helper('offsets')}(({sizes}), ({steps}))"
        if text not in self._tables:
            self._tables[text] = f"places{len(self._tables)}"
            self._first.add(f"{self._tables[text]} = {text}")
        return self._tables[text]

    def _base(self, access: Access, inside: Collection[str]) -> str:
        """The place in an array where an access begins along the loops that are ``inside``."""
        terms = [scaled(axis, stride) for axis, stride in access.strides if axis not in inside]
        for each in access.positions:
            steps = tuple(term for term in each.terms if term[0] not in inside)
            terms.append(scaled(_along(replace(each, terms=steps)), each.stride))
        return total(*terms)

    def _from(self, access: Access, loops: Sequence[Axis], offsets: str) -> tuple[str, str]:
        """Return the array of a factor and its offsets along some of the loops, from where it
        begins along all of them; that is outside of the array if they do not begin at 0."""
        base = self._base(access, {axis.name for axis in loops})
        if base != "0" and any(axis.first for axis in loops):
            return self._array(access.operand), f"({offsets} + {base})"
        return self._array(access.operand, base), offsets


class EntryWriter(KernelWriter):
    """Writes one kernel as a function of the words with which it is called.

    They are the record of operands and arguments, those of a worker, and a range of iterations
    (``native/vocabulary.md``). Of a kernel that allocates scratch the record has one word more, the
    address of a word that is set to 1 where there is no memory for it.
    """

    def __init__(self, kernel: Kernel, functions: Functions) -> None:
        names = {operand.name: operand.name for operand in kernel.operands}
        super().__init__(kernel, "kernel", names, dict.fromkeys(names, 0), functions)

    def text(self) -> str:
        """The function."""
        kernel = self.kernel
        head = ["@entry", "def kernel(record, own, begin, end):"]
        taken, private, shared = {*self.operands}, 0, 0
        for operand in kernel.operands:
            words, number = ("own", private) if operand.is_own else ("record", shared)
            private, shared = private + operand.is_own, shared + (not operand.is_own)
            if operand.name in taken:
                word = f"{words}[{number}]"
                head.append(f"    {operand.name} = {self._array_at(word, operand.dtype)}")
        for number, argument in enumerate(kernel.arguments):
            head.append(f"    {argument} = record[{shared + number}]")
        self._write()
        return self._whole(head)

    def _whole(self, head: list[str]) -> str:
        """Return the entry; of loops that allocate it is a function that notes a failure."""
        body = [*self._first.text, *self._lines.text]
        if not any("np." in line for line in body):
            return "\n".join([*head, *body])
        noted = f"array(record[{record_words(self.kernel)}], int64)[0] = 1"
        return "\n".join([
            _INNER, head[1].replace("kernel", "loops"), *head[2:], *body, "", "", *head[:2],
            "    try:", "        loops(record, own, begin, end)", "    except Exception:",
            f"        {noted}",
        ])  # fmt: skip

    def _array_at(self, word: str, dtype: DType) -> str:
        return f"{self.functions.helper('array')}({word}, {storable(dtype)})"

    def _span(self, axis: Axis) -> tuple[str, str]:
        first = self.kernel.stages[0]
        if (
            self.kernel.outer == "elements"
            and isinstance(first, Map | Columns)
            and axis == first.axis
        ):
            return "begin", "end"
        return super()._span(axis)

    def _outer(self, axes: Sequence[Axis]) -> None:
        if self.kernel.outer != "elements":
            self._lines.open("for iteration in range(begin, end):")
        if self.kernel.outer != "tiles":
            self._decode("iteration", axes)

    def _outer_groups(self, apart: Sequence[Axis], count: str) -> str:
        lines, length = self._lines, self.functions.helper("group_length")
        lines.add(f"length = {length}({count})", f"groups = ({count} + length - 1) // length")
        lines.open("for iteration in range(begin, end):")
        lines.add("group = iteration % groups")
        if apart:
            lines.add("outer = iteration // groups")
            self._decode("outer", apart)
        return "iteration"

    def _terms(self, stage: Gemm, inner: Sequence[Axis]) -> tuple[str, str]:
        """The terms of a call, which may compute a part of the sums (``chain_parts``)."""
        if left_in(self.kernel) is None:
            return super()._terms(stage, inner)
        first, past = self._flat_span(inner)
        words = record_words(self.kernel) + 1  # behind the one for failures
        self._first.add(f"first_term, past_term = {first}, {past}")
        self._first.open(f"if end == {PART}:")
        part = ", ".join(f"record[{words + n}]" for n in range(len(ChainPart._fields)))
        self._first.add(f"first_term, past_term, begin, end = {part}")
        self._first.depth -= 1
        return "first_term", "past_term"

    def _part(self, stage: Gemm) -> tuple[tuple[str, str], tuple[str, str]]:
        """The chunk of rows and the part of the columns that an iteration computes."""
        if self.kernel.outer != "tiles":
            return super()._part(stage)
        lines, dtype = self._lines, self.kernel.operand(stage.a.operand).dtype.compute
        rows, columns = (product(axis.extent for axis in axes) for axes in (stage.i, stage.j))
        chunk, panels, down = str(gemm_chunk(stage)), Text("panels"), Text("down")
        lines.add(f"panels = {bare(str(panel_count(Text(columns), dtype)))}")
        if stage.plain:
            extremes = Text.least, Text.most
            chunks = chunk_count(Text(rows), panels, high_from(stage), *extremes)
            streamed = streamed_rows(stage)
            group = group_panels(Text(rows), panels, down, dtype, streamed, *extremes)
            lines.add(f"down = {chunks}", f"group = {group}")
            lines.add("across = (panels + group - 1) // group")
            chunk = f"(({rows} + down - 1) // down)"
        else:
            lines.add(f"across, down = panels, ({rows} + {gemm_chunk(stage) - 1}) // {chunk}")
        lines.add("part, outer = iteration % (across * down), iteration // (across * down)")
        self._decode("outer", self.kernel.axes)
        lines.add(f"width = ({columns} + {PANEL} * across - 1) // ({PANEL} * across) * {PANEL}")
        lines.add(f"first_row, first_column = part // across * {chunk}, part % across * width")
        lines.add(f"past_row = min({rows}, first_row + {chunk})")
        lines.add(f"past_column = min({columns}, first_column + width)")
        return ("first_row", "past_row"), ("first_column", "past_column")


def may_fail(source: str) -> bool:
    """Return whether the entry of a source allocates memory, and notes where there is none."""
    return _INNER in source


def source(kernel: Kernel) -> str:
    """Return a kernel as functions of plain loops, the last of which is its entry."""
    functions = Functions()
    entry = EntryWriter(kernel, functions).text()
    return "\n\n\n".join([*functions.blocks.values(), entry]) + "\n"


def _moves(check: Check, loops: Collection[str], body: Sequence[Statement]) -> bool:
    """Return whether an index or its position differs along loops."""
    own = {s.name for s in body if isinstance(s, Check | Search | Keep)}
    for expr in postorder(roots(check)):
        access = expr.attribute
        if isinstance(access, Access):
            if _differs(access, loops):
                return True
        elif access in loops or (expr.op == "ref" and access in own):
            return True
    return False


def _differs(access: Access, loops: Iterable[str]) -> bool:
    """Return whether loops move an access, or a position of it that has ends."""
    return any(access.stride(axis) or any(p.step(axis) for p in access.bounded) for axis in loops)


def scaled(position: str, stride: str | int) -> str:
    """position * stride, as source."""
    return "0" if stride == 0 else position if stride == 1 else f"{position} * {stride}"


def total(*terms: str) -> str:
    """The sum of int64 terms, as source."""
    return " + ".join(term for term in terms if term != "0") or "0"


def _along(position: Position) -> str:
    text = total(*(scaled(*term) for term in position.terms), str(position.start))
    return text if text.isalnum() else f"({text})"


@dataclass(frozen=True)
class Text:
    """A whole number as source, with arithmetic."""

    source: str

    def __str__(self) -> str:
        return self.source

    def __add__(self, other: Text | int) -> Text:
        return Text(f"({self} + {other})")

    def __rsub__(self, other: int) -> Text:
        return Text(f"({other} - {self})")

    def __mul__(self, other: Text | int) -> Text:
        return Text(f"({self} * {other})")

    __rmul__ = __mul__

    def __floordiv__(self, other: Text | int) -> Text:
        return Text(f"({self} // {other})")

    def least(self, other: Text | int) -> Text:
        """The smaller one of two numbers."""
        return Text(f"min({bare(str(self))}, {bare(str(other))})")

    def most(self, other: Text | int) -> Text:
        """The larger one of two numbers."""
        return Text(f"max({bare(str(self))}, {bare(str(other))})")


def product(extents: Iterable[Extent | str]) -> str:
    """The product of extents as text; literal ones are multiplied."""
    number, names = 1, []
    for extent in extents:
        if isinstance(extent, int) or extent.isdigit():
            number *= int(extent)
        else:
            names.append(extent)
    return " * ".join([*names, *([str(number)] if number != 1 or not names else [])])


def flat(axes: Sequence[Axis]) -> str:
    """The number of an iteration of several loops, in C order."""
    text = axes[0].name
    for axis in axes[1:]:
        text = (
            f"({text}) * {axis.extent} + {axis.name}"
            if " " in text
            else f"{text} * {axis.extent} + {axis.name}"
        )
    return text
