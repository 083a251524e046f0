"""The checks of indices that others imply.

An embedding checks its indices where it reads the table, and its gradient checks them again where
it scatters. If the first check passes, so does the second: both look up the same function of the
same elements of one buffer, along an axis of the same extent. So only the first has to come before
parameters are written. ``implied_checks`` finds such steps from the kernels alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import permutations

from staticgrad.language.ir.expr import Access, Expr
from staticgrad.language.ir.kernels.kernel import number_of
from staticgrad.language.ir.kernels.stages import (
    Axis,
    Check,
    Extent,
    Gemm,
    Loop,
    Map,
    Scalar,
    nested_stages,
    statements,
)
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Schedule, Step
from staticgrad.language.types.dim import (
    Size,
    divide_exactly,
    is_at_least,
)
from staticgrad.support.records import NamedTuple


def first_checks(schedule: Schedule) -> frozenset[int]:
    """Return the steps with checks that come before parameters are written, by number.

    A step whose checks pass wherever those of earlier ones did is none of them.
    """
    checking = frozenset(number for number, step in enumerate(schedule.steps) if step.checks())
    return checking - implied_checks(schedule.steps, schedule.by_name)


#: What one index is computed by, of which all leaves are numbers, or one element of one buffer.
Formula = tuple[Hashable, ...]
#: Loops that move an access: the stride and the extent of each.
Walk = tuple[tuple[Size, Size], ...]


class Look(NamedTuple):
    """The indices that a check looks at.

    ``formula`` says how they follow from elements of ``buffer``. ``walk``: the elements, where they
    are known to be exactly those of these loops from ``begin`` on.
    """

    buffer: str
    formula: Formula
    extent: Size
    wrap: bool
    begin: Size
    walk: Walk | None

    def implies(self, later: Look, size: Size) -> bool:
        """Return whether a passed index check implies a later one; ``size``: the buffer's."""
        alike = self[:3] == later[:3] and (later.wrap or not self.wrap)
        if not alike or self.walk is None:
            return False
        full_walk: Walk = ((1, size),) if size != 1 else ()
        at = (self.begin, self.walk)
        return at in ((0, full_walk), (later.begin, later.walk))


def implied_checks(steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> frozenset[int]:
    """Return the numbers of steps whose index checks are implied by checks of earlier steps."""
    checking = [number for number, step in enumerate(steps) if step.checks()]
    if len(checking) < 2:
        return frozenset()
    steady = _Steady(steps, buffers)
    earlier: list[Look] = []
    implied = set()
    for number in checking:
        looks = list(_looks(steps[number], steady))
        fresh = [look for look in looks if look is None or not steady.is_implied(look, earlier)]
        earlier += [look for look in fresh if look is not None]
        if not fresh:
            implied.add(number)
    return frozenset(implied)


class _Steady:
    """Buffers that hold one value each, whenever they are read."""

    def __init__(self, steps: Sequence[Step], buffers: Mapping[str, Buffer]) -> None:
        self._buffers = buffers
        self._writers = Counter(name for step in steps for name in set(step.writes()))

    def holds_one(self, name: str) -> bool:
        """Return whether all reads of the buffer see the same value."""
        is_external = self._buffers[name].role in ("input", "constant")
        return self._writers[name] == (0 if is_external else 1)

    def is_implied(self, look: Look, earlier: Sequence[Look]) -> bool:
        """Return whether a check passes if those before did."""
        size = self._buffers[look.buffer].size
        return any(previous.implies(look, size) for previous in earlier)


def _looks(step: Step, steady: _Steady) -> Iterator[Look | None]:
    """Yield the index check of each lookup of a step; None where the indices are not analysable."""
    if isinstance(step, KernelStep):
        looks = _looks_of_kernel(step)
    elif step.control.kind == "loop" and step.bodies():
        looks = _looks_of_loop(step)
    else:
        looks = iter((None,))
    for look in looks:
        yield look if look is not None and steady.holds_one(look.buffer) else None


def _looks_of_kernel(step: KernelStep) -> Iterator[Look | None]:
    """Yield the indices that each bounds check of a kernel covers, as formulas over buffers."""
    bound = {o.name: b for o, b in zip(step.kernel.operands, step.operands, strict=True)}
    numbers = dict(zip(step.kernel.arguments, step.arguments, strict=True))
    reading = _Reading(bound, numbers)
    stages = list(nested_stages(step.kernel.stages))
    is_complete = not any(
        isinstance(s, Gemm) or (isinstance(s, Loop) and s.going) for s, _ in stages
    )
    for stage, around in stages:
        loops = (*step.kernel.axes, *around, *(stage.loops if isinstance(stage, Map) else ()))
        plain = isinstance(stage, Map | Scalar) and is_complete
        for check in statements(stage):
            if isinstance(check, Check):
                yield reading.look(check, loops, plain)


def _looks_of_loop(step: Step) -> Iterator[Look | None]:
    """Yield the index checks of a loop's iterations: of one row each, or of the same elements."""
    accesses, (iterations, *_) = step.accesses(), step.arguments
    for body in step.bodies():
        outside, carried = dict(body.outside), dict(body.carried)
        sizes = {buffer.name: buffer.size for buffer in body.schedule.buffers}
        steady = _Steady(body.schedule.steps, body.schedule.by_name)
        checking = (inner_step for inner_step in body.schedule.steps if inner_step.checks())
        for look in (look for inner_step in checking for look in _looks(inner_step, steady)):
            if look is None or look.buffer in carried or look.buffer not in outside:
                yield None
                continue
            access, walk = accesses[outside[look.buffer]], look.walk
            if look.buffer in body.rows and walk is not None:
                walk = _merge_loops([(sizes[look.buffer], iterations), *walk])
            elif not is_at_least(iterations, 1):
                walk = None
            begin = divide_exactly(access.begin, access.dtype.itemsize)
            shifted_walk = walk if begin is not None else None
            offset = 0 if begin is None else begin
            yield look._replace(buffer=access.buffer, begin=look.begin + offset, walk=shifted_walk)


class _Reading:
    """The checks of one step: its operands' buffers, and the values of its arguments."""

    def __init__(self, bound: Mapping[str, Binding], numbers: Mapping[str, Size]) -> None:
        self._bound, self._numbers = bound, numbers

    def look(self, check: Check, loops: Sequence[Axis], plain: bool) -> Look | None:
        """Describe the indices of one check; ``plain``: its loops run all positions
        unconditionally.
        """
        loads: list[Access] = []
        formula = self._formula(check.index, loads, {})
        if formula is None or len(loads) != 1:
            return None
        access = loads[0]
        binding = self._bound[access.operand]
        extent = self._value(check.extent)
        walk = self._walk(access, loops) if plain else None
        return Look(binding.buffer, formula, extent, check.wrap, binding.offset, walk)

    def _value(self, number: Extent | tuple[Extent, ...]) -> Size:
        return number_of(number, self._numbers)

    def _formula(
        self, expr: Expr, loads: list[Access], formulas: dict[int, Formula]
    ) -> Formula | None:
        """Return how an index follows from one load as a hashable formula, and note the load."""
        if id(expr) in formulas:
            return formulas[id(expr)]
        formula: Formula
        if isinstance(expr.attribute, Access):
            if expr.args or expr.attribute.positions:
                return None
            if expr.attribute not in loads:
                loads.append(expr.attribute)
            formula = ("load", expr.dtype)
        elif expr.op in ("index", "ref"):
            return None
        elif expr.op == "size":
            formula = ("size", self._numbers[str(expr.attribute)])
        else:
            args = [self._formula(arg, loads, formulas) for arg in expr.args]
            if None in args:
                return None
            formula = (expr.op, expr.dtype, repr(expr.attribute), *args)
        formulas[id(expr)] = formula
        return formula

    def _walk(self, access: Access, loops: Sequence[Axis]) -> Walk | None:
        """Return the loops that move a load, contiguous ones merged; None if some may be empty or
        bounded.
        """
        moves: list[tuple[Size, Size]] = []
        for axis in loops:
            stride, extent = self._value(access.stride(axis.name)), self._value(axis.extent)
            if axis.limits or (stride == 0 and not is_at_least(extent, 1)):
                return None
            if stride != 0 and extent != 1:
                moves.append((stride, extent))
        return _merge_loops(moves)


def _merge_loops(moves: Sequence[tuple[Size, Size]]) -> Walk:
    """Merge contiguous loops into one where strides allow, in a canonical order."""
    loops = list(moves)
    while True:
        pairs = (
            candidate
            for candidate in permutations(loops, 2)
            if candidate[0][0] == candidate[1][0] * candidate[1][1]
        )
        pair = next(pairs, None)
        if pair is None:
            return tuple(sorted(loops, key=str))
        for move in pair:
            loops.remove(move)
        (_, times), (stride, extent) = pair
        loops.append((stride, times * extent))
