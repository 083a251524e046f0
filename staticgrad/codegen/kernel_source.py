"""Kernel -> Python source, which both backends compile and ``STATICGRAD_JIT=0`` runs as it is.

The source is readable and deterministic. Equal kernels give equal text, which is the key of the
kernel cache.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from staticgrad.codegen.expressions import Lines, Unit, element
from staticgrad.codegen.jammed import (
    Rows,
    may_run_again,
    rows_of,
    write_numbers,
    write_own_rows,
    write_places,
)
from staticgrad.codegen.products.gemm import write_gemm
from staticgrad.codegen.products.looped import write_product
from staticgrad.codegen.stages import (
    Span,
    limit,
    write_map,
    write_scalar,
)
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import (
    Check,
    Columns,
    Extent,
    Gemm,
    Listed,
    Loop,
    Map,
    Scalar,
    Sort,
    Stage,
)
from staticgrad.ir.kernels.width import ROWS, WIDEST
from staticgrad.native.machine import Machine, current

#: Bytes of elements that rows side by side look up in registers of any width.
_NARROW: Final = 4


def render(kernel: Kernel, machine: Machine | None = None) -> str:
    """Return the source of ``kernel``: vector-math helpers, then ``kernel(t, own, begin, end)``.

    ``t`` points to int64 words: one pointer per operand that workers share, then the integer
    arguments; the words of what is listed are not read. ``own`` points to the words of the worker
    that calls: one pointer per scratch and check operand. The function runs outer iterations
    [begin, end). ``machine`` is what it is written for; this one if it is left out. No result
    depends on it, but a source for wider registers than a processor has does not compile for it.
    """
    known = {each.name: each for each in kernel.known}
    unit = Unit(machine=machine or current(), known=known)
    out = Lines(1)
    shared, own = itertools.count(), itertools.count()
    listed = kernel.listed.names if kernel.listed else ()
    for operand in kernel.operands:
        word = f"own[{next(own)}]" if operand.is_own else f"t[{next(shared)}]"
        if operand.name not in listed:
            out.add(f"{operand.name} = ptr_{element(operand.dtype)}({word})")
    for argument in kernel.arguments:
        word = f"t[{next(shared)}]"
        if argument not in listed:
            out.add(f"{argument} = {word}")
    if kernel.jammed > 1:
        write_own_rows(kernel, out)
    if kernel.outer == "lanes":
        _write_stages(kernel, kernel.stages, out, Span("begin", "end"), unit, rows_of(kernel, 1))
    elif kernel.outer == "tiles":
        inner = Lines()
        gemm = kernel.stages[0]
        assert isinstance(gemm, Gemm)
        (write_gemm if gemm.plain else write_product)(kernel, gemm, inner, unit)
        out.lines += unit.once.lines
        out.add("for o in range(begin, end):")
        out.extend(inner, 1)
    elif kernel.in_tiles:
        from staticgrad.codegen.transposed import write_transposed_rows

        write_transposed_rows(kernel, out, unit)
    else:
        rest = Lines()
        _write_turns(kernel, unit, rest)
        out.lines += unit.once.lines
        out.extend(rest)
    head = "def kernel(t, own, begin, end):"
    return (
        "\n\n\n".join(
            [
                *unit.helpers.values(),
                "\n".join([head, *out.lines, *["    settle()"] * kernel.streams]),
            ]
        )
        + "\n"
    )


def _write_turns(kernel: Kernel, unit: Unit, out: Lines) -> None:
    """Write the stages for all rows, some interleaved, then the remainder."""
    checks = _checks_jammed(kernel, unit)
    again = may_run_again(kernel.stages) and not checks
    wide = [str(check.extent) for check in checks if not unit.told(check.extent).short]
    most = ROWS if checks else kernel.jammed
    for count, first, last in _runs(out, most, "begin", "end", "whole_rows", again, wide):
        out.add(f"for o in range({first}, {last}{f', {count}' if count > 1 else ''}):")
        inner = Lines()
        write_numbers(inner, "o", count, str(last) if again else None)
        write_places(inner, "o", kernel.axes, count)
        if kernel.listed is not None:
            _write_listed(kernel, kernel.listed, inner, "o")
        _write_stages(kernel, kernel.stages, inner, None, unit, rows_of(kernel, count))
        out.extend(inner, 1)


def _checks_jammed(kernel: Kernel, unit: Unit) -> Sequence[Check]:
    """The checks that rows side by side share, where that pays.

    In registers of 256 bits rows of few elements of 64 bits take twice the time of gathers where
    memory holds them.
    """
    narrow = all(load.dtype.itemsize <= _NARROW for load in kernel.loads_alike)
    return kernel.checks_alike if unit.has_masks or narrow else ()


def _write_listed(kernel: Kernel, listed: Listed, out: Lines, at: str) -> None:
    """The operands and arguments of an iteration, from its row of the table."""
    dtypes = {operand.name: operand.dtype for operand in kernel.operands}
    out.add(f"entry = {at} * {len(listed.names)}")
    for number, name in enumerate(listed.names):
        word = f"{listed.table}[entry + {number}]"
        out.add(f"{name} = {f'ptr_{element(dtypes[name])}({word})' if name in dtypes else word}")


def _write_stages(
    kernel: Kernel,
    stages: Sequence[Stage],
    out: Lines,
    loop: Span | None,
    unit: Unit,
    jammed: Rows,
) -> None:
    for stage in stages:
        match stage:
            case Map(axis=axis):
                span = loop or Span("0", limit(out, unit, axis, axis.past), str(axis.extent))
                write_map(kernel, stage, out, span, unit, jammed)
            case Scalar():
                write_scalar(kernel, stage, out, unit, jammed)
            case Sort():
                from staticgrad.codegen.sorting import write_sort

                write_sort(kernel, stage, out, unit)
            case Gemm():
                write_product(kernel, stage, out, unit)
            case Loop() | Columns():
                raise TypeError("kernels with this stage are written as nests")


def _runs(
    out: Lines,
    jammed: int,
    start: str,
    stop: Extent,
    whole: str,
    again: bool,
    wide: Sequence[str] = (),
) -> Iterator[tuple[int, str, Extent]]:
    """Yield the number of rows taken together, with first and end; whole turns come first.

    ``again``: the last row may run several times, so that the last turn is a whole one, too. None
    are side by side where a number of ``wide`` is large.
    """
    if jammed == 1 or stop == 1:
        yield 1, start, stop
        return
    if again:
        yield jammed, start, stop
        return
    turns: Extent = whole
    if isinstance(stop, int):  # from 0 on
        turns = stop // jammed * jammed
    else:
        out.add(f"{whole} = {start} + ({stop} - {start}) // {jammed} * {jammed}")
        for extent in dict.fromkeys(wide):
            out.add(f"if {extent} > {WIDEST}:")
            out.add(f"    {whole} = {start}")
    yield jammed, start, turns
    if turns != stop:
        yield 1, str(turns), stop
