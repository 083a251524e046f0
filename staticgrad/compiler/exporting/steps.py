"""The plan as one function: every kernel in its order, arrays as parts of the arena."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Final

import numpy as np

from staticgrad.compiler.exporting.libraries import NOT_EXPORTED, call_of, error_of
from staticgrad.compiler.plain.expressions import Functions, Indented, storable
from staticgrad.compiler.plain.kernels import KernelWriter
from staticgrad.compiler.plain.prelude import PRELUDE
from staticgrad.language.ir import control_flow as flow
from staticgrad.language.ir.control_flow import control_flow
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Operand
from staticgrad.language.ir.plan import Plan, PlannedStep
from staticgrad.language.ir.schedule import Binding, Buffer, CallStep, KernelStep, Step
from staticgrad.language.types.dim import Size, evaluate, named_sizes
from staticgrad.support.errors import ExportError
from staticgrad.support.records import NamedTuple, dataclass

#: Names that the file's own lines have.
RESERVED: Final = PRELUDE.keys() | set(
    re.findall(
        r"\w+",
        "acc arena at begin checks column0 columns failed first flat group groups height inner ir"
        " jit length levels math np numba o panel past place right row row0 rows run start step"
        " steps term term0 term1 tile width",
    )
)
_OUT_OF_RANGE: Final = "index {} is out of range"
#: Names that kernels give to loops, sizes, results and values.
_OF_KERNELS: Final = re.compile(r"([cijknprv]|places|room|sums)\d*")


def variable(name: str, taken: Iterable[str], reserved: Collection[str] = keyword.kwlist) -> str:
    """Return a name as an identifier that is neither in ``taken`` nor ``reserved``."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    found = f"_{found}" if not found or found[0].isdigit() else found
    while found in reserved or found in taken:
        found += "_"
    return found


def lines_of(step: Step) -> str:
    """The lines of the user's program that a step computes."""
    return ", ".join(dict.fromkeys(place.resolve().labelled for place in step.origins))


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

    def meets(self, other: OperandSpan) -> bool:
        """Return whether both may contain the same element."""
        if self.memory != other.memory:
            return False
        return self.memory != "arena" or (self.begin < other.end and other.begin < self.end)


def _shared(
    places: Sequence[OperandSpan], operands: Sequence[Operand]
) -> tuple[tuple[int, int], ...]:
    """Return for each operand the one whose array it is, and its offset there.

    Those at one place are one array, and parts of one buffer if any of them is written: so LLVM
    sees that an update in place reads an element only before it is written.
    """
    buffers = [(*place[:3], o.dtype) for place, o in zip(places, operands, strict=True)]
    found = []
    for place, buffer in zip(places, buffers, strict=True):
        near = [n for n, other in enumerate(buffers) if other == buffer]
        parts = [n for n in near if places[n].offset.isdigit()]
        if place.offset.isdigit() and any(operands[n].mode != "in" for n in parts):
            base = min(parts, key=lambda n: int(places[n].offset))
            found.append((base, int(place.offset) - int(places[base].offset)))
        else:
            found.append((next(n for n in near if places[n] == place), 0))
    return tuple(found)


@dataclass(eq=False)
class Function:
    """One function of the file: a kernel with some of its operands as one array.

    ``shared`` has for each operand the one whose array it is, and its offset there; ``apart``:
    other arrays do not overlap; ``uses`` the arrays of each step that calls it; ``comments`` what
    those steps compute.
    """

    kernel: Kernel
    shared: tuple[tuple[int, int], ...]
    apart: bool
    name: str
    uses: list[list[str]] = field(default_factory=list)
    comments: dict[str, None] = field(default_factory=dict)

    def writer(self, functions: Functions) -> KernelWriter:
        """Return the writer of the kernel; an array has the steps' name for it if they agree."""
        operands, taken = self.kernel.operands, {*self.kernel.arguments, *RESERVED}
        names: dict[str, str] = {}
        for number, (base, _) in enumerate(self.shared):
            operand = operands[base]
            if operand.name not in names:
                used = {use[base].split("[")[0] for use in self.uses}
                name = min(used) if len(used) == 1 else operand.name
                name = operand.name if _OF_KERNELS.fullmatch(name) else name
                names[operand.name] = variable(name, taken)
                taken.add(names[operand.name])
            names[operands[number].name] = names[operand.name]
        shifts = {o.name: shift for o, (_, shift) in zip(operands, self.shared, strict=True)}
        return KernelWriter(self.kernel, self.name, names, shifts, functions, self.apart)

    def text(self, functions: Functions) -> str:
        """Return the function, below comments that say what it computes."""
        return "\n".join([*(f"# {c}" for c in self.comments), self.writer(functions).text()])


class StepsWriter:
    """A writer of the steps of a plan that collects the functions and helpers they need.

    ``free`` has the variables of sizes that stay free, ``fixed`` the values of the others. With
    free sizes the arena is laid out when the file runs, from the live ranges in ``lives``.
    """

    def __init__(self, free: Mapping[str, str], fixed: Mapping[str, int]) -> None:
        self.free, self.fixed = free, fixed
        self.functions: dict[tuple[Kernel, tuple[tuple[int, int], ...], bool], Function] = {}
        self.has_loops = self.calls_numpy = False
        self.helpers = Functions()
        self.lines = Indented()
        self.lives: list[BufferLife] = []
        self.checks: list[tuple[str, str, str]] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        self.views: set[str] = set()
        self.taken = {*RESERVED, *free.values()}
        self._clock = 0

    def fresh(self, name: str) -> str:
        """A variable that nothing has yet."""
        found = variable(name, self.taken)
        self.taken.add(found)
        return found

    def size(self, size: Size) -> str:
        """A size as Python."""
        names = {} if isinstance(size, int) else {n.name: str(n) for n in named_sizes(size)}
        if not any(name in self.free for name in names):
            return str(size if isinstance(size, int) else evaluate(size, self.fixed))
        text = str(size)
        for name, shown in names.items():
            new = self.free.get(name) or str(self.fixed[name])
            text = re.sub(rf"(?<!\w){re.escape(shown)}(?!\w)", new, text)
        return text

    def write(self, plan: Plan, scope: dict[str, str], base: int = 0, outer: bool = True) -> None:
        """The steps of a plan whose arena begins at ``base``.

        ``scope`` has the variables of its buffers; those that steps make are added. An ``outer``
        plan, no body of a loop, ends at its commit where a check has failed.
        """
        schedule, first_check = plan.schedule, len(self.checks)
        # The buffers in an arena of bodies have views of their own.
        arenas = {
            own.buffer for step in schedule.steps for own in step.scratch() if own.per == "bodies"
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
                scope[buffer.name] = name = self.fresh(buffer.name)
                array = np.asarray(buffer.data.array)
                self.constants[name] = array.view(np.uint16) if buffer.dtype.is_storage else array
        offsets: dict[str, tuple[int, int]] = {}
        ending: dict[int, list[BufferLife]] = {}
        for position, planned in enumerate(plan.steps):
            if outer and position == plan.commit and len(self.checks) > first_check:
                self._look()
            self._clock += 1
            for placed in plan.placements:
                buffer = schedule.buffer(placed.buffer)
                if placed.first == position and buffer.role != "check":
                    begin = base + placed.offset
                    offsets[buffer.name] = begin, begin + placed.nbytes
                    self._view(buffer, scope, begin, buffer.name in arenas)
                    nbytes = f"({self.size(buffer.size)}) * {buffer.dtype.itemsize}"
                    life = BufferLife(buffer.name, nbytes, self._clock, self._clock)
                    self.lives.append(life)
                    ending.setdefault(placed.last, []).append(life)
            self._step(schedule.steps[planned.step], planned, scope, offsets)
            for life in ending.get(position, ()):
                life.last = self._clock
        if outer and plan.commit >= len(plan.steps) and len(self.checks) > first_check:
            self._look()

    def _look(self) -> None:
        self.lines.add("# An index out of range ends the run, before any parameter is written.")
        self.lines.open_block("if checks[::2].max() >= 0:")
        self.lines.add("return 1")
        self.lines.depth -= 1

    def _view(self, buffer: Buffer, scope: dict[str, str], offset: int, is_arena: bool) -> None:
        """The variable of a buffer of the arena; one that is an arena of bodies gets no view."""
        if buffer.name not in scope:
            scope[buffer.name] = self.fresh(buffer.name)
        if not is_arena:
            kind = storable(buffer.dtype)
            self.views.add(kind)
            place = f"o[{len(self.lives)}]" if self.free else str(offset)
            count = self.size(buffer.size)
            self.lines.add(f"{scope[buffer.name]} = view_{kind}(arena, {place}, {count})")

    def _step(
        self,
        step: Step,
        planned: PlannedStep,
        scope: dict[str, str],
        offsets: Mapping[str, tuple[int, int]],
    ) -> None:
        """Write one step under a comment that says what it computes."""
        comment = f"{step.label}: {lines_of(step)}"
        self.lines.add(f"# {comment}")
        at = step.origins[0] if step.origins else None
        try:
            if isinstance(step, KernelStep):
                self._call(step, scope, offsets, comment)
            elif step.bodies():
                self.has_loops = True
                LoopWriter(self, step, planned, scope, offsets).write()
            elif any(access.dtype.is_storage for access in step.accesses()):
                raise ExportError("a call on narrow floats cannot be exported")
            elif isinstance(step, CallStep) and step.routine.name.startswith("sparse:"):
                self._sparse(step, scope)
            elif isinstance(step, CallStep) and step.routine.name.startswith("limit:"):
                operands = ", ".join(self._text(binding, scope) for binding in step.operands)
                name = self.helpers.helper("reached_end")
                self.lines.add(f"{name}({operands}, {self.size(step.total)})")
            elif isinstance(step, CallStep):
                self._library(step, scope)
            else:
                raise ExportError("such a step cannot be exported")
        except ExportError as error:
            if error.headline.startswith(step.label):
                raise
            raise ExportError(f"{step.label}: {error.headline}", at=at) from None

    def _call(
        self,
        step: KernelStep,
        scope: Mapping[str, str],
        offsets: Mapping[str, tuple[int, int]],
        comment: str,
    ) -> None:
        """A call of a kernel's function."""
        operands = step.kernel.operands
        texts = [self._text(binding, scope) for binding in step.operands]
        places: list[OperandSpan] = []
        for binding, text in zip(step.operands, texts, strict=True):
            span = (0, 0) if self.free else offsets.get(binding.buffer, (0, 0))
            memory = "arena" if any(span) else text.split("[")[0]
            places.append(OperandSpan(memory, *span, self.size(binding.offset)))
        shared = _shared(places, operands)
        written = {base for o, (base, _) in zip(operands, shared, strict=True) if o.mode != "in"}
        apart = not any(
            a in written and b != a and places[a].meets(places[b])
            for a, _ in shared
            for b, _ in shared
        )
        key = step.kernel, shared, apart
        function = self.functions.get(key)
        if function is None:
            words = re.findall(r"\w+", step.label)[:3]
            name = self.fresh("_".join([f"k{len(self.functions)}", *words]))
            function = Function(step.kernel, shared, apart, name, [texts])
            function.text(Functions())  # what cannot be exported is refused here
            self.functions[key] = function
        else:
            function.uses.append(texts)
        function.comments[comment] = None
        taken = function.writer(self.helpers).operands
        bases = [texts[base] for base, _ in shared]
        takes = [text for text, o in zip(bases, operands, strict=True) if o.name in taken]
        takes += [self.size(size) for size in step.arguments]
        self.lines.add(f"{function.name}({', '.join(takes)})")

    def _sparse(self, step: CallStep, scope: Mapping[str, str]) -> None:
        """A product of a sparse matrix (``ops/sparse.py``), by a function of the prelude."""
        kind = step.routine.name.partition(":")[2].split(".")[0]
        first, second, starts, places, rows, starts_t, places_t, order, out = (
            self._text(binding, scope) for binding in step.operands
        )
        *lengths, _, each = (self.size(size) for size in step.sizes)
        sizes, steps = ", ".join([*lengths[:4], each]), ", ".join(lengths[4:7])
        lanes = f", {64 // step.routine.operands[0][1].itemsize}" if kind == "sampled" else ""
        name = "sampled_product" if kind == "sampled" else "sparse_product"
        pattern = {
            "product": [starts, places, f"{order}[:0]"],
            "transposed": [starts_t, places_t, order],
            "sampled": [rows, places],
        }[kind]
        operands = ", ".join([first, second, *pattern, out])
        shapes = f"({sizes}), ({steps}), {self.size(step.total)}"
        self.lines.add(f"{self.helpers.helper(name)}({operands}, {shapes}{lanes})")

    def _library(self, step: CallStep, scope: Mapping[str, str]) -> None:
        """A call of LAPACK or of a Fourier transform, by a function of NumPy."""
        bound = zip(step.operands, (mode for mode, _ in step.routine.operands), strict=True)
        names = {mode: [self._text(b, scope) for b in bs] for mode, bs in _by_mode(bound).items()}
        operands = [*names.get("in", []), *names.get("out", [])]
        found = call_of(step, operands, self.size)
        if not found:
            what = NOT_EXPORTED.get(step.routine.name.partition(":")[0])
            refused = what or "a call of a user's function or of other ranks"
            raise ExportError(f"{refused} cannot be exported")
        (check,) = names.get("check") or ["()"]
        self.calls_numpy = True
        name, *arguments = (check if word == "<check>" else word for word in found)
        if any("as_complex(" in word for word in arguments):
            self.helpers.helper("as_complex")
        self.lines.add(f"{self.helpers.helper(name)}({', '.join(arguments)})")

    def _text(self, binding: Binding, scope: Mapping[str, str]) -> str:
        offset = self.size(binding.offset)
        return scope[binding.buffer] + ("" if offset == "0" else f"[{offset}:]")


def _by_mode(bound: Iterable[tuple[Binding, str]]) -> dict[str, list[Binding]]:
    found: dict[str, list[Binding]] = {}
    for binding, mode in bound:
        found.setdefault(mode, []).append(binding)
    return found


class LoopWriter:
    """Writes one step that runs bodies, a loop or a branch, with its bodies in line."""

    def __init__(
        self,
        steps: StepsWriter,
        step: Step,
        planned: PlannedStep,
        scope: Mapping[str, str],
        offsets: Mapping[str, tuple[int, int]],
    ) -> None:
        self.steps, self.lines, self.step, self.plans = steps, steps.lines, step, planned.bodies
        (room,) = (own.buffer for own in step.scratch() if own.per == "bodies")
        self.base = offsets.get(room, (0, 0))[0]
        self.arrays = []
        for access in step.accesses():
            begin = steps.size(access.begin)
            part = "" if begin == "0" else f"[{begin} // {access.dtype.itemsize} :]"
            self.arrays.append(scope.get(access.buffer, "") + part)
        self.turns: dict[int, tuple[str, str]] = {}
        self.number = self.made = ""

    def write(self) -> None:
        """The lines of the step."""
        for each in control_flow(self.step):
            match each:
                case flow.Move(to, "made"):
                    self.lines.add(f"{self._array(to)}[0] = {self.made}")
                case flow.Move(to, source, elements):
                    places = f"{self._array(to)}, {self._array(source)}"
                    copy = self.steps.helpers.helper("copy")
                    self.lines.add(f"{copy}({places}, {self.steps.size(elements)})")
                case flow.Branch():
                    self._branch(each)
                case flow.Loop():
                    self._loop(each)

    def _array(self, place: flow.Place) -> str:
        """Return the array that begins at a place."""
        match place:
            case flow.At(access, offset, row):
                parts = [] if offset == 0 else [self.steps.size(offset)]
                parts += [] if row is None else [f"{self.number} * ({self.steps.size(row)})"]
                return self.arrays[access] + (f"[{' + '.join(parts)} :]" if parts else "")
            case flow.Turn(carry, written):
                return self.turns[carry][written]
        return f"np.full(1, {self.number})"

    def _run(self, run: flow.Run) -> None:
        """One body; parts of arrays have names of their own."""
        scope = {name: self._array(place) for name, place in run.bound.items()}
        for name, place in run.bound.items():
            if place == "number" or (isinstance(place, flow.At) and place.row is not None):
                array, scope[name] = scope[name], self.steps.fresh(name)
                self.lines.add(f"{scope[name]} = {array}")
        self.lines.add(f"# {self.plans[run.body].schedule.name}")
        before = len(self.lines.text)
        self.steps.write(self.plans[run.body], scope, self.base, outer=False)
        if len(self.lines.text) == before:
            self.lines.add("pass")

    def _branch(self, branch: flow.Branch) -> None:
        lines, case = self.lines, self.steps.fresh("case")
        chosen = f"{self._array(branch.chosen)}[0]"
        lines.add(f"{case} = max(0, min({chosen}, {len(branch.cases) - 1}))")
        for number, run in enumerate(branch.cases):
            lines.open_block(f"{'elif' if number else 'if'} {case} == {number}:")
            self._run(run)
            lines.depth -= 1

    def _loop(self, loop: flow.Loop) -> None:
        lines, fresh, iterations = self.lines, self.steps.fresh, self.steps.size(loop.iterations)
        turning = []
        for n, turns in loop.turns.items():
            read, written, spare = fresh(f"old{n}"), fresh(f"new{n}"), fresh(f"spare{n}")
            lines.add(f"{read} = {self._array(turns.first)}")
            one, two = map(self._array, turns.written(1))
            lines.add(f"{written}, {spare} = {one}, {two}")
            lines.open_block(f"if ({iterations}) % 2 == 0:")
            one, two = map(self._array, turns.written(2))
            lines.add(f"{written}, {spare} = {one}, {two}")
            lines.depth -= 1
            turning.append(f"{read}, {written}, {spare} = {written}, {spare}, {written}")
            self.turns[n] = read, written
        t, self.number = fresh("t"), fresh("number")
        tests = any(isinstance(each, flow.Unless) for each in loop.inside)
        if tests:
            self.made = fresh("done")
            lines.add(f"{self.made} = 0")
        lines.open_block(f"for {t} in range({iterations}):")
        lines.add(
            f"{self.number} = {iterations} - 1 - {t}" if loop.backwards else f"{self.number} = {t}"
        )
        for each in loop.inside:
            if isinstance(each, flow.Run):
                self._run(each)
            else:
                lines.open_block(f"if not {self._array(each.goes)}[0]:")
                lines.add("break")
                lines.depth -= 1
        lines.add(*turning)
        if tests:
            lines.add(f"{self.made} += 1")
        lines.depth -= 1
