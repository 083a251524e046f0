"""The compiled parts of one program, cached: its kernels by what was compiled, plans by sizes.

A kernel is compiled, or found in the cache, and named. A plan is made by a function that the caller
hands in. Every plan of a new kind is checked by code that shares nothing with the planner; with the
setting ``check``, every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Protocol

from staticgrad import backends, native
from staticgrad.analysis.cost import counted_work
from staticgrad.analysis.plan_check import verify_plan
from staticgrad.compiler.reports.stats import Counts
from staticgrad.compiler.runtime.step import Program
from staticgrad.errors import CompileError
from staticgrad.language.calls.execution import in_graphs
from staticgrad.language.ir.graph import Parameter
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.plan import Plan
from staticgrad.language.ir.schedule import CallStep, Schedule, Step, routines
from staticgrad.language.types.arrays import hint_value
from staticgrad.native import Code
from staticgrad.native.libraries import routines as native_routines
from staticgrad.support import config
from staticgrad.support.caches import SEEN_SIZES, BoundedCache, collection_paused
from staticgrad.support.forks import ProcessLock
from staticgrad.support.pictures.texts import PrintedText
from staticgrad.support.records import dataclass
from staticgrad.support.source import lines_of

if TYPE_CHECKING:
    from staticgrad.compiler.fusion.neighbours import KernelPair
    from staticgrad.compiler.reports.explain import StepSection, UnfusedPair

_VERIFIED: Final = 1 << 20  # bytes of kinds of plans that were verified
#: Operations of products in a run from which on their quick code, a third as fast, takes longer
#: than it takes to compile full code at once (20 to 80 ms; Zen 4, 2026-11).
LONG_PRODUCTS: Final = 1.5e9


@dataclass(frozen=True)
class CompiledKernel:
    """One distinct kernel: its generated source, what it computes, where its code came from.

    ``code`` is what was compiled, a text or what gives one on request. ``compiler`` is the backend
    that compiled it, which ``auto`` leaves open; ``python`` where the jit is off. ``fails`` and
    ``keep`` are those of ``native.Code``.
    """

    name: str
    code: str | native.KernelSource = field(repr=False)
    label: str
    origin: str
    address: int
    compiler: str
    fails: bool = False
    keep: object = field(default=None, repr=False, compare=False)

    @property
    def source(self) -> str:
        """The generated source, as text."""
        return PrintedText(self.code if isinstance(self.code, str) else self.code.text)

    @property
    def llvm(self) -> str:
        """The LLVM IR of its machine code, generated on request.

        Raises:
            ArgumentError: its backend shows none (``Backend.as_text``), or the jit is off.
        """
        return PrintedText(backends.as_text(self.compiler, self.code, "llvm"))

    @property
    def asm(self) -> str:
        """Its machine code as assembly of this machine's target, generated on request.

        Raises:
            ArgumentError: as ``llvm``.
        """
        return PrintedText(backends.as_text(self.compiler, self.code, "asm"))

    def _title(self) -> str:
        how = {"memory": "from memory", "disk": "from disk"}.get(self.origin, "compiled")
        return f"{self.name}: {self.label}; {how}, by {self.compiler}"

    def __str__(self) -> str:
        return f"# {self._title()}\n{self.source}"

    def _repr_html_(self) -> str:
        from staticgrad.compiler.reports.pictures import kernel_html

        return kernel_html(self._title(), self.source)


class Kernels:
    """Native code of kernels, for the schedules of one program.

    By the backend of that name; None: the setting's.
    """

    def __init__(self, counts: Counts, backend: str | None, threads: int = 1) -> None:
        self._counts = counts
        self._backend = backend
        self._threads = threads
        self._kernels_by_source: dict[str | native.KernelSource, CompiledKernel] = {}
        self._of: dict[Kernel, CompiledKernel] = {}

    @property
    def all(self) -> tuple[CompiledKernel, ...]:
        """The distinct kernels in order of first use."""
        return tuple(self._kernels_by_source.values())

    def kernels_of(self, *schedules: Schedule) -> tuple[CompiledKernel, ...]:
        """Return the distinct kernels of schedules that are compiled, in order of first use."""
        steps = [first_steps(schedule) for schedule in schedules]
        return tuple(dict.fromkeys(self._of[kernel] for kernels in steps for kernel in kernels))

    def program(self, schedule: Schedule, parameters: Iterable[Parameter] = ()) -> Program:
        """A schedule with its code; kernels that are new are compiled, or found in the cache."""
        return self.begin(schedule, parameters)()

    def begin(
        self, schedule: Schedule, parameters: Iterable[Parameter] = ()
    ) -> Callable[[], Program]:
        """Begin to compile a schedule's kernels; return the function that finishes the program.

        LLVM compiles in other threads meanwhile.
        """
        steps = first_steps(schedule)
        loops = any(step.bodies() for step in schedule.steps)
        called = [routine.name for routine in routines(schedule)]
        beside = native_routines.sources(called)
        end = backends.begin(steps, self._backend, loops, partial(_is_long, schedule), beside)
        return lambda: self._make_program(schedule, parameters, steps, loops, end())

    def _make_program(
        self,
        schedule: Schedule,
        parameters: Iterable[Parameter],
        steps: Mapping[Kernel, Step],
        loops: bool,
        codes: Mapping[Kernel, Code],
    ) -> Program:
        """Return the runnable program: a schedule, the addresses of its kernels and parameters."""
        kernels = {k: self._compile_kernel(k, step, codes.get(k)) for k, step in steps.items()}
        self._of.update(kernels)
        used = {buffer.label for buffer in schedule.buffers if buffer.role == "parameter"}
        if loops:
            native.control()  # now, for no run compiles anything
            if self._threads > 1 and any(kernel.outer == "tiles" for kernel in steps):
                native.through()
        return Program(
            schedule,
            kernels,
            {parameter.name: parameter.store for parameter in parameters if parameter.name in used},
            native.driver(),
            {kernel: code.name for kernel, code in kernels.items()},
            {routine: native_routines.code(routine.name) for routine in routines(schedule)},
            partial(self.program, parameters=parameters),
            frozenset(kernel for kernel, code in kernels.items() if code.fails),
        )

    def name(self, step: Step) -> str:
        """Return the name that messages use for the kernels of a step, or its routine."""
        if isinstance(step, CallStep):
            return step.routine.name
        return ", ".join(self._of[kernel].name for kernel in step.kernels())

    def sections(self, schedule: Schedule) -> tuple[StepSection, ...]:
        """Return a program's steps with their kernels for reports; compile the unused ones."""
        from staticgrad.compiler.reports.explain import StepSection

        if not first_steps(schedule).keys() <= self._of.keys():
            self.program(schedule)
        return tuple(
            StepSection(
                self.name(step),
                step.phase,
                step.label,
                tuple(dict.fromkeys(o.resolve().label for o in step.origins)),
                tuple(self.sections(body.schedule) for body in step.bodies()),
                getattr(step, "reason", ""),
            )
            for step in schedule.steps
        )

    def _compile_kernel(self, kernel: Kernel, step: Step, code: Code | None) -> CompiledKernel:
        """Compile a kernel by the backend once; an error cites the user's line and the source."""
        try:
            code = code or backends.compiled(kernel, self._backend)
        except CompileError as error:
            error.at = step.origins[0] if step.origins else error.at
            source = backends.render(kernel)
            error.add_note(f"the kernel computes {step.label}; its source:\n{source}")
            raise
        if code.source not in self._kernels_by_source:
            lines = lines_of(step.origins)
            label = f"{step.label} at {lines}" if lines else step.label
            name = f"k{len(self._kernels_by_source)}"
            compiled_kernel = CompiledKernel(
                name, code.source, label, code.origin, code.address, code.compiler, code.fails,
                code.keep,
            )  # fmt: skip
            self._kernels_by_source[code.source] = compiled_kernel
            self._counts.add_kernel(name, label, code)
        return self._kernels_by_source[code.source]


def _is_long(schedule: Schedule) -> bool:
    """Return whether the products of one run take longer by quick code than to compile fully."""
    steps = schedule.steps
    works = (counted_work(step, tuple(map(hint_value, step.arguments))) for step in steps)
    return sum(work.products for work in works) > LONG_PRODUCTS


def first_steps(schedule: Schedule) -> dict[Kernel, Step]:
    """The distinct kernels in order of first use, each with the first step that uses it."""
    step_by_kernel: dict[Kernel, Step] = {}
    for step in schedule.steps:
        for kernel in step.kernels():
            step_by_kernel.setdefault(kernel, step)
    return step_by_kernel


def unfused_pairs(pairs: Iterable[KernelPair]) -> tuple[UnfusedPair, ...]:
    """Return why neighbouring steps are not fused, as a section."""
    from staticgrad.compiler.reports.explain import UnfusedPair

    return tuple(
        UnfusedPair(
            pair.computed_in,
            pair.read_in,
            pair.node.op.name,
            pair.reader.op.name,
            (pair.node.origin.resolve().label, pair.reader.origin.resolve().label),
            pair.reason.kind.name,
            pair.reason.numbers,
            str(pair.reason),
        )
        for pair in pairs
    )


class Make(Protocol):
    """Makes a plan of sizes and the buffer names of inputs whose feeds are copied."""

    def __call__(self, sizes: Mapping[str, int], *, staged: frozenset[str]) -> Plan: ...


class Plans:
    """Plans by sizes and copied feeds; safe from several threads."""

    def __init__(self, make: Make, counts: Counts, proves_accesses: bool = False) -> None:
        self._make, self._counts = make, counts
        self._proves_accesses = proves_accesses
        self._lock = ProcessLock()
        self._plans_by_key: BoundedCache[object, Plan] = BoundedCache(SEEN_SIZES)
        #: By the hash of a kind, which has the identity of the schedule: it must not go away.
        self._verified: BoundedCache[int, Schedule] = BoundedCache(_VERIFIED)

    @collection_paused()
    @in_graphs()
    def plan(self, sizes: Mapping[str, int], staged: frozenset[str]) -> Plan:
        """Return the cached memory plan at these sizes; feeds of ``staged`` buffers are copied."""
        key = (tuple(sorted(sizes.items())), staged)
        with self._lock.mutex:
            plan = self._plans_by_key.get(key)
            if plan is None:
                plan = self._make(sizes, staged=staged)
                kind = hash(_strip_numbers(plan))
                if self._verified.get(kind) is None or config.current().check:
                    verify_plan(plan)
                    self._verified.store(kind, plan.schedule, 200)
                self._prove_accesses(plan)
                self._store(key, plan)
        return plan

    def add(self, sizes: Mapping[str, int], plan: Plan) -> None:
        """Add the verified plan at these sizes, without a copied feed, that was on disk."""
        self._prove_accesses(plan)
        with self._lock.mutex:
            self._store((tuple(sorted(sizes.items())), frozenset()), plan)

    def _prove_accesses(self, plan: Plan) -> None:
        """Prove the memory accesses of a plan, if the program is compiled with ``verify=True``."""
        if self._proves_accesses:
            from staticgrad.analysis.access_proof import prove_plan  # not by default

            prove_plan(plan)

    def _store(self, key: object, plan: Plan) -> None:
        self._counts.add_plan(plan)
        self._plans_by_key.store(key, plan, plan.held_bytes)


def _strip_numbers(plan: Plan) -> tuple[object, ...]:
    """Return all of a memory plan but its numbers, by which plans are compared.

    The steps in order and the buffers in the order of the arena, with what is empty. Computing it
    takes a fiftieth of the time of planning; ``verify_plan`` takes twice that time.
    """
    return (
        id(plan.schedule),
        plan.workers,
        plan.commit,
        tuple([(s.step, s.total > 0, s.fails, *map(_strip_numbers, s.bodies)) for s in plan.steps]),
        tuple(
            [(p.buffer, p.first, p.last) for p in sorted(plan.placements, key=attrgetter("offset"))]
        ),
        tuple([nbytes > 0 for _, nbytes in plan.buffer_bytes]),
    )
