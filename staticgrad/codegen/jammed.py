"""Places of rows to source."""

from __future__ import annotations

from collections.abc import Sequence

from staticgrad.codegen.expressions import Lines
from staticgrad.ir.kernels.stages import (
    Axis,
)


def of_row(name: str, row: int) -> str:
    """A name for the row of a number."""
    return f"{name}_{row}" if row else name


def write_decode(out: Lines, flat: str, axes: Sequence[Axis], row: int = 0) -> None:
    """The positions along ``axes`` from their flat C-order number."""
    rest = flat
    for axis in reversed(axes[1:]):
        place = of_row(axis.name, row)
        out.add(f"{place} = {rest} % {axis.extent}")
        out.add(f"rest_{place} = {rest} // {axis.extent}")
        rest = f"rest_{place}"
    if axes:
        out.add(f"{of_row(axes[0].name, row)} = {rest}")
