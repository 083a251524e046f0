"""Write a kernel as one function of plain loops, with the order of sums that the graph fixes.

``y = 2 * x + 1``, for Numba (``EntryWriter``) and in an exported file::

    @entry                                            @jit
    def kernel(record, own, begin, end):              def k0_mul_add(x, y, n0):
        p0 = array(record[0], f32)                        restrict()
        p1 = array(record[1], f32)                        for j in range(n0):
        n0 = record[2]                                        y[j] = x[j] * f32(2.0) + f32(1.0)
        for j in range(begin, end):
            p1[at(j)] = p0[at(j)] * f32(2.0) + f32(1.0)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from staticgrad.compiler.by_numba.expressions import (
    Functions,
    Indented,
    Scalars,
    literal,
    operation,
    storable,
    widen_element,
)
from staticgrad.compiler.by_numba.text import (
    Text,
    add,
    call,
    choose,
    element,
    every,
    is_between,
    multiply,
    operate,
    text as text_of,
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
    nested_stages,
    panel_count,
    roots,
    statements,
    streamed_rows,
)
from staticgrad.language.ir.summation import BLOCK
from staticgrad.language.types.dtype import I8, U32, DType

#: Columns of a panel, and rows of a tile, of a product; columns that are summed together. They
#: fit in L1 together with the row that is read.
PANEL: Final = 64
TILE: Final = 96
STRIP: Final = 256
#: Terms of a sum per copied tile of a factor, if the factor is not read in place.
DEPTH: Final = 256
#: Rows of a table of column sums: the block, the result, and a level for each power of two.
LEVELS: Final = 40
#: The decorator of the loops of an entry that records their failures.
_INNER: Final = "@inner"


class KernelWriter:
    """A writer of one kernel as a function ``name`` of its operands' arrays and its arguments.

    ``names``: the variables of operands, ``shifts``: their offsets there; operands with the same
    name are one array. ``no_alias``: no array that is written overlaps another one. The function
    allocates the scratch that sums need within an iteration.
    """

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        names: Mapping[str, str],
        shifts: Mapping[str, int],
        functions: Functions,
        no_alias: bool = False,
    ) -> None:
        self.kernel, self.name, self.functions = kernel, name, functions
        self._names, self._shifts, self._count = names, shifts, [0]
        self._lines, self._first = Indented(), Indented()
        if no_alias:
            self._first.add(f"{functions.helper('restrict')}()")
        self._refs: dict[str, Text] = {}
        self._from_zero: set[str] = set()  # loops whose index Numba can prove to be >= 0
        self._tables: dict[str, str] = {}
        self._rooms = 0
        self._after_row: list[str] = []
        self._after_group: list[tuple[str, ...]] = []
        self._stored_arrays = {
            self._names[s.access.operand]
            for stage, _ in nested_stages(kernel.stages)
            for s in statements(stage)
            if isinstance(s, Store)
        }

    @property
    def operands(self) -> list[str]:
        """The operands whose arrays are parameters of the function, each array once."""
        arrays: dict[str, str] = {}
        for operand in self.kernel.operands:
            if operand.name not in self._local_scratch:
                arrays.setdefault(self._names[operand.name], operand.name)
        return [*arrays.values()]

    @property
    def _local_scratch(self) -> set[str]:
        """The operands that the function replaces by local arrays."""
        body = (s for stage, _ in nested_stages(self.kernel.stages) for s in statements(stage))
        return {s.scratch for s in body if isinstance(s, ColumnAccumulate | Order)}

    def text(self) -> str:
        """Return the function without a comment."""
        self._write()
        parameters = [*(self._names[name] for name in self.operands), *self.kernel.arguments]
        head = f"@jit\ndef {self.name}({', '.join(parameters)}):"
        return "\n".join([head, *self._first.text, *self._lines.text])

    def _write(self) -> None:
        """Write the Python loops of a kernel: outer loops, then its stages."""
        kernel = self.kernel
        outer = kernel.axes[: len(kernel.axes) - kernel.grouped]
        if kernel.grouped:
            self._groups(outer, kernel.axes[len(outer) :])
        else:
            self._outer(outer)
            self._stages(kernel.stages)

    # -- loops ------------------------------------------------------------------------------------

    def _span(self, axis: Axis) -> tuple[Text, Text]:
        """Return a Python loop's range as source: first iteration and end (exclusive)."""
        first, past = Text("0"), Text(str(axis.extent))
        if axis.first:
            first = call("max", 0, self._refs[axis.first])
        if axis.past:
            past = call("min", past, self._refs[axis.past])
        return first, past

    def _open_loop(self, axis: Axis) -> None:
        first, past = self._span(axis)
        iterations = call("range", past) if first.is_zero else call("range", first, past)
        self._lines.open_block(f"for {axis.name} in {iterations}:")
        if first.is_zero:
            self._from_zero.add(axis.name)

    def _outer(self, axes: Sequence[Axis]) -> None:
        """Open the loops over outer iterations."""
        for axis in axes:
            self._open_loop(axis)

    def _outer_groups(self, outer: Sequence[Axis], count: Text) -> Text:
        """Open the loops over groups of ``count`` rows; return the index of a group among all."""
        self._outer(outer)
        self._count_groups(count)
        self._lines.open_block("for group in range(groups):")
        return flat(outer) * "groups" + "group" if outer else Text("group")

    def _count_groups(self, count: Text) -> None:
        """Write how long groups of ``count`` rows are, and how many there are."""
        length = call(self.functions.helper("group_length"), count)
        groups = operate("-", count + "length", 1) // "length"
        self._lines.add(f"length = {length}", f"groups = {groups.alone}")

    def _close(self, count: int) -> None:
        self._lines.depth -= count

    def _groups(self, outer: Sequence[Axis], rows: Sequence[Axis]) -> None:
        """Write a Python loop over groups of rows; column sums are stored after each group."""
        lines, count = self._lines, product(axis.extent for axis in rows)
        number = self._outer_groups(outer, count)
        lines.add("first = group * length", f"past = {call('min', count, 'first + length')}")
        lines.open_block("for row in range(first, past):")
        self._decode("row", rows)
        self._stages(self.kernel.stages)
        lines.add(*self._after_row)
        self._close(1)
        for result, partials, extent, start in self._after_group:
            lines.open_block(f"for j in range({extent}):")
            lines.add(f"{element_at(partials, number * extent + 'j')} = {result}")
            if start:
                lines.add(f"{result} = {start}")
            self._close(1)
        self._close(1)

    def _decode(self, flat_name: str, axes: Sequence[Axis]) -> None:
        """Write the lines that compute loop indices from the index of a flattened loop."""
        if not axes or [axis.name for axis in axes] == [flat_name]:
            return
        quotient = Text(flat_name)
        for number, axis in enumerate(reversed(axes)):
            if number == len(axes) - 1:
                self._lines.add(f"{axis.name} = {quotient.alone}")
            else:
                self._lines.add(f"{axis.name} = {(quotient % axis.extent).alone}")
                inner = product(a.extent for a in axes[len(axes) - 1 - number :])
                quotient = operate("//", flat_name, inner)

    # -- memory -----------------------------------------------------------------------------------

    def _index(self, access: Access, indices: Sequence[Text]) -> Text:
        """Return the index of an element in its array."""
        terms = [multiply(axis, stride) for axis, stride in access.strides]
        terms += [i * stride for i, stride in zip(indices, access.gather, strict=True)]
        terms += [_position(position) * position.stride for position in access.positions]
        index = add(*terms, self._shifts[access.operand])
        if index.alone.isdigit() or index.alone in self._from_zero:
            return index
        return call("at", index)

    def _element(self, access: Access, indices: Sequence[Text] = ()) -> Text:
        """Return an element of an operand's array."""
        return element(self._names[access.operand], self._index(access, indices))

    def _array(self, operand: str, offset: Text | int = 0) -> str:
        """Return the array of an operand, starting at an offset."""
        offset = add(offset, self._shifts[operand])
        return self._names[operand] + ("" if offset.is_zero else f"[{offset.alone} :]")

    def _bounds_test(self, access: Access) -> Text | None:
        """Return the condition that all bounded positions are in bounds."""
        return every(is_between(_position(p), p.extent or 0) for p in access.bounded_positions)

    def _leaf(self, expr: Expr, args: Sequence[Text]) -> Text:
        """Return the Python source of a load, index or variable; outside of bounds its fill."""
        access = expr.attribute
        if not isinstance(access, Access):
            return self._refs[str(access)] if expr.op == "ref" else Text(str(access))
        index_count = len(access.gather)
        load = self._element(access, args[:index_count])
        is_inside = self._bounds_test(access)
        if is_inside is None:
            return load
        fill = args[index_count] if len(args) > index_count else literal(0, expr.dtype)
        return choose(is_inside, load, fill)

    # -- statements -------------------------------------------------------------------------------

    def _scalars(self, body: Iterable[Statement] = ()) -> Scalars:
        scalars = Scalars(self._lines, self.functions, self._leaf, self._count)
        scalars.announce([root for statement in body for root in roots(statement)])
        return scalars

    def _statement(self, s: Statement, scalars: Scalars) -> None:
        """Write the Python lines of one statement of a kernel: store, variable, check, search."""
        match s:
            case Store():
                self._store(s, scalars)
            case Keep(name=name, value=value):
                (text,) = scalars.values([value])
                self._lines.add(f"{self._ref(name)} = {text.alone}")
            case Check():
                index, position = scalars.name(s.index), scalars.values([s.position])[0]
                check = self.functions.helper("check_index")
                words = self._names[s.operand]
                name = self._ref(s.name)
                checked = call(check, index, s.extent, str(s.wrap), position, words)
                self._lines.add(f"{name} = {checked}")
            case Search():
                (sought,) = scalars.values([s.value])
                self._search(s, sought)

    def _search(self, s: Search, sought: Text) -> None:
        """Write a search by a helper, or line by line where elements are widened as they are read.

        See the helper; ``sought`` is what is looked for.
        """
        array, name = self._array(s.operand), self._ref(s.name)
        dtype, lines = self.kernel.operand(s.operand).dtype, self._lines
        if not dtype.is_storage:
            search = self.functions.helper("search")
            position = call(search, array, s.stride, s.extent, sought, str(s.right))
            lines.add(f"{name} = {position}")
            return
        count, half, middle = f"{name}_count", f"{name}_half", f"{name}_element"
        value = f"{name}_value"
        lines.add(f"{value} = {widen_element(sought, dtype, self.functions)}")
        lines.add(f"{name}, {count} = 0, {s.extent}")
        lines.open_block(f"while {count} > 0:")
        lines.add(f"{half} = {count} // 2")
        read = element_at(array, add(name, half) * s.stride)
        lines.add(f"{middle} = {widen_element(read, dtype, self.functions)}")
        above = f"{middle} <= {value} or {value} != {value}"
        if not s.right:
            above = f"{middle} < {value} or ({value} != {value} and {middle} == {middle})"
        lines.open_block(f"if {above}:")
        lines.add(f"{name} += {half} + 1")
        lines.add(f"{count} -= {half} + 1")
        self._close(1)
        lines.open_block("else:")
        lines.add(f"{count} = {half}")
        self._close(2)

    def _ref(self, name: str) -> str:
        """Return the variable of a result."""
        self._refs[name] = Text(name)
        return name

    def _store(self, s: Store, scalars: Scalars) -> None:
        """Write the Python lines of a store, within a bounds test if it needs one."""
        *indices, value = scalars.values(roots(s))
        target = self._element(s.access, indices)
        is_inside = self._bounds_test(s.access)
        if is_inside is not None:
            self._lines.open_block(f"if {is_inside.alone}:")
        if s.combine:
            value = self._combine(COMBINERS[s.combine], target, value, s.value.dtype)
        self._lines.add(f"{target} = {value.alone}")
        self._close(is_inside is not None)

    def _combine(self, combiner: Combiner, a: Text, b: Text, dtype: DType) -> Text:
        """Return the combination of two elements."""
        return operation(combiner.combine, (a, b), dtype, self.functions)

    # -- stages -----------------------------------------------------------------------------------

    def _stages(self, stages: Iterable[Stage]) -> None:
        """Write the Python loops of a kernel's stages in order."""
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
        loop_results: Iterable[str] = (),
    ) -> None:
        """Name loop-invariant expressions before a Python loop; ``loop_results`` vary."""
        loop_results = {
            *loop_results,
            *(s.name for s in body if isinstance(s, Check | Search | Keep | Accumulate)),
        }
        variant: set[int] = set()
        for expr in postorder(root for s in body for root in roots(s)):
            access = expr.attribute
            differs = any(id(arg) in variant for arg in expr.args)
            if isinstance(access, Access):
                stored = self._names[access.operand] in self._stored_arrays
                differs |= stored or _access_varies(access, axes)
            elif expr.op == "ref":
                differs |= access in loop_results
            elif expr.op == "index":
                differs |= access in axes
            if differs:
                variant.add(id(expr))
                for arg in expr.args:
                    if id(arg) not in variant and (arg.args or isinstance(arg.attribute, Access)):
                        scalars.name(arg)
        for s in body:
            for root in roots(s):
                if id(root) not in variant and (root.args or isinstance(root.attribute, Access)):
                    scalars.name(root)

    def _map(self, stage: Map) -> None:
        """Write a map of a kernel as Python loops, with its reductions in blocks."""
        lines, stage_body = self._lines, stage.body
        names = {axis.name for axis in stage.loops}
        scalars = self._scalars(stage_body)
        invariant_checks = [
            s for s in stage_body if isinstance(s, Check) and not _varies(s, names, stage_body)
        ]
        for check in invariant_checks:
            self._statement(check, scalars)
        body = [s for s in stage_body if s not in invariant_checks]
        reductions = [s for s in body if isinstance(s, Accumulate)]
        for s in reductions:
            self._begin_reduction(s)
        terms = [s for s in reductions if self._is_ordered(s) and not s.blocks]
        one_block = not terms or self._is_short(stage.axis)
        for number, axis in enumerate(stage.rows):
            self._hoist(body, {a.name for a in stage.loops[number:]}, scalars)
            self._open_loop(axis)
        self._hoist(body, {stage.axis.name}, scalars)
        past = self._span(stage.axis)[1]
        if one_block:
            self._open_loop(stage.axis)
        else:
            start = f"{stage.axis.name}0"
            self._from_zero.discard(stage.axis.name)
            lines.open_block(f"for {start} in {call('range', 0, past, BLOCK)}:")
            block_end = call("min", Text(start) + BLOCK, past)
            lines.open_block(f"for {stage.axis.name} in range({start}, {block_end}):")
        for statement in body:
            if isinstance(statement, Accumulate):
                self._accumulate(statement, stage.axis.name, one_block, scalars)
            elif isinstance(statement, ColumnAccumulate):
                self._accumulate_column(statement, stage.axis, scalars)
            else:
                self._statement(statement, scalars)
        self._close(1)
        for s in terms:
            count = past if one_block else call("min", BLOCK, past - start)
            total = call(self.functions.helper("lane_sum"), f"terms_{s.name}", count)
            if one_block:
                lines.add(f"{s.name} = {total}")
            else:
                add_block = self.functions.helper("add_block")
                lines.add(f"{call(add_block, f'levels_{s.name}', f'{start} // {BLOCK}', total)}")
        if not one_block:
            self._close(1)
        for s in reductions:
            if s.blocks and self._is_ordered(s):
                fold = self.functions.helper("fold")
                lines.add(f"{s.name} = {call(fold, f'levels_{s.name}', past)}")
            elif s in terms and not one_block:
                fold, blocks = self.functions.helper("fold"), (past + (BLOCK - 1)) // BLOCK
                lines.add(f"{s.name} = {call(fold, f'levels_{s.name}', blocks)}")
            elif not self._is_ordered(s):
                combiner, dtype = COMBINERS[s.kind], s.value.dtype
                if combiner.empty(dtype) != combiner.identity(dtype):
                    self._lines.open_block(f"if {operate('<=', past, 0).alone}:")
                    self._lines.add(f"{s.name} = {literal(combiner.empty(dtype), dtype)}")
                    self._close(1)
        self._close(len(stage.rows))

    def _is_ordered(self, s: Accumulate | ColumnAccumulate) -> bool:
        return COMBINERS[s.kind].is_ordered(s.value.dtype)

    def _is_short(self, axis: Axis) -> bool:
        """Return True if a row is at most one block."""
        if isinstance(axis.extent, int):
            return axis.extent <= BLOCK
        return any(fact.name == axis.extent and fact.short for fact in self.kernel.facts)

    def _begin_reduction(self, s: Accumulate) -> None:
        """Write the initial value of a reduction; arrays are allocated before all loops."""
        dtype, name = s.value.dtype, self._ref(s.name)
        if self._is_ordered(s):
            if not s.blocks:
                self._first.add(f"terms_{name} = np.empty({BLOCK}, {storable(dtype)})")
            self._first.add(f"levels_{name} = np.empty({LEVELS}, {storable(dtype)})")
        else:
            self._lines.add(f"{name} = {literal(COMBINERS[s.kind].identity(dtype), dtype)}")

    def _accumulate(self, s: Accumulate, along: str, one_block: bool, scalars: Scalars) -> None:
        """Write the line that adds a term to a reduction: directly, or to an ordered block."""
        (value,) = scalars.values([s.value])
        if not self._is_ordered(s):
            combined = self._combine(COMBINERS[s.kind], Text(s.name), value, s.value.dtype)
            self._lines.add(f"{s.name} = {combined.alone}")
        elif s.blocks:
            add_block = self.functions.helper("add_block")
            self._lines.add(f"{call(add_block, f'levels_{s.name}', along, value)}")
        else:
            index = along if one_block else f"at({along} - {along}0)"
            self._lines.add(f"terms_{s.name}[{index}] = {value.alone}")

    def _accumulate_column(self, s: ColumnAccumulate, axis: Axis, scalars: Scalars) -> None:
        """Write the lines that add a row to column sums, and store them after a group."""
        (value,) = scalars.values([s.value])
        dtype, combiner = s.value.dtype, COMBINERS[s.kind]
        sums, extent, kind = f"sums_{s.partials}", str(axis.extent), storable(dtype)
        partials = self._array(s.partials)
        if self._is_ordered(s):
            end_row = self.functions.helper("end_row")
            self._first.add(f"{sums} = np.empty(({LEVELS}, {extent}), {kind})")
            self._first.add(f"{sums}[0] = {literal(-0.0, dtype)}")
            self._lines.add(f"{sums}[0, {axis.name}] += {value.alone}")
            self._after_row.append(f"{end_row}({sums}, {extent}, row - first, past - first)")
            self._after_group.append((f"{sums}[1, j]", partials, extent, ""))
        else:
            start = literal(combiner.identity(dtype), dtype).alone
            self._first.add(f"{sums} = np.full({extent}, {kind}({start}))")
            column = element(sums, axis.name)
            self._lines.add(f"{column} = {self._combine(combiner, column, value, dtype).alone}")
            self._after_group.append((f"{sums}[j]", partials, extent, start))

    def _columns(self, stage: Columns) -> None:
        """Write a reduction over rows as Python loops, for a strip of columns at a time."""
        lines, j = self._lines, stage.axis.name
        helper = self.functions.helper
        count = product(axis.extent for axis in stage.rows)
        begin, end = self._span(stage.axis)
        lines.open_block(f"for {j}0 in {call('range', begin, end, STRIP)}:")
        lines.add(f"width = {call('min', STRIP, end - f'{j}0')}")
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
            self._open_loop(axis)
        self._hoist(stage.body, {j}, scalars)
        self._from_zero.discard(j)
        lines.open_block(f"for {j} in range({j}0, {j}0 + width):")
        for s in stage.body:
            (value,) = scalars.values([s.value])
            lane = "0"
            if self._is_ordered(s) and stage.in_lanes:
                lane = f"at(term % {s.value.dtype.lanes})"
            column = element(f"sums_{s.name}", lane, f"at({j} - {j}0)")
            if self._is_ordered(s):
                lines.add(f"{column} += {value.alone}")
            else:
                combined = self._combine(COMBINERS[s.kind], column, value, s.value.dtype)
                lines.add(f"{column} = {combined.alone}")
        self._close(1)
        for s in stage.body:
            if self._is_ordered(s):
                end_row = helper("end_row_of_lanes" if stage.in_lanes else "end_row_of_groups")
                lines.add(f"{call(end_row, f'sums_{s.name}', 'width', 'term', count)}")
        lines.add("term += 1")
        self._close(len(stage.rows))
        scalars = self._scalars(stage.stores)
        for s in stage.body:
            result = 1 if self._is_ordered(s) and not stage.in_lanes else 0
            self._refs[s.name] = element(f"sums_{s.name}", result, f"at({j} - {j}0)")
            empty, dtype = COMBINERS[s.kind].empty(s.value.dtype), s.value.dtype
            if str(empty) != str(COMBINERS[s.kind].identity(dtype)):
                lines.open_block(f"if {operate('==', count, 0).alone}:")
                lines.add(f"sums_{s.name}[{result}, :width] = {literal(empty, dtype)}")
                self._close(1)
        self._hoist(stage.stores, {j}, scalars, [s.name for s in stage.body])
        lines.open_block(f"for {j} in range({j}0, {j}0 + width):")
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(2)

    def _sort(self, stage: Sort) -> None:
        """Write a sort: collect keys in an array, call NumPy's merge sort, store in order."""
        lines, order = self._lines, stage.order
        scalars = self._scalars([order])
        name = f"keys_{order.name}"
        self._first.add(f"{name} = np.empty({stage.axis.extent}, {storable(order.key.dtype)})")
        self._hoist([order], {stage.axis.name}, scalars)
        self._open_loop(stage.axis)
        (key,) = scalars.values([order.key])
        lines.add(f"{name}[{stage.axis.name}] = {key.alone}")
        self._close(1)
        lines.add(f'order_{order.name} = np.argsort({name}, kind="mergesort")')
        scalars = self._scalars(stage.stores)
        self._open_loop(stage.sorted_axis)
        place = stage.sorted_axis.name
        if stage.picks:
            (pick,) = self._scalars(stage.picks).values([stage.picks[0].place])
            inside = call("min", call("max", pick, 0), f"{stage.axis.extent} - 1")
            lines.add(f"place = {inside}")
            place = "place"
        self._refs[order.name] = element(f"order_{order.name}", place)
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(1)

    def _loop(self, stage: Loop) -> None:
        """Write a sequential loop of a kernel with its carries as Python variables."""
        lines = self._lines
        self._carry(stage.first)
        self._open_loop(stage.axis)
        if stage.going:
            lines.open_block(f"if not {self._refs[stage.going]}:")
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
        self._refs |= {carry.name: Text(carry.name) for carry in carries}
        self._lines.add(f"{names} = {', '.join(text.alone for text in texts)}")

    # -- products ---------------------------------------------------------------------------------

    def _gemm(self, stage: Gemm) -> None:
        """Write a matrix product as Python: panels of columns, tiles of rows, helper functions."""
        lines, helper, fed = self._lines, self.functions.helper, stage.fed
        dtype = self.kernel.operand(stage.a.operand).dtype.compute
        (row0, rows), (column0, columns) = self._bounds(stage)
        inner = stage.k[1:] if fed else stage.k
        first, past = self._term_range(stage, inner)
        part = self._flat_span(inner) != (first, past)
        a_i, b_j = self._offsets(stage.a, stage.i), self._offsets(stage.b, stage.j)
        a_k, b_k = (self._offsets(access, inner) for access in (stage.a, stage.b))
        loops = stage.i + stage.j + inner
        (a, a_i), (b, b_k) = self._rebase(stage.a, loops, a_i), self._rebase(stage.b, loops, b_k)
        kind, terms = (
            storable(dtype),
            self._table([axis.extent for axis in inner], [1] * len(inner)),
        )
        sums, room = f"sums{self._rooms}", f"room{self._rooms}"
        self._rooms += 1
        start, (begin, end) = first, self._flat_span(inner)
        all_rows, all_columns = (  # of the longest iteration
            (product(axis.extent for axis in axes) + (n - 1)) // n
            for axes, n in ((stage.i, TILE), (stage.j, PANEL))
        )
        numbers = Text(str(2 * TILE * PANEL))
        if fed:
            numbers = operate("*", operate("*", numbers, all_rows), all_columns)
        self._first.add(f"{sums} = {call('np.empty', numbers, kind)}")
        copies_a, copies_b = (self._is_copied(access, stage) for access in (stage.a, stage.b))
        if dtype.is_float or copies_b:
            self._first.add(f"{room} = np.empty({PANEL} * len({terms}), {kind})")
        tile_text = sums
        if fed:
            lines.add(f"{sums}[:] = 0")
            self._open_loop(stage.k[0])
            self._stages(fed)
            start, begin = stage.k[0].name * past, Text("0")
            end = product([self._span(stage.k[0])[1], past])
            number = operate("*", Text("column0") // PANEL, all_rows) + Text("row0") // TILE
            tile_text = f"{sums}[{(number * (2 * TILE * PANEL)).alone} :]"
        last_row = call("min", Text("row0") + TILE, rows)
        last_column = call("min", Text("column0") + PANEL, columns)
        lines.open_block(f"for column0 in {call('range', column0, columns, PANEL)}:")
        limits = f"[{first.alone}:{past.alone}]" if part or inner[0].limits else ""
        if copies_b:
            self._copy(
                stage.b,
                (inner, first, past),
                (stage.j, Text("column0"), last_column),
                room,
                PANEL,
                stage.factors if stage.rounds else None,
            )
            b, b_k, b_j = room, self._table([f"len({terms})"], [PANEL]), self._table([PANEL], [1])
            lines.add(f"columns = {b_j}[: {last_column} - column0]", f"panel = {room}, {PANEL}")
            limits = f"[: {(past - first).alone}]" if limits else ""
        else:
            lines.add(f"columns = {b_j}[column0 : {last_column}]")
            if dtype.is_float:
                packed = call(helper("pack"), b, f"{b_k}{limits}", "columns", room, rows - row0)
                lines.add(f"panel = {packed}")
        b_k += limits
        lines.open_block(f"for row0 in {call('range', row0, rows, TILE)}:")
        panel = "panel"
        if copies_a:
            room_a = f"room{self._rooms}"
            self._rooms += 1
            self._first.add(f"{room_a} = np.empty({TILE * DEPTH}, {kind})")
            all_terms = call("range", first, call("max", past, operate("+", first, 1)), DEPTH)
            lines.open_block(f"for term0 in {all_terms}:")
            last_term = call("min", Text("term0") + DEPTH, past)
            lines.add(f"term1 = max(term0, {last_term})")
            span = (stage.i, Text("row0"), last_row), (inner, Text("term0"), Text("term1"))
            self._copy(stage.a, *span, room_a, DEPTH, stage.factors if stage.rounds else None)
            a, a_i = room_a, f"{self._table([TILE], [DEPTH])}[: {last_row} - row0]"
            a_k = f"{self._table([DEPTH], [1])}[: term1 - term0]"
            passed = Text("term0") - first
            b_k = f"{b_k}[{passed.alone} :][: term1 - term0]"
            panel = f"(panel[0][{passed} * panel[1] :], panel[1])"
            start = add(start, passed)
        else:
            a_i = f"{a_i}[row0 : {last_row}]"
            a_k = f"{a_k}[{first.alone}:{past.alone}]" if limits else a_k
        tile = (
            (stage.i, call("range", "row0", last_row)),
            (
                stage.j,
                call("range", "column0", last_column),
            ),
        )
        if part:
            self._move_chains(stage, tile, sums, is_back=True)
        if stage.onto is not None:
            self._load_sums(stage.onto, tile, sums)
            # There are so few terms that they are one block; they follow its first term.
            start, end = operate("+", start, 1), operate("+", end, 1)
        operands: tuple[Text | str, ...] = a, a_i, a_k, b, b_k, "columns"
        if dtype.is_float:
            operands += panel, tile_text, start, begin, end
        else:
            operands += tile_text, start - begin
        multiply_tile = helper("multiply" if dtype.is_float else "multiply_integers")
        if stage.rounds or stage.factors is U32:
            multiply_tile = helper("multiply_flushed")
            operands += (str(stage.factors is U32),)
        elif stage.factors is not None:
            multiply_tile = helper("multiply_words")
            operands += (str(stage.factors is I8),)
        lines.add(f"{call(multiply_tile, *operands)}")
        self._close(int(copies_a))
        if fed:
            self._close(3)
            lines.open_block(f"for column0 in {call('range', column0, columns, PANEL)}:")
            lines.open_block(f"for row0 in {call('range', row0, rows, TILE)}:")
            lines.add(f"tile = {tile_text}")
        else:
            lines.add(f"tile = {sums}")
            if part:
                self._move_chains(stage, tile, sums, is_back=False)
        self._store_tile(stage, *tile)
        self._close(2)

    def _store_tile(
        self, stage: Gemm, rows: tuple[Sequence[Axis], Text], columns: tuple[Sequence[Axis], Text]
    ) -> None:
        """Write Python loops over a tile's sums, with the stores and epilogue of a product."""
        self._from_zero -= {axis.name for axis in stage.i + stage.j}
        row = self._flat_loop("r", *rows)
        scalars = self._scalars(stage.stores)
        self._refs["acc"] = _tile_element("tile", row, "c")
        self._hoist(stage.stores, {axis.name for axis in stage.j}, scalars, ["acc"])
        column = self._flat_loop("c", *columns)
        self._refs["acc"] = _tile_element("tile", row, column)
        for store in stage.stores:
            self._statement(store, scalars)
        self._close(2)

    def _term_range(self, stage: Gemm, inner: Sequence[Axis]) -> tuple[Text, Text]:
        """Return the range of terms of a product's sums that are computed."""
        return self._flat_span(inner)

    def _bounds(self, stage: Gemm) -> tuple[tuple[Text, Text], tuple[Text, Text]]:
        """Return the ranges of rows and columns of a product that are computed."""
        return self._flat_span(stage.i), self._flat_span(stage.j)

    def _move_chains(
        self, stage: Gemm, tile: tuple[tuple[Sequence[Axis], Text], ...], sums: str, is_back: bool
    ) -> None:
        """Write Python loops that move a split product's partial sums to memory, or back."""
        left, lines = left_in(self.kernel), self._lines
        assert left is not None
        lines.open_block(
            "if first_term > 0:" if is_back else f"if past_term < {stage.k[0].extent}:"
        )
        row, column = (self._flat_loop("", axes, span) for axes, span in tile)
        self._from_zero -= {row, column}
        partial, result = _tile_element(sums, row, column), self._element(left)
        lines.add(f"{partial} = {result}" if is_back else f"{result} = {partial}")
        self._close(2)
        if not is_back:
            lines.add("continue")
        self._close(1)

    def _load_sums(
        self, onto: Access, tile: tuple[tuple[Sequence[Axis], Text], ...], sums: str
    ) -> None:
        """Write Python loops that initialize a tile's sums with the elements of an access."""
        row, column = (
            self._flat_loop(name, *loops) for name, loops in zip("rc", tile, strict=True)
        )
        self._from_zero -= {row, column}
        self._lines.add(f"{_tile_element(sums, row, column)} = {self._element(onto)}")
        self._close(2)

    def _is_copied(self, factor: Access, stage: Gemm) -> bool:
        """Return True if a factor must be copied: it is bounded, rounded or has a storage dtype."""
        is_converted = stage.rounds or self.kernel.operand(factor.operand).dtype.is_storage
        return bool(factor.bounded_positions or is_converted)

    def _copy(
        self,
        factor: Access,
        rows: tuple[Sequence[Axis], Text, Text],
        columns: tuple[Sequence[Axis], Text, Text],
        room: str,
        step: int,
        rounds_to: DType | None,
    ) -> None:
        """Write Python loops that copy and widen a factor's part into rows of ``step`` elements.

        ``rows`` and ``columns``: flattened loops with their range of iterations. ``rounds_to``: the
        dtype to which elements are rounded first.
        """
        lines, dtype = self._lines, self.kernel.operand(factor.operand).dtype
        (row_axes, row0, row1), (column_axes, column0, column1) = rows, columns
        inner_loops = {axis.name for axis in (*row_axes, *column_axes)}
        base = add(self._base(factor, inner_loops), self._shifts[factor.operand])
        starts = [(base, self._offsets(factor, row_axes), self._offsets(factor, column_axes))]
        for position in factor.bounded_positions:
            steps = tuple(term for term in position.terms if term[0] not in inner_loops)
            by_row, by_column = (
                self._table([a.extent for a in axes], [position.step(a.name) for a in axes])
                for axes in (row_axes, column_axes)
            )
            starts.append((_position(replace(position, terms=steps)), by_row, by_column))
        lines.open_block(f"for r in {call('range', row0, row1)}:")
        indices = list[Text]()
        for start, by_row, by_column in starts:
            self._count[0] += 1
            name = f"v{self._count[0] - 1}"
            lines.add(f"{name} = {add(element_at(by_row, Text('r')), start).alone}")
            indices.append(Text(name) + element_at(by_column, Text("c")))
        lines.open_block(f"for c in {call('range', column0, column1)}:")
        value = element_at(self._names[factor.operand], indices[0])
        if rounds_to is not None and not dtype.is_storage:
            value, dtype = call(self.functions.helper(f"narrow_{rounds_to.code}"), value), rounds_to
        value = widen_element(value, dtype, self.functions) if dtype.is_storage else value
        ends = zip(indices[1:], factor.bounded_positions, strict=True)
        is_inside = every(is_between(index, p.extent or 0) for index, p in ends)
        if is_inside is not None:
            value = choose(is_inside, value, literal(0, dtype.compute))
        index = (Text("r") - row0) * step + (Text("c") - column0)
        lines.add(f"{element_at(room, index)} = {value.alone}")
        self._close(2)

    def _flat_span(self, axes: Sequence[Axis]) -> tuple[Text, Text]:
        """Return the range of iterations of several loops flattened to one."""
        first, past = self._span(axes[0])
        inner = [axis.extent for axis in axes[1:]]
        return (first if first.is_zero else product([first, *inner])), product([past, *inner])

    def _flat_loop(self, name: str, axes: Sequence[Axis], span: Text) -> str:
        """Open a flattened loop over several axes; return its variable."""
        if len(axes) == 1:
            name = axes[0].name
        self._lines.open_block(f"for {name} in {span}:")
        self._decode(name, axes)
        return name

    def _offsets(self, access: Access, axes: Sequence[Axis]) -> str:
        """Return the variable of the table of a factor's offsets along loops."""
        return self._table(
            [axis.extent for axis in axes],
            [product(factors(access.stride(axis.name))) for axis in axes],
        )

    def _table(self, extents: Iterable[Extent], strides: Iterable[Extent | Text]) -> str:
        """Return the variable of a table of offsets for all iterations of several loops."""
        sizes, steps = (
            "".join(f"{text_of(value).alone}, " for value in values).rstrip()
            for values in (extents, strides)
        )
        text = f"{self.functions.helper('offsets')}(({sizes}), ({steps}))"
        if text not in self._tables:
            self._tables[text] = f"places{len(self._tables)}"
            self._first.add(f"{self._tables[text]} = {text}")
        return self._tables[text]

    def _base(self, access: Access, inner_loops: Collection[str]) -> Text:
        """Return the offset of an access at the first iteration of ``inner_loops``."""
        outer = (step for step in access.strides if step[0] not in inner_loops)
        terms = [multiply(axis, stride) for axis, stride in outer]
        for position in access.positions:
            steps = tuple(term for term in position.terms if term[0] not in inner_loops)
            terms.append(_position(replace(position, terms=steps)) * position.stride)
        return add(*terms)

    def _rebase(self, access: Access, loops: Sequence[Axis], offsets: str) -> tuple[str, str]:
        """Return a product factor's array from its first element on, and its offsets from there.

        If a loop does not begin at 0, that element may be outside the array: then the array is not
        sliced.
        """
        base = self._base(access, {axis.name for axis in loops})
        if not base.is_zero and any(axis.first for axis in loops):
            return self._array(access.operand), f"({offsets} + {base})"
        return self._array(access.operand, base), offsets


class EntryWriter(KernelWriter):
    """A writer of one kernel as an entry function that the driver calls.

    Its parameters are the record of operands and arguments, that of a worker, and a range of
    iterations (``native/vocabulary.md``). If a kernel allocates scratch, the record has an
    additional word: the address of a flag that is set to 1 if the allocation fails.
    """

    def __init__(self, kernel: Kernel, functions: Functions) -> None:
        names = {operand.name: operand.name for operand in kernel.operands}
        super().__init__(kernel, "kernel", names, dict.fromkeys(names, 0), functions)

    def text(self) -> str:
        """Return the Python source of a kernel's function."""
        kernel = self.kernel
        head = ["@entry", "def kernel(record, own, begin, end):"]
        arrays, private, shared = {*self.operands}, 0, 0
        for operand in kernel.operands:
            words, number = ("own", private) if operand.is_own else ("record", shared)
            private, shared = private + operand.is_own, shared + (not operand.is_own)
            if operand.name in arrays:
                word = f"{words}[{number}]"
                head.append(f"    {operand.name} = {self._array_at(word, operand.dtype)}")
        for number, argument in enumerate(kernel.arguments):
            head.append(f"    {argument} = record[{shared + number}]")
        self._write()
        # A kernel reports no exception: if its loops allocate, a wrapper records the failure.
        body = [*self._first.text, *self._lines.text]
        if not any("np." in line for line in body):
            return "\n".join([*head, *body])
        failure = f"array(record[{record_words(self.kernel)}], int64)[0] = 1"
        return "\n".join([
            _INNER, head[1].replace("kernel", "loops"), *head[2:], *body, "", "", *head[:2],
            "    try:", "        loops(record, own, begin, end)", "    except Exception:",
            f"        {failure}",
        ])  # fmt: skip

    def _array_at(self, word: str, dtype: DType) -> str:
        return f"{self.functions.helper('array')}({word}, {storable(dtype)})"

    def _span(self, axis: Axis) -> tuple[Text, Text]:
        """Return a loop's range; the flattened outer loop runs over the entry's arguments."""
        first = self.kernel.stages[0]
        if (
            self.kernel.outer == "elements"
            and isinstance(first, Map | Columns)
            and axis == first.axis
        ):
            return Text("begin"), Text("end")
        return super()._span(axis)

    def _outer(self, axes: Sequence[Axis]) -> None:
        if self.kernel.outer != "elements":
            self._lines.open_block("for iteration in range(begin, end):")
        if self.kernel.outer != "tiles":
            self._decode("iteration", axes)

    def _outer_groups(self, outer: Sequence[Axis], count: Text) -> Text:
        """Write the entry's loop over groups of rows, and decode the outer indices."""
        lines = self._lines
        self._count_groups(count)
        lines.open_block("for iteration in range(begin, end):")
        lines.add("group = iteration % groups")
        if outer:
            lines.add("outer = iteration // groups")
            self._decode("outer", outer)
        return Text("iteration")

    def _term_range(self, stage: Gemm, inner: Sequence[Axis]) -> tuple[Text, Text]:
        """Return the range of k of a call, which may compute part of the sums (``chain_parts``)."""
        if left_in(self.kernel) is None:
            return super()._term_range(stage, inner)
        first, past = self._flat_span(inner)
        words = record_words(self.kernel) + 1  # after the word for failures
        self._first.add(f"first_term, past_term = {first.alone}, {past.alone}")
        self._first.open_block(f"if end == {PART}:")
        part = ", ".join(f"record[{words + n}]" for n in range(len(ChainPart._fields)))
        self._first.add(f"first_term, past_term, begin, end = {part}")
        self._first.depth -= 1
        return Text("first_term"), Text("past_term")

    def _bounds(self, stage: Gemm) -> tuple[tuple[Text, Text], tuple[Text, Text]]:
        """Return the chunk of rows and the columns that an iteration of a product computes."""
        if self.kernel.outer != "tiles":
            return super()._bounds(stage)
        lines, dtype = self._lines, self.kernel.operand(stage.a.operand).dtype.compute
        rows, columns = (product(axis.extent for axis in axes) for axes in (stage.i, stage.j))
        panels, down, across = Text("panels"), Text("down"), Text("across")
        lines.add(f"panels = {panel_count(columns, dtype).alone}")
        if stage.plain:
            chunks = chunk_count(rows, panels, high_from(stage), _least, _most)
            streamed = streamed_rows(stage)
            group = group_panels(rows, panels, down, dtype, streamed, _least, _most)
            lines.add(f"down = {chunks.alone}", f"group = {group.alone}")
            lines.add("across = (panels + group - 1) // group")
            chunk = operate("-", rows + down, 1) // down
        else:
            chunk = Text(str(gemm_chunk(stage)))
            lines.add(f"across, down = panels, {((rows + (gemm_chunk(stage) - 1)) // chunk).alone}")
        lines.add("part, outer = iteration % (across * down), iteration // (across * down)")
        self._decode("outer", self.kernel.axes)
        width = operate("-", columns + PANEL * across, 1) // (PANEL * across)
        lines.add(f"width = {operate('*', width, PANEL).alone}")
        first_row = operate("*", Text("part") // across, chunk)
        lines.add(f"first_row, first_column = {first_row.alone}, part % across * width")
        lines.add(f"past_row = {call('min', rows, operate('+', 'first_row', chunk))}")
        lines.add(f"past_column = {call('min', columns, Text('first_column') + 'width')}")
        rows_computed = Text("first_row"), Text("past_row")
        return rows_computed, (Text("first_column"), Text("past_column"))


def _least(a: Text | int, b: Text | int) -> Text:
    return call("min", a, b)


def _most(a: Text | int, b: Text | int) -> Text:
    return call("max", a, b)


def may_fail(source: str) -> bool:
    """Return True if the entry of a source allocates memory and records failures."""
    return _INNER in source


def source(kernel: Kernel) -> str:
    """Return the source of a kernel as functions of plain loops; the last one is its entry."""
    functions = Functions()
    entry = EntryWriter(kernel, functions).text()
    return "\n\n\n".join([*functions.blocks.values(), entry]) + "\n"


def _varies(check: Check, loops: Collection[str], body: Sequence[Statement]) -> bool:
    """Return True if a checked index or its position depends on loops."""
    results = {s.name for s in body if isinstance(s, Check | Search | Keep)}
    for expr in postorder(roots(check)):
        access = expr.attribute
        if isinstance(access, Access):
            if _access_varies(access, loops):
                return True
        elif access in loops or (expr.op == "ref" and access in results):
            return True
    return False


def _access_varies(access: Access, loops: Iterable[str]) -> bool:
    """Return True if an access, or one of its bounded positions, depends on loops."""
    return any(
        access.stride(axis) or any(p.step(axis) for p in access.bounded_positions) for axis in loops
    )


def element_at(array: str, index: Text) -> Text:
    """Return the source of an element whose index is not negative."""
    return element(array, call("at", index))


def _tile_element(sums: str, row: str, column: str) -> Text:
    """Return the source of a sum in a tile."""
    return element_at(sums, (Text(row) - "row0") * PANEL + (Text(column) - "column0"))


def _position(position: Position) -> Text:
    return add(*(multiply(*term) for term in position.terms), position.start)


def product(extents: Iterable[Extent | Text]) -> Text:
    """Return the source of a product of extents; literal ones are multiplied."""
    number, names = 1, list[Text]()
    for extent in map(text_of, extents):
        if extent.alone.isdigit():
            number *= int(extent.alone)
        else:
            names.append(extent)
    return multiply(*names, number) if number else Text("0")


def flat(axes: Sequence[Axis]) -> Text:
    """Return the source of the flattened index of several loops, in C order."""
    index = Text(axes[0].name)
    for axis in axes[1:]:
        index = index * axis.extent + axis.name
    return index
