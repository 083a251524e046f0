"""The plan as one function: every kernel in its order, arrays as parts of the arena.

The plan of a program with one kernel, and one input ``x`` of ``n`` elements::

    def steps(arena, o, checks, x, y, n):
        # mul, add: train.py:3
        k0_mul_add(x, y, n)
        return 0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

import numpy as np

from staticgrad.compiler.by_numba.expressions import Functions, Indented, storable
from staticgrad.compiler.by_numba.kernels import KernelWriter
from staticgrad.compiler.by_numba.text import Text, add, call, choose, multiply, operate
from staticgrad.errors import ExportError
from staticgrad.exporting.libraries import NOT_EXPORTED, call_of, error_of
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Operand
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import Binding, Buffer, CallStep, KernelStep, Step
from staticgrad.language.types.dim import (
    Atom,
    FloorDiv,
    MaxSize,
    Named,
    Size,
    evaluate,
    named_sizes,
)
from staticgrad.support.identifiers import PYTHON, NameMarks, fill
from staticgrad.support.records import NamedTuple, dataclass

_OUT_OF_RANGE: Final = "index {} is out of range"


def lines_of(step: Step) -> str:
    """Return the lines of the user's program that a step computes, on one line."""
    labels = dict.fromkeys(location.resolve().label for location in step.origins)
    return " ".join(", ".join(labels).splitlines())


@dataclass
class BufferLife:
    """A buffer of the arena: its bytes, and the first and last step that use it."""

    name: str
    nbytes: str
    first: int
    last: int


class OperandSpan(NamedTuple):
    """The start of an operand: its memory, its buffer's bytes in the arena, and its offset."""

    memory: str
    begin: int
    end: int
    offset: str

    def meets(self, span: OperandSpan) -> bool:
        """Return True if both may contain the same element."""
        if self.memory != span.memory:
            return False
        return self.memory != "arena" or (self.begin < span.end and span.begin < self.end)


def _share_arrays(
    spans: Sequence[OperandSpan], operands: Sequence[Operand]
) -> tuple[tuple[int, int], ...]:
    """Return for each operand of an exported call whose array it shares, and its offset there.

    Operands at the same location share an array. Parts of one buffer share an array if any of them
    is written: then LLVM can prove that an update in place reads an element before writing it.
    """
    buffers = [(*span[:3], o.dtype) for span, o in zip(spans, operands, strict=True)]
    bases = []
    for span, buffer in zip(spans, buffers, strict=True):
        same_buffer = [n for n, candidate in enumerate(buffers) if candidate == buffer]
        parts = [n for n in same_buffer if spans[n].offset.isdigit()]
        if span.offset.isdigit() and any(operands[n].mode != "in" for n in parts):
            base = min(parts, key=lambda n: int(spans[n].offset))
            bases.append((base, int(span.offset) - int(spans[base].offset)))
        else:
            bases.append((next(n for n in same_buffer if spans[n] == span), 0))
    return tuple(bases)


@dataclass(eq=False)
class Function:
    """A function of the file: a kernel, some of whose operands share an array.

    ``shared``: for each operand the one whose array it shares, and its offset there; ``no_alias``:
    other arrays do not overlap; ``uses``: the names of the arrays of each step that calls it;
    ``comments``: the ops of those steps.
    """

    kernel: Kernel
    shared: tuple[tuple[int, int], ...]
    no_alias: bool
    name: str
    uses: list[list[str]] = field(default_factory=list)
    comments: dict[str, None] = field(default_factory=dict)

    def writer(self, functions: Functions, names: NameMarks) -> KernelWriter:
        """Return the exported kernel's writer; arrays are called as in the steps if these agree."""
        operands = self.kernel.operands
        marks: dict[str, str] = {}
        for number, (base, _) in enumerate(self.shared):
            operand = operands[base]
            if operand.name not in marks:
                array_names = {use[base] for use in self.uses}
                is_one = len(array_names) == 1
                marks[operand.name] = names.mark(min(array_names) if is_one else operand.name)
            marks[operands[number].name] = marks[operand.name]
        shifts = {o.name: shift for o, (_, shift) in zip(operands, self.shared, strict=True)}
        return KernelWriter(self.kernel, self.name, marks, shifts, functions, self.no_alias)

    def text(self, functions: Functions) -> str:
        """Return the function, after comments about what it computes."""
        names = NameMarks()
        text = self.writer(functions, names).text()
        text = fill(text, names.choose(text, PYTHON))
        return "\n".join([*(f"# {c}" for c in self.comments), text])


class StepsWriter:
    """A writer of the steps of a plan that collects the functions and helpers they need.

    ``free``: the names of free sizes, ``fixed``: the values of the others. With free sizes the
    arena is laid out when the file runs, from the live ranges in ``lives``. All variables are marks
    of ``names``, ``free`` those of sizes.
    """

    def __init__(self, free: Iterable[str], fixed: Mapping[str, int]) -> None:
        self.names = NameMarks()
        self.free, self.fixed = {name: self.names.mark(name) for name in free}, fixed
        self.functions: dict[tuple[Kernel, tuple[tuple[int, int], ...], bool], Function] = {}
        self.has_loops = self.calls_numpy = False
        self.helpers = Functions()
        self.lines = Indented()
        self.lives: list[BufferLife] = []
        self.checks: list[tuple[str, str, str]] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.views: set[str] = set()
        self._clock = 0

    def size(self, size: Size) -> Text:
        """Return a size as exported Python."""
        if isinstance(size, int) or not any(n.name in self.free for n in named_sizes(size)):
            return Text(str(evaluate(size, self.fixed)))
        total: Text | None = None
        for atoms, factor in size.terms:
            names = map(self._atom, atoms)
            if total is None:
                total = multiply(factor, *names) if atoms else Text(str(factor))
            elif factor < 0:
                total = operate("-", total, multiply(*names, -factor))
            else:
                total = add(total, multiply(*names, factor))
        return total or Text("0")

    def _atom(self, atom: Atom) -> Text:
        """Return a named size, quotient or maximum as exported Python; a quotient by 0 is 0."""
        match atom:
            case Named(name=name):
                return Text(self.free.get(name) or str(self.fixed[name]))
            case FloorDiv(numerator=numerator, denominator=denominator):
                divisor = self.size(denominator)
                quotient = operate("//", self.size(numerator), divisor)
                return quotient if divisor.alone.isdigit() else choose(divisor, quotient, Text("0"))
            case MaxSize(left=left, right=right):
                return call("max", self.size(left), self.size(right))

    def write(self, plan: Plan, scope: dict[str, str], base: int = 0, outer: bool = True) -> None:
        """Write the exported Python lines of a plan's steps, whose arena begins at ``base``.

        ``scope``: the variables of its buffers, to which those of steps are added. An ``outer``
        plan, which is not the body of a loop, ends at its commit if a check has failed.
        """
        schedule, first_check = plan.schedule, len(self.checks)
        # The buffers in an arena of bodies have separate views.
        arenas = {
            scratch.buffer
            for step in schedule.steps
            for scratch in step.scratch()
            if scratch.per == "bodies"
        }
        for buffer in schedule.buffers:
            if buffer.name not in scope and buffer.role == "check":
                number = len(self.checks)
                scope[buffer.name] = f"check{number}"
                self.lines.add(f"check{number} = checks[{2 * number} : {2 * number + 2}]")
                step = next(s for s in schedule.steps if buffer.name in s.writes())
                error = error_of(step) if isinstance(step, CallStep) else _OUT_OF_RANGE
                self.checks.append((error, lines_of(step), step.label))
            elif buffer.name not in scope and buffer.data is not None:
                scope[buffer.name] = name = self.names.mark(buffer.name)
                array = np.asarray(buffer.data.array)
                self.constants[name] = array.view(np.uint16) if buffer.dtype.is_storage else array
        offsets: dict[str, tuple[int, int]] = {}
        ending: dict[int, list[BufferLife]] = {}
        for position, planned in enumerate(plan.steps):
            if outer and position == plan.commit and len(self.checks) > first_check:
                self._write_check()
            self._clock += 1
            for placement in plan.placements:
                buffer = schedule.buffer(placement.buffer)
                if placement.first == position and buffer.role != "check":
                    begin = base + placement.offset
                    offsets[buffer.name] = begin, begin + placement.nbytes
                    self._view(buffer, scope, begin, buffer.name in arenas)
                    nbytes = f"{self.size(buffer.size)} * {buffer.dtype.itemsize}"
                    life = BufferLife(buffer.name, nbytes, self._clock, self._clock)
                    self.lives.append(life)
                    ending.setdefault(placement.last, []).append(life)
            self._step(schedule.steps[planned.step], planned, scope, offsets)
            for life in ending.get(position, ()):
                life.last = self._clock
        if outer and plan.commit >= len(plan.steps) and len(self.checks) > first_check:
            self._write_check()

    def _write_check(self) -> None:
        self.lines.add("# An index out of range ends the run, before any parameter is written.")
        self.lines.open_block("if checks[::2].max() >= 0:")
        self.lines.add("return 1")
        self.lines.depth -= 1

    def _view(self, buffer: Buffer, scope: dict[str, str], offset: int, is_arena: bool) -> None:
        """Add the exported variable of a buffer of the arena; an arena of bodies gets no view."""
        if buffer.name not in scope:
            scope[buffer.name] = self.names.mark(buffer.name)
        if not is_arena:
            kind = storable(buffer.dtype)
            self.views.add(kind)
            start = f"o[{len(self.lives)}]" if self.free else str(offset)
            view = call(f"view_{kind}", "arena", start, self.size(buffer.size))
            self.lines.add(f"{scope[buffer.name]} = {view}")

    def _step(
        self,
        step: Step,
        planned: PlannedStep,
        scope: dict[str, str],
        offsets: Mapping[str, tuple[int, int]],
    ) -> None:
        """Write the exported Python lines of one step, after a comment about what it computes."""
        comment = f"{step.label}: {lines_of(step)}"
        self.lines.add(f"# {comment}")
        location = step.origins[0] if step.origins else None
        try:
            if isinstance(step, KernelStep):
                self._call(step, scope, offsets, comment)
            elif step.bodies():
                self.has_loops = True
                LoopWriter(self, step, planned, scope, offsets).write()
            elif any(access.dtype.is_storage for access in step.accesses()):
                raise ExportError("a call on narrow floats cannot be exported")
            elif isinstance(step, CallStep) and step.routine.name.startswith("sparse:"):
                self._call_sparse_product(step, scope)
            elif isinstance(step, CallStep) and step.routine.name.startswith("limit:"):
                operands = [self._text(binding, scope) for binding in step.operands]
                name = self.helpers.helper("reached_end")
                self.lines.add(f"{call(name, *operands, self.size(step.total))}")
            elif isinstance(step, CallStep):
                self._call_numpy(step, scope)
            else:
                raise ExportError("such a step cannot be exported")
        except ExportError as error:
            if error.headline.startswith(step.label):
                raise
            raise ExportError(f"{step.label}: {error.headline}", at=location) from None

    def _call(
        self,
        step: KernelStep,
        scope: Mapping[str, str],
        offsets: Mapping[str, tuple[int, int]],
        comment: str,
    ) -> None:
        """Write the exported Python call of a kernel's function."""
        operands = step.kernel.operands
        texts = [self._text(binding, scope) for binding in step.operands]
        spans: list[OperandSpan] = []
        for binding, text in zip(step.operands, texts, strict=True):
            span = (0, 0) if self.free else offsets.get(binding.buffer, (0, 0))
            memory = "arena" if any(span) else text.split("[")[0]
            spans.append(OperandSpan(memory, *span, self.size(binding.offset).alone))
        shared = _share_arrays(spans, operands)
        written = {base for o, (base, _) in zip(operands, shared, strict=True) if o.mode != "in"}
        no_alias = not any(
            a in written and b != a and spans[a].meets(spans[b])
            for a, _ in shared
            for b, _ in shared
        )
        key = step.kernel, shared, no_alias
        function = self.functions.get(key)
        array_names = [self.names.name_of(text.split("[")[0]) for text in texts]
        if function is None:
            words = re.findall(r"\w+", step.label)[:3]
            name = "_".join([f"k{len(self.functions)}", *words])
            function = Function(step.kernel, shared, no_alias, name, [array_names])
            function.text(Functions())  # raises if the kernel cannot be exported
            self.functions[key] = function
        else:
            function.uses.append(array_names)
        function.comments[comment] = None
        parameter_names = function.writer(self.helpers, NameMarks()).operands
        bases = [texts[base] for base, _ in shared]
        arguments = [
            text for text, o in zip(bases, operands, strict=True) if o.name in parameter_names
        ]
        sizes = map(self.size, step.arguments)
        self.lines.add(f"{call(function.name, *arguments, *sizes)}")

    def _call_sparse_product(self, step: CallStep, scope: Mapping[str, str]) -> None:
        """Write a product with a sparse matrix (``ops/sparse.py``) as a call of a Python helper."""
        kind = step.routine.name.partition(":")[2].split(".")[0]
        first, second, starts, columns, rows, starts_t, places_t, order, out = (
            self._text(binding, scope) for binding in step.operands
        )
        *lengths, _, grain = (self.size(size).alone for size in step.sizes)
        sizes, steps = ", ".join([*lengths[:4], grain]), ", ".join(lengths[4:7])
        lanes = f", {64 // step.routine.operands[0][1].itemsize}" if kind == "sampled" else ""
        name = "sampled_product" if kind == "sampled" else "sparse_product"
        pattern = {
            "product": [starts, columns, f"{order}[:0]"],
            "transposed": [starts_t, places_t, order],
            "sampled": [rows, columns],
        }[kind]
        operands = ", ".join([first, second, *pattern, out])
        shapes = f"({sizes}), ({steps}), {self.size(step.total).alone}"
        self.lines.add(f"{self.helpers.helper(name)}({operands}, {shapes}{lanes})")

    def _call_numpy(self, step: CallStep, scope: Mapping[str, str]) -> None:
        """Write a call of LAPACK or of a Fourier transform as a Python call of NumPy."""
        bound = zip(step.operands, (mode for mode, _ in step.routine.operands), strict=True)
        names = {
            mode: [self._text(b, scope) for b in bs]
            for mode, bs in _bindings_by_mode(bound).items()
        }
        operands = [*names.get("in", []), *names.get("out", [])]
        words = call_of(step, operands, lambda size: str(self.size(size)))
        if not words:
            reason = NOT_EXPORTED.get(step.routine.name.partition(":")[0])
            subject = reason or "a call of a user's function or of other ranks"
            raise ExportError(f"{subject} cannot be exported")
        (check,) = names.get("check") or ["()"]
        self.calls_numpy = True
        name, *arguments = (check if word == "<check>" else word for word in words)
        if any("as_complex(" in word for word in arguments):
            self.helpers.helper("as_complex")
        self.lines.add(f"{self.helpers.helper(name)}({', '.join(arguments)})")

    def _text(self, binding: Binding, scope: Mapping[str, str]) -> str:
        offset = self.size(binding.offset)
        return scope[binding.buffer] + ("" if offset.is_zero else f"[{offset.alone}:]")


def _bindings_by_mode(bound: Iterable[tuple[Binding, str]]) -> dict[str, list[Binding]]:
    by_mode: dict[str, list[Binding]] = {}
    for binding, mode in bound:
        by_mode.setdefault(mode, []).append(binding)
    return by_mode


class LoopWriter:
    """A writer of a loop or branch, with its bodies inlined."""

    def __init__(
        self,
        steps: StepsWriter,
        step: Step,
        planned: PlannedStep,
        scope: Mapping[str, str],
        offsets: Mapping[str, tuple[int, int]],
    ) -> None:
        self.steps, self.lines, self.step, self.plans = steps, steps.lines, step, planned.bodies
        (room,) = (scratch.buffer for scratch in step.scratch() if scratch.per == "bodies")
        self.base = offsets.get(room, (0, 0))[0]
        self.arrays = []
        for access in step.accesses():
            begin = steps.size(access.begin)
            part = "" if begin.is_zero else f"[{begin} // {access.dtype.itemsize} :]"
            self.arrays.append(scope.get(access.buffer, "") + part)
        self.carries: dict[int, tuple[str, str]] = {}
        self.number = self.iterations_done = ""

    def write(self) -> None:
        """Write the exported Python lines of a loop or branch step."""
        for instruction in control_flow(self.step):
            match instruction:
                case flow.Copy(target, "count"):
                    self.lines.add(f"{self._array(target)}[0] = {self.iterations_done}")
                case flow.Copy(target, source, elements):
                    arrays = f"{self._array(target)}, {self._array(source)}"
                    copy = self.steps.helpers.helper("copy")
                    self.lines.add(f"{copy}({arrays}, {self.steps.size(elements).alone})")
                case flow.Branch():
                    self._branch(instruction)
                case flow.Loop():
                    self._loop(instruction)

    def _array(self, location: flow.Location) -> str:
        """Return the exported NumPy array that begins at a place."""
        match location:
            case flow.StepAddress(access, offset, stride):
                start = self.steps.size(offset)
                if stride is not None:
                    start = add(start, multiply(self.number, self.steps.size(stride)))
                return self.arrays[access] + ("" if start.is_zero else f"[{start.alone} :]")
            case flow.CarryAddress(carry, written):
                return self.carries[carry][written]
        return f"np.full(1, {self.number})"

    def _run(self, run: flow.RunBody) -> None:
        """Write one body of an exported loop or branch; slices of arrays get variables."""
        scope = {name: self._array(location) for name, location in run.bound.items()}
        for name, location in run.bound.items():
            is_row = isinstance(location, flow.StepAddress) and location.stride is not None
            if location == "index" or is_row:
                array, scope[name] = scope[name], self.steps.names.mark(name)
                self.lines.add(f"{scope[name]} = {array}")
        self.lines.add(f"# {self.plans[run.body].schedule.name}")
        line_count = len(self.lines.text)
        self.steps.write(self.plans[run.body], scope, self.base, outer=False)
        if len(self.lines.text) == line_count:
            self.lines.add("pass")

    def _branch(self, branch: flow.Branch) -> None:
        """Write a branch as exported Python: if, elif over its cases."""
        lines, case = self.lines, self.steps.names.mark("case")
        chosen = f"{self._array(branch.selector)}[0]"
        lines.add(f"{case} = max(0, min({chosen}, {len(branch.cases) - 1}))")
        for number, run in enumerate(branch.cases):
            lines.open_block(f"{'elif' if number else 'if'} {case} == {number}:")
            self._run(run)
            lines.depth -= 1

    def _loop(self, loop: flow.Loop) -> None:
        """Write a loop as exported Python, with its carries' arrays swapped each iteration."""
        lines, mark, iterations = (
            self.lines,
            self.steps.names.mark,
            self.steps.size(loop.iterations),
        )
        swaps = []
        for n, buffers in loop.carries.items():
            read, written, spare = mark(f"old{n}"), mark(f"new{n}"), mark(f"spare{n}")
            lines.add(f"{read} = {self._array(buffers.first)}")
            new_buffer, spare_buffer = map(self._array, buffers.write_addresses(1))
            lines.add(f"{written}, {spare} = {new_buffer}, {spare_buffer}")
            lines.open_block(f"if {iterations} % 2 == 0:")
            new_buffer, spare_buffer = map(self._array, buffers.write_addresses(2))
            lines.add(f"{written}, {spare} = {new_buffer}, {spare_buffer}")
            lines.depth -= 1
            swaps.append(f"{read}, {written}, {spare} = {written}, {spare}, {written}")
            self.carries[n] = read, written
        t, self.number = mark("t"), mark("number")
        tests = any(isinstance(instruction, flow.BreakUnless) for instruction in loop.instructions)
        if tests:
            self.iterations_done = mark("done")
            lines.add(f"{self.iterations_done} = 0")
        lines.open_block(f"for {t} in range({iterations.alone}):")
        lines.add(
            f"{self.number} = {iterations} - 1 - {t}" if loop.backwards else f"{self.number} = {t}"
        )
        for instruction in loop.instructions:
            if isinstance(instruction, flow.RunBody):
                self._run(instruction)
            else:
                lines.open_block(f"if not {self._array(instruction.condition)}[0]:")
                lines.add("break")
                lines.depth -= 1
        lines.add(*swaps)
        if tests:
            lines.add(f"{self.iterations_done} += 1")
        lines.depth -= 1
