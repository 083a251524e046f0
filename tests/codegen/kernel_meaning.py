"""The meaning of a kernel over NumPy arrays, one outer iteration after the other.

Expressions are those of ``staticgrad.analysis.interpret``, sums those of ``ir.summation``;
what a stage does with them is written down here once more, without lanes, blocks or masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import product
from math import prod
from typing import Any

import numpy as np

from staticgrad.analysis.interpret import interpret
from staticgrad.language.ir.expr import Access, Expr, load, postorder, ref
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.kernel import GEMM_BLOCK, Kernel
from staticgrad.language.ir.kernels.stages import (
    Accumulate,
    Axis,
    Check,
    ColumnAccumulate,
    Columns,
    Gemm,
    Keep,
    Loop,
    Map,
    Scalar,
    Search,
    Store,
    nested_stages,
    statements,
)
from staticgrad.language.ir.summation import (
    COLUMN_BLOCK,
    block_sum,
    column_sum,
    group_length,
    lane_sum,
)
from staticgrad.language.types.dtype import F32, I8, U8, U32, as_dtype
from tests.native.test_flushing import half, multiply_add

Array = np.ndarray[Any, Any]


def each_byte(words, dtype):
    """The integers of 8 bits of words of int32, along a new last axis."""
    parts = np.asarray(words, "i8")[..., None] >> np.arange(0, 32, 8) & 255
    return parts.astype("u1").view(dtype.numpy).astype("i8")


@dataclass
class Meaning:
    """A kernel over flat arrays by operand and sizes by argument; ``run`` changes the arrays.

    ``columns`` are the terms of each column accumulation so far, a row each, by its partials.
    """

    kernel: Kernel
    memory: Mapping[str, Array]
    sizes: Mapping[str, int]
    results: dict[str, Array] = field(default_factory=dict)
    columns: dict[str, list[Array]] = field(default_factory=dict)

    def run(self):
        """Every row of every outer iteration, in order."""
        for at in self.places(self.kernel.axes):
            self._stages(self.kernel.stages, at)
        for stage, _ in nested_stages(self.kernel.stages):
            for statement in statements(stage):
                if isinstance(statement, ColumnAccumulate):
                    self._write_partials(statement)

    def _stages(self, stages, at):
        for stage in stages:
            match stage:
                case Map(axis=axis, body=body, rows=rows):
                    self._rows(body, (*rows, axis), at)
                case Scalar(body=body):
                    self._map(body, at)
                case Columns():
                    self._columns(stage, at)
                case Gemm():
                    self._gemm(stage, at)
                case Loop(axis=axis):
                    self._carry(stage.first, at)
                    for iteration in self.places([axis]):
                        if stage.going and not self.results[stage.going]:
                            break
                        self._stages(stage.stages, {**at, **iteration})
                        self._carry(stage.following, {**at, **iteration})

    def _carry(self, carries, at):
        self.results |= {carry.name: self.value(carry.value, at) for carry in carries}

    def _write_partials(self, column):
        """A row for each group of rows; those of other outer axes lie apart."""
        rows = prod(self.size(a.extent) for a in self.kernel.axes[-self.kernel.grouped :])
        terms, partials = self.columns.get(column.partials, []), []
        for first in range(0, len(terms), max(rows, 1)):
            length = group_length(rows)
            for start in range(0, rows, length):
                stop = min(start + length, rows)
                partials.append(_group(column.kind, terms[first + start : first + stop]))
        together = np.concatenate([*partials, np.zeros(0, self.memory[column.partials].dtype)])
        self.memory[column.partials][: len(together)] = together

    def places(self, axes):
        """Every position of some loops, in C order."""
        for places in product(*map(self.span, axes)):
            yield {axis.name: np.int64(place) for axis, place in zip(axes, places, strict=True)}

    def span(self, axis):
        """The positions of a loop, between its limits."""
        first, past = 0, self.size(axis.extent)
        if axis.first:
            first = max(0, int(self.results[axis.first]))
        if axis.past:
            past = min(past, int(self.results[axis.past]))
        return range(first, past)

    def size(self, extent):
        return extent if isinstance(extent, int) else self.sizes[extent]

    def value(self, expr, at):
        """An expression at all positions, of their common shape."""
        shape = np.broadcast_shapes(*(np.shape(place) for place in at.values()))

        def leaf(node, *indices):
            if node.op == "load":
                assert isinstance(node.attribute, Access)
                access, many = node.attribute, len(node.attribute.gather)
                inside = self.inside(access, at)
                place = np.where(inside, self.place(access, indices[:many], at), 0)
                fill = indices[many] if len(indices) > many else node.dtype.numpy.type(0)
                return np.where(inside, self.memory[access.operand][place], fill)
            if node.op == "index":
                return np.asarray(at[str(node.attribute)])
            if node.op == "size":
                return np.asarray(self.sizes[str(node.attribute)], np.int64)
            return self.results[str(node.attribute)]

        return np.broadcast_to(interpret([expr], leaf)[0], shape)

    def place(self, access, indices, at):
        """Element positions of an access."""
        place = np.zeros((), np.int64)
        for axis, stride in access.strides:
            place = place + at[axis] * self.size(stride)
        for index, stride in zip(indices, access.gather, strict=True):
            place = place + index * self.size(stride)
        for position in access.positions:
            place = place + self.along(position, at) * self.size(position.stride)
        return np.asarray(place)

    def along(self, position, at):
        """A position along an axis of an operand."""
        offsets = [at[axis] * self.size(step) for axis, step in position.terms]
        return np.asarray(sum(offsets, np.int64(self.size(position.start))))

    def inside(self, access, at):
        """Return whether all positions that have ends are between them."""
        inside = np.asarray(True)
        for position in access.bounded_positions:
            place = self.along(position, at)
            assert position.extent is not None
            inside = inside & (place >= 0) & (place < self.size(position.extent))
        return inside

    def _rows(self, body, loops, at):
        """A Map; a check that no loop of it moves is made also where they are empty."""
        *rows, axis = loops
        columns = np.arange(len(self.span(axis)))
        if rows:
            self._map(tuple(s for s in body if isinstance(s, Check) and not _moves(s, loops)), at)
        for row in self.places(rows) if columns.size or not rows else ():
            self._map(body, {**at, **row, "j": columns})

    def _map(self, body, at):
        for statement in body:
            match statement:
                case Store():
                    self._store(statement, at)
                case Accumulate(name=name, kind=kind, value=value):
                    sums = block_sum if statement.blocks else lane_sum
                    self.results[name] = _reduce_terms(kind, self.value(value, at), sums)
                case ColumnAccumulate(partials=partials, value=value):
                    row = np.array(self.value(value, at))
                    self.columns.setdefault(partials, []).append(row)
                case Keep(name=name, value=value):
                    self.results[name] = self.value(value, at)
                case Check():
                    self._check(statement, at)
                case Search():
                    self._search(statement, at)

    def _columns(self, stage, at):
        columns = np.arange(self.size(stage.axis.extent))
        around = {**at, **self.flat(stage.rows), "j": columns[:, None]}
        sums = lane_sum if stage.in_lanes else column_sum
        for s in stage.body:
            self.results[s.name] = _reduce_terms(s.kind, self.value(s.value, around), sums)
        for store in stage.stores:
            self._store(store, {**at, "j": columns})

    def _gemm(self, stage, at):
        """One chain in ascending k per block, blocks added in order; then the stores."""
        rows, columns = (
            {name: shape(place) for name, place in self.flat(axes).items()}
            for axes, shape in (
                (stage.i, lambda place: place[:, None]),
                (stage.j, lambda place: place[None, :]),
            )
        )
        dtype = self.kernel.operand(stage.a.operand).dtype.compute
        a, b, acc = ref("a", dtype), ref("b", dtype), ref("acc", dtype)
        step = a.fma(b, acc) if dtype.is_float else acc + a * b
        shape = tuple(prod(len(self.span(a)) for a in axes) for axes in (stage.i, stage.j))
        chain, totals = np.zeros(shape, dtype.numpy), []
        if stage.onto is not None:
            chain = np.broadcast_to(
                self.value(load(stage.onto, dtype), {**at, **rows, **columns}), shape
            )
        begin, fed = self.span(stage.k[0]).start, -1
        for number, inner in enumerate(self.places(stage.k), begin):
            if stage.fed and inner[stage.k[0].name] != fed:
                fed = inner[stage.k[0].name]
                self._stages(stage.fed, {**at, stage.k[0].name: fed})
            if number > begin and number % GEMM_BLOCK == 0:
                totals.append(chain)
                chain = np.zeros(shape, dtype.numpy)
            if stage.factors in (U8, I8):
                words = (
                    self.value(load(access, dtype), {**at, **inner, **loops})
                    for access, loops in ((stage.a, rows), (stage.b, columns))
                )
                signs = (stage.factors, I8 if stage.factors is U8 else U8)
                a_value, b_value = (each_byte(*pair) for pair in zip(words, signs, strict=True))
                chain = (chain + (a_value * b_value).sum(-1)).astype("i4")
                continue
            if stage.factors is U32:
                x, y = (
                    np.asarray(self.value(load(access, dtype), {**at, **inner, **loops}), "f4")
                    for access, loops in ((stage.a, rows), (stage.b, columns))
                )
                with np.errstate(all="ignore"):
                    for shift in (16, 0):
                        parts = half(x.view("u4"), shift), half(y.view("u4"), shift)
                        chain = multiply_add(*parts, chain.astype("f8")).astype("f4")
                continue
            if stage.factors is not None:
                a_value = self._round_factor(stage, stage.a, {**at, **rows, **inner})
                b_value = self._round_factor(stage, stage.b, {**at, **inner, **columns})
                with np.errstate(all="ignore"):
                    chain = multiply_add(a_value, b_value, chain.astype("f8")).astype("f4")
                continue
            values = {
                "a": self.value(load(stage.a, dtype), {**at, **rows, **inner}),
                "b": self.value(load(stage.b, dtype), {**at, **inner, **columns}),
                "acc": chain,
            }
            chain = interpret([step], lambda leaf, operands=values: operands[str(leaf.attribute)])[
                0
            ]
        self.results["acc"] = reduce(np.add, [*totals, chain])
        for store in stage.stores:
            self._store(store, {**at, **rows, **columns})

    def _round_factor(self, stage, access, at):
        """A factor rounded to what is multiplied, in float64."""
        dtype = self.kernel.operand(access.operand).dtype
        rounded = self.value(load(access, dtype).cast(stage.factors).cast(F32), at)
        return rounded.astype(np.float64)

    def flat(self, axes):
        """The positions along flattened loops."""
        places = [[*row.values()] for row in self.places(axes)]
        columns = np.array(places, np.int64).reshape(len(places), len(axes)).T
        return {axis.name: place for axis, place in zip(axes, columns, strict=True)}

    def _store(self, store, at):
        value = self.value(store.value, at)
        indices = tuple(self.value(index, at) for index in store.indices)
        memory, place = self.memory[store.access.operand], self.place(store.access, indices, at)
        inside, place = np.broadcast_arrays(self.inside(store.access, at), place)
        if inside.ndim:
            value, place = np.broadcast_to(value, place.shape)[inside], place[inside]
        elif not inside:
            return
        with np.errstate(all="ignore"):
            if store.combine == "sum":
                memory[place] = memory[place] + value
            elif store.combine:
                memory[place] = _combine_pair(store.combine, memory[place], np.asarray(value))
            else:
                memory[place] = value

    def _check(self, check, at):
        if not _moves(check, (Axis("j", 0),)):
            at = {axis: place for axis, place in at.items() if axis != "j"}
        index, position = self.value(check.index, at), self.value(check.position, at)
        extent, noted = self.size(check.extent), self.memory[check.operand]
        wrapped = np.where(index < 0, index + extent, index) if check.wrap else index
        wrong = (wrapped < 0) | (wrapped >= extent)
        self.results[check.name] = np.where(wrong, np.int64(0), wrapped)
        for bad, wrong_index in zip(position[wrong].ravel(), index[wrong].ravel(), strict=True):
            if noted[0] < 0 or bad < noted[0]:
                noted[:] = bad, wrong_index

    def _search(self, search, at):
        sorted_ = self.memory[search.operand][: self.size(search.extent)]
        side = "right" if search.right else "left"
        insertion_points = np.searchsorted(sorted_, self.value(search.value, at), side)
        self.results[search.name] = np.asarray(insertion_points, np.int64)


def _moves(check, loops):
    """Return whether an index differs along loops, by a position or a place in them."""
    names = {axis.name for axis in loops}
    for node in postorder([check.index, check.position]):
        access = node.attribute
        if access in names if isinstance(access, str) else _depends_on(access, names):
            return True
    return False


def _depends_on(access, names):
    return isinstance(access, Access) and any(access.stride(name) != 0 for name in names)


def _group(kind, terms):
    """The rows of a group, in blocks, and those by the binary counter."""
    stack = []
    for start in range(0, len(terms), COLUMN_BLOCK):
        height, total = 0, reduce(partial(_combine_pair, kind), terms[start : start + COLUMN_BLOCK])
        while stack and stack[-1][0] == height:
            total, height = _combine_pair(kind, stack.pop()[1], total), height + 1
        stack.append((height, total))
    return reduce(
        lambda later, older: _combine_pair(kind, older[1], later), stack[-2::-1], stack[-1][1]
    )


def _combine_pair(kind, a, b):
    """Two elements combined, or their arrays."""
    dtype = as_dtype(a.dtype)
    combined = Expr(COMBINERS[kind].combine, dtype, (ref("a", dtype), ref("b", dtype)))
    return interpret([combined], lambda leaf: a if leaf.attribute == "a" else b)[0]


def _reduce_terms(kind, terms, sums):
    """The terms along the last axis combined."""
    combiner, dtype = COMBINERS[kind], as_dtype(terms.dtype)
    if terms.shape[-1] == 0:
        return np.full(terms.shape[:-1], combiner.empty(dtype), terms.dtype)
    if combiner.is_ordered(dtype):
        with np.errstate(all="ignore"):
            return np.asarray(sums(terms), terms.dtype)
    if kind == "sum":
        return np.asarray(np.add.reduce(terms, -1, dtype=terms.dtype))
    return np.asarray(reduce(partial(_combine_pair, kind), np.moveaxis(terms, -1, 0)))
