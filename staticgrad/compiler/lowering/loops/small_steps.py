"""Join small kernels of a body that follow each other into one kernel.

The driver takes several nanoseconds for a row of its table, as long as a kernel of a few numbers
runs. The bodies of solvers have dozens of these: an adaptive step of an ODE had 60. Steps are put
in an order in which small kernels stand beside each other, and each run of them becomes one kernel
with the stages of all, in sequence: every number is computed as before. Values between them stay in
their buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import groupby
from typing import ClassVar, Final

from staticgrad.analysis.cost import ROWS, step_seconds
from staticgrad.analysis.liveness import Flow
from staticgrad.compiler.lowering.loops.joined import JoinedMemory, JoinedNames, JoinedStages
from staticgrad.compiler.lowering.loops.refusals import LoopRefusedError
from staticgrad.language.ir import expr as ex
from staticgrad.language.ir.expr import Access, Expr, postorder
from staticgrad.language.ir.kernels.directives import of_stages
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import (
    Extent,
    Mode,
    Stage,
    nested_stages,
    operands_read,
    roots,
    statements,
)
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Schedule, Step
from staticgrad.language.types.dim import Size
from staticgrad.language.types.dtype import I64, DType
from staticgrad.support import fuses
from staticgrad.support.records import replace
from staticgrad.support.traversal import sort_topologically

#: Predicted seconds of a small kernel beside its row, at most: a row takes about a tenth of it.
_MOST_SECONDS: Final = 1e-7
#: Bytes of each of its buffers, at most.
_MOST_BYTES: Final = 1 << 12


def join_small_steps(schedule: Schedule) -> Schedule:
    """Join the small kernels of a body's schedule; return the same schedule if there are none."""
    candidates = [_Candidate(step, schedule) for step in schedule.steps]
    if sum(candidate.is_small for candidate in candidates) < 2:
        return schedule
    # small steps come as early as what they read allows, others as late, each in their order
    order = sort_topologically(
        Flow(schedule).earlier_steps, lambda place: (not candidates[place].is_small, place)
    )
    ordered = [candidates[place] for place in order]
    steps: list[Step] = []
    for is_small, run in groupby(ordered, lambda candidate: candidate.is_small):
        if is_small:
            steps += [_join(part, schedule) for part in _cut_run(run)]
        else:
            steps += [candidate.step for candidate in run]
    if len(steps) == len(schedule.steps):
        return schedule
    return replace(schedule, steps=tuple(steps))


class _Candidate:
    """A step of a schedule, whether it is a small kernel, and how many stages it has."""

    def __init__(self, step: Step, schedule: Schedule) -> None:
        self.step, self.schedule = step, schedule
        self.stages = 0
        self.is_small = isinstance(step, KernelStep) and self._fits(step)

    def _fits(self, step: KernelStep) -> bool:
        """Return whether a kernel is small, and has a form that can be joined."""
        arguments = [size for size in step.arguments if isinstance(size, int)]
        if len(arguments) < len(step.arguments):
            return False
        buffers = [self.schedule.by_name[access.buffer] for access in step.accesses()]
        if any(not isinstance(access.begin, int) for access in step.accesses()):
            return False
        for buffer, (_, mode, _) in zip(buffers, step.operand_types(), strict=True):
            if mode in ("scratch", "inout"):
                return False
            if mode == "out" and not _is_few(buffer):
                return False
        if step_seconds(step.kernel, arguments, ROWS) - ROWS.launch > _MOST_SECONDS:
            return False
        try:
            self.stages = len(_SmallStages(_LiteralNames(), step, self.schedule).stages())
        except LoopRefusedError:
            return False
        return True

    def gathers(self) -> set[str]:
        """Return the buffers of which the kernel reads elements by index."""
        bound = {access.name: access.buffer for access in self.step.accesses()}
        (kernel,) = self.step.kernels()
        return {
            bound[part.attribute.operand]
            for stage, _ in nested_stages(kernel.stages)
            for part in postorder([root for s in statements(stage) for root in roots(s)])
            if isinstance(part.attribute, Access) and part.attribute.gather
        }


def _is_few(buffer: Buffer) -> bool:
    return isinstance(buffer.size, int) and buffer.size * buffer.dtype.itemsize <= _MOST_BYTES


def _cut_run(run: Iterable[_Candidate]) -> Iterator[list[KernelStep]]:
    """Cut a run of small steps into parts, of each of which a kernel is made.

    A kernel gathers from what it only reads, and writes nothing that it has read.
    """
    part: list[KernelStep] = []
    stages, read, written = 0, set[str](), set[str]()
    for candidate in run:
        step = candidate.step
        assert isinstance(step, KernelStep)
        writes = {*step.writes()}
        stages += candidate.stages
        is_apart = candidate.gathers().isdisjoint(written) and writes.isdisjoint(read | written)
        if part and (stages > fuses.JOINED_STAGES or not is_apart):
            yield part
            part, stages, read, written = [], candidate.stages, set(), set()
        part.append(step)
        read.update(step.reads())
        written |= writes
    yield part


class _LiteralNames(JoinedNames):
    """The operands of a joined kernel by the names of their buffers; sizes are literals."""

    def extent(self, value: Size) -> Extent:
        assert isinstance(value, int)
        return value

    def size(self, value: Size) -> Expr:
        assert isinstance(value, int)
        return ex.literal(value, I64)


class _SmallStages(JoinedStages):
    """The stages of a small step, over the buffers of its schedule."""

    outer_loops: ClassVar[int] = 0

    def __init__(
        self, names: JoinedNames, step: Step, schedule: Schedule, written: Set[str] = frozenset()
    ) -> None:
        def memory(buffer: Buffer) -> JoinedMemory:
            mode: Mode = "in"
            if buffer.role == "check":
                mode = "check"
            elif buffer.name in written:
                mode = "out"
            return JoinedMemory(names.operand(buffer.name, buffer.dtype, mode))

        super().__init__(names, step, schedule, memory)

    def _load(self, access: Access, dtype: DType, args: tuple[Expr, ...]) -> Expr:
        return Expr("load", dtype, args, self._access(access))


def _join(steps: Sequence[KernelStep], schedule: Schedule) -> KernelStep:
    """Make one kernel step of small ones; a single one stays as it is."""
    if len(steps) == 1:
        return steps[0]
    names = _LiteralNames()
    written = {name for step in steps for name in step.writes()}
    stages: list[Stage] = []
    for step in steps:
        stages += _SmallStages(names, step, schedule, written).stages()
    read = operands_read(stages)
    used = {name: o for name, o in names.operands.items() if o.mode != "in" or o.name in read}
    directives = of_stages(stages, names.directives)
    kernel = Kernel(tuple(used.values()), (), (), tuple(stages), directives=directives)
    labels = dict.fromkeys(name for step in steps for name in step.label.split(", "))
    return KernelStep.of(
        kernel,
        [Binding(str(name)) for name in used],
        (),
        max(step.phase for step in steps),
        ", ".join(labels),
        tuple(dict.fromkeys(place for step in steps for place in step.origins)),
    )
