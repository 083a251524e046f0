"""The proof of one kernel at concrete sizes: what it reads and writes of each operand.

Proved of all rows at once: each access is inside of what its operand is bound to; a row reads of
scratch and results only what it wrote before; no two rows, and no two lanes of a vector, write one
element, or write what another one reads; where a result may share bytes with an operand, every
element is read before it is written, by the row that writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from staticgrad.analysis.access_proof.events import (
    AccessEvent,
    Digit,
    KernelWalk,
    Scenario,
    TooManyPositionsError,
    every_stage,
    find_cut_axis,
    group_length,
    pad,
)
from staticgrad.language.ir.kernels.directives import Interleave
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    Axis,
    ColumnAccumulate,
    Gemm,
    Map,
    Operand,
    Sort,
    Store,
)
from staticgrad.language.ir.summation import COLUMN_BLOCK
from staticgrad.support.caches import cached_property

Array = NDArray[Any]
#: Rows times elements of scratch, at most, for which a proof keeps a time each.
MOST_CELLS: Final = 1 << 23
#: Later than any time; times are below it.
_NEVER: Final = np.iinfo(np.int64).max
_SCENARIOS: Final[tuple[Scenario, ...]] = ("all iterations", "fewest iterations")


class AccessFaultError(Exception):
    """An access that is not proved, because it is wrong."""


@dataclass(frozen=True)
class OperandProof:
    """The elements of an operand that a kernel needs before it runs, and that it has written then.

    They are counted from the begin of the buffer, and ascend.
    """

    needed: Array
    written: Array


@dataclass(frozen=True)
class KernelProof:
    """Proof of a kernel: its operands by name, and its parallel iterations.

    ``accesses`` counts the accesses, ``unproved`` says of which something is not proved, and why.
    ``iterations`` is None where their number does not follow from the records alone.
    """

    operands: Mapping[str, OperandProof]
    iterations: int | None
    accesses: int
    unproved: tuple[str, ...]


def prove_kernel(
    kernel: Kernel,
    arguments: Sequence[int],
    rooms: Mapping[str, int],
    offsets: Mapping[str, int],
    constants: Mapping[str, Array],
    most_positions: int,
) -> KernelProof:
    """Prove the accesses of a kernel at these values of its integer arguments.

    ``rooms`` are the elements of each operand's buffer, ``offsets`` those at which the operand
    begins, ``constants`` the contents of integer operands that never change.

    Raises:
        AccessFaultError: an access is wrong; its text says which, and why.
    """
    sizes = dict(zip(kernel.arguments, arguments, strict=True))
    _check_algorithms(kernel, sizes, {name: rooms[name] - offsets[name] for name in rooms})
    iterations = _count_iterations(kernel, sizes)
    unproved: list[str] = []
    proofs: list[dict[str, OperandProof]] = []
    accesses = 0
    for scenario in _SCENARIOS:
        walk = KernelWalk(kernel, sizes, offsets, constants, scenario, most_positions)
        try:
            walk.run()
        except TooManyPositionsError:
            return _prove_ends(kernel, sizes, rooms, offsets, iterations)
        if walk.faults:
            raise AccessFaultError(walk.faults[0])
        prover = _Prover(kernel, walk, rooms, unproved)
        proofs.append({operand.name: prover.prove(operand) for operand in kernel.operands})
        prover.prove_pairs()
        accesses = len(walk.events)
        if walk.is_exact:
            break
    operands = {name: _join([proof[name] for proof in proofs]) for name in proofs[0]}
    return KernelProof(operands, iterations, accesses, tuple(dict.fromkeys(unproved)))


def _prove_ends(
    kernel: Kernel,
    sizes: Mapping[str, int],
    rooms: Mapping[str, int],
    offsets: Mapping[str, int],
    iterations: int | None,
) -> KernelProof:
    """Prove that accesses of long loops are inside: the first and last positions reach farthest."""
    walk = KernelWalk(kernel, sizes, offsets, {}, "all iterations", MOST_CELLS, ends_only=True)
    unproved = ["loops are long: only the ends of accesses are proved"]
    try:
        walk.run()
    except TooManyPositionsError:
        return KernelProof({}, iterations, 0, ("loops are long and many",))
    for event in walk.events if walk.is_exact else ():
        low, high = (int(end.min(initial=0)) for end in (event.elements.low, -event.elements.high))
        if prod(event.shape) and not 0 <= low <= -high < rooms[event.operand]:
            if not event.elements.is_exact:
                unproved.append(f"{event.text}: nothing bounds its index")
                continue
            outside = low if low < 0 else -high
            text = f"touches element {outside}, there are {rooms[event.operand]}"
            raise AccessFaultError(f"{event.text} {text}")
    return KernelProof({}, iterations, len(walk.events), tuple(unproved))


def _join(proofs: Sequence[OperandProof]) -> OperandProof:
    """Return what is needed in some scenario, and what is written in all."""
    needed, written = proofs[0].needed, proofs[0].written
    for proof in proofs[1:]:
        needed = np.union1d(needed, proof.needed)
        written = np.intersect1d(written, proof.written)
    return OperandProof(needed, written)


class _Prover:
    """The events of one walk, by operand, with times that are numbers."""

    def __init__(
        self, kernel: Kernel, walk: KernelWalk, rooms: Mapping[str, int], unproved: list[str]
    ) -> None:
        self._kernel, self._rooms, self._unproved = kernel, rooms, unproved
        self._offsets = walk.offsets
        self._events: dict[str, list[_Touches]] = {o.name: [] for o in walk.kernel.operands}
        events = [event for event in walk.events if prod(event.shape)]
        number_time = _DigitNumbers([event.time for event in events])
        self._number_unit = _DigitNumbers([(*event.unit, event.stage) for event in events])
        is_parallel = not walk.kernel.serial
        for event in events:
            touches = _Touches(event, number_time, self._number_unit, is_parallel)
            self._events[event.operand].append(touches)

    def prove(self, operand: Operand) -> OperandProof:
        """Prove the accesses of one operand."""
        room = self._rooms[operand.name]
        touches = self._events[operand.name]
        for touch in touches:
            self._check_inside(touch, room)
        writes = [t for t in touches if t.event.is_write]
        reads = [t for t in touches if not t.event.is_write]
        if operand.mode == "in":
            return OperandProof(_elements(reads), np.zeros(0, np.int64))
        if operand.mode == "scratch":
            self._check_copies(operand, writes, room)
            self._check_own(operand, reads, writes, room)
            return OperandProof(np.zeros(0, np.int64), np.zeros(0, np.int64))
        needed = self._check_shared(operand, reads, writes, room)
        self._check_lanes(reads, writes, room)
        return OperandProof(needed, _elements([w for w in writes if w.is_exact]))

    def _check_inside(self, touch: _Touches, room: int) -> None:
        if touch.low.size and not 0 <= touch.low.min() <= touch.high.max() < room:
            outside = touch.low.min() if touch.low.min() < 0 else touch.high.max()
            if not touch.is_exact and touch.is_unbounded:
                self._unproved.append(f"{touch.event.text}: nothing bounds its index")
                return
            way = "writes" if touch.event.is_write else "reads"
            raise AccessFaultError(f"{touch.event.text} {way} element {outside}, there are {room}")

    def _check_copies(self, operand: Operand, writes: Sequence[_Touches], room: int) -> None:
        """Check that interleaved rows have a scratch each, one behind the other."""
        factors = [d.factor for d in self._kernel.directives if isinstance(d, Interleave)
                   and d.axis == "o"]  # fmt: skip
        outer = {axis.name for axis in self._kernel.axes}
        moves = {name for s in every_stage(self._kernel.stages) for name in _moving(s, operand)}
        if factors and writes and not moves & outer:
            offset = self._offsets[operand.name]
            span = max(int(w.high.max()) for w in writes if w.high.size) + 1 - offset
            if factors[0] * span > room - offset:
                text = f"{factors[0]} interleaved rows write {span} elements each"
                raise AccessFaultError(f"{operand.name}: {text}, there are {room}")

    def _check_own(
        self, operand: Operand, reads: Sequence[_Touches], writes: Sequence[_Touches], room: int
    ) -> None:
        """Check that each row writes the elements of scratch before it reads them."""
        if not reads:
            return
        rows = 1 + max(int(t.own_rows.max(initial=0)) for t in [*reads, *writes])
        if rows * room > MOST_CELLS:
            self._unproved.append(f"{operand.name}: too many rows of scratch")
            return
        first = np.full(rows * room, _NEVER)
        for write in writes:
            if write.is_exact:
                np.minimum.at(first, write.own_rows * room + write.low, write.times)
        for read in reads:
            if read.is_exact:
                late = first[read.own_rows * room + read.low] >= read.times
                if late.any():
                    self._refuse_unwritten(read, int(read.low[late][0]))
            elif not all(
                (first[row * room + low : row * room + high + 1] < time).all()
                for row, low, high, time in zip(
                    read.own_rows,
                    read.low,
                    np.minimum(read.high, room - 1),
                    read.times,
                    strict=True,
                )
            ):
                self._refuse_unwritten(read, int(read.low.min()))

    def _refuse_unwritten(self, read: _Touches, element: int) -> None:
        if read.event.is_selected:
            self._unproved.append(f"{read.event.text}: a selection leaves out what is not written")
            return
        text = f"{read.event.text} reads element {element}"
        raise AccessFaultError(f"{text}, which its row has not written before")

    def _check_shared(
        self, operand: Operand, reads: Sequence[_Touches], writes: Sequence[_Touches], room: int
    ) -> Array:
        """Check that rows write apart, and read what they write; return what is needed before."""
        first, low, high = _first_writes(writes, room)
        for write in writes:
            if not write.is_exact and not self._kernel.serial and self._has_rows(write):
                self._unproved.append(f"{write.event.text}: its index tells its row")
        clash = np.flatnonzero((high >= 0) & (low != high))
        if clash.size:
            text = f"rows {low[clash[0]]} and {high[clash[0]]}"
            name = writes[0].event.text
            raise AccessFaultError(
                f"{text} both write element {clash[0]} of {operand.name} ({name})"
            )
        needed = []
        for read in reads:
            elements, rows, times = read.spread(room)
            is_foreign = (high[elements] >= 0) & (high[elements] != rows)
            if is_foreign.any():
                element = int(elements[is_foreign][0])
                raise AccessFaultError(f"{read.event.text} reads element {element} of another row")
            needed.append(elements[first[elements] >= times])
        return np.unique(np.concatenate([*needed, np.zeros(0, np.int64)]))

    def _has_rows(self, touch: _Touches) -> bool:
        return bool(touch.rows.size) and int(touch.rows.max()) > int(touch.rows.min())

    def _check_lanes(
        self, reads: Sequence[_Touches], writes: Sequence[_Touches], room: int
    ) -> None:
        """Check that lanes of a vector write apart, and read no element that another one writes."""
        rows = 1 + max((int(t.own_rows.max(initial=0)) for t in [*reads, *writes]), default=0)
        if rows * self._number_unit.count * room >= _NEVER:
            self._unproved.append("too many vectors")
            return

        def tell_apart(touch: _Touches) -> Array:
            """Return a number for each element of each vector."""
            return (touch.own_rows * self._number_unit.count + touch.units) * room + touch.low

        for write in writes:
            if write.event.lane is None or not write.is_exact or write.event.combine:
                continue
            keys, order = np.unique(tell_apart(write), return_index=True)
            lanes = write.lanes[order]
            if keys.size != write.low.size:
                raise AccessFaultError(f"two lanes write one element: {write.event.text}")
            for read in reads:
                if read.event.stage != write.event.stage or read.event.lane is None:
                    continue
                if not read.is_exact:
                    continue
                read_keys = tell_apart(read)
                places = np.searchsorted(keys, read_keys)
                places = np.minimum(places, max(keys.size - 1, 0))
                is_same = keys[places] == read_keys if keys.size else np.zeros(0, bool)
                if (lanes[places[is_same]] != read.lanes[is_same]).any():
                    raise AccessFaultError(
                        f"a lane reads what another one writes: {read.event.text}"
                    )

    def prove_pairs(self) -> None:
        """Prove that results may share bytes with the operands that the kernel names for that."""
        widths = {operand.name: operand.dtype.itemsize for operand in self._kernel.operands}
        for out, read in sorted(self._kernel.in_place):
            unit = min(widths[out], widths[read])
            self._prove_pair(out, read, widths[out] // unit, widths[read] // unit)

    def _prove_pair(self, out: str, read: str, out_width: int, width: int) -> None:
        """Prove that no row reads units of an operand after any row wrote results there."""
        shift = max(self._offsets[out] * out_width, self._offsets[read] * width)
        room = shift + max(self._rooms[out] * out_width, self._rooms[read] * width)
        first, high = np.full(room, _NEVER), np.full(room, -1)
        writes = [touch for touch in self._events[out] if touch.event.is_write]
        is_exact = all(write.is_exact for write in writes)
        for write in writes:
            units, rows, times = _split_into_units(*write.spread(self._rooms[out]), out_width)
            units = units + (shift - self._offsets[out] * out_width)
            np.minimum.at(first, units, times)
            np.maximum.at(high, units, rows)
        for touch in self._events[read]:
            units, rows, times = _split_into_units(*touch.spread(self._rooms[read]), width)
            units = units + (shift - self._offsets[read] * width)
            late = (high[units] >= 0) & ((high[units] != rows) | (first[units] <= times))
            if late.any() and not is_exact:
                self._unproved.append(f"{out} over {read}: its index is not known")
                return
            if late.any():
                element = (int(units[late][0]) - shift) // width
                text = f"element {element} may be overwritten before {touch.event.text} reads it"
                raise AccessFaultError(f"{out} over {read}: {text}")


class _Touches:
    """The elements, rows and times of one event, at each position that is made."""

    def __init__(
        self,
        event: AccessEvent,
        number_time: _DigitNumbers,
        number_unit: _DigitNumbers,
        is_parallel: bool,
    ) -> None:
        self.event, self.is_exact = event, event.elements.is_exact
        self._number_unit = number_unit
        rank = len(event.shape)
        shape = event.shape
        low, high = (pad(np.asarray(e), rank) for e in event.elements)
        time = pad(np.asarray(number_time(event.time)), rank)
        row = pad(np.asarray(event.row), rank)
        lane = pad(np.asarray(0 if event.lane is None else event.lane), rank)
        mask = None if event.mask is None else np.broadcast_to(pad(event.mask, rank), shape)
        self._shape, self._mask = shape, mask
        self.low, self.high, self.times, self.own_rows, self.lanes = map(
            self._spread_out, (low, high, time, row, lane)
        )
        self.rows = self.own_rows if is_parallel else np.zeros_like(self.own_rows)
        self.is_unbounded = bool(self.high.size) and bool(
            self.high.max() - self.low.min() > 1 << 30
        )

    def _spread_out(self, values: Array) -> Array:
        spread_values = np.broadcast_to(values, self._shape)
        return spread_values.ravel() if self._mask is None else spread_values[self._mask]

    @cached_property
    def units(self) -> Array:
        """Return what tells vectors apart: the loops around the one whose positions are lanes."""
        number = self._number_unit((*self.event.unit, self.event.stage))
        return self._spread_out(pad(np.asarray(number), len(self._shape)))

    def spread(self, room: int) -> tuple[Array, Array, Array]:
        """Return elements, rows and times; of an index that is not known, all that it may be."""
        if self.is_exact or not self.low.size:
            return self.low, self.rows, self.times
        low, high = np.clip(self.low, 0, room - 1), np.clip(self.high, 0, room - 1)
        counts = high - low + 1
        if int(counts.sum()) > MOST_CELLS:
            elements = np.arange(low.min(), high.max() + 1)
            return (
                elements,
                np.full_like(elements, self.rows[0]),
                np.full_like(elements, self.times.min()),
            )
        which = np.repeat(np.arange(low.size), counts)
        starts = np.cumsum(counts) - counts
        elements = low[which] + np.arange(which.size) - starts[which]
        return elements, self.rows[which], self.times[which]


def _elements(touches: Sequence[_Touches]) -> Array:
    """Return the elements that accesses touch, ascending; each once."""
    parts = []
    for touch in touches:
        if touch.is_exact:
            parts.append(touch.low)
        elif touch.low.size and not touch.is_unbounded:
            parts.append(np.arange(touch.low.min(), touch.high.max() + 1))
    return np.unique(np.concatenate([*parts, np.zeros(0, np.int64)]))


def _split_into_units(
    elements: Array, rows: Array, times: Array, width: int
) -> tuple[Array, Array, Array]:
    """Return the units of elements that are ``width`` units wide, each with its row and time."""
    if width == 1:
        return elements, rows, times
    units = (elements[:, None] * width + np.arange(width)).ravel()
    return units, np.repeat(rows, width), np.repeat(times, width)


def _first_writes(writes: Sequence[_Touches], room: int) -> tuple[Array, Array, Array]:
    """Return when each element is first written, and the first and the last row that write it."""
    first, low, high = np.full(room, _NEVER), np.full(room, _NEVER), np.full(room, -1)
    for write in writes:
        if write.is_exact:
            np.minimum.at(first, write.low, write.times)
            np.minimum.at(low, write.low, write.rows)
            np.maximum.at(high, write.low, write.rows)
    return first, low, high


class _DigitNumbers:
    """Makes numbers of lists of digits, which compare as the digits do; ``count`` is above all."""

    def __init__(self, lists: Sequence[Sequence[Digit]]) -> None:
        self._radices = [1] * max(map(len, lists), default=0)
        for digits in lists:
            for place, digit in enumerate(digits):
                self._radices[place] = max(self._radices[place], 1 + int(np.max(digit, initial=0)))
        self.count = prod(self._radices)
        if self.count >= _NEVER:
            raise TooManyPositionsError

    def __call__(self, digits: Sequence[Digit]) -> Array:
        total: Array = np.zeros((), np.int64)
        for place, radix in enumerate(self._radices):
            digit = np.asarray(digits[place]) if place < len(digits) else np.asarray(0)
            rank = max(total.ndim, digit.ndim)
            total = pad(total, rank) * radix + pad(digit, rank)
        return total


def _moving(stage: Any, operand: Operand) -> Iterator[str]:
    """Yield the loops that move a stage's stores to an operand."""
    stores = [*getattr(stage, "body", ()), *getattr(stage, "stores", ())]
    for statement in stores:
        if isinstance(statement, Store) and statement.access.operand == operand.name:
            yield from (name for name, _ in statement.access.moves)


# -- what is no access ----------------------------------------------------------------------------


def _check_algorithms(kernel: Kernel, sizes: Mapping[str, int], rooms: Mapping[str, int]) -> None:
    """Check the scratch of sorts and of column sums, whose places no record names.

    A sort has two words for each element that it orders, or four if a key does not fit beside its
    position. The sums of a group of rows are a binary counter: one row of accumulators for each of
    its digits, and one for the block that is being summed, in spread_values vectors.
    """

    def number(axis: Axis) -> int:
        return sizes[axis.extent] if isinstance(axis.extent, str) else axis.extent

    for stage in every_stage(kernel.stages):
        if isinstance(stage, Sort) and not stage.picks and number(stage.axis):
            count = min(number(stage.axis), number(stage.sorted_axis))
            words = 2 if 2 * stage.order.key.dtype.bits <= 64 else 4
            _check_room(stage.order.scratch, words * count, rooms)
        if not isinstance(stage, Map):
            continue
        for statement in stage.body:
            if isinstance(statement, ColumnAccumulate):
                rows = prod(number(axis) for axis in kernel.axes[-kernel.grouped :])
                blocks = -(-min(rows, group_length(rows)) // COLUMN_BLOCK)
                vectors = -(-number(stage.axis) // kernel.lanes)
                words = (blocks.bit_length() + 1) * vectors * kernel.lanes
                _check_room(statement.scratch, words if rows else 0, rooms)


def _check_room(operand: str, words: int, rooms: Mapping[str, int]) -> None:
    if rooms[operand] < words:
        raise AccessFaultError(f"{operand} needs {words} elements, there are {rooms[operand]}")


def _count_iterations(kernel: Kernel, sizes: Mapping[str, int]) -> int | None:
    """Return the parallel iterations of a kernel; None of a product, whose tiles have no record."""

    def number(axes: Sequence[Axis]) -> int:
        return prod(sizes[a.extent] if isinstance(a.extent, str) else a.extent for a in axes)

    first = kernel.stages[0]
    if kernel.grouped:
        rows = number(kernel.axes[-kernel.grouped :])
        return number(kernel.axes[: -kernel.grouped]) * -(-rows // group_length(rows))
    if isinstance(first, Gemm) and len(kernel.stages) == 1 and not first.fed:
        return None
    cut = find_cut_axis(kernel)
    return number(kernel.axes if cut is None else [cut])
