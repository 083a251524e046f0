"""Kernel -> Python source, which both backends compile and ``STATICGRAD_JIT=0`` runs as it is.

The source is readable and deterministic, and names no node. Equal kernels give equal text, by which
the kernel cache is keyed.
"""

from __future__ import annotations

from functools import partial

from staticgrad.codegen.columns import write_columns
from staticgrad.codegen.expressions import Lines, Unit, element
from staticgrad.codegen.gemm import write_gemm
from staticgrad.codegen.groups import write_group, write_group_length
from staticgrad.codegen.sorting import write_sort
from staticgrad.codegen.stages import Loop, write_decode, write_map, write_scalar
from staticgrad.ir.kernel import Kernel
from staticgrad.ir.kernel_stages import Columns, Gemm, Map, Scalar, Sort


def render(kernel: Kernel) -> str:
    """The source of ``kernel``: vector-math helpers, then ``kernel(t, begin, end)``.

    ``t`` points to int64 words: one pointer per operand, then the integer arguments. The function
    runs outer iterations [begin, end).
    """
    unit = Unit()
    out = Lines(1)
    for word, operand in enumerate(kernel.operands):
        out.add(f"{operand.name} = ptr_{element(operand.dtype)}(t[{word}])")
    for word, argument in enumerate(kernel.arguments, len(kernel.operands)):
        out.add(f"{argument} = t[{word}]")
    if kernel.outer == "lanes":
        _write_stages(kernel, out, Loop("begin", "end"), unit)
    elif kernel.outer == "groups":
        write_group_length(kernel, out)
        out.add("for o in range(begin, end):")
        group = Lines()
        write_group(kernel, group, partial(_write_rows, kernel, unit))
        out.extend(group, 1)
    else:
        out.add("for o in range(begin, end):")
        inner = Lines(2)
        if kernel.outer == "tiles":
            gemm = kernel.stages[0]
            assert isinstance(gemm, Gemm)
            write_gemm(kernel, gemm, inner, unit)
        else:
            write_decode(inner, "o", kernel.axes)
            _write_stages(kernel, inner, None, unit)
        out.lines += inner.lines
    head = "def kernel(t, begin, end):"
    return "\n\n\n".join([*unit.helpers.values(), "\n".join([head, *out.lines])]) + "\n"


def _write_rows(kernel: Kernel, unit: Unit, out: Lines, start: str, stop: str) -> None:
    """Every stage for each of the rows of a group."""
    out.add(f"for grouped_row in range({start}, {stop}):")
    inner = Lines()
    write_decode(inner, "grouped_row", kernel.axes[len(kernel.axes) - kernel.grouped :])
    _write_stages(kernel, inner, None, unit)
    out.extend(inner, 1)


def _write_stages(kernel: Kernel, out: Lines, loop: Loop | None, unit: Unit) -> None:
    for stage in kernel.stages:
        match stage:
            case Map(axis=axis):
                write_map(kernel, stage, out, loop or Loop("0", str(axis.extent)), unit)
            case Columns(axis=axis):
                write_columns(kernel, stage, out, loop or Loop("0", str(axis.extent)), unit)
            case Scalar():
                write_scalar(kernel, stage, out, unit)
            case Sort():
                write_sort(kernel, stage, out, unit)
