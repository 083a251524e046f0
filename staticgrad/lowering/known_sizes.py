"""Facts about sizes that kernels rely on: they hold in every step (``staticgrad.ir.execution``).

The facts are those common to all steps of a schedule, so that equal computations stay one kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from staticgrad.ir.execution import Known, known_of
from staticgrad.ir.kernels.kernel import Kernel
from staticgrad.ir.kernels.stages import Extent, Gemm, Map, nested
from staticgrad.ir.kernels.width import half_registers
from staticgrad.records import replace
from staticgrad.types.dim import Size


def kernels_told(uses: Iterable[tuple[Kernel, tuple[Size, ...]]]) -> dict[Kernel, Kernel]:
    """Return for each kernel a kernel with the facts that hold for all its sizes."""
    sizes: dict[Kernel, dict[tuple[Size, ...], None]] = {}
    for kernel, arguments in uses:
        sizes.setdefault(kernel, {})[arguments] = None
    return {kernel: _told(kernel, tuple(given)) for kernel, given in sizes.items()}


def _told(kernel: Kernel, given: Sequence[tuple[Size, ...]]) -> Kernel:
    asked: dict[Extent, bool] = {}
    for extent, in_product in _asked(kernel):
        asked[extent] = asked.get(extent, False) or in_product
    apart = {*_apart(kernel)}
    transposed = {kernel.axes[-1].extent} - asked.keys() if kernel.transposed else set()
    halved = {*_halved(kernel)}
    asked = {**dict.fromkeys([*apart, *transposed], False), **asked}
    known = [
        Known(name, known_of(name, column).multiple)  # squares of such rows are whole
        if name in transposed
        else _heard(
            known_of(name, column),
            asked[name],
            name in apart,
            [kernel.lanes // 2] * (name in halved) + [kernel.lanes],
        )
        for name, column in zip(kernel.arguments, zip(*given, strict=True), strict=True)
        if name in asked
    ]
    found = tuple(each for each in known if not each.is_nothing)
    return replace(kernel, known=found) if found else kernel


def _heard(known: Known, in_product: bool, apart: bool, vectors: Sequence[int]) -> Known:
    """Return the facts that code depends on: the narrowest of the ``vectors`` that rows fit in,
    the bounds of products, and ``uneven`` for strides between rows."""
    single = (lanes for lanes in vectors if known.short and 0 < known.most <= lanes)
    most = known.most if in_product else next(single, 0)
    return replace(known, most=most, uneven=known.uneven and apart)


def _halved(kernel: Kernel) -> Iterator[Extent]:
    """Yield the extents of rows that may be processed in half vectors."""
    for stage, _ in nested(kernel.stages):
        if isinstance(stage, Map) and half_registers(stage, kernel.operands, kernel.lanes):
            yield stage.axis.extent


def _apart(kernel: Kernel) -> Iterator[Extent]:
    if kernel.listed is not None:
        return
    for stage, _ in nested(kernel.stages):
        if isinstance(stage, Gemm) and stage.plain:
            yield stage.a.stride(stage.i[0].name)


def _asked(kernel: Kernel) -> Iterator[tuple[Extent, bool]]:
    if kernel.outer == "lanes" or kernel.listed is not None:
        return  # the loop over lanes is cut anywhere
    for stage, _ in nested(kernel.stages):
        if isinstance(stage, Map):
            yield stage.axis.extent, False
        elif isinstance(stage, Gemm):
            yield from ((axis.extent, True) for axis in stage.loops)
