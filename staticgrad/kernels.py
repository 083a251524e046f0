"""The kernels of one compiled program: rendered, compiled or found, and named, each source once."""

from __future__ import annotations

from dataclasses import dataclass

from staticgrad import native
from staticgrad.codegen.numba_source import render
from staticgrad.errors import CompileError
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.schedule import Schedule, Step
from staticgrad.stats import Counts


@dataclass(frozen=True)
class CompiledKernel:
    """One distinct kernel: its generated source, what it computes, where its code came from."""

    name: str
    source: str
    label: str
    origin: str
    address: int


class Kernels:
    """Native code by source, for the schedules of one program."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._found: dict[str, CompiledKernel] = {}
        self._names: dict[int, str] = {}

    @property
    def all(self) -> tuple[CompiledKernel, ...]:
        """The distinct kernels in order of first use."""
        return tuple(self._found.values())

    def addresses(self, schedule: Schedule) -> dict[Kernel, int]:
        """The address of every kernel of a schedule; new sources get their code."""
        first_step = first_steps(schedule)
        return {kernel: self._of(kernel, first_step[kernel]).address for kernel in first_step}

    def names(self, addresses: dict[Kernel, int]) -> dict[Kernel, str]:
        """What messages call the kernels."""
        return {kernel: self._names[address] for kernel, address in addresses.items()}

    def _of(self, kernel: Kernel, step: Step) -> CompiledKernel:
        source = render(kernel)
        if source not in self._found:
            handle = machine_code(source, step)
            lines = ", ".join(dict.fromkeys(o.resolve().short for o in step.origins))
            label = f"{step.label} at {lines}" if lines else step.label
            name = f"k{len(self._found)}"
            made = CompiledKernel(name, source, label, handle.origin, handle.address)
            self._found[source] = made
            self._names[handle.address] = name
            self._counts.add_kernel(name, label, handle)
        return self._found[source]


def first_steps(schedule: Schedule) -> dict[Kernel, Step]:
    """The distinct kernels in order of first use, each with the first step that uses it."""
    found: dict[Kernel, Step] = {}
    for step in schedule.steps:
        found.setdefault(step.kernel, step)
    return found


def machine_code(source: str, step: Step) -> native.Kernel:
    """The native code of a kernel's source, for the step that uses it.

    Raises:
        CompileError: at the step's line, with the source in a note.
    """
    try:
        return native.kernel(source)
    except CompileError as error:
        error.at = step.origins[0] if step.origins else error.at
        error.add_note(f"the kernel computes {step.label}; its source:\n{source}")
        raise
