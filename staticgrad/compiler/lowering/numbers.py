"""Kernels that differ in some numbers alone become one kernel that reads these numbers.

The number of a literal is part of a kernel's text. A program that repeats an operation with other
numbers, such as the noise levels of a sampler that is written out or the times of a solver's steps,
would therefore compile one kernel for each. Here the numbers that differ become elements of an
operand. All kernels of a class share one constant buffer, and each step reads its part of it.
Numbers that all kernels of a class have in common stay literals. Results are bitwise identical: the
element and the literal have the same value.

Bodies of loops are not changed, because a whole loop may become one kernel.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from staticgrad.language.ir.expr import (
    ARITHMETIC,
    CHOICES,
    COMPARE,
    EXTREMA,
    Access,
    Expr,
    Position,
    load,
)
from staticgrad.language.ir.kernels.kernel import Kernel
from staticgrad.language.ir.kernels.stages import Operand, Stage, Statement
from staticgrad.language.ir.schedule import Binding, Buffer, KernelStep, Schedule
from staticgrad.language.types.arrays import ArrayData
from staticgrad.language.types.dtype import DType
from staticgrad.support.records import replace

#: Kernels of a class, at least: compiling two or three takes less than a tenth of a second.
FEWEST: Final = 4
#: Operations whose literals may become elements. The code of some others depends on the literal: a
#: power, a shift, the value of a load out of bounds.
_OPERATIONS: Final = ARITHMETIC.keys() | EXTREMA.keys() | COMPARE.keys() | CHOICES.keys()
_LITERAL: Final = re.compile(r"\bf(32|64)\([^()]*\)")


def with_shared_kernels(schedule: Schedule) -> Schedule:
    """Return the schedule with one kernel for all kernels that differ in literals only."""
    steps = [step for step in schedule.steps if isinstance(step, KernelStep)]
    kernels = dict.fromkeys(step.kernel for step in steps)
    if len(kernels) < FEWEST:
        return schedule
    kernels_by_text: defaultdict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        kernels_by_text[_LITERAL.sub(r"f\1()", kernel.text)].append(kernel)
    shared_by_kernel: dict[Kernel, tuple[Kernel, Binding]] = {}
    buffers: list[Buffer] = []
    for kernels_alike in kernels_by_text.values():
        if len(kernels_alike) >= FEWEST and (shared := _Shared.of(kernels_alike)):
            name = f"c{len(schedule.buffers) + len(buffers)}"
            buffers.append(shared.buffer(name))
            shared_by_kernel |= shared.bindings(name)
    if not shared_by_kernel:
        return schedule

    def read_numbers(step: KernelStep) -> KernelStep:
        kernel, binding = shared_by_kernel[step.kernel]
        return replace(step, kernel=kernel, operands=(*step.operands, binding))

    return replace(
        schedule,
        buffers=(*schedule.buffers, *buffers),
        steps=tuple(
            [
                read_numbers(step)
                if isinstance(step, KernelStep) and step.kernel in shared_by_kernel
                else step
                for step in schedule.steps
            ]
        ),
    )


class _Shared:
    """A kernel that replaces several, with the numbers of each of these."""

    def __init__(
        self, kernel: Kernel, dtype: DType, numbers: Mapping[Kernel, Sequence[object]]
    ) -> None:
        self.kernel, self.dtype, self.numbers = kernel, dtype, numbers

    @classmethod
    def of(cls, kernels: Sequence[Kernel]) -> _Shared | None:
        """Return the kernel that replaces several whose texts differ only in literals.

        None if a literal that differs cannot become an element, or if they have two dtypes.
        """
        literals = [[*_literals(kernel)] for kernel in kernels]
        if len({len(row) for row in literals}) > 1:
            return None
        columns: dict[tuple[str, ...], int] = {}  # literals equal in every kernel share an element
        element: dict[int, int] = {}  # the element of a literal, by the literal's number
        dtypes: dict[DType, None] = {}
        for number, column in enumerate(zip(*literals, strict=True)):
            texts = tuple([repr(literal.attribute) for literal in column])
            if len({*texts}) > 1:
                element[number] = columns.setdefault(texts, len(columns))
                dtypes |= dict.fromkeys(literal.dtype for literal in column)
        if len(dtypes) != 1:
            return None
        (dtype,) = dtypes
        kernel, *others = [_with_elements(kernel, dtype, element) for kernel in kernels]
        if any(reader != kernel for reader in others):
            return None
        first = {index: number for number, index in reversed(element.items())}
        numbers = [[row[first[index]].attribute for index in sorted(first)] for row in literals]
        return cls(kernel, dtype, dict(zip(kernels, numbers, strict=True)))

    def buffer(self, name: str) -> Buffer:
        """Return the constant buffer with the numbers of all kernels."""
        rows = np.array([*self.numbers.values()], self.dtype.numpy).ravel()
        return Buffer(name, "constant", self.dtype, rows.size, data=ArrayData(rows))

    def bindings(self, name: str) -> dict[Kernel, tuple[Kernel, Binding]]:
        """Return for each kernel the one that replaces it, and its part of the buffer."""
        width = len(next(iter(self.numbers.values())))
        return {
            kernel: (self.kernel, Binding(name, k * width)) for k, kernel in enumerate(self.numbers)
        }


def _literals(kernel: Kernel) -> Iterator[Expr]:
    """Yield the literals that may become elements of an operand, one for each use, in order."""
    for expr in kernel.distinct_exprs:
        if expr.op in _OPERATIONS:
            yield from filter(_is_number, expr.args)


def _is_number(expr: Expr) -> bool:
    return expr.op == "literal" and expr.dtype.is_float and not expr.dtype.is_storage


def _with_elements(kernel: Kernel, dtype: DType, element: Mapping[int, int]) -> Kernel:
    """Return the kernel with elements of an added operand in place of some literals."""
    operand, uses, rebuilt = f"p{len(kernel.operands)}", count(), dict[int, Expr]()
    loads = {
        index: load(Access(operand, positions=(Position((), index),)), dtype)
        for index in element.values()
    }

    def replace_argument(expr: Expr, arg: Expr) -> Expr:
        if expr.op in _OPERATIONS and _is_number(arg):
            index = element.get(next(uses))
            return arg if index is None else loads[index]
        return rebuilt[id(arg)]

    for expr in kernel.distinct_exprs:
        args = tuple([replace_argument(expr, arg) for arg in expr.args])
        same = all(a is b for a, b in zip(args, expr.args, strict=True))
        rebuilt[id(expr)] = expr if same else Expr(expr.op, expr.dtype, args, expr.attribute)
    operands = (*kernel.operands, Operand(operand, dtype, "in"))
    return replace(kernel, operands=operands, stages=_rebuild(kernel.stages, rebuilt))


def _rebuild(value: Any, rebuilt: Mapping[int, Expr]) -> Any:
    """Rebuild a kernel's stages, or a part of them, with other expressions."""
    if isinstance(value, Expr):
        return rebuilt.get(id(value), value)
    if isinstance(value, tuple):
        return tuple([_rebuild(part, rebuilt) for part in value])
    if isinstance(value, Stage | Statement):
        return replace(value, **{k: _rebuild(field, rebuilt) for k, field in vars(value).items()})
    return value
