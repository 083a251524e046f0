"""Expressions of a kernel to values of a nest, for the body of one loop.

A value is *uniform* if it is the same for all lanes: then it is a vector of one lane, which is
broadcast where a vector reads it. Where several rows, or several vectors, run side by side, a value
that differs between them is a ``PerCopy``.

In ``y[i, j] = x[i, j] * s[i]`` the load of ``s`` is uniform: one element, broadcast in front of the
loop over vectors::

    %0: f32 = load p0[i0*n1 + j]               v11 = load1(p1, o3)
    %1: f32 = load p1[i0]                      v12 = splat16(v11)
    %2: f32 = mul %0, %1               ->      for j7 in range(0, v6, 16):
    store p2[i0*n1 + j] = %2                       v9 = load16(p0, o3 * n1 + j7)
                                                   v13 = v9 * v12
                                                   store16(p2, o3 * n1 + j7, v13)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from staticgrad.compiler.nest.block_functions import (
    KERNEL_NAMES,
    element,
    function_name,
    function_text,
)
from staticgrad.compiler.nest.division import (
    DIVIDENDS,
    DIVISORS,
    checked_quotient_name,
    checked_quotient_text,
    dividend_fields,
    is_power_of_two,
    quotient_name,
    quotient_text,
    root_name,
    root_text,
    rounded_quotient_name,
    rounded_quotient_text,
)
from staticgrad.compiler.nest.interior import Interior
from staticgrad.compiler.nest.records import (
    Apply,
    Arg,
    Name,
    Offset,
    PerCopy,
    UnsupportedError,
    Value,
    pick,
)
from staticgrad.compiler.nest.writer import NestWriter
from staticgrad.language.ir.expr import (
    BLOCKS,
    CHOICES,
    Access,
    Expr,
    Position,
    postorder,
    unvisited_postorder,
)
from staticgrad.language.ir.forms import COMBINERS
from staticgrad.language.ir.kernels.stages import (
    HALF_LINE,
    LANES,
    Check,
    ColumnAccumulate,
    Order,
    Search,
    Stage,
    Store,
    nested_stages,
    roots,
    statements,
)
from staticgrad.support.records import dataclass

#: Comparisons with the same ones of exchanged operands.
_MIRRORED: Final = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
#: The largest i64: behind every position.
_LAST: Final = 2**63 - 1


def _is_place(expr: Expr) -> bool:
    """Return whether sizes and positions make a number, so that words hold what is next to it."""
    index_ops = ("literal", "index", "size", "add", "sub", "mul")
    return all(node.op in index_ops for node in postorder([expr]))


def operation(op: str) -> str:
    """The name of a primitive in the kernel language."""
    return KERNEL_NAMES.get(op, op)


@dataclass
class Values:
    """The values of expressions in one loop's body.

    ``vector``: lanes run along ``axis``, from its position on, and ``offsets`` further on in each
    copy. ``mask`` has the lanes that count, of each copy if these differ; None: all. ``inside`` is
    what holds for the vectors of the loop. ``is_last``: no vector of the loop follows.
    """

    nest: NestWriter
    lanes: int = 1
    vector: bool = False
    offsets: tuple[int, ...] = (0,)
    mask: Name | PerCopy | None = None
    axis: str = LANES
    left: Any = None
    inside: Interior = Interior()
    is_last: bool = False
    runs: Mapping[Expr, Any] = field(default_factory=dict)
    load_run: Callable[[Any, Any], None] | None = None
    names: dict[Expr, Any] = field(default_factory=dict)
    moving: set[Expr] = field(default_factory=set)
    wide: dict[Any, Any] = field(default_factory=dict)
    inverses: dict[Expr, tuple[Any, Any]] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)

    def varies_itself(self, e: Expr) -> bool:
        """Return True if an expression varies along the vector, whatever its arguments are."""
        if not self.vector:
            return False
        if isinstance(e.attribute, Access):
            return any(axis == self.axis and step != 0 for axis, step in e.attribute.moves)
        if e.op == "ref":
            return e.attribute in self.nest.vector_refs
        return e.op == "index" and e.attribute == self.axis

    # -- values

    def emit(self, exprs: Sequence[Expr]) -> None:
        """Write the operations of expressions for the current vectors, operands first."""
        chosen = self.inside.chosen
        for e in unvisited_postorder(
            [chosen.get(e, e) for e in exprs] if chosen else exprs, self.visited
        ):
            if e in self.runs and e not in self.names and self.load_run is not None:
                self.load_run(self, self.runs[e])
            if e not in self.names:
                self.names[e] = self._write(e)

    def one(self, e: Expr) -> Any:
        """Return a uniform expression's value in the nest, as a vector of one lane."""
        e = self.inside.chosen.get(e, e)
        self.emit([e])
        if e.op == "literal":
            return self.nest.b.op(f"{element(e.dtype)}x1", e.attribute)  # type: ignore[arg-type]
        if e in self.moving:
            raise UnsupportedError("a vector where one value is needed")
        return self.names[e]

    def vec(self, e: Expr) -> Any:
        """Return an expression's value in the nest as a vector; uniform ones are broadcast."""
        e = self.inside.chosen.get(e, e)
        self.emit([e])
        if e in self.moving:
            return self.names[e]
        if e.op == "literal":
            return self.nest.b.op(f"{element(e.dtype)}x{self.lanes}", e.attribute)  # type: ignore[arg-type]
        return self.splat(self.names[e])

    def splat(self, value: Any) -> Any:
        """A uniform value in every lane."""
        return value if self.lanes == 1 else self.nest.b.op(f"splat{self.lanes}", value)

    def result(self, e: Expr, is_limit: bool) -> Any:
        """Return the value of a named result: a vector if rows are lanes, except loop limits."""
        return self.vec(e) if self.vector and not is_limit else self.one(e)

    def word(self, e: Expr) -> Any:
        """A uniform integer as a word."""
        if e.op == "size":
            return self.nest.words[str(e.attribute)]
        if e.op == "literal":
            return e.attribute
        return self.nest.b.op("word", self.one(e))

    def _write(self, e: Expr) -> Any:
        """Write one expression of a kernel as operations of the nest, given its operands."""
        b = self.nest.b
        if e.op == "literal":
            return e.attribute
        if e.op == "ref":
            name = str(e.attribute)
            if self.vector and name in self.nest.vector_refs:
                self.moving.add(e)
            return self.nest.refs[name]
        if e.op == "index":
            if self.vector and e.attribute == self.axis:
                self.moving.add(e)
                return b.op(f"iota{self.lanes}", self.position())
            return b.op("i64x1", self.nest.at[str(e.attribute)])
        if e.op == "size":
            return b.op("i64x1", self.nest.words[str(e.attribute)])
        if e.op == "load":
            return self._load(e)
        if self.vector and e.op in _MIRRORED:
            beyond = self._mask_comparison(e)
            if beyond is not None:
                return beyond
        return self._compute_op(e)

    def _mask_comparison(self, e: Expr) -> Any:
        """Write a comparison of the vector's position with a uniform bound as a mask.

        The position may have a uniform place added. None: the comparison is another one.
        """
        b, _nest, op = self.nest.b, self.nest, e.op
        at, end = e.args
        if end in self.moving:
            at, end, op = end, at, _MIRRORED[op]
        first: Expr | None = None
        if at.op == "add" and self._runs_on(at.args[1]):
            first, at = at.args
        around = [bound for bound in (first, end) if bound is not None]
        if not self._runs_on(at) or any(x in self.moving or not _is_place(x) for x in around):
            return None
        self.moving.add(e)
        until = self.word(end)
        if first is not None:
            until = until - self.word(first)
        if op in ("le", "gt"):
            until = until + 1
        mask = b.op(f"mask{self.lanes}", until - self.position())
        if op in ("ge", "gt"):
            mask = b.op("xor", b.op(f"mask{self.lanes}", self.lanes), mask)
        true, false = (b.op(f"b8x{self.lanes}", flag) for flag in (True, False))
        return b.op("select_mask", mask, true, false)

    def _runs_on(self, e: Expr) -> bool:
        return e.op == "index" and e.attribute == self.axis

    def _compute_op(self, e: Expr) -> Any:
        """Write a primitive of an expression over its operands' vectors."""
        b, code = self.nest.b, element
        moves = any(a in self.moving for a in e.args)
        lanes = self.lanes if moves else 1
        args = [self.names[a] for a in e.args]
        if moves:
            self.moving.add(e)
            for k, a in enumerate(e.args):
                if a not in self.moving and a.op != "literal":
                    args[k] = self.splat(args[k])
            if self.lanes > 1 and e.dtype in DIVISORS and self.nest.machine.has_mask_registers:
                if e.op == "sqrt":
                    self.nest.functions[root_name(e.dtype)] = root_text(e.dtype)
                    return b.op(root_name(e.dtype), *args)
                if e.op == "div" and self._divides_all(e.args[1]):
                    if e in self.nest.rounded_quotients:
                        return self._write_rounded_quotient(e)
                    return self._write_quotient(e, args[0])
        literals = [k for k, a in enumerate(e.args) if a.op == "literal"]
        if e.op in BLOCKS:
            name = function_name(e.op, e.dtype)
            if name not in self.nest.functions:
                wide = self.nest.machine.has_mask_registers
                self.nest.functions[name] = function_text(e.op, e.dtype, wide)
            for k in literals:
                args[k] = b.op(f"{code(e.args[k].dtype)}x{lanes}", args[k])
            return b.op(name, *args)
        for k in literals:
            if e.args[k].dtype.is_storage:
                args[k] = b.op(f"{code(e.args[k].dtype)}x{lanes}", args[k])
        values = range(e.op in CHOICES, len(args))
        if literals and all(k in literals for k in values) and not e.args[-1].dtype.is_storage:
            args[-1] = b.op(f"{code(e.args[-1].dtype)}x{lanes}", args[-1])
        if e.op in CHOICES and 0 in literals:
            args[0] = b.op(f"b8x{lanes}", args[0])
        if e.op in ("cast", "bitcast"):
            return b.op(f"{e.op}_{code(e.dtype)}", *args)
        return b.op(operation(e.op), *args)

    def _divides_all(self, divisor: Expr) -> bool:
        """Return whether a loop divides by one number, which is faster as products."""
        if divisor in self.moving:
            return False
        return not (divisor.op == "literal" and is_power_of_two(divisor.attribute))

    def _write_quotient(self, e: Expr, dividend: Any) -> Any:
        """Write a division by a uniform number as a multiplication by its inverse and a fix-up."""
        b, dtype, divisor = self.nest.b, e.dtype, e.args[1]
        if divisor not in self.inverses:
            s, bits = self.one(divisor), dtype.unsigned.code
            first, end = dividend_fields(dtype, DIVIDENDS[dtype])
            most = DIVISORS[dtype]
            size = b.op("absolute", s)
            usual = b.op("and_", b.op("ge", size, 2.0**-most), b.op("le", size, 2.0**most))
            span = b.op("select", usual, b.op(f"{bits}x1", end - first), b.op(f"{bits}x1", 0))
            inverse = b.op("truediv", b.op(f"{dtype.code}x1", 1.0), s)
            self.inverses[divisor] = self.splat(inverse), self.splat(span)
        self.nest.functions[quotient_name(dtype)] = quotient_text(dtype)
        if e.args[0].op == "literal":
            dividend = self.vec(e.args[0])
        return b.op(quotient_name(dtype), dividend, self.vec(divisor), *self.inverses[divisor])

    def _write_rounded_quotient(self, e: Expr) -> Any:
        """Write a division by a uniform number of which the nearest integer is read."""
        b, dtype, (dividend, divisor) = self.nest.b, e.dtype, e.args
        s, unit, most = self.one(divisor), b.op(f"{dtype.code}x1", 1.0), 2.0 ** DIVISORS[dtype]
        power = b.op("select", b.op("lt", s, unit), b.op(f"{dtype.code}x1", most), unit)
        scaled = b.op("mul", s, power)
        factors = [self.splat(v) for v in (scaled, b.op("truediv", unit, scaled), power)]
        name = rounded_quotient_name(dtype)
        self.nest.functions[name] = rounded_quotient_text(dtype)
        if divisor.op == "literal" and 1 / most <= float(divisor.attribute) <= most:  # type: ignore[arg-type]
            return b.op(name, self.vec(dividend), *factors)
        is_usual = b.op("and_", b.op("ge", s, 1 / most), b.op("le", s, most))
        name = checked_quotient_name(dtype)
        self.nest.functions[name] = checked_quotient_text(dtype)
        return b.op(name, self.vec(dividend), *factors, self.vec(divisor), is_usual)

    # -- places

    @property
    def copies(self) -> int:
        """The rows, or vectors, side by side."""
        return max(len(self.offsets), self.nest.copies)

    def each(self, make: Callable[[int], Arg]) -> Value:
        """Return ``make(k)`` of each copy k; one value if all are the same."""
        results = [make(k) for k in range(self.copies)]
        first = results[0]
        if all(value is first or value == first for value in results[1:]):
            return first
        return PerCopy(results)

    def position(self) -> Any:
        """The position of the first lane, as a word."""
        at = self.nest.at[self.axis]
        if len(self.offsets) == 1:
            return at
        return PerCopy(at + offset for offset in self.offsets)

    def full(self, copy: int = 0) -> Any:
        """The mask of the lanes that count."""
        if self.mask is not None:
            return pick(self.mask, copy)
        return self.nest.b.op(f"mask{self.lanes}", self.lanes)

    def _offset(self, copy: int) -> int:
        return self.offsets[copy] if len(self.offsets) > 1 else 0

    def place(self, access: Access, indices: Sequence[Expr], copy: int) -> Offset:
        """Return the offset of the first lane of an access in the nest."""
        terms: list[tuple[Name, Name | int]] = []
        constant = 0

        def add(position: Any, stride: Any) -> None:
            """Add the product of a position and a stride to the offset."""
            nonlocal constant
            if type(position) is int:
                position, stride = stride, position
            if type(position) is int:
                constant += position * stride
            elif stride != 0 or type(stride) is Name:
                terms.append((position, stride))

        nest = self.nest
        for axis, step in access.strides:
            stride = nest.number(step)
            add(pick(nest.at[axis], copy), stride)
            if self.vector and axis == self.axis:
                add(self._offset(copy), stride)
        for p in access.positions:
            stride = nest.number(p.stride)
            add(nest.number(p.start), stride)
            for axis, step in p.terms:
                scaled_stride = nest.number(step) * stride
                add(pick(nest.at[axis], copy), scaled_stride)
                if self.vector and axis == self.axis:
                    add(self._offset(copy), scaled_stride)
        for index, step in zip(indices, access.gather, strict=True):
            if index not in self.moving:
                add(pick(self.word(index), copy), nest.number(step))
        return Offset(tuple(terms), constant)

    def _position_word(self, p: Position, copy: int, skip: bool = False) -> Any:
        """Return a position as a word; ``skip``: without what the vector axis adds."""
        nest = self.nest
        word: Any = nest.number(p.start)
        for axis, step in p.terms:
            if self.vector and axis == self.axis:
                if skip:
                    continue
                word = word + nest.number(step) * self._offset(copy)
            at = pick(nest.at[axis], copy)
            word = word + at * nest.number(step)
        return word

    def guard(self, access: Access, copy: int) -> Any:
        """Return the mask of the lanes of an access that exist and are inside of its bounds."""
        masks = [self._ends(p, copy) for p in self._bounded_positions(access)]
        if self.mask is not None:
            masks.insert(0, pick(self.mask, copy))
        joint_mask = masks[0] if masks else self.full()
        for mask in masks[1:]:
            joint_mask = self.nest.b.op("and_", joint_mask, mask)
        return joint_mask

    def _bounded_positions(self, access: Access) -> list[Position]:
        """Return the positions of an access that may be out of bounds."""
        inside_positions = (*self.inside.columns, *self.inside.rows)
        return [p for p in access.bounded_positions if p not in inside_positions]

    def middle(self, inside: Interior, first: Any, end: Any) -> tuple[Any, Any]:
        """Narrow the vector loop's range to where all bounds and tests of the middle hold.

        The second is not beyond the first where a row is not one of the middle.
        """
        b, nest = self.nest.b, self.nest
        for p in inside.columns:
            base, extent = self._position_word(p, 0, skip=True), nest.number(p.extent)  # type: ignore[arg-type]
            first = b.op("choose_lt", first, 0 - base, 0 - base, first)
            end = b.least(end, extent - base)
        for axis, op, place in inside.tests:
            if axis == self.axis and op == "ge":
                first = b.op("choose_lt", first, self.word(place), self.word(place), first)
            elif axis == self.axis:
                end = b.least(end, self.word(place))
        for p in inside.rows:
            at, extent = self._position_word(p, 0), nest.number(p.extent)  # type: ignore[arg-type]
            end = b.op("inside", at, extent, end, first)
        for axis, op, place in inside.tests:
            if axis != self.axis:
                low, high = (first, end) if op == "ge" else (end, first)
                end = b.op("choose_lt", nest.at[axis], self.word(place), low, high)
        return first, end

    def _ends(self, p: Position, copy: int) -> Any:
        """Return the mask of the lanes whose bounded position is inside of its extent."""
        b, nest, lanes = self.nest.b, self.nest, self.lanes
        at, extent = self._position_word(p, copy), nest.number(p.extent)  # type: ignore[arg-type]
        step = p.step(self.axis) if self.vector else 0
        if step == 0:
            return b.op(f"mask{lanes}", b.op("inside", at, extent, lanes, 0))
        if isinstance(step, int) and step > 0:
            last, first = extent - at, 0 - at
            if step > 1:
                last, first = ((n + (step - 1)) // step for n in (last, first))
            nonnegative = b.op("xor", b.op(f"mask{lanes}", lanes), b.op(f"mask{lanes}", first))
            return b.op("and_", b.op(f"mask{lanes}", last), nonnegative)
        spot = b.op("mul", b.op(f"iota{lanes}", 0), nest.number(step))
        spot = b.op("add", spot, at)
        return b.op("mask_of", b.op("and_", b.op("ge", spot, 0), b.op("lt", spot, extent)))

    def _clamp_masked_offset(self, access: Access, place: Offset, copy: int) -> Offset:
        """Return the offset of a masked load; 0 if all its lanes are out of bounds.

        A processor takes hundreds of cycles for an unmapped address, of which no lane is loaded.
        """
        crossed = self._bounded_positions(access)
        if not crossed:
            return place
        nest, where = self.nest, self.nest.place_word(place)
        for p in crossed:
            at, extent = self._position_word(p, copy), nest.number(p.extent)  # type: ignore[arg-type]
            if self.vector and p.step(self.axis) == 1:
                at, extent = at + (self.lanes - 1), extent + (self.lanes - 1)
            where = nest.b.op("inside", at, extent, where, 0)
        return nest.place_of(where)

    def lane_offsets(self, access: Access, indices: Sequence[Expr], copy: int) -> Any:
        """Return each lane's offset of a gather or scatter, without the common offset."""
        b, nest = self.nest.b, self.nest
        elements: Any = None
        lane_stride = access.stride(self.axis)
        if lane_stride != 0:
            at = nest.at[self.axis] + self._offset(copy)
            elements = b.op(f"iota{self.lanes}", at)
            if lane_stride != 1:
                elements = b.op("mul", elements, nest.number_of(lane_stride))
        for index, step in zip(indices, access.gather, strict=True):
            if index in self.moving:
                part = b.op("mul", pick(self.names[index], copy), nest.number(step))
                elements = part if elements is None else b.op("add", elements, part)
        return elements

    def _common_offset(self, access: Access, indices: Sequence[Expr], copy: int) -> Offset:
        """Return the offset that all lanes of a gather or scatter have in common."""
        still = Access(
            access.operand,
            tuple((a, s) for a, s in access.strides if a != self.axis),
            access.gather,
            tuple(
                Position(tuple(t for t in p.terms if t[0] != self.axis), p.start, p.stride)
                for p in access.positions
            ),
        )
        return self.place(still, indices, copy)

    def _scatter_elements(self, access: Access, indices: Sequence[Expr], copy: int) -> Any:
        base = self.nest.place_word(self._common_offset(access, indices, copy))
        lanes = self.lane_offsets(access, indices, copy)
        return lanes if base == 0 else self.nest.b.op("add", lanes, base)

    # -- memory

    def _load(self, e: Expr) -> Any:
        """Write the load of an expression: a vector, or one element that is broadcast."""
        access: Any = e.attribute
        indices = e.args[: len(access.gather)]
        gathers = any(i in self.moving for i in indices)
        moves = gathers or self.varies_itself(e)
        if moves:
            self.moving.add(e)
        fill = e.args[-1] if len(e.args) > len(indices) else None
        if moves or not self.vector:
            lanes = self.lanes
        else:
            return Values(self.nest)._uniform(self, e, indices, fill)
        return self._load_access(access, indices, fill, lanes, gathers)

    def _uniform(self, around: Values, e: Expr, indices: Sequence[Expr], fill: Any) -> Any:
        """A load of one lane, for a loop of vectors."""
        self.names, self.visited = around.names, around.visited
        assert isinstance(e.attribute, Access)
        return self._load_access(e.attribute, indices, fill, 1, False)

    def _load_access(
        self, access: Access, indices: Sequence[Expr], fill: Any, lanes: int, gathers: bool
    ) -> Value:
        """Write a load as contiguous, strided, masked or gathering vector load."""
        b, nest, operand = self.nest.b, self.nest, access.operand
        step = access.stride(self.axis) if self.vector else 1

        def fill_beyond(value: Name, mask: Any) -> Name:
            if fill is None:
                return value
            beyond = b.op(f"{element(fill.dtype)}x{lanes}", fill.attribute)
            result: Name = b.op("select_mask", mask, value, beyond)
            return result

        def load(copy: int) -> Arg:
            """Write the load of one interleaved copy."""
            pointer = pick(nest.pointers[operand], copy)
            if gathers:
                mask = self.guard(access, copy)
                elements = self._scatter_elements(access, indices, copy)
                return fill_beyond(b.load(operand, "load_at", pointer, elements, mask), mask)
            place = self.place(access, indices, copy)
            if self._bounded_positions(access):
                mask = self.guard(access, copy)
                if step == 1:
                    place = self._clamp_masked_offset(access, place, copy)
                    loaded = b.load(operand, "load", *b.pointer(pointer, place), mask)
                else:
                    at = b.pointer(pointer, place)
                    loaded = b.load(operand, "load_strided", *at, nest.number_of(step), mask)
                return fill_beyond(loaded, mask)
            at = b.pointer(pointer, place)
            if step != 1:
                return b.load(operand, "load_strided", *at, nest.number_of(step), self.full(copy))
            if self.mask is None or lanes == 1:
                return b.load(operand, f"load{lanes}", *at)
            return b.load(operand, "load", *at, self.full(copy))

        return self.each(load)

    def store(self, s: Store) -> None:
        """Write a store of a vector, or of its combination with memory (scatter-add)."""
        b, nest, access = self.nest.b, self.nest, s.access
        self.emit(roots(s))
        value = self.vec(s.value) if self.vector else self.one(s.value)
        operand, step = access.operand, access.stride(self.axis) if self.vector else 1
        scatters = any(i in self.moving for i in s.indices)
        fills = self.lanes * s.value.dtype.itemsize >= HALF_LINE  # half registers may not
        if step == 0 and not scatters:
            step = 1  # the loop has one iteration
        for copy in range(self.copies):
            pointer, copy_value = pick(nest.pointers[operand], copy), pick(value, copy)
            is_whole = self.mask is None and not self._bounded_positions(access)
            if scatters:
                verb, mask = "_at", [self.guard(access, copy)]
                at: tuple[Any, ...] = (pointer, self._scatter_elements(access, s.indices, copy))
            else:
                at = b.pointer(pointer, self.place(access, s.indices, copy))
                verb = "_strided" if step != 1 else str(self.lanes) if is_whole else ""
                mask = [] if verb.isdecimal() else [self.guard(access, copy)]
                if step != 1:
                    mask.insert(0, nest.number_of(step))
            if s.combine:
                old_value = b.load(operand, f"load{verb}", *at, *mask)
                copy_value = b.op(operation(COMBINERS[s.combine].combine), old_value, copy_value)
            operands = (
                (copy_value, *mask) if verb != "_strided" else (*mask[:1], copy_value, *mask[1:])
            )
            if self.vector and operand in nest.streamed and step == 1 and fills and not scatters:
                with b.branch("fits", *at, self.guard(access, copy)):
                    b.do("stream", *at, copy_value, stores=operand)
                with b.otherwise():
                    b.do(f"store{verb}", *at, *operands, stores=operand)
            else:
                b.do(f"store{verb}", *at, *operands, stores=operand)

    # -- checks

    def check(self, c: Check) -> None:
        """Write the bounds check of an index: note the first bad one, and clamp it."""
        self.emit(roots(c))
        if c.index in self.moving or c.position in self.moving:
            self._check_vector(c)
            return
        b, nest, extent = self.nest.b, self.nest, self.nest.number(c.extent)
        index, position = self.word(c.index), self.word(c.position)

        def check_copy(copy: int) -> Name:
            """Write the bounds check of one interleaved copy."""
            i, at = pick(index, copy), pick(position, copy)
            wrapped = b.op("choose_lt", i, 0, i + extent, i) if c.wrap else i
            clamped = b.variable("w", "copy", wrapped)
            with b.branch("outside", wrapped, extent, rare=True):
                b.do(nest.note(), pick(nest.pointers[c.operand], copy), at, i)
                b.assign(clamped, "copy", 0)
            vector: Name = b.op("i64x1", clamped)
            return vector

        nest.refs[c.name] = self.each(check_copy)

    def search(self, s: Search) -> None:
        """Write a binary search: count a sorted operand's elements below each lane's value."""
        b, nest, lanes = self.nest.b, self.nest, self.lanes
        queries = self._cast_to_ordered(s, self.vec(s.value))
        step = nest.number(s.stride)

        def count_below(copy: int) -> Name:
            """Write the halving loop of one interleaved copy."""
            query = pick(queries, copy)

            def is_before(at: Any) -> Any:
                """Return the mask of lanes whose element is ordered before the value, NaN last."""
                place = b.op("mul", at, step)
                elements = b.load(s.operand, "load_at", nest.pointer(s.operand), place, self.full())
                elements = self._cast_to_ordered(s, elements)
                less = b.op("le" if s.right else "lt", elements, query)
                if s.value.dtype.is_float:
                    is_nan = b.op("ne", query, query)
                    if not s.right:
                        is_nan = b.op("and_", is_nan, b.op("eq", elements, elements))
                    less = b.op("or_", less, is_nan)
                return less

            count: Name = b.variable("s", f"i64x{lanes}", 0)
            left = b.variable("n", "copy", nest.number(s.extent))
            with b.repeat(Apply("gt", (left, 1))):
                half = b.op("floordiv", left, 2)
                less = is_before(b.op("add", count, b.op("sub", half, 1)))
                b.assign(count, "select", less, b.op("add", count, half), count)
                b.assign(left, "sub", left, half)
            with b.branch("eq", left, 1):
                b.assign(count, "select", is_before(count), b.op("add", count, 1), count)
            return count

        nest.refs[s.name] = self.each(count_below)
        nest.vector_refs.add(s.name)

    def _cast_to_ordered(self, s: Search, value: Any) -> Any:
        """Elements of a search in a dtype that has an order."""
        dtype = s.value.dtype
        return (
            self.nest.b.op(f"cast_{element(dtype.compute)}", value) if dtype.is_storage else value
        )

    def _check_vector(self, c: Check) -> None:
        """Write the bounds check of a vector of indices: note the first bad position."""
        b, nest, lanes = self.nest.b, self.nest, self.lanes
        extent, operand = nest.number(c.extent), nest.pointer(c.operand)
        index, position = self.vec(c.index), self.vec(c.position)
        zero, last = b.op(f"i64x{lanes}", 0), b.op(f"i64x{lanes}", _LAST)

        def check_copy(copy: int) -> Name:
            """Write the bounds check of one interleaved copy's vector."""
            i, at = pick(index, copy), pick(position, copy)
            wrapped = i
            if c.wrap:
                wrapped = b.op("select", b.op("lt", i, 0), b.op("add", i, extent), i)
            wrong = b.op("or_", b.op("lt", wrapped, 0), b.op("ge", wrapped, extent))
            if self.mask is not None:
                wrong = b.op("select_mask", self.mask, wrong, False)
            clamped: Name = b.op("select", wrong, zero, wrapped)
            with b.branch("some", wrong, rare=True):
                places = b.op("select", wrong, at, last)
                first = b.op("hmin", places)
                same = b.op("eq", places, b.op(f"splat{lanes}", first))
                which = b.op("hmin", b.op("select", same, i, last))
                b.do(nest.note(), operand, b.op("word", first), b.op("word", which))
            return clamped

        nest.refs[c.name] = self.each(check_copy)
        nest.vector_refs.add(c.name)


def stored_operands(stages: Sequence[Stage]) -> frozenset[str]:
    """The operands that stages store to."""
    every = [s for stage, _ in nested_stages(stages) for s in statements(stage)]
    orders = {s.scratch for s in every if isinstance(s, Order)}
    operands = orders | {s.access.operand for s in every if isinstance(s, Store)}
    operands |= {s.scratch for s in every if isinstance(s, ColumnAccumulate)}
    return frozenset(operands | {s.operand for s in every if isinstance(s, Check)})
