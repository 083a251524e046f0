"""Schedule: by which kernels. Steps over named sizes and unplaced buffers; no bytes yet.

The listed order of steps is one valid order; what must stay in order follows from the buffers they
read and write. Sizes stay symbolic: one Schedule serves every batch size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from staticgrad.ir.constant import ArrayData
from staticgrad.ir.dim import Size
from staticgrad.ir.dtype import DType
from staticgrad.ir.kernel import Kernel
from staticgrad.source import Location

Role = Literal["input", "parameter", "constant", "temp", "output", "scratch", "check"]


@dataclass(frozen=True)
class Buffer:
    """A contiguous span of ``size`` elements. temp, scratch and check buffers live in the arena.

    ``name``: unique in the schedule; for inputs, parameters and outputs the user's name follows in
    ``label``. ``origin`` is the line whose value it holds. ``kept``: the user wants the value kept
    until its last use, whatever else is computed twice.
    """

    name: str
    role: Role
    dtype: DType
    size: Size
    label: str = ""
    data: ArrayData | None = field(default=None, compare=False)
    origin: Location | None = field(default=None, compare=False)
    kept: bool = False

    @property
    def nbytes(self) -> Size:
        return self.size * self.dtype.itemsize

    @property
    def in_arena(self) -> bool:
        return self.role in ("temp", "scratch", "check")


@dataclass(frozen=True)
class Binding:
    """What a kernel operand stands for in one step: a buffer from element ``offset`` on.

    ``updated``: it reads a parameter's new value, which steps before it have written. Every other
    read of a parameter is one of its old value.
    """

    buffer: str
    offset: Size = 0
    updated: bool = False


@dataclass(frozen=True)
class Step:
    """One use of a kernel: operands bound to buffers, arguments to sizes.

    ``total`` outer iterations in groups of ``grain``, which are independent. ``origins`` are
    the user's lines it computes, ``label`` the ops, for people. ``phase``: the
    highest derivative order that it depends on (0 forward, 1 gradient, ...).
    """

    kernel: Kernel
    operands: tuple[Binding, ...]
    arguments: tuple[Size, ...]
    total: Size
    grain: int
    phase: int = 0
    label: str = field(default="", compare=False)
    origins: tuple[Location, ...] = field(default=(), compare=False)

    def reads(self) -> Iterator[str]:
        """Buffers read, in operand order."""
        for operand, binding in zip(self.kernel.operands, self.operands, strict=True):
            if operand.mode in ("in", "inout"):
                yield binding.buffer

    def writes(self) -> Iterator[str]:
        """Buffers written, in operand order."""
        for operand, binding in zip(self.kernel.operands, self.operands, strict=True):
            if operand.mode != "in":
                yield binding.buffer


@dataclass(frozen=True, repr=False)
class Schedule:
    """Steps and the buffers between them.

    ``outputs`` maps output names to buffers of role output. Parameter buffers are written in place.
    """

    name: str
    buffers: tuple[Buffer, ...]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        from staticgrad.ir.schedule_text import print_schedule

        return print_schedule(self)

    def __repr__(self) -> str:
        return f"<schedule of {self.name}: {len(self.steps)} steps, {len(self.buffers)} buffers>"

    def buffer(self, name: str) -> Buffer:
        """The buffer called ``name``."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Buffer]:
        cached: dict[str, Buffer] | None = self.__dict__.get("_by_name")
        if cached is None:
            cached = {b.name: b for b in self.buffers}
            object.__setattr__(self, "_by_name", cached)
        return cached

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Distinct kernels in order of first use."""
        return tuple(dict.fromkeys(step.kernel for step in self.steps))
