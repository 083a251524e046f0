"""The results of a comparison as data: each figure that tables and pages show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from itertools import accumulate, product
from pathlib import Path
from typing import Any, Final

from staticgrad.comparison.mistakes import Debugging
from staticgrad.errors import ProgramError, StaticgradError
from staticgrad.extend import Graph, dataclass, deprecated_attribute
from staticgrad.extend.building import Location
from staticgrad.extend.pages import nbytes, seconds
from staticgrad.extend.reports import CompiledKernel, Plan, Report, Runner, largest_at_peak

#: Counts up when a field of the JSON document changes its meaning or goes.
SCHEMA = 9
#: The row of work of the graph ahead of all passes.
WRITTEN = "written out, node by node"
#: Wall time over processor time from which on a machine counts as busy.
BUSY = 1.25


@dataclass(frozen=True)
class Timing:
    """The least processor time of one step, in seconds; all wall time over all processor time."""

    cpu: float
    waiting: float

    @property
    def clock(self) -> float:
        """The seconds of a step by the clock."""
        return self.cpu * self.waiting


@dataclass(frozen=True)
class Pair:
    """One step at batch size ``at``, both ways, measured in turns on one thread.

    ``ratios``: the least and largest ratio among parts of the measurement.
    """

    at: int
    by_run: Timing
    then_run: Timing
    ratios: tuple[float, float]

    @property
    def ratio(self) -> float:
        """The minimum processor time of the tape divided by that of the compiled way."""
        return self.by_run.cpu / self.then_run.cpu


class NoPeer(Exception):  # noqa: N818 - a reason, not an error
    """The reason why a program has no counterpart in another library."""


#: The ways of other libraries.
TORCH, COMPILED_TORCH, JAX = "PyTorch", "torch.compile", "JAX"


@dataclass(frozen=True)
class Peer:
    """A step of the same program in another library, at the usual batch size.

    ``pair`` has its times as ``by_run``, in turns with the compiled step, or with the tape where a
    program makes no graph; ``tape`` are the bytes at
    the peak, of PyTorch's tensors by its profiler, of JAX as XLA plans them; ``first`` the seconds
    by the clock of the first step, compilation included, imports not; ``losses`` the largest
    relative difference to those of the tape. ``causes``: the bytes at the peak by cause, where the
    library shows them; ``imports``: seconds of importing it in a fresh process. ``recompute``: the
    bytes with recomputation, and its time relative to that without. ``reason`` says in one line why
    there are no figures; empty if there are.
    """

    name: str = TORCH
    pair: Pair | None = None
    tape: int = 0
    first: float = 0.0
    losses: float = 0.0
    reason: str = ""
    recompute: tuple[int, float] | None = None
    causes: Causes | None = None
    imports: float = 0.0


@dataclass(frozen=True)
class Course:
    """Consecutive steps of one way from the start on, in seconds by the clock.

    ``imports``: starting Python and importing the package (fetching data is left out); ``build``:
    the model, for the graph also its gradient; ``compile``: passes, kernels, driver; ``step``: the
    first step, its plan included. ``cpu``: processor time of all this but the imports. ``steps``:
    each step, the first one too, with what it compiles; ``events``: numbers of steps, counted from
    1, and what was new in them; ``graphs``: how many were traced.
    """

    imports: float
    build: float
    compile: float
    step: float
    cpu: float
    steps: tuple[float, ...] = ()
    events: tuple[tuple[int, str], ...] = ()
    graphs: int = 0

    @property
    def total(self) -> float:
        """The seconds from the start to the first loss."""
        return self.imports + self.build + self.compile + self.step

    def ends(self, imports: bool = True) -> tuple[float, ...]:
        """Return the seconds from the start to the end of each step, with or without imports."""
        start = self.build + self.compile + imports * self.imports
        return tuple(accumulate(self.steps, initial=start))[1:]


@dataclass(frozen=True)
class Interval:
    """The least and the largest of repeated measurements; None is never."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Agreement:
    """Losses of both ways over the same steps, and how far apart both ways are, relatively.

    ``losses``: the largest difference of two losses; ``parameters`` after the last step: the
    largest distance, by parameter, over its norm, None without parameters. ``problem`` says why
    they do not agree; empty if they do.
    """

    by_run: tuple[float, ...]
    then_run: tuple[float, ...]
    losses: float
    parameters: float | None
    problem: str = ""


@dataclass(frozen=True)
class Bytes:
    """Memory of one step at batch size ``at``, beside parameters, optimizer state and batch.

    ``tape``: the peak of the arrays in a step of the tape, measured, as PyTorch's profiler counts
    tensors. ``arena``: per policy the planned peak of the compiled step, which is what it uses;
    ``times``: the predicted time of that plan, relative to the first policy's.
    """

    at: int
    tape: int
    arena: Mapping[str, int]
    times: Mapping[str, float]


#: Why bytes are held.
KEPT, GRADIENTS = "kept for the backward pass", "gradients"
UPDATES, TEMPORARY = "updates", "temporaries"
#: What makes most temporaries of the tape.
FORWARD, BACKWARD = "operations", "derivatives"
RANDOM, NARROW = "random numbers", "conversions of narrow floats"


@dataclass(frozen=True)
class Causes:
    """The bytes of a step at its peak by cause, beside parameters, optimizer state and batch.

    ``kept``: made forward, read by the backward pass. ``gradients``: made by the backward pass,
    read by the update. ``updates``: made by the update. ``temporaries``: made and read last in one
    part; ``of``: on the tape, what makes most of them.
    """

    name: str
    kept: int
    gradients: int
    updates: int
    temporaries: int
    of: str = ""

    @property
    def total(self) -> int:
        return self.kept + self.gradients + self.updates + self.temporaries

    @property
    def parts(self) -> Mapping[str, int]:
        """The bytes by the words for their causes."""
        sizes = (self.kept, self.gradients, self.updates, self.temporaries)
        return dict(zip((KEPT, GRADIENTS, UPDATES, TEMPORARY), sizes, strict=True))


@dataclass(frozen=True)
class Budgeted:
    """The quickest plan within a budget: ``name`` says which, a share of what keeping all takes.

    ``time`` is predicted, relative to keeping all; ``measured`` the same in a run, None if it was
    not measured. On the tape, which predicts nothing, ``time`` is measured.
    """

    name: str
    peak: int
    time: float
    measured: float | None = None


@dataclass(frozen=True)
class WorkRow:
    """The work of one step: operations or kernels, bytes of results, FLOPs."""

    name: str
    operations: int
    nbytes: int
    flops: int


@dataclass(frozen=True)
class HeldBytes:
    """Bytes held from the beginning of a step to its end, at equal distances.

    On the ``tape`` measured each time a function ends; else the plan of a policy, position by
    position, whose ``phases`` are letters: forward, backward, update.
    """

    name: str
    nbytes: tuple[int, ...]
    phases: str = ""


@dataclass(frozen=True)
class Act:
    """Something that was tried with this very program: what either way did, and what it teaches."""

    title: str
    tape: str
    graph: str
    moral: str


@dataclass(frozen=True)
class StepCost:
    """One run of a kernel: its name, the order of derivatives, what it computes, its lines.

    ``seconds`` are the least of several runs.
    """

    kernel: str
    phase: int
    computes: str
    lines: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The compiled program itself: its graph, what passes made of it, kernels, plan, their times.

    ``runners`` are the kernels as the picture of the graph has them, ``apart`` says why two
    neighbours are two.
    """

    graph: Graph
    reports: tuple[Report, ...]
    runners: tuple[Runner, ...]
    kernels: tuple[CompiledKernel, ...]
    plan: Plan
    costs: tuple[StepCost, ...]
    apart: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """A graph that cannot be built, or serves fewer sizes: the error, the user's line, the cure."""

    message: str
    line: str
    text: str
    cure: str


_PACKAGE: Final = str(Path(__file__).parents[1])
#: The cure of a refusal whose error names none.
_OTHERWISE = "choices and loops on values: sg.where, sg.cond, sg.while_loop, sg.scan"


def refusal_of(error: Exception, origin: Location, cure: str = "") -> Refusal:
    """Convert an error to a refusal in the comparison's report, at the user's innermost line."""
    if not isinstance(error, StaticgradError):
        return Refusal(f"{type(error).__name__}: {error}", "", "", cure or _OTHERWISE)
    places = (error.at, *(origin for _, _, origin in reversed(error.related)), origin)
    resolved = (place.resolve() for place in places if place is not None)
    where = next(
        (place for place in resolved if not place.file.startswith(_PACKAGE)), origin.resolve()
    )
    line, text = where.short, where.text.strip()
    if isinstance(error, ProgramError) and error.details:
        place, _, text = error.details[-1].partition(": ")
        line = place.partition(", in ")[0].replace("\\", "/").rpartition("/")[2]
    return Refusal(error.headline, line, text, cure or error.hint or _OTHERWISE)


@dataclass(frozen=True)
class Changes:
    """The steps of a course whose arrays have other sizes each time, and what the sizes cost.

    ``sizes``: the least and the largest size of each axis that changes; ``shapes``: how many
    different ones the steps had; ``graphs`` and ``plans``: how many of them were made. ``new``:
    seconds of a compiled step with new sizes, the first step left out, ``again``: with sizes that
    it had before, ``tape``: of the tape; medians by the clock, None where the course had no such
    step. ``planned``: the bytes of a step with one of the sizes halved and doubled, by name; empty
    where each size has a graph of its own.
    """

    sizes: Mapping[str, tuple[int, int]]
    steps: int
    shapes: int
    graphs: int
    plans: int
    tape: float
    new: float | None
    again: float | None
    planned: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Report:
    """The head of a report: what was compared, and where.

    ``parameters``: how many numbers the results depend on, without the optimizer's state.
    ``batch_size``: how many examples a step has; ``batch_axes`` says which axes count them, and how
    that is known, or which sizes change from step to step.
    """

    model: str
    parameters: int
    batch_size: int
    batch_axes: str
    rule: str
    machine: str
    threads: int

    @property
    def about_batch(self) -> str:
        """The number of examples, and the axes that count them."""
        return f"batch size {self.batch_size} ({self.batch_axes})"

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON has it; numbers that are not finite are texts."""
        fields: dict[str, Any] = as_plain({"schema": SCHEMA, "holds": self.holds, **self._data()})
        return fields

    @property
    def holds(self) -> bool:
        """True unless both ways disagree."""
        return True

    def _data(self) -> dict[str, Any]:
        return vars(self)


def as_plain(data: Any) -> Any:
    """Return records, dicts and tuples as JSON has them, without NaN and infinity."""
    if is_dataclass(data):
        data = vars(data)
    if isinstance(data, Mapping):
        return {str(key): as_plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [as_plain(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data


@dataclass(frozen=True)
class TapeAlone(_Report):
    """The report of a program without a graph: what it does on the tape, and why there is none.

    ``operations``: how many operations the tape recorded in each step of a course, ``losses``:
    their losses; each step draws a batch, and training goes on. ``tape`` is the time of its first
    step, from the start values. ``peers``: that of other libraries, in turns with the tape.
    """

    refusal: Refusal
    tape: Timing
    nbytes: int
    operations: tuple[int, ...]
    losses: tuple[float, ...]
    timeline: HeldBytes
    peers: tuple[Peer, ...] = ()


#: Why the compiled step holds fewer bytes of a cause than the tape, and why more.
_LESS = {
    KEPT: "a result that one kernel makes and reads is never stored, and masks take a byte",
    GRADIENTS: "the update is fused into the gradient's product: its gradient is never stored",
    UPDATES: "the new value is written in the place of the old one",
    TEMPORARY: "values within a kernel never reach memory, and the others share bytes",
}
_MORE = {
    KEPT: "the compiled step is fullest while this is read, the tape at another moment",
    GRADIENTS: "several gradients wait for a result that reads them all, as a norm or a check",
    UPDATES: "several new values wait for the last check",
    TEMPORARY: "the compiled step is fullest at another moment than the tape",
}


#: Why the tape holds more bytes of a cause than PyTorch, and why fewer.
_MORE_THAN_TORCH = {
    KEPT: "rules here read operands or results that PyTorch's rules do not keep",
    GRADIENTS: "more gradients wait for the update at the fullest moment",
    UPDATES: "the new values are made before the old ones are written over",
    TEMPORARY: "a derivative of several NumPy operations makes an array for each, PyTorch's one",
}
#: The same of temporaries, by what makes most of them.
_TEMPORARIES_OF = {
    FORWARD: "an operation of several NumPy operations makes an array for each, PyTorch's one",
    RANDOM: "numbers are drawn block by block, and a block holds its words and their products",
    NARROW: "NumPy has no products of narrow floats: they are computed in float32, and rounded",
}
_LESS_THAN_TORCH = {
    KEPT: "rules here keep less and compute it again",
    GRADIENTS: "fewer gradients are there at the fullest moment",
    UPDATES: "the update works block by block",
    TEMPORARY: "operations here work block by block or in place",
}
#: Why the compiled step holds more bytes of a cause than PyTorch.
_COMPILED_MORE_THAN_TORCH = {
    KEPT: "results are stored that PyTorch computes again or has let go of at its fullest moment",
    GRADIENTS: "several gradients wait for a result that reads them all, as a norm or a check",
    UPDATES: "several new values wait for the last check",
    TEMPORARY: "kernels store partial sums, or values that several later kernels read",
}
_ALIKE = 0.1  # the relative difference of bytes that needs no reason


def why_other(tape: Causes, torch: Causes) -> str:
    """Explain in a sentence why the tape's memory differs from PyTorch's; empty if it does not."""
    factor = tape.total / torch.total if torch.total else 1.0
    if abs(factor - 1) <= _ALIKE:
        return ""
    more = {why: tape.parts[why] - torch.parts[why] for why in tape.parts}
    why = max(more, key=more.__getitem__) if factor > 1 else min(more, key=more.__getitem__)
    reason = _MORE_THAN_TORCH[why] if factor > 1 else _LESS_THAN_TORCH[why]
    if factor > 1 and why == TEMPORARY:
        reason = _TEMPORARIES_OF.get(tape.of, reason)
    return (
        f"The tape holds {factor:.2f} times the bytes of PyTorch. {why.capitalize()}:"
        f" {nbytes(tape.parts[why])} and {nbytes(torch.parts[why])}; {reason}."
    )


def why_more(arena: int, compiled: Causes, peer: Causes, largest: Sequence[str]) -> str:
    """Explain in a sentence why the compiled step needs more memory than another library.

    Args:
        arena: the planned bytes; what ``compiled`` leaves of them is between buffers.
        compiled: the bytes of the plan by cause.
        other: those of PyTorch.
        largest: the largest values at the peak of the plan.

    Returns:
        the sentence; empty if the compiled step holds no more.
    """
    if not 0 < peer.total < arena:
        return ""
    more = {why: compiled.parts[why] - peer.parts[why] for why in compiled.parts}
    why = max(more, key=more.__getitem__)
    between = arena - compiled.total
    if between > more[why]:
        reason = f"{nbytes(between)} lie between buffers, which begin at multiples of 64 bytes"
    else:
        reason = (
            f"{why.capitalize()}: {nbytes(compiled.parts[why])} and {nbytes(peer.parts[why])};"
            f" {_COMPILED_MORE_THAN_TORCH[why]}"
        )
    shown = f" The largest at the peak: {', '.join(largest)}." if largest else ""
    return (
        f"The compiled step holds {arena / peer.total:.2f} times the bytes of PyTorch."
        f" {reason}.{shown}"
    )


@dataclass(frozen=True)
class Comparison(_Report):
    """The report of a program that ran both ways.

    ``module``: a module as text; ``dead``: sentences on nodes that nothing needs. ``courses``: the
    repeated courses of the tape and of the compiled step, by state of the kernel cache;
    ``held``: the bytes of each of their steps. ``checkpointed``: the step of the tape that computes
    parts of the module again, if it has parts. ``debugging``: how mistakes in the program are
    found; None where no line of it computes a floating array.
    """

    agreement: Agreement
    batches: tuple[Pair, ...]
    forward: Pair | None
    courses: Mapping[str, tuple[Course, ...]]
    held: Mapping[str, tuple[int, ...]]
    memories: tuple[Bytes, ...]
    budgets: tuple[Budgeted, ...]
    checkpointed: Budgeted | None
    program: str
    work: tuple[WorkRow, ...]
    acts: tuple[Act, ...]
    timelines: tuple[HeldBytes, ...]
    anatomy: Anatomy
    module: str = ""
    dead: tuple[str, ...] = ()
    refusal: Refusal | None = None
    changes: Changes | None = None
    peers: tuple[Peer, ...] = ()
    causes: tuple[Causes, ...] = ()
    debugging: Debugging | None = None

    @property
    def about_batch(self) -> str:
        if self.changes is None:
            return super().about_batch
        sizes = (f"{name} {low:,} to {high:,}" for name, (low, high) in self.changes.sizes.items())
        return f"sizes that change: {', '.join(sizes) or 'none in this course'}"

    @property
    def by_cause(self) -> tuple[Causes, ...]:
        """The bytes at the peak by cause: the tape's, the arena's, those of other libraries."""
        return (*self.causes, *(peer.causes for peer in self.peers if peer.causes is not None))

    @property
    def about_memory(self) -> tuple[str, ...]:
        """Explain each cause by which the compiled step's memory differs from the tape's."""
        if len(self.causes) < 2:
            return ()
        tape, arena = self.causes[0].parts, self.causes[1].parts
        return tuple(
            f"{why.capitalize()}: {nbytes(tape[why])} on the tape, {nbytes(arena[why])} compiled;"
            f" {_LESS[why] if arena[why] < tape[why] else _MORE[why]}."
            for why in tape
            if abs(arena[why] - tape[why]) > 0.1 * max(self.causes[0].total, self.causes[1].total)
        )

    @property
    def about_tape_memory(self) -> tuple[str, ...]:
        """A sentence on the bytes of the tape beside PyTorch's, unless they are alike."""
        torch = self.peer.causes if self.peer is not None else None
        if torch is None or not self.causes:
            return ()
        sentence = why_other(self.causes[0], torch)
        return (sentence,) * bool(sentence)

    @property
    def about_compiled_memory(self) -> tuple[str, ...]:
        """Explain why the compiled step needs more memory than PyTorch, if it does."""
        torch = self.peer.causes if self.peer is not None else None
        if torch is None or len(self.causes) < 2:
            return ()
        arena = next(iter(self.memory.arena.values()))
        sentence = why_more(arena, self.causes[1], torch, largest_at_peak(self.anatomy.plan))
        return (sentence,) * bool(sentence)

    @property
    def peer(self) -> Peer | None:
        """The row of eager PyTorch, if it was looked for."""
        return next((peer for peer in self.peers if peer.name == TORCH), None)

    @property
    def first(self) -> Mapping[str, Course]:
        """The repeat with the earliest first result of each way, in fresh processes."""
        states = [state for state in self.courses if state in (TAPE, EMPTY, WARM)]
        fresh = states if EMPTY in states else []
        return {state: min(self.courses[state], key=lambda course: course.total) for state in fresh}

    @property
    def state(self) -> str:
        """The state of the kernel cache in the course of the headline."""
        return next((state for state in (EMPTY, HERE) if state in self.courses), "")

    @property
    def course_steps(self) -> int:
        """The number of steps that all courses have."""
        return min(len(course.steps) for every in self.courses.values() for course in every)

    def spent(self, state: str) -> float:
        """Return the least seconds of the steps that all courses have, without imports."""
        last = self.course_steps - 1
        return min(course.ends(imports=False)[last] for course in self.courses[state])

    @property
    def holds(self) -> bool:
        """True if both ways agree."""
        return not self.agreement.problem

    written = deprecated_attribute("0.2", "source_work")

    @property
    def source_work(self) -> WorkRow:
        """The work of the graph as the program wrote it, ahead of all passes."""
        return next((row for row in self.work if row.name == WRITTEN), self.work[0])

    @property
    def usual(self) -> Pair:
        """The step at the usual batch size."""
        return next(pair for pair in self.batches if pair.at == self.batch_size)

    @property
    def memory(self) -> Bytes:
        """The memory at the usual batch size."""
        return next(
            batch_memory for batch_memory in self.memories if batch_memory.at == self.batch_size
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return warnings to readers of the comparison's times."""
        waiting = [(pair.by_run.waiting, pair.then_run.waiting) for pair in self.batches]
        sentences = []
        if max(map(max, waiting)) > BUSY:
            sentences.append(
                f"The machine was not quiet: wall time was {max(map(max, waiting)):.1f} times"
                " processor time. Ratios are of processor time, but caches and clocks were shared"
                " too."
            )
        if self.threads > 1 or min(map(min, waiting)) < 1 / BUSY:
            sentences.append("The matrix library ran on several threads: the two ways did not.")
        return tuple(sentences)

    @property
    def about_the_tape(self) -> str:
        """Say what the times of the tape measure."""
        text = "The tape's times are those of NumPy and Python"
        if self.peer is None or self.peer.pair is None:
            return f"{text}, not of a library whose operations are compiled."
        return (
            f"{text}: {self.usual.by_run.cpu / self.peer.pair.by_run.cpu:.1f} times a step of"
            f" PyTorch, which takes {self.peer.pair.ratio:.1f} times the compiled step."
        )

    @property
    def against(self) -> tuple[str, ...]:
        """Say what disadvantages define-then-run has for this program."""
        policy, planned = next(iter(self.memory.arena.items()))
        ways = [("the tape", self.usual, self.memory.tape)]
        ways += [(peer.name, peer.pair, peer.tape) for peer in self.peers if peer.pair is not None]
        sentences = [
            f"The compiled step ({policy}) holds {planned / size:.2f} times what {who} holds."
            for who, _, size in ways
            if 0 < size < planned
        ]
        sentences += [
            f"The compiled step takes {1 / pair.ratio:.2f} times as long as a step of {who}."
            for who, pair, _ in ways
            if pair.ratio < 1
        ]
        sentences += self._of_sizes
        sentences += [
            f"The first result, {state}, comes {late:.2f} s later than on the tape."
            for state, late in ((state, min(every)) for state, every in self._late.items())
            if late >= 0.005  # below that the text would say 0.00 s
        ]
        return tuple(sentences)

    @property
    def _of_sizes(self) -> list[str]:
        """Say that steps with new sizes take longer compiled than on the tape, if they do."""
        if self.changes is None:
            return []
        tape, compiled = self.spent(TAPE), self.spent(self.state)
        return [
            f"{self.changes.steps} steps with {self.changes.shapes} different shapes take"
            f" {seconds(compiled)} {self.state}, what they compile included, and {seconds(tape)} on"
            " the tape."
        ] * (compiled > tape)

    @property
    def break_even(self) -> Mapping[str, Interval]:
        """Return the step from which on compiling has paid for itself, by state of the cache.

        By the clock from the start of the process, imports included, as the steps of courses are
        drawn: the least and the largest by repeats of the courses and, beyond them, by parts of the
        measurement of a step. None: never, or of changing sizes not within the course.
        """
        return {state: self._ahead(state) for state in self.courses if state != TAPE}

    def later_step(self, state: str) -> float:
        """Return the seconds by the clock of each step after a course of unchanged sizes."""
        return (self.usual.by_run if state == TAPE else self.usual.then_run).clock

    def _ahead(self, state: str) -> Interval:
        """Return the step from which on the compiled way is ahead."""
        gains = [0.0]
        if self.changes is None:
            gains = [self.later_step(state) * (ratio - 1) for ratio in self.usual.ratios]
        crossings = []
        for tape, compiled, gain in product(self.courses[TAPE], self.courses[state], gains):
            ends = [*zip(tape.ends(), compiled.ends(), strict=False)][: self.course_steps]
            late = [k for k, (of_tape, of_graph) in enumerate(ends, 1) if of_graph > of_tape]
            step = 1.0 + (late[-1] if late else 0)
            if self.changes is None and gain <= 0:
                step = math.inf
            elif step > len(ends):
                of_tape, of_graph = ends[-1]
                step = len(ends) + math.ceil((of_graph - of_tape) / gain) if gain else math.inf
            crossings.append(step)
        low, high = (
            None if step == math.inf else step for step in (min(crossings), max(crossings))
        )
        return Interval(low, high)

    @property
    def _late(self) -> Mapping[str, Sequence[float]]:
        """Return by how many seconds the compiled way's first result is later than the tape's."""
        states = [state for state in self.courses if state != TAPE]
        return {
            state: [
                compiled.total - tape.total
                for compiled in self.courses[state]
                for tape in self.courses[TAPE]
            ]
            for state in states
        }

    def _data(self) -> dict[str, Any]:
        """Return the comparison as plain data for JSON, with its derived sentences."""
        data = {name: value for name, value in vars(self).items() if name != "anatomy"}
        return {
            **data,
            "steps": self.anatomy.costs,
            "first": self.first,
            "warnings": self.warnings,
            "about_the_tape": self.about_the_tape,
            "about_memory": self.about_memory,
            "about_tape_memory": self.about_tape_memory,
            "about_compiled_memory": self.about_compiled_memory,
            "against": self.against,
            "break_even": self.break_even,
            "ratios": {pair.at: pair.ratio for pair in self.batches},
        }


#: The ways whose first result is measured: the tape, and the states of the kernel cache.
TAPE, EMPTY, WARM = "tape", "compiled, empty cache", "compiled, warm cache"
#: The state of a program without a name on disk: its kernels were compiled in this process before.
HERE = "compiled, kernels in memory"
