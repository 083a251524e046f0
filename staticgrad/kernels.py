"""The kernels of one compiled program: compiled or found, and named, each source once."""

from __future__ import annotations

from collections.abc import Iterable

from staticgrad import backends, native
from staticgrad.codegen.numba_source import render
from staticgrad.errors import CompileError
from staticgrad.ir.graph import Parameter
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.records import dataclass
from staticgrad.runtime.step import Program
from staticgrad.stats import Counts


@dataclass(frozen=True)
class CompiledKernel:
    """One distinct kernel: its generated source, what it computes, where its code came from.

    ``compiler`` is the backend that compiled it, which ``auto`` leaves open; ``python`` where the
    jit is off.
    """

    name: str
    source: str
    label: str
    origin: str
    address: int
    compiler: str


class Kernels:
    """Native code by source, for the schedules of one program.

    By the backend of that name; None: the setting's.
    """

    def __init__(self, counts: Counts, backend: str | None) -> None:
        self._counts = counts
        self._backend = backend
        self._found: dict[str, CompiledKernel] = {}
        self._of: dict[Kernel, CompiledKernel] = {}

    @property
    def all(self) -> tuple[CompiledKernel, ...]:
        """The distinct kernels in order of first use."""
        return tuple(self._found.values())

    def program(self, schedule: Schedule, parameters: Iterable[Parameter] = ()) -> Program:
        """A schedule with its code; sources that are new are compiled, or found in the cache."""
        steps = first_steps(schedule)
        made = {kernel: self._compiled(kernel, step) for kernel, step in steps.items()}
        self._of.update(made)
        return Program(
            schedule,
            {kernel: code.address for kernel, code in made.items()},
            {parameter.name: parameter.store for parameter in parameters},
            native.driver(),
            {kernel: code.name for kernel, code in made.items()},
        )

    def name(self, step: Step) -> str:
        """What messages call the kernels of a program's step."""
        return ", ".join(self._of[kernel].name for kernel in step.kernels())

    def _compiled(self, kernel: Kernel, step: Step) -> CompiledKernel:
        code = machine_code(kernel, step, self._backend)
        if code.source not in self._found:
            lines = ", ".join(dict.fromkeys(o.resolve().short for o in step.origins))
            label = f"{step.label} at {lines}" if lines else step.label
            name = f"k{len(self._found)}"
            made = CompiledKernel(
                name, code.source, label, code.origin, code.address, code.compiler
            )
            self._found[code.source] = made
            self._counts.add_kernel(name, label, code)
        return self._found[code.source]


def first_steps(schedule: Schedule) -> dict[Kernel, Step]:
    """The distinct kernels in order of first use, each with the first step that uses it."""
    found: dict[Kernel, Step] = {}
    for step in schedule.steps:
        for kernel in step.kernels():
            found.setdefault(kernel, step)
    return found


def machine_code(kernel: Kernel, step: Step, backend: str | None) -> backends.Code:
    """The code of a kernel, for the step that uses it, by the backend of that name.

    Raises:
        CompileError: at the step's line, with the kernel in a note.
    """
    try:
        return backends.compiled(kernel, backend)
    except CompileError as error:
        error.at = step.origins[0] if step.origins else error.at
        error.add_note(f"the kernel computes {step.label}; its source:\n{render(kernel)}")
        raise
